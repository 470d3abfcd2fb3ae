/* The least recently used batch goes first. */
#include "policy.h"

static inline uint64_t lru_rank(const hr_row_meta *row, uint32_t batch)
{
  return hr_row_recency(row, batch);
}

static void lru_choose(hr_row_meta *meta, const uint32_t *sets, size_t count, uint32_t batch, uint32_t *slot_p)
{
  hr_policy_choose(meta, sets, count, batch, lru_rank, slot_p);
}

const hr_cache_policy hr_policy_lru = {NULL, lru_choose};
