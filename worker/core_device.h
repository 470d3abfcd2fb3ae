/* A client whose rows are on the GPU. The core's own arrays stay the host's, and speak of the keys that shards may be
 * asked about; those of a batch are on the device, and so are the keys that are found there. What is here takes the one
 * to the other. All of it is queued on the client's stream; where the host needs an answer, it waits for an event. */
#ifndef HR_CORE_DEVICE_H
#define HR_CORE_DEVICE_H

#include "core.h"
#include "core_stage.h"

/* Memory that grows with what is asked of it. */
typedef struct hr_room {
  void *memory; /* owned */
  size_t size;  /* bytes */
} hr_room;

/* What a table has on the device beside its cache. */
typedef struct hr_device_table {
  hr_stage stages[2];       /* in turn: one is filled while the other is under way */
  hr_stage ahead_stages[2]; /* likewise, of coming batches: these do not wait behind rows that come */
  uint32_t stage_turn, ahead_turn;
  /* What a caller has in host memory. */
  hr_room keys, offsets, weights, rows;
  /* Of the distinct keys of the lookup in hand, [capacity]. */
  uint32_t *slots, *seen, *indices;
  uint8_t *states;     /* or flags */
  uint32_t *key_slots; /* of each key as given */
  void *select_scratch;
  size_t capacity;
  hotrow_cache_plan *plan; /* owned */
  /* The lookup in hand: its batch, if it was handed over, borrowed from the window; and whether `out` has its rows, as
   * far as what the cache held when it began may be read. */
  hr_lookahead_batch *batch;
  bool is_filled;
  /* The same on the host, of the keys that are asked about; pinned, [capacity]. */
  uint64_t *asked_keys, *asked_hashes;
  uint32_t *asked_index; /* among the distinct keys, ascending */
  uint32_t *answers;     /* indices, slots that come back */
  uint8_t *flags;
  /* Numbers that come back: of each a place on the device and one on the host, pinned. The second is that of the step's
   * first gradient that is not finite, the third of a coming batch's distinct keys. */
  uint64_t *number, *number_here;
  /* The keys of the lookup in hand as a caller gave them in host memory, to know them again; given_count 0: unknown. */
  uint64_t *given_keys; /* owned */
  size_t given_count, given_capacity;
  /* The step's gradients so far, as the host's are kept. */
  hr_room bags, factors, step_keys, step_hashes, step_ticks, step_grads, merged_ticks, merged_grads;
  bool is_step_of_lookup; /* the step's only push so far has the lookup's distinct keys */
  bool is_unchecked;      /* nobody has seen yet whether they are finite */
  hr_room ahead_keys;     /* of a batch to come */
  hr_room here;           /* pinned: its distinct keys, or rows for the caller */
  /* The push list that was taken last: on the device, and in pinned memory, as far as it was copied before anybody knew
   * how long it is. */
  hotrow_cache_push_list list_there, list;
  bool is_list_started;
  void *list_event;  /* owned: it is here */
  hr_room list_here; /* pinned */
  size_t list_guess; /* how many entries the next one is thought to have */
} hr_device_table;

/* The client's stream, and its event. HOTROW_ERR_DEVICE, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_device_open(hr_core *core);
void hr_device_close(hr_core *core);
hotrow_status hr_device_open_table(hr_core *core, hotrow_table *table);
void hr_device_close_table(hotrow_table *table); /* one that is not on the device too */

/* Waits for what is queued, and says what failed. */
hotrow_status hr_device_wait(hr_core *core);
/* workspace->unique_count becomes what dedup has found. Waits, unless it is known. */
hotrow_status hr_device_read_count(hr_core *core, hotrow_table *table, hr_workspace *workspace);

/* Makes room for size bytes; the first `kept` stay. */
hotrow_status hr_device_grow_room(hr_core *core, hr_room *room, size_t kept, size_t size);
/* Makes room in pinned memory that nothing is under way to. */
hotrow_status hr_device_grow_here(hr_core *core, hr_room *room, size_t size);
/* What is queued on `own` from here on comes after what the caller has queued on its stream, of arrays that lie on the
 * device. */
hotrow_status hr_device_follow(hr_core *core, hotrow_device memory, void *stream, void *own);
/* What the caller queues from here on comes after what is queued; or, of arrays on the host, all of it is done now. */
hotrow_status hr_device_lead(hr_core *core, hotrow_device memory, void *stream);
/* An array of a request on the device: where it is, or a copy in `room`. NULL stays NULL, and nothing is NULL. */
hotrow_status hr_device_take_array(hr_core *core, hotrow_device memory, const void *array, size_t size, hr_room *room,
                                   const void **there_p);

/* Distinct keys of a batch to come, in host memory until the next call. Waits for them, on a stream of their own, and
 * for nothing that is queued on the client's. */
hotrow_status hr_device_distinct(hr_core *core, const hotrow_lookup_request *r, const uint64_t **keys_p,
                                 const uint64_t **hashes_p);

/* A lookup, and, into arrays on the device, its rows: queued; nobody waits, unless batches were handed over ahead. */
hotrow_status hr_device_probe(hr_core *core, const hotrow_lookup_request *r);
/* Waits for what the lookup has found: the table's asked keys and their states are those that may not be read yet. */
hotrow_status hr_device_read_plan(hr_core *core, hotrow_table *table);
/* Copies that were fresh and are not any more join the asked keys; asks[] says which are held and not stale. */
hotrow_status hr_device_expect_asked(hr_core *core, hotrow_table *table);
/* Rows into the caller's `out`, if they are not there since the lookup began. */
hotrow_status hr_device_fill_out(hr_core *core, const hotrow_lookup_request *r);

/* The step's gradients: behind what the step has so far; *added_p distinct keys. Those in host memory are looked at now
 * (HOTROW_ERR_INVALID); nobody waits for those on the device, unless their keys are not the lookup's. */
hotrow_status hr_device_stage_push(hr_core *core, const hotrow_push_request *r, size_t step_count, uint32_t *added_p);
/* The end of a step: first the look at the gradients of all tables that nobody has looked at, then the update of each,
 * of no row of any if one is not finite; what is due is in the caches' push lists. All of it is queued. When a list has
 * come, so has the answer: HOTROW_ERR_INVALID, and the step was to be forgotten. */
hotrow_status hr_device_check_step(hr_core *core);
hotrow_status hr_device_update(hr_core *core, hotrow_table *table);
hotrow_status hr_device_read_check(hr_core *core);

#endif
