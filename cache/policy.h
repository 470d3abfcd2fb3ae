/* Which row makes room for another. */
#ifndef POLICY_H
#define POLICY_H

#include <hotrow/cache.h>

#include "cache_sets.h"

typedef struct hr_cache_policy {
  /* The way of a full set whose row goes, or HOTROW_CACHE_WAYS if none may. */
  uint32_t (*choose)(const hr_row_meta *set_meta, uint32_t batch);

  uint32_t uses_max;       /* a lookup that finds a row adds a use, up to here; 0: uses are not counted */
  uint32_t uses_first;     /* of a new row; where has_sketch, the sketch knows better */
  uint32_t uses_permanent; /* a row with so many never goes */
  bool has_aging;          /* uses are halved from time to time */
  bool has_sketch;         /* uses outlive the row, and a new row with fewer than its victim does not come in */
} hr_cache_policy;

/* By hotrow_cache_policy. NULL: there is none of this number. */
const hr_cache_policy *hr_cache_policy_get(hotrow_cache_policy policy);

#endif
