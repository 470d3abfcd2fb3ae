/* Rows that go for good from a table that has left some of them to its storage, and what is said of them in cuts. */
#include <stdlib.h>

#include "row_read.h"
#include "shard_test.h"

#define LIFE 3u

static hr_table_desc mortal(uint32_t steps_to_live)
{
  hr_table_desc desc = test_desc("t");
  desc.steps_to_live = steps_to_live;
  desc.announce_step = 1;
  return desc;
}

static hr_table_desc limited(uint64_t row_count_max, hotrow_eviction eviction)
{
  hr_table_desc desc = test_desc("t");
  desc.row_count_max = row_count_max;
  desc.eviction = (uint16_t)eviction;
  desc.announce_step = 1;
  return desc;
}

static struct cold_row {
  bool is_there;
  uint32_t clock;
  float record[TEST_DIM + 1];
} cold[100];
static struct {
  bool was_put[100]; /* what a cut puts it does not delete, whichever is said first */
  uint32_t deleted_count;
} cut;

static hotrow_status get_cold(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                              size_t key_count, hr_stored_row_fn found, void *found_context)
{
  (void)context;
  CHECK(float_count == TEST_DIM + 1 && desc->dim == TEST_DIM);
  for (size_t i = 0; i < key_count; i++)
    if (keys[i] < 100 && cold[keys[i]].is_there)
      HOTROW_TRY(found(keys[i], cold[keys[i]].clock, cold[keys[i]].record, found_context));
  return HOTROW_OK;
}

static hotrow_status visit_cold(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                size_t count_max, hr_stored_row_fn found, void *found_context)
{
  for (uint64_t key = first; key < 100 && count_max > 0; key++) {
    count_max -= cold[key].is_there;
    HOTROW_TRY(get_cold(context, desc, float_count, &key, 1, found, found_context));
  }
  return HOTROW_OK;
}

static hotrow_status store_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                               const float *record, size_t float_count)
{
  (void)context;
  CHECK(float_count == TEST_DIM + 1 && desc->dim == TEST_DIM && !cut.was_put[key]);
  cut.was_put[key] = true;
  cold[key] = (struct cold_row){.is_there = true, .clock = clock};
  memcpy(cold[key].record, record, sizeof cold[key].record);
  return HOTROW_OK;
}

static hotrow_status unstore_row(void *context, const hr_table_desc *desc, uint64_t key)
{
  (void)context, (void)desc;
  cold[key].is_there = cut.was_put[key];
  cut.deleted_count += !cut.was_put[key];
  return HOTROW_OK;
}

static const hr_storage storage = {
    .put_row = store_row, .delete_row = unstore_row, .get_rows = get_cold, .visit_rows = visit_cold};

static uint32_t cut_table(hr_table *table)
{
  memset(&cut, 0, sizeof cut);
  CHECK_OK(hr_table_begin_cut(table, &storage));
  while (hr_table_is_copying(table)) {
    size_t budget = 1;
    CHECK_OK(hr_table_copy(table, &budget));
  }
  return cut.deleted_count;
}

static hotrow_status count_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  (void)key, (void)clock, (void)record;
  ++*(uint64_t *)context;
  return HOTROW_OK;
}

static uint64_t scanned(const hr_table *table)
{
  uint64_t count = 0;
  CHECK_OK(hr_table_scan(table, count_row, &count));
  CHECK_EQ(count, hr_table_get_desc(table)->row_count);
  return count;
}

static void rows_in_the_storage_only_go_too(void)
{
  hr_table_desc desc = mortal(LIFE);
  hr_announce_log log;
  hr_table *table;
  uint64_t keys[8], fetched;
  uint32_t rows[8], clocks[8];
  memset(cold, 0, sizeof cold);
  CHECK_OK(hr_announce_log_init(&log, 0));
  CHECK_OK(hr_table_create(&desc, 1000, &table));
  hr_table_set_log(table, &log);
  CHECK_OK(hr_table_set_storage(table, &storage));
  for (uint64_t key = 0; key < 8; key++)
    keys[key] = key;
  CHECK_OK(hr_table_find_or_create(table, keys, 8, rows, clocks));
  CHECK_EQ(cut_table(table), 0);
  hr_table_end_cut(table);
  CHECK_EQ(hr_table_evict(table, 6), 6); /* rows 6 and 7 or others stay */
  CHECK(hr_table_resident_count(table) == 2 && scanned(table) == 8);
  hr_table_advance(table, LIFE + 1);
  hr_table_sweep(table, UINT64_MAX); /* those in memory */
  CHECK(hr_table_resident_count(table) == 0 && scanned(table) == 6 && hr_table_expired_count(table) == 2);
  for (uint64_t key = 0; key < 8; key++) { /* and the others when they are asked for: each is gone, none comes back */
    CHECK_OK(hr_table_fetch(table, &key, 1, false, &fetched));
    CHECK_EQ(fetched, 0);
  }
  CHECK(scanned(table) == 0 && hr_table_expired_count(table) == 8);
  CHECK_EQ(log.next, 9);
  uint64_t key = 3;
  CHECK_OK(hr_table_find_or_create(table, &key, 1, rows, clocks)); /* a new one */
  CHECK_EQ(scanned(table), 1);
  CHECK_EQ(cut_table(table), 7); /* but for the one that was made anew */
  for (key = 0; key < 8; key++)
    if (key != 3)
      cold[key].is_there = true; /* this cut is not durable yet: what is read is of the one before */
  key = 4;
  CHECK_OK(hr_table_fetch(table, &key, 1, false, &fetched));
  CHECK(fetched == 0 && scanned(table) == 1);
  for (key = 0; key < 8; key++)
    cold[key].is_there = key == 3;
  hr_table_end_cut(table);
  CHECK_EQ(hr_table_evict(table, 8), 1);
  key = 3;
  CHECK_OK(hr_table_fetch(table, &key, 1, false, &fetched)); /* it lives, and comes back from there */
  CHECK(fetched == 1 && scanned(table) == 1);
  hr_table_destroy(table);
  hr_announce_log_fini(&log);
}

static void visit(hr_table *table, size_t row_count)
{
  hr_row_read *read = hr_row_read_create(hr_table_get_desc(table), hr_table_record_floats(table), row_count);
  CHECK(read);
  hr_table_ask_visit(table, read);
  hr_row_read_run(read, &storage);
  CHECK_OK(hr_table_take_visit(table, read));
  free(read);
}

/* The hand stays where it is. */
static void fail_to_visit(hr_table *table)
{
  hr_row_read *read = hr_row_read_create(hr_table_get_desc(table), hr_table_record_floats(table), 1);
  CHECK(read);
  hr_table_ask_visit(table, read);
  uint64_t first = read->first;
  CHECK(first > 0);
  read->status = hr_fail(HOTROW_ERR_STORAGE, "the disk cannot be read");
  CHECK_EQ(hr_table_take_visit(table, read), HOTROW_ERR_STORAGE);
  hr_table_ask_visit(table, read);
  CHECK_EQ(read->first, first);
  free(read);
}

/* A hand comes by those that nobody asks for there, too. */
static void the_hand_comes_by_in_the_storage(void)
{
  hr_table_desc desc = mortal(LIFE);
  hr_table *table;
  uint32_t row, clock;
  memset(cold, 0, sizeof cold);
  CHECK_OK(hr_table_create(&desc, 1000, &table));
  CHECK_OK(hr_table_set_storage(table, &storage));
  for (uint64_t key = 0; key < 100; key++) {
    if (key == 50)
      hr_table_advance(table, LIFE);
    CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
  }
  cut_table(table);
  hr_table_end_cut(table);
  CHECK_EQ(hr_table_evict(table, 98), 98);
  for (int hands = 0; hands < 3; hands++) { /* none is dead yet */
    visit(table, 40);
    if (hands == 0)
      fail_to_visit(table);
  }
  CHECK_EQ(hr_table_expired_count(table), 0);
  hr_table_advance(table, 1);
  uint64_t before = 0;
  for (int hands = 0; hands < 4; hands++) {
    visit(table, 40);
    CHECK(hr_table_expired_count(table) - before <= 40);
    before = hr_table_expired_count(table);
  }
  CHECK(before >= 48);
  hr_table_sweep(table, UINT64_MAX); /* the two that stayed in memory are another hand's */
  CHECK(hr_table_expired_count(table) == 50 && scanned(table) == 50);
  visit(table, HR_READ_KEYS_MAX); /* what is gone does not go twice, before its cut is durable */
  CHECK_EQ(cut_table(table), 50);
  visit(table, HR_READ_KEYS_MAX);
  hr_table_end_cut(table);
  CHECK(hr_table_expired_count(table) == 50 && scanned(table) == 50);
  hr_table_destroy(table);
}

static void a_row_made_and_gone_is_in_no_cut(void)
{
  hr_table_desc desc = mortal(LIFE);
  hr_table *table;
  uint32_t row, clock;
  memset(cold, 0, sizeof cold);
  CHECK_OK(hr_table_create(&desc, 1000, &table));
  CHECK_OK(hr_table_set_storage(table, &storage));
  for (uint64_t key = 1; key <= 2; key++)
    CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
  hr_table_advance(table, LIFE + 1);
  uint64_t key = 2;
  CHECK_OK(hr_table_expire_keys(table, &key, 1)); /* the last one: none takes its place */
  CHECK_EQ(cut_table(table), 1);
  CHECK(cold[1].is_there && !cold[2].is_there);
  hr_table_end_cut(table);
  hr_table_destroy(table);
}

/* Rows that are dirty, gone and made anew again and again between two cuts: the list of dirty rows does not overflow.
 */
static void many_come_and_go_between_two_cuts(void)
{
  hr_table_desc desc = limited(5, HOTROW_EVICT_LRU);
  hr_table *table;
  memset(cold, 0, sizeof cold);
  CHECK_OK(hr_table_create(&desc, 0, &table));
  CHECK_OK(hr_table_set_storage(table, &storage));
  for (uint64_t i = 0; i < 5000; i++) {
    uint64_t key = i * 7 % 50;
    uint32_t row, clock;
    CHECK_OK(hr_table_make_room(table, &key, 1));
    CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
    hr_table_advance(table, 1);
  }
  CHECK_EQ(hr_table_get_desc(table)->row_count, 5);
  CHECK(hr_table_dirty_count(table) <= 10);
  CHECK_EQ(cut_table(table), 45);
  hr_table_end_cut(table);
  uint32_t stored = 0;
  for (uint32_t key = 0; key < 100; key++)
    stored += cold[key].is_there;
  CHECK_EQ(stored, 5);
  hr_table_destroy(table);
}

int main(void)
{
  RUN(rows_in_the_storage_only_go_too);
  RUN(the_hand_comes_by_in_the_storage);
  RUN(a_row_made_and_gone_is_in_no_cut);
  RUN(many_come_and_go_between_two_cuts);
  return 0;
}
