#include "dense_adam.h"

#include <math.h>
#include <stdlib.h>

#include <hr/memory.h>

#define BETA1 0.9f
#define BETA2 0.999f
#define EPSILON 1e-8f

hotrow_status hr_dense_adam_init(hr_dense_adam *adam, size_t count)
{
  void *memory;
  HOTROW_TRY(hr_alloc(hr_mul(2, count), sizeof(float), "means of dense gradients", &memory));
  *adam = (hr_dense_adam){.first = memory, .second = (float *)memory + count, .count = count, 1, 1};
  return HOTROW_OK;
}

void hr_dense_adam_fini(hr_dense_adam *adam)
{
  free(adam->first);
  *adam = (hr_dense_adam){0};
}

void hr_dense_adam_update(hr_dense_adam *adam, float lr, const float *grads, float *params)
{
  adam->first_left *= (double)BETA1;
  adam->second_left *= (double)BETA2;
  const float first_scale = (float)(1 / (1 - adam->first_left));
  const float second_scale = (float)(1 / (1 - adam->second_left));
  for (size_t i = 0; i < adam->count; i++) {
    adam->first[i] = BETA1 * adam->first[i] + (1 - BETA1) * grads[i];
    adam->second[i] = BETA2 * adam->second[i] + (1 - BETA2) * grads[i] * grads[i];
    params[i] -= lr * (first_scale * adam->first[i]) / (sqrtf(second_scale * adam->second[i]) + EPSILON);
  }
}
