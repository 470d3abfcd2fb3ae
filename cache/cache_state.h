/* What a cache is, and what is done to it on a device. */
#ifndef CACHE_STATE_H
#define CACHE_STATE_H

#include <hotrow/cache.h>

#include "cache_pending.h"
#include "cache_push_list.h"
#include "cache_rules.h"

#define HR_CHUNK_ROWS ((size_t)1024) /* of the CPU's passes: what one pass touches is still in L2 for the next */

/* The shard's answer for some keys. */
typedef struct hr_fresh_rows {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *clocks;
  const float *values;
  const float *states;
  const uint32_t *next_use; /* or NULL */
} hr_fresh_rows;

/* What a lookup was asked and has answered. */
typedef struct hr_looked_up {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *slots;
  const uint32_t *seen;
  const uint8_t *states;
  size_t count;
  const uint32_t *count_p;
} hr_looked_up;

/* A plan's arrays, in memory that host and device reach. */
typedef struct hr_plan_arrays {
  uint32_t *count;
  uint32_t *indexes;
  uint64_t *keys;
  uint64_t *hashes;
  uint32_t *slots;
  uint32_t *seen;
  uint8_t *states;
} hr_plan_arrays;

struct hotrow_cache_plan {
  hotrow_cache *cache; /* borrowed */
  size_t key_count_max;
  hr_plan_arrays rows;
  uint32_t *ranks; /* [key_count_max + 1]: a device's */
  void *scan;
  void *event;         /* owned: the plan is written */
  void *host_memory;   /* owned: rows */
  void *device_memory; /* owned: ranks, scan */
};

/* One call of the interface each, with its arguments; what can be refused without a look at the rows has been. */
typedef struct hr_cache_operations {
  /* The arrays that a device's passes need beside the rows and their books. */
  void (*layout)(hotrow_cache *cache, hr_arena *arena);
  void (*begin_batch)(hotrow_cache *cache);
  size_t (*staging_left)(const hotrow_cache *cache);
  void (*lookup)(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                 const uint32_t *key_count_p, const uint32_t *next_use, uint32_t *slots, uint32_t *seen,
                 uint8_t *states);
  void (*expect)(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                 const uint32_t *key_count_p, uint32_t batch, uint8_t *is_held_p);
  void (*write_plan)(hotrow_cache_plan *plan, const hr_looked_up *looked_up);
  void (*refresh)(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                  const float *states, size_t row_count);
  hotrow_status (*insert)(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t row_count, uint32_t *slots);
  hotrow_status (*stage)(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                         size_t row_count, uint32_t *slots);
  hotrow_status (*update)(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *slots,
                          const float *grads, const uint32_t *ticks, size_t key_count, const uint32_t *key_count_p);
  void (*flush)(hotrow_cache *cache);
  hotrow_status (*take_pushes)(hotrow_cache *cache, hotrow_cache_push_list *list_p);
  void (*invalidate)(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);
  void (*mark_stale)(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);
  void (*announce)(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                   size_t key_count);
  void (*announce_gone)(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count);
  void (*credit)(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                 size_t key_count);
  hotrow_status (*get_stats)(const hotrow_cache *cache, hotrow_cache_stats *stats_p);
} hr_cache_operations;

/* What one chunk of the CPU's needs between its passes; each array holds HR_CHUNK_ROWS. */
typedef struct hr_chunk_scratch {
  uint32_t *slots;
  uint32_t *sums;
  uint32_t *steps;
  uint32_t *entries;
  uint8_t *flags;
  uint32_t *sought; /* update: those whose slots the caller does not know */
  uint32_t *sought_slots;
  uint64_t *sought_keys;
  uint64_t *sought_hashes;
  float *grads;
  float *squares;
  float *one_sum; /* gradient and squares of one row */
  void *packed;   /* gradients as the wire's dtype says them, and their scales */
  float *scales;
} hr_chunk_scratch;

/* What is counted of one table. */
typedef struct hr_table_books {
  hotrow_cache_stats stats; /* but row_count and push_count */
  uint32_t held_count;
} hr_table_books;

/* What counts on the CPU. */
typedef struct hr_cpu_side {
  uint32_t age; /* how often uses ought to have been halved */
  uint32_t staging_used;
  uint32_t *demand; /* [set_count], zero between calls: rows that want a way of each set */
  hr_chunk_scratch chunk;
  hr_table_books tables[HOTROW_CACHE_TABLES_MAX];
} hr_cpu_side;

/* What the passes of another device leave to each other; each array holds row_count, ranks one more. */
typedef struct hr_device_scratch {
  uint32_t *demand; /* [set_count], zero between calls: rows that want a way of each set */
  uint32_t *slots;
  uint32_t *steps;
  uint32_t *sums;
  uint32_t *own_sums; /* update: of each key */
  uint32_t *out_sums; /* of each entry to be filled, NONE: it is row out_rows of the gradients */
  uint32_t *out_rows;
  uint32_t *rounded_entries;
  uint32_t *rounded_sums;
  uint32_t *ranks_a; /* flags, then how many come before; the last one is how many there are */
  uint32_t *ranks_b;
  uint32_t *ranks_c;
  uint8_t *flags;
  uint8_t *kinds;
  float *grads;
  float *squares;
  float *one_sums;
  void *packed;
  float *scales;
  void *scan;
  size_t row_count;
} hr_device_scratch;

/* What counts there is in hr_device_books; the host knows bounds. */
typedef struct hr_device_books hr_device_books;

/* What a device writes for the host when the push list is taken. */
typedef struct hr_taken_counts {
  uint32_t entries;
  uint32_t pending; /* rows with pending steps that stay */
} hr_taken_counts;

typedef struct hr_device_side {
  hr_device_books *books;
  hr_table_books *tables; /* [HOTROW_CACHE_TABLES_MAX] */
  hr_device_scratch scratch;
  size_t staged_bound;    /* at most so many staging rows are in use */
  uint64_t placed_bound;  /* at most so many entries and rows with pending steps there are */
  uint64_t placed_since;  /* of them, since the last take */
  uint64_t listed_bound;  /* at most so many entries there are */
  hr_taken_counts *taken; /* [2], owned, in pinned memory: of the last takes, in turn */
  uint32_t take_count;
  void *taken_event; /* owned: the last take is done */
} hr_device_side;

/* What the caches of several tables have in common: room for rows of one shape. */
typedef struct hr_cache_shared {
  hotrow_cache *caches[HOTROW_CACHE_TABLES_MAX]; /* borrowed; NULL: none yet, or gone. The last that goes frees this */
  uint32_t table_count;                          /* that there have been: a table's number is not used again */
  hotrow_cache_policy policy;
  bool keeps_steps;   /* there are sums for a push bound above 0 */
  bool has_forgotten; /* rows were invalidated in this batch: slots that it has found may hold others, or none */
  hr_cache_sets sets;
  hr_sketch sketch;
  hr_pending_pool pending;
  hr_push_list pushes;
  float *rows;       /* [cached, then staging][row_stride]: value | state */
  size_t row_stride; /* floats */
  uint32_t staging_first;
  uint32_t staging_count;
  hr_cpu_side cpu;
  hr_device_side device;
  void *memory; /* owned: every array above */
} hr_cache_shared;

/* One table's part. */
struct hotrow_cache {
  const hotrow_kernels *kernels; /* borrowed */
  void *stream;                  /* borrowed; NULL on the CPU */
  const hr_cache_operations *operations;
  hr_cache_rules rules; /* policy and batch are those of all that share */
  hotrow_row_layout layout;
  float lr_scale;
  bool counts_occurrences;
  uint8_t table; /* its number among those that share */
  hr_cache_shared *shared;
};

#define HR_LOOKUPS_PER_ROW 20u /* after so many uses are halved */

const hr_cache_operations *hr_cpu_cache_operations(void);
/* NULL: this build has none. */
const hr_cache_operations *hr_cuda_cache_operations(void);

/* What a probe compares beside keys. */
static inline const uint64_t *hr_probed_hashes(const hotrow_cache *cache)
{
  return cache->shared->table_count > 1 && !HR_MUTANT(FOREIGN_ROW) ? cache->shared->sets.hashes : NULL;
}

/* State i of an array that is NULL when rows have none, or when nothing is kept and so nothing is previewed. */
HR_SHARED_FN const float *hr_state_at(const hotrow_cache *cache, const float *states, size_t i)
{
  return states ? states + i * cache->layout.state_dim : NULL;
}

/* A call's rows from row `first` on. */
HR_SHARED_FN hr_fresh_rows hr_fresh_rows_from(const hotrow_cache *cache, const hr_fresh_rows *fresh, size_t first)
{
  hr_fresh_rows rows = {fresh->keys + first,
                        fresh->hashes + first,
                        fresh->clocks + first,
                        fresh->values + first * cache->layout.dim,
                        hr_state_at(cache, fresh->states, first),
                        fresh->next_use ? fresh->next_use + first : NULL};
  return rows;
}

/* The refusals of insert, stage and update, in one wording on every device. */
hotrow_status hr_cache_fail_staging(const hotrow_cache *cache, size_t uncached_count, size_t staging_free);
hotrow_status hr_cache_fail_pushes(const hotrow_cache *cache, size_t key_count, size_t room);

static inline size_t hr_min_size(size_t a, size_t b)
{
  return a < b ? a : b;
}

#endif
