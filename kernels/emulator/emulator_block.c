/* Plays the blocks of a launch one after the other, in an order drawn from the seed, as are the turns of lanes: what
 * depends on an order that CUDA does not promise comes out differently under another seed.
 *
 * A fibre takes lanes that have not begun and runs each to its end, so a kernel without collectives costs calls, not
 * switches. A lane that has to wait keeps the fibre; another one takes the lanes behind it. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/random.h>

#include "emulator.h"

#define STACK_BYTES ((size_t)128 << 10)
#define STEP_TRIES 64u

typedef enum lane_state { LANE_NEW, LANE_RUNS, LANE_WAITS, LANE_ENDED } lane_state;

typedef struct lane {
  lane_state state;
  hr_collective waits_in;
  hr_fibre *fibre;
  hr_emulated_size index;
} lane;

/* Every number below count once: first, first + step, ... modulo count. */
typedef struct walk {
  uint64_t next, step, count;
} walk;

hr_emulated_size threadIdx, blockIdx, blockDim, gridDim;

static struct {
  const hr_emulated_launch *launch;
  uint32_t lane_count, begun, ended, at_barrier;
  int barrier_votes, barrier_result;
  walk order;      /* of lanes that have not begun */
  uint32_t lane;   /* the one that runs */
  hr_fibre *fibre; /* likewise */
  bool is_inside;  /* a lane runs */
  lane lanes[HR_BLOCK_LANES_MAX];
  hr_meeting meetings[HR_BLOCK_LANES_MAX];
  uint32_t warp_waiting[HR_BLOCK_LANES_MAX / HR_WARP_LANES];
  uint32_t ready[HR_BLOCK_LANES_MAX], ready_count; /* lanes that have met and may go on */
  hr_fibre fibres[HR_BLOCK_LANES_MAX + 1], *idle[HR_BLOCK_LANES_MAX + 1], caller;
  uint32_t idle_count;
  char *shared; /* HR_SHARED_BYTES_MAX up to a guard page */
  hr_rng rng;
} block;

/* All static __shared__ memory; missing when no kernel has any. */
extern char __start_hr_shared[] __attribute__((weak, visibility("default")));
extern char __stop_hr_shared[] __attribute__((weak, visibility("default")));

static walk start_walk(uint64_t count)
{
  walk w = {hr_rng_below(&block.rng, count), 1, count};
  for (uint32_t tries = 0; tries < STEP_TRIES && count > 2; tries++) {
    uint64_t step = 1 + hr_rng_below(&block.rng, count - 1), a = step, b = count;
    while (b != 0) {
      uint64_t rest = a % b;
      a = b;
      b = rest;
    }
    if (a == 1) {
      w.step = step;
      break;
    }
  }
  return w;
}

static uint64_t walk_on(walk *w)
{
  uint64_t at = w->next;
  w->next = (at + w->step) % w->count;
  return at;
}

static void enter(uint32_t index)
{
  block.lane = index;
  threadIdx = block.lanes[index].index;
  block.is_inside = true;
}

/* --- Turns --- */

static void run_lanes(void);

static _Noreturn void report_deadlock(void)
{
  for (uint32_t i = 0; i < block.lane_count; i++) {
    if (block.lanes[i].state != LANE_WAITS)
      continue;
    const hr_meeting *m = &block.meetings[i];
    uint32_t first = i - i % HR_WARP_LANES, missing = UINT32_MAX;
    bool is_block = block.lanes[i].waits_in == HR_SYNCTHREADS;
    for (uint32_t k = is_block ? 0 : first; k < block.lane_count && missing == UINT32_MAX; k++) {
      bool is_awaited = is_block || (k < first + HR_WARP_LANES && m->mask >> (k - first) & 1u);
      if (is_awaited && (block.lanes[k].state != LANE_WAITS || block.lanes[k].waits_in != block.lanes[i].waits_in ||
                         (!is_block && block.meetings[k].mask != m->mask)))
        missing = k;
    }
    const char *kind = hr_collective_name(block.lanes[i].waits_in);
    block.is_inside = false;
    if (missing == UINT32_MAX)
      continue;
    if (block.lanes[missing].state == LANE_ENDED)
      hr_emulator_stop("%s, block %u: lane %u waits in %s for lane %u, which has returned", block.launch->kernel,
                       blockIdx.x, i, kind, missing);
    hr_emulator_stop("%s, block %u: lane %u waits in %s (mask %08x) for lane %u, which is in %s (mask %08x)",
                     block.launch->kernel, blockIdx.x, i, kind, is_block ? 0xffffffffu : m->mask, missing,
                     hr_collective_name(block.lanes[missing].waits_in), block.meetings[missing].mask);
  }
  hr_emulator_stop("%s, block %u: no lane can go on", block.launch->kernel, blockIdx.x);
}

static void switch_to(hr_fibre *next)
{
  hr_fibre *from = block.fibre;
  if (next == from)
    return;
  block.fibre = next;
  if (!next->place)
    hr_fibre_init(next, next->stack, next->stack_bytes, run_lanes);
  hr_fibre_switch(from, next);
}

/* Leaves the fibre for a lane that can run; returns when it is this fibre's turn again. */
static void give_way(void)
{
  bool has_new = block.begun < block.lane_count && block.idle_count > 0;
  if (block.ready_count > 0 && !(has_new && hr_rng_below(&block.rng, 4) == 0)) {
    uint32_t pick = (uint32_t)hr_rng_below(&block.rng, block.ready_count), next = block.ready[pick];
    block.ready[pick] = block.ready[--block.ready_count];
    block.lanes[next].state = LANE_RUNS;
    enter(next);
    switch_to(block.lanes[next].fibre);
  } else if (has_new) {
    switch_to(block.idle[--block.idle_count]);
  } else if (block.ended == block.lane_count) {
    switch_to(&block.caller);
  } else {
    report_deadlock();
  }
}

static void run_lanes(void)
{
  hr_fibre *self = block.fibre;
  for (;;) {
    while (block.begun < block.lane_count) {
      uint32_t index = (uint32_t)walk_on(&block.order);
      block.begun++;
      block.lanes[index].state = LANE_RUNS;
      block.lanes[index].fibre = self;
      enter(index);
      block.launch->run(block.launch->arguments);
      HOTROW_ASSERT(block.lane == index && block.fibre == self);
      block.is_inside = false;
      block.lanes[index].state = LANE_ENDED;
      block.ended++;
      if (block.ready_count > 0)
        break;
    }
    block.idle[block.idle_count++] = self;
    give_way();
  }
}

/* --- Meetings --- */

static void wait_in(hr_collective kind)
{
  if (!block.is_inside)
    hr_emulator_stop("%s outside of a kernel", hr_collective_name(kind));
  block.lanes[block.lane].state = LANE_WAITS;
  block.lanes[block.lane].waits_in = kind;
}

static void let_go(uint32_t index)
{
  block.lanes[index].waits_in = HR_SYNCWARP;
  block.ready[block.ready_count++] = index;
}

/* All lanes of the mask wait: for each other, or the program is wrong. */
static void settle(uint32_t first, uint32_t mask, hr_collective kind)
{
  for (uint32_t bit = 0; bit < HR_WARP_LANES; bit++) {
    const hr_meeting *m = &block.meetings[first + bit];
    if (mask >> bit & 1u && (m->kind != kind || m->mask != mask))
      hr_emulator_stop("%s with mask %08x meets lane %u in %s with mask %08x", hr_collective_name(kind), mask,
                       first + bit, hr_collective_name(m->kind), m->mask);
  }
  hr_collective_settle(&block.meetings[first], mask);
  block.warp_waiting[first / HR_WARP_LANES] &= ~mask;
  for (uint32_t bit = 0; bit < HR_WARP_LANES; bit++)
    if (mask >> bit & 1u)
      let_go(first + bit);
}

uint64_t hr_emulated_meet(hr_collective kind, uint32_t mask, uint64_t value, int argument, int width)
{
  uint32_t index = block.lane, warp = index / HR_WARP_LANES, bit = index % HR_WARP_LANES;
  wait_in(kind);
  if (!(mask >> bit & 1u))
    hr_emulator_stop("%s with mask %08x, which leaves the lane out", hr_collective_name(kind), mask);
  uint32_t warp_lanes = block.lane_count - (index - bit);
  if (warp_lanes < HR_WARP_LANES && mask >> warp_lanes != 0)
    hr_emulator_stop("%s with mask %08x in a warp of %u lanes", hr_collective_name(kind), mask, warp_lanes);
  block.meetings[index] = (hr_meeting){kind, mask, value, 0, argument, width};
  block.warp_waiting[warp] |= 1u << bit;
  if ((block.warp_waiting[warp] & mask) == mask)
    settle(index - bit, mask, kind);
  give_way();
  return block.meetings[index].result;
}

int hr_emulated_meet_block(int predicate)
{
  wait_in(HR_SYNCTHREADS);
  block.barrier_votes += predicate != 0;
  if (++block.at_barrier == block.lane_count) {
    block.barrier_result = block.barrier_votes;
    block.at_barrier = 0;
    block.barrier_votes = 0;
    for (uint32_t i = 0; i < block.lane_count; i++)
      let_go(i);
  }
  give_way();
  return block.barrier_result;
}

/* --- Launches --- */

void *hr_emulated_shared(void)
{
  size_t bytes = (block.launch->shared_bytes + 15) / 16 * 16;
  return block.shared + HR_SHARED_BYTES_MAX - bytes;
}

const char *hr_emulator_place(void)
{
  static char text[256];
  text[0] = '\0';
  if (block.is_inside)
    snprintf(text, sizeof text, " kernel %s, block %u, lane %u:", block.launch->kernel, blockIdx.x, block.lane);
  return text;
}

static void *map_guarded(size_t size_bytes)
{
  char *memory = mmap(NULL, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    hr_emulator_stop("no address space for %zu bytes", size_bytes);
  return memory;
}

static void allow(void *memory, size_t size_bytes)
{
  if (mprotect(memory, size_bytes, PROT_READ | PROT_WRITE) != 0)
    hr_emulator_stop("no memory for %zu bytes", size_bytes);
}

/* Each stack lies between pages that nobody may touch. */
static void set_up(void)
{
  size_t page = (size_t)sysconf(_SC_PAGESIZE), span = STACK_BYTES + page;
  uint32_t fibre_count = HR_BLOCK_LANES_MAX + 1;
  char *stacks = map_guarded(fibre_count * span);
  for (uint32_t i = 0; i < fibre_count; i++) {
    /* What is hot of a stack is its top: at the same place of a page, all of them would fight for the same cache lines.
     */
    block.fibres[i] = (hr_fibre){.stack = stacks + i * span + page, .stack_bytes = STACK_BYTES - i % 16 * 256};
    allow(block.fibres[i].stack, STACK_BYTES);
    block.idle[fibre_count - 1 - i] = &block.fibres[i];
  }
  block.idle_count = fibre_count;
  size_t shared_bytes = (HR_SHARED_BYTES_MAX + page - 1) / page * page;
  char *shared = map_guarded(shared_bytes + page);
  allow(shared, shared_bytes);
  block.shared = shared + shared_bytes - HR_SHARED_BYTES_MAX;
}

static void play_block(void)
{
  block.begun = block.ended = block.at_barrier = 0;
  block.barrier_votes = 0;
  block.order = start_walk(block.lane_count);
  for (uint32_t i = 0; i < block.lane_count; i++)
    block.lanes[i].state = LANE_NEW;
  block.fibre = &block.caller;
  switch_to(block.idle[--block.idle_count]);
  HOTROW_ASSERT(block.ended == block.lane_count && block.idle_count == HR_BLOCK_LANES_MAX + 1);
}

void hr_emulator_play(const hr_emulated_launch *launch)
{
  static uint64_t launches;
  if (!block.shared)
    set_up();
  block.launch = launch;
  block.rng.state = hr_mix64(hr_emulator_seed()) + launches++;
  gridDim = launch->grid;
  blockDim = launch->block;
  block.lane_count = blockDim.x * blockDim.y * blockDim.z;
  for (uint32_t i = 0; i < block.lane_count; i++)
    block.lanes[i].index = (hr_emulated_size){i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
  memset(block.shared, HR_RUBBISH, HR_SHARED_BYTES_MAX);
  if (&__start_hr_shared[0] != &__stop_hr_shared[0])
    memset(__start_hr_shared, HR_RUBBISH, (size_t)(__stop_hr_shared - __start_hr_shared));
  hr_fibre_of_thread(&block.caller);
  uint64_t block_count = (uint64_t)gridDim.x * gridDim.y * gridDim.z;
  walk blocks = start_walk(block_count);
  for (uint64_t played = 0; played < block_count; played++) {
    uint64_t at = walk_on(&blocks);
    blockIdx = (hr_emulated_size){(uint32_t)(at % gridDim.x), (uint32_t)(at / gridDim.x % gridDim.y),
                                  (uint32_t)(at / gridDim.x / gridDim.y)};
    play_block();
  }
}
