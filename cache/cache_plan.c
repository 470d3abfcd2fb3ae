/* Plans: the arrays that a device writes for the host, and the event that says that it has. */
#include <stdlib.h>

#include "cache_state.h"

static size_t layout_rows(hotrow_cache_plan *plan, char *base)
{
  hr_arena arena = {base, 0};
  size_t n = plan->key_count_max;
  plan->rows.count = hr_arena_take(&arena, 1, sizeof *plan->rows.count);
  plan->rows.indexes = hr_arena_take(&arena, n, sizeof *plan->rows.indexes);
  plan->rows.keys = hr_arena_take(&arena, n, sizeof *plan->rows.keys);
  plan->rows.hashes = hr_arena_take(&arena, n, sizeof *plan->rows.hashes);
  plan->rows.slots = hr_arena_take(&arena, n, sizeof *plan->rows.slots);
  plan->rows.seen = hr_arena_take(&arena, n, sizeof *plan->rows.seen);
  plan->rows.states = hr_arena_take(&arena, n, sizeof *plan->rows.states);
  return arena.used_bytes;
}

static size_t layout_scratch(hotrow_cache_plan *plan, char *base)
{
  hr_arena arena = {base, 0};
  plan->ranks = hr_arena_take(&arena, plan->key_count_max + 1, sizeof *plan->ranks);
  plan->scan = hr_arena_take(&arena, 1, plan->cache->kernels->scan_scratch_size(plan->key_count_max));
  return arena.used_bytes;
}

hotrow_status hotrow_cache_plan_create(hotrow_cache *cache, size_t key_count_max, hotrow_cache_plan **plan_p)
{
  const hotrow_kernels *kernels = cache->kernels;
  if (key_count_max == 0 || key_count_max > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "plan: key_count_max %zu is not in 1 .. %llu", key_count_max,
                   (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hotrow_cache_plan), "plan", &memory));
  hotrow_cache_plan *plan = memory;
  plan->cache = cache;
  plan->key_count_max = key_count_max;
  hotrow_status status = kernels->alloc_host(layout_rows(plan, NULL), &plan->host_memory);
  if (status != HOTROW_OK)
    goto free_plan;
  status = kernels->alloc(layout_scratch(plan, NULL), &plan->device_memory);
  if (status != HOTROW_OK)
    goto free_host;
  status = kernels->event_create(&plan->event);
  if (status != HOTROW_OK)
    goto free_device;
  layout_rows(plan, plan->host_memory);
  layout_scratch(plan, plan->device_memory);
  *plan_p = plan;
  return HOTROW_OK;

free_device:
  kernels->free(plan->device_memory);
free_host:
  kernels->free_host(plan->host_memory);
free_plan:
  free(plan);
  return status;
}

void hotrow_cache_plan_destroy(hotrow_cache_plan *plan)
{
  if (!plan)
    return;
  const hotrow_kernels *kernels = plan->cache->kernels;
  (void)kernels->event_wait(plan->event); /* the device may still write */
  kernels->event_destroy(plan->event);
  kernels->free(plan->device_memory);
  kernels->free_host(plan->host_memory);
  free(plan);
}

hotrow_status hotrow_cache_plan_start(hotrow_cache_plan *plan, const uint64_t *keys, const uint64_t *hashes,
                                      const uint32_t *slots, const uint32_t *seen, const uint8_t *states,
                                      size_t key_count, const uint32_t *key_count_p)
{
  if (key_count > plan->key_count_max)
    return hr_fail(HOTROW_ERR_LIMIT, "plan: %zu keys, made for %zu", key_count, plan->key_count_max);
  hr_looked_up keys_looked_up = {keys, hashes, slots, seen, states, key_count, key_count_p};
  plan->cache->operations->write_plan(plan, &keys_looked_up);
  return plan->cache->kernels->event_record(plan->event, plan->cache->stream);
}

hotrow_status hotrow_cache_plan_query(hotrow_cache_plan *plan, bool *is_ready_p)
{
  return plan->cache->kernels->event_query(plan->event, is_ready_p);
}

hotrow_status hotrow_cache_plan_wait(hotrow_cache_plan *plan, hotrow_cache_plan_rows *rows_p)
{
  HOTROW_TRY(plan->cache->kernels->event_wait(plan->event));
  const hr_plan_arrays *rows = &plan->rows;
  *rows_p = (hotrow_cache_plan_rows){.indexes = rows->indexes,
                                     .keys = rows->keys,
                                     .hashes = rows->hashes,
                                     .slots = rows->slots,
                                     .seen = rows->seen,
                                     .states = rows->states,
                                     .count = *rows->count};
  return HOTROW_OK;
}
