/* Hot rows of one table on one device, under bounded staleness. No network: the caller (the worker) pulls what the
 * cache lacks and pushes what it hands out. One thread at a time. All memory is taken by create. Caches of tables whose
 * rows have one shape can share their memory (options.shares), so that it goes to the rows that are hot, whichever
 * table they are of.
 *
 * A step, as the worker drives it (keys are distinct, with their hashes, as dedup gives them):
 *   hotrow_cache_begin_batch     once per training step: the number that pins rows
 *   hotrow_cache_lookup          slot and state of each key: fresh rows are read, others are pulled or asked about
 *   hotrow_cache_plan_start      those that are not, compacted, for the host (where the arrays are a device's)
 *   hotrow_cache_refresh         the shard's answer for held rows that may not be read as they are
 *   hotrow_cache_insert          the shard's answer for missing rows; dirty victims are handed out, never dropped
 *   hotrow_cache_rows            base of the row array: gather and pool read rows by slot
 *   hotrow_cache_update          own gradients of the step; rows over the push bound are handed out
 * Slots stay valid until the next hotrow_cache_begin_batch.
 *
 * On a device (kernels of another device than the CPU) all arrays that a call takes or gives are in the device's
 * memory, hotrow_cache_rows and the push list's too (a plan's are the host's), and a call queues its work on
 * options.stream and returns: arrays must stay as they are until the stream has passed. What the host needs to know
 * comes by hotrow_cache_plan_wait, hotrow_cache_take_pushes and hotrow_cache_get_stats, which wait for the stream.
 * insert, stage and update wait for it only where they might have to refuse: the host keeps bounds of what is in use,
 * and so long as a batch asks for no more than staging_row_count rows, and pushes are taken before two batches' keys
 * (four with a narrow wire_dtype and a push bound) could fill the push list, it never comes to that. What fails on the
 * device is logged and reported by the next call that waits. Results are those of the CPU, bit for bit, slots and the
 * order of the push list included. Keys of insert should come in ascending order of their hashes, as dedup gives them:
 * others are decided one after the other.
 *
 * Where a call takes key_count_p besides key_count, it may be NULL; else *key_count_p, beside the other arrays, is how
 * many keys there are, and key_count the most there can be: dedup's count goes in without a look at it.
 *
 * Rows that find no way (all 16 pinned, or the policy finds them not worth a victim) and rows of a cache of 0 rows go
 * to staging slots behind the cached ones: they are readable until the next begin_batch, and an update of them is
 * handed out at once.
 *
 * What a row holds: the shard's value and state at the last pull, with every own update since applied by the table's
 * optimizer (own writes are visible). Two ways to know how old it is, chosen by `mode`:
 *   probe     seen = shard clock at that pull + own steps handed out since: the stream to a shard is ordered and every
 *             pull names the last push before it, so the shard has applied them when it compares clocks (design: Miao
 *             et al., VLDB 2022, 3.2). Each lookup of a held row is a question to the shard.
 *   announce  the shard tells when a row's clock has moved on by announce_step; until told otherwise a row's clock is
 *             at most `announced` + announce_step - 1. seen = shard clock at that pull + own steps that the shard has
 *             said to have applied (hotrow_cache_credit). No questions.
 *
 * Caches that share memory are one cache of several tables: what is told or asked of one of them is about the rows of
 * its table (counters, flush and ranges of hashes too), while room, policy, batches, staging and the push list are
 * common. begin_batch of any begins the next batch of all, so a batch has the lookups of all tables that are in use at
 * a time, and staging has to suffice for their keys together; take_pushes of any takes what all have handed out. A row
 * makes room for a row of any table. Bounds, mode, announce_step, optimizers, wire_dtype and learning rate are each
 * table's own. (key, hash) tells rows apart, so hashes of one key must differ from table to table, as those of
 * hr_key_hash with different seeds do.
 *
 * With a wire dtype narrower than f32, a row over its push bound hands out all but one of its steps with a gradient
 * that the dtype can say exactly, and keeps what rounding left as its one pending step; every other entry of the push
 * list is to be sent in full precision (is_exact). So no part of a gradient is lost and clocks count every step. */
#ifndef HOTROW_CACHE_H
#define HOTROW_CACHE_H

#include <hotrow/kernels.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_CACHE_ROWS_MAX ((uint64_t)1 << 30)
#define HOTROW_BOUND_MAX 1000000000u    /* of pull bounds: far below the 2^31 where clock differences wrap */
#define HOTROW_PUSH_BOUND_MAX 16000000u /* of push bounds: pending steps are counted in 24 bits */
#define HOTROW_CACHE_TABLES_MAX 64u     /* caches that share memory, from first to last */
#define HOTROW_BATCH_NONE UINT32_MAX    /* "not needed within the look-ahead window" */

typedef struct hotrow_cache hotrow_cache;

typedef enum hotrow_cache_policy {
  HOTROW_POLICY_LRU = 0,
  HOTROW_POLICY_LIGHT_LFU = 1, /* HET's LFUOpt: 10 uses make a row permanent */
  HOTROW_POLICY_LFU = 2,       /* uses are halved from time to time, so that yesterday's rows make room */
  HOTROW_POLICY_W_TINY_LFU = 3 /* LFU that remembers the uses of rows it does not hold; new rows must beat the victim */
} hotrow_cache_policy;

typedef enum hotrow_cache_mode { HOTROW_CACHE_PROBE = 0, HOTROW_CACHE_ANNOUNCE = 1 } hotrow_cache_mode;

/* What a lookup says of a key. */
typedef enum hotrow_row_state {
  HOTROW_ROW_MISSING = 0,
  HOTROW_ROW_FRESH = 1,   /* held: may be read at once */
  HOTROW_ROW_STALE = 2,   /* held: must be pulled again, whatever its clock */
  HOTROW_ROW_DOUBTFUL = 3 /* held, probe mode: the shard decides by `seen` */
} hotrow_row_state;

typedef struct hotrow_cache_options {
  size_t struct_size;
  const hotrow_kernels *kernels;  /* borrowed, for the cache's lifetime */
  const hotrow_segment *segments; /* of the table; copied. Their optimizers preview own writes */
  uint64_t row_count;             /* capacity, rounded up to a multiple of 16; 0: staging only */
  uint64_t staging_row_count;     /* distinct keys one batch can have (memory is taken only when touched) */
  uint64_t pending_row_count;     /* rows that may keep steps back at once; those beyond hand each step out at once.
                                   * 0 or more than there are: every cached row (memory is taken only when touched) */
  uint32_t segment_count;
  uint32_t pull_bound;
  uint32_t push_bound;
  hotrow_cache_policy policy;
  hotrow_cache_mode mode;
  uint32_t announce_step;      /* announce mode: the shards', 1 .. pull_bound + 1 */
  hotrow_dtype wire_dtype;     /* of what the push bound hands out */
  uint32_t counts_occurrences; /* 1: a step counts as often as its key occurs in the batch (SGD, Adagrad,
                                  row-wise Adagrad, FTRL: their rows do not depend on k) */
  uint32_t is_rounded;  /* 1: shards round what a push makes of a row, so that a copy with an own step on it is not what
                           they have. With both bounds 0 it is doubtful until it is refreshed */
  uint32_t reserved;    /* 0 */
  void *stream;         /* of a device that has them: the calls are queued there (NULL: the default stream) */
  hotrow_cache *shares; /* NULL: memory of its own. Else its rows go where that one's go: kernels, stream, policy and
                           the shape of rows must be that one's, row_count, staging_row_count and pending_row_count 0,
                           and push_bound 0 if that memory was made for push_bound 0 */
} hotrow_cache_options;
#define HOTROW_CACHE_OPTIONS_INIT HOTROW_INIT(hotrow_cache_options)

/* Rows handed out for pushing, in arrays that the cache owns. */
typedef struct hotrow_cache_push_list {
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *steps;   /* k >= 1 */
  const float *grads;      /* [count][dim]: summed over the k steps */
  const float *squares;    /* [count][square_dim], zero where k is 1; NULL if square_dim is 0 */
  const uint8_t *is_exact; /* 1: to be sent in full precision; 0: grads is what wire_dtype says exactly */
  const uint8_t *tables;   /* hotrow_cache_table() of the cache whose row it is */
  size_t count;            /* of a device's list: at most so many */
  const uint32_t *count_p; /* of a device's list, in host memory: how many, once the device has got there; NULL: count
                            */
} hotrow_cache_push_list;

typedef struct hotrow_cache_stats {
  uint64_t lookups; /* distinct keys looked up */
  uint64_t hits;    /* of them, fresh, or doubtful and not refreshed */
  uint64_t stale;   /* of them, stale, or doubtful and refreshed */
  uint64_t misses;
  uint64_t evicted_clean;
  uint64_t evicted_dirty;
  uint64_t uncached;    /* new rows that found no way */
  uint64_t bypassed;    /* new rows that the policy did not find worth a victim */
  uint64_t row_count;   /* rows held now */
  uint64_t pending_max; /* largest `pending` left behind by an update: never above push_bound */
  /* Announce mode, over fresh hits: updates of others that the row lacks. */
  uint64_t unseen_sum;        /* as announced */
  uint64_t unseen_max;        /* the most there can have been: announced + announce_step - 1 - seen */
  uint64_t unseen_counts[32]; /* as announced: [0] none, [b] 2^(b-1) .. 2^b - 1 */
  uint64_t push_count;        /* entries of the push list, not yet taken: of all that share it */
} hotrow_cache_stats;

/* An empty cache. In a device's memory all of it is taken, and none of it only when touched. Free with destroy.
 *
 *   HOTROW_ERR_INVALID      kernels, segments, stream (given, on the CPU), policy, mode, wire_dtype, staging_row_count
 *                           (0), announce_step (0 in announce mode), counts_occurrences (not 0 or 1, or with an
 *                           optimizer that takes steps one by one), is_rounded (not 0 or 1), reserved (not 0), shares
 *                           (what is said there)
 *   HOTROW_ERR_UNSUPPORTED  kernels of a device that this build does not know, or a table that lacks some
 *   HOTROW_ERR_LIMIT        row_count, staging_row_count, bounds, announce_step over pull_bound + 1,
 *                           HOTROW_CACHE_TABLES_MAX
 *   HOTROW_ERR_NO_MEMORY, HOTROW_ERR_DEVICE */
HOTROW_API hotrow_status hotrow_cache_create(const hotrow_cache_options *options, hotrow_cache **cache_p);
HOTROW_API void hotrow_cache_destroy(hotrow_cache *cache); /* accepts NULL; pending gradients are lost: flush first */

/* Its number among the caches that share memory: 0 for the first, one more for each that joins. Memory goes with the
 * last one; rows of one that goes before stay until they make room, and what they hand out then bears its number. */
HOTROW_API uint32_t hotrow_cache_table(const hotrow_cache *cache);

/* Starts the next batch: frees staging slots, unpins the rows of the batch before. */
HOTROW_API void hotrow_cache_begin_batch(hotrow_cache *cache);
/* Number of the batch in hand: 0 before the first begin_batch, then one more at each. It wraps. */
HOTROW_API uint32_t hotrow_cache_batch(const hotrow_cache *cache);

/* So many rows at least can still be staged in this batch. Does not wait. */
HOTROW_API size_t hotrow_cache_staging_left(const hotrow_cache *cache);

/* states[i] = a hotrow_row_state; slots[i] = slot of keys[i] or HOTROW_SLOT_NONE; seen[i] is set for those that have
 * one. Held rows are pinned until the next begin_batch, or until next_use[i], the later batch that needs the key next
 * (HOTROW_BATCH_NONE: none is known; next_use NULL: pins made by hotrow_cache_expect stay). A key that is in staging
 * since an earlier lookup of this batch counts as missing. */
HOTROW_API void hotrow_cache_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                                    const uint32_t *key_count_p, const uint32_t *next_use, uint32_t *slots,
                                    uint32_t *seen, uint8_t *states);

/* The plan of a lookup: its keys that may not be read as they are (missing, stale, doubtful), in its order, in arrays
 * that the host reads: the network may begin while a device goes on. */
typedef struct hotrow_cache_plan hotrow_cache_plan;

typedef struct hotrow_cache_plan_rows {
  const uint32_t *indexes; /* in the lookup, ascending */
  const uint64_t *keys;
  const uint64_t *hashes;
  const uint32_t *slots; /* HOTROW_SLOT_NONE: missing */
  const uint32_t *seen;  /* 0: missing */
  const uint8_t *states; /* a hotrow_row_state */
  size_t count;
} hotrow_cache_plan_rows;

/* Arrays for the plan of a lookup of up to key_count_max keys: one for each batch that is under way at a time. To be
 * destroyed before the cache.
 *
 *   HOTROW_ERR_LIMIT  key_count_max is 0 or over HOTROW_CACHE_ROWS_MAX
 *   HOTROW_ERR_NO_MEMORY, HOTROW_ERR_DEVICE */
HOTROW_API hotrow_status hotrow_cache_plan_create(hotrow_cache *cache, size_t key_count_max,
                                                  hotrow_cache_plan **plan_p);
HOTROW_API void
hotrow_cache_plan_destroy(hotrow_cache_plan *plan); /* accepts NULL; waits for a plan that was started */

/* Queues the plan behind the lookup whose arrays these are. What the plan held before is gone. query: whether it is
 * there, without waiting; wait: waits for it, and gives its rows, which stay until the next start.
 *
 *   HOTROW_ERR_LIMIT   start: key_count is over key_count_max
 *   HOTROW_ERR_DEVICE */
HOTROW_API hotrow_status hotrow_cache_plan_start(hotrow_cache_plan *plan, const uint64_t *keys, const uint64_t *hashes,
                                                 const uint32_t *slots, const uint32_t *seen, const uint8_t *states,
                                                 size_t key_count, const uint32_t *key_count_p);
HOTROW_API hotrow_status hotrow_cache_plan_query(hotrow_cache_plan *plan, bool *is_ready_p);
HOTROW_API hotrow_status hotrow_cache_plan_wait(hotrow_cache_plan *plan, hotrow_cache_plan_rows *rows_p);

/* The shard's fresh value, state and clock for held slots: rows become fresh + own pending steps, applied again.
 * values[i] at values + i*dim, states[i] at states + i*state_dim (NULL if state_dim is 0, or row_count is 0: staged
 * rows need none); they need no alignment beyond 4 bytes. */
HOTROW_API void hotrow_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks,
                                     const float *values, const float *states, size_t row_count);

/* Puts missing rows in and pins them as lookup does; slots_p[i] is where each went. Victims with pending steps join the
 * push list. A victim is a row that no batch from the present one on is known to need, by the policy; if there is none,
 * the row that is needed last, if that is after next_use[i] and the present batch does not use it; else the new row is
 * staged. A new row with a next use needs not beat its victim.
 * A row that is held after all (another answer brought it) is pinned too; it is refreshed if it is stale, or if
 * clocks[i] says that it lacks more than pull_bound updates, else its copy stays.
 *   HOTROW_ERR_LIMIT  more rows without a free way or a row that no batch needs than staging rows are left; nothing was
 *                     inserted */
HOTROW_API hotrow_status hotrow_cache_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                             const uint32_t *clocks, const float *values, const float *states,
                                             const uint32_t *next_use, size_t row_count, uint32_t *slots_p);

/* Values (and states, as for insert) that are no rows of the shard's: what keys begin with that have none there. They
 * are staged, so that an update of them is handed out at once; a copy that is held all the same is forgotten, and its
 * pending steps join the push list. HOTROW_ERR_LIMIT  there are not so many staging rows left; nothing was staged */
HOTROW_API hotrow_status hotrow_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values,
                                            const float *states, size_t row_count, uint32_t *slots_p);

/* Keys of a batch to come: held rows are pinned until then, unless an earlier batch to come needs them.
 * is_held_p[i] = 1 if held and not stale. No use of a row, and not counted. */
HOTROW_API void hotrow_cache_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                                    const uint32_t *key_count_p, uint32_t batch, uint8_t *is_held_p);

/* Base and stride of the row array for gather and pool, valid for the cache's lifetime. */
HOTROW_API const float *hotrow_cache_rows(const hotrow_cache *cache, size_t *row_stride_p);

/* One own step: grads[i] for keys[i] (distinct), counted ticks[i] times (NULL: once). Rows held apply the table's
 * optimizer and gain so many pending steps; rows whose pending would exceed push_bound, and rows not held, join the
 * push list. slots[i] is what lookup or insert has said of keys[i] in this batch (HOTROW_SLOT_NONE: nothing), so that
 * it need not be looked for again; NULL: all are. It may have been invalidated since.
 *
 *   HOTROW_ERR_INVALID  ticks without counts_occurrences, or a tick of 0
 *   HOTROW_ERR_LIMIT    a tick over HOTROW_PUSH_BOUND_MAX (on a device, ticks from 1 to that are the caller's promise);
 *                       or the push list has no room: entries and rows with pending
 *                       steps together are at most row_count + 2 * staging_row_count. Take the pushes first
 *
 * After a failure nothing was updated. */
HOTROW_API hotrow_status hotrow_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                             const uint32_t *slots, const float *grads, const uint32_t *ticks,
                                             size_t key_count, const uint32_t *key_count_p);

/* Multiplies every segment's learning rate in the previews from now on (finite, not negative; 1 at first). */
HOTROW_API void hotrow_cache_set_lr_scale(hotrow_cache *cache, float lr_scale);

/* Hands out every row with pending steps (before a save, a barrier, the end). */
HOTROW_API void hotrow_cache_flush(hotrow_cache *cache);

/* The push list so far; taking it empties it: its arrays hold until the next call that adds to it. A key may stand in
 * it more than once (evicted, then updated): the entries are in the order in which they must be applied. On a device
 * nothing is waited for: the arrays are its own, what is queued on the cache's stream behind this call finds the list
 * in them, and *count_p says how long it is when the stream has got there; it holds until the take after the next one.
 * HOTROW_ERR_DEVICE */
HOTROW_API hotrow_status hotrow_cache_take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p);

/* Forgets every row with hash in [hash_first, hash_last]; their pending steps join the push list. Slots of these rows
 * are no longer valid. */
HOTROW_API void hotrow_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);

/* Announce mode (they do nothing in probe mode). Of one reply: first credit, then announce, then the rows.
 * announce: rows of these keys, where held, have these clocks or later ones at their shard; keys may repeat.
 * credit: the shard has applied own pushes of so many steps (NULL: 1 each). */
HOTROW_API void hotrow_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                      const uint32_t *clocks, size_t key_count);
HOTROW_API void hotrow_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                    const uint32_t *steps, size_t key_count);

/* Rows of these keys, where held, are gone at their shard: they are stale until they are refreshed; pending steps are
 * kept. */
HOTROW_API void hotrow_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                           size_t key_count);

/* Every row with hash in [hash_first, hash_last] is stale until it is refreshed; pending steps are kept. */
HOTROW_API void hotrow_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);

/* Waits for a device: HOTROW_ERR_DEVICE. */
HOTROW_API hotrow_status hotrow_cache_get_stats(const hotrow_cache *cache, hotrow_cache_stats *stats_p);

#ifdef __cplusplus
}
#endif
#endif
