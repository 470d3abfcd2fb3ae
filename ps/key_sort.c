/* By their bytes, the least one first, over those that are not the same in all keys: eight passes at most, where
 * qsort() compares each key a dozen times. */
#include "key_sort.h"

#include <string.h>

#define FEW 64u /* are sorted by insertion */
#define BYTES 8u
#define VALUES 256u

static void insert_each(uint64_t *keys, size_t count)
{
  for (size_t i = 1; i < count; i++) {
    uint64_t key = keys[i];
    size_t at = i;
    for (; at > 0 && keys[at - 1] > key; at--)
      keys[at] = keys[at - 1];
    keys[at] = key;
  }
}

void hr_key_sort(uint64_t *keys, uint64_t *scratch, size_t count)
{
  size_t counts[BYTES][VALUES];
  if (count < FEW) {
    insert_each(keys, count);
    return;
  }
  memset(counts, 0, sizeof counts);
  for (size_t i = 0; i < count; i++)
    for (uint32_t b = 0; b < BYTES; b++)
      counts[b][keys[i] >> (8 * b) & 0xff]++;
  uint64_t *from = keys, *to = scratch;
  for (uint32_t b = 0; b < BYTES; b++) {
    if (counts[b][from[0] >> (8 * b) & 0xff] == count)
      continue;
    size_t first = 0;
    for (uint32_t v = 0; v < VALUES; v++) {
      size_t of_value = counts[b][v];
      counts[b][v] = first;
      first += of_value;
    }
    for (size_t i = 0; i < count; i++)
      to[counts[b][from[i] >> (8 * b) & 0xff]++] = from[i];
    uint64_t *emptied = from;
    from = to;
    to = emptied;
  }
  if (from != keys)
    memcpy(keys, from, count * sizeof *keys);
}
