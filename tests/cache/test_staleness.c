/* The contract, seen from the rows: several workers with a cache each, around a plain shard. Worker j's gradient is 1
 * in column j alone, so that with SGD at lr 1 a row's column j is minus the steps of worker j that it holds, exactly.
 */
#include "device_cache.h"

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

#define FLIGHTS_MAX 8192
#define LOG_MAX (1 << 16)

typedef struct shard_row {
  float row[ROW_MAX];
  uint32_t clock, told;
  uint32_t applied[WORKERS]; /* steps of each worker */
} shard_row;

/* One row of a push. */
typedef struct flight {
  uint64_t key;
  uint32_t steps;
  float grad[DIM], squares[DIM];
} flight;

typedef struct worker {
  hotrow_cache *cache;
  uint32_t made[KEYS], handed_out[KEYS];
  flight flights[FLIGHTS_MAX]; /* sent; those below applied_count are applied, below credited_count credited */
  size_t sent_count, applied_count, credited_count;
  size_t log_position;           /* announcements that it has had */
  uint32_t known[KEYS][WORKERS]; /* what the shard had applied at the last reply */
} worker;

static hotrow_cache_options options;
static const hotrow_kernels *cpu_kernels;
static hotrow_segment segment;
static hotrow_row_layout layout;
static shard_row shard[KEYS];
static worker workers[WORKERS];
static uint64_t hashes[KEYS];
static uint64_t log_keys[LOG_MAX], log_hashes[LOG_MAX];
static uint32_t log_clocks[LOG_MAX];
static size_t log_count;
static uint64_t fresh_count;
static bool rows_count_steps; /* gradients are as the first comment says */
static hr_rng rng;

/* What one worker reads in one step, as the client library drives its cache. */
typedef struct reading {
  size_t count;
  uint64_t keys[BATCH], hashes[BATCH];
  uint32_t slots[BATCH], seen[BATCH];
  uint8_t states[BATCH];
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

static void apply_one(worker *w)
{
  const flight *f = &w->flights[w->applied_count++];
  shard_row *s = &shard[f->key];
  uint32_t slot = 0;
  cpu_kernels->optimizer_apply(&layout, 1.0f, s->row, ROW_MAX, &slot, f->grad, layout.square_dim ? f->squares : NULL,
                               &f->steps, 1, NULL);
  s->clock += f->steps;
  s->applied[w - workers] += f->steps;
  if (s->clock - s->told < options.announce_step || options.mode == HOTROW_CACHE_PROBE)
    return;
  s->told = s->clock;
  CHECK(log_count < LOG_MAX);
  log_keys[log_count] = f->key;
  log_hashes[log_count] = hashes[f->key];
  log_clocks[log_count++] = s->clock;
}

/* What comes with every reply: own pushes that are applied, then announcements, all of this moment. */
static void take_news(worker *w)
{
  for (; w->credited_count < w->applied_count; w->credited_count++) {
    const flight *f = &w->flights[w->credited_count];
    device_credit(w->cache, &f->key, &hashes[f->key], &f->steps, 1);
  }
  device_announce(w->cache, log_keys + w->log_position, log_hashes + w->log_position, log_clocks + w->log_position,
                  log_count - w->log_position);
  w->log_position = log_count;
  for (size_t k = 0; k < KEYS; k++)
    memcpy(w->known[k], shard[k].applied, sizeof w->known[k]);
}

static size_t all_row_count(void)
{
  return (options.row_count + HOTROW_CACHE_WAYS - 1) / HOTROW_CACHE_WAYS * HOTROW_CACHE_WAYS +
         options.staging_row_count;
}

/* Every row that worker j uses without asking lacks no more than the bound of what the last reply spoke of. */
static void check_fresh(size_t j, const reading *r)
{
  size_t stride;
  const float *base = device_rows(workers[j].cache, all_row_count(), &stride);
  for (size_t i = 0; i < r->count; i++) {
    uint64_t key = r->keys[i];
    uint32_t unseen = 0;
    if (r->states[i] != HOTROW_ROW_FRESH)
      continue;
    fresh_count++;
    for (size_t other = 0; other < WORKERS; other++)
      if (other != j)
        unseen += workers[j].known[key][other] - (uint32_t)-base[r->slots[i] * stride + other];
    CHECK_MSG((int32_t)unseen <= (int32_t)options.pull_bound, "worker %zu: a fresh row lacks %u updates, bound %u", j,
              unseen, options.pull_bound);
  }
}

static bool is_pulled(const reading *r, size_t i)
{
  const shard_row *s = &shard[r->keys[i]];
  if (r->states[i] != HOTROW_ROW_DOUBTFUL)
    return r->states[i] == HOTROW_ROW_STALE;
  return (int32_t)(s->clock - r->seen[i]) > (int32_t)options.pull_bound;
}

static void pull(worker *w, reading *r)
{
  uint64_t missing_keys[BATCH], missing_hashes[BATCH];
  uint32_t index[BATCH], clocks[BATCH], slots[BATCH];
  float values[BATCH * DIM], states[BATCH * (ROW_MAX - DIM)];
  size_t missing_count = 0;
  hotrow_cache_begin_batch(w->cache);
  device_lookup(w->cache, r->keys, r->hashes, r->count, NULL, r->slots, r->seen, r->states);
  if (rows_count_steps)
    check_fresh((size_t)(w - workers), r);
  while (w->applied_count < w->sent_count) /* the pull names the last push before it */
    apply_one(w);
  take_news(w);
  for (size_t i = 0; i < r->count; i++) {
    const shard_row *s = &shard[r->keys[i]];
    if (r->states[i] == HOTROW_ROW_MISSING) {
      index[missing_count] = (uint32_t)i;
      missing_keys[missing_count] = r->keys[i];
      missing_hashes[missing_count] = r->hashes[i];
      clocks[missing_count] = s->clock;
      memcpy(values + missing_count * DIM, s->row, DIM * sizeof(float));
      memcpy(states + missing_count++ * layout.state_dim, s->row + DIM, layout.state_dim * sizeof(float));
    } else if (is_pulled(r, i)) {
      device_refresh(w->cache, &r->slots[i], &s->clock, s->row, s->row + DIM, 1);
    }
  }
  CHECK_OK(device_insert(w->cache, missing_keys, missing_hashes, clocks, values, states, NULL, missing_count, slots));
  for (size_t m = 0; m < missing_count; m++)
    r->slots[index[m]] = slots[m];
}

static void push(worker *w)
{
  hotrow_cache_push_list list;
  device_take_pushes(w->cache, &list);
  if (w->credited_count == w->sent_count) /* nothing is on its way: begin anew */
    w->sent_count = w->applied_count = w->credited_count = 0;
  for (size_t i = 0; i < list.count; i++) {
    CHECK(w->sent_count < FLIGHTS_MAX);
    flight *f = &w->flights[w->sent_count++];
    *f = (flight){.key = list.keys[i], .steps = list.steps[i]};
    memcpy(f->grad, list.grads + i * DIM, sizeof f->grad);
    if (list.squares)
      memcpy(f->squares, list.squares + i * layout.square_dim, layout.square_dim * sizeof(float));
    w->handed_out[f->key] += f->steps;
  }
}

static void apply_all(void)
{
  for (size_t j = 0; j < WORKERS; j++)
    while (workers[j].applied_count < workers[j].sent_count)
      apply_one(&workers[j]);
}

static void start(hotrow_optimizer_kind kind, hotrow_cache_mode mode, uint32_t row_count, uint32_t pull_bound,
                  uint32_t push_bound)
{
  segment = (hotrow_segment){.dim = DIM, .optimizer = {.kind = kind, .lr = kind == HOTROW_SGD ? 1.0f : 0.1f}};
  CHECK_OK(hr_row_layout_make(&segment, 1, &layout));
  CHECK(DIM + layout.state_dim <= ROW_MAX);
  options = (hotrow_cache_options)HOTROW_CACHE_OPTIONS_INIT;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &cpu_kernels));
  options.segments = &segment;
  options.segment_count = 1;
  options.row_count = row_count;
  options.staging_row_count = BATCH;
  options.pull_bound = pull_bound;
  options.push_bound = push_bound;
  options.policy = (hotrow_cache_policy)((pull_bound + push_bound + row_count / 16) % 4);
  options.mode = mode;
  options.announce_step = 1 + push_bound % (pull_bound + 1);
  options.pending_row_count = push_bound == 3 ? 20 : 0;
  memset(shard, 0, sizeof shard);
  memset(workers, 0, sizeof workers);
  log_count = 0;
  for (size_t k = 0; k < KEYS; k++) {
    hashes[k] = hr_key_hash(k, 5);
    shard[k].clock = shard[k].told = (uint32_t)k * 7 - 300; /* some wrap on the way */
  }
  for (size_t j = 0; j < WORKERS; j++)
    CHECK_OK(device_create(&options, &workers[j].cache));
}

/* Every row that worker j is about to read, against what is under way too. */
static void check_reading(size_t j, const reading *r)
{
  size_t stride;
  const float *base = device_rows(workers[j].cache, all_row_count(), &stride);
  for (size_t i = 0; i < r->count; i++) {
    const float *row = base + r->slots[i] * stride;
    uint64_t key = r->keys[i];
    uint32_t unseen = 0;
    CHECK_MSG(row[j] == -(float)workers[j].made[key], "worker %zu key %llu holds %g own steps of %u", j,
              (unsigned long long)key, (double)-row[j], workers[j].made[key]);
    for (size_t other = 0; other < WORKERS; other++)
      if (other != j)
        unseen += shard[key].applied[other] - (uint32_t)-row[other];
    if (r->states[i] != HOTROW_ROW_FRESH) /* asked for just now */
      CHECK_MSG(unseen <= (r->states[i] == HOTROW_ROW_DOUBTFUL ? options.pull_bound : 0),
                "worker %zu reads a row that lacks %u updates, bound %u", j, unseen, options.pull_bound);
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
  CHECK_OK(device_update(w->cache, r.keys, r.hashes, NULL, grads, NULL, r.count));
  if (hr_rng_below(&rng, 50) == 0)
    hotrow_cache_invalidate(w->cache, hr_rng_next(&rng), UINT64_MAX);
  if (hr_rng_below(&rng, 50) == 0)
    hotrow_cache_mark_stale(w->cache, hr_rng_next(&rng), UINT64_MAX);
  push(w); /* before the next pull: what was handed out is on its way first */
  check_writes(j);
  worker *late = &workers[hr_rng_below(&rng, WORKERS)];
  for (uint64_t n = hr_rng_below(&rng, 80); n > 0 && late->applied_count < late->sent_count; n--)
    apply_one(late);
  if (hr_rng_below(&rng, 3) == 0)
    take_news(&workers[hr_rng_below(&rng, WORKERS)]); /* a tick is answered */
}

static void run_and_check(void)
{
  for (int i = 0, end = device_rounds(300); i < end; i++)
    step(hr_rng_below(&rng, WORKERS));
  for (size_t j = 0; j < WORKERS; j++) {
    hotrow_cache_flush(workers[j].cache);
    push(&workers[j]);
  }
  apply_all();
  for (size_t j = 0; j < WORKERS; j++)
    hotrow_cache_destroy(workers[j].cache);
  for (size_t k = 0; k < KEYS; k++)
    for (size_t j = 0; j < WORKERS; j++) {
      CHECK_EQ(workers[j].handed_out[k], workers[j].made[k]);
      CHECK(shard[k].row[j] == -(float)workers[j].made[k]);
    }
}

static void bounds_hold_and_nothing_is_lost(void)
{
  static const uint32_t bounds[] = {0, 1, 3, 5};
  static const uint32_t row_counts[] = {0, 16, 64, 112, 512};
  rng.state = hr_test_seed(30);
  rows_count_steps = true;
  for (int mode = HOTROW_CACHE_PROBE; mode <= HOTROW_CACHE_ANNOUNCE; mode++)
    for (size_t rows = 0; rows < 5; rows++)
      for (size_t b = 0; b < 16; b++) {
        if (b % 4 != rows % 4 && device_rounds(2) == 1)
          continue;
        start(HOTROW_SGD, (hotrow_cache_mode)mode, row_counts[rows], bounds[b / 4], bounds[b % 4]);
        run_and_check();
      }
  CHECK(fresh_count > (device_rounds(2) == 1 ? 1000 : 50000));
}

/* With push bound 0 and no other worker a cached row is the shard's row, bit for bit, state and all. */
static void alone_a_copy_is_the_shards_row(void)
{
  static reading r;
  rng.state = hr_test_seed(31);
  rows_count_steps = false;
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
    hotrow_cache_mode mode = kind & 1 ? HOTROW_CACHE_PROBE : HOTROW_CACHE_ANNOUNCE;
    start((hotrow_optimizer_kind)kind, mode, 64, 5, 0);
    for (int i = 0, end = device_rounds(400); i < end; i++) {
      float grads[BATCH * DIM];
      draw_keys(&r);
      pull(&workers[0], &r);
      for (size_t c = 0; c < r.count * DIM; c++)
        grads[c] = hr_rng_unit(&rng) - 0.5f;
      CHECK_OK(device_update(workers[0].cache, r.keys, r.hashes, NULL, grads, NULL, r.count));
      push(&workers[0]);
      apply_all();
      take_news(&workers[0]);
      size_t stride;
      device_lookup(workers[0].cache, r.keys, r.hashes, r.count, NULL, r.slots, r.seen, r.states);
      const float *base = device_rows(workers[0].cache, all_row_count(), &stride);
      for (size_t k = 0; k < r.count; k++)
        if (r.slots[k] != HOTROW_SLOT_NONE) {
          CHECK_EQ(r.seen[k], shard[r.keys[k]].clock);
          CHECK(same_bits(base + r.slots[k] * stride, shard[r.keys[k]].row, (DIM + layout.state_dim) * sizeof(float)));
        }
    }
    for (size_t j = 0; j < WORKERS; j++)
      hotrow_cache_destroy(workers[j].cache);
  }
}

int main(int argc, char **argv)
{
  device_open(argc, argv);
  RUN(bounds_hold_and_nothing_is_lost);
  RUN(alone_a_copy_is_the_shards_row);
  return 0;
}
