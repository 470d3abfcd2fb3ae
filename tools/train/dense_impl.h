/* What the devices of dense.h share: how they are opened, and what is computed element by element. */
#ifndef HR_DENSE_IMPL_H
#define HR_DENSE_IMPL_H

#include <math.h>

#include "counter_random.h"
#include "dense.h"

#define HR_ADAM_BETA1 0.9f
#define HR_ADAM_BETA2 0.999f
#define HR_ADAM_EPSILON 1e-8f

/* Each device's; dense.c alone calls these. HOTROW_ERR_NO_MEMORY; HOTROW_ERR_UNSUPPORTED, HOTROW_ERR_DEVICE (CUDA). */
hotrow_status hr_dense_open_cpu(const hotrow_kernels *kernels, hr_dense **dense_p);
hotrow_status hr_dense_open_cuda(const hotrow_kernels *kernels, hr_dense **dense_p);

/* A share `rate` of all places is 0; the others are scaled so that the expectation stays. */
HR_SHARED_FN float hr_dropout_scale(uint64_t key, uint64_t place, float rate)
{
  return hr_random_unit_at(key, place) < rate ? 0 : 1 / (1 - rate);
}

HR_SHARED_FN void hr_adam_update(const hr_adam_step *step, float grad, float *first, float *second, float *param)
{
  *first = HR_ADAM_BETA1 * *first + (1 - HR_ADAM_BETA1) * grad;
  *second = HR_ADAM_BETA2 * *second + (1 - HR_ADAM_BETA2) * grad * grad;
  *param -= step->lr * (step->first_scale * *first) / (sqrtf(step->second_scale * *second) + HR_ADAM_EPSILON);
}

#endif
