/* Rows whose values are kept in 16 bits: read as floats, and written back rounded by chance.
 * Grid: lanes share rows as row_cuda.h says; y is the part of the row. Bytes per row: 4 (slot) and 8 (stream of a row
 * that is written), 2*dim of the row array, 4*dim of the caller's. */
#include "half.h"
#include "row_cuda.h"

template <unsigned width, hotrow_dtype dtype>
static __device__ inline void unpack_part(const uint16_t *__restrict__ packed, size_t packed_stride, uint32_t dim,
                                          const uint32_t *__restrict__ slots, size_t row_count, float *__restrict__ out,
                                          size_t out_stride, hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= dim)
    return;
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < row_count; i += step) {
    hr_lane<uint16_t, width> half = hr_load<width>(packed + (slots ? slots[i] : i) * packed_stride + column);
    hr_lane<float, width> x;
#pragma unroll
    for (unsigned k = 0; k < width; k++)
      x.x[k] = dtype == HOTROW_F16 ? float_of_half(half.x[k]) : float_of_bfloat(half.x[k]);
    hr_store<width>(out + i * out_stride + column, x);
  }
}

template <unsigned width>
static __global__ void unpack_f16(const uint16_t *packed, size_t packed_stride, uint32_t dim, const uint32_t *slots,
                                  size_t row_count, float *out, size_t out_stride, hr_row_shape shape)
{
  unpack_part<width, HOTROW_F16>(packed, packed_stride, dim, slots, row_count, out, out_stride, shape);
}

template <unsigned width>
static __global__ void unpack_bf16(const uint16_t *packed, size_t packed_stride, uint32_t dim, const uint32_t *slots,
                                   size_t row_count, float *out, size_t out_stride, hr_row_shape shape)
{
  unpack_part<width, HOTROW_BF16>(packed, packed_stride, dim, slots, row_count, out, out_stride, shape);
}

void hr_cuda_unpack_halves(hotrow_dtype dtype, const uint16_t *packed, size_t packed_stride, uint32_t dim,
                           const uint32_t *slots, size_t row_count, void *stream, float *out, size_t out_stride)
{
  if (row_count == 0)
    return;
  unsigned width =
      hr_row_width((uintptr_t)packed / sizeof *packed | packed_stride | dim | hr_address(out) | out_stride);
  hr_row_shape shape = hr_parted_rows(width, dim);
  dim3 grid = hr_row_grid(shape, row_count, 1);
  if (dtype == HOTROW_F16)
    HR_LAUNCH(HR_BY_WIDTH(unpack_f16, width), grid, HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (packed, packed_stride, dim, slots, row_count, out, out_stride, shape);
  else HR_LAUNCH(HR_BY_WIDTH(unpack_bf16, width), grid, HR_CUDA_BLOCK_THREADS, 0,
                 (cudaStream_t)stream)(packed, packed_stride, dim, slots, row_count, out, out_stride, shape);
  hr_cuda_check_launch("unpack_halves");
}

extern "C" void hr_cuda_gather_packed(hotrow_dtype dtype, const float *rows, size_t row_stride, uint32_t dim,
                                      const uint32_t *slots, size_t slot_count, void *stream, float *out,
                                      size_t out_stride)
{
  hr_cuda_unpack_halves(dtype, (const uint16_t *)rows, 2 * row_stride, dim, slots, slot_count, stream, out, out_stride);
}

template <unsigned width, hotrow_dtype dtype>
static __device__ inline void scatter_part(const float *__restrict__ values, size_t value_stride, uint32_t dim,
                                           const uint64_t *__restrict__ streams, const uint32_t *__restrict__ slots,
                                           size_t slot_count, uint16_t *__restrict__ packed, size_t packed_stride,
                                           hr_row_shape shape)
{
  uint32_t column = hr_first_column(shape, width);
  if (column >= dim)
    return;
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < slot_count; i += step) {
    hr_lane<float, width> x = hr_load<width>(values + i * value_stride + column);
    uint64_t stream = streams[i];
    hr_lane<uint16_t, width> half;
#pragma unroll
    for (unsigned k = 0; k < width; k++) {
      uint32_t random = random_of(stream, column + k);
      half.x[k] = dtype == HOTROW_F16 ? half_by_chance(x.x[k], random) : bfloat_by_chance(x.x[k], random);
    }
    hr_store<width>(packed + slots[i] * packed_stride + column, half);
  }
}

template <unsigned width>
static __global__ void scatter_f16(const float *values, size_t value_stride, uint32_t dim, const uint64_t *streams,
                                   const uint32_t *slots, size_t slot_count, uint16_t *packed, size_t packed_stride,
                                   hr_row_shape shape)
{
  scatter_part<width, HOTROW_F16>(values, value_stride, dim, streams, slots, slot_count, packed, packed_stride, shape);
}

template <unsigned width>
static __global__ void scatter_bf16(const float *values, size_t value_stride, uint32_t dim, const uint64_t *streams,
                                    const uint32_t *slots, size_t slot_count, uint16_t *packed, size_t packed_stride,
                                    hr_row_shape shape)
{
  scatter_part<width, HOTROW_BF16>(values, value_stride, dim, streams, slots, slot_count, packed, packed_stride, shape);
}

extern "C" void hr_cuda_scatter_packed(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,
                                       const uint64_t *streams, const uint32_t *slots, size_t slot_count, void *stream,
                                       float *rows, size_t row_stride)
{
  if (slot_count == 0)
    return;
  uint16_t *packed = (uint16_t *)rows;
  unsigned width = hr_row_width(hr_address(values) | value_stride | dim | 2 * hr_address(rows) | 2 * row_stride);
  hr_row_shape shape = hr_parted_rows(width, dim);
  dim3 grid = hr_row_grid(shape, slot_count, 1);
  if (dtype == HOTROW_F16)
    HR_LAUNCH(HR_BY_WIDTH(scatter_f16, width), grid, HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  (values, value_stride, dim, streams, slots, slot_count, packed, 2 * row_stride, shape);
  else HR_LAUNCH(HR_BY_WIDTH(scatter_bf16, width), grid, HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)(
      values, value_stride, dim, streams, slots, slot_count, packed, 2 * row_stride, shape);
  hr_cuda_check_launch("scatter_packed");
}
