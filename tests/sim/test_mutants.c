/* Each planted bug is found within 1500 seeds, and without one there is nothing to find. */
#include <fcntl.h>
#include <hr/mutant.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hr_test.h"
#include "sim.h"

#define SEEDS_MAX                                                                                                      \
  1500u /* most are found by the first few; one that needs an eviction and a cut in between by the 947th */
#define SECONDS_MAX 100u /* a bug that never ends is found too */

static const char *const texts[] = {"none",
#define TEXT(name, text) text,
                                    HR_MUTANT_LIST(TEXT)
#undef TEXT
};

/* The seed that found it, or 0. */
static uint64_t hunt(hr_mutant_kind mutant, uint64_t *seed_p)
{
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    int nowhere = open("/dev/null", O_WRONLY);
    if (mutant != HR_MUTANT_NONE)
      dup2(nowhere, STDERR_FILENO);
    alarm(SECONDS_MAX);
    hr_mutant = mutant;
    sim_totals totals = {0};
    for (*seed_p = 1; *seed_p <= SEEDS_MAX; ++*seed_p)
      sim_run(*seed_p, &totals);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  return status == 0 ? 0 : *seed_p;
}

int main(void)
{
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  uint64_t *seed = mmap(NULL, sizeof *seed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(seed != MAP_FAILED);
  uint32_t missed = 0;
  for (uint32_t m = HR_MUTANT_NONE; m < HR_MUTANT_COUNT; m++) {
    uint64_t found = hunt((hr_mutant_kind)m, seed);
    bool is_right = (found > 0) == (m != HR_MUTANT_NONE);
    missed += !is_right;
    printf("%-70s %s %llu\n", texts[m], found ? "found by seed" : "not found in",
           (unsigned long long)(found ? found : SEEDS_MAX));
    fflush(stdout);
  }
  CHECK_EQ(missed, 0);
  return 0;
}
