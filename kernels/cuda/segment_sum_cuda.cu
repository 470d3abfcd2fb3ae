/* Sums the gradients of every occurrence of a key, in the order that hotrow/kernels.h defines. Two kernels, because few
 * keys have many occurrences and those few have most.
 *
 * sum_short: lanes share segments as row_cuda.h shares out rows, one segment each, if it is at most LONG_TERMS long.
 *
 * sum_long: a block looks for longer segments among LONG_THREADS and sums each together: its groups of lanes take a
 * chunk each, then one lane per column adds up the chunks of that round in order. y is the part of the row, in parts as
 * narrow as a memory sector if that makes no more than LONG_PARTS, so that several multiprocessors share a hot key.
 *
 * Bytes per term: 4*dim of gradient, 4 of position, and 4 each of source and coefficient where given; 4*dim written and
 * 8 of offsets read per segment, those twice. */
#include "segment_sum_cuda.h"

#define LONG_AT_ONCE 4u
#define LONG_THREADS 1024u
#define LONG_PARTS 16u

template <unsigned width>
static __global__ void sum_short(terms t, uint32_t dim, const uint32_t *__restrict__ offsets, size_t segment_count,
                                 float *__restrict__ sums, hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= dim)
    return;
  t.grads += column;
  size_t step = hr_row_step(shape);
  for (size_t segment = hr_first_row(shape); segment < segment_count; segment += step) {
    uint32_t first = offsets[segment], end = offsets[segment + 1];
    if (end - first > LONG_TERMS)
      continue;
    hr_store<width>(sums + segment * dim + column, sum_segment<width>(t, first, end));
  }
}

/* One segment by the whole block, of whose columns it has `columns`. chunks: one row of `columns` floats per group. */
template <unsigned width>
static __device__ inline float sum_together(terms t, uint32_t first, uint32_t end, bool has_columns, unsigned columns,
                                            float *chunks, hr_row_shape shape)
{
  unsigned group = threadIdx.x >> shape.lanes_log2, group_count = blockDim.x >> shape.lanes_log2;
  uint32_t chunk_count = (end - first - 1) / HOTROW_SUM_CHUNK + 1;
  float total = -0.0f;
#pragma unroll 1
  for (uint32_t round = 0; round < chunk_count; round += group_count) {
    if (has_columns && group < chunk_count - round) {
      uint32_t begin = first + (round + group) * HOTROW_SUM_CHUNK;
      hr_lane<float, width> sum = sum_chunk<width, LONG_AT_ONCE>(t, begin, chunk_end(begin, end));
      hr_store<width>(chunks + group * columns + hr_lane_index(shape) * width, sum);
    }
    __syncthreads();
    unsigned here = chunk_count - round < group_count ? chunk_count - round : group_count;
    if (threadIdx.x < columns)
#pragma unroll 4
      for (unsigned k = 0; k < here; k++)
        total = __fadd_rn(total, chunks[k * columns + threadIdx.x]);
    __syncthreads();
  }
  return total;
}

template <unsigned width>
static __global__
__launch_bounds__(LONG_THREADS) void sum_long(terms t, uint32_t dim, const uint32_t *__restrict__ offsets,
                                              size_t segment_count, float *__restrict__ sums, hr_row_shape shape)
{
  HR_DYNAMIC_SHARED(float, chunks);
  unsigned columns = width << shape.lanes_log2;
  uint32_t first_column = blockIdx.y * columns, column = hr_first_column(shape, width);
  uint32_t *longs = (uint32_t *)(chunks + LONG_THREADS * width); /* a bit per segment */
  t.grads += column;
  for (size_t base = (size_t)blockIdx.x * LONG_THREADS; base < segment_count;
       base += (size_t)gridDim.x * LONG_THREADS) {
    size_t own = base + threadIdx.x;
    bool is_long = own < segment_count && offsets[own + 1] - offsets[own] > LONG_TERMS;
    if (!__syncthreads_or(is_long))
      continue;
    unsigned bits = __ballot_sync(~0u, is_long);
    if (threadIdx.x % HR_WARP_LANES == 0)
      longs[threadIdx.x / HR_WARP_LANES] = bits;
    __syncthreads();
    for (unsigned word = 0; word < LONG_THREADS / HR_WARP_LANES; word++)
      for (bits = longs[word]; bits != 0; bits &= bits - 1) {
        size_t segment = base + word * HR_WARP_LANES + (unsigned)__ffs((int)bits) - 1;
        float total =
            sum_together<width>(t, offsets[segment], offsets[segment + 1], column < dim, columns, chunks, shape);
        if (threadIdx.x < columns && first_column + threadIdx.x < dim)
          sums[segment * dim + first_column + threadIdx.x] = total;
      }
  }
}

/* Parts of a sector while there are not too many of them. */
static hr_row_shape long_shape(unsigned width, uint32_t dim)
{
  hr_row_shape shape = {width, hr_lanes_log2(HR_SECTOR_LANES / width), 0};
  for (;; shape.lanes_log2++) {
    unsigned columns = width << shape.lanes_log2;
    shape.parts = (dim + columns - 1) / columns;
    if (shape.parts <= LONG_PARTS || 1u << shape.lanes_log2 == HR_WARP_LANES)
      return shape;
  }
}

static unsigned width_of(terms t, uint32_t dim, const float *sums)
{
  return hr_row_width(hr_address(t.grads) | t.grad_stride | dim | hr_address(sums));
}

void hr_cuda_sum_long(terms t, uint32_t dim, const uint32_t *offsets, size_t segment_count, void *stream, float *sums)
{
  unsigned width = width_of(t, dim, sums);
  hr_row_shape shape = long_shape(width, dim);
  size_t blocks = (segment_count + LONG_THREADS - 1) / LONG_THREADS;
  dim3 grid(blocks < HR_CUDA_BLOCKS_MAX ? (unsigned)blocks : HR_CUDA_BLOCKS_MAX, shape.parts, 1);
  size_t shared_bytes = LONG_THREADS * width * sizeof(float) + LONG_THREADS / HR_WARP_LANES * sizeof(uint32_t);
  HR_LAUNCH(HR_BY_WIDTH(sum_long, width), grid, LONG_THREADS, shared_bytes, (cudaStream_t)stream)
  (t, dim, offsets, segment_count, sums, shape);
  hr_cuda_check_launch("segment_sum, long");
}

extern "C" void hr_cuda_segment_sum(const float *grads, size_t grad_stride, uint32_t dim, const uint32_t *source,
                                    const float *coefficients, const uint32_t *positions, const uint32_t *offsets,
                                    size_t segment_count, void *stream, float *sums)
{
  if (segment_count == 0)
    return;
  terms t = {grads, grad_stride, source, coefficients, positions};
  hr_cuda_sum_long(t, dim, offsets, segment_count, stream, sums);
  unsigned width = width_of(t, dim, sums);
  hr_row_shape shape = hr_parted_rows(width, dim);
  HR_LAUNCH(HR_BY_WIDTH(sum_short, width), hr_row_grid(shape, segment_count, 1), HR_CUDA_BLOCK_THREADS, 0,
            (cudaStream_t)stream)
  (t, dim, offsets, segment_count, sums, shape);
  hr_cuda_check_launch("segment_sum, short");
}
