/* How often keys that are not held have been asked for, nearly: a count-min sketch (Cormode & Muthukrishnan 2005), a
 * key's four counters in one cache line. Counts are halved when their line is next touched after the age has moved. */
#ifndef CACHE_SKETCH_H
#define CACHE_SKETCH_H

#include "cache_arena.h"

#define HR_SKETCH_GROUPS 4u
#define HR_SKETCH_COUNTERS 15u /* of a group: with the age four groups fill a line */

typedef struct hr_sketch_line {
  uint32_t age; /* how often the counts have been halved */
  uint8_t counts[HR_SKETCH_GROUPS][HR_SKETCH_COUNTERS];
} hr_sketch_line;

_Static_assert(sizeof(hr_sketch_line) == 64, "a key's counters are in one line");

typedef struct hr_sketch {
  hr_sketch_line *lines;
  uint32_t line_count;
} hr_sketch;

/* A line for every 4 rows: with half as many, up to two points of hit rate are lost. */
void hr_sketch_layout(hr_sketch *sketch, uint32_t row_count, hr_arena *arena);

/* One more use of a key, by its hash; returns how many it has now, at most HR_USES_MAX. */
uint32_t hr_sketch_count(hr_sketch *sketch, uint64_t hash, uint32_t age);
/* A row leaves the cache with so many uses. */
void hr_sketch_remember(hr_sketch *sketch, uint64_t hash, uint32_t uses, uint32_t age);

/* The top bits choose the shard and the set, so the line comes from the bits below them. */
static inline hr_sketch_line *hr_sketch_line_of(const hr_sketch *sketch, uint64_t hash)
{
  return sketch->lines + ((hash & UINT32_MAX) * sketch->line_count >> 32);
}

#endif
