/* Sums the gradients of every occurrence of a key. Chunks of HOTROW_SUM_CHUNK terms bound both the rounding error and
 * the work that one GPU thread group does alone; both backends add in the same order. */
#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

#define COLUMNS 64u /* summed at a time: both accumulators stay in registers or the first-level cache */

typedef struct terms {
  const float *grads;
  size_t grad_stride;
  const uint32_t *source;
  const float *coefficients;
  const uint32_t *positions;
} terms;

HR_ROW_INLINE const float *term_row(const terms *t, uint32_t j)
{
  uint32_t position = t->positions[j];
  return t->grads + (t->source ? t->source[position] : position) * t->grad_stride;
}

HR_ROW_INLINE float term_coefficient(const terms *t, uint32_t j)
{
  return t->coefficients ? t->coefficients[t->positions[j]] : 1.0f;
}

/* sum[c] = terms first .. end-1 of columns column .. column+width-1, in order. */
HR_ROW_INLINE void sum_chunk(const terms *t, uint32_t first, uint32_t end, uint32_t column, uint32_t width,
                             float *restrict sum)
{
  const float *row = term_row(t, first) + column;
  float coefficient = term_coefficient(t, first);
  for (uint32_t c = 0; c < width; c++)
    sum[c] = coefficient * row[c];
  for (uint32_t j = first + 1; j < end; j++) {
    row = term_row(t, j) + column;
    coefficient = term_coefficient(t, j);
    for (uint32_t c = 0; c < width; c++)
      sum[c] += coefficient * row[c];
  }
}

HR_ROW_INLINE void sum_columns(const terms *t, uint32_t first, uint32_t end, uint32_t column, uint32_t width,
                               float *restrict total)
{
  if (first == end) {
    for (uint32_t c = 0; c < width; c++)
      total[c] = 0.0f;
    return;
  }
  uint32_t chunk_end = end - first > HOTROW_SUM_CHUNK ? first + HOTROW_SUM_CHUNK : end;
  sum_chunk(t, first, chunk_end, column, width, total);
  while (chunk_end < end) {
    uint32_t chunk_first = chunk_end;
    chunk_end = end - chunk_first > HOTROW_SUM_CHUNK ? chunk_first + HOTROW_SUM_CHUNK : end;
    float chunk[COLUMNS];
    sum_chunk(t, chunk_first, chunk_end, column, width, chunk);
    for (uint32_t c = 0; c < width; c++)
      total[c] += chunk[c];
  }
}

HR_VECTORISED void hr_cpu_segment_sum(const float *grads, size_t grad_stride, uint32_t dim, const uint32_t *source,
                                      const float *coefficients, const uint32_t *positions, const uint32_t *offsets,
                                      size_t segment_count, void *stream, float *sums)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && grad_stride >= dim);
  if (segment_count == 0)
    return;
  terms t = {grads, grad_stride, source, coefficients, positions};
  size_t prefetch_floats = hr_prefetch_floats(dim);
  uint32_t term_count = offsets[segment_count], prefetched = offsets[0];
  for (size_t segment = 0; segment < segment_count; segment++) {
    uint32_t first = offsets[segment], end = offsets[segment + 1];
    HOTROW_ASSERT(first <= end);
    for (; prefetched < term_count && prefetched < first + HR_ROWS_AHEAD; prefetched++)
      hr_prefetch_row(term_row(&t, prefetched), prefetch_floats);
    for (uint32_t column = 0; column < dim; column += COLUMNS) {
      uint32_t width = dim - column < COLUMNS ? dim - column : COLUMNS;
      sum_columns(&t, first, end, column, width, sums + segment * dim + column);
    }
  }
}
