#include "table_admission.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>
#include <hr/route.h>

#define PARTITION_BUCKETS (1u << (HR_ADMISSION_BITS - HR_PARTITION_BITS))
#define BUCKETS_BYTES (((size_t)1 << HR_ADMISSION_BITS) * sizeof(hr_admission_bucket))
#define TRACK_BYTES (((size_t)1 << HR_ADMISSION_BITS) * (sizeof(uint8_t) + 2 * sizeof(uint32_t)))
#define BIT_A 1u
#define BIT_B 2u
#define WORD_BITS 64u
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
  hr_unmap(admission->changed < admission->cutting ? admission->changed : admission->cutting, TRACK_BYTES);
  free(admission->copied);
  *admission = (hr_admission){0};
}

size_t hr_admission_bytes(const hr_admission *admission)
{
  size_t track = admission->marks ? sizeof *admission->marks + 2 * sizeof *admission->changed : 0;
  return admission->bucket_count * (sizeof *admission->buckets + track);
}

/* ---- for cuts ---- */

hotrow_status hr_admission_track(hr_admission *admission)
{
  void *memory;
  if (!admission->buckets)
    return HOTROW_OK;
  HOTROW_TRY(hr_map(TRACK_BYTES, "which keys without a row have changed", &memory));
  admission->changed = memory;
  admission->cutting = admission->changed + ((size_t)1 << HR_ADMISSION_BITS);
  admission->marks = (uint8_t *)(admission->cutting + ((size_t)1 << HR_ADMISSION_BITS));
  admission->changed_bit = BIT_A;
  return HOTROW_OK;
}

static void note_change(hr_admission *admission, uint32_t at)
{
  if (!admission->marks || (admission->marks[at] & admission->changed_bit))
    return;
  admission->marks[at] |= admission->changed_bit;
  admission->changed[admission->changed_count++] = at;
}

void hr_admission_begin_cut(hr_admission *admission)
{
  HOTROW_ASSERT(admission->pending_bit == 0);
  uint32_t *list = admission->cutting;
  admission->cutting = admission->changed;
  admission->changed = list;
  admission->cutting_count = admission->changed_count;
  admission->changed_count = admission->cutting_at = 0;
  admission->pending_bit = admission->changed_bit;
  admission->changed_bit ^= BIT_A | BIT_B;
}

hotrow_status hr_admission_begin_copy(hr_admission *admission)
{
  void *memory;
  HOTROW_ASSERT(!admission->marks && !admission->copied);
  if (!admission->buckets)
    return HOTROW_OK;
  HOTROW_TRY(hr_alloc(admission->bucket_count / WORD_BITS + 1, sizeof *admission->copied,
                      "which keys without a row are copied", &memory));
  admission->copied = memory;
  admission->cutting_at = 0;
  return HOTROW_OK;
}

void hr_admission_end_copy(hr_admission *admission)
{
  free(admission->copied);
  admission->copied = NULL;
}

/* It counts as copied from here on. False: it does already, or is not to be copied. */
static bool note_copied(hr_admission *admission, uint32_t at)
{
  if (admission->copied) {
    uint64_t *word = &admission->copied[at / WORD_BITS], bit = (uint64_t)1 << (at % WORD_BITS);
    bool is_pending = !(*word & bit);
    *word |= bit;
    return is_pending;
  }
  bool is_pending = admission->marks[at] & admission->pending_bit;
  admission->marks[at] &= (uint8_t)~admission->pending_bit;
  return is_pending;
}

static bool take(hr_admission *admission, uint32_t at, uint64_t *number_p, const hr_admission_bucket **bucket_p)
{
  if (!note_copied(admission, at))
    return false;
  *number_p = admission->first + at;
  *bucket_p = &admission->buckets[at];
  return true;
}

bool hr_admission_next(hr_admission *admission, uint64_t *number_p, const hr_admission_bucket **bucket_p)
{
  while (admission->copied && admission->cutting_at < admission->bucket_count)
    if (take(admission, admission->cutting_at++, number_p, bucket_p))
      return true;
  while (admission->cutting_at < admission->cutting_count)
    if (take(admission, admission->cutting[admission->cutting_at++], number_p, bucket_p))
      return true;
  admission->pending_bit = 0;
  return false;
}

bool hr_admission_take(hr_admission *admission, uint64_t hash, uint64_t *number_p, const hr_admission_bucket **bucket_p)
{
  uint32_t at = (uint32_t)(hash >> (64u - HR_ADMISSION_BITS)) - admission->first;
  bool is_copying = admission->pending_bit || admission->copied;
  return is_copying && at < admission->bucket_count && take(admission, at, number_p, bucket_p);
}

void hr_admission_abandon_cut(hr_admission *admission)
{
  for (uint32_t i = 0; i < admission->cutting_count; i++) {
    uint32_t at = admission->cutting[i];
    admission->marks[at] &= admission->changed_bit;
    note_change(admission, at);
  }
  admission->cutting_count = 0;
  admission->pending_bit = 0;
}

/* ---- asking ---- */

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
  note_change(admission, number - admission->first);
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

bool hr_admission_find(const hr_admission *admission, uint64_t number, uint64_t *number_p,
                       const hr_admission_bucket **bucket_p)
{
  uint64_t at = number > admission->first ? number - admission->first : 0;
  for (; admission->buckets && at < admission->bucket_count; at++)
    if (hr_admission_says_something(&admission->buckets[at])) {
      *number_p = admission->first + at;
      *bucket_p = &admission->buckets[at];
      return true;
    }
  return false;
}

void hr_admission_touch_all(hr_admission *admission)
{
  for (uint32_t at = 0; admission->buckets && at < admission->bucket_count; at++)
    if (hr_admission_says_something(&admission->buckets[at]))
      note_change(admission, at);
}
