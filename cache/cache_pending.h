/* Sums of own gradients that are not handed out yet: a pool of rows, so that only dirty rows cost memory. */
#ifndef CACHE_PENDING_H
#define CACHE_PENDING_H

#include <hotrow/kernels.h>

#include "cache_arena.h"

typedef struct hr_pending_pool {
  float *sums;           /* [capacity][stride]: summed gradient [dim] | summed squares [square_dim] */
  uint32_t *sum_of_slot; /* [slot_count]: valid while the slot's row has pending steps */
  uint32_t *free_list;   /* [free_count]: sums given back, the last one is used first */
  size_t stride;
  uint32_t capacity;
  uint32_t touched_count; /* sums ever used: those above cost no memory yet */
  uint32_t free_count;
  uint32_t budget; /* sums that the update at work may still take: those that leave meanwhile are for the next one */
} hr_pending_pool;

void hr_pending_layout(hr_pending_pool *pool, uint32_t slot_count, uint32_t capacity, uint32_t dim, uint32_t square_dim,
                       hr_arena *arena);

/* An update begins. */
void hr_pending_open(hr_pending_pool *pool);
/* A sum for a slot that has none; HOTROW_SLOT_NONE when all that were free as the update began are taken. */
uint32_t hr_pending_acquire(hr_pending_pool *pool, uint32_t slot);
void hr_pending_release(hr_pending_pool *pool, uint32_t slot);

static inline uint32_t hr_pending_used_count(const hr_pending_pool *pool)
{
  return pool->touched_count - pool->free_count;
}

static inline const float *hr_pending_sum(const hr_pending_pool *pool, uint32_t slot)
{
  return pool->sums + pool->sum_of_slot[slot] * pool->stride;
}

#endif
