/* Gradients into rows. */
#include <hr/assert.h>
#include <hr/optimizer.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "optimizer_math.h"
#include "row_cpu.h"

typedef struct rows_update {
  const hotrow_row_layout *layout;
  float lr_scale;
  float *rows;
  size_t row_stride;
  const uint32_t *slots;
  const float *grads;
  const float *squares;
  const uint32_t *steps;
  size_t row_count;
} rows_update;

HR_ROW_INLINE void step_sgd(hotrow_optimizer o, uint32_t dim, float *restrict x, const float *restrict g)
{
  for (uint32_t c = 0; c < dim; c++)
    sgd_column(&o, &x[c], g[c]);
}

HR_ROW_INLINE void step_momentum(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict v,
                                 const float *restrict g)
{
  for (uint32_t c = 0; c < dim; c++)
    momentum_column(&o, &x[c], &v[c], g[c]);
}

HR_ROW_INLINE void step_adagrad(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict a,
                                const float *restrict g)
{
  for (uint32_t c = 0; c < dim; c++)
    adagrad_column(&o, &x[c], &a[c], g[c], g[c] * g[c]);
}

HR_ROW_INLINE void step_adagrad_with_squares(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict a,
                                             const float *restrict g, const float *restrict squares)
{
  for (uint32_t c = 0; c < dim; c++)
    adagrad_column(&o, &x[c], &a[c], g[c], squares[c]);
}

HR_ROW_INLINE void step_rowwise(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict a,
                                const float *restrict g, float square)
{
  float divisor = rowwise_divisor(&o, a, square);
  for (uint32_t c = 0; c < dim; c++)
    rowwise_column(&o, divisor, &x[c], g[c]);
}

/* Adam, and AdamW when it decays. */
HR_ROW_INLINE void step_adam(hotrow_optimizer o, bool is_decaying, uint32_t dim, float *restrict x, float *restrict m,
                             float *restrict v, float *restrict t, const float *restrict g)
{
  adam_bias bias = adam_step(&o, t);
  for (uint32_t c = 0; c < dim; c++)
    adam_column(&o, bias, is_decaying, &x[c], &m[c], &v[c], g[c]);
}

HR_ROW_INLINE void step_rowwise_adam(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict m,
                                     float *restrict v, float *restrict t, const float *restrict g, float mean_square)
{
  adam_bias bias = adam_step(&o, t);
  float divisor = rowwise_adam_divisor(&o, bias, v, mean_square);
  for (uint32_t c = 0; c < dim; c++)
    rowwise_adam_column(&o, bias, divisor, &x[c], &m[c], g[c]);
}

HR_ROW_INLINE void step_lamb(hotrow_optimizer o, uint32_t dim, float *restrict x, float *restrict m, float *restrict v,
                             float *restrict t, const float *restrict g)
{
  float r[HOTROW_DIM_MAX], x_square = 0.0f, r_square = 0.0f;
  adam_bias bias = adam_step(&o, t);
  for (uint32_t c = 0; c < dim; c++) {
    adam_moments(&o, &m[c], &v[c], g[c]);
    r[c] = lamb_direction(&o, bias, x[c], m[c], v[c]);
  }
  for (uint32_t c = 0; c < dim; c++) {
    x_square += x[c] * x[c];
    r_square += r[c] * r[c];
  }
  float trust = lamb_trust(x_square, r_square);
  for (uint32_t c = 0; c < dim; c++)
    lamb_column(&o, trust, &x[c], r[c]);
}

/* squares NULL: they are taken from g. */
HR_ROW_INLINE void step_ftrl(hotrow_optimizer o, float grad_scale, uint32_t dim, float *restrict x, float *restrict z,
                             float *restrict n, const float *restrict g, const float *restrict squares)
{
  for (uint32_t c = 0; c < dim; c++)
    ftrl_column(&o, grad_scale, &x[c], &z[c], &n[c], g[c], squares ? squares[c] : g[c] * g[c]);
}

/* Momentum, Adam and its kin take a push of k steps as k steps of G/k. mean_square is that of g. */
HR_ROW_INLINE void step_repeatedly(hotrow_optimizer o, hotrow_optimizer_kind kind, uint32_t dim, float *x, float *state,
                                   const float *g, uint32_t k, float mean_square)
{
  float scaled[HOTROW_DIM_MAX];
  if (k > 1) {
    for (uint32_t c = 0; c < dim; c++)
      scaled[c] = g[c] / (float)k;
    g = scaled;
    if (kind == HOTROW_ROWWISE_ADAM)
      hr_mean_squares(g, dim, dim, 1, &mean_square);
  }
  float *second = state + dim, *last = state + 2 * (size_t)dim;
  for (uint32_t step = 0; step < k; step++) {
    if (kind == HOTROW_MOMENTUM)
      step_momentum(o, dim, x, state, g);
    else if (kind == HOTROW_ROWWISE_ADAM)
      step_rowwise_adam(o, dim, x, state, second, second + 1, g, mean_square);
    else if (kind == HOTROW_LAMB)
      step_lamb(o, dim, x, state, second, last, g);
    else
      step_adam(o, kind == HOTROW_ADAMW, dim, x, state, second, last, g);
  }
}

/* Squares of a push of k > 1 steps come with it; NULL: they are taken from g, or from its mean over the segment. */
HR_ROW_INLINE void step_row(hotrow_optimizer o, float grad_scale, hotrow_optimizer_kind kind, uint32_t dim, float *x,
                            float *state, const float *g, uint32_t k, const float *squares, float mean_square)
{
  switch (kind) {
  case HOTROW_SGD:
    step_sgd(o, dim, x, g);
    break;
  case HOTROW_ADAGRAD:
    if (squares)
      step_adagrad_with_squares(o, dim, x, state, g, squares);
    else
      step_adagrad(o, dim, x, state, g);
    break;
  case HOTROW_ROWWISE_ADAGRAD:
    step_rowwise(o, dim, x, state, g, squares ? *squares : mean_square);
    break;
  case HOTROW_FTRL:
    step_ftrl(o, grad_scale, dim, x, state, state + dim, g, squares);
    break;
  default:
    step_repeatedly(o, kind, dim, x, state, g, k, mean_square);
  }
}

/* Asks for row i, should there be one. */
HR_ROW_INLINE void prefetch_update(const rows_update *u, size_t i, size_t floats)
{
  if (i < u->row_count && u->slots[i] != HOTROW_SLOT_NONE)
    hr_prefetch_row(u->rows + u->slots[i] * u->row_stride, floats);
}

/* One segment of rows first .. end-1. Inlined with a constant kind: one loop per optimizer. */
HR_ROW_INLINE void apply_segment(const rows_update *u, const hotrow_segment_layout *segment, hotrow_optimizer_kind kind,
                                 size_t first, size_t end)
{
  hotrow_optimizer o = segment->optimizer;
  float grad_scale = kind == HOTROW_FTRL ? u->lr_scale : 1.0f;
  o.lr *= kind == HOTROW_FTRL ? 1.0f : u->lr_scale;
  uint32_t dim = segment->dim;
  size_t grad_stride = u->layout->dim, square_stride = u->layout->square_dim;
  size_t value_offset = segment->value_offset, state_offset = segment->state_offset;
  bool is_first_segment = value_offset == 0;
  const float *grads = u->grads + value_offset;
  const float *all_squares = u->squares && segment->square_dim > 0 ? u->squares + segment->square_offset : NULL;
  size_t prefetch_floats = hr_prefetch_floats(grad_stride + u->layout->state_dim);
  float means[HR_MEAN_ROWS] = {0.0f};
  for (size_t i = first; i < end; i++) {
    if (is_first_segment)
      prefetch_update(u, i + HR_ROWS_AHEAD, prefetch_floats);
    if ((kind == HOTROW_ROWWISE_ADAGRAD || kind == HOTROW_ROWWISE_ADAM) && i % HR_MEAN_ROWS == 0)
      hr_mean_squares_of_group(grads, grad_stride, dim, i, end, means);
    uint32_t k = u->steps ? u->steps[i] : 1;
    if (u->slots[i] == HOTROW_SLOT_NONE)
      continue;
    HOTROW_ASSERT(k >= 1);
    float *row = u->rows + u->slots[i] * u->row_stride;
    step_row(o, grad_scale, kind, dim, row + value_offset, row + state_offset, grads + i * grad_stride, k,
             k > 1 && all_squares ? all_squares + i * square_stride : NULL, means[i % HR_MEAN_ROWS]);
  }
}

HR_VECTORISED void hr_cpu_optimizer_apply(const hotrow_row_layout *layout, float lr_scale, float *rows,
                                          size_t row_stride, const uint32_t *slots, const float *grads,
                                          const float *squares, const uint32_t *steps, size_t row_count, void *stream)
{
  (void)stream;
  HOTROW_ASSERT(layout->dim > 0 && layout->dim <= HOTROW_DIM_MAX);
  HOTROW_ASSERT(row_stride >= layout->dim + layout->state_dim);
  HOTROW_ASSERT(!steps || squares || layout->square_dim == 0);
  HOTROW_ASSERT(lr_scale >= 0.0f && isfinite(lr_scale));
  rows_update update = {layout, lr_scale, rows, row_stride, slots, grads, squares, steps, row_count};
  size_t block_rows = layout->segment_count > 1 ? HR_BLOCK_ROWS : row_count;
  for (size_t first = 0, end; first < row_count; first = end) {
    end = row_count - first > block_rows ? first + block_rows : row_count;
    for (uint32_t s = 0; s < layout->segment_count; s++) {
      const hotrow_segment_layout *segment = &layout->segments[s];
      switch (segment->optimizer.kind) {
#define APPLY(kind)                                                                                                    \
  case kind:                                                                                                           \
    apply_segment(&update, segment, kind, first, end);                                                                 \
    break
        APPLY(HOTROW_SGD);
        APPLY(HOTROW_MOMENTUM);
        APPLY(HOTROW_ADAGRAD);
        APPLY(HOTROW_ROWWISE_ADAGRAD);
        APPLY(HOTROW_ADAM);
        APPLY(HOTROW_ADAMW);
        APPLY(HOTROW_ROWWISE_ADAM);
        APPLY(HOTROW_FTRL);
        APPLY(HOTROW_LAMB);
#undef APPLY
      default:
        HOTROW_ASSERT(false);
      }
    }
  }
}
