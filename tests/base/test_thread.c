#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <hr/thread.h>

#include "hr_test.h"

typedef struct report {
  char name[HR_THREAD_NAME_BYTES];
  int nice;
  bool takes_signals;
} report;

static int own_nice(void)
{
  errno = 0;
  int nice = getpriority(PRIO_PROCESS, 0);
  CHECK_EQ(errno, 0);
  return nice;
}

static void *report_itself(void *context)
{
  report *r = context;
  sigset_t blocked;
  prctl(PR_GET_NAME, r->name);
  r->nice = own_nice();
  pthread_sigmask(SIG_BLOCK, NULL, &blocked);
  r->takes_signals = !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1);
  return context;
}

static report start_one(hr_thread_kind kind, const char *name)
{
  report r = {.nice = -1};
  pthread_t thread;
  void *result = NULL;
  CHECK_EQ(hr_thread_start(kind, name, report_itself, &r, &thread), HOTROW_OK);
  pthread_join(thread, &result);
  CHECK(result == &r);
  return r;
}

static void a_thread_has_its_name_and_takes_no_signals(void)
{
  report r = start_one(HR_THREAD_FOREGROUND, "short");
  CHECK(strcmp(r.name, "short") == 0 && !r.takes_signals);
  r = start_one(HR_THREAD_BACKGROUND, "a name of many bytes");
  CHECK(strcmp(r.name, "a name of many ") == 0 && !r.takes_signals);
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, NULL, &blocked);
  CHECK(!sigismember(&blocked, SIGTERM)); /* of who started them nothing has changed */
}

static void one_in_the_background_lets_others_go_first(void)
{
  int before = own_nice(), lowest = 19, lower = before + HR_BACKGROUND_NICE;
  CHECK_EQ(start_one(HR_THREAD_FOREGROUND, "first").nice, before);
  CHECK_EQ(start_one(HR_THREAD_BACKGROUND, "later").nice, lower < lowest ? lower : lowest);
  CHECK_EQ(own_nice(), before);
}

int main(void)
{
  RUN(a_thread_has_its_name_and_takes_no_signals);
  RUN(one_in_the_background_lets_others_go_first);
  return 0;
}
