/* LRU: the row used least recently goes. The others: the row with the fewest uses, among equals the least recent.
 *
 * LightLFU is HET's LFUOpt (Miao et al., VLDB 2022): the 10th use makes a row permanent. HET keeps ten lists over the
 * whole cache; here the order holds within a set.
 * LFU forgets: uses are halved after every 20 lookups per row of the cache.
 * W-TinyLFU (Einziger et al. 2017) as a cache of batches needs it: the window of new rows is the staging of a batch; a
 * sketch, forgetting like LFU, counts what is not held, so that a hit costs it nothing. */
#include "policy.h"

#define USES_LIGHT 10u
#define USES_NEVER (HR_USES_MAX + 1)

typedef uint64_t (*row_rank)(const hr_row_meta *row, uint32_t batch);

/* The lowest rank goes; ties go to the lower way. Which way is lowest cannot be predicted, so the search has no
 * branches: the way is the low end of the number compared. Inlined for each rank. */
__attribute__((always_inline)) static inline uint32_t choose_lowest(const hr_row_meta *set_meta, uint32_t batch,
                                                                    uint32_t uses_permanent, row_rank rank)
{
  uint64_t lowest = UINT64_MAX;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++) {
    const hr_row_meta *row = set_meta + way;
    uint64_t candidate = rank(row, batch) * HOTROW_CACHE_WAYS + way;
    candidate |= hr_row_is_evictable(row, batch, uses_permanent) ? 0 : UINT64_MAX;
    lowest = candidate < lowest ? candidate : lowest;
  }
  return lowest == UINT64_MAX ? HOTROW_CACHE_WAYS : (uint32_t)(lowest % HOTROW_CACHE_WAYS);
}

/* Rows that may go have live_until before `batch`, so this difference rises with it. */
static inline uint64_t rank_by_recency(const hr_row_meta *row, uint32_t batch)
{
  return row->live_until - batch;
}

static inline uint64_t rank_by_uses(const hr_row_meta *row, uint32_t batch)
{
  return (uint64_t)row->uses << 32 | (row->live_until - batch);
}

static uint32_t choose_lru(const hr_row_meta *set_meta, uint32_t batch)
{
  return choose_lowest(set_meta, batch, USES_NEVER, rank_by_recency);
}

static uint32_t choose_lfu(const hr_row_meta *set_meta, uint32_t batch)
{
  return choose_lowest(set_meta, batch, USES_NEVER, rank_by_uses);
}

static uint32_t choose_light_lfu(const hr_row_meta *set_meta, uint32_t batch)
{
  return choose_lowest(set_meta, batch, USES_LIGHT, rank_by_uses);
}

const hr_cache_policy *hr_cache_policy_get(hotrow_cache_policy policy)
{
  static const hr_cache_policy policies[] = {
      [HOTROW_POLICY_LRU] = {.choose = choose_lru, .uses_permanent = USES_NEVER},
      [HOTROW_POLICY_LIGHT_LFU] = {.choose = choose_light_lfu, .uses_max = USES_LIGHT, .uses_permanent = USES_LIGHT},
      [HOTROW_POLICY_LFU] = {.choose = choose_lfu,
                             .uses_max = HR_USES_MAX,
                             .uses_first = 1,
                             .uses_permanent = USES_NEVER,
                             .has_aging = true},
      [HOTROW_POLICY_W_TINY_LFU] = {.choose = choose_lfu,
                                    .uses_max = HR_USES_MAX,
                                    .uses_permanent = USES_NEVER,
                                    .has_aging = true,
                                    .has_sketch = true}};
  return (size_t)policy < sizeof policies / sizeof *policies ? policies + policy : NULL;
}
