/* A worker without sockets: tables, caches, links, and the calls that go on while answers are awaited. Everything that
 * waits or reads a clock is in client.c (ZeroMQ) or in the simulator; both drive this code.
 *
 * A call is begun (hr_core_lookup_begin), then messages are fed in (hr_core_receive, hr_core_tick) until
 * hr_core_is_waiting says no; hr_core_lookup_settle says whether it is over, then it is finished
 * (hr_core_lookup_finish). A call that is given up is simply not finished: answers that come late are recognised by its
 * number and change nothing. */
#ifndef HR_CORE_H
#define HR_CORE_H

#include <hotrow/hotrow.h>

#include "link.h"
#include "lookahead.h"

typedef struct hr_core hr_core;

/* Growing scratch for dedup of one list of keys. */
typedef struct hr_workspace {
  const hotrow_kernels *kernels; /* borrowed: of where its arrays are; NULL: there are none yet */
  hotrow_dedup dedup;            /* owned */
  uint32_t unique_count;         /* dedup's; on a device once it has been read: is_counted */
  bool is_counted;
  bool is_plain; /* all keys are distinct, and stand in dedup as they were given */
  void *scratch; /* owned */
  size_t capacity;
  size_t key_count; /* that dedup was given last */
} hr_workspace;

/* Rows of an answer on their way to the cache, where they cannot be taken as they lie in the message. Grows. */
typedef struct hr_arrival {
  uint64_t *keys, *hashes;
  uint32_t *clocks, *next_use, *slots;
  float *values, *states;
  size_t capacity;
} hr_arrival;

struct hotrow_table {
  hr_core *core;
  uint32_t index;           /* among the client's tables */
  hr_table_desc desc;       /* as the shards have it */
  hotrow_row_layout layout; /* of desc's segments */
  uint64_t seed;            /* of key hashes */
  uint32_t *ids;            /* [shard_count]: each shard's id for it */
  uint32_t pull_bound, push_bound;
  hotrow_dtype wire_dtype;
  uint32_t flags; /* HOTROW_TABLE_... */
  bool has_cache;
  bool is_announced;             /* the cache lives by announcements; else it probes */
  float lr_scale, lr_scale_next; /* of pushes that leave now, and from the next step on */
  hotrow_cache_policy policy;
  hotrow_cache *cache;            /* owned; without a cache it stages rows only */
  hotrow_table *cache_owner;      /* whose cache it shares; itself if it does not */
  uint64_t cached_slots;          /* slots from here on are staging */
  struct hr_device_table *device; /* owned: what it has on the device; NULL: its rows are in host memory */
  /* The lookup in hand. */
  uint32_t batch; /* of the cache: that of its last lookup */
  hr_workspace lookup;
  /* What it may ask shards about: its distinct keys, in the order of their hashes where there is a cache. */
  const uint64_t *asked_keys, *asked_hashes; /* borrowed */
  uint32_t asked_count;
  /* Of each of them, all [lookup.capacity]: where its row is, and how old. */
  uint32_t *slots, *seen, *next_use;
  bool has_slots;       /* slots are those of its keys, in the cache's present batch */
  uint32_t sent_count;  /* without a cache: so many of its distinct keys, from the first on, are asked for already */
  uint32_t *key_slots;  /* slot of each key as given */
  uint8_t *found;       /* of each distinct key; readers only */
  uint8_t *states;      /* hotrow_row_state of each distinct key, as it turned out */
  uint8_t *asks;        /* what this round asks about it: likewise, HOTROW_ROW_FRESH for nothing */
  uint64_t told;        /* how often shards have told of its rows */
  uint64_t told_before; /* likewise, when the lookup last looked */
  hr_lookahead window;
  hr_workspace ahead;
  uint8_t *ahead_asks; /* [ahead_capacity] */
  size_t ahead_capacity;
  hr_arrival arrival;
  uint64_t *told_hashes; /* [told_capacity]: of an announcement's keys */
  size_t told_capacity;
  /* The step's gradients so far: distinct within each part; parts are merged when the step ends. */
  hr_workspace push;
  uint64_t *step_keys, *step_hashes;   /* [step_capacity] */
  uint32_t *step_ticks, *merged_ticks; /* [step_capacity]: occurrences */
  float *step_grads, *merged_grads;    /* [step_capacity][dim] */
  size_t step_count, step_capacity;
  uint32_t step_parts;
  /* Or the step's rows are here, in messages of one push section each, shard by shard: then step_parts is 1. */
  hr_queue direct; /* owned */
  /* Of a pooled push: the bag of each key and its factor. */
  uint32_t *bags; /* [bag_capacity] */
  float *factors; /* [bag_capacity] */
  size_t bag_capacity;
  hotrow_table_stats stats; /* what the cache does not count itself */
};

typedef struct hr_failure {
  hotrow_status status;
  char text[HR_ERROR_TEXT_BYTES];
} hr_failure;

#define HR_CORE_PART_BYTES ((size_t)512 << 10)

typedef struct hr_core_options {
  hr_session_id session;
  uint64_t job;
  uint64_t started_ns; /* start token: grows from one process of a rank to the next */
  uint32_t rank;
  uint32_t world_size;
  hr_role role;
  uint32_t shard_count;
  const char *const *endpoints;         /* [shard_count], for sentences; borrowed */
  const hotrow_kernels *kernels;        /* the CPU's */
  const hotrow_kernels *device_kernels; /* of the device that keeps the rows; NULL: host memory */
  uint64_t staging_rows_max;            /* distinct keys of one lookup; 0: HOTROW_LOOKUP_KEYS_MAX */
  size_t kept_bytes_max;                /* of pushes that a shard has not made durable; 0: HR_LINK_KEPT_BYTES_MAX */
  size_t part_bytes;                    /* of rows in one message, where many go in several; 0: HR_CORE_PART_BYTES */
  hr_link_send_fn send;
  void *send_context;
  hotrow_observe_fn observe; /* NULL: nobody */
  void *observe_context;
} hr_core_options;

/* A shard's part of a list of pushes while it is being written. */
typedef struct hr_push_share {
  uint32_t count;
  bool has_steps;
  hotrow_dtype dtype;
  uint64_t *keys, *hashes; /* in the request's arena */
  float *grads, *squares, *scales;
  uint8_t *packed;
  uint32_t *steps;
} hr_push_share;

struct hr_core {
  hr_core_options options;
  const hotrow_kernels *row_kernels; /* borrowed: of where the rows are */
  void *stream, *event;              /* owned: where their work is queued; NULL in host memory */
  void *ahead_stream;                /* owned: where coming batches are looked at, beside that */
  uint32_t *gate;        /* owned, on the device: no limit to what the step updates; 0 if some gradient is not finite */
  hr_link *links;        /* [shard_count] */
  hr_request **drafts;   /* [shard_count]: being filled, not yet submitted; NULL: nothing to say */
  bool *is_told;         /* [shard_count]: something was sent since the step ended */
  hr_push_share *shares; /* [2 * shard_count] */
  hr_request_pool pool;
  hotrow_table *tables[HOTROW_REQUESTS_MAX];
  uint32_t table_count;
  bool is_sync;      /* some table has both bounds 0: every step is exact */
  bool is_announced; /* some table lives by announcements */
  bool has_cache;    /* some table keeps rows here */
  bool is_fused;     /* the step's messages wait for the lookup that follows */
  uint64_t now_ns;   /* the latest time that was given */
  uint32_t step;
  uint64_t call;         /* number of the call in hand; requests remember theirs */
  uint32_t waited_count; /* its unanswered requests */
  uint32_t ahead_open;   /* unanswered requests for coming batches */
  uint32_t round;        /* of the lookup in hand, from 1 */
  bool is_unread;        /* what the lookup in hand has to ask for, the device has still to say */
  hr_failure failure;    /* of the call in hand, or of a push since */
  hotrow_lookup_request lookups[HOTROW_REQUESTS_MAX];
  size_t lookup_count;
  hr_message reply;           /* the message being received */
  const hr_request *answered; /* by it, while its rows are taken in; else NULL */
  /* Answer to the last hr_core_ask. */
  hotrow_status answer_status;
  uint8_t *answer; /* owned, grows */
  size_t answer_size, answer_capacity;
  uint64_t bytes_received[HR_BYTES_COUNT];
  hotrow_client_stats stats; /* what tables and links do not count themselves */
};

hotrow_status hr_core_create(const hr_core_options *options, hr_core **core_p);
void hr_core_destroy(hr_core *core);

/* Feeds a message from a shard, or the time. */
void hr_core_receive(hr_core *core, uint32_t shard, const hr_frame *frames, size_t frame_count, uint64_t now_ns);
void hr_core_tick(hr_core *core, uint64_t now_ns);
/* The same between calls: it also asks shards for pushes that they may have lost. */
void hr_core_tend(hr_core *core, uint64_t now_ns);
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

/* Asks every shard the same; the first failure counts, and of the answers the last to come is kept. */
hotrow_status hr_core_ask_all_begin(hr_core *core, hr_op op, const void *body, size_t body_size, uint64_t now_ns);

/* Adds a table that all shards have; ids[shard_count] is copied. */
hotrow_status hr_core_add_table(hr_core *core, const hr_table_desc *desc, const uint32_t *ids,
                                const hotrow_table_options *options, hotrow_table **table_p);

/* May a push be submitted to every shard now? Else feed messages until it may. */
bool hr_core_can_push(const hr_core *core);
/* Has every push been answered, and, after hr_core_flush_begin, is all of it durable where shards are? */
bool hr_core_pushes_done(const hr_core *core);
/* What must be over before rows are looked up: answers that bring rows of the next batch, and shards that owe the news
 * of more than HR_LINK_TICKS_MAX steps. */
bool hr_core_is_fetching(const hr_core *core);
bool hr_core_is_behind(const hr_core *core);

/* Would hr_core_lookup_begin take these requests? Changes nothing. */
hotrow_status hr_core_lookup_check(hr_core *core, const hotrow_lookup_request *requests, size_t request_count);
/* Needs hr_core_can_push and neither of the two above. If it fails, the pushes that were to travel with it stay
 * drafted. Of rows on a GPU it only queues the work: what is missing is asked for by hr_core_lookup_settle. */
hotrow_status hr_core_lookup_begin(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                                   uint64_t now_ns);
/* Everything is answered: have the answers made rows of this lookup stale that it did not ask for? They are asked for,
 * and *is_settled_p is false: wait again. Of rows on a GPU the first of these waits until the device has said what it
 * holds. If it fails, the lookup is to be given up. */
hotrow_status hr_core_lookup_settle(hr_core *core, uint64_t now_ns, bool *is_settled_p);
/* HOTROW_ERR_DEVICE, HOTROW_ERR_NO_MEMORY; with rows in host memory it cannot fail. */
hotrow_status hr_core_lookup_finish(hr_core *core);
/* The lookup is given up: its memory is the caller's again. */
void hr_core_lookup_abandon(hr_core *core);

hotrow_status hr_core_push(hr_core *core, const hotrow_push_request *requests, size_t request_count);
/* Ends the step; needs hr_core_can_push. is_fused: what it has to say waits for hr_core_lookup_begin, which must
 * follow. */
hotrow_status hr_core_step(hr_core *core, bool is_fused, uint64_t now_ns);
/* Hands every pending gradient to the shards; then feed messages until hr_core_pushes_done. */
hotrow_status hr_core_flush_begin(hr_core *core, uint64_t now_ns);

/* Takes the next batch into the windows of its tables, and asks for what is due. */
hotrow_status hr_core_lookahead(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                                uint64_t now_ns);

void hr_core_get_stats(const hr_core *core, hotrow_client_stats *stats_p);

/* Between the core's files. */

/* core.c */
/* From here on answers to the call before change nothing: it is over, or was given up. */
void hr_core_begin_call(hr_core *core);
void hr_core_fail(hr_core *core, hotrow_status status, const char *text, size_t text_size);
/* How many rows are asked for, or pushed, by one message: as many as fill part_bytes, and if those would be fewer than
 * parts_wanted messages, down to half as many. Many go in parts, so that one is on its way while the shard
 * is at the one before and the next is seen to here, each while it is in the caches. Not so in exact steps, which have
 * one push and one pull each, nor where rows are kept here: those that one answer says are fresh enough might not be at
 * the moment of the next one; and announcements, which every answer would repeat. */
uint32_t hr_core_part_rows(const hr_core *core, size_t row_bytes, uint32_t row_count, uint32_t parts_wanted,
                           uint32_t parts_max);

/* core_table.c */
/* Can the arrays of a request lie there? what: "lookup in", "push to". */
hotrow_status hr_core_check_memory(const hr_core *core, const hotrow_table *table, hotrow_device memory,
                                   const char *what);
void hr_core_destroy_table(hotrow_table *table);
hotrow_status hr_core_dedup(hr_core *core, hotrow_table *table, hr_workspace *workspace, const uint64_t *keys,
                            size_t key_count);
/* The same, but in any order, without hashes, if nobody needs either: no cache, one shard. Then each part_rows of them
 * are asked for as soon as they are found, but for the last ones; UINT32_MAX: nothing is asked for. */
hotrow_status hr_core_dedup_in_order(hr_core *core, hotrow_table *table, hr_workspace *workspace, const uint64_t *keys,
                                     size_t key_count, uint32_t part_rows);
/* Replaces *memory_p by zeroed room for count elements. */
hotrow_status hr_core_renew(void **memory_p, size_t count, size_t element_size);

/* core_draft.c */
/* The shard's draft. */
hotrow_status hr_core_draft(hr_core *core, uint32_t shard, hr_request **request_p);
/* Sends every draft, or none: HOTROW_ERR_LIMIT if one, or the answer to it, is over the size of a message. Pushes carry
 * push_flags, pulls without pushes pull_flags. */
hotrow_status hr_core_submit_drafts(hr_core *core, uint32_t push_flags, uint32_t pull_flags, bool is_waited_for);
/* Sends one shard's draft, which has pulls of the call in hand. */
hotrow_status hr_core_submit_draft(hr_core *core, uint32_t shard, uint32_t pull_flags);
/* Takes the pulls of the call in hand back out of the drafts; pushes stay. */
void hr_core_drop_pulls(hr_core *core);
/* Drafts pushes of these rows, of the table's if the list says whose they are; the rows of a coming batch among them
 * that are on their way will not be taken. */
hotrow_status hr_core_draft_list(hr_core *core, hotrow_table *table, const hotrow_cache_push_list *list);
/* Hands over what hr_core_stage_direct has made; the last message of a shard is its draft. */
hotrow_status hr_core_draft_direct(hr_core *core, hotrow_table *table);
/* hr_core_draft_list for what a table's cache has handed out, of all tables that share it. */
hotrow_status hr_core_draft_pushes(hr_core *core, hotrow_table *table);
/* Sends evicted rows on their way before a pull may ask for them again; fused into the drafts unless steps are exact.
 */
hotrow_status hr_core_draft_evicted(hr_core *core);

/* core_push.c, core_direct.c */
/* The gradients of one push: `request` of `table`. */
typedef struct hr_grads {
  hotrow_table *table;
  const hotrow_push_request *request;
  const hr_workspace *workspace; /* its distinct keys */
} hr_grads;

/* sums[] of distinct keys first .. first + count - 1. HOTROW_ERR_INVALID: one is not finite, and its key is named */
hotrow_status hr_core_sum_grads(const hotrow_kernels *kernels, const hr_grads *grads, uint32_t first, uint32_t count,
                                float *sums);
/* Is this the step's first push of a table whose rows are updated by nobody here? Then it is summed up in the messages
 * that it will go out in. */
bool hr_core_may_push_directly(const hotrow_table *table);
hotrow_status hr_core_stage_direct(hr_core *core, const hr_grads *grads);
/* Takes the rows out again, into keys and grads, as there are more of this step. */
void hr_core_unstage_direct(hr_core *core, hotrow_table *table, uint64_t *keys, float *grads);
void hr_core_drop_direct(hr_core *core, hotrow_table *table);

/* core_lookup.c */
hotrow_status hr_core_grow_lookup(hotrow_table *table);
/* Takes the batch in hand if these distinct keys are those that were handed over next; else NULL, and what was handed
 * over is forgotten. */
hr_lookahead_batch *hr_core_take_batch(hr_core *core, hotrow_table *table, const uint64_t *keys, uint32_t count);
/* When the batch's keys are needed next, into next_use[count]. */
void hr_core_set_next_use(hotrow_table *table, const hr_lookahead_batch *batch, uint32_t count);

/* core_pull.c */
/* The end of the slice of ascending hashes that begins at `from` and belongs to `shard`. */
uint32_t hr_core_slice_end(const hr_core *core, const uint64_t *hashes, uint32_t count, uint32_t from, uint32_t shard);
/* Position of a hash among ascending ones, or count. */
uint32_t hr_core_find_hash(const uint64_t *hashes, uint32_t count, uint64_t hash);
/* Drafts the pulls of those distinct keys whose ask is not HOTROW_ROW_FRESH, of every shard. batch NULL: for the call
 * in hand; else for that batch of the table's window. */
hotrow_status hr_core_draft_pulls(hr_core *core, hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                  uint32_t count, const uint8_t *asks, const uint32_t *seen, const uint64_t *batch);
/* How many rows of a lookup of so many keys one message asks for. */
uint32_t hr_core_pull_rows(const hr_core *core, const hotrow_table *table, size_t key_count);
/* Sends the pull of the next `count` distinct keys of a table without a cache, while further ones are looked for. One
 * shard. */
hotrow_status hr_core_ask_found(hr_core *core, hotrow_table *table, uint32_t count);
/* Nothing that was asked for the call in hand so far is waited for: it is to be asked again. */
void hr_core_ask_anew(hr_core *core);
/* Does the reply answer the request's pull sections, section by section? Else the link is broken. */
bool hr_core_check_pull_reply(hr_core *core, uint32_t shard, const hr_request *request, const hr_message *reply);
/* The lookup in hand that has the rows of this table as they are and not from its cache: answers go to its `out`. NULL
 * if there is none. */
const hotrow_lookup_request *hr_core_direct_lookup(const hr_core *core, const hotrow_table *table);
/* Rows into the cache, or straight to the caller. */
void hr_core_take_rows(hr_core *core, const hr_request *request, const hr_message *reply);

/* core_announce.c */
/* What a data reply says beside its rows: own pushes that are applied, then rows that have moved on. request: the one
 * that it answers. */
void hr_core_take_news(hr_core *core, uint32_t shard, hr_request *request, const hr_message *reply);
/* Every copy of the shard's rows is stale. */
void hr_core_forget_clocks(hr_core *core, uint32_t shard, bool is_restart);
/* Ticks to the shards that were told nothing since the step ended. */
hotrow_status hr_core_tell_ticks(hr_core *core);

/* core_ahead.c */
/* Drafts what is due of coming batches. */
hotrow_status hr_core_draft_ahead(hr_core *core);
/* Sends what is due of coming batches, in messages of its own. */
hotrow_status hr_core_fetch_ahead(hr_core *core);
/* The request was sent, or answered. */
void hr_core_count_ahead(hr_core *core, const hr_request *request, bool is_sent);
/* Number in the cache of a batch of the window; HOTROW_BATCH_NONE if it is over. */
uint32_t hr_core_cache_batch(const hotrow_table *table, uint64_t number);

/* core_stats.c */
void hr_core_observe(const hr_core *core, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                     const uint32_t *numbers, size_t count);

#endif
