/* key -> partition -> shard. Both ends of every wire must agree, so it lives here. */
#ifndef HR_ROUTE_H
#define HR_ROUTE_H

#include <stdint.h>

#include <hr/hash.h>

#define HR_PARTITION_BITS 14u
#define HR_PARTITION_COUNT (1u << HR_PARTITION_BITS)
#define HR_SHARD_COUNT_MAX 1024u

static inline uint32_t hr_partition_of(uint64_t key_hash)
{
  return (uint32_t)(key_hash >> (64u - HR_PARTITION_BITS));
}

/* Shards own contiguous ranges of partitions, as equal as they come. */
static inline uint32_t hr_shard_of_partition(uint32_t partition, uint32_t shard_count)
{
  return (uint32_t)(((uint64_t)partition * shard_count) >> HR_PARTITION_BITS);
}

static inline uint32_t hr_shard_of(uint64_t key_hash, uint32_t shard_count)
{
  return hr_shard_of_partition(hr_partition_of(key_hash), shard_count);
}

/* The first partition of a shard; that of shard_count is HR_PARTITION_COUNT. */
static inline uint32_t hr_partition_first(uint32_t shard, uint32_t shard_count)
{
  return (uint32_t)((((uint64_t)shard << HR_PARTITION_BITS) + shard_count - 1) / shard_count);
}

/* The first hash of a partition; for HR_PARTITION_COUNT it wraps to 0. */
static inline uint64_t hr_hash_first(uint32_t partition)
{
  return partition < HR_PARTITION_COUNT ? (uint64_t)partition << (64u - HR_PARTITION_BITS) : 0;
}

#endif
