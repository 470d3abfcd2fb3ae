/* Many keys at once: while one block of keys is looked for, the buckets of the next are on their way from memory.
 *
 * A variant compares the four keys of a bucket with the instructions that its name says. All find the same. */
#ifndef HR_TABLE_PROBE_H
#define HR_TABLE_PROBE_H

#include "table_index.h"

#define HR_PROBE_BLOCK 32u

typedef enum hr_probe_kind {
  HR_PROBE_SCALAR,
  HR_PROBE_AVX2,
  HR_PROBE_AVX512,
  HR_PROBE_KIND_COUNT,
} hr_probe_kind;

/* Where a key is looked for. */
typedef struct hr_probe_home {
  hr_bucket *buckets; /* the first one of its segment */
  uint64_t hash;
} hr_probe_home;

/* Keys on their way through the index. */
typedef struct hr_probe {
  const hr_index *index;
  const uint64_t *keys;
  size_t key_count;
  size_t next;                         /* the first key of the coming block, a multiple of HR_PROBE_BLOCK */
  uint64_t split_count;                /* of the index when the buckets were chosen */
  hr_probe_home homes[HR_PROBE_BLOCK]; /* of the keys from `next` on */
} hr_probe;

/* entries_p[i] of the block's keys, NULL for one that is not there. Returns how many keys the block has: 0 at the end,
 * else HR_PROBE_BLOCK save in the last. Keys may be inserted between two blocks; once one has split a segment
 * (split_count tells) the entries of the block in hand are no longer good. */
typedef size_t (*hr_probe_fn)(hr_probe *probe, hr_entry **entries_p);

/* NULL where the machine lacks the instructions. */
hr_probe_fn hr_probe_variant(hr_probe_kind kind);
hr_probe_fn hr_probe_best(void);
const char *hr_probe_name(hr_probe_kind kind);

static inline hr_probe hr_probe_begin(const hr_index *index, const uint64_t *keys, size_t key_count)
{
  hr_probe probe;
  probe.index = index;
  probe.keys = keys;
  probe.key_count = key_count;
  probe.next = 0;
  probe.split_count = UINT64_MAX; /* no buckets have been chosen */
  return probe;
}

#endif
