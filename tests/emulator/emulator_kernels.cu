/* Kernels that the emulator's tests launch: right ones, and one for each mistake that it is to find. */
#include <hr/launch.h>

#include "emulator_kernels.h"

static __global__ void collectives(const uint32_t *values, uint32_t *results, uint32_t lane_count)
{
  uint32_t lane = threadIdx.x % 32, value = values[threadIdx.x];
  uint32_t lanes = lane_count - (threadIdx.x - lane) < 32 ? lane_count - (threadIdx.x - lane) : 32;
  unsigned all = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
  unsigned half = lane < 16 ? all & 0xffffu : all & 0xffff0000u;
  uint32_t *r = results + threadIdx.x * COLLECTIVE_RESULTS;
  r[0] = __ballot_sync(all, value & 1);
  r[1] = __ballot_sync(half, (int)(value & 2));
  r[2] = __shfl_sync(all, value, 0);
  r[3] = (uint32_t)__shfl_sync(half, (uint64_t)value << 3, 5, 8);
  r[4] = __shfl_up_sync(all, value, 3);
  r[5] = __shfl_down_sync(half, value, 2, 4);
  r[6] = __shfl_xor_sync(half, value, 1);
  r[7] = __match_any_sync(all, value % 3);
  r[8] = __reduce_add_sync(all, value);
  r[9] = (uint32_t)__reduce_min_sync(half, (int)value);
  r[10] = __reduce_max_sync(all, value);
  r[11] = __reduce_xor_sync(half, value);
  r[12] = (uint32_t)__any_sync(all, value == 7);
  r[13] = (uint32_t)__all_sync(half, value != 7);
  r[14] = (uint32_t)__syncthreads_count(value % 5 == 0);
  r[15] = __float_as_uint(__shfl_sync(all, __uint2float_rn(value % 1000), (int)lanes - 1));
}

void launch_collectives(const uint32_t *values, uint32_t *results, uint32_t lane_count, cudaStream_t stream)
{
  HR_LAUNCH(collectives, 1, lane_count, 0, stream)(values, results, lane_count);
}

static __global__ void block_sums(const uint32_t *values, uint32_t *sums)
{
  __shared__ uint32_t still[1024];
  HR_DYNAMIC_SHARED(uint32_t, moving);
  uint32_t t = threadIdx.x;
  still[t] = values[blockIdx.x * blockDim.x + t];
  __syncthreads();
  moving[blockDim.x - 1 - t] = still[t];
  __syncthreads();
  for (uint32_t width = 1; width < blockDim.x; width *= 2) {
    uint32_t other = t + width < blockDim.x ? moving[t + width] : 0;
    __syncthreads();
    if (t % (2 * width) == 0)
      moving[t] += other;
    __syncthreads();
  }
  if (t == 0)
    sums[blockIdx.x] = moving[0];
}

void launch_block_sums(const uint32_t *values, uint32_t *sums_p, uint32_t lane_count, uint32_t block_count,
                       cudaStream_t stream)
{
  HR_LAUNCH(block_sums, block_count, lane_count, lane_count * sizeof(uint32_t), stream)(values, sums_p);
}

static __global__ void turns(uint32_t *counter, uint32_t *block_turns, uint32_t *lane_turns)
{
  uint32_t turn = atomicAdd(counter, 1u);
  if (threadIdx.x == 0)
    block_turns[blockIdx.x] = turn;
  if (blockIdx.x == 0)
    lane_turns[threadIdx.x] = turn;
}

void launch_turns(uint32_t *counter, uint32_t *block_turns, uint32_t *lane_turns, uint32_t lane_count,
                  uint32_t block_count, cudaStream_t stream)
{
  HR_LAUNCH(turns, block_count, lane_count, 0, stream)(counter, block_turns, lane_turns);
}

static __global__ void peek_shared(uint32_t *static_p, uint32_t *dynamic_p)
{
  __shared__ uint32_t still[4];
  HR_DYNAMIC_SHARED(uint32_t, moving);
  *static_p = still[threadIdx.x];
  *dynamic_p = moving[threadIdx.x];
  still[threadIdx.x] = moving[threadIdx.x] = 0;
}

void launch_peek_shared(uint32_t *static_p, uint32_t *dynamic_p, cudaStream_t stream)
{
  HR_LAUNCH(peek_shared, 1, 1, 16, stream)(static_p, dynamic_p);
}

static __global__ void add_to(uint32_t *value, uint32_t add)
{
  *value += add;
}

void launch_add(uint32_t *value, uint32_t add, cudaStream_t stream)
{
  HR_LAUNCH(add_to, 1, 1, 0, stream)(value, add);
}

typedef struct addition {
  uint32_t add;
  uint32_t *value;
} addition;

static __global__ void add_of(addition a)
{
  *a.value += a.add;
}

void launch_add_of(uint32_t *value, uint32_t add, cudaStream_t stream)
{
  addition a = {add, value};
  HR_LAUNCH(add_of, 1, 1, 0, stream)(a);
}

static __global__ void poke(uint8_t *memory, size_t at)
{
  memory[at] = 1;
}

void launch_poke(uint8_t *memory, size_t at, cudaStream_t stream)
{
  HR_LAUNCH(poke, 1, 1, 0, stream)(memory, at);
}

static __global__ void poke_shared(uint32_t at)
{
  HR_DYNAMIC_SHARED(volatile uint32_t, words);
  words[at] = at;
}

void launch_poke_shared(uint32_t words, uint32_t at, cudaStream_t stream)
{
  HR_LAUNCH(poke_shared, 1, 1, words * sizeof(uint32_t), stream)(at);
}

static __global__ void nothing() {}

void launch_nothing(uint32_t blocks, uint32_t threads, size_t shared_bytes, cudaStream_t stream)
{
  HR_LAUNCH(nothing, blocks, threads, shared_bytes, stream)();
}

static __global__ void make_mistake(mistake what)
{
  uint32_t lane = threadIdx.x;
  switch (what) {
  case MASK_WITHOUT_ITSELF:
    __syncwarp(lane == 7 ? 0x0fu : 0xffffffffu);
    return;
  case MASKS_DIFFER:
    __syncwarp(lane == 0 ? 0x7fffffffu : 0xffffffffu);
    return;
  case COLLECTIVES_DIFFER:
    if (lane == 3)
      __ballot_sync(0xffffffffu, 1);
    else
      __syncwarp();
    return;
  case LANE_RETURNS:
    if (lane != 9)
      __syncwarp();
    return;
  case BARRIER_IN_A_BRANCH:
    if (lane < 32)
      __syncthreads();
    return;
  case BARRIER_AND_COLLECTIVE:
    if (lane == 2)
      __syncthreads();
    else
      __syncwarp();
    return;
  case SHUFFLE_FROM_OUTSIDE:
    if (lane < 8)
      __shfl_sync(0xffu, lane, 8);
    return;
  case MASK_BEYOND_THE_BLOCK:
    if (lane >= 32)
      __syncwarp();
    return;
  }
}

void launch_mistake(mistake what, cudaStream_t stream)
{
  HR_LAUNCH(make_mistake, 1, what == MASK_BEYOND_THE_BLOCK ? 48 : 64, 0, stream)(what);
}
