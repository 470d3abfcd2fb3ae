#include <math.h>

#include "kernel_test.h"

#define ROW_COUNT 400u

/* What the sum of a bag is divided by, in words of its own. */
static float oracle_divisor(hotrow_pooling pooling, uint32_t bag_size)
{
  if (pooling == HOTROW_POOL_SUM || bag_size == 0)
    return 1.0f;
  return pooling == HOTROW_POOL_MEAN ? (float)bag_size : sqrtf((float)bag_size);
}

static float oracle_pool(const float *rows, size_t stride, uint32_t column, const uint32_t *slots, const float *weights,
                         uint32_t first, uint32_t end, hotrow_pooling pooling)
{
  float sum = 0.0f;
  for (uint32_t i = first; i < end; i++) {
    if (slots[i] == HOTROW_SLOT_NONE)
      continue;
    volatile float product = (weights ? weights[i] : 1.0f) * rows[slots[i] * stride + column];
    sum += product;
  }
  return sum / oracle_divisor(pooling, end - first);
}

static void check_pool(hr_rng *rng, uint32_t dim, size_t pad, size_t bags, bool is_weighted, hotrow_pooling pooling)
{
  uint32_t total;
  uint32_t *offsets = random_offsets(rng, bags, &total);
  size_t stride = dim + pad, out_stride = dim + 1;
  float *rows = random_floats(rng, ROW_COUNT * stride);
  float *weights = is_weighted ? random_floats(rng, total) : NULL;
  uint32_t *slots = random_distinct(rng, 0, total);
  for (uint32_t i = 0; i < total; i++)
    slots[i] = i % 5 == 4 ? HOTROW_SLOT_NONE : (uint32_t)hr_rng_below(rng, ROW_COUNT);
  float *out = random_floats(rng, bags * out_stride), *before = random_floats(rng, bags * out_stride);
  memcpy(before, out, bags * out_stride * sizeof *out);

  float *device_out = TO_DEVICE(out, bags * out_stride);
  kernels->pool(TO_DEVICE(rows, ROW_COUNT * stride), stride, dim, TO_DEVICE(slots, total), TO_DEVICE(offsets, bags + 1),
                weights ? TO_DEVICE(weights, total) : NULL, bags, pooling, NULL, device_out, out_stride);
  from_device(out, device_out, bags * out_stride * sizeof *out);
  for (size_t b = 0; b < bags; b++) {
    for (uint32_t c = 0; c < dim; c++) {
      float expected = oracle_pool(rows, stride, c, slots, weights, offsets[b], offsets[b + 1], pooling);
      CHECK_MSG(same_bits(out[b * out_stride + c], expected), "dim %u bag %zu column %u: %.9g, expected %.9g", dim, b,
                c, (double)out[b * out_stride + c], (double)expected);
    }
    CHECK(out[b * out_stride + dim] == before[b * out_stride + dim]);
  }
  kernel_test_release();
}

static void bags_are_summed_in_order(void)
{
  hr_rng rng = {hr_test_seed(7)};
  for (size_t d = 0; d < test_dim_count; d++)
    for (int form = 0; form < 6; form++) {
      check_pool(&rng, test_dims[d], d % 3, 60, form & 1, (hotrow_pooling)(HOTROW_POOL_SUM + form / 2));
      check_pool(&rng, test_dims[d], d % 3, 0, form & 1, (hotrow_pooling)(HOTROW_POOL_SUM + form / 2));
    }
  check_pool(&rng, HOTROW_DIM_MAX, 2, 10, true, HOTROW_POOL_SQRTN);
}

static void the_gradient_of_a_bag_reaches_each_of_its_positions(void)
{
  hr_rng rng = {hr_test_seed(8)};
  for (int form = 0; form < 6; form++) {
    uint32_t total;
    size_t bags = form == 3 ? 1 : 500;
    uint32_t *offsets = random_offsets(&rng, bags, &total);
    float *weights = form & 1 ? random_floats(&rng, total) : NULL;
    hotrow_pooling pooling = (hotrow_pooling)(HOTROW_POOL_SUM + form / 2);
    uint32_t *source = random_distinct(&rng, 0, total);
    float *coefficients = random_floats(&rng, total);
    uint32_t *device_source = TO_DEVICE(source, total);
    float *device_coefficients = TO_DEVICE(coefficients, total);
    kernels->pool_backward(TO_DEVICE(offsets, bags + 1), weights ? TO_DEVICE(weights, total) : NULL, bags, pooling,
                           NULL, device_source, device_coefficients);
    from_device(source, device_source, total * sizeof *source);
    from_device(coefficients, device_coefficients, total * sizeof *coefficients);
    for (uint32_t b = 0; b < bags; b++)
      for (uint32_t i = offsets[b]; i < offsets[b + 1]; i++) {
        float expected = (weights ? weights[i] : 1.0f) / oracle_divisor(pooling, offsets[b + 1] - offsets[b]);
        CHECK_EQ(source[i], b);
        CHECK(coefficients[i] == expected);
      }
    kernel_test_release();
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(bags_are_summed_in_order);
  RUN(the_gradient_of_a_bag_reaches_each_of_its_positions);
  return 0;
}
