/* What the CPU's passes over a batch share. */
#ifndef CACHE_CPU_H
#define CACHE_CPU_H

#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "cache_state.h"

#define ROWS_AHEAD 32u /* metadata is asked for this many rows early: a line or two takes less time than a row */

static inline void hr_cache_probe(const hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                                  uint32_t *slots)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  if (sets->set_count == 0)
    memset(slots, 0xff, count * sizeof *slots); /* HOTROW_SLOT_NONE */
  else
    cache->kernels->probe(sets->keys, hr_probed_hashes(cache), sets->occupied, sets->set_count, keys, hashes, count,
                          NULL, slots);
}

/* Asks for the metadata of the row that comes ROWS_AHEAD after place i. */
static inline void hr_cache_prefetch_meta(const hotrow_cache *cache, const uint32_t *slots, size_t i, size_t count)
{
  if (i + ROWS_AHEAD < count && slots[i + ROWS_AHEAD] != HOTROW_SLOT_NONE)
    __builtin_prefetch(cache->shared->sets.meta + slots[i + ROWS_AHEAD], 1);
}

static inline hotrow_cache_stats *hr_cpu_stats(hotrow_cache *cache)
{
  return &cache->shared->cpu.tables[cache->table].stats;
}

/* Pins a row that the batch in hand uses. */
static inline void hr_cache_pin(hotrow_cache *cache, uint32_t slot, const uint32_t *next_use, size_t i)
{
  uint32_t until = hr_rules_pin_until(&cache->rules, cache->shared->sets.meta + slot, next_use ? next_use + i : NULL);
  hr_rules_pin(&cache->rules, &cache->shared->sets, slot, until);
}

/* All of a row's pending steps, `steps`, go to the push list in full precision. */
void hr_cpu_cache_hand_out(hotrow_cache *cache, uint32_t slot, uint32_t steps);

void hr_cpu_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *key_count_p, const uint32_t *next_use, uint32_t *slots, uint32_t *seen,
                         uint8_t *states);
void hr_cpu_cache_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *key_count_p, uint32_t batch, uint8_t *is_held_p);
void hr_cpu_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t row_count);
hotrow_status hr_cpu_cache_insert(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t row_count, uint32_t *slots);
hotrow_status hr_cpu_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                                 size_t row_count, uint32_t *slots);
hotrow_status hr_cpu_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                  const uint32_t *slots, const float *grads, const uint32_t *ticks, size_t key_count,
                                  const uint32_t *key_count_p);
void hr_cpu_cache_flush(hotrow_cache *cache);
void hr_cpu_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);
void hr_cpu_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);
void hr_cpu_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                           size_t key_count);
void hr_cpu_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count);
void hr_cpu_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                         size_t key_count);

#endif
