/* The shard's rows: into held rows, free ways, victims' ways, or staging. */
#include "cache_cpu.h"

#define SETS_AHEAD 4u /* a set's metadata, and a victim's row, are asked for this many rows early */

static void copy_row(hotrow_cache *cache, uint32_t slot, const float *value, const float *state)
{
  float *row = cache->shared->rows + slot * cache->shared->row_stride;
  memcpy(row, value, cache->layout.dim * sizeof *row);
  if (state)
    memcpy(row + cache->layout.dim, state, cache->layout.state_dim * sizeof *row);
}

/* Up to HR_CHUNK_ROWS held rows become fresh + own pending steps. */
static void refresh_chunk(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t count)
{
  hr_chunk_scratch *chunk = &cache->shared->cpu.chunk;
  size_t dim = cache->layout.dim, square_dim = cache->layout.square_dim, dirty_count = 0;
  for (size_t i = 0; i < count; i++) {
    HOTROW_ASSERT(slots[i] < cache->shared->staging_first);
    copy_row(cache, slots[i], values + i * dim, hr_state_at(cache, states, i));
    hr_row_meta *row = &cache->shared->sets.meta[slots[i]];
    row->seen = row->announced = clocks[i];
    row->is_stale = 0;
    if (row->pending == 0)
      continue;
    const float *sum = hr_pending_sum(&cache->shared->pending, slots[i]);
    memcpy(chunk->grads + dirty_count * dim, sum, dim * sizeof *sum);
    memcpy(chunk->squares + dirty_count * square_dim, sum + dim, square_dim * sizeof *sum);
    chunk->steps[dirty_count] = row->pending;
    chunk->entries[dirty_count++] = slots[i];
  }
  if (dirty_count > 0 && !HR_MUTANT(LOST_PENDING))
    cache->kernels->optimizer_apply(&cache->layout, cache->lr_scale, cache->shared->rows, cache->shared->row_stride,
                                    chunk->entries, chunk->grads, square_dim > 0 ? chunk->squares : NULL, chunk->steps,
                                    dirty_count, NULL);
}

void hr_cpu_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                          const float *states, size_t row_count)
{
  size_t doubtful_count = 0; /* were hits until now; stale ones were not */
  for (size_t i = 0; i < row_count; i++) {
    HOTROW_ASSERT(slots[i] < cache->shared->staging_first);
    doubtful_count += hr_rules_row_state(&cache->rules, cache->shared->sets.meta + slots[i]) == HOTROW_ROW_DOUBTFUL;
  }
  for (size_t first = 0; first < row_count; first += HR_CHUNK_ROWS)
    refresh_chunk(cache, slots + first, clocks + first, values + first * cache->layout.dim,
                  hr_state_at(cache, states, first), hr_min_size(HR_CHUNK_ROWS, row_count - first));
  hotrow_cache_stats *stats = hr_cpu_stats(cache);
  uint64_t stale_count = hr_min_size(doubtful_count, stats->hits);
  stats->hits -= stale_count;
  stats->stale += stale_count;
}

/* How many of the missing rows (slots[i] is NONE) find neither a free way nor a row that no batch needs. */
static size_t count_uncached(hotrow_cache *cache, const uint64_t *hashes, const uint32_t *slots, size_t row_count)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  size_t uncached_count = 0;
  for (size_t i = 0; i < row_count; i++)
    if (slots[i] == HOTROW_SLOT_NONE)
      cache->shared->cpu.demand[hr_cache_sets_of(sets, hashes[i])]++;
  for (size_t i = 0; i < row_count; i++) {
    uint32_t set = hr_cache_sets_of(sets, hashes[i]), demand = cache->shared->cpu.demand[set];
    uint32_t room = demand > 0 ? hr_rules_room(&cache->rules, sets, set) : 0;
    uncached_count += demand > room ? demand - room : 0;
    cache->shared->cpu.demand[set] = 0;
  }
  return uncached_count;
}

static void prefetch_set(const hotrow_cache *cache, const uint64_t *hashes, size_t i, size_t count)
{
  if (i + SETS_AHEAD >= count)
    return;
  uint64_t hash = hashes[i + SETS_AHEAD];
  const hr_row_meta *meta =
      cache->shared->sets.meta + (size_t)hr_cache_sets_of(&cache->shared->sets, hash) * HOTROW_CACHE_WAYS;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way += 64 / sizeof *meta)
    __builtin_prefetch(meta + way, 1);
  if (cache->rules.policy.has_sketch)
    __builtin_prefetch(hr_sketch_line_of(&cache->shared->sketch, hash), 1);
}

/* First pass: the slot of each row of a chunk. Those that leave are told from those that come by their place. */
static void place_chunk(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t count, uint64_t *bypass_left_p,
                        uint32_t *slots)
{
  hr_cpu_side *cpu = &cache->shared->cpu;
  size_t kind_counts[HR_PLACE_BYPASSED + 1] = {0};
  for (size_t i = 0; i < count; i++) {
    prefetch_set(cache, fresh->hashes, i, count);
    cpu->chunk.flags[i] = HR_PLACE_HELD;
    if (slots[i] != HOTROW_SLOT_NONE)
      continue;
    uint32_t next_use = hr_rules_next_use(&cache->rules, fresh->next_use ? fresh->next_use + i : NULL);
    hr_place place = hr_rules_place(&cache->rules, &cache->shared->sets, &cache->shared->sketch, cpu->age,
                                    fresh->hashes[i], next_use, bypass_left_p);
    cpu->chunk.flags[i] = place.kind;
    cpu->chunk.steps[i] = place.uses;
    kind_counts[place.kind]++;
    slots[i] = place.slot;
    if (place.slot == HOTROW_SLOT_NONE) {
      HOTROW_ASSERT(cpu->staging_used < cache->shared->staging_count);
      slots[i] = cache->shared->staging_first + cpu->staging_used++;
    }
  }
  hr_table_books *books = &cpu->tables[cache->table];
  books->held_count += (uint32_t)(kind_counts[HR_PLACE_FREE] + kind_counts[HR_PLACE_VICTIM]);
  books->stats.uncached += kind_counts[HR_PLACE_STAGED];
  books->stats.bypassed += kind_counts[HR_PLACE_BYPASSED];
}

/* The row that leaves may be another table's. */
static void evict(hotrow_cache *cache, uint32_t slot)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  hr_table_books *books = &cache->shared->cpu.tables[sets->tables[slot]];
  uint32_t pending = sets->meta[slot].pending;
  books->stats.evicted_dirty += pending > 0;
  books->stats.evicted_clean += pending == 0;
  books->held_count--;
  if (pending > 0)
    hr_cpu_cache_hand_out(cache, slot, pending);
}

/* What a new row of the cache begins with, where the old one was. */
static void put(hotrow_cache *cache, uint32_t slot, uint64_t key, uint64_t hash, uint32_t clock, uint32_t uses)
{
  hr_cache_sets *sets = &cache->shared->sets;
  HOTROW_ASSERT(slot / HOTROW_CACHE_WAYS == hr_cache_sets_of(sets, hash));
  sets->keys[slot] = key;
  sets->hashes[slot] = hash;
  sets->tables[slot] = cache->table;
  sets->meta[slot] = hr_rules_new_row(sets->meta[slot].live_until, clock, uses);
}

/* Second pass: rows leave and come. */
static void fill_chunk(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t count, const uint32_t *slots)
{
  const hr_chunk_scratch *chunk = &cache->shared->cpu.chunk;
  for (size_t i = 0; i < count; i++) {
    if (i + SETS_AHEAD < count)
      __builtin_prefetch(cache->shared->rows + slots[i + SETS_AHEAD] * cache->shared->row_stride, 1);
    const float *value = fresh->values + i * cache->layout.dim, *state = hr_state_at(cache, fresh->states, i);
    uint32_t slot = slots[i], place = chunk->flags[i];
    if (place == HR_PLACE_HELD)
      continue;
    if (place == HR_PLACE_VICTIM)
      evict(cache, slot);
    if (place == HR_PLACE_VICTIM || place == HR_PLACE_FREE)
      put(cache, slot, fresh->keys[i], fresh->hashes[i], fresh->clocks[i], chunk->steps[i]);
    copy_row(cache, slot, value, state);
  }
}

/* Rows that another answer has brought meanwhile: a copy stays while it may be read at the clock of this one. */
static void refresh_held(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t count, const uint32_t *slots)
{
  for (size_t i = 0; i < count; i++) {
    if (cache->shared->cpu.chunk.flags[i] != HR_PLACE_HELD)
      continue;
    const hr_row_meta *row = cache->shared->sets.meta + slots[i];
    if (hr_rules_replaces(&cache->rules, row, fresh->clocks[i]))
      refresh_chunk(cache, slots + i, fresh->clocks + i, fresh->values + i * cache->layout.dim,
                    hr_state_at(cache, fresh->states, i), 1);
  }
}

static hotrow_status stage_all(hotrow_cache *cache, const float *values, const float *states, size_t row_count,
                               uint32_t *slots)
{
  size_t staging_free = cache->shared->staging_count - cache->shared->cpu.staging_used;
  if (row_count > staging_free)
    return hr_cache_fail_staging(cache, row_count, staging_free);
  for (size_t i = 0; i < row_count; i++) {
    slots[i] = cache->shared->staging_first + cache->shared->cpu.staging_used++;
    copy_row(cache, slots[i], values + i * cache->layout.dim, hr_state_at(cache, states, i));
  }
  hr_cpu_stats(cache)->uncached += row_count;
  return HOTROW_OK;
}

hotrow_status hr_cpu_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                                 size_t row_count, uint32_t *slots)
{
  HOTROW_TRY(stage_all(cache, values, states, row_count, slots));
  for (size_t i = 0; i < row_count && cache->shared->sets.set_count > 0; i++)
    hr_cpu_cache_invalidate(cache, hashes[i], hashes[i]);
  return HOTROW_OK;
}

/* Finds the rows that are held and pins them; returns how many. */
static size_t pin_held(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t row_count, uint32_t *slots)
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

hotrow_status hr_cpu_cache_insert(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t row_count, uint32_t *slots)
{
  if (cache->shared->sets.set_count == 0)
    return stage_all(cache, fresh->values, fresh->states, row_count, slots);
  /* Rows that are here already are pinned before the first victim is chosen. */
  size_t missing_count = row_count - pin_held(cache, fresh, row_count, slots);
  size_t staging_free = cache->shared->staging_count - cache->shared->cpu.staging_used;
  uint64_t bypass_left = missing_count;
  if (missing_count > staging_free) {
    size_t uncached_count = count_uncached(cache, fresh->hashes, slots, row_count);
    if (uncached_count > staging_free)
      return hr_cache_fail_staging(cache, uncached_count, staging_free);
    bypass_left = staging_free - uncached_count;
  }
  for (size_t first = 0; first < row_count; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, row_count - first);
    hr_fresh_rows part = hr_fresh_rows_from(cache, fresh, first);
    place_chunk(cache, &part, count, &bypass_left, slots + first);
    fill_chunk(cache, &part, count, slots + first);
    refresh_held(cache, &part, count, slots + first);
  }
  return HOTROW_OK;
}
