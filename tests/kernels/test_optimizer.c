/* Two oracles. In float: the definition, one rounding per operation, whose bits must match. In double: the textbook
 * rules, written without looking at the kernel, which the float rows must follow over many steps. */
#include <math.h>

#include <hr/optimizer.h>

#include "kernel_test.h"

#define ROW_COUNT 60u
#define BOOK_DIM_MAX 130u

static hotrow_optimizer preset(hotrow_optimizer_kind kind)
{
  hotrow_optimizer o = {.kind = kind, .lr = 0.05f, .initial_state = 0.1f, .weight_decay = 0.02f, .l1 = 0.03f};
  if (kind == HOTROW_LAMB)
    o.lr = 0.005f; /* its rows grow by as much at every step */
  return o;
}

static bool is_repeated(hotrow_optimizer_kind kind)
{
  return kind == HOTROW_MOMENTUM || kind == HOTROW_ADAM || kind == HOTROW_ADAMW || kind == HOTROW_ROWWISE_ADAM ||
         kind == HOTROW_LAMB;
}

static hotrow_row_layout one_segment(const hotrow_optimizer *o, uint32_t dim)
{
  hotrow_segment segment = {.dim = dim, .optimizer = *o};
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(&segment, 1, &layout));
  return layout;
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

/* Adam, AdamW, row-wise Adam, LAMB: one step. */
static void float_adam(const hotrow_optimizer *o, float lr, uint32_t dim, float *x, float *state, const float *g)
{
  bool is_rowwise = o->kind == HOTROW_ROWWISE_ADAM;
  float *m = state, *v = state + dim, *t = v + (is_rowwise ? 1 : dim);
  float r[HOTROW_DIM_MAX], x_square = 0.0f, r_square = 0.0f;
  *t += 1.0f;
  float bias1 = (float)(1.0 - double_power((double)o->beta1, (uint32_t)*t));
  float bias2 = (float)(1.0 - double_power((double)o->beta2, (uint32_t)*t));
  if (is_rowwise)
    *v = add(mul(o->beta2, *v), mul(1.0f - o->beta2, row_mean(g, dim)));
  for (uint32_t c = 0; c < dim; c++) {
    m[c] = add(mul(o->beta1, m[c]), mul(1.0f - o->beta1, g[c]));
    if (!is_rowwise)
      v[c] = add(mul(o->beta2, v[c]), mul(mul(1.0f - o->beta2, g[c]), g[c]));
    float root = add(sqrtf(divide(v[is_rowwise ? 0 : c], bias2)), o->eps), change = divide(m[c], bias1);
    if (o->kind == HOTROW_LAMB) {
      r[c] = add(divide(change, root), mul(o->weight_decay, x[c]));
      x_square = add(x_square, mul(x[c], x[c]));
      r_square = add(r_square, mul(r[c], r[c]));
      continue;
    }
    change = divide(mul(lr, change), root);
    if (o->kind == HOTROW_ADAMW)
      change = add(change, mul(mul(lr, o->weight_decay), x[c]));
    x[c] = add(x[c], -change);
  }
  float trust = x_square > 0.0f && r_square > 0.0f ? divide(sqrtf(x_square), sqrtf(r_square)) : 1.0f;
  for (uint32_t c = 0; o->kind == HOTROW_LAMB && c < dim; c++)
    x[c] = add(x[c], -mul(mul(lr, trust), r[c]));
}

static void float_ftrl(const hotrow_optimizer *o, float grad_scale, float *x, float *z, float *n, float g, float square)
{
  float root = sqrtf(*n);
  *n = add(*n, square);
  float new_root = sqrtf(*n);
  *z = add(*z, add(mul(grad_scale, g), -mul(divide(add(new_root, -root), o->lr), *x)));
  float divisor = add(divide(add(o->eps, new_root), o->lr), o->weight_decay);
  if (fabsf(*z) <= o->l1)
    *x = 0.0f;
  else
    *x = divide(-add(*z, *z > 0.0f ? -o->l1 : o->l1), divisor);
}

/* squares NULL: from the gradient. */
static void float_step(const hotrow_optimizer *o, float lr_scale, uint32_t dim, float *x, float *state,
                       const float *grad, uint32_t k, const float *squares)
{
  float g[HOTROW_DIM_MAX], lr = mul(o->lr, lr_scale);
  for (uint32_t c = 0; c < dim; c++)
    g[c] = is_repeated(o->kind) ? divide(grad[c], (float)k) : grad[c];
  for (uint32_t step = 0; is_repeated(o->kind) && step < k; step++) {
    if (o->kind != HOTROW_MOMENTUM)
      float_adam(o, lr, dim, x, state, g);
    for (uint32_t c = 0; o->kind == HOTROW_MOMENTUM && c < dim; c++) {
      state[c] = add(mul(o->beta1, state[c]), g[c]);
      x[c] = add(x[c], -mul(lr, state[c]));
    }
  }
  if (o->kind == HOTROW_ROWWISE_ADAGRAD)
    *state = add(*state, squares ? *squares : row_mean(g, dim));
  for (uint32_t c = 0; !is_repeated(o->kind) && c < dim; c++) {
    float square = squares && o->kind != HOTROW_ROWWISE_ADAGRAD ? squares[c] : mul(g[c], g[c]), step = mul(lr, g[c]);
    if (o->kind == HOTROW_FTRL) {
      float_ftrl(o, lr_scale, x + c, state + c, state + dim + c, g[c], square);
      continue;
    }
    if (o->kind == HOTROW_ADAGRAD) {
      state[c] = add(state[c], square);
      step = divide(step, add(sqrtf(state[c]), o->eps));
    }
    if (o->kind == HOTROW_ROWWISE_ADAGRAD)
      step = divide(step, add(sqrtf(*state), o->eps));
    x[c] = add(x[c], -step);
  }
}

/* A row of several segments, one by one: values, states and squares each lie in the order of the segments. */
static void float_row(const hotrow_segment *segments, uint32_t segment_count, float lr_scale, float *row,
                      const float *grad, uint32_t k, const float *squares)
{
  float *state = row;
  for (uint32_t s = 0; s < segment_count; s++)
    state += segments[s].dim;
  for (uint32_t s = 0; s < segment_count; s++) {
    hotrow_optimizer o;
    uint32_t dim = segments[s].dim;
    CHECK_OK(hr_optimizer_resolve(&segments[s].optimizer, &o));
    uint32_t square_dim = hr_optimizer_square_dim(o.kind, dim);
    float_step(&o, lr_scale, dim, row, state, grad, k, k > 1 && square_dim > 0 ? squares : NULL);
    row += dim;
    grad += dim;
    state += hr_optimizer_state_dim(o.kind, dim);
    squares += square_dim;
  }
}

/* Applies one batch on the device to `rows`. */
static void apply(const hotrow_row_layout *layout, float lr_scale, float *rows, size_t row_stride,
                  const uint32_t *slots, const float *grads, const float *squares, const uint32_t *steps, size_t count)
{
  float *device_rows = TO_DEVICE(rows, ROW_COUNT * row_stride);
  kernels->optimizer_apply(layout, lr_scale, device_rows, row_stride, TO_DEVICE(slots, count),
                           TO_DEVICE(grads, count * layout->dim),
                           squares ? TO_DEVICE(squares, count * layout->square_dim) : NULL,
                           steps ? TO_DEVICE(steps, count) : NULL, count, NULL);
  from_device(rows, device_rows, ROW_COUNT * row_stride * sizeof *rows);
  kernel_test_release_device();
}

static void check_bits(hr_rng *rng, const hotrow_segment *segments, uint32_t segment_count, bool has_steps,
                       size_t count)
{
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(segments, segment_count, &layout));
  uint32_t dim = layout.dim, square_dim = layout.square_dim;
  size_t stride = dim + layout.state_dim + (size_t)hr_rng_below(rng, 3);
  float *rows = random_floats(rng, ROW_COUNT * stride), *expected = random_floats(rng, ROW_COUNT * stride);
  for (size_t r = 0; r < ROW_COUNT; r++) {
    float *row = rows + r * stride;
    hr_row_layout_init_state(&layout, row, row + dim);
    if (segments[0].optimizer.kind == HOTROW_ADAM && segment_count == 1 && r % 2 == 0)
      row[3 * dim] = (float)hr_rng_below(rng, 100000); /* the step count */
  }
  memcpy(expected, rows, ROW_COUNT * stride * sizeof *rows);
  const float scales[] = {1.0f, 0.3f, 0.0f};
  for (int round = 0; round < 3; round++) {
    uint32_t *slots = random_distinct(rng, count, ROW_COUNT), *steps = random_distinct(rng, 0, ROW_COUNT);
    float *grads = random_floats(rng, count * dim), *squares = random_floats(rng, count * square_dim);
    for (size_t i = 0; i < count; i++)
      steps[i] = 1 + (uint32_t)hr_rng_below(rng, 5);
    for (size_t i = 0; i < count * square_dim; i++)
      squares[i] = fabsf(squares[i]);
    for (size_t i = 0; i < count; i++) {
      if (hr_rng_below(rng, 5) == 0)
        slots[i] = HOTROW_SLOT_NONE; /* left out */
      else
        float_row(segments, segment_count, scales[round], expected + slots[i] * stride, grads + i * dim,
                  has_steps ? steps[i] : 1, squares + i * square_dim);
    }
    apply(&layout, scales[round], rows, stride, slots, grads, has_steps && square_dim > 0 ? squares : NULL,
          has_steps ? steps : NULL, count);
    size_t at = first_difference(rows, expected, ROW_COUNT * stride);
    CHECK_MSG(at == ROW_COUNT * stride,
              "%u segments, first kind %d, dim %u round %d: row %zu float %zu is %.9g, not %.9g", segment_count,
              (int)segments[0].optimizer.kind, dim, round, at / stride, at % stride, (double)rows[at],
              (double)expected[at]);
  }
  kernel_test_release();
}

static void one_rounding_per_operation_gives_these_bits(void)
{
  hr_rng rng = {hr_test_seed(10)};
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
    hotrow_segment segment = {.optimizer = preset((hotrow_optimizer_kind)kind)};
    for (size_t d = 0; d < test_dim_count; d++)
      for (int has_steps = 0; has_steps < 2; has_steps++) {
        segment.dim = test_dims[d];
        check_bits(&rng, &segment, 1, has_steps, ROW_COUNT);
        check_bits(&rng, &segment, 1, has_steps, (size_t)hr_rng_below(&rng, 20));
      }
    segment.dim = HOTROW_DIM_MAX;
    check_bits(&rng, &segment, 1, true, 3);
  }
}

static void segments_do_not_touch_each_other(void)
{
  hr_rng rng = {hr_test_seed(14)};
  for (int round = 0; round < 120; round++) {
    hotrow_segment segments[HOTROW_SEGMENTS_MAX] = {0};
    uint32_t segment_count = 1 + (uint32_t)hr_rng_below(&rng, HOTROW_SEGMENTS_MAX);
    for (uint32_t s = 0; s < segment_count; s++) {
      segments[s].dim = 1 + (uint32_t)hr_rng_below(&rng, round % 10 == 0 ? 200 : 20);
      segments[s].optimizer = preset((hotrow_optimizer_kind)(1 + hr_rng_below(&rng, HOTROW_LAMB)));
      segments[s].optimizer.lr *= (float)(s + 1);
    }
    check_bits(&rng, segments, segment_count, round % 2 == 0, (size_t)hr_rng_below(&rng, ROW_COUNT + 1));
  }
}

/* The textbook, in double. first, second: a (Adagrad), v (momentum), m and v (Adam), z and n (FTRL). */
typedef struct textbook {
  uint32_t dim;
  int t;
  double x[BOOK_DIM_MAX], first[BOOK_DIM_MAX], second[BOOK_DIM_MAX];
} textbook;

static double sign(double x)
{
  return (double)(x > 0) - (double)(x < 0);
}

static double norm(const double *x, uint32_t dim)
{
  double sum = 0;
  for (uint32_t c = 0; c < dim; c++)
    sum += x[c] * x[c];
  return sqrt(sum);
}

static void textbook_adam(const hotrow_optimizer *o, double lr, textbook *book, const double *g)
{
  double b1 = (double)o->beta1, b2 = (double)o->beta2, wd = (double)o->weight_decay, r[BOOK_DIM_MAX], mean_square = 0;
  for (uint32_t c = 0; c < book->dim; c++)
    mean_square += g[c] * g[c] / book->dim;
  for (uint32_t c = 0; c < book->dim; c++) {
    double square = o->kind == HOTROW_ROWWISE_ADAM ? mean_square : g[c] * g[c];
    book->first[c] = b1 * book->first[c] + (1 - b1) * g[c];
    book->second[c] = b2 * book->second[c] + (1 - b2) * square;
    r[c] = book->first[c] / (1 - pow(b1, book->t)) / (sqrt(book->second[c] / (1 - pow(b2, book->t))) + (double)o->eps);
    if (o->kind == HOTROW_ADAMW || o->kind == HOTROW_LAMB)
      r[c] += wd * book->x[c];
  }
  double x_norm = norm(book->x, book->dim), r_norm = norm(r, book->dim);
  double trust = o->kind == HOTROW_LAMB && x_norm > 0 && r_norm > 0 ? x_norm / r_norm : 1;
  for (uint32_t c = 0; c < book->dim; c++)
    book->x[c] -= lr * trust * r[c];
}

/* FTRL-proximal: x minimises z*x + l1*|x| + (l2 + (beta + sqrt(n))/alpha)/2 * x*x. */
static double ftrl_curvature(const hotrow_optimizer *o, double n)
{
  return (double)o->weight_decay + ((double)o->eps + sqrt(n)) / (double)o->lr;
}

static void textbook_step(const hotrow_optimizer *o, double lr_scale, textbook *book, const double *g,
                          const double *squares)
{
  double lr = (double)o->lr * lr_scale, eps = (double)o->eps;
  book->t++;
  if (is_repeated(o->kind) && o->kind != HOTROW_MOMENTUM) {
    textbook_adam(o, lr, book, g);
    return;
  }
  for (uint32_t c = 0; c < book->dim; c++) {
    double *x = &book->x[c], *first = &book->first[c], *n = &book->second[c];
    switch (o->kind) {
    case HOTROW_SGD:
      *x -= lr * g[c];
      break;
    case HOTROW_MOMENTUM:
      *first = (double)o->beta1 * *first + g[c];
      *x -= lr * *first;
      break;
    case HOTROW_FTRL: {
      double sigma = (sqrt(*n + squares[c]) - sqrt(*n)) / (double)o->lr;
      *n += squares[c];
      *first += lr_scale * g[c] - sigma * *x;
      *x = -sign(*first) * fmax(0, fabs(*first) - (double)o->l1) / ftrl_curvature(o, *n);
      break;
    }
    default:
      *first += squares[c];
      *x -= lr * g[c] / (sqrt(*first) + eps);
    }
  }
}

static void textbook_begin(const hotrow_optimizer *o, uint32_t dim, const float *row, textbook *book)
{
  *book = (textbook){.dim = dim};
  for (uint32_t c = 0; c < dim; c++) {
    double x = book->x[c] = (double)row[c];
    if (o->kind == HOTROW_ADAGRAD || o->kind == HOTROW_ROWWISE_ADAGRAD)
      book->first[c] = (double)o->initial_state;
    if (o->kind == HOTROW_FTRL) {
      book->second[c] = (double)o->initial_state;
      book->first[c] = -x * ftrl_curvature(o, book->second[c]) - sign(x) * (double)o->l1;
    }
  }
}

/* k gradients: their sum and what squares of them the optimizer wants, in double and as a push carries them. */
typedef struct push_model {
  double sum[BOOK_DIM_MAX], squares[BOOK_DIM_MAX];
  float grad[BOOK_DIM_MAX], pushed_squares[BOOK_DIM_MAX];
} push_model;

static void draw_push(hr_rng *rng, const hotrow_optimizer *o, uint32_t dim, uint32_t k, push_model *p)
{
  *p = (push_model){0};
  double row_square = 0.0;
  for (uint32_t step = 0; step < k; step++)
    for (uint32_t c = 0; c < dim; c++) {
      double g = (double)(hr_rng_unit(rng) - 0.3f);
      p->sum[c] += g;
      p->squares[c] += g * g;
      row_square += g * g / dim;
    }
  for (uint32_t c = 0; c < dim; c++) {
    if (o->kind == HOTROW_ROWWISE_ADAGRAD)
      p->squares[c] = row_square;
    p->grad[c] = (float)p->sum[c];
    p->pushed_squares[c] = (float)p->squares[c];
  }
}

/* `pushes` pushes of `k` accumulated steps each to one row, with learning rates that fall. Tolerance: a float step errs
 * by a few 2^-24 of the row's size (at least 8) and of the update's; over n updates errors add up to less than
 * n * 2^-24 * 8, and in practice to less than a tenth of it. The row has moved by far more than that. */
static void follow_textbook(hotrow_optimizer_kind kind, uint32_t dim, int pushes, uint32_t k)
{
  hr_rng rng = {hr_test_seed(11)};
  hotrow_optimizer given = preset(kind);
  hotrow_row_layout layout = one_segment(&given, dim);
  hotrow_optimizer o = layout.segments[0].optimizer;
  uint32_t slot = 0;
  size_t stride = dim + layout.state_dim;
  float *rows = random_floats(&rng, ROW_COUNT * stride);
  static textbook book;
  static push_model push;
  CHECK(dim <= BOOK_DIM_MAX);
  hr_row_layout_init_state(&layout, rows, rows + dim);
  textbook_begin(&o, dim, rows, &book);
  for (int i = 0; i < pushes; i++) {
    float lr_scale = i < pushes / 2 ? 1.0f : i < pushes * 3 / 4 ? 0.5f : 0.125f;
    draw_push(&rng, &o, dim, k, &push);
    uint32_t step_count = is_repeated(kind) ? k : 1;
    double g[BOOK_DIM_MAX];
    for (uint32_t c = 0; c < dim; c++)
      g[c] = push.sum[c] / step_count;
    for (uint32_t step = 0; step < step_count; step++)
      textbook_step(&o, (double)lr_scale, &book, g, push.squares);
    apply(&layout, lr_scale, rows, stride, &slot, push.grad, layout.square_dim > 0 ? push.pushed_squares : NULL, &k, 1);
  }
  double moved = 0.0, worst = 0.0;
  for (uint32_t c = 0; c < dim; c++) {
    worst = fmax(worst, fabs((double)rows[c] - book.x[c]));
    moved = fmax(moved, fabs(book.x[c]));
  }
  double tolerance = book.t * 0x1p-24 * fmax(8, moved);
  CHECK_MSG(worst < tolerance && moved > 1000 * worst, "kind %d, %d pushes of %u: off by %g of %g, tolerance %g",
            (int)kind, pushes, k, worst, moved, tolerance);
  kernel_test_release();
}

static void rows_follow_the_textbook_step_by_step(void)
{
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
    follow_textbook((hotrow_optimizer_kind)kind, 17, 400, 1);
    follow_textbook((hotrow_optimizer_kind)kind, 130, 50, 1);
  }
}

static void accumulated_pushes_mean_what_is_documented(void)
{
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
    follow_textbook((hotrow_optimizer_kind)kind, 16, 60, 7);
    follow_textbook((hotrow_optimizer_kind)kind, 3, 30, 100);
  }
}

/* The count is a float: it ends where floats stop counting, and rows go on. */
static void adam_counts_steps_as_far_as_a_float_does(void)
{
  const float counts[] = {0.0f, 5.0f, 0x1p24f - 2.0f, 0x1p24f - 1.0f, 0x1p24f, INFINITY};
  const float after[] = {1.0f, 6.0f, 0x1p24f - 1.0f, 0x1p24f, 0x1p24f, 0x1p24f};
  const hotrow_optimizer_kind kinds[] = {HOTROW_ADAM, HOTROW_ADAMW, HOTROW_ROWWISE_ADAM, HOTROW_LAMB};
  for (size_t i = 0; i < 4 * sizeof counts / sizeof *counts; i++) {
    hotrow_optimizer o = preset(kinds[i % 4]);
    hotrow_row_layout layout = one_segment(&o, 1);
    float rows[ROW_COUNT * 4] = {1.0f, 0.0f, 0.0f, counts[i / 4]}, g = 0.5f;
    uint32_t slot = 0;
    apply(&layout, 1.0f, rows, 4, &slot, &g, NULL, NULL, 1);
    CHECK_MSG(rows[3] == after[i / 4], "count %g became %g", (double)counts[i / 4], (double)rows[3]);
    CHECK(isfinite(rows[0]) && rows[0] < 1.0f);
  }
}

static void adamw_without_decay_is_adam(void)
{
  hr_rng rng = {hr_test_seed(15)};
  hotrow_optimizer adam = preset(HOTROW_ADAM), adamw = preset(HOTROW_ADAMW);
  adamw.weight_decay = 0.0f;
  hotrow_row_layout layout = one_segment(&adam, 16), layout_w = one_segment(&adamw, 16);
  float *rows = random_floats(&rng, ROW_COUNT * 49), *rows_w = random_floats(&rng, ROW_COUNT * 49);
  hr_row_layout_init_state(&layout, rows, rows + 16);
  memcpy(rows_w, rows, 49 * sizeof *rows);
  for (int step = 0; step < 20; step++) {
    uint32_t slot = 0;
    float *g = random_floats(&rng, 16);
    apply(&layout, 1.0f, rows, 49, &slot, g, NULL, NULL, 1);
    apply(&layout_w, 1.0f, rows_w, 49, &slot, g, NULL, NULL, 1);
    CHECK_EQ(first_difference(rows, rows_w, 49), (size_t)49);
  }
  kernel_test_release();
}

/* Without penalties FTRL-proximal is Adagrad (McMahan 2011): their rows go together, also under schedules and
 * accumulated pushes. Tolerance as above. */
static void ftrl_without_penalties_is_adagrad(void)
{
  enum { DIM = 16, PUSHES = 80 };
  hr_rng rng = {hr_test_seed(16)};
  hotrow_optimizer ftrl = preset(HOTROW_FTRL), adagrad = preset(HOTROW_ADAGRAD);
  ftrl.l1 = ftrl.weight_decay = 0.0f;
  adagrad.eps = 1.0f;
  hotrow_row_layout layout_f = one_segment(&ftrl, DIM), layout_a = one_segment(&adagrad, DIM);
  static float rows_f[ROW_COUNT * 3 * DIM], rows_a[ROW_COUNT * 2 * DIM];
  float *x = random_floats(&rng, DIM), moved = 0.0f;
  memcpy(rows_f, x, DIM * sizeof *x);
  memcpy(rows_a, x, DIM * sizeof *x);
  hr_row_layout_init_state(&layout_f, rows_f, rows_f + DIM);
  hr_row_layout_init_state(&layout_a, rows_a, rows_a + DIM);
  for (int i = 0; i < PUSHES; i++) {
    uint32_t slot = 0, k = 1 + (uint32_t)i % 4;
    float lr_scale = 1.0f / (float)(1 + i / 20);
    push_model push;
    draw_push(&rng, &adagrad, DIM, k, &push);
    apply(&layout_f, lr_scale, rows_f, 3 * DIM, &slot, push.grad, push.pushed_squares, &k, 1);
    apply(&layout_a, lr_scale, rows_a, 2 * DIM, &slot, push.grad, push.pushed_squares, &k, 1);
  }
  for (int c = 0; c < DIM; c++) {
    CHECK_MSG(fabsf(rows_f[c] - rows_a[c]) < (float)PUSHES * 0x1p-22f, "column %d: %g and %g", c, (double)rows_f[c],
              (double)rows_a[c]);
    moved = fmaxf(moved, fabsf(rows_f[c] - x[c]));
  }
  CHECK(moved > 0.1f);
  kernel_test_release();
}

/* A push of zeroes leaves a new row as it was but for rounding, whatever the penalties and the learning rate. */
static void ftrl_keeps_the_initial_value(void)
{
  enum { DIM = 5 };
  hotrow_optimizer o = preset(HOTROW_FTRL);
  for (int variant = 0; variant < 8; variant++) {
    o.l1 = variant & 1 ? 0.5f : 0.0f;
    o.weight_decay = variant & 2 ? 0.25f : 0.0f;
    o.initial_state = variant & 4 ? 0.1f : 0.0f;
    hotrow_row_layout layout = one_segment(&o, DIM);
    static float rows[ROW_COUNT * 3 * DIM];
    const float x[DIM] = {0.0f, 1e-3f, -0.7f, 12.0f, -0.0f}, g[DIM] = {0};
    memcpy(rows, x, sizeof x);
    hr_row_layout_init_state(&layout, rows, rows + DIM);
    for (uint32_t step = 0, slot = 0; step < 3; step++)
      apply(&layout, step == 1 ? 0.0f : 0.125f, rows, 3 * DIM, &slot, g, NULL, NULL, 1);
    for (int c = 0; c < DIM; c++)
      CHECK_MSG(fabsf(rows[c] - x[c]) <= fabsf(x[c]) * 0x1p-22f + o.l1 * 0x1p-24f, "variant %d: %.9g became %.9g",
                variant, (double)x[c], (double)rows[c]);
  }
}

static void ftrl_sets_weak_columns_to_zero(void)
{
  hotrow_optimizer o = {.kind = HOTROW_FTRL, .lr = 0.5f, .l1 = 1.0f};
  hotrow_row_layout layout = one_segment(&o, 4);
  static float rows[ROW_COUNT * 12];
  const float g[4] = {1.0f, -1.0f, 1.5f, -2.0f};
  uint32_t slot = 0;
  apply(&layout, 1.0f, rows, 12, &slot, g, NULL, NULL, 1);
  CHECK(same_bits(rows[0], 0.0f) && same_bits(rows[1], 0.0f));
  CHECK(rows[2] == -0.5f / (2.5f / 0.5f) && rows[3] == 1.0f / (3.0f / 0.5f));
}

/* Three pushes of a step and one push of three steps leave the same n, bit for bit. */
static void ftrl_counts_squares_exactly(void)
{
  enum { DIM = 19, STEPS = 3 };
  hr_rng rng = {hr_test_seed(17)};
  hotrow_optimizer o = {.kind = HOTROW_FTRL};
  hotrow_row_layout layout = one_segment(&o, DIM);
  static float single[ROW_COUNT * 3 * DIM], pushed[ROW_COUNT * 3 * DIM];
  float pending[2 * DIM] = {0}, *device_pending = TO_DEVICE(pending, 2 * DIM), *g = random_floats(&rng, STEPS * DIM);
  uint32_t slot = 0, k = STEPS;
  for (int step = 0; step < STEPS; step++) {
    uint8_t is_first = step == 0;
    kernels->pending_add(&layout, device_pending, 2 * DIM, TO_DEVICE(&slot, 1), TO_DEVICE(&is_first, 1),
                         TO_DEVICE(g + step * DIM, DIM), 1, NULL);
  }
  from_device(pending, device_pending, sizeof pending);
  for (int step = 0; step < STEPS; step++)
    apply(&layout, 1.0f, single, 3 * DIM, &slot, g + step * DIM, NULL, NULL, 1);
  apply(&layout, 1.0f, pushed, 3 * DIM, &slot, pending, pending + DIM, &k, 1);
  CHECK_EQ(first_difference(single + 2 * DIM, pushed + 2 * DIM, DIM), (size_t)DIM);
  CHECK(first_difference(single, pushed, DIM) < DIM); /* x and z are not: G came at once */
  kernel_test_release();
}

static void lamb_survives_norms_of_zero(void)
{
  hotrow_optimizer o = {.kind = HOTROW_LAMB, .lr = 0.25f};
  hotrow_row_layout layout = one_segment(&o, 2);
  uint32_t slot = 0;
  const float no_grad[2] = {0}, grad[2] = {3.0f, -4.0f};
  float still[ROW_COUNT * 7] = {1.0f, -2.0f}, empty[ROW_COUNT * 7] = {0};
  apply(&layout, 1.0f, still, 7, &slot, no_grad, NULL, NULL, 1); /* |r| is 0 */
  CHECK(still[0] == 1.0f && still[1] == -2.0f);
  apply(&layout, 1.0f, empty, 7, &slot, grad, NULL, NULL, 1); /* |x| is 0: a step of Adam, lr in each column */
  CHECK(fabsf(empty[0] + 0.25f) < 1e-6f && fabsf(empty[1] - 0.25f) < 1e-6f);
  apply(&layout, 1.0f, still, 7, &slot, grad, NULL, NULL, 1); /* a step is lr of the row's own length */
  CHECK(fabsf(hypotf(still[0] - 1.0f, still[1] + 2.0f) - 0.25f * sqrtf(5.0f)) < 1e-5f);
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(one_rounding_per_operation_gives_these_bits);
  RUN(segments_do_not_touch_each_other);
  RUN(rows_follow_the_textbook_step_by_step);
  RUN(accumulated_pushes_mean_what_is_documented);
  RUN(adam_counts_steps_as_far_as_a_float_does);
  RUN(adamw_without_decay_is_adam);
  RUN(ftrl_without_penalties_is_adagrad);
  RUN(ftrl_keeps_the_initial_value);
  RUN(ftrl_sets_weak_columns_to_zero);
  RUN(ftrl_counts_squares_exactly);
  RUN(lamb_survives_norms_of_zero);
  return 0;
}
