/* Gradients into sums that wait to be pushed, and their squares for the optimizers whose state they keep exact.
 * Grid: one launch per segment; lanes share its rows as row_cuda.h says. Bytes per row: 4 (slot), 1 (is it first),
 * 4*dim of gradients, and of the sums 8*dim and 8*square_dim, half of that for a row that is set. */
#include "row_cuda.h"

/* A segment of gradients and sums; the pointers are at the first row's segment. */
typedef struct pending_sums {
  float *sums;
  float *squares; /* NULL: none are kept */
  size_t stride;
  const uint32_t *slots;
  const uint8_t *is_first;
  const float *grads;
  size_t grad_stride;
  uint32_t dim;
  size_t row_count;
} pending_sums;

template <unsigned width> static __device__ inline void add_lane(float *sum, hr_lane<float, width> terms, bool is_first)
{
  if (!is_first) {
    hr_lane<float, width> old = hr_load<width>(sum);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      terms.x[k] = __fadd_rn(old.x[k], terms.x[k]);
  }
  hr_store<width>(sum, terms);
}

template <unsigned width>
static __device__ inline void add_row(pending_sums p, size_t i, size_t at, bool is_first, bool has_squares,
                                      hr_row_shape shape)
{
  const float *g = p.grads + i * p.grad_stride;
  for (uint32_t column = hr_lane_index(shape) * width; column < p.dim; column += width << shape.lanes_log2) {
    hr_lane<float, width> lane = hr_load<width>(g + column);
    add_lane<width>(p.sums + at + column, lane, is_first);
    if (!has_squares)
      continue;
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      lane.x[k] = __fmul_rn(lane.x[k], lane.x[k]);
    add_lane<width>(p.squares + at + column, lane, is_first);
  }
}

/* Sums, and a square per column where there are any. */
template <unsigned width> static __global__ void add_columns(pending_sums p, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < p.row_count; i += step)
    add_row<width>(p, i, p.slots[i] * p.stride, p.is_first[i] != 0, p.squares != NULL, shape);
}

/* Sums, and the mean of the squares. */
template <unsigned width> static __global__ void add_means(pending_sums p, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < p.row_count; i += step) {
    size_t at = p.slots[i] * p.stride;
    bool is_first = p.is_first[i] != 0;
    float mean = hr_mean_squares<width>(p.grads + i * p.grad_stride, p.dim, 1, shape);
    if (hr_lane_index(shape) == 0)
      p.squares[at] = is_first ? mean : __fadd_rn(p.squares[at], mean);
    add_row<width>(p, i, at, is_first, false, shape);
  }
}

extern "C" void hr_cuda_pending_add(const hotrow_row_layout *layout, float *pending, size_t pending_stride,
                                    const uint32_t *slots, const uint8_t *is_first, const float *grads,
                                    size_t row_count, void *stream)
{
  for (uint32_t s = 0; s < layout->segment_count && row_count > 0; s++) {
    const hotrow_segment_layout *segment = &layout->segments[s];
    float *squares = pending + layout->dim + segment->square_offset;
    bool has_mean = segment->optimizer.kind == HOTROW_ROWWISE_ADAGRAD;
    pending_sums p = {pending + segment->value_offset,
                      segment->square_dim > 0 ? squares : NULL,
                      pending_stride,
                      slots,
                      is_first,
                      grads + segment->value_offset,
                      layout->dim,
                      segment->dim,
                      row_count};
    size_t elements = hr_address(p.sums) | pending_stride | hr_address(p.grads) | layout->dim | segment->dim;
    if (p.squares && !has_mean)
      elements |= hr_address(squares);
    unsigned width = hr_row_width(elements);
    hr_row_shape shape = hr_whole_rows(width, segment->dim);
    HR_LAUNCH((has_mean ? HR_BY_WIDTH(add_means, width) : HR_BY_WIDTH(add_columns, width)),
              hr_row_grid(shape, row_count, 1), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
    (p, shape);
    hr_cuda_check_launch("pending_add");
  }
}
