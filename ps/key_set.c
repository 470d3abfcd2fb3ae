/* Open addressing, at most half full. */
#include "key_set.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>

#define SLOTS_MIN 64u

void hr_key_set_fini(hr_key_set *set)
{
  free(set->slots);
  *set = (hr_key_set){0};
}

static uint64_t *find(uint64_t *slots, size_t slot_count, uint64_t key)
{
  size_t at = (size_t)hr_mix64(key) & (slot_count - 1);
  while (slots[at] != 0 && slots[at] != key)
    at = (at + 1) & (slot_count - 1);
  return &slots[at];
}

hotrow_status hr_key_set_reserve(hr_key_set *set, size_t count)
{
  size_t slot_count = set->slot_count ? set->slot_count : SLOTS_MIN;
  while (slot_count / 2 < set->count + count)
    slot_count *= 2;
  if (slot_count == set->slot_count)
    return HOTROW_OK;
  void *memory;
  HOTROW_TRY(hr_alloc(slot_count, sizeof *set->slots, "set of keys", &memory));
  uint64_t *slots = memory;
  for (size_t i = 0; i < set->slot_count; i++)
    if (set->slots[i] != 0)
      *find(slots, slot_count, set->slots[i]) = set->slots[i];
  free(set->slots);
  set->slots = slots;
  set->slot_count = slot_count;
  return HOTROW_OK;
}

void hr_key_set_add(hr_key_set *set, uint64_t key)
{
  if (key == 0) {
    set->has_zero = true;
    return;
  }
  uint64_t *slot = find(set->slots, set->slot_count, key);
  if (*slot == key)
    return;
  HOTROW_ASSERT(set->count < set->slot_count / 2);
  *slot = key;
  set->count++;
}

bool hr_key_set_has(const hr_key_set *set, uint64_t key)
{
  if (key == 0 || set->count == 0)
    return key == 0 && set->has_zero;
  return *find(set->slots, set->slot_count, key) == key;
}

void hr_key_set_clear(hr_key_set *set)
{
  if (set->count > 0)
    memset(set->slots, 0, set->slot_count * sizeof *set->slots);
  set->count = 0;
  set->has_zero = false;
}
