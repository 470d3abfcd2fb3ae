/* Pull and push+pull of what a user might take instead, with the same deduplicated batches as ours. Each peer has its
 * turn in a process of its own, so that memory is all its own and one that is over takes none. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hr/random.h>

#include "bench_hotrow.h"
#include "bench_peers.h"
#include "options.h"

#define REPEATS_MAX 101u
#define OPS 2u /* pull, push+pull */

#define PEER_COUNT 3u
static const bench_peer *const peers[PEER_COUNT] = {&bench_peer_hotrow, &bench_peer_redis, &bench_peer_rocksdb};

typedef struct peer_op {
  double rows_per_s, rows_per_s_min, rows_per_s_max, p50_ms, p99_ms;
} peer_op;

/* What the process of a peer's turn leaves, in memory shared with it. */
typedef struct peer_result {
  bench_peer_status status;
  peer_op ops[OPS];
  uint64_t memory_bytes, disk_bytes;
} peer_result;

typedef struct peers_state {
  const bench_peers_options *options;
  bench_batches batches;
  peer_result *results; /* [PEER_COUNT], shared */
} peers_state;

/* ---- ours ---- */

typedef struct ours {
  const bench_peer_setup *setup;
  bench_hotrow hotrow;
} ours;

static void close_ours(void *peer)
{
  ours *o = peer;
  if (o)
    bench_hotrow_close(&o->hotrow);
  free(o);
}

static bench_peer_status open_ours(const bench_peer_setup *setup, void **peer_p)
{
  ours *o = calloc(1, sizeof *o);
  if (!o)
    return BENCH_PEER_FAILED;
  o->setup = setup;
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = "tcp://127.0.0.1:*";
  if (!bench_hotrow_start(&o->hotrow, &options) || !bench_hotrow_connect(&o->hotrow, 0, setup->dim, HOTROW_SGD)) {
    close_ours(o);
    return BENCH_PEER_FAILED;
  }
  *peer_p = o;
  return BENCH_PEER_OK;
}

static bool fill_ours(void *peer, float *values)
{
  ours *o = peer;
  return bench_hotrow_fill(&o->hotrow, o->setup->row_count, values, o->setup->key_count_max);
}

static bool pull_ours(void *peer, const uint64_t *keys, size_t count, float *values)
{
  return bench_hotrow_pull(&((ours *)peer)->hotrow, keys, count, values);
}

static bool push_pull_ours(void *peer, const bench_batch *push, const float *grads, const bench_batch *pull,
                           float *values)
{
  return bench_hotrow_push_pull(&((ours *)peer)->hotrow, push, grads, pull, values);
}

static pid_t process_of_ours(const void *peer)
{
  return ((const ours *)peer)->hotrow.server;
}

static uint64_t disk_bytes_of_ours(const void *peer)
{
  (void)peer;
  return 0;
}

const bench_peer bench_peer_hotrow = {
    .name = "hotrow",
    .open = open_ours,
    .fill = fill_ours,
    .pull = pull_ours,
    .push_pull = push_pull_ours,
    .process = process_of_ours,
    .disk_bytes = disk_bytes_of_ours,
    .close = close_ours,
};

void bench_peer_init_row(uint64_t key, uint32_t dim, float *row)
{
  hr_rng rng = {key + 1};
  for (uint32_t i = 0; i < dim; i++)
    row[i] = (float)(hr_rng_next(&rng) >> 40) * 0x1p-24f - 0.5f;
}

void bench_peer_sgd(float *values, const float *grads, size_t count)
{
  for (size_t i = 0; i < count; i++)
    values[i] -= BENCH_PEER_LR * grads[i];
}

/* ---- a peer's turn ---- */

typedef struct turn {
  const peers_state *state;
  const bench_peer *peer;
  const bench_peer_setup *setup;
  void *instance;
  float *values, *grads;
  double *latency_ms; /* [repeats * batches] */
} turn;

static bool run_batches(turn *t, bool is_push, double *rows_per_s_p, double *latency_ms)
{
  size_t rows = 0;
  double begin = bench_seconds();
  for (uint32_t i = 0; i < t->state->options->batches; i++) {
    const bench_batch *push = &t->state->batches.all[i % BENCH_BATCHES];
    const bench_batch *pull = &t->state->batches.all[(i + 1) % BENCH_BATCHES];
    double before = bench_seconds();
    if (!(is_push ? t->peer->push_pull(t->instance, push, t->grads, pull, t->values)
                  : t->peer->pull(t->instance, pull->keys, pull->count, t->values)))
      return false;
    latency_ms[i] = 1e3 * (bench_seconds() - before);
    rows += pull->count;
  }
  *rows_per_s_p = (double)rows / (bench_seconds() - begin);
  return true;
}

static bool run_op(turn *t, bool is_push, peer_op *op)
{
  const bench_peers_options *o = t->state->options;
  double rates[REPEATS_MAX], unused;
  if (!run_batches(t, is_push, &unused, t->latency_ms)) /* to warm up */
    return false;
  for (uint32_t i = 0; i < o->repeats; i++)
    if (!run_batches(t, is_push, &rates[i], t->latency_ms + (size_t)i * o->batches))
      return false;
  size_t request_count = (size_t)o->repeats * o->batches;
  op->rows_per_s = bench_quantile(rates, o->repeats, 0.5);
  op->rows_per_s_min = rates[0];
  op->rows_per_s_max = rates[o->repeats - 1];
  op->p50_ms = bench_quantile(t->latency_ms, request_count, 0.5);
  op->p99_ms = bench_quantile(t->latency_ms, request_count, 0.99);
  return true;
}

/* Memory is by how much the process that has the rows has grown since it had none. */
static bench_peer_status take_turn(turn *t, peer_result *result)
{
  const bench_peers_options *o = t->state->options;
  size_t float_count = t->setup->key_count_max * t->setup->dim;
  t->values = malloc(float_count * sizeof *t->values);
  t->grads = malloc(float_count * sizeof *t->grads);
  t->latency_ms = malloc((size_t)o->repeats * o->batches * sizeof *t->latency_ms);
  if (!t->values || !t->grads || !t->latency_ms)
    return BENCH_PEER_FAILED;
  for (size_t i = 0; i < float_count; i++)
    t->grads[i] = 1e-3f * (float)(i % 5);
  memset(t->values, 0, float_count * sizeof *t->values);
  bench_peer_status status = t->peer->open(t->setup, &t->instance);
  if (status != BENCH_PEER_OK)
    return status;
  pid_t process = t->peer->process(t->instance);
  uint64_t before = bench_memory_bytes(process);
  bool ok = t->peer->fill(t->instance, t->values);
  for (uint32_t op = 0; ok && op < OPS; op++)
    ok = run_op(t, op == 1, &result->ops[op]);
  uint64_t after = bench_memory_bytes(process);
  result->memory_bytes = after > before ? after - before : 0;
  result->disk_bytes = t->peer->disk_bytes(t->instance);
  t->peer->close(t->instance);
  return ok ? BENCH_PEER_OK : BENCH_PEER_FAILED;
}

/* ---- all turns ---- */

static void print_op(const peers_state *s, const bench_peer *peer, uint32_t dim, uint32_t op, const peer_result *r)
{
  const bench_peers_options *o = s->options;
  const peer_op *at = &r->ops[op];
  const char *name = op == 1 ? "push_pull" : "pull";
  double memory = (double)r->memory_bytes / (double)o->rows, disk = (double)r->disk_bytes / (double)o->rows;
  double times = s->results[0].ops[op].rows_per_s / at->rows_per_s;
  if (o->json)
    printf("{\"peer\":\"%s\",\"op\":\"%s\",\"dim\":%u,\"rows_per_s\":%.0f,\"rows_per_s_min\":%.0f,"
           "\"rows_per_s_max\":%.0f,\"hotrow_times\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
           "\"memory_bytes_per_row\":%.1f,\"disk_bytes_per_row\":%.1f,\"payload_bytes_per_row\":%zu,"
           "\"table_rows\":%llu,\"batch_rows\":%zu,\"zipf\":%.3f,\"repeats\":%u,\"batches\":%u}\n",
           peer->name, name, dim, at->rows_per_s, at->rows_per_s_min, at->rows_per_s_max, times, at->p50_ms, at->p99_ms,
           memory, disk, dim * sizeof(float), (unsigned long long)o->rows, s->batches.distinct_keys, (double)o->zipf,
           o->repeats, o->batches);
  else
    printf("%-10s %-10s dim %4u: %7.3f M rows/s (%.3f .. %.3f), hotrow is %.1f times as fast, p50 %.2f ms, "
           "p99 %.2f ms, %.0f bytes of memory a row of %zu, %.0f on disk\n",
           peer->name, name, dim, at->rows_per_s / 1e6, at->rows_per_s_min / 1e6, at->rows_per_s_max / 1e6, times,
           at->p50_ms, at->p99_ms, memory, dim * sizeof(float), disk);
}

static bool run_peer(peers_state *s, size_t index, uint32_t dim)
{
  char dir[4096];
  peer_result *result = &s->results[index];
  *result = (peer_result){.status = BENCH_PEER_FAILED};
  if (!bench_dir_make(s->options->dir, dir, sizeof dir))
    return false;
  pid_t process = fork();
  if (process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_peer_setup setup = {
        .row_count = s->options->rows, .key_count_max = s->batches.key_count_max, .dir = dir, .dim = dim};
    turn t = {.state = s, .peer = peers[index], .setup = &setup};
    result->status = take_turn(&t, result);
    _exit(0);
  }
  if (process > 0)
    waitpid(process, NULL, 0);
  bench_dir_remove(dir);
  for (uint32_t op = 0; result->status == BENCH_PEER_OK && op < OPS; op++)
    print_op(s, peers[index], dim, op, result);
  if (result->status == BENCH_PEER_ABSENT)
    printf(s->options->json ? "{\"peer\":\"%s\",\"dim\":%u,\"skipped\":\"%s\"}\n" : "%-10s dim %4u: skipped: %s\n",
           peers[index]->name, dim, peers[index]->absent);
  fflush(stdout);
  return result->status != BENCH_PEER_FAILED;
}

static bool run_dim(void *context, double number)
{
  bool ok = true;
  for (size_t i = 0; ok && i < PEER_COUNT; i++)
    ok = run_peer(context, i, (uint32_t)number);
  return ok;
}

int hr_bench_peers(const bench_peers_options *options)
{
  peers_state s = {.options = options};
  size_t results_bytes = PEER_COUNT * sizeof *s.results;
  void *shared = mmap(NULL, results_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  bool ok =
      shared != MAP_FAILED && bench_batches_init(&s.batches, options->rows, options->batch_keys, (double)options->zipf);
  s.results = shared;
  ok = ok && bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, run_dim, &s);
  bench_batches_fini(&s.batches);
  if (shared != MAP_FAILED)
    munmap(shared, results_bytes);
  return ok ? 0 : HR_EXIT_SOFTWARE;
}
