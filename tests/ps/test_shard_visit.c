/* The hand that looks for dead rows among those that only the storage has: it finds them all and no others, whatever
 * happens while its rows are read. */
#include <hr/random.h>

#include "shard_state.h"
#include "storage_test.h"

#define MUCH ((size_t)1 << 40)
#define LIFE 3u
#define KEYS 300u
#define LONG_LIFE 40u    /* enough to be in a cut and leave memory */
#define TURN_BYTES 3000u /* of a cut: a few rows */

static test_storage *disk;

static uint64_t row_count(const test_shard *t)
{
  return hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count;
}

static void cut(test_shard *t)
{
  uint64_t number;
  CHECK_OK(test_cut(t->shard, &number));
  test_storage_commit(disk, t->shard);
}

static void forget_all(test_shard *t)
{
  hr_table_evict(hr_shard_table(t->shard, 0), UINT64_MAX);
  CHECK_EQ(hr_table_resident_count(hr_shard_table(t->shard, 0)), 0);
}

static test_shard *begin(test_client *c, uint32_t steps_to_live)
{
  hr_table_desc desc = test_desc("t"), answer;
  desc.steps_to_live = steps_to_live;
  test_shard *t = test_shard_open(&(hr_shard_options){
      .storage = &disk->calls, .memory_bytes = MUCH, .row_count_max = 1u << 20, .cut_turn_bytes = TURN_BYTES});
  *c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, c);
  test_clear(t);
  test_body(c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(t, c);
  CHECK_OK(test_copy(t->shard));
  test_storage_commit(disk, t->shard);
  memcpy(&answer, test_one_reply(t)->message.body, sizeof answer);
  CHECK_EQ(answer.id, 0);
  return t;
}

static void send_push(test_shard *t, test_client *c, uint32_t step, uint64_t key)
{
  test_clear(t);
  test_push_row(c, 0, key, 1.0f)->header.step = step;
  test_send(t, c);
}

static void push_at(test_shard *t, test_client *c, uint32_t step, uint64_t key)
{
  send_push(t, c, step, key);
  CHECK_OK(test_status(&test_one_reply(t)->message));
}

static void tick_at(test_shard *t, test_client *c, uint32_t step)
{
  test_begin(c, HR_OP_TICK)->header.step = step;
  CHECK_OK(test_ask(t, c));
}

/* A table of ten rows that were pushed to at step 1, in the storage and not in memory. */
static test_shard *open_scene(test_client *c, uint32_t steps_to_live)
{
  disk = test_storage_open();
  test_storage_let_read(disk);
  test_shard *t = begin(c, steps_to_live);
  for (uint64_t key = 0; key < 10; key++)
    push_at(t, c, 1, key);
  cut(t);
  forget_all(t);
  return t;
}

static void close_scene(test_shard *t)
{
  CHECK_EQ(disk->waited_for, 0);
  test_shard_close(t);
  test_storage_close(disk);
}

static void dead_rows_go_when_they_have_been_read(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  tick_at(t, &c, 2);
  CHECK(disk->asked_count == 1 && disk->asked[0]->is_visit);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 10); /* they live */
  for (uint32_t step = 3; step < 10; step++)
    tick_at(t, &c, step);
  CHECK(disk->asked_count == 1 && row_count(t) == 10); /* one visit at a time */
  test_storage_bring_all(disk, t);
  CHECK(row_count(t) == 0 && test_counter(t->shard, "\"rows_expired\"") == 10);
  cut(t);
  CHECK_EQ(disk->safe.row_count, 0);
  tick_at(t, &c, 10);
  CHECK_EQ(disk->asked_count, 0); /* there is nothing to look for */
  close_scene(t);
}

/* The row is in the cut that is under way when the hand asks. It is read as it was before; then the cut is durable, and
 * the row leaves. */
static void a_row_of_the_cut_under_way_is_not_what_was_read(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  uint64_t number;
  send_push(t, &c, 3, 5);
  test_storage_bring_all(disk, t);
  CHECK_OK(test_cut(t->shard, &number));
  tick_at(t, &c, 5); /* the other nine are dead by now */
  CHECK_EQ(disk->asked_count, 1);
  test_storage_run(disk, 0);
  test_storage_commit(disk, t->shard);
  forget_all(t);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 10); /* what was read counts for nothing */
  tick_at(t, &c, 6);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 1);
  close_scene(t);
}

/* The same with a cut that begins and ends while the visit is on its way. */
static void a_cut_makes_a_visit_old(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  tick_at(t, &c, 2);
  test_storage_run(disk, 0);
  send_push(t, &c, 4, 5);
  test_storage_bring(disk, t, 1);
  CHECK_OK(test_status(&test_one_reply(t)->message));
  cut(t);
  forget_all(t);
  tick_at(t, &c, 5);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 10);
  tick_at(t, &c, 6);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 1);
  close_scene(t);
}

/* While dead rows are on their way one is found dead by who asks for it, and one is made anew. */
static void rows_that_went_or_came_meanwhile_are_left_alone(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  tick_at(t, &c, 5);
  test_storage_run(disk, 0);
  uint64_t key = 3;
  test_clear(t);
  hr_message *m = test_begin(&c, HR_OP_PULL);
  m->header.flags = HR_FLAG_READ_ONLY;
  test_add_pull(m, 0, &key, 1);
  test_send(t, &c);
  test_storage_bring(disk, t, 1);
  CHECK_EQ(test_one_reply(t)->message.sections[0].found[0] & 1, 0);
  CHECK_EQ(row_count(t), 9);
  send_push(t, &c, 5, 4);
  test_storage_bring(disk, t, 1);
  CHECK_OK(test_status(&test_one_reply(t)->message));
  CHECK_EQ(row_count(t), 9);
  test_storage_bring_all(disk, t);
  CHECK(row_count(t) == 1 && test_pull_value(t, &c, 0, 4) == -1.0f);
  CHECK_EQ(test_counter(t->shard, "\"rows_expired\""), 10);
  cut(t);
  CHECK(disk->safe.row_count == 1 && disk->safe.rows[0].key == 4);
  close_scene(t);
}

static void what_cannot_be_read_stays(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  disk->fails = true;
  for (uint32_t step = 5; step < 8; step++) {
    tick_at(t, &c, step);
    CHECK_EQ(disk->asked_count, 1);
    test_storage_bring_all(disk, t);
    CHECK_EQ(row_count(t), 10);
  }
  disk->fails = false;
  tick_at(t, &c, 8);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 0);
  close_scene(t);
}

static void a_storage_that_has_failed_is_not_looked_through(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  tick_at(t, &c, 5);
  hr_fail(HOTROW_ERR_STORAGE, "the disk is gone");
  hr_shard_degrade(t->shard);
  test_storage_bring_all(disk, t);
  CHECK_EQ(row_count(t), 10);
  tick_at(t, &c, 6);
  CHECK_EQ(disk->asked_count, 0);
  close_scene(t);
}

static void it_may_end_with_a_visit_on_its_way(void)
{
  test_client c;
  test_shard *t = open_scene(&c, LIFE);
  tick_at(t, &c, 5);
  test_storage_run(disk, 0);
  CHECK_EQ(disk->asked_count, 1);
  close_scene(t);
}

/* The shard's thread reads itself. */
static void a_storage_without_a_reader_is_looked_through_too(void)
{
  test_client c;
  disk = test_storage_open();
  test_storage_let_read(disk);
  disk->calls.ask_rows = NULL;
  test_shard *t = begin(&c, LIFE);
  for (uint64_t key = 0; key < 10; key++)
    push_at(t, &c, key < 5 ? 1 : 3, key);
  cut(t);
  forget_all(t);
  tick_at(t, &c, 5);
  CHECK(row_count(t) == 5 && disk->waited_for == 1);
  disk->waited_for = 0;
  close_scene(t);
}

/* ---- at random ---- */

/* What a table without a storage would have. */
typedef struct model_row {
  bool is_there;
  uint32_t pushed_at;
  float value;
} model_row;

typedef struct scene {
  test_shard *t;
  test_client c;
  hr_rng rng;
  uint32_t step;
  model_row rows[KEYS];
  uint64_t visits; /* by which rows went */
} scene;

static bool is_alive(const scene *s, uint32_t key)
{
  return s->rows[key].is_there && s->step - s->rows[key].pushed_at <= LONG_LIFE;
}

/* Any read that was asked for comes, be it read now or as it was when it was asked for. */
static void bring_any(scene *s)
{
  if (disk->asked_count == 0)
    return;
  size_t i = hr_rng_below(&s->rng, disk->asked_count);
  bool is_visit = disk->asked[i]->is_visit;
  uint64_t before = row_count(s->t);
  test_storage_bring(disk, s->t, i);
  s->visits += is_visit && row_count(s->t) < before;
}

static void do_of_the_storage(scene *s)
{
  uint64_t number;
  switch (hr_rng_below(&s->rng, 6)) {
  case 0:
    if (hr_shard_is_copying(s->t->shard))
      CHECK_OK(hr_shard_copy(s->t->shard));
    else if (disk->is_whole)
      test_storage_commit(disk, s->t->shard);
    else
      CHECK_OK(hr_shard_cut(s->t->shard, &number));
    break;
  case 1:
    hr_table_evict(hr_shard_table(s->t->shard, 0), 1 + hr_rng_below(&s->rng, KEYS));
    break;
  case 2:
    if (disk->asked_count > 0)
      test_storage_run(disk, hr_rng_below(&s->rng, disk->asked_count));
    break;
  default:
    bring_any(s);
  }
}

/* Its answer, which may have to wait for rows, while the storage goes on. */
static const hr_message *answer(scene *s)
{
  test_clear(s->t);
  test_send(s->t, &s->c);
  while (s->t->reply_count == 0)
    do_of_the_storage(s);
  CHECK_OK(test_status(&test_one_reply(s->t)->message));
  return &test_one_reply(s->t)->message;
}

static void push_any(scene *s)
{
  uint32_t key = (uint32_t)hr_rng_below(&s->rng, KEYS);
  test_push_row(&s->c, 0, key, 1.0f)->header.step = s->step;
  answer(s);
  model_row *row = &s->rows[key];
  *row = (model_row){true, s->step, is_alive(s, key) ? row->value - 1.0f : -1.0f};
}

static void pull_any(scene *s)
{
  uint32_t key = (uint32_t)hr_rng_below(&s->rng, KEYS);
  uint64_t pulled = key;
  hr_message *m = test_begin(&s->c, HR_OP_PULL);
  m->header.flags = HR_FLAG_READ_ONLY;
  test_add_pull(m, 0, &pulled, 1);
  const hr_section *got = &answer(s)->sections[0];
  CHECK_EQ(got->found[0] & 1, is_alive(s, key));
  CHECK(got->values[0] == (is_alive(s, key) ? s->rows[key].value : 0.0f));
}

static uint64_t alive_count(const scene *s)
{
  uint64_t count = 0;
  for (uint32_t key = 0; key < KEYS; key++)
    count += is_alive(s, key);
  return count;
}

static void step_on(scene *s)
{
  test_begin(&s->c, HR_OP_TICK)->header.step = ++s->step;
  answer(s);
}

static void only_steps_say_which_rows_there_are(void)
{
  scene s = {.rng = {hr_test_seed(1)}, .step = 1};
  disk = test_storage_open();
  test_storage_let_read(disk);
  s.t = begin(&s.c, LONG_LIFE);
  for (uint32_t i = 0; i < 20000; i++) {
    switch (hr_rng_below(&s.rng, 8)) {
    case 0:
    case 1:
      push_any(&s);
      break;
    case 2:
      pull_any(&s);
      break;
    case 3:
      step_on(&s);
      break;
    default:
      do_of_the_storage(&s);
    }
    CHECK(row_count(s.t) >= alive_count(&s));
  }
  CHECK_MSG(s.visits > 100, "%llu visits found dead rows", (unsigned long long)s.visits);
  for (uint32_t i = 0; i <= LONG_LIFE + KEYS / HR_SWEEP_STORED_ROWS_MIN + 1;
       i++) { /* all die, and a round of the hand */
    step_on(&s);
    test_storage_bring_all(disk, s.t);
  }
  CHECK_EQ(row_count(s.t), 0);
  test_copy(s.t->shard);
  if (disk->is_whole)
    test_storage_commit(disk, s.t->shard);
  cut(s.t);
  CHECK_EQ(disk->safe.row_count, 0);
  close_scene(s.t);
}

int main(void)
{
  RUN(dead_rows_go_when_they_have_been_read);
  RUN(a_row_of_the_cut_under_way_is_not_what_was_read);
  RUN(a_cut_makes_a_visit_old);
  RUN(rows_that_went_or_came_meanwhile_are_left_alone);
  RUN(what_cannot_be_read_stays);
  RUN(a_storage_that_has_failed_is_not_looked_through);
  RUN(it_may_end_with_a_visit_on_its_way);
  RUN(a_storage_without_a_reader_is_looked_through_too);
  RUN(only_steps_say_which_rows_there_are);
  return 0;
}
