/* The contract, seen from the rows: several workers with a cache each, around a plain shard. Worker j's gradient is 1
 * in column j alone, so that with SGD at lr 1 a row's column j is minus the steps of worker j that it holds, exactly.
 */
#include "hr_test.h"

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#define WORKERS 3
#define DIM WORKERS
#define KEYS 200
#define BATCH 60
#define ROW_MAX (4 * DIM)

/* Floats are compared as bytes: -0 is not 0 here, and a NaN is itself. */
static bool same_bits(const void *a, const void *b, size_t size)
{
  return memcmp(a, b, size) == 0;
}

typedef struct shard_row {
  float row[ROW_MAX];
  uint32_t clock;
} shard_row;

typedef struct worker {
  hotrow_cache *cache;
  uint32_t made[KEYS], handed_out[KEYS];
} worker;

static hotrow_row_layout layout;
static hotrow_cache_options options;
static uint32_t state_dim;
static shard_row shard[KEYS];
static worker workers[WORKERS];
static uint64_t hashes[KEYS];
static hr_rng rng;

/* What one worker reads in one step, as the client library drives its cache. */
typedef struct reading {
  size_t count;
  uint64_t keys[BATCH], hashes[BATCH];
  uint32_t slots[BATCH], seen[BATCH];
} reading;

static void draw_keys(reading *r)
{
  bool taken[KEYS] = {false};
  r->count = 0;
  for (size_t i = 0; i < BATCH; i++) {
    size_t k = hr_rng_below(&rng, 1 + hr_rng_below(&rng, KEYS));
    if (taken[k])
      continue;
    taken[k] = true;
    r->keys[r->count] = k;
    r->hashes[r->count++] = hashes[k];
  }
}

static void pull(worker *w, reading *r)
{
  uint64_t missing_keys[BATCH], missing_hashes[BATCH];
  uint32_t index[BATCH], clocks[BATCH], slots[BATCH];
  float values[BATCH * DIM], states[BATCH * (ROW_MAX - DIM)];
  size_t missing_count = 0;
  hotrow_cache_begin_batch(w->cache);
  hotrow_cache_lookup(w->cache, r->keys, r->hashes, r->count, r->slots, r->seen);
  for (size_t i = 0; i < r->count; i++) {
    const shard_row *s = &shard[r->keys[i]];
    if (r->slots[i] == HOTROW_SLOT_NONE) {
      index[missing_count] = (uint32_t)i;
      missing_keys[missing_count] = r->keys[i];
      missing_hashes[missing_count] = r->hashes[i];
      clocks[missing_count] = s->clock;
      memcpy(values + missing_count * DIM, s->row, DIM * sizeof(float));
      memcpy(states + missing_count++ * state_dim, s->row + DIM, state_dim * sizeof(float));
    } else if ((int32_t)(s->clock - r->seen[i]) > (int32_t)options.pull_bound) {
      hotrow_cache_refresh(w->cache, &r->slots[i], &s->clock, s->row, s->row + DIM, 1);
    }
  }
  CHECK_OK(hotrow_cache_insert(w->cache, missing_keys, missing_hashes, clocks, values, states, missing_count, slots));
  for (size_t m = 0; m < missing_count; m++)
    r->slots[index[m]] = slots[m];
}

static void push(worker *w)
{
  hotrow_cache_push_list list;
  hotrow_cache_take_pushes(w->cache, &list);
  for (size_t i = 0; i < list.count; i++) {
    shard_row *s = &shard[list.keys[i]];
    uint32_t slot = 0;
    options.kernels->optimizer_apply(&layout, 1.0f, s->row, ROW_MAX, &slot, list.grads + i * DIM,
                                     list.squares ? list.squares + i * layout.square_dim : NULL, &list.steps[i], 1,
                                     NULL);
    s->clock += list.steps[i];
    w->handed_out[list.keys[i]] += list.steps[i];
  }
}

static void start(hotrow_optimizer_kind kind, uint32_t row_count, uint32_t pull_bound, uint32_t push_bound)
{
  options = (hotrow_cache_options)HOTROW_CACHE_OPTIONS_INIT;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  options.optimizer.kind = kind;
  options.optimizer.lr = kind == HOTROW_SGD ? 1.0f : 0.1f;
  hotrow_segment segment = {.dim = DIM, .optimizer = options.optimizer};
  CHECK_OK(hr_row_layout_make(&segment, 1, &layout));
  options.row_count = row_count;
  options.staging_row_count = BATCH;
  options.dim = DIM;
  options.pull_bound = pull_bound;
  options.push_bound = push_bound;
  options.policy = row_count & 16 ? HOTROW_POLICY_LIGHT_LFU : HOTROW_POLICY_LRU;
  options.pending_row_count = push_bound == 3 ? 20 : 0;
  state_dim = layout.state_dim;
  memset(shard, 0, sizeof shard);
  memset(workers, 0, sizeof workers);
  for (size_t k = 0; k < KEYS; k++) {
    hashes[k] = hr_key_hash(k, 5);
    shard[k].clock = (uint32_t)k * 7 - 300; /* some wrap on the way */
  }
  for (size_t j = 0; j < WORKERS; j++)
    CHECK_OK(hotrow_cache_create(&options, &workers[j].cache));
}

/* Every row that worker j is about to read. */
static void check_reading(size_t j, const reading *r)
{
  size_t stride;
  const float *base = hotrow_cache_rows(workers[j].cache, &stride);
  for (size_t i = 0; i < r->count; i++) {
    const float *row = base + r->slots[i] * stride;
    uint64_t key = r->keys[i];
    uint32_t unseen = 0, hidden = 0;
    CHECK_MSG(row[j] == -(float)workers[j].made[key], "worker %zu key %llu holds %g own steps of %u", j,
              (unsigned long long)key, (double)-row[j], workers[j].made[key]);
    for (size_t other = 0; other < WORKERS; other++)
      if (other != j) {
        unseen += workers[other].handed_out[key] - (uint32_t)-row[other];
        hidden += workers[other].made[key] - workers[other].handed_out[key];
      }
    CHECK_MSG(unseen <= options.pull_bound, "worker %zu reads a row that lacks %u updates, bound %u", j, unseen,
              options.pull_bound);
    CHECK(unseen + hidden <= options.pull_bound + (WORKERS - 1) * options.push_bound);
  }
}

static void check_writes(size_t j)
{
  for (size_t k = 0; k < KEYS; k++)
    CHECK_MSG(workers[j].made[k] - workers[j].handed_out[k] <= options.push_bound, "worker %zu keeps %u steps back", j,
              workers[j].made[k] - workers[j].handed_out[k]);
}

static void step(size_t j)
{
  static reading r;
  worker *w = &workers[j];
  float grads[BATCH * DIM] = {0};
  draw_keys(&r);
  pull(w, &r);
  check_reading(j, &r);
  if (hr_rng_below(&rng, 8) == 0)
    draw_keys(&r); /* a step may also update rows that it did not read */
  for (size_t i = 0; i < r.count; i++) {
    grads[i * DIM + j] = 1.0f;
    w->made[r.keys[i]]++;
  }
  CHECK_OK(hotrow_cache_update(w->cache, r.keys, r.hashes, grads, r.count));
  if (hr_rng_below(&rng, 50) == 0)
    hotrow_cache_invalidate(w->cache, hr_rng_next(&rng), UINT64_MAX);
  push(w); /* before the next pull: what was handed out is on its way first */
  check_writes(j);
}

static void bounds_hold_and_nothing_is_lost(void)
{
  static const uint32_t bounds[] = {0, 1, 3, 5};
  static const uint32_t row_counts[] = {0, 16, 64, 112, 512};
  rng.state = hr_test_seed(30);
  for (size_t rows = 0; rows < 5; rows++)
    for (size_t b = 0; b < 16; b++) {
      start(HOTROW_SGD, row_counts[rows], bounds[b / 4], bounds[b % 4]);
      for (int i = 0; i < 300; i++)
        step(hr_rng_below(&rng, WORKERS));
      for (size_t j = 0; j < WORKERS; j++) {
        hotrow_cache_flush(workers[j].cache);
        push(&workers[j]);
        hotrow_cache_destroy(workers[j].cache);
      }
      for (size_t k = 0; k < KEYS; k++)
        for (size_t j = 0; j < WORKERS; j++) {
          CHECK_EQ(workers[j].handed_out[k], workers[j].made[k]);
          CHECK(shard[k].row[j] == -(float)workers[j].made[k]);
        }
    }
}

/* With push bound 0 and no other worker a cached row is the shard's row, bit for bit, state and all. */
static void alone_a_copy_is_the_shards_row(void)
{
  static reading r;
  rng.state = hr_test_seed(31);
  for (int kind = HOTROW_SGD; kind <= HOTROW_ADAM; kind++) {
    start((hotrow_optimizer_kind)kind, 64, 5, 0);
    for (int i = 0; i < 400; i++) {
      float grads[BATCH * DIM];
      draw_keys(&r);
      pull(&workers[0], &r);
      for (size_t c = 0; c < r.count * DIM; c++)
        grads[c] = hr_rng_unit(&rng) - 0.5f;
      CHECK_OK(hotrow_cache_update(workers[0].cache, r.keys, r.hashes, grads, r.count));
      push(&workers[0]);
      size_t stride;
      const float *base = hotrow_cache_rows(workers[0].cache, &stride);
      hotrow_cache_lookup(workers[0].cache, r.keys, r.hashes, r.count, r.slots, r.seen);
      for (size_t k = 0; k < r.count; k++)
        if (r.slots[k] != HOTROW_SLOT_NONE) {
          CHECK_EQ(r.seen[k], shard[r.keys[k]].clock);
          CHECK(same_bits(base + r.slots[k] * stride, shard[r.keys[k]].row, (DIM + state_dim) * sizeof(float)));
        }
    }
    for (size_t j = 0; j < WORKERS; j++)
      hotrow_cache_destroy(workers[j].cache);
  }
}

int main(void)
{
  RUN(bounds_hold_and_nothing_is_lost);
  RUN(alone_a_copy_is_the_shards_row);
  return 0;
}
