/* How the lanes of a warp share out rows. A row belongs to `lanes` neighbouring lanes (a power of two, at most a warp),
 * and each takes `width` neighbouring floats of it at a time: one access of 16 bytes where addresses, strides and dims
 * are multiples of 4 floats, of 8 bytes where they are multiples of 2, else of 4. Narrow rows share a warp. Kernels
 * whose columns know nothing of each other cut wide rows into parts, which are the y of the grid; the others go over
 * their row part by part. */
#ifndef ROW_CUDA_H
#define ROW_CUDA_H

#include <hr/launch.h>

#include "kernels_impl.h"
#include "shared_math.h"
#include <hr/check_cuda.h>

#define HR_WARP_LANES 32u
#define HR_SECTOR_LANES 8u /* narrower parts of a row would fetch parts of memory sectors */

typedef struct hr_row_shape {
  unsigned width;
  unsigned lanes_log2;
  unsigned parts;
} hr_row_shape;

/* What one lane moves at a time. */
template <typename T, unsigned width> struct alignas(width * sizeof(T)) hr_lane {
  T x[width];
};

/* The width for arrays whose addresses (in elements), strides, offsets and dim are ORed together in `elements`. */
static inline unsigned hr_row_width(size_t elements)
{
  return elements % 4 == 0 ? 4 : elements % 2 == 0 ? 2 : 1;
}

static inline size_t hr_address(const float *array)
{
  return (uintptr_t)array / sizeof *array;
}

static inline unsigned hr_lanes_log2(unsigned accesses)
{
  unsigned log2 = 0;
  while (1u << log2 < accesses && 1u << log2 < HR_WARP_LANES)
    log2++;
  return log2;
}

/* For kernels that need a whole row at once. */
static inline hr_row_shape hr_whole_rows(unsigned width, uint32_t dim)
{
  hr_row_shape shape = {width, hr_lanes_log2((dim + width - 1) / width), 1};
  return shape;
}

/* For kernels whose columns are independent: of the ways to cut a row, the one that leaves the fewest lanes idle. */
static inline hr_row_shape hr_parted_rows(unsigned width, uint32_t dim)
{
  unsigned accesses = (dim + width - 1) / width, most = hr_lanes_log2(accesses), idle_least = ~0u;
  hr_row_shape shape = {width, most, 1};
  for (unsigned log2 = most + 1; log2-- > 0 && (log2 == most || 1u << log2 >= HR_SECTOR_LANES);) {
    unsigned parts = (accesses + (1u << log2) - 1) >> log2, idle = (parts << log2) - accesses;
    if (idle < idle_least) {
      idle_least = idle;
      shape.lanes_log2 = log2;
      shape.parts = parts;
    }
  }
  return shape;
}

/* Every group of lanes takes rows_each rows before it strides on. */
static inline dim3 hr_row_grid(hr_row_shape shape, size_t row_count, unsigned rows_each)
{
  return dim3(hr_cuda_blocks(((row_count + rows_each - 1) / rows_each) << shape.lanes_log2), shape.parts, 1);
}

/* The instance of a kernel for a width that is known when it is launched. */
#define HR_BY_WIDTH(kernel, width) ((width) == 4 ? kernel<4> : (width) == 2 ? kernel<2> : kernel<1>)

static __device__ inline size_t hr_first_row(hr_row_shape shape)
{
  return ((size_t)blockIdx.x * blockDim.x + threadIdx.x) >> shape.lanes_log2;
}

static __device__ inline size_t hr_row_step(hr_row_shape shape)
{
  return (size_t)gridDim.x * blockDim.x >> shape.lanes_log2;
}

static __device__ inline unsigned hr_lane_index(hr_row_shape shape)
{
  return threadIdx.x & ((1u << shape.lanes_log2) - 1);
}

/* Of the part of the row that is this block's. */
static __device__ inline uint32_t hr_first_column(hr_row_shape shape, unsigned width)
{
  return ((blockIdx.y << shape.lanes_log2) + hr_lane_index(shape)) * width;
}

/* The lanes that share this lane's row. */
static __device__ inline unsigned hr_row_mask(hr_row_shape shape)
{
  unsigned lanes = 1u << shape.lanes_log2, first = threadIdx.x & (HR_WARP_LANES - 1) & ~(lanes - 1);
  return (unsigned)((1ull << lanes) - 1) << first;
}

template <unsigned width, typename T> static __device__ inline hr_lane<T, width> hr_load(const T *from)
{
  return *(const hr_lane<T, width> *)from;
}

template <unsigned width, typename T> static __device__ inline void hr_store(T *to, hr_lane<T, width> lane)
{
  *(hr_lane<T, width> *)to = lane;
}

template <unsigned width, typename T> static __device__ inline hr_lane<T, width> hr_fill(T value)
{
  hr_lane<T, width> lane;
#pragma unroll
  for (unsigned k = 0; k < width; k++)
    lane.x[k] = value;
  return lane;
}

/* `sum` plus the terms of the first active_lanes lanes of this lane's row, in the order of columns: lane by lane, each
 * hands on what it came to. Every lane of the row gets the result. An addition costs a whole warp as much as a lane,
 * and while one row waits for its next lane, others are computed. */
template <unsigned width>
static __device__ inline float hr_add_in_order(float sum, hr_lane<float, width> terms, unsigned active_lanes,
                                               hr_row_shape shape)
{
  unsigned mask = hr_row_mask(shape);
  for (unsigned lane = 0; lane < active_lanes; lane++) {
    float own = sum;
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      own = __fadd_rn(own, terms.x[k]);
    sum = __shfl_sync(mask, own, (int)lane, 1 << shape.lanes_log2);
  }
  return sum;
}

/* How many lanes have columns of the part of a row that begins at `start`. */
static __device__ inline unsigned hr_active_lanes(uint32_t dim, uint32_t start, unsigned width, hr_row_shape shape)
{
  unsigned lanes = 1u << shape.lanes_log2, needed = (dim - start + width - 1) / width;
  return needed < lanes ? needed : lanes;
}

/* The mean of g*g over a row, with g divided by `steps` first: for all its lanes. */
template <unsigned width>
static __device__ inline float hr_mean_squares(const float *g, uint32_t dim, uint32_t steps, hr_row_shape shape)
{
  float sum = 0.0f;
  for (uint32_t start = 0; start < dim; start += width << shape.lanes_log2) {
    uint32_t column = start + hr_lane_index(shape) * width;
    hr_lane<float, width> squares = hr_fill<width>(0.0f);
    if (column < dim) {
      squares = hr_load<width>(g + column);
#pragma unroll
      for (unsigned k = 0; k < width; k++) {
        float x = steps > 1 ? __fdiv_rn(squares.x[k], (float)steps) : squares.x[k];
        squares.x[k] = __fmul_rn(x, x);
      }
    }
    sum = hr_add_in_order<width>(sum, squares, hr_active_lanes(dim, start, width, shape), shape);
  }
  return __fmul_rn(sum, __fdiv_rn(1.0f, (float)dim));
}

/* Rows of words by slot (NULL: in order), whole or as parts of wider ones. */
void hr_cuda_copy_rows(const float *from, size_t from_stride, uint32_t dim, const uint32_t *slots, size_t row_count,
                       void *stream, float *to, size_t to_stride);

/* Rows of halves or bfloats, packed_stride of them apart, by slot (NULL: in order), as floats. */
void hr_cuda_unpack_halves(hotrow_dtype dtype, const uint16_t *packed, size_t packed_stride, uint32_t dim,
                           const uint32_t *slots, size_t row_count, void *stream, float *out, size_t out_stride);

/* *row_p = row, on the stream. */
void hr_cuda_set_row(uint64_t *row_p, uint64_t row, void *stream);

#endif
