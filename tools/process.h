/* Child processes of `hotrow launch`: started in a group of their own, killed with the launcher, their output read line
 * by line. One thread. */
#ifndef HR_PROCESS_H
#define HR_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define HR_PROCESS_LINE_MAX 4096u /* a longer line is cut into several */

typedef struct hr_line_pipe {
  int fd; /* -1: closed, or never opened */
  size_t size;
  char text[HR_PROCESS_LINE_MAX];
} hr_line_pipe;

typedef struct hr_process {
  char name[24];   /* "shard 0" */
  pid_t pid;       /* 0: not started, or ended */
  int wait_status; /* of waitpid, once ended */
  hr_line_pipe out;
  hr_line_pipe err;
} hr_process;

/* value NULL: not in the child's environment. The list ends with name NULL. */
typedef struct hr_process_variable {
  const char *name;
  const char *value;
} hr_process_variable;

typedef struct hr_process_spec {
  const char *file; /* a path, or a name that is searched in PATH */
  char *const *argv;
  const hr_process_variable *environment; /* on top of the launcher's own */
  bool share_out;                         /* the launcher's own stdout (stderr) instead of a pipe */
  bool share_err;
} hr_process_spec;

/* One line without its newline; `text` is closed by a 0. */
typedef void (*hr_process_line_fn)(hr_process *process, const char *text, void *context);

/* Starts a child that dies with this process, however this process dies. process->name is set by the caller, the rest
 * by this. False, with errno, if it cannot; a program that cannot be executed ends with 126 or 127 and a line on
 * stderr. */
bool hr_process_start(const hr_process_spec *spec, hr_process *process);

/* Sends the signal to the child and all that it started; nothing if it has ended. */
void hr_process_signal(const hr_process *process, int signal_number);

/* Has it ended? Then what is left of its group is killed, wait_status is set and pid is 0. Does not wait. */
bool hr_process_reap(hr_process *process);

/* Hands out what can be read from the pipe now; closes it at its end. Does not wait. */
void hr_process_read(hr_process *process, hr_line_pipe *pipe, hr_process_line_fn line_fn, void *context);
/* The same, then hands out an unfinished line and closes it. Accepts a closed pipe. */
void hr_process_finish(hr_process *process, hr_line_pipe *pipe, hr_process_line_fn line_fn, void *context);

#endif
