/* Own steps: applied to held rows at once, then kept or handed out; flush and take. */
#include "cache_cpu.h"

/* The chunk's slots, NONE where a row is not held. Those that the caller knows from this batch are taken without a look
 * at the keys, whose lines cost as much as a quarter of a row: they can have become others by invalidate alone. Keys
 * are probed for where the slot known is NONE, of staging or of another set. */
static void find_slots(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *known,
                       size_t count)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  hr_chunk_scratch *chunk = &cache->shared->cpu.chunk;
  size_t sought_count = 0;
  if (!known || cache->shared->has_forgotten || sets->set_count == 0) {
    hr_cache_probe(cache, keys, hashes, count, chunk->slots);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    chunk->slots[i] = known[i];
    if (known[i] / HOTROW_CACHE_WAYS == hr_cache_sets_of(sets, hashes[i]))
      continue;
    chunk->sought[sought_count] = (uint32_t)i;
    chunk->sought_keys[sought_count] = keys[i];
    chunk->sought_hashes[sought_count++] = hashes[i];
  }
  hr_cache_probe(cache, chunk->sought_keys, chunk->sought_hashes, sought_count, chunk->sought_slots);
  for (size_t r = 0; r < sought_count; r++)
    chunk->slots[chunk->sought[r]] = chunk->sought_slots[r];
}

void hr_cpu_cache_hand_out(hotrow_cache *cache, uint32_t slot, uint32_t steps)
{
  hr_cache_shared *shared = cache->shared;
  const hr_cache_sets *sets = &shared->sets;
  hr_row_meta *row = &sets->meta[slot];
  const float *sum = hr_pending_sum(&shared->pending, slot);
  if (!HR_MUTANT(LOST_VICTIM))
    hr_push_list_append(&shared->pushes, HR_MUTANT(FOREIGN_VICTIM) ? cache->table : sets->tables[slot],
                        sets->keys[slot], sets->hashes[slot], steps, sum, sum + cache->layout.dim);
  hr_pending_release(&shared->pending, slot);
  hr_rules_count_sent(&cache->rules, row, steps);
  row->pending = 0;
}

/* Steps that leave as they came. One that counts more than once takes its squares along: without them, k > 1 would be
 * taken for a sum of several. */
static void append_steps(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const float *grads,
                         const uint32_t *ticks, size_t count)
{
  static const uint32_t only_slot = 0;
  static const uint8_t is_first = 1;
  const hotrow_row_layout *row = &cache->layout;
  float *sum = cache->shared->cpu.chunk.one_sum;
  size_t first = cache->shared->pushes.count;
  hr_push_list_append_batch(&cache->shared->pushes, cache->table, keys, hashes, ticks, grads, count);
  for (size_t i = 0; i < count && ticks && row->square_dim > 0; i++) {
    if (ticks[i] == 1)
      continue;
    cache->kernels->pending_add(row, sum, row->dim + row->square_dim, &only_slot, &is_first, grads + i * row->dim, 1,
                                NULL);
    hr_push_list_set_squares(&cache->shared->pushes, first + i, sum + row->dim);
  }
}

/* Push bound 0: every step leaves at once. To a row that is to be pulled again it counts as another's. */
static void update_exact(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const float *grads,
                         const uint32_t *ticks, size_t count)
{
  const uint32_t *slots = cache->shared->cpu.chunk.slots;
  bool is_counted = cache->rules.mode == HOTROW_CACHE_PROBE && !cache->rules.rereads_own;
  for (size_t i = 0; i < count && is_counted; i++) {
    hr_cache_prefetch_meta(cache, slots, i, count);
    if (slots[i] != HOTROW_SLOT_NONE)
      hr_rules_count_exact(&cache->rules, cache->shared->sets.meta + slots[i], ticks ? ticks[i] : 1);
  }
  append_steps(cache, keys, hashes, grads, ticks, count);
}

/* Finds the sum of each held row and counts the step: steps[i] are pending now. A row that gets no sum hands its step
 * out at once: sums[i] is NONE. */
static void acquire_sums(hotrow_cache *cache, const uint32_t *ticks, size_t count)
{
  hr_chunk_scratch *chunk = &cache->shared->cpu.chunk;
  hr_row_meta *meta = cache->shared->sets.meta;
  hr_pending_pool *pool = &cache->shared->pending;
  uint32_t pending_max = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t slot = chunk->slots[i], tick = ticks ? ticks[i] : 1;
    chunk->sums[i] = HOTROW_SLOT_NONE;
    if (i + ROWS_AHEAD < count && chunk->slots[i + ROWS_AHEAD] != HOTROW_SLOT_NONE) {
      __builtin_prefetch(meta + chunk->slots[i + ROWS_AHEAD], 1);
      __builtin_prefetch(pool->sum_of_slot + chunk->slots[i + ROWS_AHEAD], 1);
    }
    if (slot == HOTROW_SLOT_NONE)
      continue;
    hr_row_meta *row = meta + slot;
    chunk->flags[i] = row->pending == 0;
    chunk->sums[i] = row->pending == 0 ? hr_pending_acquire(pool, slot) : pool->sum_of_slot[slot];
    chunk->steps[i] = row->pending + tick;
    if (chunk->sums[i] == HOTROW_SLOT_NONE) {
      hr_rules_count_sent(&cache->rules, row, tick);
    } else if (hr_clock_may_keep(chunk->steps[i], cache->rules.push_bound)) {
      row->pending = chunk->steps[i] & 0xffffffu;
      pending_max = chunk->steps[i] > pending_max ? chunk->steps[i] : pending_max;
    }
  }
  hotrow_cache_stats *stats = hr_cpu_stats(cache);
  if (pending_max > stats->pending_max)
    stats->pending_max = pending_max;
}

/* Entries that hold all of their rows' sums become what the wire's dtype can say of them; the rest stays. */
static void round_entries(hotrow_cache *cache, size_t count)
{
  const hr_chunk_scratch *chunk = &cache->shared->cpu.chunk;
  hr_push_list *pushes = &cache->shared->pushes;
  uint32_t dim = cache->layout.dim;
  cache->kernels->pack(cache->rules.wire_dtype, pushes->grads, dim, dim, chunk->entries, count, NULL, chunk->packed,
                       chunk->scales);
  cache->kernels->unpack(cache->rules.wire_dtype, chunk->packed, chunk->scales, dim, count, NULL, chunk->grads, dim);
  for (size_t r = 0; r < count; r++) {
    float *sum = cache->shared->pending.sums + chunk->sums[r] * cache->shared->pending.stride;
    const float *sent = chunk->grads + r * dim;
    for (uint32_t c = 0; c < dim; c++)
      sum[c] -= sent[c];
    memset(sum + dim, 0, cache->layout.square_dim * sizeof *sum);
    memcpy(pushes->grads + chunk->entries[r] * (size_t)dim, sent, dim * sizeof *sent);
    pushes->is_exact[chunk->entries[r]] = 0;
  }
}

/* Push bound > 0: the step joins the row's sum, and the sum leaves when the bound says so. */
static void update_pending(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const float *grads,
                           const uint32_t *ticks, size_t count)
{
  hr_chunk_scratch *chunk = &cache->shared->cpu.chunk;
  hr_pending_pool *pool = &cache->shared->pending;
  size_t dim = cache->layout.dim, rounded_count = 0;
  acquire_sums(cache, ticks, count);
  cache->kernels->pending_add(&cache->layout, pool->sums, pool->stride, chunk->sums, chunk->flags, grads, count, NULL);
  for (size_t i = 0; i < count; i++) {
    uint32_t steps = chunk->steps[i];
    if (chunk->sums[i] == HOTROW_SLOT_NONE) {
      append_steps(cache, keys + i, hashes + i, grads + i * dim, ticks ? ticks + i : NULL, 1);
    } else if (hr_clock_may_keep(steps, cache->rules.push_bound)) {
      continue;
    } else if (hr_rules_leaves_rounded(&cache->rules, steps)) {
      hr_row_meta *row = cache->shared->sets.meta + chunk->slots[i];
      const float *sum = hr_pending_sum(pool, chunk->slots[i]);
      chunk->entries[rounded_count] = (uint32_t)cache->shared->pushes.count;
      chunk->sums[rounded_count++] = chunk->sums[i];
      hr_push_list_append(&cache->shared->pushes, cache->table, keys[i], hashes[i], steps - 1, sum, sum + dim);
      hr_rules_count_sent(&cache->rules, row, steps - 1);
      row->pending = 1;
    } else {
      hr_cpu_cache_hand_out(cache, chunk->slots[i], steps);
    }
  }
  if (rounded_count > 0)
    round_entries(cache, rounded_count);
}

/* Room in the push list is kept for every pending row, so that eviction, flush and invalidate cannot fail: entries
 * and pending rows together stay within its capacity. */
static size_t room_for_new(const hotrow_cache *cache)
{
  return cache->shared->pushes.capacity - cache->shared->pushes.count - hr_pending_used_count(&cache->shared->pending);
}

/* Entries and pending rows that these steps add. */
static size_t count_new(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *known,
                        const uint32_t *ticks, size_t key_count)
{
  const uint32_t *slots = cache->shared->cpu.chunk.slots;
  size_t new_count = 0;
  for (size_t first = 0; first < key_count; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, key_count - first);
    find_slots(cache, keys + first, hashes + first, known ? known + first : NULL, count);
    for (size_t i = 0; i < count; i++) {
      uint32_t pending = slots[i] == HOTROW_SLOT_NONE ? 0 : cache->shared->sets.meta[slots[i]].pending;
      uint32_t tick = ticks ? ticks[first + i] : 1;
      new_count += hr_rules_count_new(&cache->rules, slots[i] != HOTROW_SLOT_NONE, pending, tick);
    }
  }
  return new_count;
}

static hotrow_status check_ticks(const uint64_t *keys, const uint32_t *ticks, size_t key_count)
{
  for (size_t i = 0; ticks && i < key_count; i++) {
    if (ticks[i] == 0)
      return hr_fail(HOTROW_ERR_INVALID, "cache: key %llu with 0 ticks", (unsigned long long)keys[i]);
    if (ticks[i] > HOTROW_PUSH_BOUND_MAX)
      return hr_fail(HOTROW_ERR_LIMIT, "cache: key %llu with %u ticks, at most %u", (unsigned long long)keys[i],
                     ticks[i], HOTROW_PUSH_BOUND_MAX);
  }
  return HOTROW_OK;
}

hotrow_status hr_cpu_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                  const uint32_t *slots, const float *grads, const uint32_t *ticks, size_t count_max,
                                  const uint32_t *key_count_p)
{
  size_t key_count = key_count_p ? hr_min_size(count_max, *key_count_p) : count_max;
  HOTROW_TRY(check_ticks(keys, ticks, key_count));
  size_t room = room_for_new(cache);
  if (key_count > room / 2 && count_new(cache, keys, hashes, slots, ticks, key_count) > room)
    return hr_cache_fail_pushes(cache, key_count, room);
  if (cache->shared->sets.set_count == 0) {
    append_steps(cache, keys, hashes, grads, ticks, key_count);
    return HOTROW_OK;
  }
  hr_pending_open(&cache->shared->pending);
  for (size_t first = 0; first < key_count; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, key_count - first);
    const float *chunk_grads = grads + first * cache->layout.dim;
    const uint32_t *chunk_ticks = ticks ? ticks + first : NULL;
    find_slots(cache, keys + first, hashes + first, slots ? slots + first : NULL, count);
    cache->kernels->optimizer_apply(&cache->layout, cache->lr_scale, cache->shared->rows, cache->shared->row_stride,
                                    cache->shared->cpu.chunk.slots, chunk_grads, NULL, NULL, count, NULL);
    if (cache->rules.push_bound == 0)
      update_exact(cache, keys + first, hashes + first, chunk_grads, chunk_ticks, count);
    else
      update_pending(cache, keys + first, hashes + first, chunk_grads, chunk_ticks, count);
  }
  return HOTROW_OK;
}

void hr_cpu_cache_flush(hotrow_cache *cache)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  for (uint32_t set = 0; set < sets->set_count && hr_pending_used_count(&cache->shared->pending) > 0; set++)
    for (uint32_t ways = sets->occupied[set]; ways; ways &= ways - 1) {
      uint32_t slot = set * HOTROW_CACHE_WAYS + (uint32_t)__builtin_ctz(ways);
      if (sets->tables[slot] == cache->table && sets->meta[slot].pending > 0)
        hr_cpu_cache_hand_out(cache, slot, sets->meta[slot].pending);
    }
}
