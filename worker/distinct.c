#include "distinct.h"

#include <string.h>

#include <hr/assert.h>

#define STEPS_PER_KEY 8u /* to the slots behind a taken one, in the mean of all keys, before it is given up */
#define MULTIPLIER 0x9e3779b97f4a7c15u /* 2^64 / golden ratio: keys that count up fall into slots far apart */
#define SLOT_BITS_MIN 6u

/* Two slots or more for each key. */
static uint32_t slot_bits(size_t key_count)
{
  uint32_t bits = SLOT_BITS_MIN;
  while (((size_t)1 << bits) < 2 * key_count)
    bits++;
  return bits;
}

size_t hr_distinct_scratch_size(size_t key_count)
{
  return sizeof(uint32_t) << slot_bits(key_count);
}

void hr_distinct_begin(hr_distinct *search, const uint64_t *keys, size_t key_count, void *scratch,
                       hotrow_dedup *result_p)
{
  HOTROW_ASSERT(key_count < UINT32_MAX / 2 && (key_count == 0 || (keys && scratch)));
  *search = (hr_distinct){.keys = keys,
                          .key_count = key_count,
                          .slots = scratch,
                          .steps_left = STEPS_PER_KEY * key_count,
                          .result = result_p};
  memset(search->slots, 0, hr_distinct_scratch_size(key_count)); /* empty; else the number of a key from 1 */
  *result_p->unique_count_p = 0;
}

/* keys, inverse and unique_count. */
static bool find_distinct(hr_distinct *search, uint32_t unique_max)
{
  const uint32_t bits = slot_bits(search->key_count), mask = ((uint32_t)1 << bits) - 1;
  const uint64_t *keys = search->keys;
  uint64_t *restrict distinct = search->result->keys;
  uint32_t *restrict inverse = search->result->inverse, *restrict slots = search->slots;
  uint32_t count = *search->result->unique_count_p;
  size_t steps_left = search->steps_left, i = search->next;
  for (; i < search->key_count && count < unique_max; i++) {
    uint64_t key = keys[i];
    uint32_t slot = (uint32_t)(key * MULTIPLIER >> (64 - bits));
    while (slots[slot] && distinct[slots[slot] - 1] != key) {
      if (steps_left-- == 0)
        return false;
      slot = (slot + 1) & mask;
    }
    if (!slots[slot]) {
      distinct[count] = key;
      slots[slot] = ++count;
    }
    inverse[i] = slots[slot] - 1;
  }
  search->steps_left = steps_left;
  search->next = i;
  *search->result->unique_count_p = count;
  return true;
}

/* offsets and positions from inverse. */
static void list_positions(size_t key_count, hotrow_dedup *result)
{
  uint32_t *offsets = result->offsets, count = *result->unique_count_p;
  if (count == key_count) {
    for (uint32_t i = 0; i < count; i++)
      offsets[i] = result->positions[i] = i;
    offsets[count] = count;
    return;
  }
  memset(offsets, 0, (count + 1) * sizeof *offsets);
  for (size_t i = 0; i < key_count; i++)
    offsets[result->inverse[i] + 1]++;
  for (uint32_t u = 1; u <= count; u++)
    offsets[u] += offsets[u - 1];
  for (size_t i = 0; i < key_count; i++) /* moves each offset to the next one's place ... */
    result->positions[offsets[result->inverse[i]]++] = (uint32_t)i;
  memmove(offsets + 1, offsets, count * sizeof *offsets); /* ... and back */
  offsets[0] = 0;
}

bool hr_distinct_find(hr_distinct *search, uint32_t unique_max)
{
  if (!find_distinct(search, unique_max))
    return false;
  if (search->next == search->key_count)
    list_positions(search->key_count, search->result);
  return true;
}
