/* Random numbers that are a pure function of what they are for, so that every rank and every replay agrees. */
#ifndef HR_COUNTER_RANDOM_H
#define HR_COUNTER_RANDOM_H

#include <hr/random.h>
#include <hr/shared_fn.h>

/* The counter-th number of the splitmix64 stream that begins at key. */
HR_SHARED_FN uint64_t hr_random_at(uint64_t key, uint64_t counter)
{
  return hr_mix64(key + (counter + 1) * 0x9e3779b97f4a7c15u);
}

/* In [0, 1). */
HR_SHARED_FN float hr_random_unit_at(uint64_t key, uint64_t counter)
{
  return (float)(hr_random_at(key, counter) >> 40) * 0x1p-24f;
}

#endif
