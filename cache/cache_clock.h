/* The staleness rule (README.md, "Clocks and bounds"): pure functions, tested over every small value. Clocks and batch
 * numbers are u32 that wrap, so they are compared by signed difference. Bounds are at most HOTROW_BOUND_MAX. */
#ifndef CACHE_CLOCK_H
#define CACHE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Is a earlier than b? Right while they are less than 2^31 apart. */
static inline bool hr_clock_is_before(uint32_t a, uint32_t b)
{
  return (int32_t)(a - b) < 0;
}

/* Updates of others that a copy lacks; negative when `clock` is older news than the copy itself. */
static inline int32_t hr_clock_unseen(uint32_t clock, uint32_t seen)
{
  return (int32_t)(clock - seen);
}

/* The read rule: may a copy be used while its shard's clock is `clock`? */
static inline bool hr_clock_may_read(uint32_t clock, uint32_t seen, uint32_t pull_bound)
{
  return hr_clock_unseen(clock, seen) <= (int32_t)pull_bound;
}

/* The write rule: may a worker keep this many own steps of a row to itself? */
static inline bool hr_clock_may_keep(uint32_t pending, uint32_t push_bound)
{
  return pending <= push_bound;
}

#endif
