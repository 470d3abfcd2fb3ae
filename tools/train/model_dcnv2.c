/* DCN-v2 (Wang et al. 2021): crossing layers x_{l+1} = x_0 * (W_l x_l + b_l) + x_l over all vectors and numeric values
 * x_0, each of which raises the degree of the crossings by one; and hidden layers, beside them (over x_0) or stacked on
 * them (over the last x). Side by side, one linear layer ends both: here a weight per value of the last x, and the last
 * layer of the hidden ones. W_l is a full matrix, or U_l V_l of rank r. Parameters: per crossing layer W (or V
 * [r][size], U [size][r]) and b; the weights of the last x (side by side); hidden layers. */
#include "layers.h"

#include <math.h>

#include "counter_random.h"

typedef struct dcnv2_plan {
  hr_mlp mlp;
  size_t size;                     /* of x */
  size_t rank;                     /* 0: full */
  size_t down, up, biases;         /* of a layer, where they begin in its parameters; up: W if the rank is full */
  size_t layer_param_count;        /* of a crossing layer */
  size_t last_weights, mlp_params; /* in the parameters */
  size_t x, inner, narrow;         /* in the work array: x_0 and those of the layers; W x + b; V x */
  size_t grads, inner_grads, narrow_grads, first_grads;
  size_t outputs, hidden;
  size_t work_count;
} dcnv2_plan;

static dcnv2_plan make_plan(const hr_model_shape *shape)
{
  const size_t batch = shape->batch_capacity, size = hr_input_size(shape), layers = shape->cross_count;
  dcnv2_plan plan = {.mlp = hr_mlp_plan(shape, size, shape->hidden, shape->hidden_count, 1, HR_STREAM_HIDDEN),
                     .size = size,
                     .rank = shape->cross_rank};
  plan.up = plan.rank * size;
  plan.biases = plan.up + size * (plan.rank > 0 ? plan.rank : size);
  plan.layer_param_count = plan.biases + size;
  plan.last_weights = layers * plan.layer_param_count;
  plan.mlp_params = plan.last_weights + (shape->is_cross_stacked ? 0 : size);

  plan.inner = (layers + 1) * batch * size;
  plan.narrow = plan.inner + layers * batch * size;
  plan.grads = plan.narrow + layers * batch * plan.rank;
  plan.inner_grads = plan.grads + batch * size;
  plan.first_grads = plan.inner_grads + batch * size;
  plan.narrow_grads = plan.first_grads + batch * size;
  plan.outputs = plan.narrow_grads + batch * plan.rank;
  plan.hidden = plan.outputs + batch;
  plan.work_count = plan.hidden + plan.mlp.work_count;
  return plan;
}

static size_t dcnv2_param_count(const hr_model_shape *shape)
{
  const dcnv2_plan plan = make_plan(shape);
  return plan.mlp_params + plan.mlp.param_count;
}

static size_t dcnv2_work_count(const hr_model_shape *shape)
{
  return make_plan(shape).work_count;
}

/* The hidden layers, and where nothing is under them all but the first of them. */
static size_t dcnv2_late_params(const hr_model_shape *shape)
{
  const dcnv2_plan plan = make_plan(shape);
  return plan.mlp_params > 0 ? plan.mlp_params : hr_mlp_late_params(&plan.mlp);
}

static void init_uniform(uint64_t seed, float scale, size_t count, float *params)
{
  for (size_t i = 0; i < count; i++)
    params[i] = scale * (2 * hr_random_unit_at(seed, i) - 1);
}

/* Uniform with the variance of Glorot & Bengio 2010; biases are zero. */
static void dcnv2_init(const hr_model_shape *shape, uint64_t seed, float *params)
{
  const dcnv2_plan plan = make_plan(shape);
  const float inputs = (float)plan.size, outputs = (float)(plan.rank > 0 ? plan.rank : plan.size);
  for (uint32_t l = 0; l < shape->cross_count; l++)
    init_uniform(hr_random_at(seed, 1 + l), sqrtf(6 / (inputs + outputs)), plan.biases,
                 params + l * plan.layer_param_count);
  init_uniform(hr_random_at(seed, 0), sqrtf(6 / (inputs + 1)), plan.mlp_params - plan.last_weights,
               params + plan.last_weights);
  hr_mlp_init(&plan.mlp, seed, params + plan.mlp_params);
}

/* The arrays of one crossing layer. */
typedef struct cross_layer {
  hr_affine down, up; /* down: only if the rank is not full */
  float *x, *next, *inner, *narrow;
  size_t params; /* where they begin in the parameters */
} cross_layer;

static cross_layer get_layer(const hr_pass *pass, const dcnv2_plan *plan, uint32_t l)
{
  const size_t batch = pass->shape->batch_capacity, size = plan->size;
  const float *params = pass->params + l * plan->layer_param_count;
  return (cross_layer){.down = {.input_size = size, .output_size = plan->rank, .weights = params},
                       .up = {.input_size = plan->rank > 0 ? plan->rank : size,
                              .output_size = size,
                              .weights = params + plan->up,
                              .biases = params + plan->biases},
                       .x = pass->work + plan->x + l * batch * size,
                       .next = pass->work + plan->x + (l + 1) * batch * size,
                       .inner = pass->work + plan->inner + l * batch * size,
                       .narrow = pass->work + plan->narrow + l * batch * plan->rank,
                       .params = l * plan->layer_param_count};
}

/* x_L, or x_0 if there is no crossing layer. */
static float *last_x(const hr_pass *pass, const dcnv2_plan *plan)
{
  return pass->work + plan->x + pass->shape->cross_count * pass->shape->batch_capacity * plan->size;
}

static hr_affine last_affine(const hr_pass *pass, const dcnv2_plan *plan)
{
  return (hr_affine){.input_size = plan->size, .output_size = 1, .weights = pass->params + plan->last_weights};
}

static hr_mlp_run make_run(const hr_pass *pass, const dcnv2_plan *plan)
{
  return (hr_mlp_run){.mlp = &plan->mlp,
                      .params = pass->params + plan->mlp_params,
                      .inputs = pass->shape->is_cross_stacked ? last_x(pass, plan) : pass->work + plan->x,
                      .input_stride = plan->size,
                      .work = pass->work + plan->hidden};
}

static void dcnv2_forward(const hr_pass *pass)
{
  const hr_dense_functions *call = pass->dense->call;
  const dcnv2_plan plan = make_plan(pass->shape);
  const hr_mlp_run run = make_run(pass, &plan);
  hr_input_forward(pass, pass->work + plan.x);
  for (uint32_t l = 0; l < pass->shape->cross_count; l++) {
    const cross_layer layer = get_layer(pass, &plan, l);
    if (plan.rank > 0) {
      hr_affine_forward(pass, &layer.down, layer.x, plan.size, layer.narrow, plan.rank);
      hr_affine_forward(pass, &layer.up, layer.narrow, plan.rank, layer.inner, plan.size);
    } else {
      hr_affine_forward(pass, &layer.up, layer.x, plan.size, layer.inner, plan.size);
    }
    call->cross(pass->dense, pass->work + plan.x, layer.inner, layer.x, pass->count * plan.size, layer.next);
  }
  if (pass->shape->is_cross_stacked) {
    call->zero(pass->dense, pass->logits, pass->count);
  } else {
    const hr_affine last = last_affine(pass, &plan);
    hr_affine_forward(pass, &last, last_x(pass, &plan), plan.size, pass->logits, 1);
  }
  hr_logit_forward(pass, &run, pass->work + plan.outputs);
}

/* Gradients of the layer's parameters; grads, of its output, become those of its input, save what goes to x_0. */
static void cross_backward(const hr_pass *pass, const dcnv2_plan *plan, const cross_layer *layer)
{
  const hr_dense_functions *call = pass->dense->call;
  float *grads = pass->work + plan->grads, *inner_grads = pass->work + plan->inner_grads;
  float *narrow_grads = pass->work + plan->narrow_grads, *param_grads = pass->param_grads + layer->params;
  const size_t size = plan->size, rank = plan->rank;
  call->cross_backward(pass->dense, grads, pass->work + plan->x, layer->inner, pass->count * size, inner_grads,
                       pass->work + plan->first_grads);
  hr_affine_param_grads(pass, &layer->up, rank > 0 ? layer->narrow : layer->x, layer->up.input_size, inner_grads, size,
                        param_grads + plan->up, param_grads + plan->biases);
  if (rank == 0) {
    hr_affine_input_grads(pass, &layer->up, inner_grads, size, 1, grads, size);
    return;
  }
  hr_affine_input_grads(pass, &layer->up, inner_grads, size, 0, narrow_grads, rank);
  hr_affine_param_grads(pass, &layer->down, layer->x, size, narrow_grads, rank, param_grads, NULL);
  hr_affine_input_grads(pass, &layer->down, narrow_grads, rank, 1, grads, size);
}

static void dcnv2_backward(const hr_pass *pass)
{
  const hr_dense_functions *call = pass->dense->call;
  const dcnv2_plan plan = make_plan(pass->shape);
  const hr_mlp_run run = make_run(pass, &plan);
  float *grads = pass->work + plan.grads, *first_grads = pass->work + plan.first_grads;
  float *param_grads = pass->param_grads;
  hr_mlp_backward(pass, &run, pass->logit_grads, 1, param_grads + plan.mlp_params,
                  pass->shape->is_cross_stacked ? grads : first_grads, plan.size);
  if (pass->shape->is_cross_stacked) {
    call->zero(pass->dense, first_grads, pass->count * plan.size);
  } else {
    const hr_affine last = last_affine(pass, &plan);
    hr_affine_param_grads(pass, &last, last_x(pass, &plan), plan.size, pass->logit_grads, 1,
                          param_grads + plan.last_weights, NULL);
    hr_affine_input_grads(pass, &last, pass->logit_grads, 1, 0, grads, plan.size);
  }
  for (uint32_t l = pass->shape->cross_count; l-- > 0;) {
    const cross_layer layer = get_layer(pass, &plan, l);
    cross_backward(pass, &plan, &layer);
  }
  call->add_scaled(pass->dense, 1, grads, pass->count * plan.size, first_grads);
  call->zero(pass->dense, pass->row_grads, pass->count * pass->shape->field_count * hr_row_dim(pass->shape));
  hr_input_backward(pass, first_grads);
}

const hr_model hr_model_dcnv2 = {
    .name = "dcnv2",
    .summary = "DCN-v2: crossing layers beside hidden layers, or under them",
    .param_count = dcnv2_param_count,
    .work_count = dcnv2_work_count,
    .late_params = dcnv2_late_params,
    .init = dcnv2_init,
    .forward = dcnv2_forward,
    .backward = dcnv2_backward,
};
