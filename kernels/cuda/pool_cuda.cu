/* Bags of rows summed into one row each, and what their gradient means for the rows.
 *
 * Grid of pool: lanes share bags as row_cuda.h shares out rows, one bag each; a lane adds up its columns in the order
 * of the bag, KEYS_AT_ONCE rows asked for together. Bytes per key: 4 (slot), 4 (weight, where given), 4*dim read; per
 * bag 8 (offsets), 4*dim written.
 *
 * Grid of pool_backward: a block takes BAGS_EACH bags and goes over their positions side by side, each lane finding its
 * bag in shared memory, so that long and short bags cost alike. Bytes per key: 4 (weight, where given), 8 written. */
#include "row_cuda.h"

#define KEYS_AT_ONCE 2u
#define BAGS_EACH HR_CUDA_BLOCK_THREADS

typedef struct bags {
  const uint32_t *slots;
  const uint32_t *offsets;
  const float *weights;
  size_t count;
  hotrow_pooling pooling;
} bags;

/* Behind the last key, and for one without a row, -0 is added, which changes nothing: no read waits for another. `rows`
 * is at the lane's first column. */
template <unsigned width>
static __device__ inline hr_lane<float, width> sum_bag(const float *__restrict__ rows, size_t row_stride, bags b,
                                                       uint32_t first, uint32_t end)
{
  hr_lane<float, width> sum = hr_fill<width>(0.0f);
#pragma unroll 1
  for (uint32_t i = first; i < end; i += KEYS_AT_ONCE) {
    uint32_t slot[KEYS_AT_ONCE];
    float weight[KEYS_AT_ONCE];
    hr_lane<float, width> value[KEYS_AT_ONCE];
#pragma unroll
    for (unsigned r = 0; r < KEYS_AT_ONCE; r++) {
      slot[r] = r < end - i ? b.slots[i + r] : HOTROW_SLOT_NONE;
      weight[r] = r < end - i && b.weights ? b.weights[i + r] : 1.0f;
    }
#pragma unroll
    for (unsigned r = 0; r < KEYS_AT_ONCE; r++) {
      value[r] = hr_fill<width>(0.0f);
      if (slot[r] != HOTROW_SLOT_NONE)
        value[r] = hr_load<width>(rows + slot[r] * row_stride);
    }
#pragma unroll
    for (unsigned r = 0; r < KEYS_AT_ONCE; r++)
#pragma unroll
      for (unsigned k = 0; k < width; k++) {
        float term = __fmul_rn(weight[r], value[r].x[k]);
        sum.x[k] = __fadd_rn(sum.x[k], slot[r] != HOTROW_SLOT_NONE ? term : -0.0f);
      }
  }
  return sum;
}

template <unsigned width>
static __global__ void pool_bags(const float *__restrict__ rows, size_t row_stride, uint32_t dim, bags b,
                                 float *__restrict__ out, size_t out_stride, hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= dim)
    return;
  size_t step = hr_row_step(shape);
  for (size_t bag = hr_first_row(shape); bag < b.count; bag += step) {
    uint32_t first = b.offsets[bag], end = b.offsets[bag + 1];
    hr_lane<float, width> sum = sum_bag<width>(rows + column, row_stride, b, first, end);
    if (b.pooling != HOTROW_POOL_SUM && first < end) {
      float divisor = pool_divisor(b.pooling, end - first);
#pragma unroll
      for (unsigned k = 0; k < width; k++)
        sum.x[k] = __fdiv_rn(sum.x[k], divisor);
    }
    hr_store<width>(out + bag * out_stride + column, sum);
  }
}

extern "C" void hr_cuda_pool(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,
                             const uint32_t *offsets, const float *weights, size_t bag_count, hotrow_pooling pooling,
                             void *stream, float *out, size_t out_stride)
{
  if (bag_count == 0)
    return;
  bags b = {slots, offsets, weights, bag_count, pooling};
  unsigned width = hr_row_width(hr_address(rows) | row_stride | dim | hr_address(out) | out_stride);
  hr_row_shape shape = hr_parted_rows(width, dim);
  HR_LAUNCH(HR_BY_WIDTH(pool_bags, width), hr_row_grid(shape, bag_count, 1), HR_CUDA_BLOCK_THREADS, 0,
            (cudaStream_t)stream)
  (rows, row_stride, dim, b, out, out_stride, shape);
  hr_cuda_check_launch("pool");
}

/* The last of `count` bags that does not begin behind position i: the one that holds it, for empty bags begin where
 * their successor does. */
static __device__ uint32_t find_bag(const uint32_t *offsets, uint32_t count, uint32_t i)
{
  uint32_t low = 0;
  for (uint32_t high = count; high - low > 1;) {
    uint32_t middle = (low + high) / 2;
    if (offsets[middle] <= i)
      low = middle;
    else
      high = middle;
  }
  return low;
}

static __global__ void spread_bags(bags b, uint32_t *__restrict__ source, float *__restrict__ coefficients)
{
  __shared__ uint32_t offsets[BAGS_EACH + 1];
  size_t first_bag = (size_t)blockIdx.x * BAGS_EACH;
  uint32_t count = b.count - first_bag < BAGS_EACH ? (uint32_t)(b.count - first_bag) : BAGS_EACH;
  for (uint32_t k = threadIdx.x; k <= count; k += blockDim.x)
    offsets[k] = b.offsets[first_bag + k];
  __syncthreads();
  for (uint32_t i = offsets[0] + threadIdx.x; i < offsets[count]; i += blockDim.x) {
    uint32_t bag = find_bag(offsets, count, i);
    source[i] = (uint32_t)first_bag + bag;
    coefficients[i] =
        __fdiv_rn(b.weights ? b.weights[i] : 1.0f, pool_divisor(b.pooling, offsets[bag + 1] - offsets[bag]));
  }
}

extern "C" void hr_cuda_pool_backward(const uint32_t *offsets, const float *weights, size_t bag_count,
                                      hotrow_pooling pooling, void *stream, uint32_t *source_p, float *coefficient_p)
{
  if (bag_count == 0)
    return;
  bags b = {NULL, offsets, weights, bag_count, pooling};
  HR_LAUNCH(spread_bags, (unsigned)((bag_count - 1) / BAGS_EACH + 1), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (b, source_p, coefficient_p);
  hr_cuda_check_launch("pool_backward");
}
