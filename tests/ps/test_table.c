#include <math.h>

#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>
#include <hr/route.h>

#include "hr_test.h"
#include "table.h"
#include "table_index.h"

#define DIM 6u
#define STRIDE_MAX (3 * DIM + 1)

static hr_table_desc describe(hotrow_optimizer_kind kind)
{
  hr_table_desc desc = {.seed = 42, .dim = DIM, .segment_count = 1, .name = "items", .segments[0].dim = DIM};
  hotrow_optimizer optimizer = {.kind = kind, .lr = 0.1f, .initial_state = 0.5f};
  hotrow_initializer initializer = {0};
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  CHECK_OK(hr_initializer_resolve(&initializer, DIM, &desc.segments[0].initializer));
  return desc;
}

/* As a shard does it: nothing is applied that has not been checked. */
static hotrow_status checked_push(hr_table *table, const hr_section *push)
{
  HOTROW_TRY(hr_table_check_push(table, push));
  return hr_table_push(table, push, NULL);
}

static hr_table *make(hotrow_optimizer_kind kind, uint64_t row_count_max)
{
  hr_table_desc desc = describe(kind);
  hr_table *table = NULL;
  CHECK_OK(hr_table_create(&desc, row_count_max, &table));
  return table;
}

static const float *row_of(const hr_table *table, uint32_t row)
{
  size_t stride;
  return hr_table_rows(table, &stride) + row * stride;
}

static uint64_t row_count(const hr_table *table)
{
  return hr_table_get_desc(table)->row_count;
}

static uint32_t clock_of(const hr_table *table, uint64_t key)
{
  uint32_t row, clock;
  hr_table_find(table, &key, 1, &row, &clock);
  return clock;
}

static void bad_descriptions_are_refused(void)
{
  hr_table *table = NULL;
  hr_table_desc desc = describe(HOTROW_SGD);
  desc.dim = 0;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "dim 0");
  desc.dim = HOTROW_DIM_MAX + 1;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "dim 4097");
  desc = describe(HOTROW_SGD);
  desc.name[0] = '/';
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, NULL);
  memset(desc.name, 'x', sizeof desc.name);
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, NULL);
  desc = describe(HOTROW_SGD);
  desc.segments[0].optimizer.kind = HOTROW_OPTIMIZER_DEFAULT;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "defaults left");
  desc.segments[0].optimizer.kind = (hotrow_optimizer_kind)99;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "99");
  desc = describe(HOTROW_SGD);
  desc.segments[0].initializer.kind = HOTROW_INIT_DEFAULT;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "defaults left");
  CHECK(table == NULL);
  hr_table_destroy(NULL);
}

/* The model: one slot per key of a fixed universe; its rows are changed by the same kernel, one at a time. */
#define UNIVERSE 60000u
#define BATCH 3000u

typedef struct model {
  uint64_t keys[UNIVERSE];
  bool is_there[UNIVERSE];
  uint32_t clocks[UNIVERSE];
  float rows[UNIVERSE][STRIDE_MAX];
  uint32_t order[UNIVERSE]; /* a permutation: its head gives distinct keys */
  uint32_t count;
} model;

static hotrow_row_layout layout_of(const hr_table_desc *desc)
{
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(desc->segments, desc->segment_count, &layout));
  return layout;
}

static void model_touch(model *m, const hr_table_desc *desc, uint32_t i)
{
  if (m->is_there[i])
    return;
  m->is_there[i] = true;
  m->count++;
  hr_init_row(&desc->segments[0].initializer, desc->seed, hr_table_seed("items", 5), m->keys[i], DIM, m->rows[i]);
  hotrow_row_layout layout = layout_of(desc);
  hr_row_layout_init_state(&layout, m->rows[i], m->rows[i] + DIM);
}

static void model_check(const model *m, const hr_table *table, const uint32_t *picks, const uint32_t *rows,
                        const uint32_t *clocks)
{
  size_t row_bytes =
      (DIM + hr_optimizer_state_dim(hr_table_get_desc(table)->segments[0].optimizer.kind, DIM)) * sizeof(float);
  for (uint32_t i = 0; i < BATCH; i++) {
    CHECK_EQ(rows[i] != HR_ROW_NONE, m->is_there[picks[i]]);
    CHECK_EQ(clocks[i], m->clocks[picks[i]]);
    if (m->is_there[picks[i]])
      CHECK_MSG(memcmp(row_of(table, rows[i]), m->rows[picks[i]], row_bytes) == 0, "row of key %llu differs",
                (unsigned long long)m->keys[picks[i]]);
  }
  CHECK_EQ(row_count(table), m->count);
}

static void model_push(model *m, hr_table *table, hr_rng *rng, bool has_steps)
{
  static uint64_t keys[BATCH];
  static float grads[BATCH][DIM], squares[BATCH][DIM];
  static uint32_t steps[BATCH];
  const hr_table_desc *desc = hr_table_get_desc(table);
  uint32_t square_dim = has_steps ? hr_optimizer_square_dim(desc->segments[0].optimizer.kind, DIM) : 0;
  hotrow_row_layout layout = layout_of(desc);
  const hotrow_kernels *kernels;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &kernels));
  float *all_squares = &squares[0][0];
  for (uint32_t i = 0; i < BATCH; i++) {
    uint32_t other = i + (uint32_t)hr_rng_below(rng, UNIVERSE - i), pick = m->order[other];
    m->order[other] = m->order[i];
    m->order[i] = pick;
    keys[i] = m->keys[pick];
    steps[i] = 1 + (uint32_t)hr_rng_below(rng, 3);
    for (uint32_t c = 0; c < DIM; c++)
      grads[i][c] = hr_rng_unit(rng) - 0.5f;
    for (uint32_t c = 0; c < square_dim; c++)
      all_squares[i * square_dim + c] = hr_rng_unit(rng);
    model_touch(m, desc, pick);
    uint32_t zero = 0, k = has_steps ? steps[i] : 1;
    kernels->optimizer_apply(&layout, 1.0f, m->rows[pick], STRIDE_MAX, &zero, grads[i],
                             square_dim ? all_squares + i * square_dim : NULL, has_steps ? &k : NULL, 1, NULL);
    m->clocks[pick] += k;
  }
  hr_section push = {
      .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = BATCH, .dim = DIM, .keys = keys, .grads = &grads[0][0]};
  if (has_steps) {
    push.flags = HR_SECTION_STEPS;
    push.steps = steps;
    push.squares = square_dim ? all_squares : NULL;
    push.extra_dim = square_dim;
  }
  CHECK_OK(hr_table_push(table, &push, NULL));
}

static void the_table_does_what_a_plain_model_does(void)
{
  static model m;
  static uint64_t keys[BATCH];
  static uint32_t picks[BATCH], rows[BATCH], clocks[BATCH];
  hr_rng rng = {hr_test_seed(11)};
  for (int kind = HOTROW_SGD; kind <= HOTROW_ADAM; kind++) {
    memset(&m, 0, sizeof m);
    for (uint32_t i = 0; i < UNIVERSE; i++) {
      m.order[i] = i;
      m.keys[i] = i < 2 ? i - 1ull : i < UNIVERSE / 2 ? i - 1 : hr_rng_next(&rng);
    }
    hr_table *table = make((hotrow_optimizer_kind)kind, 0);
    CHECK_EQ(hr_table_get_seed(table), hr_table_seed("items", 5));
    for (int round = 0; round < 60; round++) {
      for (uint32_t i = 0; i < BATCH; i++) { /* with duplicates; 0 and 2^64-1 in every batch */
        picks[i] = i < 2 ? i : (uint32_t)hr_rng_below(&rng, UNIVERSE);
        keys[i] = m.keys[picks[i]];
      }
      if (round % 3 == 0) {
        CHECK_OK(hr_table_find_or_create(table, keys, BATCH, rows, clocks));
        for (uint32_t i = 0; i < BATCH; i++)
          model_touch(&m, hr_table_get_desc(table), picks[i]);
      } else {
        model_push(&m, table, &rng, round % 3 == 1);
        hr_table_find(table, keys, BATCH, rows, clocks);
      }
      model_check(&m, table, picks, rows, clocks);
    }
    hr_table_destroy(table);
  }
}

static void a_push_of_new_keys_through_many_splits(void)
{
  enum { COUNT = 50000 };
  static uint64_t keys[COUNT];
  static float grads[COUNT];
  hr_table_desc desc = describe(HOTROW_SGD);
  desc.dim = desc.segments[0].dim = 1;
  hr_table *table = NULL;
  CHECK_OK(hr_table_create(&desc, 0, &table));
  size_t empty_bytes = hr_table_memory_bytes(table);
  for (uint64_t i = 0; i < COUNT; i++) {
    keys[i] = i * 3;
    grads[i] = 1.0f;
  }
  hr_section push = {
      .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = COUNT, .dim = 1, .keys = keys, .grads = grads};
  CHECK_OK(hr_table_push(table, &push, NULL));
  CHECK_OK(hr_table_push(table, &push, NULL));
  CHECK(hr_table_memory_bytes(table) > empty_bytes + COUNT * 16);
  for (uint64_t i = 0; i < COUNT; i++)
    CHECK_EQ(clock_of(table, keys[i]), 2);
  push.key_count = 0;
  CHECK_OK(hr_table_push(table, &push, NULL));
  hr_table_destroy(table);
}

/* The keys of one shard agree in the top bits of their hashes; the index must not grow as if they collided. */
static void the_keys_of_one_shard_spread_over_the_index(void)
{
  enum { COUNT = 20000 };
  hr_table *table = make(HOTROW_SGD, 0);
  uint32_t row, clock;
  for (uint64_t key = 0; row_count(table) < COUNT; key++)
    if (hr_shard_of(hr_key_hash(key, hr_table_get_seed(table)), 64) == 5)
      CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
  size_t stride;
  hr_table_rows(table, &stride);
  size_t index_bytes = hr_table_memory_bytes(table) - COUNT * stride * sizeof(float);
  CHECK_MSG(index_bytes < (size_t)COUNT * 60, "%zu bytes of index for %d keys", index_bytes, COUNT);
  hr_table_destroy(table);
}

/* A stranger who knows the hash can choose keys that agree in all the bits the directory uses. The hash of
 * test_random.c undone: xor-shift, multiply, xor with two rotations. */
static uint64_t rotate(uint64_t x, int by)
{
  return by ? x << by | x >> (64 - by) : x;
}

static uint64_t undo_hash(uint64_t hash, uint64_t flip)
{
  uint64_t inverse = 0x9FB21C651E98DF25u, prime = inverse;
  for (int i = 0; i < 6; i++)
    inverse *= 2 - prime * inverse;
  uint64_t h = (hash ^ hash >> 28 ^ hash >> 56) * inverse;
  h = (h ^ ((h >> 35) + 8)) * inverse;
  for (int i = 0; i < 6; i++)
    h ^= rotate(h, (24 << i) % 64) ^ rotate(h, (49 << i) % 64);
  h ^= flip;
  return h >> 32 | h << 32;
}

static void keys_that_collide_on_purpose_meet_a_limit(void)
{
  hr_table *table = make(HOTROW_SGD, 0);
  uint64_t seed = hr_table_get_seed(table), flip = undo_hash(hr_key_hash(0, seed), 0);
  flip = flip >> 32 | flip << 32;
  uint32_t row, clock;
  hotrow_status status = HOTROW_OK;
  for (uint64_t i = 0; i < 5000 && status == HOTROW_OK; i++) {
    uint64_t hash = (i % 4096) << 50 | i, key = undo_hash(hash, flip);
    CHECK(hr_key_hash(key, seed) == hash);
    status = hr_table_find_or_create(table, &key, 1, &row, &clock);
  }
  CHECK_FAILS(status, HOTROW_ERR_LIMIT, "agree in 24 bits");
  CHECK(row_count(table) >= HR_SEGMENT_BUCKETS * HR_BUCKET_WAYS * 7 / 10);
  CHECK(hr_table_memory_bytes(table) < (size_t)256 << 20);
  /* Others still find room, in segments whose depth is far below the directory's. */
  uint64_t before = row_count(table);
  for (uint64_t key = 0; key < 40000; key++)
    CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
  CHECK_EQ(row_count(table), before + 40000);
  for (uint64_t key = 0; key < 40000; key++) {
    hr_table_find(table, &key, 1, &row, &clock);
    CHECK_EQ(row, before + key);
  }
  hr_table_destroy(table);
}

/* One push per refusal; after each the table is as it was. */
static void pushes_are_refused_whole(void)
{
  hr_table *table = make(HOTROW_ROWWISE_ADAGRAD, 4);
  uint64_t keys[3] = {10, UINT64_MAX, 0}, more[5] = {10, 1, 2, 3, 4};
  float grads[5 * DIM] = {0}, squares[3] = {1, 1, 1};
  uint32_t steps[3] = {2, 1, 2}, rows[3], clocks[3];
  const hr_section good = {.kind = HR_SECTION_PUSH,
                           .lr_scale = 1.0f,
                           .flags = HR_SECTION_STEPS,
                           .key_count = 3,
                           .dim = DIM,
                           .extra_dim = 1,
                           .keys = keys,
                           .grads = grads,
                           .steps = steps,
                           .squares = squares};
  grads[0] = 1.0f;
  CHECK_OK(hr_table_push(table, &good, NULL));
  hr_table_find(table, keys, 3, rows, clocks);
  size_t stride;
  float *all = hr_table_rows(table, &stride), before[4 * 32];
  CHECK(3 * stride < 4 * 32);
  memcpy(before, all, 3 * stride * sizeof(float));
#define REFUSED(status, words)                                                                                         \
  do {                                                                                                                 \
    CHECK_FAILS(checked_push(table, &push), status, words);                                                            \
    CHECK(memcmp(before, all, 3 * stride * sizeof(float)) == 0);                                                       \
    CHECK(clock_of(table, 10) == 2 && clock_of(table, UINT64_MAX) == 1 && clock_of(table, 0) == 2);                    \
  } while (0)
  hr_section push = good;
  push.dim = DIM - 1;
  REFUSED(HOTROW_ERR_INVALID, "dim 5");
  push = good;
  push.extra_dim = 0;
  REFUSED(HOTROW_ERR_INVALID, "square_dim 0");
  push.flags = 0;
  push.extra_dim = 1;
  REFUSED(HOTROW_ERR_INVALID, "square_dim 1");
  push = good;
  steps[1] = 0;
  REFUSED(HOTROW_ERR_INVALID, "key 18446744073709551615: 0 steps");
  steps[1] = HR_WIRE_STEPS_MAX + 1;
  REFUSED(HOTROW_ERR_LIMIT, "1000000002 steps");
  steps[1] = 1;
  const float bad[3] = {NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 3; i++) {
    grads[3 * DIM - 1] = bad[i];
    REFUSED(HOTROW_ERR_INVALID, "key 0: its gradient");
    grads[3 * DIM - 1] = 0;
    squares[0] = bad[i];
    REFUSED(HOTROW_ERR_INVALID, "key 10: its sum of squares");
    squares[0] = 1;
  }
  squares[1] = -1;
  REFUSED(HOTROW_ERR_INVALID, "key 18446744073709551615: its sum of squares is -1");
  CHECK_EQ(row_count(table), 3);
  push =
      (hr_section){.kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = 5, .dim = DIM, .keys = more, .grads = grads};
  REFUSED(HOTROW_ERR_LIMIT, "row_count_max is 4");
#undef REFUSED
  hr_table_destroy(table);
}

static void steps_that_would_hold_the_shard_up_are_refused(void)
{
  const hotrow_optimizer_kind kinds[] = {HOTROW_MOMENTUM, HOTROW_ADAM};
  for (int i = 0; i < 2; i++) {
    hr_table *table = make(kinds[i], 0);
    uint64_t key = 1;
    float grads[DIM] = {1};
    uint32_t steps = HR_OPTIMIZER_REPEATED_STEPS_MAX + 1;
    hr_section push = {.kind = HR_SECTION_PUSH,
                       .lr_scale = 1.0f,
                       .flags = HR_SECTION_STEPS,
                       .key_count = 1,
                       .dim = DIM,
                       .keys = &key,
                       .grads = grads,
                       .steps = &steps};
    CHECK_FAILS(checked_push(table, &push), HOTROW_ERR_LIMIT, "4097 steps");
    steps--;
    CHECK_OK(checked_push(table, &push));
    hr_table_destroy(table);
  }
}

static void keys_of_other_shards_are_not_created(void)
{
  hr_table *table = make(HOTROW_SGD, 0);
  hr_table_set_owner(table, 1, 2);
  uint32_t row, clock, own_count = 0;
  for (uint64_t key = 0; key < 100; key++) {
    bool is_own = hr_shard_of(hr_key_hash(key, hr_table_get_seed(table)), 2) == 1;
    if (is_own)
      CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
    else
      CHECK_FAILS(hr_table_find_or_create(table, &key, 1, &row, &clock), HOTROW_ERR_INVALID, "belongs to shard 0");
    own_count += is_own;
  }
  CHECK(own_count > 20 && own_count < 80);
  CHECK_EQ(row_count(table), own_count);
  hr_table_destroy(table);
}

static void a_full_table_says_so_and_serves_what_it_has(void)
{
  hr_table *table = make(HOTROW_SGD, 10);
  uint64_t keys[11];
  uint32_t rows[11], clocks[11];
  for (uint64_t i = 0; i < 11; i++)
    keys[i] = i;
  CHECK_FAILS(hr_table_find_or_create(table, keys, 11, rows, clocks), HOTROW_ERR_LIMIT, "row_count_max is 10");
  CHECK_OK(hr_table_find_or_create(table, keys, 10, rows, clocks));
  hr_table_find(table, keys, 11, rows, clocks);
  CHECK(rows[9] != HR_ROW_NONE && rows[10] == HR_ROW_NONE && clocks[10] == 0);
  float row[DIM] = {0};
  CHECK_FAILS(hr_table_restore_row(table, 10, 1, row), HOTROW_ERR_LIMIT, "row_count_max is 10");
  hr_table_destroy(table);
}

static void a_row_begins_as_its_key_says(void)
{
  hr_table *table = make(HOTROW_ADAGRAD, 0), *other = make(HOTROW_ADAGRAD, 0);
  uint64_t keys[3] = {5, 0, UINT64_MAX}, reversed[3] = {UINT64_MAX, 0, 5};
  uint32_t rows[3], other_rows[3], clocks[3];
  CHECK_OK(hr_table_find_or_create(table, keys, 3, rows, clocks));
  CHECK_OK(hr_table_find_or_create(other, reversed, 3, other_rows, clocks));
  float value[DIM];
  for (int i = 0; i < 3; i++) {
    hr_table_default_row(table, keys[i], value);
    CHECK(memcmp(value, row_of(table, rows[i]), sizeof value) == 0);
    CHECK(memcmp(row_of(table, rows[i]), row_of(other, other_rows[2 - i]), 2 * sizeof value) == 0);
    CHECK(row_of(table, rows[i])[DIM] == 0.5f);
  }
  hr_table_destroy(table);
  hr_table_destroy(other);
}

typedef struct visit_log {
  const hr_table *table;
  uint64_t seen_count;
  uint64_t key_sum;
  uint64_t stop_at;
} visit_log;

static hotrow_status visit(uint64_t key, uint32_t clock, const float *value_and_state, void *context)
{
  visit_log *log = context;
  CHECK(value_and_state == row_of(log->table, (uint32_t)log->seen_count));
  CHECK_EQ(clock, key % 3);
  log->key_sum += key;
  return ++log->seen_count == log->stop_at ? hr_fail(HOTROW_ERR_STORAGE, "enough") : HOTROW_OK;
}

static void a_scan_sees_each_row_once_in_order(void)
{
  enum { COUNT = 9001 };
  hr_table *table = make(HOTROW_SGD, 0);
  float row[DIM] = {0};
  uint64_t key_sum = 0;
  for (uint64_t i = 0; i < COUNT; i++) {
    uint64_t key = i * 0x9e3779b97f4a7c15u;
    key_sum += key;
    CHECK_OK(hr_table_restore_row(table, key, (uint32_t)(key % 3), row));
  }
  visit_log log = {.table = table};
  CHECK_OK(hr_table_scan(table, visit, &log));
  CHECK(log.seen_count == COUNT && log.key_sum == key_sum);
  log = (visit_log){.table = table, .stop_at = 700};
  CHECK_FAILS(hr_table_scan(table, visit, &log), HOTROW_ERR_STORAGE, "enough");
  CHECK_EQ(log.seen_count, 700);
  hr_table_destroy(table);
}

static void a_row_is_restored_as_it_was(void)
{
  hr_table *table = make(HOTROW_ADAM, 0);
  float row[STRIDE_MAX], grads[DIM] = {0};
  for (uint32_t i = 0; i < STRIDE_MAX; i++)
    row[i] = (float)i + 0.25f;
  CHECK_OK(hr_table_restore_row(table, 0, UINT32_MAX, row));
  CHECK_FAILS(hr_table_restore_row(table, 0, 3, row), HOTROW_ERR_EXISTS, "key 0");
  uint64_t key = 0;
  uint32_t at, clock;
  CHECK_OK(hr_table_find_or_create(table, &key, 1, &at, &clock));
  CHECK_EQ(clock, UINT32_MAX);
  CHECK(memcmp(row_of(table, at), row, sizeof row) == 0);
  hr_section push = {
      .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = 1, .dim = DIM, .keys = &key, .grads = grads};
  CHECK_OK(hr_table_push(table, &push, NULL));
  CHECK_EQ(clock_of(table, 0), 0); /* clocks wrap */
  CHECK_EQ(row_count(table), 1);
  hr_table_destroy(table);
}

static hotrow_status add_row_up(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                                const float *record, size_t float_count)
{
  CHECK(record && float_count == desc->dim);
  *(uint64_t *)context += (key + 1) * 1000 + clock;
  return HOTROW_OK;
}

/* Of the rows of a cut, copied in turns of `budget` bytes. */
static uint64_t cut_sum(hr_table *table, size_t budget)
{
  uint64_t sum = 0;
  const hr_storage storage = {.context = &sum, .put_row = add_row_up};
  CHECK_OK(hr_table_begin_cut(table, &storage));
  while (hr_table_is_copying(table)) {
    size_t left = budget;
    CHECK_OK(hr_table_copy(table, &left));
  }
  hr_table_end_cut(table);
  return sum;
}

static void dirty_rows_are_known(void)
{
  hr_table *table = make(HOTROW_SGD, 0);
  uint64_t keys[3] = {0, 1, 2};
  uint32_t rows[3], clocks[3];
  float grads[3 * DIM] = {0}, row[DIM] = {0};
  CHECK_OK(hr_table_find_or_create(table, keys, 1, rows, clocks)); /* before anybody asked */
  CHECK_EQ(hr_table_dirty_count(table), 0);
  CHECK_OK(hr_table_track(table));
  CHECK_EQ(hr_table_dirty_count(table), 0);
  CHECK_OK(hr_table_find_or_create(table, keys, 2, rows, clocks)); /* key 1 is new */
  CHECK_EQ(cut_sum(table, SIZE_MAX), 2000);
  hr_section push = {
      .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = 2, .dim = DIM, .keys = keys + 1, .grads = grads};
  CHECK_OK(hr_table_push(table, &push, NULL));
  CHECK_OK(hr_table_push(table, &push, NULL));
  CHECK(hr_table_dirty_count(table) == 2 && cut_sum(table, 1) == 2000 + 3000 + 2 * 2);
  CHECK_EQ(cut_sum(table, 1), 0);
  push.key_count = 1;
  CHECK_OK(hr_table_push(table, &push, NULL));
  CHECK_OK(hr_table_restore_row(table, 77, 1, row));
  CHECK_EQ(hr_table_dirty_count(table), 1);
  hr_table_touch_newest(table);
  CHECK_EQ(hr_table_dirty_count(table), 2);
  CHECK_EQ(cut_sum(table, SIZE_MAX), 2003 + 78001);
  hr_table_destroy(table);

  enum { MANY = 5000 }; /* over several chunks and words */
  static uint64_t many[MANY];
  static float many_grads[MANY * DIM];
  table = make(HOTROW_SGD, 0);
  CHECK_OK(hr_table_track(table));
  for (uint64_t i = 0; i < MANY; i++)
    many[i] = i;
  push = (hr_section){
      .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = MANY, .dim = DIM, .keys = many, .grads = many_grads};
  for (uint32_t round = 1; round <= 3; round++) {
    CHECK_OK(hr_table_push(table, &push, NULL));
    CHECK_EQ(hr_table_dirty_count(table), MANY);
    CHECK_EQ(cut_sum(table, round * 1000), (uint64_t)MANY * (MANY + 1) / 2 * 1000 + round * MANY);
  }
  hr_table_destroy(table);
}

static void bad_segments_are_refused(void)
{
  hr_table *table = NULL;
  hr_table_desc desc = describe(HOTROW_SGD);
  desc.segment_count = 0;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "0 segments");
  desc.segment_count = HOTROW_SEGMENTS_MAX + 1;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "5 segments");
  desc = describe(HOTROW_SGD);
  desc.segments[0].dim--;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "and its segments have");
  desc = describe(HOTROW_SGD);
  desc.segments[1].optimizer.lr = 1.0f; /* beyond the count: must be zero */
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "defaults left");
  desc = describe(HOTROW_SGD);
  desc.announce_step = HR_WIRE_BOUND_MAX + 1;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "announce_step 1000000001");
  CHECK(table == NULL);
}

int main(void)
{
  RUN(dirty_rows_are_known);
  RUN(bad_segments_are_refused);
  RUN(bad_descriptions_are_refused);
  RUN(pushes_are_refused_whole);
  RUN(steps_that_would_hold_the_shard_up_are_refused);
  RUN(keys_of_other_shards_are_not_created);
  RUN(a_full_table_says_so_and_serves_what_it_has);
  RUN(keys_that_collide_on_purpose_meet_a_limit);
  RUN(the_keys_of_one_shard_spread_over_the_index);
  RUN(a_row_begins_as_its_key_says);
  RUN(a_row_is_restored_as_it_was);
  RUN(a_scan_sees_each_row_once_in_order);
  RUN(a_push_of_new_keys_through_many_splits);
  RUN(the_table_does_what_a_plain_model_does);
  return 0;
}
