/* The pass that sums and applies gives the bits of the calls it stands for, made one by one on the CPU. */
#include <math.h>

#include <hr/optimizer.h>

#include "kernel_test.h"

#define ROW_COUNT 150u
#define GRAD_ROWS 90u

typedef struct batch {
  hotrow_row_layout layout;
  size_t row_stride, pending_stride, key_count;
  uint32_t term_count;
  float *grads, *coefficients, *rows, *pending;
  uint32_t *source, *positions, *offsets, *slots, *pending_slots;
  uint8_t is_first[ROW_COUNT];
  bool has_pending;
} batch;

static hotrow_optimizer preset(hotrow_optimizer_kind kind)
{
  return (hotrow_optimizer){.kind = kind, .lr = 0.05f, .initial_state = 0.1f, .weight_decay = 0.02f, .l1 = 0.03f};
}

/* Slots of which a fifth are none. */
static uint32_t *some_slots(hr_rng *rng, size_t count)
{
  uint32_t *slots = random_distinct(rng, count, ROW_COUNT);
  for (size_t i = 0; i < count; i++)
    slots[i] = hr_rng_below(rng, 5) == 0 ? HOTROW_SLOT_NONE : slots[i];
  return slots;
}

static void draw_batch(hr_rng *rng, const hotrow_segment *segments, uint32_t segment_count, size_t pad,
                       size_t key_count, batch *b)
{
  CHECK_OK(hr_row_layout_make(segments, segment_count, &b->layout));
  uint32_t dim = b->layout.dim;
  b->row_stride = dim + b->layout.state_dim + pad;
  b->pending_stride = dim + b->layout.square_dim + pad;
  b->key_count = key_count;
  b->offsets = random_offsets(rng, key_count, &b->term_count);
  b->grads = random_floats(rng, (size_t)GRAD_ROWS * dim);
  b->coefficients = random_floats(rng, b->term_count);
  b->positions = random_distinct(rng, b->term_count, b->term_count);
  b->source = random_distinct(rng, 0, b->term_count);
  for (uint32_t i = 0; i < b->term_count; i++)
    b->source[i] = (uint32_t)hr_rng_below(rng, GRAD_ROWS);
  if (hr_rng_below(rng, 2)) /* a gradient or two that are not finite */
    b->grads[hr_rng_below(rng, (uint64_t)GRAD_ROWS * dim)] = hr_rng_below(rng, 2) ? INFINITY : NAN;
  b->rows = random_floats(rng, ROW_COUNT * b->row_stride);
  for (size_t r = 0; r < ROW_COUNT; r++)
    hr_row_layout_init_state(&b->layout, b->rows + r * b->row_stride, b->rows + r * b->row_stride + dim);
  b->pending = random_floats(rng, ROW_COUNT * b->pending_stride);
  b->slots = some_slots(rng, key_count);
  b->pending_slots = some_slots(rng, key_count);
  b->has_pending = hr_rng_below(rng, 4) != 0;
  for (size_t i = 0; i < ROW_COUNT; i++)
    b->is_first[i] = hr_rng_below(rng, 2) ? 255 : 0;
}

/* One key at a time; returns the first whose sum is not finite. */
static uint64_t apply_one_by_one(batch *b, float lr_scale)
{
  const hotrow_kernels *cpu;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &cpu));
  static float sum[HOTROW_DIM_MAX];
  uint64_t first_bad = b->key_count, bad;
  for (size_t i = 0; i < b->key_count; i++) {
    cpu->segment_sum(b->grads, b->layout.dim, b->layout.dim, b->source, b->coefficients, b->positions, b->offsets + i,
                     1, NULL, sum);
    cpu->find_nonfinite(sum, 1, b->layout.dim, NULL, &bad, NULL);
    if (bad == 0) {
      first_bad = first_bad < i ? first_bad : i;
      continue;
    }
    if (b->slots[i] != HOTROW_SLOT_NONE)
      cpu->optimizer_apply(&b->layout, lr_scale, b->rows, b->row_stride, b->slots + i, sum, NULL, NULL, 1, NULL);
    if (b->has_pending && b->pending_slots[i] != HOTROW_SLOT_NONE)
      cpu->pending_add(&b->layout, b->pending, b->pending_stride, b->pending_slots + i, b->is_first + i, sum, 1, NULL);
  }
  return first_bad;
}

static void check_batch(hr_rng *rng, const hotrow_segment *segments, uint32_t segment_count, size_t pad,
                        size_t key_count)
{
  static batch b;
  draw_batch(rng, segments, segment_count, pad, key_count, &b);
  uint32_t dim = b.layout.dim;
  size_t row_floats = ROW_COUNT * b.row_stride, pending_floats = ROW_COUNT * b.pending_stride;
  float *device_rows = TO_DEVICE(b.rows, row_floats), *device_pending = TO_DEVICE(b.pending, pending_floats);
  hotrow_key_terms terms = {TO_DEVICE(b.grads, (size_t)GRAD_ROWS * dim),
                            dim,
                            TO_DEVICE(b.source, b.term_count),
                            TO_DEVICE(b.coefficients, b.term_count),
                            TO_DEVICE(b.positions, b.term_count),
                            TO_DEVICE(b.offsets, key_count + 1),
                            key_count};
  hotrow_key_rows to = {.rows = device_rows, .row_stride = b.row_stride, .slots = TO_DEVICE(b.slots, key_count)};
  if (b.has_pending) {
    to.pending = device_pending;
    to.pending_stride = b.pending_stride;
    to.pending_slots = TO_DEVICE(b.pending_slots, key_count);
    to.is_first = TO_DEVICE(b.is_first, ROW_COUNT);
  }
  uint64_t bad = 77, *device_bad = TO_DEVICE(&bad, 1);
  float *scratch = random_floats(rng, key_count * dim), *device_scratch = TO_DEVICE(scratch, key_count * dim);
  kernels->segment_sum_apply(&b.layout, 0.3f, &terms, &to, NULL, device_scratch, device_bad);
  float *rows = random_floats(rng, row_floats), *pending = random_floats(rng, pending_floats);
  from_device(rows, device_rows, row_floats * sizeof *rows);
  from_device(pending, device_pending, pending_floats * sizeof *pending);
  from_device(&bad, device_bad, sizeof bad);

  CHECK_EQ(bad, apply_one_by_one(&b, 0.3f));
  size_t at = first_difference(rows, b.rows, row_floats);
  CHECK_MSG(at == row_floats, "first kind %d, dim %u: row %zu float %zu is %.9g, not %.9g",
            (int)segments[0].optimizer.kind, dim, at / b.row_stride, at % b.row_stride, (double)rows[at],
            (double)b.rows[at]);
  at = first_difference(pending, b.pending, pending_floats);
  CHECK_MSG(at == pending_floats, "first kind %d, dim %u: pending row %zu float %zu is %.9g, not %.9g",
            (int)segments[0].optimizer.kind, dim, at / b.pending_stride, at % b.pending_stride, (double)pending[at],
            (double)b.pending[at]);
  kernel_test_release();
}

static void one_pass_gives_the_bits_of_three(void)
{
  hr_rng rng = {hr_test_seed(50)};
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
    hotrow_segment segment = {.optimizer = preset((hotrow_optimizer_kind)kind)};
    for (size_t d = 0; d < test_dim_count; d++)
      for (size_t pad = 0; pad < 4; pad++) {
        segment.dim = test_dims[d];
        check_batch(&rng, &segment, 1, pad, pad == 3 ? 0 : (size_t)hr_rng_below(&rng, ROW_COUNT + 1));
      }
  }
  hotrow_segment wide = {.dim = HOTROW_DIM_MAX, .optimizer = preset(HOTROW_ROWWISE_ADAGRAD)};
  check_batch(&rng, &wide, 1, 3, 20);
}

static void segments_take_their_parts(void)
{
  hr_rng rng = {hr_test_seed(51)};
  for (int round = 0; round < 60; round++) {
    hotrow_segment segments[HOTROW_SEGMENTS_MAX] = {0};
    uint32_t segment_count = 2 + (uint32_t)hr_rng_below(&rng, HOTROW_SEGMENTS_MAX - 1);
    for (uint32_t s = 0; s < segment_count; s++) {
      segments[s].dim = (1 + (uint32_t)hr_rng_below(&rng, 20)) * (round % 3 == 0 ? 4 : 1);
      segments[s].optimizer = preset((hotrow_optimizer_kind)(1 + hr_rng_below(&rng, HOTROW_LAMB)));
    }
    check_batch(&rng, segments, segment_count, (size_t)hr_rng_below(&rng, 4),
                (size_t)hr_rng_below(&rng, ROW_COUNT + 1));
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(one_pass_gives_the_bits_of_three);
  RUN(segments_take_their_parts);
  return 0;
}
