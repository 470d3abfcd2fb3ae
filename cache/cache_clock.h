/* The staleness rule (README.md, "Clocks and bounds"): pure functions, tested over every small value. Clocks and batch
 * numbers are u32 that wrap, so they are compared by signed difference. Pull bounds are at most HOTROW_BOUND_MAX. */
#ifndef CACHE_CLOCK_H
#define CACHE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <hr/mutant.h>
#include <hr/shared_fn.h>

/* Is a earlier than b? Right while they are less than 2^31 apart. */
HR_SHARED_FN bool hr_clock_is_before(uint32_t a, uint32_t b)
{
  return (int32_t)(a - b) < 0;
}

HR_SHARED_FN uint32_t hr_clock_later(uint32_t a, uint32_t b)
{
  return hr_clock_is_before(a, b) ? b : a;
}

/* Updates of others that a copy lacks; negative when `clock` is older news than the copy itself. */
HR_SHARED_FN int32_t hr_clock_unseen(uint32_t clock, uint32_t seen)
{
  return (int32_t)(clock - seen);
}

/* The read rule: may a copy be used while its shard's clock is `clock`? */
HR_SHARED_FN bool hr_clock_may_read(uint32_t clock, uint32_t seen, uint32_t pull_bound)
{
  return hr_clock_unseen(clock, seen) <= (int32_t)pull_bound;
}

/* The latest clock that a row can have at its shard, which announces it whenever its clock has moved on by
 * announce_step, while no clock after `announced` has been announced. */
HR_SHARED_FN uint32_t hr_clock_known(uint32_t announced, uint32_t announce_step)
{
  return announced + announce_step - 1;
}

/* The read rule in announce mode: the copy may be used whatever the shard's clock is now. */
HR_SHARED_FN bool hr_clock_is_fresh(uint32_t announced, uint32_t announce_step, uint32_t seen, uint32_t pull_bound)
{
  return hr_clock_may_read(hr_clock_known(announced, announce_step), seen, pull_bound);
}

/* The write rule: may a worker keep this many own steps of a row to itself? */
HR_SHARED_FN bool hr_clock_may_keep(uint32_t pending, uint32_t push_bound)
{
  return pending <= push_bound + HR_MUTANT(PUSH_BOUND);
}

#endif
