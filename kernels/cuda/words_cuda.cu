/* Words by index: slots, clocks and counts that go with rows.
 * Grid: one thread per word, or per segment; blocks stride over what exceeds the grid. Bytes per word: 4 of index, 4
 * read, 4 written. */
#include "kernels_impl.h"
#include <hr/check_cuda.h>

static __global__ void gather_words(const uint32_t *__restrict__ words, const uint32_t *__restrict__ index,
                                    size_t count, uint32_t *__restrict__ out)
{
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    out[i] = words[index[i]];
}

static __global__ void scatter_words(const uint32_t *__restrict__ values, const uint32_t *__restrict__ index,
                                     size_t count, uint32_t *__restrict__ words)
{
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    words[index[i]] = values[i];
}

/* Sums of whole numbers: their order does not matter. */
static __global__ void segment_words(const uint32_t *__restrict__ words, const uint32_t *__restrict__ positions,
                                     const uint32_t *__restrict__ offsets, size_t segment_count,
                                     uint32_t *__restrict__ sums)
{
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t s = (size_t)blockIdx.x * blockDim.x + threadIdx.x; s < segment_count; s += step) {
    uint32_t sum = words ? 0 : offsets[s + 1] - offsets[s];
    for (uint32_t j = offsets[s]; words && j < offsets[s + 1]; j++)
      sum += words[positions[j]];
    sums[s] = sum;
  }
}

extern "C" void hr_cuda_gather_words(const uint32_t *words, const uint32_t *index, size_t count, void *stream,
                                     uint32_t *out)
{
  if (count == 0)
    return;
  HR_LAUNCH(gather_words, hr_cuda_blocks(count), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (words, index, count, out);
  hr_cuda_check_launch("gather_words");
}

extern "C" void hr_cuda_scatter_words(const uint32_t *values, const uint32_t *index, size_t count, void *stream,
                                      uint32_t *words)
{
  if (count == 0)
    return;
  HR_LAUNCH(scatter_words, hr_cuda_blocks(count), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (values, index, count, words);
  hr_cuda_check_launch("scatter_words");
}

extern "C" void hr_cuda_segment_words(const uint32_t *words, const uint32_t *positions, const uint32_t *offsets,
                                      size_t segment_count, void *stream, uint32_t *sums)
{
  if (segment_count == 0)
    return;
  HR_LAUNCH(segment_words, hr_cuda_blocks(segment_count), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (words, positions, offsets, segment_count, sums);
  hr_cuda_check_launch("segment_words");
}
