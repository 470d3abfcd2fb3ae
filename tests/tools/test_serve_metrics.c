/* Prometheus' text format, line by line, as its documentation says; and the addresses that metrics are told on. */
#include "hr_test.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "serve_metrics.h"

#define LINES_MAX 2000u
#define LINE_BYTES 512u

static char lines[LINES_MAX][LINE_BYTES];
static size_t line_count;

static void print(const hotrow_shard_counts *counts, uint32_t shards)
{
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  CHECK(out);
  hr_metrics_print(out, counts, shards);
  CHECK(fclose(out) == 0 && size > 0 && text[size - 1] == '\n');
  line_count = 0;
  for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
    CHECK(line_count < LINES_MAX && end > at && (size_t)(end - at) < LINE_BYTES);
    snprintf(lines[line_count++], LINE_BYTES, "%.*s", (int)(end - at), at);
  }
  free(text);
}

static size_t name_size(const char *text)
{
  size_t size = 0;
  while (isalnum((unsigned char)text[size]) || text[size] == '_' || text[size] == ':')
    size++;
  CHECK_MSG(size > 0 && !isdigit((unsigned char)text[0]), "no name in: %s", text);
  return size;
}

static bool ends_with(const char *name, const char *end)
{
  return strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

/* {a="x",b="y"}: its end. */
static const char *check_labels(const char *at)
{
  CHECK(*at++ == '{');
  for (;;) {
    size_t size = name_size(at);
    CHECK_MSG(strncmp(at + size, "=\"", 2) == 0, "no value at: %s", at);
    at += size + 2;
    size = strcspn(at, "\"\\\n");
    CHECK(at[size] == '"');
    at += size + 1;
    if (*at == '}')
      return at + 1;
    CHECK(*at++ == ',');
  }
}

/* A sample of this family; its value. */
static double check_sample(const char *line, const char *family, const char *type)
{
  size_t size = name_size(line);
  const char *rest = line + strlen(family);
  CHECK_MSG(strncmp(line, family, strlen(family)) == 0, "%s is not of %s", line, family);
  bool is_histogram = strcmp(type, "histogram") == 0;
  CHECK(is_histogram
            ? strncmp(rest, "_bucket{", 8) == 0 || strncmp(rest, "_sum{", 5) == 0 || strncmp(rest, "_count{", 7) == 0
            : size == strlen(family));
  CHECK_MSG(strncmp(line + size, "{shard=\"", 8) == 0, "no shard in: %s", line);
  const char *at = check_labels(line + size);
  char *end;
  CHECK(*at == ' ');
  double value = strtod(at + 1, &end);
  CHECK_MSG(end > at + 1 && *end == 0 && value >= 0, "no number in: %s", line);
  return value;
}

static void check_family(const char *name, const char *type)
{
  CHECK_MSG(strncmp(name, "hotrow_", 7) == 0, "%s", name);
  CHECK_MSG((strcmp(type, "counter") == 0) == ends_with(name, "_total"), "%s is a %s", name, type);
  CHECK(!strstr(name, "_ms") && !strstr(name, "_us") && !strstr(name, "_ns")); /* base units only */
}

/* HELP, TYPE, samples of it; no family comes twice, no sample either. */
static uint32_t check_lines(void)
{
  static char seen[100][128];
  uint32_t families = 0;
  size_t i = 0;
  while (i < line_count) {
    char name[128], other[128], type[32];
    CHECK_MSG(sscanf(lines[i], "# HELP %127s", name) == 1 && strlen(lines[i]) > strlen(name) + 8, "no help: %s",
              lines[i]);
    i++;
    CHECK_MSG(i < line_count && sscanf(lines[i], "# TYPE %127s %31s", other, type) == 2, "no type: %s", lines[i]);
    CHECK(strcmp(name, other) == 0);
    CHECK(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0);
    check_family(name, type);
    for (uint32_t k = 0; k < families; k++)
      CHECK_MSG(strcmp(seen[k], name) != 0, "%s comes twice", name);
    strcpy(seen[families++], name);
    size_t first = ++i;
    for (; i < line_count && lines[i][0] != '#'; i++) {
      check_sample(lines[i], name, type);
      size_t label_size = strcspn(lines[i], " ");
      for (size_t k = first; k < i; k++)
        CHECK_MSG(strncmp(lines[k], lines[i], label_size + 1) != 0, "%s comes twice", lines[i]);
    }
    CHECK(i > first);
  }
  return families;
}

static double value_of(const char *sample)
{
  for (size_t i = 0; i < line_count; i++)
    if (strncmp(lines[i], sample, strlen(sample)) == 0 && lines[i][strlen(sample)] == ' ')
      return atof(lines[i] + strlen(sample) + 1);
  CHECK_MSG(false, "no %s", sample);
  return 0;
}

static hotrow_shard_counts example(uint64_t shard)
{
  hotrow_shard_counts c = HOTROW_SHARD_COUNTS_INIT;
  c.shard = shard, c.shard_count = 5, c.epoch = UINT64_MAX, c.is_durable = 1;
  c.rows = UINT64_MAX, c.pulls = 7, c.state_bytes = 99, c.pushes_applied = 12, c.pushes_durable = 5;
  c.copy_bytes = 17, c.counted_bytes = 41;
  c.busy_ns = 1500000001, c.request_ns = 2000000000;
  for (uint32_t b = 0; b < HOTROW_TIME_BUCKETS; b++)
    c.request_times[b] = (b * 5) % HOTROW_TIME_BUCKETS; /* 0 to 27, not in order */
  c.messages[5] = 3, c.refused[5] = 4;
  return c;
}

static void every_line_is_of_the_format(void)
{
  hotrow_shard_counts counts[3] = {example(2), example(3), HOTROW_SHARD_COUNTS_INIT};
  print(counts, 3);
  CHECK_EQ(check_lines(), 56);
}

static void values(void)
{
  hotrow_shard_counts counts[2] = {example(2), example(3)};
  counts[1].is_durable = 0;
  print(counts, 2);
  CHECK(value_of("hotrow_pulls_total{shard=\"3\"}") == 7);
  CHECK(value_of("hotrow_memory_bytes{shard=\"2\",of=\"state\"}") == 99);
  CHECK(value_of("hotrow_memory_bytes{shard=\"3\",of=\"copies\"}") == 17);
  CHECK(value_of("hotrow_process_counted_bytes{shard=\"3\"}") == 41);
  CHECK(value_of("hotrow_busy_seconds_total{shard=\"2\"}") == 1.500000001);
  CHECK(value_of("hotrow_durable_lag_pushes{shard=\"2\"}") == 7 &&
        value_of("hotrow_durable_lag_pushes{shard=\"3\"}") == 0);
  CHECK(value_of("hotrow_messages_total{shard=\"2\",op=\"pull\"}") == 3);
  CHECK(value_of("hotrow_refused_messages_total{shard=\"2\",reason=\"gap\"}") == 4);
  CHECK(value_of("hotrow_shard_info{shard=\"2\",shard_count=\"5\",epoch=\"ffffffffffffffff\"}") == 1);
}

/* Buckets add up, their bounds grow, and the last is all. */
static void the_histogram_adds_up(void)
{
  hotrow_shard_counts counts = example(0);
  double last = -1, bound = 0, all = value_of("hotrow_request_seconds_count{shard=\"2\"}");
  uint32_t buckets = 0;
  print(&counts, 1);
  for (size_t i = 0; i < line_count; i++) {
    static const char begin[] = "hotrow_request_seconds_bucket{shard=\"0\",le=\"";
    if (strncmp(lines[i], begin, sizeof begin - 1) != 0)
      continue;
    double le = strtod(lines[i] + sizeof begin - 1, NULL), value = atof(strchr(lines[i], ' ') + 1);
    CHECK(le > bound && value >= last);
    CHECK(buckets > 0 || (le == 1e-6 && value == 0));
    bound = le;
    last = value;
    buckets++;
  }
  CHECK(buckets == HOTROW_TIME_BUCKETS && last == HOTROW_TIME_BUCKETS * (HOTROW_TIME_BUCKETS - 1) / 2 && last == all);
  CHECK(value_of("hotrow_request_seconds_bucket{shard=\"0\",le=\"+Inf\"}") == all);
  CHECK(value_of("hotrow_request_seconds_sum{shard=\"0\"}") == 2);
}

static void addresses(void)
{
  static const char *const bad[] = {
      "0.0.0.0:9117",  "192.0.2.1:9117",  "[::]:9117",     "[::2]:9117", "*:9117",
      "example.com:1", "127.0.0.1",       ":9117",         "",           "127.0.0.1:0",
      "127.0.0.1:",    "127.0.0.1:70000", "127.0.0.1:12x", "127.1:9117", "tcp://127.0.0.1:9117"};
  char why[HR_METRICS_WHY_BYTES];
  hr_metrics *m = NULL, *other = NULL;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    why[0] = 0;
    CHECK_MSG(hr_metrics_open(bad[i], &m, why) == HR_METRICS_BAD_ADDRESS && !m, "taken: %s", bad[i]);
    CHECK(strlen(why) > 10 && strstr(why, bad[i]));
  }
  CHECK(hr_metrics_open("localhost:*", &m, why) == HR_METRICS_OK);
  CHECK(strncmp(hr_metrics_address(m), "127.0.0.1:", 10) == 0 && atoi(hr_metrics_address(m) + 10) > 0);
  CHECK(hr_metrics_open(hr_metrics_address(m), &other, why) == HR_METRICS_UNREACHABLE && !other);
  CHECK_MSG(strstr(why, "in use"), "%s", why);
  hr_metrics_close(m);
  hr_metrics_close(NULL);
}

int main(void)
{
  RUN(every_line_is_of_the_format);
  RUN(values);
  RUN(the_histogram_adds_up);
  RUN(addresses);
  return 0;
}
