#include <hr/hash.h>

#include "kernel_test.h"

typedef struct occurrence {
  uint64_t hash, key;
  uint32_t position;
} occurrence;

static int compare_occurrences(const void *a, const void *b)
{
  const occurrence *x = a, *y = b;
  if (x->hash != y->hash)
    return x->hash < y->hash ? -1 : 1;
  return x->position < y->position ? -1 : x->position > y->position;
}

static occurrence *sorted_occurrences(const uint64_t *keys, size_t count, uint64_t seed)
{
  occurrence *sorted = malloc((count + 1) * sizeof *sorted);
  CHECK(sorted);
  for (size_t i = 0; i < count; i++)
    sorted[i] = (occurrence){hr_key_hash(keys[i], seed), keys[i], (uint32_t)i};
  qsort(sorted, count, sizeof *sorted, compare_occurrences);
  return sorted;
}

static void *exact(size_t count, size_t element_size)
{
  void *array = malloc(count * element_size + (count == 0));
  CHECK(array);
  memset(array, 0xa5, count * element_size);
  return array;
}

static void compare_with_oracle(const hotrow_dedup *d, uint32_t found_count, const uint64_t *keys, size_t count,
                                uint64_t seed)
{
  occurrence *sorted = sorted_occurrences(keys, count, seed);
  uint32_t unique_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (i == 0 || sorted[i].key != sorted[i - 1].key) {
      CHECK(unique_count < found_count);
      CHECK_MSG(d->keys[unique_count] == sorted[i].key, "%zu keys: distinct key %u is wrong", count, unique_count);
      CHECK(d->hashes[unique_count] == sorted[i].hash);
      CHECK_EQ(d->offsets[unique_count], i);
      unique_count++;
    }
    CHECK_MSG(d->positions[i] == sorted[i].position, "%zu keys: positions[%zu] is %u, expected %u", count, i,
              d->positions[i], sorted[i].position);
    CHECK_EQ(d->inverse[sorted[i].position], unique_count - 1);
  }
  CHECK_EQ(found_count, unique_count);
  CHECK_EQ(d->offsets[unique_count], count);
  free(sorted);
}

static void check_dedup(const uint64_t *keys, size_t count, uint64_t seed)
{
  hotrow_dedup d = {exact(count, 8), exact(count, 8), exact(count, 4), exact(count + 1, 4), exact(count, 4), NULL};
  uint32_t unique_count = 77;
  hotrow_dedup on_device = d;
  on_device.keys = TO_DEVICE(d.keys, count);
  on_device.hashes = TO_DEVICE(d.hashes, count);
  on_device.inverse = TO_DEVICE(d.inverse, count);
  on_device.offsets = TO_DEVICE(d.offsets, count + 1);
  on_device.positions = TO_DEVICE(d.positions, count);
  on_device.unique_count_p = TO_DEVICE(&unique_count, 1);
  void *scratch;
  CHECK_OK(kernels->alloc(kernels->dedup_scratch_size(count), &scratch));
  CHECK_OK(kernels->dedup(TO_DEVICE(keys, count), count, seed, scratch, NULL, &on_device));
  from_device(d.keys, on_device.keys, count * 8);
  from_device(d.hashes, on_device.hashes, count * 8);
  from_device(d.inverse, on_device.inverse, count * 4);
  from_device(d.offsets, on_device.offsets, (count + 1) * 4);
  from_device(d.positions, on_device.positions, count * 4);
  from_device(&unique_count, on_device.unique_count_p, sizeof unique_count);
  compare_with_oracle(&d, unique_count, keys, count, seed);
  kernels->free(scratch);
  kernel_test_release();
  free(d.keys), free(d.hashes), free(d.inverse), free(d.offsets), free(d.positions);
}

static const size_t counts[] = {0, 1, 2, 40, 95, 96, 97, 98, 255, 1000, 2047, 2048, 2049, 5000, 70001};

static void random_keys_of_every_skew(void)
{
  hr_rng rng = {hr_test_seed(4)};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (int skew = 0; skew < 4; skew++) {
      uint64_t *keys = exact(counts[i], sizeof *keys);
      for (size_t j = 0; j < counts[i]; j++) {
        uint64_t x = hr_rng_next(&rng); /* distinct, 64 keys, a long tail, ids of one table's range */
        keys[j] = skew == 0 ? x : skew == 1 ? x % 64 : skew == 2 ? x >> (x % 64) : x % 100000;
      }
      check_dedup(keys, counts[i], hr_rng_next(&rng));
      free(keys);
    }
}

static void equal_keys_and_extreme_keys(void)
{
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    uint64_t *keys = exact(counts[i], sizeof *keys);
    const uint64_t extremes[] = {0, UINT64_MAX, 1, (uint64_t)1 << 63, UINT64_MAX - 1};
    for (size_t e = 0; e < 5; e++) {
      for (size_t j = 0; j < counts[i]; j++)
        keys[j] = extremes[e];
      check_dedup(keys, counts[i], e);
    }
    for (size_t j = 0; j < counts[i]; j++)
      keys[j] = extremes[j * j % 5];
    check_dedup(keys, counts[i], 0);
    free(keys);
  }
}

/* Neighbours in `sorted` whose hashes agree in all but their lowest `free_bits` bits, the larger first: the order of
 * the input must not decide. */
static size_t close_pairs(const occurrence *sorted, size_t count, int free_bits, uint64_t *pairs, size_t pairs_max)
{
  size_t found = 0;
  for (size_t i = 1; i < count && found + 2 <= pairs_max; i++)
    if (sorted[i].hash >> free_bits == sorted[i - 1].hash >> free_bits && sorted[i].hash != sorted[i - 1].hash) {
      pairs[found++] = sorted[i].key;
      pairs[found++] = sorted[i - 1].key;
    }
  CHECK_MSG(found >= 2, "no two of %zu hashes share %d bits", count, 64 - free_bits);
  return found;
}

/* The sort looks at 33 bits of a hash first. Keys that agree in them and differ below are found by birthday. */
static void keys_whose_hashes_nearly_agree(void)
{
  enum { POOL = 400000, PAIRS_MAX = 64 };
  hr_rng rng = {hr_test_seed(5)};
  uint64_t *pool = exact(POOL, sizeof *pool), seed = hr_rng_next(&rng);
  for (size_t i = 0; i < POOL; i++)
    pool[i] = hr_rng_next(&rng);
  occurrence *sorted = sorted_occurrences(pool, POOL, seed);
  uint64_t *keys = exact(3000, sizeof *keys), pairs[PAIRS_MAX];
  const int free_bits[] = {31, 34, 40, 44};
  const size_t sizes[] = {2, 7, 40, 300, 3000};
  for (size_t b = 0; b < 4; b++) {
    size_t pair_keys = close_pairs(sorted, POOL, free_bits[b], pairs, PAIRS_MAX);
    for (size_t s = 0; s < 5; s++) {
      for (size_t i = 0; i < sizes[s]; i++)
        keys[i] = i % 5 == 4 ? pool[i] : pairs[i % 2]; /* one pair, interleaved many times */
      check_dedup(keys, sizes[s], seed);
      for (size_t i = 0; i < sizes[s]; i++)
        keys[i] = pairs[hr_rng_below(&rng, pair_keys)];
      check_dedup(keys, sizes[s], seed);
    }
  }
  free(keys), free(sorted), free(pool);
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(random_keys_of_every_skew);
  RUN(equal_keys_and_extreme_keys);
  RUN(keys_whose_hashes_nearly_agree);
  return 0;
}
