#include <math.h>

#include <hr/optimizer.h>

#include "kernel_test.h"

#define PENDING_COUNT 80u

/* One segment: its part of G, and its squares. */
static void oracle_add_segment(hotrow_optimizer_kind kind, uint32_t dim, float *sum, float *squares, bool is_first,
                               const float *g)
{
  float row_square = 0.0f;
  for (uint32_t c = 0; c < dim; c++) {
    volatile float square = g[c] * g[c];
    row_square += square;
    sum[c] = is_first ? g[c] : sum[c] + g[c];
    if (kind == HOTROW_ADAGRAD || kind == HOTROW_FTRL)
      squares[c] = is_first ? square : squares[c] + square;
  }
  volatile float mean = row_square * (1.0f / (float)dim);
  if (kind == HOTROW_ROWWISE_ADAGRAD)
    squares[0] = is_first ? mean : squares[0] + mean;
}

static void oracle_add(const hotrow_segment *segments, uint32_t segment_count, float *pending, bool is_first,
                       const float *g)
{
  float *squares = pending;
  for (uint32_t s = 0; s < segment_count; s++)
    squares += segments[s].dim;
  for (uint32_t s = 0; s < segment_count; s++) {
    hotrow_optimizer_kind kind = segments[s].optimizer.kind;
    uint32_t dim = segments[s].dim;
    oracle_add_segment(kind, dim, pending, squares, is_first, g);
    pending += dim;
    g += dim;
    squares += hr_optimizer_square_dim(kind, dim);
  }
}

static hotrow_row_layout layout_of(const hotrow_segment *segments, uint32_t segment_count)
{
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(segments, segment_count, &layout));
  return layout;
}

static void check_add(hr_rng *rng, const hotrow_segment *segments, uint32_t segment_count, size_t count)
{
  hotrow_row_layout layout = layout_of(segments, segment_count);
  uint32_t dim = layout.dim;
  size_t stride = dim + layout.square_dim + (size_t)hr_rng_below(rng, 3);
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
      if (hr_rng_below(rng, 5) == 0)
        slots[i] = HOTROW_SLOT_NONE; /* left out */
      if (slots[i] == HOTROW_SLOT_NONE)
        continue;
      is_first[i] = used[slots[i]] == 0 || hr_rng_below(rng, 4) == 0;
      used[slots[i]] = 1;
      oracle_add(segments, segment_count, expected + slots[i] * stride, is_first[i], grads + i * dim);
    }
    kernels->pending_add(&layout, device_pending, stride, TO_DEVICE(slots, count), TO_DEVICE(is_first, count),
                         TO_DEVICE(grads, count * dim), count, NULL);
    from_device(pending, device_pending, PENDING_COUNT * stride * sizeof *pending);
    size_t at = first_difference(pending, expected, PENDING_COUNT * stride);
    CHECK_MSG(at == PENDING_COUNT * stride,
              "%u segments, first kind %d, dim %u: slot %zu float %zu is %.9g, expected %.9g", segment_count,
              (int)segments[0].optimizer.kind, dim, at / stride, at % stride, (double)pending[at],
              (double)expected[at]);
  }
  kernel_test_release();
}

static void steps_add_up_bit_by_bit(void)
{
  hr_rng rng = {hr_test_seed(12)};
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++)
    for (size_t d = 0; d < test_dim_count; d++) {
      hotrow_segment segment = {.dim = test_dims[d], .optimizer.kind = (hotrow_optimizer_kind)kind};
      check_add(&rng, &segment, 1, PENDING_COUNT);
      check_add(&rng, &segment, 1, (size_t)hr_rng_below(&rng, 20));
    }
}

static void segments_add_up_side_by_side(void)
{
  hr_rng rng = {hr_test_seed(18)};
  for (int round = 0; round < 60; round++) {
    hotrow_segment segments[HOTROW_SEGMENTS_MAX] = {0};
    uint32_t segment_count = 2 + (uint32_t)hr_rng_below(&rng, HOTROW_SEGMENTS_MAX - 1);
    for (uint32_t s = 0; s < segment_count; s++) {
      segments[s].dim = 1 + (uint32_t)hr_rng_below(&rng, 20);
      segments[s].optimizer.kind = (hotrow_optimizer_kind)(1 + hr_rng_below(&rng, HOTROW_LAMB));
    }
    check_add(&rng, segments, segment_count, (size_t)hr_rng_below(&rng, PENDING_COUNT + 1));
  }
}

/* What the squares are for: Adagrad's state after one push of k steps is that of k single pushes. */
static void adagrad_state_is_exact_under_accumulation(void)
{
  enum { DIM = 16, STEPS = 9 };
  const hotrow_optimizer_kind kinds[] = {HOTROW_ADAGRAD, HOTROW_ROWWISE_ADAGRAD};
  hr_rng rng = {hr_test_seed(13)};
  for (int i = 0; i < 2; i++) {
    hotrow_segment segment = {.dim = DIM, .optimizer.kind = kinds[i]};
    hotrow_row_layout layout = layout_of(&segment, 1);
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
  RUN(steps_add_up_bit_by_bit);
  RUN(segments_add_up_side_by_side);
  RUN(adagrad_state_is_exact_under_accumulation);
  return 0;
}
