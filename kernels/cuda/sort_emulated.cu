/* Stands in for sort_cuda.cu under the emulator: a stable sort by bytes, least significant first. */
#include <stdlib.h>

#include "sort_cuda.h"

#define DIGITS 8u
#define BUCKETS 256u

typedef struct pair {
  uint64_t key;
  uint32_t value;
} pair;

typedef struct sort_call {
  const uint64_t *keys;
  const uint32_t *values;
  size_t count;
  pair *pairs; /* in scratch: twice count */
  uint64_t *sorted_keys;
  uint32_t *sorted_values;
} sort_call;

size_t hr_cuda_sort_scratch_size(size_t count)
{
  return 2 * count * sizeof(pair);
}

static void sort_by_digit(const pair *from, pair *to, size_t count, unsigned digit)
{
  size_t starts[BUCKETS + 1] = {0};
  for (size_t i = 0; i < count; i++)
    starts[(from[i].key >> 8 * digit & (BUCKETS - 1)) + 1]++;
  for (unsigned bucket = 1; bucket <= BUCKETS; bucket++)
    starts[bucket] += starts[bucket - 1];
  for (size_t i = 0; i < count; i++)
    to[starts[from[i].key >> 8 * digit & (BUCKETS - 1)]++] = from[i];
}

static void sort_now(void *context)
{
  sort_call *c = (sort_call *)context;
  pair *from = c->pairs, *to = c->pairs + c->count;
  for (size_t i = 0; i < c->count; i++)
    from[i] = {c->keys[i], c->values[i]};
  for (unsigned digit = 0; digit < DIGITS; digit++) {
    sort_by_digit(from, to, c->count, digit);
    pair *sorted = to;
    to = from;
    from = sorted;
  }
  for (size_t i = 0; i < c->count; i++) {
    c->sorted_keys[i] = from[i].key;
    c->sorted_values[i] = from[i].value;
  }
  free(c);
}

hotrow_status hr_cuda_sort(const uint64_t *keys, const uint32_t *values, size_t count, void *scratch,
                           size_t scratch_bytes, cudaStream_t stream, uint64_t *sorted_keys, uint32_t *sorted_values)
{
  sort_call *c = (sort_call *)malloc(sizeof *c);
  if (!c || scratch_bytes < hr_cuda_sort_scratch_size(count))
    return hr_cuda_check(cudaErrorMemoryAllocation, "sort");
  *c = {keys, values, count, (pair *)scratch, sorted_keys, sorted_values};
  hr_emulated_call(sort_now, c, stream);
  return HOTROW_OK;
}
