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
  CHECK(hr_clock_may_keep(HOTROW_BOUND_MAX, HOTROW_BOUND_MAX) &&
        !hr_clock_may_keep(HOTROW_BOUND_MAX + 1, HOTROW_BOUND_MAX));
}

static void order_survives_the_wrap(void)
{
  for (size_t b = 0; b < BASE_COUNT; b++)
    for (int32_t difference = -SMALL; difference <= SMALL; difference++) {
      uint32_t a = bases[b] + (uint32_t)difference;
      CHECK(hr_clock_is_before(a, bases[b]) == (difference < 0));
      CHECK(hr_clock_is_before(bases[b], a) == (difference > 0));
    }
}

int main(void)
{
  RUN(read_rule_over_all_small_values);
  RUN(read_rule_at_the_largest_bound);
  RUN(write_rule_over_all_small_values);
  RUN(order_survives_the_wrap);
  return 0;
}
