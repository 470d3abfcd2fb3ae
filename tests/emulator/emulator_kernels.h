/* Kernels of the emulator's tests: each launches on `stream` and returns nothing. */
#ifndef EMULATOR_KERNELS_H
#define EMULATOR_KERNELS_H

#include "emulated_launch.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COLLECTIVE_RESULTS 16u

/* results[lane_count][COLLECTIVE_RESULTS] of one block of value[lane_count]. */
void launch_collectives(const uint32_t *values, uint32_t *results, uint32_t lane_count, cudaStream_t stream);
/* sums_p[b] = sum of values[b*lane_count ..] of each of block_count blocks, in static and in dynamic shared memory. */
void launch_block_sums(const uint32_t *values, uint32_t *sums_p, uint32_t lane_count, uint32_t block_count,
                       cudaStream_t stream);
/* block_turns[b]: when the block came; lane_turns[t]: when the first block's lane came. */
void launch_turns(uint32_t *counter, uint32_t *block_turns, uint32_t *lane_turns, uint32_t lane_count,
                  uint32_t block_count, cudaStream_t stream);
/* What the block's shared memory holds before anything is written to it. */
void launch_peek_shared(uint32_t *static_p, uint32_t *dynamic_p, cudaStream_t stream);
void launch_add(uint32_t *value, uint32_t add, cudaStream_t stream);
/* The same, with both in a structure. */
void launch_add_of(uint32_t *value, uint32_t add, cudaStream_t stream);
/* memory[at] = 1, by the device. */
void launch_poke(uint8_t *memory, size_t at, cudaStream_t stream);
/* Copies a value into shared memory of this many words, at word `at`. */
void launch_poke_shared(uint32_t words, uint32_t at, cudaStream_t stream);
/* Does nothing, in blocks of this many threads. */
void launch_nothing(uint32_t blocks, uint32_t threads, size_t shared_bytes, cudaStream_t stream);

typedef enum mistake {
  MASK_WITHOUT_ITSELF,
  MASKS_DIFFER,
  COLLECTIVES_DIFFER,
  LANE_RETURNS,
  BARRIER_IN_A_BRANCH,
  BARRIER_AND_COLLECTIVE,
  SHUFFLE_FROM_OUTSIDE,
  MASK_BEYOND_THE_BLOCK,
} mistake;

void launch_mistake(mistake what, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
