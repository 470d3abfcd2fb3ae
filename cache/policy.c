#include "policy.h"

#define USES_LIGHT 10u
#define USES_NEVER (HR_USES_MAX + 1)

const hr_cache_policy *hr_cache_policy_get(hotrow_cache_policy policy)
{
  static const hr_cache_policy policies[] = {
      [HOTROW_POLICY_LRU] = {.uses_permanent = USES_NEVER},
      [HOTROW_POLICY_LIGHT_LFU] = {.uses_ranked = HR_USES_MAX, .uses_max = USES_LIGHT, .uses_permanent = USES_LIGHT},
      [HOTROW_POLICY_LFU] = {.uses_ranked = HR_USES_MAX,
                             .uses_max = HR_USES_MAX,
                             .uses_first = 1,
                             .uses_permanent = USES_NEVER,
                             .has_aging = true},
      [HOTROW_POLICY_W_TINY_LFU] = {.uses_ranked = HR_USES_MAX,
                                    .uses_max = HR_USES_MAX,
                                    .uses_permanent = USES_NEVER,
                                    .has_aging = true,
                                    .has_sketch = true}};
  return (size_t)policy < sizeof policies / sizeof *policies ? policies + policy : NULL;
}
