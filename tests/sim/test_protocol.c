/* Runs many seeded clusters, in two processes. Arguments: how many (default 3000), and the first seed (default 1),
 * unless HOTROW_TEST_SEED says another. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hr_test.h"
#include "sim.h"

#define SEEDS_DEFAULT 3000u
#define PROCESSES 2u

static void run_share(uint64_t first, uint64_t count, uint32_t share, sim_totals *totals)
{
  for (uint64_t seed = first + share; seed < first + count; seed += PROCESSES)
    sim_run(seed, totals);
}

static void print_totals(uint64_t count, const sim_totals *t)
{
#define N(x) (unsigned long long)(x)
  printf("%llu clusters: %llu rows read (%llu lacked something), %llu cache hits, %llu fetched ahead, %llu "
         "announcements,\n"
         "%llu resets, %llu messages: %llu dropped, %llu repeated, %llu resends, %llu connections cut, %llu lookups "
         "given\n"
         "up; %llu shards and %llu workers died, %llu durable cuts, %llu times a shard was busy,\n"
         "%llu durable groups of log records, %llu rows came back to memory, %llu reads were waited for,\n"
         "%llu times a hand came by in a storage, %llu rows were left alone and went,\n"
         "%llu parts of cuts copied later, %llu cuts "
         "given up\n",
         N(count), N(t->reads), N(t->stale_reads), N(t->hits), N(t->fetched_ahead), N(t->announcements), N(t->resets),
         N(t->messages), N(t->dropped), N(t->repeated), N(t->resends), N(t->cut), N(t->given_up), N(t->shard_deaths),
         N(t->worker_deaths), N(t->durable_cuts), N(t->busy), N(t->logged), N(t->fetched), N(t->parked), N(t->visits),
         N(t->expired), N(t->turns), N(t->refused_cuts));
#undef N
}

int main(int argc, char **argv)
{
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* clearing 2 MiB for a table of 40 rows took most of the time */
  uint64_t first = hr_test_seed(argc > 2 ? strtoull(argv[2], NULL, 0) : 1),
           count = argc > 1 ? strtoull(argv[1], NULL, 0) : SEEDS_DEFAULT;
  sim_totals *shares =
      mmap(NULL, PROCESSES * sizeof *shares, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shares != MAP_FAILED);
  for (uint32_t share = 1; share < PROCESSES; share++)
    if (fork() == 0) {
      run_share(first, count, share, &shares[share]);
      return 0;
    }
  run_share(first, count, 0, &shares[0]);
  int status, failed = 0;
  while (wait(&status) > 0)
    failed |= status;
  CHECK_EQ(failed, 0);
  sim_totals totals = shares[0];
  uint64_t *sums = (uint64_t *)&totals;
  for (uint32_t share = 1; share < PROCESSES; share++)
    for (size_t i = 0; i < sizeof totals / sizeof *sums; i++)
      sums[i] += ((uint64_t *)&shares[share])[i];
  print_totals(count, &totals);
  /* A run in which nothing went wrong and nothing was stale would prove nothing. */
  for (size_t i = 0; count >= 1000 && i < sizeof totals / sizeof *sums; i++)
    CHECK(sums[i] > 0);
  return 0;
}
