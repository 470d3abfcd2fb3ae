/* Gradients into rows and their state, by the steps of optimizer_math.h.
 * Grid: one launch per segment; lanes share its rows as row_cuda.h says. What a row has once (an accumulator, a count
 * of steps) each of its lanes reads and moves on by itself, and the first one writes it when all have read it. Bytes
 * per row: 4 (slot), 4 (steps, where given), 4*dim of gradients, 8*(dim + state_dim) of the row, 4*square_dim of
 * squares of rows of several steps. LAMB reads and writes its row once more. */
#include "optimizer_math.h"
#include "row_cuda.h"

/* A segment of the rows; the pointers are at the first row's segment. */
typedef struct rows_update {
  hotrow_optimizer optimizer; /* its lr scaled, but FTRL's */
  float grad_scale;           /* FTRL's */
  uint32_t dim;
  float *values;
  float *states;
  size_t row_stride;
  const uint32_t *slots;
  const float *grads;
  size_t grad_stride;
  const float *squares; /* NULL: none are given */
  size_t square_stride;
  const uint32_t *steps; /* NULL: 1 each */
  size_t row_count;
} rows_update;

/* One row of it. */
typedef struct row_update {
  float *x;
  float *state;
  const float *g;
  const float *squares; /* NULL: they are taken from g */
  uint32_t steps;
} row_update;

static __device__ inline row_update row_of(rows_update u, size_t i)
{
  size_t at = u.slots[i] * u.row_stride;
  uint32_t steps = u.steps ? u.steps[i] : 1;
  row_update row = {u.values + at, u.states + at, u.grads + i * u.grad_stride,
                    steps > 1 && u.squares ? u.squares + i * u.square_stride : NULL, steps};
  return row;
}

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
static __device__ inline void step_column(const rows_update *u, adam_bias bias, float divisor, float *x, float *first,
                                          float *second, float g, float square)
{
  const hotrow_optimizer *o = &u->optimizer;
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
    ftrl_column(o, u->grad_scale, x, first, second, g, square);
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
static __device__ inline void step_lane(const rows_update *u, row_update row, uint32_t column, row_scalars *scalars)
{
  hr_lane<float, width> x = hr_load<width>(row.x + column), g = hr_load<width>(row.g + column);
  hr_lane<float, width> first = hr_fill<width>(0.0f), second = first, squares = first;
  if (has_first(kind))
    first = hr_load<width>(row.state + column);
  if (has_second(kind))
    second = hr_load<width>(row.state + u->dim + column);
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
      bias = adam_step(&u->optimizer, &scalars->t);
    if (kind == HOTROW_ROWWISE_ADAM)
      scalars->divisor = rowwise_adam_divisor(&u->optimizer, bias, &scalars->v, scalars->mean_square);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      step_column<kind>(u, bias, scalars->divisor, &x.x[k], &first.x[k], &second.x[k], g.x[k], squares.x[k]);
  }
  hr_store<width>(row.x + column, x);
  if (has_first(kind))
    hr_store<width>(row.state + column, first);
  if (has_second(kind))
    hr_store<width>(row.state + u->dim + column, second);
}

template <unsigned width, hotrow_optimizer_kind kind>
static __device__ inline void step_row(const rows_update *u, row_update row, hr_row_shape shape)
{
  row_scalars before = {0.0f, 1.0f, 0.0f, 0.0f};
  float accumulated = 0.0f;
  if (kind == HOTROW_ROWWISE_ADAGRAD) {
    accumulated = row.state[0];
    float square = row.squares ? row.squares[0] : hr_mean_squares<width>(row.g, u->dim, 1, shape);
    before.divisor = rowwise_divisor(&u->optimizer, &accumulated, square);
  }
  if (kind == HOTROW_ROWWISE_ADAM) {
    before.mean_square = hr_mean_squares<width>(row.g, u->dim, row.steps, shape);
    before.v = row.state[u->dim];
    before.t = row.state[u->dim + 1];
  }
  if (kind == HOTROW_ADAM || kind == HOTROW_ADAMW)
    before.t = row.state[2 * (size_t)u->dim];
  if (kind == HOTROW_ROWWISE_ADAGRAD || kind == HOTROW_ROWWISE_ADAM || kind == HOTROW_ADAM || kind == HOTROW_ADAMW)
    __syncwarp(hr_row_mask(shape));
  row_scalars after = before;
  for (uint32_t column = hr_lane_index(shape) * width; column < u->dim; column += width << shape.lanes_log2) {
    after = before;
    step_lane<width, kind>(u, row, column, &after);
  }
  if (hr_lane_index(shape) != 0)
    return;
  if (kind == HOTROW_ROWWISE_ADAGRAD)
    row.state[0] = accumulated;
  if (kind == HOTROW_ROWWISE_ADAM) {
    row.state[u->dim] = after.v;
    row.state[u->dim + 1] = after.t;
  }
  if (kind == HOTROW_ADAM || kind == HOTROW_ADAMW)
    row.state[2 * (size_t)u->dim] = after.t;
}

/* LAMB's moments and direction of one lane's columns. */
template <unsigned width>
static __device__ inline hr_lane<float, width> lamb_lane(const rows_update *u, row_update row, adam_bias bias,
                                                         uint32_t column, bool is_first_time, hr_lane<float, width> x)
{
  hr_lane<float, width> m = hr_load<width>(row.state + column), v = hr_load<width>(row.state + u->dim + column);
  if (is_first_time) {
    hr_lane<float, width> g = hr_load<width>(row.g + column);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      adam_moments(&u->optimizer, &m.x[k], &v.x[k], row.steps > 1 ? __fdiv_rn(g.x[k], (float)row.steps) : g.x[k]);
    hr_store<width>(row.state + column, m);
    hr_store<width>(row.state + u->dim + column, v);
  }
#pragma unroll
  for (unsigned k = 0; k < width; k++)
    m.x[k] = lamb_direction(&u->optimizer, bias, x.x[k], m.x[k], v.x[k]);
  return m;
}

/* One step. The direction is computed twice, from the same moments: a row may be too wide to be held. */
template <unsigned width>
static __device__ inline void step_lamb(const rows_update *u, row_update row, adam_bias bias, hr_row_shape shape)
{
  float x_square = 0.0f, r_square = 0.0f;
  for (uint32_t start = 0; start < u->dim; start += width << shape.lanes_log2) {
    uint32_t column = start + hr_lane_index(shape) * width;
    hr_lane<float, width> x = hr_fill<width>(0.0f), r = x;
    if (column < u->dim) {
      x = hr_load<width>(row.x + column);
      r = lamb_lane<width>(u, row, bias, column, true, x);
#pragma unroll
      for (unsigned k = 0; k < width; k++) {
        x.x[k] = __fmul_rn(x.x[k], x.x[k]);
        r.x[k] = __fmul_rn(r.x[k], r.x[k]);
      }
    }
    unsigned active = hr_active_lanes(u->dim, start, width, shape);
    x_square = hr_add_in_order<width>(x_square, x, active, shape);
    r_square = hr_add_in_order<width>(r_square, r, active, shape);
  }
  float trust = lamb_trust(x_square, r_square);
  for (uint32_t column = hr_lane_index(shape) * width; column < u->dim; column += width << shape.lanes_log2) {
    hr_lane<float, width> x = hr_load<width>(row.x + column);
    hr_lane<float, width> r = lamb_lane<width>(u, row, bias, column, false, x);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      lamb_column(&u->optimizer, trust, &x.x[k], r.x[k]);
    hr_store<width>(row.x + column, x);
  }
}

template <unsigned width, hotrow_optimizer_kind kind>
static __global__ __launch_bounds__(HR_CUDA_BLOCK_THREADS, 4) void apply_rows(const rows_update u, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < u.row_count; i += step) {
    row_update row = row_of(u, i);
    if (kind != HOTROW_LAMB) {
      step_row<width, kind>(&u, row, shape);
      continue;
    }
    float t = row.state[2 * (size_t)u.dim];
    __syncwarp(hr_row_mask(shape));
    for (uint32_t k = 0; k < row.steps; k++)
      step_lamb<width>(&u, row, adam_step(&u.optimizer, &t), shape);
    if (hr_lane_index(shape) == 0)
      row.state[2 * (size_t)u.dim] = t;
  }
}

template <hotrow_optimizer_kind kind> static void apply_segment(const rows_update *u, cudaStream_t stream)
{
  size_t elements = hr_address(u->values) | u->row_stride | hr_address(u->grads) | u->grad_stride | u->dim;
  if (kind != HOTROW_SGD && kind != HOTROW_ROWWISE_ADAGRAD)
    elements |= hr_address(u->states);
  if ((kind == HOTROW_ADAGRAD || kind == HOTROW_FTRL) && u->squares)
    elements |= hr_address(u->squares) | u->square_stride;
  unsigned width = hr_row_width(elements);
  hr_row_shape shape = hr_whole_rows(width, u->dim);
  HR_LAUNCH((width == 4   ? apply_rows<4, kind>
             : width == 2 ? apply_rows<2, kind>
                          : apply_rows<1, kind>),
            hr_row_grid(shape, u->row_count, 1), HR_CUDA_BLOCK_THREADS, 0, stream)
  (*u, shape);
  hr_cuda_check_launch("optimizer_apply");
}

extern "C" void hr_cuda_optimizer_apply(const hotrow_row_layout *layout, float lr_scale, float *rows, size_t row_stride,
                                        const uint32_t *slots, const float *grads, const float *squares,
                                        const uint32_t *steps, size_t row_count, void *stream)
{
  for (uint32_t s = 0; s < layout->segment_count && row_count > 0; s++) {
    const hotrow_segment_layout *segment = &layout->segments[s];
    rows_update u = {segment->optimizer,
                     segment->optimizer.kind == HOTROW_FTRL ? lr_scale : 1.0f,
                     segment->dim,
                     rows + segment->value_offset,
                     rows + segment->state_offset,
                     row_stride,
                     slots,
                     grads + segment->value_offset,
                     layout->dim,
                     squares && segment->square_dim > 0 ? squares + segment->square_offset : NULL,
                     layout->square_dim,
                     steps,
                     row_count};
    if (segment->optimizer.kind != HOTROW_FTRL)
      u.optimizer.lr *= lr_scale;
    switch (segment->optimizer.kind) {
#define APPLY(kind)                                                                                                    \
  case kind:                                                                                                           \
    apply_segment<kind>(&u, (cudaStream_t)stream);                                                                     \
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
      break; /* a layout has resolved kinds only */
    }
  }
}
