#include "kernel_test.h"

#define GRAD_ROWS 300u

/* The definition: chunks of 32 terms in order, then the chunks in order; products are rounded first. */
static float oracle_sum(const float *grads, size_t stride, uint32_t column, const uint32_t *source,
                        const float *coefficients, const uint32_t *positions, uint32_t first, uint32_t end)
{
  float total = 0.0f;
  for (uint32_t chunk = first; chunk < end; chunk += HOTROW_SUM_CHUNK) {
    float sum = 0.0f;
    for (uint32_t j = chunk; j < end && j < chunk + HOTROW_SUM_CHUNK; j++) {
      uint32_t p = positions[j];
      volatile float product = grads[(source ? source[p] : p) * stride + column];
      if (coefficients)
        product = coefficients[p] * product;
      sum = j == chunk ? product : sum + product;
    }
    total = chunk == first ? sum : total + sum;
  }
  return total;
}

static void check_sum(hr_rng *rng, uint32_t dim, size_t pad, size_t segments, bool has_source, bool has_coefficients)
{
  uint32_t term_count;
  uint32_t *offsets = random_offsets(rng, segments, &term_count);
  size_t stride = dim + pad;
  uint32_t row_count = has_source ? GRAD_ROWS : term_count + 1;
  float *grads = random_floats(rng, row_count * stride);
  float *coefficients = random_floats(rng, term_count);
  uint32_t *positions = random_distinct(rng, term_count, term_count);
  uint32_t *source = random_distinct(rng, 0, term_count);
  for (uint32_t i = 0; i < term_count; i++)
    source[i] = (uint32_t)hr_rng_below(rng, row_count);

  float *sums = random_floats(rng, segments * dim);
  float *device_sums = TO_DEVICE(sums, segments * dim);
  kernels->segment_sum(TO_DEVICE(grads, row_count * stride), stride, dim,
                       has_source ? TO_DEVICE(source, term_count) : NULL,
                       has_coefficients ? TO_DEVICE(coefficients, term_count) : NULL, TO_DEVICE(positions, term_count),
                       TO_DEVICE(offsets, segments + 1), segments, NULL, device_sums);
  from_device(sums, device_sums, segments * dim * sizeof *sums);
  for (size_t u = 0; u < segments; u++)
    for (uint32_t c = 0; c < dim; c++) {
      float expected = oracle_sum(grads, stride, c, has_source ? source : NULL, has_coefficients ? coefficients : NULL,
                                  positions, offsets[u], offsets[u + 1]);
      CHECK_MSG(same_bits(sums[u * dim + c], expected),
                "dim %u segment %zu of %u terms, column %u: %.9g, expected %.9g", dim, u, offsets[u + 1] - offsets[u],
                c, (double)sums[u * dim + c], (double)expected);
    }
  kernel_test_release();
}

static void sums_have_the_defined_order_and_bits(void)
{
  hr_rng rng = {hr_test_seed(2)};
  for (size_t d = 0; d < test_dim_count; d++)
    for (int form = 0; form < 4; form++) {
      check_sum(&rng, test_dims[d], (size_t)form, 100, form & 1, form & 2);
      check_sum(&rng, test_dims[d], 0, 1 + (size_t)form, form & 1, form & 2);
    }
  check_sum(&rng, HOTROW_DIM_MAX, 0, 10, true, true);
}

static void an_empty_batch_and_an_empty_segment(void)
{
  float one = 1.0f;
  uint32_t offsets[] = {0, 0};
  float *sums = TO_DEVICE(&one, 1);
  kernels->segment_sum(sums, 1, 1, NULL, NULL, NULL, TO_DEVICE(offsets, 1), 0, NULL, sums);
  from_device(&one, sums, sizeof one);
  CHECK(one == 1.0f);
  kernels->segment_sum(sums, 1, 1, NULL, NULL, TO_DEVICE(offsets, 1), TO_DEVICE(offsets, 2), 1, NULL, sums);
  from_device(&one, sums, sizeof one);
  CHECK(one == 0.0f);
  kernel_test_release();
}

/* A key in every sample of a batch: one long segment, in which the order of adding shows in the bits. */
static void a_hot_key_sums_in_chunks(void)
{
  enum { TERMS = 100003, DIM = 2 };
  hr_rng rng = {hr_test_seed(3)};
  float *grads = random_floats(&rng, (size_t)TERMS * DIM), sums[DIM] = {0};
  uint32_t *positions = random_distinct(&rng, TERMS, TERMS), offsets[] = {0, TERMS};
  float *device_sums = TO_DEVICE(sums, DIM);
  kernels->segment_sum(TO_DEVICE(grads, (size_t)TERMS * DIM), DIM, DIM, NULL, NULL, TO_DEVICE(positions, TERMS),
                       TO_DEVICE(offsets, 2), 1, NULL, device_sums);
  from_device(sums, device_sums, sizeof sums);
  for (uint32_t c = 0; c < DIM; c++) {
    float chunked = oracle_sum(grads, DIM, c, NULL, NULL, positions, 0, TERMS), plain = 0.0f;
    for (uint32_t j = 0; j < TERMS; j++)
      plain += grads[positions[j] * DIM + c];
    CHECK(plain != chunked); /* else this test would not see a change of order */
    CHECK(sums[c] == chunked);
  }
  kernel_test_release();
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(sums_have_the_defined_order_and_bits);
  RUN(an_empty_batch_and_an_empty_segment);
  RUN(a_hot_key_sums_in_chunks);
  return 0;
}
