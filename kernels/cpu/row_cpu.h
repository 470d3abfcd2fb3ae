/* What the CPU kernels share: reading rows ahead of use. */
#ifndef ROW_CPU_H
#define ROW_CPU_H

#include <stddef.h>
#include <stdint.h>

#include <hr/assert.h>

/* Always inlined, so that a helper is compiled for the same instructions as the kernel it serves. */
#define HR_ROW_INLINE static inline __attribute__((always_inline))

/* Rows lie anywhere in memory: the row this many places ahead is asked for while the present one is computed. */
#define HR_ROWS_AHEAD 12u
#define HR_LINE_FLOATS 16u
#define HR_PREFETCH_FLOATS_MAX 256u /* of a wider row the hardware's own prefetcher fetches the rest */

HR_ROW_INLINE size_t hr_prefetch_floats(size_t row_floats)
{
  return row_floats < HR_PREFETCH_FLOATS_MAX ? row_floats : HR_PREFETCH_FLOATS_MAX;
}

/* Asks for the lines of `floats` floats at `row`. The last float has its own prefetch: a row may straddle lines. */
HR_ROW_INLINE void hr_prefetch_row(const float *row, size_t floats)
{
  for (size_t i = 0; i < floats; i += HR_LINE_FLOATS)
    __builtin_prefetch(row + i);
  __builtin_prefetch(row + floats - 1);
}

#endif
