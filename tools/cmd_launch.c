/* hotrow launch: the shards and workers of one job on this machine, as processes that end together.
 *
 * Starting: shards, until all say `ready: ADDRESS`. Running: workers, until all have ended; once one has failed, a
 * shard has died or a signal came, they have the grace period. Stopping: shards. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hotrow/server.h>

#include "commands.h"
#include "options.h"
#include "process.h"
#include "signals.h"

#define KIND_MAX 128u /* shards, and workers, of one launch */
#define ENDPOINT_BYTES 128u
#define KILL_DELAY_MS 2000u /* between TERM and KILL */
#define SHARD_STOP_MS 10000u
#define SHARD_STOP_DURABLE_MS 60000u /* with a last cut to write */
#define RESTARTS_MAX 10u             /* of one shard without its serving in between */
#define MS_NS ((uint64_t)1000000)
#define FOREVER UINT64_MAX

typedef struct launch_values {
  const char *save_dir;
  const char *load;
  const char *data_dir;
  uint32_t shards;
  uint32_t workers;
  uint32_t ready_timeout_ms;
  uint32_t grace_ms;
  uint64_t memory;
  uint32_t cut_interval_ms;
  uint32_t durability;
  bool exec;
  bool restart_shards;
} launch_values;

#define AT(field) offsetof(launch_values, field)
static const hr_option options[] = {
    {"shards", HR_OPTION_U32, AT(shards), "1", 1, KIND_MAX, NULL, "shard processes"},
    {"workers", HR_OPTION_U32, AT(workers), "1", 1, KIND_MAX, NULL, "worker processes"},
    {"save-dir", HR_OPTION_TEXT, AT(save_dir), NULL, 0, 0, NULL, "directory for the shards' saves and checkpoints"},
    {"load", HR_OPTION_TEXT, AT(load), NULL, 0, 0, NULL,
     "directory of a save or checkpoint that the shards start from"},
    {"data-dir", HR_OPTION_TEXT, AT(data_dir), NULL, 0, 0, NULL,
     "directory for the shards' rows: a later launch of as many shards goes on from there"},
    {"durability", HR_OPTION_CHOICE, AT(durability), "cut", 0, 0, hr_durability_names,
     "with --data-dir: when a push is durable, as of serve"},
    {"memory", HR_OPTION_U64, AT(memory), "0", 0, 1e18, NULL,
     "of each shard's process, as 8GiB: with --data-dir rows not used lately leave it when others need the place,\n"
     "without one new rows are refused; 0: no bound"},
    {"cut-interval-ms", HR_OPTION_U32, AT(cut_interval_ms), "0", 0, 86400000, NULL,
     "with --data-dir: how often what changed is made durable, as of serve"},
    {"restart-shards", HR_OPTION_BOOL, AT(restart_shards), NULL, 0, 0, NULL,
     "with --data-dir: a shard that dies is started again where it was, and the job goes on"},
    {"ready-timeout-ms", HR_OPTION_U32, AT(ready_timeout_ms), "30000", 1, 86400000, NULL,
     "how long the shards may take until they serve"},
    {"grace-ms", HR_OPTION_U32, AT(grace_ms), "10000", 0, 86400000, NULL,
     "how long workers may go on after a failure or a signal"},
    {"exec", HR_OPTION_BOOL, AT(exec), NULL, 0, 0, NULL, "the words after -- are a program, not a hotrow command"},
};

static const hr_command command = {
    .name = "launch",
    .summary = "start shards and workers of one job on this machine",
    .details = "usage: hotrow launch [options] -- train ...\n"
               "Each worker runs the words after --, with HOTROW_SHARDS (addresses), HOTROW_RANK, HOTROW_WORKERS and\n"
               "HOTROW_JOB set. Output goes to stderr, each line with its process before it; only worker 0 keeps\n"
               "stdout. The exit code is that of the first worker that failed, 69 if a shard died before (and was not\n"
               "started again), 74 if one could not write its data directory, else 0.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

typedef struct launch {
  launch_values values;
  char **words;          /* the worker's command, NULL-terminated */
  char self[4096];       /* path of this program */
  hr_process *processes; /* owned; shards, then workers */
  uint32_t ready_count;
  char (*endpoints)[ENDPOINT_BYTES]; /* owned; [shards], empty until ready */
  uint32_t *restarts;                /* owned; [shards]: since it served last */
  bool *is_serving;                  /* owned; [shards]: ready since its last start */
  char *shard_list;                  /* owned; the endpoints with commas between them */
  bool is_running;                   /* workers have been started */
  bool is_stopping;                  /* shards are told to end */
  bool is_ending;                    /* workers must have ended at end_at_ns */
  uint64_t end_at_ns;
  int exit_code; /* of the first failure */
} launch;

static int signal_fd = -1;

static bool open_signals(void)
{
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
  return hr_signals_open(numbers, sizeof numbers / sizeof numbers[0], &signal_fd);
}

static uint64_t now_ns(void)
{
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static hr_process *shard_of(const launch *l, uint32_t index)
{
  return &l->processes[index];
}

static hr_process *worker_of(const launch *l, uint32_t rank)
{
  return &l->processes[l->values.shards + rank];
}

static uint32_t process_count(const launch *l)
{
  return l->values.shards + l->values.workers;
}

static bool is_shard(const launch *l, const hr_process *process)
{
  return process < worker_of(l, 0);
}

static uint32_t count_alive(const hr_process *processes, uint32_t count)
{
  uint32_t alive = 0;
  for (uint32_t i = 0; i < count; i++)
    alive += processes[i].pid > 0;
  return alive;
}

static void signal_all(const hr_process *processes, uint32_t count, int signal_number)
{
  for (uint32_t i = 0; i < count; i++)
    hr_process_signal(&processes[i], signal_number);
}

/* From here on the workers have the grace period; the first failure is the one that counts. */
static void begin_end(launch *l, int exit_code)
{
  if (l->exit_code == 0)
    l->exit_code = exit_code;
  if (!l->is_ending)
    l->end_at_ns = now_ns() + l->values.grace_ms * MS_NS;
  l->is_ending = true;
}

static void on_line(hr_process *process, const char *text, void *context)
{
  launch *l = context;
  char line[HR_PROCESS_LINE_MAX + 64];
  int size = snprintf(line, sizeof line, "[%s] %s\n", process->name, text);
  assert(size > 0 && (size_t)size < sizeof line);
  ssize_t written = write(STDERR_FILENO, line, (size_t)size); /* one write: lines stay whole */
  (void)written;
  static const char ready[] = "ready: ";
  if (!is_shard(l, process) || strncmp(text, ready, sizeof ready - 1) != 0)
    return;
  char *endpoint = l->endpoints[process - l->processes];
  l->is_serving[process - l->processes] = true;
  l->ready_count += endpoint[0] == 0;
  snprintf(endpoint, ENDPOINT_BYTES, "%s", text + sizeof ready - 1);
}

static int code_of(int wait_status)
{
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void start_shard(launch *l, uint32_t index);

/* A shard that has served may do so again, and so may one that was killed while it started; one that could not even
 * begin, and said so by its exit code, would not. */
static bool restart(launch *l, hr_process *process)
{
  if (!l->values.restart_shards || !is_shard(l, process) || !l->is_running)
    return false;
  uint32_t index = (uint32_t)(process - l->processes);
  bool may_serve = l->is_serving[index] || WIFSIGNALED(process->wait_status);
  if (l->is_serving[index])
    l->restarts[index] = 0;
  if (!may_serve || l->restarts[index] == RESTARTS_MAX)
    return false;
  l->restarts[index]++;
  l->is_serving[index] = false;
  fprintf(stderr, "; it is started again\n");
  start_shard(l, index);
  return true;
}

static void on_end(launch *l, hr_process *process)
{
  hr_process_finish(process, &process->out, on_line, l);
  hr_process_finish(process, &process->err, on_line, l);
  int code = code_of(process->wait_status);
  bool is_expected = is_shard(l, process) ? l->is_stopping && code != HR_EXIT_IO : code == 0;
  if (is_expected)
    return;
  fprintf(stderr, "hotrow launch: %s ", process->name);
  if (WIFSIGNALED(process->wait_status))
    fprintf(stderr, "was killed by signal %d (%s)", code - 128, strsignal(code - 128));
  else
    fprintf(stderr, "ended with exit code %d", code);
  if (l->is_stopping) { /* with what it could not write */
    fputc('\n', stderr);
    begin_end(l, code);
    return;
  }
  if (restart(l, process))
    return;
  uint32_t others = l->is_running ? count_alive(worker_of(l, 0), l->values.workers) : 0;
  if (others > 0 && !l->is_ending)
    fprintf(stderr, "; the workers have %" PRIu32 " ms to end", l->values.grace_ms);
  fputc('\n', stderr);
  begin_end(l, is_shard(l, process) ? HR_EXIT_UNAVAILABLE : code);
}

static void on_signal(launch *l, int signal_number)
{
  if (signal_number == SIGCHLD)
    return; /* it woke us; who ended is looked up for all */
  fprintf(stderr, "hotrow launch: %s\n", strsignal(signal_number));
  if (!l->is_running) {
    begin_end(l, 128 + signal_number);
    return;
  }
  signal_all(worker_of(l, 0), l->values.workers, signal_number);
  if (l->is_ending)
    l->end_at_ns = now_ns(); /* asked twice */
  begin_end(l, 0);
}

/* Waits for output, ends and signals until the deadline at most, and handles what came. */
static void handle_events(launch *l, uint64_t deadline_ns)
{
  struct pollfd fds[1 + 4 * KIND_MAX] = {{.fd = signal_fd, .events = POLLIN}};
  nfds_t count = 1;
  for (uint32_t i = 0; i < process_count(l); i++) {
    fds[count++] = (struct pollfd){.fd = l->processes[i].out.fd, .events = POLLIN}; /* poll skips fd -1 */
    fds[count++] = (struct pollfd){.fd = l->processes[i].err.fd, .events = POLLIN};
  }
  uint64_t now = now_ns();
  int timeout_ms = -1;
  if (deadline_ns != FOREVER)
    timeout_ms = deadline_ns > now ? (int)((deadline_ns - now) / MS_NS + 1) : 0;
  poll(fds, count, timeout_ms);

  /* Signals first: a SIGCHLD that is read here is of a process that the loop below finds ended. Read after it, the one
   * of a process that ended in between would be lost, and nothing would wake us until the deadline. */
  unsigned char number;
  while (read(signal_fd, &number, 1) == 1)
    on_signal(l, number);
  for (uint32_t i = 0; i < process_count(l); i++) {
    hr_process *process = &l->processes[i];
    hr_process_read(process, &process->out, on_line, l);
    hr_process_read(process, &process->err, on_line, l);
    if (process->pid > 0 && hr_process_reap(process))
      on_end(l, process);
  }
}

static int start(launch *l, hr_process *process, const hr_process_spec *spec)
{
  if (hr_process_start(spec, process))
    return 0;
  fprintf(stderr, "hotrow launch: cannot start %s: %s\n", process->name, strerror(errno));
  begin_end(l, HR_EXIT_OS);
  return HR_EXIT_OS;
}

static void start_shard(launch *l, uint32_t index)
{
  char first[32], count[32], interval[32];
  snprintf(first, sizeof first, "%" PRIu32, index);
  snprintf(count, sizeof count, "%" PRIu32, l->values.shards);
  snprintf(interval, sizeof interval, "%" PRIu32, l->values.cut_interval_ms);
  bool is_first = !l->endpoints[index][0];
  char *bind = is_first ? "tcp://127.0.0.1:*" : l->endpoints[index];
  char *argv[24] = {"hotrow", "serve", "--shards", "1", "--shard-first", first, "--bind", bind, "--shard-count", count};
  size_t argc = 10;
  if (l->values.save_dir) {
    argv[argc++] = "--save-dir";
    argv[argc++] = (char *)l->values.save_dir;
  }
  if (l->values.data_dir) {
    argv[argc++] = "--data-dir";
    argv[argc++] = (char *)l->values.data_dir;
    argv[argc++] = "--cut-interval-ms";
    argv[argc++] = interval;
    argv[argc++] = "--durability";
    argv[argc++] = (char *)hr_durability_names[l->values.durability];
  }
  char memory[24];
  snprintf(memory, sizeof memory, "%" PRIu64, l->values.memory);
  if (l->values.memory > 0) {
    argv[argc++] = "--memory";
    argv[argc++] = memory;
  }
  if (l->values.load && is_first) { /* later it has what it loaded */
    argv[argc++] = "--load";
    argv[argc++] = (char *)l->values.load;
  }
  static const hr_process_variable environment[] = {{"HOTROW_READY_FILE", NULL}, {NULL, NULL}};
  hr_process_spec spec = {.file = l->self, .argv = argv, .environment = environment};
  hr_process *process = shard_of(l, index);
  snprintf(process->name, sizeof process->name, "shard %" PRIu32, index);
  start(l, process, &spec);
}

static void start_worker(launch *l, uint32_t rank, const char *job)
{
  char rank_text[32], workers[32];
  snprintf(rank_text, sizeof rank_text, "%" PRIu32, rank);
  snprintf(workers, sizeof workers, "%" PRIu32, l->values.workers);
  const hr_process_variable environment[] = {{"HOTROW_SHARDS", l->shard_list},
                                             {"HOTROW_RANK", rank_text},
                                             {"HOTROW_WORKERS", workers},
                                             {"HOTROW_JOB", job},
                                             {NULL, NULL}};
  hr_process_spec spec = {
      .file = l->values.exec ? l->words[0] : l->self,
      .argv = l->words + (l->values.exec ? 0 : -1), /* words[-1] is made our own name */
      .environment = environment,
      .share_out = rank == 0,
      .share_err = rank == 0 && isatty(STDERR_FILENO), /* a progress bar */
  };
  hr_process *process = worker_of(l, rank);
  snprintf(process->name, sizeof process->name, "worker %" PRIu32, rank);
  start(l, process, &spec);
}

static void run_shards(launch *l)
{
  for (uint32_t i = 0; i < l->values.shards && !l->is_ending; i++)
    start_shard(l, i);
  uint64_t deadline_ns = now_ns() + l->values.ready_timeout_ms * MS_NS;
  while (l->ready_count < l->values.shards && !l->is_ending) {
    if (now_ns() >= deadline_ns) {
      uint32_t late = 0;
      while (l->endpoints[late][0])
        late++;
      fprintf(stderr, "hotrow launch: shard %" PRIu32 " is not ready after %" PRIu32 " ms\n", late,
              l->values.ready_timeout_ms);
      begin_end(l, HR_EXIT_UNAVAILABLE);
      return;
    }
    handle_events(l, deadline_ns);
  }
}

static void run_workers(launch *l)
{
  char *end = l->shard_list;
  for (uint32_t i = 0; i < l->values.shards; i++)
    end += sprintf(end, "%s%s", i ? "," : "", l->endpoints[i]);
  fprintf(stderr, "hotrow launch: hotrow top --shards %s\n", l->shard_list);
  uint64_t number = 0;
  while (number == 0)
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
      number = now_ns() ^ (uint64_t)getpid() << 32;
  char job[32];
  snprintf(job, sizeof job, "%" PRIu64, number);

  l->is_running = true;
  for (uint32_t rank = 0; rank < l->values.workers && !l->is_ending; rank++)
    start_worker(l, rank, job);
  hr_process *workers = worker_of(l, 0);
  int next_signal = SIGTERM;
  while (count_alive(workers, l->values.workers) > 0) {
    handle_events(l, l->is_ending ? l->end_at_ns : FOREVER);
    if (!l->is_ending || now_ns() < l->end_at_ns)
      continue;
    signal_all(workers, l->values.workers, next_signal);
    next_signal = SIGKILL;
    l->end_at_ns = now_ns() + KILL_DELAY_MS * MS_NS;
  }
}

static void stop_shards(launch *l)
{
  l->is_stopping = true;
  int next_signal = SIGTERM;
  uint64_t deadline_ns = 0;
  while (count_alive(l->processes, l->values.shards) > 0) {
    if (now_ns() >= deadline_ns) {
      signal_all(l->processes, l->values.shards, next_signal);
      next_signal = SIGKILL;
      deadline_ns = now_ns() + (l->values.data_dir ? SHARD_STOP_DURABLE_MS : SHARD_STOP_MS) * MS_NS;
    }
    handle_events(l, deadline_ns);
  }
}

static int fail_to_begin(const char *what)
{
  fprintf(stderr, "hotrow launch: %s: %s\n", what, strerror(errno));
  return HR_EXIT_OS;
}

static int run(launch *l)
{
  ssize_t size = readlink("/proc/self/exe", l->self, sizeof l->self - 1);
  if (size < 0)
    return fail_to_begin("/proc/self/exe");
  l->self[size] = 0;
  l->processes = calloc(process_count(l), sizeof *l->processes);
  l->endpoints = calloc(l->values.shards, sizeof *l->endpoints);
  l->shard_list = malloc(l->values.shards * sizeof *l->endpoints);
  l->restarts = calloc(l->values.shards, sizeof *l->restarts);
  l->is_serving = calloc(l->values.shards, sizeof *l->is_serving);
  if (!l->processes || !l->endpoints || !l->shard_list || !l->restarts || !l->is_serving || !open_signals())
    return fail_to_begin("cannot begin");
  for (uint32_t i = 0; i < process_count(l); i++)
    l->processes[i].out.fd = l->processes[i].err.fd = -1;

  run_shards(l);
  if (!l->is_ending)
    run_workers(l);
  stop_shards(l);
  return l->exit_code;
}

int hr_cmd_launch(int argc, char **argv)
{
  launch l = {0};
  int rest;
  int code = hr_options_parse(&command, argc, argv, &l.values, &rest);
  if (code >= 0)
    return code;
  if (rest >= argc) {
    fprintf(stderr, "hotrow launch: name what the workers run, after --: hotrow launch --workers 2 -- train ...\n");
    return HR_EXIT_USAGE;
  }
  if (l.values.restart_shards && !l.values.data_dir) {
    fprintf(stderr, "hotrow launch: --restart-shards needs --data-dir: without it a shard comes back empty\n");
    return HR_EXIT_USAGE;
  }
  if (l.values.durability != HOTROW_DURABILITY_CUT && !l.values.data_dir) {
    fprintf(stderr, "hotrow launch: --durability is of --data-dir: without it nothing is durable\n");
    return HR_EXIT_USAGE;
  }
  if (l.values.durability == HOTROW_DURABILITY_NONE && l.values.restart_shards) {
    fprintf(stderr,
            "hotrow launch: --restart-shards needs another --durability: with none a shard that dies comes back\n"
            "as it was when it was started\n");
    return HR_EXIT_USAGE;
  }
  l.words = argv + rest;
  argv[rest - 1] = "hotrow"; /* where the -- was */
  code = run(&l);
  free(l.processes);
  free(l.endpoints);
  free(l.restarts);
  free(l.is_serving);
  free(l.shard_list);
  return code;
}
