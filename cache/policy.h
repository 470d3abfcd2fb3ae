/* Which row makes room for another. Within a set, rows that may go are ranked; ties go to the lower way.
 *
 * LRU: the row used least recently goes. The others: the row with the fewest uses, among equals the least recent.
 * LightLFU is HET's LFUOpt (Miao et al., VLDB 2022): the 10th use makes a row permanent. HET keeps ten lists over the
 * whole cache; here the order holds within a set.
 * LFU forgets: uses are halved after every 20 lookups per row of the cache.
 * W-TinyLFU (Einziger et al. 2017) as a cache of batches needs it: the window of new rows is the staging of a batch; a
 * sketch, forgetting like LFU, counts what is not held, so that a hit costs it nothing. */
#ifndef POLICY_H
#define POLICY_H

#include <hotrow/cache.h>

#include "cache_sets.h"

typedef struct hr_cache_policy {
  uint32_t uses_ranked;    /* HR_USES_MAX: fewest uses first; 0: they do not count */
  uint32_t uses_max;       /* a lookup that finds a row adds a use, up to here; 0: uses are not counted */
  uint32_t uses_first;     /* of a new row; where has_sketch, the sketch knows better */
  uint32_t uses_permanent; /* a row with so many never goes */
  bool has_aging;          /* uses are halved from time to time */
  bool has_sketch;         /* uses outlive the row, and a new row with fewer than its victim does not come in */
} hr_cache_policy;

/* By hotrow_cache_policy. NULL: there is none of this number. */
const hr_cache_policy *hr_cache_policy_get(hotrow_cache_policy policy);

#endif
