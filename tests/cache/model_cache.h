/* A cache as one would write it first: one row at a time, no pool, no chunks, no packed metadata. What it says of a row
 * is what the cache has to say, bit for bit. Row arithmetic, rounding and the sketch are the library's, tested
 * elsewhere. */
#ifndef MODEL_CACHE_H
#define MODEL_CACHE_H

#include <hotrow/cache.h>

#define DIM 5
#define STATE_MAX (2 * DIM + 2)
#define ROW_MAX 20 /* DIM + STATE_MAX, and to spare */
#define SETS_MAX 3
#define WAYS HOTROW_CACHE_WAYS
#define TABLES_MAX 3
#define STAGING 24
#define PUSHES_MAX (SETS_MAX * WAYS + 2 * STAGING)

typedef struct model_row {
  bool held, stale;
  uint8_t table;
  uint64_t key, hash;
  uint32_t live_until, used_in, seen, announced, pending, uses;
  float row[ROW_MAX], grad[DIM], squares[DIM];
} model_row;

typedef struct model_push {
  uint64_t key, hash;
  uint32_t steps;
  uint8_t is_exact, table;
  float grad[DIM], squares[DIM];
} model_push;

/* What is each table's own. */
typedef struct model_table {
  hotrow_cache_options options;
  hotrow_row_layout layout;
  float lr_scale;
  hotrow_cache_stats stats;
} model_table;

typedef struct model_cache {
  const hotrow_kernels *kernels;
  hotrow_cache_policy policy;
  model_table tables[TABLES_MAX];
  uint32_t table_count;
  model_table *own; /* the table that is worked on */
  uint32_t set_count, batch, age, set_ages[SETS_MAX], dirty_count, dirty_max;
  uint32_t leaving_count; /* sums that leave in this update are free for the next one */
  model_row rows[SETS_MAX * WAYS];
  model_push pushes[PUSHES_MAX];
  size_t push_count, staging_used;
} model_cache;

/* A cache without tables; the first one's options say how large it is. */
void model_start(model_cache *m);
/* The table is worked on from here on. */
void model_add_table(model_cache *m, const hotrow_cache_options *options, const hotrow_row_layout *layout);
bool model_is_own(const model_cache *m, const model_row *r);
void model_begin_batch(model_cache *m);
model_row *model_find(model_cache *m, uint64_t key);
/* next_use NULL as in the cache: one element. */
hotrow_row_state model_state(const model_cache *m, const model_row *r);
hotrow_row_state model_lookup(model_cache *m, uint64_t key, const uint32_t *next_use);
void model_expect(model_cache *m, uint64_t key, uint32_t batch);
void model_refresh(model_cache *m, uint64_t key, uint32_t clock, const float *value, const float *state);
hotrow_status model_insert(model_cache *m, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                           const float *values, const float *states, const uint32_t *next_use, size_t count,
                           uint32_t *slots);
size_t model_count_new(model_cache *m, uint64_t key, uint32_t ticks);
void model_update(model_cache *m, uint64_t key, uint64_t hash, const float *grad, uint32_t ticks);
void model_hand_out(model_cache *m, model_row *r);

#endif
