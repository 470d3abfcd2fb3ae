#include <hr/thread.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <hr/memory.h>

typedef struct thread_start {
  hr_thread_kind kind;
  char name[HR_THREAD_NAME_BYTES];
  void *(*run)(void *context);
  void *context;
} thread_start;

/* Threads that this one makes are as it is. That it cannot have a name or a priority is no reason not to run. */
static void *run_thread(void *memory)
{
  thread_start start = *(thread_start *)memory;
  free(memory);
  if (start.kind == HR_THREAD_BACKGROUND) /* of this thread alone: Linux */
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + HR_BACKGROUND_NICE);
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
