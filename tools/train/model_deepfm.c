/* DeepFM (Guo et al. 2017): a factorisation machine and hidden layers that share one embedding, summed. Numeric values
 * take part in the linear term and the hidden layers, not in the pairs. */
#include "layers.h"

static size_t deepfm_param_count(const hr_model_shape *shape)
{
  return hr_linear_param_count(shape) + hr_mlp_param_count(shape);
}

static size_t deepfm_work_count(const hr_model_shape *shape)
{
  return hr_fm_work_count(shape) + hr_mlp_work_count(shape);
}

static void deepfm_init(const hr_model_shape *shape, uint64_t seed, float *params)
{
  size_t linear_count = hr_linear_param_count(shape);
  for (size_t i = 0; i < linear_count; i++)
    params[i] = 0;
  hr_mlp_init(shape, seed, params + linear_count);
}

static void deepfm_forward(const hr_pass *pass)
{
  hr_linear_forward(pass, pass->params);
  hr_fm_forward(pass, pass->work);
  hr_mlp_forward(pass, pass->params + hr_linear_param_count(pass->shape), pass->work + hr_fm_work_count(pass->shape));
}

static void deepfm_backward(const hr_pass *pass)
{
  size_t linear_count = hr_linear_param_count(pass->shape);
  hr_linear_backward(pass, pass->param_grads);
  hr_fm_backward(pass, pass->work);
  hr_mlp_backward(pass, pass->params + linear_count, pass->work + hr_fm_work_count(pass->shape),
                  pass->param_grads + linear_count);
}

const hr_model hr_model_deepfm = {
    .name = "deepfm",
    .summary = "DeepFM: a factorisation machine beside hidden layers",
    .param_count = deepfm_param_count,
    .work_count = deepfm_work_count,
    .init = deepfm_init,
    .forward = deepfm_forward,
    .backward = deepfm_backward,
};
