/* Two oracles. In float: the definition, one rounding per operation, whose bits must match. In double: the textbook
 * rules, written without looking at the kernel, which the float rows must follow over many steps. */
#include <math.h>

#include <hr/optimizer.h>

#include "kernel_test.h"

#define ROW_COUNT 60u

static const hotrow_optimizer_kind kinds[] = {HOTROW_SGD, HOTROW_MOMENTUM, HOTROW_ADAGRAD, HOTROW_ROWWISE_ADAGRAD,
                                              HOTROW_ADAM};
#define KIND_COUNT (sizeof kinds / sizeof *kinds)

static hotrow_optimizer resolved(hotrow_optimizer_kind kind)
{
  hotrow_optimizer given = {.kind = kind, .lr = 0.05f, .initial_state = 0.1f}, optimizer;
  CHECK_OK(hr_optimizer_resolve(&given, &optimizer));
  return optimizer;
}

/* volatile: one rounded operation at a time, whatever the compiler knows. */
static float mul(float a, float b)
{
  volatile float product = a * b;
  return product;
}

static float add(float a, float b)
{
  volatile float sum = a + b;
  return sum;
}

static float divide(float a, float b)
{
  volatile float quotient = a / b;
  return quotient;
}

static float row_mean(const float *g, uint32_t dim)
{
  float sum = 0.0f;
  for (uint32_t c = 0; c < dim; c++)
    sum = add(sum, mul(g[c], g[c]));
  return mul(sum, divide(1.0f, (float)dim));
}

static double double_power(double base, uint32_t exponent)
{
  double result = 1.0;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1)
      result *= base;
  return result;
}

static void float_adam(const hotrow_optimizer *o, uint32_t dim, float *x, const float *g)
{
  float *m = x + dim, *v = x + 2 * dim, *t = x + 3 * dim;
  *t += 1.0f;
  float bias1 = (float)(1.0 - double_power((double)o->beta1, (uint32_t)*t));
  float bias2 = (float)(1.0 - double_power((double)o->beta2, (uint32_t)*t));
  for (uint32_t c = 0; c < dim; c++) {
    m[c] = add(mul(o->beta1, m[c]), mul(1.0f - o->beta1, g[c]));
    v[c] = add(mul(o->beta2, v[c]), mul(mul(1.0f - o->beta2, g[c]), g[c]));
    float numerator = mul(o->lr, divide(m[c], bias1));
    x[c] = add(x[c], -divide(numerator, add(sqrtf(divide(v[c], bias2)), o->eps)));
  }
}

static void float_step(const hotrow_optimizer *o, uint32_t dim, float *x, const float *grad, uint32_t k,
                       const float *squares)
{
  float g[HOTROW_DIM_MAX];
  bool is_repeated = o->kind == HOTROW_MOMENTUM || o->kind == HOTROW_ADAM;
  for (uint32_t c = 0; c < dim; c++)
    g[c] = is_repeated ? divide(grad[c], (float)k) : grad[c];
  for (uint32_t step = 0; is_repeated && step < k; step++) {
    if (o->kind == HOTROW_ADAM)
      float_adam(o, dim, x, g);
    for (uint32_t c = 0; o->kind == HOTROW_MOMENTUM && c < dim; c++) {
      x[dim + c] = add(mul(o->beta1, x[dim + c]), g[c]);
      x[c] = add(x[c], -mul(o->lr, x[dim + c]));
    }
  }
  if (o->kind == HOTROW_ROWWISE_ADAGRAD)
    x[dim] = add(x[dim], k > 1 ? squares[0] : row_mean(g, dim));
  for (uint32_t c = 0; !is_repeated && c < dim; c++) {
    if (o->kind == HOTROW_ADAGRAD)
      x[dim + c] = add(x[dim + c], k > 1 ? squares[c] : mul(g[c], g[c]));
    float step = mul(o->lr, g[c]);
    if (o->kind == HOTROW_ADAGRAD)
      step = divide(step, add(sqrtf(x[dim + c]), o->eps));
    if (o->kind == HOTROW_ROWWISE_ADAGRAD)
      step = divide(step, add(sqrtf(x[dim]), o->eps));
    x[c] = add(x[c], -step);
  }
}

static hotrow_row_layout one_segment(const hotrow_optimizer *o, uint32_t dim)
{
  hotrow_segment segment = {.dim = dim, .optimizer = *o};
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(&segment, 1, &layout));
  return layout;
}

/* Applies one batch on the device to `rows`. */
static void apply(const hotrow_optimizer *o, uint32_t dim, float *rows, size_t row_stride, const uint32_t *slots,
                  const float *grads, const float *squares, const uint32_t *steps, size_t count)
{
  float *device_rows = TO_DEVICE(rows, ROW_COUNT * row_stride);
  hotrow_row_layout layout = one_segment(o, dim);
  kernels->optimizer_apply(&layout, 1.0f, device_rows, row_stride, TO_DEVICE(slots, count),
                           TO_DEVICE(grads, count * dim),
                           squares ? TO_DEVICE(squares, count * hr_optimizer_square_dim(o->kind, dim)) : NULL,
                           steps ? TO_DEVICE(steps, count) : NULL, count, NULL);
  from_device(rows, device_rows, ROW_COUNT * row_stride * sizeof *rows);
}

static void check_bits(hr_rng *rng, hotrow_optimizer_kind kind, uint32_t dim, bool has_steps, size_t count)
{
  hotrow_optimizer o = resolved(kind);
  hotrow_row_layout layout = one_segment(&o, dim);
  uint32_t square_dim = hr_optimizer_square_dim(kind, dim);
  size_t stride = dim + hr_optimizer_state_dim(kind, dim) + (size_t)hr_rng_below(rng, 3);
  float *rows = random_floats(rng, ROW_COUNT * stride), *expected = random_floats(rng, ROW_COUNT * stride);
  for (size_t r = 0; r < ROW_COUNT; r++) {
    hr_row_layout_init_state(&layout, rows + r * stride, rows + r * stride + dim);
    if (kind == HOTROW_ADAM && r % 2 == 0)
      rows[r * stride + 3 * dim] = (float)hr_rng_below(rng, 100000); /* the step count */
  }
  memcpy(expected, rows, ROW_COUNT * stride * sizeof *rows);
  for (int round = 0; round < 3; round++) {
    uint32_t *slots = random_distinct(rng, count, ROW_COUNT), *steps = random_distinct(rng, 0, ROW_COUNT);
    float *grads = random_floats(rng, count * dim), *squares = random_floats(rng, count * square_dim);
    for (size_t i = 0; i < count; i++)
      steps[i] = 1 + (uint32_t)hr_rng_below(rng, 5);
    for (size_t i = 0; i < count * square_dim; i++)
      squares[i] = fabsf(squares[i]);
    for (size_t i = 0; i < count; i++)
      float_step(&o, dim, expected + slots[i] * stride, grads + i * dim, has_steps ? steps[i] : 1,
                 square_dim > 0 ? squares + i * square_dim : NULL);
    apply(&o, dim, rows, stride, slots, grads, has_steps && square_dim > 0 ? squares : NULL, has_steps ? steps : NULL,
          count);
    size_t at = first_difference(rows, expected, ROW_COUNT * stride);
    CHECK_MSG(at == ROW_COUNT * stride, "kind %d dim %u round %d: row %zu float %zu is %.9g, expected %.9g", (int)kind,
              dim, round, at / stride, at % stride, (double)rows[at], (double)expected[at]);
    kernel_test_release_device();
  }
  kernel_test_release();
}

static void one_rounding_per_operation_gives_these_bits(void)
{
  hr_rng rng = {hr_test_seed(10)};
  for (size_t k = 0; k < KIND_COUNT; k++) {
    for (size_t d = 0; d < test_dim_count; d++)
      for (int has_steps = 0; has_steps < 2; has_steps++) {
        check_bits(&rng, kinds[k], test_dims[d], has_steps, ROW_COUNT);
        check_bits(&rng, kinds[k], test_dims[d], has_steps, (size_t)hr_rng_below(&rng, 20));
      }
    check_bits(&rng, kinds[k], HOTROW_DIM_MAX, true, 3);
  }
}

/* The textbook, in double. state: a (Adagrad), v (momentum), m and v (Adam). */
typedef struct textbook_row {
  double x, state, second;
} textbook_row;

static void textbook_step(const hotrow_optimizer *o, textbook_row *row, double g, double square, int t)
{
  double lr = (double)o->lr, b1 = (double)o->beta1, b2 = (double)o->beta2, eps = (double)o->eps;
  switch (o->kind) {
  case HOTROW_SGD:
    row->x -= lr * g;
    break;
  case HOTROW_MOMENTUM:
    row->state = b1 * row->state + g;
    row->x -= lr * row->state;
    break;
  case HOTROW_ADAM:
    row->state = b1 * row->state + (1 - b1) * g;
    row->second = b2 * row->second + (1 - b2) * g * g;
    row->x -= lr * (row->state / (1 - pow(b1, t))) / (sqrt(row->second / (1 - pow(b2, t))) + eps);
    break;
  default:
    row->state += square;
    row->x -= lr * g / (sqrt(row->state) + eps);
  }
}

/* `pushes` pushes of `k` accumulated steps each to one row. Tolerance: a float step errs by a few 2^-24 of the row's
 * size (below 8) and of the update's; over n updates errors add up to less than n * 2^-24 * 8, and in practice to less
 * than a tenth of it. The row has moved by far more than that. */
static void follow_textbook(hotrow_optimizer_kind kind, uint32_t dim, int pushes, uint32_t k)
{
  hr_rng rng = {hr_test_seed(11)};
  hotrow_optimizer o = resolved(kind);
  uint32_t square_dim = hr_optimizer_square_dim(kind, dim), slot = 0;
  size_t stride = dim + hr_optimizer_state_dim(kind, dim);
  float *rows = random_floats(&rng, ROW_COUNT * stride);
  textbook_row *book = calloc(dim, sizeof *book);
  CHECK(book);
  hotrow_row_layout layout = one_segment(&o, dim);
  hr_row_layout_init_state(&layout, rows, rows + dim);
  for (uint32_t c = 0; c < dim; c++) {
    book[c].x = (double)rows[c];
    book[c].state = kind == HOTROW_ADAGRAD || kind == HOTROW_ROWWISE_ADAGRAD ? (double)o.initial_state : 0.0;
  }
  float sum[130], squares[130];
  CHECK(dim <= 130);
  double moved = 0.0, worst = 0.0;
  int t = 0;
  for (int push = 0; push < pushes; push++) {
    double exact_sum[130] = {0}, exact_squares[130] = {0}, row_square = 0.0;
    for (uint32_t step = 0; step < k; step++)
      for (uint32_t c = 0; c < dim; c++) {
        double g = (double)(hr_rng_unit(&rng) - 0.3f);
        exact_sum[c] += g;
        exact_squares[c] += g * g;
        row_square += g * g / dim;
      }
    for (uint32_t c = 0; c < dim; c++) {
      sum[c] = (float)exact_sum[c];
      squares[c] = (float)(kind == HOTROW_ADAGRAD ? exact_squares[c] : row_square);
    }
    bool is_repeated = kind == HOTROW_MOMENTUM || kind == HOTROW_ADAM;
    for (uint32_t step = 0; step < (is_repeated ? k : 1); step++) {
      t++;
      for (uint32_t c = 0; c < dim; c++)
        textbook_step(&o, book + c, exact_sum[c] / (is_repeated ? k : 1),
                      kind == HOTROW_ADAGRAD ? exact_squares[c] : row_square, t);
    }
    apply(&o, dim, rows, stride, &slot, sum, square_dim > 0 ? squares : NULL, &k, 1);
    kernel_test_release_device();
  }
  for (uint32_t c = 0; c < dim; c++) {
    worst = fmax(worst, fabs((double)rows[c] - book[c].x));
    moved = fmax(moved, fabs(book[c].x));
  }
  double tolerance = t * 0x1p-24 * 8;
  CHECK_MSG(worst < tolerance && moved > 1000 * worst, "kind %d, %d pushes of %u: off by %g of %g, tolerance %g",
            (int)kind, pushes, k, worst, moved, tolerance);
  free(book);
  kernel_test_release();
}

static void rows_follow_the_textbook_step_by_step(void)
{
  for (size_t i = 0; i < KIND_COUNT; i++) {
    follow_textbook(kinds[i], 17, 400, 1);
    follow_textbook(kinds[i], 130, 50, 1);
  }
}

static void accumulated_pushes_mean_what_is_documented(void)
{
  for (size_t i = 0; i < KIND_COUNT; i++) {
    follow_textbook(kinds[i], 16, 60, 7);
    follow_textbook(kinds[i], 3, 30, 100);
  }
}

/* The count is a float: it ends where floats stop counting, and rows go on. */
static void adam_counts_steps_as_far_as_a_float_does(void)
{
  hotrow_optimizer o = resolved(HOTROW_ADAM);
  const float counts[] = {0.0f, 5.0f, 0x1p24f - 2.0f, 0x1p24f - 1.0f, 0x1p24f, INFINITY};
  const float after[] = {1.0f, 6.0f, 0x1p24f - 1.0f, 0x1p24f, 0x1p24f, 0x1p24f};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    float rows[ROW_COUNT * 4] = {1.0f, 0.0f, 0.0f, counts[i]}, g = 0.5f;
    uint32_t slot = 0;
    apply(&o, 1, rows, 4, &slot, &g, NULL, NULL, 1);
    CHECK_MSG(rows[3] == after[i], "count %g became %g", (double)counts[i], (double)rows[3]);
    CHECK(isfinite(rows[0]) && rows[0] < 1.0f);
    kernel_test_release();
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  kernel_test_need(kernels->optimizer_apply, "optimizer_apply");
  RUN(one_rounding_per_operation_gives_these_bits);
  RUN(rows_follow_the_textbook_step_by_step);
  RUN(accumulated_pushes_mean_what_is_documented);
  RUN(adam_counts_steps_as_far_as_a_float_does);
  return 0;
}
