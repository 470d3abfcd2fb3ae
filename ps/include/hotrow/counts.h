/* What a shard counts and holds: what `hotrow top` shows and a server's metrics tell. */
#ifndef HOTROW_COUNTS_H
#define HOTROW_COUNTS_H

#include <hotrow/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bucket 0: below 1 us; bucket b: 2^(b-1) us and more, below 2^b us; the last one has no end. */
#define HOTROW_TIME_BUCKETS 28u
#define HOTROW_OP_COUNT 17u     /* hotrow_op_name() of 1 .. 16 */
#define HOTROW_REFUSAL_COUNT 8u /* hotrow_refusal_name() of 0 .. 7 */

/* Totals count from the start of the shard; the others are of now. */
typedef struct hotrow_shard_counts {
  size_t struct_size;
  uint64_t shard, shard_count;
  uint64_t epoch;
  uint64_t is_durable;  /* 1: it has a data directory */
  uint64_t is_degraded; /* 1: its data directory takes no cuts */
  /* What it holds. */
  uint64_t sessions, jobs, blobs, tables;
  uint64_t rows;         /* of all tables */
  uint64_t value_bytes;  /* of the rows' values */
  uint64_t state_bytes;  /* of their optimizer state */
  uint64_t index_bytes;  /* keys, index, clocks, and room for rows to come */
  uint64_t buffer_bytes; /* sessions, blobs, announcements kept, requests that wait, memory for replies */
  uint64_t held_bytes;   /* of them, requests that wait for their step */
  uint64_t dirty_bytes;  /* of rows that are in no cut yet */
  uint64_t unread_bytes; /* of large replies that clients have not taken yet */
  uint64_t announcements_kept;
  uint64_t rows_in_memory;   /* the others are in the data directory only */
  uint64_t memory_bytes;     /* all that it counts: rows, state, index, buffers, storage_bytes, copy_bytes */
  uint64_t memory_bytes_max; /* that it may take; 0: no bound */
  uint64_t process_bytes;    /* the whole process, as the system counts it; 0: not known */
  /* Totals: requests. */
  uint64_t pulls;       /* answered */
  uint64_t pulls_held;  /* that had to wait for a step */
  uint64_t rows_pulled; /* sent */
  uint64_t rows_kept;   /* held by the client and fresh enough */
  uint64_t pushes;      /* taken */
  uint64_t push_repeats;
  uint64_t rows_pushed;
  uint64_t bytes_pulled; /* of values sent */
  uint64_t bytes_pushed; /* of gradients applied */
  uint64_t announcements;
  uint64_t rows_evicted; /* that left memory for others */
  uint64_t rows_fetched; /* that came back from the data directory */
  uint64_t rows_expired; /* that went for good */
  uint64_t rows_refused; /* pushed to keys that have no row and were not given one */
  uint64_t resets;
  uint64_t replies_dropped; /* nobody could take them */
  /* Totals: cuts. */
  uint64_t cuts, cuts_durable;
  uint64_t cut_copy_ns;  /* that the shard's thread took to copy rows */
  uint64_t cut_write_ns; /* until they were on disk, on a thread of the storage */
  uint64_t cut_rows, cut_bytes;
  uint64_t pushes_applied; /* that have their outcome */
  uint64_t pushes_durable; /* of them, those that survive the shard's death */
  /* Totals: time on the shard's thread, from a request taken off the socket until its reply is handed to the network.
   * What a request waits for before that is not in it. */
  uint64_t busy_ns;                            /* of all messages */
  uint64_t request_ns;                         /* of pulls, pushes and both in one */
  uint64_t request_times[HOTROW_TIME_BUCKETS]; /* how many of them took so long */
  uint64_t messages[HOTROW_OP_COUNT];          /* by operation; [0] is 0 */
  uint64_t refused[HOTROW_REFUSAL_COUNT];      /* by reason */
  /* Totals: parts of checkpoints made from its data directory, of those that are over. */
  uint64_t checkpoint_parts;
  uint64_t checkpoint_bytes;     /* of all their files */
  uint64_t checkpoint_bytes_new; /* of the files that the part before did not have: what a part has cost */
  /* Totals: the log. */
  uint64_t log_writes;  /* each of all records that had come meanwhile */
  uint64_t log_records; /* messages that changed something */
  uint64_t log_bytes;
  uint64_t log_write_ns; /* until they were on disk, on a thread of the storage */
  /* Cuts are copied in turns between requests, and nobody is served during one: how many took so long, as
   * request_times. Their sum is cut_copy_ns. */
  uint64_t cut_turn_times[HOTROW_TIME_BUCKETS];
  uint64_t requests_parked; /* that waited for rows to be read, or behind such a one, while others were served */
  uint64_t parked_bytes;    /* of those that do now; in buffer_bytes */
  /* What it holds: */
  uint64_t storage_bytes; /* its database's buffers, cache and readers of tables, as the database counts them */
  uint64_t copy_bytes;    /* of rows and records on their way to disk, and memory that is kept for the next ones */
  uint64_t taken_bytes;   /* of memory_bytes_max: without storage_bytes and what pages are larger than what is in them,
                             with room for copies of changed rows that are still to be made */
  uint64_t heap_bytes;    /* of memory_bytes, what malloc has given out; the rest is mapped */
  /* Of its process, at the moment of process_bytes: what no shard counts, each part as its own keeper tells it. */
  uint64_t program_bytes; /* program and libraries, and what the process had before its first shard */
  uint64_t other_bytes; /* that malloc has given out: messages on their way, connections, what RocksDB does not count */
  uint64_t kept_bytes;  /* that malloc keeps of what was freed */
  uint64_t counted_bytes; /* all of it: these, and memory_bytes of all shards. To be held against process_bytes */
} hotrow_shard_counts;
#define HOTROW_SHARD_COUNTS_INIT HOTROW_INIT(hotrow_shard_counts)

/* "pull"; NULL outside 1 .. HOTROW_OP_COUNT - 1. */
HOTROW_API const char *hotrow_op_name(uint32_t op);
/* "gap"; NULL outside 0 .. HOTROW_REFUSAL_COUNT - 1. */
HOTROW_API const char *hotrow_refusal_name(uint32_t reason);

#ifdef __cplusplus
}
#endif
#endif
