/* A cache on the device that holds keys, and batches of them: for the benchmarks of its calls, of a step and of a
 * lookup. */
#ifndef HR_BENCH_GPU_CACHE_H
#define HR_BENCH_GPU_CACHE_H

#include <hotrow/cache.h>

#include "bench_gpu.h"

#define GPU_TABLE_SEED 1u /* of the keys' hashes */

typedef struct gpu_cache {
  gpu_bench *b;
  hotrow_cache *cache; /* owned */
  uint32_t dim;
  size_t key_count_max; /* of a call */
  uint64_t next_index;  /* of a key that the cache has never seen */
  void *scratch;        /* of dedup and of select */
  hotrow_dedup distinct;
  uint64_t *ids; /* what is deduplicated */
  float *values; /* [key_count_max][dim]: rows that are put in, gradients of updates */
  float *states; /* [key_count_max]: row-wise Adagrad's */
  uint32_t *clocks, *slots, *seen;
  uint8_t *row_states;
  uint32_t *held; /* owned: indices of keys that are in the cache, the first is the hottest */
  size_t held_count;
} gpu_cache;

/* The key with this index. */
static inline uint64_t gpu_cache_key(uint64_t index)
{
  return hr_mix64(index + 1);
}

/* A cache of row_count rows into which the keys of indices below key_count have been put, the last of them first. */
hotrow_status gpu_cache_open(gpu_cache *c, gpu_bench *b, uint64_t row_count, uint64_t key_count, size_t key_count_max);
/* Fills in `held`. */
hotrow_status gpu_cache_find_held(gpu_cache *c, uint64_t key_count);
void gpu_cache_close(gpu_cache *c); /* its arrays on the device are gpu_release's */

/* Brings ids in and finds the distinct ones, in c->distinct; *unique_count_p (NULL: not asked for) waits for them. */
hotrow_status gpu_cache_dedup(gpu_cache *c, const uint64_t *host_ids, size_t count, uint32_t *unique_count_p);
/* Puts the distinct keys in. */
hotrow_status gpu_cache_insert(gpu_cache *c, const uint64_t *keys, const uint64_t *hashes, size_t count);
/* Hands out and drops what is pending. */
hotrow_status gpu_cache_drain(gpu_cache *c);

#endif
