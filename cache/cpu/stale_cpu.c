/* News from the shards: announcements, credit, and rows that are stale or to be forgotten. */
#include "cache_cpu.h"

typedef void (*row_visit)(hotrow_cache *cache, uint32_t slot);

/* The sets rise with the hashes, so a range of hashes is a range of sets. Rows of other tables are passed over. */
static void visit_range(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last, row_visit visit)
{
  const hr_cache_sets *sets = &cache->shared->sets;
  uint32_t set_last = hr_cache_sets_of(sets, hash_last);
  for (uint32_t set = hr_cache_sets_of(sets, hash_first); set <= set_last; set++)
    for (uint32_t ways = sets->occupied[set]; ways; ways &= ways - 1) {
      uint32_t slot = set * HOTROW_CACHE_WAYS + (uint32_t)__builtin_ctz(ways);
      if (sets->tables[slot] == cache->table && sets->hashes[slot] >= hash_first && sets->hashes[slot] <= hash_last)
        visit(cache, slot);
    }
}

static void mark_row_stale(hotrow_cache *cache, uint32_t slot)
{
  cache->shared->sets.meta[slot].is_stale = 1;
}

static void release_way(hotrow_cache *cache, uint32_t slot)
{
  uint16_t *occupied = cache->shared->sets.occupied + slot / HOTROW_CACHE_WAYS;
  uint32_t bit = 1u << slot % HOTROW_CACHE_WAYS;
  HOTROW_ASSERT((*occupied & bit) && cache->shared->sets.meta[slot].pending == 0);
  *occupied = (uint16_t)(*occupied & ~bit);
  cache->shared->cpu.tables[cache->table].held_count--;
}

static void forget_row(hotrow_cache *cache, uint32_t slot)
{
  uint32_t pending = cache->shared->sets.meta[slot].pending;
  if (pending > 0)
    hr_cpu_cache_hand_out(cache, slot, pending);
  release_way(cache, slot);
}

void hr_cpu_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  visit_range(cache, hash_first, hash_last, mark_row_stale);
}

void hr_cpu_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  visit_range(cache, hash_first, hash_last, forget_row);
}

void hr_cpu_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                           size_t key_count)
{
  const uint32_t *slots = cache->shared->cpu.chunk.slots;
  for (size_t first = 0; first < key_count; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->shared->cpu.chunk.slots);
    for (size_t i = 0; i < count; i++) {
      hr_cache_prefetch_meta(cache, slots, i, count);
      if (slots[i] == HOTROW_SLOT_NONE)
        continue;
      hr_row_meta *row = cache->shared->sets.meta + slots[i];
      row->announced = hr_clock_later(row->announced, clocks[first + i]);
    }
  }
}

void hr_cpu_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count)
{
  const uint32_t *slots = cache->shared->cpu.chunk.slots;
  for (size_t first = 0; first < key_count; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->shared->cpu.chunk.slots);
    for (size_t i = 0; i < count; i++)
      if (slots[i] != HOTROW_SLOT_NONE)
        mark_row_stale(cache, slots[i]);
  }
}

void hr_cpu_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                         size_t key_count)
{
  const uint32_t *slots = cache->shared->cpu.chunk.slots;
  for (size_t first = 0; first < key_count; first += HR_CHUNK_ROWS) {
    size_t count = hr_min_size(HR_CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->shared->cpu.chunk.slots);
    for (size_t i = 0; i < count; i++) {
      hr_cache_prefetch_meta(cache, slots, i, count);
      if (slots[i] != HOTROW_SLOT_NONE && !HR_MUTANT(EARLY_SEEN))
        cache->shared->sets.meta[slots[i]].seen += steps ? steps[first + i] : 1;
    }
  }
}
