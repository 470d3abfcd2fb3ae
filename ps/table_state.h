/* What the table's files share: its state. */
#ifndef HR_TABLE_STATE_H
#define HR_TABLE_STATE_H

#include <hr/hash.h>

#include "key_set.h"
#include "table.h"
#include "table_admission.h"
#include "table_index.h"
#include "table_probe.h"

/* What was last announced of a row. */
typedef struct hr_announced {
  uint32_t clock;
  uint32_t place; /* in the log */
} hr_announced;

/* What a byte of hr_row_marks says: */
#define HR_ROW_DIRTY_A 1u /* of these two one is dirty_bit, and the other, while a cut is copied, pending_bit */
#define HR_ROW_DIRTY_B 2u
#define HR_ROW_USED 4u /* asked for or pushed to since eviction last came by */
#define HR_ROW_CUT_SHIFT 3u
#define HR_ROW_CUTS                                                                                                    \
  31u /* the rest: the number of the last cut that it is in, 1 .. HR_ROW_CUTS and again; 0: in none                    \
       */

typedef struct hr_row_marks {
  uint8_t *bytes;  /* owned [row_count_max]; NULL: nobody asks */
  uint32_t *dirty; /* owned [2 row_count_max]: the dirty rows in the order in which they changed; one that was moved is
                      there by both its numbers, and the old one may be another row's now or nobody's */
  uint32_t *cutting; /* owned, likewise: the list of the cut that is copied */
  uint64_t dirty_count, dirty_peak;
  uint64_t stale_count; /* entries of `dirty` by numbers that are no longer those of the rows */
  uint8_t dirty_bit;    /* changed since it was last put in a cut */
  uint8_t pending_bit;  /* in the cut and still to be copied; 0: no cut is being copied */
  bool counts_use;      /* HR_ROW_USED is kept */
  uint8_t next_cut;     /* its number */
  uint8_t in_flight;    /* the number of the cut that is not durable yet; 0: there is none */
  uint64_t hand;        /* the row that eviction comes by next */
} hr_row_marks;

/* How far a cut, or a copy of the whole table, is copied. */
typedef struct hr_table_cut_state {
  const hr_storage *storage;  /* borrowed: where it is copied to */
  uint64_t *copied;           /* owned; of a copy, a bit for each of row_count rows by their numbers: has been copied;
                                 NULL: none is made */
  uint64_t row_at, row_count; /* in marks.cutting; of a copy, rows */
  size_t gone_at;             /* in expiry.leaving */
  hotrow_status status;       /* not OK: it could not be copied, and has been abandoned */
  char sentence[HR_ERROR_TEXT_BYTES];
} hr_table_cut_state;

/* Rows that go for good. */
typedef struct hr_expiry {
  hr_announce_log *log; /* borrowed: where it is told; NULL: nobody has copies */
  uint64_t count;       /* rows that went */
  uint64_t hand;        /* the row that is looked at next */
  uint64_t stored_hand; /* likewise, the key, of rows that only the storage has */
  uint64_t draws;       /* of rows that may make room */
  hr_key_set gone;      /* rows that went since the last cut: it deletes them. Kept if there are marks */
  hr_key_set leaving;   /* deleted by the cut that is not durable yet, or by one that was abandoned */
  hr_key_set busy;      /* scratch: keys of the request in hand */
} hr_expiry;

/* Those pushed rows whose keys have a row, or get one. All [count_max]. */
typedef struct hr_admitted {
  uint64_t *keys;  /* owned, as all */
  uint32_t *steps; /* NULL as of the push */
  float *grads, *squares;
  size_t count_max;
  uint64_t refused_count; /* pushed rows that were dropped, ever */
} hr_admitted;

/* Where rows of a table that keeps 16 bits a value are floats for a while. */
typedef struct hr_row_work {
  float *rows;       /* owned [row_count][dim + state_dim]; NULL: the table keeps floats */
  uint64_t *streams; /* owned [row_count]: of random bits */
  uint32_t *slots;   /* owned: 0 .. row_count - 1 */
  size_t row_count, row_stride;
} hr_row_work;

/* Address space for row_count_max elements each; memory once touched. A record of the row array is value[dim] in
 * desc.storage_dtype, padded to whole floats (value_floats), state[state_dim], in a table whose rows go for good the
 * step at which it was last pushed to (u32), padding. Keys are an array of their own: only a scan reads them, and a
 * record of whole cache lines stays one. Rows in memory have the numbers 0 .. resident_count - 1: one that goes is
 * replaced by the last. */
struct hr_table {
  uint32_t shard_index, shard_count; /* of the owner; shard_count 0: any key may be created */
  hr_table_desc desc;                /* row_count is the number of rows there are, in memory or not */
  hotrow_row_layout layout;
  hr_index index;
  hr_probe_fn probe;       /* of many keys at once */
  hr_table_memory memory;  /* of the index and of these: */
  float *rows;             /* borrowed */
  uint64_t *keys;          /* borrowed */
  hr_announced *announced; /* borrowed; touched only if desc.announce_step > 0 */
  hr_row_marks marks;
  hr_table_cut_state cut;
  hr_expiry expiry;
  hr_admission admission;
  hr_admitted admitted;
  const hr_storage *storage; /* borrowed; NULL: all rows are in memory */
  const uint64_t *absent;    /* borrowed [absent_count]: keys that it is known to have no rows of */
  size_t absent_count;
  size_t row_stride, value_floats;
  hr_row_work work;
  uint64_t row_count_max;
  uint64_t resident_count; /* rows in memory */
  uint64_t slot_count;     /* rows that there is touched memory for */
  uint64_t seed;           /* of key hashes */
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

static inline hotrow_dtype hr_table_dtype(const hr_table *table)
{
  return (hotrow_dtype)table->desc.storage_dtype;
}

/* Are the values of its rows something else than floats? */
static inline bool hr_table_is_packed(const hr_table *table)
{
  return table->desc.storage_dtype != HOTROW_F32;
}

/* HOTROW_ERR_NO_MEMORY */
hotrow_status hr_row_work_init(hr_row_work *work, const hotrow_row_layout *layout);
void hr_row_work_fini(hr_row_work *work);
size_t hr_row_work_bytes(const hr_row_work *work);

/* A record as floats: value[dim], state[state_dim]. Of a table that keeps floats it is the one in the row array; else
 * it is there until the next call of anything here. What was begun is to be written. */
const float *hr_table_read_record(const hr_table *table, uint64_t row);
float *hr_table_begin_record(hr_table *table, uint64_t row);
/* Values are rounded to nearest even: those that the table has kept once stay as they are. */
void hr_table_write_record(hr_table *table, uint64_t row, const float *value_and_state);

/* Runs the optimizer on the rows of a push (push_rows; push_clocks: after it). */
void hr_table_apply(hr_table *table, const hr_section *push, const float *grads, const uint32_t *steps);

static inline void hr_table_touch(hr_table *table, uint32_t row)
{
  hr_row_marks *marks = &table->marks;
  if (!marks->bytes || (marks->bytes[row] & marks->dirty_bit))
    return;
  marks->bytes[row] |= marks->dirty_bit;
  marks->dirty[marks->dirty_count++] = row;
}

#define HR_COPIED_WORD_BITS 64u

/* Is this row in the cut, or the copy, and still to be copied? */
static inline bool hr_table_is_pending(const hr_table *table, uint64_t row)
{
  const hr_row_marks *marks = &table->marks;
  const hr_table_cut_state *cut = &table->cut;
  if (marks->pending_bit)
    return marks->bytes[row] & marks->pending_bit;
  return cut->copied && row < cut->row_count &&
         !(cut->copied[row / HR_COPIED_WORD_BITS] >> (row % HR_COPIED_WORD_BITS) & 1u);
}

/* table_dirty.c. A row that is in the cut and still to be copied is about to change: it is copied. */
void hr_table_copy_row(hr_table *table, uint32_t row, uint32_t clock);
/* Any row is about to leave its place, for another or for good: the same, if it is such a row. */
void hr_table_copy_before_it_goes(hr_table *table, uint32_t row);
/* A key with this hash is about to ask for a row: its bucket likewise. */
void hr_table_copy_bucket(hr_table *table, uint64_t hash);

static inline void hr_table_use(const hr_table *table, uint32_t row)
{
  if (table->marks.counts_use)
    table->marks.bytes[row] |= HR_ROW_USED;
}

/* Where a row has the step at which it was last pushed to, or was made. */
static inline float *hr_table_stamp_at(const hr_table *table, uint64_t row)
{
  return hr_table_row_at(table, row) + table->value_floats + table->layout.state_dim;
}

static inline uint32_t hr_table_pushed_at(const hr_table *table, uint64_t row)
{
  uint32_t step;
  __builtin_memcpy(&step, hr_table_stamp_at(table, row), sizeof step);
  return step;
}

static inline void hr_table_stamp(hr_table *table, uint64_t row)
{
  if (hr_table_has_eviction(&table->desc))
    __builtin_memcpy(hr_table_stamp_at(table, row), &table->desc.step, sizeof table->desc.step);
}

/* The step that a stored record names. */
static inline void hr_table_copy_stamp(hr_table *table, uint64_t row, const float *record)
{
  if (hr_table_has_eviction(&table->desc))
    __builtin_memcpy(hr_table_stamp_at(table, row), record + table->layout.dim + table->layout.state_dim,
                     sizeof(uint32_t));
}

/* table_expire.c. Has the row of this stored record outlived its time? Then nobody finds it, whether it has gone yet or
 * not.
 */
bool hr_table_is_dead(const hr_table *table, const float *record);
/* A row that only the storage has is dead. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_bury(hr_table *table, uint64_t key);

/* Takes a row out of memory; the last one takes its number. Clean or dirty. */
void hr_table_take_out(hr_table *table, uint32_t row);
/* Every dirty row once in their list, under its present number. */
void hr_table_settle(hr_table *table);

/* Finds and marks nothing as used. */
void hr_table_look(const hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p, uint32_t *clocks_p);

/* Can the entry of a probe's block be used? Not if the key was not there, for it may be now, and not after a split. */
static inline bool hr_table_entry_is_good(const hr_table *table, const hr_probe *probe, const hr_entry *entry)
{
  return entry && probe->split_count == table->index.split_count;
}

/* Adds a key that is not in memory; its record holds nothing yet. HOTROW_ERR_NO_MEMORY, HOTROW_ERR_LIMIT (chosen keys),
 * HOTROW_ERR_INVALID (another shard's) */
hotrow_status hr_table_add_row(hr_table *table, uint64_t hash, uint64_t key, hr_entry **entry_p);

/* Adds a row that is nowhere yet. As hr_table_add_row, and HOTROW_ERR_LIMIT (row_count_max) */
hotrow_status hr_table_create_row(hr_table *table, uint64_t key, hr_entry **entry_p);

/* The entry of a key, whose row is created if it is not there. HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY,
 * HOTROW_ERR_INVALID (another shard's) */
hotrow_status hr_table_find_or_create_one(hr_table *table, uint64_t key, hr_entry **entry_p);

#endif
