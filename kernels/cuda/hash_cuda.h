/* The hash of a key in a table, as hr_key_hash(): XXH3 of 8 bytes, written out for the device. */
#ifndef HASH_CUDA_H
#define HASH_CUDA_H

#include <hr/check_cuda.h>

#define HR_XXH3_SECRET 0xc73ab174c5ecd5a2u /* two words of XXH3's secret, xored */
#define HR_XXH3_PRIME 0x9fb21c651e98df25u

static __device__ __forceinline__ uint32_t hr_swap_bytes(uint32_t x)
{
  return __byte_perm(x, 0, 0x0123);
}

static __device__ __forceinline__ uint64_t hr_rotate(uint64_t x, unsigned bits)
{
  return x << bits | x >> (64 - bits);
}

static __device__ __forceinline__ uint64_t hr_cuda_key_hash(uint64_t key, uint64_t table_seed)
{
  uint64_t seed = table_seed ^ (uint64_t)hr_swap_bytes((uint32_t)table_seed) << 32;
  uint64_t hash = (key >> 32 | key << 32) ^ (HR_XXH3_SECRET - seed);
  hash ^= hr_rotate(hash, 49) ^ hr_rotate(hash, 24);
  hash *= HR_XXH3_PRIME;
  hash ^= (hash >> 35) + sizeof key;
  hash *= HR_XXH3_PRIME;
  return hash ^ hash >> 28;
}

#endif
