/* Copies rows by slot.
 * Grid: lanes share rows as row_cuda.h says, ROWS_AT_ONCE rows each, whose slots and then whose values are all asked
 * for before the first is written; y is the part of the row. Bytes per row: 4 (slot), 4*dim read, 4*dim written. */
#include "row_cuda.h"

#define ROWS_AT_ONCE 4u

/* Words, not floats: a copy keeps the bits of every NaN. Behind the last row it is read again, and not written. */
template <unsigned width>
static __global__ void copy_rows(const uint32_t *__restrict__ from, size_t from_stride, uint32_t dim,
                                 const uint32_t *__restrict__ slots, size_t row_count, uint32_t *__restrict__ to,
                                 size_t to_stride, hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= dim)
    return;
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < row_count; i += ROWS_AT_ONCE * step) {
    size_t slot[ROWS_AT_ONCE];
    hr_lane<uint32_t, width> row[ROWS_AT_ONCE];
#pragma unroll
    for (unsigned r = 0; r < ROWS_AT_ONCE; r++) {
      size_t at = i + r * step < row_count ? i + r * step : row_count - 1;
      slot[r] = slots ? slots[at] : at;
    }
#pragma unroll
    for (unsigned r = 0; r < ROWS_AT_ONCE; r++) {
      row[r] = hr_fill<width>(0u);
      if (slot[r] != HOTROW_SLOT_NONE || !slots)
        row[r] = hr_load<width>(from + slot[r] * from_stride + column);
    }
#pragma unroll
    for (unsigned r = 0; r < ROWS_AT_ONCE; r++)
      if (i + r * step < row_count)
        hr_store<width>(to + (i + r * step) * to_stride + column, row[r]);
  }
}

void hr_cuda_copy_rows(const float *from, size_t from_stride, uint32_t dim, const uint32_t *slots, size_t row_count,
                       void *stream, float *to, size_t to_stride)
{
  if (row_count == 0)
    return;
  unsigned width = hr_row_width(hr_address(from) | from_stride | dim | hr_address(to) | to_stride);
  hr_row_shape shape = hr_parted_rows(width, dim);
  HR_LAUNCH(HR_BY_WIDTH(copy_rows, width), hr_row_grid(shape, row_count, ROWS_AT_ONCE), HR_CUDA_BLOCK_THREADS, 0,
            (cudaStream_t)stream)
  ((const uint32_t *)from, from_stride, dim, slots, row_count, (uint32_t *)to, to_stride, shape);
  hr_cuda_check_launch("copy_rows");
}

extern "C" void hr_cuda_gather(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,
                               size_t slot_count, void *stream, float *out, size_t out_stride)
{
  hr_cuda_copy_rows(rows, row_stride, dim, slots, slot_count, stream, out, out_stride);
}
