/* What hotrow top makes of answers: numbers out of JSON, rates, quantiles, and the table. */
#include "hr_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "counts_json.h"
#include "top_view.h"

static void json_is_read(void)
{
  hotrow_shard_counts c;
  CHECK(hr_counts_from_json(
      " {\"shard\" : 3, \"epoch\":\"ffffffffffffff01\",\"degraded\":1,\"rows\":18446744073709551615,"
      "\"unknown\":{\"rows\":7,\"list\":[1,[2,3]]},\"text\":\"a \\\" b\",\"request_times\":[1,0,5],"
      "\"messages\":{\"pull\":9,\"nonsense\":1},\"refused\":{\"gap\":4},"
      "\"tables\":[{\"name\":\"rows\",\"rows\":2,\"dim\":3}]}",
      &c));
  CHECK(c.shard == 3 && c.epoch == 0xffffffffffffff01u && c.is_degraded == 1 && c.rows == UINT64_MAX);
  CHECK(c.request_times[0] == 1 && c.request_times[2] == 5 && c.request_times[3] == 0);
  CHECK(c.messages[5] == 9 && c.refused[5] == 4 && c.pushes == 0);
  CHECK(hr_counts_from_json("{}", &c) && c.rows == 0 && c.struct_size == sizeof c);
}

static void bad_json_is_refused(void)
{
  static const char *const bad[] = {"",
                                    "[]",
                                    "{",
                                    "{\"rows\"}",
                                    "{\"rows\":}",
                                    "{\"rows\":-1}",
                                    "{\"a\":1",
                                    "{\"a:1}",
                                    "{\"a\":1;}",
                                    "{\"a\":[1,2}",
                                    "{\"a\":true}",
                                    "{,}",
                                    "nonsense",
                                    "{\"a\":[[[[[[[[[[1]]]]]]]]]]}"};
  hotrow_shard_counts c;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    CHECK_MSG(!hr_counts_from_json(bad[i], &c), "taken: %s", bad[i]);
  char many[512] = "{\"request_times\":[";
  for (int i = 0; i < 100; i++)
    strcat(many, i ? ",1" : "1");
  strcat(many, "]}"); /* more than there are buckets */
  CHECK(hr_counts_from_json(many, &c) && c.request_times[HOTROW_TIME_BUCKETS - 1] == 1);
}

static void quantiles(void)
{
  uint64_t times[HOTROW_TIME_BUCKETS] = {0};
  CHECK(hr_top_quantile_us(times, 0.5) < 0);
  times[4] = 100; /* 8 to 16 us */
  CHECK(fabs(hr_top_quantile_us(times, 0.5) - 12) < 1e-9 && fabs(hr_top_quantile_us(times, 0.99) - 15.92) < 1e-9);
  times[11] = 2; /* 1024 to 2048 us */
  CHECK(hr_top_quantile_us(times, 0.5) < 16 && hr_top_quantile_us(times, 0.99) > 1024);
  memset(times, 0, sizeof times);
  times[0] = 1;
  CHECK(hr_top_quantile_us(times, 0.5) == 0.5);
  times[0] = 0;
  times[HOTROW_TIME_BUCKETS - 1] = 1;
  CHECK(isfinite(hr_top_quantile_us(times, 1)));
}

static hr_top_sample sample_of(uint64_t seconds, uint64_t pulls)
{
  hr_top_sample s = {.state = HR_TOP_OK, .time_ns = seconds * 1000000000u};
  s.counts = (hotrow_shard_counts){.epoch = 1,
                                   .pulls = pulls,
                                   .rows_pulled = 10 * pulls,
                                   .busy_ns = 100000000u * seconds,
                                   .is_durable = 1,
                                   .pushes_applied = 30,
                                   .pushes_durable = 20};
  s.counts.memory_bytes = 1234;
  s.counts.rows_expired = 56;
  s.counts.rows_refused = 78;
  s.counts.request_times[3] = pulls;
  return s;
}

static void rates(void)
{
  hr_top_sample a = sample_of(10, 100), b = sample_of(12, 300);
  hr_top_row row = hr_top_compare(&a, &b);
  CHECK(row.seconds == 2 && row.pulls_per_s == 100 && row.rows_per_s == 1000 && fabs(row.busy - 0.1) < 1e-9);
  CHECK(row.rows_gone == 56 && row.rows_refused == 78);
  CHECK(row.memory_bytes == 1234 && row.durable_lag == 10 && row.p50_us > 4 && row.p50_us < 8);
  b.counts.epoch = 2; /* restarted: the counts of before are another life's */
  row = hr_top_compare(&a, &b);
  CHECK(row.seconds == 0 && row.pulls_per_s == 0 && row.p50_us < 0 && row.memory_bytes == 1234);
  a.state = HR_TOP_SILENT;
  CHECK(hr_top_compare(&a, &b).seconds == 0);
  row = hr_top_compare(&b, &a);
  CHECK(row.state == HR_TOP_SILENT && row.memory_bytes == 0);
}

static char *print(uint32_t columns, uint32_t line_count, const hr_top_line *lines, uint32_t count)
{
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  CHECK(out);
  hr_top_page page = {.columns = columns, .lines = line_count, .line_end = "\n", .title = "title"};
  hr_top_print_table(out, &page, lines, count);
  CHECK(fclose(out) == 0);
  return text;
}

static uint32_t check_lines(const char *text, size_t width_max)
{
  uint32_t count = 0;
  for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1, count++)
    CHECK((size_t)(end - text) <= width_max);
  CHECK(*text == 0);
  return count;
}

static void table_fits_its_terminal(void)
{
  hr_top_line lines[5];
  for (uint32_t i = 0; i < 5; i++)
    lines[i] = (hr_top_line){.endpoint = "tcp://127.0.0.1:1",
                             .row = {.state = HR_TOP_OK,
                                     .seconds = 1,
                                     .pulls_per_s = 12345,
                                     .p50_us = 2500,
                                     .p99_us = -1,
                                     .busy = 0.5,
                                     .memory_bytes = 3u << 30,
                                     .counted_bytes = 4u << 20,
                                     .process_bytes = 5u << 20,
                                     .rows = 999999,
                                     .rows_gone = 1200,
                                     .rows_refused = 7}};
  lines[1].row = (hr_top_row){.state = HR_TOP_SILENT};
  lines[2].row = (hr_top_row){.state = HR_TOP_REFUSED};
  lines[2].note = "this is shard 9";
  char *text = print(0, 0, lines, 5);
  CHECK_EQ(check_lines(text, HR_TOP_LINE_BYTES), 8); /* title, heading, shards, sum */
  CHECK(strstr(text, "    0 ok          12k      0      0 2.5ms     -  50% "));
  CHECK(strstr(text, "    0  1.2k       7\n") && strstr(text, "    0  3.6k      21\n"));
  CHECK(strstr(text, "1.0M   3.0G    4.0M  5.0M ") && strstr(text, "  9.0G       -     - ") &&
        strstr(text, "    1 silent   tcp://127.0.0.1:1\n"));
  CHECK(strstr(text, "    2 refused  tcp://127.0.0.1:1: this is shard 9\n") && strstr(text, "  all refused     37k"));
  free(text);
  for (uint32_t columns = 1; columns < 120; columns += 7)
    for (uint32_t line_count = 4; line_count < 10; line_count++) {
      text = print(columns, line_count, lines, 5);
      uint32_t printed = check_lines(text, columns);
      CHECK(printed <= line_count && (line_count < 8 || printed == 8));
      CHECK(columns < 20 || line_count >= 8 || strstr(text, "more shards"));
      free(text);
    }
}

static void json_is_printed(void)
{
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  CHECK(out);
  hr_top_line line = {.endpoint = "ipc:///a\"b", .note = "say \\", .row = {.state = HR_TOP_REFUSED}};
  hr_top_print_json(out, 4, &line, NULL);
  line = (hr_top_line){.endpoint = "x", .row = {.seconds = 1, .pulls_per_s = 2, .p50_us = -1}};
  hr_top_print_json(out, 0, &line, "{\"shard\":0}");
  CHECK(fclose(out) == 0);
  CHECK(strstr(text, "{\"shard\":4,\"endpoint\":\"ipc:///a\\\"b\",\"state\":\"refused\",\"refusal\":\"say \\\\\"}\n"));
  CHECK(strstr(text, "\"pulls_per_s\":2.0,") && strstr(text, "\"stats\":{\"shard\":0}}\n") && !strstr(text, "p50"));
  free(text);
}

int main(void)
{
  RUN(json_is_read);
  RUN(bad_json_is_refused);
  RUN(quantiles);
  RUN(rates);
  RUN(table_fits_its_terminal);
  RUN(json_is_printed);
  return 0;
}
