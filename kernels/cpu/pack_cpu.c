/* Values as they travel, and as a table of 16 bits a value begins with them. */
#include <hr/assert.h>
#include <hr/vector.h>

#include "half_cpu.h"
#include "kernels_impl.h"

HR_ROW_INLINE float largest_of(const float *x, uint32_t dim)
{
  uint32_t largest = 0; /* magnitudes are ordered as their bits are */
  for (uint32_t c = 0; c < dim; c++) {
    uint32_t bits = bits_of(x[c]) & 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  return float_of(largest);
}

HR_ROW_INLINE void bytes_of(uint8_t *restrict q, const float *restrict x, uint32_t width, float divisor)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    q[c] = byte_of(x[c], divisor);
}

HR_ROW_INLINE void pack_i8(uint8_t *q, const float *x, uint32_t dim, float scale)
{
  float divisor = scale > 0.0f ? scale : 1.0f;
#define BYTES(first, width) bytes_of(q + (first), x + (first), width, divisor)
  FOR_COLUMNS(dim, BYTES);
#undef BYTES
}

HR_ROW_INLINE void halves_of(uint16_t *restrict half, const float *restrict x, uint32_t width)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    half[c] = half_of(x[c]);
}

HR_ROW_INLINE void pack_f16(uint16_t *half, const float *x, uint32_t dim)
{
#define HALVES(first, width) halves_of(half + (first), x + (first), width)
  FOR_COLUMNS(dim, HALVES);
#undef HALVES
}

HR_ROW_INLINE void bfloats_of(uint16_t *restrict bfloat, const float *restrict x, uint32_t width)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    bfloat[c] = bfloat_of(x[c]);
}

HR_ROW_INLINE void pack_bf16(uint16_t *bfloat, const float *x, uint32_t dim)
{
#define BFLOATS(first, width) bfloats_of(bfloat + (first), x + (first), width)
  FOR_COLUMNS(dim, BFLOATS);
#undef BFLOATS
}

HR_ROW_INLINE bool is_known(hotrow_dtype dtype)
{
  return dtype == HOTROW_F32 || dtype == HOTROW_F16 || dtype == HOTROW_I8 || dtype == HOTROW_BF16;
}

HR_VECTORISED void hr_cpu_pack(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,
                               const uint32_t *slots, size_t row_count, void *stream, void *packed, float *scales)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && value_stride >= dim);
  HOTROW_ASSERT(is_known(dtype) && (dtype != HOTROW_I8 || scales || row_count == 0));
  size_t prefetch_floats = hr_prefetch_floats(dim);
  for (size_t i = 0; i < row_count; i++) {
    if (slots && i + HR_ROWS_AHEAD < row_count)
      hr_prefetch_row(values + slots[i + HR_ROWS_AHEAD] * value_stride, prefetch_floats);
    const float *x = values + (slots ? slots[i] : i) * value_stride;
    if (dtype == HOTROW_F16) {
      pack_f16((uint16_t *)packed + i * dim, x, dim);
    } else if (dtype == HOTROW_BF16) {
      pack_bf16((uint16_t *)packed + i * dim, x, dim);
    } else if (dtype == HOTROW_I8) {
      scales[i] = largest_of(x, dim);
      pack_i8((uint8_t *)packed + i * dim, x, dim, scales[i]);
    } else {
      memcpy((float *)packed + i * dim, x, dim * sizeof(float));
    }
  }
}

HR_ROW_INLINE void floats_of_bytes(float *restrict x, const int8_t *restrict q, uint32_t width, float scale)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    x[c] = float_of_byte(q[c], scale);
}

HR_ROW_INLINE void unpack_i8(float *x, const int8_t *q, uint32_t dim, float scale)
{
#define FLOATS(first, width) floats_of_bytes(x + (first), q + (first), width, scale)
  FOR_COLUMNS(dim, FLOATS);
#undef FLOATS
}

HR_VECTORISED void hr_cpu_unpack(hotrow_dtype dtype, const void *packed, const float *scales, uint32_t dim,
                                 size_t row_count, void *stream, float *values, size_t value_stride)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && value_stride >= dim);
  HOTROW_ASSERT(is_known(dtype) && (dtype != HOTROW_I8 || scales || row_count == 0));
  for (size_t i = 0; i < row_count; i++) {
    float *x = values + i * value_stride;
    if (dtype == HOTROW_F16)
      unpack_f16(x, (const uint16_t *)packed + i * dim, dim);
    else if (dtype == HOTROW_BF16)
      unpack_bf16(x, (const uint16_t *)packed + i * dim, dim);
    else if (dtype == HOTROW_I8)
      unpack_i8(x, (const int8_t *)packed + i * dim, dim, scales[i]);
    else
      memcpy(x, (const float *)packed + i * dim, dim * sizeof(float));
  }
}
