#include "cache_pending.h"

#include <hr/assert.h>

void hr_pending_layout(hr_pending_pool *pool, uint32_t slot_count, uint32_t capacity, uint32_t dim, uint32_t square_dim,
                       hr_arena *arena)
{
  HOTROW_ASSERT(capacity <= slot_count);
  pool->capacity = capacity;
  pool->stride = dim + square_dim;
  pool->sums = hr_arena_take(arena, capacity, pool->stride * sizeof(float));
  pool->sum_of_slot = hr_arena_take(arena, slot_count, sizeof *pool->sum_of_slot);
  pool->free_list = hr_arena_take(arena, capacity, sizeof *pool->free_list);
}

void hr_pending_open(hr_pending_pool *pool)
{
  pool->budget = pool->capacity - hr_pending_used_count(pool);
}

uint32_t hr_pending_acquire(hr_pending_pool *pool, uint32_t slot)
{
  if (pool->budget == 0)
    return HOTROW_SLOT_NONE;
  pool->budget--;
  uint32_t sum = pool->free_count > 0 ? pool->free_list[--pool->free_count] : pool->touched_count++;
  pool->sum_of_slot[slot] = sum;
  return sum;
}

void hr_pending_release(hr_pending_pool *pool, uint32_t slot)
{
  HOTROW_ASSERT(pool->free_count < pool->touched_count && pool->sum_of_slot[slot] < pool->touched_count);
  pool->free_list[pool->free_count++] = pool->sum_of_slot[slot];
}
