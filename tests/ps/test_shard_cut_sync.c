/* Exact jobs over restarts: cuts and deaths at random, against the ranks played in turn. */
#include "storage_test.h"

#include <math.h>

#include <hr/random.h>

enum { RANKS = 3, STEPS = 60, OPEN_MAX = 20, KEYS = 3 };

/* One push of a rank's stream. */
typedef struct planned {
  bool is_step;
  uint32_t step;
  uint64_t key;
  float grad;
} planned;

typedef struct rank_state {
  test_client client;
  planned plan[3 * STEPS];
  uint64_t count;       /* of the plan */
  uint64_t sent;        /* pushes sent, and not sent again since the restart */
  uint64_t applied_seq; /* as replies said */
  uint64_t durable_seq; /* likewise, over all restarts */
} rank_state;

typedef struct scene {
  test_storage *disk;
  test_shard *t;
  uint64_t epoch;
  hr_rng rng;
  rank_state ranks[RANKS];
  bool is_writing; /* a cut that is not durable */
  hotrow_durability durability;
} scene;

static void make_plan(scene *s, rank_state *r, uint32_t rank)
{
  for (uint32_t step = 0; step < STEPS; step++) {
    for (uint64_t plain = hr_rng_below(&s->rng, 3); plain > 0; plain--) /* they overtake what waits */
      r->plan[r->count++] = (planned){.key = 100 + rank, .grad = hr_rng_unit(&s->rng)};
    float grad = (hr_rng_unit(&s->rng) - 0.5f) * 1e6f;
    grad = hr_rng_below(&s->rng, 16) ? grad : NAN;
    r->plan[r->count++] = (planned){.is_step = true, .step = step, .key = hr_rng_below(&s->rng, KEYS), .grad = grad};
    if (hr_rng_below(&s->rng, 16) == 0) /* a step that is not the next one */
      r->plan[r->count++] = (planned){.is_step = true, .step = step, .key = 0, .grad = 1.0f};
  }
  CHECK(r->count <= sizeof r->plan / sizeof *r->plan);
}

static bool is_refused(const planned *plan, uint64_t seq)
{
  const planned *p = &plan[seq - 1];
  bool is_twice = p->is_step && seq > 1 && plan[seq - 2].is_step && plan[seq - 2].step == p->step;
  return isnan(p->grad) || is_twice;
}

static void read_replies(scene *s)
{
  for (size_t i = 0; i < s->t->reply_count; i++) {
    const hr_header *h = &s->t->replies[i].message.header;
    rank_state *r = &s->ranks[h->rank];
    CHECK(h->op == HR_OP_PUSH && h->push_seq <= r->sent);
    CHECK_EQ(h->status, is_refused(r->plan, h->push_seq)
                            ? (r->plan[h->push_seq - 1].grad == 1.0f ? HOTROW_ERR_PROTOCOL : HOTROW_ERR_INVALID)
                            : HOTROW_OK);
    r->applied_seq = h->applied_seq;
    CHECK(h->durable_seq >= r->durable_seq && h->durable_seq <= h->applied_seq);
    r->durable_seq = h->durable_seq;
  }
  test_clear(s->t);
}

static void send_next(scene *s, uint32_t rank)
{
  rank_state *r = &s->ranks[rank];
  if (r->sent == r->count || r->sent - r->applied_seq >= OPEN_MAX)
    return;
  const planned *p = &r->plan[r->sent];
  r->client.push_seq = r->sent++;
  hr_message *m = test_push_row(&r->client, 0, p->key, p->grad);
  m->header.flags = p->is_step ? HR_FLAG_SYNC : 0;
  m->header.step = p->step;
  test_send(s->t, &r->client);
  read_replies(s);
}

static void greet(scene *s, uint32_t rank)
{
  rank_state *r = &s->ranks[rank];
  hr_hello_reply reply;
  test_greet(s->t, &r->client);
  memcpy(&reply, s->t->replies[0].message.body, sizeof reply);
  CHECK(reply.received_seq >= r->durable_seq && reply.received_seq <= r->sent);
  r->sent = r->applied_seq = reply.received_seq;
  test_clear(s->t);
}

static void start(scene *s)
{
  s->t = test_shard_open(&(hr_shard_options){
      .epoch = ++s->epoch, .storage = &s->disk->calls, .durability = s->durability, .cut_turn_bytes = 1});
  s->t->now_ns = 1000000000000u;
  test_storage_restore(s->disk, s->t->shard, s->t->now_ns);
  s->is_writing = false;
  for (uint32_t i = 0, first = (uint32_t)hr_rng_below(&s->rng, RANKS); i < RANKS; i++)
    greet(s, (first + i) % RANKS);
}

static void begin_or_end_cut(scene *s)
{
  uint64_t number;
  if (s->is_writing)
    test_storage_commit(s->disk, s->t->shard);
  else
    CHECK_OK(hr_shard_cut(s->t->shard, &number));
  s->is_writing = !s->is_writing;
  test_clear(s->t);
}

static void check_rows(const scene *s)
{
  float rows[100 + RANKS] = {0};
  uint32_t clocks[100 + RANKS] = {0};
  for (uint32_t step = 0; step < STEPS; step++)
    for (uint32_t rank = 0; rank < RANKS; rank++)
      for (uint64_t seq = 1; seq <= s->ranks[rank].count; seq++) {
        const planned *p = &s->ranks[rank].plan[seq - 1];
        if (p->step != step || is_refused(s->ranks[rank].plan, seq))
          continue; /* plain ones have step 0: of their key nothing else comes */
        rows[p->key] -= p->grad;
        clocks[p->key]++;
      }
  const hr_table *table = hr_shard_table(s->t->shard, 0);
  size_t stride;
  const float *base = hr_table_rows(table, &stride);
  for (uint64_t key = 0; key < 100 + RANKS; key++) {
    uint32_t row, clock;
    hr_table_find(table, &key, 1, &row, &clock);
    CHECK_EQ(clock, clocks[key]);
    CHECK(clock == 0 || base[row * stride] == rows[key]);
  }
}

static bool is_done(const scene *s)
{
  bool done = true;
  for (uint32_t rank = 0; rank < RANKS; rank++)
    done = done && s->ranks[rank].applied_seq == s->ranks[rank].count;
  return done;
}

static uint32_t run(uint64_t seed, hotrow_durability durability)
{
  scene s = {.disk = test_storage_open(), .rng = {seed}, .durability = durability};
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    s.ranks[rank].client = test_worker(1 + rank, 7, rank, RANKS, 100);
    make_plan(&s, &s.ranks[rank], rank);
  }
  start(&s);
  hr_table_desc desc = test_desc("t");
  test_body(&s.ranks[0].client, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(s.t, &s.ranks[0].client);
  s.is_writing = true;
  begin_or_end_cut(&s);
  uint32_t deaths = 0;
  while (!is_done(&s)) {
    uint64_t chance = hr_rng_below(&s.rng, 100);
    if (chance < 2 && deaths < 12) {
      test_shard_close(s.t);
      start(&s);
      deaths++;
    } else if (chance < 12) {
      if (durability == HOTROW_DURABILITY_LOG && chance < 10)
        test_storage_log(s.disk, s.t->shard);
      else
        begin_or_end_cut(&s);
    } else if (chance < 20 && hr_shard_is_copying(s.t->shard)) {
      CHECK_OK(hr_shard_copy(s.t->shard));
    } else {
      send_next(&s, (uint32_t)hr_rng_below(&s.rng, RANKS));
    }
  }
  CHECK_EQ(test_counter(s.t->shard, "\"held_bytes\""), 0);
  check_rows(&s);
  test_shard_close(s.t);
  test_storage_close(s.disk);
  return deaths;
}

static void many_lives(hotrow_durability durability)
{
  uint64_t seed = hr_test_seed(31);
  uint32_t deaths = 0;
  for (uint64_t i = 0; i < 60; i++)
    deaths += run(seed + i, durability);
  CHECK(deaths > 100);
}

static void restarts_leave_no_trace(void)
{
  many_lives(HOTROW_DURABILITY_CUT);
}

static void restarts_with_a_log_leave_no_trace(void)
{
  many_lives(HOTROW_DURABILITY_LOG);
}

int main(void)
{
  RUN(restarts_leave_no_trace);
  RUN(restarts_with_a_log_leave_no_trace);
  return 0;
}
