/* Requests whose rows only the storage has: others are served meanwhile, their own stream waits, and what is read is
 * taken only while it holds. */
#include <shard_park.h>

#include "storage_test.h"

#define MUCH ((size_t)1 << 40)

static test_storage *disk;

/* The oldest read that is not answered is, as the storage is now. */
static void bring(test_shard *t)
{
  test_storage_bring(disk, t, 0);
}

static void bring_all(test_shard *t)
{
  test_storage_bring_all(disk, t);
}

static void cut(test_shard *t)
{
  uint64_t number;
  CHECK_OK(hr_shard_cut(t->shard, &number));
  CHECK_OK(test_copy(t->shard));
  test_storage_commit(disk, t->shard);
}

static uint32_t create(test_shard *t, test_client *c, const hr_table_desc *desc)
{
  hr_table_desc answer;
  test_clear(t);
  test_body(c, HR_OP_TABLE_CREATE, desc, sizeof *desc);
  test_send(t, c);
  CHECK_OK(test_copy(t->shard));
  test_storage_commit(disk, t->shard);
  memcpy(&answer, test_one_reply(t)->message.body, sizeof answer);
  return answer.id;
}

static void forget_all(test_shard *t)
{
  CHECK(hr_table_evict(hr_shard_table(t->shard, 0), UINT64_MAX) > 0);
  CHECK_EQ(hr_table_resident_count(hr_shard_table(t->shard, 0)), 0);
}

/* A table of ten rows, minus (10 + key), which are in the storage and not in memory; a job of two ranks. */
static test_shard *open_scene(const hr_table_desc *desc, test_client *ranks, size_t memory_bytes)
{
  disk = test_storage_open();
  test_storage_let_read(disk);
  test_shard *t = test_shard_open(
      &(hr_shard_options){.storage = &disk->calls, .memory_bytes = memory_bytes, .row_count_max = 1u << 22});
  for (uint32_t rank = 0; rank < 2; rank++) {
    ranks[rank] = test_worker(rank + 1, 7, rank, 2, 100);
    test_greet(t, &ranks[rank]);
  }
  CHECK_EQ(create(t, &ranks[0], desc), 0);
  for (uint64_t key = 0; key < 10; key++) {
    test_push_row(&ranks[0], 0, key, (float)(10 + key));
    CHECK_OK(test_ask(t, &ranks[0]));
  }
  cut(t);
  forget_all(t);
  disk->waited_for = 0;
  test_clear(t);
  return t;
}

static test_shard *open_plain(test_client *ranks)
{
  hr_table_desc desc = test_desc("t");
  return open_scene(&desc, ranks, MUCH);
}

static void close_scene(test_shard *t)
{
  test_shard_close(t);
  test_storage_close(disk);
}

static void send_pull(test_shard *t, test_client *c, uint64_t key)
{
  static uint64_t keys[1]; /* it may be sent again */
  keys[0] = key;
  test_add_pull(test_begin(c, HR_OP_PULL), 0, keys, 1);
  test_send(t, c);
}

static void send_push(test_shard *t, test_client *c, uint64_t key, float grad)
{
  test_push_row(c, 0, key, grad);
  test_send(t, c);
}

static float value_of(const test_reply *reply)
{
  CHECK_OK(test_status(&reply->message));
  CHECK_EQ(reply->message.sections[0].row_count, 1);
  return reply->message.sections[0].values[0];
}

static void others_are_served_meanwhile(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_pull(t, &ranks[0], 3);
  CHECK(t->reply_count == 0 && disk->asked_count == 1 && disk->asked[0]->key_count == 1);
  CHECK_EQ(test_counter(t->shard, "\"requests_parked\""), 1);
  bring(t); /* one row is in memory now */
  CHECK(value_of(test_one_reply(t)) == -13.0f);
  send_pull(t, &ranks[0], 4);
  test_clear(t);
  send_pull(t, &ranks[1], 3);
  CHECK(value_of(test_one_reply(t)) == -13.0f && test_reply_to(t, &ranks[1]));
  test_clear(t);
  bring_all(t);
  CHECK(value_of(test_one_reply(t)) == -14.0f && test_reply_to(t, &ranks[0]));
  CHECK_EQ(disk->waited_for, 0);
  close_scene(t);
}

static void a_stream_stays_in_order(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  uint64_t first = ranks[0].request_id;
  send_pull(t, &ranks[0], 3);
  send_push(t, &ranks[0], 4, 1.0f); /* its row must be read too */
  send_push(t, &ranks[0], 100, 1.0f);
  send_pull(t, &ranks[0], 4);
  test_begin(&ranks[0], HR_OP_TICK);
  test_send(t, &ranks[0]);
  CHECK(t->reply_count == 0 && disk->asked_count == 1);
  bring(t);
  CHECK(t->reply_count == 1 && disk->asked_count == 1);
  bring(t);
  CHECK(t->reply_count == 2 && disk->asked_count == 1); /* is there a row 100? */
  bring(t);
  CHECK(t->reply_count == 5 && disk->asked_count == 0 && disk->waited_for == 0);
  for (size_t i = 0; i < 5; i++)
    CHECK_EQ(t->replies[i].message.header.request_id, first + 1 + i);
  CHECK(t->replies[0].message.header.applied_seq == 10 && t->replies[1].message.header.applied_seq == 11);
  CHECK(value_of(&t->replies[3]) == -15.0f);
  close_scene(t);
}

static void what_comes_twice_is_answered_once(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_push(t, &ranks[0], 3, 1.0f);
  for (int i = 0; i < 3; i++)
    test_send(t, &ranks[0]);
  send_pull(t, &ranks[0], 3);
  for (int i = 0; i < 3; i++)
    test_send(t, &ranks[0]);
  bring_all(t);
  CHECK(t->reply_count == 2 && value_of(&t->replies[1]) == -14.0f);
  close_scene(t);
}

static void what_waits_is_bounded(void)
{
  test_client ranks[2];
  hr_table_desc desc = test_desc("t");
  test_shard *t = open_scene(&desc, ranks, (size_t)64 << 20);
  static uint64_t keys[1u << 20];
  for (uint32_t i = 0; i < HR_PARKED_BEHIND_MAX; i++)
    send_pull(t, &ranks[0], 3);
  CHECK(t->reply_count == 0 && disk->asked_count == 1);
  send_push(t, &ranks[0], 3, 1.0f);
  CHECK_EQ(test_status(&test_one_reply(t)->message), HOTROW_ERR_BUSY);
  CHECK(test_one_reply(t)->message.header.retry_ms > 0);
  test_clear(t);
  for (uint64_t i = 0; i < 1u << 20; i++)
    keys[i] = 3; /* eight of 64 MiB */
  test_add_pull(test_begin(&ranks[1], HR_OP_PULL), 0, keys, 1u << 20);
  test_send(t, &ranks[1]);
  CHECK_EQ(test_status(&test_one_reply(t)->message), HOTROW_ERR_BUSY);
  test_clear(t);
  bring_all(t);
  CHECK_EQ(t->reply_count, HR_PARKED_BEHIND_MAX);
  CHECK_EQ(test_counter(t->shard, "\"busy\""), 2);
  test_clear(t);
  forget_all(t);
  send_pull(t, &ranks[1], 3); /* nothing is left of them */
  bring_all(t);
  CHECK(value_of(test_one_reply(t)) == -13.0f);
  close_scene(t);
}

/* The client asks again for what was lost, and the old session's read is for nobody. */
static void a_session_ends_meanwhile(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_push(t, &ranks[0], 3, 1.0f);
  send_pull(t, &ranks[0], 3);
  test_client heir = test_worker(9, 7, 0, 2, 200);
  test_hello(&heir);
  test_send(t, &heir);
  CHECK_OK(test_copy(t->shard));
  test_storage_commit(disk, t->shard); /* that it took the rank over is durable */
  CHECK(t->reply_count == 1 && disk->asked_count == 1);
  test_clear(t);
  bring(t);
  CHECK(t->reply_count == 0 && disk->asked_count == 0);
  heir.epoch = ranks[0].epoch;
  send_pull(t, &heir, 3);
  bring_all(t);
  CHECK(value_of(test_one_reply(t)) == -13.0f);
  test_clear(t);
  send_pull(t, &heir, 4); /* ends before its bye is heard */
  test_begin(&heir, HR_OP_BYE);
  test_send(t, &heir);
  CHECK_EQ(t->reply_count, 0);
  bring_all(t);
  CHECK_EQ(t->reply_count, 2);
  send_pull(t, &ranks[1], 5); /* and one is left when all ends */
  disk->asked_count = 0;
  close_scene(t);
}

static void a_row_in_memory_is_newer(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_pull(t, &ranks[0], 3);
  send_push(t, &ranks[1], 3, 5.0f);
  CHECK_EQ(disk->asked_count, 2);
  test_storage_run(disk, 0);
  test_storage_bring(disk, t, 1);
  CHECK(t->reply_count == 1 && test_reply_to(t, &ranks[1]));
  bring(t);
  CHECK(value_of(test_reply_to(t, &ranks[0])) == -18.0f);
  CHECK(test_pull_value(t, &ranks[1], 0, 3) == -18.0f);
  close_scene(t);
}

/* The row was in memory, was changed, was put in a cut, and left again. */
static void a_cut_makes_what_was_read_old(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_pull(t, &ranks[0], 3);
  send_push(t, &ranks[1], 3, 5.0f);
  test_storage_run(disk, 0);
  test_storage_bring(disk, t, 1);
  cut(t);
  forget_all(t);
  test_clear(t);
  bring(t);
  CHECK(t->reply_count == 0 && disk->asked_count == 1); /* once more */
  bring(t);
  CHECK(value_of(test_one_reply(t)) == -18.0f && disk->waited_for == 0);
  close_scene(t);
}

static void new_rows_are_looked_for_once(void)
{
  test_client ranks[2], reader = test_reader(5);
  test_shard *t = open_plain(ranks);
  test_greet(t, &reader);
  test_clear(t);
  send_pull(t, &reader, 100);
  CHECK(disk->asked_count == 1 && t->reply_count == 0);
  bring(t);
  CHECK(value_of(test_one_reply(t)) == 0.0f && (test_one_reply(t)->message.sections[0].found[0] & 1) == 0);
  test_clear(t);
  send_pull(t, &ranks[0], 100);
  bring(t);
  CHECK(value_of(test_one_reply(t)) == 0.0f);
  send_push(t, &ranks[1], 101, 2.0f);
  bring(t);
  CHECK(disk->asked_count == 0 && disk->waited_for == 0);
  CHECK(test_pull_value(t, &ranks[0], 0, 101) == -2.0f);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count, 12);
  close_scene(t);
}

static void many_rows_come_in_turns(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  static uint64_t keys[3 * HR_READ_KEYS_MAX];
  for (uint64_t i = 0; i < 3 * HR_READ_KEYS_MAX; i++)
    keys[i] = 3 * HR_READ_KEYS_MAX - 1 - i;
  test_add_pull(test_begin(&ranks[0], HR_OP_PULL), 0, keys, 3 * HR_READ_KEYS_MAX);
  test_send(t, &ranks[0]);
  for (uint32_t turn = 0; turn < 3; turn++) {
    CHECK(t->reply_count == 0 && disk->asked_count == 1 && disk->asked[0]->key_count == HR_READ_KEYS_MAX);
    bring(t);
  }
  CHECK_OK(test_status(&test_one_reply(t)->message));
  const hr_section *got = &test_one_reply(t)->message.sections[0];
  CHECK(got->row_count == 3 * HR_READ_KEYS_MAX && disk->waited_for == 0);
  for (uint64_t i = 0; i < got->row_count; i++)
    CHECK(got->values[i * TEST_DIM] == (keys[i] < 10 ? -(float)(10 + keys[i]) : 0.0f));
  close_scene(t);
}

static void what_cannot_be_read_is_said(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_pull(t, &ranks[0], 3);
  disk->fails = true;
  bring(t);
  CHECK_EQ(test_status(&test_one_reply(t)->message), HOTROW_ERR_STORAGE);
  CHECK(strstr(hotrow_last_error(), "cannot be read"));
  disk->fails = false;
  test_clear(t);
  send_pull(t, &ranks[0], 3);
  bring(t);
  CHECK(value_of(test_one_reply(t)) == -13.0f);
  close_scene(t);
}

static void send_step(test_shard *t, test_client *c, uint32_t step, uint64_t key, float grad, uint64_t pulled)
{
  const float grads[TEST_DIM] = {grad, -grad};
  hr_message *m = test_begin(c, HR_OP_PUSH_PULL);
  m->header.flags = HR_FLAG_SYNC;
  m->header.step = step;
  test_add_push(m, 0, &key, grads, 1);
  test_add_pull(m, 0, &pulled, 1);
  test_send(t, c);
}

/* The last push of a step brings in what all of them need, and what is pulled after it. */
static void an_exact_step_waits_for_all_its_rows(void)
{
  test_client ranks[2];
  test_shard *t = open_plain(ranks);
  send_step(t, &ranks[1], 0, 3, 1.0f, 4);
  CHECK(disk->asked_count == 1 && disk->asked[0]->key_count == 1); /* the pull's */
  bring(t);
  CHECK_EQ(t->reply_count, 0);
  forget_all(t);
  send_step(t, &ranks[0], 0, 5, 1.0f, 6);
  CHECK(disk->asked_count == 1 && disk->asked[0]->key_count == 4 && t->reply_count == 0);
  bring(t);
  CHECK(t->reply_count == 2 && disk->waited_for == 0);
  CHECK(value_of(test_reply_to(t, &ranks[0])) == -16.0f && value_of(test_reply_to(t, &ranks[1])) == -14.0f);
  CHECK(test_pull_value(t, &ranks[0], 0, 3) == -14.0f && test_pull_value(t, &ranks[0], 0, 5) == -16.0f);
  close_scene(t);
}

/* Of a row that went for good the storage is not disk->asked before the cut that deletes it is durable. */
static void a_row_that_went_is_not_read(void)
{
  test_client ranks[2];
  hr_table_desc desc = test_desc("t");
  desc.steps_to_live = 2;
  test_shard *t = open_scene(&desc, ranks, MUCH);
  hr_table *table = hr_shard_table(t->shard, 0);
  uint64_t number;
  send_pull(t, &ranks[0], 3);
  bring(t);
  hr_table_advance(table, 3);
  hr_table_sweep(table, UINT64_MAX);
  CHECK(hr_table_is_gone(table, 3) && !hr_table_has_resident(table, 3));
  CHECK_OK(hr_shard_cut(t->shard, &number)); /* that deletes it, and is not durable yet */
  CHECK_OK(test_copy(t->shard));
  test_clear(t);
  send_pull(t, &ranks[0], 3);
  CHECK(disk->asked_count == 0 && value_of(test_one_reply(t)) == 0.0f);
  test_clear(t);
  send_pull(t, &ranks[1], 4); /* is dead as it is read */
  bring_all(t);
  CHECK(value_of(test_one_reply(t)) == 0.0f && hr_table_expired_count(table) == 2);
  CHECK_EQ(disk->waited_for, 0);
  test_storage_commit(disk, t->shard);
  close_scene(t);
}

int main(void)
{
  others_are_served_meanwhile();
  a_stream_stays_in_order();
  what_comes_twice_is_answered_once();
  what_waits_is_bounded();
  a_session_ends_meanwhile();
  a_row_in_memory_is_newer();
  a_cut_makes_what_was_read_old();
  new_rows_are_looked_for_once();
  many_rows_come_in_turns();
  what_cannot_be_read_is_said();
  an_exact_step_waits_for_all_its_rows();
  a_row_that_went_is_not_read();
  return 0;
}
