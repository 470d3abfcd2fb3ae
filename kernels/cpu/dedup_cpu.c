/* Distinct keys by one stable sort of their hashes.
 *
 * What is sorted is one word per key: the top 33 bits of its hash, then its position (31 bits). Equal hashes thereby
 * stay in the order of their positions. Two different hashes that agree in 33 bits are rare (and an attacker's choice):
 * such a run is sorted once more by the lower 31 bits, in linear time too. A batch of few keys is told apart well
 * enough by the top 22 bits: its third pass is left to short insertion sorts of the runs that agree in them. */
#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>
#include <hr/vector.h>

#include "kernels_impl.h"

#define POSITION_BITS 31u
#define POSITION_MASK (((uint64_t)1 << POSITION_BITS) - 1)
#define DIGIT_BITS 11u
#define DIGIT_COUNT ((64u - POSITION_BITS) / DIGIT_BITS)
#define BUCKET_COUNT ((size_t)1 << DIGIT_BITS)
#define INSERTION_MAX 96u              /* below this, counting digits costs more than it saves */
#define FEW_KEYS_MAX ((size_t)1 << 18) /* one key in 32 then shares its top 22 bits with another */

_Static_assert(DIGIT_COUNT *DIGIT_BITS + POSITION_BITS == 64, "the digits cover the hash bits of a word");

typedef struct dedup_scratch {
  uint64_t *hashes; /* by input position */
  uint64_t *words;
  uint64_t *spare;
} dedup_scratch;

size_t hr_cpu_dedup_scratch_size(size_t key_count)
{
  return 3 * key_count * sizeof(uint64_t);
}

HR_VECTORISED static void hash_keys(const uint64_t *keys, size_t key_count, uint64_t table_seed, dedup_scratch *scratch)
{
  uint64_t *restrict hashes = scratch->hashes;
  uint64_t *restrict words = scratch->words;
  for (size_t i = 0; i < key_count; i++) {
    hashes[i] = hr_key_hash(keys[i], table_seed);
    words[i] = (hashes[i] & ~POSITION_MASK) | i;
  }
}

static void insertion_sort(uint64_t *words, size_t count)
{
  for (size_t i = 1; i < count; i++) {
    uint64_t word = words[i];
    size_t to = i;
    for (; to > 0 && words[to - 1] > word; to--)
      words[to] = words[to - 1];
    words[to] = word;
  }
}

static size_t digit_of(uint64_t word, unsigned digit)
{
  return (size_t)(word >> (POSITION_BITS + digit * DIGIT_BITS)) & (BUCKET_COUNT - 1);
}

/* By digits first_digit and up, least significant first, so the order of equal digits is kept from pass to pass. */
static void sort_by_digits(uint64_t *words, uint64_t *spare, size_t count, unsigned first_digit)
{
  uint32_t starts[DIGIT_COUNT][BUCKET_COUNT];
  memset(starts, 0, sizeof starts);
  for (size_t i = 0; i < count; i++)
    for (unsigned digit = first_digit; digit < DIGIT_COUNT; digit++)
      starts[digit][digit_of(words[i], digit)]++;
  uint64_t *from = words, *to = spare;
  for (unsigned digit = first_digit; digit < DIGIT_COUNT; digit++) {
    if (starts[digit][digit_of(from[0], digit)] == count)
      continue; /* all words share this digit */
    uint32_t start = 0;
    for (size_t bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      uint32_t bucket_size = starts[digit][bucket];
      starts[digit][bucket] = start;
      start += bucket_size;
    }
    for (size_t i = 0; i < count; i++)
      to[starts[digit][digit_of(from[i], digit)]++] = from[i];
    uint64_t *sorted = to;
    to = from;
    from = sorted;
  }
  if (from != words)
    memcpy(words, from, count * sizeof *words);
}

static void sort_words(uint64_t *words, uint64_t *spare, size_t count)
{
  if (count <= INSERTION_MAX) {
    insertion_sort(words, count);
    return;
  }
  bool is_few = count <= FEW_KEYS_MAX;
  sort_by_digits(words, spare, count, is_few ? 1 : 0);
  for (size_t start = 0, end; is_few && start < count; start = end) {
    uint64_t digits = words[start] >> (POSITION_BITS + DIGIT_BITS);
    for (end = start + 1; end < count && words[end] >> (POSITION_BITS + DIGIT_BITS) == digits;)
      end++;
    if (end - start > INSERTION_MAX)
      sort_by_digits(words + start, spare, end - start, 0);
    else if (end - start > 1)
      insertion_sort(words + start, end - start);
  }
}

/* Sorts a run of words whose upper hash bits are equal by the lower ones. */
static void sort_by_lower_bits(uint64_t *words, uint64_t *spare, size_t count, const uint64_t *hashes)
{
  for (size_t i = 0; i < count; i++) {
    uint64_t position = words[i] & POSITION_MASK;
    words[i] = hashes[position] << POSITION_BITS | position;
  }
  sort_words(words, spare, count);
}

hotrow_status hr_cpu_dedup(const uint64_t *keys, size_t key_count, uint64_t table_seed, void *scratch_memory,
                           void *stream, const hotrow_dedup *result)
{
  (void)stream;
  HOTROW_ASSERT(key_count <= POSITION_MASK);
  HOTROW_ASSERT(result->unique_count_p && (key_count == 0 || (keys && scratch_memory)));
  dedup_scratch scratch = {.hashes = scratch_memory};
  scratch.words = scratch.hashes + key_count;
  scratch.spare = scratch.words + key_count;
  hash_keys(keys, key_count, table_seed, &scratch);
  sort_words(scratch.words, scratch.spare, key_count);

  const hotrow_dedup r = *result;
  uint32_t unique_count = 0;
  for (size_t start = 0, end; start < key_count; start = end) {
    uint64_t *words = scratch.words;
    uint64_t first_hash = scratch.hashes[words[start] & POSITION_MASK];
    bool is_mixed = false;
    for (end = start + 1; end < key_count && words[end] >> POSITION_BITS == words[start] >> POSITION_BITS; end++)
      is_mixed |= scratch.hashes[words[end] & POSITION_MASK] != first_hash;
    if (is_mixed)
      sort_by_lower_bits(words + start, scratch.spare, end - start, scratch.hashes);
    for (size_t i = start; i < end; i++) {
      uint32_t position = (uint32_t)(words[i] & POSITION_MASK);
      uint64_t hash = scratch.hashes[position];
      if (i == start || hash != r.hashes[unique_count - 1]) {
        r.keys[unique_count] = keys[position];
        r.hashes[unique_count] = hash;
        r.offsets[unique_count++] = (uint32_t)i;
      }
      r.positions[i] = position;
      r.inverse[position] = unique_count - 1;
    }
  }
  r.offsets[unique_count] = (uint32_t)key_count;
  *r.unique_count_p = unique_count;
  return HOTROW_OK;
}
