#include "table_index.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>

#define SLAB_BYTES ((size_t)2 << 20)
#define SLAB_SEGMENTS (SLAB_BYTES / sizeof(hr_segment))
#define SEGMENT_WAYS (HR_SEGMENT_BUCKETS * HR_BUCKET_WAYS)

/* Segments come from slabs of one huge page. */
typedef struct hr_segment_slab {
  hr_segment segments[SLAB_SEGMENTS];
  struct hr_segment_slab *next;
  size_t used_count;
} hr_segment_slab;
_Static_assert(sizeof(hr_segment_slab) <= SLAB_BYTES, "a slab is one huge page");

static void clear_segment(hr_segment *segment, uint32_t depth)
{
  memset(segment, 0, sizeof *segment);
  for (size_t b = 0; b < HR_SEGMENT_BUCKETS; b++)
    for (size_t way = 0; way < HR_BUCKET_WAYS; way++)
      segment->buckets[b].entries[way].row = HR_ROW_NONE;
  segment->depth = depth;
}

/* Hashes fill all segments alike. Were their limits alike too, all would split in the same minute, so each splits
 * somewhere between 0.6 and 0.8 of its ways. */
static void choose_limit(hr_index *index, hr_segment *segment)
{
  uint64_t spread = hr_mix64(index->table_seed + index->split_count * 2 + (segment == index->spare));
  segment->count_max = SEGMENT_WAYS * 6 / 10 + (uint32_t)(spread % (SEGMENT_WAYS * 2 / 10));
}

static hotrow_status make_segment(hr_index *index, hr_segment **segment_p)
{
  if (!index->slab || index->slab->used_count == SLAB_SEGMENTS) {
    void *memory;
    HOTROW_TRY(hr_map(sizeof(hr_segment_slab), "table index", &memory));
    hr_segment_slab *slab = memory;
    slab->next = index->slab;
    index->slab = slab;
  }
  *segment_p = &index->slab->segments[index->slab->used_count++];
  index->segment_count++;
  return HOTROW_OK;
}

hotrow_status hr_index_init(hr_index *index, uint64_t table_seed)
{
  *index = (hr_index){.table_seed = table_seed};
  hr_segment *first;
  void *directory;
  hotrow_status status = make_segment(index, &first);
  if (status == HOTROW_OK)
    status = make_segment(index, &index->spare);
  if (status == HOTROW_OK)
    status = hr_alloc(1, sizeof(hr_segment *), "table directory", &directory);
  if (status != HOTROW_OK) {
    hr_index_fini(index);
    return status;
  }
  index->directory = directory;
  index->directory[0] = first;
  clear_segment(first, 0);
  choose_limit(index, first);
  return HOTROW_OK;
}

void hr_index_fini(hr_index *index)
{
  for (hr_segment_slab *slab = index->slab; slab;) {
    hr_segment_slab *next = slab->next;
    hr_unmap(slab, sizeof *slab);
    slab = next;
  }
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
    return hr_fail(HOTROW_ERR_LIMIT, "over %u keys of a table agree in %u bits of their hash", SEGMENT_WAYS * 6 / 10,
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
  hr_segment *old = index->directory[hr_index_slot(hash, index->depth)], *upper;
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
