/* Which keys were there before? A Bloom filter in one word a key: it may say so of one that was not, and never says of
 * one that was that it was not. One thread. */
#ifndef HR_KEY_FILTER_H
#define HR_KEY_FILTER_H

#include <hr/status.h>

typedef struct hr_key_filter {
  uint64_t *words; /* owned [mask + 1] */
  uint64_t mask;
} hr_key_filter;

/* At most size_bytes of memory, and at least a word. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_key_filter_init(hr_key_filter *filter, size_t size_bytes);
void hr_key_filter_fini(hr_key_filter *filter); /* of zeroed memory too */

/* Adds the key with this hash. True: it may have been added before. While as many are added as there are 3 to a word
 * that is said of 1 in 1700 that were not, with 12 to a word of 1 in 38. */
bool hr_key_filter_add(hr_key_filter *filter, uint64_t hash);

#endif
