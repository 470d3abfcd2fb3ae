/* How many of ascending hashes lie below each of some bounds.
 * Grid: one thread per bound, a binary search each. Bytes per bound: 8 read and 4 written, and 8 per step of the
 * search. */
#include "kernels_impl.h"
#include <hr/check_cuda.h>

static __global__ void find_lower_bounds(const uint64_t *__restrict__ hashes, const uint32_t *__restrict__ count_p,
                                         const uint64_t *__restrict__ bounds, size_t bound_count,
                                         uint32_t *__restrict__ position_p)
{
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t b = (size_t)blockIdx.x * blockDim.x + threadIdx.x; b < bound_count; b += step) {
    uint64_t bound = bounds[b];
    uint32_t first = 0, end = *count_p;
    while (first < end) {
      uint32_t middle = first + (end - first) / 2;
      if (hashes[middle] < bound)
        first = middle + 1;
      else
        end = middle;
    }
    position_p[b] = first;
  }
}

extern "C" void hr_cuda_lower_bounds(const uint64_t *hashes, const uint32_t *count_p, const uint64_t *bounds,
                                     size_t bound_count, void *stream, uint32_t *position_p)
{
  if (bound_count == 0)
    return;
  HR_LAUNCH(find_lower_bounds, hr_cuda_blocks(bound_count), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (hashes, count_p, bounds, bound_count, position_p);
  hr_cuda_check_launch("lower_bounds");
}
