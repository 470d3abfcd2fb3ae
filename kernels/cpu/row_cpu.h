/* What the CPU kernels share: reading rows ahead of use, means of squares. */
#ifndef ROW_CPU_H
#define ROW_CPU_H

#include <stddef.h>
#include <stdint.h>

#include <hr/assert.h>

/* Always inlined, so that a helper is compiled for the same instructions as the kernel it serves. */
#define HR_ROW_INLINE static inline __attribute__((always_inline))

/* Rows lie anywhere in memory: the row this many places ahead is asked for while the present one is computed. */
#define HR_ROWS_AHEAD 32u
#define HR_LINE_FLOATS 16u
#define HR_LINE_BYTES (HR_LINE_FLOATS * sizeof(float))
#define HR_PREFETCH_FLOATS_MAX 256u /* of a wider row the hardware's own prefetcher fetches the rest */

HR_ROW_INLINE size_t hr_prefetch_floats(size_t row_floats)
{
  return row_floats < HR_PREFETCH_FLOATS_MAX ? row_floats : HR_PREFETCH_FLOATS_MAX;
}

/* Asks for the lines of `floats` floats at `row`, each once, as a second request costs almost what the first does. They
 * come to the second-level cache: the first one has room for few that are on their way, and stops at the next. */
HR_ROW_INLINE void hr_prefetch_row(const float *row, size_t floats)
{
  const char *line = (const char *)((uintptr_t)row & ~(uintptr_t)(HR_LINE_BYTES - 1)),
             *end = (const char *)(row + floats);
  for (; line < end; line += HR_LINE_BYTES)
    __builtin_prefetch(line, 0, 2);
}

#define HR_MEAN_ROWS 8u /* independent sums that hide the latency of adding in column order */

/* Rows that are gone over more than once, segment by segment, while they are in the first-level cache. */
#define HR_BLOCK_ROWS HR_MEAN_ROWS

/* means[r] = mean of g*g over dim columns of row r of grads, summed in column order. */
HR_ROW_INLINE void hr_mean_squares(const float *grads, size_t grad_stride, uint32_t dim, size_t row_count, float *means)
{
  float sums[HR_MEAN_ROWS] = {0.0f};
  for (uint32_t c = 0; c < dim; c++)
    for (size_t r = 0; r < row_count; r++)
      sums[r] += grads[r * grad_stride + c] * grads[r * grad_stride + c];
  for (size_t r = 0; r < row_count; r++)
    means[r] = sums[r] * (1.0f / (float)dim);
}

/* The means of rows first .. first+HR_MEAN_ROWS-1, as far as there are. */
HR_ROW_INLINE void hr_mean_squares_of_group(const float *grads, size_t grad_stride, uint32_t dim, size_t first,
                                            size_t row_count, float *means)
{
  if (row_count - first >= HR_MEAN_ROWS)
    hr_mean_squares(grads + first * grad_stride, grad_stride, dim, HR_MEAN_ROWS, means);
  else
    hr_mean_squares(grads + first * grad_stride, grad_stride, dim, row_count - first, means);
}

#endif
