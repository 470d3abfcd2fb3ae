/* Adds up the arrays of all ranks, in rank order.
 * Grid: one thread per sum, in order, so that neighbouring threads read neighbouring floats of a rank; blocks stride
 * over what exceeds the grid. Every addition is rounded on its own, so the bits are the CPU's. Bytes per sum:
 * 4*rank_count read, 4 written. */
#include "kernels_impl.h"
#include <hr/check_cuda.h>

static __global__ void sum_ranks(const float *__restrict__ values, size_t rank_stride, uint32_t rank_count,
                                 size_t count, float *__restrict__ sums)
{
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    float sum = values[i];
    for (uint32_t r = 1; r < rank_count; r++)
      sum = __fadd_rn(sum, values[r * rank_stride + i]);
    sums[i] = sum;
  }
}

extern "C" void hr_cuda_sum_ranks(const float *values, size_t rank_stride, uint32_t rank_count, size_t count,
                                  void *stream, float *sums)
{
  if (count == 0)
    return;
  HR_LAUNCH(sum_ranks, hr_cuda_blocks(count), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (values, rank_stride, rank_count, count, sums);
  hr_cuda_check_launch("sum_ranks");
}
