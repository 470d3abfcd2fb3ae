#include "kernel_test.h"

static void check_sum(hr_rng *rng, uint32_t rank_count, size_t count, size_t pad)
{
  size_t stride = count + pad;
  float *values = random_floats(rng, rank_count * stride);
  for (size_t i = 0; i < rank_count * stride; i++)
    values[i] *= (float)(1u << hr_rng_below(rng, 24)); /* the order shows in the bits */
  float *sums = random_floats(rng, count + 1);
  float behind = sums[count];
  float *device_sums = TO_DEVICE(sums, count + 1);
  kernels->sum_ranks(TO_DEVICE(values, rank_count * stride), stride, rank_count, count, NULL, device_sums);
  from_device(sums, device_sums, (count + 1) * sizeof *sums);
  for (size_t i = 0; i < count; i++) {
    float expected = values[i];
    for (uint32_t r = 1; r < rank_count; r++)
      expected += values[r * stride + i];
    CHECK_MSG(same_bits(sums[i], expected), "%u ranks, sum %zu of %zu: %.9g, expected %.9g", rank_count, i, count,
              (double)sums[i], (double)expected);
  }
  CHECK(same_bits(sums[count], behind));
  kernel_test_release();
}

static void sums_are_in_rank_order(void)
{
  static const size_t counts[] = {0, 1, 17, 2047, 2048, 2049, 70000};
  hr_rng rng = {hr_test_seed(21)};
  for (uint32_t rank_count = 1; rank_count <= 5; rank_count++)
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
      check_sum(&rng, rank_count, counts[i], i % 3);
  check_sum(&rng, 70, 300, 3); /* more ranks than any chunk of a segment_sum: still one running sum */
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(sums_are_in_rank_order);
  return 0;
}
