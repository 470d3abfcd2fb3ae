/* What the shard's files share: its state, and how a reply is made. One thread. */
#ifndef HR_SHARD_STATE_H
#define HR_SHARD_STATE_H

#include "row_read.h"
#include "save.h"
#include "shard.h"

#define HR_SESSION_BUCKETS 4096u
#define HR_RETRY_MS 5u
#define HR_RETRY_CUT_MS 50u /* what waits for a cut to be durable */

typedef struct hr_session hr_session;
typedef struct hr_job hr_job;
typedef struct hr_blob hr_blob;
typedef struct hr_shard_checkpoint hr_shard_checkpoint;
typedef struct hr_shard_save hr_shard_save;
typedef struct hr_parked hr_parked;

/* Why a message was refused, as stats tell it. */
typedef enum hr_refusal {
  HR_REFUSED_PROTOCOL,
  HR_REFUSED_VERSION,
  HR_REFUSED_LIMIT,
  HR_REFUSED_EPOCH,
  HR_REFUSED_SESSION,
  HR_REFUSED_GAP,
  HR_REFUSED_BUSY,    /* no room to keep it until its step, or for its reply: the client asks again */
  HR_REFUSED_REQUEST, /* understood, and not possible: no such table, a gradient that is not finite, ... */
  HR_REFUSED_COUNT
} hr_refusal;

typedef struct hr_shard_counters {
  uint64_t messages[HR_OP_COUNT];
  uint64_t refused[HR_REFUSED_COUNT];
  uint64_t pulls;       /* answered */
  uint64_t rows_pulled; /* sent */
  uint64_t rows_kept;   /* held by the client and fresh enough */
  uint64_t pushes;      /* taken */
  uint64_t push_repeats;
  uint64_t rows_pushed;
  uint64_t pulls_held;                  /* that had to wait for a step */
  uint64_t bytes_pulled[HOTROW_I8 + 1]; /* of values sent, by dtype */
  uint64_t bytes_pushed[HOTROW_I8 + 1]; /* of gradients applied */
  uint64_t resets;                      /* replies that had to say so */
  uint64_t cuts;                        /* handed to the storage */
  uint64_t cuts_durable;
  uint64_t pushes_applied; /* that have their outcome */
  uint64_t pushes_in_cut;  /* of them, those that the last cut covers */
  uint64_t pushes_in_log;  /* of them, those that the log handed over last covers */
  uint64_t pushes_durable; /* of them, those that are on disk */
  /* Told by the shard's owner. */
  uint64_t cut_copy_ns, cut_write_ns, cut_rows, cut_bytes;
  uint64_t log_writes, log_records, log_bytes, log_write_ns;
  uint64_t replies_dropped, unread_bytes;
  uint64_t busy_ns, request_ns;
  uint64_t request_times[HOTROW_TIME_BUCKETS], cut_turn_times[HOTROW_TIME_BUCKETS];
  uint64_t rows_evicted; /* that left memory */
  uint64_t rows_fetched; /* that came back */
  uint64_t requests_parked;
  hr_storage_memory storage;
  hr_process_counts process;
} hr_shard_counters;

/* Rows of a table that are looked at with each step, whether they go for good. */
#define HR_SWEEP_ROWS_MIN 256u
#define HR_SWEEP_ROWS_MAX 65536u
#define HR_SWEEP_STORED_ROWS_MIN 64u /* of those that only the storage has */
#define HR_SWEEP_STORED_ROWS_MAX HR_READ_KEYS_MAX

/* See shard_memory.h. */
typedef struct hr_shard_memory {
  uint64_t *missing;      /* owned [2 HR_WIRE_KEYS_MAX]: keys of the request in hand, and scratch to sort them */
  size_t missing_max;     /* of them so far */
  size_t in_flight_bytes; /* of rows in the cut that is not durable yet */
  size_t foreign_bytes;   /* that the process has elsewhere: see hr_shard_count_foreign */
  bool is_exhausted;      /* nothing more can leave before a cut is durable */
  /* Arrays of keys of the request in hand all of whose rows were in memory when so many rows had left it. */
  const uint64_t *whole[HR_WIRE_DATA_SECTIONS_MAX];
  size_t whole_count;
  uint64_t whole_evicted;
} hr_shard_memory;

/* See shard_park.h. */
typedef struct hr_parking {
  size_t size_bytes;    /* of all that wait, and their reads */
  size_t request_count; /* that wait */
  size_t read_count;    /* on their way */
  hr_parked *orphans;   /* owned: whose session is gone, until their reads are back */
} hr_parking;

/* See shard_visit.h. */
typedef struct hr_visit {
  hr_row_read *read;  /* owned, and the storage's as long; NULL: none is on its way */
  uint64_t cut_ended; /* of the shard, when it was asked for */
} hr_visit;

typedef enum hr_table_cut {
  HR_TABLE_CHANGED, /* to be put in the next cut */
  HR_TABLE_IN_CUT,  /* that is not durable yet */
  HR_TABLE_DURABLE  /* or there is no storage */
} hr_table_cut;

/* Memory that replies are written to, and how much of it was so far. */
#define HR_REPLY_MEMORIES 8u
typedef struct hr_reply_touched {
  const uint8_t *memory;
  size_t size_bytes;
} hr_reply_touched;

struct hr_shard {
  hr_shard_options options;
  hr_table *tables[HR_SHARD_TABLES_MAX]; /* owned; a table's id is its index */
  hr_table_cut table_cuts[HR_SHARD_TABLES_MAX];
  uint64_t stored_counts[HR_SHARD_TABLES_MAX]; /* rows that each table's stored description speaks of */
  uint32_t stored_steps[HR_SHARD_TABLES_MAX];  /* and its step */
  size_t table_count;
  hr_session *sessions[HR_SESSION_BUCKETS]; /* owned */
  size_t session_count;
  hr_job *jobs; /* owned */
  size_t job_count;
  hr_blob *blobs[HR_SHARD_BLOBS_MAX]; /* owned, in the order in which they were first put */
  size_t blob_count;
  size_t held_bytes;               /* of all hr_held */
  hr_shard_save *save;             /* owned; NULL until the first one */
  hr_shard_checkpoint *checkpoint; /* owned; NULL until the first one */
  hr_save_origin origin;           /* token 0: not started from a checkpoint */
  hr_announce_log log;
  hr_shard_memory memory;
  hr_parking parking;
  hr_visit visits[HR_SHARD_TABLES_MAX]; /* of the tables */
  uint64_t cut_number;                  /* of the last cut begun */
  uint64_t cut_ended;                   /* of the last cut that is durable */
  bool cut_in_progress;                 /* begun and not durable */
  bool is_copying;                      /* and not handed over yet: its rows are copied in turns */
  bool was_cut_awaited;                 /* is_cut_awaited, when the cut under way was begun */
  bool is_cut_awaited;                  /* a client waits for pushes that are in no cut */
  bool is_degraded;                     /* the storage has failed: there are no more cuts */
  bool is_refused;                      /* the storage has refused the last cut: it may take the next one */
  bool is_logging;                      /* a message is in hand, and what it changes goes into the log */
  bool is_log_refused;                  /* the storage has refused the log; it keeps it and may take it later */
  hr_shard_counters counters;

  /* The message in hand. */
  const hr_route_id *from; /* borrowed during hr_shard_receive */
  uint64_t now_ns;
  hr_message request;
  uint8_t op_done; /* of the last message that was admitted and dispatched; 0: it was refused before */

  /* The reply in the making. */
  hr_message reply;
  hr_route_id reply_to;
  uint8_t *reply_memory; /* pool, or lent by the transport */
  size_t pool_used;
  hr_reply_touched touched[HR_REPLY_MEMORIES], *touched_now; /* [0] is the pool's */
  size_t keys_max;  /* of a section so far: as much of the scratch below is touched */
  uint8_t *pool;    /* owned: HR_REPLY_POOL_BYTES, for replies when the transport lends nothing. Address space for the
                       largest; memory once touched */
  uint32_t *rows;   /* owned [HR_WIRE_KEYS_MAX]: of one pull section */
  uint32_t *clocks; /* owned [HR_WIRE_KEYS_MAX] */
  uint8_t header_bytes[HR_WIRE_HEADER_BYTES];
  uint8_t section_bytes[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  char text[HR_WIRE_TEXT_BYTES_MAX];
  char degraded_by[HR_ERROR_TEXT_BYTES]; /* what the storage said when it failed */
};

/* Begins a reply to `request`; it goes to the session's latest route, or, without a session, to where the message in
 * hand came from. */
void hr_reply_begin(hr_shard *shard, const hr_session *session, const hr_header *request);
/* Room in the reply's pool, aligned to 64 bytes. The caller has checked that it is there. */
void *hr_reply_take(hr_shard *shard, size_t size_bytes);
/* Tells what was announced since announce_seq, that of the request: the last thing before a data reply is sent, so that
 * it is of the same moment. */
void hr_reply_announce(hr_shard *shard, uint64_t announce_seq);
void hr_reply_send(hr_shard *shard);
/* A whole reply: OK with a body (size 0: none). */
void hr_reply_body(hr_shard *shard, const hr_session *session, const hr_header *request, const void *body, size_t size);
/* A whole reply: `status` (or HR_STATUS_GAP) and this thread's last sentence. */
void hr_reply_error(hr_shard *shard, const hr_session *session, const hr_header *request, int32_t status);
/* The same, and counted by its reason. */
void hr_reply_refuse(hr_shard *shard, const hr_session *session, const hr_header *request, int32_t status);
/* What a hello is answered with. */
void hr_reply_hello(hr_shard *shard, const hr_session *session, const hr_header *request);
void hr_shard_count_refusal(hr_shard *shard, int32_t status);

/* Must what a client counts on over a restart be on disk before it is told? */
static inline bool hr_shard_waits_for_disk(const hr_shard *shard)
{
  return shard->options.storage && shard->options.durability != HOTROW_DURABILITY_NONE;
}

/* Does what a decoded and admitted message asks for, and answers it. */
void hr_shard_serve(hr_shard *shard, hr_session *session, hr_message *message);

/* The table with this id. HOTROW_ERR_NOT_FOUND */
hotrow_status hr_shard_find_table(const hr_shard *shard, uint32_t id, hr_table **table_p);
/* All rows in memory that are dead go now: before they would be saved. */
void hr_shard_sweep(hr_shard *shard);
/* Creates a table; desc->id is ignored. HOTROW_ERR_INVALID, HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_shard_add_table(hr_shard *shard, const hr_table_desc *desc, hr_table **table_p);

#endif
