/* Wide & Deep (Cheng et al. 2016): a linear model and hidden layers over the same keys, summed. The wide part has a
 * weight for every key; crossed features would be further fields of the data set. */
#include "layers.h"

static size_t wdl_param_count(const hr_model_shape *shape)
{
  return hr_linear_param_count(shape) + hr_mlp_param_count(shape);
}

static void wdl_init(const hr_model_shape *shape, uint64_t seed, float *params)
{
  size_t linear_count = hr_linear_param_count(shape);
  for (size_t i = 0; i < linear_count; i++)
    params[i] = 0;
  hr_mlp_init(shape, seed, params + linear_count);
}

static void wdl_forward(const hr_pass *pass)
{
  hr_linear_forward(pass, pass->params);
  hr_mlp_forward(pass, pass->params + hr_linear_param_count(pass->shape), pass->work);
}

static void wdl_backward(const hr_pass *pass)
{
  size_t linear_count = hr_linear_param_count(pass->shape);
  hr_linear_backward(pass, pass->param_grads);
  hr_mlp_backward(pass, pass->params + linear_count, pass->work, pass->param_grads + linear_count);
}

const hr_model hr_model_wdl = {
    .name = "wdl",
    .summary = "Wide & Deep: a linear model beside hidden layers",
    .param_count = wdl_param_count,
    .work_count = hr_mlp_work_count,
    .init = wdl_init,
    .forward = wdl_forward,
    .backward = wdl_backward,
};
