#include "dense_adam.h"

#include "dense_impl.h"

hotrow_status hr_dense_adam_init(hr_dense_adam *adam, hr_dense *dense, size_t count)
{
  float *memory;
  HOTROW_TRY(hr_dense_alloc(dense, 2, count, "means of dense gradients", &memory));
  *adam = (hr_dense_adam){
      .dense = dense, .first = memory, .second = memory + count, .count = count, .first_left = 1, .second_left = 1};
  return HOTROW_OK;
}

void hr_dense_adam_fini(hr_dense_adam *adam)
{
  if (adam->dense != NULL)
    hr_dense_free(adam->dense, adam->first);
  *adam = (hr_dense_adam){0};
}

void hr_dense_adam_update(hr_dense_adam *adam, float lr, const float *grads, float *params)
{
  adam->first_left *= (double)HR_ADAM_BETA1;
  adam->second_left *= (double)HR_ADAM_BETA2;
  const hr_adam_step step = {.lr = lr,
                             .first_scale = (float)(1 / (1 - adam->first_left)),
                             .second_scale = (float)(1 / (1 - adam->second_left))};
  adam->dense->call->adam(adam->dense, &step, grads, adam->count, adam->first, adam->second, params);
}
