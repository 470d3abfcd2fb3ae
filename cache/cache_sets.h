/* Which key is where: sets of 16 ways. A slot is set*16 + way. Arrays are separate so that a probe reads one 128-byte
 * line of keys and nothing else. */
#ifndef CACHE_SETS_H
#define CACHE_SETS_H

#include <hotrow/kernels.h>

#include "cache_arena.h"
#include "cache_clock.h"

#define HR_USES_MAX 127u

typedef struct hr_row_meta {
  uint32_t live_until;   /* last batch known to need the row: pin, recency and next use at once */
  uint32_t seen;         /* shard clock at the pull + own steps since: handed out (probe), applied (announce) */
  uint32_t announced;    /* latest clock that the shard has told */
  uint32_t pending : 24; /* own steps not handed out yet */
  uint32_t uses : 7;     /* counted by the policy, up to HR_USES_MAX */
  uint32_t is_stale : 1; /* to be pulled again, whatever its clock */
} hr_row_meta;

_Static_assert(sizeof(hr_row_meta) == 16, "a set's metadata is four 64-byte lines");

/* Ways that `batch` uses although they are pinned to a later one: they must stay where they are until it ends. */
typedef struct hr_set_present {
  uint32_t batch;
  uint32_t ways;
} hr_set_present;

typedef struct hr_cache_sets {
  uint64_t *keys;          /* [set_count][16] */
  uint64_t *hashes;        /* [set_count][16] */
  uint16_t *occupied;      /* [set_count]: bit w is 1 iff way w is taken */
  hr_row_meta *meta;       /* [set_count][16] */
  hr_set_present *present; /* [set_count] */
  uint32_t *ages;          /* [set_count]: how often uses have been halved */
  uint32_t set_count;
  uint32_t held_count;
} hr_cache_sets;

void hr_cache_sets_layout(hr_cache_sets *sets, uint32_t set_count, hr_arena *arena);

/* Takes the lowest free way of a set; HOTROW_SLOT_NONE if there is none. The caller puts a row there at once. */
uint32_t hr_cache_sets_take_free(hr_cache_sets *sets, uint32_t set);
void hr_cache_sets_put(hr_cache_sets *sets, uint32_t slot, uint64_t key, uint64_t hash, hr_row_meta meta);
void hr_cache_sets_remove(hr_cache_sets *sets, uint32_t slot);

/* How many new rows a set can take in this batch without the farthest rule. */
uint32_t hr_cache_sets_room(const hr_cache_sets *sets, uint32_t set, uint32_t batch, uint32_t permanent_uses);

/* The way of a full set that is needed last, if that is after `next_use` and `batch` does not use it; else
 * HOTROW_CACHE_WAYS. */
uint32_t hr_cache_sets_farthest(const hr_cache_sets *sets, uint32_t set, uint32_t batch, uint32_t next_use,
                                uint32_t permanent_uses);

/* Halves the uses of a set's rows as often as `age` says that it is behind. */
void hr_cache_sets_age(hr_cache_sets *sets, uint32_t set, uint32_t age);

/* The kernel table's rule, needed where a row gets its way. Monotone: a range of hashes is a range of sets. */
static inline uint32_t hr_cache_sets_of(const hr_cache_sets *sets, uint64_t hash)
{
  return (uint32_t)(((hash >> 32) * sets->set_count) >> 32);
}

static inline bool hr_row_is_evictable(const hr_row_meta *meta, uint32_t batch, uint32_t permanent_uses)
{
  return hr_clock_is_before(meta->live_until, batch) & (meta->uses < permanent_uses);
}

/* The row stays until `until`, and in its place until `batch`, which uses it, ends. */
static inline void hr_cache_sets_pin(hr_cache_sets *sets, uint32_t slot, uint32_t batch, uint32_t until)
{
  sets->meta[slot].live_until = until;
  if (until == batch)
    return;
  hr_set_present *present = sets->present + slot / HOTROW_CACHE_WAYS;
  if (present->batch != batch)
    *present = (hr_set_present){.batch = batch};
  present->ways |= 1u << slot % HOTROW_CACHE_WAYS;
}

#endif
