/* Pull and push+pull of one client against one shard over loopback TCP, next to the raw reference in the same run.
 * Both get the same deduplicated batches, one request outstanding; repeats alternate between the two. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hotrow/hotrow.h>
#include <hotrow/server.h>
#include <hr/random.h>

#include "bench.h"
#include "dataset_zipf.h"
#include "options.h"

#define BATCH_SETS 16u    /* different batches, used in turn */
#define FILL_KEYS 100000u /* rows created by one request before measuring */
#define REPEATS_MAX 101u
#define CALL_TIMEOUT_MS 60000u

typedef struct bench_state {
  const bench_shard_options *options;
  bench_batch batches[BATCH_SETS];
  size_t key_count_max, distinct_keys;
  float *values, *grads;
  uint32_t dim;
  uint32_t optimizer; /* 0 sgd, 1 rowwise_adagrad */
  pid_t server;
  hotrow_client *client;
  hotrow_table *table;
  bench_raw *raw;
} bench_state;

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Zipf ranks scattered over the rows, so that hot rows are not neighbours; distinct; in random order. */
static bool make_batches(bench_state *b)
{
  const bench_shard_options *o = b->options;
  hr_zipf zipf;
  hr_zipf_init(&zipf, 1, o->rows, (double)o->zipf);
  hr_rng rng = {1};
  for (uint32_t s = 0; s < BATCH_SETS; s++) {
    uint64_t *keys = malloc(o->batch_keys * sizeof *keys);
    if (!keys)
      return false;
    for (uint64_t i = 0; i < o->batch_keys; i++) {
      uint64_t rank = hr_zipf_draw(&zipf, hr_unit_double(hr_rng_next(&rng)), &rng);
      keys[i] = hr_mix64(rank) % o->rows;
    }
    qsort(keys, o->batch_keys, sizeof *keys, compare_keys);
    size_t count = 0;
    for (uint64_t i = 0; i < o->batch_keys; i++)
      if (i == 0 || keys[i] != keys[i - 1])
        keys[count++] = keys[i];
    for (size_t i = count - 1; i > 0; i--) {
      size_t other = hr_rng_below(&rng, i + 1);
      uint64_t key = keys[i];
      keys[i] = keys[other];
      keys[other] = key;
    }
    b->batches[s] = (bench_batch){keys, count};
    b->distinct_keys += count / BATCH_SETS;
    b->key_count_max = count > b->key_count_max ? count : b->key_count_max;
  }
  return true;
}

/* Runs the server in a process of its own; its endpoint comes back through a pipe. */
static bool start_server(bench_state *b, char *endpoint, size_t endpoint_size)
{
  int ends[2];
  if (pipe(ends) != 0)
    return false;
  b->server = fork();
  if (b->server == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
    options.bind = "tcp://127.0.0.1:*";
    options.io_threads = b->options->io_threads;
    hotrow_server *server;
    if (hotrow_server_start(&options, &server) != HOTROW_OK) {
      fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
      _exit(1);
    }
    const char *text = hotrow_server_endpoint(server, 0);
    if (write(ends[1], text, strlen(text)) < 0)
      _exit(1);
    close(ends[1]);
    for (;;)
      pause();
  }
  close(ends[1]);
  ssize_t size = read(ends[0], endpoint, endpoint_size - 1);
  close(ends[0]);
  if (size <= 0)
    return false;
  endpoint[size] = 0;
  return true;
}

static void stop_server(bench_state *b)
{
  hotrow_client_close(b->client);
  b->client = NULL;
  if (b->server > 0) {
    kill(b->server, SIGKILL);
    waitpid(b->server, NULL, 0);
  }
  b->server = 0;
  bench_raw_close(b->raw);
  b->raw = NULL;
}

static hotrow_lookup_request lookup_of(const bench_state *b, const uint64_t *keys, size_t count)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = b->table;
  request.keys = keys;
  request.key_count = count;
  request.out = b->values;
  request.timeout_ms = CALL_TIMEOUT_MS;
  return request;
}

/* Creates every row, so that the table has its size before anything is measured. */
static hotrow_status fill_table(bench_state *b)
{
  uint64_t keys[FILL_KEYS / 10];
  size_t chunk = sizeof keys / sizeof keys[0];
  chunk = chunk < b->key_count_max ? chunk : b->key_count_max;
  for (uint64_t first = 0; first < b->options->rows; first += chunk) {
    size_t count = b->options->rows - first < chunk ? (size_t)(b->options->rows - first) : chunk;
    for (size_t i = 0; i < count; i++)
      keys[i] = first + i;
    hotrow_lookup_request request = lookup_of(b, keys, count);
    hotrow_status status = hotrow_lookup(b->client, &request, 1);
    if (status != HOTROW_OK)
      return status;
  }
  return HOTROW_OK;
}

static hotrow_status open_client(bench_state *b, const char *endpoint)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = endpoint;
  client_options.timeout_ms = CALL_TIMEOUT_MS;
  hotrow_status status = hotrow_client_open(&client_options, &b->client);
  if (status != HOTROW_OK)
    return status;
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  table_options.name = "bench";
  table_options.dim = b->dim;
  table_options.optimizer.kind = b->optimizer == 0 ? HOTROW_SGD : HOTROW_ROWWISE_ADAGRAD;
  /* Bounds above 0 and no cache: every row is pulled and pushed at once, without waiting for other workers. */
  table_options.pull_bound = 1;
  table_options.push_bound = 1;
  status = hotrow_table_create(b->client, &table_options, &b->table);
  return status == HOTROW_OK ? fill_table(b) : status;
}

static hotrow_status ask_hotrow(bench_state *b, bool is_push, const bench_batch *push, const bench_batch *pull)
{
  hotrow_lookup_request lookup = lookup_of(b, pull->keys, pull->count);
  if (!is_push)
    return hotrow_lookup(b->client, &lookup, 1);
  hotrow_push_request request = HOTROW_PUSH_REQUEST_INIT;
  request.table = b->table;
  request.keys = push->keys;
  request.key_count = push->count;
  request.grads = b->grads;
  hotrow_status status = hotrow_push(b->client, &request, 1);
  return status == HOTROW_OK ? hotrow_step_lookup(b->client, &lookup, 1) : status;
}

static double cpu_seconds(const bench_state *b, bool is_raw)
{
  return bench_cpu_seconds(0) + bench_cpu_seconds(is_raw ? bench_raw_process(b->raw) : b->server);
}

/* One repeat: rows per second, CPU time of both sides per row and, if wanted, each request's milliseconds. */
static bool measure(bench_state *b, bool is_raw, bool is_push, double *rows_per_s, double *cpu_ns, double *latency_ms)
{
  size_t rows = 0;
  double begin = bench_seconds(), cpu_begin = cpu_seconds(b, is_raw);
  for (uint32_t i = 0; i < b->options->batches; i++) {
    const bench_batch *push = &b->batches[i % BATCH_SETS], *pull = &b->batches[(i + 1) % BATCH_SETS];
    double before = bench_seconds();
    bool ok = is_raw ? (is_push ? bench_raw_push_pull(b->raw, push, b->grads, pull, b->values)
                                : bench_raw_pull(b->raw, pull->keys, pull->count, b->values))
                     : ask_hotrow(b, is_push, push, pull) == HOTROW_OK;
    if (!ok) {
      fprintf(stderr, "hotrow bench: %s\n", is_raw ? "the raw connection broke" : hotrow_last_error());
      return false;
    }
    if (latency_ms)
      latency_ms[i] = 1e3 * (bench_seconds() - before);
    rows += pull->count;
  }
  *rows_per_s = (double)rows / (bench_seconds() - begin);
  *cpu_ns = 1e9 * (cpu_seconds(b, is_raw) - cpu_begin) / (double)rows;
  return true;
}

/* What the repeats gave. */
typedef struct shard_result {
  double ours[REPEATS_MAX], raw[REPEATS_MAX], ratios[REPEATS_MAX];
  double cpu_ours[REPEATS_MAX], cpu_raw[REPEATS_MAX];
  double *latency; /* owned */
  size_t latency_count;
} shard_result;

static void print_result(const bench_state *b, bool is_push, shard_result *r)
{
  const bench_shard_options *o = b->options;
  size_t n = o->repeats;
  double p50 = bench_quantile(r->latency, r->latency_count, 0.5);
  double p99 = bench_quantile(r->latency, r->latency_count, 0.99);
  double ratio = bench_quantile(r->ratios, n, 0.5), ours = bench_quantile(r->ours, n, 0.5);
  double raw = bench_quantile(r->raw, n, 0.5);
  double cpu = bench_quantile(r->cpu_ours, n, 0.5), cpu_raw = bench_quantile(r->cpu_raw, n, 0.5);
  const char *op = is_push ? "push_pull" : "pull";
  if (o->json)
    printf("{\"op\":\"%s\",\"dim\":%u,\"optimizer\":\"%s\",\"rows_per_s\":%.0f,\"raw_rows_per_s\":%.0f,"
           "\"ratio\":%.4f,\"ratio_min\":%.4f,\"ratio_max\":%.4f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
           "\"rows_per_s_min\":%.0f,\"rows_per_s_max\":%.0f,\"cpu_ns_per_row\":%.1f,\"raw_cpu_ns_per_row\":%.1f,"
           "\"table_rows\":%llu,\"batch_rows\":%zu,\"zipf\":%.3f,\"repeats\":%u,\"batches\":%u}\n",
           op, b->dim, bench_optimizer_names[b->optimizer], ours, raw, ratio, r->ratios[0], r->ratios[n - 1], p50, p99,
           r->ours[0], r->ours[n - 1], cpu, cpu_raw, (unsigned long long)o->rows, b->distinct_keys, (double)o->zipf,
           o->repeats, o->batches);
  else
    printf("%-10s dim %4u %-16s %7.2f M rows/s, raw %7.2f, ratio %.3f (%.3f .. %.3f), CPU %.0f ns a row, raw %.0f, "
           "p50 %.2f ms, p99 %.2f ms\n",
           op, b->dim, bench_optimizer_names[b->optimizer], ours / 1e6, raw / 1e6, ratio, r->ratios[0],
           r->ratios[n - 1], cpu, cpu_raw, p50, p99);
  fflush(stdout);
}

static bool run_op(bench_state *b, bool is_push)
{
  static shard_result result;
  const bench_shard_options *o = b->options;
  shard_result *r = &result;
  double unused;
  *r = (shard_result){.latency_count = (size_t)o->repeats * o->batches};
  r->latency = calloc(r->latency_count, sizeof *r->latency);
  bool ok = r->latency && measure(b, false, is_push, &unused, &unused, NULL) &&
            measure(b, true, is_push, &unused, &unused, NULL);
  for (uint32_t i = 0; ok && i < o->repeats; i++) {
    ok = measure(b, false, is_push, &r->ours[i], &r->cpu_ours[i], r->latency + (size_t)i * o->batches) &&
         measure(b, true, is_push, &r->raw[i], &r->cpu_raw[i], NULL);
    r->ratios[i] = ok ? r->ours[i] / r->raw[i] : 0;
  }
  if (ok)
    print_result(b, is_push, r);
  free(r->latency);
  return ok;
}

/* Pulls are measured with the first optimizer: they are the same with every one, but for the width of a record. */
static bool run_optimizer(bench_state *b, uint32_t optimizer, bool is_first)
{
  char endpoint[256];
  b->optimizer = optimizer;
  bool ok = start_server(b, endpoint, sizeof endpoint);
  b->raw = ok ? bench_raw_open(b->options->rows, b->dim, optimizer, b->key_count_max) : NULL;
  ok = ok && b->raw;
  if (ok && open_client(b, endpoint) != HOTROW_OK) {
    fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
    ok = false;
  }
  ok = ok && (!is_first || run_op(b, false)) && run_op(b, true);
  stop_server(b);
  return ok;
}

static bool run_dim(void *context, double number)
{
  bench_state *b = context;
  const uint32_t dim = (uint32_t)number, chosen = b->options->optimizer;
  b->dim = dim;
  b->values = malloc(b->key_count_max * dim * sizeof *b->values);
  b->grads = malloc(b->key_count_max * dim * sizeof *b->grads);
  bool ok = b->values && b->grads;
  for (size_t i = 0; ok && i < b->key_count_max * dim; i++)
    b->grads[i] = 1e-3f * (float)(i % 5);
  for (uint32_t optimizer = 0; ok && optimizer < 2; optimizer++)
    if (chosen == 2 || chosen == optimizer)
      ok = run_optimizer(b, optimizer, optimizer == 0 || chosen == 1);
  free(b->values);
  free(b->grads);
  return ok;
}

int hr_bench_shard(const bench_shard_options *options)
{
  bench_state b = {.options = options};
  bool ok = make_batches(&b);
  ok = ok && bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, run_dim, &b);
  for (uint32_t s = 0; s < BATCH_SETS; s++)
    free(b.batches[s].keys);
  return ok ? 0 : HR_EXIT_SOFTWARE;
}
