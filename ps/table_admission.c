#include "table_admission.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>
#include <hr/route.h>

#define PARTITION_BUCKETS (1u << (HR_ADMISSION_BITS - HR_PARTITION_BITS))
#define BUCKETS_BYTES (((size_t)1 << HR_ADMISSION_BITS) * sizeof(hr_admission_bucket))
#define DRAW_BITS 24u /* a float tells so many apart */

_Static_assert(HR_ADMISSION_BITS >= HR_PARTITION_BITS, "a bucket is of one partition, and so of one shard");
_Static_assert(HR_WIRE_ADMIT_COUNT_MAX <= UINT16_MAX, "counts are of 16 bits");

hotrow_status hr_admission_init(hr_admission *admission)
{
  void *memory;
  HOTROW_ASSERT(!admission->buckets);
  HOTROW_TRY(hr_map(BUCKETS_BYTES, "keys without a row", &memory));
  admission->buckets = memory;
  admission->bucket_count = 1u << HR_ADMISSION_BITS;
  return HOTROW_OK;
}

void hr_admission_set_owner(hr_admission *admission, uint32_t shard_index, uint32_t shard_count)
{
  if (!admission->buckets)
    return;
  admission->first = hr_partition_first(shard_index, shard_count) * PARTITION_BUCKETS;
  admission->bucket_count = hr_partition_first(shard_index + 1, shard_count) * PARTITION_BUCKETS - admission->first;
}

void hr_admission_fini(hr_admission *admission)
{
  hr_unmap(admission->buckets, BUCKETS_BYTES);
  hr_key_set_fini(&admission->changed);
  *admission = (hr_admission){0};
}

size_t hr_admission_bytes(const hr_admission *admission)
{
  return admission->bucket_count * sizeof *admission->buckets +
         admission->changed.slot_count * sizeof *admission->changed.slots;
}

hotrow_status hr_admission_reserve(hr_admission *admission, size_t count)
{
  return admission->buckets && admission->is_tracked ? hr_key_set_reserve(&admission->changed, count) : HOTROW_OK;
}

/* One more push to this key. */
static bool count_push(hr_admission_bucket *bucket, uint64_t key, uint32_t count_min)
{
  uint32_t free_way = HR_ADMISSION_WAYS;
  for (uint32_t way = 0; way < HR_ADMISSION_WAYS; way++) {
    if (bucket->counts[way] == 0) {
      free_way = way;
    } else if (bucket->keys[way] == key) {
      bool is_enough = ++bucket->counts[way] >= count_min;
      if (is_enough)
        bucket->counts[way] = 0;
      return is_enough;
    }
  }
  if (count_min <= 1)
    return true;
  if (free_way < HR_ADMISSION_WAYS) {
    bucket->keys[free_way] = key;
    bucket->counts[free_way] = 1;
    return false;
  }
  for (uint32_t way = 0; way < HR_ADMISSION_WAYS; way++)
    bucket->counts[way]--;
  return false;
}

bool hr_admission_ask(hr_admission *admission, const hr_table_desc *desc, uint64_t hash, uint64_t key)
{
  uint32_t number = (uint32_t)(hash >> (64u - HR_ADMISSION_BITS));
  if (number - admission->first >= admission->bucket_count)
    return true; /* another shard's key: it is refused when its row is made */
  hr_admission_bucket *bucket = &admission->buckets[number - admission->first];
  bucket->asked++;
  if (admission->is_tracked)
    hr_key_set_add(&admission->changed, number);
  if (desc->admit_count > 0)
    return count_push(bucket, key, desc->admit_count);
  uint64_t drawn = hr_mix64(hr_mix64(desc->seed ^ hash) + bucket->asked) >> (64u - DRAW_BITS);
  return (float)drawn < desc->admit_probability * (float)(1u << DRAW_BITS);
}

bool hr_admission_restore(hr_admission *admission, uint64_t number, const void *bytes, size_t size_bytes)
{
  uint64_t at = number - admission->first;
  if (!admission->buckets || at >= admission->bucket_count || size_bytes != sizeof *admission->buckets)
    return false;
  memcpy(&admission->buckets[at], bytes, size_bytes);
  return true;
}
