#include "kernel_test.h"

/* Sizes around everything that a scan may be cut into: warps, blocks, what one block takes, what all take at once. */
static const size_t counts[] = {0,    1,    2,    31,   32,   33,   255,   256,   257,   1023,
                                1024, 1025, 2047, 2048, 2049, 4096, 65535, 65537, 524289};
#define COUNT_MAX 524289u

static uint32_t values[COUNT_MAX], sums[COUNT_MAX + 2], indices[COUNT_MAX + 1];
static uint8_t flags[COUNT_MAX];

static void *scratch_for(size_t count)
{
  void *scratch;
  CHECK_OK(kernels->alloc(kernels->scan_scratch_size(count), &scratch));
  return scratch;
}

static void check_scan(size_t count, bool is_in_place)
{
  void *scratch = scratch_for(count);
  memset(sums, 0xee, sizeof *sums * (count + 2));
  uint32_t *device_sums = TO_DEVICE(sums, count + 2), *device_values = device_sums;
  if (is_in_place)
    CHECK_OK(kernels->copy_in(device_sums, values, count * sizeof *values, NULL));
  else
    device_values = TO_DEVICE(values, count);
  kernels->scan(device_values, count, scratch, NULL, device_sums);
  from_device(sums, device_sums, (count + 2) * sizeof *sums);
  uint32_t sum = 0;
  for (size_t i = 0; i <= count; i++) {
    CHECK_MSG(sums[i] == sum, "%zu values: sum %zu is %u, expected %u", count, i, sums[i], sum);
    sum += i < count ? values[i] : 0;
  }
  CHECK_EQ(sums[count + 1], 0xeeeeeeeeu);
  kernels->free(scratch);
  kernel_test_release();
}

static void sums_of_all_that_come_before(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    for (size_t i = 0; i < counts[c]; i++)
      values[i] = (uint32_t)(c % 2 ? hr_rng_next(&rng) : hr_rng_below(&rng, 3));
    check_scan(counts[c], c % 3 == 0);
  }
  for (size_t i = 0; i < 5000; i++)
    values[i] = UINT32_MAX; /* every sum passes 2^32 */
  check_scan(5000, false);
}

static void check_select(size_t count, uint8_t mask, uint8_t value)
{
  void *scratch = scratch_for(count);
  memset(indices, 0xee, sizeof *indices * (count + 1));
  uint32_t *device_indices = TO_DEVICE(indices, count + 1), found = 77;
  uint32_t *device_found = TO_DEVICE(&found, 1);
  kernels->select(TO_DEVICE(flags, count), count, mask, value, scratch, NULL, device_indices, device_found);
  from_device(indices, device_indices, (count + 1) * sizeof *indices);
  from_device(&found, device_found, sizeof found);
  uint32_t expected = 0;
  for (size_t i = 0; i < count; i++)
    if ((flags[i] & mask) == value) {
      CHECK_MSG(expected < found && indices[expected] == i, "%zu flags: index %u is %u of %u, expected %zu", count,
                expected, indices[expected], found, i);
      expected++;
    }
  CHECK_EQ(found, expected);
  CHECK_EQ(indices[count], 0xeeeeeeeeu);
  kernels->free(scratch);
  kernel_test_release();
}

static void flags_are_selected_in_order(void)
{
  hr_rng rng = {hr_test_seed(2)};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    for (size_t i = 0; i < counts[c]; i++)
      flags[i] = (uint8_t)hr_rng_next(&rng);
    check_select(counts[c], 0x03, 0x02);
    if (counts[c] > 70000)
      continue;
    check_select(counts[c], 0xff, 0x17); /* few */
    check_select(counts[c], 0x00, 0x00); /* all */
    check_select(counts[c], 0x01, 0x02); /* none: a value beyond its mask */
    for (size_t i = 0; i < counts[c]; i++)
      flags[i] = i + 1 == counts[c]; /* the last one alone */
    check_select(counts[c], 0xff, 1);
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(sums_of_all_that_come_before);
  RUN(flags_are_selected_in_order);
  return 0;
}
