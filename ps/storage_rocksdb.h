/* A storage in RocksDB: the rows and sessions of one shard in a directory of its own.
 *
 * What a cut consists of is copied on the shard's thread (the calls of hr_storage), which never waits: end_cut hands it
 * to a thread of the storage, and that writes it as one atomic write, synced. The shard's owner learns what became of
 * it by hr_rocksdb_fd() and hr_rocksdb_take_result(). One cut is under way at a time; the two threads share no lock:
 * the cut is the shard's until it is handed over, then the writer's until its result is there.
 *
 * The records of a log go the same way, in groups: what the shard has put into its log while one group is written makes
 * up the next (hr_rocksdb_log). Of a group and a cut that are both handed over the group is written first.
 *
 * Rows that are not in memory are read by a second thread, in the order in which they are asked for.
 *
 * After the first failed write nothing is written any more and the database is not closed: Debian's RocksDB may abort
 * when it is used after a failed write. A process that has seen one ends with _exit(). So it is when RocksDB's own
 * threads fail to write a table file, which is looked at when a cut is begun and when records are handed over. */
#ifndef HR_STORAGE_ROCKSDB_H
#define HR_STORAGE_ROCKSDB_H

#include "save.h"
#include "shard.h"
#include "storage.h"

/* What a disk must have free beside a cut, for what RocksDB moves about. With less, cuts are refused (and made once
 * there is room); rows stay dirty and reads go on. */
#define HR_STORE_FREE_BYTES_MIN ((uint64_t)256 << 20)

/* What the shard has put into its log and the writer has not taken; one message, or the pushes of one step, may go
 * beyond it. With more, pushes are not taken (HOTROW_ERR_BUSY). Clients stop by themselves before that, unless there
 * are many: each keeps 256 MiB at most that is not durable. */
#define HR_STORE_LOG_WAITING_BYTES_MAX ((size_t)512 << 20)

typedef struct hr_rocksdb hr_rocksdb;

/* Opens the shard's directory in data_dir, makes it if it is missing, and locks it. Then this start has an epoch,
 * larger than any before, which is on disk before this returns. memory_bytes: for RocksDB's buffers and cache, in a
 * database whose rows are asked for while they are not in memory; 0: they are read only to be loaded.
 *
 *   HOTROW_ERR_BUSY     another process has it open
 *   HOTROW_ERR_EXISTS   it is of another shard, or of another shard count
 *   HOTROW_ERR_VERSION  it is of another format
 *   HOTROW_ERR_CORRUPT  damaged, or no database of a shard
 *   HOTROW_ERR_STORAGE, HOTROW_ERR_NO_MEMORY
 * The sentence names the directory. */
hotrow_status hr_rocksdb_open(const char *data_dir, uint32_t shard_index, uint32_t shard_count, size_t memory_bytes,
                              hr_rocksdb **storage_p);
/* Waits for the cut under way. Accepts NULL. */
void hr_rocksdb_close(hr_rocksdb *storage);

uint64_t hr_rocksdb_epoch(const hr_rocksdb *storage);
const char *hr_rocksdb_path(const hr_rocksdb *storage);
const hr_storage *hr_rocksdb_calls(hr_rocksdb *storage); /* for hr_shard_options; on the shard's thread */

/* Puts what is stored into an empty shard: the last cut, then the log after it. `progress` (may be NULL) is called now
 * and then. What hr_shard_restore_* return, and HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE; then the shard is to be
 * destroyed. */
hotrow_status hr_rocksdb_restore(hr_rocksdb *storage, hr_shard *shard, uint64_t now_ns, hr_load_progress_fn progress,
                                 void *context);

/* Around what is loaded from elsewhere into an empty database, in several cuts: in between it is refused, and so it is
 * if the second is never called (HOTROW_ERR_CORRUPT, by hr_rocksdb_restore). HOTROW_ERR_STORAGE */
hotrow_status hr_rocksdb_begin_load(hr_rocksdb *storage);
hotrow_status hr_rocksdb_end_load(hr_rocksdb *storage);
/* Makes a database in which that was begun and not ended an empty one again. HOTROW_ERR_STORAGE, HOTROW_ERR_CORRUPT */
hotrow_status hr_rocksdb_drop_unfinished(hr_rocksdb *storage);

/* Readable (poll) when a cut or a group of records that was handed over has its result, or a read is done. Owned by the
 * storage. */
int hr_rocksdb_fd(const hr_rocksdb *storage);
/* True if a cut has its result and it was not taken yet: HOTROW_OK when it is durable; else the storage has failed for
 * good and the sentence is this thread's. On the shard's thread, like these: */
bool hr_rocksdb_take_result(hr_rocksdb *storage, uint64_t *number_p, hotrow_status *status_p);
/* A read that was asked for and is done, to be given to hr_shard_take_rows(), or NULL; oldest first. Is there one that
 * was not taken yet? */
hr_row_read *hr_rocksdb_take_read(hr_rocksdb *storage);
bool hr_rocksdb_is_reading(const hr_rocksdb *storage);
/* Forgets what was asked for: then the shard may be destroyed, and asks for no more. Closing does so too. */
void hr_rocksdb_stop_reader(hr_rocksdb *storage);

/* Has the storage failed for good? What begins a cut, or hr_rocksdb_log(), refuses is refused for now otherwise. */
bool hr_rocksdb_has_failed(const hr_rocksdb *storage);
/* Is there a cut whose result was not taken? */
bool hr_rocksdb_is_busy(const hr_rocksdb *storage);
/* Blocks until what is under way, if there is anything, has a result that was not taken. */
void hr_rocksdb_wait(const hr_rocksdb *storage);

/* Is there anything in the log that may be handed over now? */
bool hr_rocksdb_can_log(const hr_rocksdb *storage);
/* Hands it over. HOTROW_ERR_STORAGE: the disk has no room now, or the storage has failed; it is kept. */
hotrow_status hr_rocksdb_log(hr_rocksdb *storage);
/* As hr_rocksdb_take_result() and hr_rocksdb_is_busy(), of the records handed over last. */
bool hr_rocksdb_take_logged(hr_rocksdb *storage, hotrow_status *status_p);
bool hr_rocksdb_is_logging(const hr_rocksdb *storage);
/* Bytes of records handed over since the last cut: what a start would have to apply. */
size_t hr_rocksdb_log_bytes(const hr_rocksdb *storage);

typedef struct hr_rocksdb_counts {
  uint64_t writes; /* cuts that changed something */
  uint64_t rows;
  uint64_t bytes;    /* keys and values */
  uint64_t write_ns; /* in the writer, sync included */
} hr_rocksdb_counts;
typedef struct hr_rocksdb_log_counts {
  uint64_t writes; /* groups */
  uint64_t records;
  uint64_t bytes;
  uint64_t write_ns; /* sync included */
} hr_rocksdb_log_counts;
/* On the shard's thread. */
hr_storage_memory hr_rocksdb_get_memory(const hr_rocksdb *storage);
/* On any thread, these two: asks RocksDB how much it has, for the call above to tell; its locks may be waited for. Is
 * the writer taking much memory just now, or giving it back? Then malloc is ahead of what is there. */
void hr_rocksdb_ask_memory(hr_rocksdb *storage);
bool hr_rocksdb_is_moving(const hr_rocksdb *storage);
/* When no cut is under way; when no records are. */
hr_rocksdb_counts hr_rocksdb_get_counts(const hr_rocksdb *storage);
hr_rocksdb_log_counts hr_rocksdb_get_log_counts(const hr_rocksdb *storage);

#endif
