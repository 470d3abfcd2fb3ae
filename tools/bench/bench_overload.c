/* A client that pulls now and then, alone and beside clients that are a burden, and the memory of their server. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_hotrow.h"
#include "options.h"
#include "overload_clients.h"

#define PAUSE_NS 1000000L /* of the well-behaved client, between two pulls */
#define SETTLE_S 1.0      /* from one phase to the next */
#define READY_S 120.0     /* that a burden has to begin */
#define P99_TIMES_MAX 2.0

typedef struct overload_phase {
  const char *name;
  void (*burden)(const overload_client *c); /* NULL: nobody else */
} overload_phase;

static const overload_phase phases[] = {
    {"alone", NULL},
    {"cores", overload_compute},
    {"connections", overload_connections},
    {"never_read", overload_never_read},
    {"flood", overload_flood},
    {"after", NULL},
};
#define PHASE_COUNT (sizeof phases / sizeof *phases)

typedef struct overload_state {
  const bench_overload_options *options;
  bench_batches batches;
  bench_hotrow hotrow;
  overload_progress *progress; /* shared with the burden */
  float *values;
  double *latency_ms; /* owned, grows */
  size_t latency_count, latency_capacity;
  double alone_p50_ms, alone_p99_ms;
} overload_state;

static bool pull_once(overload_state *s, uint64_t *turn)
{
  const bench_batch *batch = &s->batches.all[(*turn)++ % BENCH_BATCHES];
  double begin = bench_seconds();
  if (!bench_hotrow_pull(&s->hotrow, batch->keys, batch->count, s->values))
    return false;
  if (s->latency_count == s->latency_capacity) {
    size_t capacity = s->latency_capacity * 2 + 1024;
    double *more = realloc(s->latency_ms, capacity * sizeof *more);
    if (!more)
      return false;
    s->latency_ms = more;
    s->latency_capacity = capacity;
  }
  s->latency_ms[s->latency_count++] = 1e3 * (bench_seconds() - begin);
  nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
  return true;
}

/* 0 if there is none, -1 if it cannot begin. */
static pid_t start_burden(overload_state *s, const overload_phase *phase)
{
  *s->progress = (overload_progress){0};
  if (!phase->burden)
    return 0;
  pid_t burden = fork();
  if (burden == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const overload_client c = {.options = s->options, .endpoint = s->hotrow.endpoint, .progress = s->progress};
    phase->burden(&c);
    _exit(0);
  }
  for (double end = bench_seconds() + READY_S; burden > 0 && !atomic_load(&s->progress->is_ready);) {
    if (waitpid(burden, NULL, WNOHANG) != 0 || bench_seconds() > end) {
      fprintf(stderr, "hotrow bench: %s: does not begin\n", phase->name);
      return -1;
    }
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
  }
  return burden;
}

/* Milliseconds that no request of the phase took more of on the shard's thread. */
static double longest_request_ms(const hotrow_shard_counts *before, const hotrow_shard_counts *counts)
{
  uint32_t bucket = HOTROW_TIME_BUCKETS - 1;
  while (bucket > 0 && counts->request_times[bucket] == before->request_times[bucket])
    bucket--;
  return 1e-3 * (double)(UINT64_C(1) << bucket);
}

static uint64_t busy_count(const hotrow_shard_counts *counts)
{
  for (uint32_t i = 0; i < HOTROW_REFUSAL_COUNT; i++)
    if (hotrow_refusal_name(i) && strcmp(hotrow_refusal_name(i), "busy") == 0)
      return counts->refused[i];
  return 0;
}

/* Of the server: the shard's thread, and ZeroMQ's that brings it messages and takes its replies. */
typedef struct server_waits {
  double shard_s, network_s;
} server_waits;

static server_waits waits_of(const overload_state *s)
{
  return (server_waits){.shard_s = bench_threads(s->hotrow.server, "shard").waited_s,
                        .network_s = bench_threads(s->hotrow.server, "ZMQbg/IO/0").waited_s};
}

typedef struct figure {
  const char *name;
  double value;
} figure;

static void print_figures(bool is_json, const char *phase, const figure *figures, size_t count)
{
  printf(is_json ? "{\"phase\":\"%s\"" : "%s:", phase);
  for (size_t i = 0; i < count; i++)
    printf(is_json ? ",\"%s\":%.12g" : "  %s %.12g", figures[i].name, figures[i].value);
  printf(is_json ? "}\n" : "\n");
  fflush(stdout);
}

static void print_phase(overload_state *s, const char *name, double seconds, const server_waits *waits_before,
                        const hotrow_shard_counts *before, const hotrow_shard_counts *counts)
{
  server_waits waits = waits_of(s);
  double p50 = bench_quantile(s->latency_ms, s->latency_count, 0.5);
  double p99 = bench_quantile(s->latency_ms, s->latency_count, 0.99), most = s->latency_ms[s->latency_count - 1];
  uint64_t budget = s->options->memory, process = bench_memory_bytes_max(s->hotrow.server);
  if (s->alone_p99_ms == 0) {
    s->alone_p50_ms = p50;
    s->alone_p99_ms = p99;
  }
  const figure figures[] = {
      {"seconds", seconds},
      {"pulls", (double)s->latency_count},
      {"p50_ms", p50},
      {"p99_ms", p99},
      {"max_ms", most},
      {"p50_times", p50 / s->alone_p50_ms},
      {"p99_times", p99 / s->alone_p99_ms},
      {"p99_is_met", p99 <= P99_TIMES_MAX * s->alone_p99_ms},
      {"budget_bytes", (double)budget},
      {"process_bytes_max", (double)process},
      {"memory_is_met", process <= budget},
      {"process_bytes", (double)counts->process_bytes},
      {"memory_bytes", (double)counts->memory_bytes},
      {"unread_bytes", (double)counts->unread_bytes},
      {"rows", (double)counts->rows},
      {"rows_in_memory", (double)counts->rows_in_memory},
      {"rows_evicted", (double)(counts->rows_evicted - before->rows_evicted)},
      {"rows_fetched", (double)(counts->rows_fetched - before->rows_fetched)},
      {"replies_dropped", (double)(counts->replies_dropped - before->replies_dropped)},
      {"busy", (double)(busy_count(counts) - busy_count(before))},
      {"request_ms_max", longest_request_ms(before, counts)},
      {"shard_load", 1e-9 * (double)(counts->busy_ns - before->busy_ns) / seconds},
      {"shard_waited", (waits.shard_s - waits_before->shard_s) / seconds},
      {"network_waited", (waits.network_s - waits_before->network_s) / seconds},
      {"sessions", (double)counts->sessions},
      {"burden_done", (double)atomic_load(&s->progress->done)},
      {"burden_failed", (double)atomic_load(&s->progress->failed)},
  };
  print_figures(s->options->json, name, figures, sizeof figures / sizeof *figures);
}

static bool run_for(overload_state *s, double seconds, pid_t burden)
{
  uint64_t turn = 0;
  s->latency_count = 0;
  for (double end = bench_seconds() + seconds; bench_seconds() < end;) {
    if (!pull_once(s, &turn))
      return false;
    siginfo_t ended = {0};
    if (burden > 0 && waitid(P_PID, (id_t)burden, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == burden)
      return true; /* it is done */
  }
  return true;
}

static bool run_phase(overload_state *s, const overload_phase *phase)
{
  hotrow_shard_counts before, counts;
  if (!run_for(s, SETTLE_S, 0) || !bench_hotrow_counts(&s->hotrow, &before))
    return false;
  bench_memory_reset(s->hotrow.server);
  pid_t burden = start_burden(s, phase);
  server_waits waits = waits_of(s);
  double begin = bench_seconds();
  bool ok = burden >= 0 && run_for(s, s->options->seconds, burden) && bench_hotrow_counts(&s->hotrow, &counts);
  if (ok)
    print_phase(s, phase->name, bench_seconds() - begin, &waits, &before, &counts);
  if (burden > 0) {
    kill(burden, SIGKILL);
    waitpid(burden, NULL, 0);
  }
  return ok;
}

static bool run_phases(overload_state *s, const char *dir)
{
  const bench_overload_options *o = s->options;
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = "tcp://127.0.0.1:*";
  options.data_dir = dir;
  options.memory_bytes = o->memory;
  s->values = malloc(s->batches.key_count_max * o->dim * sizeof *s->values);
  bool ok = s->values && bench_hotrow_start(&s->hotrow, &options) &&
            bench_hotrow_connect(&s->hotrow, 0, o->dim, HOTROW_SGD) &&
            bench_hotrow_fill(&s->hotrow, o->rows, s->values, s->batches.key_count_max);
  for (size_t i = 0; ok && i < PHASE_COUNT; i++)
    ok = run_phase(s, &phases[i]);
  bench_hotrow_close(&s->hotrow);
  free(s->values);
  free(s->latency_ms);
  return ok;
}

int hr_bench_overload(const bench_overload_options *options)
{
  overload_state s = {.options = options};
  char dir[4096];
  void *shared = mmap(NULL, sizeof *s.progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  bool ok = shared != MAP_FAILED &&
            bench_batches_init(&s.batches, options->rows, options->batch_keys, (double)options->zipf) &&
            bench_dir_make(options->dir, dir, sizeof dir);
  s.progress = shared;
  if (ok) {
    ok = run_phases(&s, dir);
    bench_dir_remove(dir);
  }
  bench_batches_fini(&s.batches);
  if (shared != MAP_FAILED)
    munmap(shared, sizeof *s.progress);
  return ok ? 0 : HR_EXIT_SOFTWARE;
}
