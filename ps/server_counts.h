/* The counts of one shard where any thread can read them: its own thread puts a copy there now and then, and nobody
 * ever waits for anybody. */
#ifndef HR_SERVER_COUNTS_H
#define HR_SERVER_COUNTS_H

#include <stdatomic.h>

#include <hotrow/counts.h>

#define HR_COUNTS_WORDS (sizeof(hotrow_shard_counts) / sizeof(uint64_t))
#define HR_COUNTS_EVERY_NS 10000000u /* of a shard that never waits; one that waits is up to date */

typedef struct hr_counts_slot {
  atomic_uint turn; /* odd while the copy is being made */
  _Atomic uint64_t words[HR_COUNTS_WORDS];
} hr_counts_slot;

void hr_counts_publish(hr_counts_slot *slot, const hotrow_shard_counts *counts); /* one thread */
void hr_counts_read(const hr_counts_slot *slot, hotrow_shard_counts *counts_p);  /* any thread */

#endif
