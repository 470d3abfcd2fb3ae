#include "key_filter.h"

#include <hr/memory.h>

#define BITS 4u /* of its word, that a key sets */
#define BIT_OF_MASK 63u
#define BIT_SHIFT 6u

static size_t size_of(const hr_key_filter *filter)
{
  return (size_t)(filter->mask + 1) * sizeof *filter->words;
}

hotrow_status hr_key_filter_init(hr_key_filter *filter, size_t size_bytes)
{
  hr_key_filter f = {.mask = 0};
  while (size_of(&f) <= size_bytes / 2)
    f.mask = 2 * f.mask + 1;
  void *memory;
  HOTROW_TRY(hr_map(size_of(&f), "keys that are loaded", &memory));
  f.words = memory;
  *filter = f;
  return HOTROW_OK;
}

void hr_key_filter_fini(hr_key_filter *filter)
{
  if (filter->words)
    hr_unmap(filter->words, size_of(filter));
  *filter = (hr_key_filter){0};
}

bool hr_key_filter_add(hr_key_filter *filter, uint64_t hash)
{
  uint64_t bits = 0;
  for (uint32_t i = 0; i < BITS; i++, hash >>= BIT_SHIFT)
    bits |= (uint64_t)1 << (hash & BIT_OF_MASK);
  uint64_t *word = &filter->words[hash & filter->mask];
  bool had_all = (*word & bits) == bits;
  *word |= bits;
  return had_all;
}
