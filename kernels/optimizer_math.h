/* One step of each optimizer on one column, and on what a row has once. Every operation is one rounded float operation,
 * left to right as <hotrow/base.h> writes it; only Adam's powers are taken in double. */
#ifndef OPTIMIZER_MATH_H
#define OPTIMIZER_MATH_H

#include "shared_math.h"

#define ADAM_STEPS_MAX (1u << 24) /* the last count that a float holds; the powers of beta are constant beyond */

HR_SHARED_INLINE void sgd_column(const hotrow_optimizer *o, float *x, float g)
{
  *x -= o->lr * g;
}

HR_SHARED_INLINE void momentum_column(const hotrow_optimizer *o, float *x, float *v, float g)
{
  *v = o->beta1 * *v + g;
  *x -= o->lr * *v;
}

HR_SHARED_INLINE void adagrad_column(const hotrow_optimizer *o, float *x, float *a, float g, float square)
{
  *a += square;
  *x -= o->lr * g / (sqrtf(*a) + o->eps);
}

/* Row-wise Adagrad: `square` into the row's accumulator, and what its columns are divided by. */
HR_SHARED_INLINE float rowwise_divisor(const hotrow_optimizer *o, float *a, float square)
{
  *a += square;
  return sqrtf(*a) + o->eps;
}

HR_SHARED_INLINE void rowwise_column(const hotrow_optimizer *o, float divisor, float *x, float g)
{
  *x -= o->lr * g / divisor;
}

/* base^exponent by squaring: multiplications in double only, so that it is the same everywhere. */
HR_SHARED_INLINE double power(double base, uint32_t exponent)
{
  double result = 1.0;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1u)
      result *= base;
    base *= base;
  }
  return result;
}

/* 1-beta1^t and 1-beta2^t of a step. */
typedef struct adam_bias {
  float first;
  float second;
} adam_bias;

/* t of the step that begins after t steps. */
HR_SHARED_INLINE float adam_count(float t)
{
  return t >= 0.0f && t < (float)ADAM_STEPS_MAX ? (float)((uint32_t)t + 1) : (float)ADAM_STEPS_MAX;
}

/* Counts the step that now begins. */
HR_SHARED_INLINE adam_bias adam_step(const hotrow_optimizer *o, float *t)
{
  *t = adam_count(*t);
  uint32_t step = (uint32_t)*t;
  adam_bias bias = {(float)(1.0 - power((double)o->beta1, step)), (float)(1.0 - power((double)o->beta2, step))};
  return bias;
}

HR_SHARED_INLINE void adam_moments(const hotrow_optimizer *o, float *m, float *v, float g)
{
  *m = o->beta1 * *m + (1.0f - o->beta1) * g;
  *v = o->beta2 * *v + (1.0f - o->beta2) * g * g;
}

/* Adam, and AdamW when it decays. */
HR_SHARED_INLINE void adam_column(const hotrow_optimizer *o, adam_bias bias, bool is_decaying, float *x, float *m,
                                  float *v, float g)
{
  adam_moments(o, m, v, g);
  float change = o->lr * (*m / bias.first) / (sqrtf(*v / bias.second) + o->eps);
  *x -= is_decaying ? change + o->lr * o->weight_decay * *x : change;
}

/* Row-wise Adam: the mean of g*g into the row's v, and what its columns are divided by. */
HR_SHARED_INLINE float rowwise_adam_divisor(const hotrow_optimizer *o, adam_bias bias, float *v, float mean_square)
{
  *v = o->beta2 * *v + (1.0f - o->beta2) * mean_square;
  return sqrtf(*v / bias.second) + o->eps;
}

HR_SHARED_INLINE void rowwise_adam_column(const hotrow_optimizer *o, adam_bias bias, float divisor, float *x, float *m,
                                          float g)
{
  *m = o->beta1 * *m + (1.0f - o->beta1) * g;
  *x -= o->lr * (*m / bias.first) / divisor;
}

/* r of a column, its moments taken in already. */
HR_SHARED_INLINE float lamb_direction(const hotrow_optimizer *o, adam_bias bias, float x, float m, float v)
{
  return m / bias.first / (sqrtf(v / bias.second) + o->eps) + o->weight_decay * x;
}

HR_SHARED_INLINE float lamb_trust(float x_square, float r_square)
{
  return x_square > 0.0f && r_square > 0.0f ? sqrtf(x_square) / sqrtf(r_square) : 1.0f;
}

HR_SHARED_INLINE void lamb_column(const hotrow_optimizer *o, float trust, float *x, float r)
{
  *x -= o->lr * trust * r;
}

HR_SHARED_INLINE void ftrl_column(const hotrow_optimizer *o, float grad_scale, float *x, float *z, float *n, float g,
                                  float square)
{
  float root = sqrtf(*n);
  *n += square;
  float new_root = sqrtf(*n);
  *z += grad_scale * g - (new_root - root) / o->lr * *x;
  float divisor = (o->eps + new_root) / o->lr + o->weight_decay;
  float shrunk = *z > 0.0f ? *z - o->l1 : *z + o->l1;
  *x = fabsf(*z) > o->l1 ? -shrunk / divisor : 0.0f;
}

#endif
