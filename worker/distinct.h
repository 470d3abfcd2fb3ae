/* Distinct keys in the order in which they come first: for keys that need not be sorted by hash, as one shard gets them
 * all and no cache looks for them. One pass through a small table of slots, where keys->dedup sorts. */
#ifndef HR_DISTINCT_H
#define HR_DISTINCT_H

#include <hotrow/kernels.h>

/* Bytes of scratch for so many keys. */
size_t hr_distinct_scratch_size(size_t key_count);

/* A search on its way: the distinct keys that it has found so far can be used meanwhile. */
typedef struct hr_distinct {
  const uint64_t *keys; /* borrowed, like all */
  size_t key_count, next;
  uint32_t *slots;
  size_t steps_left;
  hotrow_dedup *result;
} hr_distinct;

void hr_distinct_begin(hr_distinct *search, const uint64_t *keys, size_t key_count, void *scratch,
                       hotrow_dedup *result_p);

/* Goes on until there are unique_max distinct keys (result's keys, so many as its count says), or until all have been
 * looked at (next == key_count): then result is whole but for its hashes, and positions of one key ascend. False, and
 * nothing said, if these keys fall into so few slots that looking for one takes long: sort them. */
bool hr_distinct_find(hr_distinct *search, uint32_t unique_max);

#endif
