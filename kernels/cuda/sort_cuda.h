/* One stable sort for all .cu files: ascending 64-bit keys, each with a 32-bit value. sort_cuda.cu takes CUB's, and
 * sort_emulated.cu stands in for it under the emulator: two stable sorts of the same keys give the same. */
#ifndef SORT_CUDA_H
#define SORT_CUDA_H

#include <hr/check_cuda.h>

/* Bytes of scratch, aligned to 256, for count < 2^31. */
size_t hr_cuda_sort_scratch_size(size_t count);
hotrow_status hr_cuda_sort(const uint64_t *keys, const uint32_t *values, size_t count, void *scratch,
                           size_t scratch_bytes, cudaStream_t stream, uint64_t *sorted_keys, uint32_t *sorted_values);

#endif
