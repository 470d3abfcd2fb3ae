/* Keys in ascending order. */
#ifndef HR_KEY_SORT_H
#define HR_KEY_SORT_H

#include <stddef.h>
#include <stdint.h>

/* scratch: room for as many. */
void hr_key_sort(uint64_t *keys, uint64_t *scratch, size_t count);

#endif
