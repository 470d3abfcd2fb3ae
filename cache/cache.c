/* The life of a lookup, top to bottom: create, begin_batch, lookup, refresh, insert, update, hand out. */
#include <hotrow/cache.h>

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/optimizer.h>
#include <hr/options.h>

#include "cache_pending.h"
#include "cache_push_list.h"
#include "policy.h"

HR_NO_TAIL_PADDING(hotrow_cache_options, pending_row_count);
HR_NO_TAIL_PADDING(hotrow_cache_stats, pending_max);

#define CHUNK_ROWS ((size_t)1024) /* rows per pass: what one pass touches is still in L2 for the next */
#define ROWS_AHEAD 8u             /* metadata and rows are asked for this many rows early */

/* What one chunk needs between its passes; each array holds CHUNK_ROWS. */
typedef struct chunk_scratch {
  uint32_t *slots;
  uint32_t *sums;
  uint8_t *is_first;
  uint32_t *indices;
  uint32_t *steps;
  float *grads;
  float *squares;
} chunk_scratch;

struct hotrow_cache {
  const hotrow_kernels *kernels; /* borrowed */
  const hr_cache_policy *policy;
  hotrow_row_layout layout;
  uint32_t dim;
  uint32_t state_dim;
  uint32_t square_dim;
  uint32_t pull_bound;
  uint32_t push_bound;
  uint32_t batch;
  hr_cache_sets sets;
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

/* The shard's answer for some keys. */
typedef struct fresh_rows {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *clocks;
  const float *values;
  const float *states;
} fresh_rows;

static size_t min_size(size_t a, size_t b)
{
  return a < b ? a : b;
}

static hotrow_status check_options(const hotrow_cache_options *o)
{
  if (!o->kernels)
    return hr_fail(HOTROW_ERR_INVALID, "cache: kernels is NULL");
  if (o->kernels->device != HOTROW_CPU)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "cache on device %s: only the CPU is supported", o->kernels->name);
  if (o->policy != HOTROW_POLICY_LRU && o->policy != HOTROW_POLICY_LIGHT_LFU)
    return hr_fail(HOTROW_ERR_INVALID, "cache policy %d is not known", (int)o->policy);
  if (o->dim == 0)
    return hr_fail(HOTROW_ERR_INVALID, "cache: dim is 0");
  if (o->staging_row_count == 0)
    return hr_fail(HOTROW_ERR_INVALID, "cache: staging_row_count is 0, must be the most keys of one batch");
  if (o->dim > HOTROW_DIM_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: dim %u is over %u", o->dim, HOTROW_DIM_MAX);
  if (o->row_count > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: row_count %llu is over %llu", (unsigned long long)o->row_count,
                   (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  if (o->staging_row_count > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: staging_row_count %llu is over %llu",
                   (unsigned long long)o->staging_row_count, (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  if (o->pull_bound > HOTROW_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: pull_bound %u is over %u", o->pull_bound, HOTROW_BOUND_MAX);
  if (o->push_bound > HOTROW_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: push_bound %u is over %u", o->push_bound, HOTROW_BOUND_MAX);
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

static size_t layout(hotrow_cache *cache, const hotrow_cache_options *o, char *base)
{
  hr_arena arena = {base, 0};
  uint32_t dim = cache->dim, square_dim = cache->square_dim;
  uint32_t set_count = (uint32_t)((o->row_count + HOTROW_CACHE_WAYS - 1) / HOTROW_CACHE_WAYS);
  uint32_t cached_count = set_count * HOTROW_CACHE_WAYS;
  uint32_t pending_count = pending_capacity(o, cached_count);
  cache->staging_first = cached_count;
  cache->staging_count = (uint32_t)o->staging_row_count;

  hr_cache_sets_layout(&cache->sets, set_count, &arena);
  hr_pending_layout(&cache->pending, pending_count > 0 ? cached_count : 0, pending_count, dim, square_dim, &arena);
  hr_push_list_layout(&cache->pushes, (size_t)cached_count + 2 * (size_t)cache->staging_count, dim, square_dim, &arena);
  cache->rows =
      hr_arena_take(&arena, (size_t)cached_count + cache->staging_count, cache->row_stride * sizeof *cache->rows);
  cache->demand = hr_arena_take(&arena, set_count, sizeof *cache->demand);

  chunk_scratch *chunk = &cache->chunk;
  chunk->slots = hr_arena_take(&arena, CHUNK_ROWS, sizeof *chunk->slots);
  chunk->sums = hr_arena_take(&arena, CHUNK_ROWS, sizeof *chunk->sums);
  chunk->is_first = hr_arena_take(&arena, CHUNK_ROWS, sizeof *chunk->is_first);
  chunk->indices = hr_arena_take(&arena, CHUNK_ROWS, sizeof *chunk->indices);
  chunk->steps = hr_arena_take(&arena, CHUNK_ROWS, sizeof *chunk->steps);
  chunk->grads = hr_arena_take(&arena, CHUNK_ROWS, dim * sizeof *chunk->grads);
  chunk->squares = hr_arena_take(&arena, CHUNK_ROWS, square_dim * sizeof *chunk->squares);
  return arena.used_bytes;
}

hotrow_status hotrow_cache_create(const hotrow_cache_options *options, hotrow_cache **cache_p)
{
  if (!options || !cache_p)
    return hr_fail(HOTROW_ERR_INVALID, "cache: options or cache_p is NULL");
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  hotrow_row_layout row_layout;
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_cache_options"));
  HOTROW_TRY(check_options(&o));
  hotrow_segment segment = {.dim = o.dim, .optimizer = o.optimizer};
  HOTROW_TRY(hr_row_layout_make(&segment, 1, &row_layout));

  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hotrow_cache), "cache", &memory));
  hotrow_cache *cache = memory;
  cache->kernels = o.kernels;
  cache->policy = o.policy == HOTROW_POLICY_LRU ? &hr_policy_lru : &hr_policy_light_lfu;
  cache->layout = row_layout;
  cache->dim = o.dim;
  cache->state_dim = row_layout.state_dim;
  cache->square_dim = row_layout.square_dim;
  cache->pull_bound = o.pull_bound;
  cache->push_bound = o.push_bound;
  cache->row_stride = ((size_t)cache->dim + cache->state_dim + 3) / 4 * 4; /* every row begins on 16 bytes */
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
  cache->staging_used = 0;
}

static void probe(const hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                  uint32_t *slots)
{
  const hr_cache_sets *sets = &cache->sets;
  if (sets->set_count == 0)
    memset(slots, 0xff, count * sizeof *slots); /* HOTROW_SLOT_NONE */
  else
    cache->kernels->probe(sets->keys, sets->occupied, sets->set_count, keys, hashes, count, NULL, slots);
}

/* Pins the rows found to this batch; returns how many. */
static size_t pin(hotrow_cache *cache, const uint32_t *slots, size_t count)
{
  hr_row_meta *meta = cache->sets.meta;
  size_t held_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (i + ROWS_AHEAD < count && slots[i + ROWS_AHEAD] != HOTROW_SLOT_NONE)
      __builtin_prefetch(meta + slots[i + ROWS_AHEAD], 1);
    if (slots[i] == HOTROW_SLOT_NONE)
      continue;
    meta[slots[i]].live_until = cache->batch;
    held_count++;
  }
  return held_count;
}

void hotrow_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         uint32_t *slots, uint32_t *seen)
{
  size_t held_count = 0;
  if (cache->sets.set_count == 0)
    probe(cache, keys, hashes, key_count, slots);
  for (size_t first = 0; first < key_count && cache->sets.set_count > 0; first += CHUNK_ROWS) {
    size_t count = min_size(CHUNK_ROWS, key_count - first);
    uint32_t *chunk_slots = slots + first;
    probe(cache, keys + first, hashes + first, count, chunk_slots);
    held_count += pin(cache, chunk_slots, count);
    if (cache->policy->use)
      cache->policy->use(cache->sets.meta, chunk_slots, count);
    for (size_t i = 0; i < count; i++)
      if (chunk_slots[i] != HOTROW_SLOT_NONE)
        seen[first + i] = cache->sets.meta[chunk_slots[i]].seen;
  }
  cache->stats.lookups += key_count;
  cache->stats.hits += held_count; /* until a refresh says that some were stale */
  cache->stats.misses += key_count - held_count;
}

static void copy_row(hotrow_cache *cache, uint32_t slot, const float *value, const float *state)
{
  float *row = cache->rows + slot * cache->row_stride;
  memcpy(row, value, cache->dim * sizeof *row);
  if (state)
    memcpy(row + cache->dim, state, cache->state_dim * sizeof *row);
}

/* State i of an array that is NULL when rows have none, or when nothing is kept and so nothing is previewed. */
static const float *state_at(const hotrow_cache *cache, const float *states, size_t i)
{
  return states ? states + i * cache->state_dim : NULL;
}

/* Up to CHUNK_ROWS held rows become fresh + own pending steps. */
static void refresh_chunk(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t count)
{
  chunk_scratch *chunk = &cache->chunk;
  size_t dim = cache->dim, square_dim = cache->square_dim, dirty_count = 0;
  for (size_t i = 0; i < count; i++) {
    HOTROW_ASSERT(slots[i] < cache->staging_first);
    copy_row(cache, slots[i], values + i * dim, state_at(cache, states, i));
    hr_row_meta *meta = &cache->sets.meta[slots[i]];
    meta->seen = clocks[i];
    if (meta->pending == 0)
      continue;
    const float *sum = hr_pending_sum(&cache->pending, slots[i]);
    memcpy(chunk->grads + dirty_count * dim, sum, dim * sizeof *sum);
    memcpy(chunk->squares + dirty_count * square_dim, sum + dim, square_dim * sizeof *sum);
    chunk->steps[dirty_count] = meta->pending;
    chunk->slots[dirty_count++] = slots[i];
  }
  if (dirty_count > 0)
    cache->kernels->optimizer_apply(&cache->layout, 1.0f, cache->rows, cache->row_stride, chunk->slots, chunk->grads,
                                    square_dim > 0 ? chunk->squares : NULL, chunk->steps, dirty_count, NULL);
}

void hotrow_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t row_count)
{
  for (size_t first = 0; first < row_count; first += CHUNK_ROWS)
    refresh_chunk(cache, slots + first, clocks + first, values + first * cache->dim, state_at(cache, states, first),
                  min_size(CHUNK_ROWS, row_count - first));
  uint64_t stale_count = min_size(row_count, cache->stats.hits);
  cache->stats.hits -= stale_count;
  cache->stats.stale += stale_count;
}

/* How many of the missing rows (slots[i] is NONE) will find no way. */
static size_t count_uncached(hotrow_cache *cache, const uint64_t *hashes, const uint32_t *slots, size_t row_count)
{
  const hr_cache_sets *sets = &cache->sets;
  size_t uncached_count = 0;
  for (size_t i = 0; i < row_count; i++)
    if (slots[i] == HOTROW_SLOT_NONE)
      cache->demand[hr_cache_sets_of(sets, hashes[i])]++;
  for (size_t i = 0; i < row_count; i++) {
    uint32_t set = hr_cache_sets_of(sets, hashes[i]);
    uint32_t demand = cache->demand[set], room = demand > 0 ? hr_cache_sets_room(sets, set, cache->batch) : 0;
    uncached_count += demand > room ? demand - room : 0;
    cache->demand[set] = 0;
  }
  return uncached_count;
}

/* The row's own steps go to the push list: it has seen them from now on. */
static void hand_out(hotrow_cache *cache, uint32_t slot)
{
  hr_row_meta *meta = &cache->sets.meta[slot];
  const float *sum = hr_pending_sum(&cache->pending, slot);
  hr_push_list_append(&cache->pushes, cache->sets.keys[slot], cache->sets.hashes[slot], meta->pending, sum,
                      sum + cache->dim);
  hr_pending_release(&cache->pending, slot);
  meta->seen += meta->pending;
  meta->pending = 0;
}

static void evict(hotrow_cache *cache, uint32_t slot)
{
  if (cache->sets.meta[slot].pending > 0) {
    cache->stats.evicted_dirty++;
    hand_out(cache, slot);
  } else {
    cache->stats.evicted_clean++;
  }
}

static void put(hotrow_cache *cache, uint32_t slot, const fresh_rows *fresh, size_t i)
{
  hr_cache_sets_put(&cache->sets, slot, fresh->keys[i], fresh->hashes[i], fresh->clocks[i], cache->batch);
  copy_row(cache, slot, fresh->values + i * cache->dim, state_at(cache, fresh->states, i));
}

static uint32_t stage(hotrow_cache *cache, const fresh_rows *fresh, size_t i)
{
  HOTROW_ASSERT(cache->staging_used < cache->staging_count);
  uint32_t slot = cache->staging_first + cache->staging_used++;
  copy_row(cache, slot, fresh->values + i * cache->dim, state_at(cache, fresh->states, i));
  cache->stats.uncached++;
  return slot;
}

/* A row that another answer has brought meanwhile: its copy stays while it may be read at the clock of this one. */
static void insert_held(hotrow_cache *cache, uint32_t slot, const fresh_rows *fresh, size_t i)
{
  if (!hr_clock_may_read(fresh->clocks[i], cache->sets.meta[slot].seen, cache->pull_bound))
    refresh_chunk(cache, &slot, fresh->clocks + i, fresh->values + i * cache->dim, state_at(cache, fresh->states, i),
                  1);
}

/* Free ways first, then victims, then staging: rows [first, first + count), probed and within the staging slots. */
static void insert_chunk(hotrow_cache *cache, const fresh_rows *fresh, size_t first, size_t count, uint32_t *slots)
{
  hr_cache_sets *sets = &cache->sets;
  chunk_scratch *chunk = &cache->chunk;
  uint32_t *crowded_sets = chunk->sums, *victims = chunk->slots;
  size_t crowded_count = 0;
  for (size_t i = first; i < first + count; i++) {
    if (slots[i] != HOTROW_SLOT_NONE) {
      insert_held(cache, slots[i], fresh, i);
    } else {
      uint32_t set = hr_cache_sets_of(sets, fresh->hashes[i]);
      slots[i] = hr_cache_sets_take_free(sets, set);
      if (slots[i] != HOTROW_SLOT_NONE) {
        put(cache, slots[i], fresh, i);
      } else {
        chunk->indices[crowded_count] = (uint32_t)(i - first);
        crowded_sets[crowded_count++] = set;
      }
    }
  }
  cache->policy->choose(sets->meta, crowded_sets, crowded_count, cache->batch, victims);
  for (size_t c = 0; c < crowded_count; c++) {
    size_t i = first + chunk->indices[c];
    slots[i] = victims[c];
    if (victims[c] == HOTROW_SLOT_NONE) {
      slots[i] = stage(cache, fresh, i);
    } else {
      evict(cache, victims[c]);
      put(cache, victims[c], fresh, i);
    }
  }
}

/* The rows of a cache that keeps none: all to staging, one behind the other. */
static hotrow_status stage_all(hotrow_cache *cache, const fresh_rows *fresh, size_t row_count, uint32_t *slots_p)
{
  size_t dim = cache->dim, staging_free = cache->staging_count - cache->staging_used;
  uint32_t first = cache->staging_used;
  if (row_count > staging_free)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu rows find no way in the cache and %zu of %u staging rows are free", row_count,
                   staging_free, cache->staging_count);
  bool is_flat = cache->row_stride == dim && row_count > 0;
  if (is_flat)
    memcpy(cache->rows + first * dim, fresh->values, row_count * dim * sizeof(float));
  for (size_t i = 0; i < row_count; i++) {
    slots_p[i] = first + (uint32_t)i;
    if (!is_flat)
      copy_row(cache, slots_p[i], fresh->values + i * dim, state_at(cache, fresh->states, i));
  }
  cache->staging_used += (uint32_t)row_count;
  cache->stats.uncached += row_count;
  return HOTROW_OK;
}

hotrow_status hotrow_cache_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                  const uint32_t *clocks, const float *values, const float *states, size_t row_count,
                                  uint32_t *slots_p)
{
  fresh_rows fresh = {keys, hashes, clocks, values, states};
  if (cache->sets.set_count == 0)
    return stage_all(cache, &fresh, row_count, slots_p);
  /* Rows that are here already are pinned before the first victim is chosen. */
  probe(cache, keys, hashes, row_count, slots_p);
  size_t missing_count = row_count - pin(cache, slots_p, row_count);
  size_t staging_free = cache->staging_count - cache->staging_used;
  if (missing_count > staging_free) {
    size_t uncached_count = count_uncached(cache, hashes, slots_p, row_count);
    if (uncached_count > staging_free)
      return hr_fail(HOTROW_ERR_LIMIT, "%zu rows find no way in the cache and %zu of %u staging rows are free",
                     uncached_count, staging_free, cache->staging_count);
  }
  for (size_t first = 0; first < row_count; first += CHUNK_ROWS)
    insert_chunk(cache, &fresh, first, min_size(CHUNK_ROWS, row_count - first), slots_p);
  return HOTROW_OK;
}

const float *hotrow_cache_rows(const hotrow_cache *cache, size_t *row_stride_p)
{
  *row_stride_p = cache->row_stride;
  return cache->rows;
}

/* Runs [*begin_p, *end_p) of entries that are not NONE, from left to right: kernels take arrays without gaps. */
static bool next_run(const uint32_t *slots, size_t count, size_t *begin_p, size_t *end_p)
{
  size_t begin = *end_p;
  while (begin < count && slots[begin] == HOTROW_SLOT_NONE)
    begin++;
  size_t end = begin;
  while (end < count && slots[end] != HOTROW_SLOT_NONE)
    end++;
  *begin_p = begin;
  *end_p = end;
  return begin < end;
}

static void apply_held(hotrow_cache *cache, const uint32_t *slots, const float *grads, size_t count)
{
  for (size_t begin = 0, end = 0; next_run(slots, count, &begin, &end);)
    cache->kernels->optimizer_apply(&cache->layout, 1.0f, cache->rows, cache->row_stride, slots + begin,
                                    grads + begin * cache->dim, NULL, NULL, end - begin, NULL);
}

/* Push bound 0: every step leaves at once. */
static void update_exact(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const float *grads,
                         size_t count)
{
  const uint32_t *slots = cache->chunk.slots;
  for (size_t i = 0; i < count; i++)
    if (slots[i] != HOTROW_SLOT_NONE)
      cache->sets.meta[slots[i]].seen++;
  hr_push_list_append_batch(&cache->pushes, keys, hashes, grads, count);
}

/* Finds the sum of each held row and counts the step. A row that gets none hands its step out at once: sums[i] is NONE.
 */
static void acquire_sums(hotrow_cache *cache, size_t count)
{
  chunk_scratch *chunk = &cache->chunk;
  for (size_t i = 0; i < count; i++) {
    uint32_t slot = chunk->slots[i];
    chunk->sums[i] = HOTROW_SLOT_NONE;
    if (slot == HOTROW_SLOT_NONE)
      continue;
    hr_row_meta *meta = &cache->sets.meta[slot];
    chunk->is_first[i] = meta->pending == 0;
    chunk->sums[i] = meta->pending == 0 ? hr_pending_acquire(&cache->pending, slot) : cache->pending.sum_of_slot[slot];
    if (chunk->sums[i] == HOTROW_SLOT_NONE)
      meta->seen++;
    else
      meta->pending++;
  }
}

/* Push bound > 0: the step joins the row's sum, and the sum leaves when the bound says so. */
static void update_pending(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const float *grads,
                           size_t count)
{
  chunk_scratch *chunk = &cache->chunk;
  hr_pending_pool *pool = &cache->pending;
  acquire_sums(cache, count);
  for (size_t begin = 0, end = 0; next_run(chunk->sums, count, &begin, &end);)
    cache->kernels->pending_add(&cache->layout, pool->sums, pool->stride, chunk->sums + begin, chunk->is_first + begin,
                                grads + begin * cache->dim, end - begin, NULL);
  for (size_t i = 0; i < count; i++) {
    if (chunk->sums[i] == HOTROW_SLOT_NONE) {
      hr_push_list_append_batch(&cache->pushes, keys + i, hashes + i, grads + i * cache->dim, 1);
      continue;
    }
    uint32_t pending = cache->sets.meta[chunk->slots[i]].pending;
    if (!hr_clock_may_keep(pending, cache->push_bound))
      hand_out(cache, chunk->slots[i]);
    else if (pending > cache->stats.pending_max)
      cache->stats.pending_max = pending;
  }
}

/* Room in the push list is kept for every pending row, so that eviction, flush and invalidate cannot fail: entries
 * and pending rows together stay within its capacity. */
static size_t room_for_new(const hotrow_cache *cache)
{
  return cache->pushes.capacity - cache->pushes.count - hr_pending_used_count(&cache->pending);
}

/* Keys whose step makes one more entry or pending row: all but those that have pending steps already. */
static size_t count_new(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count)
{
  const uint32_t *slots = cache->chunk.slots;
  size_t new_count = key_count;
  for (size_t first = 0; first < key_count; first += CHUNK_ROWS) {
    size_t count = min_size(CHUNK_ROWS, key_count - first);
    probe(cache, keys + first, hashes + first, count, cache->chunk.slots);
    for (size_t i = 0; i < count; i++)
      new_count -= slots[i] != HOTROW_SLOT_NONE && cache->sets.meta[slots[i]].pending > 0;
  }
  return new_count;
}

hotrow_status hotrow_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const float *grads,
                                  size_t key_count)
{
  size_t room = room_for_new(cache);
  if (key_count > room && count_new(cache, keys, hashes, key_count) > room)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu gradients and room for %zu in the push list of %zu: take the pushes first",
                   key_count, room, cache->pushes.capacity);
  if (cache->sets.set_count == 0) {
    hr_push_list_append_batch(&cache->pushes, keys, hashes, grads, key_count);
    return HOTROW_OK;
  }
  for (size_t first = 0; first < key_count; first += CHUNK_ROWS) {
    size_t count = min_size(CHUNK_ROWS, key_count - first);
    const float *chunk_grads = grads + first * cache->dim;
    probe(cache, keys + first, hashes + first, count, cache->chunk.slots);
    apply_held(cache, cache->chunk.slots, chunk_grads, count);
    if (cache->push_bound == 0)
      update_exact(cache, keys + first, hashes + first, chunk_grads, count);
    else
      update_pending(cache, keys + first, hashes + first, chunk_grads, count);
  }
  return HOTROW_OK;
}

void hotrow_cache_flush(hotrow_cache *cache)
{
  const hr_cache_sets *sets = &cache->sets;
  for (uint32_t set = 0; set < sets->set_count && hr_pending_used_count(&cache->pending) > 0; set++)
    for (uint32_t ways = sets->occupied[set]; ways; ways &= ways - 1) {
      uint32_t slot = set * HOTROW_CACHE_WAYS + (uint32_t)__builtin_ctz(ways);
      if (sets->meta[slot].pending > 0)
        hand_out(cache, slot);
    }
}

void hotrow_cache_take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p)
{
  hr_push_list *pushes = &cache->pushes;
  *list_p = (hotrow_cache_push_list){.keys = pushes->keys,
                                     .hashes = pushes->hashes,
                                     .steps = pushes->steps,
                                     .grads = pushes->grads,
                                     .squares = pushes->square_dim > 0 ? pushes->squares : NULL,
                                     .count = pushes->count};
  pushes->count = 0;
}

size_t hotrow_cache_push_count(const hotrow_cache *cache)
{
  return cache->pushes.count;
}

void hotrow_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  hr_cache_sets *sets = &cache->sets;
  if (sets->set_count == 0 || hash_first > hash_last)
    return;
  uint32_t set_last = hr_cache_sets_of(sets, hash_last);
  for (uint32_t set = hr_cache_sets_of(sets, hash_first); set <= set_last; set++)
    for (uint32_t ways = sets->occupied[set]; ways; ways &= ways - 1) {
      uint32_t slot = set * HOTROW_CACHE_WAYS + (uint32_t)__builtin_ctz(ways);
      if (sets->hashes[slot] < hash_first || sets->hashes[slot] > hash_last)
        continue;
      if (sets->meta[slot].pending > 0)
        hand_out(cache, slot);
      hr_cache_sets_remove(sets, slot);
    }
}

void hotrow_cache_get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p)
{
  *stats_p = cache->stats;
  stats_p->row_count = cache->sets.held_count;
}
