/* Options, memory, and the interface: what can be refused without a look at the rows is refused here. */
#include <stdlib.h>

#include <hr/assert.h>
#include <hr/optimizer.h>
#include <hr/options.h>

#include "cache_state.h"

HR_NO_TAIL_PADDING(hotrow_cache_options, shares); /* NOLINT(bugprone-sizeof-expression): the pointer is meant */
HR_NO_TAIL_PADDING(hotrow_cache_stats, push_count);

static const hr_cache_operations *operations_of(const hotrow_kernels *kernels)
{
  return kernels->device == HOTROW_CPU ? hr_cpu_cache_operations() : hr_cuda_cache_operations();
}

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

/* A table that lacks a kernel that the cache calls, or that is not for a device that this build knows. */
static hotrow_status check_device(const hotrow_cache_options *o)
{
  const hotrow_kernels *k = o->kernels;
  if (!operations_of(k))
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "cache on device %s: this build has none", k->name);
  if (!k->probe || !k->scan || !k->optimizer_apply || !k->pending_add || !k->pack || !k->unpack)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "cache on device %s: its function table lacks kernels", k->name);
  if (k->device == HOTROW_CPU && o->stream)
    return hr_fail(HOTROW_ERR_INVALID, "cache: a stream is given, and device %s has none", k->name);
  return HOTROW_OK;
}

static hotrow_status check_room(const hotrow_cache_options *o)
{
  if (o->staging_row_count == 0)
    return hr_fail(HOTROW_ERR_INVALID, "cache: staging_row_count is 0, must be the most keys of one batch");
  if (o->row_count > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: row_count %llu is over %llu", (unsigned long long)o->row_count,
                   (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  if (o->staging_row_count > HOTROW_CACHE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: staging_row_count %llu is over %llu",
                   (unsigned long long)o->staging_row_count, (unsigned long long)HOTROW_CACHE_ROWS_MAX);
  return HOTROW_OK;
}

static hotrow_status check_options(const hotrow_cache_options *o)
{
  if (!o->kernels)
    return hr_fail(HOTROW_ERR_INVALID, "cache: kernels is NULL");
  HOTROW_TRY(check_device(o));
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
  if (!o->shares)
    HOTROW_TRY(check_room(o));
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

/* What a cache brings along that takes its rows into another one's memory. */
static hotrow_status check_shared(const hotrow_cache_options *o, const hotrow_row_layout *row)
{
  const hotrow_cache *other = o->shares;
  const hotrow_row_layout *theirs = &other->layout;
  if (o->row_count || o->staging_row_count || o->pending_row_count)
    return hr_fail(HOTROW_ERR_INVALID,
                   "cache: row_count %llu, staging_row_count %llu and pending_row_count %llu must be 0 beside shares",
                   (unsigned long long)o->row_count, (unsigned long long)o->staging_row_count,
                   (unsigned long long)o->pending_row_count);
  if (o->kernels != other->kernels || o->stream != other->stream)
    return hr_fail(HOTROW_ERR_INVALID, "cache on device %s shares memory of device %s: kernels and stream must be its",
                   o->kernels->name, other->kernels->name);
  if (o->policy != other->shared->policy)
    return hr_fail(HOTROW_ERR_INVALID, "cache policy %d: that of the cache which it shares is %d", (int)o->policy,
                   (int)other->shared->policy);
  if (row->dim != theirs->dim || row->state_dim != theirs->state_dim || row->square_dim != theirs->square_dim)
    return hr_fail(HOTROW_ERR_INVALID,
                   "cache: rows of dim %u, state %u and squares %u in one of rows of dim %u, state %u and squares %u",
                   row->dim, row->state_dim, row->square_dim, theirs->dim, theirs->state_dim, theirs->square_dim);
  if (o->push_bound > 0 && !other->shared->keeps_steps)
    return hr_fail(HOTROW_ERR_INVALID, "cache: push_bound %u in one that was made for push_bound 0: it keeps no steps",
                   o->push_bound);
  if (other->shared->table_count == HOTROW_CACHE_TABLES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "cache: %u tables have shared its rows, which is the most",
                   HOTROW_CACHE_TABLES_MAX);
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

static void layout_sets(hr_cache_sets *sets, uint32_t set_count, hr_arena *arena)
{
  size_t row_count = (size_t)set_count * HOTROW_CACHE_WAYS;
  sets->set_count = set_count;
  sets->keys = hr_arena_take(arena, row_count, sizeof *sets->keys);
  sets->hashes = hr_arena_take(arena, row_count, sizeof *sets->hashes);
  sets->tables = hr_arena_take(arena, row_count, sizeof *sets->tables);
  sets->occupied = hr_arena_take(arena, set_count, sizeof *sets->occupied);
  sets->meta = hr_arena_take(arena, row_count, sizeof *sets->meta);
  sets->present = hr_arena_take(arena, set_count, sizeof *sets->present);
  sets->ages = hr_arena_take(arena, set_count, sizeof *sets->ages);
}

static void layout_sketch(hr_sketch *sketch, uint32_t set_count, hr_arena *arena)
{
  sketch->set_count = set_count;
  sketch->lines = hr_arena_take(arena, (size_t)set_count * HR_SKETCH_LINES, sizeof *sketch->lines);
}

static size_t layout(hotrow_cache *cache, const hotrow_cache_options *o, char *base)
{
  hr_arena arena = {base, 0};
  hr_cache_shared *shared = cache->shared;
  uint32_t dim = cache->layout.dim, square_dim = cache->layout.square_dim;
  uint32_t set_count = (uint32_t)((o->row_count + HOTROW_CACHE_WAYS - 1) / HOTROW_CACHE_WAYS);
  uint32_t cached_count = set_count * HOTROW_CACHE_WAYS;
  uint32_t pending_count = pending_capacity(o, cached_count);
  shared->staging_first = cached_count;
  shared->staging_count = (uint32_t)o->staging_row_count;

  layout_sets(&shared->sets, set_count, &arena);
  layout_sketch(&shared->sketch, cache->rules.policy.has_sketch ? set_count : 0, &arena);
  hr_pending_layout(&shared->pending, pending_count > 0 ? cached_count : 0, pending_count, dim, square_dim, &arena);
  hr_push_list_layout(&shared->pushes, (size_t)cached_count + 2 * (size_t)shared->staging_count, dim, square_dim,
                      &arena);
  shared->rows =
      hr_arena_take(&arena, (size_t)cached_count + shared->staging_count, shared->row_stride * sizeof *shared->rows);
  cache->operations->layout(cache, &arena);
  return arena.used_bytes;
}

static hr_cache_rules make_rules(const hotrow_cache_options *o, const hotrow_row_layout *row)
{
  return (hr_cache_rules){.policy = *hr_cache_policy_get(o->policy),
                          .mode = o->mode,
                          .wire_dtype = o->wire_dtype,
                          .announce_step = o->announce_step,
                          .pull_bound = o->pull_bound,
                          .push_bound = o->push_bound,
                          .square_dim = row->square_dim,
                          .rereads_own = o->is_rounded == 1 && o->pull_bound == 0 && o->push_bound == 0};
}

/* One block of the device's memory: create has one thing to get and one to give back. */
static hotrow_status take_memory(hotrow_cache *cache, const hotrow_cache_options *o)
{
  size_t size_bytes = layout(cache, o, NULL);
  hotrow_status status = HOTROW_ERR_NO_MEMORY;
  if (size_bytes <= SIZE_MAX / 2)
    status = cache->kernels->alloc(size_bytes + HR_ARENA_BASE, &cache->shared->memory);
  if (status == HOTROW_ERR_NO_MEMORY)
    return hr_fail(status, "cache: %zu bytes do not fit into the memory of device %s", size_bytes,
                   cache->kernels->name);
  HOTROW_TRY(status);
  layout(cache, o, hr_arena_base(cache->shared->memory));
  return HOTROW_OK;
}

static void give_memory_back(const hotrow_kernels *kernels, hr_cache_shared *shared)
{
  hr_device_side *device = &shared->device;
  if (device->taken_event) {
    (void)kernels->event_wait(device->taken_event); /* the device may still write the counts */
    kernels->event_destroy(device->taken_event);
  }
  kernels->free_host(device->taken);
  kernels->free(shared->memory);
  free(shared);
}

/* Where a device leaves the counts of what is taken. */
static hotrow_status open_device_side(hotrow_cache *cache)
{
  hr_device_side *device = &cache->shared->device;
  void *counts;
  if (cache->kernels->device == HOTROW_CPU)
    return HOTROW_OK;
  HOTROW_TRY(cache->kernels->alloc_host(2 * sizeof *device->taken, &counts));
  device->taken = counts;
  return cache->kernels->event_create(&device->taken_event);
}

static hotrow_status create_shared(hotrow_cache *cache, const hotrow_cache_options *o)
{
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_cache_shared), "cache", &memory));
  cache->shared = memory;
  cache->shared->policy = o->policy;
  cache->shared->keeps_steps = o->push_bound > 0;
  cache->shared->row_stride =
      ((size_t)cache->layout.dim + cache->layout.state_dim + 3) / 4 * 4; /* every row begins on 16 bytes */
  hotrow_status status = take_memory(cache, o);
  if (status == HOTROW_OK)
    status = open_device_side(cache);
  if (status != HOTROW_OK)
    give_memory_back(cache->kernels, cache->shared);
  return status;
}

static void join(hotrow_cache *cache, hr_cache_shared *shared)
{
  HOTROW_ASSERT(shared->table_count < HOTROW_CACHE_TABLES_MAX);
  cache->shared = shared;
  cache->table = (uint8_t)shared->table_count++;
  shared->caches[cache->table] = cache;
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
  if (o.shares)
    HOTROW_TRY(check_shared(&o, &row));

  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hotrow_cache), "cache", &memory));
  hotrow_cache *cache = memory;
  cache->kernels = o.kernels;
  cache->stream = o.stream;
  cache->operations = operations_of(o.kernels);
  cache->rules = make_rules(&o, &row);
  cache->layout = row;
  cache->lr_scale = 1.0f;
  cache->counts_occurrences = o.counts_occurrences == 1;
  hotrow_status status = o.shares ? HOTROW_OK : create_shared(cache, &o);
  if (status != HOTROW_OK)
    goto free_cache;
  join(cache, o.shares ? o.shares->shared : cache->shared);
  if (o.shares)
    cache->rules.batch = o.shares->rules.batch;
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
  hr_cache_shared *shared = cache->shared;
  bool is_last = true;
  shared->caches[cache->table] = NULL;
  for (uint32_t t = 0; t < shared->table_count; t++)
    is_last = is_last && !shared->caches[t];
  if (is_last)
    give_memory_back(cache->kernels, shared);
  free(cache);
}

hotrow_status hr_cache_fail_staging(const hotrow_cache *cache, size_t uncached_count, size_t staging_free)
{
  return hr_fail(HOTROW_ERR_LIMIT, "%zu rows find no way in the cache and %zu of %u staging rows are free",
                 uncached_count, staging_free, cache->shared->staging_count);
}

hotrow_status hr_cache_fail_pushes(const hotrow_cache *cache, size_t key_count, size_t room)
{
  return hr_fail(HOTROW_ERR_LIMIT, "%zu gradients and room for %zu in the push list of %zu: take the pushes first",
                 key_count, room, cache->shared->pushes.capacity);
}

void hotrow_cache_begin_batch(hotrow_cache *cache)
{
  hr_cache_shared *shared = cache->shared;
  for (uint32_t t = 0; t < shared->table_count; t++)
    if (shared->caches[t])
      shared->caches[t]->rules.batch++;
  shared->has_forgotten = false;
  cache->operations->begin_batch(cache);
}

size_t hotrow_cache_staging_left(const hotrow_cache *cache)
{
  return cache->operations->staging_left(cache);
}

uint32_t hotrow_cache_table(const hotrow_cache *cache)
{
  return cache->table;
}

uint32_t hotrow_cache_batch(const hotrow_cache *cache)
{
  return cache->rules.batch;
}

void hotrow_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *key_count_p, const uint32_t *next_use, uint32_t *slots, uint32_t *seen,
                         uint8_t *states)
{
  cache->operations->lookup(cache, keys, hashes, key_count, key_count_p, next_use, slots, seen, states);
}

void hotrow_cache_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *key_count_p, uint32_t batch, uint8_t *is_held_p)
{
  cache->operations->expect(cache, keys, hashes, key_count, key_count_p, batch, is_held_p);
}

void hotrow_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t row_count)
{
  cache->operations->refresh(cache, slots, clocks, values, states, row_count);
}

hotrow_status hotrow_cache_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                  const uint32_t *clocks, const float *values, const float *states,
                                  const uint32_t *next_use, size_t row_count, uint32_t *slots_p)
{
  hr_fresh_rows fresh = {keys, hashes, clocks, values, states, next_use};
  return cache->operations->insert(cache, &fresh, row_count, slots_p);
}

hotrow_status hotrow_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                                 size_t row_count, uint32_t *slots_p)
{
  HOTROW_TRY(cache->operations->stage(cache, hashes, values, states, row_count, slots_p));
  cache->shared->has_forgotten = true;
  return HOTROW_OK;
}

const float *hotrow_cache_rows(const hotrow_cache *cache, size_t *row_stride_p)
{
  *row_stride_p = cache->shared->row_stride;
  return cache->shared->rows;
}

hotrow_status hotrow_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                  const uint32_t *slots, const float *grads, const uint32_t *ticks, size_t key_count,
                                  const uint32_t *key_count_p)
{
  if (ticks && !cache->counts_occurrences)
    return hr_fail(HOTROW_ERR_INVALID, "cache: ticks are given, and occurrences are not counted");
  return cache->operations->update(cache, keys, hashes, slots, grads, ticks, key_count, key_count_p);
}

void hotrow_cache_set_lr_scale(hotrow_cache *cache, float lr_scale)
{
  cache->lr_scale = lr_scale;
}

void hotrow_cache_flush(hotrow_cache *cache)
{
  cache->operations->flush(cache);
}

hotrow_status hotrow_cache_take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p)
{
  return cache->operations->take_pushes(cache, list_p);
}

void hotrow_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  if (cache->shared->sets.set_count == 0 || hash_first > hash_last)
    return;
  cache->operations->invalidate(cache, hash_first, hash_last);
  cache->shared->has_forgotten = true;
}

void hotrow_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  if (cache->shared->sets.set_count > 0 && hash_first <= hash_last)
    cache->operations->mark_stale(cache, hash_first, hash_last);
}

void hotrow_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                           size_t key_count)
{
  if (cache->rules.mode == HOTROW_CACHE_ANNOUNCE)
    cache->operations->announce(cache, keys, hashes, clocks, key_count);
}

void hotrow_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count)
{
  cache->operations->announce_gone(cache, keys, hashes, key_count);
}

void hotrow_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                         size_t key_count)
{
  if (cache->rules.mode == HOTROW_CACHE_ANNOUNCE)
    cache->operations->credit(cache, keys, hashes, steps, key_count);
}

hotrow_status hotrow_cache_get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p)
{
  return cache->operations->get_stats(cache, stats_p);
}
