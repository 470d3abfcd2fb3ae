#include <math.h>

#include "dense_adam.h"
#include "layers.h"
#include "metrics.h"
#include "model_test.h"

static hr_dense *dense;
static size_t asked_count, turn_count; /* of gradients: all, and those of which nothing can be said */

typedef enum verdict { RIGHT, WRONG, AT_A_TURN } verdict;

/* The mean loss with one value moved; *is_smooth_p becomes false if a ReLU turns on the way there. A hidden value that
 * was cut is 0, so the zeroes of the work array say how all ReLUs stand. */
static double loss_at(fixture *f, float *device, float value, bool *is_smooth_p)
{
  set_device(dense, device, &value, 1);
  const double loss = mean_loss(f);
  from_device(dense, f->work, f->pass.work, f->work_count);
  for (size_t i = 0; i < f->work_count; i++)
    *is_smooth_p &= (f->work[i] == 0) == f->is_zero[i];
  return loss;
}

/* Is the gradient the slope through the points at h to both sides? Asked where the loss is smooth between them: between
 * two pieces it has no one slope. Floats carry the loss to about 1e-7, which the division by 2 h multiplies; curvature
 * cancels out. Where a ReLU turns a shorter step may do without; where even that does not, nothing is said. */
static verdict check_slope(fixture *f, float *device, float value, float grad)
{
  static const struct {
    float h;
    double tolerance;
  } steps[] = {{0x1p-8f, 1e-4}, {0x1p-10f, 3e-4}, {0x1p-12f, 1e-3}};
  verdict found = AT_A_TURN;
  for (size_t s = 0; s < sizeof steps / sizeof *steps && found == AT_A_TURN; s++) {
    const float higher = value + steps[s].h, lower = value - steps[s].h;
    bool is_smooth = true;
    const double above = loss_at(f, device, higher, &is_smooth), below = loss_at(f, device, lower, &is_smooth);
    const double slope = (above - below) / ((double)higher - (double)lower);
    if (is_smooth)
      found = fabs((double)grad - slope) <= steps[s].tolerance ? RIGHT : WRONG;
  }
  set_device(dense, device, &value, 1);
  return found;
}

/* On the CPU all; a GPU is also held against the CPU (test_dense.c), and the emulated one is slow. */
static size_t usual_every(void)
{
  return dense->kernels->device == HOTROW_CPU ? 1 : 9;
}

/* How many gradients are wrong, of every so manyth; adds to those that were asked about, and of which nothing is said.
 */
static size_t count_wrong(fixture *f, float *device, const float *values, const float *grads, size_t count,
                          size_t every)
{
  size_t wrong = 0;
  for (size_t i = 0; i < count; i += every) {
    const verdict found = check_slope(f, device + i, values[i], grads[i]);
    wrong += found == WRONG;
    turn_count += found == AT_A_TURN;
    asked_count++;
  }
  return wrong;
}

static size_t count_wrong_params(fixture *f, size_t every)
{
  return count_wrong(f, f->device_params, f->params, f->param_grads, f->param_count, every);
}

static size_t count_wrong_rows(fixture *f, size_t every)
{
  return count_wrong(f, f->device_rows, f->rows, f->row_grads, f->row_float_count, every);
}

static void check_gradients(const hr_model *model, hr_model_shape shape, uint64_t dropout_key, hr_rng *rng)
{
  fixture f = make_fixture(dense, model, shape, rng);
  f.pass.dropout_key = dropout_key;
  compute_grads(&f);
  CHECK_MSG(count_wrong_params(&f, usual_every()) == 0, "%s: dense gradients", model->name);
  CHECK_MSG(count_wrong_rows(&f, usual_every()) == 0, "%s: row gradients", model->name);
  free_fixture(&f);
}

static void gradients_are_the_slope(void)
{
  hr_rng rng = {hr_test_seed(2)};
  for (const char *const *name = hr_model_names; *name != NULL; name++) {
    const hr_model *model = hr_model_find(*name);
    hr_model_shape shape = small_shape(model);
    check_gradients(model, shape, 0, &rng);
    shape.dropout = 0.3f;
    shape.embedding_dropout = 0.3f;
    check_gradients(model, shape, 12345, &rng);
    shape = small_shape(model);
    shape.numeric_count = 0;
    check_gradients(model, shape, 0, &rng);
    shape.hidden_count = 0; /* hidden layers shrunk to a linear one */
    check_gradients(model, shape, 0, &rng);
    shape.hidden_count = 3;
    shape.hidden[2] = 4;
    check_gradients(model, shape, 0, &rng);
  }
}

static void gradients_of_crossings_of_every_kind(void)
{
  hr_rng rng = {hr_test_seed(7)};
  const hr_model *model = hr_model_find("dcnv2");
  for (uint32_t rank = 0; rank <= 3; rank += 3) {
    for (uint32_t cross_count = 0; cross_count <= 3; cross_count += 3) {
      for (int is_stacked = 0; is_stacked <= 1; is_stacked++) {
        hr_model_shape shape = small_shape(model);
        shape.dim = 2;
        shape.cross_count = cross_count;
        shape.cross_rank = rank;
        shape.is_cross_stacked = is_stacked == 1;
        check_gradients(model, shape, 0, &rng);
      }
    }
  }
}

static void gradients_of_products_of_wide_vectors(void)
{
  hr_rng rng = {hr_test_seed(8)};
  const hr_model *model = hr_model_find("dlrm");
  hr_model_shape shape = small_shape(model);
  shape.dim = 19;
  check_gradients(model, shape, 0, &rng);
  shape.bottom_count = 0;
  check_gradients(model, shape, 0, &rng);
}

typedef struct late_grads {
  fixture *f;
  float *values; /* from late_first on, as they were when they were called done */
  size_t called_count;
} late_grads;

static void take_late_grads(void *context)
{
  late_grads *late = context;
  const hr_pass *pass = &late->f->pass;
  late->called_count++;
  from_device(dense, late->values, pass->param_grads + pass->late_first, late->f->param_count - pass->late_first);
}

/* Has a backward pass all gradients from late_params on when it says so? Before it there are none. */
static void check_late_grads(const hr_model *model, hr_model_shape shape, bool has_late, hr_rng *rng)
{
  fixture f = make_fixture(dense, model, shape, rng);
  late_grads late = {.f = &f, .values = host_floats(f.param_count)};
  f.pass.late_first = model->late_params(&shape);
  f.pass.on_late_grads = take_late_grads;
  f.pass.context = &late;
  CHECK(f.pass.late_first > 0 && f.pass.late_first <= f.param_count);
  compute_grads(&f);
  CHECK_EQ(late.called_count, has_late ? 1 : 0);
  CHECK_EQ(f.pass.late_first < f.param_count, has_late);
  if (has_late)
    CHECK(are_equal(late.values, f.param_grads + f.pass.late_first, f.param_count - f.pass.late_first));
  free(late.values);
  free_fixture(&f);
}

static void gradients_of_later_layers_are_done_when_they_are_said_to_be(void)
{
  hr_rng rng = {hr_test_seed(11)};
  for (const char *const *name = hr_model_names; *name != NULL; name++) {
    const hr_model *model = hr_model_find(*name);
    hr_model_shape shape = small_shape(model);
    check_late_grads(model, shape, true, &rng);
    shape.numeric_count = 0;
    check_late_grads(model, shape, true, &rng);
    shape.cross_count = 0;
    shape.is_cross_stacked = true;
    check_late_grads(model, shape, true, &rng);
    shape.hidden_count = 0;
    check_late_grads(model, shape, false, &rng); /* one layer */
  }
}

/* The check itself: one wrong sign among the gradients is seen, wherever it is. */
static void a_wrong_sign_is_seen(void)
{
  hr_rng rng = {hr_test_seed(3)};
  const hr_model *model = hr_model_find("deepfm");
  fixture f = make_fixture(dense, model, small_shape(model), &rng);
  compute_grads(&f);
  const size_t every = 5 * usual_every();
  size_t seen = 0;
  for (size_t i = 0; i < f.row_float_count; i += every) {
    const float grad = f.row_grads[i];
    if (fabsf(grad) < 4e-3f || check_slope(&f, f.device_rows + i, f.rows[i], grad) == AT_A_TURN)
      continue;
    f.row_grads[i] = -grad;
    CHECK_EQ(count_wrong_rows(&f, every), 1);
    f.row_grads[i] = grad;
    seen++;
  }
  CHECK(seen > 0);
  size_t steepest = f.param_count - 1; /* the last bias: behind all ReLUs */
  for (size_t i = 0; i < f.param_count; i++)
    if (fabsf(f.param_grads[i]) > fabsf(f.param_grads[steepest]) &&
        check_slope(&f, f.device_params + i, f.params[i], f.param_grads[i]) == RIGHT)
      steepest = i;
  f.param_grads[steepest] *= -1;
  CHECK_EQ(count_wrong_params(&f, 1), 1);
  free_fixture(&f);
}

/* What the checks of gradients above said nothing about. */
static void few_gradients_are_at_a_turn(void)
{
  CHECK_MSG(asked_count > 0 && turn_count <= asked_count / 50, "%zu of %zu gradients are where a ReLU turns",
            turn_count, asked_count);
}

/* The pairs of the factorisation machine, one by one. */
static void fm_is_the_sum_over_pairs(void)
{
  hr_rng rng = {hr_test_seed(4)};
  const hr_model *model = hr_model_find("deepfm");
  fixture f = make_fixture(dense, model, small_shape(model), &rng);
  const size_t row_dim = hr_row_dim(&f.shape);
  f.pass.shape = &f.shape;
  set_device(dense, f.pass.logits, f.logits, BATCH);
  hr_fm_forward(&f.pass, f.pass.work);
  from_device(dense, f.logits, f.pass.logits, BATCH);
  for (size_t i = 0; i < BATCH; i++) {
    double expected = 0;
    for (size_t a = 0; a < f.shape.field_count; a++)
      for (size_t b = a + 1; b < f.shape.field_count; b++)
        for (size_t d = 1; d < row_dim; d++)
          expected += (double)f.rows[(i * f.shape.field_count + a) * row_dim + d] *
                      (double)f.rows[(i * f.shape.field_count + b) * row_dim + d];
    CHECK(fabs((double)f.logits[i] - expected) < 1e-5);
  }
  free_fixture(&f);
}

/* An affine layer by its formula, in double; hidden layers of the oracles below. */
static void affine_oracle(const float *weights, const float *biases, size_t input_size, size_t output_size,
                          const double *inputs, bool has_relu, double *outputs)
{
  CHECK(weights != NULL);
  for (size_t o = 0; o < output_size; o++) {
    outputs[o] = biases != NULL ? (double)biases[o] : 0;
    for (size_t i = 0; i < input_size; i++)
      outputs[o] += (double)weights[o * input_size + i] * inputs[i];
    if (has_relu && outputs[o] < 0)
      outputs[o] = 0;
  }
}

#define ORACLE_MAX 64u

/* One hidden layer and the one of one output; returns where its parameters end. */
static const float *hidden_oracle(const float *params, size_t input_size, size_t hidden, size_t output_size,
                                  const double *inputs, double *outputs)
{
  double values[ORACLE_MAX];
  affine_oracle(params, params + hidden * input_size, input_size, hidden, inputs, true, values);
  params += hidden * (input_size + 1);
  affine_oracle(params, params + output_size * hidden, hidden, output_size, values, false, outputs);
  return params + output_size * (hidden + 1);
}

static void check_logit(const fixture *f, size_t i, double expected)
{
  CHECK_MSG(fabs((double)f->logits[i] - expected) < 1e-5, "%s, sample %zu: %g, want %g", f->model->name, i,
            (double)f->logits[i], expected);
}

/* DCN-v2 by its formulas: all W or U V, then the weights of the last x if it is not stacked, then hidden layers. */
static double dcnv2_oracle(const fixture *f, const double *x0, size_t size)
{
  const hr_model_shape *shape = &f->shape;
  const float *params = f->params;
  double x[ORACLE_MAX], inner[ORACLE_MAX], narrow[ORACLE_MAX], logit = 0, deep;
  memcpy(x, x0, size * sizeof *x);
  for (uint32_t l = 0; l < shape->cross_count; l++) {
    const size_t rank = shape->cross_rank;
    affine_oracle(params, NULL, size, rank, x, false, narrow);
    params += rank * size;
    const size_t inner_size = rank > 0 ? rank : size;
    affine_oracle(params, params + size * inner_size, inner_size, size, rank > 0 ? narrow : x, false, inner);
    params += size * inner_size + size;
    for (size_t i = 0; i < size; i++)
      x[i] += x0[i] * inner[i];
  }
  if (!shape->is_cross_stacked) {
    affine_oracle(params, NULL, size, 1, x, false, &logit);
    params += size;
  }
  params = hidden_oracle(params, size, shape->hidden[0], 1, shape->is_cross_stacked ? x : x0, &deep);
  CHECK(params == f->params + f->param_count);
  return logit + deep;
}

static void dcnv2_is_its_formula(void)
{
  hr_rng rng = {hr_test_seed(9)};
  const hr_model *model = hr_model_find("dcnv2");
  for (uint32_t kind = 0; kind < 4; kind++) {
    hr_model_shape shape = small_shape(model);
    shape.hidden_count = 1;
    shape.cross_rank = kind % 2 * 3;
    shape.is_cross_stacked = kind / 2 == 1;
    fixture f = make_fixture(dense, model, shape, &rng);
    mean_loss(&f);
    const size_t vectors = (size_t)shape.field_count * shape.dim;
    for (size_t i = 0; i < BATCH; i++) {
      double x0[ORACLE_MAX];
      for (size_t j = 0; j < vectors; j++)
        x0[j] = (double)f.rows[i * vectors + j];
      for (size_t j = 0; j < shape.numeric_count; j++)
        x0[vectors + j] = (double)f.numeric[i * shape.numeric_count + j];
      check_logit(&f, i, dcnv2_oracle(&f, x0, vectors + shape.numeric_count));
    }
    free_fixture(&f);
  }
}

static double dlrm_oracle(const fixture *f, size_t i)
{
  const hr_model_shape *shape = &f->shape;
  const size_t dim = shape->dim, fields = shape->field_count;
  double numeric[ORACLE_MAX], vectors[ORACLE_MAX], top[ORACLE_MAX], logit;
  for (size_t j = 0; j < shape->numeric_count; j++)
    numeric[j] = (double)f->numeric[i * shape->numeric_count + j];
  for (size_t j = 0; j < fields * dim; j++)
    vectors[j] = (double)f->rows[i * fields * dim + j];
  const float *params =
      hidden_oracle(f->params, shape->numeric_count, shape->bottom[0], dim, numeric, vectors + fields * dim);
  size_t top_size = dim;
  for (size_t d = 0; d < dim; d++)
    top[d] = vectors[fields * dim + d] = fmax(0, vectors[fields * dim + d]);
  for (size_t a = 0; a <= fields; a++)
    for (size_t b = 0; b < a; b++) {
      top[top_size] = 0;
      for (size_t d = 0; d < dim; d++)
        top[top_size] += vectors[a * dim + d] * vectors[b * dim + d];
      top_size++;
    }
  params = hidden_oracle(params, top_size, shape->hidden[0], 1, top, &logit);
  CHECK(params == f->params + f->param_count);
  return logit;
}

static void dlrm_is_its_formula(void)
{
  hr_rng rng = {hr_test_seed(10)};
  const hr_model *model = hr_model_find("dlrm");
  hr_model_shape shape = small_shape(model);
  shape.hidden_count = 1;
  shape.dim = 11;
  fixture f = make_fixture(dense, model, shape, &rng);
  mean_loss(&f);
  for (size_t i = 0; i < BATCH; i++)
    check_logit(&f, i, dlrm_oracle(&f, i));
  free_fixture(&f);
}

static void dropout_follows_its_key(void)
{
  hr_rng rng = {hr_test_seed(5)};
  const hr_model *model = hr_model_find("wdl");
  hr_model_shape shape = small_shape(model);
  shape.hidden[0] = 64;
  shape.dropout = 0.5f;
  fixture f = make_fixture(dense, model, shape, &rng);
  float first[BATCH];
  f.pass.dropout_key = 7;
  mean_loss(&f);
  memcpy(first, f.logits, sizeof first);
  mean_loss(&f);
  CHECK(are_equal(first, f.logits, BATCH));
  f.pass.dropout_key = 8;
  mean_loss(&f);
  CHECK(!are_equal(first, f.logits, BATCH));
  free_fixture(&f);

  /* The mean over many keys is near the values without dropout where all is linear: one hidden layer. */
  shape.hidden_count = 1;
  f = make_fixture(dense, model, shape, &rng);
  double mean = 0;
  const uint64_t key_count = 4000 / usual_every();
  for (uint64_t key = 1; key <= key_count; key++) {
    f.pass.dropout_key = hr_mix64(key) | 1;
    mean_loss(&f);
    mean += (double)f.logits[0] / (double)key_count;
  }
  f.pass.dropout_key = 0;
  mean_loss(&f);
  CHECK_MSG(fabs(mean - (double)f.logits[0]) < 0.1, "mean with dropout %g, without %g", mean, (double)f.logits[0]);
  free_fixture(&f);
}

static void init_follows_its_seed(void)
{
  for (const char *const *name = hr_model_names; *name != NULL; name++) {
    const hr_model *model = hr_model_find(*name);
    const hr_model_shape shape = small_shape(model);
    CHECK(strcmp(model->name, *name) == 0);
    const size_t count = model->param_count(&shape);
    float *a = host_floats(count), *b = host_floats(count);
    model->init(&shape, 1, a);
    model->init(&shape, 1, b);
    CHECK(are_equal(a, b, count));
    free(b);
    b = host_floats(count);
    model->init(&shape, 2, b);
    CHECK(!are_equal(a, b, count));
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
  float params[COUNT] = {0}, grads[COUNT];
  double m[COUNT] = {0}, v[COUNT] = {0}, x[COUNT] = {0};
  CHECK_OK(hr_dense_adam_init(&adam, dense, COUNT));
  float *device_params = to_device(dense, params, COUNT), *device_grads = to_device(dense, params, COUNT);
  for (int t = 1; t <= STEPS; t++) {
    fill(&rng, grads, COUNT, 1);
    set_device(dense, device_grads, grads, COUNT);
    hr_dense_adam_update(&adam, 0.01f, device_grads, device_params);
    from_device(dense, params, device_params, COUNT);
    for (int i = 0; i < COUNT; i++) {
      m[i] = 0.9 * m[i] + 0.1 * (double)grads[i];
      v[i] = 0.999 * v[i] + 0.001 * (double)grads[i] * (double)grads[i];
      x[i] -= 0.01 * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
      CHECK(fabs(x[i] - (double)params[i]) < 1e-5);
    }
  }
  hr_dense_free(dense, device_params);
  hr_dense_free(dense, device_grads);
  hr_dense_adam_fini(&adam);
}

int main(int argc, char **argv)
{
  dense = open_dense(argc, argv);
  RUN(gradients_are_the_slope);
  RUN(gradients_of_crossings_of_every_kind);
  RUN(gradients_of_products_of_wide_vectors);
  RUN(gradients_of_later_layers_are_done_when_they_are_said_to_be);
  RUN(a_wrong_sign_is_seen);
  RUN(few_gradients_are_at_a_turn);
  RUN(fm_is_the_sum_over_pairs);
  RUN(dcnv2_is_its_formula);
  RUN(dlrm_is_its_formula);
  RUN(dropout_follows_its_key);
  RUN(init_follows_its_seed);
  RUN(adam_is_adam);
  hr_dense_close(dense);
  return 0;
}
