/* Gradients into sums that wait to be pushed, and their squares for the optimizers whose state they keep exact.
 * Grid: one launch per segment; lanes share its rows as row_cuda.h says. Bytes per row: 4 (slot), 1 (is it first),
 * 4*dim of gradients, and of the sums 8*dim and 8*square_dim, half of that for a row that is set. */
#include "pending_cuda.h"

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

/* With a square per column where there are any. */
template <unsigned width> static __global__ void add_plain(pending_sums p, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < p.row_count; i += step) {
    if (p.slots[i] == HOTROW_SLOT_NONE)
      continue;
    size_t at = p.slots[i] * p.stride;
    add_columns<width>(p.sums + at, p.squares ? p.squares + at : NULL, p.grads + i * p.grad_stride, p.dim,
                       p.is_first[i] != 0, shape);
  }
}

/* With the mean of the squares. */
template <unsigned width> static __global__ void add_with_mean(pending_sums p, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < p.row_count; i += step) {
    if (p.slots[i] == HOTROW_SLOT_NONE)
      continue;
    size_t at = p.slots[i] * p.stride;
    bool is_first = p.is_first[i] != 0;
    const float *g = p.grads + i * p.grad_stride;
    add_mean<width>(p.squares + at, g, p.dim, is_first, shape);
    add_columns<width>(p.sums + at, NULL, g, p.dim, is_first, shape);
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
    HR_LAUNCH((has_mean ? HR_BY_WIDTH(add_with_mean, width) : HR_BY_WIDTH(add_plain, width)),
              hr_row_grid(shape, row_count, 1), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
    (p, shape);
    hr_cuda_check_launch("pending_add");
  }
}
