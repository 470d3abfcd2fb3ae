#include "lookahead.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define NOWHERE UINT32_MAX
#define PLACES_MIN 1024u

static void free_batch(hr_lookahead_batch *batch)
{
  free(batch->keys);
  free(batch->hashes);
  free(batch->earlier);
  free(batch->later);
  free(batch->is_fetched);
  memset(batch, 0, sizeof *batch);
}

void hr_lookahead_fini(hr_lookahead *window)
{
  for (size_t i = 0; i < HOTROW_LOOKAHEAD_MAX; i++)
    free_batch(&window->batches[i]);
  free(window->places);
  memset(window, 0, sizeof *window);
}

static hotrow_status grow_batch(hr_lookahead_batch *batch, uint32_t count)
{
  if (count <= batch->capacity && batch->is_fetched)
    return HOTROW_OK;
  uint32_t capacity = count + count / 4 + 64;
  free_batch(batch);
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint64_t), "look-ahead", (void **)&batch->keys));
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint64_t), "look-ahead", (void **)&batch->hashes));
  HOTROW_TRY(hr_alloc(capacity, 1, "look-ahead", (void **)&batch->earlier));
  HOTROW_TRY(hr_alloc(capacity, 1, "look-ahead", (void **)&batch->later));
  HOTROW_TRY(hr_alloc(capacity, 1, "look-ahead", (void **)&batch->is_fetched));
  batch->capacity = capacity;
  return HOTROW_OK;
}

/* Where this hash is, or the empty place where it would be. */
static hr_lookahead_place *find_place(const hr_lookahead *window, uint64_t hash)
{
  size_t at = hash & (window->place_count - 1);
  while (window->places[at].position != NOWHERE && window->places[at].hash != hash)
    at = (at + 1) & (window->place_count - 1);
  return &window->places[at];
}

/* At most half of the places are used. */
static hotrow_status grow_places(hr_lookahead *window, size_t used)
{
  size_t count = window->place_count ? window->place_count : PLACES_MIN;
  while (count / 2 < used)
    count *= 2;
  if (count == window->place_count)
    return HOTROW_OK;
  hr_lookahead grown = {.place_count = count};
  HOTROW_TRY(hr_alloc(count, sizeof *grown.places, "look-ahead", (void **)&grown.places));
  memset(grown.places, 0xff, count * sizeof *grown.places);
  for (size_t i = 0; i < window->place_count; i++)
    if (window->places[i].position != NOWHERE)
      *find_place(&grown, window->places[i].hash) = window->places[i];
  free(window->places);
  window->places = grown.places;
  window->place_count = count;
  return HOTROW_OK;
}

/* Empties a place and moves up what had to step past it. */
static void remove_place(hr_lookahead *window, hr_lookahead_place *place)
{
  size_t mask = window->place_count - 1, hole = (size_t)(place - window->places), at = hole;
  for (;;) {
    at = (at + 1) & mask;
    if (window->places[at].position == NOWHERE)
      break;
    size_t home = window->places[at].hash & mask;
    if (((at - home) & mask) < ((at - hole) & mask))
      continue; /* it would be before its home in the hole */
    window->places[hole] = window->places[at];
    hole = at;
  }
  window->places[hole].position = NOWHERE;
  window->place_used--;
}

hotrow_status hr_lookahead_add(hr_lookahead *window, const uint64_t *keys, const uint64_t *hashes, uint32_t count)
{
  if (window->count == HOTROW_LOOKAHEAD_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%u batches are handed over ahead of their lookup, which is the most",
                   HOTROW_LOOKAHEAD_MAX);
  uint64_t number = window->first + window->count;
  hr_lookahead_batch *batch = &window->batches[number % HOTROW_LOOKAHEAD_MAX];
  HOTROW_TRY(grow_batch(batch, count));
  HOTROW_TRY(grow_places(window, window->place_used + count));
  memcpy(batch->keys, keys, count * sizeof *keys);
  memcpy(batch->hashes, hashes, count * sizeof *hashes);
  memset(batch->earlier, 0, count);
  memset(batch->later, 0, count);
  memset(batch->is_fetched, 0, count);
  batch->count = count;
  batch->open = 0;
  batch->is_asked_for = false;
  window->count++;
  for (uint32_t i = 0; i < count; i++) {
    hr_lookahead_place *place = find_place(window, hashes[i]);
    if (place->position == NOWHERE) {
      place->hash = hashes[i];
      window->place_used++;
    } else {
      uint32_t distance = (uint32_t)number - place->batch;
      HOTROW_ASSERT(distance > 0 && distance < HOTROW_LOOKAHEAD_MAX);
      batch->earlier[i] = (uint8_t)distance;
      window->batches[place->batch % HOTROW_LOOKAHEAD_MAX].later[place->position] = (uint8_t)distance;
    }
    place->batch = (uint32_t)number;
    place->position = i;
  }
  return HOTROW_OK;
}

hr_lookahead_batch *hr_lookahead_find(hr_lookahead *window, uint64_t number)
{
  if (number < window->first || number - window->first >= window->count)
    return NULL;
  return &window->batches[number % HOTROW_LOOKAHEAD_MAX];
}

static bool has_keys(const hr_lookahead_batch *batch, const uint64_t *keys, uint32_t count)
{
  return batch && batch->count == count && memcmp(batch->keys, keys, count * sizeof *keys) == 0;
}

hr_lookahead_batch *hr_lookahead_take(hr_lookahead *window, const uint64_t *keys, uint32_t count)
{
  hr_lookahead_batch *oldest = hr_lookahead_find(window, window->first);
  if (window->is_in_hand && !has_keys(oldest, keys, count)) {
    hr_lookahead_pop(window);
    oldest = hr_lookahead_find(window, window->first);
  }
  if (!has_keys(oldest, keys, count))
    return NULL;
  window->is_in_hand = true;
  return oldest;
}

void hr_lookahead_pop(hr_lookahead *window)
{
  HOTROW_ASSERT(window->count > 0);
  const hr_lookahead_batch *batch = &window->batches[window->first % HOTROW_LOOKAHEAD_MAX];
  for (uint32_t i = 0; i < batch->count; i++) {
    if (batch->later[i])
      continue; /* its last place is in a later batch */
    remove_place(window, find_place(window, batch->hashes[i]));
  }
  window->first++;
  window->count--;
  window->is_in_hand = false;
}

void hr_lookahead_drop(hr_lookahead *window)
{
  if (window->places)
    memset(window->places, 0xff, window->place_count * sizeof *window->places);
  window->place_used = 0;
  window->first += window->count;
  window->count = 0;
  window->is_in_hand = false;
}

bool hr_lookahead_is_needed_before(const hr_lookahead *window, uint64_t number, uint32_t position)
{
  uint8_t earlier = window->batches[number % HOTROW_LOOKAHEAD_MAX].earlier[position];
  return earlier && number - window->first >= earlier;
}
