/* Adam (Kingma & Ba 2015) over the flat array of dense parameters. Every rank runs it on the same summed gradients and
 * so keeps the same parameters, bit for bit, without sending them. One thread at a time. */
#ifndef HR_DENSE_ADAM_H
#define HR_DENSE_ADAM_H

#include <hr/status.h>

#include "dense.h"

typedef struct hr_dense_adam {
  hr_dense *dense; /* borrowed */
  float *first;    /* [count], owned, on the device: running mean of gradients */
  float *second;   /* [count], behind it: running mean of their squares */
  size_t count;
  double first_left, second_left; /* beta1^t, beta2^t */
} hr_dense_adam;

hotrow_status hr_dense_adam_init(hr_dense_adam *adam, hr_dense *dense, size_t count); /* HOTROW_ERR_NO_MEMORY */
void hr_dense_adam_fini(hr_dense_adam *adam);
/* grads and params are on the device. */
void hr_dense_adam_update(hr_dense_adam *adam, float lr, const float *grads, float *params);

#endif
