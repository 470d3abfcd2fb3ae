/* Hit rates of every policy, without and with look-ahead, next to those of an oracle of the same capacity. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/memory.h>

#include "bench_cache.h"
#include "key_stream.h"
#include "options.h"

#define SHAPE_SAMPLES 128u /* of a batch of the built-in stream, unless told otherwise */
#define TRACE_BATCH_KEYS 2048u
#define TABLE_SEED 1u

typedef struct trace_state {
  const bench_cache_options *options;
  hr_key_stream stream;
  size_t batch_keys_max;
  uint64_t *keys, *hashes; /* owned, [key_count]: of key number i */
  hotrow_cache *cache;
  /* Of one batch, owned. */
  uint64_t *batch_keys, *batch_hashes, *missing_keys, *missing_hashes;
  uint32_t *slots, *seen, *clocks, *next_use, *missing_next_use, *missing_slots;
  uint8_t *states;
  float *values;
} trace_state;

static const struct {
  const char *name;
  hotrow_cache_policy policy;
} policies[] = {{"lru", HOTROW_POLICY_LRU},
                {"lightlfu", HOTROW_POLICY_LIGHT_LFU},
                {"lfu", HOTROW_POLICY_LFU},
                {"w-tinylfu", HOTROW_POLICY_W_TINY_LFU}};

static hotrow_status create_cache(trace_state *t, uint64_t row_count, hotrow_cache_policy policy)
{
  const hotrow_kernels *kernels;
  const hotrow_segment segment = {.dim = 1, .optimizer = {.kind = HOTROW_SGD, .lr = 0.01f}};
  HOTROW_TRY(hotrow_kernels_get(HOTROW_CPU, &kernels));
  hotrow_cache_options options = HOTROW_CACHE_OPTIONS_INIT;
  options.kernels = kernels;
  options.segments = &segment;
  options.segment_count = 1;
  options.row_count = row_count;
  options.staging_row_count = t->batch_keys_max;
  options.pull_bound = 1;
  options.policy = policy;
  options.mode = HOTROW_CACHE_ANNOUNCE;
  options.announce_step = 1;
  return hotrow_cache_create(&options, &t->cache);
}

static size_t load_batch(trace_state *t, size_t batch)
{
  const size_t first = t->stream.offsets[batch], count = t->stream.offsets[batch + 1] - first;
  for (size_t i = 0; i < count; i++) {
    t->batch_keys[i] = t->keys[t->stream.keys[first + i]];
    t->batch_hashes[i] = t->hashes[t->stream.keys[first + i]];
  }
  return count;
}

/* Tells the cache which rows batch `batch` will need, when that batch comes into view. */
static void expect_batch(trace_state *t, size_t present, size_t batch)
{
  if (batch >= t->stream.batch_count)
    return;
  const size_t count = load_batch(t, batch);
  hotrow_cache_expect(t->cache, t->batch_keys, t->batch_hashes, count, NULL,
                      hotrow_cache_batch(t->cache) + (uint32_t)(batch - present), t->states);
}

/* Next uses as far as a window of `lookahead` batches shows them. */
static void find_next_uses(trace_state *t, size_t batch, uint32_t lookahead, size_t count)
{
  const uint32_t *next_use = t->stream.next_use + t->stream.offsets[batch];
  for (size_t i = 0; i < count; i++)
    t->next_use[i] = next_use[i] != HR_STREAM_NEVER && next_use[i] - batch <= lookahead
                         ? hotrow_cache_batch(t->cache) + (uint32_t)(next_use[i] - batch)
                         : HOTROW_BATCH_NONE;
}

static hotrow_status serve_batch(trace_state *t, size_t batch, uint32_t lookahead, uint64_t *hits_p)
{
  size_t missing = 0;
  hotrow_cache_begin_batch(t->cache);
  if (lookahead > 0)
    expect_batch(t, batch, batch + lookahead);
  const size_t count = load_batch(t, batch);
  find_next_uses(t, batch, lookahead, count);
  hotrow_cache_lookup(t->cache, t->batch_keys, t->batch_hashes, count, NULL, t->next_use, t->slots, t->seen, t->states);
  for (size_t i = 0; i < count; i++) {
    if (t->slots[i] != HOTROW_SLOT_NONE)
      continue;
    t->missing_keys[missing] = t->batch_keys[i];
    t->missing_hashes[missing] = t->batch_hashes[i];
    t->missing_next_use[missing++] = t->next_use[i];
  }
  *hits_p += count - missing;
  return hotrow_cache_insert(t->cache, t->missing_keys, t->missing_hashes, t->clocks, t->values, NULL,
                             t->missing_next_use, missing, t->missing_slots);
}

static hotrow_status count_hits(trace_state *t, uint64_t row_count, hotrow_cache_policy policy, uint32_t lookahead,
                                uint64_t *hits_p)
{
  HOTROW_TRY(create_cache(t, row_count, policy));
  hotrow_status status = HOTROW_OK;
  *hits_p = 0;
  for (size_t b = 0; status == HOTROW_OK && b < t->stream.batch_count; b++)
    status = serve_batch(t, b, lookahead, hits_p);
  hotrow_cache_destroy(t->cache);
  t->cache = NULL;
  return status;
}

static void print_hits(const trace_state *t, double share, uint64_t rows, const char *policy, uint32_t lookahead,
                       uint64_t hits, uint64_t best)
{
  const double lookups = (double)t->stream.offsets[t->stream.batch_count];
  const double of_belady = best > 0 ? (double)hits / (double)best : 1;
  if (t->options->json)
    printf("{\"trace\":\"%s\",\"cache_percent\":%g,\"cache_rows\":%llu,\"policy\":\"%s\",\"lookahead\":%u,"
           "\"hit_rate\":%.4f,\"belady_hit_rate\":%.4f,\"of_belady\":%.4f,\"lookups\":%.0f,\"distinct_keys\":%u,"
           "\"batches\":%zu,\"keys_per_batch\":%.0f}\n",
           strcmp(t->options->trace, "criteo") == 0 ? "criteo" : "file", share, (unsigned long long)rows, policy,
           lookahead, (double)hits / lookups, (double)best / lookups, of_belady, lookups, t->stream.key_count,
           t->stream.batch_count, lookups / (double)t->stream.batch_count);
  else
    printf("%5.3g %% of the keys (%8llu rows)  %-9s look-ahead %3u  hits %5.2f %%, Belady %5.2f %%: %.1f %% of it\n",
           share, (unsigned long long)rows, policy, lookahead, 100 * (double)hits / lookups,
           100 * (double)best / lookups, 100 * of_belady);
  fflush(stdout);
}

static hotrow_status run_policies(trace_state *t, double share, uint64_t rows, uint64_t best)
{
  const uint32_t windows[] = {0, t->options->lookahead};
  for (size_t w = 0; w < (t->options->lookahead > 0 ? 2 : 1); w++)
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
      uint64_t hits;
      HOTROW_TRY(count_hits(t, rows, policies[p].policy, windows[w], &hits));
      print_hits(t, share, rows, policies[p].name, windows[w], hits, best);
    }
  return HOTROW_OK;
}

static bool run_share(void *context, double share)
{
  trace_state *t = context;
  uint64_t best;
  /* The cache has whole sets: the oracle gets as many rows. */
  const uint64_t wanted = (uint64_t)(share / 100 * (double)t->stream.key_count);
  const uint64_t rows = (wanted / HOTROW_CACHE_WAYS + 1) * HOTROW_CACHE_WAYS;
  if (hr_belady_hits(&t->stream, rows, &best) == HOTROW_OK && run_policies(t, share, rows, best) == HOTROW_OK)
    return true;
  fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
  return false;
}

static hotrow_status open_stream(trace_state *t)
{
  const bench_cache_options *o = t->options;
  if (strcmp(o->trace, "criteo") == 0)
    return hr_key_stream_from_shape(o->samples / SHAPE_SAMPLES, SHAPE_SAMPLES, 1, &t->stream);
  return hr_key_stream_from_trace(o->trace, o->batch_keys > 0 ? o->batch_keys : TRACE_BATCH_KEYS, &t->stream);
}

static hotrow_status open_state(trace_state *t)
{
  size_t n = 0;
  HOTROW_TRY(open_stream(t));
  for (size_t b = 0; b < t->stream.batch_count; b++)
    n = t->stream.offsets[b + 1] - t->stream.offsets[b] > n ? t->stream.offsets[b + 1] - t->stream.offsets[b] : n;
  t->batch_keys_max = n;
  HOTROW_TRY(hr_alloc(t->stream.key_count, sizeof *t->keys, "keys", (void **)&t->keys));
  HOTROW_TRY(hr_alloc(t->stream.key_count, sizeof *t->hashes, "hashes", (void **)&t->hashes));
  for (uint32_t i = 0; i < t->stream.key_count; i++) {
    t->keys[i] = i;
    t->hashes[i] = hr_key_hash(i, TABLE_SEED);
  }
  HOTROW_TRY(hr_alloc(n, sizeof *t->batch_keys, "keys of a batch", (void **)&t->batch_keys));
  HOTROW_TRY(hr_alloc(n, sizeof *t->batch_hashes, "hashes of a batch", (void **)&t->batch_hashes));
  HOTROW_TRY(hr_alloc(n, sizeof *t->missing_keys, "missing keys", (void **)&t->missing_keys));
  HOTROW_TRY(hr_alloc(n, sizeof *t->missing_hashes, "missing hashes", (void **)&t->missing_hashes));
  HOTROW_TRY(hr_alloc(n, sizeof *t->slots, "slots", (void **)&t->slots));
  HOTROW_TRY(hr_alloc(n, sizeof *t->seen, "seen", (void **)&t->seen));
  HOTROW_TRY(hr_alloc(n, sizeof *t->clocks, "clocks", (void **)&t->clocks));
  HOTROW_TRY(hr_alloc(n, sizeof *t->next_use, "next uses", (void **)&t->next_use));
  HOTROW_TRY(hr_alloc(n, sizeof *t->missing_next_use, "next uses", (void **)&t->missing_next_use));
  HOTROW_TRY(hr_alloc(n, sizeof *t->missing_slots, "missing slots", (void **)&t->missing_slots));
  HOTROW_TRY(hr_alloc(n, sizeof *t->states, "states", (void **)&t->states));
  return hr_alloc(n, sizeof *t->values, "values", (void **)&t->values);
}

static void close_state(trace_state *t)
{
  void *const memory[] = {t->keys,   t->hashes, t->batch_keys, t->batch_hashes, t->missing_keys,     t->missing_hashes,
                          t->slots,  t->seen,   t->clocks,     t->next_use,     t->missing_next_use, t->missing_slots,
                          t->states, t->values};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
    free(memory[i]);
  hr_key_stream_fini(&t->stream);
}

int hr_bench_cache_trace(const bench_cache_options *options)
{
  trace_state t = {.options = options};
  const hotrow_status status = open_state(&t);
  bool ok = status == HOTROW_OK;
  if (!ok)
    fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
  ok = ok && bench_for_each("cache", options->shares, 0.01, 100, run_share, &t);
  close_state(&t);
  return ok ? 0 : status != HOTROW_OK ? hr_exit_code(status) : HR_EXIT_SOFTWARE;
}
