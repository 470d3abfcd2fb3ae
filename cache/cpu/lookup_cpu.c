/* The CPU's table of operations; lookups. */
#include "cache_cpu.h"

static void layout_chunk(hr_chunk_scratch *chunk, uint32_t dim, uint32_t square_dim, hr_arena *arena)
{
  chunk->slots = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->slots);
  chunk->sums = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->sums);
  chunk->steps = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->steps);
  chunk->entries = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->entries);
  chunk->flags = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->flags);
  chunk->sought = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->sought);
  chunk->sought_slots = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->sought_slots);
  chunk->sought_keys = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->sought_keys);
  chunk->sought_hashes = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->sought_hashes);
  chunk->grads = hr_arena_take(arena, HR_CHUNK_ROWS, dim * sizeof *chunk->grads);
  chunk->squares = hr_arena_take(arena, HR_CHUNK_ROWS, square_dim * sizeof *chunk->squares);
  chunk->one_sum = hr_arena_take(arena, dim + square_dim, sizeof *chunk->one_sum);
  chunk->packed = hr_arena_take(arena, HR_CHUNK_ROWS, dim * sizeof(uint16_t));
  chunk->scales = hr_arena_take(arena, HR_CHUNK_ROWS, sizeof *chunk->scales);
}

static void layout(hotrow_cache *cache, hr_arena *arena)
{
  cache->shared->cpu.demand = hr_arena_take(arena, cache->shared->sets.set_count, sizeof *cache->shared->cpu.demand);
  layout_chunk(&cache->shared->cpu.chunk, cache->layout.dim, cache->layout.square_dim, arena);
}

static void begin_batch(hotrow_cache *cache)
{
  hr_cache_shared *shared = cache->shared;
  uint64_t lookups = 0;
  shared->cpu.staging_used = 0;
  if (!cache->rules.policy.has_aging || shared->staging_first == 0)
    return;
  for (uint32_t t = 0; t < shared->table_count; t++)
    lookups += shared->cpu.tables[t].stats.lookups;
  shared->cpu.age = (uint32_t)(lookups / ((uint64_t)shared->staging_first * HR_LOOKUPS_PER_ROW));
}

static size_t staging_left(const hotrow_cache *cache)
{
  return cache->shared->staging_count - cache->shared->cpu.staging_used;
}

static void count_unseen(hotrow_cache *cache, const hr_row_meta *row)
{
  hotrow_cache_stats *stats = hr_cpu_stats(cache);
  uint32_t known, unseen = hr_rules_unseen(&cache->rules, row, &known);
  stats->unseen_sum += unseen;
  stats->unseen_counts[unseen ? 32 - __builtin_clz(unseen) : 0]++;
  if (known > stats->unseen_max)
    stats->unseen_max = known;
}

static void lookup_chunk(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                         const uint32_t *next_use, uint32_t *slots, uint32_t *seen, uint8_t *states)
{
  hr_row_meta *meta = cache->shared->sets.meta;
  uint32_t uses_max = cache->rules.policy.uses_max;
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
      states[i] = (uint8_t)hr_rules_row_state(&cache->rules, row);
      if (states[i] == HOTROW_ROW_FRESH)
        count_unseen(cache, row);
    }
    state_counts[states[i]]++;
  }
  hotrow_cache_stats *stats = hr_cpu_stats(cache);
  stats->hits += state_counts[HOTROW_ROW_FRESH] + state_counts[HOTROW_ROW_DOUBTFUL];
  stats->stale += state_counts[HOTROW_ROW_STALE];
  stats->misses += state_counts[HOTROW_ROW_MISSING];
}

void hr_cpu_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *key_count_p, const uint32_t *next_use, uint32_t *slots, uint32_t *seen,
                         uint8_t *states)
{
  size_t total = key_count_p ? hr_min_size(key_count, *key_count_p) : key_count;
  for (size_t first = 0; first < total; first += HR_CHUNK_ROWS)
    lookup_chunk(cache, keys + first, hashes + first, hr_min_size(HR_CHUNK_ROWS, total - first),
                 next_use ? next_use + first : NULL, slots + first, seen + first, states + first);
  hr_cpu_stats(cache)->lookups += total;
}

void hr_cpu_cache_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                         const uint32_t *key_count_p, uint32_t batch, uint8_t *is_held_p)
{
  uint32_t *slots = cache->shared->cpu.chunk.slots;
  size_t total = key_count_p ? hr_min_size(key_count, *key_count_p) : key_count;
  for (size_t first = 0; first < total; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, total - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, slots);
    for (size_t i = 0; i < count; i++) {
      hr_cache_prefetch_meta(cache, slots, i, count);
      is_held_p[first + i] = 0;
      if (slots[i] == HOTROW_SLOT_NONE)
        continue;
      hr_row_meta *row = cache->shared->sets.meta + slots[i];
      is_held_p[first + i] = hr_rules_row_state(&cache->rules, row) != HOTROW_ROW_STALE;
      uint32_t until = hr_rules_expect_until(&cache->rules, row, batch);
      if (row->live_until == cache->rules.batch)
        hr_rules_pin(&cache->rules, &cache->shared->sets, slots[i], until);
      else
        row->live_until = until;
    }
  }
}

static void write_plan(hotrow_cache_plan *plan, const hr_looked_up *looked_up)
{
  const hr_plan_arrays *rows = &plan->rows;
  size_t total = looked_up->count_p ? hr_min_size(looked_up->count, *looked_up->count_p) : looked_up->count;
  uint32_t count = 0;
  for (size_t i = 0; i < total; i++) {
    if (looked_up->states[i] == HOTROW_ROW_FRESH)
      continue;
    rows->indexes[count] = (uint32_t)i;
    rows->keys[count] = looked_up->keys[i];
    rows->hashes[count] = looked_up->hashes[i];
    rows->slots[count] = looked_up->slots[i];
    rows->seen[count] = looked_up->slots[i] == HOTROW_SLOT_NONE ? 0 : looked_up->seen[i];
    rows->states[count++] = looked_up->states[i];
  }
  *rows->count = count;
}

static hotrow_status take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p)
{
  *list_p = hr_push_list_view(&cache->shared->pushes, cache->shared->pushes.count);
  cache->shared->pushes.count = 0;
  return HOTROW_OK;
}

static hotrow_status get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p)
{
  const hr_table_books *books = &cache->shared->cpu.tables[cache->table];
  *stats_p = books->stats;
  stats_p->row_count = books->held_count;
  stats_p->push_count = cache->shared->pushes.count;
  return HOTROW_OK;
}

const hr_cache_operations *hr_cpu_cache_operations(void)
{
  static const hr_cache_operations operations = {
      .layout = layout,
      .begin_batch = begin_batch,
      .staging_left = staging_left,
      .lookup = hr_cpu_cache_lookup,
      .expect = hr_cpu_cache_expect,
      .write_plan = write_plan,
      .refresh = hr_cpu_cache_refresh,
      .insert = hr_cpu_cache_insert,
      .stage = hr_cpu_cache_stage,
      .update = hr_cpu_cache_update,
      .flush = hr_cpu_cache_flush,
      .take_pushes = take_pushes,
      .invalidate = hr_cpu_cache_invalidate,
      .mark_stale = hr_cpu_cache_mark_stale,
      .announce = hr_cpu_cache_announce,
      .announce_gone = hr_cpu_cache_announce_gone,
      .credit = hr_cpu_cache_credit,
      .get_stats = get_stats,
  };
  return &operations;
}
