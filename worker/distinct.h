/* Distinct keys in the order in which they come first: for keys that need not be sorted by hash, as one shard gets them
 * all and no cache looks for them. One pass through a small table of slots, where keys->dedup sorts. */
#ifndef HR_DISTINCT_H
#define HR_DISTINCT_H

#include <hotrow/kernels.h>

/* Bytes of scratch for so many keys. */
size_t hr_distinct_scratch_size(size_t key_count);

/* Fills in result_p but for its hashes. positions of one key ascend. False, and nothing said, if these keys fall into
 * so few slots that looking for one takes long: sort them. */
bool hr_distinct(const uint64_t *keys, size_t key_count, void *scratch, hotrow_dedup *result_p);

#endif
