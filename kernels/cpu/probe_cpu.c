/* Which way of its set holds a key: one 128-byte set of 16 keys is compared at once. */
#include <string.h>

#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

#define KEYS_AHEAD 32u /* a set's two lines take less time than a row, so they are asked for earlier */

HR_ROW_INLINE size_t set_of(uint64_t hash, uint32_t set_count)
{
  return (size_t)(((hash >> 32) * set_count) >> 32);
}

/* Half a set, as a type of the compiler: gcc 12 leaves a plain loop over 16 ways scalar, at twice the time. */
typedef uint64_t eight_keys __attribute__((vector_size(64), aligned(8)));

/* Bit w is set iff way w holds the key. */
HR_ROW_INLINE uint32_t matching_ways(const uint64_t *ways, uint64_t key)
{
  const eight_keys bits = {1, 2, 4, 8, 16, 32, 64, 128};
  eight_keys low, high;
  memcpy(&low, ways, sizeof low);
  memcpy(&high, ways + 8, sizeof high);
  eight_keys matches = ((eight_keys)(low == key) & bits) | ((eight_keys)(high == key) & (bits << 8));
  uint64_t all = 0;
  for (int lane = 0; lane < 8; lane++)
    all |= matches[lane];
  return (uint32_t)all;
}

/* Those of the ways whose hash is this one. */
HR_ROW_INLINE uint32_t ways_of_hash(const uint64_t *way_hashes, uint64_t hash, uint32_t ways)
{
  uint32_t matches = ways;
  for (uint32_t left = ways; left; left &= left - 1)
    if (way_hashes[__builtin_ctz(left)] != hash)
      matches &= ~(left & (0u - left));
  return matches;
}

HR_VECTORISED void hr_cpu_probe(const uint64_t *set_keys, const uint64_t *set_hashes, const uint16_t *occupied,
                                uint32_t set_count, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                                void *stream, uint32_t *slot_p)
{
  (void)stream;
  HOTROW_ASSERT(key_count == 0 || (set_count > 0 && set_keys && occupied && keys && hashes && slot_p));
  HOTROW_ASSERT(set_count <= HOTROW_SLOT_NONE / HOTROW_CACHE_WAYS);
  for (size_t i = 0; i < key_count; i++) {
    if (i + KEYS_AHEAD < key_count) {
      size_t ahead = set_of(hashes[i + KEYS_AHEAD], set_count);
      __builtin_prefetch(set_keys + ahead * HOTROW_CACHE_WAYS);
      __builtin_prefetch(set_keys + ahead * HOTROW_CACHE_WAYS + HOTROW_CACHE_WAYS / 2);
      __builtin_prefetch(occupied + ahead);
    }
    size_t set = set_of(hashes[i], set_count);
    uint32_t matches = matching_ways(set_keys + set * HOTROW_CACHE_WAYS, keys[i]) & occupied[set];
    if (set_hashes)
      matches = ways_of_hash(set_hashes + set * HOTROW_CACHE_WAYS, hashes[i], matches);
    slot_p[i] = matches ? (uint32_t)set * HOTROW_CACHE_WAYS + (uint32_t)__builtin_ctz(matches) : HOTROW_SLOT_NONE;
  }
}
