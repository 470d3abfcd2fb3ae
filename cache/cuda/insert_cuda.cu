/* The shard's rows: into held rows, free ways, victims' ways, or staging.
 * Grid: one thread per set that the call's keys fall into decides for all of them, in their order (hashes rise, so they
 * are neighbours; where they do not, or where staging is short, so that sets depend on each other, one thread decides
 * for all); then a thread per key or per float. Bytes per row inserted: 16 ways of metadata (256), 8*(dim + state_dim),
 * 56 of books; 8*(dim + square_dim) more for a victim with steps. */
#include "cache_cuda.h"

/* ---- rows and refresh */

/* A thread per float. */
static __global__ void copy_rows(cache_view v, const uint32_t *slots, const float *values, const float *states,
                                 size_t count)
{
  size_t width = v.dim + (states ? v.state_dim : 0);
  for (size_t at = first_item(); at < count * width; at += item_step()) {
    size_t i = at / width, column = at % width;
    if (slots[i] != HOTROW_SLOT_NONE)
      v.rows[slots[i] * v.row_stride + column] =
          column < v.dim ? values[i * v.dim + column] : states[i * v.state_dim + column - v.dim];
  }
}

void hr_cuda_cache_copy_rows(hotrow_cache *cache, const uint32_t *slots, const float *values, const float *states,
                             size_t count)
{
  size_t floats = count * (cache->layout.dim + cache->layout.state_dim);
  if (count == 0)
    return;
  LAUNCH_EACH(cache, copy_rows, floats)(hr_cuda_cache_view(cache), slots, values, states, count);
  hr_cuda_check_launch("copy_rows");
}

/* out_rows: slots with pending steps, whose sums are in out_sums; NONE where there are none. */
static __global__ void refresh_meta(cache_view v, const uint32_t *slots, const uint32_t *clocks, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step()) {
    v.scratch.out_rows[i] = HOTROW_SLOT_NONE;
    v.scratch.steps[i] = 1;
    if (slots[i] == HOTROW_SLOT_NONE)
      continue;
    hr_row_meta *row = v.sets.meta + slots[i];
    row->seen = clocks[i];
    row->announced = clocks[i];
    row->is_stale = 0;
    if (row->pending == 0)
      continue;
    v.scratch.out_rows[i] = slots[i];
    v.scratch.out_sums[i] = v.pending.sum_of_slot[slots[i]];
    v.scratch.steps[i] = row->pending;
  }
}

static __global__ void read_sums(cache_view v, size_t count)
{
  size_t stride = v.dim + v.square_dim;
  for (size_t at = first_item(); at < count * stride; at += item_step()) {
    size_t i = at / stride, column = at % stride;
    if (v.scratch.out_rows[i] == HOTROW_SLOT_NONE)
      continue;
    float part = v.pending.sums[v.scratch.out_sums[i] * stride + column];
    if (column < v.dim)
      v.scratch.grads[i * v.dim + column] = part;
    else
      v.scratch.squares[i * v.square_dim + column - v.dim] = part;
  }
}

void hr_cuda_cache_refresh_slice(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks,
                                 const float *values, const float *states, size_t count)
{
  const hr_device_scratch *s = &cache->shared->device.scratch;
  size_t floats = count * (cache->layout.dim + cache->layout.square_dim);
  hr_cuda_cache_copy_rows(cache, slots, values, states, count);
  LAUNCH_EACH(cache, refresh_meta, count)(hr_cuda_cache_view(cache), slots, clocks, count);
  hr_cuda_check_launch("refresh_meta");
  if (cache->shared->pending.capacity == 0)
    return;
  LAUNCH_EACH(cache, read_sums, floats)(hr_cuda_cache_view(cache), count);
  hr_cuda_check_launch("read_sums");
  cache->kernels->optimizer_apply(&cache->layout, cache->lr_scale, cache->shared->rows, cache->shared->row_stride,
                                  s->out_rows, s->grads, cache->layout.square_dim > 0 ? s->squares : NULL, s->steps,
                                  count, cache->stream);
}

static __global__ void count_doubtful(cache_view v, const uint32_t *slots, size_t count)
{
  uint64_t doubtful = 0;
  for (size_t i = first_item(); i < count; i += item_step())
    doubtful += hr_rules_row_state(&v.rules, v.sets.meta + slots[i]) == HOTROW_ROW_DOUBTFUL;
  add_count(&v.books->doubtful_count, doubtful);
}

/* Hits until now; stale ones were not. */
static __global__ void count_refreshed(cache_view v)
{
  hotrow_cache_stats *stats = &v.own->stats;
  uint64_t doubtful = v.books->doubtful_count, stale = doubtful < stats->hits ? doubtful : stats->hits;
  stats->hits -= stale;
  stats->stale += stale;
  v.books->doubtful_count = 0;
}

void hr_cuda_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                           const float *states, size_t row_count)
{
  if (row_count == 0)
    return;
  LAUNCH_EACH(cache, count_doubtful, row_count)(hr_cuda_cache_view(cache), slots, row_count);
  for (size_t first = 0, count; first < row_count; first += count) {
    count = slice_rows(cache, row_count - first);
    hr_cuda_cache_refresh_slice(cache, slots + first, clocks + first, values + first * cache->layout.dim,
                                hr_state_at(cache, states, first), count);
  }
  LAUNCH_ONE(cache, count_refreshed)(hr_cuda_cache_view(cache));
  hr_cuda_check_launch("count_refreshed");
}

/* ---- places */

static __global__ void pin_held(cache_view v, const uint64_t *hashes, const uint32_t *next_use, const uint32_t *slots,
                                size_t count)
{
  bool is_falling = false;
  for (size_t i = first_item(); i < count; i += item_step()) {
    is_falling = is_falling || (i > 0 && hashes[i] < hashes[i - 1]);
    if (slots[i] != HOTROW_SLOT_NONE)
      pin_row(&v, slots[i], hr_rules_pin_until(&v.rules, v.sets.meta + slots[i], next_use ? next_use + i : NULL));
  }
  if (is_falling)
    atomicOr(&v.books->is_serial, 1u);
}

static __global__ void count_demand(cache_view v, const uint64_t *hashes, const uint32_t *slots, size_t count)
{
  uint64_t missing = 0;
  for (size_t i = first_item(); i < count; i += item_step())
    if (slots[i] == HOTROW_SLOT_NONE) {
      atomicAdd(v.scratch.demand + hr_cache_sets_of(&v.sets, hashes[i]), 1u);
      missing++;
    }
  add_count(&v.books->missing_count, missing);
}

/* How many find neither a free way nor a row that no batch needs. The first key of a set takes its demand. */
static __global__ void count_uncached(cache_view v, const uint64_t *hashes, size_t count)
{
  uint64_t uncached = 0;
  for (size_t i = first_item(); i < count; i += item_step()) {
    uint32_t set = hr_cache_sets_of(&v.sets, hashes[i]), demand = atomicExch(v.scratch.demand + set, 0u);
    uint32_t room = demand > 0 ? hr_rules_room(&v.rules, &v.sets, set) : 0;
    uncached += demand > room ? demand - room : 0;
  }
  add_count(&v.books->uncached_count, uncached);
}

static __global__ void start_insert(cache_view v)
{
  v.books->is_serial = 0;
  v.books->bypass_left = UINT64_MAX;
  v.books->missing_count = 0;
  v.books->uncached_count = 0;
}

static __global__ void limit_bypass(cache_view v, uint64_t bypass_left)
{
  v.books->bypass_left = bypass_left;
  v.books->is_serial = 1;
}

/* The new rows of an insert. */
typedef struct new_rows {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *clocks;
  const uint32_t *next_use;
  uint32_t *slots;
  size_t count;
} new_rows;

/* What one thread has decided, for the counts of its table. */
typedef struct place_counts {
  uint32_t free_ways, staged, bypassed, clean, dirty;
} place_counts;

/* The row of another table leaves. */
static __device__ void count_foreign(hr_table_books *books, bool is_dirty)
{
  add_count(is_dirty ? &books->stats.evicted_dirty : &books->stats.evicted_clean, 1);
  atomicSub(&books->held_count, 1u);
}

/* Flags of key i: kinds its place, ranks_a a victim with steps, ranks_c staged, steps the uses it begins with. */
static __device__ void place_key(const cache_view *v, const new_rows *rows, size_t i, uint64_t *bypass_left,
                                 place_counts *counts)
{
  const hr_device_scratch *s = &v->scratch;
  s->kinds[i] = HR_PLACE_HELD;
  s->ranks_a[i] = 0;
  s->ranks_c[i] = 0;
  if (rows->slots[i] != HOTROW_SLOT_NONE)
    return;
  uint32_t next_use = hr_rules_next_use(&v->rules, rows->next_use ? rows->next_use + i : NULL);
  hr_place place =
      hr_rules_place(&v->rules, &v->sets, &v->sketch, v->books->age, rows->hashes[i], next_use, bypass_left);
  bool is_victim = place.kind == HR_PLACE_VICTIM, is_dirty = is_victim && v->sets.meta[place.slot].pending > 0;
  rows->slots[i] = place.slot;
  s->kinds[i] = place.kind;
  s->steps[i] = place.uses;
  s->ranks_a[i] = is_dirty;
  s->ranks_c[i] = place.slot == HOTROW_SLOT_NONE;
  counts->free_ways += place.kind == HR_PLACE_FREE;
  counts->staged += place.kind == HR_PLACE_STAGED;
  counts->bypassed += place.kind == HR_PLACE_BYPASSED;
  if (is_victim && v->sets.tables[place.slot] != v->table) {
    count_foreign(v->tables + v->sets.tables[place.slot], is_dirty);
    counts->free_ways++; /* to this table */
  } else {
    counts->clean += is_victim && !is_dirty;
    counts->dirty += is_dirty;
  }
}

static __device__ void add_places(hr_table_books *books, const place_counts *counts)
{
  if (counts->free_ways > 0)
    atomicAdd(&books->held_count, counts->free_ways);
  add_count(&books->stats.uncached, counts->staged);
  add_count(&books->stats.bypassed, counts->bypassed);
  add_count(&books->stats.evicted_clean, counts->clean);
  add_count(&books->stats.evicted_dirty, counts->dirty);
}

static __global__ void place_keys(cache_view v, new_rows rows)
{
  place_counts counts = {0, 0, 0, 0, 0};
  if (v.books->is_serial) {
    if (first_item() != 0)
      return;
    for (size_t i = 0; i < rows.count; i++)
      place_key(&v, &rows, i, &v.books->bypass_left, &counts);
    add_places(v.own, &counts);
    return;
  }
  uint64_t bypass_left = UINT64_MAX;
  for (size_t i = first_item(); i < rows.count; i += item_step()) {
    uint32_t set = hr_cache_sets_of(&v.sets, rows.hashes[i]);
    if (i > 0 && hr_cache_sets_of(&v.sets, rows.hashes[i - 1]) == set)
      continue;
    for (size_t k = i; k < rows.count && hr_cache_sets_of(&v.sets, rows.hashes[k]) == set; k++)
      place_key(&v, &rows, k, &bypass_left, &counts);
  }
  add_places(v.own, &counts);
}

/* Victims' entries, and staging slots. scratch.slots: those of new rows, NONE for those held. */
static __global__ void list_places(cache_view v, new_rows rows)
{
  for (size_t i = first_item(); i < rows.count; i += item_step()) {
    uint32_t kind = v.scratch.kinds[i], slot = rows.slots[i];
    if (slot == HOTROW_SLOT_NONE)
      rows.slots[i] = slot = v.staging_first + v.books->staging_used + v.scratch.ranks_c[i];
    v.scratch.slots[i] = kind == HR_PLACE_HELD ? HOTROW_SLOT_NONE : slot;
    if (v.scratch.ranks_a[i + 1] == v.scratch.ranks_a[i])
      continue;
    uint32_t rank = v.scratch.ranks_a[i], sum = v.pending.sum_of_slot[slot];
    size_t entry = (size_t)v.books->push_count + rank;
    v.pushes.keys[entry] = v.sets.keys[slot];
    v.pushes.hashes[entry] = v.sets.hashes[slot];
    v.pushes.steps[entry] = v.sets.meta[slot].pending;
    v.pushes.tables[entry] = v.sets.tables[slot];
    v.pushes.is_exact[entry] = 1;
    v.scratch.out_sums[rank] = sum;
    v.pending.free_list[v.books->free_count + rank] = sum;
  }
}

static __global__ void put_rows(cache_view v, new_rows rows)
{
  for (size_t i = first_item(); i < rows.count; i += item_step()) {
    uint32_t kind = v.scratch.kinds[i], slot = rows.slots[i];
    if (kind != HR_PLACE_FREE && kind != HR_PLACE_VICTIM)
      continue;
    v.sets.keys[slot] = rows.keys[i];
    v.sets.hashes[slot] = rows.hashes[i];
    v.sets.tables[slot] = v.table;
    v.sets.meta[slot] = hr_rules_new_row(v.sets.meta[slot].live_until, rows.clocks[i], v.scratch.steps[i]);
  }
}

static __global__ void count_places(cache_view v, size_t count)
{
  v.books->push_count += v.scratch.ranks_a[count];
  v.books->free_count += v.scratch.ranks_a[count];
  v.books->staging_used += v.scratch.ranks_c[count];
}

/* Rows that another answer has brought meanwhile: a copy stays while it may be read at the clock of this one. */
static __global__ void choose_replaced(cache_view v, new_rows rows)
{
  for (size_t i = first_item(); i < rows.count; i += item_step()) {
    bool is_replaced =
        v.scratch.kinds[i] == HR_PLACE_HELD && hr_rules_replaces(&v.rules, v.sets.meta + rows.slots[i], rows.clocks[i]);
    v.scratch.slots[i] = is_replaced ? rows.slots[i] : HOTROW_SLOT_NONE;
  }
}

static void insert_slice(hotrow_cache *cache, const hr_fresh_rows *fresh, uint32_t *slots, size_t count)
{
  const hr_device_scratch *s = &cache->shared->device.scratch;
  cache_view v = hr_cuda_cache_view(cache);
  new_rows rows = {fresh->keys, fresh->hashes, fresh->clocks, fresh->next_use, slots, count};
  LAUNCH_EACH(cache, place_keys, count)(v, rows);
  hr_cuda_cache_scan(cache, s->ranks_a, count);
  hr_cuda_cache_scan(cache, s->ranks_c, count);
  LAUNCH_EACH(cache, list_places, count)(v, rows);
  if (cache->shared->pending.capacity > 0)
    hr_cuda_cache_fill_entries(cache, NULL, s->ranks_a + count, count);
  LAUNCH_EACH(cache, put_rows, count)(v, rows);
  LAUNCH_ONE(cache, count_places)(v, count);
  hr_cuda_cache_copy_rows(cache, s->slots, fresh->values, fresh->states, count);
  LAUNCH_EACH(cache, choose_replaced, count)(v, rows);
  hr_cuda_check_launch("insert");
  hr_cuda_cache_refresh_slice(cache, s->slots, fresh->clocks, fresh->values, fresh->states, count);
}

/* ---- staging */

static __global__ void stage_rows(cache_view v, uint32_t *slots, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step())
    slots[i] = v.staging_first + v.books->staging_used + (uint32_t)i;
}

static __global__ void count_staged(cache_view v, size_t count)
{
  v.books->staging_used += (uint32_t)count;
  v.own->stats.uncached += count;
}

/* Whether so many rows fit into staging for certain; if not, what there is, and then the bound is exact. */
static hotrow_status find_staging(hotrow_cache *cache, size_t row_count, hr_device_books *books_p, bool *fits_p)
{
  hr_device_side *device = &cache->shared->device;
  *fits_p = row_count <= cache->shared->staging_count - device->staged_bound;
  if (*fits_p)
    return HOTROW_OK;
  HOTROW_TRY(hr_cuda_cache_read_books(cache, books_p, NULL));
  device->staged_bound = books_p->staging_used;
  *fits_p = row_count <= cache->shared->staging_count - device->staged_bound;
  return HOTROW_OK;
}

static hotrow_status stage_all(hotrow_cache *cache, const float *values, const float *states, size_t row_count,
                               uint32_t *slots)
{
  hr_device_books books;
  bool fits;
  HOTROW_TRY(find_staging(cache, row_count, &books, &fits));
  if (!fits)
    return hr_cache_fail_staging(cache, row_count, cache->shared->staging_count - cache->shared->device.staged_bound);
  cache->shared->device.staged_bound += (uint32_t)row_count;
  if (row_count == 0)
    return HOTROW_OK;
  LAUNCH_EACH(cache, stage_rows, row_count)(hr_cuda_cache_view(cache), slots, row_count);
  LAUNCH_ONE(cache, count_staged)(hr_cuda_cache_view(cache), row_count);
  hr_cuda_check_launch("stage_rows");
  hr_cuda_cache_copy_rows(cache, slots, values, states, row_count);
  return HOTROW_OK;
}

hotrow_status hr_cuda_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                                  size_t row_count, uint32_t *slots)
{
  HOTROW_TRY(stage_all(cache, values, states, row_count, slots));
  hr_cuda_cache_forget(cache, hashes, row_count);
  return HOTROW_OK;
}

/* Staging may not suffice: the device is asked how many rows want to be staged, and fewer bypasses may be left. */
static hotrow_status check_staging(hotrow_cache *cache, const hr_fresh_rows *fresh, const uint32_t *slots,
                                   size_t row_count)
{
  hr_device_books books;
  cache_view v = hr_cuda_cache_view(cache);
  size_t staging_free = cache->shared->staging_count - cache->shared->device.staged_bound;
  LAUNCH_EACH(cache, count_demand, row_count)(v, fresh->hashes, slots, row_count);
  LAUNCH_EACH(cache, count_uncached, row_count)(v, fresh->hashes, row_count);
  hr_cuda_check_launch("count_uncached");
  HOTROW_TRY(hr_cuda_cache_read_books(cache, &books, NULL));
  if (books.missing_count <= staging_free) {
    cache->shared->device.staged_bound += (uint32_t)books.missing_count;
    return HOTROW_OK;
  }
  if (books.uncached_count > staging_free)
    return hr_cache_fail_staging(cache, books.uncached_count, staging_free);
  cache->shared->device.staged_bound = cache->shared->staging_count;
  LAUNCH_ONE(cache, limit_bypass)(v, staging_free - books.uncached_count);
  hr_cuda_check_launch("limit_bypass");
  return HOTROW_OK;
}

hotrow_status hr_cuda_cache_insert(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t row_count, uint32_t *slots)
{
  if (cache->shared->sets.set_count == 0)
    return stage_all(cache, fresh->values, fresh->states, row_count, slots);
  if (row_count == 0)
    return HOTROW_OK;
  /* Rows that are here already are pinned before the first victim is chosen. */
  hr_device_books books;
  bool fits;
  cache_view v = hr_cuda_cache_view(cache);
  hr_cuda_cache_probe(cache, fresh->keys, fresh->hashes, row_count, slots);
  LAUNCH_ONE(cache, start_insert)(v);
  LAUNCH_EACH(cache, pin_held, row_count)(v, fresh->hashes, fresh->next_use, slots, row_count);
  hr_cuda_check_launch("pin_held");
  HOTROW_TRY(find_staging(cache, row_count, &books, &fits));
  if (fits)
    cache->shared->device.staged_bound += (uint32_t)row_count;
  else
    HOTROW_TRY(check_staging(cache, fresh, slots, row_count));
  if (cache->shared->pending.capacity > 0)
    hr_cuda_cache_count_listed(cache, row_count);
  for (size_t first = 0, count; first < row_count; first += count) {
    count = slice_rows(cache, row_count - first);
    hr_fresh_rows part = hr_fresh_rows_from(cache, fresh, first);
    insert_slice(cache, &part, slots + first, count);
  }
  return HOTROW_OK;
}
