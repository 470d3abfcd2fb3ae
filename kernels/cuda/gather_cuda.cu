/* Copies rows by slot.
 * Grid: one thread per float of the output, in order, so that neighbouring threads read and write neighbouring floats
 * of a row; blocks stride over what exceeds the grid. Bytes per row: 4 (slot), 4*dim read, 4*dim written. */
#include "check_cuda.h"
#include "kernels_impl.h"

/* Words, not floats: a copy keeps the bits of every NaN. */
static __global__ void gather_rows(const uint32_t *__restrict__ rows, size_t row_stride, uint32_t dim,
                                   const uint32_t *__restrict__ slots, size_t slot_count, uint32_t *__restrict__ out,
                                   size_t out_stride)
{
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x; at < slot_count * dim; at += step) {
    size_t i = at / dim, column = at % dim;
    out[i * out_stride + column] = rows[slots[i] * row_stride + column];
  }
}

extern "C" void hr_cuda_gather(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,
                               size_t slot_count, void *stream, float *out, size_t out_stride)
{
  if (slot_count == 0)
    return;
  HR_LAUNCH(gather_rows, hr_cuda_blocks(slot_count * dim), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  ((const uint32_t *)rows, row_stride, dim, slots, slot_count, (uint32_t *)out, out_stride);
  hr_cuda_check_launch("gather");
}
