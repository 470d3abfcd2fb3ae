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

typedef bool (*hr_row_order)(const hr_row_meta *a, const hr_row_meta *b); /* does a go before b? */

#define HR_SETS_AHEAD 4u /* a set's metadata is asked for this many victims early */

/* `choose` of any order; inlined into each policy, so that the order costs no call. Ties go to the lower way. */
__attribute__((always_inline)) static inline void hr_policy_choose(hr_row_meta *meta, const uint32_t *sets,
                                                                   size_t count, uint32_t batch, hr_row_order order,
                                                                   uint32_t *slot_p)
{
  for (size_t i = 0; i < count; i++) {
    if (i + HR_SETS_AHEAD < count)
      for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way += 64 / sizeof *meta)
        __builtin_prefetch(meta + (size_t)sets[i + HR_SETS_AHEAD] * HOTROW_CACHE_WAYS + way, 1);
    hr_row_meta *first = meta + (size_t)sets[i] * HOTROW_CACHE_WAYS;
    hr_row_meta *victim = NULL;
    for (hr_row_meta *row = first; row < first + HOTROW_CACHE_WAYS; row++)
      if (hr_row_is_evictable(row, batch) && (!victim || order(row, victim)))
        victim = row;
    slot_p[i] = victim ? (uint32_t)(victim - meta) : HOTROW_SLOT_NONE;
    if (victim)
      victim->live_until = batch;
  }
}

#endif
