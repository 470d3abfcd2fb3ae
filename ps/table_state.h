/* What the table's files share: its state. */
#ifndef HR_TABLE_STATE_H
#define HR_TABLE_STATE_H

#include <hr/hash.h>

#include "table.h"
#include "table_index.h"
#include "table_probe.h"

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
  hr_probe_fn probe;       /* of many keys at once */
  hr_table_memory memory;  /* of the index and of these: */
  float *rows;             /* borrowed */
  uint64_t *keys;          /* borrowed */
  hr_announced *announced; /* borrowed; touched only if desc.announce_step > 0 */
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

/* Can the entry of a probe's block be used? Not if the key was not there, for it may be now, and not after a split. */
static inline bool hr_table_entry_is_good(const hr_table *table, const hr_probe *probe, const hr_entry *entry)
{
  return entry && probe->split_count == table->index.split_count;
}

/* The entry of a key, whose row is created if it is not there. HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY,
 * HOTROW_ERR_INVALID (another shard's) */
hotrow_status hr_table_find_or_create_one(hr_table *table, uint64_t key, hr_entry **entry_p);

#endif
