/* Cuts, durable watermarks, and shards restored from them. */
#include "storage_test.h"

#include <math.h>

typedef struct scene {
  test_storage *disk;
  test_shard *t;
  uint64_t epoch;
  size_t turn_bytes; /* 0: all at once */
  size_t next_bytes_max;
} scene;

static void start(scene *s)
{
  s->t = test_shard_open(&(hr_shard_options){.epoch = ++s->epoch,
                                             .storage = &s->disk->calls,
                                             .cut_turn_bytes = s->turn_bytes,
                                             .cut_bytes_max = s->next_bytes_max});
  s->t->now_ns = 1000000000000u; /* whoever sends now is not held for silent since the beginning of time */
  test_storage_restore(s->disk, s->t->shard, s->t->now_ns);
}

static scene open_scene(void)
{
  scene s = {.disk = test_storage_open(), .epoch = 100};
  start(&s);
  return s;
}

static void die(scene *s)
{
  test_shard_close(s->t);
  s->t = NULL;
}

static void close_scene(scene *s)
{
  test_shard_close(s->t);
  free(s->disk);
}

/* Asks for a table; the answer comes with the cut that has it. */
static uint32_t create(scene *s, test_client *c, const hr_table_desc *desc)
{
  hr_table_desc answer;
  test_clear(s->t);
  test_body(c, HR_OP_TABLE_CREATE, desc, sizeof *desc);
  test_send(s->t, c);
  if (s->t->reply_count == 0)
    test_storage_commit(s->disk, s->t->shard);
  CHECK_OK(test_status(&test_one_reply(s->t)->message));
  memcpy(&answer, s->t->replies[0].message.body, sizeof answer);
  return answer.id;
}

static uint32_t create_plain(scene *s, test_client *c)
{
  hr_table_desc desc = test_desc("t");
  return create(s, c, &desc);
}

static uint64_t cut(scene *s)
{
  uint64_t number = 0;
  CHECK_OK(hr_shard_cut(s->t->shard, &number));
  CHECK_EQ(number, s->disk->number);
  return number;
}

static void cut_and_commit(scene *s)
{
  cut(s);
  test_storage_commit(s->disk, s->t->shard);
}

/* Push number seq of a client: key seq % 7, gradient seq. */
static hotrow_status push(scene *s, test_client *c, uint64_t seq)
{
  c->push_seq = seq - 1;
  test_push_row(c, 0, seq % 7, (float)seq);
  return test_ask(s->t, c);
}

static uint64_t greet(scene *s, test_client *c)
{
  hr_hello_reply reply;
  test_greet(s->t, c);
  memcpy(&reply, s->t->replies[0].message.body, sizeof reply);
  CHECK_EQ(reply.is_durable, 1);
  c->push_seq = reply.received_seq;
  return reply.received_seq;
}

static void check_rows(scene *s, uint64_t seq_a, uint64_t seq_b)
{
  for (uint64_t key = 0; key < 7; key++) {
    float sum = 0.0f;
    uint32_t clock = 0, row, got;
    for (uint64_t i = 1; i <= seq_a || i <= seq_b; i++)
      if (i % 7 == key) {
        sum += i <= seq_a ? (float)i : 0.0f;
        sum += i <= seq_b ? (float)i : 0.0f;
        clock += (uint32_t)(i <= seq_a) + (uint32_t)(i <= seq_b);
      }
    const hr_table *table = hr_shard_table(s->t->shard, 0);
    size_t stride;
    const float *rows = hr_table_rows(table, &stride);
    hr_table_find(table, &key, 1, &row, &got);
    CHECK(row != HR_ROW_NONE && got == clock && rows[row * stride] == -sum);
  }
}

/* Two sessions are at 40 and 70 when the cut is begun, go on while it is written and after it, and the shard dies. One
 * has 64 pushes to send again, the other 30. */
static void pushes_after_the_cut_are_applied_again(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 2, 100), b = test_worker(2, 7, 1, 2, 100);
  CHECK_EQ(greet(&s, &a), 0);
  CHECK_EQ(greet(&s, &b), 0);
  CHECK_EQ(create_plain(&s, &a), 0);
  for (uint64_t seq = 1; seq <= 70; seq++) {
    CHECK(seq > 40 || push(&s, &a, seq) == HOTROW_OK);
    CHECK_OK(push(&s, &b, seq));
    CHECK_EQ(s.t->replies[0].message.header.durable_seq, 0);
  }
  cut(&s);
  for (uint64_t seq = 41; seq <= 104; seq++)
    CHECK_OK(push(&s, &a, seq));
  CHECK_EQ(s.t->replies[0].message.header.durable_seq, 0);
  test_storage_commit(s.disk, s.t->shard);
  for (uint64_t seq = 71; seq <= 100; seq++)
    CHECK_OK(push(&s, &b, seq));
  CHECK_EQ(s.t->replies[0].message.header.durable_seq, 70);
  CHECK_OK(push(&s, &a, 104));
  CHECK_EQ(s.t->replies[0].message.header.durable_seq, 40);
  check_rows(&s, 104, 100);
  cut(&s); /* this one is lost */
  die(&s);

  start(&s);
  check_rows(&s, 40, 70);
  test_begin(&a, HR_OP_STATS);
  CHECK_FAILS(test_ask(s.t, &a), HOTROW_ERR_RESET, "restarted");
  CHECK_EQ(s.t->replies[0].message.header.epoch, s.epoch);
  CHECK_EQ(greet(&s, &a), 40);
  CHECK_EQ(greet(&s, &b), 70);
  CHECK_EQ(s.t->replies[0].message.header.durable_seq, 70);
  for (uint64_t seq = 38; seq <= 40; seq++) {
    CHECK_OK(push(&s, &a, seq));
    CHECK_EQ(s.t->replies[0].message.header.applied_seq, 40);
  }
  check_rows(&s, 40, 70);
  a.push_seq = 41;
  test_push_row(&a, 0, 1, 1.0f);
  CHECK_EQ(test_ask(s.t, &a), HR_STATUS_GAP);
  CHECK_EQ(s.t->replies[0].message.header.applied_seq, 40);
  for (uint64_t seq = 41; seq <= 104; seq++) {
    CHECK_OK(push(&s, &a, seq));
    CHECK(seq < 71 || seq > 100 || push(&s, &b, seq) == HOTROW_OK);
  }
  check_rows(&s, 104, 100);

  cut_and_commit(&s); /* and once more, with nothing after the cut */
  die(&s);
  start(&s);
  CHECK_EQ(greet(&s, &a), 104);
  CHECK_EQ(greet(&s, &b), 100);
  check_rows(&s, 104, 100);
  close_scene(&s);
}

/* Only what changed is in a cut, as it was when the cut was begun. */
static void a_cut_holds_what_changed(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 1, 100);
  greet(&s, &a);
  create_plain(&s, &a);
  uint64_t key = 6, number = 0;
  for (uint64_t seq = 1; seq <= 5; seq++)
    CHECK_OK(push(&s, &a, seq));
  test_add_pull(test_begin(&a, HR_OP_PULL), 0, &key, 1); /* creates a row */
  CHECK_OK(test_ask(s.t, &a));
  CHECK_EQ(hr_shard_dirty_bytes(s.t->shard), 6 * TEST_DIM * sizeof(float));
  CHECK_EQ(test_counter(s.t->shard, "\"dirty_bytes\""), 6 * TEST_DIM * sizeof(float));
  cut(&s);
  CHECK_EQ(hr_shard_dirty_bytes(s.t->shard), 0);
  CHECK(s.disk->staged.row_count == 6 && s.disk->staged.table_count == 1 && s.disk->staged.tables[0].row_count == 6);
  CHECK(s.disk->staged.session_count == 1 && s.disk->staged.job_count == 1);
  CHECK_OK(push(&s, &a, 6));
  CHECK_OK(push(&s, &a, 7));
  CHECK_FAILS(hr_shard_cut(s.t->shard, &number), HOTROW_ERR_BUSY, "cut 2 is not durable yet");
  test_storage_commit(s.disk, s.t->shard);
  CHECK_EQ(number, 0);
  cut(&s);
  CHECK_EQ(s.disk->staged.row_count, 2);
  test_storage_commit(s.disk, s.t->shard);
  cut_and_commit(&s);
  CHECK_EQ(s.disk->staged.row_count, 0);
  test_begin(&a, HR_OP_BYE);
  CHECK_OK(test_ask(s.t, &a));
  cut_and_commit(&s); /* who is gone is forgotten */
  CHECK(s.disk->safe.session_count == 0 && s.disk->safe.job_count == 0);
  CHECK_EQ(test_counter(s.t->shard, "\"cuts\""), 5);
  die(&s);
  start(&s);
  CHECK_EQ(hr_shard_dirty_bytes(s.t->shard), 0);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(s.t->shard, 0))->row_count, 7);
  close_scene(&s);
}

/* Whichever call fails: there is no cut, nothing is forgotten, and the next one is whole. */
static void a_cut_that_fails_is_made_again(void)
{
  bool succeeded = false;
  for (size_t fail_at = 1; !succeeded; fail_at++) {
    scene s = open_scene();
    test_client a = test_worker(1, 7, 0, 1, 100);
    uint64_t number = 0;
    greet(&s, &a);
    create_plain(&s, &a);
    for (uint64_t seq = 1; seq <= 20; seq++)
      CHECK_OK(push(&s, &a, seq));
    s.disk->calls_left = fail_at;
    hotrow_status status = hr_shard_cut(s.t->shard, &number);
    succeeded = status == HOTROW_OK;
    if (!succeeded) {
      CHECK_FAILS(status, HOTROW_ERR_STORAGE, "disk is full");
      CHECK_OK(push(&s, &a, 21));
      CHECK_EQ(s.t->replies[0].message.header.durable_seq, 0);
      cut(&s);
    } else {
      CHECK(fail_at == 1 + 1 + 7 + 1 + 1 + 1 + 1); /* begin, table, rows, job, session, end; and one to spare */
    }
    test_storage_commit(s.disk, s.t->shard);
    die(&s);
    start(&s);
    CHECK_EQ(greet(&s, &a), succeeded ? 20 : 21);
    check_rows(&s, succeeded ? 20 : 21, 0);
    close_scene(&s);
  }
}

/* Whatever comes while it is copied, row by row: new rows, rows that were copied and rows that were not, another table.
 */
static void a_cut_is_of_its_moment(void)
{
  for (uint64_t turns = 0; turns < 8; turns++) {
    scene s = open_scene();
    test_client a = test_worker(1, 7, 0, 1, 100);
    uint64_t number = 0;
    greet(&s, &a);
    create_plain(&s, &a);
    for (uint64_t seq = 1; seq <= 20; seq++)
      CHECK_OK(push(&s, &a, seq));
    die(&s);
    s.turn_bytes = 1;
    start(&s);
    CHECK_EQ(greet(&s, &a), 0); /* none of them was in a cut */
    for (uint64_t seq = 1; seq <= 20; seq++)
      CHECK_OK(push(&s, &a, seq));
    CHECK_OK(hr_shard_cut(s.t->shard, &number));
    CHECK(s.disk->staged.row_count == 1 && s.disk->staged.session_count == 1 && hr_shard_is_copying(s.t->shard));
    CHECK_FAILS(hr_shard_cut(s.t->shard, &number), HOTROW_ERR_BUSY, "not durable yet");
    for (uint64_t i = 0; i < turns && hr_shard_is_copying(s.t->shard); i++)
      CHECK_OK(hr_shard_copy(s.t->shard));
    for (uint64_t seq = 21; seq <= 40; seq++)
      CHECK_OK(push(&s, &a, seq));
    test_push_row(&a, 0, 50, 1.0f);
    CHECK_OK(test_ask(s.t, &a));
    CHECK_EQ(s.t->replies[0].message.header.durable_seq, 0);
    CHECK_EQ(s.disk->staged.row_count, 7); /* copied now, or before */
    CHECK_EQ(hr_shard_dirty_bytes(s.t->shard), 8 * TEST_DIM * sizeof(float));
    test_storage_commit(s.disk, s.t->shard);
    CHECK_EQ(s.disk->staged.row_count, 7);
    die(&s);
    start(&s);
    CHECK_EQ(greet(&s, &a), 20);
    check_rows(&s, 20, 0);
    CHECK_EQ(hr_table_get_desc(hr_shard_table(s.t->shard, 0))->row_count, 7);
    close_scene(&s);
  }
}

/* Whichever call fails, that of a turn or of a push that has a row copied: the push is applied, and the next cut has
 * all that this one had. */
static void a_cut_that_fails_in_a_later_turn_is_made_again(void)
{
  for (size_t fail_at = 1; fail_at <= 7; fail_at++)
    for (uint64_t turns = 0; turns < 3; turns++) {
      scene s = open_scene();
      test_client a = test_worker(1, 7, 0, 1, 100);
      uint64_t number = 0;
      s.turn_bytes = 1;
      die(&s);
      start(&s);
      greet(&s, &a);
      create_plain(&s, &a);
      for (uint64_t seq = 1; seq <= 20; seq++)
        CHECK_OK(push(&s, &a, seq));
      CHECK_OK(hr_shard_cut(s.t->shard, &number));
      s.disk->calls_left = fail_at;
      hotrow_status status = HOTROW_OK;
      for (uint64_t i = 0; i < turns && status == HOTROW_OK; i++)
        status = hr_shard_copy(s.t->shard);
      for (uint64_t seq = 21; seq <= 23; seq++)
        CHECK_OK(push(&s, &a, seq));
      if (status == HOTROW_OK)
        status = test_copy(s.t->shard);
      CHECK_FAILS(status, HOTROW_ERR_STORAGE, "disk is full");
      CHECK(!hr_shard_is_copying(s.t->shard) && test_counter(s.t->shard, "\"degraded\"") == 1);
      CHECK_EQ(test_counter(s.t->shard, "\"cuts\""), 1);
      CHECK_EQ(hr_shard_dirty_bytes(s.t->shard), 7 * TEST_DIM * sizeof(float));
      CHECK_OK(push(&s, &a, 24));
      CHECK_EQ(s.t->replies[0].message.header.durable_seq, 0);
      cut_and_commit(&s);
      CHECK(test_counter(s.t->shard, "\"degraded\"") == 0 && s.disk->staged.table_count == 1);
      die(&s);
      start(&s);
      CHECK_EQ(greet(&s, &a), 24);
      check_rows(&s, 24, 0);
      close_scene(&s);
    }
}

/* While a cut is under way the next one has a bound: who changes rows is asked to come again, who reads is served. */
static void a_slow_disk_is_for_those_who_change_rows(void)
{
  scene s = {.disk = test_storage_open(), .epoch = 100, .next_bytes_max = 3 * TEST_DIM * sizeof(float)};
  start(&s);
  test_client a = test_worker(1, 7, 0, 1, 100), b = test_worker(2, 8, 0, 1, 100);
  greet(&s, &a);
  greet(&s, &b);
  create_plain(&s, &a);
  for (uint64_t seq = 1; seq <= 7; seq++)
    CHECK_OK(push(&s, &a, seq)); /* no cut is under way */
  cut(&s);
  for (uint64_t seq = 8; seq <= 10; seq++)
    CHECK_OK(push(&s, &a, seq));
  CHECK(!hr_shard_awaits_cut(s.t->shard));
  CHECK_FAILS(push(&s, &a, 11), HOTROW_ERR_BUSY, "24 bytes of rows that changed since cut 2");
  CHECK(s.t->replies[0].message.header.retry_ms > 0 && hr_shard_awaits_cut(s.t->shard));
  uint64_t keys[2] = {3, 100};
  test_add_pull(test_begin(&a, HR_OP_PULL), 0, keys, 2); /* one is new */
  a.message.header.push_seq = 10;
  CHECK_FAILS(test_ask(s.t, &a), HOTROW_ERR_BUSY, "since cut 2");
  test_add_pull(test_begin(&a, HR_OP_PULL), 0, keys, 1);
  a.message.header.push_seq = 10;
  CHECK_OK(test_ask(s.t, &a));
  test_push_row(&b, 0, 200, 1.0f)->header.flags = HR_FLAG_SYNC; /* its step has come: it is not for it to wait */
  CHECK_OK(test_ask(s.t, &b));
  test_storage_commit(s.disk, s.t->shard);
  CHECK_OK(push(&s, &a, 11));
  cut_and_commit(&s);
  die(&s);
  start(&s);
  CHECK(greet(&s, &a) == 11 && greet(&s, &b) == 1);
  close_scene(&s);
}

/* Whoever was told that a rank is its own, has it over a restart too. */
static void a_successor_waits_for_its_cut(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 1, 100), b = test_worker(2, 7, 0, 1, 200);
  greet(&s, &a);
  create_plain(&s, &a);
  CHECK_OK(push(&s, &a, 1));
  cut_and_commit(&s);
  for (int lives = 0; lives < 2; lives++) { /* the cut is lost, then it is not */
    test_clear(s.t);
    test_hello(&b);
    test_send(s.t, &b);
    CHECK(s.t->reply_count == 0 && s.disk->is_whole);
    CHECK_FAILS(push(&s, &a, 2), HOTROW_ERR_FENCED, NULL);
    if (lives == 1)
      test_storage_commit(s.disk, s.t->shard);
    CHECK(lives == 0 || test_reply_to(s.t, &b)->message.header.op == HR_OP_HELLO);
    die(&s);
    start(&s);
    if (lives == 0)
      CHECK_EQ(greet(&s, &a), 1); /* nobody was told otherwise */
  }
  test_hello(&a);
  CHECK_FAILS(test_ask(s.t, &a), HOTROW_ERR_FENCED, "started later");
  CHECK_EQ(greet(&s, &b), 0);
  close_scene(&s);
}

/* Only a client that waits for pushes that no cut has makes one urgent. */
static void a_client_that_waits_makes_a_cut_urgent(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 1, 100);
  greet(&s, &a);
  create_plain(&s, &a);
  test_begin(&a, HR_OP_TICK)->header.flags = HR_FLAG_DURABLE;
  CHECK_OK(test_ask(s.t, &a));
  CHECK(!hr_shard_awaits_cut(s.t->shard));
  CHECK_OK(push(&s, &a, 1));
  test_begin(&a, HR_OP_TICK);
  CHECK_OK(test_ask(s.t, &a));
  CHECK(!hr_shard_awaits_cut(s.t->shard));
  test_begin(&a, HR_OP_TICK)->header.flags = HR_FLAG_DURABLE;
  CHECK_OK(test_ask(s.t, &a));
  CHECK(hr_shard_awaits_cut(s.t->shard));
  cut(&s);
  CHECK(!hr_shard_awaits_cut(s.t->shard));
  test_begin(&a, HR_OP_TICK)->header.flags = HR_FLAG_DURABLE;
  CHECK_OK(test_ask(s.t, &a)); /* it is in the cut under way */
  CHECK(!hr_shard_awaits_cut(s.t->shard));
  CHECK_OK(push(&s, &a, 2));
  test_begin(&a, HR_OP_TICK)->header.flags = HR_FLAG_DURABLE;
  CHECK_OK(test_ask(s.t, &a));
  CHECK(hr_shard_awaits_cut(s.t->shard)); /* and this is not */
  test_storage_commit(s.disk, s.t->shard);
  close_scene(&s);
}

static void a_new_table_waits_for_its_cut(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 2, 100), b = test_worker(2, 7, 1, 2, 100);
  hr_table_desc first = test_desc("first"), second = test_desc("second");
  greet(&s, &a);
  greet(&s, &b);
  test_clear(s.t);
  test_body(&a, HR_OP_TABLE_CREATE, &first, sizeof first);
  test_send(s.t, &a);
  CHECK(s.t->reply_count == 0 && s.disk->is_whole);
  test_body(&b, HR_OP_TABLE_CREATE, &second, sizeof second);
  test_send(s.t, &b); /* its cut must wait for the first's */
  test_body(&a, HR_OP_TABLE_CREATE, &first, sizeof first);
  test_send(s.t, &a); /* a repeat */
  CHECK_EQ(s.t->reply_count, 0);
  test_storage_commit(s.disk, s.t->shard);
  CHECK_EQ(s.t->reply_count, 1);
  CHECK_EQ(s.t->replies[0].message.header.request_id, a.request_id);
  CHECK(s.disk->is_whole); /* the second's */
  test_clear(s.t);
  test_body(&a, HR_OP_TABLE_OPEN, "second", 6);
  test_send(s.t, &a);
  CHECK_EQ(s.t->reply_count, 0);
  test_storage_commit(s.disk, s.t->shard);
  CHECK(s.t->reply_count == 2 && !s.disk->is_whole);
  CHECK(test_reply_to(s.t, &a)->message.header.op == HR_OP_TABLE_OPEN && test_reply_to(s.t, &b));
  cut_and_commit(&s);
  CHECK_EQ(s.disk->staged.table_count, 0);
  test_body(&b, HR_OP_TABLE_OPEN, "first", 5);
  CHECK_OK(test_ask(s.t, &b));

  test_clear(s.t);
  first.announce_step = 4; /* a promise like the table itself */
  test_body(&b, HR_OP_TABLE_CREATE, &first, sizeof first);
  test_send(s.t, &b);
  CHECK_EQ(s.t->reply_count, 0);
  test_storage_commit(s.disk, s.t->shard);
  CHECK_OK(test_status(&test_one_reply(s.t)->message));
  die(&s);
  start(&s);
  CHECK_EQ(hr_shard_table_count(s.t->shard), 2);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(s.t->shard, 0))->announce_step, 4);
  CHECK(strcmp(hr_table_get_desc(hr_shard_table(s.t->shard, 1))->name, "second") == 0);

  s.disk->calls_left = 1;
  greet(&s, &a);
  second.announce_step = 1;
  test_body(&a, HR_OP_TABLE_CREATE, &second, sizeof second);
  CHECK_FAILS(test_ask(s.t, &a), HOTROW_ERR_STORAGE, "disk is full");
  create(&s, &a, &second);
  close_scene(&s);
}

/* A row counts as announced at the clock that it is restored with. */
static void announcements_go_on_after_a_restart(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 1, 100);
  hr_table_desc desc = test_desc("t");
  desc.announce_step = 5;
  greet(&s, &a);
  create(&s, &a, &desc);
  for (uint64_t seq = 7; seq <= 21; seq += 7) { /* key 0 three times */
    a.push_seq = seq / 7 - 1;
    test_push_row(&a, 0, 0, 1.0f);
    CHECK_OK(test_ask(s.t, &a));
  }
  cut_and_commit(&s);
  die(&s);
  start(&s);
  greet(&s, &a);
  CHECK_EQ(s.t->replies[0].message.header.announce_seq, 1);
  a.announce_seq = 1;
  for (uint32_t clock = 4; clock <= 8; clock++) {
    test_push_row(&a, 0, 0, 1.0f);
    CHECK_OK(test_ask(s.t, &a));
    CHECK_EQ(s.t->replies[0].message.section_count, clock == 8);
  }
  CHECK_EQ(s.t->replies[0].message.sections[0].clocks[0], 8);
  close_scene(&s);
}

/* Refusals up to the watermark are still refusals. */
static void outcomes_survive(void)
{
  scene s = open_scene();
  test_client a = test_worker(1, 7, 0, 1, 100);
  greet(&s, &a);
  create_plain(&s, &a);
  for (uint64_t seq = 1; seq <= 70; seq++) {
    test_push_row(&a, seq == 69 ? 9 : 0, 1, seq == 68 ? NAN : 1.0f);
    CHECK(test_ask(s.t, &a) == (seq == 68 ? HOTROW_ERR_INVALID : seq == 69 ? HOTROW_ERR_NOT_FOUND : HOTROW_OK));
  }
  cut_and_commit(&s);
  die(&s);
  start(&s);
  CHECK_EQ(greet(&s, &a), 70);
  for (uint64_t seq = 7; seq <= 70; seq++) {
    a.push_seq = seq - 1;
    test_push_row(&a, 0, 1, 1.0f);
    hotrow_status status = test_ask(s.t, &a);
    CHECK(status == (seq == 68 ? HOTROW_ERR_INVALID : seq == 69 ? HOTROW_ERR_NOT_FOUND : HOTROW_OK));
    if (status != HOTROW_OK)
      CHECK_FAILS(status, status, hotrow_status_text(status));
  }
  CHECK(test_pull_value(s.t, &a, 0, 1) == -68.0f);
  close_scene(&s);
}

static void fencing_survives(void)
{
  scene s = open_scene();
  test_client old = test_worker(1, 7, 0, 2, 100), young = test_worker(2, 7, 0, 2, 200);
  test_client mate = test_worker(3, 7, 1, 2, 100), stranger = test_worker(4, 7, 0, 3, 300);
  greet(&s, &old);
  greet(&s, &mate);
  test_clear(s.t);
  test_hello(&young);
  test_send(s.t, &young);
  test_storage_commit(s.disk, s.t->shard);
  CHECK_OK(test_status(&test_one_reply(s.t)->message));
  die(&s);
  start(&s);
  test_hello(&old);
  CHECK_FAILS(test_ask(s.t, &old), HOTROW_ERR_FENCED, "started later");
  test_hello(&stranger);
  CHECK_FAILS(test_ask(s.t, &stranger), HOTROW_ERR_INVALID, "job 7 has 2 workers");
  CHECK_EQ(greet(&s, &young), 0);
  CHECK_EQ(greet(&s, &mate), 0);
  CHECK_EQ(test_counter(s.t->shard, "\"sessions\""), 2);
  close_scene(&s);
}

static void rows_of_a_save_are_in_the_first_cut(void)
{
  char path[512];
  hr_save save = {.token = 9, .name = "s"};
  test_shard *t = test_shard_open(&(hr_shard_options){.save_dir = hr_test_tmpdir()});
  test_client a = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &a);
  hr_table_desc desc = test_desc("t");
  desc.announce_step = 2;
  test_create(t, &a, &desc);
  test_push_row(&a, 0, 5, 1.0f);
  CHECK_OK(test_ask(t, &a));
  test_body(&a, HR_OP_SAVE, &save, sizeof save);
  CHECK_OK(test_ask(t, &a));
  test_shard_close(t);

  scene s = open_scene();
  snprintf(path, sizeof path, "%s/s", hr_test_tmpdir());
  CHECK_OK(hr_shard_load(s.t->shard, path, (hr_load_progress){0}, (hr_load_settle){0}));
  cut_and_commit(&s);
  die(&s);
  start(&s);
  a = test_worker(1, 7, 0, 1, 100);
  greet(&s, &a);
  CHECK(test_pull_value(s.t, &a, 0, 5) == -1.0f);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(s.t->shard, 0))->announce_step, 0); /* for those to say who will read */
  close_scene(&s);
}

static void damaged_cuts_are_refused(void)
{
  scene s = open_scene();
  hr_shard *shard = s.t->shard;
  hr_table_desc desc = test_desc("t");
  float record[3] = {0};
  desc.id = 1;
  CHECK_FAILS(hr_shard_restore_table(shard, &desc), HOTROW_ERR_CORRUPT, "table t has id 1, the next one must have 0");
  desc.id = 0;
  CHECK_OK(hr_shard_restore_table(shard, &desc));
  CHECK_FAILS(hr_shard_restore_row(shard, 1, 5, 1, record, 2), HOTROW_ERR_NOT_FOUND, "table with id 1");
  CHECK_FAILS(hr_shard_restore_row(shard, 0, 5, 1, record, 3), HOTROW_ERR_CORRUPT, "row 5 of table t has 3 floats");
  CHECK_OK(hr_shard_restore_row(shard, 0, 5, 1, record, 2));
  CHECK_FAILS(hr_shard_restore_row(shard, 0, 5, 1, record, 2), HOTROW_ERR_EXISTS, "key 5");

  hr_stored_member members[2] = {{.step_next = 10}, {.step_next = 11}};
  hr_stored_job job = {.id = 7, .step_next = 10};
  CHECK_FAILS(hr_shard_restore_job(shard, &job, members, 1), HOTROW_ERR_CORRUPT, "job 7 has 0 workers");
  job.world_size = HR_WIRE_WORLD_MAX + 1;
  CHECK_FAILS(hr_shard_restore_job(shard, &job, members, 1), HOTROW_ERR_CORRUPT, "job 7 has 4097 workers");
  job.world_size = 2;
  members[1].step_next = 9;
  CHECK_FAILS(hr_shard_restore_job(shard, &job, members, 1), HOTROW_ERR_CORRUPT, "at step 10, its rank 1 at 9");
  members[1].step_next = 74;
  CHECK_FAILS(hr_shard_restore_job(shard, &job, members, 1), HOTROW_ERR_CORRUPT, "at step 10, its rank 1 at 74");
  members[0].step_next = members[1].step_next = 11;
  CHECK_FAILS(hr_shard_restore_job(shard, &job, members, 1), HOTROW_ERR_CORRUPT, "all ranks have pushed step 10");
  members[0].step_next = 10;
  CHECK_OK(hr_shard_restore_job(shard, &job, members, 1));
  CHECK_FAILS(hr_shard_restore_job(shard, &job, members, 1), HOTROW_ERR_CORRUPT, "job 7 is there twice");

  hr_stored_session session = {.id = {1, 2}, .hello = {.job = 7, .role = HR_ROLE_WORKER}, .rank = 2};
  CHECK_FAILS(hr_shard_restore_session(shard, &session, 1), HOTROW_ERR_CORRUPT, "no place for rank 2 of job 7");
  session.rank = 1;
  session.hello.job = 8;
  CHECK_FAILS(hr_shard_restore_session(shard, &session, 1), HOTROW_ERR_CORRUPT, "no place for rank 1 of job 8");
  session.hello.job = 7;
  session.statuses[63] = 1;
  CHECK_FAILS(hr_shard_restore_session(shard, &session, 1), HOTROW_ERR_CORRUPT, "a push has status 1");
  session.statuses[63] = 0;
  CHECK_OK(hr_shard_restore_session(shard, &session, 1));
  CHECK_FAILS(hr_shard_restore_session(shard, &session, 1), HOTROW_ERR_CORRUPT, "is there twice");
  session.id.low++;
  CHECK_FAILS(hr_shard_restore_session(shard, &session, 1), HOTROW_ERR_CORRUPT, "no place for rank 1");
  close_scene(&s);
}

int main(void)
{
  RUN(pushes_after_the_cut_are_applied_again);
  RUN(a_cut_holds_what_changed);
  RUN(a_cut_that_fails_is_made_again);
  RUN(a_cut_is_of_its_moment);
  RUN(a_cut_that_fails_in_a_later_turn_is_made_again);
  RUN(a_slow_disk_is_for_those_who_change_rows);
  RUN(a_successor_waits_for_its_cut);
  RUN(a_client_that_waits_makes_a_cut_urgent);
  RUN(a_new_table_waits_for_its_cut);
  RUN(announcements_go_on_after_a_restart);
  RUN(outcomes_survive);
  RUN(fencing_survives);
  RUN(rows_of_a_save_are_in_the_first_cut);
  RUN(damaged_cuts_are_refused);
  return 0;
}
