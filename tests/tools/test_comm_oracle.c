/* The oracle of what copies lack, against a plain history of everything that happened. */
#include "hr_test.h"

#include <hr/random.h>

#include "comm_oracle.h"
#include "dataset.h"

#define WORKERS 3u
#define KEYS 5u

/* Which occurrence, of which worker, a copy has: the slow way to the same numbers. */
typedef struct model {
  uint32_t made[KEYS][WORKERS], pushed[KEYS][WORKERS];
  uint32_t has[KEYS][WORKERS][WORKERS]; /* occurrences of the second worker in the copy of the first */
  comm_unseen unseen;
} model;

static uint64_t key_of(uint32_t i)
{
  return (uint64_t)(i % 4) << HR_FIELD_SHIFT | i;
}

static void model_use(model *m, uint32_t key, uint32_t worker)
{
  uint64_t missed = 0;
  for (uint32_t other = 0; other < WORKERS; other++)
    if (other != worker)
      missed += m->made[key][other] - m->has[key][worker][other];
  uint32_t bucket = 0;
  while (bucket < 31 && missed >= (UINT64_C(1) << bucket))
    bucket++;
  m->unseen.uses++;
  m->unseen.sum += missed;
  m->unseen.max = missed > m->unseen.max ? missed : m->unseen.max;
  m->unseen.counts[bucket]++;
}

static void check_same(const comm_oracle *oracle, const model *m)
{
  const comm_unseen *unseen = comm_oracle_unseen(oracle);
  CHECK_EQ(unseen->uses, m->unseen.uses);
  CHECK_EQ(unseen->sum, m->unseen.sum);
  CHECK_EQ(unseen->max, m->unseen.max);
  CHECK(memcmp(unseen->counts, m->unseen.counts, sizeof unseen->counts) == 0);
}

static void test_against_history(void)
{
  comm_oracle *oracle;
  model m = {0};
  hr_rng rng = {hr_test_seed(1)};
  uint32_t held[KEYS][WORKERS] = {0};
  CHECK_OK(comm_oracle_open(WORKERS, &oracle));
  for (int event = 0; event < 20000; event++) {
    const uint32_t i = (uint32_t)hr_rng_below(&rng, KEYS), worker = (uint32_t)hr_rng_below(&rng, WORKERS);
    const uint64_t key = key_of(i);
    void *context = comm_oracle_context(oracle, worker);
    switch (hr_rng_below(&rng, 4)) {
    case 0: {
      const uint64_t twice[] = {key, key};
      comm_oracle_made(oracle, worker, twice, 2);
      m.made[i][worker] += 2;
      break;
    }
    case 1:
      comm_oracle_observe(context, NULL, HOTROW_EVENT_PUSH, &key, &(uint32_t){1}, 1);
      m.pushed[i][worker] = m.made[i][worker];
      break;
    case 2:
      if (!held[i][worker])
        break;
      comm_oracle_observe(context, NULL, HOTROW_EVENT_HIT, &key, NULL, 1);
      model_use(&m, i, worker);
      break;
    default:
      comm_oracle_observe(context, NULL, held[i][worker] ? HOTROW_EVENT_STALE : HOTROW_EVENT_MISS, &key, &(uint32_t){7},
                          1);
      held[i][worker] = 1;
      for (uint32_t other = 0; other < WORKERS; other++)
        m.has[i][worker][other] = m.pushed[i][other];
      model_use(&m, i, worker);
    }
    if (event == 10000) {
      check_same(oracle, &m);
      comm_oracle_restart(oracle);
      m.unseen = (comm_unseen){0};
    }
  }
  check_same(oracle, &m);
  CHECK(m.unseen.sum > 0 && m.unseen.counts[0] > 0);
  comm_oracle_close(oracle);
  comm_oracle_close(NULL);
}

int main(void)
{
  RUN(test_against_history);
  return 0;
}
