/* The GPU's table of operations; batches, lookup, expect, counts.
 * Grid: one thread per key. Bytes per key looked up, beside the probe's: 4 (slot), 16 read and 8 written of metadata, 5
 * of answers, and 4 of next use, where given. */
#include "cache_cuda.h"

static void layout(hotrow_cache *cache, hr_arena *arena)
{
  hr_device_side *device = &cache->shared->device;
  hr_device_scratch *s = &device->scratch;
  size_t n = cache->shared->staging_count, dim = cache->layout.dim, square_dim = cache->layout.square_dim;
  s->row_count = n;
  device->books = (hr_device_books *)hr_arena_take(arena, 1, sizeof *device->books);
  device->tables = (hr_table_books *)hr_arena_take(arena, HOTROW_CACHE_TABLES_MAX, sizeof *device->tables);
  s->demand = (uint32_t *)hr_arena_take(arena, cache->shared->sets.set_count, sizeof *s->demand);
  s->slots = (uint32_t *)hr_arena_take(arena, n, sizeof *s->slots);
  s->steps = (uint32_t *)hr_arena_take(arena, n, sizeof *s->steps);
  s->sums = (uint32_t *)hr_arena_take(arena, n, sizeof *s->sums);
  s->own_sums = (uint32_t *)hr_arena_take(arena, n, sizeof *s->own_sums);
  s->out_sums = (uint32_t *)hr_arena_take(arena, n, sizeof *s->out_sums);
  s->out_rows = (uint32_t *)hr_arena_take(arena, n, sizeof *s->out_rows);
  s->rounded_entries = (uint32_t *)hr_arena_take(arena, n, sizeof *s->rounded_entries);
  s->rounded_sums = (uint32_t *)hr_arena_take(arena, n, sizeof *s->rounded_sums);
  s->ranks_a = (uint32_t *)hr_arena_take(arena, n + 1, sizeof *s->ranks_a);
  s->ranks_b = (uint32_t *)hr_arena_take(arena, n + 1, sizeof *s->ranks_b);
  s->ranks_c = (uint32_t *)hr_arena_take(arena, n + 1, sizeof *s->ranks_c);
  s->flags = (uint8_t *)hr_arena_take(arena, n, sizeof *s->flags);
  s->kinds = (uint8_t *)hr_arena_take(arena, n, sizeof *s->kinds);
  s->grads = (float *)hr_arena_take(arena, n, dim * sizeof *s->grads);
  s->squares = (float *)hr_arena_take(arena, n, square_dim * sizeof *s->squares);
  s->one_sums = (float *)hr_arena_take(arena, n, (dim + square_dim) * sizeof *s->one_sums);
  bool may_round = cache->rules.push_bound > 0; /* if not this table, then one that joins it */
  s->packed = hr_arena_take(arena, may_round ? n : 0, dim * sizeof(uint16_t));
  s->scales = (float *)hr_arena_take(arena, may_round ? n : 0, sizeof *s->scales);
  s->scan = hr_arena_take(arena, 1, cache->kernels->scan_scratch_size(n));
}

cache_view hr_cuda_cache_view(const hotrow_cache *cache)
{
  const hr_cache_shared *shared = cache->shared;
  const hr_device_side *device = &shared->device;
  cache_view v = {cache->rules,
                  shared->sets,
                  shared->sketch,
                  shared->pending,
                  shared->pushes,
                  device->scratch,
                  device->books,
                  device->tables,
                  device->tables + cache->table,
                  shared->rows,
                  shared->row_stride,
                  cache->layout.dim,
                  cache->layout.state_dim,
                  cache->layout.square_dim,
                  shared->staging_first,
                  shared->table_count,
                  cache->table};
  return v;
}

void hr_cuda_cache_probe(const hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                         uint32_t *slots)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  if (count == 0)
    return;
  if (sets->set_count == 0)
    cache->kernels->fill(slots, 0xff, count * sizeof *slots, cache->stream); /* HOTROW_SLOT_NONE */
  else
    cache->kernels->probe(sets->keys, hr_probed_hashes(cache), sets->occupied, sets->set_count, keys, hashes, count,
                          cache->stream, slots);
}

void hr_cuda_cache_scan(const hotrow_cache *cache, uint32_t *values, size_t count)
{
  cache->kernels->scan(values, count, cache->shared->device.scratch.scan, cache->stream, values);
}

hotrow_status hr_cuda_cache_read_books(const hotrow_cache *cache, hr_device_books *books_p, hr_table_books *own_p)
{
  const hr_table_books *own = cache->shared->device.tables + cache->table;
  if (own_p)
    HOTROW_TRY(cache->kernels->copy_out(own_p, own, sizeof *own, cache->stream));
  HOTROW_TRY(cache->kernels->copy_out(books_p, cache->shared->device.books, sizeof *books_p, cache->stream));
  return cache->kernels->synchronize(cache->stream);
}

static __global__ void start_batch(cache_view v)
{
  uint64_t lookups = 0;
  v.books->staging_used = 0;
  if (!v.rules.policy.has_aging || v.staging_first == 0)
    return;
  for (uint32_t t = 0; t < v.table_count; t++)
    lookups += v.tables[t].stats.lookups;
  v.books->age = (uint32_t)(lookups / ((uint64_t)v.staging_first * HR_LOOKUPS_PER_ROW));
}

static void begin_batch(hotrow_cache *cache)
{
  cache->shared->device.staged_bound = 0;
  LAUNCH_ONE(cache, start_batch)(hr_cuda_cache_view(cache));
  hr_cuda_check_launch("start_batch");
}

static size_t staging_left(const hotrow_cache *cache)
{
  return cache->shared->staging_count - cache->shared->device.staged_bound;
}

/* What a block has counted. */
typedef struct lookup_counts {
  unsigned hits, stale, misses, unseen_max;
  unsigned long long unseen_sum;
  unsigned unseen_counts[33];
} lookup_counts;

static __device__ void clear_counts(lookup_counts *counts)
{
  unsigned *words = (unsigned *)counts;
  for (unsigned w = threadIdx.x; w < sizeof *counts / sizeof *words; w += blockDim.x)
    words[w] = 0;
}

static __device__ void add_counts(hotrow_cache_stats *stats, const lookup_counts *counts)
{
  unsigned t = threadIdx.x;
  if (t < 32)
    add_count(stats->unseen_counts + t, counts->unseen_counts[t]);
  if (t != 0)
    return;
  add_count(&stats->hits, counts->hits);
  add_count(&stats->stale, counts->stale);
  add_count(&stats->misses, counts->misses);
  add_count(&stats->lookups, (uint64_t)counts->hits + counts->stale + counts->misses);
  add_count(&stats->unseen_sum, counts->unseen_sum);
  atomicMax((unsigned long long *)&stats->unseen_max, (unsigned long long)counts->unseen_max);
}

static __device__ hotrow_row_state look_at(const cache_view *v, uint32_t slot, const uint32_t *next_use,
                                           uint32_t *seen_p, lookup_counts *counts)
{
  hr_row_meta *row = v->sets.meta + slot;
  pin_row(v, slot, hr_rules_pin_until(&v->rules, row, next_use));
  if (row->uses < v->rules.policy.uses_max)
    row->uses = (row->uses + 1u) & HR_USES_MAX;
  *seen_p = row->seen;
  hotrow_row_state state = hr_rules_row_state(&v->rules, row);
  if (state == HOTROW_ROW_FRESH) {
    uint32_t known, unseen = hr_rules_unseen(&v->rules, row, &known);
    atomicAdd(&counts->unseen_counts[32 - __clz((int)unseen)], 1u);
    atomicAdd(&counts->unseen_sum, (unsigned long long)unseen);
    atomicMax(&counts->unseen_max, known);
  }
  return state;
}

static __global__ void look_up(cache_view v, key_slice slice, const uint32_t *next_use, const uint32_t *slots,
                               uint32_t *seen, uint8_t *states)
{
  __shared__ lookup_counts counts;
  clear_counts(&counts);
  __syncthreads();
  unsigned hits = 0, stale = 0, misses = 0;
  for (size_t i = first_item(), end = key_count(&slice); i < end; i += item_step()) {
    hotrow_row_state state = HOTROW_ROW_MISSING;
    if (slots[i] != HOTROW_SLOT_NONE)
      state = look_at(&v, slots[i], next_use ? next_use + i : NULL, seen + i, &counts);
    states[i] = (uint8_t)state;
    hits += state == HOTROW_ROW_FRESH || state == HOTROW_ROW_DOUBTFUL;
    stale += state == HOTROW_ROW_STALE;
    misses += state == HOTROW_ROW_MISSING;
  }
  if (hits > 0)
    atomicAdd(&counts.hits, hits);
  if (stale > 0)
    atomicAdd(&counts.stale, stale);
  if (misses > 0)
    atomicAdd(&counts.misses, misses);
  __syncthreads();
  add_counts(&v.own->stats, &counts);
}

static void lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                   const uint32_t *count_p, const uint32_t *next_use, uint32_t *slots, uint32_t *seen, uint8_t *states)
{
  if (count == 0)
    return;
  key_slice slice = {keys, hashes, count, count_p, 0};
  hr_cuda_cache_probe(cache, keys, hashes, count, slots);
  LAUNCH_EACH(cache, look_up, count)(hr_cuda_cache_view(cache), slice, next_use, slots, seen, states);
  hr_cuda_check_launch("look_up");
}

static __global__ void expect_rows(cache_view v, key_slice slice, const uint32_t *slots, uint32_t batch,
                                   uint8_t *is_held)
{
  for (size_t i = first_item(), end = key_count(&slice); i < end; i += item_step()) {
    is_held[i] = 0;
    if (slots[i] == HOTROW_SLOT_NONE)
      continue;
    hr_row_meta *row = v.sets.meta + slots[i];
    is_held[i] = hr_rules_row_state(&v.rules, row) != HOTROW_ROW_STALE;
    uint32_t until = hr_rules_expect_until(&v.rules, row, batch);
    if (row->live_until == v.rules.batch)
      pin_row(&v, slots[i], until);
    else
      row->live_until = until;
  }
}

static void expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t total,
                   const uint32_t *count_p, uint32_t batch, uint8_t *is_held_p)
{
  uint32_t *slots = cache->shared->device.scratch.slots;
  for (size_t first = 0, count; first < total; first += count) {
    count = slice_rows(cache, total - first);
    key_slice slice = {keys + first, hashes + first, count, count_p, first};
    hr_cuda_cache_probe(cache, slice.keys, slice.hashes, count, slots);
    LAUNCH_EACH(cache, expect_rows, count)(hr_cuda_cache_view(cache), slice, slots, batch, is_held_p + first);
    hr_cuda_check_launch("expect_rows");
  }
}

static __global__ void empty_push_list(cache_view v, hr_taken_counts *taken)
{
  taken->entries = v.books->push_count;
  taken->pending = v.books->touched_count - v.books->free_count;
  v.books->push_count = 0;
}

void hr_cuda_cache_count_listed(hotrow_cache *cache, uint64_t more)
{
  hr_device_side *device = &cache->shared->device;
  device->listed_bound += more;
  if (device->listed_bound > device->placed_bound)
    device->listed_bound = device->placed_bound;
}

static hotrow_status take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p)
{
  hr_device_side *device = &cache->shared->device;
  *list_p = hr_push_list_view(&cache->shared->pushes, device->listed_bound);
  if (device->listed_bound == 0)
    return HOTROW_OK;
  hr_taken_counts *taken = device->taken + device->take_count++ % 2;
  list_p->count_p = &taken->entries;
  device->listed_bound = 0;
  device->placed_since = 0;
  if (cache->shared->pending.capacity == 0)
    device->placed_bound = 0;
  LAUNCH_ONE(cache, empty_push_list)(hr_cuda_cache_view(cache), taken);
  hr_cuda_check_launch("empty_push_list");
  return cache->kernels->event_record(device->taken_event, cache->stream);
}

static hotrow_status get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p)
{
  hr_device_books books;
  hr_table_books own;
  HOTROW_TRY(hr_cuda_cache_read_books(cache, &books, &own));
  *stats_p = own.stats;
  stats_p->row_count = own.held_count;
  stats_p->push_count = books.push_count;
  return HOTROW_OK;
}

extern "C" const hr_cache_operations *hr_cuda_cache_operations(void)
{
  static const hr_cache_operations operations = {layout,
                                                 begin_batch,
                                                 staging_left,
                                                 lookup,
                                                 expect,
                                                 hr_cuda_cache_write_plan,
                                                 hr_cuda_cache_refresh,
                                                 hr_cuda_cache_insert,
                                                 hr_cuda_cache_stage,
                                                 hr_cuda_cache_update,
                                                 hr_cuda_cache_flush,
                                                 take_pushes,
                                                 hr_cuda_cache_invalidate,
                                                 hr_cuda_cache_mark_stale,
                                                 hr_cuda_cache_announce,
                                                 hr_cuda_cache_announce_gone,
                                                 hr_cuda_cache_credit,
                                                 get_stats};
  return &operations;
}
