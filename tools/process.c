#include "process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Handlers of the launcher must not run in the child: its signals are blocked since before the fork. */
static void reset_signals(const sigset_t *mask)
{
  for (int number = 1; number < NSIG; number++)
    if (number != SIGKILL && number != SIGSTOP)
      signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, mask, NULL);
}

static _Noreturn void run_child(const hr_process_spec *spec, pid_t launcher, int out, int err, const sigset_t *mask)
{
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launcher) /* it died before prctl */
    _exit(1);
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0)
    dup2(null, STDIN_FILENO);
  if (out >= 0)
    dup2(out, STDOUT_FILENO);
  if (err >= 0)
    dup2(err, STDERR_FILENO);
  for (const hr_process_variable *v = spec->environment; v->name; v++) {
    if (v->value)
      setenv(v->name, v->value, 1);
    else
      unsetenv(v->name);
  }
  reset_signals(mask);
  execvp(spec->file, spec->argv);
  int code = errno == ENOENT ? 127 : 126;
  fprintf(stderr, "hotrow launch: cannot run %s: %s\n", spec->file, strerror(errno));
  _exit(code);
}

static void close_fd(int fd)
{
  if (fd >= 0)
    close(fd);
}

/* ends[0] is ours and does not block, ends[1] is the child's. */
static bool open_pipe(int ends[2])
{
  if (pipe2(ends, O_CLOEXEC) != 0) {
    ends[0] = ends[1] = -1;
    return false;
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return true;
}

bool hr_process_start(const hr_process_spec *spec, hr_process *process)
{
  int out[2] = {-1, -1}, err[2] = {-1, -1};
  process->pid = 0;
  process->out.fd = process->err.fd = -1;
  process->out.size = process->err.size = 0;
  if ((!spec->share_out && !open_pipe(out)) || (!spec->share_err && !open_pipe(err)))
    goto close_ours;

  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t launcher = getpid();
  pid_t pid = fork();
  if (pid == 0)
    run_child(spec, launcher, out[1], err[1], &before);
  int fork_errno = errno;
  sigprocmask(SIG_SETMASK, &before, NULL);
  errno = fork_errno;
  if (pid < 0)
    goto close_ours;
  setpgid(pid, pid); /* here too: the group must exist before it is signalled */
  close_fd(out[1]);
  close_fd(err[1]);
  process->pid = pid;
  process->out.fd = out[0];
  process->err.fd = err[0];
  return true;

close_ours:;
  int saved_errno = errno;
  close_fd(out[0]);
  close_fd(out[1]);
  close_fd(err[0]);
  close_fd(err[1]);
  errno = saved_errno;
  return false;
}

void hr_process_signal(const hr_process *process, int signal_number)
{
  if (process->pid > 0)
    kill(-process->pid, signal_number);
}

bool hr_process_reap(hr_process *process)
{
  assert(process->pid > 0);
  siginfo_t info = {0};
  if (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
    return false;
  kill(-process->pid, SIGKILL); /* before the wait: the zombie keeps the group's number from being used anew */
  waitpid(process->pid, &process->wait_status, 0);
  process->pid = 0;
  return true;
}

static void hand_out(hr_process *process, hr_line_pipe *pipe, size_t size, hr_process_line_fn line_fn, void *context)
{
  char line[HR_PROCESS_LINE_MAX + 1];
  memcpy(line, pipe->text, size);
  line[size] = 0;
  line_fn(process, line, context);
}

static void hand_out_lines(hr_process *process, hr_line_pipe *pipe, hr_process_line_fn line_fn, void *context)
{
  char *newline;
  while ((newline = memchr(pipe->text, '\n', pipe->size)) != NULL) {
    size_t size = (size_t)(newline - pipe->text);
    hand_out(process, pipe, size, line_fn, context);
    pipe->size -= size + 1;
    memmove(pipe->text, newline + 1, pipe->size);
  }
  if (pipe->size == sizeof pipe->text) {
    hand_out(process, pipe, pipe->size, line_fn, context);
    pipe->size = 0;
  }
}

void hr_process_read(hr_process *process, hr_line_pipe *pipe, hr_process_line_fn line_fn, void *context)
{
  while (pipe->fd >= 0) {
    assert(pipe->size < sizeof pipe->text);
    ssize_t got = read(pipe->fd, pipe->text + pipe->size, sizeof pipe->text - pipe->size);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0 && errno == EAGAIN)
      return;
    if (got <= 0) {
      close(pipe->fd);
      pipe->fd = -1;
      return;
    }
    pipe->size += (size_t)got;
    hand_out_lines(process, pipe, line_fn, context);
  }
}

void hr_process_finish(hr_process *process, hr_line_pipe *pipe, hr_process_line_fn line_fn, void *context)
{
  hr_process_read(process, pipe, line_fn, context);
  if (pipe->size > 0)
    hand_out(process, pipe, pipe->size, line_fn, context);
  pipe->size = 0;
  close_fd(pipe->fd);
  pipe->fd = -1;
}
