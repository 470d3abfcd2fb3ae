/* Exact steps, restarts of a job, barriers. */
#include "shard_test.h"

#include <math.h>

#include <hr/random.h>

#define RANKS 3u

/* (0 - 1e8) - 1 + 1e8 is 0 in float, and 0 - 1e8 + 1e8 - 1 is -1: the sum tells the order. */
static const float order_grads[RANKS] = {1e8f, 1.0f, -1e8f};

typedef struct job {
  test_shard *t;
  test_client ranks[RANKS];
  uint32_t table;
} job;

static job open_job(const hr_shard_options *options, uint64_t session_first, uint64_t started_ns)
{
  job j = {.t = test_shard_open(options)};
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    j.ranks[rank] = test_worker(session_first + rank, 7, rank, RANKS, started_ns);
    test_greet(j.t, &j.ranks[rank]);
  }
  j.table = test_create_table(j.t, &j.ranks[0], "t");
  test_clear(j.t);
  return j;
}

static hr_message *step_push(job *j, uint32_t rank, uint32_t step, uint64_t key, float grad)
{
  hr_message *m = test_push_row(&j->ranks[rank], j->table, key, grad);
  m->header.flags = HR_FLAG_SYNC;
  m->header.step = step;
  return m;
}

static void send_step_push(job *j, uint32_t rank, uint32_t step, uint64_t key, float grad)
{
  step_push(j, rank, step, key, grad);
  test_send(j->t, &j->ranks[rank]);
}

static void send_step_pull(job *j, uint32_t rank, uint32_t step, uint64_t key)
{
  static uint64_t keys[1];
  keys[0] = key;
  hr_message *m = test_begin(&j->ranks[rank], HR_OP_PULL);
  test_add_pull(m, j->table, keys, 1);
  m->header.flags = HR_FLAG_SYNC;
  m->header.step = step;
  test_send(j->t, &j->ranks[rank]);
}

static void pushes_are_applied_in_rank_order(void)
{
  static const uint32_t orders[6][RANKS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  volatile float other = 0.0f;
  for (uint32_t i = 0; i < RANKS; i++)
    other = other - order_grads[orders[1][i]];
  CHECK(other == -1.0f); /* what another order would give */
  for (size_t o = 0; o < 6; o++) {
    job j = open_job(NULL, 1, 100);
    for (uint32_t i = 0; i < RANKS; i++) {
      CHECK_EQ(j.t->reply_count, 0);
      send_step_push(&j, orders[o][i], 0, 5, order_grads[orders[o][i]]);
    }
    CHECK_EQ(j.t->reply_count, RANKS);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
      const test_reply *ack = test_reply_to(j.t, &j.ranks[rank]);
      CHECK(ack && ack->message.header.applied_seq == 1 && ack->message.header.op == HR_OP_PUSH);
      CHECK_OK(test_status(&ack->message));
    }
    CHECK_EQ(test_counter(j.t->shard, "\"held_bytes\""), 0);
    CHECK(test_pull_value(j.t, &j.ranks[0], j.table, 5) == 0.0f);
    test_shard_close(j.t);
  }
}

/* Random arrival over many steps, pulls in between, against the ranks played in turn. */
static void arrival_order_leaves_no_trace(void)
{
  hr_rng rng = {hr_test_seed(3)};
  enum { STEPS = 40, KEYS = 4 };
  float model[STEPS + 1][KEYS] = {{0}}, grads[STEPS][RANKS];
  for (uint32_t step = 0; step < STEPS; step++) {
    memcpy(model[step + 1], model[step], sizeof model[step]);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
      grads[step][rank] = (hr_rng_unit(&rng) - 0.5f) * 1e6f;
      model[step + 1][(step + rank * rank) % KEYS] -= grads[step][rank];
    }
  }
  job j = open_job(NULL, 1, 100);
  uint32_t step_of[RANKS] = {0}; /* the step whose pull comes next */
  bool is_waiting[RANKS] = {false};
  for (uint32_t done = 0; done < RANKS;) {
    uint32_t rank = (uint32_t)hr_rng_below(&rng, RANKS), step = step_of[rank];
    if (is_waiting[rank] || step > STEPS)
      continue;
    if (step > 0)
      send_step_push(&j, rank, step - 1, (step - 1 + rank * rank) % KEYS, grads[step - 1][rank]);
    send_step_pull(&j, rank, step, step % KEYS);
    is_waiting[rank] = true;
    for (size_t i = 0; i < j.t->reply_count; i++) {
      const hr_message *reply = &j.t->replies[i].message;
      CHECK_OK(test_status(reply));
      if (reply->header.op != HR_OP_PULL)
        continue;
      uint32_t got = reply->header.rank;
      CHECK_EQ(reply->header.step, step_of[got]);
      CHECK(reply->sections[0].values[0] == model[step_of[got]][step_of[got] % KEYS]);
      is_waiting[got] = false;
      done += step_of[got]++ == STEPS;
    }
    test_clear(j.t);
  }
  CHECK(test_counter(j.t->shard, "\"pulls_held\"") > STEPS);
  CHECK_EQ(test_counter(j.t->shard, "\"held_bytes\""), 0);
  test_shard_close(j.t);
}

static void repeats_of_a_waiting_push(void)
{
  job j = open_job(NULL, 1, 100);
  send_step_push(&j, 0, 0, 5, 1.0f);
  test_client *c = &j.ranks[0];
  c->route.bytes[7] = 0xaa; /* it has a new connection */
  c->message.header.request_id = 77;
  test_send(j.t, c);
  test_send(j.t, c);
  CHECK_EQ(j.t->reply_count, 0);
  send_step_push(&j, 1, 0, 5, 1.0f);
  send_step_push(&j, 2, 0, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, RANKS);
  const test_reply *ack = test_reply_to(j.t, c);
  CHECK(ack && ack->message.header.request_id == 77);
  CHECK_OK(test_ask(j.t, c)); /* and once more, now that it is applied */
  CHECK_EQ(j.t->replies[0].message.header.applied_seq, 1);
  CHECK(test_pull_value(j.t, c, j.table, 5) == -3.0f);
  test_shard_close(j.t);
}

static void plain_push_does_not_wait_for_the_step(void)
{
  job j = open_job(NULL, 1, 100);
  send_step_push(&j, 0, 0, 5, 1.0f);
  test_push_row(&j.ranks[0], j.table, 6, 1.0f);
  CHECK_OK(test_ask(j.t, &j.ranks[0]));
  CHECK_EQ(j.t->replies[0].message.header.applied_seq, 0); /* push 1 is not applied yet */
  CHECK(test_pull_value(j.t, &j.ranks[0], j.table, 6) == -1.0f);
  test_clear(j.t);
  send_step_push(&j, 1, 0, 5, 1.0f);
  send_step_push(&j, 2, 0, 5, 1.0f);
  CHECK_EQ(test_reply_to(j.t, &j.ranks[0])->message.header.applied_seq, 2);
  test_shard_close(j.t);
}

static void rank_may_be_a_window_ahead(void)
{
  job j = open_job(NULL, 1, 100);
  for (uint32_t step = 0; step < HR_PUSH_WINDOW; step++)
    send_step_push(&j, 0, step, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, 0);
  step_push(&j, 0, HR_PUSH_WINDOW, 5, 1.0f);
  CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_PROTOCOL, "wait for their steps");
  CHECK_EQ(j.t->replies[0].message.header.applied_seq, 0);
  test_clear(j.t);
  for (uint32_t step = 0; step < HR_PUSH_WINDOW; step++)
    for (uint32_t rank = 1; rank < RANKS; rank++)
      send_step_push(&j, rank, step, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, RANKS * HR_PUSH_WINDOW);
  CHECK(test_pull_value(j.t, &j.ranks[1], j.table, 5) == -(float)(RANKS * HR_PUSH_WINDOW));
  test_clear(j.t);
  test_send(j.t, &j.ranks[0]); /* what was refused was not taken: now it is */
  send_step_push(&j, 1, HR_PUSH_WINDOW, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, 0);
  send_step_push(&j, 2, HR_PUSH_WINDOW, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, RANKS);
  test_shard_close(j.t);
}

static void refused_pushes_let_the_step_go_on(void)
{
  job j = open_job(NULL, 1, 100);
  step_push(&j, 1, 1, 5, 1.0f);
  CHECK_FAILS(test_ask(j.t, &j.ranks[1]), HOTROW_ERR_PROTOCOL, "pushes step 1, and its next is step 0");
  step_push(&j, 1, 0, 5, NAN);
  CHECK_FAILS(test_ask(j.t, &j.ranks[1]), HOTROW_ERR_INVALID, "key 5");
  CHECK_FAILS(test_ask(j.t, &j.ranks[1]), HOTROW_ERR_INVALID, "key 5");
  test_clear(j.t);
  send_step_push(&j, 0, 0, 5, 1.0f);
  send_step_push(&j, 2, 0, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, 2);
  CHECK(test_pull_value(j.t, &j.ranks[0], j.table, 5) == -2.0f);
  step_push(&j, 0, 0, 5, 1.0f);
  CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_PROTOCOL, "its next is step 1");
  test_clear(j.t);
  send_step_push(&j, 0, 1, 5, 1.0f);
  send_step_push(&j, 1, 1, 5, 1.0f);
  step_push(&j, 2, 1, 5, INFINITY); /* the last of its step is refused */
  test_send(j.t, &j.ranks[2]);
  CHECK_EQ(j.t->reply_count, 3);
  CHECK(test_pull_value(j.t, &j.ranks[0], j.table, 5) == -4.0f);
  test_shard_close(j.t);
}

/* Refused pushes are not kept, so it is not the window of waiting pushes that stops a rank which runs ahead with them.
 */
static void refused_pushes_do_not_run_ahead(void)
{
  job j = open_job(NULL, 1, 100);
  for (uint32_t step = 0; step < HR_PUSH_WINDOW; step++) {
    step_push(&j, 0, step, 5, NAN);
    CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_INVALID, "key 5");
  }
  for (int again = 0; again < 2; again++) {
    step_push(&j, 0, HR_PUSH_WINDOW, 5, 1.0f);
    CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_PROTOCOL, "step 64, and step 0 has not come yet");
  }
  for (uint32_t rank = 1; rank < RANKS; rank++)
    send_step_push(&j, rank, 0, 5, 1.0f);
  send_step_push(&j, 0, HR_PUSH_WINDOW, 5, 1.0f); /* now there is room for it */
  CHECK(test_pull_value(j.t, &j.ranks[1], j.table, 5) == -2.0f);
  test_shard_close(j.t);
}

static void table_full_when_the_step_is_applied(void)
{
  job j = open_job(&(hr_shard_options){.row_count_max = 1}, 1, 100);
  send_step_push(&j, 1, 0, 6, 1.0f);
  send_step_push(&j, 2, 0, 5, 1.0f);
  send_step_push(&j, 0, 0, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, RANKS);
  CHECK_FAILS(test_status(&test_reply_to(j.t, &j.ranks[1])->message), HOTROW_ERR_LIMIT, "full");
  CHECK_OK(test_status(&test_reply_to(j.t, &j.ranks[2])->message));
  CHECK(test_pull_value(j.t, &j.ranks[0], j.table, 5) == -2.0f);
  test_shard_close(j.t);
}

static void send_step_push_pull(job *j, uint32_t rank, uint32_t step, uint64_t key, float grad)
{
  static uint64_t keys[RANKS];
  keys[rank] = key;
  hr_message *m = step_push(j, rank, step, key, grad);
  m->header.op = HR_OP_PUSH_PULL;
  test_add_pull(m, j->table, &keys[rank], 1);
  test_send(j->t, &j->ranks[rank]);
}

static void push_pull_has_one_reply(void)
{
  job j = open_job(NULL, 1, 100);
  send_step_push_pull(&j, 2, 0, 5, 1.0f);
  send_step_push_pull(&j, 0, 0, 5, 2.0f);
  test_send(j.t, &j.ranks[0]); /* a repeat: still one reply in the end */
  CHECK_EQ(j.t->reply_count, 0);
  send_step_push_pull(&j, 1, 0, 5, 4.0f);
  CHECK_EQ(j.t->reply_count, RANKS);
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    const test_reply *reply = test_reply_to(j.t, &j.ranks[rank]);
    CHECK(reply && reply->message.header.op == HR_OP_PUSH_PULL && reply->message.header.applied_seq == 1);
    CHECK(reply->message.sections[0].values[0] == -7.0f);
  }
  test_clear(j.t);
  test_send(j.t, &j.ranks[1]); /* applied already: answered at once */
  CHECK(test_one_reply(j.t)->message.sections[0].values[0] == -7.0f);
  test_shard_close(j.t);
}

static void newer_pull_replaces_the_one_that_waits(void)
{
  job j = open_job(NULL, 1, 100);
  send_step_push(&j, 0, 0, 5, 1.0f);
  send_step_pull(&j, 0, 1, 5);
  send_step_pull(&j, 0, 1, 6);
  uint64_t newest = j.ranks[0].request_id;
  send_step_pull(&j, 1, 0, 5); /* of a step that has come: at once, and without what waits */
  CHECK(test_one_reply(j.t)->message.sections[0].values[0] == 0.0f);
  test_clear(j.t);
  send_step_push(&j, 1, 0, 5, 1.0f);
  send_step_push(&j, 2, 0, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, RANKS + 1);
  const test_reply *last = test_reply_to(j.t, &j.ranks[0]);
  CHECK(last->message.header.op == HR_OP_PULL && last->message.header.request_id == newest);
  test_shard_close(j.t);
}

static void one_worker_waits_for_nobody(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t table = test_create_table(t, &c, "t");
  for (uint32_t step = 0; step < 100; step++) {
    hr_message *m = test_push_row(&c, table, 5, 1.0f);
    m->header.flags = HR_FLAG_SYNC;
    m->header.step = step;
    CHECK_OK(test_ask(t, &c));
    m = test_begin(&c, HR_OP_PULL);
    m->header.flags = HR_FLAG_SYNC;
    m->header.step = step + 1;
    CHECK_OK(test_ask(t, &c));
  }
  CHECK(test_pull_value(t, &c, table, 5) == -100.0f);
  test_shard_close(t);
}

static void job_starts_over_once_steps_have_begun(void)
{
  job j = open_job(NULL, 1, 100);
  for (uint32_t rank = 0; rank < RANKS; rank++)
    send_step_push(&j, rank, 0, 5, 1.0f);
  send_step_push(&j, 0, 1, 5, 100.0f); /* lost with its step */
  send_step_pull(&j, 0, 2, 5);
  CHECK(test_counter(j.t->shard, "\"held_bytes\"") > 0);
  job old = j;
  for (uint32_t rank = RANKS; rank-- > 0;) {
    j.ranks[rank] = test_worker(10 + rank, 7, rank, RANKS, 200);
    test_greet(j.t, &j.ranks[rank]);
    test_clear(j.t);
    send_step_push(&j, rank, 0, 5, 1.0f); /* before its mates are here: no reason to start over again */
    CHECK_EQ(j.t->reply_count, rank == 0 ? RANKS : 0);
  }
  CHECK_EQ(test_counter(j.t->shard, "\"held_bytes\""), 0);
  CHECK_EQ(test_counter(j.t->shard, "\"sessions\""), RANKS);
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    test_begin(&old.ranks[rank], HR_OP_STATS);
    CHECK_FAILS(test_ask(j.t, &old.ranks[rank]), HOTROW_ERR_FENCED, "unknown session");
  }
  CHECK(test_pull_value(j.t, &j.ranks[0], j.table, 5) == -6.0f); /* what was applied stays */

  /* A member that had pushed and was replaced takes its push along: the others cannot go on either. */
  test_shard_close(j.t);
  j = open_job(NULL, 1, 100);
  send_step_push(&j, 1, 0, 5, 1.0f);
  test_client again = test_worker(20, 7, 1, RANKS, 101);
  test_greet(j.t, &again);
  test_begin(&j.ranks[0], HR_OP_STATS);
  CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_FENCED, NULL);
  test_shard_close(j.t);
}

/* The job died when one rank had pushed its first step and the others had not: whoever comes back first, none of the
 * new sessions fences another. */
static void job_that_died_in_its_first_step_comes_back(void)
{
  for (uint32_t first = 0; first < RANKS; first++) {
    job j = open_job(NULL, 1, 100);
    send_step_push(&j, 0, 0, 5, 100.0f);
    for (uint32_t i = 0; i < RANKS; i++) {
      uint32_t rank = (first + i) % RANKS;
      j.ranks[rank] = test_worker(10 + rank, 7, rank, RANKS, 200);
      test_greet(j.t, &j.ranks[rank]);
      send_step_push(&j, rank, 0, 5, 1.0f);
    }
    CHECK_EQ(test_counter(j.t->shard, "\"sessions\""), RANKS);
    CHECK(test_pull_value(j.t, &j.ranks[first], j.table, 5) == -3.0f);
    test_shard_close(j.t);
  }
}

static void job_ends_when_all_have_said_bye(void)
{
  job j = open_job(NULL, 1, 100);
  send_step_push(&j, 0, 0, 5, 1.0f);
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    if (rank > 0)
      send_step_push(&j, rank, 0, 5, 1.0f); /* what a rank that has left pushed is applied with its step */
    test_begin(&j.ranks[rank], HR_OP_BYE);
    CHECK_OK(test_ask(j.t, &j.ranks[rank]));
    CHECK_EQ(test_counter(j.t->shard, "\"jobs\""), rank + 1 < RANKS);
  }
  CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_FENCED, "unknown session");
  test_client next = test_worker(9, 7, 0, 1, 1); /* another size, an older start: nobody is left to mind */
  test_greet(j.t, &next);
  CHECK(test_pull_value(j.t, &next, j.table, 5) == -3.0f);
  test_shard_close(j.t);
}

static void what_waits_is_bounded(void)
{
  job j = open_job(&(hr_shard_options){.held_bytes_max = 1200}, 1, 100);
  uint32_t ahead = 0;
  while (test_counter(j.t->shard, "\"busy\"") == 0 && ahead < 10) /* half of the budget */
    send_step_push(&j, 0, ahead++, 5, 1.0f);
  CHECK(ahead > 1 && ahead < 10 && test_counter(j.t->shard, "\"held_bytes\"") <= 1200);
  CHECK_FAILS(test_status(&test_one_reply(j.t)->message), HOTROW_ERR_BUSY, "no room for");
  CHECK(j.t->replies[0].message.header.retry_ms > 0);
  test_clear(j.t);
  send_step_push(&j, 1, 0, 5, 1.0f); /* the step all wait for has the other half */
  CHECK_EQ(test_counter(j.t->shard, "\"busy\""), 1);
  send_step_push(&j, 2, 0, 5, 1.0f);
  CHECK_EQ(j.t->reply_count, RANKS);
  test_send(j.t, &j.ranks[0]); /* again: there is room now */
  CHECK_EQ(test_counter(j.t->shard, "\"busy\""), 1);
  CHECK_EQ(test_counter(j.t->shard, "\"pushes\""), RANKS + ahead - 1);
  test_shard_close(j.t);

  j = open_job(&(hr_shard_options){.held_bytes_max = 1}, 1, 100);
  send_step_pull(&j, 0, 1, 5);
  CHECK_FAILS(test_status(&test_one_reply(j.t)->message), HOTROW_ERR_BUSY, "no room for");
  CHECK_EQ(test_counter(j.t->shard, "\"busy\""), 1);
  test_shard_close(j.t);
}

static void ask_barrier(job *j, uint32_t rank, uint64_t number)
{
  hr_barrier barrier = {.number = number, .world_size = RANKS};
  test_body(&j->ranks[rank], HR_OP_BARRIER, &barrier, sizeof barrier);
}

static hotrow_status barrier(job *j, uint32_t rank, uint64_t number)
{
  ask_barrier(j, rank, number);
  return test_ask(j->t, &j->ranks[rank]);
}

static void barrier_opens_when_all_are_here(void)
{
  job j = open_job(NULL, 1, 100);
  for (uint64_t number = 1; number < 4; number++) {
    for (int i = 0; i < 3; i++) { /* asking often is not being many */
      CHECK_FAILS(barrier(&j, 0, number), HOTROW_ERR_BUSY, "not all 3 workers");
      CHECK_EQ(j.t->replies[0].message.header.retry_ms, 5);
      CHECK_FAILS(barrier(&j, 2, number), HOTROW_ERR_BUSY, NULL);
    }
    CHECK_OK(barrier(&j, 1, number));
    CHECK_OK(barrier(&j, 0, number));
    CHECK_FAILS(barrier(&j, 0, number + 1), HOTROW_ERR_BUSY, NULL); /* a rank that is further on */
    CHECK_OK(barrier(&j, 2, number));
  }
  hr_barrier other = {.number = 4, .world_size = RANKS + 1};
  test_body(&j.ranks[0], HR_OP_BARRIER, &other, sizeof other);
  CHECK_FAILS(test_ask(j.t, &j.ranks[0]), HOTROW_ERR_INVALID, "barrier of 4 workers in a job of 3");

  /* A job that starts again under its number must not find its old barriers open. */
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    j.ranks[rank] = test_worker(30 + rank, 7, rank, RANKS, 300);
    test_greet(j.t, &j.ranks[rank]);
    if (rank + 1 < RANKS)
      for (uint64_t number = 1; number < 5; number++)
        CHECK_FAILS(barrier(&j, rank, number), HOTROW_ERR_BUSY, NULL);
  }
  test_shard_close(j.t);
}

static void bounded_jobs_survive_one_restart(void)
{
  job j = open_job(NULL, 1, 100);
  test_push_row(&j.ranks[1], j.table, 5, 1.0f);
  CHECK_OK(test_ask(j.t, &j.ranks[1]));
  test_client again = test_worker(20, 7, 1, RANKS, 101);
  test_greet(j.t, &again);
  test_begin(&j.ranks[0], HR_OP_STATS);
  CHECK_OK(test_ask(j.t, &j.ranks[0]));
  CHECK(test_pull_value(j.t, &again, j.table, 5) == -1.0f);
  test_shard_close(j.t);
}

int main(void)
{
  RUN(pushes_are_applied_in_rank_order);
  RUN(arrival_order_leaves_no_trace);
  RUN(repeats_of_a_waiting_push);
  RUN(plain_push_does_not_wait_for_the_step);
  RUN(rank_may_be_a_window_ahead);
  RUN(refused_pushes_let_the_step_go_on);
  RUN(refused_pushes_do_not_run_ahead);
  RUN(table_full_when_the_step_is_applied);
  RUN(push_pull_has_one_reply);
  RUN(newer_pull_replaces_the_one_that_waits);
  RUN(one_worker_waits_for_nobody);
  RUN(job_starts_over_once_steps_have_begun);
  RUN(job_that_died_in_its_first_step_comes_back);
  RUN(job_ends_when_all_have_said_bye);
  RUN(what_waits_is_bounded);
  RUN(barrier_opens_when_all_are_here);
  RUN(bounded_jobs_survive_one_restart);
  return 0;
}
