/* Keys that ask for a row and have none yet, and how often they asked: a bounded memory for a boundless number of keys.
 *
 * It is cut into buckets by the hash of the key, so many for all shards together that their number of one key's bucket
 * is the same whatever the number of shards. A bucket knows six keys. When a seventh asks all six lose one, and who has
 * none left makes room (Misra and Gries 1982): so a key gets its row late if its bucket is crowded, and never early,
 * and what happens to a key depends on the pushes to its bucket alone. One thread. */
#ifndef HR_TABLE_ADMISSION_H
#define HR_TABLE_ADMISSION_H

#include <hr/hash.h>
#include <hr/wire.h>

#define HR_ADMISSION_BITS 18u /* of a hash that name its bucket: 2^18 of them, 16 MiB, for 1.5 million keys */
#define HR_ADMISSION_WAYS 6u

typedef struct hr_admission_bucket {
  uint64_t keys[HR_ADMISSION_WAYS];
  uint16_t counts[HR_ADMISSION_WAYS]; /* 0: the way is free */
  uint32_t asked;                     /* pushes to keys of this bucket that had no row; wraps */
} hr_admission_bucket;
_Static_assert(sizeof(hr_admission_bucket) == 64, "a bucket is one cache line, and is stored as it is");

typedef struct hr_admission {
  hr_admission_bucket *buckets; /* owned: address space for all of them; NULL: every key gets a row */
  uint32_t first, bucket_count; /* of this shard's keys; buckets[0] is the first */
  /* Those that changed since the last cut, and those in it: as rows' (table_dirty.c). NULL: nobody asks. */
  uint8_t *marks;    /* owned, with the lists; of each bucket: changed_bit, pending_bit */
  uint32_t *changed; /* numbers, from 0 */
  uint32_t *cutting;
  uint32_t changed_count, cutting_count, cutting_at;
  uint8_t changed_bit;
  uint8_t pending_bit; /* in the cut and still to be copied; 0: none is */
  uint64_t *copied;    /* owned; of a copy of all buckets, a bit each: not to be copied any more; NULL: none is made */
} hr_admission;

/* For all keys. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_admission_init(hr_admission *admission);
/* Before anyone has asked: for the keys of one shard. */
void hr_admission_set_owner(hr_admission *admission, uint32_t shard_index, uint32_t shard_count);
void hr_admission_fini(hr_admission *admission);
size_t hr_admission_bytes(const hr_admission *admission);

/* From now on it knows which buckets changed since the last cut. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_admission_track(hr_admission *admission);
/* Those that have changed are in a cut. */
void hr_admission_begin_cut(hr_admission *admission);
/* All of them are to be copied, whoever asks. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_admission_begin_copy(hr_admission *admission);
void hr_admission_end_copy(hr_admission *admission);
/* One of those that are still to be copied, which counts as copied then. False: there is none. */
bool hr_admission_next(hr_admission *admission, uint64_t *number_p, const hr_admission_bucket **bucket_p);
/* The bucket of a key that is about to ask: is it one of those? Likewise. */
bool hr_admission_take(hr_admission *admission, uint64_t hash, uint64_t *number_p,
                       const hr_admission_bucket **bucket_p);
/* There is no cut: what was in it is in the next one. */
void hr_admission_abandon_cut(hr_admission *admission);

/* A push to a key that has no row: does it get one now? */
bool hr_admission_ask(hr_admission *admission, const hr_table_desc *desc, uint64_t hash, uint64_t key);

/* A bucket as it was stored. False: this shard has none of this number, or it is none. */
bool hr_admission_restore(hr_admission *admission, uint64_t number, const void *bytes, size_t size_bytes);
static inline bool hr_admission_says_something(const hr_admission_bucket *bucket)
{
  uint32_t sum = bucket->asked;
  for (uint32_t way = 0; way < HR_ADMISSION_WAYS; way++)
    sum |= bucket->counts[way];
  return sum != 0;
}

/* The first bucket from this number on that says something. False: there is none. */
bool hr_admission_find(const hr_admission *admission, uint64_t number, uint64_t *number_p,
                       const hr_admission_bucket **bucket_p);
/* As if keys of all those had asked. */
void hr_admission_touch_all(hr_admission *admission);

#endif
