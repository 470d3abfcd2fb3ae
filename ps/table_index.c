#include "table_index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>

#define SEGMENT_WAYS (HR_SEGMENT_BUCKETS * HR_BUCKET_WAYS)
/* By chance a segment holds more keys than this on average; keys chosen to collide find 256 MiB of segments more. */
#define SEGMENT_KEYS_MIN (SEGMENT_WAYS / 4)
#define SEGMENTS_MORE 4096u
#define FILL_MAX 0.985
#define FILL_SPREAD 0.305

static void clear_segment(hr_segment *segment, uint32_t depth)
{
  memset(segment, 0, sizeof *segment);
  for (size_t b = 0; b < HR_SEGMENT_BUCKETS; b++)
    for (size_t way = 0; way < HR_BUCKET_WAYS; way++)
      segment->buckets[b].entries[way].row = HR_ROW_NONE;
  segment->depth = depth;
}

/* Hashes fill all segments alike. Were their limits alike too, all would split in the same minute, so each splits
 * somewhere between 0.68 and 0.985 of its ways. This spread keeps the index at 23 to 32 bytes a row at any size, and
 * 27.5 in the mean (simulated; evenly spread limits between 0.7 and 0.95 come to 33.5 at the worst sizes). */
static void choose_limit(hr_index *index, hr_segment *segment)
{
  uint64_t bits = hr_mix64(index->table_seed + index->split_count * 2 + (segment == index->spare));
  double u = (double)(bits >> 32) / (double)((uint64_t)1 << 32);
  segment->count_max = (uint32_t)(SEGMENT_WAYS * (FILL_MAX - FILL_SPREAD * u * sqrt(u)));
}

static hotrow_status make_segment(hr_index *index, hr_segment **segment_p)
{
  if (index->segment_count == index->segment_count_max)
    return hr_fail(HOTROW_ERR_LIMIT,
                   "the keys of a table agree in more bits of their hashes than chance would have it");
  *segment_p = &index->segments[index->segment_count++];
  hr_table_memory_use(index->memory, HR_ARRAY_INDEX, index->segment_count * sizeof(hr_segment));
  return HOTROW_OK;
}

hotrow_status hr_index_init(hr_index *index, uint64_t table_seed, uint64_t row_count_max, hr_table_memory *memory)
{
  HOTROW_ASSERT(row_count_max <= HR_TABLE_ROWS_MAX);
  *index = (hr_index){.table_seed = table_seed, .memory = memory};
  index->segment_count_max = (uint32_t)(row_count_max / SEGMENT_KEYS_MIN) + SEGMENTS_MORE;
  void *segments, *directory;
  HOTROW_TRY(hr_table_memory_map(memory, HR_ARRAY_INDEX, index->segment_count_max * sizeof(hr_segment), "table index",
                                 &segments));
  HOTROW_TRY(hr_alloc(1, sizeof(hr_segment *), "table directory", &directory));
  index->segments = segments;
  index->directory = directory;
  hr_segment *first = &index->segments[index->segment_count++];
  index->spare = &index->segments[index->segment_count++];
  index->directory[0] = first;
  clear_segment(first, 0);
  choose_limit(index, first);
  return HOTROW_OK;
}

void hr_index_fini(hr_index *index)
{
  free(index->directory);
  *index = (hr_index){0};
}

size_t hr_index_memory_bytes(const hr_index *index)
{
  return index->segment_count * sizeof(hr_segment) + (sizeof(hr_segment *) << index->depth);
}

static hr_entry *put(hr_segment *segment, uint64_t hash, uint64_t key, hr_entry entry)
{
  HOTROW_ASSERT(segment->count < SEGMENT_WAYS);
  for (uint64_t b = hash;; b++) {
    hr_bucket *bucket = &segment->buckets[b % HR_SEGMENT_BUCKETS];
    for (size_t way = 0; way < HR_BUCKET_WAYS; way++)
      if (bucket->entries[way].row == HR_ROW_NONE) {
        bucket->keys[way] = key;
        bucket->entries[way] = entry;
        segment->count++;
        return &bucket->entries[way];
      }
  }
}

static hotrow_status double_directory(hr_index *index)
{
  if (index->depth == HR_INDEX_DEPTH_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "over %u keys of a table agree in %u bits of their hash", SEGMENT_WAYS * 7 / 10,
                   HR_INDEX_DEPTH_MAX);
  size_t count = (size_t)1 << index->depth;
  void *memory;
  HOTROW_TRY(hr_alloc(2 * count, sizeof(hr_segment *), "table directory", &memory));
  hr_segment **doubled = memory;
  for (size_t i = 0; i < 2 * count; i++)
    doubled[i] = index->directory[i / 2];
  free(index->directory);
  index->directory = doubled;
  index->depth++;
  return HOTROW_OK;
}

/* Replaces the segment of `hash` by two: its keys go by their next directory bit. */
static hotrow_status split(hr_index *index, uint64_t hash)
{
  hr_segment *old = index->directory[hr_index_slot(hash, index->depth)], *upper = NULL;
  if (old->depth == index->depth)
    HOTROW_TRY(double_directory(index));
  HOTROW_TRY(make_segment(index, &upper));
  hr_segment *halves[2] = {index->spare, upper};
  index->split_count++;
  for (size_t i = 0; i < 2; i++) {
    clear_segment(halves[i], old->depth + 1);
    choose_limit(index, halves[i]);
  }
  for (size_t b = 0; b < HR_SEGMENT_BUCKETS; b++)
    for (size_t way = 0; way < HR_BUCKET_WAYS && old->buckets[b].entries[way].row != HR_ROW_NONE; way++) {
      uint64_t key = old->buckets[b].keys[way], key_hash = hr_key_hash(key, index->table_seed);
      put(halves[hr_index_slot(key_hash, old->depth + 1) & 1], key_hash, key, old->buckets[b].entries[way]);
    }
  size_t slot_count = (size_t)1 << (index->depth - old->depth);
  size_t first = hr_index_slot(hash, old->depth) * slot_count;
  for (size_t i = 0; i < slot_count; i++)
    index->directory[first + i] = halves[i >= slot_count / 2];
  index->spare = old;
  return HOTROW_OK;
}

hotrow_status hr_index_insert(hr_index *index, uint64_t hash, uint64_t key, uint32_t row, hr_entry **entry_p)
{
  HOTROW_ASSERT(row != HR_ROW_NONE);
  hr_segment *segment;
  for (;;) {
    segment = index->directory[hr_index_slot(hash, index->depth)];
    if (segment->count < segment->count_max)
      break;
    HOTROW_TRY(split(index, hash));
  }
  *entry_p = put(segment, hash, key, (hr_entry){.row = row});
  return HOTROW_OK;
}

/* The way that is free now. */
typedef struct hole {
  size_t bucket, way;
} hole;

/* Fills a hole with the last taken way of its bucket. True if the bucket was full: only then may keys that belong here
 * lie further on. */
static bool close_hole(hr_segment *segment, hole at)
{
  hr_bucket *bucket = &segment->buckets[at.bucket];
  size_t last = HR_BUCKET_WAYS - 1;
  while (bucket->entries[last].row == HR_ROW_NONE)
    last--;
  bucket->keys[at.way] = bucket->keys[last];
  bucket->entries[at.way] = bucket->entries[last];
  bucket->keys[last] = 0;
  bucket->entries[last] = (hr_entry){.row = HR_ROW_NONE};
  return last == HR_BUCKET_WAYS - 1;
}

/* Moves the first key after bucket `to` that would be looked for in it, or before it, into its last way. False if there
 * is none; else *from_p is where it was. */
static bool pull_back(const hr_index *index, hr_segment *segment, size_t to, hole *from_p)
{
  for (size_t distance = 1;; distance++) {
    size_t b = (to + distance) % HR_SEGMENT_BUCKETS;
    hr_bucket *bucket = &segment->buckets[b];
    for (size_t way = 0; way < HR_BUCKET_WAYS; way++) {
      if (bucket->entries[way].row == HR_ROW_NONE)
        return false;
      uint64_t home = hr_key_hash(bucket->keys[way], index->table_seed);
      if ((b - home) % HR_SEGMENT_BUCKETS < distance)
        continue;
      segment->buckets[to].keys[HR_BUCKET_WAYS - 1] = bucket->keys[way];
      segment->buckets[to].entries[HR_BUCKET_WAYS - 1] = bucket->entries[way];
      *from_p = (hole){b, way};
      return true;
    }
  }
}

void hr_index_remove(hr_index *index, uint64_t hash, uint64_t key)
{
  hr_segment *segment = index->directory[hr_index_slot(hash, index->depth)];
  hole at = {.bucket = hash % HR_SEGMENT_BUCKETS};
  unsigned match;
  while ((match = hr_bucket_match(&segment->buckets[at.bucket], key)) == 0)
    at.bucket = (at.bucket + 1) % HR_SEGMENT_BUCKETS;
  at.way = (size_t)__builtin_ctz(match);
  HOTROW_ASSERT(segment->buckets[at.bucket].entries[at.way].row != HR_ROW_NONE);
  segment->count--; /* less than all ways are taken, so a run of full buckets has an end */
  while (close_hole(segment, at)) {
    size_t to = at.bucket;
    if (!pull_back(index, segment, to, &at))
      break;
  }
}
