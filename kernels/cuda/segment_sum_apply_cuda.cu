/* Gradients summed and applied in one pass.
 *
 * Grid: lanes share keys as row_cuda.h shares out rows. They put the sum of a key into their part of shared memory,
 * where the steps of optimizer_cuda.h and the sums of pending_cuda.h read it, segment by segment. Long sums are made
 * before by sum_long, which gives each a block, and pass through memory. Bytes per key: those of segment_sum,
 * optimizer_apply and pending_add, less 4*dim written and 8*dim read. */
#include "optimizer_cuda.h"
#include "pending_cuda.h"
#include "segment_sum_cuda.h"

#define SHARED_BYTES_MAX 49152u /* what a block gets without asking */

typedef struct keys_update {
  hotrow_row_layout layout;
  float lr_scale;
  terms t;
  const uint32_t *offsets;
  size_t key_count;
  hotrow_key_rows to;
  const float *long_sums;
  unsigned long long *nonfinite_p;
} keys_update;

/* g = the sum of key i; whether it is finite. */
template <unsigned width>
static __device__ inline bool sum_key(const keys_update *u, size_t i, float *g, hr_row_shape shape)
{
  uint32_t first = u->offsets[i], end = u->offsets[i + 1], found = 0, dim = u->layout.dim;
  for (uint32_t column = hr_lane_index(shape) * width; column < dim; column += width << shape.lanes_log2) {
    terms t = u->t;
    t.grads += column;
    hr_lane<float, width> sum =
        end - first > LONG_TERMS ? hr_load<width>(u->long_sums + i * dim + column) : sum_segment<width>(t, first, end);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      found |= is_nonfinite(sum.x[k]);
    hr_store<width>(g + column, sum);
  }
  return !__any_sync(hr_row_mask(shape), found != 0);
}

/* The segment's optimizer is `only`, should that be known when this is compiled. */
template <unsigned width, hotrow_optimizer_kind only>
static __device__ inline void step_segment(const hotrow_segment_layout *segment, float lr_scale, float *row,
                                           const float *g, hr_row_shape shape)
{
  segment_rule rule = rule_of(segment, lr_scale);
  row_update update = {row + segment->value_offset, row + segment->state_offset, g + segment->value_offset, NULL, 1};
  switch (only == HOTROW_OPTIMIZER_DEFAULT ? segment->optimizer.kind : only) {
#define STEP(kind)                                                                                                     \
  case kind:                                                                                                           \
    step_row<width, kind>(&rule, update, shape);                                                                       \
    break
    STEP(HOTROW_SGD);
    STEP(HOTROW_MOMENTUM);
    STEP(HOTROW_ADAGRAD);
    STEP(HOTROW_ROWWISE_ADAGRAD);
    STEP(HOTROW_ADAM);
    STEP(HOTROW_ADAMW);
    STEP(HOTROW_ROWWISE_ADAM);
    STEP(HOTROW_FTRL);
    STEP(HOTROW_LAMB);
#undef STEP
  default:
    break; /* a layout has resolved kinds only */
  }
}

template <unsigned width>
static __device__ inline void add_segment(const hotrow_segment_layout *segment, uint32_t row_dim, float *pending,
                                          const float *g, bool is_first, hr_row_shape shape)
{
  float *squares = pending + row_dim + segment->square_offset;
  bool has_mean = segment->optimizer.kind == HOTROW_ROWWISE_ADAGRAD;
  g += segment->value_offset;
  if (has_mean)
    add_mean<width>(squares, g, segment->dim, is_first, shape);
  add_columns<width>(pending + segment->value_offset, has_mean || segment->square_dim == 0 ? NULL : squares, g,
                     segment->dim, is_first, shape);
}

template <unsigned width, hotrow_optimizer_kind only>
static __global__ __launch_bounds__(HR_CUDA_BLOCK_THREADS, 3) void apply_keys(const keys_update u, uint32_t padded_dim,
                                                                              hr_row_shape shape)
{
  HR_DYNAMIC_SHARED(float, tiles);
  float *g = tiles + (threadIdx.x >> shape.lanes_log2) * padded_dim;
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < u.key_count; i += step) {
    uint32_t slot = u.to.slots[i], pending_slot = u.to.pending_slots ? u.to.pending_slots[i] : HOTROW_SLOT_NONE;
    bool is_finite = sum_key<width>(&u, i, g, shape);
    __syncwarp(hr_row_mask(shape));
    if (!is_finite && hr_lane_index(shape) == 0)
      atomicMin(u.nonfinite_p, (unsigned long long)i);
    for (uint32_t s = 0; is_finite && s < u.layout.segment_count; s++) {
      if (slot != HOTROW_SLOT_NONE)
        step_segment<width, only>(&u.layout.segments[s], u.lr_scale, u.to.rows + slot * u.to.row_stride, g, shape);
      if (pending_slot != HOTROW_SLOT_NONE)
        add_segment<width>(&u.layout.segments[s], u.layout.dim, u.to.pending + pending_slot * u.to.pending_stride, g,
                           u.to.is_first[i] != 0, shape);
    }
    __syncwarp(hr_row_mask(shape)); /* the next sum goes where this one is read */
  }
}

static unsigned width_of(const keys_update *u)
{
  size_t elements = hr_address(u->t.grads) | u->t.grad_stride | hr_address(u->to.rows) | u->to.row_stride |
                    hr_address(u->long_sums) | u->layout.dim;
  if (u->to.pending_slots)
    elements |= hr_address(u->to.pending) | u->to.pending_stride;
  for (uint32_t s = 0; s < u->layout.segment_count; s++) {
    const hotrow_segment_layout *segment = &u->layout.segments[s];
    elements |= segment->dim | segment->value_offset;
    elements |= segment->state_dim > 1 ? segment->state_offset : 0;
    elements |= segment->square_dim > 1 ? segment->square_offset : 0;
  }
  return hr_row_width(elements);
}

template <hotrow_optimizer_kind only> static void launch(const keys_update *u, cudaStream_t stream)
{
  unsigned width = width_of(u), threads = HR_CUDA_BLOCK_THREADS;
  hr_row_shape shape = hr_whole_rows(width, u->layout.dim);
  uint32_t padded_dim = (u->layout.dim + 3) / 4 * 4;
  size_t tile_bytes = padded_dim * sizeof(float);
  while ((threads >> shape.lanes_log2) * tile_bytes > SHARED_BYTES_MAX)
    threads /= 2;
  size_t blocks = (u->key_count - 1) / (threads >> shape.lanes_log2) + 1;
  HR_LAUNCH((width == 4   ? apply_keys<4, only>
             : width == 2 ? apply_keys<2, only>
                          : apply_keys<1, only>),
            (unsigned)(blocks < HR_CUDA_BLOCKS_MAX ? blocks : HR_CUDA_BLOCKS_MAX), threads,
            (threads >> shape.lanes_log2) * tile_bytes, stream)
  (*u, padded_dim, shape);
  hr_cuda_check_launch("segment_sum_apply");
}

extern "C" void hr_cuda_segment_sum_apply(const hotrow_row_layout *layout, float lr_scale, const hotrow_key_terms *keys,
                                          const hotrow_key_rows *rows, void *stream, float *sums, uint64_t *nonfinite_p)
{
  hr_cuda_set_row(nonfinite_p, keys->key_count, stream);
  if (keys->key_count == 0)
    return;
  terms t = {keys->grads, keys->grad_stride, keys->source, keys->coefficients, keys->positions};
  hr_cuda_sum_long(t, layout->dim, keys->offsets, keys->key_count, stream, sums);
  keys_update u = {*layout,         lr_scale, t,    keys->offsets,
                   keys->key_count, *rows,    sums, (unsigned long long *)nonfinite_p};
  switch (layout->segment_count == 1 ? layout->segments[0].optimizer.kind : HOTROW_OPTIMIZER_DEFAULT) {
#define LAUNCH(kind)                                                                                                   \
  case kind:                                                                                                           \
    launch<kind>(&u, (cudaStream_t)stream);                                                                            \
    break
    LAUNCH(HOTROW_OPTIMIZER_DEFAULT); /* several segments */
    LAUNCH(HOTROW_SGD);
    LAUNCH(HOTROW_MOMENTUM);
    LAUNCH(HOTROW_ADAGRAD);
    LAUNCH(HOTROW_ROWWISE_ADAGRAD);
    LAUNCH(HOTROW_ADAM);
    LAUNCH(HOTROW_ADAMW);
    LAUNCH(HOTROW_ROWWISE_ADAM);
    LAUNCH(HOTROW_FTRL);
    LAUNCH(HOTROW_LAMB);
#undef LAUNCH
  }
}
