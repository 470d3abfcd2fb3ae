#include <float.h>
#include <math.h>

#include "kernel_test.h"

static uint64_t find(const float *values, size_t row_count, uint32_t dim)
{
  static bool has_gate;
  uint64_t row = 77, *device_row = TO_DEVICE(&row, 1);
  uint32_t gate = 99, *device_gate = TO_DEVICE(&gate, 1);
  has_gate = !has_gate;
  kernels->find_nonfinite(TO_DEVICE(values, row_count * dim), row_count, dim, NULL, device_row,
                          has_gate ? device_gate : NULL);
  from_device(&row, device_row, sizeof row);
  from_device(&gate, device_gate, sizeof gate);
  CHECK_EQ(gate, has_gate && row < row_count ? 0 : 99);
  kernel_test_release();
  return row;
}

static void finite_values_pass_however_odd(void)
{
  const float odd[] = {0.0f, -0.0f, FLT_MAX, -FLT_MAX, FLT_MIN, FLT_TRUE_MIN, -FLT_TRUE_MIN, 1.0f};
  CHECK_EQ(find(odd, 8, 1), 8);
  CHECK_EQ(find(odd, 2, 4), 2);
  CHECK_EQ(find(odd, 0, 4), 0);
}

static void the_first_bad_row_is_named_wherever_it_is(void)
{
  enum { VALUES = 130 * 60 };
  hr_rng rng = {hr_test_seed(9)};
  static float values[VALUES];
  for (size_t i = 0; i < VALUES; i++)
    values[i] = hr_rng_unit(&rng);
  uint32_t quiet = 0x7fc00000u, signalling = 0xff800001u;
  float bad[4] = {INFINITY, -INFINITY};
  memcpy(bad + 2, &quiet, sizeof quiet);
  memcpy(bad + 3, &signalling, sizeof signalling);
  for (size_t d = 0; d < test_dim_count; d++) {
    uint32_t dim = test_dims[d];
    size_t row_count = VALUES / dim;
    CHECK_EQ(find(values, row_count, dim), row_count);
    for (size_t i = 1000; i < 2100; i += i == 1060 ? 970 : 1) { /* every place, also where a small grid begins again */
      float kept = values[i];
      values[i] = bad[i % 4];
      CHECK_EQ(find(values, row_count, dim), i / dim);
      values[i] = kept;
    }
    for (int round = 0; round < 200; round++) {
      size_t value_count = row_count * dim;
      size_t first = (size_t)hr_rng_below(&rng, value_count), second = (size_t)hr_rng_below(&rng, value_count);
      if (round % 4 == 3) /* two that one access may bring */
        second = first > 0 ? first - 1 : 0;
      if (round < 2) /* one bad value alone: the very first, the very last */
        first = second = round == 0 ? 0 : value_count - 1;
      float kept_first = values[first], kept_second = values[second];
      memcpy(values + second, bad + (round + 1) % 4, sizeof *bad);
      memcpy(values + first, bad + round % 4, sizeof *bad);
      CHECK_EQ(find(values, row_count, dim), (first < second ? first : second) / dim);
      values[second] = kept_second;
      values[first] = kept_first;
    }
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(finite_values_pass_however_odd);
  RUN(the_first_bad_row_is_named_wherever_it_is);
  return 0;
}
