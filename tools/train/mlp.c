/* The hidden layers. Parameters: per layer a matrix [outputs][inputs], then its biases; the last layer has one output.
 * Work: the input, the values of every hidden layer, and two buffers for gradients that flow back. */
#include "layers.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "counter_random.h"

typedef struct mlp_layer {
  size_t input_count;
  size_t output_count;
  size_t weights; /* where they begin in the parameters */
  size_t biases;
  size_t inputs; /* where its input begins in the work array */
} mlp_layer;

typedef struct mlp_plan {
  uint32_t layer_count;
  mlp_layer layers[HR_HIDDEN_MAX + 1];
  size_t param_count;
  size_t grads[2]; /* where the gradient buffers begin in the work array */
  size_t work_count;
} mlp_plan;

static mlp_plan mlp_make_plan(const hr_model_shape *shape)
{
  mlp_plan plan = {.layer_count = shape->hidden_count + 1};
  size_t input_count = (size_t)shape->field_count * shape->dim + shape->numeric_count;
  size_t widest = input_count;
  for (uint32_t l = 0; l < plan.layer_count; l++) {
    mlp_layer *layer = &plan.layers[l];
    layer->input_count = input_count;
    layer->output_count = l < shape->hidden_count ? shape->hidden[l] : 1;
    layer->weights = plan.param_count;
    layer->biases = layer->weights + layer->output_count * layer->input_count;
    plan.param_count = layer->biases + layer->output_count;
    layer->inputs = plan.work_count;
    plan.work_count += shape->batch_capacity * input_count;
    input_count = layer->output_count;
    widest = input_count > widest ? input_count : widest;
  }
  for (int i = 0; i < 2; i++) {
    plan.grads[i] = plan.work_count;
    plan.work_count += shape->batch_capacity * widest;
  }
  return plan;
}

size_t hr_mlp_param_count(const hr_model_shape *shape)
{
  return mlp_make_plan(shape).param_count;
}

size_t hr_mlp_work_count(const hr_model_shape *shape)
{
  return mlp_make_plan(shape).work_count;
}

/* Uniform with the variance of He et al. 2015, which keeps the scale of values through ReLU; biases are zero. */
void hr_mlp_init(const hr_model_shape *shape, uint64_t seed, float *params)
{
  const mlp_plan plan = mlp_make_plan(shape);
  for (uint32_t l = 0; l < plan.layer_count; l++) {
    const mlp_layer *layer = &plan.layers[l];
    const float scale = sqrtf(6.0f / (float)layer->input_count);
    for (size_t i = layer->weights; i < layer->biases; i++)
      params[i] = scale * (2 * hr_random_unit_at(seed, i) - 1);
    memset(params + layer->biases, 0, layer->output_count * sizeof *params);
  }
}

/* Keeps element i of a layer with probability 1 - rate, scaled so that the expectation stays. */
static float dropout_scale(uint64_t key, uint64_t counter, float rate)
{
  return hr_random_unit_at(key, counter) < rate ? 0 : 1 / (1 - rate);
}

/* The same numbers decide on the way forward and back: they depend on the key, the layer and the place alone. */
static uint64_t layer_key(const hr_pass *pass, uint32_t layer)
{
  return hr_random_at(pass->dropout_key, layer);
}

static void mlp_gather_input(const hr_pass *pass, float *input)
{
  const hr_model_shape *shape = pass->shape;
  const size_t dim = shape->dim, row_dim = hr_row_dim(shape);
  const float rate = pass->dropout_key != 0 ? shape->embedding_dropout : 0;
  const uint64_t key = layer_key(pass, 0);
  for (size_t i = 0; i < pass->count; i++) {
    for (size_t f = 0; f < shape->field_count; f++, input += dim) {
      const size_t place = i * shape->field_count + f;
      const float *vector = pass->rows + place * row_dim + 1;
      const float scale = rate > 0 ? dropout_scale(key, place, rate) : 1;
      for (size_t d = 0; d < dim; d++)
        input[d] = scale * vector[d];
    }
    memcpy(input, pass->numeric + i * shape->numeric_count, shape->numeric_count * sizeof *input);
    input += shape->numeric_count;
  }
}

static void mlp_scatter_input_grads(const hr_pass *pass, const float *input_grads)
{
  const hr_model_shape *shape = pass->shape;
  const size_t dim = shape->dim, row_dim = hr_row_dim(shape);
  const float rate = pass->dropout_key != 0 ? shape->embedding_dropout : 0;
  const uint64_t key = layer_key(pass, 0);
  for (size_t i = 0; i < pass->count; i++) {
    for (size_t f = 0; f < shape->field_count; f++, input_grads += dim) {
      const size_t place = i * shape->field_count + f;
      float *vector_grad = pass->row_grads + place * row_dim + 1;
      const float scale = rate > 0 ? dropout_scale(key, place, rate) : 1;
      for (size_t d = 0; d < dim; d++)
        vector_grad[d] += scale * input_grads[d];
    }
    input_grads += shape->numeric_count;
  }
}

void hr_mlp_forward(const hr_pass *pass, const float *params, float *work)
{
  const mlp_plan plan = mlp_make_plan(pass->shape);
  const float rate = pass->dropout_key != 0 ? pass->shape->dropout : 0;
  mlp_gather_input(pass, work + plan.layers[0].inputs);
  for (uint32_t l = 0; l < plan.layer_count; l++) {
    const mlp_layer *layer = &plan.layers[l];
    const size_t n = layer->output_count;
    const int is_last = l + 1 == plan.layer_count;
    float *output = is_last ? work + plan.grads[0] : work + plan.layers[l + 1].inputs;
    for (size_t i = 0; i < pass->count; i++)
      memcpy(output + i * n, params + layer->biases, n * sizeof *output);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)pass->count, (int)n, (int)layer->input_count, 1,
                work + layer->inputs, (int)layer->input_count, params + layer->weights, (int)layer->input_count, 1,
                output, (int)n);
    if (is_last) {
      for (size_t i = 0; i < pass->count; i++)
        pass->logits[i] += output[i];
      return;
    }
    for (size_t i = 0; i < pass->count * n; i++)
      output[i] = output[i] > 0 ? output[i] : 0;
    if (rate > 0) {
      const uint64_t key = layer_key(pass, l + 1);
      for (size_t i = 0; i < pass->count * n; i++)
        output[i] *= dropout_scale(key, i, rate);
    }
  }
}

/* The gradients of a layer's weights and biases, from the gradient of its outputs. */
static void mlp_layer_param_grads(const hr_pass *pass, const mlp_layer *layer, const float *inputs, const float *grads,
                                  float *param_grads)
{
  const size_t n = layer->output_count;
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)layer->input_count, (int)pass->count, 1, grads,
              (int)n, inputs, (int)layer->input_count, 0, param_grads + layer->weights, (int)layer->input_count);
  float *bias_grads = param_grads + layer->biases;
  memset(bias_grads, 0, n * sizeof *bias_grads);
  for (size_t i = 0; i < pass->count; i++)
    for (size_t j = 0; j < n; j++)
      bias_grads[j] += grads[i * n + j];
}

void hr_mlp_backward(const hr_pass *pass, const float *params, float *work, float *param_grads)
{
  const mlp_plan plan = mlp_make_plan(pass->shape);
  const float keep = pass->dropout_key != 0 ? 1 / (1 - pass->shape->dropout) : 1;
  const float *grads = pass->logit_grads;
  for (uint32_t l = plan.layer_count; l-- > 0;) {
    const mlp_layer *layer = &plan.layers[l];
    const float *inputs = work + layer->inputs;
    float *input_grads = work + plan.grads[l % 2];
    mlp_layer_param_grads(pass, layer, inputs, grads, param_grads);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)pass->count, (int)layer->input_count,
                (int)layer->output_count, 1, grads, (int)layer->output_count, params + layer->weights,
                (int)layer->input_count, 0, input_grads, (int)layer->input_count);
    /* A hidden value that is zero was cut by ReLU or dropped: either way nothing flows through it. */
    if (l > 0)
      for (size_t i = 0; i < pass->count * layer->input_count; i++)
        input_grads[i] = inputs[i] > 0 ? keep * input_grads[i] : 0;
    grads = input_grads;
  }
  mlp_scatter_input_grads(pass, grads);
}
