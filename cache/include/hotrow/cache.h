/* Hot rows of one table on one device, under bounded staleness. No network: the caller (the worker) pulls what the
 * cache lacks and pushes what it hands out. One thread at a time. All memory is taken by create.
 *
 * A step, as the worker drives it (keys are distinct, with their hashes, as dedup gives them):
 *   hotrow_cache_begin_batch     once per training step: the number that pins rows
 *   hotrow_cache_lookup          slot of each key, and `seen` of the held ones: these go into the probe
 *   hotrow_cache_refresh         the shard's answer for held rows that broke the pull bound
 *   hotrow_cache_insert          the shard's answer for missing rows; dirty victims are handed out, never dropped
 *   hotrow_cache_rows            base of the row array: gather and pool read rows by slot
 *   hotrow_cache_update          own gradients of the step; rows over the push bound are handed out
 * Slots stay valid until the next hotrow_cache_begin_batch.
 *
 * Rows that find no way (all 16 pinned) and rows of a cache of 0 rows go to staging slots behind the cached ones: they
 * are readable until the next begin_batch, and an update of them is handed out at once.
 *
 * What a row holds: the shard's value and state at the last pull, with every own update since applied by the table's
 * optimizer (own writes are visible). `seen` = shard clock at that pull + own steps handed out for pushing since. It
 * counts steps when they are handed out, not when acknowledged: the stream to a shard is ordered and every pull names
 * the last push before it, so the shard has applied them when it compares clocks (design: Miao et al., VLDB 2022, 3.2).
 */
#ifndef HOTROW_CACHE_H
#define HOTROW_CACHE_H

#include <hotrow/kernels.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_CACHE_ROWS_MAX ((uint64_t)1 << 30)
#define HOTROW_BOUND_MAX 1000000000u /* of pull and push bounds: far below the 2^31 where clock differences wrap */

typedef struct hotrow_cache hotrow_cache;

typedef enum hotrow_cache_policy {
  HOTROW_POLICY_LRU = 0,
  HOTROW_POLICY_LIGHT_LFU = 1 /* HET's LFUOpt: 10 uses make a row permanent */
} hotrow_cache_policy;

typedef struct hotrow_cache_options {
  size_t struct_size;
  const hotrow_kernels *kernels; /* borrowed, for the cache's lifetime */
  hotrow_optimizer optimizer;    /* of the table, resolved; previews own writes */
  uint64_t row_count;            /* capacity, rounded up to a multiple of 16; 0: staging only */
  uint64_t staging_row_count;    /* distinct keys one batch can have (memory is taken only when touched) */
  uint32_t dim;
  uint32_t pull_bound;
  uint32_t push_bound;
  hotrow_cache_policy policy;
  uint64_t pending_row_count; /* rows that may keep steps back at once; those beyond hand each step out at once.
                               * 0 or more than there are: every cached row (memory is taken only when touched) */
} hotrow_cache_options;
#define HOTROW_CACHE_OPTIONS_INIT HOTROW_INIT(hotrow_cache_options)

/* Rows handed out for pushing, in arrays that the cache owns. */
typedef struct hotrow_cache_push_list {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *steps; /* k >= 1 */
  const float *grads;    /* [count][dim]: summed over the k steps */
  const float *squares;  /* [count][square_dim], zero where k is 1; NULL if square_dim is 0 */
  size_t count;
} hotrow_cache_push_list;

typedef struct hotrow_cache_stats {
  uint64_t lookups; /* distinct keys looked up */
  uint64_t hits;    /* of them, held and not refreshed */
  uint64_t stale;   /* of them, held and refreshed */
  uint64_t misses;
  uint64_t evicted_clean;
  uint64_t evicted_dirty;
  uint64_t uncached;    /* misses that found no way */
  uint64_t row_count;   /* rows held now */
  uint64_t pending_max; /* largest `pending` left behind by an update: never above push_bound */
} hotrow_cache_stats;

/*   HOTROW_ERR_INVALID      kernels, policy, dim, staging_row_count (0) or the optimizer
 *   HOTROW_ERR_UNSUPPORTED  kernels of a device other than the CPU
 *   HOTROW_ERR_LIMIT        row_count, staging_row_count, dim, bounds
 *   HOTROW_ERR_NO_MEMORY
 * Free with destroy. */
HOTROW_API hotrow_status hotrow_cache_create(const hotrow_cache_options *options, hotrow_cache **cache_p);
HOTROW_API void hotrow_cache_destroy(hotrow_cache *cache); /* accepts NULL; pending gradients are lost: flush first */

/* Starts the next batch: frees staging slots, unpins the rows of the batch before. */
HOTROW_API void hotrow_cache_begin_batch(hotrow_cache *cache);

/* slots[i] = slot of keys[i] or HOTROW_SLOT_NONE; seen[i] is set for those that have one. Held rows are pinned until
 * the next begin_batch. A key that is in staging since an earlier lookup of this batch counts as missing. */
HOTROW_API void hotrow_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                                    uint32_t *slots, uint32_t *seen);

/* The shard's fresh value, state and clock for held slots: rows become fresh + own pending steps, applied again.
 * values[i] at values + i*dim, states[i] at states + i*state_dim (NULL if state_dim is 0, or row_count is 0: staged
 * rows need none); they need no alignment beyond 4 bytes. */
HOTROW_API void hotrow_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks,
                                     const float *values, const float *states, size_t row_count);

/* Puts missing rows in and pins them; slots_p[i] is where each went. Victims with pending steps join the push list. A
 * row that is held after all (another answer brought it) is pinned too; its copy stays unless clocks[i] says that it
 * lacks more than pull_bound updates, then it is refreshed. HOTROW_ERR_LIMIT  more rows without a way than
 * staging_row_count; nothing was inserted */
HOTROW_API hotrow_status hotrow_cache_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                             const uint32_t *clocks, const float *values, const float *states,
                                             size_t row_count, uint32_t *slots_p);

/* Base and stride of the row array for gather and pool, valid for the cache's lifetime. */
HOTROW_API const float *hotrow_cache_rows(const hotrow_cache *cache, size_t *row_stride_p);

/* One own step: grads[i] for keys[i] (distinct). Rows held apply the table's optimizer and gain one pending step; rows
 * whose pending would exceed push_bound, and rows not held, join the push list.
 *   HOTROW_ERR_LIMIT  entries of the push list and rows with pending steps would together exceed
 *                     row_count + 2 * staging_row_count: take the pushes first. Nothing was updated */
HOTROW_API hotrow_status hotrow_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                             const float *grads, size_t key_count);

/* Hands out every row with pending steps (before a save, a barrier, the end). */
HOTROW_API void hotrow_cache_flush(hotrow_cache *cache);

/* The push list so far; taking it empties it: its arrays hold until the next call that adds to it. A key may stand in
 * it more than once (evicted, then updated): the entries are in the order in which they must be applied. */
HOTROW_API void hotrow_cache_take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p);
HOTROW_API size_t hotrow_cache_push_count(const hotrow_cache *cache);

/* Forgets every row with hash in [hash_first, hash_last]; their pending steps join the push list. Slots of these rows
 * are no longer valid. */
HOTROW_API void hotrow_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);

HOTROW_API void hotrow_cache_get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p);

#ifdef __cplusplus
}
#endif
#endif
