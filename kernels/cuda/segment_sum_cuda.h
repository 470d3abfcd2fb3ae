/* Sums of segments, for the kernels that make them: see segment_sum_cuda.cu. */
#ifndef SEGMENT_SUM_CUDA_H
#define SEGMENT_SUM_CUDA_H

#include "row_cuda.h"

#define SHORT_AT_ONCE 2u
#define LONG_TERMS (4 * HOTROW_SUM_CHUNK)

typedef struct terms {
  const float *grads;
  size_t grad_stride;
  const uint32_t *source;
  const float *coefficients;
  const uint32_t *positions;
} terms;

/* Terms first .. end-1, in order, at_once of them asked for together: behind the last one it is read again, and -0 is
 * added in its place. No branch stands between the reads. t.grads is at the lane's first column. */
template <unsigned width, unsigned at_once>
static __device__ inline hr_lane<float, width> sum_chunk(terms t, uint32_t first, uint32_t end)
{
  hr_lane<float, width> sum = hr_fill<width>(-0.0f);
#pragma unroll 1
  for (uint32_t j = first; j < end; j += at_once) {
    const float *row[at_once];
    float coefficient[at_once];
    hr_lane<float, width> grad[at_once];
#pragma unroll
    for (unsigned r = 0; r < at_once; r++) {
      uint32_t position = t.positions[r < end - j ? j + r : end - 1];
      row[r] = t.grads + (t.source ? t.source[position] : position) * t.grad_stride;
      coefficient[r] = t.coefficients ? t.coefficients[position] : 1.0f;
    }
#pragma unroll
    for (unsigned r = 0; r < at_once; r++)
      grad[r] = hr_load<width>(row[r]);
#pragma unroll
    for (unsigned r = 0; r < at_once; r++)
#pragma unroll
      for (unsigned k = 0; k < width; k++) {
        float term = __fmul_rn(coefficient[r], grad[r].x[k]);
        sum.x[k] = __fadd_rn(sum.x[k], r < end - j ? term : -0.0f);
      }
  }
  return sum;
}

static __device__ inline uint32_t chunk_end(uint32_t first, uint32_t end)
{
  return end - first > HOTROW_SUM_CHUNK ? first + HOTROW_SUM_CHUNK : end;
}

/* A segment of at most LONG_TERMS terms. A sum begins at -0, which leaves the bits of whatever is added first; so the
 * first term needs no case of its own. */
template <unsigned width>
static __device__ inline hr_lane<float, width> sum_segment(terms t, uint32_t first, uint32_t end)
{
  hr_lane<float, width> total = hr_fill<width>(first < end ? -0.0f : 0.0f);
  for (uint32_t next; first < end; first = next) {
    next = chunk_end(first, end);
    hr_lane<float, width> sum = sum_chunk<width, SHORT_AT_ONCE>(t, first, next);
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      total.x[k] = __fadd_rn(total.x[k], sum.x[k]);
  }
  return total;
}

/* Sums of the segments of more than LONG_TERMS terms; the others' are left alone. */
void hr_cuda_sum_long(terms t, uint32_t dim, const uint32_t *offsets, size_t segment_count, void *stream, float *sums);

#endif
