/* News from the shards, and rows that hand out their steps: announcements, credit, stale and forgotten rows, flush.
 * Grid: one thread per key or per slot of a range of sets; what is handed out is moved by a thread per float. Bytes per
 * slot looked at: 2/16 (occupied), 8 (hash) or 4 (pending); per row handed out 8*(dim + square_dim) and 37 of books. */
#include "cache_cuda.h"

/* Which slots a pass over a range of sets chooses. */
typedef struct slot_range {
  uint64_t hash_first, hash_last;
  size_t slot_first;
  size_t count;
  bool is_dirty; /* only those with pending steps */
} slot_range;

static __device__ inline bool is_chosen(const cache_view *v, const slot_range *range, uint32_t slot)
{
  if (!(v->sets.occupied[slot / HOTROW_CACHE_WAYS] >> slot % HOTROW_CACHE_WAYS & 1u) ||
      v->sets.tables[slot] != v->table)
    return false;
  if (range->is_dirty && v->sets.meta[slot].pending == 0)
    return false;
  return v->sets.hashes[slot] >= range->hash_first && v->sets.hashes[slot] <= range->hash_last;
}

static __global__ void mark_range_stale(cache_view v, slot_range range)
{
  for (size_t i = first_item(); i < range.count; i += item_step()) {
    uint32_t slot = (uint32_t)(range.slot_first + i);
    if (is_chosen(&v, &range, slot))
      v.sets.meta[slot].is_stale = 1;
  }
}

static __global__ void choose_slots(cache_view v, slot_range range)
{
  for (size_t i = first_item(); i < range.count; i += item_step()) {
    uint32_t slot = (uint32_t)(range.slot_first + i);
    bool is_it = is_chosen(&v, &range, slot);
    v.scratch.slots[i] = is_it ? slot : HOTROW_SLOT_NONE;
    v.scratch.ranks_a[i] = is_it && v.sets.meta[slot].pending > 0;
  }
}

/* A hash is unique to its key, in its table. */
static __global__ void choose_hashes(cache_view v, const uint64_t *hashes, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step()) {
    size_t first = (size_t)hr_cache_sets_of(&v.sets, hashes[i]) * HOTROW_CACHE_WAYS;
    uint32_t occupied = v.sets.occupied[first / HOTROW_CACHE_WAYS], slot = HOTROW_SLOT_NONE;
    for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
      if ((occupied >> way & 1u) && v.sets.tables[first + way] == v.table && v.sets.hashes[first + way] == hashes[i])
        slot = (uint32_t)first + way;
    v.scratch.slots[i] = slot;
    v.scratch.ranks_a[i] = slot != HOTROW_SLOT_NONE && v.sets.meta[slot].pending > 0;
  }
}

/* Rows with steps get their entries; their sums are given back. */
static __global__ void list_rows(cache_view v, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step()) {
    uint32_t slot = v.scratch.slots[i], rank = v.scratch.ranks_a[i];
    if (slot == HOTROW_SLOT_NONE || v.sets.meta[slot].pending == 0)
      continue;
    hr_row_meta *row = v.sets.meta + slot;
    size_t entry = (size_t)v.books->push_count + rank;
    v.pushes.keys[entry] = v.sets.keys[slot];
    v.pushes.hashes[entry] = v.sets.hashes[slot];
    v.pushes.steps[entry] = row->pending;
    v.pushes.tables[entry] = v.table;
    v.pushes.is_exact[entry] = 1;
    v.scratch.out_sums[rank] = v.pending.sum_of_slot[slot];
    v.pending.free_list[v.books->free_count + rank] = v.pending.sum_of_slot[slot];
    hr_rules_count_sent(&v.rules, row, row->pending);
    row->pending = 0;
  }
}

/* A thread per float of the entries. */
static __global__ void move_to_entries(cache_view v, const float *grads, const uint32_t *count_p)
{
  size_t stride = v.dim + v.square_dim, end = *count_p * stride;
  for (size_t at = first_item(); at < end; at += item_step()) {
    size_t r = at / stride, column = at % stride, entry = v.books->push_count + r;
    uint32_t sum = v.scratch.out_sums[r];
    bool is_one = sum == HOTROW_SLOT_NONE;
    if (column < v.dim)
      v.pushes.grads[entry * v.dim + column] =
          is_one ? grads[(size_t)v.scratch.out_rows[r] * v.dim + column] : v.pending.sums[sum * stride + column];
    else if (v.pushes.steps[entry] == 1)
      v.pushes.squares[entry * v.square_dim + column - v.dim] = 0.0f;
    else
      v.pushes.squares[entry * v.square_dim + column - v.dim] =
          is_one ? v.scratch.one_sums[v.scratch.out_rows[r] * stride + column] : v.pending.sums[sum * stride + column];
  }
}

void hr_cuda_cache_fill_entries(hotrow_cache *cache, const float *grads, const uint32_t *count, size_t count_max)
{
  size_t floats = count_max * (cache->layout.dim + cache->layout.square_dim);
  LAUNCH_EACH(cache, move_to_entries, floats)(hr_cuda_cache_view(cache), grads, count);
  hr_cuda_check_launch("move_to_entries");
}

static __global__ void count_handed_out(cache_view v, size_t count)
{
  v.books->push_count += v.scratch.ranks_a[count];
  v.books->free_count += v.scratch.ranks_a[count];
}

void hr_cuda_cache_hand_out(hotrow_cache *cache, size_t count)
{
  uint32_t *ranks = cache->shared->device.scratch.ranks_a;
  hr_cuda_cache_scan(cache, ranks, count);
  LAUNCH_EACH(cache, list_rows, count)(hr_cuda_cache_view(cache), count);
  hr_cuda_cache_fill_entries(cache, NULL, ranks + count, count);
  LAUNCH_ONE(cache, count_handed_out)(hr_cuda_cache_view(cache), count);
  hr_cuda_check_launch("list_rows");
}

/* Two sets share the word that the atomic works on. */
static __global__ void release_ways(cache_view v, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step()) {
    uint32_t slot = v.scratch.slots[i];
    if (slot == HOTROW_SLOT_NONE)
      continue;
    uint32_t set = slot / HOTROW_CACHE_WAYS, bit = slot % HOTROW_CACHE_WAYS + (set & 1u) * 16u;
    atomicAnd((unsigned *)v.sets.occupied + set / 2, ~(1u << bit));
    atomicSub(&v.own->held_count, 1u);
  }
}

static slot_range range_of(const hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last, bool is_dirty)
{
  size_t set_first = hr_cache_sets_of(&cache->shared->sets, hash_first),
         set_last = hr_cache_sets_of(&cache->shared->sets, hash_last);
  slot_range range = {hash_first, hash_last, set_first * HOTROW_CACHE_WAYS,
                      (set_last - set_first + 1) * HOTROW_CACHE_WAYS, is_dirty};
  return range;
}

/* The next slice of a range; false: there is none. */
static bool next_slice(const hotrow_cache *cache, slot_range *rest, slot_range *slice)
{
  *slice = *rest;
  slice->count = slice_rows(cache, rest->count);
  rest->slot_first += slice->count;
  rest->count -= slice->count;
  return slice->count > 0;
}

void hr_cuda_cache_flush(hotrow_cache *cache)
{
  if (cache->shared->sets.set_count == 0 || cache->shared->pending.capacity == 0)
    return;
  slot_range rest = range_of(cache, 0, UINT64_MAX, true), slice;
  hr_cuda_cache_count_listed(cache, cache->shared->pending.capacity);
  while (next_slice(cache, &rest, &slice)) {
    LAUNCH_EACH(cache, choose_slots, slice.count)(hr_cuda_cache_view(cache), slice);
    hr_cuda_cache_hand_out(cache, slice.count);
  }
}

void hr_cuda_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  slot_range rest = range_of(cache, hash_first, hash_last, false), slice;
  hr_cuda_cache_count_listed(cache, cache->shared->pending.capacity);
  while (next_slice(cache, &rest, &slice)) {
    LAUNCH_EACH(cache, choose_slots, slice.count)(hr_cuda_cache_view(cache), slice);
    hr_cuda_cache_hand_out(cache, slice.count);
    LAUNCH_EACH(cache, release_ways, slice.count)(hr_cuda_cache_view(cache), slice.count);
    hr_cuda_check_launch("release_ways");
  }
}

void hr_cuda_cache_forget(hotrow_cache *cache, const uint64_t *hashes, size_t total)
{
  if (cache->shared->pending.capacity > 0)
    hr_cuda_cache_count_listed(cache, total);
  for (size_t first = 0, count; first < total && cache->shared->sets.set_count > 0; first += count) {
    count = slice_rows(cache, total - first);
    LAUNCH_EACH(cache, choose_hashes, count)(hr_cuda_cache_view(cache), hashes + first, count);
    hr_cuda_cache_hand_out(cache, count);
    LAUNCH_EACH(cache, release_ways, count)(hr_cuda_cache_view(cache), count);
    hr_cuda_check_launch("release_ways");
  }
}

void hr_cuda_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  slot_range range = range_of(cache, hash_first, hash_last, false);
  LAUNCH_EACH(cache, mark_range_stale, range.count)(hr_cuda_cache_view(cache), range);
  hr_cuda_check_launch("mark_range_stale");
}

/* Keys may repeat: the latest clock stays, whoever comes first. */
static __global__ void hear_clocks(cache_view v, const uint32_t *clocks, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step()) {
    if (v.scratch.slots[i] == HOTROW_SLOT_NONE)
      continue;
    uint32_t *announced = &v.sets.meta[v.scratch.slots[i]].announced;
    uint32_t clock = clocks[i], old = *announced;
    while (hr_clock_is_before(old, clock)) {
      uint32_t found = atomicCAS(announced, old, clock);
      if (found == old)
        break;
      old = found;
    }
  }
}

static __global__ void credit_steps(cache_view v, const uint32_t *steps, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step())
    if (v.scratch.slots[i] != HOTROW_SLOT_NONE)
      atomicAdd(&v.sets.meta[v.scratch.slots[i]].seen, steps ? steps[i] : 1u);
}

static __global__ void mark_slots_stale(cache_view v, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step())
    if (v.scratch.slots[i] != HOTROW_SLOT_NONE)
      v.sets.meta[v.scratch.slots[i]].is_stale = 1;
}

void hr_cuda_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                            size_t total)
{
  for (size_t first = 0, count; first < total; first += count) {
    count = slice_rows(cache, total - first);
    hr_cuda_cache_probe(cache, keys + first, hashes + first, count, cache->shared->device.scratch.slots);
    LAUNCH_EACH(cache, hear_clocks, count)(hr_cuda_cache_view(cache), clocks + first, count);
    hr_cuda_check_launch("hear_clocks");
  }
}

void hr_cuda_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                          size_t total)
{
  for (size_t first = 0, count; first < total; first += count) {
    count = slice_rows(cache, total - first);
    hr_cuda_cache_probe(cache, keys + first, hashes + first, count, cache->shared->device.scratch.slots);
    LAUNCH_EACH(cache, credit_steps, count)(hr_cuda_cache_view(cache), steps ? steps + first : NULL, count);
    hr_cuda_check_launch("credit_steps");
  }
}

void hr_cuda_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t total)
{
  for (size_t first = 0, count; first < total; first += count) {
    count = slice_rows(cache, total - first);
    hr_cuda_cache_probe(cache, keys + first, hashes + first, count, cache->shared->device.scratch.slots);
    LAUNCH_EACH(cache, mark_slots_stale, count)(hr_cuda_cache_view(cache), count);
    hr_cuda_check_launch("mark_slots_stale");
  }
}
