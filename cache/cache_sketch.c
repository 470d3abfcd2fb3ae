#include "cache_sketch.h"

#include "cache_sets.h"

void hr_sketch_layout(hr_sketch *sketch, uint32_t row_count, hr_arena *arena)
{
  sketch->line_count = (row_count + 3) / 4;
  sketch->lines = hr_arena_take(arena, sketch->line_count, sizeof *sketch->lines);
}

/* The line of a hash, brought up to `age`, and the place of the hash in each of its groups. */
static hr_sketch_line *open_line(hr_sketch *sketch, uint64_t hash, uint32_t age, uint32_t *places)
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

uint32_t hr_sketch_count(hr_sketch *sketch, uint64_t hash, uint32_t age)
{
  uint32_t places[HR_SKETCH_GROUPS], least = HR_USES_MAX;
  hr_sketch_line *line = open_line(sketch, hash, age, places);
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    least = line->counts[g][places[g]] < least ? line->counts[g][places[g]] : least;
  if (least == HR_USES_MAX)
    return least;
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    if (line->counts[g][places[g]] == least)
      line->counts[g][places[g]]++;
  return least + 1;
}

void hr_sketch_remember(hr_sketch *sketch, uint64_t hash, uint32_t uses, uint32_t age)
{
  uint32_t places[HR_SKETCH_GROUPS];
  hr_sketch_line *line = open_line(sketch, hash, age, places);
  for (uint32_t g = 0; g < HR_SKETCH_GROUPS; g++)
    if (line->counts[g][places[g]] < uses)
      line->counts[g][places[g]] = (uint8_t)uses;
}
