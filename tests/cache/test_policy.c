/* Which row goes: the policies over metadata written by hand, and through the cache. */
#include "hr_test.h"
#include "policy.h"

#include <hotrow/cache.h>

#define WAYS HOTROW_CACHE_WAYS

static hr_row_meta meta[2 * WAYS];

/* Both sets full, row w of each last used at batch + age[w]. */
static void fill(uint32_t batch, const int *ages)
{
  for (uint32_t i = 0; i < 2 * WAYS; i++)
    meta[i] = (hr_row_meta){.live_until = batch + (uint32_t)ages[i % WAYS]};
}

static uint32_t choose_one(const hr_cache_policy *policy, uint32_t set, uint32_t batch)
{
  uint32_t slot;
  policy->choose(meta, &set, 1, batch, &slot);
  return slot;
}

static void oldest_goes_first_and_ties_go_by_way(void)
{
  static const int ages[WAYS] = {-3, -9, -1, -9, -4, -2, -5, -6, -1, -1, -1, -1, -1, -1, -1, -1};
  static const uint32_t order[WAYS] = {1, 3, 7, 6, 4, 0, 5, 2, 8, 9, 10, 11, 12, 13, 14, 15};
  static const uint32_t batches[] = {100, 5, 0, 0x80000000u, 0x80000004u, UINT32_MAX};
  static const hr_cache_policy *policies[] = {&hr_policy_lru, &hr_policy_light_lfu}; /* the same while uses are equal */
  for (size_t p = 0; p < 2; p++)
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
      fill(batches[b], ages);
      for (uint32_t i = 0; i < WAYS; i++)
        CHECK_EQ(choose_one(policies[p], 1, batches[b]), WAYS + order[i]);
      CHECK_EQ(choose_one(policies[p], 1, batches[b]), HOTROW_SLOT_NONE); /* all are pinned now */
    }
}

static void a_set_named_twice_gives_two_victims(void)
{
  static const int ages[WAYS] = {-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13, -14, -15, -16};
  fill(50, ages);
  uint32_t sets[20], slots[20];
  for (uint32_t i = 0; i < 20; i++)
    sets[i] = i & 1;
  sets[18] = sets[19] = 0;
  hr_policy_lru.choose(meta, sets, 20, 50, slots);
  for (uint32_t i = 0; i < 20; i++)
    CHECK_EQ(slots[i], sets[i] * WAYS + 15 - (i < 18 ? i / 2 : i - 9));
}

static void rows_needed_now_or_later_stay(void)
{
  static const int ages[WAYS] = {0, 1, 7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, -1, 0, 0};
  fill(UINT32_MAX, ages);
  CHECK_EQ(choose_one(&hr_policy_lru, 0, UINT32_MAX), 13);
  CHECK_EQ(choose_one(&hr_policy_lru, 0, UINT32_MAX), HOTROW_SLOT_NONE);
  CHECK_EQ(choose_one(&hr_policy_light_lfu, 1, UINT32_MAX), WAYS + 13);
  CHECK_EQ(choose_one(&hr_policy_light_lfu, 1, UINT32_MAX), HOTROW_SLOT_NONE);
}

static void uses_rank_before_age(void)
{
  static const int ages[WAYS] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -2, -9, -9, -9};
  fill(50, ages);
  for (uint32_t way = 0; way < WAYS; way++)
    meta[way].uses = way < 13 ? 1 + way / 2 : HR_USES_PERMANENT;
  static const uint32_t order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  for (size_t i = 0; i < 13; i++)
    CHECK_EQ(choose_one(&hr_policy_light_lfu, 0, 50), order[i]);
  CHECK_EQ(choose_one(&hr_policy_light_lfu, 0, 1000), 0); /* pins end, permanence does not */
  for (uint32_t way = 0; way < WAYS; way++)
    meta[way].uses = HR_USES_PERMANENT;
  CHECK_EQ(choose_one(&hr_policy_light_lfu, 0, 2000), HOTROW_SLOT_NONE);
}

static void uses_are_counted_up_to_ten(void)
{
  memset(meta, 0, sizeof meta);
  uint32_t slots[] = {3, HOTROW_SLOT_NONE, 9};
  for (uint32_t i = 1; i <= 12; i++) {
    hr_policy_light_lfu.use(meta, slots, 3);
    CHECK_EQ(meta[3].uses, i < HR_USES_PERMANENT ? i : HR_USES_PERMANENT);
    CHECK_EQ(meta[9].uses, meta[3].uses);
    CHECK_EQ(meta[4].uses, 0);
  }
  CHECK(!hr_policy_lru.use);
}

/* One set of a real cache. */
static hotrow_cache *one_set(hotrow_cache_policy policy)
{
  hotrow_cache_options options = HOTROW_CACHE_OPTIONS_INIT;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  options.optimizer.kind = HOTROW_SGD;
  options.row_count = WAYS;
  options.staging_row_count = 4;
  options.dim = 1;
  options.policy = policy;
  hotrow_cache *cache;
  CHECK_OK(hotrow_cache_create(&options, &cache));
  return cache;
}

static bool look(hotrow_cache *cache, uint64_t key)
{
  uint32_t slot, seen;
  hotrow_cache_lookup(cache, &key, &key, 1, &slot, &seen);
  return slot != HOTROW_SLOT_NONE;
}

static uint32_t bring(hotrow_cache *cache, uint64_t key)
{
  uint32_t clock = 0, slot;
  float value = (float)key;
  CHECK_OK(hotrow_cache_insert(cache, &key, &key, &clock, &value, NULL, 1, &slot));
  return slot;
}

static void a_row_is_permanent_after_ten_hits(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_LIGHT_LFU);
  for (uint64_t key = 0; key < WAYS; key++) {
    hotrow_cache_begin_batch(cache);
    CHECK(!look(cache, key));
    CHECK_EQ(bring(cache, key), key);
  }
  for (int hit = 0; hit < 10; hit++) {
    hotrow_cache_begin_batch(cache);
    for (uint64_t key = 0; key < WAYS; key++)
      CHECK(key == 5 && hit == 9 ? true : look(cache, key)); /* key 5 has one hit less than the others */
  }
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring(cache, 100), 5);
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring(cache, 101), 5); /* 100 was never hit */
  for (int hit = 0; hit < 10; hit++)
    CHECK(look(cache, 101));
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring(cache, 102), WAYS); /* staging */
  hotrow_cache_begin_batch(cache);
  CHECK(!look(cache, 102) && look(cache, 0) && look(cache, 101));
  hotrow_cache_stats stats;
  hotrow_cache_get_stats(cache, &stats);
  CHECK_EQ(stats.uncached, 1);
  CHECK_EQ(stats.row_count, WAYS);
  hotrow_cache_invalidate(cache, 0, 0); /* even a permanent row can be forgotten */
  CHECK_EQ(bring(cache, 102), 0);
  hotrow_cache_destroy(cache);
}

static void lru_keeps_what_was_looked_up(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_LRU);
  for (uint64_t key = 0; key < WAYS; key++) {
    hotrow_cache_begin_batch(cache);
    CHECK_EQ(bring(cache, key), key);
  }
  for (int round = 0; round < 20; round++) { /* 0 is the oldest, but is used */
    hotrow_cache_begin_batch(cache);
    CHECK(look(cache, 0));
  }
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring(cache, 100), 1);
  CHECK_EQ(bring(cache, 101), 2);
  hotrow_cache_begin_batch(cache);
  CHECK(look(cache, 0) && !look(cache, 1) && !look(cache, 2) && look(cache, 3) && look(cache, 100));
  hotrow_cache_destroy(cache);
}

int main(void)
{
  RUN(oldest_goes_first_and_ties_go_by_way);
  RUN(a_set_named_twice_gives_two_victims);
  RUN(rows_needed_now_or_later_stay);
  RUN(uses_rank_before_age);
  RUN(uses_are_counted_up_to_ten);
  RUN(a_row_is_permanent_after_ten_hits);
  RUN(lru_keeps_what_was_looked_up);
  return 0;
}
