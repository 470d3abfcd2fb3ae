/* Rows that leave memory and come back, against a plain model and a store in memory. */
#include <stdlib.h>

#include <hr/optimizer.h>
#include <hr/random.h>

#include "hr_test.h"
#include "table.h"

#define DIM 5u
#define UNIVERSE 12000u
#define BATCH 400u
#define ROUNDS 600u

/* What is known of a key: as it is, as the last durable cut has it, as the cut under way has it. */
typedef struct copy {
  bool is_there;
  uint32_t clock;
  float value[DIM];
} copy;

static copy now[UNIVERSE], stored[UNIVERSE], in_flight[UNIVERSE], of_moment[UNIVERSE], scanned[UNIVERSE];
static uint32_t visits[UNIVERSE];
static bool is_refusing; /* the storage takes no rows of a cut */

static bool same(const float *a, const float *b)
{
  return memcmp((const void *)a, (const void *)b, sizeof now->value) == 0;
}

static hotrow_status get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                              size_t key_count, hr_stored_row_fn found, void *found_context)
{
  CHECK(context == stored && desc->dim == float_count);
  for (size_t i = 0; i < key_count; i++) {
    CHECK(i == 0 || keys[i] > keys[i - 1]);
    if (keys[i] < UNIVERSE && stored[keys[i]].is_there)
      HOTROW_TRY(found(keys[i], stored[keys[i]].clock, stored[keys[i]].value, found_context));
  }
  return HOTROW_OK;
}

static hotrow_status visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                size_t count_max, hr_stored_row_fn found, void *found_context)
{
  CHECK(context == stored && desc->dim == float_count && first == 0 && count_max == SIZE_MAX);
  for (uint64_t key = 0; key < UNIVERSE; key++)
    if (stored[key].is_there)
      HOTROW_TRY(found(key, stored[key].clock, stored[key].value, found_context));
  return HOTROW_OK;
}

static hotrow_status put_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                             const float *record, size_t float_count)
{
  CHECK(context == stored && desc->dim == float_count);
  if (is_refusing)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "refused");
  CHECK_MSG(!in_flight[key].is_there, "key %llu is in the cut twice", (unsigned long long)key);
  in_flight[key] = (copy){.is_there = true, .clock = clock};
  memcpy(in_flight[key].value, record, sizeof in_flight[key].value);
  return HOTROW_OK;
}

static const hr_storage storage = {
    .context = stored, .put_row = put_row, .get_rows = get_rows, .visit_rows = visit_rows};

/* Rows begin at 0 and SGD's rate is 1, so that a row is minus the sum of its gradients: whole numbers, exact. */
static hr_table *make_wide(uint32_t dim, uint32_t announce_step)
{
  hr_table_desc desc = {
      .dim = dim, .segment_count = 1, .name = "items", .segments[0].dim = dim, .announce_step = announce_step};
  hotrow_optimizer optimizer = {.kind = HOTROW_SGD, .lr = 1.0f};
  hotrow_initializer initializer = {.kind = HOTROW_INIT_ZERO};
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  CHECK_OK(hr_initializer_resolve(&initializer, dim, &desc.segments[0].initializer));
  hr_table *table = NULL;
  CHECK_OK(hr_table_create(&desc, 2 * UNIVERSE, &table));
  CHECK_OK(hr_table_set_storage(table, &storage));
  return table;
}

static hr_table *make(uint32_t announce_step)
{
  return make_wide(DIM, announce_step);
}

static uint64_t row_count(const hr_table *table)
{
  return hr_table_get_desc(table)->row_count;
}

static hotrow_status take_row(uint64_t key, uint32_t clock, const float *value_and_state, void *context)
{
  copy *to = context;
  to[key] = (copy){.is_there = true, .clock = clock};
  memcpy(to[key].value, value_and_state, sizeof to[key].value);
  visits[key]++;
  return HOTROW_OK;
}

static void begin_cut(hr_table *table)
{
  memset(in_flight, 0, sizeof in_flight);
  memcpy(of_moment, now, sizeof of_moment);
  CHECK_OK(hr_table_begin_cut(table, &storage));
}

static void copy_some(hr_table *table, size_t budget)
{
  if (hr_table_is_copying(table))
    CHECK_OK(hr_table_copy(table, &budget));
}

/* Whatever happened while it was copied: what it holds is of its moment, and with what was stored it is all. */
static void end_cut(hr_table *table)
{
  copy_some(table, SIZE_MAX);
  for (uint32_t key = 0; key < UNIVERSE; key++) {
    if (in_flight[key].is_there)
      stored[key] = in_flight[key];
    if (of_moment[key].is_there)
      CHECK_MSG(stored[key].clock == of_moment[key].clock && same(stored[key].value, of_moment[key].value),
                "key %u is not in the cut as it was when that was begun", key);
    else
      CHECK(!in_flight[key].is_there);
  }
  hr_table_end_cut(table);
}

/* Nothing is lost: each row is in memory as it is, or stored as it is. */
static void check_rows(const hr_table *table)
{
  size_t stride;
  const float *rows = hr_table_rows(table, &stride);
  uint64_t there = 0, resident = 0;
  for (uint64_t key = 0; key < UNIVERSE; key++) {
    uint32_t row, clock;
    hr_table_find(table, &key, 1, &row, &clock);
    CHECK_EQ(row != HR_ROW_NONE, hr_table_has_resident(table, key));
    there += now[key].is_there;
    resident += row != HR_ROW_NONE;
    if (row != HR_ROW_NONE)
      CHECK(clock == now[key].clock && same(rows + row * stride, now[key].value));
    else if (now[key].is_there)
      CHECK_MSG(stored[key].clock == now[key].clock && same(stored[key].value, now[key].value),
                "key %llu left before it was safe", (unsigned long long)key);
  }
  memset(visits, 0, sizeof visits);
  memset(scanned, 0, sizeof scanned);
  CHECK_OK(hr_table_scan(table, take_row, scanned));
  for (uint64_t key = 0; key < UNIVERSE; key++)
    CHECK(visits[key] == now[key].is_there && same(scanned[key].value, now[key].value));
  CHECK_EQ(there, row_count(table));
  CHECK_EQ(resident, hr_table_resident_count(table));
}

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void put_back(hr_table *table, const uint64_t *keys, size_t count)
{
  uint64_t missing[BATCH], fetched, expected = 0;
  size_t missing_count = 0;
  for (size_t i = 0; i < count; i++)
    if (!hr_table_has_resident(table, keys[i])) {
      missing[missing_count++] = keys[i];
      expected += now[keys[i]].is_there;
    }
  qsort(missing, missing_count, sizeof *missing, compare_keys);
  CHECK_OK(hr_table_fetch(table, missing, missing_count, false, &fetched));
  CHECK_EQ(fetched, expected);
}

static void push(hr_table *table, const uint64_t *keys, size_t count, hr_announce_log *log)
{
  static float grads[BATCH * DIM];
  for (size_t i = 0; i < count; i++) {
    copy *row = &now[keys[i]];
    row->is_there = true;
    row->clock++;
    for (size_t c = 0; c < DIM; c++) {
      grads[i * DIM + c] = (float)(keys[i] % 7 + c + 1);
      row->value[c] -= grads[i * DIM + c];
    }
  }
  hr_section section = {.kind = HR_SECTION_PUSH,
                        .lr_scale = 1.0f,
                        .key_count = (uint32_t)count,
                        .dim = DIM,
                        .keys = keys,
                        .grads = grads};
  CHECK_OK(hr_table_push(table, &section, log));
}

static size_t draw(hr_rng *rng, uint64_t *keys)
{
  size_t count = 1 + hr_rng_below(rng, BATCH);
  uint64_t first = hr_rng_below(rng, UNIVERSE), step = 1 + 2 * hr_rng_below(rng, 50);
  for (size_t i = 0; i < count; i++) /* distinct: step and universe share no factor but by chance 3 or 5 */
    keys[i] = (first + i * step) % UNIVERSE;
  return step % 3 == 0 || step % 5 == 0 ? 1 : count;
}

/* A storage that takes no more: what was in the cut is in the next one, copied or not. */
static void fail_cut(hr_table *table, const uint64_t *keys, size_t count)
{
  size_t budget = 1;
  is_refusing = true;
  push(table, keys, count, NULL);
  hotrow_status status = hr_table_copy(table, &budget);
  is_refusing = false;
  if (status == HOTROW_OK) /* all was copied already */
    hr_table_abandon_cut(table);
  else
    CHECK_FAILS(status, HOTROW_ERR_NO_MEMORY, "refused");
  CHECK(!hr_table_is_copying(table));
}

static void no_row_is_lost_whatever_leaves_and_comes_back(void)
{
  static uint64_t keys[BATCH];
  hr_rng rng = {hr_test_seed(3)};
  hr_table *table = make(0);
  bool is_cutting = false;
  uint64_t evicted = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    size_t count = draw(&rng, keys);
    put_back(table, keys, count);
    push(table, keys, count, NULL);
    if (hr_rng_below(&rng, 4) == 0) {
      if (!is_cutting)
        begin_cut(table);
      else if (hr_rng_below(&rng, 4) == 0)
        fail_cut(table, keys, count);
      else
        end_cut(table);
      is_cutting = !is_cutting;
    }
    copy_some(table, hr_rng_below(&rng, 100 * (HR_COPY_ENTRY_BYTES + sizeof(float) * DIM)));
    if (hr_rng_below(&rng, 3) == 0)
      evicted += hr_table_evict(table, hr_rng_below(&rng, 2 * BATCH));
    if (hr_rng_below(&rng, 40) == 0)
      hr_table_give_back(table);
    if (round % 20 == 0)
      check_rows(table);
  }
  check_rows(table);
  CHECK_MSG(evicted > 2 * UNIVERSE, "%llu rows left in all", (unsigned long long)evicted);
  hr_table_destroy(table);
}

static void fill(hr_table *table, uint64_t count)
{
  memset(now, 0, sizeof now);
  memset(stored, 0, sizeof stored);
  for (uint64_t first = 0; first < count; first += BATCH) {
    uint64_t keys[BATCH];
    for (uint64_t i = 0; i < BATCH; i++)
      keys[i] = first + i;
    push(table, keys, count - first < BATCH ? (size_t)(count - first) : BATCH, NULL);
  }
}

static void what_is_not_safe_stays(void)
{
  hr_table *table = make(0);
  fill(table, 1000);
  CHECK_EQ(hr_table_evict(table, 1000), 0); /* dirty */
  begin_cut(table);
  CHECK_EQ(hr_table_evict(table, 1000), 0); /* in a cut that is not copied */
  copy_some(table, SIZE_MAX);
  CHECK_EQ(hr_table_evict(table, 1000), 0); /* in a cut that is not durable */
  fill(table, 300);                         /* dirty again */
  end_cut(table);
  CHECK_EQ(hr_table_evict(table, 1000), 700);
  CHECK_EQ(hr_table_resident_count(table), 300);
  CHECK_EQ(row_count(table), 1000);
  hr_table_destroy(table);
}

/* Wherever it is: the hand looks at many rows together. */
static void one_that_may_go_is_found_among_those_that_stay(void)
{
  const uint64_t places[] = {0, 1, 62, 63, 64, 500, 959, 960, 998, 999};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    hr_table *table = make(0);
    fill(table, 1000);
    begin_cut(table);
    end_cut(table);
    for (uint64_t key = 0; key < 1000; key++)
      if (key != places[i])
        push(table, &key, 1, NULL);
    CHECK_EQ(hr_table_evict(table, 1000), 1);
    CHECK(!hr_table_has_resident(table, places[i]));
    hr_table_destroy(table);
  }
}

static void rows_in_use_stay_longer(void)
{
  hr_table *table = make(0);
  fill(table, 1000);
  begin_cut(table);
  end_cut(table);
  CHECK_EQ(hr_table_evict(table, 1), 1); /* the hand has come by all of them */
  uint32_t row, clock;
  for (uint64_t key = 0; key < 1000; key += 2)
    hr_table_find(table, &key, 1, &row, &clock);
  uint64_t used = 0, evicted = hr_table_evict(table, 400);
  for (uint64_t key = 2; key < 1000; key += 2)
    used += hr_table_has_resident(table, key);
  CHECK_EQ(evicted, 400);
  CHECK_EQ(used, 499);
  hr_table_destroy(table);
}

/* Whoever has not fetched them gets them all the same, and no new rows in their place. */
static void rows_that_left_are_not_created_anew(void)
{
  hr_table *table = make(0);
  fill(table, 1000);
  begin_cut(table);
  end_cut(table);
  CHECK_EQ(hr_table_evict(table, 900), 900);
  uint64_t keys[BATCH];
  uint32_t rows[BATCH], clocks[BATCH];
  for (uint64_t i = 0; i < BATCH; i++)
    keys[i] = i;
  CHECK_OK(hr_table_find_or_create(table, keys, BATCH, rows, clocks));
  for (uint64_t i = 0; i < BATCH; i++)
    CHECK_EQ(clocks[i], 1);
  for (uint64_t i = 0; i < BATCH; i++)
    keys[i] = 999 - i;
  push(table, keys, BATCH, NULL);
  check_rows(table);
  CHECK_EQ(row_count(table), 1000);
  hr_table_destroy(table);
}

/* A reader counts on being told within announce_step updates of what it last heard; the table has forgotten what it
 * told. */
static void a_row_that_came_back_is_announced_at_its_next_push(void)
{
  hr_announce_log log;
  CHECK_OK(hr_announce_log_init(&log, 64));
  hr_table *table = make(10);
  uint64_t keys[2] = {5, 6};
  memset(now, 0, sizeof now);
  memset(stored, 0, sizeof stored);
  for (int i = 0; i < 12; i++)
    push(table, keys, 2, &log);
  CHECK_EQ(log.next, 3); /* both at 10 */
  begin_cut(table);
  end_cut(table);
  CHECK_EQ(hr_table_evict(table, 1), 1);
  uint64_t gone = hr_table_has_resident(table, 5) ? 6 : 5;
  put_back(table, keys, 2);
  push(table, keys, 2, &log);
  CHECK_EQ(log.next, 4);
  CHECK(hr_announce_log_at(&log, 3)->key == gone && hr_announce_log_at(&log, 3)->clock == 13);
  hr_table_destroy(table);
  hr_announce_log_fini(&log);
}

static hotrow_status pass_over(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                               const float *record, size_t float_count)
{
  (void)context, (void)desc, (void)key, (void)clock, (void)record, (void)float_count;
  return HOTROW_OK;
}

/* Memory of rows that left is given back, and rows that take it again begin as new ones do. */
static void memory_goes_back(void)
{
  enum { WIDE = 256 };
  static uint64_t keys[UNIVERSE];
  static uint32_t rows[UNIVERSE], clocks[UNIVERSE];
  hr_table *table = make_wide(WIDE, 0);
  for (uint64_t i = 0; i < UNIVERSE; i++)
    keys[i] = i;
  CHECK_OK(hr_table_find_or_create(table, keys, UNIVERSE, rows, clocks));
  size_t stride, full = hr_table_memory_bytes(table);
  float *first = hr_table_rows(table, &stride);
  for (uint64_t i = 0; i < UNIVERSE * stride; i++)
    first[i] = 1.0f;
  const hr_storage nowhere = {.put_row = pass_over};
  CHECK_OK(hr_table_begin_cut(table, &nowhere));
  copy_some(table, SIZE_MAX);
  hr_table_end_cut(table);
  CHECK_EQ(hr_table_evict(table, UNIVERSE - 10), UNIVERSE - 10);
  CHECK_EQ(hr_table_slot_count(table), UNIVERSE);
  hr_table_give_back(table);
  CHECK_EQ(hr_table_slot_count(table), 10);
  size_t left = hr_table_memory_bytes(table);
  CHECK_MSG(left + UNIVERSE / 2 * WIDE * sizeof(float) <= full, "%zu of %zu bytes are left", left, full);
  for (uint64_t i = 0; i < 1000; i++) {
    uint64_t key = UNIVERSE + i;
    CHECK_OK(hr_table_find_or_create(table, &key, 1, rows, clocks));
    for (uint32_t c = 0; c < WIDE; c++)
      CHECK(first[rows[0] * stride + c] == 0.0f);
  }
  hr_table_destroy(table);
}

int main(void)
{
  RUN(what_is_not_safe_stays);
  RUN(one_that_may_go_is_found_among_those_that_stay);
  RUN(rows_in_use_stay_longer);
  RUN(a_row_that_came_back_is_announced_at_its_next_push);
  RUN(memory_goes_back);
  RUN(rows_that_left_are_not_created_anew);
  memset(now, 0, sizeof now);
  memset(stored, 0, sizeof stored);
  RUN(no_row_is_lost_whatever_leaves_and_comes_back);
  return 0;
}
