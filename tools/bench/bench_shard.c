/* Pull and push+pull of one client against one shard over loopback TCP, next to the raw reference in the same run.
 * Both get the same deduplicated batches, one request outstanding; repeats alternate between the two. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "bench_hotrow.h"
#include "options.h"

#define REPEATS_MAX 101u

typedef struct bench_state {
  const bench_shard_options *options;
  bench_batches batches;
  float *values, *grads;
  uint32_t dim;
  uint32_t optimizer; /* 0 sgd, 1 rowwise_adagrad */
  bench_hotrow ours;
  bench_raw *raw;
} bench_state;

static double cpu_seconds(const bench_state *b, bool is_raw)
{
  return bench_cpu_seconds(0) + bench_cpu_seconds(is_raw ? bench_raw_process(b->raw) : b->ours.server);
}

static bool ask_ours(bench_state *b, bool is_push, const bench_batch *push, const bench_batch *pull)
{
  return is_push ? bench_hotrow_push_pull(&b->ours, push, b->grads, pull, b->values)
                 : bench_hotrow_pull(&b->ours, pull->keys, pull->count, b->values);
}

static bool ask_raw(bench_state *b, bool is_push, const bench_batch *push, const bench_batch *pull)
{
  bool ok = is_push ? bench_raw_push_pull(b->raw, push, b->grads, pull, b->values)
                    : bench_raw_pull(b->raw, pull->keys, pull->count, b->values);
  if (!ok)
    fprintf(stderr, "hotrow bench: the raw connection broke\n");
  return ok;
}

/* One repeat: rows per second, CPU time of both sides per row and, if wanted, each request's milliseconds. */
static bool measure(bench_state *b, bool is_raw, bool is_push, double *rows_per_s, double *cpu_ns, double *latency_ms)
{
  size_t rows = 0;
  double begin = bench_seconds(), cpu_begin = cpu_seconds(b, is_raw);
  for (uint32_t i = 0; i < b->options->batches; i++) {
    const bench_batch *push = &b->batches.all[i % BENCH_BATCHES], *pull = &b->batches.all[(i + 1) % BENCH_BATCHES];
    double before = bench_seconds();
    if (!(is_raw ? ask_raw(b, is_push, push, pull) : ask_ours(b, is_push, push, pull)))
      return false;
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
           r->ours[0], r->ours[n - 1], cpu, cpu_raw, (unsigned long long)o->rows, b->batches.distinct_keys,
           (double)o->zipf, o->repeats, o->batches);
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
  r->latency = r->latency_count > 0 ? calloc(r->latency_count, sizeof *r->latency) : NULL;
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

static bool open_both(bench_state *b)
{
  const bench_shard_options *o = b->options;
  hotrow_server_options server_options = HOTROW_SERVER_OPTIONS_INIT;
  server_options.bind = "tcp://127.0.0.1:*";
  server_options.io_threads = o->io_threads;
  if (!bench_hotrow_start(&b->ours, &server_options))
    return false;
  b->raw = bench_raw_open(o->rows, b->dim, b->optimizer, b->batches.key_count_max);
  return b->raw && bench_hotrow_connect(&b->ours, 0, b->dim, b->optimizer == 0 ? HOTROW_SGD : HOTROW_ROWWISE_ADAGRAD) &&
         bench_hotrow_fill(&b->ours, o->rows, b->values, b->batches.key_count_max);
}

/* Pulls are measured with the first optimizer: they are the same with every one, but for the width of a record. */
static bool run_optimizer(bench_state *b, uint32_t optimizer, bool is_first)
{
  b->optimizer = optimizer;
  bool ok = open_both(b) && (!is_first || run_op(b, false)) && run_op(b, true);
  bench_hotrow_close(&b->ours);
  bench_raw_close(b->raw);
  b->raw = NULL;
  return ok;
}

static bool run_dim(void *context, double number)
{
  bench_state *b = context;
  b->dim = (uint32_t)number;
  size_t float_count = b->batches.key_count_max * b->dim;
  b->values = malloc(float_count * sizeof *b->values);
  b->grads = malloc(float_count * sizeof *b->grads);
  bool ok = b->values && b->grads;
  for (size_t i = 0; ok && i < float_count; i++)
    b->grads[i] = 1e-3f * (float)(i % 5);
  const uint32_t chosen = b->options->optimizer;
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
  bool ok = bench_batches_init(&b.batches, options->rows, options->batch_keys, (double)options->zipf);
  ok = ok && bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, run_dim, &b);
  bench_batches_fini(&b.batches);
  return ok ? 0 : HR_EXIT_SOFTWARE;
}
