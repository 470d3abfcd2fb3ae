/* Which row makes room for another: a table of functions, each over many rows at a time. */
#ifndef POLICY_H
#define POLICY_H

#include "cache_sets.h"

typedef struct hr_cache_policy {
  /* Rows slots[i] were found by a lookup (HOTROW_SLOT_NONE: not found). NULL: live_until is all the policy needs. */
  void (*use)(hr_row_meta *meta, const uint32_t *slots, size_t count);

  /* A victim in each of sets[i], all of whose ways are taken: slot_p[i], or HOTROW_SLOT_NONE if no row may be evicted.
   * Victims are pinned to `batch` at once, so that a set named twice gives two. */
  void (*choose)(hr_row_meta *meta, const uint32_t *sets, size_t count, uint32_t batch, uint32_t *slot_p);
} hr_cache_policy;

extern const hr_cache_policy hr_policy_lru;
extern const hr_cache_policy hr_policy_light_lfu;

/* Among rows that may go, the lowest rank goes first. */
typedef uint64_t (*hr_row_rank)(const hr_row_meta *row, uint32_t batch);

/* Least recently used first: rows that may go have live_until before `batch`, so this difference rises with it. */
static inline uint32_t hr_row_recency(const hr_row_meta *row, uint32_t batch)
{
  return row->live_until - batch;
}

#define HR_SETS_AHEAD 4u /* a set's metadata is asked for this many victims early */

/* `choose` for any rank; inlined into each policy, so that a rank costs no call. Ties go to the lower way. Which way is
 * lowest cannot be predicted, so the search has no branches: the way is the low end of the number compared. */
__attribute__((always_inline)) static inline void hr_policy_choose(hr_row_meta *meta, const uint32_t *sets,
                                                                   size_t count, uint32_t batch, hr_row_rank rank,
                                                                   uint32_t *slot_p)
{
  for (size_t i = 0; i < count; i++) {
    if (i + HR_SETS_AHEAD < count)
      for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way += 64 / sizeof *meta)
        __builtin_prefetch(meta + (size_t)sets[i + HR_SETS_AHEAD] * HOTROW_CACHE_WAYS + way, 1);
    uint32_t first = sets[i] * HOTROW_CACHE_WAYS;
    uint64_t lowest = UINT64_MAX;
    for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++) {
      const hr_row_meta *row = meta + first + way;
      uint64_t candidate = rank(row, batch) * HOTROW_CACHE_WAYS + way;
      candidate |= hr_row_is_evictable(row, batch) ? 0 : UINT64_MAX;
      lowest = candidate < lowest ? candidate : lowest;
    }
    slot_p[i] = HOTROW_SLOT_NONE;
    if (lowest == UINT64_MAX)
      continue;
    slot_p[i] = first + (uint32_t)(lowest % HOTROW_CACHE_WAYS);
    meta[slot_p[i]].live_until = batch;
  }
}

#endif
