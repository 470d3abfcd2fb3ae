/* Adds up the arrays of all ranks, in rank order. Bytes moved per sum: 4*rank_count read, 4 written. */
#include <string.h>

#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"

#define BLOCK_FLOATS 2048u /* sums that stay in the first cache while the ranks are added to them */

HR_VECTORISED void hr_cpu_sum_ranks(const float *values, size_t rank_stride, uint32_t rank_count, size_t count,
                                    void *stream, float *sums)
{
  (void)stream;
  HOTROW_ASSERT(rank_count > 0 && rank_stride >= count);
  for (size_t first = 0; first < count; first += BLOCK_FLOATS) {
    size_t size = count - first < BLOCK_FLOATS ? count - first : BLOCK_FLOATS;
    float *restrict to = sums + first;
    memcpy(to, values + first, size * sizeof *to);
    for (uint32_t r = 1; r < rank_count; r++) {
      const float *restrict from = values + r * rank_stride + first;
      for (size_t i = 0; i < size; i++)
        to[i] += from[i];
    }
  }
}
