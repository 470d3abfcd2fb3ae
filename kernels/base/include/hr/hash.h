/* Hashes. XXH3 of an 8-byte key is a bijection for a fixed seed, so equal hashes mean equal keys (tested). */
#ifndef HR_HASH_H
#define HR_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The seed of a table's key hashes: XXH3 of its name, so that it is the same on every shard and every run. */
static inline uint64_t hr_table_seed(const char *name, size_t name_size)
{
  return XXH3_64bits(name, name_size);
}

/* The hash of a key in a table. Its top 14 bits are the partition; sorting by it groups keys by shard. */
static inline uint64_t hr_key_hash(uint64_t key, uint64_t table_seed)
{
  return XXH3_64bits_withSeed(&key, sizeof key, table_seed);
}

static inline uint64_t hr_hash_bytes(const void *bytes, size_t size)
{
  return XXH3_64bits(bytes, size);
}

#endif
