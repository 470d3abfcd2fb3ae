#include <hr/hash.h>

#include "kernel_test.h"

#define SETS_MAX 1000u
#define KEYS_MAX 6000u

static uint64_t set_keys[SETS_MAX * HOTROW_CACHE_WAYS], set_hashes[SETS_MAX * HOTROW_CACHE_WAYS];
static uint16_t occupied[SETS_MAX];
static uint64_t keys[KEYS_MAX], hashes[KEYS_MAX];
static uint32_t slots[KEYS_MAX];

static uint32_t set_of(uint64_t hash, uint32_t set_count)
{
  return (uint32_t)(((hash >> 32) * set_count) >> 32);
}

static bool is_taken(uint32_t set, uint32_t way)
{
  return ((uint32_t)occupied[set] >> way & 1u) == 1;
}

static uint32_t oracle_probe(uint64_t key, uint64_t hash, uint32_t set_count, bool has_hashes)
{
  uint32_t set = set_of(hash, set_count);
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    if (is_taken(set, way) && set_keys[set * HOTROW_CACHE_WAYS + way] == key &&
        (!has_hashes || set_hashes[set * HOTROW_CACHE_WAYS + way] == hash))
      return set * HOTROW_CACHE_WAYS + way;
  return HOTROW_SLOT_NONE;
}

/* Keys of one table, or of two. */
static uint64_t random_hash(hr_rng *rng, uint64_t key, bool has_hashes)
{
  return hr_key_hash(key, 9 + (has_hashes ? hr_rng_below(rng, 2) : 0));
}

/* Sets as a cache leaves them: a taken way's key is its set's, a free way holds what was there before, now and then
 * the very key of another way, and no key is taken twice; with hashes, two tables may have taken it. */
static void fill_sets(hr_rng *rng, uint32_t set_count, uint64_t key_range, bool has_hashes)
{
  for (uint32_t i = 0; i < set_count * HOTROW_CACHE_WAYS; i++)
    set_keys[i] = hr_rng_below(rng, 3) == 0 ? hr_rng_below(rng, key_range) : hr_rng_next(rng);
  memset(occupied, 0, sizeof occupied);
  for (uint32_t n = 0; n < set_count * HOTROW_CACHE_WAYS; n++) {
    uint64_t key = hr_rng_below(rng, key_range), hash = random_hash(rng, key, has_hashes);
    if (n < 2) {
      key = n == 0 ? 0 : UINT64_MAX;
      hash = random_hash(rng, key, has_hashes);
    }
    uint32_t set = set_of(hash, set_count), way = (uint32_t)hr_rng_below(rng, HOTROW_CACHE_WAYS);
    if (oracle_probe(key, hash, set_count, has_hashes) != HOTROW_SLOT_NONE || is_taken(set, way))
      continue;
    set_keys[set * HOTROW_CACHE_WAYS + way] = key;
    set_hashes[set * HOTROW_CACHE_WAYS + way] = hash;
    occupied[set] = (uint16_t)(occupied[set] | 1u << way);
  }
}

static void check_probe(hr_rng *rng, uint32_t set_count, size_t key_count, bool has_hashes)
{
  uint64_t key_range = (uint64_t)set_count * HOTROW_CACHE_WAYS + 2;
  fill_sets(rng, set_count, key_range, has_hashes);
  for (size_t i = 0; i < key_count; i++) {
    keys[i] = i == 0 ? 0 : i == 1 ? UINT64_MAX : hr_rng_below(rng, key_range);
    hashes[i] = random_hash(rng, keys[i], has_hashes);
  }
  uint32_t *device_slots = TO_DEVICE(slots, key_count);
  size_t ways = (size_t)set_count * HOTROW_CACHE_WAYS;
  kernels->probe(TO_DEVICE(set_keys, ways), has_hashes ? TO_DEVICE(set_hashes, ways) : NULL,
                 TO_DEVICE(occupied, (size_t)set_count), set_count, TO_DEVICE(keys, key_count),
                 TO_DEVICE(hashes, key_count), key_count, NULL, device_slots);
  from_device(slots, device_slots, key_count * sizeof *slots);
  size_t hits = 0;
  for (size_t i = 0; i < key_count; i++) {
    uint32_t expected = oracle_probe(keys[i], hashes[i], set_count, has_hashes);
    CHECK_MSG(slots[i] == expected, "%u sets, key %llu: slot %u, expected %u", set_count, (unsigned long long)keys[i],
              slots[i], expected);
    hits += expected != HOTROW_SLOT_NONE;
  }
  if (key_count > 1000)
    CHECK_MSG(hits > key_count / 10 && hits < key_count * 9 / 10, "%zu hits of %zu: a lopsided test", hits, key_count);
  kernel_test_release();
}

static void keys_are_found_where_they_are_taken_and_nowhere_else(void)
{
  hr_rng rng = {hr_test_seed(6)};
  const uint32_t set_counts[] = {1, 2, 3, 17, 256, SETS_MAX};
  const size_t key_counts[] = {0, 1, 2, 3, 4, 5, 13, 31, 32, 33, KEYS_MAX};
  for (size_t s = 0; s < 6; s++)
    for (size_t k = 0; k < sizeof key_counts / sizeof *key_counts; k++)
      for (int has_hashes = 0; has_hashes < 2; has_hashes++)
        check_probe(&rng, set_counts[s], key_counts[k], has_hashes);
}

static void every_way_of_a_full_and_of_an_empty_set(void)
{
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    keys[way] = set_keys[way] = way * 1000, hashes[way] = hr_key_hash(keys[way], 9);
  for (int full = 0; full < 2; full++) {
    occupied[0] = full ? UINT16_MAX : 0;
    uint32_t *device_slots = TO_DEVICE(slots, HOTROW_CACHE_WAYS);
    kernels->probe(TO_DEVICE(set_keys, HOTROW_CACHE_WAYS), NULL, TO_DEVICE(occupied, 1), 1,
                   TO_DEVICE(keys, HOTROW_CACHE_WAYS), TO_DEVICE(hashes, HOTROW_CACHE_WAYS), HOTROW_CACHE_WAYS, NULL,
                   device_slots);
    from_device(slots, device_slots, HOTROW_CACHE_WAYS * sizeof *slots);
    for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
      CHECK_EQ(slots[way], full ? way : HOTROW_SLOT_NONE);
    kernel_test_release();
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(keys_are_found_where_they_are_taken_and_nowhere_else);
  RUN(every_way_of_a_full_and_of_an_empty_set);
  return 0;
}
