/* Entries of a cut, and keys of a request, in order: as qsort() has them. */
#include <hr/random.h>

#include "hr_test.h"
#include "key_sort.h"
#include "storage_state.h"

static void add(hr_entries *entries, const uint8_t *key, uint32_t key_size, uint32_t value_size)
{
  hr_entry_head head = {key_size, value_size};
  uint8_t *at = hr_entries_take(entries, sizeof head + key_size + value_size);
  CHECK(at);
  memcpy(at, &head, sizeof head);
  memcpy(at + sizeof head, key, key_size);
  memset(at + sizeof head + key_size, 7, value_size);
}

static int compare_entries(const void *a, const void *b)
{
  const hr_entry_order *x = a, *y = b;
  hr_entry_head head_x, head_y;
  memcpy(&head_x, x->entry, sizeof head_x);
  memcpy(&head_y, y->entry, sizeof head_y);
  size_t size = head_x.key_size < head_y.key_size ? head_x.key_size : head_y.key_size;
  int order = memcmp(x->entry + sizeof head_x, y->entry + sizeof head_y, size);
  if (order == 0)
    order = (head_x.key_size > head_y.key_size) - (head_x.key_size < head_y.key_size);
  return order ? order : (head_x.value_size > 0) - (head_y.value_size > 0);
}

/* Tables, rows of some of them, buckets; some rows are deleted and put. */
static void fill(hr_entries *entries, hr_rng *rng, size_t count, uint64_t key_max)
{
  uint8_t key[HR_STORE_KEY_BYTES_MAX];
  for (size_t i = 0; i < count; i++) {
    uint32_t table = (uint32_t)hr_rng_below(rng, 3) << hr_rng_below(rng, 30);
    uint64_t number = key_max ? hr_rng_below(rng, key_max) : hr_rng_next(rng);
    switch (hr_rng_below(rng, 8)) {
    case 0:
      hr_store_table_key(key, HR_STORE_TABLE, table);
      add(entries, key, HR_STORE_TABLE_KEY_BYTES, 9);
      break;
    case 1:
      hr_store_row_key(key, HR_STORE_BUCKET, table, number);
      add(entries, key, HR_STORE_ROW_KEY_BYTES, 5);
      break;
    default:
      hr_store_row_key(key, HR_STORE_ROW, table, number);
      add(entries, key, HR_STORE_ROW_KEY_BYTES, (uint32_t)hr_rng_below(rng, 3));
    }
  }
}

static void entries_are_in_order(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (uint32_t round = 0; round < 200; round++) {
    hr_entries entries = {0};
    size_t count = hr_rng_below(&rng, 500);
    fill(&entries, &rng, count, round % 3 ? 0 : 50);
    hr_entry_order *order = hr_rocksdb_order(&entries);
    CHECK(order);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
      hr_entry_head head;
      CHECK(i == 0 || compare_entries(&order[i - 1], &order[i]) <= 0);
      memcpy(&head, order[i].entry, sizeof head);
      bytes += sizeof head + head.key_size + head.value_size;
    }
    CHECK_EQ(bytes, entries.size); /* each once, as far as sizes tell */
    free(order);
    hr_entries_free(&entries);
  }
}

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void keys_are_in_order(void)
{
  static uint64_t keys[3000], scratch[3000], expected[3000];
  hr_rng rng = {hr_test_seed(2)};
  for (uint32_t round = 0; round < 300; round++) {
    size_t count = hr_rng_below(&rng, round % 2 ? 100 : 3001);
    uint32_t shift = (uint32_t)hr_rng_below(&rng, 64);
    for (size_t i = 0; i < count; i++)
      expected[i] = keys[i] = hr_rng_next(&rng) >> shift;
    hr_key_sort(keys, scratch, count);
    qsort(expected, count, sizeof *expected, compare_keys);
    CHECK(memcmp(keys, expected, count * sizeof *keys) == 0);
  }
}

int main(void)
{
  entries_are_in_order();
  keys_are_in_order();
  return 0;
}
