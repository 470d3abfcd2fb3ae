#include "kernel_test.h"

#define HASHES_MAX 3000u
#define BOUNDS_MAX 1025u

static uint64_t hashes[HASHES_MAX], bounds[BOUNDS_MAX];
static uint32_t positions[BOUNDS_MAX + 1];

static int compare(const void *a, const void *b)
{
  const uint64_t *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

static void check(uint32_t count, size_t bound_count)
{
  memset(positions, 0xee, sizeof positions);
  uint32_t *device_positions = TO_DEVICE(positions, BOUNDS_MAX + 1);
  kernels->lower_bounds(TO_DEVICE(hashes, (size_t)HASHES_MAX), TO_DEVICE(&count, 1), TO_DEVICE(bounds, bound_count),
                        bound_count, NULL, device_positions);
  from_device(positions, device_positions, sizeof positions);
  for (size_t b = 0; b < bound_count; b++) {
    uint32_t below = 0;
    while (below < count && hashes[below] < bounds[b])
      below++;
    CHECK_MSG(positions[b] == below, "%u hashes, bound %zu: %u, expected %u", count, b, positions[b], below);
  }
  CHECK_EQ(positions[bound_count], 0xeeeeeeeeu);
  kernel_test_release();
}

static void bounds_lie_where_they_would_be_inserted(void)
{
  hr_rng rng = {hr_test_seed(1)};
  const uint32_t counts[] = {0, 1, 2, 3, 255, 256, 257, HASHES_MAX};
  const size_t bound_counts[] = {0, 1, 2, 256, 257, BOUNDS_MAX};
  for (size_t c = 0; c < 8; c++)
    for (size_t b = 0; b < 6; b++) {
      uint64_t range = b % 2 ? UINT64_MAX : 2 * HASHES_MAX; /* the small one: bounds meet hashes, and runs of equals */
      for (size_t i = 0; i < HASHES_MAX; i++)
        hashes[i] = hr_rng_below(&rng, range);
      qsort(hashes, counts[c], sizeof *hashes, compare); /* behind the count lies anything */
      for (size_t i = 0; i < bound_counts[b]; i++)
        bounds[i] = i == 0 ? 0 : i == 1 ? UINT64_MAX : hr_rng_below(&rng, range);
      check(counts[c], bound_counts[b]);
    }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(bounds_lie_where_they_would_be_inserted);
  return 0;
}
