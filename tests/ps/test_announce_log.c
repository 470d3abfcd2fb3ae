#include "hr_test.h"

#include "announce_log.h"

#define TABLES 3u

static void sizes_are_rounded_and_limited(void)
{
  hr_announce_log log;
  CHECK_FAILS(hr_announce_log_init(&log, HR_ANNOUNCE_LOG_COUNT_MAX + 1), HOTROW_ERR_LIMIT, "log of 1048577");
  static const uint32_t sizes[][2] = {{0, HR_ANNOUNCE_LOG_COUNT_DEFAULT}, {1, 1}, {5, 8}, {8, 8}, {1u << 20, 1u << 20}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    CHECK_OK(hr_announce_log_init(&log, sizes[i][0]));
    CHECK_EQ(log.count_max, sizes[i][1]);
    CHECK(log.next == 1 && hr_announce_log_first(&log) == 1);
    hr_announce_log_fini(&log);
  }
}

/* What the log tells from `first` on, as "table:key=clock ...". */
static const char *told(const hr_announce_log *log, uint64_t first)
{
  static char text[512];
  uint32_t counts[TABLES], clocks[TABLES][16];
  uint64_t keys[TABLES][16];
  hr_announce_log_count(log, first, counts, TABLES);
  hr_announce_log_copy(log, first, (uint64_t *const[]){keys[0], keys[1], keys[2]},
                       (uint32_t *const[]){clocks[0], clocks[1], clocks[2]}, TABLES);
  size_t used = 0;
  text[0] = 0;
  for (size_t t = 0; t < TABLES; t++)
    for (uint32_t i = 0; i < counts[t]; i++)
      used += (size_t)snprintf(text + used, sizeof text - used, "%zu:%llu=%u ", t, (unsigned long long)keys[t][i],
                               clocks[t][i]);
  return text;
}

static void a_key_is_told_once_and_last(void)
{
  hr_announce_log log;
  CHECK_OK(hr_announce_log_init(&log, 4));
  uint32_t zero = 0, five = 0, other = 0, same = 2; /* anything will do */
  hr_announce_log_append(&log, 0, 0, 10, &zero);    /* like a cell nobody has written */
  hr_announce_log_append(&log, 2, 5, 20, &five);
  CHECK(strcmp(told(&log, 1), "0:0=10 2:5=20 ") == 0);
  CHECK(strcmp(told(&log, 2), "2:5=20 ") == 0);
  CHECK(strcmp(told(&log, 3), "") == 0);
  hr_announce_log_append(&log, 0, 0, 11, &zero);
  CHECK(strcmp(told(&log, 1), "0:0=11 2:5=20 ") == 0);
  CHECK(strcmp(told(&log, 2), "0:0=11 2:5=20 ") == 0);
  CHECK(strcmp(told(&log, 3), "0:0=11 ") == 0);
  hr_announce_log_append(&log, 1, 5, 30, &same); /* the same key of another table, the same place at first */
  CHECK(strcmp(told(&log, 1), "0:0=11 1:5=30 2:5=20 ") == 0);
  CHECK_EQ(hr_announce_log_first(&log), 1);
  hr_announce_log_append(&log, 1, 6, 40, &other); /* the first is gone, and its cell is another's */
  CHECK_EQ(hr_announce_log_first(&log), 2);
  CHECK(strcmp(told(&log, 2), "0:0=11 1:5=30 1:6=40 2:5=20 ") == 0);
  for (uint32_t clock = 21; clock < 30; clock++)
    hr_announce_log_append(&log, 2, 5, clock, &five);
  CHECK(strcmp(told(&log, hr_announce_log_first(&log)), "2:5=29 ") == 0);
  hr_announce_log_append(&log, 0, 0, 12, &zero); /* its place holds another key by now */
  CHECK(strcmp(told(&log, hr_announce_log_first(&log)), "0:0=12 2:5=29 ") == 0);
  CHECK_EQ(log.next, 16);
  hr_announce_log_fini(&log);
}

int main(void)
{
  RUN(sizes_are_rounded_and_limited);
  RUN(a_key_is_told_once_and_last);
  return 0;
}
