/* Configurations side by side, each in a process of its own: its memory goes back whole when it ends. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_comm.h"
#include "options.h"

#define PARALLEL_MAX 64u
#define WIDE_DIM 64u /* of these one at a time: their caches are what takes the memory */
#define SHOWN_INTERVAL_MS 500
#define BAR_CELLS 24

typedef struct child {
  pid_t pid;
  int result_fd;
  size_t job;
} child;

typedef struct crew {
  comm_job *jobs;
  size_t job_count, done_count;
  bool *is_started;
  volatile uint64_t *batches_done; /* [job_count], shared with the children */
  child children[PARALLEL_MAX];
  uint32_t child_count, parallel;
  bool has_failed, is_terminal;
} crew;

/* Caches are laid out for the whole table and filled here and there: in huge pages each row would cost 2 MiB. */
static void run_child(const crew *c, size_t job, int result_fd)
{
  comm_result result;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  const hotrow_status status = comm_run(&c->jobs[job].config, &c->batches_done[job], &result);
  if (status != HOTROW_OK) {
    fprintf(stderr, "hotrow bench: %s, dim %u: %s\n", c->jobs[job].config.name, c->jobs[job].config.dim,
            hotrow_last_error());
    _exit(hr_exit_code(status));
  }
  const char *at = (const char *)&result;
  for (size_t left = sizeof result; left > 0;) {
    const ssize_t done = write(result_fd, at, left);
    if (done < 0 && errno != EINTR)
      _exit(HR_EXIT_OS);
    at += done > 0 ? done : 0;
    left -= done > 0 ? (size_t)done : 0;
  }
  _exit(0);
}

static bool start_job(crew *c, size_t job)
{
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return false;
  fflush(stdout);
  const pid_t pid = fork();
  if (pid == 0)
    run_child(c, job, ends[1]);
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return false;
  }
  c->is_started[job] = true;
  c->children[c->child_count++] = (child){pid, ends[0], job};
  return true;
}

static bool is_wide(const crew *c, size_t job)
{
  return c->jobs[job].config.dim >= WIDE_DIM && c->jobs[job].config.table.cache_row_count > 0;
}

/* Wide ones first, as they take longest; else in order. */
static bool find_next_job(const crew *c, size_t *job_p)
{
  bool is_wide_running = false;
  for (uint32_t i = 0; i < c->child_count; i++)
    is_wide_running = is_wide_running || is_wide(c, c->children[i].job);
  for (int wanted = is_wide_running ? 0 : 1; wanted >= 0; wanted--)
    for (size_t j = 0; j < c->job_count; j++)
      if (!c->is_started[j] && is_wide(c, j) == (wanted == 1)) {
        *job_p = j;
        return true;
      }
  return false;
}

static void show_progress(const crew *c)
{
  uint64_t done = 0, total = 0;
  for (size_t j = 0; j < c->job_count; j++) {
    done += c->batches_done[j];
    total += c->jobs[j].config.batches;
  }
  if (!c->is_terminal)
    return;
  const double share = total > 0 ? (double)done / (double)total : 1;
  const int filled = (int)(share * BAR_CELLS);
  fprintf(stderr, "\r[%.*s%*s] %3.0f%%  %zu of %zu configurations\033[K", filled,
          "========================", BAR_CELLS - filled, "", 100 * share, c->done_count, c->job_count);
  fflush(stderr);
}

/* A child wrote its result, or ended without. */
static void finish_child(crew *c, uint32_t i, void (*done)(const comm_job *job, void *context), void *context)
{
  comm_job *job = &c->jobs[c->children[i].job];
  size_t size = 0;
  ssize_t part;
  while (size < sizeof job->result &&
         (part = read(c->children[i].result_fd, (char *)&job->result + size, sizeof job->result - size)) != 0)
    size += part > 0 ? (size_t)part : 0;
  int status;
  while (waitpid(c->children[i].pid, &status, 0) < 0 && errno == EINTR)
    ;
  close(c->children[i].result_fd);
  c->children[i] = c->children[--c->child_count];
  c->done_count++;
  if (c->is_terminal)
    fputs("\r\033[K", stderr);
  if (size < sizeof job->result || status != 0) {
    if (WIFSIGNALED(status))
      fprintf(stderr, "hotrow bench: %s, dim %u: killed by signal %d\n", job->config.name, job->config.dim,
              WTERMSIG(status));
    c->has_failed = true;
    return;
  }
  job->is_done = true;
  done(job, context);
}

static void wait_for_children(crew *c, void (*done)(const comm_job *job, void *context), void *context)
{
  struct pollfd polled[PARALLEL_MAX];
  for (uint32_t i = 0; i < c->child_count; i++)
    polled[i] = (struct pollfd){.fd = c->children[i].result_fd, .events = POLLIN};
  const uint32_t count = c->child_count;
  poll(polled, count, SHOWN_INTERVAL_MS);
  show_progress(c);
  for (uint32_t i = count; i-- > 0;)
    if (polled[i].revents != 0)
      finish_child(c, i, done, context);
}

int comm_run_jobs(comm_job *jobs, size_t count, uint32_t parallel, void (*done)(const comm_job *job, void *context),
                  void *context)
{
  crew c = {.jobs = jobs,
            .job_count = count,
            .is_started = calloc(count + 1, sizeof *c.is_started),
            .parallel = parallel < PARALLEL_MAX ? parallel : PARALLEL_MAX,
            .is_terminal = isatty(STDERR_FILENO) == 1};
  const size_t shared_bytes = (count + 1) * sizeof *c.batches_done;
  void *shared = mmap(NULL, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  c.has_failed = shared == MAP_FAILED || c.is_started == NULL;
  c.batches_done = shared;
  size_t job;
  while (!c.has_failed && c.done_count < count) {
    while (c.child_count < c.parallel && find_next_job(&c, &job) && !c.has_failed)
      c.has_failed = !start_job(&c, job);
    wait_for_children(&c, done, context);
  }
  for (uint32_t i = 0; i < c.child_count; i++) {
    kill(c.children[i].pid, SIGKILL);
    waitpid(c.children[i].pid, NULL, 0);
    close(c.children[i].result_fd);
  }
  if (shared != MAP_FAILED)
    munmap(shared, shared_bytes);
  free(c.is_started);
  return c.has_failed ? HR_EXIT_SOFTWARE : 0;
}
