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

static void print_phase(overload_state *s, const char *name, double seconds, const hotrow_shard_counts *counts)
{
  const bench_overload_options *o = s->options;
  double p50 = bench_quantile(s->latency_ms, s->latency_count, 0.5);
  double p99 = bench_quantile(s->latency_ms, s->latency_count, 0.99), max = s->latency_ms[s->latency_count - 1];
  if (s->alone_p99_ms == 0) {
    s->alone_p50_ms = p50;
    s->alone_p99_ms = p99;
  }
  double times = p99 / s->alone_p99_ms;
  unsigned long long most = bench_memory_bytes_max(s->hotrow.server);
  uint64_t busy = 0;
  for (uint32_t i = 0; i < HOTROW_REFUSAL_COUNT; i++)
    if (hotrow_refusal_name(i) && strcmp(hotrow_refusal_name(i), "busy") == 0)
      busy = counts->refused[i];
  printf(o->json ? "{\"phase\":\"%s\",\"seconds\":%.1f,\"pulls\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
                   "\"p50_times\":%.2f,\"p99_times\":%.2f,\"p99_is_met\":%s,\"budget_bytes\":%llu,"
                   "\"process_bytes_max\":%llu,\"memory_is_met\":%s,"
                 : "%-12s %4.1f s %6zu pulls, p50 %7.2f ms, p99 %7.2f, at most %7.2f (%.2f and %.2f times: met %s); of "
                   "%llu bytes %llu, met %s; ",
         name, seconds, s->latency_count, p50, p99, max, p50 / s->alone_p50_ms, times,
         times <= P99_TIMES_MAX ? "true" : "false", (unsigned long long)o->memory, most,
         most <= o->memory ? "true" : "false");
  printf(
      o->json ? "\"memory_bytes\":%llu,\"process_bytes\":%llu,\"rows\":%llu,\"rows_in_memory\":%llu,"
                "\"rows_evicted\":%llu,\"rows_fetched\":%llu,\"unread_bytes\":%llu,\"replies_dropped\":%llu,"
                "\"busy\":%llu,\"sessions\":%llu,\"burden_done\":%llu,\"burden_failed\":%llu}\n"
              : "counted %llu, process %llu, %llu rows, %llu in memory, %llu evicted, %llu fetched, %llu bytes unread, "
                "%llu replies dropped, %llu busy, %llu sessions; burden: %llu done, %llu failed\n",
      (unsigned long long)counts->memory_bytes, (unsigned long long)counts->process_bytes,
      (unsigned long long)counts->rows, (unsigned long long)counts->rows_in_memory,
      (unsigned long long)counts->rows_evicted, (unsigned long long)counts->rows_fetched,
      (unsigned long long)counts->unread_bytes, (unsigned long long)counts->replies_dropped, (unsigned long long)busy,
      (unsigned long long)counts->sessions, atomic_load(&s->progress->done), atomic_load(&s->progress->failed));
  fflush(stdout);
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
  hotrow_shard_counts counts = {0};
  if (!run_for(s, SETTLE_S, 0))
    return false;
  bench_memory_reset(s->hotrow.server);
  pid_t burden = start_burden(s, phase);
  double begin = bench_seconds();
  bool ok = burden >= 0 && run_for(s, s->options->seconds, burden) && bench_hotrow_counts(&s->hotrow, &counts);
  if (ok)
    print_phase(s, phase->name, bench_seconds() - begin, &counts);
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
