/* hotrow serve: shards of the parameter server in this process, until SIGTERM or SIGINT. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hotrow/server.h>

#include "commands.h"
#include "options.h"
#include "serve_metrics.h"
#include "signals.h"

typedef struct serve_values {
  const char *bind;
  const char *save_dir;
  const char *load;
  const char *data_dir;
  const char *ready_file;
  const char *metrics;
  uint64_t row_count_max;
  uint64_t memory;
  uint64_t cut_bytes;
  uint32_t shards;
  uint32_t shard_first;
  uint32_t shard_count;
  uint32_t io_threads;
  uint32_t cut_interval_ms;
  uint32_t durability;
} serve_values;

const char *const hr_durability_names[] = {"cut", "none", "log", NULL};

#define AT(field) offsetof(serve_values, field)
static const hr_option options[] = {
    {"bind", HR_OPTION_TEXT, AT(bind), "tcp://127.0.0.1:7117", 0, 0, NULL,
     "address of the first shard (the next: the ports after it), tcp on loopback or ipc; port *: free ones"},
    {"shards", HR_OPTION_U32, AT(shards), "1", 1, HOTROW_SERVER_SHARDS_MAX, NULL, "shards in this process"},
    {"shard-first", HR_OPTION_U32, AT(shard_first), "0", 0, 1023, NULL, "index of its first shard in the cluster"},
    {"shard-count", HR_OPTION_U32, AT(shard_count), "0", 0, 1024, NULL,
     "shards of the cluster; 0: those of this process"},
    {"save-dir", HR_OPTION_TEXT, AT(save_dir), NULL, 0, 0, NULL,
     "directory for saves and checkpoints, the same for all shards; without it they are refused"},
    {"load", HR_OPTION_TEXT, AT(load), NULL, 0, 0, NULL,
     "directory to start from: a checkpoint, a save, or a data directory (of any shard count) that no server has open"},
    {"data-dir", HR_OPTION_TEXT, AT(data_dir), NULL, 0, 0, NULL,
     "directory for the rows, so that a server started on it again goes on from there; without it: memory only"},
    {"durability", HR_OPTION_CHOICE, AT(durability), "cut", 0, 0, hr_durability_names,
     "with --data-dir, when a push is durable. cut: with the next cut of what changed. log: within milliseconds, as "
     "each is logged beside the cuts. none: when the server ends in order; if it is killed, all since its start is "
     "lost"},
    {"cut-interval-ms", HR_OPTION_U32, AT(cut_interval_ms), "0", 0, 86400000, NULL,
     "with --data-dir: how often what changed is made durable, or the log begins anew; 0: 1000, with a log 60000"},
    {"cut-bytes", HR_OPTION_U64, AT(cut_bytes), "4MiB", 1, 1e15, NULL,
     "with --data-dir: bytes of changed rows, per shard, that are not left until then; a log may have 16 times as "
     "many"},
    {"memory", HR_OPTION_U64, AT(memory), "0", 0, 1e18, NULL,
     "of this process, as 8GiB: with --data-dir rows not used lately leave it when others need the place, without one\n"
     "new rows are refused; 0: no bound"},
    {"io-threads", HR_OPTION_U32, AT(io_threads), "1", 1, 64, NULL, "network threads"},
    {"row-count-max", HR_OPTION_U64, AT(row_count_max), "0", 0, 0, NULL,
     "rows per table and shard; 0: what memory holds"},
    {"ready-file", HR_OPTION_TEXT, AT(ready_file), NULL, 0, 0, NULL,
     "file that appears, whole, once the shards serve: their addresses, one a line"},
    {"metrics", HR_OPTION_TEXT, AT(metrics), NULL, 0, 0, NULL,
     "ADDRESS:PORT on loopback for HTTP: /metrics (Prometheus), /healthz, /readyz; port *: a free one; off by default"},
};

static const hr_command command = {
    .name = "serve",
    .summary = "run shards of the parameter server",
    .details =
        "Prints `ready: ADDRESS` for each shard once it serves. SIGTERM or SIGINT ends it; with --data-dir what is\n"
        "not durable yet is written first, without it rows that were not saved are gone. A disk that is full or\n"
        "fails: reads go on, nothing is durable any more, the statistics say `degraded`, the exit code is 74.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

static int report(const char *what, const char *path)
{
  fprintf(stderr, "hotrow serve: cannot %s %s: %s\n", what, path, strerror(errno));
  return HR_EXIT_IO;
}

/* Written beside its name and renamed: who waits for the file never reads half of it. */
static int write_ready_file(const hotrow_server *server, const serve_values *values)
{
  char beside[4096];
  if (snprintf(beside, sizeof beside, "%s.%ld.tmp", values->ready_file, (long)getpid()) >= (int)sizeof beside) {
    errno = ENAMETOOLONG;
    return report("write", values->ready_file);
  }
  FILE *file = fopen(beside, "w");
  if (!file)
    return report("write", beside);
  for (uint32_t i = 0; i < values->shards; i++)
    fprintf(file, "%s\n", hotrow_server_endpoint(server, i));
  bool is_bad = ferror(file) != 0;
  if (fclose(file) != 0 || is_bad || rename(beside, values->ready_file) != 0) {
    int code = report("write", values->ready_file);
    unlink(beside);
    return code;
  }
  return 0;
}

static int announce_ready(const hotrow_server *server, const serve_values *values)
{
  for (uint32_t i = 0; i < values->shards; i++)
    printf("ready: %s\n", hotrow_server_endpoint(server, i));
  fflush(stdout);
  return values->ready_file ? write_ready_file(server, values) : 0;
}

/* A database that failed is left open, and must not be met again by what runs at a normal exit. */
static int fail(const serve_values *values, hotrow_status status)
{
  fprintf(stderr, "hotrow serve: %s\n", hotrow_last_error());
  if (!values->data_dir)
    return hr_exit_code(status);
  fflush(NULL);
  _exit(hr_exit_code(status));
}

/* Before the server loads, so that what watches over it sees a process that lives and is not ready. */
static int open_metrics(const serve_values *values, hr_metrics **metrics_p)
{
  static const int codes[] = {[HR_METRICS_BAD_ADDRESS] = HR_EXIT_CONFIG,
                              [HR_METRICS_UNREACHABLE] = HR_EXIT_UNAVAILABLE,
                              [HR_METRICS_NO_MEMORY] = HR_EXIT_OS};
  char why[HR_METRICS_WHY_BYTES];
  if (!values->metrics)
    return 0;
  hr_metrics_result result = hr_metrics_open(values->metrics, metrics_p, why);
  if (result != HR_METRICS_OK) {
    fprintf(stderr, "hotrow serve: metrics: %s\n", why);
    return codes[result];
  }
  printf("metrics: http://%s/metrics\n", hr_metrics_address(*metrics_p));
  fflush(stdout);
  return 0;
}

/* ---- loading ---- */

#define SHOW_FIRST_MS 1000u /* what loads faster is not shown */
#define SHOW_EVERY_MS 200u  /* a bar on a terminal */
#define SHOW_LINE_MS 5000u  /* a line elsewhere */
#define BAR_WIDTH 40

typedef struct load_display {
  bool is_terminal, is_shown; /* shown: of the shard that loads */
  uint64_t begin_ms, shown_ms;
} load_display;

static uint64_t now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The number of rows to come is an estimate. */
static void show_loading(void *context, uint32_t shard, uint64_t rows, uint64_t expected)
{
  load_display *d = context;
  uint64_t now = now_ms();
  bool is_end = rows == expected;
  uint64_t pause_ms = d->is_shown ? (d->is_terminal ? SHOW_EVERY_MS : SHOW_LINE_MS) : SHOW_FIRST_MS;
  if (now - (d->is_shown ? d->shown_ms : d->begin_ms) < pause_ms && !(is_end && d->is_shown))
    return;
  uint64_t percent = is_end ? 100 : rows < expected ? rows * 100 / expected : 99;
  if (d->is_terminal) {
    int filled = (int)(percent * BAR_WIDTH / 100);
    fprintf(stderr, "\rshard %" PRIu32 " loads [%.*s%*s] %3" PRIu64 " %%  %.1f M rows%s", shard, filled,
            "========================================", BAR_WIDTH - filled, "", percent, (double)rows / 1e6,
            is_end ? "\n" : "");
  } else {
    fprintf(stderr, "shard %" PRIu32 " loads: %" PRIu64 " %%, %.1f M rows\n", shard, percent, (double)rows / 1e6);
  }
  d->is_shown = !is_end;
  d->shown_ms = d->begin_ms = now;
}

/* The number of the next signal. */
static int wait_for_signal(int fd)
{
  unsigned char byte = 0;
  struct pollfd item = {.fd = fd, .events = POLLIN};
  while (read(fd, &byte, 1) != 1)
    poll(&item, 1, -1);
  return byte;
}

static hotrow_server_options server_options_of(const serve_values *values, load_display *display)
{
  hotrow_server_options o = HOTROW_SERVER_OPTIONS_INIT;
  o.bind = values->bind;
  o.save_dir = values->save_dir;
  o.load_path = values->load;
  o.shards = values->shards;
  o.shard_first = values->shard_first;
  o.shard_count = values->shard_count;
  o.io_threads = values->io_threads;
  o.row_count_max = values->row_count_max;
  o.data_dir = values->data_dir;
  o.cut_bytes = values->cut_bytes;
  o.memory_bytes = values->memory;
  o.cut_interval_ms = values->cut_interval_ms;
  o.durability = (hotrow_durability)values->durability;
  o.progress = show_loading;
  o.context = display;
  return o;
}

static int serve(const serve_values *values, hr_metrics *metrics)
{
  load_display display = {.is_terminal = isatty(STDERR_FILENO), .begin_ms = now_ms()};
  hotrow_server_options server_options = server_options_of(values, &display);
  hotrow_server *server;
  hotrow_status status = hotrow_server_start(&server_options, &server);
  if (status != HOTROW_OK)
    return fail(values, status);
  if (metrics)
    hr_metrics_watch(metrics, server, values->shards);
  /* Before this, while the server loads, the signals end the program as they end any: there is nothing to lose. */
  static const int numbers[] = {SIGTERM, SIGINT};
  int signal_fd;
  int code = hr_signals_open(numbers, 2, &signal_fd) ? announce_ready(server, values) : report("open", "a pipe");
  if (code == 0) {
    fprintf(stderr, "hotrow serve: %s, stopping\n", strsignal(wait_for_signal(signal_fd)));
    if (values->ready_file)
      unlink(values->ready_file);
  }
  if (metrics)
    hr_metrics_watch(metrics, NULL, 0);
  status = hotrow_server_drain(server);
  if (status != HOTROW_OK)
    code = fail(values, status);
  hotrow_server_stop(server);
  return code;
}

int hr_cmd_serve(int argc, char **argv)
{
  serve_values values;
  int code = hr_options_parse(&command, argc, argv, &values, NULL);
  if (code >= 0)
    return code;
  if (values.ready_file && unlink(values.ready_file) != 0 && errno != ENOENT) /* of a run before */
    return report("remove", values.ready_file);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of the storage */
  hr_metrics *metrics = NULL;
  code = open_metrics(&values, &metrics);
  if (code == 0)
    code = serve(&values, metrics);
  hr_metrics_close(metrics);
  return code;
}
