/* Words by index: slots, clocks and counts that go with rows. Bytes per word: 4 of index, 4 read, 4 written. */
#include <hr/vector.h>

#include "kernels_impl.h"

HR_VECTORISED void hr_cpu_gather_words(const uint32_t *words, const uint32_t *index, size_t count, void *stream,
                                       uint32_t *out)
{
  (void)stream;
  for (size_t i = 0; i < count; i++)
    out[i] = words[index[i]];
}

HR_VECTORISED void hr_cpu_scatter_words(const uint32_t *values, const uint32_t *index, size_t count, void *stream,
                                        uint32_t *words)
{
  (void)stream;
  for (size_t i = 0; i < count; i++)
    words[index[i]] = values[i];
}

HR_VECTORISED void hr_cpu_segment_words(const uint32_t *words, const uint32_t *positions, const uint32_t *offsets,
                                        size_t segment_count, void *stream, uint32_t *sums)
{
  (void)stream;
  for (size_t s = 0; s < segment_count; s++) {
    sums[s] = words ? 0 : offsets[s + 1] - offsets[s];
    for (uint32_t j = offsets[s]; words && j < offsets[s + 1]; j++)
      sums[s] += words[positions[j]];
  }
}
