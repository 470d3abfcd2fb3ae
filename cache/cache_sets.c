#include "cache_sets.h"

#include <hr/assert.h>

void hr_cache_sets_layout(hr_cache_sets *sets, uint32_t set_count, hr_arena *arena)
{
  size_t row_count = (size_t)set_count * HOTROW_CACHE_WAYS;
  sets->set_count = set_count;
  sets->keys = hr_arena_take(arena, row_count, sizeof *sets->keys);
  sets->hashes = hr_arena_take(arena, row_count, sizeof *sets->hashes);
  sets->occupied = hr_arena_take(arena, set_count, sizeof *sets->occupied);
  sets->meta = hr_arena_take(arena, row_count, sizeof *sets->meta);
  sets->present = hr_arena_take(arena, set_count, sizeof *sets->present);
  sets->ages = hr_arena_take(arena, set_count, sizeof *sets->ages);
}

uint32_t hr_cache_sets_take_free(hr_cache_sets *sets, uint32_t set)
{
  HOTROW_ASSERT(set < sets->set_count);
  uint32_t free_ways = ~(uint32_t)sets->occupied[set] & 0xffffu;
  if (free_ways == 0)
    return HOTROW_SLOT_NONE;
  uint32_t way = (uint32_t)__builtin_ctz(free_ways);
  sets->occupied[set] = (uint16_t)(sets->occupied[set] | 1u << way);
  sets->held_count++;
  return set * HOTROW_CACHE_WAYS + way;
}

void hr_cache_sets_put(hr_cache_sets *sets, uint32_t slot, uint64_t key, uint64_t hash, hr_row_meta meta)
{
  HOTROW_ASSERT(slot / HOTROW_CACHE_WAYS == hr_cache_sets_of(sets, hash));
  sets->keys[slot] = key;
  sets->hashes[slot] = hash;
  sets->meta[slot] = meta;
}

void hr_cache_sets_remove(hr_cache_sets *sets, uint32_t slot)
{
  uint32_t set = slot / HOTROW_CACHE_WAYS;
  uint32_t bit = 1u << slot % HOTROW_CACHE_WAYS;
  HOTROW_ASSERT((sets->occupied[set] & bit) && sets->meta[slot].pending == 0);
  sets->occupied[set] = (uint16_t)(sets->occupied[set] & ~bit);
  sets->held_count--;
}

uint32_t hr_cache_sets_room(const hr_cache_sets *sets, uint32_t set, uint32_t batch, uint32_t permanent_uses)
{
  const hr_row_meta *meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  uint32_t occupied = sets->occupied[set], room = 0;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    if (!(occupied >> way & 1u) || hr_row_is_evictable(meta + way, batch, permanent_uses))
      room++;
  return room;
}

uint32_t hr_cache_sets_farthest(const hr_cache_sets *sets, uint32_t set, uint32_t batch, uint32_t next_use,
                                uint32_t permanent_uses)
{
  const hr_row_meta *meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  const hr_set_present *present = sets->present + set;
  uint32_t used = present->batch == batch ? present->ways : 0;
  uint32_t farthest = HOTROW_CACHE_WAYS, latest = next_use;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    if (hr_clock_is_before(latest, meta[way].live_until) && meta[way].uses < permanent_uses && !(used >> way & 1u)) {
      farthest = way;
      latest = meta[way].live_until;
    }
  return farthest;
}

void hr_cache_sets_age(hr_cache_sets *sets, uint32_t set, uint32_t age)
{
  uint32_t halvings = age - sets->ages[set];
  if (halvings == 0)
    return;
  sets->ages[set] = age;
  hr_row_meta *meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++) {
    uint32_t uses = meta[way].uses;
    uses = halvings < 7 ? uses >> halvings : 0;
    meta[way].uses = uses & HR_USES_MAX;
  }
}
