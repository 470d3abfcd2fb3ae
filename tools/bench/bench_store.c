/* Pushes to a shard with a data directory until all of them are durable, and loading it again; next to the same pushes
 * to a shard without one, and to a plain file that takes the same bytes, synced as often as they are cut. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hotrow/hotrow.h>
#include <hotrow/server.h>

#include "bench.h"
#include "options.h"

#define STEP 2654435761u /* prime: i * STEP % rows comes to every row once */
#define CALL_TIMEOUT_MS 600000u
#define ROW_HEAD_BYTES 17u /* table id, key, clock, and what kind of entry it is */

typedef struct store_state {
  const bench_store_options *options;
  char dir[512];
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

static bool start_server(const store_state *b, bool is_durable, hotrow_server **server_p)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = "tcp://127.0.0.1:*";
  options.data_dir = is_durable ? b->dir : NULL;
  options.cut_bytes = b->options->cut_bytes;
  options.cut_interval_ms = b->options->cut_interval_ms;
  return hotrow_server_start(&options, server_p) == HOTROW_OK || fail("server", hotrow_last_error());
}

static hotrow_status push_rows(store_state *b, const char *endpoint, double *seconds_p)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  client_options.shards = endpoint;
  client_options.timeout_ms = CALL_TIMEOUT_MS;
  table_options.name = "bench";
  table_options.dim = b->dim;
  table_options.optimizer.kind = HOTROW_SGD;
  table_options.pull_bound = 1;
  hotrow_status status = hotrow_client_open(&client_options, &b->client);
  if (status == HOTROW_OK)
    status = hotrow_table_create(b->client, &table_options, &b->table);
  double begin = bench_seconds();
  uint64_t rows = b->options->rows, total = rows * b->options->passes;
  push.table = b->table;
  push.keys = b->keys;
  push.grads = b->grads;
  for (uint64_t at = 0; at < total && status == HOTROW_OK; at += push.key_count) {
    push.key_count = (size_t)(total - at < b->options->batch_keys ? total - at : b->options->batch_keys);
    for (size_t i = 0; i < push.key_count; i++)
      b->keys[i] = (at + i) % rows * STEP % rows;
    status = hotrow_push(b->client, &push, 1);
    if (status == HOTROW_OK)
      status = hotrow_step(b->client, 0);
  }
  if (status == HOTROW_OK)
    status = hotrow_flush(b->client, CALL_TIMEOUT_MS);
  *seconds_p = bench_seconds() - begin;
  return status;
}

static bool measure_pushes(store_state *b, bool is_durable, double *seconds_p)
{
  hotrow_server *server;
  if (!start_server(b, is_durable, &server))
    return false;
  hotrow_status status = push_rows(b, hotrow_server_endpoint(server, 0), seconds_p);
  bool ok = status == HOTROW_OK || fail("push", hotrow_last_error());
  hotrow_client_close(b->client);
  b->client = NULL;
  ok = (hotrow_server_drain(server) == HOTROW_OK || fail("server", hotrow_last_error())) && ok;
  hotrow_server_stop(server);
  return ok;
}

static bool measure_load(const store_state *b, double *seconds_p)
{
  hotrow_server *server;
  double begin = bench_seconds();
  if (!start_server(b, true, &server))
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

static void print_result(const store_state *b, double memory_s, double durable_s, double file_s, double load_s)
{
  const bench_store_options *o = b->options;
  double pushed = (double)o->rows * o->passes;
  if (o->json)
    printf(
        "{\"dim\":%u,\"rows\":%llu,\"passes\":%u,\"batch_keys\":%llu,\"cut_bytes\":%llu,\"cut_interval_ms\":%u,"
        "\"memory_rows_per_s\":%.0f,\"durable_rows_per_s\":%.0f,\"file_rows_per_s\":%.0f,\"load_rows_per_s\":%.0f}\n",
        b->dim, (unsigned long long)o->rows, o->passes, (unsigned long long)o->batch_keys,
        (unsigned long long)o->cut_bytes, o->cut_interval_ms, pushed / memory_s, pushed / durable_s, pushed / file_s,
        (double)o->rows / load_s);
  else
    printf("dim %4u: pushed %.2f M rows/s in memory, %.2f until durable, a plain file %.2f; loaded %.2f M rows/s\n",
           b->dim, pushed / memory_s / 1e6, pushed / durable_s / 1e6, pushed / file_s / 1e6,
           (double)o->rows / load_s / 1e6);
  fflush(stdout);
}

static bool run_dim(void *context, double number)
{
  store_state *b = context;
  double memory_s = 0, durable_s = 0, file_s = 0, load_s = 0;
  b->dim = (uint32_t)number;
  if (snprintf(b->dir, sizeof b->dir, "%s/dim-%u", b->options->dir, b->dim) >= (int)sizeof b->dir)
    return fail("--dir", "too long");
  if (access(b->dir, F_OK) == 0)
    return fail(b->dir, "is there already");
  b->keys = calloc(b->options->batch_keys, sizeof *b->keys);
  b->grads = calloc(b->options->batch_keys * b->dim, sizeof *b->grads);
  bool ok = (b->keys && b->grads) || fail("batch", "no memory");
  for (size_t i = 0; ok && i < b->options->batch_keys * b->dim; i++)
    b->grads[i] = 1e-3f * (float)(i % 5);
  ok = ok && measure_pushes(b, false, &memory_s) && measure_pushes(b, true, &durable_s) && measure_file(b, &file_s) &&
       measure_load(b, &load_s);
  if (ok)
    print_result(b, memory_s, durable_s, file_s, load_s);
  free(b->keys);
  free(b->grads);
  return ok;
}

int hr_bench_store(const bench_store_options *options)
{
  store_state b = {.options = options};
  if (!options->dir || options->rows % STEP == 0) {
    fail("--dir", "name a directory for the rows");
    return HR_EXIT_USAGE;
  }
  return bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, run_dim, &b) ? 0 : HR_EXIT_SOFTWARE;
}
