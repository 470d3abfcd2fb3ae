/* What a cache is, and the few steps that lookup, insert, update and the shards' news share. */
#ifndef CACHE_STATE_H
#define CACHE_STATE_H

#include <string.h>

#include <hotrow/cache.h>
#include <hr/assert.h>
#include <hr/mutant.h>

#include "cache_pending.h"
#include "cache_push_list.h"
#include "cache_sketch.h"
#include "policy.h"

#define CHUNK_ROWS ((size_t)1024) /* rows per pass: what one pass touches is still in L2 for the next */
#define ROWS_AHEAD 32u /* metadata is asked for this many rows early: a line or two takes less time than a row */

/* What one chunk needs between its passes; each array holds CHUNK_ROWS. */
typedef struct chunk_scratch {
  uint32_t *slots;
  uint32_t *sums;
  uint32_t *steps;
  uint32_t *entries;
  uint8_t *flags;
  uint32_t *sought; /* update: those whose slots the caller does not know */
  uint32_t *sought_slots;
  uint64_t *sought_keys;
  uint64_t *sought_hashes;
  float *grads;
  float *squares;
  float *one_sum; /* gradient and squares of one row */
  void *packed;   /* gradients as the wire's dtype says them, and their scales */
  float *scales;
} chunk_scratch;

struct hotrow_cache {
  const hotrow_kernels *kernels; /* borrowed */
  const hr_cache_policy *policy;
  hotrow_row_layout layout;
  float lr_scale;
  hotrow_cache_mode mode;
  uint32_t announce_step;
  uint32_t pull_bound;
  uint32_t push_bound;
  hotrow_dtype wire_dtype;
  bool counts_occurrences;
  bool rereads_own; /* a row that has been pushed to is pulled again */
  uint32_t batch;
  bool has_forgotten; /* rows were invalidated in this batch: slots that it has found may hold others, or none */
  uint32_t age;       /* how often uses ought to have been halved */
  hr_cache_sets sets;
  hr_sketch sketch;
  hr_pending_pool pending;
  hr_push_list pushes;
  float *rows;       /* [cached, then staging][row_stride]: value | state */
  size_t row_stride; /* floats */
  uint32_t staging_first;
  uint32_t staging_count;
  uint32_t staging_used;
  uint32_t *demand; /* [set_count], zero between calls: rows that want a way of each set */
  chunk_scratch chunk;
  hotrow_cache_stats stats;
  void *memory; /* owned: every array above */
  size_t memory_bytes;
};

static inline size_t hr_min_size(size_t a, size_t b)
{
  return a < b ? a : b;
}

static inline void hr_cache_probe(const hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                                  uint32_t *slots)
{
  const hr_cache_sets *sets = &cache->sets;
  if (sets->set_count == 0)
    memset(slots, 0xff, count * sizeof *slots); /* HOTROW_SLOT_NONE */
  else
    cache->kernels->probe(sets->keys, sets->occupied, sets->set_count, keys, hashes, count, NULL, slots);
}

/* Asks for the metadata of the row that comes ROWS_AHEAD after place i. */
static inline void hr_cache_prefetch_meta(const hotrow_cache *cache, const uint32_t *slots, size_t i, size_t count)
{
  if (i + ROWS_AHEAD < count && slots[i + ROWS_AHEAD] != HOTROW_SLOT_NONE)
    __builtin_prefetch(cache->sets.meta + slots[i + ROWS_AHEAD], 1);
}

static inline hotrow_row_state hr_cache_row_state(const hotrow_cache *cache, const hr_row_meta *row)
{
  if (row->is_stale)
    return HOTROW_ROW_STALE;
  if (cache->mode == HOTROW_CACHE_PROBE)
    return HOTROW_ROW_DOUBTFUL;
  return hr_clock_is_fresh(row->announced, cache->announce_step, row->seen, cache->pull_bound) ? HOTROW_ROW_FRESH
                                                                                               : HOTROW_ROW_STALE;
}

/* Pins a held row to the batch in hand, or to the batch that needs it next. next_use NULL: later pins stay. */
static inline void hr_cache_pin(hotrow_cache *cache, uint32_t slot, const uint32_t *next_use, size_t i)
{
  uint32_t until = cache->batch;
  if (!next_use)
    until = hr_clock_later(until, cache->sets.meta[slot].live_until);
  else if (next_use[i] != HOTROW_BATCH_NONE)
    until = hr_clock_later(until, next_use[i]);
  hr_cache_sets_pin(&cache->sets, slot, cache->batch, until);
}

/* State i of an array that is NULL when rows have none, or when nothing is kept and so nothing is previewed. */
static inline const float *hr_cache_state_at(const hotrow_cache *cache, const float *states, size_t i)
{
  return states ? states + i * cache->layout.state_dim : NULL;
}

/* Own steps that go to the shard: in probe mode the row has seen them from now on. */
static inline void hr_cache_count_sent(const hotrow_cache *cache, hr_row_meta *row, uint32_t steps)
{
  if (cache->mode == HOTROW_CACHE_PROBE || HR_MUTANT(EARLY_SEEN))
    row->seen += steps;
}

/* All of a row's pending steps, `steps`, go to the push list in full precision. */
void hr_cache_hand_out(hotrow_cache *cache, uint32_t slot, uint32_t steps);

#endif
