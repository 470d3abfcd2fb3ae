#include "kernel_test.h"

#define ROW_COUNT 500u

static void check_gather(hr_rng *rng, uint32_t dim, size_t row_pad, size_t out_pad, size_t count, size_t misalign)
{
  size_t row_stride = dim + row_pad, out_stride = dim + out_pad;
  float *rows = random_floats(rng, misalign + ROW_COUNT * row_stride);
  float *out = random_floats(rng, count * out_stride), *expected = random_floats(rng, count * out_stride);
  memcpy(expected, out, count * out_stride * sizeof *out);
  uint32_t slots[1000];
  for (size_t i = 0; i < count; i++)
    slots[i] = i % 7 == 6 ? HOTROW_SLOT_NONE : (uint32_t)hr_rng_below(rng, i % 3 == 0 ? 2 : ROW_COUNT);
  const uint32_t odd_bits = 0x7fa00001u; /* a copy keeps every bit, a signalling NaN's too */
  memcpy(rows + misalign, &odd_bits, sizeof odd_bits);
  for (size_t i = 0; i < count; i++)
    for (uint32_t c = 0; c < dim; c++)
      if (slots[i] == HOTROW_SLOT_NONE)
        expected[i * out_stride + c] = 0.0f;
      else
        memcpy(expected + i * out_stride + c, rows + misalign + slots[i] * row_stride + c, sizeof(float));

  float *device_rows = TO_DEVICE(rows, misalign + ROW_COUNT * row_stride);
  float *device_out = TO_DEVICE(out, count * out_stride);
  kernels->gather(device_rows + misalign, row_stride, dim, TO_DEVICE(slots, count), count, NULL, device_out,
                  out_stride);
  from_device(out, device_out, count * out_stride * sizeof *out);
  size_t at = first_difference(out, expected, count * out_stride);
  CHECK_MSG(at == count * out_stride, "dim %u strides %zu %zu count %zu: float %zu is %g, expected %g", dim, row_stride,
            out_stride, count, at, (double)out[at], (double)expected[at]);
  kernel_test_release();
}

static void rows_come_out_bit_by_bit_and_nothing_between_them_is_touched(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (size_t d = 0; d < test_dim_count; d++)
    for (size_t pad = 0; pad < 3; pad++) {
      check_gather(&rng, test_dims[d], pad, 2 - pad, 1000, pad);
      check_gather(&rng, test_dims[d], pad, pad, 1 + pad, 1);
    }
  check_gather(&rng, HOTROW_DIM_MAX, 1, 1, 20, 3);
}

static void an_empty_batch_touches_nothing(void)
{
  float canary = 42.0f;
  float *out = TO_DEVICE(&canary, 1);
  kernels->gather(out, 1, 1, NULL, 0, NULL, out, 1);
  from_device(&canary, out, sizeof canary);
  CHECK(canary == 42.0f);
  kernel_test_release();
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(rows_come_out_bit_by_bit_and_nothing_between_them_is_touched);
  RUN(an_empty_batch_touches_nothing);
  return 0;
}
