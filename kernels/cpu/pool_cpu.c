/* Bags of rows summed into one row each, and what their gradient means for the rows. */
#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"
#include "shared_math.h"

HR_ROW_INLINE void add_weighted(float *restrict sum, const float *restrict row, float weight, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] += weight * row[c];
}

HR_VECTORISED void hr_cpu_pool(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,
                               const uint32_t *offsets, const float *weights, size_t bag_count, hotrow_pooling pooling,
                               void *stream, float *out, size_t out_stride)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && row_stride >= dim && out_stride >= dim);
  HOTROW_ASSERT(pooling >= HOTROW_POOL_SUM && pooling <= HOTROW_POOL_SQRTN);
  if (bag_count == 0)
    return;
  size_t prefetch_floats = hr_prefetch_floats(dim);
  uint32_t slot_count = offsets[bag_count];
  for (size_t bag = 0; bag < bag_count; bag++) {
    float *sum = out + bag * out_stride;
    for (uint32_t c = 0; c < dim; c++)
      sum[c] = 0.0f;
    HOTROW_ASSERT(offsets[bag] <= offsets[bag + 1]);
    for (uint32_t i = offsets[bag]; i < offsets[bag + 1]; i++) {
      if (slot_count - i > HR_ROWS_AHEAD)
        hr_prefetch_row(rows + slots[i + HR_ROWS_AHEAD] * row_stride, prefetch_floats);
      if (slots[i] != HOTROW_SLOT_NONE)
        add_weighted(sum, rows + slots[i] * row_stride, weights ? weights[i] : 1.0f, dim);
    }
    uint32_t bag_size = offsets[bag + 1] - offsets[bag];
    if (pooling == HOTROW_POOL_SUM || bag_size == 0)
      continue;
    float divisor = pool_divisor(pooling, bag_size);
    for (uint32_t c = 0; c < dim; c++)
      sum[c] /= divisor;
  }
}

void hr_cpu_pool_backward(const uint32_t *offsets, const float *weights, size_t bag_count, hotrow_pooling pooling,
                          void *stream, uint32_t *source_p, float *coefficient_p)
{
  (void)stream;
  HOTROW_ASSERT(pooling >= HOTROW_POOL_SUM && pooling <= HOTROW_POOL_SQRTN);
  for (size_t bag = 0; bag < bag_count; bag++) {
    HOTROW_ASSERT(offsets[bag] <= offsets[bag + 1]);
    float divisor = pool_divisor(pooling, offsets[bag + 1] - offsets[bag]);
    for (uint32_t i = offsets[bag]; i < offsets[bag + 1]; i++) {
      source_p[i] = (uint32_t)bag;
      coefficient_p[i] = (weights ? weights[i] : 1.0f) / divisor;
    }
  }
}
