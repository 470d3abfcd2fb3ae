/* A float is a NaN or an infinity iff its exponent bits are all ones: an integer test, ORed over many floats. */
#include <string.h>

#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

#define EXPONENT_MASK 0x7f800000u
#define BLOCK_FLOATS 1024u

HR_ROW_INLINE uint32_t is_nonfinite(float value)
{
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (bits & EXPONENT_MASK) == EXPONENT_MASK;
}

HR_VECTORISED size_t hr_cpu_find_nonfinite(const float *values, size_t row_count, uint32_t dim, void *stream)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0);
  size_t value_count = row_count * dim;
  for (size_t start = 0; start < value_count; start += BLOCK_FLOATS) {
    size_t end = value_count - start < BLOCK_FLOATS ? value_count : start + BLOCK_FLOATS;
    uint32_t found = 0;
    for (size_t i = start; i < end; i++)
      found |= is_nonfinite(values[i]);
    if (found == 0)
      continue;
    while (is_nonfinite(values[start]) == 0)
      start++;
    return start / dim;
  }
  return row_count;
}
