/* Runs many seeded clusters. Arguments: how many (default 3000). HOTROW_TEST_SEED sets the first seed. */
#include "hr_test.h"
#include "sim.h"

#define SEEDS_DEFAULT 3000u

int main(int argc, char **argv)
{
  uint64_t first = hr_test_seed(1), count = argc > 1 ? strtoull(argv[1], NULL, 0) : SEEDS_DEFAULT;
  sim_totals totals = {0};
  for (uint64_t seed = first; seed < first + count; seed++)
    sim_run(seed, &totals);
  printf("%llu clusters: %llu rows read (%llu lacked something), %llu cache hits, %llu fetched ahead, %llu announced,\n"
         "%llu messages: %llu dropped, %llu repeated, %llu connections cut, %llu resends, %llu lookups given up\n",
         (unsigned long long)count, (unsigned long long)totals.reads, (unsigned long long)totals.stale_reads,
         (unsigned long long)totals.hits, (unsigned long long)totals.prefetched, (unsigned long long)totals.announced,
         (unsigned long long)totals.messages, (unsigned long long)totals.dropped, (unsigned long long)totals.repeated,
         (unsigned long long)totals.cut, (unsigned long long)totals.resends, (unsigned long long)totals.given_up);
  /* A run in which nothing went wrong and nothing was stale would prove nothing. */
  if (count >= 100)
    CHECK(totals.dropped && totals.repeated && totals.cut && totals.resends && totals.stale_reads && totals.hits &&
          totals.prefetched && totals.given_up && totals.announced && totals.dropped_windows);
  return 0;
}
