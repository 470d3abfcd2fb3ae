/* A cache's arrays lie in one block of its device's memory. They are laid out twice by the same code: with base NULL to
 * learn the size, then for real, so that create has one thing to get and one to give back. */
#ifndef CACHE_ARENA_H
#define CACHE_ARENA_H

#include <hr/memory.h>

#define HR_ARENA_ALIGNMENT 64u
#define HR_ARENA_BASE 256u /* of the first array: a set's keys are two lines that one look brings */

typedef struct hr_arena {
  char *base;        /* NULL while measuring */
  size_t used_bytes; /* SIZE_MAX once the sum no longer fits */
} hr_arena;

/* Where the arrays of a block begin that is HR_ARENA_BASE bytes larger than they are. */
static inline char *hr_arena_base(void *memory)
{
  return (char *)(((uintptr_t)memory + HR_ARENA_BASE - 1) / HR_ARENA_BASE * HR_ARENA_BASE);
}

/* Space for count elements; NULL while measuring. */
static inline void *hr_arena_take(hr_arena *arena, size_t count, size_t element_size)
{
  size_t size_bytes = hr_mul(count, element_size);
  size_t first = arena->used_bytes;
  if (size_bytes > SIZE_MAX / 2 - HR_ARENA_ALIGNMENT || first > SIZE_MAX / 2) {
    arena->used_bytes = SIZE_MAX;
    return NULL;
  }
  arena->used_bytes = first + (size_bytes + HR_ARENA_ALIGNMENT - 1) / HR_ARENA_ALIGNMENT * HR_ARENA_ALIGNMENT;
  return arena->base ? arena->base + first : NULL;
}

#endif
