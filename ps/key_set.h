/* A set of keys that grows. Zeroed memory is an empty one. One thread. */
#ifndef HR_KEY_SET_H
#define HR_KEY_SET_H

#include <hr/status.h>

typedef struct hr_key_set {
  uint64_t *slots; /* owned [slot_count]; 0: free */
  size_t slot_count, count;
  bool has_zero; /* key 0, which no slot can say */
} hr_key_set;

void hr_key_set_fini(hr_key_set *set);

/* Room for `count` more keys: then adding them cannot fail. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_key_set_reserve(hr_key_set *set, size_t count);
void hr_key_set_add(hr_key_set *set, uint64_t key); /* once or more */
bool hr_key_set_has(const hr_key_set *set, uint64_t key);
void hr_key_set_clear(hr_key_set *set);

/* Number of keys, key 0 included. */
static inline size_t hr_key_set_count(const hr_key_set *set)
{
  return set->count + set->has_zero;
}

/* The i-th slot, of 0 .. slot_count: *key_p if it holds a key. */
static inline bool hr_key_set_at(const hr_key_set *set, size_t i, uint64_t *key_p)
{
  *key_p = i < set->slot_count ? set->slots[i] : 0;
  return i < set->slot_count ? *key_p != 0 : set->has_zero;
}

#endif
