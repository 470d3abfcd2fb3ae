/* The cache against a model of it, over random sequences of operations. */
#include "hr_test.h"

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#define DIM 5
#define STATE_MAX (2 * DIM + 1)
#define ROW_MAX 16 /* DIM + STATE_MAX */
#define SETS_MAX 3
#define WAYS HOTROW_CACHE_WAYS
#define STAGING 24
#define KEYS 150 /* distinct keys of a run: several times what fits */
#define BATCH 40
#define PUSHES_MAX (SETS_MAX * WAYS + 2 * STAGING)

/* Floats are compared as bytes: -0 is not 0 here, and a NaN is itself. */
static bool same_bits(const void *a, const void *b, size_t size)
{
  return memcmp(a, b, size) == 0;
}

/* ---- the model: one row at a time, no pool, no chunks */

typedef struct model_row {
  bool held;
  uint64_t key, hash;
  uint32_t live_until, seen, pending, uses;
  float row[ROW_MAX], grad[DIM], squares[DIM];
} model_row;

typedef struct model_push {
  uint64_t key, hash;
  uint32_t steps;
  float grad[DIM], squares[DIM];
} model_push;

static hotrow_row_layout layout;
static hotrow_cache_options options;
static uint32_t state_dim, square_dim, set_count, batch, dirty_count, dirty_max;
static uint32_t leaving_count; /* sums that leave in this update are free for the next one */
static model_row rows[SETS_MAX * WAYS], no_row;
static model_push pushes[PUSHES_MAX];
static size_t push_count, staging_used;
static hotrow_cache_stats stats;
static uint32_t steps_made[KEYS], steps_out[KEYS];

static model_row *model_find(uint64_t key)
{
  for (size_t s = 0; s < set_count * WAYS; s++)
    if (rows[s].held && rows[s].key == key)
      return &rows[s];
  return NULL;
}

static void model_apply(model_row *r, const float *grad, const float *squares, uint32_t steps)
{
  uint32_t slot = 0;
  options.kernels->optimizer_apply(&layout, 1.0f, r->row, ROW_MAX, &slot, grad, square_dim ? squares : NULL, &steps, 1,
                                   NULL);
}

static void model_push_row(uint64_t key, uint64_t hash, uint32_t steps, const float *grad, const float *squares)
{
  model_push *p = &pushes[push_count++];
  *p = (model_push){.key = key, .hash = hash, .steps = steps};
  memcpy(p->grad, grad, sizeof p->grad);
  if (steps > 1)
    memcpy(p->squares, squares, square_dim * sizeof(float));
}

static void model_hand_out(model_row *r)
{
  if (r->pending == 0)
    return;
  model_push_row(r->key, r->hash, r->pending, r->grad, r->squares);
  r->seen += r->pending;
  r->pending = 0;
  dirty_count--;
}

static void model_set(model_row *r, uint32_t clock, const float *value, const float *state)
{
  memcpy(r->row, value, DIM * sizeof(float));
  memcpy(r->row + DIM, state, state_dim * sizeof(float));
  r->seen = clock;
  if (r->pending > 0)
    model_apply(r, r->grad, r->squares, r->pending);
}

static model_row *model_way(uint64_t hash)
{
  if (set_count == 0)
    return NULL;
  model_row *set = rows + (((hash >> 32) * set_count) >> 32) * WAYS, *victim = NULL;
  for (model_row *r = set; r < set + WAYS; r++)
    if (!r->held)
      return r;
  for (model_row *r = set; r < set + WAYS; r++)
    if (r->live_until != batch && r->uses < 10 &&
        (!victim || r->uses < victim->uses || (r->uses == victim->uses && r->live_until < victim->live_until)))
      victim = r;
  return victim;
}

static uint32_t model_insert(uint64_t key, uint64_t hash, uint32_t clock, const float *value, const float *state)
{
  model_row *r = model_find(key);
  if (r) {
    if ((int32_t)(clock - r->seen) > (int32_t)options.pull_bound)
      model_set(r, clock, value, state);
    return (uint32_t)(r - rows);
  }
  r = model_way(hash);
  if (!r) {
    stats.uncached++;
    return set_count * WAYS + (uint32_t)staging_used++;
  }
  stats.evicted_dirty += r->held && r->pending > 0;
  stats.evicted_clean += r->held && r->pending == 0;
  model_hand_out(r);
  *r = (model_row){.held = true, .key = key, .hash = hash, .live_until = batch};
  model_set(r, clock, value, state);
  return (uint32_t)(r - rows);
}

static void model_update(uint64_t key, uint64_t hash, const float *grad)
{
  model_row *r = model_find(key);
  if (r)
    model_apply(r, grad, no_row.squares, 1);
  if (!r || options.push_bound == 0 || (r->pending == 0 && dirty_count + leaving_count == dirty_max)) {
    model_push_row(key, hash, 1, grad, NULL);
    if (r)
      r->seen++;
    return;
  }
  dirty_count += r->pending == 0;
  float mean = 0.0f;
  for (uint32_t c = 0; c < DIM; c++) {
    float square = grad[c] * grad[c];
    mean = c == 0 ? square : mean + square;
    r->grad[c] = r->pending == 0 ? grad[c] : r->grad[c] + grad[c];
    if (square_dim == DIM)
      r->squares[c] = r->pending == 0 ? square : r->squares[c] + square;
  }
  mean *= 1.0f / (float)DIM;
  if (square_dim == 1)
    r->squares[0] = r->pending == 0 ? mean : r->squares[0] + mean;
  if (++r->pending > options.push_bound) {
    model_hand_out(r);
    leaving_count++;
  } else if (r->pending > stats.pending_max) {
    stats.pending_max = r->pending;
  }
}

/* ---- random operations on both */

static hotrow_cache *cache;
static hr_rng rng;
static uint64_t all_keys[KEYS], all_hashes[KEYS];

typedef struct draw {
  size_t count;
  size_t index[BATCH];
  uint64_t keys[BATCH], hashes[BATCH];
  uint32_t slots[BATCH], seen[BATCH], clocks[BATCH];
  float values[BATCH * DIM], states[BATCH * STATE_MAX];
} draw;

static float random_float(void)
{
  return hr_rng_unit(&rng) * 2.0f - 1.0f;
}

/* Up to BATCH distinct keys, low numbers more often, and what a shard might say of them. */
static void draw_keys(draw *d, bool held_only)
{
  bool taken[KEYS] = {false};
  size_t wanted = hr_rng_below(&rng, BATCH + 1);
  d->count = 0;
  for (size_t i = 0; i < wanted; i++) {
    size_t k = hr_rng_below(&rng, 1 + hr_rng_below(&rng, KEYS));
    model_row *r = model_find(all_keys[k]);
    if (taken[k] || (held_only && !r))
      continue;
    taken[k] = true;
    size_t n = d->count++;
    d->index[n] = k;
    d->keys[n] = all_keys[k];
    d->hashes[n] = all_hashes[k];
    d->slots[n] = r ? (uint32_t)(r - rows) : HOTROW_SLOT_NONE;
    /* News may be as late as the row itself, or older. Clocks begin just below the wrap. */
    d->clocks[n] = r ? r->seen + (uint32_t)hr_rng_below(&rng, 8) - 2 : (uint32_t)hr_rng_below(&rng, 20) - 10;
    for (size_t c = 0; c < DIM; c++)
      d->values[n * DIM + c] = random_float();
    for (size_t c = 0; c < state_dim; c++)
      d->states[n * state_dim + c] = hr_rng_unit(&rng) + (c == 2 * DIM ? (float)hr_rng_below(&rng, 9) : 0.0f);
  }
}

static void lookup_both(draw *d)
{
  hotrow_cache_lookup(cache, d->keys, d->hashes, d->count, d->slots, d->seen);
  stats.lookups += d->count;
  for (size_t i = 0; i < d->count; i++) {
    model_row *r = model_find(d->keys[i]);
    CHECK_EQ(d->slots[i], r ? (uint32_t)(r - rows) : HOTROW_SLOT_NONE);
    stats.hits += r != NULL;
    stats.misses += r == NULL;
    if (!r)
      continue;
    CHECK_EQ(d->seen[i], r->seen);
    r->live_until = batch;
    if (options.policy == HOTROW_POLICY_LIGHT_LFU && r->uses < 10)
      r->uses++;
  }
}

static void refresh_both(draw *d)
{
  hotrow_cache_refresh(cache, d->slots, d->clocks, d->values, state_dim ? d->states : NULL, d->count);
  for (size_t i = 0; i < d->count; i++)
    model_set(&rows[d->slots[i]], d->clocks[i], d->values + i * DIM, d->states + i * state_dim);
  uint64_t moved = d->count < stats.hits ? d->count : stats.hits;
  stats.hits -= moved;
  stats.stale += moved;
}

static void insert_both(draw *d)
{
  /* How many will be staged: per set, the missing ones beyond the ways that are free or may be freed. */
  size_t room[SETS_MAX] = {0}, uncached = 0;
  uint32_t got[BATCH];
  for (size_t i = 0; i < d->count; i++)
    if (model_find(d->keys[i]))
      model_find(d->keys[i])->live_until = batch;
  for (size_t s = 0; s < set_count * WAYS; s++)
    room[s / WAYS] += !rows[s].held || (rows[s].live_until != batch && rows[s].uses < 10);
  for (size_t i = 0; i < d->count; i++) {
    size_t set = ((d->hashes[i] >> 32) * set_count) >> 32;
    if (model_find(d->keys[i]))
      continue;
    if (set_count > 0 && room[set] > 0)
      room[set]--;
    else
      uncached++;
  }
  hotrow_status status =
      hotrow_cache_insert(cache, d->keys, d->hashes, d->clocks, d->values, state_dim ? d->states : NULL, d->count, got);
  CHECK_EQ(status, uncached > STAGING - staging_used ? HOTROW_ERR_LIMIT : HOTROW_OK);
  for (size_t i = 0; i < d->count && status == HOTROW_OK; i++)
    CHECK_EQ(got[i],
             model_insert(d->keys[i], d->hashes[i], d->clocks[i], d->values + i * DIM, d->states + i * state_dim));
  size_t stride;
  const float *base = hotrow_cache_rows(cache, &stride);
  for (size_t i = 0; i < d->count && status == HOTROW_OK; i++)
    if (got[i] >= set_count * WAYS) {
      CHECK(same_bits(base + got[i] * stride, d->values + i * DIM, DIM * sizeof(float)));
      CHECK(same_bits(base + got[i] * stride + DIM, d->states + i * state_dim, state_dim * sizeof(float)));
    }
}

static void update_both(draw *d)
{
  size_t fresh = 0;
  for (size_t i = 0; i < d->count; i++) {
    model_row *r = model_find(d->keys[i]);
    fresh += !(r && r->pending > 0);
  }
  bool fits = push_count + dirty_count + fresh <= set_count * WAYS + 2 * STAGING;
  hotrow_status status = hotrow_cache_update(cache, d->keys, d->hashes, d->values, d->count);
  CHECK_EQ(status, fits ? HOTROW_OK : HOTROW_ERR_LIMIT);
  leaving_count = 0;
  for (size_t i = 0; i < d->count && fits; i++) {
    model_update(d->keys[i], d->hashes[i], d->values + i * DIM);
    steps_made[d->index[i]]++;
  }
}

static void take_both(void)
{
  hotrow_cache_push_list list;
  hotrow_cache_take_pushes(cache, &list);
  CHECK_EQ(list.count, push_count);
  CHECK((list.squares != NULL) == (square_dim > 0));
  for (size_t i = 0; i < list.count; i++) {
    const model_push *p = &pushes[i];
    CHECK(list.keys[i] == p->key && list.hashes[i] == p->hash);
    CHECK_EQ(list.steps[i], p->steps);
    CHECK(same_bits(list.grads + i * DIM, p->grad, DIM * sizeof(float)));
    CHECK(same_bits(square_dim ? list.squares + i * square_dim : p->squares, p->squares, square_dim * sizeof(float)));
    for (size_t k = 0; k < KEYS; k++)
      steps_out[k] += all_keys[k] == p->key ? p->steps : 0;
  }
  push_count = 0;
  CHECK_EQ(hotrow_cache_push_count(cache), 0);
}

static void flush_both(void)
{
  hotrow_cache_flush(cache);
  for (size_t s = 0; s < set_count * WAYS; s++)
    model_hand_out(&rows[s]);
}

static void invalidate_both(void)
{
  uint64_t a = hr_rng_next(&rng), width = hr_rng_next(&rng) >> hr_rng_below(&rng, 9);
  uint64_t b = a > UINT64_MAX - width ? UINT64_MAX : a + width;
  hotrow_cache_invalidate(cache, a, b);
  for (size_t s = 0; s < set_count * WAYS; s++)
    if (rows[s].held && rows[s].hash >= a && rows[s].hash <= b) {
      model_hand_out(&rows[s]);
      rows[s] = no_row;
    }
}

static void compare(void)
{
  size_t stride, held_count = 0;
  const float *base = hotrow_cache_rows(cache, &stride);
  for (size_t s = 0; s < set_count * WAYS; s++) {
    held_count += rows[s].held;
    CHECK(rows[s].pending <= options.push_bound);
    CHECK_MSG(!rows[s].held || same_bits(base + s * stride, rows[s].row, (DIM + state_dim) * sizeof(float)),
              "row %zu differs from the model's", s);
  }
  hotrow_cache_stats got;
  hotrow_cache_get_stats(cache, &got);
  stats.row_count = held_count;
  CHECK(memcmp(&got, &stats, sizeof got) == 0);
  CHECK_EQ(hotrow_cache_push_count(cache), push_count);
}

static void check_nothing_lost(void)
{
  take_both();
  for (size_t k = 0; k < KEYS; k++) {
    model_row *r = model_find(all_keys[k]);
    CHECK_EQ(steps_out[k] + (r ? r->pending : 0), steps_made[k]);
  }
}

static void start(hotrow_optimizer_kind kind)
{
  options.optimizer = (hotrow_optimizer){0};
  options.optimizer.kind = kind;
  hotrow_segment segment = {.dim = DIM, .optimizer = options.optimizer};
  CHECK_OK(hr_row_layout_make(&segment, 1, &layout));
  state_dim = layout.state_dim;
  square_dim = layout.square_dim;
  set_count = (uint32_t)(options.row_count + WAYS - 1) / WAYS;
  dirty_max = options.pending_row_count && options.pending_row_count < set_count * WAYS
                  ? (uint32_t)options.pending_row_count
                  : set_count * WAYS;
  CHECK_OK(hotrow_cache_create(&options, &cache));
  memset(rows, 0, sizeof rows);
  memset(&stats, 0, sizeof stats);
  memset(steps_made, 0, sizeof steps_made);
  memset(steps_out, 0, sizeof steps_out);
  batch = dirty_count = 0;
  push_count = staging_used = 0;
  for (size_t k = 0; k < KEYS; k++) {
    all_keys[k] = hr_rng_next(&rng);
    all_hashes[k] = hr_key_hash(all_keys[k], 7);
  }
  all_keys[0] = 0; /* every value is a legal key */
  all_keys[1] = UINT64_MAX;
}

static void begin_both(void)
{
  hotrow_cache_begin_batch(cache);
  batch++;
  staging_used = 0;
}

static void run_operations(int operation_count)
{
  static draw d;
  for (int i = 0; i < operation_count; i++) {
    uint64_t dice = hr_rng_below(&rng, 24);
    bool needs_held = dice >= 17 && dice < 20;
    draw_keys(&d, needs_held);
    if (dice < 5)
      begin_both();
    else if (dice < 10)
      lookup_both(&d);
    else if (dice < 14)
      insert_both(&d);
    else if (dice < 17)
      update_both(&d);
    else if (dice < 20)
      refresh_both(&d);
    else if (dice < 22)
      take_both();
    else if (dice < 23)
      flush_both();
    else
      invalidate_both();
    compare();
  }
  check_nothing_lost();
}

static void same_as_the_model(void)
{
  static const hotrow_optimizer_kind kinds[] = {HOTROW_SGD, HOTROW_MOMENTUM, HOTROW_ADAGRAD, HOTROW_ROWWISE_ADAGRAD,
                                                HOTROW_ADAM};
  rng.state = hr_test_seed(20);
  for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
    for (uint32_t push_bound = 0; push_bound <= 5; push_bound++)
      for (uint32_t round = 0; round < 8; round++) {
        options = (hotrow_cache_options)HOTROW_CACHE_OPTIONS_INIT;
        CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
        options.row_count = round == 7 ? 0 : (round % 3 + 1) * WAYS - round; /* 1 to 3 sets, or staging alone */
        options.staging_row_count = STAGING;
        options.dim = DIM;
        options.pull_bound = (push_bound + round) % 6;
        options.push_bound = push_bound;
        options.policy = round & 1 ? HOTROW_POLICY_LIGHT_LFU : HOTROW_POLICY_LRU;
        options.pending_row_count = round < 4 ? 0 : round;
        start(kinds[kind]);
        run_operations(600);
        hotrow_cache_destroy(cache);
      }
}

/* ---- more than one chunk at a time: nothing may depend on where a chunk ends */

#define MANY 5000

static void chunks_leave_no_trace(void)
{
  static uint64_t keys[MANY], hashes[MANY];
  static uint32_t slots[MANY], seen[MANY], clocks[MANY];
  static float values[MANY * 2], pushed[MANY];
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &o.kernels));
  o.optimizer.kind = HOTROW_SGD;
  o.optimizer.lr = 1.0f;
  o.row_count = 2048;
  o.staging_row_count = MANY;
  o.dim = 2;
  o.push_bound = 1;
  CHECK_OK(hotrow_cache_create(&o, &cache));
  for (uint32_t i = 0; i < MANY; i++) {
    keys[i] = i;
    hashes[i] = hr_key_hash(i, 3);
    clocks[i] = 1000 + i;
    values[2 * i] = (float)i;
    values[2 * i + 1] = 1.0f;
  }
  size_t stride;
  const float *base = hotrow_cache_rows(cache, &stride);
  for (uint32_t round = 0; round < 4; round++) {
    hotrow_cache_begin_batch(cache);
    CHECK_OK(hotrow_cache_insert(cache, keys, hashes, clocks, values, NULL, MANY, slots));
    uint32_t held_count = 0;
    for (uint32_t i = 0; i < MANY; i++) {
      float steps = slots[i] < 2048 ? (float)round : 0.0f; /* held since the first round, or new in each */
      held_count += slots[i] < 2048;
      CHECK(base[slots[i] * stride] == (float)i - steps * (float)i && base[slots[i] * stride + 1] == 1.0f - steps);
    }
    CHECK(held_count > 1900 && held_count <= 2048);
    hotrow_cache_lookup(cache, keys, hashes, MANY, slots, seen);
    CHECK_OK(hotrow_cache_update(cache, keys, hashes, values, MANY));
    hotrow_cache_push_list list;
    hotrow_cache_take_pushes(cache, &list);
    for (size_t p = 0; p < list.count; p++) {
      CHECK(list.grads[2 * p + 1] == (float)list.steps[p]);
      pushed[list.keys[p]] += list.grads[2 * p + 1];
      CHECK(p == 0 || list.keys[p - 1] < list.keys[p]);
    }
    for (uint32_t i = 0; i < MANY; i++)
      CHECK(pushed[i] == (float)(slots[i] == HOTROW_SLOT_NONE || round & 1 ? round + 1 : round));
  }
  hotrow_cache_destroy(cache);
}

int main(void)
{
  RUN(chunks_leave_no_trace);
  RUN(same_as_the_model);
  return 0;
}
