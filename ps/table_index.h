/* The index of a table: key -> {row, clock}, in 64-byte buckets of 4 keys, so that a key's clock costs one cache line.
 *
 * Buckets belong to segments of 64 KiB; a directory finds the segment by hash bits. A segment that fills up is split
 * alone and the directory doubles when it must (extendible hashing: Fagin et al. 1979), so growth costs tens of
 * microseconds at a time. Within a segment a key lies in its home bucket or in the ones after it (linear probing).
 * The ways of a bucket fill in order and the first free way ends a search; a key that is taken out is replaced by those
 * that had to go past it.
 *
 * The top HR_PARTITION_BITS of a hash say which shard owns the key and are nearly equal within a shard: the directory
 * uses the bits below them, the home bucket uses the lowest. One thread. */
#ifndef HR_TABLE_INDEX_H
#define HR_TABLE_INDEX_H

#include <hr/route.h>

#include "table.h"
#include "table_memory.h"

#define HR_BUCKET_WAYS 4u
#define HR_SEGMENT_BUCKETS 1024u
/* 2^24 segments are 13 times what HR_TABLE_ROWS_MAX rows need; only keys chosen to collide come this far. */
#define HR_INDEX_DEPTH_MAX 24u

typedef struct hr_entry {
  uint32_t row; /* HR_ROW_NONE: the way is free */
  uint32_t clock;
} hr_entry;

typedef struct hr_bucket {
  uint64_t keys[HR_BUCKET_WAYS]; /* 0 in a free way */
  hr_entry entries[HR_BUCKET_WAYS];
} hr_bucket;
_Static_assert(sizeof(hr_bucket) == 64, "a bucket is one cache line");

typedef struct hr_segment {
  hr_bucket buckets[HR_SEGMENT_BUCKETS];
  uint32_t count;
  uint32_t count_max; /* it splits rather than hold more */
  uint32_t depth;     /* the directory bits that all its keys share */
  uint32_t unused[13];
} hr_segment;
_Static_assert(sizeof(hr_segment) % 64 == 0, "buckets of every segment begin a cache line");

typedef struct hr_index {
  hr_segment **directory; /* owned, 2^depth */
  uint32_t depth;
  uint32_t segment_count; /* ever made, the spare included */
  uint64_t table_seed;
  uint64_t split_count; /* entries found before a split have moved after it */
  hr_segment *spare;    /* a split fills the spare and a new segment; the old one becomes the spare */
  hr_segment *segments; /* borrowed from the table's memory: address space for segment_count_max */
  uint32_t segment_count_max;
  hr_table_memory *memory; /* borrowed: is told how much is used */
} hr_index;

/* For up to row_count_max keys. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_index_init(hr_index *index, uint64_t table_seed, uint64_t row_count_max, hr_table_memory *memory);
void hr_index_fini(hr_index *index);
size_t hr_index_memory_bytes(const hr_index *index);

static inline size_t hr_index_slot(uint64_t hash, uint32_t depth)
{
  return (size_t)((hash << HR_PARTITION_BITS >> 1) >> (63u - depth)); /* two shifts: depth may be 0 */
}

/* What a key takes of the index at most, about: 16 bytes where no way is free. */
#define HR_INDEX_ROW_BYTES 32u

/* The bucket where a key is looked for first. */
static inline hr_bucket *hr_index_home(const hr_index *index, uint64_t key)
{
  uint64_t hash = hr_key_hash(key, index->table_seed);
  return &index->directory[hr_index_slot(hash, index->depth)]->buckets[hash % HR_SEGMENT_BUCKETS];
}

/* The ways of a bucket that hold a key, as bits. */
static inline unsigned hr_bucket_match(const hr_bucket *bucket, uint64_t key)
{
  unsigned match = 0;
  for (unsigned way = 0; way < HR_BUCKET_WAYS; way++)
    match |= (unsigned)(bucket->keys[way] == key) << way;
  return match;
}

/* The entry of a key, or NULL. It stays where it is until a key is inserted with a split (split_count tells). */
static inline hr_entry *hr_index_find(const hr_index *index, uint64_t hash, uint64_t key)
{
  hr_segment *segment = index->directory[hr_index_slot(hash, index->depth)];
  for (uint64_t b = hash;; b++) {
    hr_bucket *bucket = &segment->buckets[b % HR_SEGMENT_BUCKETS];
    unsigned match = hr_bucket_match(bucket, key);
    /* A free way holds key 0 too, but only behind the taken ones: the lowest match is the key if anything is. */
    if (match) {
      hr_entry *entry = &bucket->entries[__builtin_ctz(match)];
      return entry->row != HR_ROW_NONE ? entry : NULL;
    }
    if (bucket->entries[HR_BUCKET_WAYS - 1].row == HR_ROW_NONE)
      return NULL;
  }
}

/* Adds a key that is not there, with clock 0. On failure nothing has changed that can be seen.
 *   HOTROW_ERR_NO_MEMORY, HOTROW_ERR_LIMIT (more keys with equal hash bits than chance gives) */
hotrow_status hr_index_insert(hr_index *index, uint64_t hash, uint64_t key, uint32_t row, hr_entry **entry_p);

/* Takes out a key that is there. Entries found before are no longer good. Segments stay: an index takes as much memory
 * as its largest number of keys made it. */
void hr_index_remove(hr_index *index, uint64_t hash, uint64_t key);

#endif
