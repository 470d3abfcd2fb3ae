#include "bench_hotrow.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 60000u
#define FILL_KEYS 10000u /* rows created by one request */

static bool check(hotrow_status status)
{
  if (status != HOTROW_OK)
    fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
  return status == HOTROW_OK;
}

/* Says where it listens, then what it counts whenever it is asked. */
static _Noreturn void serve(const hotrow_server_options *options, int control)
{
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  hotrow_server *server;
  if (!check(hotrow_server_start(options, &server)))
    _exit(1);
  const char *text = hotrow_server_endpoint(server, 0);
  hotrow_shard_counts counts = HOTROW_SHARD_COUNTS_INIT;
  char question;
  if (write(control, text, strlen(text)) < 0)
    _exit(1);
  while (read(control, &question, 1) == 1) {
    hotrow_server_get_counts(server, 0, &counts);
    if (write(control, &counts, sizeof counts) < 0)
      break;
  }
  _exit(0);
}

bool bench_hotrow_start(bench_hotrow *h, const hotrow_server_options *options)
{
  int ends[2];
  *h = (bench_hotrow){.control = -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return false;
  h->server = fork();
  if (h->server == 0) {
    close(ends[0]);
    serve(options, ends[1]);
  }
  close(ends[1]);
  h->control = ends[0];
  ssize_t size = read(h->control, h->endpoint, sizeof h->endpoint - 1);
  h->endpoint[size > 0 ? size : 0] = 0;
  return size > 0;
}

bool bench_hotrow_counts(const bench_hotrow *h, hotrow_shard_counts *counts_p)
{
  return write(h->control, "?", 1) == 1 && read(h->control, counts_p, sizeof *counts_p) == (ssize_t)sizeof *counts_p;
}

bool bench_hotrow_connect(bench_hotrow *h, uint64_t job, uint32_t dim, hotrow_optimizer_kind optimizer)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = h->endpoint;
  client_options.job = job;
  client_options.timeout_ms = CALL_TIMEOUT_MS;
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  table_options.name = "bench";
  table_options.dim = dim;
  table_options.optimizer.kind = optimizer;
  table_options.pull_bound = 1;
  table_options.push_bound = 1;
  return check(hotrow_client_open(&client_options, &h->client)) &&
         check(hotrow_table_create(h->client, &table_options, &h->table));
}

static hotrow_lookup_request lookup_of(const bench_hotrow *h, const uint64_t *keys, size_t count, float *values)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = h->table;
  request.keys = keys;
  request.key_count = count;
  request.out = values;
  request.timeout_ms = CALL_TIMEOUT_MS;
  return request;
}

bool bench_hotrow_fill(bench_hotrow *h, uint64_t row_count, float *values, size_t values_count)
{
  uint64_t keys[FILL_KEYS];
  size_t chunk = FILL_KEYS < values_count ? FILL_KEYS : values_count;
  for (uint64_t first = 0; first < row_count; first += chunk) {
    size_t count = row_count - first < chunk ? (size_t)(row_count - first) : chunk;
    for (size_t i = 0; i < count; i++)
      keys[i] = first + i;
    if (!bench_hotrow_pull(h, keys, count, values))
      return false;
  }
  return true;
}

bool bench_hotrow_pull(bench_hotrow *h, const uint64_t *keys, size_t count, float *values)
{
  hotrow_lookup_request lookup = lookup_of(h, keys, count, values);
  return check(hotrow_lookup(h->client, &lookup, 1));
}

bool bench_hotrow_push_pull(bench_hotrow *h, const bench_batch *push, const float *grads, const bench_batch *pull,
                            float *values)
{
  hotrow_lookup_request lookup = lookup_of(h, pull->keys, pull->count, values);
  hotrow_push_request request = HOTROW_PUSH_REQUEST_INIT;
  request.table = h->table;
  request.keys = push->keys;
  request.key_count = push->count;
  request.grads = grads;
  return check(hotrow_push(h->client, &request, 1)) && check(hotrow_step_lookup(h->client, &lookup, 1));
}

void bench_hotrow_close(bench_hotrow *h)
{
  hotrow_client_close(h->client);
  if (h->server > 0) {
    kill(h->server, SIGKILL);
    waitpid(h->server, NULL, 0);
  }
  if (h->control > 0)
    close(h->control);
  *h = (bench_hotrow){0};
}
