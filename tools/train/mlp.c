/* The hidden layers. */
#include <math.h>

#include <hr/assert.h>

#include "counter_random.h"
#include "layers.h"

hr_mlp hr_mlp_plan(const hr_model_shape *shape, size_t input_size, const uint32_t *hidden, uint32_t hidden_count,
                   size_t output_size, uint32_t first_stream)
{
  HOTROW_ASSERT(hidden_count <= HR_HIDDEN_MAX);
  hr_mlp mlp = {.layer_count = hidden_count + 1, .first_stream = first_stream};
  size_t widest = 0;
  for (uint32_t l = 0; l < mlp.layer_count; l++) {
    hr_mlp_layer *layer = &mlp.layers[l];
    layer->input_size = input_size;
    layer->output_size = l < hidden_count ? hidden[l] : output_size;
    layer->weights = mlp.param_count;
    layer->biases = layer->weights + layer->output_size * layer->input_size;
    mlp.param_count = layer->biases + layer->output_size;
    if (l == hidden_count)
      break;
    layer->values = mlp.work_count;
    mlp.work_count += shape->batch_capacity * layer->output_size;
    input_size = layer->output_size;
    widest = input_size > widest ? input_size : widest;
  }
  for (int i = 0; i < 2; i++) {
    mlp.grads[i] = mlp.work_count;
    mlp.work_count += shape->batch_capacity * widest;
  }
  return mlp;
}

size_t hr_mlp_late_params(const hr_mlp *mlp)
{
  return mlp->layer_count > 1 ? mlp->layers[1].weights : mlp->param_count;
}

/* Uniform with the variance of He et al. 2015, which keeps the scale of values through ReLU; biases are zero. */
void hr_mlp_init(const hr_mlp *mlp, uint64_t seed, float *params)
{
  for (uint32_t l = 0; l < mlp->layer_count; l++) {
    const hr_mlp_layer *layer = &mlp->layers[l];
    const float scale = sqrtf(6.0f / (float)layer->input_size);
    for (size_t i = layer->weights; i < layer->biases; i++)
      params[i] = scale * (2 * hr_random_unit_at(seed, i) - 1);
  }
}

static hr_affine layer_affine(const hr_mlp_run *run, uint32_t l)
{
  const hr_mlp_layer *layer = &run->mlp->layers[l];
  return (hr_affine){layer->input_size, layer->output_size, run->params + layer->weights, run->params + layer->biases};
}

/* Where the input of layer l lies. */
static const float *layer_inputs(const hr_mlp_run *run, uint32_t l, size_t *stride_p)
{
  *stride_p = l == 0 ? run->input_stride : run->mlp->layers[l].input_size;
  return l == 0 ? run->inputs : run->work + run->mlp->layers[l - 1].values;
}

void hr_mlp_forward(const hr_pass *pass, const hr_mlp_run *run, float *outputs, size_t output_stride)
{
  const hr_mlp *mlp = run->mlp;
  const float rate = pass->dropout_key != 0 ? pass->shape->dropout : 0;
  for (uint32_t l = 0; l < mlp->layer_count; l++) {
    const hr_affine affine = layer_affine(run, l);
    size_t stride;
    const float *inputs = layer_inputs(run, l, &stride);
    if (l + 1 == mlp->layer_count) {
      hr_affine_forward(pass, &affine, inputs, stride, outputs, output_stride);
      return;
    }
    float *values = run->work + mlp->layers[l].values;
    hr_affine_forward(pass, &affine, inputs, stride, values, affine.output_size);
    pass->dense->call->relu(pass->dense, hr_random_at(pass->dropout_key, mlp->first_stream + l), rate, pass->count,
                            affine.output_size, values, affine.output_size);
  }
}

void hr_mlp_backward(const hr_pass *pass, const hr_mlp_run *run, const float *grads, size_t grad_stride,
                     float *param_grads, float *input_grads, size_t input_grad_stride)
{
  const hr_mlp *mlp = run->mlp;
  const float keep = pass->dropout_key != 0 ? 1 / (1 - pass->shape->dropout) : 1;
  for (uint32_t l = mlp->layer_count; l-- > 0;) {
    const hr_mlp_layer *layer = &mlp->layers[l];
    const hr_affine affine = layer_affine(run, l);
    size_t stride;
    const float *inputs = layer_inputs(run, l, &stride);
    hr_affine_param_grads(pass, &affine, inputs, stride, grads, grad_stride, param_grads + layer->weights,
                          param_grads + layer->biases);
    hr_grads_done(pass, param_grads + layer->weights);
    if (l == 0) {
      if (input_grads != NULL)
        hr_affine_input_grads(pass, &affine, grads, grad_stride, 0, input_grads, input_grad_stride);
      return;
    }
    float *below = run->work + mlp->grads[l % 2];
    hr_affine_input_grads(pass, &affine, grads, grad_stride, 0, below, affine.input_size);
    pass->dense->call->relu_backward(pass->dense, keep, inputs, stride, pass->count, affine.input_size, below,
                                     affine.input_size);
    grads = below;
    grad_stride = affine.input_size;
  }
}

void hr_logit_forward(const hr_pass *pass, const hr_mlp_run *run, float *outputs)
{
  hr_mlp_forward(pass, run, outputs, 1);
  pass->dense->call->add_scaled(pass->dense, 1, outputs, pass->count, pass->logits);
}
