/* Rows of 16-bit values, in loops that become vectors. */
#ifndef HALF_CPU_H
#define HALF_CPU_H

#include "half.h"
#include "row_cpu.h"

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

HR_ROW_INLINE void floats_of_bfloats(float *restrict x, const uint16_t *restrict bfloat, uint32_t width)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    x[c] = float_of_bfloat(bfloat[c]);
}

HR_ROW_INLINE void unpack_bf16(float *x, const uint16_t *bfloat, uint32_t dim)
{
#define FLOATS(first, width) floats_of_bfloats(x + (first), bfloat + (first), width)
  FOR_COLUMNS(dim, FLOATS);
#undef FLOATS
}

#endif
