/* A request on its way to a shard: the message, its own copy of every array, and what the sender wants to remember.
 * It lives until the shard has answered, because it may have to be sent again. */
#ifndef HR_REQUEST_H
#define HR_REQUEST_H

#include <stdatomic.h>

#include <hr/wire.h>

/* What bytes travel for. What is none of these is overhead. */
typedef enum hr_purpose {
  HR_BYTES_MISS,
  HR_BYTES_STALE,
  HR_BYTES_PROBE,
  HR_BYTES_PUSH,
  HR_BYTES_ANNOUNCE,
  HR_BYTES_COUNT
} hr_purpose;

/* What the answer to one pull section needs: where each asked key stands. The keys are in this order: held ones whose
 * clocks are asked about, held ones that are stale, missing ones. */
typedef struct hr_pull_note {
  uint32_t table_index;   /* of the client */
  uint32_t section_index; /* in this request's message */
  uint32_t stale_count;
  uint32_t *unique_index; /* [key_count], in the arena: section position -> index of the distinct key; NULL: they are */
  uint32_t unique_first;  /* this one and those after it */
  uint64_t *hashes;       /* [key_count], in the arena; NULL: nobody asks */
  /* Of rows of a coming batch: */
  uint64_t batch;   /* its number in the table's window */
  uint8_t *spoiled; /* [key_count], in the arena; 1: pushed since, so the row is not taken */
} hr_pull_note;

/* What it takes to credit the pushes of a section once they are applied; push section i has pushes[i]. */
typedef struct hr_push_note {
  uint32_t table_index;
  const uint64_t *hashes; /* [key_count], in the arena; NULL: the table has no copies that it would be credited to */
} hr_push_note;

typedef struct hr_request_pool hr_request_pool;

typedef struct hr_request {
  struct hr_request *next;        /* in a queue of the link, oldest first, or in the free list */
  bool is_admin;                  /* answered into the core's answer; else data */
  bool is_push;                   /* has a push number */
  bool is_ahead;                  /* its pulls are of coming batches: whatever the call, their rows are taken */
  bool is_waited_for;             /* its call waits for the answer */
  bool is_pull_sent;              /* it is one of the link's pulls_sent */
  bool is_refused;                /* for now: the shard was busy, and it is to be sent again */
  bool is_answered;               /* and kept until it is durable */
  bool is_credited;               /* its pushes are part of what the cache has seen, or never will be */
  uint64_t call;                  /* number of the call that sent it */
  size_t kept_size;               /* bytes that it counts for among what the link keeps */
  uint64_t bytes[HR_BYTES_COUNT]; /* of one sending */
  hr_message message;             /* pushes, then pulls */
  uint32_t push_count, pull_count;
  hr_push_note pushes[HR_WIRE_DATA_SECTIONS_MAX];
  hr_pull_note pulls[HR_WIRE_DATA_SECTIONS_MAX];
  uint32_t shard; /* of a push that waits for the end of its step */
  /* How many frames the transport still sends from where they are; a thread of its own counts them down. Until it is 0
   * the arena stays as it is. */
  atomic_uint users;
  hr_request_pool *pool; /* borrowed */
  /* Arena: 64-byte aligned pieces, given back all at once. */
  struct hr_arena_block *blocks; /* owned */
  uint8_t header_bytes[HR_WIRE_HEADER_BYTES];
  uint8_t section_bytes[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t frame_count;
} hr_request;

#define HR_BLOCK_SIZES 16u /* from 64 KiB to the largest message, each twice the one before */

struct hr_request_pool {
  hr_request *free_list;                              /* owned */
  hr_request *leaving;                                /* owned: released, and the transport still sends from them */
  struct hr_arena_block *free_blocks[HR_BLOCK_SIZES]; /* owned, by size */
};

/* An empty request from the pool. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_request_acquire(hr_request_pool *pool, hr_request **request_p);
void hr_request_release(hr_request_pool *pool, hr_request *request); /* accepts NULL */
/* The transport has sent everything. */
void hr_request_pool_fini(hr_request_pool *pool);

/* size bytes that live as long as the request. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_request_take(hr_request *request, size_t size, void **memory_p);

/* Appends an empty section. HOTROW_ERR_LIMIT */
hotrow_status hr_request_add_section(hr_request *request, hr_section_kind kind, hr_section **section_p);

/* Appends the push sections of another request, with its arena, and releases it: it has not been sent. The caller has
 * seen to it that there is room for them. */
void hr_request_absorb(hr_request *request, hr_request *other);

/* Takes the pulls out again; what is left is a push. */
void hr_request_strip_pulls(hr_request *request);
/* Takes the pushes out of a push with pulls: what is left is a pull that names the push as the last before it. */
void hr_request_strip_pushes(hr_request *request);
/* Makes its pulls ask for every row, as if none were held. */
void hr_request_forget_held(hr_request *request);

#endif
