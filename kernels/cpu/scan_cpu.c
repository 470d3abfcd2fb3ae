/* Prefix sums, and what of flags is selected: one pass each. */
#include <hr/assert.h>

#include "kernels_impl.h"

size_t hr_cpu_scan_scratch_size(size_t count)
{
  (void)count;
  return 0;
}

void hr_cpu_scan(const uint32_t *values, size_t count, void *scratch, void *stream, uint32_t *sum_p)
{
  (void)scratch;
  (void)stream;
  HOTROW_ASSERT(count <= UINT32_MAX && sum_p && (count == 0 || values));
  uint32_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t value = values[i];
    sum_p[i] = sum;
    sum += value;
  }
  sum_p[count] = sum;
}

/* Each index is written, and the next one in its place unless its flag is chosen: no branch to be guessed wrong. */
void hr_cpu_select(const uint8_t *flags, size_t count, uint8_t mask, uint8_t value, void *scratch, void *stream,
                   uint32_t *index_p, uint32_t *count_p)
{
  (void)scratch;
  (void)stream;
  HOTROW_ASSERT(count <= UINT32_MAX && count_p && (count == 0 || (flags && index_p)));
  uint32_t selected = 0;
  for (size_t i = 0; i < count; i++) {
    index_p[selected] = (uint32_t)i;
    selected += (flags[i] & mask) == value;
  }
  *count_p = selected;
}
