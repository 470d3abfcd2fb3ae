/* Which key is where: sets of 16 ways. A slot is set*16 + way. Arrays are separate so that a probe reads one 128-byte
 * line of keys and nothing else. */
#ifndef CACHE_SETS_H
#define CACHE_SETS_H

#include <hotrow/kernels.h>

#include "cache_arena.h"
#include "cache_clock.h"

/* Used so often that the policy may never evict it (HET's LFUOpt). Only policies that count uses get there. */
#define HR_USES_PERMANENT 10u

typedef struct hr_row_meta {
  uint32_t live_until; /* last batch known to need the row: pin and recency at once */
  uint32_t seen;       /* shard clock at the pull + own steps handed out since */
  uint32_t pending;    /* own steps not handed out yet */
  uint32_t uses;       /* counted by the policy, up to HR_USES_PERMANENT */
} hr_row_meta;

_Static_assert(sizeof(hr_row_meta) == 16, "a set's metadata is four 64-byte lines");

typedef struct hr_cache_sets {
  uint64_t *keys;     /* [set_count][16] */
  uint64_t *hashes;   /* [set_count][16] */
  uint16_t *occupied; /* [set_count]: bit w is 1 iff way w is taken */
  hr_row_meta *meta;  /* [set_count][16] */
  uint32_t set_count;
  uint32_t held_count;
} hr_cache_sets;

void hr_cache_sets_layout(hr_cache_sets *sets, uint32_t set_count, hr_arena *arena);

/* Takes the lowest free way of a set; HOTROW_SLOT_NONE if there is none. The caller puts a row there at once. */
uint32_t hr_cache_sets_take_free(hr_cache_sets *sets, uint32_t set);
void hr_cache_sets_put(hr_cache_sets *sets, uint32_t slot, uint64_t key, uint64_t hash, uint32_t seen, uint32_t batch);
void hr_cache_sets_remove(hr_cache_sets *sets, uint32_t slot);

/* How many new rows a set can take in this batch. */
uint32_t hr_cache_sets_room(const hr_cache_sets *sets, uint32_t set, uint32_t batch);

/* The kernel table's rule, needed where a row gets its way. Monotone: a range of hashes is a range of sets. */
static inline uint32_t hr_cache_sets_of(const hr_cache_sets *sets, uint64_t hash)
{
  return (uint32_t)(((hash >> 32) * sets->set_count) >> 32);
}

static inline bool hr_row_is_evictable(const hr_row_meta *meta, uint32_t batch)
{
  return hr_clock_is_before(meta->live_until, batch) & (meta->uses < HR_USES_PERMANENT);
}

#endif
