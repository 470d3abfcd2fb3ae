/* A request on its way to a shard: the message, its own copy of every array, and what the sender wants to remember.
 * It lives until the shard has answered, because it may have to be sent again. */
#ifndef HR_REQUEST_H
#define HR_REQUEST_H

#include <hr/wire.h>

typedef enum hr_request_kind {
  HR_REQUEST_ADMIN,   /* answered into the core's answer */
  HR_REQUEST_DATA,    /* the step's push, the lookup's pull, or both */
  HR_REQUEST_PREFETCH /* a pull nobody waits for */
} hr_request_kind;

/* What the answer to one pull section needs: where each asked key stands. */
typedef struct hr_pull_note {
  uint32_t table_index;   /* of the client */
  uint32_t section_index; /* in this request's message */
  uint32_t *unique_index; /* [key_count], in the arena: section position -> index of the distinct key */
  uint64_t *hashes;       /* [key_count], in the arena */
  uint8_t *spoiled;       /* prefetch: [key_count], in the arena; 1: pushed since, so the row is not taken */
} hr_pull_note;

typedef struct hr_request {
  struct hr_request *next; /* in the link's queue, oldest first, or in the free list */
  hr_request_kind kind;
  bool is_push;       /* takes a push number */
  bool is_waited_for; /* its call waits for the answer */
  uint64_t call;      /* number of the call that sent it */
  hr_message message;
  uint32_t pull_count;
  hr_pull_note pulls[HR_WIRE_DATA_SECTIONS_MAX];
  /* Arena: 64-byte aligned pieces, freed all at once. Blocks stay with the request when it is recycled. */
  struct hr_arena_block *blocks; /* owned */
  uint8_t header_bytes[HR_WIRE_HEADER_BYTES];
  uint8_t section_bytes[HR_WIRE_DATA_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t frame_count;
} hr_request;

typedef struct hr_request_pool {
  hr_request *free_list; /* owned */
} hr_request_pool;

/* An empty request from the pool. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_request_acquire(hr_request_pool *pool, hr_request_kind kind, hr_request **request_p);
void hr_request_release(hr_request_pool *pool, hr_request *request); /* accepts NULL */
void hr_request_pool_fini(hr_request_pool *pool);

/* size bytes that live as long as the request. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_request_take(hr_request *request, size_t size, void **memory_p);

/* Appends an empty section. HOTROW_ERR_LIMIT */
hotrow_status hr_request_add_section(hr_request *request, hr_section_kind kind, hr_section **section_p);

#endif
