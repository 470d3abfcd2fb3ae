/* Pushes to a shard with a data directory until all of them are durable, for each --durability, and loading it again;
 * next to the same pushes to a shard without one, and to a plain file that takes the same bytes, synced as often as
 * they are cut. And how long it takes from a push until it is durable, with few rows at a time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hotrow/hotrow.h>
#include <hotrow/server.h>

#include "bench.h"
#include "commands.h"
#include "options.h"

#define STEP 2654435761u /* prime: i * STEP % rows comes to every row once */
#define CALL_TIMEOUT_MS 600000u
#define ROW_HEAD_BYTES 17u /* table id, key, clock, and what kind of entry it is */
#define MEMORY (-1)        /* no hotrow_durability */
#define DURABILITIES 3     /* of hotrow_durability */
#define LATENCY_PUSHES 1000u
#define LATENCY_ROWS 256u
#define LATENCY_EVERY_S 2e-3
#define LATENCY_POLL_US 50u

typedef struct store_state {
  const bench_store_options *options;
  char dir[512]; /* with the durability's name behind it */
  uint32_t dim;
  uint64_t *keys;
  float *grads;
  hotrow_client *client;
  hotrow_table *table;
} store_state;

static bool fail(const char *what, const char *why)
{
  fprintf(stderr, "hotrow bench: %s: %s\n", what, why);
  return false;
}

static bool start_server(const store_state *b, const char *name, int durability, hotrow_server **server_p)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  char dir[600];
  options.bind = "tcp://127.0.0.1:*";
  if (durability != MEMORY) {
    snprintf(dir, sizeof dir, "%s/%s-%s", b->dir, name, hr_durability_names[durability]);
    options.data_dir = dir;
    options.durability = (hotrow_durability)durability;
  }
  options.cut_bytes = b->options->cut_bytes;
  options.cut_interval_ms = b->options->cut_interval_ms;
  return hotrow_server_start(&options, server_p) == HOTROW_OK || fail("server", hotrow_last_error());
}

static hotrow_status open_table(store_state *b, const char *endpoint)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  client_options.shards = endpoint;
  client_options.timeout_ms = CALL_TIMEOUT_MS;
  table_options.name = "bench";
  table_options.dim = b->dim;
  table_options.optimizer.kind = HOTROW_SGD;
  table_options.pull_bound = 1;
  hotrow_status status = hotrow_client_open(&client_options, &b->client);
  if (status == HOTROW_OK)
    status = hotrow_table_create(b->client, &table_options, &b->table);
  return status;
}

static hotrow_status push_some(store_state *b, uint64_t at, size_t count)
{
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  uint64_t rows = b->options->rows;
  push.table = b->table;
  push.keys = b->keys;
  push.grads = b->grads;
  push.key_count = count;
  for (size_t i = 0; i < count; i++)
    b->keys[i] = (at + i) % rows * STEP % rows;
  hotrow_status status = hotrow_push(b->client, &push, 1);
  return status == HOTROW_OK ? hotrow_step(b->client, 0) : status;
}

static hotrow_status push_rows(store_state *b, const char *endpoint, double *seconds_p)
{
  hotrow_status status = open_table(b, endpoint);
  double begin = bench_seconds();
  uint64_t total = b->options->rows * b->options->passes;
  for (uint64_t at = 0; at < total && status == HOTROW_OK; at += b->options->batch_keys)
    status = push_some(b, at, (size_t)(total - at < b->options->batch_keys ? total - at : b->options->batch_keys));
  if (status == HOTROW_OK)
    status = hotrow_flush(b->client, CALL_TIMEOUT_MS);
  *seconds_p = bench_seconds() - begin;
  return status;
}

static bool measure_pushes(store_state *b, int durability, double *seconds_p)
{
  hotrow_server *server;
  if (!start_server(b, "rows", durability, &server))
    return false;
  hotrow_status status = push_rows(b, hotrow_server_endpoint(server, 0), seconds_p);
  bool ok = status == HOTROW_OK || fail("push", hotrow_last_error());
  hotrow_client_close(b->client);
  b->client = NULL;
  ok = (hotrow_server_drain(server) == HOTROW_OK || fail("server", hotrow_last_error())) && ok;
  hotrow_server_stop(server);
  return ok;
}

typedef struct latency {
  double sent_s[LATENCY_PUSHES], took_ms[LATENCY_PUSHES];
  uint64_t sent, durable;
} latency;

/* Takes note of what is durable by now, until then. */
static bool watch(latency *l, const hotrow_server *server, double until_s)
{
  do {
    hotrow_shard_counts counts = HOTROW_SHARD_COUNTS_INIT;
    if (hotrow_server_get_counts(server, 0, &counts) != HOTROW_OK)
      return fail("counts", hotrow_last_error());
    double now_s = bench_seconds();
    for (; l->durable < counts.pushes_durable && l->durable < l->sent; l->durable++)
      l->took_ms[l->durable] = (now_s - l->sent_s[l->durable]) * 1e3;
    usleep(LATENCY_POLL_US);
  } while (bench_seconds() < until_s && l->durable < LATENCY_PUSHES);
  return true;
}

/* A push every so often, whatever became of those before; nobody waits for any, so nothing hurries a cut. */
static bool measure_latency(store_state *b, int durability, double quantiles_ms[2])
{
  hotrow_server *server;
  if (!start_server(b, "latency", durability, &server))
    return false;
  static latency l;
  l = (latency){0};
  hotrow_status status = open_table(b, hotrow_server_endpoint(server, 0));
  bool ok = true;
  double begin_s = bench_seconds();
  for (uint64_t n = 0; n < LATENCY_PUSHES && ok && status == HOTROW_OK; n++) {
    l.sent_s[l.sent++] = bench_seconds();
    status = push_some(b, n * LATENCY_ROWS, LATENCY_ROWS);
    ok = watch(&l, server, begin_s + (double)(n + 1) * LATENCY_EVERY_S);
  }
  ok = (status == HOTROW_OK || fail("push", hotrow_last_error())) && ok &&
       watch(&l, server, bench_seconds() + CALL_TIMEOUT_MS / 1e3);
  if (ok) {
    quantiles_ms[0] = bench_quantile(l.took_ms, LATENCY_PUSHES, 0.5);
    quantiles_ms[1] = bench_quantile(l.took_ms, LATENCY_PUSHES, 0.99);
  }
  hotrow_client_close(b->client);
  b->client = NULL;
  hotrow_server_stop(server);
  return ok;
}

static bool measure_load(const store_state *b, double *seconds_p)
{
  hotrow_server *server;
  double begin = bench_seconds();
  if (!start_server(b, "rows", HOTROW_DURABILITY_CUT, &server))
    return false;
  *seconds_p = bench_seconds() - begin;
  hotrow_server_stop(server);
  return true;
}

/* The bytes of all pushed rows, one after the other. */
static bool measure_file(const store_state *b, double *seconds_p)
{
  char path[600];
  snprintf(path, sizeof path, "%s/plain", b->dir);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  size_t chunk = (size_t)(b->options->cut_bytes < (64u << 20) ? b->options->cut_bytes : 64u << 20);
  void *bytes = fd >= 0 ? calloc(1, chunk) : NULL;
  bool ok = bytes != NULL;
  double begin = bench_seconds();
  uint64_t left = b->options->rows * b->options->passes * (ROW_HEAD_BYTES + b->dim * sizeof(float));
  while (ok && left > 0) {
    ssize_t written = write(fd, bytes, left < chunk ? (size_t)left : chunk);
    ok = written > 0 && fdatasync(fd) == 0;
    left -= ok ? (uint64_t)written : 0;
  }
  *seconds_p = bench_seconds() - begin;
  if (!ok)
    fail(path, strerror(errno));
  free(bytes);
  if (fd >= 0)
    close(fd);
  unlink(path);
  return ok;
}

typedef struct store_result {
  double memory_s, file_s, load_s;
  double durable_s[DURABILITIES]; /* all pushes, until the last is durable */
  double latency_ms[DURABILITIES][2];
} store_result;

static void print_json(const store_state *b, const store_result *r, double pushed)
{
  const bench_store_options *o = b->options;
  printf("{\"dim\":%u,\"rows\":%llu,\"passes\":%u,\"batch_keys\":%llu,\"cut_bytes\":%llu,\"cut_interval_ms\":%u,"
         "\"memory_rows_per_s\":%.0f,\"file_rows_per_s\":%.0f,\"load_rows_per_s\":%.0f",
         b->dim, (unsigned long long)o->rows, o->passes, (unsigned long long)o->batch_keys,
         (unsigned long long)o->cut_bytes, o->cut_interval_ms, pushed / r->memory_s, pushed / r->file_s,
         (double)o->rows / r->load_s);
  for (int i = 0; i < DURABILITIES; i++)
    printf(",\"%s_rows_per_s\":%.0f,\"%s_ms_p50\":%.3f,\"%s_ms_p99\":%.3f", hr_durability_names[i],
           pushed / r->durable_s[i], hr_durability_names[i], r->latency_ms[i][0], hr_durability_names[i],
           r->latency_ms[i][1]);
  printf("}\n");
}

static void print_result(const store_state *b, const store_result *r)
{
  double pushed = (double)b->options->rows * b->options->passes;
  if (b->options->json) {
    print_json(b, r, pushed);
  } else {
    printf("dim %4u: pushed %.2f M rows/s in memory, a plain file %.2f; loaded %.2f M rows/s\n", b->dim,
           pushed / r->memory_s / 1e6, pushed / r->file_s / 1e6, (double)b->options->rows / r->load_s / 1e6);
    for (int i = 0; i < DURABILITIES; i++)
      printf(
          "  --durability %-4s %6.2f M rows/s until durable; a push of %u rows is after %.2f ms, 99 %% after %.2f ms\n",
          hr_durability_names[i], pushed / r->durable_s[i] / 1e6, LATENCY_ROWS, r->latency_ms[i][0],
          r->latency_ms[i][1]);
  }
  fflush(stdout);
}

static bool measure(store_state *b, store_result *r)
{
  bool ok = measure_pushes(b, MEMORY, &r->memory_s);
  for (int i = 0; ok && i < DURABILITIES; i++)
    ok = measure_pushes(b, i, &r->durable_s[i]) && measure_latency(b, i, r->latency_ms[i]);
  return ok && measure_file(b, &r->file_s) && measure_load(b, &r->load_s);
}

static bool run_dim(void *context, double number)
{
  store_state *b = context;
  store_result result = {0};
  b->dim = (uint32_t)number;
  if (snprintf(b->dir, sizeof b->dir, "%s/dim-%u", b->options->dir, b->dim) >= (int)sizeof b->dir)
    return fail("--dir", "too long");
  if (mkdir(b->dir, 0777) != 0)
    return fail(b->dir, strerror(errno));
  size_t keys = b->options->batch_keys > LATENCY_ROWS ? (size_t)b->options->batch_keys : LATENCY_ROWS;
  b->keys = calloc(keys, sizeof *b->keys);
  b->grads = calloc(keys * b->dim, sizeof *b->grads);
  bool ok = (b->keys && b->grads) || fail("batch", "no memory");
  for (size_t i = 0; ok && i < keys * b->dim; i++)
    b->grads[i] = 1e-3f * (float)(i % 5);
  ok = ok && measure(b, &result);
  if (ok)
    print_result(b, &result);
  free(b->keys);
  free(b->grads);
  return ok;
}

int hr_bench_store(const bench_store_options *options)
{
  store_state b = {.options = options};
  if (!options->dir || options->rows % STEP == 0 || options->rows < LATENCY_ROWS) {
    fail("--dir", "name a directory for the rows, and 256 rows at least");
    return HR_EXIT_USAGE;
  }
  return bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, run_dim, &b) ? 0 : HR_EXIT_SOFTWARE;
}
