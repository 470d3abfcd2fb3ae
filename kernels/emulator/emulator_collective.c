/* What lanes of a warp give each other, as the CUDA programming guide defines it. */
#include <hr/assert.h>

#include "emulator.h"

static const char *const names[] = {
    [HR_SYNCWARP] = "__syncwarp",
    [HR_BALLOT] = "__ballot_sync",
    [HR_SHUFFLE] = "__shfl_sync",
    [HR_SHUFFLE_UP] = "__shfl_up_sync",
    [HR_SHUFFLE_DOWN] = "__shfl_down_sync",
    [HR_SHUFFLE_XOR] = "__shfl_xor_sync",
    [HR_MATCH_ANY] = "__match_any_sync",
    [HR_REDUCE_ADD] = "__reduce_add_sync",
    [HR_REDUCE_MIN] = "__reduce_min_sync",
    [HR_REDUCE_MAX] = "__reduce_max_sync",
    [HR_REDUCE_MIN_SIGNED] = "__reduce_min_sync",
    [HR_REDUCE_MAX_SIGNED] = "__reduce_max_sync",
    [HR_REDUCE_AND] = "__reduce_and_sync",
    [HR_REDUCE_OR] = "__reduce_or_sync",
    [HR_REDUCE_XOR] = "__reduce_xor_sync",
    [HR_SYNCTHREADS] = "__syncthreads",
};

const char *hr_collective_name(hr_collective kind)
{
  return names[kind];
}

/* The lane that a shuffle reads; a source beyond the segment of `width` lanes is the lane itself. */
static uint32_t source_of(const hr_meeting *m, uint32_t lane)
{
  if (m->width < 1 || m->width > 32 || (m->width & (m->width - 1)) != 0)
    hr_emulator_stop("lane %u: %s with a width of %d", lane, names[m->kind], m->width);
  uint32_t width = (uint32_t)m->width, first = lane & ~(width - 1), argument = (uint32_t)m->argument;
  switch (m->kind) {
  case HR_SHUFFLE:
    return first + (argument & (width - 1));
  case HR_SHUFFLE_UP:
    return argument > lane - first ? lane : lane - argument;
  case HR_SHUFFLE_DOWN:
    return argument >= width || lane + argument >= first + width ? lane : lane + argument;
  default: {
    uint32_t source = lane ^ argument;
    return source >= first + width ? lane : source;
  }
  }
}

static void shuffle(hr_meeting *meetings, uint32_t mask)
{
  for (uint32_t lane = 0; lane < HR_WARP_LANES; lane++) {
    if (!(mask >> lane & 1u))
      continue;
    uint32_t source = source_of(&meetings[lane], lane);
    if (source >= HR_WARP_LANES || !(mask >> source & 1u))
      hr_emulator_stop("lane %u of a warp reads lane %u in %s, which its mask %08x leaves out", lane, source,
                       names[meetings[lane].kind], mask);
    meetings[lane].result = meetings[source].value;
  }
}

static uint32_t combine(hr_collective kind, uint32_t a, uint32_t b)
{
  switch (kind) {
  case HR_REDUCE_ADD:
    return a + b;
  case HR_REDUCE_MIN:
    return a < b ? a : b;
  case HR_REDUCE_MAX:
    return a > b ? a : b;
  case HR_REDUCE_MIN_SIGNED:
    return (int32_t)a < (int32_t)b ? a : b;
  case HR_REDUCE_MAX_SIGNED:
    return (int32_t)a > (int32_t)b ? a : b;
  case HR_REDUCE_AND:
    return a & b;
  case HR_REDUCE_OR:
    return a | b;
  default:
    return a ^ b;
  }
}

static void give_all(hr_meeting *meetings, uint32_t mask, uint64_t result)
{
  for (uint32_t lane = 0; lane < HR_WARP_LANES; lane++)
    if (mask >> lane & 1u)
      meetings[lane].result = result;
}

static void reduce(hr_meeting *meetings, uint32_t mask)
{
  uint32_t first = (uint32_t)__builtin_ctz(mask), total = (uint32_t)meetings[first].value;
  for (uint32_t lane = first + 1; lane < HR_WARP_LANES; lane++)
    if (mask >> lane & 1u)
      total = combine(meetings[lane].kind, total, (uint32_t)meetings[lane].value);
  give_all(meetings, mask, total);
}

static uint32_t lanes_with(const hr_meeting *meetings, uint32_t mask, uint64_t value)
{
  uint32_t lanes = 0;
  for (uint32_t lane = 0; lane < HR_WARP_LANES; lane++)
    if (mask >> lane & 1u && meetings[lane].value == value)
      lanes |= 1u << lane;
  return lanes;
}

void hr_collective_settle(hr_meeting *meetings, uint32_t mask)
{
  HOTROW_ASSERT(mask != 0);
  switch (meetings[__builtin_ctz(mask)].kind) {
  case HR_SYNCWARP:
    break;
  case HR_BALLOT:
    give_all(meetings, mask, lanes_with(meetings, mask, 1));
    break;
  case HR_SHUFFLE:
  case HR_SHUFFLE_UP:
  case HR_SHUFFLE_DOWN:
  case HR_SHUFFLE_XOR:
    shuffle(meetings, mask);
    break;
  case HR_MATCH_ANY:
    for (uint32_t lane = 0; lane < HR_WARP_LANES; lane++)
      if (mask >> lane & 1u)
        meetings[lane].result = lanes_with(meetings, mask, meetings[lane].value);
    break;
  default:
    reduce(meetings, mask);
    break;
  }
}
