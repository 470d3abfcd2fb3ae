/* Create, batches, lookup. */
#include <stdlib.h>

#include <hr/optimizer.h>
#include <hr/options.h>

#include "cache_state.h"

HR_NO_TAIL_PADDING(hotrow_cache_options, reserved);
HR_NO_TAIL_PADDING(hotrow_cache_stats, unseen_counts);

#define LOOKUPS_PER_ROW 20u /* after so many uses are halved */

static hotrow_status check_bounds(const hotrow_cache_options *o)
{
  if (o->pull_bound > HOTROW_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: pull_bound %u is over %u", o->pull_bound, HOTROW_BOUND_MAX);
  if (o->push_bound > HOTROW_PUSH_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: push_bound %u is over %u", o->push_bound, HOTROW_PUSH_BOUND_MAX);
  if (o->mode == HOTROW_CACHE_PROBE)
    return HOTROW_OK;
  if (o->announce_step == 0)
    return hr_fail(HOTROW_ERR_INVALID, "cache: announce_step is 0 in announce mode, must be that of the shards");
  if (o->announce_step > o->pull_bound + 1)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: announce_step %u is over %u, pull_bound + 1: no row would ever be fresh",
                   o->announce_step, o->pull_bound + 1);
  return HOTROW_OK;
}

static hotrow_status check_options(const hotrow_cache_options *o)
{
  if (!o->kernels)
    return hr_fail(HOTROW_ERR_INVALID, "cache: kernels is NULL");
  if (o->kernels->device != HOTROW_CPU)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "cache on device %s: only the CPU is supported", o->kernels->name);
  if (!o->segments)
    return hr_fail(HOTROW_ERR_INVALID, "cache: segments is NULL");
  if (!hr_cache_policy_get(o->policy))
    return hr_fail(HOTROW_ERR_INVALID, "cache policy %d is not known", (int)o->policy);
  if (o->mode != HOTROW_CACHE_PROBE && o->mode != HOTROW_CACHE_ANNOUNCE)
    return hr_fail(HOTROW_ERR_INVALID, "cache mode %d is not known", (int)o->mode);
  if (o->wire_dtype != HOTROW_F32 && o->wire_dtype != HOTROW_F16 && o->wire_dtype != HOTROW_I8)
    return hr_fail(HOTROW_ERR_INVALID, "cache: wire_dtype %d is not known", (int)o->wire_dtype);
  if (o->counts_occurrences > 1)
    return hr_fail(HOTROW_ERR_INVALID, "cache: counts_occurrences is %u, must be 0 or 1", o->counts_occurrences);
  if (o->is_rounded > 1)
    return hr_fail(HOTROW_ERR_INVALID, "cache: is_rounded is %u, must be 0 or 1", o->is_rounded);
  if (o->reserved)
    return hr_fail(HOTROW_ERR_INVALID, "cache: reserved is %u, must be 0", o->reserved);
  if (o->staging_row_count == 0)
    return hr_fail(HOTROW_ERR_INVALID, "cache: staging_row_count is 0, must be the most keys of one batch");
  if (o->row_count > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: row_count %llu is over %llu", (unsigned long long)o->row_count,
                   (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  if (o->staging_row_count > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: staging_row_count %llu is over %llu",
                   (unsigned long long)o->staging_row_count, (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  return check_bounds(o);
}

/* Where the optimizer takes k steps one by one, k must be the steps. */
static hotrow_status check_occurrences(const hotrow_cache_options *o, const hotrow_row_layout *row)
{
  uint32_t s = hr_row_layout_find_stepper(row);
  if (o->counts_occurrences && s < row->segment_count)
    return hr_fail(HOTROW_ERR_INVALID, "cache: counts_occurrences with optimizer %d of segment %u, which counts steps",
                   (int)row->segments[s].optimizer.kind, s);
  return HOTROW_OK;
}

/* Sums that the pool holds: with push bound 0 no step is ever pending. */
static uint32_t pending_capacity(const hotrow_cache_options *o, uint32_t cached_count)
{
  if (o->push_bound == 0)
    return 0;
  bool is_given = o->pending_row_count > 0 && o->pending_row_count < cached_count;
  return is_given ? (uint32_t)o->pending_row_count : cached_count;
}

static void layout_chunk(chunk_scratch *chunk, uint32_t dim, uint32_t square_dim, hr_arena *arena)
{
  chunk->slots = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->slots);
  chunk->sums = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->sums);
  chunk->steps = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->steps);
  chunk->entries = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->entries);
  chunk->flags = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->flags);
  chunk->sought = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->sought);
  chunk->sought_slots = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->sought_slots);
  chunk->sought_keys = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->sought_keys);
  chunk->sought_hashes = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->sought_hashes);
  chunk->grads = hr_arena_take(arena, CHUNK_ROWS, dim * sizeof *chunk->grads);
  chunk->squares = hr_arena_take(arena, CHUNK_ROWS, square_dim * sizeof *chunk->squares);
  chunk->one_sum = hr_arena_take(arena, dim + square_dim, sizeof *chunk->one_sum);
  chunk->packed = hr_arena_take(arena, CHUNK_ROWS, dim * sizeof(uint16_t));
  chunk->scales = hr_arena_take(arena, CHUNK_ROWS, sizeof *chunk->scales);
}

static size_t layout(hotrow_cache *cache, const hotrow_cache_options *o, char *base)
{
  hr_arena arena = {base, 0};
  uint32_t dim = cache->layout.dim, square_dim = cache->layout.square_dim;
  uint32_t set_count = (uint32_t)((o->row_count + HOTROW_CACHE_WAYS - 1) / HOTROW_CACHE_WAYS);
  uint32_t cached_count = set_count * HOTROW_CACHE_WAYS;
  uint32_t pending_count = pending_capacity(o, cached_count);
  cache->staging_first = cached_count;
  cache->staging_count = (uint32_t)o->staging_row_count;

  hr_cache_sets_layout(&cache->sets, set_count, &arena);
  hr_sketch_layout(&cache->sketch, cache->policy->has_sketch ? cached_count : 0, &arena);
  hr_pending_layout(&cache->pending, pending_count > 0 ? cached_count : 0, pending_count, dim, square_dim, &arena);
  hr_push_list_layout(&cache->pushes, (size_t)cached_count + 2 * (size_t)cache->staging_count, dim, square_dim, &arena);
  cache->rows =
      hr_arena_take(&arena, (size_t)cached_count + cache->staging_count, cache->row_stride * sizeof *cache->rows);
  cache->demand = hr_arena_take(&arena, set_count, sizeof *cache->demand);
  layout_chunk(&cache->chunk, dim, square_dim, &arena);
  return arena.used_bytes;
}

hotrow_status hotrow_cache_create(const hotrow_cache_options *options, hotrow_cache **cache_p)
{
  if (!options || !cache_p)
    return hr_fail(HOTROW_ERR_INVALID, "cache: options or cache_p is NULL");
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  hotrow_row_layout row;
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_cache_options"));
  HOTROW_TRY(check_options(&o));
  HOTROW_TRY(hr_row_layout_make(o.segments, o.segment_count, &row));
  HOTROW_TRY(check_occurrences(&o, &row));

  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hotrow_cache), "cache", &memory));
  hotrow_cache *cache = memory;
  cache->kernels = o.kernels;
  cache->policy = hr_cache_policy_get(o.policy);
  cache->layout = row;
  cache->lr_scale = 1.0f;
  cache->mode = o.mode;
  cache->announce_step = o.announce_step;
  cache->pull_bound = o.pull_bound;
  cache->push_bound = o.push_bound;
  cache->wire_dtype = o.wire_dtype;
  cache->counts_occurrences = o.counts_occurrences == 1;
  cache->rereads_own = o.is_rounded == 1 && o.pull_bound == 0 && o.push_bound == 0;
  cache->row_stride = ((size_t)row.dim + row.state_dim + 3) / 4 * 4; /* every row begins on 16 bytes */
  cache->memory_bytes = layout(cache, &o, NULL);

  hotrow_status status = hr_map(cache->memory_bytes, "cache", &cache->memory);
  if (status != HOTROW_OK)
    goto free_cache;
  layout(cache, &o, cache->memory);
  *cache_p = cache;
  return HOTROW_OK;

free_cache:
  free(cache);
  return status;
}

void hotrow_cache_destroy(hotrow_cache *cache)
{
  if (!cache)
    return;
  hr_unmap(cache->memory, cache->memory_bytes);
  free(cache);
}

void hotrow_cache_begin_batch(hotrow_cache *cache)
{
  cache->batch++;
  cache->has_forgotten = false;
  cache->staging_used = 0;
  if (cache->policy->has_aging && cache->staging_first > 0)
    cache->age = (uint32_t)(cache->stats.lookups / ((uint64_t)cache->staging_first * LOOKUPS_PER_ROW));
}

uint32_t hotrow_cache_batch(const hotrow_cache *cache)
{
  return cache->batch;
}

/* Updates of others, as announced, that a fresh row lacks. */
static void count_unseen(hotrow_cache *cache, const hr_row_meta *row)
{
  hotrow_cache_stats *stats = &cache->stats;
  int32_t announced = hr_clock_unseen(row->announced, row->seen);
  int32_t known = announced + (int32_t)cache->announce_step - 1;
  uint32_t unseen = announced > 0 ? (uint32_t)announced : 0;
  stats->unseen_sum += unseen;
  stats->unseen_counts[unseen ? 32 - __builtin_clz(unseen) : 0]++;
  if (known > 0 && (uint64_t)known > stats->unseen_max)
    stats->unseen_max = (uint64_t)known;
}

static void lookup_chunk(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                         const uint32_t *next_use, uint32_t *slots, uint32_t *seen, uint8_t *states)
{
  hr_row_meta *meta = cache->sets.meta;
  uint32_t uses_max = cache->policy->uses_max;
  size_t state_counts[4] = {0};
  hr_cache_probe(cache, keys, hashes, count, slots);
  for (size_t i = 0; i < count; i++) {
    hr_cache_prefetch_meta(cache, slots, i, count);
    states[i] = HOTROW_ROW_MISSING;
    if (slots[i] != HOTROW_SLOT_NONE) {
      hr_row_meta *row = meta + slots[i];
      hr_cache_pin(cache, slots[i], next_use, i);
      if (row->uses < uses_max)
        row->uses++;
      seen[i] = row->seen;
      states[i] = (uint8_t)hr_cache_row_state(cache, row);
      if (states[i] == HOTROW_ROW_FRESH)
        count_unseen(cache, row);
    }
    state_counts[states[i]]++;
  }
  cache->stats.hits += state_counts[HOTROW_ROW_FRESH] + state_counts[HOTROW_ROW_DOUBTFUL];
  cache->stats.stale += state_counts[HOTROW_ROW_STALE];
  cache->stats.misses += state_counts[HOTROW_ROW_MISSING];
}

void hotrow_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *next_use, uint32_t *slots, uint32_t *seen, uint8_t *states)
{
  for (size_t first = 0; first < key_count; first += CHUNK_ROWS)
    lookup_chunk(cache, keys + first, hashes + first, hr_min_size(CHUNK_ROWS, key_count - first),
                 next_use ? next_use + first : NULL, slots + first, seen + first, states + first);
  cache->stats.lookups += key_count;
}

/* A held row is needed by `batch`: unless it is pinned to an earlier batch to come, it is pinned to that one. */
static void expect_row(hotrow_cache *cache, uint32_t slot, uint32_t batch)
{
  uint32_t live_until = cache->sets.meta[slot].live_until;
  bool is_pinned_beyond = hr_clock_is_before(cache->batch, live_until);
  if (is_pinned_beyond && hr_clock_is_before(batch, live_until) && hr_clock_is_before(cache->batch, batch))
    cache->sets.meta[slot].live_until = batch;
  else if (!is_pinned_beyond && live_until == cache->batch)
    hr_cache_sets_pin(&cache->sets, slot, cache->batch, hr_clock_later(cache->batch, batch));
  else if (!is_pinned_beyond)
    cache->sets.meta[slot].live_until = hr_clock_later(cache->batch, batch);
}

void hotrow_cache_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         uint32_t batch, uint8_t *is_held_p)
{
  const uint32_t *slots = cache->chunk.slots;
  for (size_t first = 0; first < key_count; first += CHUNK_ROWS) {
    size_t count = hr_min_size(CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->chunk.slots);
    for (size_t i = 0; i < count; i++) {
      hr_cache_prefetch_meta(cache, slots, i, count);
      is_held_p[first + i] = 0;
      if (slots[i] == HOTROW_SLOT_NONE)
        continue;
      is_held_p[first + i] = hr_cache_row_state(cache, cache->sets.meta + slots[i]) != HOTROW_ROW_STALE;
      expect_row(cache, slots[i], batch);
    }
  }
}

const float *hotrow_cache_rows(const hotrow_cache *cache, size_t *row_stride_p)
{
  *row_stride_p = cache->row_stride;
  return cache->rows;
}

void hotrow_cache_set_lr_scale(hotrow_cache *cache, float lr_scale)
{
  cache->lr_scale = lr_scale;
}

void hotrow_cache_get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p)
{
  *stats_p = cache->stats;
  stats_p->row_count = cache->sets.held_count;
}
