/* Which way of its set holds a key.
 * Grid: eight lanes per key, four keys per warp, warps striding over the rest. Each lane reads two ways (16 bytes), so
 * a set is one line of 128 bytes read at once. Bytes per key: 16 read, 128 of its set, 2 of what is taken, 4 written; 8
 * more of a key that is found where tables share the sets.
 */
#include "kernels_impl.h"
#include <hr/check_cuda.h>

#define LANES_PER_KEY 8u
#define WAYS_PER_LANE (HOTROW_CACHE_WAYS / LANES_PER_KEY)
#define KEYS_PER_WARP (32u / LANES_PER_KEY)

static __global__ void find_ways(const ulonglong2 *__restrict__ set_keys, const uint64_t *__restrict__ set_hashes,
                                 const uint16_t *__restrict__ occupied, uint32_t set_count,
                                 const uint64_t *__restrict__ keys, const uint64_t *__restrict__ hashes,
                                 size_t key_count, uint32_t *__restrict__ slot_p)
{
  uint32_t lane = threadIdx.x % 32, part = lane % LANES_PER_KEY, of_warp = lane / LANES_PER_KEY;
  size_t warp = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) / 32, warps = (size_t)gridDim.x * blockDim.x / 32;
  for (size_t first = warp * KEYS_PER_WARP; first < key_count; first += warps * KEYS_PER_WARP) {
    size_t i = first + of_warp;
    uint32_t found = HOTROW_SLOT_NONE;
    if (i < key_count) {
      uint32_t set = (uint32_t)(((hashes[i] >> 32) * set_count) >> 32);
      uint32_t taken = (uint32_t)occupied[set] >> part * WAYS_PER_LANE;
      ulonglong2 ways = set_keys[(size_t)set * LANES_PER_KEY + part];
      uint32_t slot = set * HOTROW_CACHE_WAYS + part * WAYS_PER_LANE;
      if (taken & 2u && ways.y == keys[i] && (!set_hashes || set_hashes[slot + 1] == hashes[i]))
        found = slot + 1;
      if (taken & 1u && ways.x == keys[i] && (!set_hashes || set_hashes[slot] == hashes[i]))
        found = slot;
    }
    uint32_t finders = __ballot_sync(0xffffffffu, found != HOTROW_SLOT_NONE) >> of_warp * LANES_PER_KEY & 0xffu;
    uint32_t writer = finders ? (uint32_t)__ffs(finders) - 1 : 0; /* the first: one lane writes, whatever is found */
    if (i < key_count && part == writer)
      slot_p[i] = found;
  }
}

extern "C" void hr_cuda_probe(const uint64_t *set_keys, const uint64_t *set_hashes, const uint16_t *occupied,
                              uint32_t set_count, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                              void *stream, uint32_t *slot_p)
{
  if (key_count == 0)
    return;
  HR_LAUNCH(find_ways, hr_cuda_blocks(key_count * LANES_PER_KEY), HR_CUDA_BLOCK_THREADS, 0, (cudaStream_t)stream)
  ((const ulonglong2 *)set_keys, set_hashes, occupied, set_count, keys, hashes, key_count, slot_p);
  hr_cuda_check_launch("probe");
}
