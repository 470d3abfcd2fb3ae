/* Prefix sums over arrays that many blocks share, for the .cu files that count before they write: each block takes one
 * tile of the array, the counts of the tiles are summed, and each block starts at its tile's sum. Integers, so
 * every order of adding gives the same. */
#ifndef SCAN_CUDA_H
#define SCAN_CUDA_H

#include <hr/check_cuda.h>

#define HR_TILE_THREADS 256u
#define HR_TILE_ITEMS 8u /* of one thread, one behind the other */
#define HR_TILE (HR_TILE_THREADS * HR_TILE_ITEMS)
#define HR_WARPS_OF_TILE (HR_TILE_THREADS / 32u)

static inline size_t hr_cuda_tile_count(size_t count)
{
  return (count + HR_TILE - 1) / HR_TILE;
}

/* sums[t] of tile_count tiles, in place: from now on where each starts. *total_p is the sum of all. */
void hr_cuda_scan_tiles(uint32_t *sums, size_t tile_count, uint32_t *total_p, cudaStream_t stream);

/* The sum of `value` over the threads of the block before this one; *total_p: over all. A block of HR_TILE_THREADS, all
 * of which call; `warps` is shared memory, free again after the next __syncthreads. */
static __device__ __forceinline__ uint32_t hr_block_scan(uint32_t value, uint32_t *warps, uint32_t *total_p)
{
  uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = value;
  for (uint32_t distance = 1; distance < 32; distance *= 2) {
    uint32_t before = __shfl_up_sync(0xffffffffu, sum, distance);
    sum += lane >= distance ? before : 0;
  }
  if (lane == 31)
    warps[warp] = sum;
  __syncthreads();
  uint32_t before = 0, total = 0;
  for (uint32_t w = 0; w < HR_WARPS_OF_TILE; w++) {
    before += w < warp ? warps[w] : 0;
    total += warps[w];
  }
  *total_p = total;
  return before + sum - value;
}

#endif
