/* The plan of a lookup, written into the host's pinned memory by the kernel that finds it: nobody need know its size.
 * Grid: one thread per key, twice. Bytes per key: 1 (state), 8 of ranks; per key of the plan 29 read, and 29 written
 * through the bus. */
#include "cache_cuda.h"

static __device__ inline size_t looked_up_count(const hr_looked_up *looked_up)
{
  key_slice slice = {looked_up->keys, looked_up->hashes, looked_up->count, looked_up->count_p, 0};
  return key_count(&slice);
}

static __global__ void flag_planned(hr_looked_up looked_up, uint32_t *ranks)
{
  size_t end = looked_up_count(&looked_up);
  for (size_t i = first_item(); i < looked_up.count; i += item_step())
    ranks[i] = i < end && looked_up.states[i] != HOTROW_ROW_FRESH;
}

static __global__ void write_planned(hr_looked_up looked_up, const uint32_t *ranks, hr_plan_arrays rows)
{
  for (size_t i = first_item(), end = looked_up_count(&looked_up); i < end; i += item_step()) {
    uint32_t rank = ranks[i];
    if (ranks[i + 1] == rank)
      continue;
    rows.indexes[rank] = (uint32_t)i;
    rows.keys[rank] = looked_up.keys[i];
    rows.hashes[rank] = looked_up.hashes[i];
    rows.slots[rank] = looked_up.slots[i];
    rows.seen[rank] = looked_up.slots[i] == HOTROW_SLOT_NONE ? 0 : looked_up.seen[i];
    rows.states[rank] = looked_up.states[i];
  }
  if (first_item() == 0)
    *rows.count = ranks[looked_up.count];
}

void hr_cuda_cache_write_plan(hotrow_cache_plan *plan, const hr_looked_up *looked_up)
{
  const hotrow_cache *cache = plan->cache;
  size_t threads = looked_up->count > 0 ? looked_up->count : 1; /* the count is written in any case */
  LAUNCH_EACH(cache, flag_planned, threads)(*looked_up, plan->ranks);
  cache->kernels->scan(plan->ranks, looked_up->count, plan->scan, cache->stream, plan->ranks);
  LAUNCH_EACH(cache, write_planned, threads)(*looked_up, plan->ranks, plan->rows);
  hr_cuda_check_launch("write_planned");
}
