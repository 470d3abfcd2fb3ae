/* One table on one shard: an index from key to row and clock, and a row array. One thread (the shard's). */
#ifndef HR_TABLE_H
#define HR_TABLE_H

#include <hotrow/kernels.h>
#include <hr/wire.h>

#include "announce_log.h"
#include "storage.h"

#define HR_ROW_NONE UINT32_MAX

typedef struct hr_table hr_table;

/* `desc` must be resolved (no zero defaults). row_count_max bounds the rows (0: HR_TABLE_ROWS_MAX).
 *   HOTROW_ERR_INVALID (name, segments, dim, announce_step), HOTROW_ERR_NO_MEMORY */
#define HR_TABLE_ROWS_MAX ((uint64_t)1 << 31)
hotrow_status hr_table_create(const hr_table_desc *desc, uint64_t row_count_max, hr_table **table_p);
void hr_table_destroy(hr_table *table);

/* From now on keys of other shards are refused when they would be created. */
void hr_table_set_owner(hr_table *table, uint32_t shard_index, uint32_t shard_count);

/* Do they describe one table? All but id, row_count and announce_step alike: the last is a matter of who reads it. */
bool hr_table_desc_matches(const hr_table_desc *a, const hr_table_desc *b);

const hr_table_desc *hr_table_get_desc(const hr_table *table); /* its row_count is current */
const hotrow_row_layout *hr_table_get_layout(const hr_table *table);
size_t hr_table_record_floats(const hr_table *table); /* of a row as a storage has it */
uint64_t hr_table_get_seed(const hr_table *table);    /* hr_table_seed(name): for hr_key_hash */
size_t hr_table_memory_bytes(const hr_table *table);  /* index and touched rows */
size_t hr_table_slack_bytes(const hr_table *table);   /* beside it: pages are larger than what is in them */
size_t hr_table_heap_bytes(const hr_table *table);    /* of it, what malloc has given out; the rest is mapped */
size_t hr_table_index_bytes(const hr_table *table);

/* The values of rows (HR_ROW_NONE is none), as dtype (F32, F16, I8) says them: `out` and `scales` as the kernel pack
 * fills them. */
void hr_table_gather(const hr_table *table, hotrow_dtype dtype, const uint32_t *rows, size_t row_count, void *out,
                     float *scales);
void hr_table_gather_states(const hr_table *table, const uint32_t *rows, size_t row_count, float *out);

/* The row array: value at rows + row*stride, in desc.storage_dtype, state behind the value at the next whole float. It
 * stays where it is. */
float *hr_table_rows(const hr_table *table, size_t *row_stride_p);

/* rows_p[i], clocks_p[i] of keys[i]; HR_ROW_NONE (clock 0) for a key that is not there. Any duplicates are legal. */
void hr_table_find(const hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p, uint32_t *clocks_p);

/* The same; missing keys are created with init(seed, table, key), clock 0.
 *   HOTROW_ERR_LIMIT (row_count_max), HOTROW_ERR_NO_MEMORY, HOTROW_ERR_INVALID (a key of another shard): some keys may
 *   have been created, which is harmless */
hotrow_status hr_table_find_or_create(hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p,
                                      uint32_t *clocks_p);

/* May this push section (kind HR_SECTION_PUSH, decoded) be applied to this table?
 *   HOTROW_ERR_INVALID  a gradient or square that is not finite (the key is named); dim, square_dim or k wrong
 *   HOTROW_ERR_LIMIT    k over hr_optimizer_steps_max() */
hotrow_status hr_table_check_push(const hr_table *table, const hr_section *push);

/* Applies a push section that has passed hr_table_check_push: creates missing rows (those that admission lets in;
 * others are dropped and counted), runs the optimizer, adds k to each clock, and announces in `log` the rows that are
 * announce_step past their last announcement (log may be NULL if announce_step is 0). On failure no row has changed.
 *   HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY, HOTROW_ERR_INVALID (a key of another shard) */
hotrow_status hr_table_push(hr_table *table, const hr_section *push, hr_announce_log *log);

/* Announces rows whenever their clocks have moved on by `step` (0: nobody asks for it), unless it is done sooner
 * already. Who counts on a larger step is told sooner than it must be. True if desc.announce_step has changed. */
bool hr_table_lower_announce_step(hr_table *table, uint32_t step);

/* Rules (table_expire.c, table_admission.h). In a table with rules a push makes rows, in one with admission nothing
 * else does.
 *
 * From now on rows that go for good are announced in `log` (borrowed) where somebody asked for announcements. */
void hr_table_set_log(hr_table *table, hr_announce_log *log);
/* Jobs have made so many more steps. Rows are dead, and found by nobody, once they were not pushed to in steps_to_live
 * of them. */
void hr_table_advance(hr_table *table, uint32_t step_count);
/* Looks at up to `row_count` rows in memory, where it left off, and at none twice: those that are dead go. */
void hr_table_sweep(hr_table *table, uint64_t row_count);
/* The same with rows that only the storage has, in two parts, one behind the other: a read is to be of the next rows,
 * and has come. No cut may have ended in between: what was read of a row in it is old, and the row may have left. After
 * a failure of the read nothing has happened. What reading returned, HOTROW_ERR_NO_MEMORY */
void hr_table_ask_visit(const hr_table *table, hr_row_read *read);
hotrow_status hr_table_take_visit(hr_table *table, const hr_row_read *read);
/* Before rows of these keys are looked for: those that are dead go. Rows move. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_expire_keys(hr_table *table, const uint64_t *keys, size_t key_count);
/* Before rows of these keys are created, where they are not there: the rows used least make room. Rows move.
 *   HOTROW_ERR_LIMIT  row_count_max is less than there are keys
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_make_room(hr_table *table, const uint64_t *keys, size_t key_count);
uint64_t hr_table_expired_count(const hr_table *table);      /* rows that went for good, ever */
uint64_t hr_table_not_admitted_count(const hr_table *table); /* pushed rows that were dropped, ever */

/* Keys without a row that have asked for one, by bucket (hr_admission_bucket), in the order of the buckets' numbers. */
typedef hotrow_status (*hr_table_bucket_fn)(uint64_t number, const void *bytes, size_t size_bytes, void *context);
hotrow_status hr_table_visit_buckets(const hr_table *table, hr_table_bucket_fn visit, void *context);
/* HOTROW_ERR_CORRUPT */
hotrow_status hr_table_restore_admission(hr_table *table, uint64_t number, const void *bytes, size_t size_bytes);

/* The default row, for keys a reader asks for that are not there: the initial value of that key, as the table would
 * keep it. */
void hr_table_default_row(const hr_table *table, uint64_t key, float *value);

/* Visits every row: those in memory in the order of the row array, then the others as its storage has them. Whatever
 * the table's storage dtype, a record that leaves it is of floats, which lose nothing, and one that comes back has the
 * bits that left. What the storage returns, and what visit returns */
typedef hr_stored_row_fn hr_table_visit_fn;
hotrow_status hr_table_scan(const hr_table *table, hr_table_visit_fn visit, void *context);

/* From now on the table knows which rows were created or pushed to since they were last put in a cut.
 * HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_track(hr_table *table);
void hr_table_untrack(hr_table *table);
void hr_table_touch_newest(hr_table *table);  /* as if the row that came last had been pushed to */
void hr_table_touch_buckets(hr_table *table); /* as if all keys without a row had asked again */
uint64_t hr_table_dirty_count(const hr_table *table);
/* A cut is of this moment: of the rows that are dirty, the keys whose rows went for good since the cut before, and the
 * buckets of hr_admission that changed. None of them is dirty any more, and no row may leave memory before the cut has
 * ended. They are put into the storage (borrowed) as they are now, in turns: by hr_table_copy(), and each that is about
 * to change before. HOTROW_ERR_NO_MEMORY: there is no cut */
hotrow_status hr_table_begin_cut(hr_table *table, const hr_storage *storage);
/* A copy of all there is, of this moment: of a table without a storage, and never beside a cut. Rows and buckets are
 * put into `storage` (borrowed; put_row and put_bucket alone) as those of a cut are, in turns. With the last one it is
 * over. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_begin_copy(hr_table *table, const hr_storage *storage);
bool hr_table_is_copying(const hr_table *table); /* is there something left to copy? */
/* A turn: at least one thing is copied, and no more than *budget_p, in bytes, with HR_COPY_ENTRY_BYTES for each thing;
 * what is left of it is in *budget_p. What the storage returns, now or when something had to be copied before it
 * changed: then the cut is abandoned, and a copy is to be. */
hotrow_status hr_table_copy(hr_table *table, size_t *budget_p);
#define HR_COPY_ENTRY_BYTES 64u /* what finding a row takes, and putting it in, in bytes that are copied meanwhile */
void hr_table_end_cut(hr_table *table); /* it is durable */
/* There is no cut: all that was in it is dirty, and deleted by the next one. Nor is there a copy. */
void hr_table_abandon_cut(hr_table *table);

/* From now on little memory is touched ahead of need: it is counted. */
void hr_table_save_memory(hr_table *table);

/* A table larger than memory: rows that are safe in a storage may leave memory and are fetched when they are asked for.
 * desc.row_count counts them all; hr_table_find and the dirty rows know only those in memory. Rows that are to be
 * created are looked for in the storage one by one, so fetch them before. Eviction moves rows in the row array.
 *
 * From now on the table knows which rows were used. The storage (borrowed) must be one that can be read.
 * HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_set_storage(hr_table *table, const hr_storage *storage);
uint64_t hr_table_resident_count(const hr_table *table); /* rows in memory */
bool hr_table_has_resident(const hr_table *table, uint64_t key);
/* Takes up to `count` rows out of memory that are neither dirty nor in a cut that has not ended, those first that were
 * not used lately. Returns how many; their memory is for the table's next rows. */
uint64_t hr_table_evict(hr_table *table, uint64_t count);
/* Puts those of the rows with these keys back that the storage has, and creates the others if `creates`. The keys
 * ascend, none is twice or in memory. HOTROW_ERR_LIMIT, HOTROW_ERR_INVALID (another shard's), and what the storage
 * returns: some may be back */
hotrow_status hr_table_fetch(hr_table *table, const uint64_t *keys, size_t key_count, bool creates,
                             uint64_t *fetched_count_p);
/* The same of a read that has come: rows that came to memory, or were made, in the meantime stay as they are. No cut
 * that was begun since it was asked for may have ended. */
hotrow_status hr_table_take_read(hr_table *table, const hr_row_read *read, uint64_t *fetched_count_p);
/* The storage is not asked for these keys (borrowed; ascending), as it is known to have no rows of them; until this is
 * called again. */
void hr_table_know_absent(hr_table *table, const uint64_t *keys, size_t key_count);
/* Is its row gone for good, though the storage may have it yet? */
bool hr_table_is_gone(const hr_table *table, uint64_t key);
/* The storage has `row_count` rows in all, of which those that were restored are in memory. */
void hr_table_set_row_count(hr_table *table, uint64_t row_count);
size_t hr_table_record_bytes(const hr_table *table); /* value and state, as floats */
size_t hr_table_row_bytes(const hr_table *table);    /* of memory that a row takes, at most, about */
uint64_t hr_table_slot_count(const hr_table *table); /* rows that it has taken memory for */
void hr_table_give_back(hr_table *table);            /* memory of rows that left goes back to the system */

/* Puts a row in as it was saved ([hr_table_record_floats()]), and as announced at this clock; the key must not be there
 * yet. It is not dirty for that. HOTROW_ERR_EXISTS, _LIMIT, _NO_MEMORY, _INVALID (a key of another shard) */
hotrow_status hr_table_restore_row(hr_table *table, uint64_t key, uint32_t clock, const float *record);

#endif
