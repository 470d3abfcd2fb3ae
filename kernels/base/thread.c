#include <hr/thread.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hr/memory.h>

typedef struct thread_start {
  hr_thread_kind kind;
  char name[HR_THREAD_NAME_BYTES];
  void *(*run)(void *context);
  void *context;
} thread_start;

/* What sched_getattr and sched_setattr take. The C library has neither. */
typedef struct schedule {
  uint32_t size_bytes, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t slice_ns; /* 0: none, before Linux 6.12 or under a real-time policy; to be set: the system's */
  uint64_t deadline_ns, period_ns;
} schedule;

/* Of this thread alone. One that is longer than a prompt one and not the system's was chosen for the process. */
static void set_slice(hr_thread_kind kind)
{
  schedule s = {.size_bytes = sizeof s};
  if (syscall(SYS_sched_getattr, 0, &s, sizeof s, 0) != 0 || s.slice_ns == 0)
    return;
  bool is_prompt = s.slice_ns <= HR_PROMPT_SLICE_NS, shall_be = kind == HR_THREAD_PROMPT;
  if (is_prompt == shall_be)
    return;
  s.size_bytes = sizeof s;
  s.slice_ns = shall_be ? HR_PROMPT_SLICE_NS : 0;
  syscall(SYS_sched_setattr, 0, &s, 0);
}

/* Threads that this one makes are as it is. That it cannot have a name or a priority is no reason not to run. */
static void *run_thread(void *memory)
{
  thread_start start = *(thread_start *)memory;
  free(memory);
  if (start.kind == HR_THREAD_BACKGROUND) /* of this thread alone: Linux */
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + HR_BACKGROUND_NICE);
  set_slice(start.kind);
  prctl(PR_SET_NAME, start.name);
  return start.run(start.context);
}

hotrow_status hr_thread_start(hr_thread_kind kind, const char *what, void *(*run)(void *context), void *context,
                              pthread_t *thread_p)
{
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(thread_start), "thread", &memory));
  thread_start *start = memory;
  *start = (thread_start){.kind = kind, .run = run, .context = context};
  snprintf(start->name, sizeof start->name, "%s", what);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(thread_p, NULL, run_thread, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0)
    return HOTROW_OK;
  free(start);
  return hr_fail(HOTROW_ERR_NO_MEMORY, "no thread for %s: %s", what, strerror(error));
}

hotrow_status hr_thread_call(hr_thread_kind kind, const char *what, void *(*run)(void *context), void *context,
                             void **result_p)
{
  pthread_t thread;
  HOTROW_TRY(hr_thread_start(kind, what, run, context, &thread));
  pthread_join(thread, result_p);
  return HOTROW_OK;
}
