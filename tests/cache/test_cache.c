/* The cache against a model of it, over random sequences of operations. */
#include "device_cache.h"
#include "model_cache.h"

#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#define KEYS 150 /* distinct keys of a run: several times what fits */
#define BATCH 40

/* Floats are compared as bytes: -0 is not 0 here, and a NaN is itself. */
static bool same_bits(const void *a, const void *b, size_t size)
{
  return memcmp(a, b, size) == 0;
}

static model_cache model;
static hotrow_cache *caches[TABLES_MAX], *cache; /* of each table, and of the one that is worked on */
static hr_rng rng;
/* Tables have the same keys, whose hashes differ: in one set there may be a key of each. */
static uint64_t all_keys[KEYS], table_hashes[TABLES_MAX][KEYS], *all_hashes;
static uint32_t table_steps_made[TABLES_MAX][KEYS], table_steps_out[TABLES_MAX][KEYS], *steps_made;
static uint32_t table_slots[TABLES_MAX][KEYS], *batch_slots; /* what lookup and insert have said in this batch */

static void work_on(uint32_t table)
{
  model.own = &model.tables[table];
  cache = caches[table];
  all_hashes = table_hashes[table];
  steps_made = table_steps_made[table];
  batch_slots = table_slots[table];
}

typedef struct draw {
  size_t count;
  size_t index[BATCH];
  uint64_t keys[BATCH], hashes[BATCH];
  uint32_t slots[BATCH], seen[BATCH], clocks[BATCH], steps[BATCH], next_use_array[BATCH];
  const uint32_t *next_use;
  uint8_t states[BATCH];
  float values[BATCH * DIM], optimizer_states[BATCH * STATE_MAX];
} draw;

static float random_float(void)
{
  return hr_rng_unit(&rng) * 2.0f - 1.0f;
}

static const uint32_t *next_use_of(const draw *d, size_t i)
{
  return d->next_use ? d->next_use + i : NULL;
}

/* What a shard might say of key k. News may be as late as the row itself, or older. Clocks begin just below the wrap.
 */
static void draw_key(draw *d, size_t k)
{
  model_row *r = model_find(&model, all_keys[k]);
  size_t n = d->count++, state_dim = model.own->layout.state_dim;
  d->index[n] = k;
  d->keys[n] = all_keys[k];
  d->hashes[n] = all_hashes[k];
  d->slots[n] = r ? (uint32_t)(r - model.rows) : HOTROW_SLOT_NONE;
  d->steps[n] = 1 + (uint32_t)hr_rng_below(&rng, 4);
  d->next_use_array[n] = HOTROW_BATCH_NONE;
  if (hr_rng_below(&rng, 3)) /* past and present batches too */
    d->next_use_array[n] = model.batch + (uint32_t)hr_rng_below(&rng, 6) - (model.batch ? 1 : 0);
  d->clocks[n] = r ? r->seen + (uint32_t)hr_rng_below(&rng, 8) - 2 : (uint32_t)hr_rng_below(&rng, 20) - 10;
  for (size_t c = 0; c < DIM; c++)
    d->values[n * DIM + c] = random_float();
  for (size_t c = 0; c < state_dim; c++)
    d->optimizer_states[n * state_dim + c] = hr_rng_unit(&rng) + (c == 2 * DIM ? (float)hr_rng_below(&rng, 9) : 0.0f);
}

static int by_hash(const void *a, const void *b)
{
  uint64_t x = all_hashes[*(const size_t *)a], y = all_hashes[*(const size_t *)b];
  return x < y ? -1 : x > y;
}

/* Up to BATCH distinct keys, low numbers more often. Mostly their hashes rise, as dedup gives them. */
static void draw_keys(draw *d, bool held_only)
{
  bool taken[KEYS] = {false};
  size_t wanted = hr_rng_below(&rng, BATCH + 1), drawn[BATCH], count = 0;
  d->count = 0;
  d->next_use = hr_rng_below(&rng, 3) == 0 ? NULL : d->next_use_array;
  for (size_t i = 0; i < wanted; i++) {
    size_t k = hr_rng_below(&rng, 1 + hr_rng_below(&rng, KEYS));
    if (taken[k] || (held_only && !model_find(&model, all_keys[k])))
      continue;
    taken[k] = true;
    drawn[count++] = k;
  }
  if (hr_rng_below(&rng, 4))
    qsort(drawn, count, sizeof *drawn, by_hash);
  for (size_t i = 0; i < count; i++)
    draw_key(d, drawn[i]);
}

static void begin_both(void)
{
  hotrow_cache_begin_batch(cache);
  model_begin_batch(&model);
  memset(table_slots, 0xff, sizeof table_slots); /* HOTROW_SLOT_NONE */
}

static void lookup_both(draw *d)
{
  device_lookup(cache, d->keys, d->hashes, d->count, d->next_use, d->slots, d->seen, d->states);
  for (size_t i = 0; i < d->count; i++) {
    CHECK_EQ(d->states[i], model_lookup(&model, d->keys[i], next_use_of(d, i)));
    model_row *r = model_find(&model, d->keys[i]);
    CHECK_EQ(d->slots[i], r ? (uint32_t)(r - model.rows) : HOTROW_SLOT_NONE);
    CHECK(!r || d->seen[i] == r->seen);
    batch_slots[d->index[i]] = d->slots[i];
  }
}

static void expect_both(draw *d)
{
  uint32_t batch = model.batch + (uint32_t)hr_rng_below(&rng, 8) - (model.batch ? 1 : 0);
  device_expect(cache, d->keys, d->hashes, d->count, batch, d->states);
  for (size_t i = 0; i < d->count; i++) {
    hotrow_row_state state = model_state(&model, model_find(&model, d->keys[i]));
    CHECK_EQ(d->states[i], state == HOTROW_ROW_FRESH || state == HOTROW_ROW_DOUBTFUL);
    model_expect(&model, d->keys[i], batch);
  }
}

static void refresh_both(draw *d)
{
  device_refresh(cache, d->slots, d->clocks, d->values, model.own->layout.state_dim ? d->optimizer_states : NULL,
                 d->count);
  for (size_t i = 0; i < d->count; i++)
    model_refresh(&model, d->keys[i], d->clocks[i], d->values + i * DIM,
                  d->optimizer_states + i * model.own->layout.state_dim);
}

static void insert_both(draw *d)
{
  uint32_t got[BATCH], expected[BATCH];
  size_t state_dim = model.own->layout.state_dim;
  hotrow_status status = device_insert(cache, d->keys, d->hashes, d->clocks, d->values,
                                       state_dim ? d->optimizer_states : NULL, d->next_use, d->count, got);
  CHECK_EQ(status, model_insert(&model, d->keys, d->hashes, d->clocks, d->values, d->optimizer_states, d->next_use,
                                d->count, expected));
  size_t stride;
  const float *base = device_rows(cache, model.set_count * WAYS + STAGING, &stride);
  for (size_t i = 0; i < d->count && status == HOTROW_OK; i++) {
    CHECK_EQ(got[i], expected[i]);
    batch_slots[d->index[i]] = got[i];
    if (got[i] >= model.set_count * WAYS) {
      CHECK(same_bits(base + got[i] * stride, d->values + i * DIM, DIM * sizeof(float)));
      CHECK(same_bits(base + got[i] * stride + DIM, d->optimizer_states + i * state_dim, state_dim * sizeof(float)));
    }
  }
}

static void update_both(draw *d)
{
  size_t new_count = 0;
  const uint32_t *ticks = model.own->options.counts_occurrences ? d->steps : NULL;
  for (size_t i = 0; i < d->count; i++)
    new_count += model_count_new(&model, d->keys[i], ticks ? ticks[i] : 1);
  bool fits = model.push_count + model.dirty_count + new_count <= model.set_count * WAYS + 2 * STAGING;
  uint32_t known[BATCH];
  for (size_t i = 0; i < d->count; i++)
    known[i] = batch_slots[d->index[i]];
  hotrow_status status =
      device_update(cache, d->keys, d->hashes, hr_rng_below(&rng, 4) ? known : NULL, d->values, ticks, d->count);
  CHECK_EQ(status, fits ? HOTROW_OK : HOTROW_ERR_LIMIT);
  model.leaving_count = 0;
  for (size_t i = 0; i < d->count && fits; i++) {
    model_update(&model, d->keys[i], d->hashes[i], d->values + i * DIM, ticks ? ticks[i] : 1);
    steps_made[d->index[i]] += ticks ? ticks[i] : 1;
  }
}

static void take_both(void)
{
  hotrow_cache_push_list list;
  size_t square_dim = model.own->layout.square_dim;
  device_take_pushes(cache, &list);
  CHECK_EQ(list.count, model.push_count);
  for (size_t i = 0; i < list.count; i++) {
    const model_push *p = &model.pushes[i];
    CHECK(list.keys[i] == p->key && list.hashes[i] == p->hash);
    CHECK_EQ(list.steps[i], p->steps);
    CHECK_EQ(list.is_exact[i], p->is_exact);
    CHECK_EQ(list.tables[i], p->table);
    CHECK(same_bits(list.grads + i * DIM, p->grad, DIM * sizeof(float)));
    CHECK(same_bits(square_dim ? list.squares + i * square_dim : p->squares, p->squares, square_dim * sizeof(float)));
    for (size_t k = 0; k < KEYS; k++)
      table_steps_out[p->table][k] += all_keys[k] == p->key ? p->steps : 0;
  }
  model.push_count = 0;
}

static void flush_both(void)
{
  hotrow_cache_flush(cache);
  for (size_t s = 0; s < model.set_count * WAYS; s++)
    if (model_is_own(&model, &model.rows[s]))
      model_hand_out(&model, &model.rows[s]);
}

static void forget_or_mark_both(bool forget)
{
  uint64_t a = hr_rng_next(&rng), width = hr_rng_next(&rng) >> hr_rng_below(&rng, 9);
  uint64_t b = a > UINT64_MAX - width ? UINT64_MAX : a + width;
  if (forget)
    hotrow_cache_invalidate(cache, a, b);
  else
    hotrow_cache_mark_stale(cache, a, b);
  for (size_t s = 0; s < model.set_count * WAYS; s++) {
    model_row *r = &model.rows[s];
    if (!model_is_own(&model, r) || r->hash < a || r->hash > b)
      continue;
    if (forget) {
      model_hand_out(&model, r);
      *r = (model_row){.held = false};
    } else {
      r->stale = true;
    }
  }
}

static void gone_both(draw *d)
{
  device_announce_gone(cache, d->keys, d->hashes, d->count);
  for (size_t i = 0; i < d->count; i++)
    if (model_find(&model, d->keys[i]))
      model_find(&model, d->keys[i])->stale = true;
}

static void stage_both(draw *d)
{
  uint32_t got[BATCH];
  size_t state_dim = model.own->layout.state_dim;
  bool fits = model.staging_used + d->count <= STAGING;
  CHECK_EQ(device_stage(cache, d->hashes, d->values, state_dim ? d->optimizer_states : NULL, d->count, got),
           fits ? HOTROW_OK : HOTROW_ERR_LIMIT);
  for (size_t i = 0; i < d->count && fits; i++) {
    model_row *r = model_find(&model, d->keys[i]);
    CHECK_EQ(got[i], model.set_count * WAYS + model.staging_used++);
    batch_slots[d->index[i]] = got[i];
    model.own->stats.uncached++;
    if (!r)
      continue;
    model_hand_out(&model, r);
    *r = (model_row){.held = false};
  }
}

static void announce_both(draw *d)
{
  device_announce(cache, d->keys, d->hashes, d->clocks, d->count);
  for (size_t i = 0; i < d->count && model.own->options.mode == HOTROW_CACHE_ANNOUNCE; i++) {
    model_row *r = model_find(&model, d->keys[i]);
    if (r && (int32_t)(d->clocks[i] - r->announced) > 0)
      r->announced = d->clocks[i];
  }
}

static void credit_both(draw *d)
{
  const uint32_t *steps = hr_rng_below(&rng, 2) ? d->steps : NULL;
  device_credit(cache, d->keys, d->hashes, steps, d->count);
  for (size_t i = 0; i < d->count && model.own->options.mode == HOTROW_CACHE_ANNOUNCE; i++)
    if (model_find(&model, d->keys[i]))
      model_find(&model, d->keys[i])->seen += steps ? steps[i] : 1;
}

static void compare_stats(uint32_t table, size_t held_count)
{
  hotrow_cache_stats got, *expected = &model.tables[table].stats;
  CHECK_EQ(hotrow_cache_table(caches[table]), table);
  CHECK_OK(hotrow_cache_get_stats(caches[table], &got));
  expected->row_count = held_count;
  expected->push_count = model.push_count;
  CHECK(memcmp(&got, expected, sizeof got) == 0);
  CHECK_EQ(hotrow_cache_batch(caches[table]), model.batch);
}

static void compare(void)
{
  size_t stride, held_counts[TABLES_MAX] = {0};
  const float *base = device_rows(cache, model.set_count * WAYS, &stride);
  for (size_t s = 0; s < model.set_count * WAYS; s++) {
    const model_row *r = &model.rows[s];
    held_counts[r->table] += r->held;
    CHECK(!r->held || r->pending <= model.tables[r->table].options.push_bound);
    CHECK_MSG(!r->held || same_bits(base + s * stride, r->row, (DIM + model.own->layout.state_dim) * sizeof(float)),
              "row %zu differs from the model's", s);
  }
  for (uint32_t t = 0; t < model.table_count; t++)
    compare_stats(t, held_counts[t]);
}

static void check_nothing_lost(void)
{
  take_both();
  for (uint32_t t = 0; t < model.table_count; t++) {
    work_on(t);
    for (size_t k = 0; k < KEYS; k++) {
      model_row *r = model_find(&model, all_keys[k]);
      CHECK_EQ(table_steps_out[t][k] + (r ? r->pending : 0), steps_made[k]);
    }
  }
}

static void add_table(hotrow_cache_options *o, const hotrow_segment *segments, uint32_t segment_count)
{
  hotrow_row_layout layout;
  o->segments = segments;
  o->segment_count = segment_count;
  CHECK_OK(hr_row_layout_make(segments, segment_count, &layout));
  CHECK(layout.dim == DIM && layout.state_dim <= STATE_MAX);
  o->shares = model.table_count > 0 ? caches[0] : NULL;
  CHECK_OK(device_create(o, &caches[model.table_count]));
  model_add_table(&model, o, &layout);
}

static void start(void)
{
  model_start(&model);
  memset(table_steps_made, 0, sizeof table_steps_made);
  memset(table_steps_out, 0, sizeof table_steps_out);
  memset(table_slots, 0xff, sizeof table_slots);
  for (size_t k = 0; k < KEYS; k++)
    all_keys[k] = hr_rng_next(&rng);
  all_keys[0] = 0; /* every value is a legal key */
  all_keys[1] = UINT64_MAX;
  for (size_t k = 0; k < KEYS; k++)
    for (uint32_t t = 0; t < TABLES_MAX; t++)
      table_hashes[t][k] = hr_key_hash(all_keys[k], 7 + t);
}

static void run_one(void)
{
  static draw d;
  uint64_t dice = hr_rng_below(&rng, 35);
  work_on((uint32_t)hr_rng_below(&rng, model.table_count));
  draw_keys(&d, dice >= 17 && dice < 20);
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
  else if (dice < 25)
    forget_or_mark_both(dice == 23);
  else if (dice < 27)
    expect_both(&d);
  else if (dice < 29)
    announce_both(&d);
  else if (dice < 31)
    credit_both(&d);
  else if (dice < 33)
    gone_both(&d);
  else if (dice < 34)
    stage_both(&d);
  else
    hotrow_cache_set_lr_scale(cache, model.own->lr_scale = hr_rng_unit(&rng));
}

static void run_operations(int operation_count)
{
  for (int i = 0; i < operation_count; i++) {
    run_one();
    compare();
  }
  check_nothing_lost();
}

static void end(void)
{
  for (uint32_t t = 0; t < model.table_count; t++) /* in either order: memory goes with the last one */
    hotrow_cache_destroy(caches[model.batch % 2 ? t : model.table_count - 1 - t]);
}

/* Options of a run: every combination of mode, policy and dtype comes up several times per optimizer. */
static hotrow_cache_options options_of(uint32_t push_bound, uint32_t round, uint32_t run)
{
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  o.row_count = round == 7 ? 0 : (round % 3 + 1) * WAYS - round; /* 1 to 3 sets, or staging alone */
  o.staging_row_count = STAGING;
  o.pull_bound = (push_bound + round) % 6;
  o.push_bound = push_bound;
  o.policy = (hotrow_cache_policy)(run % 4);
  o.mode = run % 3 ? HOTROW_CACHE_ANNOUNCE : HOTROW_CACHE_PROBE;
  o.announce_step = 1 + run % (o.pull_bound + 1);
  o.wire_dtype = (hotrow_dtype)(run / 4 % 3);
  o.pending_row_count = round < 4 ? 0 : round;
  return o;
}

/* A table of a run, in a cache of its own or as another that joins: with a learning rate, bounds and a mode of its own.
 */
static void add_random_table(hotrow_optimizer_kind kind, uint32_t push_bound, uint32_t round, uint32_t run,
                             uint32_t segment_count)
{
  hotrow_cache_options o = options_of(push_bound, round, run);
  hotrow_segment segments[] = {{.dim = DIM, .optimizer = {.kind = kind}},
                               {.dim = 2, .optimizer = {.kind = HOTROW_ADAGRAD}}};
  if (segment_count == 2)
    segments[0].dim = DIM - 2;
  bool is_any_k = kind == HOTROW_SGD || kind == HOTROW_ADAGRAD || kind == HOTROW_ROWWISE_ADAGRAD || kind == HOTROW_FTRL;
  o.counts_occurrences = is_any_k && run % 2;
  o.is_rounded = run % 3 == 0;
  if (o.is_rounded && o.mode == HOTROW_CACHE_PROBE)
    o.pull_bound = run % 2;
  if (model.table_count > 0) {
    segments[0].optimizer.lr = 0.25f * (float)model.table_count;
    o.row_count = o.staging_row_count = o.pending_row_count = 0;
    o.policy = model.policy;
  }
  add_table(&o, segments, segment_count);
}

static void same_as_the_model(void)
{
  rng.state = hr_test_seed(20);
  uint32_t run = 0;
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++)
    for (uint32_t push_bound = 0; push_bound <= 5; push_bound++)
      for (uint32_t round = 0; round < 8; round++, run++) {
        start();
        uint32_t segment_count = run % 5 ? 1 : 2, table_count = run % 2 ? 1 : 1 + run / 2 % TABLES_MAX;
        for (uint32_t t = 0; t < table_count; t++) {
          uint32_t own_bound = t == 0 ? push_bound : (uint32_t)hr_rng_below(&rng, push_bound > 0 ? 6 : 1);
          add_random_table((hotrow_optimizer_kind)kind, own_bound, round, run + 5 * t, segment_count);
        }
        run_operations(device_rounds(400));
        end();
      }
}

/* ---- more than one chunk at a time: nothing may depend on where a chunk ends */

#define MANY 5000

static void chunks_leave_no_trace(void)
{
  static uint64_t keys[MANY], hashes[MANY];
  static uint32_t slots[MANY], seen[MANY], clocks[MANY], next_use[MANY];
  static uint8_t states[MANY], is_held[MANY];
  static float values[MANY * 2], pushed[MANY];
  hotrow_segment segment = {.dim = 2, .optimizer = {.kind = HOTROW_SGD, .lr = 1.0f}};
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  o.segments = &segment;
  o.segment_count = 1;
  o.row_count = 2048;
  o.staging_row_count = MANY;
  o.push_bound = 1;
  o.mode = HOTROW_CACHE_ANNOUNCE;
  o.announce_step = 1;
  CHECK_OK(device_create(&o, &cache));
  for (uint32_t i = 0; i < MANY; i++) {
    keys[i] = i;
    hashes[i] = hr_key_hash(i, 3);
    clocks[i] = 1000 + i;
    next_use[i] = HOTROW_BATCH_NONE;
    values[2 * i] = (float)i;
    values[2 * i + 1] = 1.0f;
  }
  size_t stride;
  for (uint32_t round = 0; round < 4; round++) {
    hotrow_cache_begin_batch(cache);
    CHECK_OK(device_insert(cache, keys, hashes, clocks, values, NULL, next_use, MANY, slots));
    uint32_t held_count = 0;
    const float *base = device_rows(cache, 2048 + MANY, &stride);
    for (uint32_t i = 0; i < MANY; i++) {
      float steps = slots[i] < 2048 ? (float)round : 0.0f; /* held since the first round, or new in each */
      held_count += slots[i] < 2048;
      CHECK(base[slots[i] * stride] == (float)i - steps * (float)i && base[slots[i] * stride + 1] == 1.0f - steps);
    }
    CHECK(held_count > 1900 && held_count <= 2048);
    device_credit(cache, keys, hashes, clocks, MANY);
    device_announce(cache, keys, hashes, clocks, MANY);
    device_lookup(cache, keys, hashes, MANY, next_use, slots, seen, states);
    device_expect(cache, keys, hashes, MANY, round + 2, is_held);
    for (uint32_t i = 0; i < MANY; i++) {
      CHECK(slots[i] == HOTROW_SLOT_NONE || seen[i] == (round + 2) * clocks[i]);
      CHECK_EQ(is_held[i], slots[i] != HOTROW_SLOT_NONE);
    }
    CHECK_OK(device_update(cache, keys, hashes, NULL, values, NULL, MANY));
    hotrow_cache_push_list list;
    device_take_pushes(cache, &list);
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

/* ---- what the caller knows is not looked for again */

static const hotrow_kernels *plain_kernels;
static size_t probed_count;

static void counted_probe(const uint64_t *set_keys, const uint64_t *set_hashes, const uint16_t *occupied,
                          uint32_t set_count, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                          void *stream, uint32_t *slot_p)
{
  probed_count += key_count;
  plain_kernels->probe(set_keys, set_hashes, occupied, set_count, keys, hashes, key_count, stream, slot_p);
}

#define FEW 5

static uint64_t few_keys[FEW], few_hashes[FEW];

/* What the host counts is what the CPU looks for: a kernel looks for single keys itself. */
static void update_few(const uint32_t *slots, size_t sought_count)
{
  static const float grads[FEW * DIM];
  probed_count = 0;
  CHECK_OK(device_update(cache, few_keys, few_hashes, slots, grads, NULL, FEW));
  CHECK(device->device != HOTROW_CPU || probed_count == sought_count);
}

static void known_slots_are_not_looked_for(void)
{
  static const float values[FEW * DIM];
  static const uint32_t clocks[FEW];
  uint32_t slots[FEW], seen[FEW];
  uint8_t states[FEW];
  hotrow_segment segment = {.dim = DIM};
  hotrow_cache_options o = options_of(5, 0, 1);
  hotrow_kernels counted = *device;
  plain_kernels = device;
  counted.probe = counted_probe;
  o.kernels = &counted;
  o.segments = &segment;
  o.segment_count = 1;
  o.row_count = 4096; /* many sets */
  CHECK_OK(device_create(&o, &cache));
  for (uint32_t i = 0; i < FEW; i++) {
    few_keys[i] = i;
    few_hashes[i] = hr_key_hash(i, 3);
  }
  CHECK_OK(device_insert(cache, few_keys, few_hashes, clocks, values, NULL, NULL, FEW, slots));
  update_few(NULL, FEW);
  update_few(slots, 0);
  slots[1] = HOTROW_SLOT_NONE;
  slots[2] = (uint32_t)o.row_count; /* of staging */
  slots[3] = slots[0];              /* of another set */
  update_few(slots, 3);
  hotrow_cache_invalidate(cache, few_hashes[0], few_hashes[0]);
  update_few(slots, FEW);
  hotrow_cache_begin_batch(cache);
  device_lookup(cache, few_keys, few_hashes, FEW, NULL, slots, seen, states);
  update_few(slots, 1); /* the one that is gone */
  hotrow_cache_push_list list;
  uint32_t steps = 0;
  hotrow_cache_flush(cache);
  device_take_pushes(cache, &list);
  for (size_t i = 0; i < list.count; i++)
    steps += list.steps[i];
  CHECK_EQ(steps, 5 * FEW);
  hotrow_cache_destroy(cache);
}

/* Nothing is asked, nothing changes, and nothing is touched. */
static void empty_calls_do_nothing(void)
{
  hotrow_segment segment = {.dim = DIM, .optimizer = {.kind = HOTROW_ADAGRAD}};
  hotrow_cache_options o = options_of(3, 1, 4 + 9);
  hotrow_cache_push_list list;
  start();
  add_table(&o, &segment, 1);
  work_on(0);
  for (int round = 0; round < 2; round++) {
    device_lookup(cache, NULL, NULL, 0, NULL, NULL, NULL, NULL);
    CHECK_OK(device_insert(cache, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL));
    CHECK_OK(device_update(cache, NULL, NULL, NULL, NULL, NULL, 0));
    device_refresh(cache, NULL, NULL, NULL, NULL, 0);
    device_expect(cache, NULL, NULL, 0, 9, NULL);
    device_announce(cache, NULL, NULL, NULL, 0);
    device_credit(cache, NULL, NULL, NULL, 0);
    hotrow_cache_mark_stale(cache, 1, 0);
    hotrow_cache_invalidate(cache, 1, 0);
    hotrow_cache_flush(cache);
    device_take_pushes(cache, &list);
    CHECK_EQ(list.count, 0);
    compare();
    hotrow_cache_begin_batch(cache);
    model_begin_batch(&model);
  }
  end();
}

int main(int argc, char **argv)
{
  device_open(argc, argv);
  RUN(chunks_leave_no_trace);
  RUN(empty_calls_do_nothing);
  RUN(known_slots_are_not_looked_for);
  RUN(same_as_the_model);
  return 0;
}
