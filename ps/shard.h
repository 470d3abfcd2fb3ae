/* One shard as a pure state machine: messages in, messages out. No sockets, no threads, no clock of its own: the same
 * code runs behind ZeroMQ (server.c) and in the simulator. One thread.
 *
 * It answers hello, tables, pull, push, push+pull, tick, barrier, blobs, stats, save,
 * checkpoint and bye. What it promises:
 *  - a session's pushes are applied exactly once, in the order of push_seq: a repeat is answered and not applied again,
 *    a push or a pull that names a push not yet seen gets GAP;
 *  - a request with another epoch gets HOTROW_ERR_RESET, a request of a fenced or unknown session HOTROW_ERR_FENCED;
 *  - HR_FLAG_SYNC: the pushes of a step are held until all world_size ranks of the job have sent theirs, then applied
 *    in rank order; a pull for step t waits until the pushes of step t-1 are applied. Steps count from 0. In a
 *    push_pull header.step is the step that the push ends, and the pull is for the step after it;
 *  - applied_seq, rows and announcements of one reply are of one moment, that of its sending;
 *  - with a storage: durable_seq is what survives its death, and a shard restored from a durable cut, and the log after
 *    it if there is one, goes on with every session where these left it: pushes up to its watermark are answered and
 *    not applied again;
 *  - whatever the bytes are, it never crashes, and what it refuses is counted in stats. */
#ifndef HR_SHARD_H
#define HR_SHARD_H

#include <hotrow/counts.h>
#include <hotrow/kernels.h>
#include <hotrow/server.h>
#include <hr/wire.h>

#include "save.h"
#include "storage.h"
#include "table.h"

#define HR_SHARD_TABLES_MAX 256u
#define HR_SHARD_SESSIONS_MAX 4096u /* the session idle longest is forgotten for a new one, and then fenced */
#define HR_SHARD_BLOBS_MAX 1024u
#define HR_SHARD_JOBS_MAX 256u /* the job idle longest is forgotten for a new one, with its sessions */
#define HR_CUT_BYTES_MAX ((size_t)256 << 20)
#define HR_SHARD_HELD_BYTES_MAX ((size_t)4 << 30)

typedef struct hr_shard hr_shard;

/* Where a message came from and its reply goes: opaque bytes of the transport (a ZeroMQ routing id). */
#define HR_ROUTE_BYTES_MAX 32u
typedef struct hr_route_id {
  uint8_t size;
  uint8_t bytes[HR_ROUTE_BYTES_MAX];
} hr_route_id;

/* Transport seam. `send` is called from within hr_shard_receive and must copy or transmit the frames before it
 * returns, but for those in memory that it lent. A reply that cannot be sent is dropped: the client asks again.
 * `lend` (NULL: never) gives HR_REPLY_POOL_BYTES for the arrays of the next reply, or NULL: it has none free.
 * `has_room` (NULL: always) says whether a client has taken enough of its replies to be sent a large one; if not, what
 * would be answered with one is HOTROW_ERR_BUSY. */
typedef struct hr_shard_transport {
  void (*send)(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count);
  void *context;
  void *(*lend)(void *context);
  size_t lent_count_max; /* different memories that `lend` gives */
  bool (*has_room)(void *context, const hr_route_id *to);
} hr_shard_transport;

/* Each array of a reply begins on a cache line, so a full reply needs a little more than its bytes. */
#define HR_REPLY_ALIGNMENT 64u
#define HR_REPLY_POOL_BYTES (HR_WIRE_MESSAGE_BYTES_MAX + (size_t)HR_WIRE_FRAMES_MAX * HR_REPLY_ALIGNMENT)

/* What takes long and needs no state of the shard is done by `begin` on another thread: task(task_context) once; false:
 * it cannot. NULL: on the shard's own. One at a time; it must have ended before the shard is destroyed. */
typedef struct hr_shard_aside {
  bool (*begin)(void *context, void (*task)(void *task_context), void *task_context);
  void *context;
} hr_shard_aside;

typedef struct hr_shard_options {
  uint32_t shard_index;
  uint32_t shard_count;
  uint64_t epoch;         /* not 0: random per start for a memory shard */
  uint64_t row_count_max; /* per table; 0: no limit of its own */
  const char *save_dir;   /* NULL: saves are refused. Borrowed */
  const hotrow_kernels *kernels;
  hr_shard_transport transport;
  size_t held_bytes_max;        /* copies of pushes and pulls that wait for other ranks; 0: HR_SHARD_HELD_BYTES_MAX */
  uint32_t announce_log_count;  /* 0: HR_ANNOUNCE_LOG_COUNT_DEFAULT */
  const hr_storage *storage;    /* borrowed; NULL: memory only */
  size_t memory_bytes;          /* that tables and buffers may take; 0: no bound. With a storage that can be read rows
                                    leave for others, without one new rows are refused */
  hr_shard_aside aside;         /* checkpoints are written and made safe there */
  hotrow_durability durability; /* of a shard with a storage */
  size_t cut_turn_bytes;        /* that are copied at a time; 0: HR_CUT_TURN_BYTES */
  size_t cut_bytes_max;         /* of rows of the next cut while one is under way: with more nothing that changes rows
                                   is taken, but for exact steps; 0: HR_CUT_BYTES_MAX */
} hr_shard_options;

hotrow_status hr_shard_create(const hr_shard_options *options, hr_shard **shard_p);
/* The storage has forgotten what it was asked for. */
void hr_shard_destroy(hr_shard *shard);

/* Makes a cut of what the shard holds, and waits until it is durable. fn NULL: nobody can. */
typedef struct hr_load_settle {
  hotrow_status (*fn)(void *context);
  void *context;
} hr_load_settle;

/* Loads a save or a checkpoint into an empty shard (see hr_save_load). With a storage what is loaded is in the next
 * cut; `settle` makes cuts before when there are so many bytes of it that another cut would have to wait, or no memory
 * for more: then rows that are durable leave. A key that occurs twice is found only while its row is in memory.
 *   HOTROW_ERR_QUOTA  it does not fit into memory, and cannot leave it
 * and what hr_save_load() and `settle` return */
hotrow_status hr_shard_load(hr_shard *shard, const char *path, hr_load_progress progress, hr_load_settle settle);

/* One message. The frames are the caller's and are not kept: what must wait is copied. now_ns only grows. */
void hr_shard_receive(hr_shard *shard, const hr_route_id *from, const hr_frame *frames, size_t frame_count,
                      uint64_t now_ns);

/* A read that the storage was asked for (hr_storage's ask_rows) has come: the request that waited for it goes on, and
 * those behind it; or the hand that looks for dead rows does. The read is the shard's again. */
void hr_shard_take_rows(hr_shard *shard, hr_row_read *read, uint64_t now_ns);

/* Begins a cut, of this moment, and puts the first part of it into the storage, which must be there. A client that asks
 * for a new table makes the shard do so too.
 *
 *   HOTROW_ERR_BUSY  the last cut is not durable yet
 * and what the storage returns: then there is no cut, and the next call tries again. */
hotrow_status hr_shard_cut(hr_shard *shard, uint64_t *number_p);
/* Is there more of it to be copied, or, without a storage, of a checkpoint that a client has begun? Then
 * hr_shard_copy() puts the next part into the storage, and with the last one it is handed over: to be called between
 * messages, which may change what they like. A part takes half a millisecond. What hr_shard_cut() returns, and then
 * there is no cut any more; but HOTROW_ERR_BUSY says that a checkpoint's writer is behind: it is to be called later. A
 * checkpoint that fails so is told its client. */
bool hr_shard_is_copying(const hr_shard *shard);
hotrow_status hr_shard_copy(hr_shard *shard);
/* No more turns and messages come: what runs aside does not wait for the rest of a checkpoint's copy. */
void hr_shard_give_up_copy(hr_shard *shard);
#define HR_CUT_TURN_BYTES ((size_t)512 << 10) /* as hr_table_copy() counts them: 4096 rows of dim 16 */
/* The storage has the last cut safe. Sends the replies that waited for it; not to be called from within the storage. */
void hr_shard_cut_is_durable(hr_shard *shard, uint64_t number);
/* The storage has lost the cut under way, or can take none any more: there will be no further one. Who waits for a
 * table is told so with this thread's last sentence, which later requests for new tables get too. Pulls and pushes go
 * on; no push becomes durable any more, so that clients keep theirs for the server that takes this one's place. */
void hr_shard_degrade(hr_shard *shard);
/* With HOTROW_DURABILITY_LOG: the storage has handed over to its disk, or refused for now, what was put in the log so
 * far; and has all of it safe that was handed over last. */
void hr_shard_log_is_handed(hr_shard *shard);
void hr_shard_log_is_refused(hr_shard *shard);
void hr_shard_log_is_durable(hr_shard *shard);
/* Does a client wait for what is in no cut yet? Then one should be made soon. */
bool hr_shard_awaits_cut(const hr_shard *shard);
size_t hr_shard_dirty_bytes(const hr_shard *shard); /* of the rows of the next cut */

/* Puts a cut back into a shard that has had no message: the tables in the order of their ids, then rows and jobs, then
 * sessions. The shard's epoch must be a new one, as clients have seen clocks that are gone until the pushes after the
 * cut have come again. now_ns: the time of the restart. After a failure the shard is to be destroyed.
 *   HOTROW_ERR_CORRUPT, and what hr_table_create() and hr_table_restore_row() return */
hotrow_status hr_shard_restore_table(hr_shard *shard, const hr_table_desc *desc);
/* How many of a table's rows are to be restored, if there is not room for all that the tables' descriptions speak of.
 */
uint64_t hr_shard_restore_max(const hr_shard *shard, uint32_t table_id);
/* No more rows of this table come; is_all: there are no others either. HOTROW_ERR_CORRUPT (not as many as there should
 * be) */
hotrow_status hr_shard_restore_end(hr_shard *shard, uint32_t table_id, bool is_all);
hotrow_status hr_shard_restore_row(hr_shard *shard, uint32_t table_id, uint64_t key, uint32_t clock,
                                   const float *record, size_t float_count);
hotrow_status hr_shard_restore_bucket(hr_shard *shard, uint32_t table_id, uint64_t number, const void *bytes,
                                      size_t size_bytes);
hotrow_status hr_shard_restore_job(hr_shard *shard, const hr_stored_job *stored, const hr_stored_member *members,
                                   uint64_t now_ns);
hotrow_status hr_shard_restore_session(hr_shard *shard, const hr_stored_session *stored, uint64_t now_ns);

/* One record of the log, aligned to 8 bytes, behind all of the cut that it came after and the records in between. Every
 * row that it changes is in the next cut. HOTROW_ERR_CORRUPT, and what pushes and these calls return */
hotrow_status hr_shard_replay(hr_shard *shard, const void *record, size_t size, uint64_t now_ns);

/* Counts a message that the transport itself refused (too many frames, too large). */
void hr_shard_count_refused(hr_shard *shard);

/* What only the owner knows: how long the last message took; how long a turn of a cut took; the totals of what the
 * storage has written in cuts, and in its log; replies that nobody took, and bytes of those that are on their way. */
void hr_shard_count_time(hr_shard *shard, uint64_t ns);
void hr_shard_count_cut(hr_shard *shard, uint64_t copy_ns);
void hr_shard_count_writes(hr_shard *shard, uint64_t rows, uint64_t bytes, uint64_t write_ns);
void hr_shard_count_log(hr_shard *shard, uint64_t writes, uint64_t records, uint64_t bytes, uint64_t write_ns);
void hr_shard_count_replies(hr_shard *shard, uint64_t dropped, uint64_t unread_bytes);
/* What the storage has in memory; what the process has. */
void hr_shard_count_storage(hr_shard *shard, const hr_storage_memory *memory);
typedef struct hr_process_counts {
  uint64_t resident_bytes, program_bytes, other_bytes, kept_bytes, counted_bytes; /* see <hotrow/counts.h> */
} hr_process_counts;
void hr_shard_count_process(hr_shard *shard, const hr_process_counts *counts);
/* This shard's part of what the process has in memory beyond what its shards count and what was set aside for it:
 * connections, replies that clients do not take, what malloc keeps. Rows leave for it; half of the shard's memory is
 * the most that it gives. Without a storage nothing can leave, and it is ignored. */
void hr_shard_count_foreign(hr_shard *shard, size_t foreign_bytes);
void hr_shard_get_counts(const hr_shard *shard, hotrow_shard_counts *counts_p);

/* For tests and stats. */
size_t hr_shard_table_count(const hr_shard *shard);
hr_table *hr_shard_table(const hr_shard *shard, size_t index);
/* JSON text of one object; returns the number of bytes it needs (snprintf's rule). */
size_t hr_shard_stats_json(const hr_shard *shard, char *text, size_t text_size);

#endif
