/* One row of one segment by its optimizer, for the kernels that do it: see optimizer_cuda.cu. */
#ifndef OPTIMIZER_CUDA_H
#define OPTIMIZER_CUDA_H

#include "optimizer_math.h"
#include "row_cuda.h"

typedef struct segment_rule {
  hotrow_optimizer optimizer; /* its lr scaled, but FTRL's */
  float grad_scale;           /* FTRL's */
  uint32_t dim;
} segment_rule;

HR_SHARED_INLINE segment_rule rule_of(const hotrow_segment_layout *segment, float lr_scale)
{
  segment_rule rule = {segment->optimizer, 1.0f, segment->dim};
  if (segment->optimizer.kind == HOTROW_FTRL)
    rule.grad_scale = lr_scale;
  else
    rule.optimizer.lr *= lr_scale;
  return rule;
}

/* One row of a segment, and the push of it. */
typedef struct row_update {
  float *x;
  float *state;
  const float *g;
  const float *squares; /* NULL: they are taken from g */
  uint32_t steps;
} row_update;

static __device__ constexpr bool has_first(hotrow_optimizer_kind kind)
{
  return kind != HOTROW_SGD && kind != HOTROW_ROWWISE_ADAGRAD;
}

static __device__ constexpr bool has_second(hotrow_optimizer_kind kind)
{
  return kind == HOTROW_ADAM || kind == HOTROW_ADAMW || kind == HOTROW_FTRL || kind == HOTROW_LAMB;
}

/* Momentum, Adam and its kin take a push of k steps as k steps of G/k. */
static __device__ constexpr bool is_repeated(hotrow_optimizer_kind kind)
{
  return kind == HOTROW_MOMENTUM || kind == HOTROW_ADAM || kind == HOTROW_ADAMW || kind == HOTROW_ROWWISE_ADAM ||
         kind == HOTROW_LAMB;
}

/* What the columns of a row share. */
typedef struct row_scalars {
  float mean_square; /* of one step: row-wise Adagrad and Adam */
  float divisor;     /* row-wise Adagrad */
  float v;           /* row-wise Adam */
  float t;
} row_scalars;

/* A column's share of a step. */
template <hotrow_optimizer_kind kind>
static __device__ inline void step_column(const segment_rule *rule, adam_bias bias, float divisor, float *x,
                                          float *first, float *second, float g, float square)
{
  const hotrow_optimizer *o = &rule->optimizer;
  switch (kind) {
  case HOTROW_SGD:
    sgd_column(o, x, g);
    break;
  case HOTROW_MOMENTUM:
    momentum_column(o, x, first, g);
    break;
  case HOTROW_ADAGRAD:
    adagrad_column(o, x, first, g, square);
    break;
  case HOTROW_ROWWISE_ADAGRAD:
    rowwise_column(o, divisor, x, g);
    break;
  case HOTROW_FTRL:
    ftrl_column(o, rule->grad_scale, x, first, second, g, square);
    break;
  case HOTROW_ROWWISE_ADAM:
    rowwise_adam_column(o, bias, divisor, x, first, g);
    break;
  default:
    adam_column(o, bias, kind == HOTROW_ADAMW, x, first, second, g);
  }
}

/* All steps of the columns that one lane holds; `scalars` move on with them. */
template <unsigned width, hotrow_optimizer_kind kind>
static __device__ inline void step_lane(const segment_rule *rule, row_update row, uint32_t column, row_scalars *scalars)
{
  hr_lane<float, width> x = hr_load<width>(row.x + column), g = hr_load<width>(row.g + column);
  hr_lane<float, width> first = hr_fill<width>(0.0f), second = first, squares = first;
  if (has_first(kind))
    first = hr_load<width>(row.state + column);
  if (has_second(kind))
    second = hr_load<width>(row.state + rule->dim + column);
  if ((kind == HOTROW_ADAGRAD || kind == HOTROW_FTRL) && row.squares)
    squares = hr_load<width>(row.squares + column);
#pragma unroll
  for (unsigned k = 0; k < width; k++) {
    if (is_repeated(kind) && row.steps > 1)
      g.x[k] = __fdiv_rn(g.x[k], (float)row.steps);
    if (!row.squares)
      squares.x[k] = __fmul_rn(g.x[k], g.x[k]);
  }
  uint32_t step_count = is_repeated(kind) ? row.steps : 1;
#pragma unroll 1
  for (uint32_t step = 0; step < step_count; step++) {
    adam_bias bias = {1.0f, 1.0f};
    if (kind == HOTROW_ADAM || kind == HOTROW_ADAMW || kind == HOTROW_ROWWISE_ADAM)
      bias = adam_step(&rule->optimizer, &scalars->t);
    if (kind == HOTROW_ROWWISE_ADAM)
      scalars->divisor = rowwise_adam_divisor(&rule->optimizer, bias, &scalars->v, scalars->mean_square);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      step_column<kind>(rule, bias, scalars->divisor, &x.x[k], &first.x[k], &second.x[k], g.x[k], squares.x[k]);
  }
  hr_store<width>(row.x + column, x);
  if (has_first(kind))
    hr_store<width>(row.state + column, first);
  if (has_second(kind))
    hr_store<width>(row.state + rule->dim + column, second);
}

template <unsigned width, hotrow_optimizer_kind kind>
static __device__ inline void step_plain(const segment_rule *rule, row_update row, hr_row_shape shape)
{
  row_scalars before = {0.0f, 1.0f, 0.0f, 0.0f};
  float accumulated = 0.0f;
  if (kind == HOTROW_ROWWISE_ADAGRAD) {
    accumulated = row.state[0];
    float square = row.squares ? row.squares[0] : hr_mean_squares<width>(row.g, rule->dim, 1, shape);
    before.divisor = rowwise_divisor(&rule->optimizer, &accumulated, square);
  }
  if (kind == HOTROW_ROWWISE_ADAM) {
    before.mean_square = hr_mean_squares<width>(row.g, rule->dim, row.steps, shape);
    before.v = row.state[rule->dim];
    before.t = row.state[rule->dim + 1];
  }
  if (kind == HOTROW_ADAM || kind == HOTROW_ADAMW)
    before.t = row.state[2 * (size_t)rule->dim];
  if (kind == HOTROW_ROWWISE_ADAGRAD || kind == HOTROW_ROWWISE_ADAM || kind == HOTROW_ADAM || kind == HOTROW_ADAMW)
    __syncwarp(hr_row_mask(shape));
  row_scalars after = before;
  for (uint32_t column = hr_lane_index(shape) * width; column < rule->dim; column += width << shape.lanes_log2) {
    after = before;
    step_lane<width, kind>(rule, row, column, &after);
  }
  if (hr_lane_index(shape) != 0)
    return;
  if (kind == HOTROW_ROWWISE_ADAGRAD)
    row.state[0] = accumulated;
  if (kind == HOTROW_ROWWISE_ADAM) {
    row.state[rule->dim] = after.v;
    row.state[rule->dim + 1] = after.t;
  }
  if (kind == HOTROW_ADAM || kind == HOTROW_ADAMW)
    row.state[2 * (size_t)rule->dim] = after.t;
}

/* LAMB's moments and direction of one lane's columns. */
template <unsigned width>
static __device__ inline hr_lane<float, width> lamb_lane(const segment_rule *rule, row_update row, adam_bias bias,
                                                         uint32_t column, bool is_first_time, hr_lane<float, width> x)
{
  hr_lane<float, width> m = hr_load<width>(row.state + column), v = hr_load<width>(row.state + rule->dim + column);
  if (is_first_time) {
    hr_lane<float, width> g = hr_load<width>(row.g + column);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      adam_moments(&rule->optimizer, &m.x[k], &v.x[k], row.steps > 1 ? __fdiv_rn(g.x[k], (float)row.steps) : g.x[k]);
    hr_store<width>(row.state + column, m);
    hr_store<width>(row.state + rule->dim + column, v);
  }
#pragma unroll
  for (unsigned k = 0; k < width; k++)
    m.x[k] = lamb_direction(&rule->optimizer, bias, x.x[k], m.x[k], v.x[k]);
  return m;
}

/* One step. The direction is computed twice, from the same moments: a row may be too wide to be held. */
template <unsigned width>
static __device__ inline void step_lamb(const segment_rule *rule, row_update row, adam_bias bias, hr_row_shape shape)
{
  float x_square = 0.0f, r_square = 0.0f;
  for (uint32_t start = 0; start < rule->dim; start += width << shape.lanes_log2) {
    uint32_t column = start + hr_lane_index(shape) * width;
    hr_lane<float, width> x = hr_fill<width>(0.0f), r = x;
    if (column < rule->dim) {
      x = hr_load<width>(row.x + column);
      r = lamb_lane<width>(rule, row, bias, column, true, x);
#pragma unroll
      for (unsigned k = 0; k < width; k++) {
        x.x[k] = __fmul_rn(x.x[k], x.x[k]);
        r.x[k] = __fmul_rn(r.x[k], r.x[k]);
      }
    }
    unsigned active = hr_active_lanes(rule->dim, start, width, shape);
    x_square = hr_add_in_order<width>(x_square, x, active, shape);
    r_square = hr_add_in_order<width>(r_square, r, active, shape);
  }
  float trust = lamb_trust(x_square, r_square);
  for (uint32_t column = hr_lane_index(shape) * width; column < rule->dim; column += width << shape.lanes_log2) {
    hr_lane<float, width> x = hr_load<width>(row.x + column);
    hr_lane<float, width> r = lamb_lane<width>(rule, row, bias, column, false, x);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      lamb_column(&rule->optimizer, trust, &x.x[k], r.x[k]);
    hr_store<width>(row.x + column, x);
  }
}

/* All steps of a push, by all lanes of the row. */
template <unsigned width, hotrow_optimizer_kind kind>
static __device__ inline void step_row(const segment_rule *rule, row_update row, hr_row_shape shape)
{
  if (kind != HOTROW_LAMB) {
    step_plain<width, kind>(rule, row, shape);
    return;
  }
  float t = row.state[2 * (size_t)rule->dim];
  __syncwarp(hr_row_mask(shape));
  for (uint32_t k = 0; k < row.steps; k++)
    step_lamb<width>(rule, row, adam_step(&rule->optimizer, &t), shape);
  if (hr_lane_index(shape) == 0)
    row.state[2 * (size_t)rule->dim] = t;
}

#endif
