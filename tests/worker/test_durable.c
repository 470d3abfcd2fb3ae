/* Clients of servers with a data directory: when something becomes durable, and what a server that comes back has. */
#include "worker_test.h"

#define KEYS 300u
#define HOUR_MS 3600000u

typedef struct durable_server {
  hotrow_server_options options;
  hotrow_server *server;
  char endpoint[64];
  uint64_t loaded; /* rows, as told */
} durable_server;

static uint64_t keys[KEYS];
static float ones[KEYS];

static void note_progress(void *context, uint32_t shard, uint64_t rows, uint64_t expected)
{
  durable_server *s = context;
  CHECK(shard == 0 && rows <= KEYS);
  if (rows == expected)
    s->loaded = rows;
}

/* On its old address if it had one. Cuts are made once an hour, so that any sooner one has another reason. */
static void start(durable_server *s, const char *dir)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = s->endpoint[0] ? s->endpoint : "tcp://127.0.0.1:*";
  options.data_dir = dir;
  options.cut_interval_ms = HOUR_MS;
  options.cut_bytes = s->options.cut_bytes;
  options.save_dir = s->options.save_dir;
  options.load_path = s->options.load_path;
  options.progress = note_progress;
  options.context = s;
  s->loaded = UINT64_MAX;
  CHECK_OK(hotrow_server_start(&options, &s->server));
  snprintf(s->endpoint, sizeof s->endpoint, "%s", hotrow_server_endpoint(s->server, 0));
}

static void stop(durable_server *s)
{
  CHECK_OK(hotrow_server_drain(s->server));
  hotrow_server_stop(s->server);
}

static const char *dir_of(const char *name)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", hr_test_tmpdir(), name);
  return path;
}

static hotrow_table *make_table(hotrow_client *client)
{
  for (uint64_t i = 0; i < KEYS; i++) {
    keys[i] = i * 0x9e3779b97f4a7c15u;
    ones[i] = 1.0f;
  }
  return test_counting_table(client, "steps", 1, 0, 1, 0);
}

static void push_once(hotrow_client *client, hotrow_table *table)
{
  test_push(client, table, keys, KEYS, ones);
  CHECK_OK(hotrow_step(client, 0));
}

static void check_steps(hotrow_client *client, hotrow_table *table, float steps)
{
  static float rows[KEYS];
  test_read(client, table, keys, KEYS, rows);
  for (size_t i = 0; i < KEYS; i++)
    CHECK_MSG(rows[i] == -steps, "key %zu has %g steps, expected %g", i, -(double)rows[i], (double)steps);
}

static uint64_t counter(hotrow_client *client, const char *name)
{
  char *json, word[64];
  CHECK_OK(hotrow_shard_stats(client, 0, 0, &json));
  snprintf(word, sizeof word, "\"%s\":", name);
  const char *at = strstr(json, word);
  CHECK_MSG(at, "no %s in %s", name, json);
  uint64_t value = strtoull(at + strlen(word), NULL, 10);
  free(json);
  return value;
}

static void a_flush_does_not_wait_until_a_cut_is_due(void)
{
  durable_server s = {0};
  const char *dir = dir_of("flush");
  start(&s, dir);
  hotrow_client *client = test_open(s.endpoint, 0, 1);
  hotrow_table *table = make_table(client); /* this waits for a cut too */
  for (int i = 1; i <= 5; i++) {
    push_once(client, table);
    uint64_t begin_ns = hr_now_ns(), cuts = counter(client, "cuts_durable");
    CHECK_OK(hotrow_flush(client, 10000));
    CHECK(test_elapsed_ms(begin_ns) < 5000);
    CHECK_EQ(counter(client, "cuts_durable"), cuts + 1);
  }
  CHECK_OK(hotrow_flush(client, 10000)); /* of nothing */
  CHECK_EQ(counter(client, "cuts_durable"), 6);
  hotrow_client_close(client);
  stop(&s);
}

static void many_changed_rows_do_not_wait_either(void)
{
  durable_server s = {.options.cut_bytes = KEYS * sizeof(float)};
  start(&s, dir_of("bytes"));
  hotrow_client *client = test_open(s.endpoint, 0, 1);
  hotrow_table *table = make_table(client);
  push_once(client, table);
  uint64_t begin_ns = hr_now_ns();
  while (counter(client, "cuts_durable") < 2)
    CHECK(test_elapsed_ms(begin_ns) < 10000);
  CHECK_EQ(counter(client, "dirty_bytes"), 0);
  hotrow_client_close(client);
  stop(&s);
}

/* One client over four lives of its server, on which it never waits for a cut. */
static void the_end_of_a_server_is_a_cut(void)
{
  durable_server s = {0};
  char dir[512];
  snprintf(dir, sizeof dir, "%s", dir_of("end"));
  start(&s, dir);
  CHECK_EQ(s.loaded, 0);
  hotrow_client *client = test_open(s.endpoint, 0, 1);
  hotrow_table *table = make_table(client);
  for (int life = 1; life <= 4; life++) {
    push_once(client, table);
    check_steps(client, table, (float)life);
    stop(&s);
    start(&s, dir);
    CHECK_EQ(s.loaded, KEYS);
    check_steps(client, table, (float)life);
    CHECK_EQ(counter(client, "pushes"), 0); /* it had them */
  }
  hotrow_client_close(client);
  hotrow_client *reader = test_open_reader(s.endpoint);
  hotrow_table_options options = test_table_options("steps", 0);
  CHECK_OK(hotrow_table_open(reader, &options, &table));
  check_steps(reader, table, 4);
  hotrow_client_close(reader);
  stop(&s);
}

/* A save goes into a new directory only, and is durable when the server serves. */
static void a_save_becomes_durable(void)
{
  durable_server s = {.options.save_dir = hr_test_tmpdir()};
  char dir[512], other[512], path[512];
  snprintf(dir, sizeof dir, "%s", dir_of("saved"));
  snprintf(other, sizeof other, "%s", dir_of("from-save"));
  snprintf(path, sizeof path, "%s", dir_of("save"));
  start(&s, dir);
  hotrow_client *client = test_open(s.endpoint, 0, 1);
  hotrow_table *table = make_table(client);
  push_once(client, table);
  CHECK_OK(hotrow_flush(client, 10000));
  CHECK_OK(hotrow_save(client, "save", 0));
  hotrow_client_close(client);
  stop(&s);

  s.endpoint[0] = 0;
  s.options.load_path = path;
  start(&s, other);
  client = test_open(s.endpoint, 0, 1);
  CHECK_EQ(counter(client, "cuts_durable"), 1);
  table = make_table(client);
  check_steps(client, table, 1);
  hotrow_client_close(client);
  hotrow_server_options again = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  again.bind = "tcp://127.0.0.1:*";
  again.data_dir = other;
  CHECK_FAILS(hotrow_server_start(&again, &server), HOTROW_ERR_BUSY, other);
  stop(&s);
  again.load_path = path;
  CHECK_FAILS(hotrow_server_start(&again, &server), HOTROW_ERR_EXISTS, "has tables");
  again.load_path = NULL;
  again.cut_interval_ms = 86400001;
  CHECK_FAILS(hotrow_server_start(&again, &server), HOTROW_ERR_INVALID, "86400001");
  CHECK(!server);
  s.options.load_path = NULL;
  start(&s, other);
  CHECK_EQ(s.loaded, KEYS);
  stop(&s);
}

int main(void)
{
  RUN(a_flush_does_not_wait_until_a_cut_is_due);
  RUN(many_changed_rows_do_not_wait_either);
  RUN(the_end_of_a_server_is_a_cut);
  RUN(a_save_becomes_durable);
  return 0;
}
