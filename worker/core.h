/* A worker without sockets: tables, caches, links, and the calls that go on while answers are awaited. Everything that
 * waits or reads a clock is in client.c (ZeroMQ) or in the simulator; both drive this code.
 *
 * A call is begun (hr_core_lookup_begin), then messages are fed in (hr_core_receive, hr_core_tick) until
 * hr_core_is_waiting says no, then it is finished (hr_core_lookup_finish). A call that is given up is simply not
 * finished: answers that come late are recognised by its number and change nothing. */
#ifndef HR_CORE_H
#define HR_CORE_H

#include <hotrow/hotrow.h>

#include "link.h"

typedef struct hr_core hr_core;

/* Growing scratch for dedup of one list of keys. */
typedef struct hr_workspace {
  hotrow_dedup dedup;
  void *scratch;
  size_t capacity;
} hr_workspace;

struct hotrow_table {
  hr_core *core;
  uint32_t index;     /* among the client's tables */
  hr_table_desc desc; /* as the shards have it */
  uint64_t seed;      /* of key hashes */
  uint32_t *ids;      /* [shard_count]: each shard's id for it */
  uint32_t pull_bound, push_bound;
  uint32_t state_dim, square_dim;
  bool has_cache;
  hotrow_cache *cache; /* owned; without a cache it stages rows only */
  /* The lookup in hand: distinct keys and where their rows are. */
  hr_workspace lookup;
  uint32_t *slots, *seen; /* [lookup.capacity] */
  uint32_t *key_slots;    /* [lookup.capacity]: slot of each key as given */
  uint8_t *states;        /* [lookup.capacity]: hotrow_row_state of each distinct key */
  uint8_t *found;         /* [lookup.capacity]: of each distinct key; readers only */
  hr_workspace prefetch;
  /* The step's gradients so far: distinct within each part; parts are merged when the step ends. */
  hr_workspace push;
  uint64_t *step_keys, *step_hashes; /* [step_capacity] */
  float *step_grads, *merged_grads;  /* [step_capacity][dim] */
  size_t step_count, step_capacity;
  uint32_t step_parts;
  /* Of a pooled push: the bag of each key and its factor. */
  uint32_t *bags; /* [bag_capacity] */
  float *factors; /* [bag_capacity] */
  size_t bag_capacity;
};

typedef struct hr_failure {
  hotrow_status status;
  char text[HR_ERROR_TEXT_BYTES];
} hr_failure;

typedef struct hr_core_options {
  hr_session_id session;
  uint64_t job;
  uint64_t started_ns; /* start token: grows from one process of a rank to the next */
  uint32_t rank;
  uint32_t world_size;
  hr_role role;
  uint32_t shard_count;
  const char *const *endpoints; /* [shard_count], for sentences; borrowed */
  const hotrow_kernels *kernels;
  uint64_t staging_rows_max; /* distinct keys of one lookup; 0: HOTROW_LOOKUP_KEYS_MAX */
  hr_link_send_fn send;
  void *send_context;
} hr_core_options;

struct hr_core {
  hr_core_options options;
  hr_link *links;      /* [shard_count] */
  hr_request **drafts; /* [shard_count]: being filled, not yet submitted; NULL: nothing to say */
  hr_request_pool pool;
  hotrow_table *tables[HOTROW_REQUESTS_MAX];
  uint32_t table_count;
  bool is_sync; /* some table has both bounds 0: every step is exact */
  uint32_t step;
  uint64_t call;          /* number of the call in hand; requests remember theirs */
  uint32_t waited_count;  /* its unanswered requests */
  uint32_t prefetch_open; /* unanswered prefetch requests */
  hr_failure failure;     /* of the call in hand, or of a push since */
  hotrow_lookup_request lookups[HOTROW_REQUESTS_MAX];
  size_t lookup_count;
  hr_message reply; /* the message being received */
  /* Answer to the last hr_core_ask. */
  hotrow_status answer_status;
  uint8_t *answer; /* owned, grows */
  size_t answer_size, answer_capacity;
  hotrow_client_stats stats;
};

hotrow_status hr_core_create(const hr_core_options *options, hr_core **core_p);
void hr_core_destroy(hr_core *core);

/* Feeds a message from a shard, or the time. */
void hr_core_receive(hr_core *core, uint32_t shard, const hr_frame *frames, size_t frame_count, uint64_t now_ns);
void hr_core_tick(hr_core *core, uint64_t now_ns);
uint64_t hr_core_due_ns(const hr_core *core);

/* True while the call in hand has unanswered requests and nothing has failed. */
bool hr_core_is_waiting(const hr_core *core);
/* OK, or why the call in hand, a push before it, or a link failed; a push's failure is reported once. */
hotrow_status hr_core_status(hr_core *core);
/* TIMED_OUT with a sentence that names the first shard that owes an answer to the call in hand. */
hotrow_status hr_core_timed_out(hr_core *core, const char *what, uint32_t timeout_ms);

/* Greets every shard; all must have answered before anything else is asked. */
hotrow_status hr_core_hello_begin(hr_core *core, uint64_t now_ns);

/* Asks one shard a question with one body frame (copied). The answer is in answer_status, answer, answer_size;
 * a failure's sentence is in failure.text. */
hotrow_status hr_core_ask_begin(hr_core *core, uint32_t shard, hr_op op, const void *body, size_t body_size,
                                uint64_t now_ns);

/* Adds a table that all shards have; ids[shard_count] is copied. */
hotrow_status hr_core_add_table(hr_core *core, const hr_table_desc *desc, const uint32_t *ids,
                                const hotrow_table_options *options, hotrow_table **table_p);

/* May a push be submitted to every shard now? Else feed messages until it may. */
bool hr_core_can_push(const hr_core *core);
/* Has every push been answered? */
bool hr_core_pushes_done(const hr_core *core);

/* Would hr_core_lookup_begin take these requests? Changes nothing. */
hotrow_status hr_core_lookup_check(hr_core *core, const hotrow_lookup_request *requests, size_t request_count);
/* Needs hr_core_can_push and no prefetch open. If it fails, the pushes that were to travel with it stay drafted. */
hotrow_status hr_core_lookup_begin(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                                   uint64_t now_ns);
void hr_core_lookup_finish(hr_core *core);

hotrow_status hr_core_push(hr_core *core, const hotrow_push_request *requests, size_t request_count);
/* Ends the step; needs hr_core_can_push. is_fused: what it has to say waits for hr_core_lookup_begin, which must
 * follow. */
hotrow_status hr_core_step(hr_core *core, bool is_fused, uint64_t now_ns);
/* Hands every pending gradient to the shards; then feed messages until hr_core_pushes_done. */
hotrow_status hr_core_flush_begin(hr_core *core, uint64_t now_ns);

/* Drops the request when a prefetch is open. Needs hr_core_can_push. */
hotrow_status hr_core_prefetch(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                               uint64_t now_ns);

void hr_core_get_stats(const hr_core *core, hotrow_client_stats *stats_p);

/* Between the core's files. */
/* From here on answers to the call before change nothing: it is over, or was given up. */
void hr_core_begin_call(hr_core *core);
hotrow_status hr_core_dedup(hr_core *core, hotrow_table *table, hr_workspace *workspace, const uint64_t *keys,
                            size_t key_count);
void hr_core_fail(hr_core *core, hotrow_status status, const char *text, size_t text_size);
hotrow_status hr_core_draft(hr_core *core, uint32_t shard, hr_request **request_p);
/* Sends every draft, or none: HOTROW_ERR_LIMIT if one, or the answer to it, is over the size of a message. */
hotrow_status hr_core_submit_drafts(hr_core *core, hr_op op, uint32_t flags, uint32_t step, bool is_waited_for,
                                    uint64_t now_ns);
/* Takes the pulls of the call in hand back out of the drafts; pushes stay. */
void hr_core_drop_pulls(hr_core *core);
/* Moves what the caches have handed out for pushing into the drafts. */
hotrow_status hr_core_draft_pushes(hr_core *core, hotrow_table *table);
/* Sends evicted rows on their way before a pull may ask for them again; fused into the drafts unless steps are exact.
 */
hotrow_status hr_core_draft_evicted(hr_core *core, uint64_t now_ns);
/* Appends the pull of distinct keys [first, last) of workspace, all of shard; slots NULL: none is held. */
hotrow_status hr_core_draft_pull(hr_core *core, hotrow_table *table, uint32_t shard, const hr_workspace *workspace,
                                 uint32_t first, uint32_t last, const uint32_t *slots, const uint32_t *seen);
/* First distinct key at or after `from` that belongs to a shard after `shard`. */
uint32_t hr_core_slice_end(const hr_core *core, const hotrow_dedup *dedup, uint32_t from, uint32_t shard);
void hr_core_on_pull_reply(hr_core *core, hr_request *request, const hr_message *reply);
void hr_core_on_prefetch_reply(hr_core *core, hr_request *request, const hr_message *reply);
/* Keys that are updated while a prefetch is open: the row on its way may lack the update, so it will not be taken. */
void hr_core_spoil_prefetch(hr_core *core, const hotrow_table *table, const uint64_t *hashes, size_t count);
/* Does the reply answer the request's pull sections, section by section? Else the link is broken. */
bool hr_core_check_pull_reply(hr_core *core, uint32_t shard, const hr_request *request, const hr_message *reply);

#endif
