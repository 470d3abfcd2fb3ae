/* Values as they travel. F32 is a copy of rows; halves and bfloats are read by unpack_halves in packed_rows_cuda.cu.
 * Grid: lanes share rows as row_cuda.h says. pack to I8 needs a row's largest value before the first byte: lanes go
 * over the row twice, and its second reading comes from a cache. Bytes per row: 4*dim of floats, dim (I8, and 4 of
 * scale) or 2*dim (F16, BF16) packed, 4 of slot where given. */
#include "half.h"
#include "row_cuda.h"

typedef struct float_rows {
  const float *values;
  size_t stride;
  uint32_t dim;
  const uint32_t *slots;
  size_t count;
} float_rows;

static __device__ inline const float *row_of(float_rows rows, size_t i)
{
  return rows.values + (rows.slots ? rows.slots[i] : i) * rows.stride;
}

template <unsigned width, hotrow_dtype dtype>
static __device__ inline void pack_part(float_rows rows, uint16_t *packed, hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= rows.dim)
    return;
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < rows.count; i += step) {
    hr_lane<float, width> x = hr_load<width>(row_of(rows, i) + column);
    hr_lane<uint16_t, width> half;
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      half.x[k] = dtype == HOTROW_F16 ? half_of(x.x[k]) : bfloat_of(x.x[k]);
    hr_store<width>(packed + i * rows.dim + column, half);
  }
}

template <unsigned width> static __global__ void pack_f16(float_rows rows, uint16_t *packed, hr_row_shape shape)
{
  pack_part<width, HOTROW_F16>(rows, packed, shape);
}

template <unsigned width> static __global__ void pack_bf16(float_rows rows, uint16_t *packed, hr_row_shape shape)
{
  pack_part<width, HOTROW_BF16>(rows, packed, shape);
}

/* Magnitudes are ordered as their bits are, and the largest is the same in whatever order it is looked for. */
template <unsigned width> static __device__ inline float largest_of(const float *x, uint32_t dim, hr_row_shape shape)
{
  uint32_t largest = 0;
  for (uint32_t column = hr_lane_index(shape) * width; column < dim; column += width << shape.lanes_log2) {
    hr_lane<float, width> lane = hr_load<width>(x + column);
#pragma unroll
    for (unsigned k = 0; k < width; k++) {
      uint32_t bits = bits_of(lane.x[k]) & 0x7fffffffu;
      largest = bits > largest ? bits : largest;
    }
  }
  for (unsigned distance = 1u << shape.lanes_log2 >> 1; distance > 0; distance >>= 1) {
    uint32_t other = __shfl_xor_sync(hr_row_mask(shape), largest, (int)distance);
    largest = other > largest ? other : largest;
  }
  return float_of(largest);
}

template <unsigned width>
static __global__ void pack_i8(float_rows rows, uint8_t *packed, float *scales, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < rows.count; i += step) {
    const float *x = row_of(rows, i);
    float scale = largest_of<width>(x, rows.dim, shape), divisor = scale > 0.0f ? scale : 1.0f;
    if (hr_lane_index(shape) == 0)
      scales[i] = scale;
    for (uint32_t column = hr_lane_index(shape) * width; column < rows.dim; column += width << shape.lanes_log2) {
      hr_lane<float, width> lane = hr_load<width>(x + column);
      hr_lane<uint8_t, width> bytes;
#pragma unroll
      for (unsigned k = 0; k < width; k++)
        bytes.x[k] = byte_of(lane.x[k], divisor);
      hr_store<width>(packed + i * rows.dim + column, bytes);
    }
  }
}

template <unsigned width>
static __global__ void unpack_i8(const int8_t *__restrict__ packed, const float *__restrict__ scales, uint32_t dim,
                                 size_t row_count, float *__restrict__ values, size_t value_stride, hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= dim)
    return;
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < row_count; i += step) {
    hr_lane<int8_t, width> bytes = hr_load<width>(packed + i * dim + column);
    float scale = scales[i];
    hr_lane<float, width> x;
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      x.x[k] = float_of_byte(bytes.x[k], scale);
    hr_store<width>(values + i * value_stride + column, x);
  }
}

extern "C" void hr_cuda_pack(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,
                             const uint32_t *slots, size_t row_count, void *stream, void *packed, float *scales)
{
  if (row_count == 0)
    return;
  if (dtype == HOTROW_F32) {
    hr_cuda_copy_rows(values, value_stride, dim, slots, row_count, stream, (float *)packed, dim);
    return;
  }
  float_rows rows = {values, value_stride, dim, slots, row_count};
  size_t packed_address = dtype == HOTROW_I8 ? (uintptr_t)packed : (uintptr_t)packed / sizeof(uint16_t);
  unsigned width = hr_row_width(hr_address(values) | value_stride | dim | packed_address);
  hr_row_shape shape = dtype == HOTROW_I8 ? hr_whole_rows(width, dim) : hr_parted_rows(width, dim);
  dim3 grid = hr_row_grid(shape, row_count, 1);
  if (dtype == HOTROW_I8)
    HR_LAUNCH(HR_BY_WIDTH(pack_i8, width), grid, HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (rows, (uint8_t *)packed, scales, shape);
  else if (dtype == HOTROW_F16) HR_LAUNCH(HR_BY_WIDTH(pack_f16, width), grid, HR_CUDA_BLOCK_THREADS, 0,
                                          (cudaStream_t)stream)(rows, (uint16_t *)packed, shape);
  else HR_LAUNCH(HR_BY_WIDTH(pack_bf16, width), grid, HR_CUDA_BLOCK_THREADS, 0,
                 (cudaStream_t)stream)(rows, (uint16_t *)packed, shape);
  hr_cuda_check_launch("pack");
}

extern "C" void hr_cuda_unpack(hotrow_dtype dtype, const void *packed, const float *scales, uint32_t dim,
                               size_t row_count, void *stream, float *values, size_t value_stride)
{
  if (row_count == 0)
    return;
  if (dtype == HOTROW_F32) {
    hr_cuda_copy_rows((const float *)packed, dim, dim, NULL, row_count, stream, values, value_stride);
    return;
  }
  if (dtype != HOTROW_I8) {
    hr_cuda_unpack_halves(dtype, (const uint16_t *)packed, dim, dim, NULL, row_count, stream, values, value_stride);
    return;
  }
  unsigned width = hr_row_width(hr_address(values) | value_stride | dim | (uintptr_t)packed);
  hr_row_shape shape = hr_parted_rows(width, dim);
  HR_LAUNCH(HR_BY_WIDTH(unpack_i8, width), hr_row_grid(shape, row_count, 1), HR_CUDA_BLOCK_THREADS, 0,
            (cudaStream_t)stream)
  ((const int8_t *)packed, scales, dim, row_count, values, value_stride, shape);
  hr_cuda_check_launch("unpack");
}
