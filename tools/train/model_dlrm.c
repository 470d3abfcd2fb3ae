/* DLRM (Naumov et al. 2019): hidden layers make one more vector of the numeric values, all pairs of vectors are
 * multiplied, and hidden layers over that vector and the products give the logit. Without numeric values there are the
 * products alone. Parameters: lower layers, upper layers. */
#include "counter_random.h"
#include "layers.h"

typedef struct dlrm_plan {
  hr_mlp bottom, top; /* no bottom if there are no numeric values */
  uint32_t vector_count;
  size_t vector_floats, own_vector; /* of a sample; where the vector of the numeric values begins in them */
  size_t own_size;                  /* of that vector; 0: there is none */
  size_t top_input_size;
  size_t vectors, top_inputs, vector_grads, top_input_grads, outputs, bottom_work, top_work; /* in the work array */
  size_t work_count;
} dlrm_plan;

static dlrm_plan make_plan(const hr_model_shape *shape)
{
  const size_t batch = shape->batch_capacity;
  dlrm_plan plan = {.vector_count = shape->field_count + (shape->numeric_count > 0 ? 1 : 0),
                    .own_vector = (size_t)shape->field_count * shape->dim,
                    .own_size = shape->numeric_count > 0 ? shape->dim : 0};
  plan.vector_floats = (size_t)plan.vector_count * shape->dim;
  plan.top_input_size = plan.own_size + (size_t)plan.vector_count * (plan.vector_count - 1) / 2;
  if (shape->numeric_count > 0)
    plan.bottom =
        hr_mlp_plan(shape, shape->numeric_count, shape->bottom, shape->bottom_count, shape->dim, HR_STREAM_BOTTOM);
  plan.top = hr_mlp_plan(shape, plan.top_input_size, shape->hidden, shape->hidden_count, 1, HR_STREAM_HIDDEN);
  plan.top_inputs = batch * plan.vector_floats;
  plan.vector_grads = plan.top_inputs + batch * plan.top_input_size;
  plan.top_input_grads = plan.vector_grads + batch * plan.vector_floats;
  plan.outputs = plan.top_input_grads + batch * plan.top_input_size;
  plan.bottom_work = plan.outputs + batch;
  plan.top_work = plan.bottom_work + plan.bottom.work_count;
  plan.work_count = plan.top_work + plan.top.work_count;
  return plan;
}

static size_t dlrm_param_count(const hr_model_shape *shape)
{
  const dlrm_plan plan = make_plan(shape);
  return plan.bottom.param_count + plan.top.param_count;
}

static size_t dlrm_work_count(const hr_model_shape *shape)
{
  return make_plan(shape).work_count;
}

/* Those of the upper layers, and without lower ones all but the first of them. */
static size_t dlrm_late_params(const hr_model_shape *shape)
{
  const dlrm_plan plan = make_plan(shape);
  return plan.own_size > 0 ? plan.bottom.param_count : hr_mlp_late_params(&plan.top);
}

static void dlrm_init(const hr_model_shape *shape, uint64_t seed, float *params)
{
  const dlrm_plan plan = make_plan(shape);
  hr_mlp_init(&plan.bottom, hr_random_at(seed, 0), params);
  hr_mlp_init(&plan.top, seed, params + plan.bottom.param_count);
}

static hr_mlp_run bottom_run(const hr_pass *pass, const dlrm_plan *plan)
{
  return (hr_mlp_run){.mlp = &plan->bottom,
                      .params = pass->params,
                      .inputs = pass->numeric,
                      .input_stride = pass->shape->numeric_count,
                      .work = pass->work + plan->bottom_work};
}

static hr_mlp_run top_run(const hr_pass *pass, const dlrm_plan *plan)
{
  return (hr_mlp_run){.mlp = &plan->top,
                      .params = pass->params + plan->bottom.param_count,
                      .inputs = pass->work + plan->top_inputs,
                      .input_stride = plan->top_input_size,
                      .work = pass->work + plan->top_work};
}

static hr_interaction make_interaction(const hr_pass *pass, const dlrm_plan *plan)
{
  return (hr_interaction){.vectors = pass->work + plan->vectors,
                          .count = pass->count,
                          .vector_count = plan->vector_count,
                          .dim = pass->shape->dim,
                          .pair_stride = plan->top_input_size};
}

static void dlrm_forward(const hr_pass *pass)
{
  const hr_dense_functions *call = pass->dense->call;
  const dlrm_plan plan = make_plan(pass->shape);
  const hr_mlp_run bottom = bottom_run(pass, &plan), top = top_run(pass, &plan);
  const hr_interaction interaction = make_interaction(pass, &plan);
  float *vectors = pass->work + plan.vectors, *own = vectors + plan.own_vector;
  float *top_inputs = pass->work + plan.top_inputs;
  hr_vectors_forward(pass, vectors, plan.vector_floats);
  if (plan.own_size > 0) {
    hr_mlp_forward(pass, &bottom, own, plan.vector_floats);
    call->relu(pass->dense, 0, 0, pass->count, plan.own_size, own, plan.vector_floats);
    call->copy_rows(pass->dense, own, plan.vector_floats, pass->count, plan.own_size, top_inputs, plan.top_input_size);
  }
  call->interact(pass->dense, &interaction, top_inputs + plan.own_size);
  call->zero(pass->dense, pass->logits, pass->count);
  hr_logit_forward(pass, &top, pass->work + plan.outputs);
}

static void dlrm_backward(const hr_pass *pass)
{
  const hr_dense_functions *call = pass->dense->call;
  const dlrm_plan plan = make_plan(pass->shape);
  const hr_mlp_run bottom = bottom_run(pass, &plan), top = top_run(pass, &plan);
  const hr_interaction interaction = make_interaction(pass, &plan);
  float *top_input_grads = pass->work + plan.top_input_grads, *vector_grads = pass->work + plan.vector_grads;
  float *own_grads = vector_grads + plan.own_vector;
  hr_mlp_backward(pass, &top, pass->logit_grads, 1, pass->param_grads + plan.bottom.param_count, top_input_grads,
                  plan.top_input_size);
  call->interact_backward(pass->dense, &interaction, top_input_grads + plan.own_size, vector_grads);
  if (plan.own_size > 0) {
    call->add_rows(pass->dense, top_input_grads, plan.top_input_size, pass->count, plan.own_size, own_grads,
                   plan.vector_floats);
    call->relu_backward(pass->dense, 1, pass->work + plan.vectors + plan.own_vector, plan.vector_floats, pass->count,
                        plan.own_size, own_grads, plan.vector_floats);
    hr_mlp_backward(pass, &bottom, own_grads, plan.vector_floats, pass->param_grads, NULL, 0);
  }
  call->zero(pass->dense, pass->row_grads, pass->count * pass->shape->field_count * hr_row_dim(pass->shape));
  hr_vectors_backward(pass, vector_grads, plan.vector_floats);
}

const hr_model hr_model_dlrm = {
    .name = "dlrm",
    .summary = "DLRM: products of all pairs of vectors, one of them made of the numeric values",
    .param_count = dlrm_param_count,
    .work_count = dlrm_work_count,
    .late_params = dlrm_late_params,
    .init = dlrm_init,
    .forward = dlrm_forward,
    .backward = dlrm_backward,
};
