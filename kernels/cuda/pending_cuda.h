/* One row's segment into its pending sums, for the kernels that do it: see pending_cuda.cu. */
#ifndef PENDING_CUDA_H
#define PENDING_CUDA_H

#include "row_cuda.h"

template <unsigned width> static __device__ inline void add_lane(float *sum, hr_lane<float, width> terms, bool is_first)
{
  if (!is_first) {
    hr_lane<float, width> old = hr_load<width>(sum);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      terms.x[k] = __fadd_rn(old.x[k], terms.x[k]);
  }
  hr_store<width>(sum, terms);
}

/* Sums, and a square per column unless squares is NULL. */
template <unsigned width>
static __device__ inline void add_columns(float *sums, float *squares, const float *g, uint32_t dim, bool is_first,
                                          hr_row_shape shape)
{
  for (uint32_t column = hr_lane_index(shape) * width; column < dim; column += width << shape.lanes_log2) {
    hr_lane<float, width> lane = hr_load<width>(g + column);
    add_lane<width>(sums + column, lane, is_first);
    if (!squares)
      continue;
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      lane.x[k] = __fmul_rn(lane.x[k], lane.x[k]);
    add_lane<width>(squares + column, lane, is_first);
  }
}

/* The mean of the squares of a row. */
template <unsigned width>
static __device__ inline void add_mean(float *sum, const float *g, uint32_t dim, bool is_first, hr_row_shape shape)
{
  float mean = hr_mean_squares<width>(g, dim, 1, shape);
  if (hr_lane_index(shape) == 0)
    *sum = is_first ? mean : __fadd_rn(*sum, mean);
}

#endif
