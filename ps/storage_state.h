/* What the files of the RocksDB storage share. */
#ifndef HR_STORAGE_STATE_H
#define HR_STORAGE_STATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <rocksdb/c.h>

#include "data_dir.h"
#include "storage_format.h"
#include "storage_rocksdb.h"

/* Bytes that grow. */
typedef struct hr_bytes {
  uint8_t *bytes; /* owned */
  size_t size, capacity;
  size_t touched; /* the largest size so far: beyond it there is no memory yet */
} hr_bytes;

/* Room for size_bytes more, taken. NULL: no memory, which is said, and nothing has changed. */
void *hr_bytes_take(hr_bytes *b, size_t size_bytes);
void hr_bytes_empty(const hr_rocksdb *storage, hr_bytes *b); /* keeps its memory, unless that is much */
void hr_bytes_free(hr_bytes *b);

typedef struct hr_entry_head {
  uint32_t key_size, value_size;
} hr_entry_head;

/* storage_entries.c: {hr_entry_head, key, value} one after the other, none across two blocks. */
typedef struct hr_entry_block hr_entry_block;
typedef struct hr_entries {
  hr_entry_block *first,
      *last; /* owned; of those that are filled. Behind the last are empty ones; NULL: none is filled */
  size_t size, count;
  atomic_size_t block_bytes; /* of all blocks, filled or not; for any thread */
} hr_entries;
typedef struct hr_entries_place { /* zero: before the first */
  const hr_entry_block *block;
  size_t at;
} hr_entries_place;

/* Room for one entry more. NULL: no memory, which is said, and nothing has changed. */
void *hr_entries_take(hr_entries *entries, size_t size_bytes);
void hr_entries_empty(const hr_rocksdb *storage, hr_entries *entries); /* keeps its memory, unless that is much */
void hr_entries_free(hr_entries *entries);
const uint8_t *hr_entries_next(const hr_entries *entries, hr_entries_place *place); /* NULL: there is none */

enum {
  HR_SLOT_FREE,   /* the shard's thread may fill it */
  HR_SLOT_HANDED, /* the writer's */
  HR_SLOT_DONE    /* the shard's thread takes the result */
};
typedef struct hr_slot {
  atomic_int state;
  hotrow_status result;
} hr_slot;

/* The cut in the making, or under way. */
typedef struct hr_cut {
  uint64_t number;
  uint64_t log_number; /* of the last record that it covers */
  size_t log_bytes;    /* of log.bytes_since_cut, those before it */
  hr_entries entries;  /* tables, rows and buckets; no value: the row goes */
  hr_bytes jobs;       /* one value each */
  hr_bytes sessions;
  uint64_t row_count;
  uint64_t hash; /* of jobs and sessions */
} hr_cut;

/* An entry in its place by its key, bytes as most significant first: the last eight, the first eight; the last byte
 * says whether it is put. */
typedef struct hr_entry_order {
  uint64_t words[2];
  const uint8_t *entry;
} hr_entry_order;

/* All entries by their keys; what is deleted is before what is put. Free it. NULL: no memory. */
hr_entry_order *hr_rocksdb_order(const hr_entries *entries);

/* Before each record of the log: its size, a multiple of 8. */
typedef struct hr_record_head {
  uint64_t size;
} hr_record_head;

/* What waits to be logged, and what is on its way. */
typedef struct hr_records {
  hr_bytes filling; /* the shard's thread: {hr_record_head, record} */
  size_t record_at; /* in it, of the record that is open */
  size_t waiting_bytes_max;
  bool is_open;
  uint64_t number;  /* of the last record ended */
  uint64_t covered; /* of the last one that a cut covers */
  hr_bytes handed;  /* the writer's: a group of records */
  uint64_t handed_first, handed_last;
  size_t bytes_since_cut; /* handed over */
  hr_slot slot;
  atomic_size_t batch_bytes; /* as of the storage */
  hr_rocksdb_log_counts counts;
} hr_records;

/* Reads that were asked for, in a ring in the order in which they were: those that were taken again, those that are
 * done, the others. */
typedef struct hr_reader {
  hr_row_read *ring[HR_READS_MAX];   /* borrowed from the shard */
  uint64_t asked_count, taken_count; /* the shard's thread */
  atomic_ullong done_count;
  sem_t asked; /* one for each, and one to end */
  atomic_bool is_ending;
  pthread_t thread;
  bool has_thread;
} hr_reader;

struct hr_rocksdb {
  hr_storage calls;
  hr_data_dir dir;
  rocksdb_options_t *options;
  rocksdb_writeoptions_t *write_options; /* synced */
  rocksdb_t *db;                         /* owned; after a failure left open, with these: */
  rocksdb_column_family_handle_t *rows;  /* owned: the only one, "default" */
  rocksdb_readoptions_t *read_options;
  rocksdb_cache_t *cache; /* NULL: RocksDB's own */
  size_t memory_bytes;
  uint64_t epoch;
  hr_cut cut;
  hr_records log;
  uint64_t hash_durable; /* of the jobs and sessions that are on disk; 0: not known */
  uint32_t shard_index;
  bool is_open; /* begin_cut was called, and no end_cut or failure */
  bool has_writer;
  hotrow_status failure; /* the shard's thread's: of a result that was taken, or of what RocksDB does by itself */
  char failure_text[HR_ERROR_TEXT_BYTES];
  atomic_bool is_ending;
  pthread_t writer;
  atomic_bool is_moving;        /* the writer's: see hr_rocksdb_is_moving */
  atomic_size_t database_bytes; /* as RocksDB said last */
  atomic_size_t batch_bytes;    /* of the writer: the order of a cut, and RocksDB's batch of it */
  sem_t handed;                 /* one for each cut and each group of records handed over, and one to end */
  hr_slot slot;                 /* of the cut */
  int event_fd;                 /* counts the slots that are DONE, and the reads */
  hotrow_status result; /* the writer's; once it is not OK the storage has failed, and nothing is written any more */
  char sentence[HR_ERROR_TEXT_BYTES]; /* of that */
  hr_rocksdb_counts counts;
  hr_reader reader;
  sem_t gate;                 /* of the database: who has it writes a cut, or has it copied */
  hotrow_status flush_result; /* behind the gate; not OK: it failed to be copied in a way that ends all writing */
  char flush_sentence[HR_ERROR_TEXT_BYTES];
};

/* Takes RocksDB's sentence (frees it) as ours, with the directory's name. */
hotrow_status hr_rocksdb_fail(const hr_rocksdb *storage, const char *deed, char *error);

/* On the shard's thread. The storage has failed for good, and RocksDB does no more by itself. */
void hr_rocksdb_stop_writing(hr_rocksdb *storage, hotrow_status failure, const char *sentence);
/* The failure, if it has, or if RocksDB's own threads have met an error: a cut that is in the write-ahead log is
 * durable all the same, but the table files that follow from it cannot be made. */
hotrow_status hr_rocksdb_check_tables(hr_rocksdb *storage);

/* HOTROW_ERR_STORAGE if the disk has less than HR_STORE_FREE_BYTES_MIN beside twice what is to be written: to the log
 * now and to a table file later. A write that fails is the end of all writing, and one that is refused is not: so it is
 * not to come to that, as long as nobody else fills the disk meanwhile. */
hotrow_status hr_rocksdb_check_space(const hr_rocksdb *storage, uint64_t size_bytes);

/* storage_checkpoint.c: hr_storage's calls for copies, and the gate that a cut and a copy go through one at a time:
 * false if a copy is being made. */
void hr_rocksdb_init_copies(hr_rocksdb *storage);
bool hr_rocksdb_enter(hr_rocksdb *storage);
void hr_rocksdb_leave(hr_rocksdb *storage);

/* A slot's way: filled, then hand_over; once it is DONE take frees it, with the storage's result. */
void hr_rocksdb_hand_over(hr_rocksdb *storage, hr_slot *slot);
bool hr_rocksdb_take(hr_rocksdb *storage, hr_slot *slot, hotrow_status *status_p);

/* A batch that has room for so many bytes of keys and values, each with 8 bytes beside it. */
rocksdb_writebatch_t *hr_rocksdb_make_batch(hr_rocksdb *storage, size_t size_bytes);
void hr_rocksdb_destroy_batch(hr_rocksdb *storage, rocksdb_writebatch_t *batch);
/* The writer: takes much memory, or gives it back, from now on, or no longer (hr_rocksdb_is_moving). */
void hr_rocksdb_move_memory(hr_rocksdb *storage, bool is_moving);

/* The log: fills its calls; ends the record that is open, and says which was the last; on the writer's thread, writes
 * what was handed over, and tells a cut's batch what it covers; applies what the cut does not cover. */
void hr_rocksdb_init_log(hr_rocksdb *storage);
uint64_t hr_rocksdb_end_record(hr_rocksdb *storage);
hotrow_status hr_rocksdb_write_log(hr_rocksdb *storage);
void hr_rocksdb_cover_log(rocksdb_writebatch_t *batch, uint64_t number);
hotrow_status hr_rocksdb_replay(hr_rocksdb *storage, hr_shard *shard, uint64_t now_ns);

/* Fills storage->calls and starts the writer. */
hotrow_status hr_rocksdb_start_writer(hr_rocksdb *storage);
void hr_rocksdb_stop_writer(hr_rocksdb *storage);

/* storage_reader.c: the thread that reads rows while the shard goes on, in a database whose rows are read. */
hotrow_status hr_rocksdb_start_reader(hr_rocksdb *storage);

/* storage_read.c: the calls that read. */
hotrow_status hr_rocksdb_get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                                  size_t key_count, hr_stored_row_fn found, void *found_context);
hotrow_status hr_rocksdb_visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                    size_t count_max, hr_stored_row_fn found, void *found_context);

#endif
