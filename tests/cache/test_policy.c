/* Which row goes: the policies over metadata written by hand, the sketch, and all of it through the cache. */
#include "cache_rules.h"
#include "device_cache.h"

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/random.h>

#define WAYS HOTROW_CACHE_WAYS
#define ALL_POLICIES 4

static hr_row_meta meta[WAYS];

/* A full set, row w last used at batch + age[w]. */
static void fill(uint32_t batch, const int *ages)
{
  for (uint32_t way = 0; way < WAYS; way++)
    meta[way] = (hr_row_meta){.live_until = batch + (uint32_t)ages[way]};
}

/* The cache pins a victim's way to the batch at once. */
static uint32_t choose(hotrow_cache_policy policy, uint32_t batch)
{
  uint32_t way = hr_rules_choose(hr_cache_policy_get(policy), meta, batch);
  if (way < WAYS)
    meta[way].live_until = batch;
  return way;
}

static void oldest_goes_first_and_ties_go_by_way(void)
{
  static const int ages[WAYS] = {-3, -9, -1, -9, -4, -2, -5, -6, -1, -1, -1, -1, -1, -1, -1, -1};
  static const uint32_t order[WAYS] = {1, 3, 7, 6, 4, 0, 5, 2, 8, 9, 10, 11, 12, 13, 14, 15};
  static const uint32_t batches[] = {100, 5, 0, 0x80000000u, 0x80000004u, UINT32_MAX};
  for (int p = 0; p < ALL_POLICIES; p++) /* the same while uses are equal */
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
      fill(batches[b], ages);
      for (uint32_t i = 0; i < WAYS; i++)
        CHECK_EQ(choose((hotrow_cache_policy)p, batches[b]), order[i]);
      CHECK_EQ(choose((hotrow_cache_policy)p, batches[b]), WAYS); /* all are pinned now */
    }
}

static void rows_needed_now_or_later_stay(void)
{
  static const int ages[WAYS] = {0, 1, 7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, -1, 0, 0};
  for (int p = 0; p < ALL_POLICIES; p++) {
    fill(UINT32_MAX, ages);
    CHECK_EQ(choose((hotrow_cache_policy)p, UINT32_MAX), 13);
    CHECK_EQ(choose((hotrow_cache_policy)p, UINT32_MAX), WAYS);
  }
}

static void uses_rank_before_age(void)
{
  static const int ages[WAYS] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -2, -9, -9, -9};
  static const uint32_t order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  for (int p = HOTROW_POLICY_LIGHT_LFU; p < ALL_POLICIES; p++) {
    hotrow_cache_policy policy = (hotrow_cache_policy)p;
    fill(50, ages);
    for (uint32_t way = 0; way < WAYS; way++)
      meta[way].uses = (way < 13 ? 1 + way / 2 : 10) & HR_USES_MAX;
    for (size_t i = 0; i < 13; i++)
      CHECK_EQ(choose(policy, 50), order[i]);
    if (policy == HOTROW_POLICY_LIGHT_LFU) {
      CHECK_EQ(choose(policy, 1000), 0); /* pins end, permanence does not */
      for (uint32_t way = 0; way < WAYS; way++)
        meta[way].uses = 10;
      CHECK_EQ(choose(policy, 2000), WAYS);
    } else {
      CHECK_EQ(choose(policy, 50), 13);
    }
  }
}

/* A count is never below the truth, and seldom above it while the sketch is not crowded. */
static void the_sketch_counts(void)
{
  static hr_sketch_line lines[64];
  hr_sketch sketch = {lines, 64 / HR_SKETCH_LINES};
  hr_rng rng = {hr_test_seed(40)};
  uint32_t truth[256] = {0}, too_high = 0;
  for (int i = 0; i < 4000; i++) {
    uint64_t key = hr_rng_below(&rng, 1 + hr_rng_below(&rng, 256));
    uint32_t got = hr_sketch_count(&sketch, hr_key_hash(key, 1), 0);
    truth[key] += truth[key] < HR_USES_MAX;
    CHECK(got >= truth[key] && got <= HR_USES_MAX);
    too_high += got > truth[key];
  }
  CHECK_MSG(too_high < 400, "%u of 4000 counts are too high", too_high);
  for (uint64_t key = 0; key < 256; key++) { /* two halvings later */
    uint32_t got = hr_sketch_count(&sketch, hr_key_hash(key, 1), 2);
    CHECK(got >= truth[key] / 4 + 1 && got <= HR_USES_MAX / 4 + 256);
  }
  memset(lines, 0, sizeof lines);
  hr_sketch_remember(&sketch, 77, 20, 5);
  hr_sketch_remember(&sketch, 77, 3, 5); /* less than it knows */
  CHECK_EQ(hr_sketch_count(&sketch, 77, 5), 21);
  CHECK_EQ(hr_sketch_count(&sketch, 77, 6), 11);
  CHECK_EQ(hr_sketch_count(&sketch, 77, 6 + 100), 1);
}

/* One set of a real cache. */
static hotrow_cache *one_set(hotrow_cache_policy policy)
{
  hotrow_cache_options options = HOTROW_CACHE_OPTIONS_INIT;
  hotrow_segment segment = {.dim = 1, .optimizer = {.kind = HOTROW_SGD}};
  options.segments = &segment;
  options.segment_count = 1;
  options.row_count = WAYS;
  options.staging_row_count = 4;
  options.policy = policy;
  hotrow_cache *cache;
  CHECK_OK(device_create(&options, &cache));
  return cache;
}

static bool look(hotrow_cache *cache, uint64_t key)
{
  uint64_t hash = hr_key_hash(key, 1);
  uint32_t slot, seen;
  uint8_t state;
  device_lookup(cache, &key, &hash, 1, NULL, &slot, &seen, &state);
  CHECK((slot == HOTROW_SLOT_NONE) == (state == HOTROW_ROW_MISSING));
  return slot != HOTROW_SLOT_NONE;
}

static uint32_t bring_until(hotrow_cache *cache, uint64_t key, uint32_t next_use)
{
  uint32_t clock = 0, slot;
  uint64_t hash = hr_key_hash(key, 1);
  float value = (float)key;
  CHECK_OK(device_insert(cache, &key, &hash, &clock, &value, NULL, &next_use, 1, &slot));
  return slot;
}

static uint32_t bring(hotrow_cache *cache, uint64_t key)
{
  return bring_until(cache, key, HOTROW_BATCH_NONE);
}

static void fill_set(hotrow_cache *cache)
{
  for (uint64_t key = 0; key < WAYS; key++) {
    hotrow_cache_begin_batch(cache);
    CHECK(!look(cache, key));
    CHECK_EQ(bring(cache, key), key);
  }
}

static void a_row_is_permanent_after_ten_hits(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_LIGHT_LFU);
  fill_set(cache);
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
  CHECK_OK(hotrow_cache_get_stats(cache, &stats));
  CHECK_EQ(stats.uncached, 1);
  CHECK_EQ(stats.row_count, WAYS);
  hotrow_cache_invalidate(cache, hr_key_hash(0, 1), hr_key_hash(0, 1)); /* even a permanent row can be forgotten */
  CHECK_EQ(bring(cache, 102), 0);
  hotrow_cache_destroy(cache);
}

static void lru_keeps_what_was_looked_up(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_LRU);
  fill_set(cache);
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

/* The hot rows of yesterday are not asked for any more: LFU must let today's take their places. */
static void lfu_forgets(void)
{
  static const hotrow_cache_policy policies[] = {HOTROW_POLICY_LFU, HOTROW_POLICY_W_TINY_LFU};
  for (size_t p = 0; p < 2; p++) {
    hotrow_cache *cache = one_set(policies[p]);
    fill_set(cache);
    for (int hit = 0; hit < 200; hit++) {
      hotrow_cache_begin_batch(cache);
      for (uint64_t key = 0; key < WAYS; key++)
        CHECK(look(cache, key));
    }
    int hits = 0;
    for (int round = 0; round < 400; round++) {
      hotrow_cache_begin_batch(cache);
      for (uint64_t key = 100; key < 104; key++) {
        hits += round >= 390 && look(cache, key);
        if (!look(cache, key))
          bring(cache, key);
      }
    }
    CHECK_EQ(hits, 40);
    hotrow_cache_destroy(cache);
  }
}

static void a_new_row_must_beat_its_victim(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_W_TINY_LFU);
  hotrow_cache_stats stats;
  fill_set(cache);
  hotrow_cache_begin_batch(cache);
  for (uint64_t key = 0; key < WAYS; key++)
    CHECK(look(cache, key));
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring(cache, 100), WAYS); /* asked for once, and each victim twice */
  CHECK_OK(hotrow_cache_get_stats(cache, &stats));
  CHECK(stats.bypassed == 1 && stats.uncached == 0 && stats.row_count == WAYS);
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring(cache, 100), 0); /* as many uses as its victim: the newer one has the better chances */
  hotrow_cache_begin_batch(cache);
  CHECK(!look(cache, 0) && look(cache, 100));
  CHECK_EQ(bring(cache, 0), 1); /* it was remembered */
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring_until(cache, 200, hotrow_cache_batch(cache) + 1), 2); /* known to be needed: no contest */
  for (uint64_t key = 300; key < 304; key++)
    CHECK_EQ(bring(cache, key), WAYS + key - 300);
  CHECK_EQ(bring(cache, 304), 3); /* staging is full: it comes in after all */
  CHECK_OK(hotrow_cache_get_stats(cache, &stats));
  CHECK_EQ(stats.bypassed, 5);
  hotrow_cache_destroy(cache);
}

static void an_expected_row_stays_until_it_was_needed(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_LRU);
  uint8_t is_held[2];
  uint64_t keys[] = {3, 999}, hashes[] = {hr_key_hash(3, 1), hr_key_hash(999, 1)};
  fill_set(cache);
  uint32_t batch = hotrow_cache_batch(cache);
  CHECK_EQ(batch, WAYS);
  device_expect(cache, keys, hashes, 2, batch + 40, is_held);
  CHECK(is_held[0] == 1 && is_held[1] == 0);
  for (uint32_t round = 0; round < 40; round++) {
    hotrow_cache_begin_batch(cache);
    CHECK(bring(cache, 1000 + round) != 3);
  }
  CHECK(look(cache, 3));
  for (uint32_t round = 0; round < WAYS; round++) {
    hotrow_cache_begin_batch(cache);
    bring(cache, 2000 + round);
  }
  CHECK(!look(cache, 3));
  hotrow_cache_destroy(cache);
}

/* All 16 ways are pinned: the farthest goes if the new row is nearer, never one that this batch uses. */
static void the_farthest_makes_room(void)
{
  hotrow_cache *cache = one_set(HOTROW_POLICY_LRU);
  hotrow_cache_begin_batch(cache);
  for (uint64_t key = 0; key < WAYS; key++)
    CHECK_EQ(bring_until(cache, key, 10 + (uint32_t)key), key);
  CHECK_EQ(bring_until(cache, 50, 5), WAYS); /* the slots of this batch must stay */
  hotrow_cache_begin_batch(cache);
  CHECK_EQ(bring_until(cache, 50, 5), WAYS - 1); /* needed in 25 */
  CHECK_EQ(bring_until(cache, 51, 24), WAYS);    /* needed in 24 as well: no better */
  CHECK_EQ(bring(cache, 52), WAYS + 1);          /* not known to be needed */
  CHECK_EQ(bring_until(cache, 53, 23), WAYS - 2);
  CHECK(look(cache, 13));
  CHECK_EQ(bring_until(cache, 54, 4), WAYS - 4); /* 13 is in use, so is what came in its neighbours' places */
  hotrow_cache_stats stats;
  CHECK_OK(hotrow_cache_get_stats(cache, &stats));
  CHECK_EQ(stats.uncached, 3);
  hotrow_cache_destroy(cache);
}

int main(int argc, char **argv)
{
  device_open(argc, argv);
  RUN(oldest_goes_first_and_ties_go_by_way);
  RUN(rows_needed_now_or_later_stay);
  RUN(uses_rank_before_age);
  RUN(the_sketch_counts);
  RUN(a_row_is_permanent_after_ten_hits);
  RUN(lru_keeps_what_was_looked_up);
  RUN(lfu_forgets);
  RUN(a_new_row_must_beat_its_victim);
  RUN(an_expected_row_stays_until_it_was_needed);
  RUN(the_farthest_makes_room);
  return 0;
}
