/* How rows travel: dtypes, wide clocks, the histogram of staleness, learning rate scales, segments. */
#include "shard_test.h"

#include <math.h>

#include <hotrow/kernels.h>
#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>

enum { DIM = 13, ROWS = 50 };

typedef struct scene {
  test_shard *t;
  test_client c;
  const hotrow_kernels *kernels;
  uint32_t table;
  uint64_t keys[ROWS];
  float values[ROWS][DIM]; /* of the rows, as the shard has them */
} scene;

/* A table whose rows begin with anything and have no state. */
static scene open_scene(void)
{
  scene s = {.t = test_shard_open(NULL), .c = test_worker(1, 7, 0, 1, 100)};
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &s.kernels));
  test_greet(s.t, &s.c);
  hr_table_desc desc = test_desc("t");
  desc.dim = desc.segments[0].dim = DIM;
  desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_UNIFORM, 3.0f};
  s.table = test_create(s.t, &s.c, &desc);
  for (uint64_t i = 0; i < ROWS; i++)
    s.keys[i] = i * i;
  hr_table *table = hr_shard_table(s.t->shard, s.table);
  uint32_t at[ROWS], clocks[ROWS];
  size_t stride;
  CHECK_OK(hr_table_find_or_create(table, s.keys, ROWS, at, clocks));
  float *rows = hr_table_rows(table, &stride);
  for (size_t i = 0; i < ROWS; i++) {
    for (size_t c = 0; c < DIM; c++)
      rows[at[i] * stride + c] *= i % 5 == 0 ? 1e5f : i % 7 == 0 ? 0.0f : 1.0f;
    memcpy(s.values[i], &rows[at[i] * stride], sizeof s.values[i]);
  }
  return s;
}

static hr_section *ask(scene *s, const uint64_t *keys, uint32_t key_count)
{
  hr_section *asked = test_add_pull(test_begin(&s->c, HR_OP_PULL), s->table, keys, key_count);
  asked->dim = DIM;
  return asked;
}

static const hr_section *answer(scene *s)
{
  CHECK_OK(test_ask(s->t, &s->c));
  CHECK_EQ(s->t->replies[0].message.section_count, 1);
  return &s->t->replies[0].message.sections[0];
}

static void pulled_values_are_what_pack_makes_of_the_rows(void)
{
  scene s = open_scene();
  for (int d = HOTROW_F32; d <= HOTROW_I8; d++) {
    hotrow_dtype dtype = (hotrow_dtype)d;
    static _Alignas(8) uint8_t packed[ROWS * DIM * 4];
    float scales[ROWS];
    s.kernels->pack(dtype, &s.values[0][0], DIM, DIM, NULL, ROWS, NULL, packed, scales);
    ask(&s, s.keys, ROWS)->dtype = (uint8_t)dtype;
    const hr_section *got = answer(&s);
    CHECK(got->dtype == dtype && got->row_count == ROWS);
    const void *bytes = dtype == HOTROW_F32 ? (const void *)got->values : got->packed;
    CHECK(memcmp(bytes, packed, ROWS * DIM * hr_dtype_bytes(dtype)) == 0);
    CHECK((got->scales != NULL) == (dtype == HOTROW_I8));
    CHECK(dtype != HOTROW_I8 || memcmp(got->scales, scales, sizeof scales) == 0);
    CHECK((got->values != NULL) == (dtype == HOTROW_F32));
  }
  CHECK_EQ(test_counter(s.t->shard, "\"bytes_pulled_f32\""), ROWS * DIM * 4);
  CHECK_EQ(test_counter(s.t->shard, "\"bytes_pulled_f16\""), ROWS * DIM * 2);
  CHECK_EQ(test_counter(s.t->shard, "\"bytes_pulled_i8\""), ROWS * DIM);
  test_shard_close(s.t);
}

/* A reader's default rows are packed like the others, each in its place. */
static void default_rows_are_packed_too(void)
{
  scene s = open_scene();
  uint64_t keys[3] = {s.keys[1], 1000001, s.keys[2]};
  float expected[3][DIM], scales[3];
  memcpy(expected[0], s.values[1], sizeof expected[0]);
  memcpy(expected[2], s.values[2], sizeof expected[2]);
  hr_table_default_row(hr_shard_table(s.t->shard, s.table), keys[1], expected[1]);
  for (int d = HOTROW_F16; d <= HOTROW_I8; d++) {
    hotrow_dtype dtype = (hotrow_dtype)d;
    uint8_t packed[3 * DIM * 2];
    s.kernels->pack(dtype, &expected[0][0], DIM, DIM, NULL, 3, NULL, packed, scales);
    ask(&s, keys, 3)->dtype = (uint8_t)dtype;
    s.c.message.header.flags = HR_FLAG_READ_ONLY;
    const hr_section *got = answer(&s);
    CHECK(got->found[0] == 5 && memcmp(got->packed, packed, 3 * DIM * hr_dtype_bytes(dtype)) == 0);
    CHECK(dtype != HOTROW_I8 || memcmp(got->scales, scales, sizeof scales) == 0);
  }
  test_shard_close(s.t);
}

/* What a table keeps in 16 bits: any wire dtype, rows that are there and rows that are not, states, counters. */
static void packed_tables_are_pulled_in_any_dtype(void)
{
  static const uint16_t kept[] = {HOTROW_F16, HOTROW_BF16};
  for (size_t k = 0; k < 2; k++) {
    scene s = open_scene();
    hr_table_desc desc = test_desc("packed");
    desc.dim = desc.segments[0].dim = DIM;
    desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_UNIFORM, 3.0f};
    hotrow_optimizer optimizer = {.kind = HOTROW_MOMENTUM};
    CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
    desc.storage_dtype = kept[k];
    s.table = test_create(s.t, &s.c, &desc);
    long long value_bytes = test_counter(s.t->shard, "\"value_bytes\"");
    float expected[ROWS][DIM], grads[ROWS / 2][DIM], scales[ROWS];
    for (size_t i = 0; i < ROWS / 2; i++)
      for (size_t c = 0; c < DIM; c++)
        grads[i][c] = (float)(i + c) * 0.37f;
    test_add_push(test_begin(&s.c, HR_OP_PUSH), s.table, s.keys, &grads[0][0], ROWS / 2)->dim = DIM;
    CHECK_OK(test_ask(s.t, &s.c));
    CHECK_EQ(test_counter(s.t->shard, "\"value_bytes\"") - value_bytes, ROWS / 2 * DIM * 2);
    for (int d = HOTROW_F32; d <= HOTROW_I8; d++) {
      hotrow_dtype dtype = (hotrow_dtype)d;
      hr_section *asked = ask(&s, s.keys, ROWS);
      asked->dtype = (uint8_t)dtype;
      asked->flags = HR_SECTION_WANT_STATE;
      s.c.message.header.flags = HR_FLAG_READ_ONLY;
      const hr_section *got = answer(&s);
      CHECK_EQ(got->extra_dim, DIM);
      for (size_t i = 0; i < ROWS; i++) {
        CHECK_EQ(got->found[i / 8] >> i % 8 & 1, i < ROWS / 2);
        for (size_t c = 0; c < DIM; c++)
          CHECK(got->states[i * DIM + c] == (i < ROWS / 2 ? grads[i][c] : 0.0f));
      }
      if (dtype == HOTROW_F32) {
        memcpy(expected, got->values, sizeof expected);
        uint16_t packed[ROWS * DIM];
        float again[ROWS][DIM];
        s.kernels->pack((hotrow_dtype)kept[k], &expected[0][0], DIM, DIM, NULL, ROWS, NULL, packed, NULL);
        s.kernels->unpack((hotrow_dtype)kept[k], packed, NULL, DIM, ROWS, NULL, &again[0][0], DIM);
        CHECK(memcmp(expected, again, sizeof again) == 0); /* the table's dtype says them */
        continue;
      }
      uint8_t packed[ROWS * DIM * 2];
      s.kernels->pack(dtype, &expected[0][0], DIM, DIM, NULL, ROWS, NULL, packed, scales);
      CHECK(memcmp(got->packed, packed, ROWS * DIM * hr_dtype_bytes(dtype)) == 0);
      CHECK(dtype != HOTROW_I8 || memcmp(got->scales, scales, sizeof scales) == 0);
    }
    desc.storage_dtype = HOTROW_F32;
    test_body(&s.c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
    CHECK_FAILS(test_ask(s.t, &s.c), HOTROW_ERR_EXISTS, "another storage_dtype");
    test_shard_close(s.t);
  }
}

/* A model that diverged is no reason to stop: what cannot be said is said as well as the dtype can. */
static void rows_that_are_not_finite_do_no_harm(void)
{
  scene s = open_scene();
  size_t stride;
  float *rows = hr_table_rows(hr_shard_table(s.t->shard, s.table), &stride);
  rows[0] = NAN;
  rows[stride + 1] = INFINITY;
  for (int d = HOTROW_F32; d <= HOTROW_I8; d++) {
    ask(&s, s.keys, ROWS)->dtype = (uint8_t)d;
    CHECK_EQ(answer(&s)->row_count, ROWS);
  }
  test_shard_close(s.t);
}

/* Packed gradients count as what unpack makes of them; held for a step they are the same. */
static void pushed_gradients_are_what_unpack_makes_of_them(void)
{
  scene s = open_scene();
  float grads[ROWS][DIM], unpacked[ROWS][DIM], scales[ROWS];
  hr_rng rng = {hr_test_seed(41)};
  for (size_t i = 0; i < ROWS; i++)
    for (size_t c = 0; c < DIM; c++)
      grads[i][c] = (hr_rng_unit(&rng) - 0.5f) * (float)(i + 1);
  test_client mates[2] = {test_worker(11, 9, 0, 2, 100), test_worker(12, 9, 1, 2, 100)};
  test_greet(s.t, &mates[0]);
  test_greet(s.t, &mates[1]);
  for (int held = 0; held < 2; held++)
    for (int d = HOTROW_F16; d <= HOTROW_I8; d++) {
      hotrow_dtype dtype = (hotrow_dtype)d;
      static _Alignas(8) uint8_t packed[ROWS * DIM * 2];
      s.kernels->pack(dtype, &grads[0][0], DIM, DIM, NULL, ROWS, NULL, packed, scales);
      s.kernels->unpack(dtype, packed, scales, DIM, ROWS, NULL, &unpacked[0][0], DIM);
      test_client *c = held ? &mates[0] : &s.c;
      hr_section *push = test_add_push(test_begin(c, HR_OP_PUSH), s.table, s.keys, NULL, ROWS);
      push->dim = DIM;
      push->dtype = (uint8_t)dtype;
      push->packed = packed;
      push->scales = dtype == HOTROW_I8 ? scales : NULL;
      test_clear(s.t);
      if (held) {
        c->message.header.flags = HR_FLAG_SYNC;
        c->message.header.step = (uint32_t)(d - HOTROW_F16);
        test_send(s.t, c);
        CHECK_EQ(s.t->reply_count, 0);
        test_begin(&mates[1], HR_OP_PUSH)->header.flags = HR_FLAG_SYNC;
        mates[1].message.header.step = c->message.header.step;
        test_send(s.t, &mates[1]);
        CHECK_EQ(s.t->reply_count, 2);
      } else {
        CHECK_OK(test_ask(s.t, c));
      }
      for (size_t i = 0; i < ROWS; i++)
        for (size_t k = 0; k < DIM; k++)
          s.values[i][k] -= unpacked[i][k];
      ask(&s, s.keys, ROWS);
      CHECK(memcmp(answer(&s)->values, s.values, sizeof s.values) == 0);
    }
  CHECK_EQ(test_counter(s.t->shard, "\"bytes_pushed_i8\""), 2 * ROWS * DIM);
  CHECK_EQ(test_counter(s.t->shard, "\"bytes_pushed_f16\""), 2 * 2 * ROWS * DIM);
  test_shard_close(s.t);
}

static void lr_scale_multiplies_the_learning_rate(void)
{
  scene s = open_scene();
  static const float lr_scales[] = {0.5f, 0.0f, 3.0f};
  float grads[ROWS][DIM];
  for (size_t i = 0; i < ROWS * DIM; i++)
    (&grads[0][0])[i] = (float)(i % 17);
  for (size_t n = 0; n < 3; n++) {
    hr_section *push = test_add_push(test_begin(&s.c, HR_OP_PUSH), s.table, s.keys, &grads[0][0], ROWS);
    push->dim = DIM;
    push->lr_scale = lr_scales[n];
    CHECK_OK(test_ask(s.t, &s.c));
    for (size_t i = 0; i < ROWS * DIM; i++)
      (&s.values[0][0])[i] -= lr_scales[n] * (&grads[0][0])[i];
  }
  ask(&s, s.keys, ROWS);
  CHECK(memcmp(answer(&s)->values, s.values, sizeof s.values) == 0);
  test_shard_close(s.t);
}

/* Wide messages say the same as narrow ones; a wide pull that waits for its step is kept whole. */
static void wide_clocks_say_the_same(void)
{
  scene s = open_scene();
  float grads[ROWS][DIM] = {{0}};
  uint64_t steps[ROWS];
  for (uint32_t i = 0; i < ROWS; i++)
    steps[i] = 1 + i;
  hr_section *push = test_add_push(test_begin(&s.c, HR_OP_PUSH), s.table, s.keys, &grads[0][0], ROWS);
  push->dim = DIM;
  push->flags = HR_SECTION_STEPS | HR_SECTION_WIDE;
  push->steps = (const uint32_t *)steps;
  CHECK_OK(test_ask(s.t, &s.c));

  uint32_t narrow[ROWS] = {0};
  uint64_t wide[ROWS] = {0};
  for (uint32_t i = 0; i < ROWS; i++) {
    narrow[i] = i >= 10 && i < 20;
    wide[i] = i < 40 ? narrow[i] : UINT64_MAX;
  }
  test_client ranks[2] = {test_worker(11, 9, 0, 2, 100), test_worker(12, 9, 1, 2, 100)};
  test_greet(s.t, &ranks[0]);
  test_greet(s.t, &ranks[1]);
  for (int form = 0; form < 3; form++) { /* narrow, wide, wide and held */
    test_client *c = form == 2 ? &ranks[0] : &s.c;
    hr_section *asked = test_add_pull(test_begin(c, HR_OP_PULL), s.table, s.keys, ROWS);
    asked->dim = DIM;
    asked->held_count = 40;
    asked->bound = 20;
    asked->flags = form ? HR_SECTION_WIDE : 0;
    asked->seen = form ? (const uint32_t *)wide : narrow;
    test_clear(s.t);
    if (form == 2) {
      c->message.header.flags = HR_FLAG_SYNC;
      c->message.header.step = 1;
      test_send(s.t, c);
      CHECK_EQ(s.t->reply_count, 0);
      for (int i = 0; i < 2; i++) {
        test_begin(&ranks[i], HR_OP_PUSH)->header.flags = HR_FLAG_SYNC;
        test_send(s.t, &ranks[i]);
      }
    } else {
      CHECK_OK(test_ask(s.t, c));
    }
    const hr_section *got = &test_reply_to(s.t, c)->message.sections[0];
    CHECK(got->kind == HR_SECTION_PULL_REPLY && got->held_count == 20 && got->row_count == 30);
    CHECK_EQ(got->flags, form ? HR_SECTION_WIDE : 0);
    CHECK(got->unseen_max == 19 && got->unseen_sum == 200);
    for (uint32_t i = 0; i < got->held_count; i++)
      CHECK_EQ(form ? ((const uint64_t *)got->index)[i] : got->index[i], 20 + i);
    for (uint32_t i = 0; i < got->row_count; i++)
      CHECK_EQ(form ? ((const uint64_t *)got->clocks)[i] : got->clocks[i], 21 + i);
    CHECK(memcmp(got->values, s.values[20], 30 * sizeof s.values[0]) == 0);
  }
  test_shard_close(s.t);
}

static void the_histogram_counts_what_stayed(void)
{
  scene s = open_scene();
  float grads[ROWS][DIM] = {{0}};
  uint32_t steps[ROWS], seen[ROWS] = {0}, expected[HR_UNSEEN_BUCKETS] = {0};
  for (uint32_t i = 0; i < ROWS; i++)
    steps[i] = 1 + i;
  hr_section *push = test_add_push(test_begin(&s.c, HR_OP_PUSH), s.table, s.keys, &grads[0][0], ROWS);
  push->dim = DIM;
  push->flags = HR_SECTION_STEPS;
  push->steps = steps;
  CHECK_OK(test_ask(s.t, &s.c));
  seen[3] = 4;  /* nothing unseen */
  seen[4] = 99; /* ahead of the shard */
  hr_section *asked = ask(&s, s.keys, ROWS);
  asked->held_count = 45;
  asked->seen = seen;
  asked->bound = 33;
  asked->flags = HR_SECTION_UNSEEN;
  const hr_section *got = answer(&s);
  for (uint32_t i = 0; i < 33; i++) {
    uint32_t unseen = i == 3 || i == 4 ? 0 : 1 + i, bucket = 0;
    while (unseen >> bucket)
      bucket++;
    expected[bucket]++;
  }
  CHECK(got->held_count == 12 && got->flags == HR_SECTION_UNSEEN);
  CHECK(memcmp(got->unseen_counts, expected, sizeof expected) == 0);
  CHECK(expected[0] == 2 && expected[6] == 2);

  asked = ask(&s, s.keys, ROWS); /* with all else that a reply can bring */
  asked->flags = HR_SECTION_UNSEEN | HR_SECTION_WIDE | HR_SECTION_WANT_STATE;
  uint64_t wide[ROWS];
  memset(wide, 0xff, sizeof wide);
  asked->seen = (const uint32_t *)wide;
  asked->dtype = HOTROW_I8;
  s.c.message.header.flags = HR_FLAG_READ_ONLY;
  got = answer(&s);
  CHECK(got->flags == (HR_SECTION_UNSEEN | HR_SECTION_WIDE | HR_SECTION_FOUND) && got->row_count == ROWS);
  CHECK_EQ(got->unseen_counts[0], 0);
  test_shard_close(s.t);
}

/* A weight under FTRL beside a vector under Adagrad, against the kernels. */
static void a_row_may_have_segments(void)
{
  scene s = open_scene();
  hr_table_desc desc = {.seed = 3, .dim = DIM, .segment_count = 2, .name = "wide-and-deep"};
  static const hotrow_optimizer given[2] = {{.kind = HOTROW_FTRL, .l1 = 0.01f}, {.kind = HOTROW_ADAGRAD, .lr = 0.1f}};
  for (uint32_t i = 0; i < 2; i++) {
    desc.segments[i].dim = i ? DIM - 1 : 1;
    CHECK_OK(hr_optimizer_resolve(&given[i], &desc.segments[i].optimizer));
    desc.segments[i].initializer = (hotrow_initializer){HOTROW_INIT_UNIFORM, 0.5f + (float)i};
  }
  uint32_t table = test_create(s.t, &s.c, &desc);
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(desc.segments, 2, &layout));
  static float rows[ROWS][4 * DIM];
  float grads[ROWS][DIM];
  uint32_t slots[ROWS];
  for (uint32_t i = 0; i < ROWS; i++) {
    hr_init_segments(desc.segments, 2, desc.seed, hr_table_seed(desc.name, strlen(desc.name)), s.keys[i], rows[i]);
    hr_row_layout_init_state(&layout, rows[i], rows[i] + DIM);
    slots[i] = i;
    for (size_t c = 0; c < DIM; c++)
      grads[i][c] = (float)(i % 7) - (float)c * 0.3f;
  }
  for (int pass = 0; pass < 3; pass++) {
    hr_section *asked = test_add_pull(test_begin(&s.c, HR_OP_PULL), table, s.keys, ROWS);
    asked->dim = DIM;
    asked->flags = HR_SECTION_WANT_STATE;
    s.c.message.header.flags =
        pass == 0 ? HR_FLAG_READ_ONLY : 0; /* default rows, then created ones, then pushed ones */
    const hr_section *got = answer(&s);
    CHECK_EQ(got->extra_dim, layout.state_dim);
    for (uint32_t i = 0; i < ROWS; i++) {
      CHECK(memcmp(got->values + i * DIM, rows[i], DIM * sizeof(float)) == 0);
      CHECK(memcmp(got->states + i * layout.state_dim, rows[i] + DIM, layout.state_dim * sizeof(float)) == 0);
    }
    if (pass == 0)
      continue;
    hr_section *push = test_add_push(test_begin(&s.c, HR_OP_PUSH), table, s.keys, &grads[0][0], ROWS);
    push->dim = DIM;
    CHECK_OK(test_ask(s.t, &s.c));
    s.kernels->optimizer_apply(&layout, 1.0f, &rows[0][0], 4 * DIM, slots, &grads[0][0], NULL, NULL, ROWS, NULL);
  }
  desc.segments[1].optimizer.weight_decay = 1.0f;
  test_body(&s.c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(s.t, &s.c), HOTROW_ERR_EXISTS, "another segments[1].optimizer.weight_decay");
  desc.segments[0] = desc.segments[1];
  desc.segments[0].dim = DIM;
  desc.segment_count = 1;
  memset(&desc.segments[1], 0, sizeof desc.segments[1]);
  test_body(&s.c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(s.t, &s.c), HOTROW_ERR_EXISTS, "another segment_count");
  desc.seed++;
  test_body(&s.c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(s.t, &s.c), HOTROW_ERR_EXISTS, "another seed");
  test_shard_close(s.t);
}

int main(void)
{
  RUN(pulled_values_are_what_pack_makes_of_the_rows);
  RUN(default_rows_are_packed_too);
  RUN(packed_tables_are_pulled_in_any_dtype);
  RUN(rows_that_are_not_finite_do_no_harm);
  RUN(pushed_gradients_are_what_unpack_makes_of_them);
  RUN(lr_scale_multiplies_the_learning_rate);
  RUN(wide_clocks_say_the_same);
  RUN(the_histogram_counts_what_stayed);
  RUN(a_row_may_have_segments);
  return 0;
}
