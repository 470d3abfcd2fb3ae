/* Tables that keep values in 16 bits, against a plain model: floats that are rounded as said when a push is over. */
#include <math.h>

#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#include "hr_test.h"
#include "table.h"

#define DIM_MAX 40u
#define ROW_MAX (3 * DIM_MAX + 1)
#define UNIVERSE 3000u
#define BATCH 700u

static const hotrow_dtype dtypes[] = {HOTROW_F16, HOTROW_BF16};
static const hotrow_kernels *kernels;

static hr_table_desc describe(hotrow_dtype dtype, hotrow_optimizer_kind kind, uint32_t dim)
{
  hr_table_desc desc = {.seed = 42,
                        .dim = dim,
                        .segment_count = 1,
                        .storage_dtype = (uint16_t)dtype,
                        .name = "items",
                        .segments[0].dim = dim};
  hotrow_optimizer optimizer = {.kind = kind, .lr = 0.1f, .initial_state = 0.5f};
  hotrow_initializer initializer = {.kind = HOTROW_INIT_UNIFORM, .scale = 0.3f};
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  CHECK_OK(hr_initializer_resolve(&initializer, dim, &desc.segments[0].initializer));
  return desc;
}

/* Row-wise Adagrad over an odd number of columns, and FTRL over the rest. */
static hr_table_desc describe_two(hotrow_dtype dtype, uint32_t dim)
{
  hr_table_desc desc = describe(dtype, HOTROW_ROWWISE_ADAGRAD, dim);
  desc.segment_count = 2;
  desc.segments[1] = describe(dtype, HOTROW_FTRL, dim).segments[0];
  desc.segments[0].dim = 3;
  desc.segments[1].dim = dim - 3;
  return desc;
}

static hr_table *make(const hr_table_desc *desc)
{
  hr_table *table = NULL;
  CHECK_OK(hr_table_create(desc, 0, &table));
  return table;
}

static void round_to_nearest(hotrow_dtype dtype, float *values, uint32_t dim)
{
  uint16_t packed[HOTROW_DIM_MAX];
  kernels->pack(dtype, values, dim, dim, NULL, 1, NULL, packed, NULL);
  kernels->unpack(dtype, packed, NULL, dim, 1, NULL, values, dim);
}

static void round_by_chance(hotrow_dtype dtype, uint64_t stream, float *values, uint32_t dim)
{
  float packed[HOTROW_DIM_MAX / 2];
  uint32_t zero = 0;
  kernels->scatter_packed(dtype, values, dim, dim, &stream, &zero, 1, NULL, packed, HOTROW_DIM_MAX / 2);
  kernels->gather_packed(dtype, packed, HOTROW_DIM_MAX / 2, dim, &zero, 1, NULL, values, dim);
}

/* ---- the model ---- */

typedef struct model {
  hr_table_desc desc;
  hotrow_row_layout layout;
  bool is_there[UNIVERSE];
  uint32_t clocks[UNIVERSE];
  float rows[UNIVERSE][ROW_MAX];
} model;

static model m;

static uint64_t key_of(uint32_t i)
{
  return i < 2 ? i - 1ull : hr_mix64(i);
}

static void begin_model(const hr_table_desc *desc)
{
  memset(&m, 0, sizeof m);
  m.desc = *desc;
  CHECK_OK(hr_row_layout_make(desc->segments, desc->segment_count, &m.layout));
  CHECK(m.layout.dim + m.layout.state_dim <= ROW_MAX);
}

static void touch(uint32_t i)
{
  if (m.is_there[i])
    return;
  m.is_there[i] = true;
  hr_init_segments(m.desc.segments, m.desc.segment_count, m.desc.seed, hr_table_seed("items", 5), key_of(i), m.rows[i]);
  round_to_nearest((hotrow_dtype)m.desc.storage_dtype, m.rows[i], m.desc.dim);
  hr_row_layout_init_state(&m.layout, m.rows[i], m.rows[i] + m.desc.dim);
}

static void push_to_model(uint32_t i, const float *grad, const float *squares, const uint32_t *k)
{
  uint32_t zero = 0;
  touch(i);
  kernels->optimizer_apply(&m.layout, 0.5f, m.rows[i], ROW_MAX, &zero, grad, squares, k, 1, NULL);
  m.clocks[i] += k ? *k : 1;
  round_by_chance((hotrow_dtype)m.desc.storage_dtype,
                  hr_rounding_stream(m.desc.seed, hr_table_seed("items", 5), key_of(i), m.clocks[i]), m.rows[i],
                  m.desc.dim);
}

/* A step of a push for each of some rows, from `first` on. */
static void push(hr_table *table, hr_rng *rng, uint32_t first, bool has_steps)
{
  static uint64_t keys[BATCH];
  static uint32_t steps[BATCH];
  static float grads[BATCH * DIM_MAX], squares[BATCH * DIM_MAX];
  uint32_t dim = m.desc.dim, square_dim = has_steps ? m.layout.square_dim : 0;
  for (uint32_t i = 0; i < BATCH; i++) {
    uint32_t pick = (first + i * 4) % UNIVERSE;
    keys[i] = key_of(pick);
    steps[i] = 1 + (uint32_t)hr_rng_below(rng, 3);
    for (uint32_t c = 0; c < dim; c++)
      grads[i * dim + c] = (hr_rng_unit(rng) - 0.5f) * 0.2f;
    for (uint32_t c = 0; c < square_dim; c++)
      squares[i * square_dim + c] = hr_rng_unit(rng);
    push_to_model(pick, grads + i * dim, square_dim ? squares + i * square_dim : NULL, has_steps ? &steps[i] : NULL);
  }
  hr_section section = {
      .kind = HR_SECTION_PUSH, .lr_scale = 0.5f, .key_count = BATCH, .dim = dim, .keys = keys, .grads = grads};
  if (has_steps) {
    section.flags = HR_SECTION_STEPS;
    section.steps = steps;
    section.squares = square_dim ? squares : NULL;
    section.extra_dim = square_dim;
  }
  CHECK_OK(hr_table_check_push(table, &section));
  CHECK_OK(hr_table_push(table, &section, NULL));
}

/* All rows that there are, as a pull of this dtype brings them, with their states. */
static void check_rows(const hr_table *table, hotrow_dtype dtype)
{
  static uint64_t keys[UNIVERSE];
  static uint32_t rows[UNIVERSE], clocks[UNIVERSE];
  static float values[UNIVERSE * DIM_MAX], states[UNIVERSE * 2 * (DIM_MAX + 1)], scales[UNIVERSE];
  uint8_t expected[DIM_MAX * sizeof(float)];
  uint32_t dim = m.desc.dim, state_dim = m.layout.state_dim, count = 0;
  static uint32_t picks[UNIVERSE];
  for (uint32_t i = 0; i < UNIVERSE; i++)
    if (m.is_there[i]) {
      picks[count] = i;
      keys[count++] = key_of(i);
    }
  CHECK_EQ(hr_table_get_desc(table)->row_count, count);
  hr_table_find(table, keys, count, rows, clocks);
  hr_table_gather(table, dtype, rows, count, values, dtype == HOTROW_I8 ? scales : NULL);
  if (state_dim > 0)
    hr_table_gather_states(table, rows, count, states);
  for (uint32_t i = 0; i < count; i++) {
    float scale;
    const float *row = m.rows[picks[i]];
    CHECK_EQ(clocks[i], m.clocks[picks[i]]);
    kernels->pack(dtype, row, dim, dim, NULL, 1, NULL, expected, &scale);
    size_t size = dim * hr_dtype_bytes(dtype);
    CHECK_MSG(memcmp((const uint8_t *)values + i * size, expected, size) == 0, "storage %u, wire %d: row %u differs",
              m.desc.storage_dtype, (int)dtype, i);
    CHECK(dtype != HOTROW_I8 || scales[i] == scale);
    CHECK(memcmp(states + i * state_dim, row + dim, state_dim * sizeof *states) == 0);
  }
}

static void follow_model(const hr_table_desc *desc, hr_rng *rng)
{
  begin_model(desc);
  hr_table *table = make(desc);
  for (uint32_t round = 0; round < 8; round++) {
    uint64_t keys[BATCH];
    uint32_t rows[BATCH], clocks[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
      uint32_t pick = (uint32_t)hr_rng_below(rng, UNIVERSE);
      keys[i] = key_of(pick);
      if (round % 4 == 0)
        touch(pick);
    }
    if (round % 4 == 0)
      CHECK_OK(hr_table_find_or_create(table, keys, BATCH, rows, clocks));
    push(table, rng, (uint32_t)hr_rng_below(rng, UNIVERSE), round % 2 == 1);
    check_rows(table, (hotrow_dtype)(round % 3));
  }
  hr_table_destroy(table);
}

static void a_packed_table_does_what_a_plain_model_does(void)
{
  static const uint32_t dims[] = {1, 2, 7, 16, 33, 40};
  hr_rng rng = {hr_test_seed(50)};
  for (size_t d = 0; d < 2; d++) {
    for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
      hr_table_desc desc = describe(dtypes[d], (hotrow_optimizer_kind)kind, dims[kind % 6]);
      follow_model(&desc, &rng);
    }
    hr_table_desc desc = describe_two(dtypes[d], 17);
    follow_model(&desc, &rng);
  }
}

/* ---- rounding ---- */

/* Steps of a sixteenth of the last place, from 1 down: nearest would stay at 1. */
static void small_steps_add_up(void)
{
  enum { DIM = 32, ROWS = 50, PUSHES = 64 };
  static float grads[ROWS * DIM], values[ROWS * DIM];
  uint64_t keys[ROWS];
  uint32_t rows[ROWS], clocks[ROWS];
  for (size_t d = 0; d < 2; d++) {
    hr_table_desc desc = describe(dtypes[d], HOTROW_SGD, DIM);
    desc.segments[0].optimizer.lr = 1.0f;
    desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_CONSTANT, 1.0f};
    const float place = dtypes[d] == HOTROW_F16 ? 0x1p-11f : 0x1p-8f, step = place / 16;
    hr_table *table = make(&desc);
    for (uint64_t i = 0; i < ROWS; i++)
      keys[i] = i;
    for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
      grads[i] = step;
    hr_section section = {
        .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = ROWS, .dim = DIM, .keys = keys, .grads = grads};
    for (int i = 0; i < PUSHES; i++)
      CHECK_OK(hr_table_push(table, &section, NULL));
    hr_table_find(table, keys, ROWS, rows, clocks);
    hr_table_gather(table, HOTROW_F32, rows, ROWS, values, NULL);
    double sum = 0, expected = 1.0 - (double)PUSHES * (double)step;
    for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
      sum += (double)values[i];
    /* Each rounding takes a place with probability 1/16: variance place^2 * 15/256 each. */
    double mean = sum / (ROWS * DIM), deviation = (double)place * sqrt(PUSHES * 15.0 / 256 / (ROWS * DIM));
    CHECK_MSG(fabs(mean - expected) < 5 * deviation, "dtype %d: mean %.9g, expected %.9g, deviation %.3g",
              (int)dtypes[d], mean, expected, deviation);
    CHECK(mean < 1.0 - 2 * (double)place);
    hr_table_destroy(table);
  }
}

/* Row by row in the other order, or all at once: which way a value is rounded does not depend on it. */
static void the_order_of_rows_leaves_no_trace(void)
{
  enum { DIM = 9, ROWS = 600 };
  static float grads[ROWS * DIM], values[3][ROWS * DIM];
  static uint64_t keys[ROWS];
  static uint32_t rows[ROWS], clocks[ROWS];
  hr_rng rng = {hr_test_seed(51)};
  for (uint32_t i = 0; i < ROWS * DIM; i++)
    grads[i] = hr_rng_unit(&rng) - 0.5f;
  for (uint32_t i = 0; i < ROWS; i++)
    keys[i] = hr_mix64(i);
  for (size_t d = 0; d < 2; d++) {
    for (int t = 0; t < 3; t++) {
      hr_table_desc desc = describe(dtypes[d], HOTROW_ADAGRAD, DIM);
      desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_ZERO, 0};
      desc.announce_step = t == 1 ? 3 : 0;
      desc.seed += t == 2;
      hr_table *table = make(&desc);
      hr_announce_log log;
      CHECK_OK(hr_announce_log_init(&log, 1024));
      hr_section section = {.kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .dim = DIM};
      for (uint32_t i = 0; i < 3 * ROWS; i += section.key_count) {
        uint32_t at = t == 1 ? ROWS - 1 - i % ROWS : 0;
        section.key_count = t == 1 ? 1 : ROWS;
        section.keys = keys + at;
        section.grads = grads + at * DIM;
        CHECK_OK(hr_table_push(table, &section, &log));
      }
      hr_announce_log_fini(&log);
      hr_table_find(table, keys, ROWS, rows, clocks);
      hr_table_gather(table, HOTROW_F32, rows, ROWS, values[t], NULL);
      hr_table_destroy(table);
    }
    CHECK(memcmp(values[0], values[1], sizeof values[0]) == 0);
    CHECK(memcmp(values[0], values[2], sizeof values[0]) != 0); /* of another seed */
  }
}

static void first_values_are_rounded_to_nearest(void)
{
  enum { DIM = 13 };
  for (size_t d = 0; d < 2; d++) {
    hr_table_desc desc = describe(dtypes[d], HOTROW_FTRL, DIM);
    hr_table *table = make(&desc);
    for (uint64_t key = 0; key < 200; key++) {
      float value[DIM], other[DIM], states[2 * DIM], expected[DIM], expected_states[2 * DIM];
      uint32_t row, clock;
      hr_init_segments(desc.segments, 1, desc.seed, hr_table_seed("items", 5), key, expected);
      round_to_nearest(dtypes[d], expected, DIM);
      hr_row_layout_init_state(hr_table_get_layout(table), expected, expected_states);
      hr_table_default_row(table, key, other);
      CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
      hr_table_gather(table, HOTROW_F32, &row, 1, value, NULL);
      hr_table_gather_states(table, &row, 1, states);
      CHECK(memcmp(value, expected, sizeof value) == 0 && memcmp(other, expected, sizeof value) == 0);
      CHECK(memcmp(states, expected_states, sizeof states) == 0);
    }
    hr_table_destroy(table);
  }
}

/* Rows of a save that another program wrote need not be what the dtype says. */
static void what_is_put_in_is_rounded_to_nearest(void)
{
  enum { DIM = 11 };
  hr_rng rng = {hr_test_seed(53)};
  for (size_t d = 0; d < 2; d++) {
    hr_table_desc desc = describe(dtypes[d], HOTROW_SGD, DIM);
    hr_table *table = make(&desc);
    for (uint64_t key = 0; key < 100; key++) {
      float row[DIM], value[DIM];
      uint32_t at, clock;
      for (size_t c = 0; c < DIM; c++)
        row[c] = hr_rng_unit(&rng) - 0.5f;
      CHECK_OK(hr_table_restore_row(table, key, 1, row));
      hr_table_find(table, &key, 1, &at, &clock);
      hr_table_gather(table, HOTROW_F32, &at, 1, value, NULL);
      round_to_nearest(dtypes[d], row, DIM);
      CHECK(memcmp(value, row, sizeof row) == 0);
    }
    hr_table_destroy(table);
  }
}

static void what_is_too_large_becomes_the_largest(void)
{
  for (size_t d = 0; d < 2; d++) {
    hr_table_desc desc = describe(dtypes[d], HOTROW_SGD, 2);
    desc.segments[0].optimizer.lr = 1.0f;
    hr_table *table = make(&desc);
    uint64_t key = 7;
    uint32_t row, clock;
    float grads[2] = {3.4e38f, -3.4e38f}, value[2];
    const float largest = dtypes[d] == HOTROW_F16 ? 65504.0f : 0x1.fep127f;
    hr_section section = {
        .kind = HR_SECTION_PUSH, .lr_scale = 1.0f, .key_count = 1, .dim = 2, .keys = &key, .grads = grads};
    for (int i = 0; i < 3; i++)
      CHECK_OK(hr_table_push(table, &section, NULL)); /* the third is beyond what a float says */
    hr_table_find(table, &key, 1, &row, &clock);
    hr_table_gather(table, HOTROW_F32, &row, 1, value, NULL);
    CHECK(value[0] == -largest && value[1] == largest);
    hr_table_destroy(table);
  }
}

/* ---- out and back ---- */

typedef struct stored {
  float rows[UNIVERSE][ROW_MAX];
  uint32_t clocks[UNIVERSE];
  uint64_t keys[UNIVERSE];
  size_t row_floats;
  uint32_t count;
} stored;

static stored store;

static hotrow_status keep(uint64_t key, uint32_t clock, const float *value_and_state, void *context)
{
  stored *to = context;
  memcpy(to->rows[to->count], value_and_state, to->row_floats * sizeof(float));
  to->clocks[to->count] = clock;
  to->keys[to->count++] = key;
  return HOTROW_OK;
}

static hotrow_status put_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                             const float *record, size_t float_count)
{
  CHECK(desc->dim == m.layout.dim && float_count == store.row_floats);
  return keep(key, clock, record, context);
}

static hotrow_status get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                              size_t key_count, hr_stored_row_fn found, void *found_context)
{
  const stored *from = context;
  CHECK(desc->dim == m.layout.dim && float_count == from->row_floats);
  for (size_t i = 0; i < key_count; i++)
    for (uint32_t s = 0; s < from->count; s++)
      if (from->keys[s] == keys[i])
        HOTROW_TRY(found(keys[i], from->clocks[s], from->rows[s], found_context));
  return HOTROW_OK;
}

static hotrow_status visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                size_t count_max, hr_stored_row_fn found, void *found_context)
{
  const stored *from = context;
  CHECK(desc->dim == m.layout.dim && float_count == from->row_floats && first == 0 && count_max == SIZE_MAX);
  for (uint32_t s = 0; s < from->count; s++)
    HOTROW_TRY(found(from->keys[s], from->clocks[s], from->rows[s], found_context));
  return HOTROW_OK;
}

static const hr_storage storage = {
    .context = &store, .put_row = put_row, .get_rows = get_rows, .visit_rows = visit_rows};

static void rows_come_back_with_the_bits_they_left_with(void)
{
  hr_rng rng = {hr_test_seed(52)};
  for (size_t d = 0; d < 2; d++)
    for (uint32_t dim = 8; dim <= 9; dim++) {
      hr_table_desc desc = describe(dtypes[d], HOTROW_ADAM, dim);
      begin_model(&desc);
      hr_table *table = make(&desc), *other = make(&desc);
      CHECK_OK(hr_table_set_storage(table, &storage));
      for (int i = 0; i < 3; i++)
        push(table, &rng, 0, false);
      store = (stored){.row_floats = m.layout.dim + m.layout.state_dim};
      CHECK_OK(hr_table_scan(table, keep, &store)); /* a save */
      for (uint32_t i = 0; i < store.count; i++)
        CHECK_OK(hr_table_restore_row(other, store.keys[i], store.clocks[i], store.rows[i]));
      check_rows(other, HOTROW_F32);
      hr_table_destroy(other);

      store.count = 0;
      size_t budget = SIZE_MAX;
      CHECK_OK(hr_table_begin_cut(table, &storage));
      CHECK_OK(hr_table_copy(table, &budget));
      CHECK_EQ(store.count, hr_table_get_desc(table)->row_count);
      hr_table_end_cut(table);
      uint64_t left = hr_table_evict(table, store.count * 2 / 3);
      CHECK_EQ(left, store.count * 2 / 3);
      uint64_t fetched = 0, all = 0;
      for (uint32_t i = 0; i < store.count; i++)
        if (!hr_table_has_resident(table, store.keys[i])) {
          CHECK_OK(hr_table_fetch(table, &store.keys[i], 1, false, &fetched));
          all += fetched;
        }
      CHECK_EQ(all, left);
      check_rows(table, HOTROW_F16);
      push(table, &rng, 0, false);
      check_rows(table, HOTROW_F32);
      hr_table_destroy(table);
    }
}

static void a_row_takes_half_the_room(void)
{
  size_t bytes[4];
  for (int dtype = HOTROW_F32; dtype <= HOTROW_BF16; dtype++) {
    hr_table_desc desc = describe((hotrow_dtype)dtype, HOTROW_ROWWISE_ADAGRAD, 64);
    hr_table *table = NULL;
    if (dtype == HOTROW_I8) {
      CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "storage_dtype 2");
      continue;
    }
    table = make(&desc);
    bytes[dtype] = hr_table_row_bytes(table);
    hr_table_destroy(table);
  }
  CHECK_EQ(bytes[HOTROW_F32] - bytes[HOTROW_F16], 64 * 2);
  CHECK_EQ(bytes[HOTROW_BF16], bytes[HOTROW_F16]);
  hr_table_desc desc = describe(HOTROW_F32, HOTROW_SGD, 4), other = desc;
  CHECK(hr_table_desc_matches(&desc, &other));
  other.storage_dtype = HOTROW_BF16;
  CHECK(!hr_table_desc_matches(&desc, &other));
  other.storage_dtype = HOTROW_BF16 + 1;
  hr_table *table = NULL;
  CHECK_FAILS(hr_table_create(&other, 0, &table), HOTROW_ERR_INVALID, "table items: storage_dtype 4");
}

int main(void)
{
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &kernels));
  RUN(a_row_takes_half_the_room);
  RUN(first_values_are_rounded_to_nearest);
  RUN(what_is_put_in_is_rounded_to_nearest);
  RUN(what_is_too_large_becomes_the_largest);
  RUN(small_steps_add_up);
  RUN(the_order_of_rows_leaves_no_trace);
  RUN(rows_come_back_with_the_bits_they_left_with);
  RUN(a_packed_table_does_what_a_plain_model_does);
  return 0;
}
