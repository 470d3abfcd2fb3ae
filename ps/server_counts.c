#include "server_counts.h"

#include <string.h>

_Static_assert(sizeof(hotrow_shard_counts) % sizeof(uint64_t) == 0, "counts are copied in words");

/* Who reads a word of a new copy also sees that its turn has begun, as words are stored after it and released; so a
 * reader that sees the same even turn before and after has words of one copy. No fences: ThreadSanitizer knows none. */
void hr_counts_publish(hr_counts_slot *slot, const hotrow_shard_counts *counts)
{
  uint64_t words[HR_COUNTS_WORDS];
  memcpy(words, counts, sizeof words);
  unsigned turn = atomic_load_explicit(&slot->turn, memory_order_relaxed);
  atomic_store_explicit(&slot->turn, turn + 1, memory_order_relaxed);
  for (size_t i = 0; i < HR_COUNTS_WORDS; i++)
    atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
  atomic_store_explicit(&slot->turn, turn + 2, memory_order_release);
}

void hr_counts_read(const hr_counts_slot *slot, hotrow_shard_counts *counts_p)
{
  uint64_t words[HR_COUNTS_WORDS];
  unsigned before, after;
  do {
    before = atomic_load_explicit(&slot->turn, memory_order_acquire);
    for (size_t i = 0; i < HR_COUNTS_WORDS; i++)
      words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
    after = atomic_load_explicit(&slot->turn, memory_order_acquire);
  } while (before != after || before % 2 != 0);
  memcpy(counts_p, words, sizeof words);
}
