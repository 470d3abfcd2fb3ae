/* With the whole stream in its window the cache hits as often as an oracle that looks up every next use: per set of 16
 * ways, rows that this batch uses stay, of the others the one needed last leaves (Belady 1966), or the new row stays
 * out. */
#include "hr_test.h"

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/random.h>

#define WAYS HOTROW_CACHE_WAYS
#define SETS 4
#define KEYS 400
#define BATCHES 600
#define BATCH_MAX 48

static uint64_t hashes_of[KEYS];
static uint32_t batch_counts[BATCHES], batches[BATCHES][BATCH_MAX];
static uint32_t next_uses[BATCHES][BATCH_MAX]; /* batch numbers: batch b of the stream is b + 1 in the cache */
static hr_rng rng;

static void make_stream(uint32_t batch_max)
{
  uint32_t next[KEYS];
  for (uint32_t b = 0; b < BATCHES; b++) {
    bool taken[KEYS] = {false};
    batch_counts[b] = 0;
    for (uint32_t i = 0; i < batch_max; i++) {
      uint32_t k = (uint32_t)hr_rng_below(&rng, 1 + hr_rng_below(&rng, KEYS));
      if (!taken[k])
        batches[b][batch_counts[b]++] = k;
      taken[k] = true;
    }
  }
  for (uint32_t k = 0; k < KEYS; k++) {
    hashes_of[k] = hr_key_hash(k, 6);
    next[k] = HOTROW_BATCH_NONE;
  }
  for (uint32_t b = BATCHES; b-- > 0;)
    for (uint32_t i = 0; i < batch_counts[b]; i++) {
      next_uses[b][i] = next[batches[b][i]];
      next[batches[b][i]] = b + 1;
    }
}

/* The first batch from `from` on that has the key, or BATCHES: read off the stream. */
static uint32_t needed_in(uint32_t key, uint32_t from)
{
  for (uint32_t b = from; b < BATCHES; b++)
    for (uint32_t i = 0; i < batch_counts[b]; i++)
      if (batches[b][i] == key)
        return b;
  return BATCHES;
}

static uint64_t oracle_hits(void)
{
  static uint32_t held[SETS][WAYS]; /* key + 1, 0: free */
  uint64_t hits = 0;
  memset(held, 0, sizeof held);
  for (uint32_t b = 0; b < BATCHES; b++) {
    bool is_used[KEYS] = {false}, is_hit[BATCH_MAX] = {false};
    for (uint32_t i = 0; i < batch_counts[b]; i++) {
      uint32_t key = batches[b][i], *set = held[((hashes_of[key] >> 32) * SETS) >> 32];
      is_used[key] = true;
      for (uint32_t w = 0; w < WAYS; w++)
        is_hit[i] |= set[w] == key + 1;
      hits += is_hit[i];
    }
    for (uint32_t i = 0; i < batch_counts[b]; i++) {
      uint32_t key = batches[b][i], *set = held[((hashes_of[key] >> 32) * SETS) >> 32];
      uint32_t way = WAYS, latest = needed_in(key, b + 1);
      for (uint32_t w = 0; w < WAYS && !is_hit[i]; w++) {
        uint32_t needed = set[w] ? needed_in(set[w] - 1, b + 1) : BATCHES + 1;
        bool may_go = !set[w] || !is_used[set[w] - 1];
        if (may_go && needed > latest) {
          way = w;
          latest = needed;
        }
      }
      if (way < WAYS)
        set[way] = key + 1;
    }
  }
  return hits;
}

/* window 0: the next uses are handed over with the lookup; else each batch is announced `window` batches ahead. */
static uint64_t cache_hits(hotrow_cache_policy policy, uint32_t window)
{
  hotrow_segment segment = {.dim = 1, .optimizer = {.kind = HOTROW_SGD}};
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  hotrow_cache *cache;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &o.kernels));
  o.segments = &segment;
  o.segment_count = 1;
  o.row_count = SETS * WAYS;
  o.staging_row_count = BATCH_MAX;
  o.policy = policy;
  o.mode = HOTROW_CACHE_ANNOUNCE;
  o.announce_step = 1;
  CHECK_OK(hotrow_cache_create(&o, &cache));
  for (uint32_t b = 0; b < BATCHES; b++) {
    uint64_t keys[BATCH_MAX], hashes[BATCH_MAX], missing[BATCH_MAX], missing_hashes[BATCH_MAX];
    uint32_t slots[BATCH_MAX], seen[BATCH_MAX], clocks[BATCH_MAX] = {0}, next_use[BATCH_MAX], missing_count = 0;
    uint8_t states[BATCH_MAX];
    float values[BATCH_MAX] = {0};
    for (uint32_t i = 0; i < batch_counts[b]; i++) {
      keys[i] = batches[b][i];
      hashes[i] = hashes_of[batches[b][i]];
    }
    hotrow_cache_begin_batch(cache);
    CHECK_EQ(hotrow_cache_batch(cache), b + 1);
    for (uint32_t i = 0; i < batch_counts[b]; i++)
      next_use[i] = window && next_uses[b][i] - (b + 1) > window ? HOTROW_BATCH_NONE : next_uses[b][i];
    hotrow_cache_lookup(cache, keys, hashes, batch_counts[b], NULL, next_use, slots, seen, states);
    for (uint32_t i = 0; i < batch_counts[b]; i++)
      if (states[i] == HOTROW_ROW_MISSING) {
        missing[missing_count] = keys[i];
        missing_hashes[missing_count] = hashes[i];
        next_use[missing_count++] = next_use[i];
      }
    CHECK_OK(hotrow_cache_insert(cache, missing, missing_hashes, clocks, values, NULL, next_use, missing_count, slots));
    if (window && b + 1 + window < BATCHES) { /* the window moves on by one batch */
      uint32_t ahead = b + 1 + window;
      for (uint32_t i = 0; i < batch_counts[ahead]; i++) {
        keys[i] = batches[ahead][i];
        hashes[i] = hashes_of[batches[ahead][i]];
      }
      hotrow_cache_expect(cache, keys, hashes, batch_counts[ahead], NULL, ahead + 1, states);
    }
  }
  hotrow_cache_stats stats;
  CHECK_OK(hotrow_cache_get_stats(cache, &stats));
  hotrow_cache_destroy(cache);
  return stats.hits;
}

/* Of rows that are needed in one batch either may leave: who does changes a few hits later on. */
static void check_hits(uint64_t hits, uint64_t best, bool is_unique)
{
  uint64_t slack = is_unique ? 0 : best / 500;
  CHECK_MSG(hits + slack >= best && hits <= best + slack, "%llu hits, the oracle %llu", (unsigned long long)hits,
            (unsigned long long)best);
}

static void a_full_window_is_belady(void)
{
  static const uint32_t batch_maxima[] = {1, 1, 1, 7, 20, BATCH_MAX};
  rng.state = hr_test_seed(60);
  for (size_t s = 0; s < sizeof batch_maxima / sizeof *batch_maxima; s++) {
    make_stream(batch_maxima[s]);
    uint64_t best = oracle_hits();
    for (int policy = HOTROW_POLICY_LRU; policy <= HOTROW_POLICY_W_TINY_LFU; policy++)
      if (policy != HOTROW_POLICY_LIGHT_LFU) { /* its permanent rows stay although nobody needs them */
        check_hits(cache_hits((hotrow_cache_policy)policy, 0), best, batch_maxima[s] == 1);
        check_hits(cache_hits((hotrow_cache_policy)policy, BATCHES), best, batch_maxima[s] == 1);
      }
  }
}

/* A short window lies between none and all. */
static void a_longer_window_hits_more(void)
{
  rng.state = hr_test_seed(61);
  make_stream(7);
  uint64_t one = cache_hits(HOTROW_POLICY_LRU, 1), eight = cache_hits(HOTROW_POLICY_LRU, 8);
  uint64_t forty = cache_hits(HOTROW_POLICY_LRU, 40), best = oracle_hits();
  CHECK_MSG(one < eight && eight < forty && forty <= best, "hits %llu %llu %llu of %llu", (unsigned long long)one,
            (unsigned long long)eight, (unsigned long long)forty, (unsigned long long)best);
}

int main(void)
{
  RUN(a_full_window_is_belady);
  RUN(a_longer_window_hits_more);
  return 0;
}
