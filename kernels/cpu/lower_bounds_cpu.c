/* How many of ascending hashes lie below each of some bounds: a binary search for each. */
#include <hr/assert.h>

#include "kernels_impl.h"

void hr_cpu_lower_bounds(const uint64_t *hashes, const uint32_t *count_p, const uint64_t *bounds, size_t bound_count,
                         void *stream, uint32_t *position_p)
{
  (void)stream;
  HOTROW_ASSERT(count_p && (*count_p == 0 || hashes) && (bound_count == 0 || (bounds && position_p)));
  for (size_t b = 0; b < bound_count; b++) {
    uint32_t first = 0, end = *count_p;
    while (first < end) {
      uint32_t middle = first + (end - first) / 2;
      if (hashes[middle] < bounds[b])
        first = middle + 1;
      else
        end = middle;
    }
    position_p[b] = first;
  }
}
