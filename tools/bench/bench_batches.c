#include <stdlib.h>

#include <hr/random.h>

#include "bench.h"
#include "dataset_zipf.h"

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Zipf ranks scattered over the rows, so that hot rows are not neighbours; distinct; in random order. */
static bool make_batch(const hr_zipf *zipf, hr_rng *rng, uint64_t rows, uint64_t key_count, bench_batch *batch_p)
{
  uint64_t *keys = malloc(key_count * sizeof *keys);
  if (!keys)
    return false;
  for (uint64_t i = 0; i < key_count; i++) {
    uint64_t rank = hr_zipf_draw(zipf, hr_unit_double(hr_rng_next(rng)), rng);
    keys[i] = hr_mix64(rank) % rows;
  }
  qsort(keys, key_count, sizeof *keys, compare_keys);
  size_t count = 0;
  for (uint64_t i = 0; i < key_count; i++)
    if (i == 0 || keys[i] != keys[i - 1])
      keys[count++] = keys[i];
  for (size_t i = count - 1; i > 0; i--) {
    size_t other = hr_rng_below(rng, i + 1);
    uint64_t key = keys[i];
    keys[i] = keys[other];
    keys[other] = key;
  }
  *batch_p = (bench_batch){keys, count};
  return true;
}

bool bench_batches_init(bench_batches *b, uint64_t rows, uint64_t key_count, double zipf_exponent)
{
  hr_zipf zipf;
  hr_zipf_init(&zipf, 1, rows, zipf_exponent);
  hr_rng rng = {1};
  *b = (bench_batches){0};
  for (uint32_t s = 0; s < BENCH_BATCHES; s++) {
    if (!make_batch(&zipf, &rng, rows, key_count, &b->all[s])) {
      bench_batches_fini(b);
      return false;
    }
    b->distinct_keys += b->all[s].count / BENCH_BATCHES;
    b->key_count_max = b->all[s].count > b->key_count_max ? b->all[s].count : b->key_count_max;
  }
  return true;
}

void bench_batches_fini(bench_batches *b)
{
  for (uint32_t s = 0; s < BENCH_BATCHES; s++)
    free(b->all[s].keys);
  *b = (bench_batches){0};
}
