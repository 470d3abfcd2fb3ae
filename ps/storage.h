/* Storage seam: where the cuts of a shard go, and what a cut consists of.
 *
 * A cut is what a shard holds at one moment: rows with their clocks, and of every session how many of its pushes are in
 * them. All of it becomes durable together or none of it does. The shard copies it in turns (hr_shard_cut,
 * hr_shard_copy), hands it over with the last of them and goes on; when the storage has it safe, the owner calls
 * hr_shard_cut_is_durable().
 *
 * A cut's rows and tables are those that changed since the cut before and replace what the storage has of them. Its
 * sessions and jobs are all there are: others are forgotten. A row's announced clock is in no cut: after a restore
 * every copy of it is stale, so the row counts as announced at its clock. */
#ifndef HR_STORAGE_H
#define HR_STORAGE_H

#include <hr/wire.h>

#define HR_STORE_FLOATS_MAX (3 * HOTROW_DIM_MAX + HOTROW_SEGMENTS_MAX + 1) /* of a record */
#define HR_PUSH_WINDOW 64u                                                 /* pushes of one session without an answer */

/* Pushes up to the watermark are in the cut: a repeat is answered and not applied again. Of those after it the cut
 * holds none that waits for its step, and those whose bit is set in `decided`. */
typedef struct hr_stored_session {
  hr_session_id id;
  hr_hello hello;
  uint64_t watermark;
  uint64_t decided; /* of push s the bit s % HR_PUSH_WINDOW, for s > watermark */
  uint32_t rank;
  uint32_t reserved;               /* 0 */
  int8_t statuses[HR_PUSH_WINDOW]; /* hotrow_status of push s at s % HR_PUSH_WINDOW, if s is decided, or is one of the
                                      last HR_PUSH_WINDOW up to the watermark and not taken by a decided one */
} hr_stored_session;

typedef struct hr_stored_member {
  uint64_t started_ns; /* of the newest session of this rank */
  uint64_t barrier;    /* the latest it asked for */
  uint64_t step_next;  /* the step that its first exact push not in the cut ends */
  uint32_t has_joined;
  uint32_t said_bye;
} hr_stored_member;

typedef struct hr_stored_job {
  uint64_t id;
  uint64_t step_next; /* the first step that is not applied */
  uint32_t world_size;
  uint32_t reserved; /* 0 */
} hr_stored_job;

_Static_assert(sizeof(hr_stored_session) == 144 && sizeof(hr_stored_member) == 32 && sizeof(hr_stored_job) == 24,
               "no padding: they may be stored as they are");

/* A row: record is value[dim], state[state_dim], and in a table whose rows go for good the step (u32) at which it was
 * last pushed to. float_count counts all of it. */
typedef hotrow_status (*hr_stored_row_fn)(uint64_t key, uint32_t clock, const float *record, void *context);

/* What a storage has in memory. */
typedef struct hr_storage_memory {
  size_t database_bytes; /* buffers, cache and readers of tables, as the database counts them */
  size_t cut_bytes;      /* of a cut in the making or on its way, with the database's copy, and kept for the next one */
  size_t log_bytes;      /* the same of the log */
  size_t idle_bytes;     /* given out by malloc beside these and not touched yet */
} hr_storage_memory;

/* The calls of one cut: begin, tables, jobs, sessions; then rows, rows to be deleted and buckets as they come, while
 * the shard goes on; end. What pointers point at is the shard's and is to be copied. All are called on the shard's
 * thread and must not wait for a disk. After a failure no more calls of that cut come and the storage forgets it; what
 * was dirty stays so, and the next cut has another number.
 *
 * get_rows and visit_rows read what is durable, also after a failure; NULL: this storage cannot be read, and all rows
 * stay in memory. Whichever thread calls them waits for the disk. HOTROW_ERR_STORAGE, HOTROW_ERR_CORRUPT,
 * HOTROW_ERR_NO_MEMORY, and what `found` returns.
 *
 * ask_rows hands over a read that the shard does not wait for: the storage fills it (hr_row_read_run) and the owner
 * gives it back by hr_shard_take_rows(). What it reads may be of any moment in between, and not even all of it of one.
 * At most HR_READS_MAX are on their way; NULL: the shard waits for all its rows. */
#define HR_READS_MAX 1280u
typedef struct hr_row_read hr_row_read;
typedef struct hr_storage {
  void *context;
  hotrow_status (*begin_cut)(void *context, uint64_t number);
  hotrow_status (*put_table)(void *context, const hr_table_desc *desc);
  hotrow_status (*put_row)(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock, const float *record,
                           size_t float_count);
  /* The row of this key, if there is one, goes for good. If the cut has a new one that is put too, before or after. */
  hotrow_status (*delete_row)(void *context, const hr_table_desc *desc, uint64_t key);
  /* A bucket of hr_admission, by its number. */
  hotrow_status (*put_bucket)(void *context, const hr_table_desc *desc, uint64_t number, const void *bytes,
                              size_t size_bytes);
  hotrow_status (*put_job)(void *context, const hr_stored_job *job, const hr_stored_member *members);
  hotrow_status (*put_session)(void *context, const hr_stored_session *session);
  hotrow_status (*end_cut)(void *context, uint64_t number);
  /* Those there are of the table's rows with these keys: ascending, none twice. */
  hotrow_status (*get_rows)(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                            size_t key_count, hr_stored_row_fn found, void *found_context);
  /* Up to count_max rows of the table, in the order of their keys, from key `first` on. */
  hotrow_status (*visit_rows)(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                              size_t count_max, hr_stored_row_fn found, void *found_context);
  void (*ask_rows)(void *context, hr_row_read *read);

  /* A database's copy of itself, for a checkpoint. All NULL: it makes none, and there are no checkpoints.
   * `hold` is called on the shard's thread when no cut is under way: what is stored stays as it is, and a cut that is
   * handed over waits, until `let_go`. Those two are called on any thread; `copy` makes the directory `path`, which is
   * not there, a database that holds what is stored. HOTROW_ERR_STORAGE and the sentence; cuts may fail from then on,
   * or not. */
  void (*hold)(void *context);
  hotrow_status (*copy)(void *context, const char *path);
  void (*let_go)(void *context);
  /* The log: NULL if the storage keeps none. Records become durable in the order in which they were ended, each wholly
   * or not at all; a cut is of all that were ended or begun before it, and they are forgotten when it is durable. On
   * the shard's thread, and none waits for a disk. reserve_log makes room for a record, of which push_bytes are pushes:
   *   HOTROW_ERR_BUSY       push_bytes is not 0, and what is not on its way to the disk yet is too much already
   *   HOTROW_ERR_NO_MEMORY
   * put_log takes so many bytes of it, aligned to 8 and a multiple of 8; it begins a record if none is begun. end_log
   * ends it, if there is one; a record may be ended sooner, and go on in another, but not be durable without it. */
  hotrow_status (*reserve_log)(void *context, size_t push_bytes, size_t other_bytes);
  void *(*put_log)(void *context, size_t size_bytes);
  void (*end_log)(void *context);
} hr_storage;

#endif
