/* Gradients into rows. Every operation is one rounded float operation, left to right as <hotrow/base.h> writes it; only
 * Adam's powers are taken in double. So another backend can give the same bits. */
#include <math.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/optimizer.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

#define MEAN_ROWS 8u              /* independent sums that hide the latency of adding in column order */
#define ADAM_STEPS_MAX (1u << 24) /* the last count that a float holds; the powers of beta are constant beyond */

typedef struct rows_update {
  hotrow_optimizer optimizer;
  uint32_t dim;
  float *rows;
  size_t row_stride;
  const uint32_t *slots;
  const float *grads;
  const float *squares;
  const uint32_t *steps;
  size_t row_count;
} rows_update;

/* means[r] = mean of g*g over row r of grads, summed in column order. */
HR_ROW_INLINE void mean_squares(const float *grads, uint32_t dim, size_t row_count, float *means)
{
  float sums[MEAN_ROWS] = {0.0f};
  for (uint32_t c = 0; c < dim; c++)
    for (size_t r = 0; r < row_count; r++)
      sums[r] += grads[r * dim + c] * grads[r * dim + c];
  for (size_t r = 0; r < row_count; r++)
    means[r] = sums[r] * (1.0f / (float)dim);
}

/* The means of rows first .. first+MEAN_ROWS-1, as far as there are. */
HR_ROW_INLINE void mean_squares_of_group(const float *grads, uint32_t dim, size_t first, size_t row_count, float *means)
{
  if (row_count - first >= MEAN_ROWS)
    mean_squares(grads + first * dim, dim, MEAN_ROWS, means);
  else
    mean_squares(grads + first * dim, dim, row_count - first, means);
}

HR_ROW_INLINE void step_sgd(hotrow_optimizer o, uint32_t dim, float *restrict x, const float *restrict g)
{
  for (uint32_t c = 0; c < dim; c++)
    x[c] -= o.lr * g[c];
}

HR_ROW_INLINE void step_momentum(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict v,
                                 const float *restrict g)
{
  for (uint32_t c = 0; c < dim; c++) {
    v[c] = o.beta1 * v[c] + g[c];
    x[c] -= o.lr * v[c];
  }
}

HR_ROW_INLINE void step_adagrad(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict a,
                                const float *restrict g)
{
  for (uint32_t c = 0; c < dim; c++) {
    a[c] += g[c] * g[c];
    x[c] -= o.lr * g[c] / (sqrtf(a[c]) + o.eps);
  }
}

HR_ROW_INLINE void step_adagrad_with_squares(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict a,
                                             const float *restrict g, const float *restrict squares)
{
  for (uint32_t c = 0; c < dim; c++) {
    a[c] += squares[c];
    x[c] -= o.lr * g[c] / (sqrtf(a[c]) + o.eps);
  }
}

HR_ROW_INLINE void step_rowwise(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict a,
                                const float *restrict g, float square)
{
  *a += square;
  float divisor = sqrtf(*a) + o.eps;
  for (uint32_t c = 0; c < dim; c++)
    x[c] -= o.lr * g[c] / divisor;
}

/* base^exponent by squaring: multiplications in double only, so that it is the same everywhere. */
HR_ROW_INLINE double power(double base, uint32_t exponent)
{
  double result = 1.0;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1u)
      result *= base;
    base *= base;
  }
  return result;
}

HR_ROW_INLINE void step_adam(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict m, float *restrict v,
                             float *restrict t, const float *restrict g)
{
  uint32_t step = *t >= 0.0f && *t < (float)ADAM_STEPS_MAX ? (uint32_t)*t + 1 : ADAM_STEPS_MAX;
  *t = (float)step;
  float bias1 = (float)(1.0 - power((double)o.beta1, step));
  float bias2 = (float)(1.0 - power((double)o.beta2, step));
  float rest1 = 1.0f - o.beta1, rest2 = 1.0f - o.beta2;
  for (uint32_t c = 0; c < dim; c++) {
    m[c] = o.beta1 * m[c] + rest1 * g[c];
    v[c] = o.beta2 * v[c] + rest2 * g[c] * g[c];
    x[c] -= o.lr * (m[c] / bias1) / (sqrtf(v[c] / bias2) + o.eps);
  }
}

/* Momentum and Adam take a push of k steps as k steps of G/k. */
HR_ROW_INLINE void step_repeatedly(hotrow_optimizer o, hotrow_optimizer_kind kind, uint32_t dim, float *x,
                                   const float *g, uint32_t k)
{
  float scaled[HOTROW_DIM_MAX];
  if (k > 1) {
    for (uint32_t c = 0; c < dim; c++)
      scaled[c] = g[c] / (float)k;
    g = scaled;
  }
  float *state = x + dim;
  for (uint32_t step = 0; step < k; step++) {
    if (kind == HOTROW_MOMENTUM)
      step_momentum(o, dim, x, state, g);
    else
      step_adam(o, dim, x, state, state + dim, state + 2 * (size_t)dim, g);
  }
}

/* Squares of a push of k > 1 steps come with it; NULL: they are taken from g, or from its mean over the row. */
HR_ROW_INLINE void step_row(hotrow_optimizer o, hotrow_optimizer_kind kind, uint32_t dim, float *x, const float *g,
                            uint32_t k, const float *squares, float mean_square)
{
  switch (kind) {
  case HOTROW_SGD:
    step_sgd(o, dim, x, g);
    break;
  case HOTROW_ADAGRAD:
    if (squares)
      step_adagrad_with_squares(o, dim, x, x + dim, g, squares);
    else
      step_adagrad(o, dim, x, x + dim, g);
    break;
  case HOTROW_ROWWISE_ADAGRAD:
    step_rowwise(o, dim, x, x + dim, g, squares ? *squares : mean_square);
    break;
  default:
    step_repeatedly(o, kind, dim, x, g, k);
  }
}

/* Inlined with a constant kind: one loop per optimizer. */
HR_ROW_INLINE void apply_rows(const rows_update *u, hotrow_optimizer_kind kind)
{
  uint32_t dim = u->dim;
  uint32_t square_dim = hr_optimizer_square_dim(kind, dim);
  size_t prefetch_floats = hr_prefetch_floats(dim + hr_optimizer_state_dim(kind, dim));
  float means[MEAN_ROWS] = {0.0f};
  for (size_t i = 0; i < u->row_count; i++) {
    if (i + HR_ROWS_AHEAD < u->row_count)
      hr_prefetch_row(u->rows + u->slots[i + HR_ROWS_AHEAD] * u->row_stride, prefetch_floats);
    if (kind == HOTROW_ROWWISE_ADAGRAD && i % MEAN_ROWS == 0)
      mean_squares_of_group(u->grads, dim, i, u->row_count, means);
    uint32_t k = u->steps ? u->steps[i] : 1;
    const float *squares = k > 1 && square_dim > 0 ? u->squares + i * square_dim : NULL;
    HOTROW_ASSERT(u->slots[i] != HOTROW_SLOT_NONE);
    HOTROW_ASSERT(k >= 1);
    step_row(u->optimizer, kind, dim, u->rows + u->slots[i] * u->row_stride, u->grads + i * dim, k, squares,
             means[i % MEAN_ROWS]);
  }
}

HR_VECTORISED void hr_cpu_optimizer_apply(const hotrow_optimizer *optimizer, uint32_t dim, float *rows,
                                          size_t row_stride, const uint32_t *slots, const float *grads,
                                          const float *squares, const uint32_t *steps, size_t row_count, void *stream)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && dim <= HOTROW_DIM_MAX);
  HOTROW_ASSERT(row_stride >= dim + hr_optimizer_state_dim(optimizer->kind, dim));
  HOTROW_ASSERT(!steps || squares || hr_optimizer_square_dim(optimizer->kind, dim) == 0);
  rows_update update = {*optimizer, dim, rows, row_stride, slots, grads, squares, steps, row_count};
  switch (optimizer->kind) {
  case HOTROW_SGD:
    apply_rows(&update, HOTROW_SGD);
    break;
  case HOTROW_MOMENTUM:
    apply_rows(&update, HOTROW_MOMENTUM);
    break;
  case HOTROW_ADAGRAD:
    apply_rows(&update, HOTROW_ADAGRAD);
    break;
  case HOTROW_ROWWISE_ADAGRAD:
    apply_rows(&update, HOTROW_ROWWISE_ADAGRAD);
    break;
  default:
    HOTROW_ASSERT(optimizer->kind == HOTROW_ADAM);
    apply_rows(&update, HOTROW_ADAM);
  }
}

HR_ROW_INLINE void set_squares(float *restrict sum, const float *restrict g, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] = g[c] * g[c];
}

HR_ROW_INLINE void add_squares(float *restrict sum, const float *restrict g, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] += g[c] * g[c];
}

HR_ROW_INLINE void add_row(float *restrict sum, const float *restrict g, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] += g[c];
}

HR_VECTORISED void hr_cpu_pending_add(hotrow_optimizer_kind kind, uint32_t dim, float *pending, size_t pending_stride,
                                      const uint32_t *slots, const uint8_t *is_first, const float *grads,
                                      size_t row_count, void *stream)
{
  (void)stream;
  uint32_t square_dim = hr_optimizer_square_dim(kind, dim);
  HOTROW_ASSERT(dim > 0 && pending_stride >= dim + square_dim);
  size_t prefetch_floats = hr_prefetch_floats(dim + square_dim);
  float means[MEAN_ROWS] = {0.0f};
  for (size_t i = 0; i < row_count; i++) {
    if (i + HR_ROWS_AHEAD < row_count)
      hr_prefetch_row(pending + slots[i + HR_ROWS_AHEAD] * pending_stride, prefetch_floats);
    if (kind == HOTROW_ROWWISE_ADAGRAD && i % MEAN_ROWS == 0)
      mean_squares_of_group(grads, dim, i, row_count, means);
    HOTROW_ASSERT(slots[i] != HOTROW_SLOT_NONE);
    float *sum = pending + slots[i] * pending_stride;
    const float *g = grads + i * dim;
    float mean = means[i % MEAN_ROWS];
    if (is_first[i])
      memcpy(sum, g, dim * sizeof(float));
    else
      add_row(sum, g, dim);
    if (kind == HOTROW_ADAGRAD && is_first[i])
      set_squares(sum + dim, g, dim);
    else if (kind == HOTROW_ADAGRAD)
      add_squares(sum + dim, g, dim);
    else if (kind == HOTROW_ROWWISE_ADAGRAD)
      sum[dim] = is_first[i] ? mean : sum[dim] + mean;
  }
}
