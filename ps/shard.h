/* One shard as a pure state machine: messages in, messages out. No sockets, no threads, no clock of its own: the same
 * code runs behind ZeroMQ (server.c) and in the simulator. One thread.
 *
 * It answers hello, tables, pull, push, push+pull, barrier, blobs, stats, save and bye. What it promises:
 *  - a session's pushes are applied exactly once, in the order of push_seq: a repeat is answered and not applied again,
 *    a push or a pull that names a push not yet seen gets GAP;
 *  - a request with another epoch gets HOTROW_ERR_RESET, a request of a fenced or unknown session HOTROW_ERR_FENCED;
 *  - HR_FLAG_SYNC: the pushes of a step are held until all world_size ranks of the job have sent theirs, then applied
 *    in rank order; a pull for step t waits until the pushes of step t-1 are applied. Steps count from 0. In a
 * push_pull header.step is the step that the push ends, and the pull is for the step after it;
 *  - whatever the bytes are, it never crashes, and what it refuses is counted in stats. */
#ifndef HR_SHARD_H
#define HR_SHARD_H

#include <hotrow/kernels.h>
#include <hr/wire.h>

#include "table.h"

#define HR_SHARD_TABLES_MAX 256u
#define HR_SHARD_SESSIONS_MAX 4096u /* the session idle longest is forgotten for a new one, and then fenced */
#define HR_SHARD_BLOBS_MAX 1024u
#define HR_SHARD_JOBS_MAX 256u /* the job idle longest is forgotten for a new one, with its sessions */
#define HR_SHARD_HELD_BYTES_MAX ((size_t)4 << 30)
#define HR_PUSH_WINDOW 64u /* pushes of one session without an answer */

typedef struct hr_shard hr_shard;

/* Where a message came from and its reply goes: opaque bytes of the transport (a ZeroMQ routing id). */
#define HR_ROUTE_BYTES_MAX 32u
typedef struct hr_route_id {
  uint8_t size;
  uint8_t bytes[HR_ROUTE_BYTES_MAX];
} hr_route_id;

/* Transport seam. `send` is called from within hr_shard_receive and must copy or transmit the frames before it
 * returns, but for those in memory that it lent. A reply that cannot be sent is dropped: the client asks again.
 * `lend` (NULL: never) gives HR_REPLY_POOL_BYTES for the arrays of the next reply, or NULL: it has none free. */
typedef struct hr_shard_transport {
  void (*send)(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count);
  void *context;
  void *(*lend)(void *context);
} hr_shard_transport;

/* Each array of a reply begins on a cache line, so a full reply needs a little more than its bytes. */
#define HR_REPLY_ALIGNMENT 64u
#define HR_REPLY_POOL_BYTES (HR_WIRE_MESSAGE_BYTES_MAX + (size_t)HR_WIRE_FRAMES_MAX * HR_REPLY_ALIGNMENT)

typedef struct hr_shard_options {
  uint32_t shard_index;
  uint32_t shard_count;
  uint64_t epoch;         /* not 0: random per start for a memory shard */
  uint64_t row_count_max; /* per table; 0: no limit of its own */
  const char *save_dir;   /* NULL: saves are refused. Borrowed */
  const hotrow_kernels *kernels;
  hr_shard_transport transport;
  size_t held_bytes_max; /* copies of pushes and pulls that wait for other ranks; 0: HR_SHARD_HELD_BYTES_MAX */
} hr_shard_options;

hotrow_status hr_shard_create(const hr_shard_options *options, hr_shard **shard_p);
void hr_shard_destroy(hr_shard *shard);

/* Loads a save into an empty shard (see hr_save_load). */
hotrow_status hr_shard_load(hr_shard *shard, const char *path);

/* One message. The frames are the caller's and are not kept: what must wait is copied. now_ns only grows. */
void hr_shard_receive(hr_shard *shard, const hr_route_id *from, const hr_frame *frames, size_t frame_count,
                      uint64_t now_ns);

/* Counts a message that the transport itself refused (too many frames, too large). */
void hr_shard_count_refused(hr_shard *shard);

/* For tests and stats. */
size_t hr_shard_table_count(const hr_shard *shard);
hr_table *hr_shard_table(const hr_shard *shard, size_t index);
/* JSON text of one object; returns the number of bytes it needs (snprintf's rule). */
size_t hr_shard_stats_json(const hr_shard *shard, char *text, size_t text_size);

#endif
