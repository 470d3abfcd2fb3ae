/* A float is a NaN or an infinity iff its exponent bits are all ones: an integer test, ORed over many floats. */
#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"
#include "shared_math.h"

#define BLOCK_FLOATS 1024u

HR_VECTORISED void hr_cpu_find_nonfinite(const float *values, size_t row_count, uint32_t dim, void *stream,
                                         uint64_t *row_p, uint32_t *gate_p)
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
    *row_p = start / dim;
    if (gate_p)
      *gate_p = 0;
    return;
  }
  *row_p = row_count;
}
