/* Hotrow client: embedding lookup and gradient push for training and serving.
 *
 * A training step:
 *   hotrow_lookup(...)   read the rows of the batch (cache first, then the shards)
 *   ... forward, backward ...
 *   hotrow_push(...)     hand in the gradients; several calls in one step are summed
 *   hotrow_step(...)     end the step: own rows are updated, pushes that are due leave for the shards
 *
 * Staleness (see the README for the contract): a table's pull_bound says how many updates of other workers a cached row
 * may lack when it is read, push_bound how many own steps a row may keep back. Both 0 is exact synchronous training:
 * then every rank of the job must call hotrow_step the same number of times, and a lookup waits until the shards have
 * applied the last step of all ranks, in rank order. Two modes uphold the pull bound: in announce mode (the default
 * where a bound is not 0) shards tell which rows have moved on and hits cost nothing; in probe mode every lookup asks
 * for the clocks of its hits.
 *
 * A shard that keeps its rows (a server with a data directory) may be restarted: pushes are kept until they are durable
 * there, and sent again.
 *
 * Every call that talks to a shard returns by its deadline (timeout_ms; 0 means the client's). A client and its tables
 * belong to one thread at a time. Pointers passed in are read or written before the call returns and not kept.
 * Any call on a client may also return
 *   HOTROW_ERR_TIMED_OUT     the shard named in the sentence did not answer in time
 *   HOTROW_ERR_RESET         the shard named lost its rows (it was restarted): start again from a save
 *   HOTROW_ERR_FENCED        a newer process has taken this rank: stop
 *   HOTROW_ERR_PROTOCOL      the shard named sent what it must not
 *   HOTROW_ERR_NO_MEMORY
 * After RESET, FENCED or PROTOCOL every later call on the client returns the same status. */
#ifndef HOTROW_H
#define HOTROW_H

#include <hotrow/base.h>
#include <hotrow/cache.h>
#include <hotrow/transport.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_SHARDS_MAX 1024u
#define HOTROW_WORLD_MAX 4096u
#define HOTROW_REQUESTS_MAX 16u           /* lookups or pushes in one call, tables of one client */
#define HOTROW_LOOKUP_KEYS_MAX (1u << 22) /* keys of one request */
#define HOTROW_BLOB_BYTES_MAX 4096u

typedef struct hotrow_client hotrow_client;
typedef struct hotrow_table hotrow_table;

/* What a client did, for measurements and checks of histories: called on the client's thread from within its calls,
 * with keys of one table; must not call the client. numbers: see each event. */
typedef enum hotrow_event {
  HOTROW_EVENT_HIT = 0,   /* copies are about to be read; numbers NULL */
  HOTROW_EVENT_MISS = 1,  /* rows came that were not held; numbers are their clocks */
  HOTROW_EVENT_STALE = 2, /* rows came that were held and too old; numbers are their clocks */
  HOTROW_EVENT_PUSH = 3   /* rows were handed to the stream; numbers are their steps */
} hotrow_event;

typedef void (*hotrow_observe_fn)(void *context, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                                  const uint32_t *numbers, size_t count);

typedef struct hotrow_client_options {
  size_t struct_size;
  const char *shards; /* endpoints, comma-separated, in shard order: "tcp://127.0.0.1:7117,tcp://127.0.0.1:7118" */
  uint64_t job;       /* ranks, barriers and exact steps belong to a job; all its workers name the same number */
  uint32_t rank;
  uint32_t world_size; /* 0 means 1 */
  uint32_t timeout_ms; /* the deadline of calls that give none; 0 means 10000 */
  uint32_t read_only;  /* 1: serving. Lookups create no rows and may fill hit masks; pushes are refused */
  /* Where copies of rows are kept and row math is done. HOTROW_CUDA: in the memory of the GPU that is current when the
   * client is opened; of what crosses the bus, only rows that are missing or too old and pushes that are due. */
  hotrow_device device;
  uint32_t reserved;         /* 0 */
  hotrow_observe_fn observe; /* NULL: nobody */
  void *observe_context;
  const hotrow_transport *transport; /* copied; NULL: ZeroMQ to `shards` (with one, they are only names) */
  /* Distinct keys that one lookup may have: each table has room for the rows of so many beside its cache, and tables
   * that share a cache have it together, for what one call looks up in them. In host
   * memory that costs nothing until it is used, on a GPU it is taken. 0: HOTROW_LOOKUP_KEYS_MAX, on a GPU 2^20. */
  uint64_t lookup_keys_max;
} hotrow_client_options;
#define HOTROW_CLIENT_OPTIONS_INIT HOTROW_INIT(hotrow_client_options)

/* Connects to every shard and greets it.
 *   HOTROW_ERR_INVALID (options), HOTROW_ERR_TIMED_OUT (nobody answers), HOTROW_ERR_VERSION */
HOTROW_API hotrow_status hotrow_client_open(const hotrow_client_options *options, hotrow_client **client_p);

/* Says goodbye and frees the client and its tables. Accepts NULL. Pending gradients are lost: flush first. */
HOTROW_API void hotrow_client_close(hotrow_client *client);

typedef enum hotrow_mode {
  HOTROW_MODE_DEFAULT = 0, /* announce; probe where both bounds are 0, where nothing is cached, and where the table was
                            * created with an announce_step that does not go with the pull bound */
  HOTROW_MODE_PROBE = 1,   /* every lookup asks for the clocks of the copies it uses */
  HOTROW_MODE_ANNOUNCE = 2 /* shards announce the rows whose clock has moved on */
} hotrow_mode;

/* Clocks tick, and bounds count, once per occurrence of the key in a batch and not once per step (HET's code): hot
 * rows, which occur often in a batch, are then kept as fresh as the others by what they lack of the job's samples. Of
 * all workers of a table, or of none: who says otherwise than those that created it is refused. Not with momentum, Adam
 * and its kin, LAMB: these take the k steps of a push one by one. */
#define HOTROW_TABLE_COUNT_OCCURRENCES 1u
#define HOTROW_TABLE_WIDE_CLOCKS 2u /* clocks travel in 8 bytes, a probe for missing keys too (HET's messages) */

typedef struct hotrow_table_options {
  size_t struct_size;
  const char *name;
  uint64_t seed; /* of the initial values */
  /* What the shards keep (ignored by open). */
  hotrow_optimizer optimizer;
  hotrow_initializer initializer;
  uint32_t dim; /* 1 .. HOTROW_DIM_MAX */
  /* What this worker does. */
  hotrow_cache_policy policy;
  uint64_t cache_row_count; /* 0: no cache, every lookup pulls and every step pushes. Read-only clients: 0 */
  uint32_t pull_bound;
  uint32_t push_bound;
  /* The row in pieces with their own optimizer and initializer; `optimizer` and `initializer` are then ignored, and dim
   * is 0 or the sum of theirs. Borrowed during the call. */
  const hotrow_segment *segments;
  uint32_t segment_count; /* 0: one segment of dim */
  hotrow_mode mode;
  /* A row is announced when its clock has moved on by so much: 1 .. pull_bound + 1. 0 means max(1, pull_bound/4), or
   * never if the mode is probe. Of all that create the table the smallest counts; open takes what the shards have. */
  uint32_t announce_step;
  hotrow_dtype wire_dtype; /* of values pulled and of gradients that the push bound sends; HOTROW_F32 */
  uint32_t flags;          /* HOTROW_TABLE_... */
  uint32_t reserved;       /* 0 */
  /* Which keys get a row (ignored by open, as all that follows). Until a key has one, lookups give what its row would
   * begin with, nothing is cached, and what is pushed to it is dropped, and counted by the shard. Each push of the key
   * to its shard counts. At most one of these two: */
  uint32_t admit_count;    /* with its admit_count-th push; at most 65535. 0 or 1: with the first, or when looked up */
  float admit_probability; /* with each push, so probable; drawn from seed and key, the same for every number of shards.
                            * 0: always */
  /* Which rows go for good. Their next use finds the row as it begins. Needs mode announce, or no cache. */
  uint32_t steps_to_live;    /* rows that were not pushed to in so many steps of training; 0: none */
  float l2_weight_threshold; /* of these only those whose value's norm is below it; 0: all */
  uint64_t row_count_max;    /* rows that all shards together may hold: those used least make room for new ones. Each
                              * shard has the same part of them. Not with both bounds 0. 0: no limit */
  hotrow_eviction eviction;  /* with row_count_max: what least used means */
  /* How the shards keep values in memory (ignored by open): HOTROW_F32, HOTROW_F16 or HOTROW_BF16, which take half of
   * the room. Optimizer states are floats always. First values are rounded to nearest; what a push makes of a value is
   * rounded to a neighbour by chance, so that small steps are there in the mean; the same pushes in the same order give
   * the same bits. What is beyond 65504 (F16) becomes that. */
  hotrow_dtype storage_dtype;
  /* Another table of this client, in whose cache this one's rows are kept: the cache's memory goes to the rows that are
   * hot, whichever table they are of. cache_row_count is then 0, policy that table's or 0, and the rows of both have
   * the same dim and the same optimizer states; bounds, mode and all else are each table's own, but push_bound must be
   * 0 if that table's is. NULL: a cache of its own, or none. */
  hotrow_table *cache_of;
} hotrow_table_options;
#define HOTROW_TABLE_OPTIONS_INIT HOTROW_INIT(hotrow_table_options)

typedef enum hotrow_preset {
  HOTROW_PRESET_EXACT = 0, /* both bounds 0, float32 */
  /* announce, W-TinyLFU, int8 on the wire; pull bound 150, push bound 70, announce step 71, counting occurrences. With
   * an optimizer that takes steps one by one: 10, 3 and 4, counting steps. */
  HOTROW_PRESET_BOUNDED = 1,
  HOTROW_PRESET_HET_COMPAT = 2 /* probe, both bounds 100, LightLFU, both flags, float32: what HET's own code does */
} hotrow_preset;

/* Sets mode, bounds, announce_step, policy, wire_dtype and flags, and nothing else; looks at the optimizer and the
 * segments, which are to be set before. An unknown preset is taken for
 * HOTROW_PRESET_EXACT. */
HOTROW_API void hotrow_table_options_preset(hotrow_table_options *options, hotrow_preset preset);

/* Creates the table on all shards, or joins it if it is there with the same options. *table_p belongs to the client.
 * A job is exact or not from its first step on: the first table with both bounds 0 comes before the first hotrow_step.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_EXISTS (other options: the sentence names the first that differs), HOTROW_ERR_LIMIT
 */
HOTROW_API hotrow_status hotrow_table_create(hotrow_client *client, const hotrow_table_options *options,
                                             hotrow_table **table_p);

/* Opens a table that is there; dim, optimizer, initializer, storage dtype and seed come from the shards.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_NOT_FOUND */
HOTROW_API hotrow_status hotrow_table_open(hotrow_client *client, const hotrow_table_options *options,
                                           hotrow_table **table_p);

HOTROW_API uint32_t hotrow_table_dim(const hotrow_table *table);
HOTROW_API const char *hotrow_table_name(const hotrow_table *table);

/* A factor on the learning rate of every segment, for pushes that leave from the next hotrow_step on (1 at first). It
 * travels with the pushes, so each worker sets its own; steps kept back are applied with the factor in force when they
 * leave. In exact jobs all ranks set the same at the same step. HOTROW_ERR_INVALID (negative, or not finite) */
HOTROW_API hotrow_status hotrow_table_set_lr_scale(hotrow_table *table, float lr_scale);

/* One table's part of a lookup.
 *   POOL_NONE   out[i] = row of keys[i], for i < key_count
 *   POOL_SUM    out[b] = sum over i in [offsets[b], offsets[b+1]) of weights[i] * row of keys[i], for b < bag_count
 *   POOL_MEAN   the same, divided by the number of keys in the bag (0 for an empty bag)
 *   POOL_SQRTN  the same, divided by the square root of that number
 * Rows of out are out_stride floats apart (0 means dim). Duplicate keys are legal; every key value is. */
typedef struct hotrow_lookup_request {
  size_t struct_size;
  hotrow_table *table;
  const uint64_t *keys; /* [key_count] */
  size_t key_count;
  const uint32_t *offsets; /* [bag_count + 1], from 0 to key_count, not falling; NULL with POOL_NONE */
  size_t bag_count;
  const float *weights; /* [key_count] or NULL; not with POOL_NONE */
  float *out;
  size_t out_stride;
  uint8_t *hit_mask; /* read-only clients: bit i (LSB first) is 1 if keys[i] exists; [(key_count+7)/8] or NULL */
  hotrow_pooling pooling;
  uint32_t timeout_ms; /* read from the first request of a call; 0: the client's */
  /* Where every array of the request lies: HOTROW_CPU, or, of a client on the GPU, HOTROW_CUDA. It is never guessed. */
  hotrow_device memory;
  uint32_t reserved; /* 0 */
  /* With HOTROW_CUDA: the stream (a cudaStream_t) on which the arrays are written before and read after. The call's
   * work is done behind what is queued there, and what is queued there later is done behind the call's. The call may
   * return before `out` is written; arrays must stay as they are until the stream has got there. Offsets there are the
   * caller's promise, and not looked at. NULL: the default stream. */
  void *stream;
} hotrow_lookup_request;
#define HOTROW_LOOKUP_REQUEST_INIT HOTROW_INIT(hotrow_lookup_request)

/* Looks up several tables at once, one message per shard. A table may stand in one request of a call only: the keys of
 * several features that share a table go into one request.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_LIMIT */
HOTROW_API hotrow_status hotrow_lookup(hotrow_client *client, const hotrow_lookup_request *requests,
                                       size_t request_count);

/* Gradients of one table: per key (POOL_NONE: grads[i] for keys[i]) or per bag (grads[b] is the gradient of out[b] of
 * the lookup with the same keys, offsets and weights). Rows of grads are grad_stride floats apart (0 means dim).
 * keys NULL: those of the lookup in the table before this, so many as it had, without a look at them; offsets and
 * weights are given again. memory and stream: as of a lookup; the call may return before the arrays are read. */
typedef struct hotrow_push_request {
  size_t struct_size;
  hotrow_table *table;
  const uint64_t *keys;
  size_t key_count;
  const uint32_t *offsets;
  size_t bag_count;
  const float *weights;
  const float *grads;
  size_t grad_stride;
  hotrow_pooling pooling;
  hotrow_device memory;
  void *stream;
} hotrow_push_request;
#define HOTROW_PUSH_REQUEST_INIT HOTROW_INIT(hotrow_push_request)

/* Adds gradients to the current step. Nothing is sent and no row changes before hotrow_step. Does not wait for shards,
 * nor, with keys NULL, for a device.
 *   HOTROW_ERR_INVALID (also: a gradient that is NaN or infinite; its key is named. Gradients in a device's memory are
 *                      looked at by hotrow_step), HOTROW_ERR_LIMIT */
HOTROW_API hotrow_status hotrow_push(hotrow_client *client, const hotrow_push_request *requests, size_t request_count);

/* Ends the step: the gradients of each key, summed, are one update; own rows change at once, rows past their push bound
 * are sent. Does not wait for the shards, unless 64 pushes are unanswered.
 *   HOTROW_ERR_INVALID  a gradient in a device's memory is NaN or infinite; its key is named. The step has not ended:
 *                       nothing of it was applied or sent, in any table, and all its gradients are forgotten */
HOTROW_API hotrow_status hotrow_step(hotrow_client *client, uint32_t timeout_ms);

/* hotrow_step and then hotrow_lookup, in one message and one round trip per shard. A step that fails looks nothing up.
 */
HOTROW_API hotrow_status hotrow_step_lookup(hotrow_client *client, const hotrow_lookup_request *requests,
                                            size_t request_count);

/* Look-ahead: hands over the keys of the next batch that has not been handed over yet (only table, keys and key_count
 * are read, and copied). hotrow_lookup then takes the batches of a table in the same order; one whose keys (the set of
 * them) are others than those handed over is served, and what was handed over for its table is forgotten.
 * Missing rows of the next HOTROW_FETCH_AHEAD batches are asked for when hotrow_step sends its messages, or at once if
 * they are due already; rows needed in the window stay in the cache until then. Tables without a cache are passed over.
 * Does not wait.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_LIMIT (HOTROW_LOOKAHEAD_MAX batches are handed over already) */
#define HOTROW_LOOKAHEAD_MAX 256u
#define HOTROW_FETCH_AHEAD 2u
HOTROW_API hotrow_status hotrow_lookahead(hotrow_client *client, const hotrow_lookup_request *requests,
                                          size_t request_count);

/* Sends every pending gradient and waits until all shards have applied all pushes of this client. Between steps only
 * (after hotrow_step, before the next hotrow_push). */
HOTROW_API hotrow_status hotrow_flush(hotrow_client *client, uint32_t timeout_ms);

/* Takes in what shards have said, sends again what a shard that was restarted has lost, and asks for it if nobody has
 * said anything; waits for nothing. For a thread that waits long for something else than a shard, such as another rank,
 * which may in turn wait for a shard that waits for what this client sent: now and then, between two calls. What goes
 * wrong is returned by the next call. */
HOTROW_API void hotrow_tend(hotrow_client *client);

/* Waits until all ranks of the job have called it. Does not flush. */
HOTROW_API hotrow_status hotrow_barrier(hotrow_client *client, uint32_t timeout_ms);

/* Rendezvous: small blobs by name, kept by the first shard until it ends. Names as table names; prefixed by the job.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_LIMIT (size), get: HOTROW_ERR_TIMED_OUT if nobody put it in time */
HOTROW_API hotrow_status hotrow_blob_put(hotrow_client *client, const char *name, const void *bytes, size_t size,
                                         uint32_t timeout_ms);
HOTROW_API hotrow_status hotrow_blob_get(hotrow_client *client, const char *name, void *bytes, size_t capacity,
                                         size_t *size_p, uint32_t timeout_ms);

/* Has every shard write its part of save `name` under its save directory (servers are started with one), one after the
 * other. Flush all workers first (hotrow_flush, hotrow_barrier), one rank saves. Shards with a data directory serve
 * others meanwhile, and what these push then is not in it; others write it at once.
 *   HOTROW_ERR_INVALID (name), HOTROW_ERR_UNSUPPORTED (no save directory), HOTROW_ERR_STORAGE */
HOTROW_API hotrow_status hotrow_save(hotrow_client *client, const char *name, uint32_t timeout_ms);

/* Checkpoints. A checkpoint holds the tables of all shards (values, state, clocks) and a blob of the job, of one
 * moment, under one name; it is whole or it is not there, and loads at any number of shards (hotrow serve --load).
 * Shards write it under their save directory, which is one directory for all of them.
 *
 * hotrow_checkpoint_begin() is called by all ranks after the same hotrow_step, between steps. It flushes, waits for the
 * other ranks, and returns on all of them once the shards have copied their rows: so what all ranks pushed up to this
 * step is in, pending gradients too, and nothing later. Of a job with bounds a step is that point of its ranks, which
 * see each other's updates at different times; of an exact job it is the same step everywhere. Then training goes on
 * while the shards bring the copy to disk; rank 0 calls hotrow_checkpoint_poll() now and then, or
 * hotrow_checkpoint_finish(), and with that the checkpoint gets its name. Until then it does not exist. One at a time:
 * one that was begun before and has no name yet is dropped. */
#define HOTROW_CHECKPOINT_BLOB_MAX (1u << 30)
#define HOTROW_CHECKPOINT_KEEP_MAX 1000000u

/* Only this client calls, and no other rank is waited for: the caller has seen to it that all ranks have flushed and
 * push nothing until this returns. */
#define HOTROW_CHECKPOINT_ALONE 1u
/* The same, and the caller has not: each shard copies its rows when it is asked. It is marked as being of no one step.
 */
#define HOTROW_CHECKPOINT_LIVE 2u

typedef struct hotrow_checkpoint_options {
  size_t struct_size;
  const char *name; /* as table names. "<series>-<digits>" makes it one of a series. One of this name is replaced */
  const void *blob; /* rank 0's: whatever the job needs to go on; copied */
  size_t blob_size; /* up to HOTROW_CHECKPOINT_BLOB_MAX */
  uint64_t step;    /* the job's own count, for people and for the job that resumes */
  uint32_t keep;    /* so many checkpoints of the series stay, this one included: the last made; 0: all */
  uint32_t flags;   /* HOTROW_CHECKPOINT_... */
  uint32_t timeout_ms;
  uint32_t reserved; /* 0 */
} hotrow_checkpoint_options;
#define HOTROW_CHECKPOINT_OPTIONS_INIT HOTROW_INIT(hotrow_checkpoint_options)

/* Ranks but the first use timeout_ms, flags and nothing else of the options; all give the same flags. After a failure
 * there is no checkpoint, and training may go on.
 *   HOTROW_ERR_INVALID      options; a read-only client
 *   HOTROW_ERR_UNSUPPORTED  a shard has no save directory
 *   HOTROW_ERR_STORAGE      a shard cannot write; its sentence
 *   HOTROW_ERR_BUSY         a shard still wrote another one when the time was over
 *   HOTROW_ERR_TIMED_OUT    also: not all ranks came */
HOTROW_API hotrow_status hotrow_checkpoint_begin(hotrow_client *client, const hotrow_checkpoint_options *options);

/* Rank 0, between steps: takes the checkpoint that was begun a little further, at the cost of a round trip at most
 * every 20 ms; *is_published_p says whether it has its name now. Without one begun: true.
 *   HOTROW_ERR_NOT_FOUND    a shard was restarted meanwhile, or its part is not in the save directory of the first
 *   HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE
 * After a failure there is no checkpoint. */
HOTROW_API hotrow_status hotrow_checkpoint_poll(hotrow_client *client, bool *is_published_p);

/* The same until it has its name. HOTROW_ERR_TIMED_OUT: it may be called again. */
HOTROW_API hotrow_status hotrow_checkpoint_finish(hotrow_client *client, uint32_t timeout_ms);

/* hotrow_checkpoint_begin() and, on rank 0 (or alone), hotrow_checkpoint_finish(). */
HOTROW_API hotrow_status hotrow_checkpoint(hotrow_client *client, const hotrow_checkpoint_options *options);

/* The blob and the step of the checkpoint that all shards were started from. For all ranks, before the first push of
 * any: have them wait for each other after it. Free *blob_p (NULL if blob_size is 0) with free().
 *   HOTROW_ERR_NOT_FOUND  shards were not started from a checkpoint, or have taken pushes since
 *   HOTROW_ERR_INVALID    they were started from different ones */
HOTROW_API hotrow_status hotrow_checkpoint_restored(hotrow_client *client, void **blob_p, size_t *blob_size_p,
                                                    uint64_t *step_p, uint32_t timeout_ms);

/* JSON text of a shard's counters: one object. Free with free(). HOTROW_ERR_INVALID (no such shard) */
HOTROW_API hotrow_status hotrow_shard_stats(hotrow_client *client, uint32_t shard, uint32_t timeout_ms, char **json_p);

#define HOTROW_UNSEEN_BUCKETS 32u /* bucket 0: lacks nothing; bucket b: lacks 2^(b-1) .. 2^b - 1 updates of others */

/* Bytes are those of the frames as encoded. By purpose: bytes_miss + bytes_stale + bytes_probe + bytes_push +
 * bytes_announce + bytes_overhead = bytes_sent + bytes_received; what is sent again counts again. */
typedef struct hotrow_client_stats {
  uint64_t steps;
  uint64_t bytes_sent; /* all shards */
  uint64_t bytes_received;
  uint64_t bytes_pull; /* bytes_miss + bytes_stale + bytes_probe */
  uint64_t bytes_push; /* rows pushed */
  uint64_t requests;   /* messages sent, resends included */
  uint64_t resends;
  uint64_t keys;        /* looked up, duplicates included */
  uint64_t unique_keys; /* after deduplication */
  uint64_t hits;        /* distinct keys served from the cache */
  uint64_t stale;       /* distinct keys held and too old */
  uint64_t misses;
  uint64_t prefetched; /* rows that came by look-ahead */
  uint64_t rows_pushed;
  uint64_t unseen_max;  /* largest number of others' updates that a used copy may have lacked (announce mode: an upper
                         * bound): never above pull_bound */
  uint64_t unseen_sum;  /* over all hits */
  uint64_t pending_max; /* largest number of own steps kept back after a step: never above push_bound */
  uint64_t bytes_miss;  /* keys and rows that were not held */
  uint64_t bytes_stale; /* keys and rows that were held and too old; probe mode: the rows */
  uint64_t bytes_announce;
  uint64_t bytes_probe;       /* keys and clocks of held rows that were asked about */
  uint64_t bytes_overhead;    /* headers, section tables, all other operations */
  uint64_t announcements;     /* rows that shards have told of */
  uint64_t resets;            /* all copies of a shard's rows became stale: its log had moved on, or it was restarted */
  uint64_t ticks;             /* messages to shards that a step had nothing for */
  uint64_t lookahead_hits;    /* distinct keys found that a look-ahead had asked for */
  uint64_t lookahead_dropped; /* batches handed over and forgotten because others were looked up */
  uint64_t stall_ns;          /* that lookups waited for the network */
  uint64_t unseen_counts[HOTROW_UNSEEN_BUCKETS]; /* of hits; probe mode with HOTROW_TABLE_WIDE_CLOCKS: none */
} hotrow_client_stats;

/* Counters since the client was opened. Does not talk to shards. Any time. */
HOTROW_API void hotrow_client_get_stats(const hotrow_client *client, hotrow_client_stats *stats_p);

/* The same of one table; what is sent again is not counted again. */
typedef struct hotrow_table_stats {
  size_t struct_size;
  uint64_t keys, unique_keys, hits, stale, misses, fetched_ahead;
  uint64_t rows_pushed, evicted_clean, evicted_dirty;
  uint64_t bytes_miss, bytes_stale, bytes_push, bytes_announce, bytes_probe;
  uint64_t unseen_sum, unseen_max, pending_max;
  uint64_t row_count; /* held now */
  uint64_t unseen_counts[HOTROW_UNSEEN_BUCKETS];
} hotrow_table_stats;
#define HOTROW_TABLE_STATS_INIT HOTROW_INIT(hotrow_table_stats)

/* struct_size is the caller's; as much as fits is filled in. */
HOTROW_API void hotrow_table_get_stats(const hotrow_table *table, hotrow_table_stats *stats_p);

#ifdef __cplusplus
}
#endif
#endif
