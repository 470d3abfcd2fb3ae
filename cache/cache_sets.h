/* Which key is where: sets of 16 ways. A slot is set*16 + way. Arrays are separate so that a probe reads one 128-byte
 * line of keys and nothing else. Where several tables share them, a way is found by key and hash: a table's hashes are
 * all different, and those of one key are different in different tables. */
#ifndef CACHE_SETS_H
#define CACHE_SETS_H

#include <hotrow/kernels.h>
#include <hr/shared_fn.h>

#include "cache_arena.h"

#define HR_USES_MAX 127u

typedef struct hr_row_meta {
  uint32_t live_until;   /* last batch known to need the row: pin, recency and next use at once */
  uint32_t seen;         /* shard clock at the pull + own steps since: handed out (probe), applied (announce) */
  uint32_t announced;    /* latest clock that the shard has told */
  uint32_t pending : 24; /* own steps not handed out yet */
  uint32_t uses : 7;     /* counted by the policy, up to HR_USES_MAX */
  uint32_t is_stale : 1; /* to be pulled again, whatever its clock */
} hr_row_meta;

HR_STATIC_ASSERT(sizeof(hr_row_meta) == 16, "a set's metadata is four 64-byte lines");

/* Ways that `batch` uses although they are pinned to a later one: they must stay where they are until it ends. */
typedef struct hr_set_present {
  uint32_t batch;
  uint32_t ways;
} hr_set_present;

typedef struct hr_cache_sets {
  uint64_t *keys;          /* [set_count][16] */
  uint64_t *hashes;        /* [set_count][16] */
  uint8_t *tables;         /* [set_count][16]: whose row it is */
  uint16_t *occupied;      /* [set_count]: bit w is 1 iff way w is taken */
  hr_row_meta *meta;       /* [set_count][16] */
  hr_set_present *present; /* [set_count] */
  uint32_t *ages;          /* [set_count]: how often uses have been halved */
  uint32_t set_count;
} hr_cache_sets;

/* The kernel table's rule, needed where a row gets its way. Monotone: a range of hashes is a range of sets. */
HR_SHARED_FN uint32_t hr_cache_set_of(uint64_t hash, uint32_t set_count)
{
  return (uint32_t)(((hash >> 32) * set_count) >> 32);
}

HR_SHARED_FN uint32_t hr_cache_sets_of(const hr_cache_sets *sets, uint64_t hash)
{
  return hr_cache_set_of(hash, sets->set_count);
}

#endif
