/* Gradients in halves and bytes: nothing is lost, steps are counted exactly, and what the list calls rounded is what
 * the dtype says. */
#include "device_cache.h"

#include <math.h>

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/random.h>

#define DIM 7
#define KEYS 120
#define ROWS 64

static hotrow_cache *cache;
static const hotrow_kernels *kernels;
static hotrow_dtype dtype;
static uint32_t push_bound;
static double made[KEYS][DIM], out[KEYS][DIM], magnitudes[KEYS][DIM];
static double squares_made[KEYS][DIM], squares_out[KEYS][DIM];
static uint64_t steps_made[KEYS], steps_out[KEYS], rounded_count, exact_count;
static uint64_t all_keys[KEYS], all_hashes[KEYS];
static hr_rng rng;

static void create(hotrow_optimizer_kind kind, hotrow_dtype wire_dtype, uint32_t bound, bool occurrences)
{
  hotrow_segment segment = {.dim = DIM, .optimizer = {.kind = kind}};
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &kernels));
  o.segments = &segment;
  o.segment_count = 1;
  o.row_count = ROWS;
  o.staging_row_count = KEYS;
  o.push_bound = push_bound = bound;
  o.wire_dtype = dtype = wire_dtype;
  o.counts_occurrences = occurrences;
  CHECK_OK(device_create(&o, &cache));
  memset(made, 0, sizeof made);
  memset(out, 0, sizeof out);
  memset(magnitudes, 0, sizeof magnitudes);
  memset(squares_made, 0, sizeof squares_made);
  memset(squares_out, 0, sizeof squares_out);
  memset(steps_made, 0, sizeof steps_made);
  memset(steps_out, 0, sizeof steps_out);
  rounded_count = exact_count = 0;
  for (uint64_t k = 0; k < KEYS; k++) {
    all_keys[k] = k;
    all_hashes[k] = hr_key_hash(k, 2);
  }
}

/* Packed and unpacked again, a rounded gradient is itself. */
static void check_rounded(const float *grad)
{
  char packed[DIM * sizeof(float)];
  float scale = 0.0f, again[DIM];
  kernels->pack(dtype, grad, DIM, DIM, NULL, 1, NULL, packed, &scale);
  kernels->unpack(dtype, packed, &scale, DIM, 1, NULL, again, DIM);
  CHECK(memcmp(grad, again, sizeof again) == 0);
}

static void take(void)
{
  hotrow_cache_push_list list;
  device_take_pushes(cache, &list);
  for (size_t i = 0; i < list.count; i++) {
    uint64_t k = list.keys[i];
    const float *grad = list.grads + i * DIM;
    steps_out[k] += list.steps[i];
    for (uint32_t c = 0; c < DIM; c++) {
      float square = grad[c] * grad[c];
      out[k][c] += (double)grad[c];
      squares_out[k][c] += (double)(list.squares && list.steps[i] > 1 ? list.squares[i * DIM + c] : square);
    }
    (*(list.is_exact[i] ? &exact_count : &rounded_count))++;
    if (list.is_exact[i])
      continue;
    check_rounded(grad);
    CHECK(list.steps[i] >= push_bound && (!list.squares || list.steps[i] > 1));
  }
}

static void step(bool occurrences, float spread)
{
  uint64_t keys[KEYS], hashes[KEYS];
  uint32_t ticks[KEYS], clocks[KEYS] = {0}, slots[KEYS];
  float grads[KEYS * DIM];
  static const float states[KEYS * DIM];
  size_t count = 0;
  for (size_t k = 0; k < KEYS; k++) {
    if (hr_rng_below(&rng, 1 + k / 8))
      continue;
    keys[count] = all_keys[k];
    hashes[count] = all_hashes[k];
    ticks[count] = occurrences ? 1 + (uint32_t)hr_rng_below(&rng, 5) : 1;
    steps_made[k] += ticks[count];
    for (uint32_t c = 0; c < DIM; c++) {
      float g = (hr_rng_unit(&rng) - 0.5f) * powf(spread, hr_rng_unit(&rng) - 0.5f);
      grads[count * DIM + c] = hr_rng_below(&rng, 9) ? g : 0.0f;
      made[k][c] += (double)grads[count * DIM + c];
      magnitudes[k][c] += fabs((double)grads[count * DIM + c]);
      squares_made[k][c] += (double)(grads[count * DIM + c] * grads[count * DIM + c]);
    }
    count++;
  }
  hotrow_cache_begin_batch(cache);
  CHECK_OK(device_insert(cache, keys, hashes, clocks, grads, states, NULL, count, slots));
  CHECK_OK(device_update(cache, keys, hashes, NULL, grads, occurrences ? ticks : NULL, count));
  take();
}

/* To the rounding of fp32 additions: some per step, each of at most 2^-24 of what had come together. */
static void check_mass(bool with_squares)
{
  for (size_t k = 0; k < KEYS; k++) {
    CHECK_EQ(steps_out[k], steps_made[k]);
    for (uint32_t c = 0; c < DIM; c++) {
      CHECK_MSG(fabs(out[k][c] - made[k][c]) <= 4e-7 * magnitudes[k][c], "key %zu column %u: %.9g of %.9g went out", k,
                c, out[k][c], made[k][c]);
      if (with_squares) /* a kept step that leaves alone brings the square of what rounding left */
        CHECK_MSG(fabs(squares_out[k][c] - squares_made[k][c]) <= 1e-3 * squares_made[k][c] + 1e-9,
                  "key %zu column %u: squares %.9g of %.9g", k, c, squares_out[k][c], squares_made[k][c]);
    }
  }
}

static void no_gradient_mass_is_lost(void)
{
  static const hotrow_optimizer_kind kinds[] = {HOTROW_SGD, HOTROW_ADAGRAD, HOTROW_ADAM};
  static const float spreads[] = {1.0f, 1e6f, 1e12f}; /* the last reaches halves' limits on both sides */
  rng.state = hr_test_seed(50);
  for (int d = HOTROW_F16; d <= HOTROW_I8; d++)
    for (size_t kind = 0; kind < 3; kind++)
      for (uint32_t bound = 1; bound <= 4; bound++)
        for (size_t s = 0; s < 3; s++) {
          bool occurrences = kind < 2 && bound & 1;
          create(kinds[kind], (hotrow_dtype)d, bound, occurrences);
          for (int i = 0, end = device_rounds(120); i < end; i++) {
            step(occurrences, spreads[s]);
            if (i % 40 == 39)
              hotrow_cache_invalidate(cache, UINT64_MAX / 4, UINT64_MAX / 2);
          }
          CHECK((rounded_count > (uint64_t)device_rounds(50)) == (kind != 1 || bound > 1 || occurrences));
          uint64_t rounded_before = rounded_count;
          hotrow_cache_flush(cache);
          take();
          CHECK(rounded_count == rounded_before);
          check_mass(kind == 1 && s == 0 && d == HOTROW_F16);
          hotrow_cache_destroy(cache);
        }
}

static hotrow_cache_push_list one_step(float grad)
{
  hotrow_cache_push_list list;
  float grads[DIM];
  for (uint32_t c = 0; c < DIM; c++)
    grads[c] = grad;
  CHECK_OK(device_update(cache, all_keys, all_hashes, NULL, grads, NULL, 1));
  device_take_pushes(cache, &list);
  return list;
}

static void bring(void)
{
  static const uint32_t clock = 0;
  static const float values[DIM], states[DIM];
  uint32_t slot;
  CHECK_OK(device_insert(cache, all_keys, all_hashes, &clock, values, states, NULL, 1, &slot));
}

static uint32_t seen_now(void)
{
  uint32_t slot, seen;
  uint8_t state;
  device_lookup(cache, all_keys, all_hashes, 1, NULL, &slot, &seen, &state);
  return seen;
}

static void one_step_stays(void)
{
  create(HOTROW_SGD, HOTROW_F16, 2, false);
  bring();
  CHECK_EQ(one_step(1.0f).count, 0);
  CHECK_EQ(one_step(0x1p-20f).count, 0);
  hotrow_cache_push_list list = one_step(1.0f); /* 2 + 2^-20 is no half */
  CHECK(list.count == 1 && list.steps[0] == 2 && list.grads[0] == 2.0f && !list.is_exact[0]);
  CHECK_EQ(seen_now(), 2);
  CHECK_EQ(one_step(0.0f).count, 0); /* one was kept: this is the second */
  list = one_step(1.0f);
  CHECK(list.count == 1 && list.steps[0] == 2 && list.grads[0] == 1.0f);
  hotrow_cache_flush(cache);
  device_take_pushes(cache, &list);
  CHECK(list.count == 1 && list.steps[0] == 1 && list.grads[0] == 0x1p-20f && list.is_exact[0]);
  CHECK_EQ(seen_now(), 5);
  hotrow_cache_destroy(cache);
}

static void squares_go_whole(void)
{
  create(HOTROW_ADAGRAD, HOTROW_I8, 2, false);
  bring();
  one_step(1.0f);
  one_step(2.0f);
  hotrow_cache_push_list list = one_step(3.0f);
  CHECK(list.count == 1 && list.steps[0] == 2 && list.squares[0] == 14.0f && list.grads[0] == 6.0f);
  one_step(4.0f);
  hotrow_cache_flush(cache);
  device_take_pushes(cache, &list);
  CHECK(list.count == 1 && list.steps[0] == 2 && list.squares[0] == 16.0f && list.grads[0] == 4.0f && list.is_exact[0]);
  hotrow_cache_destroy(cache);

  create(HOTROW_ADAGRAD, HOTROW_I8, 1, false); /* one step alone would carry no squares: both go, exactly */
  bring();
  one_step(1.0f);
  list = one_step(2.0f);
  CHECK(list.count == 1 && list.steps[0] == 2 && list.squares[0] == 5.0f && list.is_exact[0]);
  hotrow_cache_destroy(cache);
}

/* Nothing is kept back, so nothing can be made up for: steps go in full precision. */
static void without_a_push_bound_all_is_exact(void)
{
  create(HOTROW_SGD, HOTROW_F16, 0, false);
  bring();
  hotrow_cache_push_list list = one_step(0x1p-20f);
  CHECK(list.count == 1 && list.is_exact[0] && list.grads[0] == 0x1p-20f);
  hotrow_cache_destroy(cache);
}

int main(int argc, char **argv)
{
  device_open(argc, argv);
  RUN(one_step_stays);
  RUN(squares_go_whole);
  RUN(without_a_push_bound_all_is_exact);
  RUN(no_gradient_mass_is_lost);
  return 0;
}
