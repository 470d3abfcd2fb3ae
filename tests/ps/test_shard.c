#include "shard_test.h"

#include <math.h>

static hr_hello *hello_body(test_client *c)
{
  return (hr_hello *)(uintptr_t)test_hello(c)->body;
}

static void hello_is_refused(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_index = 1, .shard_count = 3});
  test_client c = test_worker(1, 7, 0, 2, 100);
  c.shard_index = 1;
  c.shard_count = 3;
  hr_hello *hello = hello_body(&c);
  hello->version_min = hello->version_max = HR_WIRE_VERSION + 1;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_VERSION, "versions 4 to 4");
  hello_body(&c)->shard_index = 2;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "this is shard 1 of 3, and the client takes it for shard 2 of 3");
  hello_body(&c)->shard_count = 2;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "shard 1 of 2");
  CHECK_EQ(test_counter(t->shard, "\"sessions\""), 0);

  test_greet(t, &c);
  test_hello(&c);
  CHECK_OK(test_ask(t, &c)); /* a repeat is answered alike */
  CHECK_EQ(test_counter(t->shard, "\"sessions\""), 1);
  hello_body(&c)->started_ns++;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_PROTOCOL, "greets again");

  test_client other = test_worker(2, 7, 1, 3, 100);
  other.shard_index = 1;
  other.shard_count = 3;
  test_hello(&other);
  CHECK_FAILS(test_ask(t, &other), HOTROW_ERR_INVALID, "job 7 has 2 workers, and rank 1 says 3");
  t->now_ns += 61000000000u; /* the members of the job have been silent for a minute */
  test_greet(t, &other);
  test_begin(&c, HR_OP_STATS);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_FENCED, "unknown session");
  test_shard_close(t);
}

static void session_and_epoch_are_checked(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.epoch = 0xabc});
  test_client c = test_worker(1, 7, 0, 1, 100);
  c.epoch = 0xabc;
  test_begin(&c, HR_OP_STATS);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_FENCED, "unknown session 0000000000000001");
  test_greet(t, &c);
  for (int op = HR_OP_TABLE_LIST; op < HR_OP_BARRIER; op++) {
    c.epoch = 0xabd;
    test_begin(&c, (hr_op)op);
    CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_RESET, "its epoch is 0000000000000abc, the request names 0000000000000abd");
    if (op == HR_OP_PUSH || op == HR_OP_PUSH_PULL)
      c.push_seq--;
  }
  CHECK_EQ(test_counter(t->shard, "\"epoch\":\"0000000000000abc\",\"sessions\""), 1);
  CHECK_EQ(test_counter(t->shard, "\"session\""), 1);
  c.epoch = 0xabc;
  test_begin(&c, HR_OP_STATS);
  CHECK_OK(test_ask(t, &c));
  test_shard_close(t);
}

static void newer_session_fences_the_older(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client old = test_worker(1, 7, 0, 2, 100), mate = test_worker(2, 7, 1, 2, 50);
  test_client late = test_worker(3, 7, 0, 2, 100), young = test_worker(4, 7, 0, 2, 101);
  test_client elsewhere = test_worker(5, 8, 0, 2, 10);
  test_greet(t, &old);
  test_greet(t, &mate);
  test_greet(t, &elsewhere);
  test_hello(&late);
  CHECK_FAILS(test_ask(t, &late), HOTROW_ERR_FENCED, "rank 0 of job 7");
  test_greet(t, &young);
  test_begin(&old, HR_OP_STATS);
  CHECK_FAILS(test_ask(t, &old), HOTROW_ERR_FENCED, "unknown session");
  test_hello(&old);
  CHECK_FAILS(test_ask(t, &old), HOTROW_ERR_FENCED, "started later");
  test_client *living[] = {&mate, &young, &elsewhere};
  for (size_t i = 0; i < 3; i++) {
    test_begin(living[i], HR_OP_STATS);
    CHECK_OK(test_ask(t, living[i]));
  }
  test_shard_close(t);
}

static void tables_are_created_once(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  CHECK_EQ(test_create_table(t, &c, "a"), 0);
  CHECK_EQ(test_create_table(t, &c, "b"), 1);
  CHECK_EQ(test_create_table(t, &c, "a"), 0);
  hr_table_desc desc = test_desc("a");
  desc.dim = desc.segments[0].dim = 3;
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "table a exists with another dim");
  desc = test_desc("a");
  desc.segments[0].optimizer.lr = 0.5f;
  desc.segments[0].initializer.scale = 1.0f;
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "another segments[0].optimizer.lr");
  desc.segments[0].optimizer.lr = 1.0f;
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "another segments[0].initializer.scale");
  test_body(&c, HR_OP_TABLE_OPEN, "c", 1);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_NOT_FOUND, "no table c");
  test_body(&c, HR_OP_TABLE_OPEN, "b", 1);
  CHECK_OK(test_ask(t, &c));
  memcpy(&desc, t->replies[0].message.body, sizeof desc);
  CHECK(desc.id == 1 && strcmp(desc.name, "b") == 0);
  test_begin(&c, HR_OP_TABLE_LIST);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(t->replies[0].message.body_size, 2 * sizeof desc);
  for (uint32_t i = 2; i < HR_SHARD_TABLES_MAX; i++) {
    char name[16];
    snprintf(name, sizeof name, "t%u", i);
    CHECK_EQ(test_create_table(t, &c, name), i);
  }
  desc = test_desc("one-more");
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_LIMIT, "at most 256 tables");
  test_begin(&c, HR_OP_TABLE_LIST);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(hr_shard_table_count(t->shard), HR_SHARD_TABLES_MAX);
  test_shard_close(t);
}

/* Key k gets k pushes, so its clock is k; then all five are asked for as held, with seen 0 and bound 2. */
static void pull_returns_what_breaks_the_bound(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  uint64_t keys[7] = {0, 1, 2, 3, 4, 50, UINT64_MAX};
  uint32_t seen[5] = {0, 0, 0, 0, 0};
  for (uint64_t key = 0; key < 5; key++)
    for (uint64_t i = 0; i < key; i++) {
      test_push_row(&c, table, key, (float)key);
      CHECK_OK(test_ask(t, &c));
    }
  hr_section *asked = test_add_pull(test_begin(&c, HR_OP_PULL), table, keys, 7);
  asked->held_count = 5;
  asked->seen = seen;
  asked->bound = 2;
  CHECK_OK(test_ask(t, &c));
  const hr_section *got = &t->replies[0].message.sections[0];
  CHECK(got->held_count == 2 && got->row_count == 4 && got->index[0] == 3 && got->index[1] == 4);
  CHECK(got->clocks[0] == 3 && got->clocks[1] == 4 && got->clocks[2] == 0 && got->clocks[3] == 0);
  CHECK(got->values[0] == -9.0f && got->values[2] == -16.0f && got->values[4] == 0.0f && got->values[6] == 0.0f);
  CHECK(got->unseen_max == 2 && got->unseen_sum == 3 && got->extra_dim == 0 && !(got->flags & HR_SECTION_FOUND));
  CHECK_EQ(test_counter(t->shard, "\"rows_kept\""), 3);
  CHECK_EQ(test_counter(t->shard, "\"rows_pulled\""), 4);

  asked->bound = 0;
  seen[3] = 3;
  seen[4] = 5; /* ahead of the shard: not stale */
  c.message.header.request_id = ++c.request_id;
  CHECK_OK(test_ask(t, &c));
  got = &t->replies[0].message.sections[0];
  CHECK(got->held_count == 2 && got->index[0] == 1 && got->index[1] == 2 && got->unseen_max == 0);
  test_shard_close(t);
}

static void clocks_wrap(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t"), steps = 1000000000u, seen = UINT32_MAX - 10;
  uint64_t key = 9;
  for (int i = 0; i < 5; i++) {
    hr_section *push = &test_push_row(&c, table, key, 0.0f)->sections[0];
    push->flags = HR_SECTION_STEPS;
    push->steps = &steps;
    CHECK_OK(test_ask(t, &c));
  }
  uint32_t clock = (uint32_t)(5ull * steps), unseen = clock - seen;
  CHECK(clock < seen);
  hr_section *asked = test_add_pull(test_begin(&c, HR_OP_PULL), table, &key, 1);
  asked->held_count = 1;
  asked->seen = &seen;
  asked->bound = unseen;
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(t->replies[0].message.sections[0].row_count, 0);
  CHECK_EQ(t->replies[0].message.sections[0].unseen_max, unseen);
  asked->bound = unseen - 1;
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(t->replies[0].message.sections[0].row_count, 1);
  CHECK_EQ(t->replies[0].message.sections[0].clocks[0], clock);
  test_shard_close(t);
}

static void pull_brings_state_of_several_tables(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  hr_table_desc desc = test_desc("adagrad");
  desc.segments[0].optimizer.kind = HOTROW_ROWWISE_ADAGRAD;
  desc.segments[0].optimizer.initial_state = 1.0f;
  uint32_t sgd = test_create_table(t, &c, "sgd");
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_OK(test_ask(t, &c));
  test_push_row(&c, 1, 5, 2.0f);
  CHECK_OK(test_ask(t, &c));
  uint64_t keys[3] = {5, 6, 7};
  hr_message *m = test_begin(&c, HR_OP_PULL);
  test_add_pull(m, 1, keys, 2)->flags = HR_SECTION_WANT_STATE;
  test_add_pull(m, sgd, keys, 3)->flags = HR_SECTION_WANT_STATE;
  test_add_pull(m, 1, keys, 0);
  CHECK_OK(test_ask(t, &c));
  const hr_message *reply = &t->replies[0].message;
  CHECK_EQ(reply->section_count, 3);
  CHECK(reply->sections[0].extra_dim == 1 && reply->sections[1].extra_dim == 0);
  CHECK(reply->sections[0].states[0] == 5.0f && reply->sections[0].states[1] == 1.0f);
  CHECK(reply->sections[1].row_count == 3 && reply->sections[2].row_count == 0);

  m = test_begin(&c, HR_OP_PULL);
  test_add_pull(m, sgd, keys, 1);
  test_add_pull(m, 2, keys, 1);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_NOT_FOUND, "no table with id 2");
  test_add_pull(test_begin(&c, HR_OP_PULL), sgd, keys, 1)->dim = 3;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "3 floats a row from table sgd of dim 2");
  test_shard_close(t);
}

static void reader_creates_nothing(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client worker = test_worker(1, 7, 0, 1, 100), reader = test_reader(2);
  test_greet(t, &worker);
  test_greet(t, &reader);
  hr_table_desc desc = test_desc("t");
  desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_CONSTANT, 0.5f};
  desc.segments[0].optimizer.kind = HOTROW_ADAGRAD;
  desc.segments[0].optimizer.initial_state = 3.0f;
  test_body(&worker, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_OK(test_ask(t, &worker));
  uint64_t keys[12] = {100, 101, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  uint32_t seen[2] = {0x90000000u, 0};
  test_client *asking[2] = {&reader, &worker};
  for (int i = 0; i < 3; i++) { /* the table is empty at first; a worker may ask the same way */
    test_client *c = asking[i == 2];
    hr_message *m = test_begin(c, HR_OP_PULL);
    m->header.flags = i > 0 ? HR_FLAG_READ_ONLY : 0;
    hr_section *asked = test_add_pull(m, 0, keys, 12);
    asked->flags = HR_SECTION_WANT_STATE;
    asked->held_count = 2; /* rows that are not there, and nonsense in `seen` */
    asked->seen = seen;
    CHECK_OK(test_ask(t, c));
    const hr_section *got = &t->replies[0].message.sections[0];
    CHECK(got->flags == HR_SECTION_FOUND && got->held_count == 0 && got->row_count == 10);
    CHECK(got->found[0] == (i ? 0x80 : 0) && got->found[1] == (i ? 0x02 : 0));
    for (uint32_t row = 0; row < 10; row++) {
      bool found = i && (row == 7 || row == 9);
      CHECK(got->clocks[row] == (found ? 1 : 0) && (got->values[2 * row] != 0.5f) == found);
      CHECK((got->states[2 * row] == 3.0f) == !found);
    }
    CHECK_EQ(hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count, i ? 2 : 0);
    for (uint64_t key = 8; i == 0 && key <= 10; key += 2) {
      test_push_row(&worker, 0, key, 1.0f);
      CHECK_OK(test_ask(t, &worker));
    }
  }

  test_push_row(&reader, 0, 1, 1.0f);
  CHECK_FAILS(test_ask(t, &reader), HOTROW_ERR_INVALID, "a reader may not push");
  test_body(&reader, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &reader), HOTROW_ERR_INVALID, "a reader may not");
  hr_save save = {.token = 1, .name = "s"};
  test_body(&reader, HR_OP_SAVE, &save, sizeof save);
  CHECK_FAILS(test_ask(t, &reader), HOTROW_ERR_INVALID, "a reader may not");
  hr_barrier barrier = {.number = 1, .world_size = 1};
  test_body(&reader, HR_OP_BARRIER, &barrier, sizeof barrier);
  CHECK_FAILS(test_ask(t, &reader), HOTROW_ERR_INVALID, "only workers");
  test_begin(&reader, HR_OP_PULL)->header.flags = HR_FLAG_SYNC;
  CHECK_FAILS(test_ask(t, &reader), HOTROW_ERR_INVALID, "only workers");
  test_shard_close(t);
}

static void pushes_are_applied_exactly_once(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  for (uint64_t i = 1; i <= 3; i++) {
    test_push_row(&c, table, 5, 1.0f);
    CHECK_OK(test_ask(t, &c));
    CHECK_EQ(t->replies[0].message.header.applied_seq, i);
  }
  for (uint64_t seq = 3; seq > 0; seq--) { /* repeats, in any order, with a new request id */
    c.message.header.push_seq = seq;
    c.message.header.request_id = ++c.request_id;
    CHECK_OK(test_ask(t, &c));
    CHECK_EQ(t->replies[0].message.header.applied_seq, 3);
  }
  CHECK(test_pull_value(t, &c, table, 5) == -3.0f);
  CHECK_EQ(test_counter(t->shard, "\"push_repeats\""), 3);
  CHECK_EQ(test_counter(t->shard, "\"pushes\""), 3);

  /* What is older than the window is not applied and not answered either. */
  for (uint32_t i = 0; i < HR_PUSH_WINDOW; i++) {
    test_push_row(&c, table, 6, 1.0f);
    CHECK_OK(test_ask(t, &c));
  }
  test_clear(t);
  c.message.header.push_seq = 3;
  test_send(t, &c);
  CHECK_EQ(t->reply_count, 0);
  c.message.header.push_seq = 4;
  CHECK_OK(test_ask(t, &c));
  CHECK(test_pull_value(t, &c, table, 6) == -64.0f);

  /* A key twice in a section is against the rules and must do no harm. */
  uint64_t twice[2] = {8, 8};
  float grads[4] = {1, -1, 2, -2};
  test_add_push(test_begin(&c, HR_OP_PUSH), table, twice, grads, 2);
  CHECK_OK(test_ask(t, &c));
  test_begin(&c, HR_OP_PUSH); /* a tick */
  CHECK_OK(test_ask(t, &c));
  test_shard_close(t);
}

static void refused_pushes_are_taken(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t"), one = 1;
  test_push_row(&c, table, 77, NAN);
  for (int i = 0; i < 2; i++) {
    CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "key 77");
    CHECK_EQ(t->replies[0].message.header.applied_seq, 1);
    c.message.header.request_id = ++c.request_id;
  }
  test_push_row(&c, table + 9, 1, 1.0f);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_NOT_FOUND, "no table with id 9");
  hr_section *push = &test_push_row(&c, table, 1, 1.0f)->sections[0];
  push->dim = 1;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "dim");
  float square = 1.0f;
  push = &test_push_row(&c, table, 1, 1.0f)->sections[0];
  push->flags = HR_SECTION_STEPS;
  push->steps = &one;
  push->extra_dim = 1;
  push->squares = &square;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "square");

  /* All or nothing: the first section alone would do. */
  uint64_t key = 1;
  float good[2] = {1, -1}, bad[2] = {1, INFINITY};
  for (int i = 0; i < 2; i++) {
    hr_message *m = test_begin(&c, HR_OP_PUSH);
    test_add_push(m, table, &key, good, 1);
    test_add_push(m, i ? 9 : table, &key, i ? good : bad, 1);
    CHECK_FAILS(test_ask(t, &c), i ? HOTROW_ERR_NOT_FOUND : HOTROW_ERR_INVALID, NULL);
  }
  CHECK(test_pull_value(t, &c, table, 1) == 0.0f);
  test_push_row(&c, table, 1, 1.0f);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(t->replies[0].message.header.applied_seq, 7);
  CHECK(test_pull_value(t, &c, table, 1) == -1.0f);
  test_shard_close(t);
}

static void gaps_are_named(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  test_push_row(&c, table, 5, 1.0f);
  CHECK_OK(test_ask(t, &c));
  c.push_seq++; /* lost */
  static const hr_op ops[] = {HR_OP_PUSH, HR_OP_PUSH_PULL, HR_OP_PULL};
  for (size_t i = 0; i < 3; i++) {
    uint64_t before = c.push_seq;
    test_begin(&c, ops[i]);
    CHECK_EQ(test_ask(t, &c), HR_STATUS_GAP);
    CHECK_EQ(t->replies[0].message.header.applied_seq, 1);
    c.push_seq = before;
  }
  CHECK_EQ(test_counter(t->shard, "\"gap\""), 3);
  c.push_seq = 1;
  test_push_row(&c, table, 5, 1.0f);
  CHECK_OK(test_ask(t, &c));
  CHECK(test_pull_value(t, &c, table, 5) == -2.0f);
  test_shard_close(t);
}

static void push_pull_is_one_round_trip(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  uint64_t key = 5;
  float grads[2] = {1, -1};
  hr_message *m = test_begin(&c, HR_OP_PUSH_PULL);
  test_add_push(m, table, &key, grads, 1);
  test_add_pull(m, table, &key, 1);
  for (int i = 0; i < 2; i++) { /* the repeat pulls again and pushes nothing */
    CHECK_OK(test_ask(t, &c));
    CHECK_EQ(t->replies[0].message.section_count, 1);
    CHECK(t->replies[0].message.sections[0].values[0] == -1.0f);
    CHECK_EQ(t->replies[0].message.header.applied_seq, 1);
    m->header.request_id = ++c.request_id;
  }
  grads[0] = NAN;
  m = test_begin(&c, HR_OP_PUSH_PULL);
  test_add_push(m, table, &key, grads, 1);
  test_add_pull(m, table, &key, 1);
  for (int i = 0; i < 2; i++)
    CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "key 5");
  CHECK(test_pull_value(t, &c, table, 5) == -1.0f);
  test_shard_close(t);
}

static void full_table_is_said(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.row_count_max = 2});
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  uint64_t keys[3] = {1, 2, 3};
  test_add_pull(test_begin(&c, HR_OP_PULL), table, keys, 3);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_LIMIT, "full");
  test_push_row(&c, table, 4, 1.0f);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_LIMIT, "full");
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_LIMIT, "full");
  test_push_row(&c, table, 1, 1.0f);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(test_counter(t->shard, "\"limit\""), 3);
  test_shard_close(t);
}

static hr_message *blob(test_client *c, hr_op op, const char *name, const char *bytes)
{
  char body[128];
  int size = op == HR_OP_BLOB_PUT ? snprintf(body, sizeof body, "%c%s%s", (int)strlen(name), name, bytes)
                                  : snprintf(body, sizeof body, "%s", name);
  return test_body(c, op, body, (size_t)size);
}

static void blobs_are_kept_per_job(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100), other = test_worker(2, 8, 0, 1, 100);
  test_greet(t, &c);
  test_greet(t, &other);
  blob(&c, HR_OP_BLOB_GET, "x", "");
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_NOT_FOUND, "blob x");
  blob(&c, HR_OP_BLOB_PUT, "x", "old");
  CHECK_OK(test_ask(t, &c));
  blob(&c, HR_OP_BLOB_PUT, "x", "newer");
  CHECK_OK(test_ask(t, &c));
  blob(&c, HR_OP_BLOB_GET, "x", "");
  CHECK_OK(test_ask(t, &c));
  CHECK(t->replies[0].message.body_size == 5 && memcmp(t->replies[0].message.body, "newer", 5) == 0);
  blob(&other, HR_OP_BLOB_GET, "x", "");
  CHECK_FAILS(test_ask(t, &other), HOTROW_ERR_NOT_FOUND, NULL);
  for (uint32_t i = 0; i < HR_SHARD_BLOBS_MAX; i++) {
    char name[16];
    snprintf(name, sizeof name, "b%u", i);
    blob(&other, HR_OP_BLOB_PUT, name, "");
    CHECK_OK(test_ask(t, &other));
  }
  CHECK_EQ(test_counter(t->shard, "\"blobs\""), HR_SHARD_BLOBS_MAX);
  blob(&c, HR_OP_BLOB_GET, "x", ""); /* the oldest made room */
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_NOT_FOUND, NULL);
  blob(&other, HR_OP_BLOB_GET, "b0", "");
  CHECK_OK(test_ask(t, &other));
  test_begin(&other, HR_OP_BYE);
  CHECK_OK(test_ask(t, &other));
  CHECK_EQ(test_counter(t->shard, "\"blobs\""), 0);
  test_shard_close(t);
}

static void save_is_written_and_loaded(void)
{
  test_client c = test_worker(1, 7, 0, 1, 100);
  hr_save save = {.token = 99, .name = "first"};
  test_shard *t = test_shard_open(NULL);
  test_greet(t, &c);
  test_body(&c, HR_OP_SAVE, &save, sizeof save);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_UNSUPPORTED, "without a save directory");
  test_shard_close(t);

  char path[512];
  c = test_worker(1, 7, 0, 1, 100);
  t = test_shard_open(&(hr_shard_options){.save_dir = hr_test_tmpdir()});
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  test_push_row(&c, table, 5, 1.5f);
  CHECK_OK(test_ask(t, &c));
  test_body(&c, HR_OP_SAVE, &save, sizeof save);
  CHECK_OK(test_ask(t, &c));
  test_push_row(&c, table, 5, 1.0f);
  CHECK_OK(test_ask(t, &c));
  test_body(&c, HR_OP_SAVE, &save, sizeof save); /* a late repeat does not write what came after */
  CHECK_OK(test_ask(t, &c));
  test_shard_close(t);

  c = test_worker(1, 7, 0, 1, 100);
  t = test_shard_open(&(hr_shard_options){.epoch = 2});
  snprintf(path, sizeof path, "%s/first", hr_test_tmpdir());
  CHECK_OK(hr_shard_load(t->shard, path, (hr_load_progress){0}, (hr_load_settle){0}));
  test_greet(t, &c);
  CHECK(test_create_table(t, &c, "t") == 0 && test_pull_value(t, &c, 0, 5) == -1.5f);
  test_shard_close(t);
}

static void sessions_and_jobs_are_bounded(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client first = test_reader(1), second = test_reader(2);
  test_greet(t, &first);
  test_greet(t, &second);
  for (uint64_t i = 3; i <= HR_SHARD_SESSIONS_MAX; i++) {
    test_client c = test_reader(i);
    test_greet(t, &c);
  }
  test_begin(&first, HR_OP_STATS);
  CHECK_OK(test_ask(t, &first));
  test_client more = test_reader(1u << 20);
  test_greet(t, &more);
  CHECK_EQ(test_counter(t->shard, "\"sessions\""), HR_SHARD_SESSIONS_MAX);
  test_begin(&first, HR_OP_STATS);
  CHECK_OK(test_ask(t, &first));
  test_begin(&second, HR_OP_STATS); /* idle longest */
  CHECK_FAILS(test_ask(t, &second), HOTROW_ERR_FENCED, "unknown session");
  for (uint64_t job = 0; job <= HR_SHARD_JOBS_MAX; job++) {
    test_client c = test_worker((1u << 21) + job, job, 0, 4, 1);
    test_greet(t, &c);
  }
  CHECK_EQ(test_counter(t->shard, "\"jobs\""), HR_SHARD_JOBS_MAX);
  test_shard_close(t);
}

static void stats_count(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  test_create_table(t, &c, "t");
  test_begin(&c, HR_OP_STATS);
  CHECK_OK(test_ask(t, &c));
  const hr_message *reply = &t->replies[0].message;
  char text[4096];
  size_t size = hr_shard_stats_json(t->shard, text, sizeof text);
  CHECK(size == reply->body_size && size == strlen(text) && memcmp(text, reply->body, size) == 0);
  CHECK(strstr(text, "\"tables\":[{\"name\":\"t\",\"dim\":2,\"rows\":0,"));
  CHECK(strstr(text, "\"messages\":{\"hello\":1,\"table_create\":1,"));
  char small[16];
  CHECK_EQ(hr_shard_stats_json(t->shard, small, sizeof small), size);
  CHECK(strlen(small) == sizeof small - 1 && memcmp(small, text, sizeof small - 1) == 0);
  CHECK_EQ(hr_shard_stats_json(t->shard, NULL, 0), size);
  hr_shard_count_refused(t->shard);
  CHECK_EQ(test_counter(t->shard, "\"limit\""), 1);
  test_shard_close(t);
}

int main(void)
{
  RUN(hello_is_refused);
  RUN(session_and_epoch_are_checked);
  RUN(newer_session_fences_the_older);
  RUN(tables_are_created_once);
  RUN(pull_returns_what_breaks_the_bound);
  RUN(clocks_wrap);
  RUN(pull_brings_state_of_several_tables);
  RUN(reader_creates_nothing);
  RUN(pushes_are_applied_exactly_once);
  RUN(refused_pushes_are_taken);
  RUN(gaps_are_named);
  RUN(push_pull_is_one_round_trip);
  RUN(full_table_is_said);
  RUN(blobs_are_kept_per_job);
  RUN(save_is_written_and_loaded);
  RUN(sessions_and_jobs_are_bounded);
  RUN(stats_count);
  return 0;
}
