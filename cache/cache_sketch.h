/* How often keys that are not held have been asked for, nearly: a count-min sketch (Cormode & Muthukrishnan 2005), a
 * key's four counters in one cache line. Counts are halved when their line is next touched after the age has moved. */
#ifndef CACHE_SKETCH_H
#define CACHE_SKETCH_H

#include "cache_sets.h"

#define HR_SKETCH_LINES 4u /* of a set: with half as many, up to two points of hit rate are lost */
#define HR_SKETCH_GROUPS 4u
#define HR_SKETCH_COUNTERS 15u /* of a group: with the age four groups fill a line */

typedef struct hr_sketch_line {
  uint32_t age; /* how often the counts have been halved */
  uint8_t counts[HR_SKETCH_GROUPS][HR_SKETCH_COUNTERS];
} hr_sketch_line;

HR_STATIC_ASSERT(sizeof(hr_sketch_line) == 64, "a key's counters are in one line");

typedef struct hr_sketch {
  hr_sketch_line *lines; /* [set_count][HR_SKETCH_LINES] */
  uint32_t set_count;
} hr_sketch;

/* The keys of a set have their lines to themselves, so whoever works on the set owns them. */
HR_SHARED_FN hr_sketch_line *hr_sketch_line_of(const hr_sketch *sketch, uint64_t hash)
{
  return sketch->lines + hr_cache_set_of(hash, sketch->set_count) * HR_SKETCH_LINES + hash % HR_SKETCH_LINES;
}

/* The line of a hash, brought up to `age`, and the place of the hash in each of its groups. */
HR_SHARED_FN hr_sketch_line *hr_sketch_open(const hr_sketch *sketch, uint64_t hash, uint32_t age, uint32_t *places)
{
  hr_sketch_line *line = hr_sketch_line_of(sketch, hash);
  uint32_t halvings = age - line->age;
  if (halvings > 0) {
    line->age = age;
    for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
      for (uint32_t c = 0; c < HR_SKETCH_COUNTERS; c++) {
        uint32_t count = line->counts[g][c];
        count = halvings < 7 ? count >> halvings : 0;
        line->counts[g][c] = (uint8_t)count;
      }
  }
  uint64_t mixed = hash * 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio: the line's own bits are used up */
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    places[g] = (uint32_t)((mixed >> (48 - 16 * g) & 0xffffu) * HR_SKETCH_COUNTERS >> 16);
  return line;
}

/* One more use of a key, by its hash; returns how many it has now, at most HR_USES_MAX. */
HR_SHARED_FN uint32_t hr_sketch_count(const hr_sketch *sketch, uint64_t hash, uint32_t age)
{
  uint32_t places[HR_SKETCH_GROUPS], least = HR_USES_MAX;
  hr_sketch_line *line = hr_sketch_open(sketch, hash, age, places);
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    least = line->counts[g][places[g]] < least ? line->counts[g][places[g]] : least;
  if (least == HR_USES_MAX)
    return least;
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    if (line->counts[g][places[g]] == least)
      line->counts[g][places[g]]++;
  return least + 1;
}

/* A row leaves the cache with so many uses. */
HR_SHARED_FN void hr_sketch_remember(const hr_sketch *sketch, uint64_t hash, uint32_t uses, uint32_t age)
{
  uint32_t places[HR_SKETCH_GROUPS];
  hr_sketch_line *line = hr_sketch_open(sketch, hash, age, places);
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    if (line->counts[g][places[g]] < uses)
      line->counts[g][places[g]] = (uint8_t)uses;
}

#endif
