/* News from the shards: announcements, credit, and rows that are stale or to be forgotten. */
#include <hr/mutant.h>

#include "cache_state.h"

typedef void (*row_visit)(hotrow_cache *cache, uint32_t slot);

/* The sets rise with the hashes, so a range of hashes is a range of sets. */
static void visit_range(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last, row_visit visit)
{
  const hr_cache_sets *sets = &cache->sets;
  if (sets->set_count == 0 || hash_first > hash_last)
    return;
  uint32_t set_last = hr_cache_sets_of(sets, hash_last);
  for (uint32_t set = hr_cache_sets_of(sets, hash_first); set <= set_last; set++)
    for (uint32_t ways = sets->occupied[set]; ways; ways &= ways - 1) {
      uint32_t slot = set * HOTROW_CACHE_WAYS + (uint32_t)__builtin_ctz(ways);
      if (sets->hashes[slot] >= hash_first && sets->hashes[slot] <= hash_last)
        visit(cache, slot);
    }
}

static void mark_row_stale(hotrow_cache *cache, uint32_t slot)
{
  cache->sets.meta[slot].is_stale = 1;
}

static void forget_row(hotrow_cache *cache, uint32_t slot)
{
  uint32_t pending = cache->sets.meta[slot].pending;
  if (pending > 0)
    hr_cache_hand_out(cache, slot, pending);
  hr_cache_sets_remove(&cache->sets, slot);
  cache->has_forgotten = true;
}

void hotrow_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  visit_range(cache, hash_first, hash_last, mark_row_stale);
}

void hotrow_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last)
{
  visit_range(cache, hash_first, hash_last, forget_row);
}

void hotrow_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                           size_t key_count)
{
  const uint32_t *slots = cache->chunk.slots;
  for (size_t first = 0; first < key_count && cache->mode == HOTROW_CACHE_ANNOUNCE; first += CHUNK_ROWS) {
    size_t count = hr_min_size(CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->chunk.slots);
    for (size_t i = 0; i < count; i++) {
      hr_cache_prefetch_meta(cache, slots, i, count);
      if (slots[i] == HOTROW_SLOT_NONE)
        continue;
      hr_row_meta *row = cache->sets.meta + slots[i];
      row->announced = hr_clock_later(row->announced, clocks[first + i]);
    }
  }
}

void hotrow_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count)
{
  const uint32_t *slots = cache->chunk.slots;
  for (size_t first = 0; first < key_count; first += CHUNK_ROWS) {
    size_t count = hr_min_size(CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->chunk.slots);
    for (size_t i = 0; i < count; i++)
      if (slots[i] != HOTROW_SLOT_NONE)
        mark_row_stale(cache, slots[i]);
  }
}

void hotrow_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                         size_t key_count)
{
  const uint32_t *slots = cache->chunk.slots;
  for (size_t first = 0; first < key_count && cache->mode == HOTROW_CACHE_ANNOUNCE; first += CHUNK_ROWS) {
    size_t count = hr_min_size(CHUNK_ROWS, key_count - first);
    hr_cache_probe(cache, keys + first, hashes + first, count, cache->chunk.slots);
    for (size_t i = 0; i < count; i++) {
      hr_cache_prefetch_meta(cache, slots, i, count);
      if (slots[i] != HOTROW_SLOT_NONE && !HR_MUTANT(EARLY_SEEN))
        cache->sets.meta[slots[i]].seen += steps ? steps[first + i] : 1;
    }
  }
}
