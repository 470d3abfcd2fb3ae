#include <cblas.h>
#include <math.h>

#include <hr/random.h>

#include "dense_adam.h"
#include "hr_test.h"
#include "layers.h"
#include "metrics.h"
#include "model.h"

#define BATCH 7u

/* Everything a model needs for one batch, filled with random numbers. */
typedef struct fixture {
  hr_model_shape shape;
  const hr_model *model;
  hr_pass pass;
  size_t param_count, row_float_count;
  float *params, *rows, *numeric, *labels, *logit_grads;
} fixture;

static float *floats(size_t count)
{
  float *memory = calloc(count + 1, sizeof *memory);
  CHECK(memory != NULL);
  return memory;
}

static void fill(hr_rng *rng, float *values, size_t count, float scale)
{
  for (size_t i = 0; i < count; i++)
    values[i] = scale * (2 * hr_rng_unit(rng) - 1);
}

static fixture make_fixture(const hr_model *model, hr_model_shape shape, hr_rng *rng)
{
  fixture f = {.shape = shape, .model = model};
  f.param_count = model->param_count(&shape);
  f.row_float_count = BATCH * shape.field_count * hr_row_dim(&shape);
  f.params = floats(f.param_count);
  f.rows = floats(f.row_float_count);
  f.numeric = floats(BATCH * shape.numeric_count);
  f.labels = floats(BATCH);
  f.logit_grads = floats(BATCH);
  model->init(&shape, hr_rng_next(rng), f.params);
  for (size_t i = 0; i < f.param_count; i++) /* biases and linear weights begin at 0: move them, and all, a little */
    f.params[i] += 0.2f * (2 * hr_rng_unit(rng) - 1);
  fill(rng, f.rows, f.row_float_count, 0.5f);
  fill(rng, f.numeric, BATCH * shape.numeric_count, 1);
  for (size_t i = 0; i < BATCH; i++)
    f.labels[i] = (float)(hr_rng_next(rng) & 1);
  f.pass = (hr_pass){.params = f.params,
                     .rows = f.rows,
                     .numeric = f.numeric,
                     .count = BATCH,
                     .dropout_key = 0,
                     .work = floats(model->work_count(&shape)),
                     .logits = floats(BATCH),
                     .logit_grads = f.logit_grads,
                     .param_grads = floats(f.param_count),
                     .row_grads = floats(f.row_float_count)};
  return f;
}

static void free_fixture(fixture *f)
{
  free(f->params);
  free(f->rows);
  free(f->numeric);
  free(f->labels);
  free(f->logit_grads);
  free(f->pass.work);
  free(f->pass.logits);
  free(f->pass.param_grads);
  free(f->pass.row_grads);
}

static double mean_loss(fixture *f)
{
  f->pass.shape = &f->shape;
  f->model->forward(&f->pass);
  double loss = 0;
  for (size_t i = 0; i < BATCH; i++)
    loss += hr_logloss(f->pass.logits[i], f->labels[i]);
  return loss / BATCH;
}

static void compute_grads(fixture *f)
{
  mean_loss(f);
  for (size_t i = 0; i < BATCH; i++)
    f->logit_grads[i] = (hr_sigmoid(f->pass.logits[i]) - f->labels[i]) / BATCH;
  f->model->backward(&f->pass);
}

/* Differences to both sides with step h = 2^-9. The gradient must lie between the two slopes, give or take 3e-4: floats
 * carry the loss to about 1e-7, which the division by h makes 5e-5. Where the loss is smooth the slopes differ by
 * curvature * h, below 1e-3; where a ReLU turns within the step they differ more, and the gradient is one of them or
 * between. Returns how many gradients are wrong. */
static size_t count_wrong(fixture *f, float *values, const float *grads, size_t count)
{
  const float h = 0x1p-9f;
  size_t wrong = 0;
  for (size_t i = 0; i < count; i++) {
    const float value = values[i];
    const double here = mean_loss(f);
    values[i] = value + h;
    const double above = (mean_loss(f) - here) / (double)(values[i] - value);
    values[i] = value - h;
    const double below = (here - mean_loss(f)) / (double)(value - values[i]);
    values[i] = value;
    const double grad = (double)grads[i], tolerance = 3e-4;
    wrong += grad < fmin(above, below) - tolerance || grad > fmax(above, below) + tolerance;
  }
  return wrong;
}

static hr_model_shape small_shape(void)
{
  return (hr_model_shape){
      .field_count = 3, .numeric_count = 2, .dim = 4, .hidden_count = 2, .hidden = {6, 5}, .batch_capacity = BATCH + 2};
}

static void check_gradients(const hr_model *model, hr_model_shape shape, uint64_t dropout_key, hr_rng *rng)
{
  fixture f = make_fixture(model, shape, rng);
  f.pass.dropout_key = dropout_key;
  compute_grads(&f);
  CHECK_MSG(count_wrong(&f, f.params, f.pass.param_grads, f.param_count) == 0, "%s: dense gradients", model->name);
  CHECK_MSG(count_wrong(&f, f.rows, f.pass.row_grads, f.row_float_count) == 0, "%s: row gradients", model->name);
  free_fixture(&f);
}

static void gradients_are_the_slope(void)
{
  hr_rng rng = {hr_test_seed(2)};
  for (const char *const *name = hr_model_names; *name != NULL; name++) {
    const hr_model *model = hr_model_find(*name);
    hr_model_shape shape = small_shape();
    check_gradients(model, shape, 0, &rng);
    shape.dropout = 0.3f;
    shape.embedding_dropout = 0.3f;
    check_gradients(model, shape, 12345, &rng);
    shape = small_shape();
    shape.numeric_count = 0;
    check_gradients(model, shape, 0, &rng);
    shape.hidden_count = 0; /* hidden layers shrunk to a linear one */
    check_gradients(model, shape, 0, &rng);
    shape.hidden_count = 3;
    shape.hidden[2] = 4;
    check_gradients(model, shape, 0, &rng);
  }
}

/* The check itself: one wrong sign among the gradients is seen, wherever it is. */
static void a_wrong_sign_is_seen(void)
{
  hr_rng rng = {hr_test_seed(3)};
  fixture f = make_fixture(hr_model_find("deepfm"), small_shape(), &rng);
  compute_grads(&f);
  for (size_t i = 0; i < f.row_float_count; i += 5) {
    const float grad = f.pass.row_grads[i];
    if (fabsf(grad) < 2e-3f)
      continue;
    f.pass.row_grads[i] = -grad;
    CHECK_EQ(count_wrong(&f, f.rows, f.pass.row_grads, f.row_float_count), 1);
    f.pass.row_grads[i] = grad;
  }
  const size_t last_bias = f.param_count - 1;
  CHECK(fabsf(f.pass.param_grads[last_bias]) > 2e-3f);
  f.pass.param_grads[last_bias] *= -1;
  CHECK_EQ(count_wrong(&f, f.params, f.pass.param_grads, f.param_count), 1);
  free_fixture(&f);
}

/* The pairs of the factorisation machine, one by one. */
static void fm_is_the_sum_over_pairs(void)
{
  hr_rng rng = {hr_test_seed(4)};
  fixture f = make_fixture(hr_model_find("deepfm"), small_shape(), &rng);
  const size_t row_dim = hr_row_dim(&f.shape);
  f.pass.shape = &f.shape;
  memset(f.pass.logits, 0, BATCH * sizeof(float));
  hr_fm_forward(&f.pass, f.pass.work);
  for (size_t i = 0; i < BATCH; i++) {
    double expected = 0;
    for (size_t a = 0; a < f.shape.field_count; a++)
      for (size_t b = a + 1; b < f.shape.field_count; b++)
        for (size_t d = 1; d < row_dim; d++)
          expected += (double)f.rows[(i * f.shape.field_count + a) * row_dim + d] *
                      (double)f.rows[(i * f.shape.field_count + b) * row_dim + d];
    CHECK(fabs((double)f.pass.logits[i] - expected) < 1e-5);
  }
  free_fixture(&f);
}

static void dropout_follows_its_key(void)
{
  hr_rng rng = {hr_test_seed(5)};
  hr_model_shape shape = small_shape();
  shape.hidden[0] = 64;
  shape.dropout = 0.5f;
  fixture f = make_fixture(hr_model_find("wdl"), shape, &rng);
  float first[BATCH];
  f.pass.dropout_key = 7;
  mean_loss(&f);
  memcpy(first, f.pass.logits, sizeof first);
  mean_loss(&f);
  CHECK(memcmp(first, f.pass.logits, sizeof first) == 0);
  f.pass.dropout_key = 8;
  mean_loss(&f);
  CHECK(memcmp(first, f.pass.logits, sizeof first) != 0);

  /* The mean over many keys is near the values without dropout where all is linear: one hidden layer. */
  f.shape.hidden_count = 1;
  double mean = 0;
  enum { KEYS = 4000 };
  for (uint64_t key = 1; key <= KEYS; key++) {
    f.pass.dropout_key = hr_mix64(key) | 1;
    mean_loss(&f);
    mean += (double)f.pass.logits[0] / KEYS;
  }
  f.pass.dropout_key = 0;
  mean_loss(&f);
  CHECK_MSG(fabs(mean - (double)f.pass.logits[0]) < 0.1, "mean with dropout %g, without %g", mean,
            (double)f.pass.logits[0]);
  free_fixture(&f);
}

static void init_follows_its_seed(void)
{
  const hr_model_shape shape = small_shape();
  for (const char *const *name = hr_model_names; *name != NULL; name++) {
    const hr_model *model = hr_model_find(*name);
    CHECK(strcmp(model->name, *name) == 0);
    const size_t count = model->param_count(&shape);
    float *a = floats(count), *b = floats(count);
    model->init(&shape, 1, a);
    model->init(&shape, 1, b);
    CHECK(memcmp(a, b, count * sizeof *a) == 0);
    model->init(&shape, 2, b);
    CHECK(memcmp(a, b, count * sizeof *a) != 0);
    free(a);
    free(b);
  }
  CHECK(hr_model_find("nonesuch") == NULL);
}

/* Against the formula in double, step by step. */
static void adam_is_adam(void)
{
  enum { COUNT = 5, STEPS = 50 };
  hr_rng rng = {hr_test_seed(6)};
  hr_dense_adam adam;
  float params[COUNT] = {0};
  double m[COUNT] = {0}, v[COUNT] = {0}, x[COUNT] = {0};
  CHECK_OK(hr_dense_adam_init(&adam, COUNT));
  for (int t = 1; t <= STEPS; t++) {
    float grads[COUNT];
    fill(&rng, grads, COUNT, 1);
    hr_dense_adam_update(&adam, 0.01f, grads, params);
    for (int i = 0; i < COUNT; i++) {
      m[i] = 0.9 * m[i] + 0.1 * (double)grads[i];
      v[i] = 0.999 * v[i] + 0.001 * (double)grads[i] * (double)grads[i];
      x[i] -= 0.01 * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
      CHECK(fabs(x[i] - (double)params[i]) < 1e-5);
    }
  }
  hr_dense_adam_fini(&adam);
}

int main(void)
{
  openblas_set_num_threads(1);
  RUN(gradients_are_the_slope);
  RUN(a_wrong_sign_is_seen);
  RUN(fm_is_the_sum_over_pairs);
  RUN(dropout_follows_its_key);
  RUN(init_follows_its_seed);
  RUN(adam_is_adam);
  return 0;
}
