/* What the table's files share: its state. */
#ifndef HR_TABLE_STATE_H
#define HR_TABLE_STATE_H

#include "table.h"
#include "table_index.h"

/* What was last announced of a row. */
typedef struct hr_announced {
  uint32_t clock;
  uint32_t place; /* in the log */
} hr_announced;

/* Rows that changed since they were last put in a cut. */
typedef struct hr_dirty_rows {
  uint64_t *bits; /* owned, of row_count_max; NULL: nobody asks */
  uint32_t *rows; /* owned [row_count_max]: those whose bit is set, in the order in which they changed */
  uint64_t count;
} hr_dirty_rows;

/* Address space for row_count_max elements each; memory once touched. A record of the row array is value[dim],
 * state[state_dim], padding. Keys are an array of their own: only a scan reads them, and a record of whole cache lines
 * stays one. */
struct hr_table {
  uint32_t shard_index, shard_count; /* of the owner; shard_count 0: any key may be created */
  hr_table_desc desc;                /* row_count is the number of rows there are */
  hotrow_row_layout layout;
  hr_index index;
  float *rows;             /* owned */
  uint64_t *keys;          /* owned */
  hr_announced *announced; /* owned; touched only if desc.announce_step > 0 */
  hr_dirty_rows dirty;
  size_t row_stride;
  uint64_t row_count_max;
  uint64_t seed; /* of key hashes */
  const hotrow_kernels *kernels;

  /* Scratch of a push [push_count_max]. */
  uint32_t *push_rows;   /* owned */
  uint32_t *push_clocks; /* owned: after the push */
  uint32_t *push_steps;  /* owned: those that came wide */
  size_t push_count_max;
  float *push_grads; /* owned: those that came packed */
  size_t push_grads_max;
};

#define HR_FIND_AHEAD 32u /* buckets under way from memory while one is probed; a power of two */

/* Hashes of keys on their way: begin() and then one next() for each key in turn, which starts the load of the bucket
 * HR_FIND_AHEAD keys on and gives the hash of this one. */
typedef struct hr_hash_ring {
  uint64_t hashes[HR_FIND_AHEAD];
} hr_hash_ring;

static inline void hr_ring_fetch(hr_hash_ring *ring, const hr_table *table, const uint64_t *keys, size_t i)
{
  uint64_t hash = hr_key_hash(keys[i], table->seed);
  ring->hashes[i % HR_FIND_AHEAD] = hash;
  __builtin_prefetch(hr_index_home(&table->index, hash));
}

static inline void hr_ring_begin(hr_hash_ring *ring, const hr_table *table, const uint64_t *keys, size_t key_count)
{
  for (size_t i = 0; i < key_count && i < HR_FIND_AHEAD; i++)
    hr_ring_fetch(ring, table, keys, i);
}

static inline uint64_t hr_ring_next(hr_hash_ring *ring, const hr_table *table, const uint64_t *keys, size_t key_count,
                                    size_t i)
{
  uint64_t hash = ring->hashes[i % HR_FIND_AHEAD];
  if (i + HR_FIND_AHEAD < key_count)
    hr_ring_fetch(ring, table, keys, i + HR_FIND_AHEAD);
  return hash;
}

static inline float *hr_table_row_at(const hr_table *table, uint64_t row)
{
  return table->rows + row * table->row_stride;
}

static inline void hr_table_touch(hr_table *table, uint32_t row)
{
  hr_dirty_rows *dirty = &table->dirty;
  uint64_t bit = (uint64_t)1 << (row % 64);
  if (!dirty->bits || (dirty->bits[row / 64] & bit))
    return;
  dirty->bits[row / 64] |= bit;
  dirty->rows[dirty->count++] = row;
}

/* Creates the row of a key that is not there. HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY, HOTROW_ERR_INVALID (another
 * shard's) */
hotrow_status hr_table_create_row(hr_table *table, uint64_t hash, uint64_t key, hr_entry **entry_p);

static inline hotrow_status hr_table_find_or_create_one(hr_table *table, uint64_t hash, uint64_t key,
                                                        hr_entry **entry_p)
{
  *entry_p = hr_index_find(&table->index, hash, key);
  return *entry_p ? HOTROW_OK : hr_table_create_row(table, hash, key, entry_p);
}

#endif
