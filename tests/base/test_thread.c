#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hr/thread.h>

#include "hr_test.h"

typedef struct report {
  char name[HR_THREAD_NAME_BYTES];
  int nice;
  bool takes_signals;
  uint32_t policy;
  uint64_t slice_ns; /* 0: this system has none that a thread could choose */
} report;

/* What Linux calls sched_attr. */
typedef struct schedule {
  uint32_t size_bytes, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t slice_ns, deadline_ns, period_ns;
} schedule;

static schedule own_schedule(void)
{
  schedule s = {.size_bytes = sizeof s};
  if (syscall(SYS_sched_getattr, 0, &s, sizeof s, 0) != 0)
    s = (schedule){0};
  s.size_bytes = sizeof s;
  return s;
}

static void choose_slice(uint64_t slice_ns)
{
  schedule s = own_schedule();
  s.slice_ns = slice_ns;
  CHECK_EQ(syscall(SYS_sched_setattr, 0, &s, 0), 0);
}

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
  r->slice_ns = own_schedule().slice_ns;
  r->policy = own_schedule().policy;
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

static void *start_others(void *context)
{
  report *others = context;
  others[0] = start_one(HR_THREAD_PROMPT, "prompt");
  others[1] = start_one(HR_THREAD_FOREGROUND, "first");
  others[2] = start_one(HR_THREAD_BACKGROUND, "later");
  return NULL;
}

static void one_that_is_prompt_asks_for_less_in_one_go(void)
{
  uint64_t before = own_schedule().slice_ns;
  if (before <= HR_PROMPT_SLICE_NS)
    hr_test_skip("slices", "before Linux 6.12");
  report prompt = start_one(HR_THREAD_PROMPT, "prompt"), others[3];
  CHECK_EQ(prompt.slice_ns, HR_PROMPT_SLICE_NS);
  CHECK_EQ(prompt.nice, own_nice());
  CHECK_EQ(start_one(HR_THREAD_FOREGROUND, "first").slice_ns, before);
  CHECK_EQ(own_schedule().slice_ns, before);
  void *result = &prompt;
  CHECK_OK(hr_thread_call(HR_THREAD_PROMPT, "maker", start_others, others, &result));
  CHECK(!result);
  CHECK_EQ(others[0].slice_ns, HR_PROMPT_SLICE_NS);
  CHECK_EQ(others[1].slice_ns, before); /* not as its maker */
  CHECK_EQ(others[2].slice_ns, before);
}

/* Shorter or longer: who chose it for the program has a reason. */
static void what_was_chosen_for_the_program_stays(void)
{
  const uint64_t shorter = HR_PROMPT_SLICE_NS / 2, longer = 8 * HR_PROMPT_SLICE_NS;
  choose_slice(shorter);
  CHECK_EQ(start_one(HR_THREAD_PROMPT, "prompt").slice_ns, shorter);
  choose_slice(longer);
  CHECK_EQ(start_one(HR_THREAD_FOREGROUND, "first").slice_ns, longer);
  CHECK_EQ(start_one(HR_THREAD_BACKGROUND, "later").slice_ns, longer);
  CHECK_EQ(start_one(HR_THREAD_PROMPT, "prompt").slice_ns, HR_PROMPT_SLICE_NS);
  choose_slice(0);
  schedule s = own_schedule();
  const struct sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) == 0) { /* needs a right */
    CHECK_EQ(start_one(HR_THREAD_PROMPT, "prompt").policy, SCHED_FIFO);
    CHECK_EQ(syscall(SYS_sched_setattr, 0, &s, 0), 0);
  }
}

int main(void)
{
  RUN(a_thread_has_its_name_and_takes_no_signals);
  RUN(one_in_the_background_lets_others_go_first);
  RUN(one_that_is_prompt_asks_for_less_in_one_go); /* the last two may be skipped */
  RUN(what_was_chosen_for_the_program_stays);
  return 0;
}
