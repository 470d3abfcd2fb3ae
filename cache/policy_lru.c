/* The least recently used batch goes first. */
#include "policy.h"

static inline bool is_older(const hr_row_meta *a, const hr_row_meta *b)
{
  return hr_clock_is_before(a->live_until, b->live_until);
}

static void lru_choose(hr_row_meta *meta, const uint32_t *sets, size_t count, uint32_t batch, uint32_t *slot_p)
{
  hr_policy_choose(meta, sets, count, batch, is_older, slot_p);
}

const hr_cache_policy hr_policy_lru = {NULL, lru_choose};
