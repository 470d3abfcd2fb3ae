/* Sums the gradients of every occurrence of a key, in the order that hotrow/kernels.h defines.
 * Grid: one block per segment (striding), one thread per column (striding). A thread adds its column's chunks one after
 * the other; every operation is rounded on its own, so the bits are the CPU's. Bytes per term: 4*dim of gradient, 4 of
 * position, and 4 each of source and coefficient where given; 4*dim written per segment. */
#include "check_cuda.h"
#include "kernels_impl.h"

typedef struct terms {
  const float *grads;
  size_t grad_stride;
  const uint32_t *source;
  const float *coefficients;
  const uint32_t *positions;
} terms;

static __device__ float term(const terms *t, uint32_t j, uint32_t column)
{
  uint32_t position = t->positions[j];
  size_t row = t->source ? t->source[position] : position;
  float coefficient = t->coefficients ? t->coefficients[position] : 1.0f;
  return __fmul_rn(coefficient, t->grads[row * t->grad_stride + column]);
}

static __device__ float sum_chunk(const terms *t, uint32_t first, uint32_t end, uint32_t column)
{
  float sum = term(t, first, column);
  for (uint32_t j = first + 1; j < end; j++)
    sum = __fadd_rn(sum, term(t, j, column));
  return sum;
}

static __device__ float sum_segment(const terms *t, uint32_t first, uint32_t end, uint32_t column)
{
  if (first == end)
    return 0.0f;
  uint32_t chunk_end = end - first > HOTROW_SUM_CHUNK ? first + HOTROW_SUM_CHUNK : end;
  float total = sum_chunk(t, first, chunk_end, column);
  while (chunk_end < end) {
    uint32_t chunk_first = chunk_end;
    chunk_end = end - chunk_first > HOTROW_SUM_CHUNK ? chunk_first + HOTROW_SUM_CHUNK : end;
    total = __fadd_rn(total, sum_chunk(t, chunk_first, chunk_end, column));
  }
  return total;
}

static __global__ void sum_segments(terms t, uint32_t dim, const uint32_t *__restrict__ offsets, size_t segment_count,
                                    float *__restrict__ sums)
{
  for (size_t segment = blockIdx.x; segment < segment_count; segment += gridDim.x)
    for (uint32_t column = threadIdx.x; column < dim; column += blockDim.x)
      sums[segment * dim + column] = sum_segment(&t, offsets[segment], offsets[segment + 1], column);
}

extern "C" void hr_cuda_segment_sum(const float *grads, size_t grad_stride, uint32_t dim, const uint32_t *source,
                                    const float *coefficients, const uint32_t *positions, const uint32_t *offsets,
                                    size_t segment_count, void *stream, float *sums)
{
  if (segment_count == 0)
    return;
  terms t = {grads, grad_stride, source, coefficients, positions};
  unsigned warp_threads = (dim + 31) / 32 * 32;
  unsigned threads = warp_threads < HR_CUDA_BLOCK_THREADS ? warp_threads : HR_CUDA_BLOCK_THREADS;
  unsigned blocks = segment_count < HR_CUDA_BLOCKS_MAX ? (unsigned)segment_count : HR_CUDA_BLOCKS_MAX;
  HR_LAUNCH(sum_segments, blocks, threads, 0, (cudaStream_t)stream)(t, dim, offsets, segment_count, sums);
  hr_cuda_check_launch("segment_sum");
}
