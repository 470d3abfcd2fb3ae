/* The keys of one table's coming batches, as the job handed them over, and when each is needed next. Pure.
 *
 * Batches are numbered in the order in which they were added. Within the window the next use of every key is exact: one
 * map leads from a key to its last place, and a batch that needs it again is linked to that place. */
#ifndef HR_LOOKAHEAD_H
#define HR_LOOKAHEAD_H

#include <hotrow/hotrow.h>

typedef struct hr_lookahead_batch {
  uint64_t *keys, *hashes; /* owned [capacity]: distinct, as dedup gives them */
  uint8_t *earlier;        /* owned: how many batches before this one the key was needed last; 0: not in the window */
  uint8_t *later;          /* owned: how many batches after this one it is needed next; 0: not in the window */
  uint8_t *is_fetched;     /* owned: 1: it was missing, and asked for */
  uint32_t count, capacity;
  uint32_t open;     /* unanswered requests that ask for its keys */
  bool is_asked_for; /* its missing keys have been asked for */
} hr_lookahead_batch;

typedef struct hr_lookahead_place {
  uint64_t hash;
  uint32_t batch;    /* low half of its number */
  uint32_t position; /* in the batch; UINT32_MAX: nothing here */
} hr_lookahead_place;

/* All zeroes is an empty window. */
typedef struct hr_lookahead {
  hr_lookahead_batch batches[HOTROW_LOOKAHEAD_MAX]; /* of number n at n % HOTROW_LOOKAHEAD_MAX */
  uint64_t first;                                   /* number of the oldest batch */
  uint32_t count;
  bool is_in_hand;            /* the oldest is being looked up */
  hr_lookahead_place *places; /* owned [place_count], open addressing */
  size_t place_count, place_used;
} hr_lookahead;

void hr_lookahead_fini(hr_lookahead *window);

/* Appends a batch; keys are distinct, equal hashes mean equal keys. HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_lookahead_add(hr_lookahead *window, const uint64_t *keys, const uint64_t *hashes, uint32_t count);

/* The batch of this number, or NULL if it is not in the window. */
hr_lookahead_batch *hr_lookahead_find(hr_lookahead *window, uint64_t number);

/* Takes the oldest batch in hand if its keys are these, and returns it. A batch that was in hand already and never
 * popped was given up: then the one behind it may be meant. NULL: these keys were not handed over next. */
hr_lookahead_batch *hr_lookahead_take(hr_lookahead *window, const uint64_t *keys, uint32_t count);

/* Forgets the oldest batch: it has been used. */
void hr_lookahead_pop(hr_lookahead *window);

/* Forgets all batches. */
void hr_lookahead_drop(hr_lookahead *window);

/* Is this key of batch `number` needed by an earlier batch that is still in the window? That one brings it. */
bool hr_lookahead_is_needed_before(const hr_lookahead *window, uint64_t number, uint32_t position);

#endif
