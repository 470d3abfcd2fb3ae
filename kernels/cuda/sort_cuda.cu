/* The only file that includes CUB, which is C++: its radix sort, behind a C function. */
#include <cub/device/device_radix_sort.cuh>

#include "sort_cuda.h"

size_t hr_cuda_sort_scratch_size(size_t count)
{
  size_t size_bytes = 0;
  cub::DeviceRadixSort::SortPairs(NULL, size_bytes, (const uint64_t *)NULL, (uint64_t *)NULL, (const uint32_t *)NULL,
                                  (uint32_t *)NULL, (int)count);
  return size_bytes;
}

hotrow_status hr_cuda_sort(const uint64_t *keys, const uint32_t *values, size_t count, void *scratch,
                           size_t scratch_bytes, cudaStream_t stream, uint64_t *sorted_keys, uint32_t *sorted_values)
{
  cudaError_t error = cub::DeviceRadixSort::SortPairs(scratch, scratch_bytes, keys, sorted_keys, values, sorted_values,
                                                      (int)count, 0, 64, stream);
  return hr_cuda_check(error, "sort");
}
