/* The order in which the entries of a cut go into the database: by their keys. */
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

#include "storage_state.h"

#define WORD_BYTES 8u
#define PUT_BYTE 15u /* of two words: behind the key */
#define VALUES 256u

static uint64_t word_of(const uint8_t *bytes)
{
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return __builtin_bswap64(word);
}

/* Keys of the kinds that a cut has differ in their first byte where they differ in size, so zeros may fill them up. */
static hr_entry_order describe(const uint8_t *entry)
{
  hr_entry_head head;
  uint8_t bytes[2 * WORD_BYTES] = {0};
  memcpy(&head, entry, sizeof head);
  _Static_assert(HR_STORE_KEY_BYTES_MAX <= PUT_BYTE, "room for keys");
  HOTROW_ASSERT(head.key_size <= HR_STORE_KEY_BYTES_MAX);
  memcpy(bytes, entry + sizeof head, head.key_size);
  bytes[PUT_BYTE] = head.value_size > 0; /* a row is deleted, then put */
  return (hr_entry_order){.words = {word_of(bytes + WORD_BYTES), word_of(bytes)}, .entry = entry};
}

/* One pass of a radix sort, by one byte; false if it is the same in all. */
static bool sort_by_byte(const hr_entry_order *from, hr_entry_order *to, size_t count, uint32_t word, uint32_t shift)
{
  size_t places[VALUES] = {0}, first = 0;
  for (size_t i = 0; i < count; i++)
    places[from[i].words[word] >> shift & 0xff]++;
  if (places[from[0].words[word] >> shift & 0xff] == count)
    return false;
  for (uint32_t v = 0; v < VALUES; v++) {
    size_t of_value = places[v];
    places[v] = first;
    first += of_value;
  }
  for (size_t i = 0; i < count; i++)
    to[places[from[i].words[word] >> shift & 0xff]++] = from[i];
  return true;
}

hr_entry_order *hr_rocksdb_order(const hr_entries *entries)
{
  size_t count = entries->count, done = 0;
  hr_entry_order *order = malloc((count + 1) * sizeof *order), *scratch = malloc((count + 1) * sizeof *scratch);
  if (!order || !scratch) {
    free(order);
    free(scratch);
    return NULL;
  }
  hr_entries_place place = {0};
  for (const uint8_t *entry; (entry = hr_entries_next(entries, &place));)
    order[done++] = describe(entry);
  HOTROW_ASSERT(done == count);
  for (uint32_t byte = 0; count > 0 && byte < 2 * WORD_BYTES; byte++)
    if (sort_by_byte(order, scratch, count, byte / WORD_BYTES, byte % WORD_BYTES * 8)) {
      hr_entry_order *sorted = scratch;
      scratch = order;
      order = sorted;
    }
  free(scratch);
  return order;
}
