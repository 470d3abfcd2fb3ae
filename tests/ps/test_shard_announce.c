/* Announcements and ticks. */
#include "shard_test.h"

#include <math.h>

#include <hr/random.h>

static uint32_t create(test_shard *t, test_client *c, const char *name, uint32_t announce_step)
{
  hr_table_desc desc = test_desc(name);
  desc.announce_step = announce_step;
  return test_create(t, c, &desc);
}

typedef struct scene {
  test_shard *t;
  test_client pusher, reader; /* the reader wants announcements */
  uint32_t table;
} scene;

static scene open_scene(const hr_shard_options *options, uint32_t announce_step)
{
  scene s = {.t = test_shard_open(options), .pusher = test_worker(1, 7, 0, 1, 100), .reader = test_reader(2)};
  test_greet(s.t, &s.pusher);
  s.table = create(s.t, &s.pusher, "t", announce_step);
  test_greet(s.t, &s.reader);
  CHECK_EQ(s.t->replies[0].message.header.announce_seq, 1);
  s.reader.announce_seq = 1;
  return s;
}

/* A push of k steps. */
static void push(scene *s, uint32_t table, uint64_t key, uint32_t k)
{
  static uint32_t steps;
  steps = k;
  hr_section *section = &test_push_row(&s->pusher, table, key, 1.0f)->sections[0];
  section->flags = HR_SECTION_STEPS;
  section->steps = &steps;
  CHECK_OK(test_ask(s->t, &s->pusher));
  CHECK(s->t->replies[0].message.section_count == 0 && s->t->replies[0].message.header.announce_seq == 0);
}

static const hr_message *tick(scene *s)
{
  test_begin(&s->reader, HR_OP_TICK);
  CHECK_OK(test_ask(s->t, &s->reader));
  return &s->t->replies[0].message;
}

/* Ticks; what is told must be this one row, or nothing (clock 0). Then it counts as told. */
static void expect(scene *s, uint32_t table, uint64_t key, uint32_t clock)
{
  const hr_message *m = tick(s);
  CHECK(!(m->header.flags & HR_FLAG_RESET));
  CHECK_EQ(m->section_count, clock != 0);
  if (clock) {
    const hr_section *told = &m->sections[0];
    CHECK(told->kind == HR_SECTION_ANNOUNCE && told->table == table && told->key_count == 1);
    CHECK_EQ(told->keys[0], key);
    CHECK_EQ(told->clocks[0], clock);
  }
  s->reader.announce_seq = m->header.announce_seq;
}

static void a_row_is_announced_at_exactly_its_step(void)
{
  scene s = open_scene(NULL, 3);
  push(&s, s.table, 5, 1);
  push(&s, s.table, 5, 1);
  expect(&s, s.table, 5, 0);
  push(&s, s.table, 5, 1);
  CHECK_EQ(s.reader.announce_seq, 1);
  expect(&s, s.table, 5, 3);
  CHECK_EQ(s.reader.announce_seq, 2);
  expect(&s, s.table, 5, 0);
  push(&s, s.table, 5, 2);
  expect(&s, s.table, 5, 0);
  push(&s, s.table, 5, 1); /* counted from the last announcement */
  expect(&s, s.table, 5, 6);
  push(&s, s.table, 5, 100); /* many steps at once are one announcement */
  expect(&s, s.table, 5, 106);
  push(&s, s.table, UINT64_MAX, 3); /* a row that the push creates */
  expect(&s, s.table, UINT64_MAX, 3);
  CHECK_EQ(test_counter(s.t->shard, "\"announcements\""), 4);
  CHECK_EQ(test_counter(s.t->shard, "\"ticks\""), 7);
  test_shard_close(s.t);
}

static void who_does_not_ask_is_not_told(void)
{
  scene s = open_scene(NULL, 1);
  uint32_t silent = create(s.t, &s.pusher, "silent", 0);
  push(&s, silent, 5, 1000); /* checks that the pusher, which wants none, gets none */
  expect(&s, 0, 0, 0);
  push(&s, s.table, 5, 1);
  s.reader.announce_seq = 0;
  const hr_message *m = tick(&s);
  CHECK(m->section_count == 0 && m->header.announce_seq == 0);
  s.reader.announce_seq = 1;
  expect(&s, s.table, 5, 1);
  test_hello(&s.reader);
  CHECK_OK(test_ask(s.t, &s.reader));
  CHECK_EQ(s.t->replies[0].message.header.announce_seq, 2);

  s.reader.announce_seq = 1; /* an error tells nothing */
  uint64_t key = 1;
  test_add_pull(test_begin(&s.reader, HR_OP_PULL), 99, &key, 1);
  CHECK_FAILS(test_ask(s.t, &s.reader), HOTROW_ERR_NOT_FOUND, NULL);
  CHECK_EQ(s.t->replies[0].message.header.announce_seq, 0);
  test_shard_close(s.t);
}

/* Push and pull of one message: the row with the push in it, and the announcement that the push made. */
static void a_reply_is_of_one_moment(void)
{
  scene s = open_scene(NULL, 2);
  uint32_t other = create(s.t, &s.pusher, "other", 1);
  push(&s, s.table, 5, 1);
  push(&s, other, 7, 1);
  push(&s, other, 8, 1);
  uint64_t key = 5;
  float grads[2] = {1, -1};
  s.pusher.announce_seq = 1;
  hr_message *m = test_begin(&s.pusher, HR_OP_PUSH_PULL);
  test_add_push(m, s.table, &key, grads, 1);
  test_add_pull(m, s.table, &key, 1);
  CHECK_OK(test_ask(s.t, &s.pusher));
  const hr_message *reply = &s.t->replies[0].message;
  CHECK(reply->section_count == 3 && reply->header.applied_seq == 4 && reply->header.announce_seq == 4);
  const hr_section *row = &reply->sections[0], *mine = &reply->sections[1], *theirs = &reply->sections[2];
  CHECK(row->kind == HR_SECTION_PULL_REPLY && row->values[0] == -2.0f && row->clocks[0] == 2);
  CHECK(mine->table == s.table && mine->key_count == 1 && mine->keys[0] == 5 && mine->clocks[0] == 2);
  CHECK(theirs->table == other && theirs->key_count == 2 && theirs->keys[0] == 7 && theirs->keys[1] == 8);

  s.pusher.announce_seq = 3; /* a plain push is told too, and a repeat as of now */
  test_push_row(&s.pusher, s.table, 5, 1.0f);
  CHECK_OK(test_ask(s.t, &s.pusher));
  CHECK(s.t->replies[0].message.section_count == 1 && s.t->replies[0].message.sections[0].keys[0] == 5);
  hr_header again = s.pusher.message.header;
  s.pusher.announce_seq = 0;
  push(&s, other, 9, 1);
  test_push_row(&s.pusher, s.table, 5, 1.0f);
  s.pusher.message.header = again;
  s.pusher.message.header.announce_seq = 4;
  CHECK_OK(test_ask(s.t, &s.pusher));
  reply = &s.t->replies[0].message;
  CHECK(reply->section_count == 1 && reply->sections[0].keys[0] == 9 && reply->header.announce_seq == 5);
  test_shard_close(s.t);
}

static void a_key_is_told_once(void)
{
  scene s = open_scene(NULL, 1);
  for (uint32_t i = 0; i < 10; i++) {
    push(&s, s.table, 5, 1);
    push(&s, s.table, 6, 2);
  }
  for (uint64_t from = 1; from <= 19; from += 6) {
    s.reader.announce_seq = from;
    const hr_message *m = tick(&s);
    CHECK(m->section_count == 1 && m->sections[0].key_count == 2 && m->header.announce_seq == 21);
    CHECK(m->sections[0].keys[0] == 5 && m->sections[0].clocks[0] == 10);
    CHECK(m->sections[0].keys[1] == 6 && m->sections[0].clocks[1] == 20);
  }
  CHECK_EQ(test_counter(s.t->shard, "\"announcements\""), 20);
  test_shard_close(s.t);
}

static void a_log_that_wrapped_is_a_reset(void)
{
  scene s = open_scene(&(hr_shard_options){.announce_log_count = 4}, 1);
  for (uint64_t key = 0; key < 4; key++)
    push(&s, s.table, key, 1);
  CHECK_EQ(tick(&s)->sections[0].key_count, 4); /* just fits */
  push(&s, s.table, 4, 1);
  const hr_message *m = tick(&s);
  CHECK(m->header.flags & HR_FLAG_RESET && m->section_count == 0 && m->header.announce_seq == 6);
  s.reader.announce_seq = 2;
  CHECK(!(tick(&s)->header.flags & HR_FLAG_RESET));
  CHECK_EQ(s.t->replies[0].message.sections[0].key_count, 4);
  s.reader.announce_seq = 6;
  expect(&s, 0, 0, 0);
  s.reader.announce_seq = 7; /* nobody has been told this number */
  CHECK(tick(&s)->header.flags & HR_FLAG_RESET);
  CHECK_EQ(test_counter(s.t->shard, "\"resets\""), 2);
  CHECK_EQ(test_counter(s.t->shard, "\"announcements_kept\""), 4);
  test_shard_close(s.t);
}

static void announcements_of_too_many_tables_are_a_reset(void)
{
  scene s = open_scene(NULL, 1);
  for (uint32_t i = 0; i < HR_WIRE_ANNOUNCE_SECTIONS_MAX; i++) {
    char name[16];
    snprintf(name, sizeof name, "t%u", i);
    push(&s, create(s.t, &s.pusher, name, 1), 5, 1);
  }
  CHECK_EQ(tick(&s)->section_count, HR_WIRE_ANNOUNCE_SECTIONS_MAX);
  push(&s, s.table, 5, 1);
  CHECK(tick(&s)->header.flags & HR_FLAG_RESET);
  s.reader.announce_seq = 2; /* without the first table's they fit again */
  CHECK_EQ(tick(&s)->section_count, HR_WIRE_ANNOUNCE_SECTIONS_MAX);
  test_shard_close(s.t);
}

static void a_tick_names_the_last_push(void)
{
  scene s = open_scene(NULL, 1);
  push(&s, s.table, 5, 1);
  test_begin(&s.pusher, HR_OP_TICK);
  CHECK_OK(test_ask(s.t, &s.pusher));
  CHECK(s.t->replies[0].message.header.applied_seq == 1 && s.t->replies[0].message.header.push_seq == 1);
  s.pusher.push_seq++; /* lost */
  test_begin(&s.pusher, HR_OP_TICK);
  CHECK_EQ(test_ask(s.t, &s.pusher), HR_STATUS_GAP);
  CHECK_EQ(s.t->replies[0].message.header.applied_seq, 1);
  test_shard_close(s.t);
}

/* The answer to a push that waited for its step is cut when it is sent. */
static void a_held_push_is_answered_with_what_is_new_by_then(void)
{
  scene s = open_scene(NULL, 1);
  test_client ranks[2] = {test_worker(11, 9, 0, 2, 100), test_worker(12, 9, 1, 2, 100)};
  for (int i = 0; i < 2; i++) {
    test_greet(s.t, &ranks[i]);
    ranks[i].announce_seq = 1;
  }
  test_clear(s.t);
  test_push_row(&ranks[0], s.table, 1, 1.0f)->header.flags = HR_FLAG_SYNC;
  test_send(s.t, &ranks[0]);
  uint64_t key = 2;
  hr_message *m = test_begin(&ranks[0], HR_OP_PULL);
  test_add_pull(m, s.table, &key, 1);
  m->header.flags = HR_FLAG_SYNC;
  m->header.step = 1;
  test_send(s.t, &ranks[0]);
  CHECK_EQ(s.t->reply_count, 0);
  push(&s, s.table, 77, 1);
  test_clear(s.t);
  test_push_row(&ranks[1], s.table, 2, 1.0f)->header.flags = HR_FLAG_SYNC;
  test_send(s.t, &ranks[1]);
  CHECK_EQ(s.t->reply_count, 3);
  for (size_t i = 0; i < 3; i++) {
    const hr_message *reply = &s.t->replies[i].message;
    const hr_section *told = &reply->sections[reply->section_count - 1];
    CHECK(told->kind == HR_SECTION_ANNOUNCE && told->keys[0] == 77);
    CHECK_EQ(told->key_count, i == 0 ? 2 : 3); /* rank 0's push is answered before rank 1's is applied */
    CHECK_EQ(reply->header.announce_seq, 1 + told->key_count);
  }
  test_shard_close(s.t);
}

static void a_push_that_fails_announces_nothing(void)
{
  scene s = open_scene(&(hr_shard_options){.row_count_max = 2}, 2);
  push(&s, s.table, 1, 1);
  push(&s, s.table, 2, 1);
  uint64_t keys[3] = {1, 2, 3};
  float grads[6] = {0};
  test_add_push(test_begin(&s.pusher, HR_OP_PUSH), s.table, keys, grads, 3);
  CHECK_FAILS(test_ask(s.t, &s.pusher), HOTROW_ERR_LIMIT, "full");
  expect(&s, 0, 0, 0);
  push(&s, s.table, 2, 1); /* clock and announced clock are as if it had not been */
  expect(&s, s.table, 2, 2);
  test_push_row(&s.pusher, s.table, 1, NAN);
  CHECK_FAILS(test_ask(s.t, &s.pusher), HOTROW_ERR_INVALID, NULL);
  expect(&s, 0, 0, 0);
  test_shard_close(s.t);
}

static void clocks_wrap_between_announcements(void)
{
  scene s = open_scene(NULL, 1000000000);
  for (uint32_t i = 1; i <= 12; i++) {
    push(&s, s.table, 5, 999999999);
    uint32_t clock = i * 999999999u; /* every second push is past the step */
    expect(&s, s.table, 5, i % 2 == 0 ? clock : 0);
  }
  test_shard_close(s.t);
}

static uint32_t step_of(test_shard *t, test_client *c)
{
  hr_table_desc desc;
  test_body(c, HR_OP_TABLE_OPEN, "t", 1);
  CHECK_OK(test_ask(t, c));
  memcpy(&desc, t->replies[0].message.body, sizeof desc);
  return desc.announce_step;
}

/* The smallest step that anybody asks for holds for all. */
static void who_asks_for_a_smaller_step_gets_it(void)
{
  scene s = open_scene(NULL, 0);
  push(&s, s.table, 5, 1000000000);
  push(&s, s.table, 5, 1000000000);
  push(&s, s.table, 5, 1000000000); /* a clock beyond the signed numbers, never announced */
  create(s.t, &s.pusher, "t", 10);
  push(&s, s.table, 5, 9);
  expect(&s, 0, 0, 0);
  push(&s, s.table, 5, 1);
  expect(&s, s.table, 5, 3000000010u);
  create(s.t, &s.pusher, "t", 20);
  CHECK_EQ(step_of(s.t, &s.pusher), 10);
  create(s.t, &s.pusher, "t", 0);
  CHECK_EQ(step_of(s.t, &s.pusher), 10);
  push(&s, s.table, 5, 5);
  create(s.t, &s.pusher, "t", 3);
  CHECK_EQ(step_of(s.t, &s.pusher), 3);
  expect(&s, 0, 0, 0);
  push(&s, s.table, 5, 1); /* 6 since its last announcement */
  expect(&s, s.table, 5, 3000000016u);
  test_shard_close(s.t);
}

/* What a client counts on: unless told otherwise, a row's clock is below that of its last announcement, or of the pull
 * that brought it, plus the step. Looked at after every reply, with a log that wraps. */
static void what_is_not_announced_is_known(void)
{
  enum { KEYS = 40, ROUNDS = 20000, STEP = 7 };
  scene s = open_scene(&(hr_shard_options){.announce_log_count = 4}, STEP);
  hr_rng rng = {hr_test_seed(21)};
  bool is_held[KEYS] = {false};
  uint32_t clocks[KEYS] = {0}, announced[KEYS] = {0};
  for (uint32_t round = 0; round < ROUNDS; round++) {
    uint64_t key = hr_rng_below(&rng, 1 + hr_rng_below(&rng, KEYS));
    if (hr_rng_below(&rng, 4)) {
      uint32_t k = 1 + (uint32_t)hr_rng_below(&rng, 9);
      push(&s, s.table, key, k);
      clocks[key] += k;
      continue;
    }
    const hr_message *m;
    if (is_held[key]) {
      m = tick(&s);
    } else {
      test_add_pull(test_begin(&s.reader, HR_OP_PULL), s.table, &key, 1);
      CHECK_OK(test_ask(s.t, &s.reader));
      m = &s.t->replies[0].message;
    }
    const hr_section *told = &m->sections[m->section_count ? m->section_count - 1u : 0];
    bool is_told = m->section_count > 0 && told->kind == HR_SECTION_ANNOUNCE;
    for (uint32_t i = 0; is_told && i < told->key_count; i++)
      announced[told->keys[i]] = told->clocks[i];
    if (m->header.flags & HR_FLAG_RESET)
      memset(is_held, 0, sizeof is_held);
    s.reader.announce_seq = m->header.announce_seq;
    if (m->header.op == HR_OP_PULL) {
      is_held[key] = true;
      announced[key] = m->sections[0].clocks[0];
    }
    for (uint32_t i = 0; i < KEYS; i++)
      CHECK(!is_held[i] || clocks[i] < announced[i] + STEP);
  }
  CHECK(test_counter(s.t->shard, "\"resets\"") > 50 && test_counter(s.t->shard, "\"announcements\"") > 1000);
  test_shard_close(s.t);
}

int main(void)
{
  RUN(a_row_is_announced_at_exactly_its_step);
  RUN(who_does_not_ask_is_not_told);
  RUN(a_reply_is_of_one_moment);
  RUN(a_key_is_told_once);
  RUN(a_log_that_wrapped_is_a_reset);
  RUN(announcements_of_too_many_tables_are_a_reset);
  RUN(a_tick_names_the_last_push);
  RUN(a_held_push_is_answered_with_what_is_new_by_then);
  RUN(a_push_that_fails_announces_nothing);
  RUN(clocks_wrap_between_announcements);
  RUN(who_asks_for_a_smaller_step_gets_it);
  RUN(what_is_not_announced_is_known);
  return 0;
}
