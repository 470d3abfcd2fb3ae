/* Values as they travel. Float to half and back is done on bits, so that no instruction of one machine decides. */
#include <string.h>

#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

#define HALF_MAX_BITS 0x477fe000u    /* 65504.0f: the largest half */
#define HALF_NORMAL_BITS 0x38800000u /* 2^-14: the smallest normal half */

HR_ROW_INLINE uint32_t bits_of(float value)
{
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

HR_ROW_INLINE float float_of(uint32_t bits)
{
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Both results are computed and one is chosen: no branch stands in the way of vectors. Below 2^-14 halves are multiples
 * of 2^-24, which is the last bit of 0.5f: an addition rounds them. */
HR_ROW_INLINE uint16_t half_of(float value)
{
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  bits = bits < HALF_MAX_BITS ? bits : HALF_MAX_BITS;
  uint32_t denormal = bits_of(float_of(bits) + 0.5f) - 0x3f000000u;
  uint32_t normal = (bits - (112u << 23) + 0xfffu + (bits >> 13 & 1u)) >> 13;
  return (uint16_t)(sign | (bits < HALF_NORMAL_BITS ? denormal : normal));
}

HR_ROW_INLINE float float_of_half(uint16_t half)
{
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = (uint32_t)(half & 0x7fffu) << 13;
  uint32_t normal = rest + (rest < 0x0f800000u ? 112u << 23 : 224u << 23); /* else an infinity or a NaN */
  uint32_t denormal = bits_of(float_of(rest + 0x38800000u) - 0x1p-14f);
  return float_of(sign | (rest < 0x00800000u ? denormal : normal));
}

/* Calls step(first, width) for all columns: in four lines, a line, a quarter of one, and one by one. Loops of a known
 * length become vectors also where rows are short; unrolled first (hence the pragmas) they would not. */
#define FOR_COLUMNS(dim, step)                                                                                         \
  do {                                                                                                                 \
    uint32_t column = 0;                                                                                               \
    for (; column + 4 * HR_LINE_FLOATS <= (dim); column += 4 * HR_LINE_FLOATS)                                         \
      step(column, 4 * HR_LINE_FLOATS);                                                                                \
    for (; column + HR_LINE_FLOATS <= (dim); column += HR_LINE_FLOATS)                                                 \
      step(column, HR_LINE_FLOATS);                                                                                    \
    for (; column + HR_LINE_FLOATS / 4 <= (dim); column += HR_LINE_FLOATS / 4)                                         \
      step(column, HR_LINE_FLOATS / 4);                                                                                \
    for (; column < (dim); column++)                                                                                   \
      step(column, 1u);                                                                                                \
  } while (0)

HR_ROW_INLINE float largest_of(const float *x, uint32_t dim)
{
  uint32_t largest = 0; /* magnitudes are ordered as their bits are */
  for (uint32_t c = 0; c < dim; c++) {
    uint32_t bits = bits_of(x[c]) & 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  return float_of(largest);
}

/* Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits. */
HR_ROW_INLINE void bytes_of(uint8_t *restrict q, const float *restrict x, uint32_t width, float divisor)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    q[c] = (uint8_t)(bits_of(x[c] / divisor * 127.0f + 0x1.8p23f) & 0xffu);
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

HR_VECTORISED void hr_cpu_pack(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,
                               const uint32_t *slots, size_t row_count, void *stream, void *packed, float *scales)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && value_stride >= dim);
  HOTROW_ASSERT(dtype == HOTROW_F32 || dtype == HOTROW_F16 || (dtype == HOTROW_I8 && (scales || row_count == 0)));
  size_t prefetch_floats = hr_prefetch_floats(dim);
  for (size_t i = 0; i < row_count; i++) {
    if (slots && i + HR_ROWS_AHEAD < row_count)
      hr_prefetch_row(values + slots[i + HR_ROWS_AHEAD] * value_stride, prefetch_floats);
    const float *x = values + (slots ? slots[i] : i) * value_stride;
    if (dtype == HOTROW_F16) {
      pack_f16((uint16_t *)packed + i * dim, x, dim);
    } else if (dtype == HOTROW_I8) {
      scales[i] = largest_of(x, dim);
      pack_i8((uint8_t *)packed + i * dim, x, dim, scales[i]);
    } else {
      memcpy((float *)packed + i * dim, x, dim * sizeof(float));
    }
  }
}

HR_ROW_INLINE void floats_of_halves(float *restrict x, const uint16_t *restrict half, uint32_t width)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    x[c] = float_of_half(half[c]);
}

HR_ROW_INLINE void unpack_f16(float *x, const uint16_t *half, uint32_t dim)
{
#define FLOATS(first, width) floats_of_halves(x + (first), half + (first), width)
  FOR_COLUMNS(dim, FLOATS);
#undef FLOATS
}

HR_ROW_INLINE void floats_of_bytes(float *restrict x, const int8_t *restrict q, uint32_t width, float scale)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++) {
    int32_t whole = q[c] > -127 ? q[c] : -127;
    x[c] = (float)whole / 127.0f * scale;
  }
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
  HOTROW_ASSERT(dtype == HOTROW_F32 || dtype == HOTROW_F16 || (dtype == HOTROW_I8 && (scales || row_count == 0)));
  for (size_t i = 0; i < row_count; i++) {
    float *x = values + i * value_stride;
    if (dtype == HOTROW_F16)
      unpack_f16(x, (const uint16_t *)packed + i * dim, dim);
    else if (dtype == HOTROW_I8)
      unpack_i8(x, (const int8_t *)packed + i * dim, dim, scales[i]);
    else
      memcpy(x, (const float *)packed + i * dim, dim * sizeof(float));
  }
}
