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

/* What the log tells from `first` on, as "table:key=clock ... table:key! ...", the latter for rows that are gone. */
static const char *told(const hr_announce_log *log, uint64_t first)
{
  static char text[512];
  uint32_t counts[TABLES], gone_counts[TABLES], clocks[TABLES][16];
  uint64_t keys[TABLES][16], gone[TABLES][16];
  hr_announce_arrays arrays[TABLES];
  for (size_t t = 0; t < TABLES; t++)
    arrays[t] = (hr_announce_arrays){keys[t], clocks[t], gone[t]};
  hr_announce_log_count(log, first, counts, gone_counts, TABLES);
  hr_announce_log_copy(log, first, arrays, TABLES);
  size_t used = 0;
  text[0] = 0;
  for (size_t t = 0; t < TABLES; t++)
    for (uint32_t i = 0; i < counts[t]; i++)
      used += (size_t)snprintf(text + used, sizeof text - used, "%zu:%llu=%u ", t, (unsigned long long)keys[t][i],
                               clocks[t][i]);
  for (size_t t = 0; t < TABLES; t++)
    for (uint32_t i = 0; i < gone_counts[t]; i++)
      used += (size_t)snprintf(text + used, sizeof text - used, "%zu:%llu! ", t, (unsigned long long)gone[t][i]);
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

static void that_a_row_is_gone_takes_the_place_of_its_clock(void)
{
  hr_announce_log log;
  CHECK_OK(hr_announce_log_init(&log, 8));
  uint32_t row = 0, other = 0, successor = 0;
  hr_announce_log_append(&log, 1, 7, 10, &row);
  hr_announce_log_append(&log, 1, 8, 10, &other);
  hr_announce_log_append_gone(&log, 1, 7, &row);
  CHECK(strcmp(told(&log, 1), "1:8=10 1:7! ") == 0);
  CHECK(strcmp(told(&log, 4), "") == 0);
  hr_announce_log_append(&log, 1, 7, 2,
                         &successor); /* a new row of the key: whoever has the old one is told all the same */
  CHECK(strcmp(told(&log, 1), "1:8=10 1:7=2 1:7! ") == 0);
  hr_announce_log_append_gone(&log, 1, 7, &successor);
  CHECK(strcmp(told(&log, 1), "1:8=10 1:7! 1:7! ") == 0);
  hr_announce_log_fini(&log);
}

int main(void)
{
  RUN(sizes_are_rounded_and_limited);
  RUN(a_key_is_told_once_and_last);
  RUN(that_a_row_is_gone_takes_the_place_of_its_clock);
  return 0;
}
