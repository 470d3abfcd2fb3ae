#include <math.h>

#include <hr/optimizer.h>

#include "kernel_test.h"

#define PENDING_COUNT 80u

static void oracle_add(hotrow_optimizer_kind kind, uint32_t dim, float *pending, bool is_first, const float *g)
{
  float row_square = 0.0f;
  for (uint32_t c = 0; c < dim; c++) {
    volatile float square = g[c] * g[c];
    row_square += square;
    pending[c] = is_first ? g[c] : pending[c] + g[c];
    if (kind == HOTROW_ADAGRAD)
      pending[dim + c] = is_first ? square : pending[dim + c] + square;
  }
  volatile float mean = row_square * (1.0f / (float)dim);
  if (kind == HOTROW_ROWWISE_ADAGRAD)
    pending[dim] = is_first ? mean : pending[dim] + mean;
}

static hotrow_row_layout one_segment(hotrow_optimizer_kind kind, uint32_t dim)
{
  hotrow_segment segment = {.dim = dim, .optimizer.kind = kind};
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(&segment, 1, &layout));
  return layout;
}

static void check_add(hr_rng *rng, hotrow_optimizer_kind kind, uint32_t dim, size_t count)
{
  hotrow_row_layout layout = one_segment(kind, dim);
  size_t stride = dim + hr_optimizer_square_dim(kind, dim) + (size_t)hr_rng_below(rng, 3);
  float *pending = random_floats(rng, PENDING_COUNT * stride), *expected = random_floats(rng, PENDING_COUNT * stride);
  for (size_t i = 0; i < PENDING_COUNT * stride; i++)
    pending[i] = NAN; /* what a slot held before its first step must not be read */
  memcpy(expected, pending, PENDING_COUNT * stride * sizeof *pending);
  uint8_t used[PENDING_COUNT] = {0}, is_first[PENDING_COUNT];
  float *device_pending = TO_DEVICE(pending, PENDING_COUNT * stride);
  for (int round = 0; round < 4; round++) {
    uint32_t *slots = random_distinct(rng, count, PENDING_COUNT);
    float *grads = random_floats(rng, count * dim);
    for (size_t i = 0; i < count; i++) {
      is_first[i] = used[slots[i]] == 0 || hr_rng_below(rng, 4) == 0;
      used[slots[i]] = 1;
      oracle_add(kind, dim, expected + slots[i] * stride, is_first[i], grads + i * dim);
    }
    kernels->pending_add(&layout, device_pending, stride, TO_DEVICE(slots, count), TO_DEVICE(is_first, count),
                         TO_DEVICE(grads, count * dim), count, NULL);
    from_device(pending, device_pending, PENDING_COUNT * stride * sizeof *pending);
    size_t at = first_difference(pending, expected, PENDING_COUNT * stride);
    CHECK_MSG(at == PENDING_COUNT * stride, "kind %d dim %u: slot %zu float %zu is %.9g, expected %.9g", (int)kind, dim,
              at / stride, at % stride, (double)pending[at], (double)expected[at]);
  }
  kernel_test_release();
}

static void steps_add_up_bit_by_bit(void)
{
  hr_rng rng = {hr_test_seed(12)};
  for (int kind = HOTROW_SGD; kind <= HOTROW_ADAM; kind++)
    for (size_t d = 0; d < test_dim_count; d++) {
      check_add(&rng, (hotrow_optimizer_kind)kind, test_dims[d], PENDING_COUNT);
      check_add(&rng, (hotrow_optimizer_kind)kind, test_dims[d], (size_t)hr_rng_below(&rng, 20));
    }
}

/* What the squares are for: Adagrad's state after one push of k steps is that of k single pushes. */
static void adagrad_state_is_exact_under_accumulation(void)
{
  enum { DIM = 16, STEPS = 9 };
  const hotrow_optimizer_kind kinds[] = {HOTROW_ADAGRAD, HOTROW_ROWWISE_ADAGRAD};
  hr_rng rng = {hr_test_seed(13)};
  for (int i = 0; i < 2; i++) {
    hotrow_row_layout layout = one_segment(kinds[i], DIM);
    uint32_t square_dim = hr_optimizer_square_dim(kinds[i], DIM), slot = 0, k = STEPS;
    float single[2 * DIM] = {0}, pushed[2 * DIM] = {0}, pending[2 * DIM] = {0};
    float *device_single = TO_DEVICE(single, 2 * DIM), *device_pushed = TO_DEVICE(pushed, 2 * DIM);
    float *device_pending = TO_DEVICE(pending, 2 * DIM);
    uint32_t *device_slot = TO_DEVICE(&slot, 1);
    for (int step = 0; step < STEPS; step++) {
      float *g = TO_DEVICE(random_floats(&rng, DIM), DIM);
      uint8_t is_first = step == 0;
      kernels->optimizer_apply(&layout, 1.0f, device_single, 2 * DIM, device_slot, g, NULL, NULL, 1, NULL);
      kernels->pending_add(&layout, device_pending, 2 * DIM, device_slot, TO_DEVICE(&is_first, 1), g, 1, NULL);
    }
    kernels->optimizer_apply(&layout, 1.0f, device_pushed, 2 * DIM, device_slot, device_pending, device_pending + DIM,
                             TO_DEVICE(&k, 1), 1, NULL);
    from_device(single, device_single, sizeof single);
    from_device(pushed, device_pushed, sizeof pushed);
    for (uint32_t c = 0; c < square_dim; c++)
      CHECK_MSG(single[DIM + c] > 0.5f && fabsf(single[DIM + c] - pushed[DIM + c]) < 1e-5f,
                "state %u is %g after single steps, %g after one push", c, (double)single[DIM + c],
                (double)pushed[DIM + c]);
    kernel_test_release();
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  kernel_test_need(kernels->pending_add && kernels->optimizer_apply, "pending_add");
  RUN(steps_add_up_bit_by_bit);
  RUN(adagrad_state_is_exact_under_accumulation);
  return 0;
}
