#include "cache_clock.h"
#include "hr_test.h"

#include <hotrow/cache.h>

#define SMALL 40

/* Where u32 numbers start, change sign and wrap. */
static const uint32_t bases[] = {0, 1, 1000000007u, 0x7ffffff0u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xffffffffu};
#define BASE_COUNT (sizeof bases / sizeof *bases)

static void read_rule_over_all_small_values(void)
{
  for (size_t b = 0; b < BASE_COUNT; b++)
    for (int32_t unseen = -SMALL; unseen <= SMALL; unseen++) {
      uint32_t seen = bases[b], clock = seen + (uint32_t)unseen;
      CHECK_EQ(hr_clock_unseen(clock, seen), unseen);
      for (uint32_t bound = 0; bound <= SMALL; bound++)
        CHECK_MSG(hr_clock_may_read(clock, seen, bound) == (unseen <= (int32_t)bound), "clock %u seen %u bound %u",
                  clock, seen, bound);
    }
}

static void read_rule_at_the_largest_bound(void)
{
  for (size_t b = 0; b < BASE_COUNT; b++) {
    CHECK(hr_clock_may_read(bases[b] + HOTROW_BOUND_MAX, bases[b], HOTROW_BOUND_MAX));
    CHECK(!hr_clock_may_read(bases[b] + HOTROW_BOUND_MAX + 1, bases[b], HOTROW_BOUND_MAX));
    CHECK(!hr_clock_may_read(bases[b] + INT32_MAX, bases[b], HOTROW_BOUND_MAX));
  }
}

static void write_rule_over_all_small_values(void)
{
  for (uint32_t bound = 0; bound <= SMALL; bound++)
    for (uint32_t pending = 0; pending <= SMALL; pending++)
      CHECK(hr_clock_may_keep(pending, bound) == !(pending > bound));
  CHECK(hr_clock_may_keep(HOTROW_PUSH_BOUND_MAX, HOTROW_PUSH_BOUND_MAX) &&
        !hr_clock_may_keep(HOTROW_PUSH_BOUND_MAX + 1, HOTROW_PUSH_BOUND_MAX));
}

static void order_survives_the_wrap(void)
{
  for (size_t b = 0; b < BASE_COUNT; b++)
    for (int32_t difference = -SMALL; difference <= SMALL; difference++) {
      uint32_t a = bases[b] + (uint32_t)difference;
      CHECK(hr_clock_is_before(a, bases[b]) == (difference < 0));
      CHECK(hr_clock_is_before(bases[b], a) == (difference > 0));
      CHECK_EQ(hr_clock_later(a, bases[b]), difference > 0 ? a : bases[b]);
      CHECK_EQ(hr_clock_later(bases[b], a), difference > 0 ? a : bases[b]);
    }
}

/* ---- announce mode: every run of a shard and one copy within a few steps, against what a copy truly lacks */

#define DEPTH 6
#define STEPS_MAX 3 /* of one push */

typedef struct world {
  uint32_t announce_step, pull_bound;
  uint32_t base;            /* clocks begin here; all others count from it */
  int64_t clock, told;      /* the shard's clock, and the last that it has announced */
  bool is_news;             /* an announcement has not reached the worker */
  int64_t got;              /* shard's clock at the last reply that the worker has */
  uint32_t seen, announced; /* of the copy, as the cache keeps them */
  int64_t contained;        /* the shard's steps that the copy truly holds, own and others' */
  int64_t uncredited;       /* own steps that are applied and that no reply has told the worker of */
} world;

static uint64_t state_count, strict_count;

/* The state at the worker's last reply is what the contract speaks of: `got`, not what the shard did since. */
static void check_world(const world *w)
{
  int64_t unseen = w->got - w->contained;
  bool fresh = hr_clock_is_fresh(w->announced, w->announce_step, w->seen, w->pull_bound);
  state_count++;
  CHECK_MSG(!fresh || unseen <= w->pull_bound, "a copy that lacks %lld is fresh, bound %u, step %u", (long long)unseen,
            w->pull_bound, w->announce_step);
  CHECK_MSG(fresh || unseen > (int64_t)w->pull_bound - (w->announce_step - 1),
            "a copy that lacks %lld is not fresh, "
            "bound %u, step %u",
            (long long)unseen, w->pull_bound, w->announce_step);
  CHECK((int32_t)(hr_clock_known(w->announced, w->announce_step) - w->base) >= w->got);
  strict_count += !fresh && unseen <= w->pull_bound;
}

static void shard_applies(world *w, uint32_t steps)
{
  w->clock += steps;
  if (w->clock - w->told >= w->announce_step) {
    w->told = w->clock;
    w->is_news = true;
  }
}

/* A reply: credit first, then announcements. */
static void reply_arrives(world *w)
{
  w->seen += (uint32_t)w->uncredited;
  w->contained += w->uncredited;
  w->uncredited = 0;
  if (w->is_news)
    w->announced = hr_clock_later(w->announced, w->base + (uint32_t)w->told);
  w->is_news = false;
  w->got = w->clock;
}

static void explore(world w, int depth)
{
  check_world(&w);
  if (depth == 0)
    return;
  for (uint32_t steps = 1; steps <= STEPS_MAX; steps++) {
    world others = w, own = w;
    shard_applies(&others, steps);
    explore(others, depth - 1);
    shard_applies(&own, steps);
    own.uncredited += steps;
    explore(own, depth - 1);
  }
  world told = w;
  reply_arrives(&told);
  check_world(&told);
  explore(told, depth - 1);
  reply_arrives(&w); /* with the row in it */
  w.seen = w.announced = w.base + (uint32_t)w.clock;
  w.contained = w.clock;
  explore(w, depth - 1);
}

static void fresh_is_within_the_bound_in_every_reachable_state(void)
{
  static const uint32_t starts[] = {0, 0x7ffffffeu, UINT32_MAX - 3};
  for (size_t b = 0; b < 3; b++)
    for (uint32_t pull_bound = 0; pull_bound <= 4; pull_bound++)
      for (uint32_t announce_step = 1; announce_step <= pull_bound + 1; announce_step++)
        explore((world){.announce_step = announce_step,
                        .pull_bound = pull_bound,
                        .base = starts[b],
                        .seen = starts[b],
                        .announced = starts[b]},
                DEPTH - (b > 0));
  CHECK(state_count > 100000 && strict_count > 1000);
}

/* By definition: announced, and the shard may have gone on by announce_step - 1 in silence. */
static void fresh_over_all_small_values(void)
{
  for (size_t b = 0; b < BASE_COUNT; b++)
    for (int32_t told = -SMALL; told <= SMALL; told++)
      for (uint32_t bound = 0; bound <= 12; bound++)
        for (uint32_t step = 1; step <= bound + 1; step++) {
          bool may_exceed = false;
          for (uint32_t silent = 0; silent < step; silent++)
            may_exceed |= told + (int32_t)silent > (int32_t)bound;
          CHECK(hr_clock_is_fresh(bases[b] + (uint32_t)told, step, bases[b], bound) == !may_exceed);
        }
  CHECK(hr_clock_is_fresh(9, HOTROW_BOUND_MAX + 1, 9, HOTROW_BOUND_MAX));
  CHECK(!hr_clock_is_fresh(10, HOTROW_BOUND_MAX + 1, 9, HOTROW_BOUND_MAX));
}

int main(void)
{
  RUN(read_rule_over_all_small_values);
  RUN(read_rule_at_the_largest_bound);
  RUN(write_rule_over_all_small_values);
  RUN(order_survives_the_wrap);
  RUN(fresh_over_all_small_values);
  RUN(fresh_is_within_the_bound_in_every_reachable_state);
  return 0;
}
