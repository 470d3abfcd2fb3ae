/* Distinct keys in the order in which they come, against a plain search. */
#include "hr_test.h"

#include <distinct.h>
#include <hr/random.h>

#define KEYS_MAX 3000u

static uint64_t keys[KEYS_MAX], distinct[KEYS_MAX];
static uint32_t inverse[KEYS_MAX], offsets[KEYS_MAX + 1], positions[KEYS_MAX];
static uint32_t found_count;
static hotrow_dedup result = {
    .keys = distinct, .inverse = inverse, .offsets = offsets, .positions = positions, .unique_count_p = &found_count};

/* `step` more distinct keys at a time. */
static bool find(size_t count, uint32_t step)
{
  void *scratch = malloc(hr_distinct_scratch_size(count));
  CHECK(scratch);
  hr_distinct search;
  hr_distinct_begin(&search, keys, count, scratch, &result);
  bool is_found = true;
  for (uint32_t wanted = step; is_found && search.next < count; wanted += step) {
    is_found = hr_distinct_find(&search, wanted);
    CHECK(!is_found || search.next == count || found_count == wanted);
  }
  is_found = is_found && hr_distinct_find(&search, UINT32_MAX); /* nothing more to do */
  free(scratch);
  return is_found;
}

static void check(size_t count)
{
  uint32_t unique_count = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t u = 0;
    while (u < unique_count && keys[positions[offsets[u]]] != keys[i])
      u++;
    if (u == unique_count)
      CHECK_EQ(distinct[unique_count++], keys[i]);
    CHECK_EQ(inverse[i], u);
  }
  CHECK_EQ(found_count, unique_count);
  CHECK_EQ(offsets[0], 0);
  CHECK_EQ(offsets[unique_count], count);
  for (uint32_t u = 0; u < unique_count; u++) {
    CHECK(offsets[u] < offsets[u + 1]);
    for (uint32_t k = offsets[u]; k < offsets[u + 1]; k++) {
      CHECK(k == offsets[u] || positions[k - 1] < positions[k]);
      CHECK_EQ(inverse[positions[k]], u);
    }
  }
}

static void keys_come_once(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (size_t round = 0; round < 300; round++) {
    size_t count = hr_rng_below(&rng, round % 10 ? 100 : KEYS_MAX + 1);
    uint64_t range = 1 + hr_rng_below(&rng, round % 3 ? 2 * count + 1 : 1000000000);
    for (size_t i = 0; i < count; i++)
      keys[i] = hr_rng_below(&rng, range) - range / 2; /* 2^64 - 1 and 0 among them */
    CHECK(find(count, round % 2 ? UINT32_MAX : 1 + (uint32_t)hr_rng_below(&rng, 200)));
    check(count);
  }
}

static void distinct_keys_stay_where_they_are(void)
{
  for (uint32_t i = 0; i < KEYS_MAX; i++)
    keys[i] = i * (uint64_t)977;
  CHECK(find(KEYS_MAX, UINT32_MAX));
  CHECK_EQ(found_count, KEYS_MAX);
  CHECK_EQ(memcmp(distinct, keys, sizeof keys), 0);
  check(KEYS_MAX);
}

/* Keys that all fall into one slot: their products count up from 0. */
static void chosen_keys_are_given_up(void)
{
  const uint64_t inverse_multiplier = 0xf1de83e19937733du; /* times the multiplier: 1 */
  for (uint64_t i = 0; i < KEYS_MAX; i++)
    keys[i] = i * inverse_multiplier;
  CHECK(!find(KEYS_MAX, UINT32_MAX));
}

int main(void)
{
  RUN(keys_come_once);
  RUN(distinct_keys_stay_where_they_are);
  RUN(chosen_keys_are_given_up);
  return 0;
}
