/* What a shard counts and holds: as numbers, as text, and read from another thread. */
#include "storage_test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "server_counts.h"

static hotrow_shard_counts counts_of(const test_shard *t)
{
  hotrow_shard_counts counts;
  hr_shard_get_counts(t->shard, &counts);
  CHECK_EQ(counts.struct_size, sizeof counts);
  return counts;
}

static void names(void)
{
  CHECK(strcmp(hotrow_op_name(1), "hello") == 0 && strcmp(hotrow_op_name(HOTROW_OP_COUNT - 1), "restored") == 0);
  CHECK(!hotrow_op_name(0) && !hotrow_op_name(HOTROW_OP_COUNT));
  CHECK(strcmp(hotrow_refusal_name(0), "protocol") == 0 && strcmp(hotrow_refusal_name(7), "request") == 0);
  CHECK(!hotrow_refusal_name(HOTROW_REFUSAL_COUNT));
}

/* Rows, their bytes and the totals after two pushes of one client and a pull of two keys. */
static void traffic_and_memory(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  hotrow_shard_counts before = counts_of(t);
  CHECK(before.rows == 0 && before.sessions == 1 && before.tables == 1 && before.jobs == 1);
  for (uint64_t key = 0; key < 2; key++) {
    test_push_row(&c, table, key, 1.0f);
    CHECK_OK(test_ask(t, &c));
  }
  uint64_t keys[2] = {0, 1};
  test_add_pull(test_begin(&c, HR_OP_PULL), table, keys, 2);
  CHECK_OK(test_ask(t, &c));
  hotrow_shard_counts after = counts_of(t);
  CHECK_EQ(after.rows, 2);
  CHECK_EQ(after.value_bytes, 2 * TEST_DIM * sizeof(float));
  CHECK_EQ(after.state_bytes, 0); /* SGD */
  CHECK_EQ(after.value_bytes + after.index_bytes, hr_table_memory_bytes(hr_shard_table(t->shard, 0)));
  CHECK(after.buffer_bytes > 0 && after.held_bytes == 0);
  CHECK(after.pushes == 2 && after.pushes_applied == 2 && after.rows_pushed == 2 && after.pulls == 1);
  CHECK_EQ(after.rows_pulled, 2);
  CHECK_EQ(after.bytes_pulled, 2 * TEST_DIM * sizeof(float));
  CHECK_EQ(after.bytes_pushed, 2 * TEST_DIM * sizeof(float));
  CHECK(after.messages[HR_OP_PUSH] == 2 && after.messages[HR_OP_PULL] == 1);
  CHECK(after.is_durable == 0 && after.pushes_durable == 0);
  test_shard_close(t);
}

/* Only what asks for rows is in the histogram; all is in busy_ns. */
static void times_go_into_buckets(void)
{
  static const struct {
    uint64_t ns, bucket;
  } cases[] = {{0, 0},    {999, 0},      {1000, 1},     {1999, 1},
               {2000, 2}, {1000000, 10}, {1024000, 11}, {(uint64_t)1 << 62, HOTROW_TIME_BUCKETS - 1}};
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  hr_shard_count_time(t->shard, 5000); /* of a hello */
  CHECK(counts_of(t).busy_ns == 5000 && counts_of(t).request_ns == 0);
  uint32_t table = test_create_table(t, &c, "t");
  test_pull_value(t, &c, table, 1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t before = counts_of(t).request_times[cases[i].bucket];
    hr_shard_count_time(t->shard, cases[i].ns);
    CHECK_EQ(counts_of(t).request_times[cases[i].bucket], before + 1);
  }
  uint64_t sum = 0;
  for (size_t i = 0; i < HOTROW_TIME_BUCKETS; i++)
    sum += counts_of(t).request_times[i];
  CHECK_EQ(sum, sizeof cases / sizeof *cases);
  CHECK_EQ(counts_of(t).busy_ns, counts_of(t).request_ns + 5000);
  test_shard_close(t);
}

/* A push is behind until a cut that has it is durable; one that came after the cut was begun stays so. */
static void pushes_that_are_not_durable(void)
{
  test_storage *disk = test_storage_open();
  test_shard *t = test_shard_open(&(hr_shard_options){.epoch = 1, .storage = &disk->calls});
  test_client c = test_worker(1, 7, 0, 1, 100);
  uint64_t number;
  test_greet(t, &c);
  test_clear(t);
  hr_table_desc desc = test_desc("t");
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(t, &c);
  test_storage_commit(disk, t->shard);
  for (uint64_t i = 0; i < 3; i++) {
    test_push_row(&c, 0, i, 1.0f);
    CHECK_OK(test_ask(t, &c));
  }
  hotrow_shard_counts counts = counts_of(t);
  CHECK(counts.is_durable == 1 && counts.pushes_applied == 3 && counts.pushes_durable == 0);
  CHECK_EQ(counts.dirty_bytes, 3 * TEST_DIM * sizeof(float));
  CHECK_OK(hr_shard_cut(t->shard, &number));
  test_push_row(&c, 0, 9, 1.0f);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(counts_of(t).pushes_durable, 0);
  test_storage_commit(disk, t->shard);
  counts = counts_of(t);
  CHECK(counts.pushes_applied == 4 && counts.pushes_durable == 3 && counts.cuts_durable == 2);
  hr_shard_count_cut(t->shard, 2500);
  hr_shard_count_writes(t->shard, 11, 22, 33);
  counts = counts_of(t);
  CHECK_EQ(counts.cut_turn_times[2], 1); /* 2 us and less than 4 */
  CHECK(counts.cut_copy_ns == 2500 && counts.cut_rows == 11 && counts.cut_bytes == 22 && counts.cut_write_ns == 33);
  hr_shard_count_log(t->shard, 1, 2, 3, 4);
  counts = counts_of(t);
  CHECK(counts.log_writes == 1 && counts.log_records == 2 && counts.log_bytes == 3 && counts.log_write_ns == 4);
  hr_shard_log_is_refused(t->shard);
  CHECK_EQ(counts_of(t).is_degraded, 1);
  hr_shard_log_is_handed(t->shard);
  CHECK_EQ(counts_of(t).is_degraded, 0);
  hr_shard_degrade(t->shard);
  CHECK_EQ(counts_of(t).is_degraded, 1);
  test_shard_close(t);
  free(disk);
}

/* Every number is in the text, under its name. */
static void text_says_the_same(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  test_push_row(&c, table, 5, 1.0f);
  CHECK_OK(test_ask(t, &c));
  hr_shard_count_time(t->shard, 3000);
  hr_shard_count_replies(t->shard, 7, 77);
  hr_shard_count_log(t->shard, 5, 55, 555, 5555);
  hotrow_shard_counts counts = counts_of(t);
#define SAYS(field) CHECK_EQ((uint64_t)test_counter(t->shard, "\"" #field "\""), counts.field)
  SAYS(rows);
  SAYS(value_bytes);
  SAYS(state_bytes);
  SAYS(index_bytes);
  SAYS(buffer_bytes);
  SAYS(dirty_bytes);
  SAYS(unread_bytes);
  SAYS(replies_dropped);
  SAYS(checkpoint_parts);
  SAYS(checkpoint_bytes);
  SAYS(checkpoint_bytes_new);
  SAYS(pushes_applied);
  SAYS(pushes_durable);
  SAYS(busy_ns);
  SAYS(request_ns);
  SAYS(cut_copy_ns);
  SAYS(cut_write_ns);
  SAYS(log_writes);
  SAYS(log_records);
  SAYS(log_bytes);
  SAYS(log_write_ns);
  SAYS(is_durable);
  SAYS(announcements);
#undef SAYS
  char text[8192];
  CHECK(hr_shard_stats_json(t->shard, text, sizeof text) < sizeof text);
  CHECK(strstr(text, "\"request_times\":[0,0,1,0,"));
  test_shard_close(t);
}

/* ---- another thread ---- */

#define WRITES 200000u

static hr_counts_slot slot;
static atomic_bool is_over;

static void *read_slot(void *context)
{
  uint64_t *last = context;
  while (!atomic_load(&is_over)) {
    hotrow_shard_counts counts;
    hr_counts_read(&slot, &counts);
    CHECK(counts.rows >= *last && counts.pulls == counts.rows && counts.refused[7] == counts.rows);
    *last = counts.rows;
  }
  return NULL;
}

static void a_copy_is_whole(void)
{
  pthread_t reader;
  uint64_t last = 0;
  CHECK(pthread_create(&reader, NULL, read_slot, &last) == 0);
  for (uint64_t i = 1; i <= WRITES; i++) {
    hotrow_shard_counts counts = {.rows = i, .pulls = i, .refused = {[7] = i}};
    hr_counts_publish(&slot, &counts);
  }
  atomic_store(&is_over, true);
  CHECK(pthread_join(reader, NULL) == 0);
  hotrow_shard_counts counts;
  hr_counts_read(&slot, &counts);
  CHECK_EQ(counts.rows, WRITES);
}

int main(void)
{
  RUN(names);
  RUN(traffic_and_memory);
  RUN(times_go_into_buckets);
  RUN(pushes_that_are_not_durable);
  RUN(text_says_the_same);
  RUN(a_copy_is_whole);
  return 0;
}
