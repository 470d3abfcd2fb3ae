/* The shard's rows: into held rows, free ways, victims' ways, or staging. */
#include "cache_state.h"

#include <hr/mutant.h>

#define SETS_AHEAD 4u /* a set's metadata, and a victim's row, are asked for this many rows early */

/* The shard's answer for some keys. */
typedef struct fresh_rows {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *clocks;
  const float *values;
  const float *states;
  const uint32_t *next_use; /* or NULL */
} fresh_rows;

/* Where the row of a chunk goes. */
enum { PLACE_HELD, PLACE_FREE, PLACE_VICTIM, PLACE_STAGED };

static void copy_row(hotrow_cache *cache, uint32_t slot, const float *value, const float *state)
{
  float *row = cache->rows + slot * cache->row_stride;
  memcpy(row, value, cache->layout.dim * sizeof *row);
  if (state)
    memcpy(row + cache->layout.dim, state, cache->layout.state_dim * sizeof *row);
}

/* Up to CHUNK_ROWS held rows become fresh + own pending steps. */
static void refresh_chunk(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t count)
{
  chunk_scratch *chunk = &cache->chunk;
  size_t dim = cache->layout.dim, square_dim = cache->layout.square_dim, dirty_count = 0;
  for (size_t i = 0; i < count; i++) {
    HOTROW_ASSERT(slots[i] < cache->staging_first);
    copy_row(cache, slots[i], values + i * dim, hr_cache_state_at(cache, states, i));
    hr_row_meta *row = &cache->sets.meta[slots[i]];
    row->seen = row->announced = clocks[i];
    row->is_stale = 0;
    if (row->pending == 0)
      continue;
    const float *sum = hr_pending_sum(&cache->pending, slots[i]);
    memcpy(chunk->grads + dirty_count * dim, sum, dim * sizeof *sum);
    memcpy(chunk->squares + dirty_count * square_dim, sum + dim, square_dim * sizeof *sum);
    chunk->steps[dirty_count] = row->pending;
    chunk->entries[dirty_count++] = slots[i];
  }
  if (dirty_count > 0 && !HR_MUTANT(LOST_PENDING))
    cache->kernels->optimizer_apply(&cache->layout, cache->lr_scale, cache->rows, cache->row_stride, chunk->entries,
                                    chunk->grads, square_dim > 0 ? chunk->squares : NULL, chunk->steps, dirty_count,
                                    NULL);
}

void hotrow_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t row_count)
{
  size_t doubtful_count = 0; /* were hits until now; stale ones were not */
  for (size_t i = 0; i < row_count; i++) {
    HOTROW_ASSERT(slots[i] < cache->staging_first);
    doubtful_count += hr_cache_row_state(cache, cache->sets.meta + slots[i]) == HOTROW_ROW_DOUBTFUL;
  }
  for (size_t first = 0; first < row_count; first += CHUNK_ROWS)
    refresh_chunk(cache, slots + first, clocks + first, values + first * cache->layout.dim,
                  hr_cache_state_at(cache, states, first), hr_min_size(CHUNK_ROWS, row_count - first));
  uint64_t stale_count = hr_min_size(doubtful_count, cache->stats.hits);
  cache->stats.hits -= stale_count;
  cache->stats.stale += stale_count;
}

/* How many of the missing rows (slots[i] is NONE) find neither a free way nor a row that no batch needs. */
static size_t count_uncached(hotrow_cache *cache, const uint64_t *hashes, const uint32_t *slots, size_t row_count)
{
  const hr_cache_sets *sets = &cache->sets;
  size_t uncached_count = 0;
  for (size_t i = 0; i < row_count; i++)
    if (slots[i] == HOTROW_SLOT_NONE)
      cache->demand[hr_cache_sets_of(sets, hashes[i])]++;
  for (size_t i = 0; i < row_count; i++) {
    uint32_t set = hr_cache_sets_of(sets, hashes[i]), demand = cache->demand[set];
    uint32_t room = demand > 0 ? hr_cache_sets_room(sets, set, cache->batch, cache->policy->uses_permanent) : 0;
    uncached_count += demand > room ? demand - room : 0;
    cache->demand[set] = 0;
  }
  return uncached_count;
}

/* The slot that a row of a full set leaves to a new one; NONE: the new one is to be staged. At most *bypass_left_p new
 * rows may be refused for too few uses: staging must suffice for those without a way. */
static uint32_t make_room(hotrow_cache *cache, uint32_t set, uint32_t uses, uint32_t next_use, size_t *bypass_left_p)
{
  const hr_cache_policy *policy = cache->policy;
  if (policy->has_aging)
    hr_cache_sets_age(&cache->sets, set, cache->age);
  const hr_row_meta *set_meta = cache->sets.meta + (size_t)set * HOTROW_CACHE_WAYS;
  uint32_t way = policy->choose(set_meta, cache->batch);
  bool is_needed = next_use != HOTROW_BATCH_NONE;
  bool must_win = policy->has_sketch && !is_needed && *bypass_left_p > 0;
  if (way < HOTROW_CACHE_WAYS && must_win && uses < set_meta[way].uses) {
    --*bypass_left_p;
    cache->stats.bypassed++;
    return HOTROW_SLOT_NONE;
  }
  if (way == HOTROW_CACHE_WAYS && is_needed)
    way = hr_cache_sets_farthest(&cache->sets, set, cache->batch, next_use, policy->uses_permanent);
  if (way < HOTROW_CACHE_WAYS)
    return set * HOTROW_CACHE_WAYS + way;
  cache->stats.uncached++;
  return HOTROW_SLOT_NONE;
}

static void prefetch_set(const hotrow_cache *cache, const uint64_t *hashes, size_t i, size_t count)
{
  if (i + SETS_AHEAD >= count)
    return;
  uint64_t hash = hashes[i + SETS_AHEAD];
  const hr_row_meta *meta = cache->sets.meta + (size_t)hr_cache_sets_of(&cache->sets, hash) * HOTROW_CACHE_WAYS;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way += 64 / sizeof *meta)
    __builtin_prefetch(meta + way, 1);
  if (cache->policy->has_sketch)
    __builtin_prefetch(hr_sketch_line_of(&cache->sketch, hash), 1);
}

/* First pass: the slot of each row of a chunk. Those that leave are told from those that come by their place, and are
 * pinned, so that a set that is chosen from twice gives two victims. */
static void place_chunk(hotrow_cache *cache, const fresh_rows *fresh, size_t count, size_t *bypass_left_p,
                        uint32_t *slots)
{
  chunk_scratch *chunk = &cache->chunk;
  for (size_t i = 0; i < count; i++) {
    prefetch_set(cache, fresh->hashes, i, count);
    chunk->flags[i] = PLACE_HELD;
    if (slots[i] != HOTROW_SLOT_NONE)
      continue;
    uint32_t set = hr_cache_sets_of(&cache->sets, fresh->hashes[i]), next_use = HOTROW_BATCH_NONE;
    if (fresh->next_use && hr_clock_is_before(cache->batch, fresh->next_use[i]))
      next_use = fresh->next_use[i];
    chunk->steps[i] = cache->policy->has_sketch ? hr_sketch_count(&cache->sketch, fresh->hashes[i], cache->age)
                                                : cache->policy->uses_first;
    chunk->flags[i] = PLACE_FREE;
    slots[i] = hr_cache_sets_take_free(&cache->sets, set);
    if (slots[i] == HOTROW_SLOT_NONE) {
      chunk->flags[i] = PLACE_VICTIM;
      slots[i] = make_room(cache, set, chunk->steps[i], next_use, bypass_left_p);
    }
    if (slots[i] == HOTROW_SLOT_NONE) {
      HOTROW_ASSERT(cache->staging_used < cache->staging_count);
      chunk->flags[i] = PLACE_STAGED;
      slots[i] = cache->staging_first + cache->staging_used++;
    } else {
      hr_cache_sets_pin(&cache->sets, slots[i], cache->batch, next_use == HOTROW_BATCH_NONE ? cache->batch : next_use);
    }
  }
}

static void evict(hotrow_cache *cache, uint32_t slot)
{
  const hr_row_meta *row = &cache->sets.meta[slot];
  if (cache->policy->has_sketch)
    hr_sketch_remember(&cache->sketch, cache->sets.hashes[slot], row->uses, cache->age);
  if (row->pending > 0) {
    cache->stats.evicted_dirty++;
    hr_cache_hand_out(cache, slot, row->pending);
  } else {
    cache->stats.evicted_clean++;
  }
}

/* Second pass: rows leave and come. */
static void fill_chunk(hotrow_cache *cache, const fresh_rows *fresh, size_t count, const uint32_t *slots)
{
  const chunk_scratch *chunk = &cache->chunk;
  for (size_t i = 0; i < count; i++) {
    if (i + SETS_AHEAD < count)
      __builtin_prefetch(cache->rows + slots[i + SETS_AHEAD] * cache->row_stride, 1);
    const float *value = fresh->values + i * cache->layout.dim, *state = hr_cache_state_at(cache, fresh->states, i);
    uint32_t slot = slots[i], clock = fresh->clocks[i];
    if (chunk->flags[i] == PLACE_HELD)
      continue;
    if (chunk->flags[i] == PLACE_VICTIM)
      evict(cache, slot);
    if (chunk->flags[i] != PLACE_STAGED)
      hr_cache_sets_put(&cache->sets, slot, fresh->keys[i], fresh->hashes[i],
                        (hr_row_meta){.live_until = cache->sets.meta[slot].live_until,
                                      .seen = clock,
                                      .announced = clock,
                                      .uses = chunk->steps[i] & HR_USES_MAX});
    copy_row(cache, slot, value, state);
  }
}

/* Rows that another answer has brought meanwhile: a copy stays while it may be read at the clock of this one. */
static void refresh_held(hotrow_cache *cache, const fresh_rows *fresh, size_t count, const uint32_t *slots)
{
  for (size_t i = 0; i < count; i++) {
    if (cache->chunk.flags[i] != PLACE_HELD)
      continue;
    const hr_row_meta *row = cache->sets.meta + slots[i];
    if (hr_cache_row_state(cache, row) == HOTROW_ROW_STALE ||
        !hr_clock_may_read(fresh->clocks[i], row->seen, cache->pull_bound))
      refresh_chunk(cache, slots + i, fresh->clocks + i, fresh->values + i * cache->layout.dim,
                    hr_cache_state_at(cache, fresh->states, i), 1);
  }
}

static hotrow_status stage_all(hotrow_cache *cache, const float *values, const float *states, size_t row_count,
                               uint32_t *slots)
{
  size_t staging_free = cache->staging_count - cache->staging_used;
  if (row_count > staging_free)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu rows find no way in the cache and %zu of %u staging rows are free", row_count,
                   staging_free, cache->staging_count);
  for (size_t i = 0; i < row_count; i++) {
    slots[i] = cache->staging_first + cache->staging_used++;
    copy_row(cache, slots[i], values + i * cache->layout.dim, hr_cache_state_at(cache, states, i));
  }
  cache->stats.uncached += row_count;
  return HOTROW_OK;
}

hotrow_status hotrow_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                                 size_t row_count, uint32_t *slots_p)
{
  HOTROW_TRY(stage_all(cache, values, states, row_count, slots_p));
  for (size_t i = 0; i < row_count; i++)
    hotrow_cache_invalidate(cache, hashes[i], hashes[i]);
  return HOTROW_OK;
}

/* Finds the rows that are held and pins them; returns how many. */
static size_t pin_held(hotrow_cache *cache, const fresh_rows *fresh, size_t row_count, uint32_t *slots)
{
  size_t held_count = 0;
  hr_cache_probe(cache, fresh->keys, fresh->hashes, row_count, slots);
  for (size_t i = 0; i < row_count; i++) {
    hr_cache_prefetch_meta(cache, slots, i, row_count);
    if (slots[i] == HOTROW_SLOT_NONE)
      continue;
    hr_cache_pin(cache, slots[i], fresh->next_use, i);
    held_count++;
  }
  return held_count;
}

hotrow_status hotrow_cache_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                  const uint32_t *clocks, const float *values, const float *states,
                                  const uint32_t *next_use, size_t row_count, uint32_t *slots_p)
{
  fresh_rows fresh = {keys, hashes, clocks, values, states, next_use};
  if (cache->sets.set_count == 0)
    return stage_all(cache, values, states, row_count, slots_p);
  /* Rows that are here already are pinned before the first victim is chosen. */
  size_t missing_count = row_count - pin_held(cache, &fresh, row_count, slots_p);
  size_t staging_free = cache->staging_count - cache->staging_used, bypass_left = missing_count;
  if (missing_count > staging_free) {
    size_t uncached_count = count_uncached(cache, hashes, slots_p, row_count);
    if (uncached_count > staging_free)
      return hr_fail(HOTROW_ERR_LIMIT, "%zu rows find no way in the cache and %zu of %u staging rows are free",
                     uncached_count, staging_free, cache->staging_count);
    bypass_left = staging_free - uncached_count;
  }
  for (size_t first = 0; first < row_count; first += CHUNK_ROWS) {
    size_t count = hr_min_size(CHUNK_ROWS, row_count - first);
    fresh_rows part = {keys + first,
                       hashes + first,
                       clocks + first,
                       values + first * cache->layout.dim,
                       hr_cache_state_at(cache, states, first),
                       next_use ? next_use + first : NULL};
    place_chunk(cache, &part, count, &bypass_left, slots_p + first);
    fill_chunk(cache, &part, count, slots_p + first);
    refresh_held(cache, &part, count, slots_p + first);
  }
  return HOTROW_OK;
}
