/* HET's LFUOpt (Miao et al., VLDB 2022): a row starts with 0 uses and gains one at each lookup that finds it. The row
 * with the fewest uses goes first, among equals the least recently used. The 10th use makes a row permanent. HET keeps
 * ten lists over the whole cache; here the order holds within a set. */
#include "policy.h"

static void light_lfu_use(hr_row_meta *meta, const uint32_t *slots, size_t count)
{
  for (size_t i = 0; i < count; i++)
    if (slots[i] != HOTROW_SLOT_NONE && meta[slots[i]].uses < HR_USES_PERMANENT)
      meta[slots[i]].uses++;
}

static inline uint64_t light_lfu_rank(const hr_row_meta *row, uint32_t batch)
{
  return (uint64_t)row->uses << 32 | hr_row_recency(row, batch);
}

static void light_lfu_choose(hr_row_meta *meta, const uint32_t *sets, size_t count, uint32_t batch, uint32_t *slot_p)
{
  hr_policy_choose(meta, sets, count, batch, light_lfu_rank, slot_p);
}

const hr_cache_policy hr_policy_light_lfu = {light_lfu_use, light_lfu_choose};
