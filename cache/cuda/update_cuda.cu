/* Own steps: applied to held rows at once, then kept or handed out.
 * Grid: one thread per key; sums and entries are moved by a thread per float. Bytes per key, beside what the kernel
 * table's optimizer_apply, pending_add, pack and unpack move: 16 read and 8 written of metadata, 8 of the sum's index,
 * 60 of flags and ranks; per row handed out 8*(dim + square_dim) and 37 of books. */
#include "cache_cuda.h"

/* What becomes of a key's step. */
enum { STEP_KEPT, STEP_ALONE, STEP_WHOLE, STEP_ROUNDED };

static __device__ uint32_t find_key(const cache_view *v, uint64_t key, uint64_t hash)
{
  uint32_t set = hr_cache_sets_of(&v->sets, hash), occupied = v->sets.occupied[set];
  const uint64_t *keys = v->sets.keys + (size_t)set * HOTROW_CACHE_WAYS;
  const uint64_t *hashes = v->sets.hashes + (size_t)set * HOTROW_CACHE_WAYS;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    if ((occupied >> way & 1u) && keys[way] == key && hashes[way] == hash)
      return set * HOTROW_CACHE_WAYS + way;
  return HOTROW_SLOT_NONE;
}

/* Slots that the caller knows from this batch are taken without a look at the keys, as on the CPU. */
static __global__ void find_unknown(cache_view v, key_slice slice, const uint32_t *known)
{
  size_t end = key_count(&slice);
  for (size_t i = first_item(); i < slice.count; i += item_step()) {
    uint32_t slot = HOTROW_SLOT_NONE;
    if (i < end && known[i] / HOTROW_CACHE_WAYS == hr_cache_sets_of(&v.sets, slice.hashes[i]))
      slot = known[i];
    else if (i < end)
      slot = find_key(&v, slice.keys[i], slice.hashes[i]);
    v.scratch.slots[i] = slot;
  }
}

static __global__ void end_slots(cache_view v, key_slice slice)
{
  for (size_t i = key_count(&slice) + first_item(); i < slice.count; i += item_step())
    v.scratch.slots[i] = HOTROW_SLOT_NONE;
}

/* The slots of a slice, NONE where a row is not held and behind the last key. */
static void find_slots(hotrow_cache *cache, const key_slice *slice, const uint32_t *known)
{
  cache_view v = hr_cuda_cache_view(cache);
  if (known && !cache->shared->has_forgotten && cache->shared->sets.set_count > 0) {
    LAUNCH_EACH(cache, find_unknown, slice->count)(v, *slice, known + slice->first);
  } else {
    hr_cuda_cache_probe(cache, slice->keys, slice->hashes, slice->count, v.scratch.slots);
    if (slice->count_p)
      LAUNCH_EACH(cache, end_slots, slice->count)(v, *slice);
  }
  hr_cuda_check_launch("find_slots");
}

/* Steps that leave as they came: their squares, where a step counts more than once. Rows without any are NONE. */
static __global__ void choose_squared(cache_view v, const uint32_t *ticks, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step()) {
    bool is_squared = v.scratch.kinds[i] == STEP_ALONE && ticks[i] > 1;
    v.scratch.sums[i] = is_squared ? (uint32_t)i : HOTROW_SLOT_NONE;
    v.scratch.flags[i] = 1;
  }
}

static void add_one_sums(hotrow_cache *cache, const float *grads, const uint32_t *ticks, size_t count)
{
  const hr_device_scratch *s = &cache->shared->device.scratch;
  if (!ticks || cache->layout.square_dim == 0)
    return;
  LAUNCH_EACH(cache, choose_squared, count)(hr_cuda_cache_view(cache), ticks, count);
  hr_cuda_check_launch("choose_squared");
  cache->kernels->pending_add(&cache->layout, s->one_sums, cache->layout.dim + cache->layout.square_dim, s->sums,
                              s->flags, grads, count, cache->stream);
}

/* ---- push bound 0: every step leaves at once */

static __global__ void list_exact(cache_view v, key_slice slice, const uint32_t *ticks)
{
  size_t end = key_count(&slice);
  for (size_t i = first_item(); i < slice.count; i += item_step()) {
    v.scratch.kinds[i] = i < end ? STEP_ALONE : STEP_KEPT;
    if (i >= end)
      continue;
    uint32_t slot = v.scratch.slots[i], tick = ticks ? ticks[i] : 1;
    size_t entry = v.books->push_count + i;
    if (slot != HOTROW_SLOT_NONE)
      hr_rules_count_exact(&v.rules, v.sets.meta + slot, tick);
    v.pushes.keys[entry] = slice.keys[i];
    v.pushes.hashes[entry] = slice.hashes[i];
    v.pushes.steps[entry] = tick;
    v.pushes.tables[entry] = v.table;
    v.pushes.is_exact[entry] = 1;
    v.scratch.out_sums[i] = HOTROW_SLOT_NONE;
    v.scratch.out_rows[i] = (uint32_t)i;
  }
  if (first_item() == 0)
    v.scratch.ranks_b[slice.count] = (uint32_t)end;
}

static __global__ void count_exact(cache_view v, size_t count)
{
  v.books->push_count += v.scratch.ranks_b[count];
}

static void update_exact(hotrow_cache *cache, const key_slice *slice, const float *grads, const uint32_t *ticks)
{
  size_t count = slice->count;
  cache_view v = hr_cuda_cache_view(cache);
  LAUNCH_EACH(cache, list_exact, count)(v, *slice, ticks);
  add_one_sums(cache, grads, ticks, count);
  hr_cuda_cache_fill_entries(cache, grads, v.scratch.ranks_b + count, count);
  LAUNCH_ONE(cache, count_exact)(v, count);
  hr_cuda_check_launch("list_exact");
}

/* ---- push bound > 0: the step joins the row's sum, and the sum leaves when the bound says so */

/* Sums that leave an update are free for the next one. */
static __global__ void start_update(cache_view v)
{
  v.books->budget = v.pending.capacity - (v.books->touched_count - v.books->free_count);
}

static __global__ void flag_clean(cache_view v, size_t count)
{
  for (size_t i = first_item(); i < count; i += item_step())
    v.scratch.ranks_a[i] = v.scratch.slots[i] != HOTROW_SLOT_NONE && v.sets.meta[v.scratch.slots[i]].pending == 0;
}

/* The sum of a held row: its own, or one of the pool's for the clean row of this rank; NONE where none is left. */
static __device__ uint32_t acquire_sum(const cache_view *v, uint32_t slot, uint32_t pending, uint32_t rank)
{
  const hr_device_books *books = v->books;
  if (pending > 0)
    return v->pending.sum_of_slot[slot];
  if (rank >= books->budget)
    return HOTROW_SLOT_NONE;
  uint32_t sum = rank < books->free_count ? v->pending.free_list[books->free_count - 1 - rank]
                                          : books->touched_count + (rank - books->free_count);
  v->pending.sum_of_slot[slot] = sum;
  return sum;
}

/* What becomes of the step of a held row that has a sum. */
static __device__ uint32_t step_row(const cache_view *v, hr_row_meta *row, uint32_t steps, uint32_t *pending_max_p)
{
  if (hr_clock_may_keep(steps, v->rules.push_bound)) {
    row->pending = steps & 0xffffffu;
    *pending_max_p = steps > *pending_max_p ? steps : *pending_max_p;
    return STEP_KEPT;
  }
  bool is_rounded = hr_rules_leaves_rounded(&v->rules, steps);
  hr_rules_count_sent(&v->rules, row, is_rounded ? steps - 1 : steps);
  row->pending = is_rounded ? 1 : 0;
  return is_rounded ? STEP_ROUNDED : STEP_WHOLE;
}

/* Of key i: its sum for pending_add (NONE: none), what becomes of the step, and the flags of three lists: entries
 * (ranks_b), sums given back (ranks_c), entries to be rounded (ranks_a, whose rank is used up here). */
static __global__ void acquire_sums(cache_view v, key_slice slice, const uint32_t *ticks)
{
  const hr_device_scratch *s = &v.scratch;
  size_t end = key_count(&slice);
  uint32_t pending_max = 0;
  for (size_t i = first_item(); i < slice.count; i += item_step()) {
    uint32_t slot = s->slots[i], kind = i < end ? STEP_ALONE : STEP_KEPT, tick = i < end && ticks ? ticks[i] : 1;
    s->sums[i] = HOTROW_SLOT_NONE;
    s->steps[i] = tick;
    s->flags[i] = 1;
    if (slot != HOTROW_SLOT_NONE) {
      hr_row_meta *row = v.sets.meta + slot;
      uint32_t pending = row->pending;
      s->flags[i] = pending == 0;
      s->sums[i] = acquire_sum(&v, slot, pending, s->ranks_a[i]);
      s->steps[i] = pending + tick;
      if (s->sums[i] == HOTROW_SLOT_NONE)
        hr_rules_count_sent(&v.rules, row, tick);
      else
        kind = step_row(&v, row, pending + tick, &pending_max);
    }
    s->kinds[i] = (uint8_t)kind;
    s->own_sums[i] = s->sums[i];
    s->ranks_a[i] = kind == STEP_ROUNDED;
    s->ranks_b[i] = kind != STEP_KEPT;
    s->ranks_c[i] = kind == STEP_WHOLE;
  }
  if (pending_max > 0)
    atomicMax((unsigned long long *)&v.own->stats.pending_max, (unsigned long long)pending_max);
}

static __global__ void count_acquired(cache_view v, size_t count)
{
  hr_device_books *books = v.books;
  uint32_t wanted = v.scratch.ranks_a[count], taken = wanted < books->budget ? wanted : books->budget;
  uint32_t reused = taken < books->free_count ? taken : books->free_count;
  books->budget -= taken;
  books->free_count -= reused;
  books->touched_count += taken - reused;
}

static __global__ void list_steps(cache_view v, key_slice slice)
{
  const hr_device_scratch *s = &v.scratch;
  for (size_t i = first_item(), end = key_count(&slice); i < end; i += item_step()) {
    uint32_t kind = s->kinds[i], rank = s->ranks_b[i];
    if (kind == STEP_KEPT)
      continue;
    size_t entry = (size_t)v.books->push_count + rank;
    v.pushes.keys[entry] = slice.keys[i];
    v.pushes.hashes[entry] = slice.hashes[i];
    v.pushes.steps[entry] = kind == STEP_ROUNDED ? s->steps[i] - 1 : s->steps[i];
    v.pushes.tables[entry] = v.table;
    v.pushes.is_exact[entry] = kind != STEP_ROUNDED;
    s->out_sums[rank] = kind == STEP_ALONE ? HOTROW_SLOT_NONE : s->own_sums[i];
    s->out_rows[rank] = (uint32_t)i;
    if (kind == STEP_WHOLE)
      v.pending.free_list[v.books->free_count + s->ranks_c[i]] = s->own_sums[i];
    if (kind == STEP_ROUNDED) {
      s->rounded_entries[s->ranks_a[i]] = (uint32_t)entry;
      s->rounded_sums[s->ranks_a[i]] = s->own_sums[i];
    }
  }
}

static __global__ void count_listed(cache_view v, size_t count)
{
  v.books->push_count += v.scratch.ranks_b[count];
  v.books->free_count += v.scratch.ranks_c[count];
}

/* A thread per float of the sums of which a rounded entry has gone. */
static __global__ void keep_residuals(cache_view v, const uint32_t *rounded_count)
{
  size_t stride = v.dim + v.square_dim, end = *rounded_count * stride;
  for (size_t at = first_item(); at < end; at += item_step()) {
    size_t r = at / stride, column = at % stride;
    float *part = v.pending.sums + v.scratch.rounded_sums[r] * stride + column;
    if (column >= v.dim) {
      *part = 0.0f;
      continue;
    }
    float sent = v.scratch.grads[r * v.dim + column];
    *part = __fsub_rn(*part, sent);
    v.pushes.grads[(size_t)v.scratch.rounded_entries[r] * v.dim + column] = sent;
  }
}

/* Entries that hold all of their rows' sums become what the wire's dtype can say of them; the rest stays. How many
 * there are is known to the device alone, so `count` are packed: those behind the last one are the first of the list.
 */
static void round_entries(hotrow_cache *cache, size_t count)
{
  const hr_device_scratch *s = &cache->shared->device.scratch;
  const hotrow_kernels *k = cache->kernels;
  uint32_t dim = cache->layout.dim;
  size_t floats = count * (dim + cache->layout.square_dim);
  k->pack(cache->rules.wire_dtype, cache->shared->pushes.grads, dim, dim, s->rounded_entries, count, cache->stream,
          s->packed, s->scales);
  k->unpack(cache->rules.wire_dtype, s->packed, s->scales, dim, count, cache->stream, s->grads, dim);
  LAUNCH_EACH(cache, keep_residuals, floats)(hr_cuda_cache_view(cache), s->ranks_a + count);
  hr_cuda_check_launch("keep_residuals");
}

static void update_pending(hotrow_cache *cache, const key_slice *slice, const float *grads, const uint32_t *ticks)
{
  const hr_device_scratch *s = &cache->shared->device.scratch;
  const hr_pending_pool *pool = &cache->shared->pending;
  size_t count = slice->count;
  cache_view v = hr_cuda_cache_view(cache);
  LAUNCH_EACH(cache, flag_clean, count)(v, count);
  hr_cuda_cache_scan(cache, s->ranks_a, count);
  LAUNCH_EACH(cache, acquire_sums, count)(v, *slice, ticks);
  LAUNCH_ONE(cache, count_acquired)(v, count);
  cache->kernels->pending_add(&cache->layout, pool->sums, pool->stride, s->sums, s->flags, grads, count, cache->stream);
  add_one_sums(cache, grads, ticks, count);
  hr_cuda_cache_scan(cache, s->ranks_b, count);
  hr_cuda_cache_scan(cache, s->ranks_c, count);
  bool is_rounding = cache->rules.wire_dtype != HOTROW_F32;
  if (is_rounding) {
    hr_cuda_cache_scan(cache, s->ranks_a, count);
    cache->kernels->fill(s->rounded_entries, 0, count * sizeof *s->rounded_entries, cache->stream);
  }
  LAUNCH_EACH(cache, list_steps, count)(v, *slice);
  hr_cuda_cache_fill_entries(cache, grads, s->ranks_b + count, count);
  if (is_rounding)
    round_entries(cache, count);
  LAUNCH_ONE(cache, count_listed)(v, count);
  hr_cuda_check_launch("update_pending");
}

/* ---- refusals, and the call */

static __global__ void count_new(cache_view v, key_slice slice, const uint32_t *ticks)
{
  uint64_t new_count = 0;
  for (size_t i = first_item(), end = key_count(&slice); i < end; i += item_step()) {
    uint32_t slot = v.scratch.slots[i], pending = slot == HOTROW_SLOT_NONE ? 0 : v.sets.meta[slot].pending;
    new_count += hr_rules_count_new(&v.rules, slot != HOTROW_SLOT_NONE, pending, ticks ? ticks[i] : 1);
  }
  add_count(&v.books->new_count, new_count);
}

static __global__ void clear_new_count(cache_view v)
{
  v.books->new_count = 0;
}

static key_slice slice_of(const hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t total,
                          const uint32_t *count_p, size_t first)
{
  key_slice slice = {keys + first, hashes + first, slice_rows(cache, total - first), count_p, first};
  return slice;
}

/* The bound that the last take has left, as soon as the device has got there, which it nearly always has. */
static hotrow_status tighten_bound(hotrow_cache *cache)
{
  hr_device_side *device = &cache->shared->device;
  if (device->take_count == 0)
    return HOTROW_OK;
  HOTROW_TRY(cache->kernels->event_wait(device->taken_event));
  uint64_t bound = device->taken[(device->take_count - 1) % 2].pending + device->placed_since;
  if (bound < device->placed_bound) /* else it was asked for since */
    device->placed_bound = bound;
  return HOTROW_OK;
}

static void count_placed(hotrow_cache *cache, uint64_t more, size_t listed)
{
  cache->shared->device.placed_bound += more;
  cache->shared->device.placed_since += more;
  hr_cuda_cache_count_listed(cache, listed);
}

/* Room for the entries and pending rows that these steps can add at most, or, where the host does not know of any, for
 * those that they do add. */
static hotrow_status check_room(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                const uint32_t *known, const uint32_t *ticks, size_t total, const uint32_t *count_p)
{
  hr_device_side *device = &cache->shared->device;
  bool is_rounding = cache->rules.wire_dtype != HOTROW_F32 && cache->rules.push_bound > 0;
  uint64_t most = (uint64_t)total * (is_rounding ? 2 : 1);
  if (most > cache->shared->pushes.capacity - device->placed_bound)
    HOTROW_TRY(tighten_bound(cache));
  if (most <= cache->shared->pushes.capacity - device->placed_bound) {
    count_placed(cache, most, total);
    return HOTROW_OK;
  }
  hr_device_books books;
  LAUNCH_ONE(cache, clear_new_count)(hr_cuda_cache_view(cache));
  for (size_t first = 0; first < total; first += slice_rows(cache, total - first)) {
    key_slice slice = slice_of(cache, keys, hashes, total, count_p, first);
    find_slots(cache, &slice, known);
    LAUNCH_EACH(cache, count_new, slice.count)(hr_cuda_cache_view(cache), slice, ticks ? ticks + first : NULL);
  }
  HOTROW_TRY(hr_cuda_cache_read_books(cache, &books, NULL));
  device->placed_bound = (uint64_t)books.push_count + (books.touched_count - books.free_count);
  size_t room = cache->shared->pushes.capacity - device->placed_bound;
  if (books.new_count > room)
    return hr_cache_fail_pushes(cache, total, room);
  count_placed(cache, books.new_count, total);
  return HOTROW_OK;
}

hotrow_status hr_cuda_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                   const uint32_t *slots, const float *grads, const uint32_t *ticks, size_t total,
                                   const uint32_t *count_p)
{
  HOTROW_TRY(check_room(cache, keys, hashes, slots, ticks, total, count_p));
  bool is_kept = cache->rules.push_bound > 0 && cache->shared->sets.set_count > 0;
  if (is_kept && total > 0)
    LAUNCH_ONE(cache, start_update)(hr_cuda_cache_view(cache));
  for (size_t first = 0; first < total; first += slice_rows(cache, total - first)) {
    key_slice slice = slice_of(cache, keys, hashes, total, count_p, first);
    const float *slice_grads = grads + first * cache->layout.dim;
    const uint32_t *slice_ticks = ticks ? ticks + first : NULL;
    find_slots(cache, &slice, slots);
    if (cache->shared->sets.set_count > 0)
      cache->kernels->optimizer_apply(&cache->layout, cache->lr_scale, cache->shared->rows, cache->shared->row_stride,
                                      cache->shared->device.scratch.slots, slice_grads, NULL, NULL, slice.count,
                                      cache->stream);
    if (is_kept)
      update_pending(cache, &slice, slice_grads, slice_ticks);
    else
      update_exact(cache, &slice, slice_grads, slice_ticks);
  }
  return HOTROW_OK;
}
