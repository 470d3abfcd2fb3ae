/* Rows that go for good: which, when, what is told of it, and that they do not come back. */
#include <stdlib.h>

#include <hr/random.h>
#include <hr/route.h>

#include "storage_test.h"

#define TURN_BYTES 300u /* of a cut: a few rows */
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
  desc.eviction = eviction;
  desc.announce_step = 1;
  return desc;
}

static test_shard *start(const hr_shard_options *options, const hr_table_desc *desc, test_client *c)
{
  test_shard *t = test_shard_open(options);
  *c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, c);
  c->announce_seq = 1;
  test_create(t, c, desc);
  return t;
}

static void push_at(test_shard *t, test_client *c, uint32_t step, uint64_t key, float grad)
{
  test_push_row(c, 0, key, grad)->header.step = step;
  CHECK_OK(test_ask(t, c));
}

static void tick_at(test_shard *t, test_client *c, uint32_t step)
{
  test_begin(c, HR_OP_TICK)->header.step = step;
  CHECK_OK(test_ask(t, c));
}

/* What a reader sees, who creates nothing. */
static bool is_there(test_shard *t, test_client *c, uint64_t key)
{
  hr_message *m = test_begin(c, HR_OP_PULL);
  m->header.flags = HR_FLAG_READ_ONLY;
  test_add_pull(m, 0, &key, 1);
  CHECK_OK(test_ask(t, c));
  return t->replies[0].message.sections[0].found[0] & 1;
}

static uint64_t row_count(const test_shard *t)
{
  return hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count;
}

static long long expired(const test_shard *t)
{
  return test_counter(t->shard, "\"rows_expired\"");
}

static void refusals(void)
{
  test_client c;
  hr_table_desc desc = mortal(LIFE), other = desc;
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  other.steps_to_live++;
  test_body(&c, HR_OP_TABLE_CREATE, &other, sizeof other);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "table t exists with another steps_to_live");
  other = desc;
  other.l2_weight_threshold = 1;
  test_body(&c, HR_OP_TABLE_CREATE, &other, sizeof other);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "another l2_weight_threshold");
  other = desc;
  other.row_count_max = 1;
  test_body(&c, HR_OP_TABLE_CREATE, &other, sizeof other);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "another row_count_max");
  uint64_t key = 5;
  uint32_t seen = 0;
  hr_section *s = test_add_pull(test_begin(&c, HR_OP_PULL), 0, &key, 1);
  s->held_count = 1;
  s->seen = &seen;
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_INVALID, "pull of 1 held rows from table t, whose rows go for good");
  test_shard_close(t);
}

static void a_row_left_alone_goes_and_begins_anew(void)
{
  test_client c;
  hr_table_desc desc = mortal(LIFE);
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  for (uint32_t step = 0; step <= LIFE; step++)
    push_at(t, &c, step, step == 0 ? 5 : 6, 1);
  CHECK(is_there(t, &c, 5) && test_pull_value(t, &c, 0, 5) == -1); /* a pull alone does not prolong it */
  push_at(t, &c, LIFE + 1, 6, 1);
  CHECK(!is_there(t, &c, 5) && is_there(t, &c, 6));
  CHECK(expired(t) == 1 && row_count(t) == 1);
  CHECK(test_pull_value(t, &c, 0, 5) == 0 && t->replies[0].message.sections[0].clocks[0] == 0);
  push_at(t, &c, LIFE + 1, 5, 1);
  CHECK(test_pull_value(t, &c, 0, 5) == -1 && test_pull_value(t, &c, 0, 6) == -4);
  for (uint32_t step = LIFE + 2; step < 100; step += LIFE) /* each push gives it its whole time again */
    push_at(t, &c, step, 5, 1);
  CHECK(is_there(t, &c, 5) && !is_there(t, &c, 6));
  test_shard_close(t);
}

/* A push to a dead row finds what a new one begins with, in whichever way it comes to it. */
static void a_push_to_a_dead_row_makes_a_new_one(void)
{
  test_client c;
  hr_table_desc desc = mortal(LIFE);
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  push_at(t, &c, 0, 5, 1);
  push_at(t, &c, 10, 5, 8);
  CHECK(test_pull_value(t, &c, 0, 5) == -8 && t->replies[0].message.sections[0].clocks[0] == 1);
  CHECK(expired(t) == 1 && row_count(t) == 1);
  desc.admit_count = 2;
  desc.name[0] = 'u';
  CHECK_EQ(test_create(t, &c, &desc), 1);
  for (uint32_t i = 0; i < 4; i++) {
    test_push_row(&c, 1, 5, 1)->header.step = i < 3 ? 10 : 20;
    CHECK_OK(test_ask(t, &c));
  }
  CHECK(test_pull_value(t, &c, 1, 5) == 0); /* it must be admitted anew */
  test_push_row(&c, 1, 5, 16)->header.step = 20;
  CHECK_OK(test_ask(t, &c));
  CHECK(test_pull_value(t, &c, 1, 5) == -16);
  test_shard_close(t);
}

static void the_hand_comes_by_where_nobody_asks(void)
{
  enum { ROWS = 3000 };
  test_client c;
  hr_table_desc desc = mortal(10);
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  for (uint64_t key = 0; key < ROWS; key++)
    push_at(t, &c, 0, key, 1);
  for (uint32_t step = 1; step <= 10; step++)
    tick_at(t, &c, step);
  CHECK_EQ(row_count(t), ROWS);
  uint64_t before = ROWS;
  for (uint32_t step = 11; step < 25; step++) {
    tick_at(t, &c, step);
    CHECK(before - row_count(t) <= 900);
    before = row_count(t);
  }
  CHECK(row_count(t) == 0 && expired(t) == ROWS);
  CHECK_EQ(test_counter(t->shard, "\"rows_in_memory\""), 0);
  test_shard_close(t);
}

static void small_rows_go_and_large_ones_stay(void)
{
  test_client c;
  hr_table_desc desc = mortal(LIFE);
  desc.l2_weight_threshold = 5;
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  push_at(t, &c, 0, 1, 3.5f); /* its norm is 4.95 */
  push_at(t, &c, 0, 2, 3.6f); /* and 5.09 */
  push_at(t, &c, 0, 3, 0);
  CHECK(is_there(t, &c, 1) && is_there(t, &c, 2) && is_there(t, &c, 3)); /* small ones too, at first */
  tick_at(t, &c, 50);
  CHECK(!is_there(t, &c, 1) && is_there(t, &c, 2) && !is_there(t, &c, 3));
  CHECK(expired(t) == 2);
  test_shard_close(t);
}

/* The keys of the reply's gone section, or none. */
static const hr_section *told_gone(const test_shard *t)
{
  const hr_message *m = &t->replies[0].message;
  for (uint32_t i = 0; i < m->section_count; i++)
    if (m->sections[i].kind == HR_SECTION_ANNOUNCE && (m->sections[i].flags & HR_SECTION_GONE))
      return &m->sections[i];
  return NULL;
}

static void who_has_copies_is_told(void)
{
  test_client c;
  hr_table_desc desc = mortal(LIFE);
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  push_at(t, &c, 0, 5, 1);
  push_at(t, &c, 0, 6, 1);
  CHECK(!told_gone(t) && t->replies[0].message.sections[0].key_count == 2);
  tick_at(t, &c, 10);
  const hr_section *gone = told_gone(t);
  CHECK(gone && gone->key_count == 2 && gone->table == 0);
  CHECK_EQ(gone->keys[0] + gone->keys[1], 11);
  CHECK_EQ(t->replies[0].message.section_count, 1); /* their clocks are nothing to anyone now */
  c.announce_seq = t->replies[0].message.header.announce_seq;
  tick_at(t, &c, 10);
  CHECK_EQ(t->replies[0].message.section_count, 0);
  push_at(t, &c, 10, 5, 1); /* in the answer to the push that found it dead, too */
  c.announce_seq = t->replies[0].message.header.announce_seq;
  push_at(t, &c, 20, 5, 1);
  CHECK(told_gone(t) && told_gone(t)->keys[0] == 5 && t->replies[0].message.section_count == 2);
  c.announce_seq = t->replies[0].message.header.announce_seq;
  tick_at(t, &c, 24); /* a row that was read is told of at the latest with what its reader is told anyway */
  CHECK_EQ(told_gone(t)->key_count, 1);
  test_shard_close(t);
}

static void those_used_least_make_room(void)
{
  enum { ROWS = 12 };
  for (int is_lfu = 0; is_lfu < 2; is_lfu++) {
    test_client c;
    hr_table_desc desc = limited(ROWS, is_lfu ? HOTROW_EVICT_LFU : HOTROW_EVICT_LRU);
    test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
    for (uint32_t i = 0; i < ROWS; i++) { /* key 0 is the oldest and has had most pushes */
      push_at(t, &c, i, i, 1);
      for (uint32_t k = i; k < ROWS; k++)
        push_at(t, &c, i, i, 1);
    }
    c.announce_seq = t->replies[0].message.header.announce_seq;
    for (uint64_t i = 0; i < 3; i++) {
      push_at(t, &c, ROWS, 100 + i, 1);
      for (uint32_t k = 0; k < 20; k++)
        push_at(t, &c, ROWS, 100 + i, 1);
      CHECK_EQ(row_count(t), ROWS);
      CHECK(is_there(t, &c, 100 + i));
    }
    for (uint64_t key = 0; key < ROWS; key++)
      CHECK_EQ(is_there(t, &c, key), is_lfu ? key < ROWS - 3 : key >= 3);
    CHECK(expired(t) == 3 && told_gone(t)->key_count == 3);
    CHECK(test_pull_value(t, &c, 0, is_lfu ? 0 : 11) == (is_lfu ? -13 : -2)); /* rows that moved are themselves */
    test_shard_close(t);
  }
}

static void rows_of_the_request_in_hand_stay(void)
{
  enum { ROWS = 8 };
  test_client c;
  hr_table_desc desc = limited(ROWS, HOTROW_EVICT_LRU);
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  uint64_t keys[ROWS + 1];
  float grads[(ROWS + 1) * TEST_DIM] = {0};
  for (uint64_t i = 0; i <= ROWS; i++)
    keys[i] = i;
  for (uint32_t i = 0; i < ROWS; i++)
    push_at(t, &c, 10 * i, i, 1);
  uint64_t mixed[] = {0, 1, 2, 3, 100, 101, 102, 103}; /* the oldest are asked for and need new ones beside them */
  hr_message *m = test_begin(&c, HR_OP_PUSH);
  m->header.step = 100;
  test_add_push(m, 0, mixed, grads, 8);
  CHECK_OK(test_ask(t, &c));
  for (uint32_t i = 0; i < 8; i++)
    CHECK(is_there(t, &c, mixed[i]));
  CHECK(expired(t) == 4 && test_pull_value(t, &c, 0, 2) == -1);
  test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, ROWS);
  CHECK_OK(test_ask(t, &c));
  test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, ROWS + 1);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_LIMIT, "9 keys in one request, row_count_max 8 leaves this shard 8");
  test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys, grads, ROWS + 1);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_LIMIT, "9 keys in one request");
  CHECK_EQ(row_count(t), ROWS);
  test_shard_close(t);
}

static void each_shard_has_its_part(void)
{
  hr_table_desc desc = limited(10, HOTROW_EVICT_LRU);
  hr_table *table;
  uint64_t key = 0;
  uint32_t row, clock;
  CHECK_OK(hr_table_create(&desc, 0, &table));
  hr_table_set_owner(table, 1, 4);
  for (int made = 0; made < 5; key++) {
    if (hr_shard_of(hr_key_hash(key, hr_table_get_seed(table)), 4) != 1)
      continue;
    CHECK_OK(hr_table_make_room(table, &key, 1));
    CHECK_OK(hr_table_find_or_create(table, &key, 1, &row, &clock));
    made++;
  }
  CHECK_EQ(hr_table_get_desc(table)->row_count, 3); /* a fourth of 10, rounded up */
  hr_table_destroy(table);
}

/* ---- time ---- */

static uint32_t now(const test_shard *t)
{
  return hr_table_get_desc(hr_shard_table(t->shard, 0))->step;
}

static void steps_are_those_of_jobs(void)
{
  test_client c;
  hr_table_desc desc = mortal(LIFE);
  test_shard *t = start(&(hr_shard_options){.shard_count = 1}, &desc, &c);
  test_client second = test_worker(2, 8, 0, 2, 100), third = test_worker(3, 8, 1, 2, 100), reader = test_reader(4);
  test_greet(t, &second);
  test_greet(t, &third);
  test_greet(t, &reader);
  tick_at(t, &c, 1000000); /* a job that goes on somewhere has made no steps yet */
  CHECK_EQ(now(t), 0);
  tick_at(t, &c, 1000003);
  CHECK_EQ(now(t), 3);
  tick_at(t, &c, 1000001); /* another rank is behind */
  tick_at(t, &c, 1000003);
  tick_at(t, &reader, 5000000);
  CHECK_EQ(now(t), 3);
  tick_at(t, &second, UINT32_MAX - 1); /* of another job; and steps wrap */
  tick_at(t, &third, 2);
  tick_at(t, &second, 1);
  CHECK_EQ(now(t), 7);
  hr_table_desc eternal = test_desc("e");
  test_create(t, &c, &eternal);
  tick_at(t, &c, 1000004);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(t->shard, 1))->step, 0); /* it needs no time */
  test_shard_close(t);
}

/* In an exact job a step is over when it is applied, however early a rank comes. */
static void exact_steps_count_when_they_are_applied(void)
{
  hr_table_desc desc = mortal(LIFE);
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  test_client ranks[] = {test_worker(1, 7, 0, 2, 100), test_worker(2, 7, 1, 2, 100)};
  test_greet(t, &ranks[0]);
  test_greet(t, &ranks[1]);
  test_create(t, &ranks[0], &desc);
  for (uint32_t step = 0; step < 9; step++) {
    for (uint32_t r = 2; r-- > 0;) {
      hr_message *m = test_push_row(&ranks[r], 0, step == 0 || step == 8 ? 5 : 6, 1);
      m->header.flags = HR_FLAG_SYNC;
      m->header.step = step;
      test_clear(t);
      test_send(t, &ranks[r]);
      CHECK_EQ(now(t), r == 0 ? step + 1 : step);
    }
  }
  CHECK(expired(t) == 1);
  CHECK(test_pull_value(t, &ranks[0], 0, 5) == -2 && test_pull_value(t, &ranks[0], 0, 6) == -14);
  test_shard_close(t);
}

/* ---- cuts ---- */

static void cut(test_storage *storage, test_shard *t)
{
  uint64_t number;
  CHECK_OK(hr_shard_cut(t->shard, &number));
  test_storage_commit(storage, t->shard);
}

static test_shard *start_durable(test_storage *storage, uint64_t epoch)
{
  hr_shard_options options = {
      .shard_count = 1, .storage = &storage->calls, .epoch = epoch, .cut_turn_bytes = TURN_BYTES};
  return test_shard_open(&options);
}

static bool is_stored(const test_storage *storage, uint64_t key)
{
  for (size_t i = 0; i < storage->safe.row_count; i++)
    if (storage->safe.rows[i].key == key)
      return true;
  return false;
}

static void what_is_deleted_stays_deleted(void)
{
  test_storage *storage = test_storage_open();
  test_shard *t = start_durable(storage, 1);
  test_client c = test_worker(1, 7, 0, 1, 100);
  hr_table_desc desc = mortal(LIFE);
  test_greet(t, &c);
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(t, &c);
  test_storage_commit(storage, t->shard);
  for (uint64_t key = 0; key < 6; key++)
    push_at(t, &c, 0, key, 1);
  cut(storage, t);
  CHECK(is_stored(storage, 0) && storage->safe.row_count == 6);
  push_at(t, &c, 2, 9, 1);   /* made and gone between two cuts */
  push_at(t, &c, 2, 0, 1);   /* changed, then gone */
  push_at(t, &c, 30, 1, 16); /* gone, and made anew */
  tick_at(t, &c, 31);
  CHECK_EQ(row_count(t), 1);
  test_shard_close(t); /* none of which was in a cut */
  t = start_durable(storage, 2);
  test_storage_restore(storage, t->shard, 1);
  test_greet(t, &c);
  c.push_seq = 6;
  CHECK(row_count(t) == 6 && now(t) == 0);
  push_at(t, &c, 2, 9, 1);
  push_at(t, &c, 2, 0, 1);
  push_at(t, &c, 30, 1, 16);
  tick_at(t, &c, 31); /* and again they go */
  CHECK_EQ(row_count(t), 1);
  cut(storage, t);
  CHECK(storage->safe.row_count == 1 && is_stored(storage, 1) && storage->safe.tables[0].row_count == 1);
  test_shard_close(t);
  t = start_durable(storage, 3);
  test_storage_restore(storage, t->shard, 1);
  test_greet(t, &c);
  CHECK(row_count(t) == 1 && now(t) == 29 && test_pull_value(t, &c, 0, 1) == -16);
  CHECK(!is_there(t, &c, 0));
  tick_at(t, &c, 100);
  tick_at(t, &c, 100 + LIFE + 1); /* its age is as it was */
  CHECK(!is_there(t, &c, 1));
  test_shard_close(t);
  free(storage);
}

/* A cut that fails is as if it had not been tried. */
static void a_failed_cut_forgets_no_deletion(void)
{
  test_storage *storage = test_storage_open();
  test_shard *t = start_durable(storage, 1);
  test_client c = test_worker(1, 7, 0, 1, 100);
  hr_table_desc desc = mortal(LIFE);
  uint64_t number;
  test_greet(t, &c);
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(t, &c);
  test_storage_commit(storage, t->shard);
  for (uint64_t key = 0; key < 3; key++)
    push_at(t, &c, 0, key, 1);
  cut(storage, t);
  tick_at(t, &c, 30);
  for (size_t calls = 1; calls <= 6; calls++) { /* begin, table, three rows, session */
    storage->calls_left = calls;
    CHECK_FAILS(test_cut(t->shard, &number), HOTROW_ERR_STORAGE, "the disk is full");
  }
  storage->calls_left = 0;
  cut(storage, t);
  CHECK(storage->safe.row_count == 0 && storage->safe.tables[0].row_count == 0);
  test_shard_close(t);
  free(storage);
}

/* ---- at random, against a plain model ---- */

#define KEYS 60u
typedef struct model_row {
  bool is_there;
  uint32_t clock, pushed_at;
  float value;
} model_row;

typedef struct model {
  model_row rows[KEYS];
  uint32_t now;
} model;

static bool is_alive(const model *m, uint32_t key)
{
  return m->rows[key].is_there && m->now - m->rows[key].pushed_at <= LIFE;
}

static void model_push(model *m, uint32_t key)
{
  model_row *row = &m->rows[key];
  if (!is_alive(m, key))
    *row = (model_row){.is_there = true};
  row->value -= 1;
  row->clock++;
  row->pushed_at = m->now;
}

static void check_model(test_shard *t, test_client *c, const model *m)
{
  uint64_t keys[KEYS];
  for (uint32_t key = 0; key < KEYS; key++)
    keys[key] = key;
  hr_message *message = test_begin(c, HR_OP_PULL);
  message->header.flags = HR_FLAG_READ_ONLY;
  test_add_pull(message, 0, keys, KEYS);
  CHECK_OK(test_ask(t, c));
  const hr_section *got = &t->replies[0].message.sections[0];
  uint64_t alive = 0;
  for (uint32_t key = 0; key < KEYS; key++) {
    bool is_found = got->found[key / 8] >> key % 8 & 1;
    alive += is_found;
    CHECK_MSG(is_found == is_alive(m, key), "key %u, pushed to at %u, now is %u: found %d", key, m->rows[key].pushed_at,
              m->now, is_found);
    CHECK(!is_found || (got->clocks[key] == m->rows[key].clock && got->values[key * TEST_DIM] == m->rows[key].value));
  }
  CHECK_EQ(row_count(t), alive); /* all were asked for */
}

static void pushes_cuts_and_deaths_at_random(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (int run = 0; run < 60; run++) {
    test_storage *storage = test_storage_open();
    uint64_t epoch = 1, cut_seq = 0, seq = 0;
    static model present, in_cut, safe;
    memset(&present, 0, sizeof present);
    in_cut = safe = present;
    test_shard *t = start_durable(storage, epoch);
    test_client c = test_worker(1, 7, 0, 1, 100);
    hr_table_desc desc = mortal(LIFE);
    test_greet(t, &c);
    test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
    test_send(t, &c);
    test_storage_commit(storage, t->shard);
    uint32_t step = 0;
    uint64_t number;
    tick_at(t, &c, step);
    for (int event = 0; event < 200; event++) {
      uint64_t what = hr_rng_below(&rng, 20), ahead = hr_rng_below(&rng, 3);
      if (what < 14) {
        uint32_t key = (uint32_t)hr_rng_below(&rng, KEYS);
        step += ahead == 2;
        present.now += ahead == 2;
        push_at(t, &c, step, key, 1);
        model_push(&present, key);
        seq++;
      } else if (what < 16) {
        check_model(t, &c, &present);
      } else if (what < 18) {
        if (storage->is_whole) {
          test_storage_commit(storage, t->shard);
          safe = in_cut;
          cut_seq = number;
        } else if (hr_shard_is_copying(t->shard)) {
          CHECK_OK(hr_shard_copy(t->shard));
        } else {
          CHECK_OK(hr_shard_cut(t->shard, &number));
          number = seq;
          in_cut = present;
        }
      } else if (what == 18 && hr_rng_below(&rng, 3) == 0) {
        test_shard_close(t);
        t = start_durable(storage, ++epoch);
        test_storage_restore(storage, t->shard, 1);
        test_greet(t, &c);
        c.push_seq = seq = cut_seq;
        present = in_cut = safe;
        step = present.now;
        tick_at(t, &c, step); /* from where it counts on */
        check_model(t, &c, &present);
      }
    }
    check_model(t, &c, &present);
    test_shard_close(t);
    free(storage);
  }
}

int main(void)
{
  RUN(refusals);
  RUN(a_row_left_alone_goes_and_begins_anew);
  RUN(a_push_to_a_dead_row_makes_a_new_one);
  RUN(the_hand_comes_by_where_nobody_asks);
  RUN(small_rows_go_and_large_ones_stay);
  RUN(who_has_copies_is_told);
  RUN(those_used_least_make_room);
  RUN(rows_of_the_request_in_hand_stay);
  RUN(each_shard_has_its_part);
  RUN(steps_are_those_of_jobs);
  RUN(exact_steps_count_when_they_are_applied);
  RUN(what_is_deleted_stays_deleted);
  RUN(a_failed_cut_forgets_no_deletion);
  RUN(pushes_cuts_and_deaths_at_random);
  return 0;
}
