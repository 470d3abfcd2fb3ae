#include <math.h>

#include "counter_random.h"
#include "dense_adam.h"
#include "metrics.h"
#include "model_test.h"

#define ARRAYS_MAX 16

static hr_dense *dense;

/* An array on the device and what the host put there; get() brings back what the device made of it. */
typedef struct array {
  float *host, *device, *result;
  size_t count;
} array;

static array arrays[ARRAYS_MAX];
static size_t array_count;

static array make(hr_rng *rng, size_t count)
{
  CHECK(array_count < ARRAYS_MAX);
  array a = {.host = host_floats(count), .result = host_floats(count), .count = count};
  fill(rng, a.host, count, 1);
  a.device = to_device(dense, a.host, count);
  return arrays[array_count++] = a;
}

static const float *get(const array *a)
{
  from_device(dense, a->result, a->device, a->count);
  return a->result;
}

static void release(void)
{
  CHECK_OK(dense->call->wait(dense));
  while (array_count > 0) {
    const array *a = &arrays[--array_count];
    free(a->host);
    free(a->result);
    hr_dense_free(dense, a->device);
  }
}

static void check_near(float actual, double expected, double tolerance, const char *what)
{
  CHECK_MSG(fabs((double)actual - expected) <= tolerance * (1 + fabs(expected)), "%s: %.9g, want %.9g", what,
            (double)actual, expected);
}

static size_t size_below(hr_rng *rng, uint64_t limit)
{
  return (size_t)hr_rng_below(rng, limit);
}

static void matrices_are_multiplied(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (uint32_t round = 0; round < 48; round++) {
    const size_t m = size_below(&rng, 40), n = 1 + size_below(&rng, 40), k = 1 + size_below(&rng, 90);
    hr_gemm g = {.m = m, .n = n, .k = k, .beta = (float)(round % 2)};
    g.is_a_transposed = round / 2 % 2 == 1;
    g.is_b_transposed = round / 4 % 2 == 1;
    g.a_stride = (g.is_a_transposed ? m : k) + 1 + size_below(&rng, 3);
    g.b_stride = (g.is_b_transposed ? k : n) + 1 + size_below(&rng, 3);
    g.c_stride = n + size_below(&rng, 3);
    const array a = make(&rng, (g.is_a_transposed ? k : m) * g.a_stride);
    const array b = make(&rng, (g.is_b_transposed ? n : k) * g.b_stride), c = make(&rng, m * g.c_stride);
    g.a = a.device;
    g.b = b.device;
    g.c = c.device;
    dense->call->gemm(dense, &g);
    get(&c);
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < g.c_stride; j++) {
        const float before = c.host[i * g.c_stride + j];
        double sum = (double)(g.beta * before);
        for (size_t l = 0; l < k; l++)
          sum += (double)a.host[g.is_a_transposed ? l * g.a_stride + i : i * g.a_stride + l] *
                 (double)b.host[g.is_b_transposed ? j % n * g.b_stride + l : l * g.b_stride + j % n];
        check_near(c.result[i * g.c_stride + j], j < n ? sum : (double)before, j < n ? 1e-5 : 0, "gemm");
      }
    release();
  }
}

static void arrays_are_added_up(void)
{
  hr_rng rng = {hr_test_seed(2)};
  for (size_t count = 0; count <= 1000; count += 500) {
    const array a = make(&rng, count), sums = make(&rng, count), zeroes = make(&rng, count);
    dense->call->add_scaled(dense, 0.25f, a.device, count, sums.device);
    dense->call->zero(dense, zeroes.device, count);
    get(&sums);
    get(&zeroes);
    for (size_t i = 0; i < count; i++) {
      CHECK(sums.result[i] == sums.host[i] + 0.25f * a.host[i]);
      CHECK(zeroes.result[i] == 0);
    }
    release();
  }
}

static void rows_are_set_copied_and_added_up(void)
{
  hr_rng rng = {hr_test_seed(3)};
  for (uint32_t round = 0; round < 12; round++) {
    const size_t count = round == 0 ? 0 : size_below(&rng, 60), n = 1 + size_below(&rng, 80);
    const size_t from_stride = n + size_below(&rng, 4), to_stride = n + size_below(&rng, 4);
    const array row = make(&rng, n), from = make(&rng, count * from_stride), sums = make(&rng, n);
    const array set = make(&rng, count * to_stride), copied = make(&rng, count * to_stride);
    const array added = make(&rng, count * to_stride);
    dense->call->set_rows(dense, row.device, count, n, set.device, to_stride);
    dense->call->copy_rows(dense, from.device, from_stride, count, n, copied.device, to_stride);
    dense->call->add_rows(dense, from.device, from_stride, count, n, added.device, to_stride);
    dense->call->sum_rows(dense, from.device, from_stride, count, n, sums.device);
    get(&set);
    get(&copied);
    get(&added);
    get(&sums);
    for (size_t j = 0; j < to_stride; j++) {
      double sum = 0;
      for (size_t i = 0; i < count; i++) {
        const size_t at = i * to_stride + j;
        const float in = j < n ? from.host[i * from_stride + j] : 0;
        CHECK(set.result[at] == (j < n ? row.host[j] : set.host[at]));
        CHECK(copied.result[at] == (j < n ? in : copied.host[at]));
        CHECK(added.result[at] == added.host[at] + in);
        sum += (double)in;
      }
      if (j < n)
        check_near(sums.result[j], sum, 1e-5, "sum_rows");
    }
    release();
  }
}

/* The formula of dense.h, to the bit. */
static float dropped(uint64_t key, uint64_t place, float rate)
{
  return rate == 0 ? 1 : hr_random_unit_at(key, place) < rate ? 0 : 1 / (1 - rate);
}

static void relu_cuts_and_drops(void)
{
  hr_rng rng = {hr_test_seed(4)};
  for (int round = 0; round < 4; round++) {
    const float rate = round % 2 == 0 ? 0 : 0.4f;
    const size_t count = 23, n = 31, stride = n + (size_t)round, grad_stride = n + 2;
    const array values = make(&rng, count * stride), grads = make(&rng, count * grad_stride);
    const uint64_t key = hr_rng_next(&rng);
    dense->call->relu(dense, key, rate, count, n, values.device, stride);
    dense->call->relu_backward(dense, 1.5f, values.device, stride, count, n, grads.device, grad_stride);
    get(&values);
    get(&grads);
    for (size_t i = 0; i < count; i++)
      for (size_t j = 0; j < stride; j++) {
        const float before = values.host[i * stride + j], after = values.result[i * stride + j];
        const float cut = before > 0 ? before : 0;
        CHECK(after == (j >= n ? before : cut * dropped(key, i * n + j, rate)));
        const size_t at = i * grad_stride + j;
        if (j < n)
          CHECK(grads.result[at] == (after > 0 ? 1.5f * grads.host[at] : 0));
      }
    release();
  }
}

/* A pass over random rows. */
static hr_pass make_pass(const hr_model_shape *shape, size_t count, hr_rng *rng, array *rows, array *numeric,
                         array *logit_grads, array *logits, array *row_grads)
{
  *rows = make(rng, count * shape->field_count * hr_row_dim(shape));
  *numeric = make(rng, count * shape->numeric_count);
  *logit_grads = make(rng, count);
  *logits = make(rng, count);
  *row_grads = make(rng, rows->count);
  return (hr_pass){.dense = dense,
                   .shape = shape,
                   .rows = rows->device,
                   .numeric = numeric->device,
                   .count = count,
                   .logits = logits->device,
                   .logit_grads = logit_grads->device,
                   .row_grads = row_grads->device};
}

static void vectors_are_taken_and_given_back(void)
{
  hr_rng rng = {hr_test_seed(5)};
  for (uint32_t round = 0; round < 8; round++) {
    const hr_model_shape shape = {.field_count = 1 + round, .dim = 1 + 5 * round, .first_order = round % 2};
    const size_t count = 19, width = (size_t)shape.field_count * shape.dim, stride = width + round;
    const float rate = round < 4 ? 0 : 0.3f;
    const uint64_t key = hr_rng_next(&rng);
    array rows, numeric, logit_grads, logits, row_grads;
    const hr_pass pass = make_pass(&shape, count, &rng, &rows, &numeric, &logit_grads, &logits, &row_grads);
    const array taken = make(&rng, count * stride), grads = make(&rng, count * stride);
    dense->call->take_vectors(&pass, key, rate, taken.device, stride);
    dense->call->give_vector_grads(&pass, key, rate, grads.device, stride);
    get(&taken);
    get(&row_grads);
    for (size_t i = 0; i < row_grads.count; i++) {
      const size_t place = i / hr_row_dim(&shape), column = i % hr_row_dim(&shape);
      const size_t sample = place / shape.field_count, field = place % shape.field_count;
      if (column < shape.first_order) {
        CHECK(row_grads.result[i] == row_grads.host[i]);
        continue;
      }
      const float scale = dropped(key, place, rate);
      const size_t at = sample * stride + field * shape.dim + column - shape.first_order;
      CHECK(taken.result[at] == scale * rows.host[i]);
      CHECK(row_grads.result[i] == row_grads.host[i] + scale * grads.host[at]);
    }
    for (size_t i = 0; i < count; i++)
      for (size_t j = width; j < stride; j++)
        CHECK(taken.result[i * stride + j] == taken.host[i * stride + j]);
    release();
  }
}

static void linear_terms_and_pairs_are_added(void)
{
  hr_rng rng = {hr_test_seed(6)};
  for (uint32_t round = 0; round < 6; round++) {
    const hr_model_shape shape = {
        .field_count = 1 + 3 * round, .numeric_count = round % 3 * 4, .dim = 1 + 9 * round, .first_order = 1};
    const size_t count = round == 0 ? 0 : 50 * round + 1, row_dim = hr_row_dim(&shape), dim = shape.dim;
    array rows, numeric, logit_grads, logits, row_grads;
    const hr_pass pass = make_pass(&shape, count, &rng, &rows, &numeric, &logit_grads, &logits, &row_grads);
    const array params = make(&rng, 1 + shape.numeric_count), param_grads = make(&rng, params.count);
    const array sums = make(&rng, count * dim);
    dense->call->linear(&pass, params.device);
    dense->call->fm(&pass, sums.device);
    dense->call->linear_backward(&pass, param_grads.device);
    dense->call->fm_backward(&pass, sums.device);
    get(&logits);
    get(&sums);
    get(&row_grads);
    get(&param_grads);
    double grads[64] = {0};
    for (size_t i = 0; i < count; i++) {
      const float *row = rows.host + i * shape.field_count * row_dim;
      const double grad = (double)logit_grads.host[i];
      double logit = (double)params.host[0];
      grads[0] += grad;
      for (size_t m = 0; m < shape.numeric_count; m++) {
        logit += (double)params.host[1 + m] * (double)numeric.host[i * shape.numeric_count + m];
        grads[1 + m] += grad * (double)numeric.host[i * shape.numeric_count + m];
      }
      for (size_t f = 0; f < shape.field_count; f++) {
        logit += (double)row[f * row_dim];
        CHECK(row_grads.result[(i * shape.field_count + f) * row_dim] == logit_grads.host[i]);
      }
      for (size_t d = 0; d < dim; d++) {
        double sum = 0, squares = 0;
        for (size_t f = 0; f < shape.field_count; f++) {
          sum += (double)row[f * row_dim + 1 + d];
          squares += (double)row[f * row_dim + 1 + d] * (double)row[f * row_dim + 1 + d];
        }
        logit += 0.5 * (sum * sum - squares);
        for (size_t f = 0; f < shape.field_count; f++)
          check_near(row_grads.result[(i * shape.field_count + f) * row_dim + 1 + d],
                     grad * (sum - (double)row[f * row_dim + 1 + d]), 1e-5, "fm_backward");
      }
      check_near(logits.result[i], logit, 2e-4, "linear and fm"); /* squares of hundreds cancel */
    }
    for (size_t m = 0; m < param_grads.count; m++)
      check_near(param_grads.result[m], grads[m], 1e-5, "linear_backward");
    release();
  }
}

static void crossings_are_their_formula(void)
{
  hr_rng rng = {hr_test_seed(7)};
  const size_t count = 777;
  const array first = make(&rng, count), inner = make(&rng, count), here = make(&rng, count), next = make(&rng, count);
  const array grads = make(&rng, count), inner_grads = make(&rng, count), first_grads = make(&rng, count);
  dense->call->cross(dense, first.device, inner.device, here.device, count, next.device);
  dense->call->cross_backward(dense, grads.device, first.device, inner.device, count, inner_grads.device,
                              first_grads.device);
  get(&next);
  get(&inner_grads);
  get(&first_grads);
  for (size_t i = 0; i < count; i++) {
    CHECK(next.result[i] == first.host[i] * inner.host[i] + here.host[i]);
    CHECK(inner_grads.result[i] == grads.host[i] * first.host[i]);
    CHECK(first_grads.result[i] == first_grads.host[i] + grads.host[i] * inner.host[i]);
  }
  release();
}

static void all_pairs_are_multiplied(void)
{
  hr_rng rng = {hr_test_seed(8)};
  for (uint32_t round = 0; round < 6; round++) {
    const uint32_t n = 1 + 2 * round, dim = 1 + 5 * round;
    const size_t count = 9, pair_count = n * (n - 1) / 2, stride = pair_count + round, floats = (size_t)n * dim;
    const array vectors = make(&rng, count * floats), pairs = make(&rng, count * stride);
    const array pair_grads = make(&rng, count * stride), vector_grads = make(&rng, count * floats);
    const hr_interaction in = {vectors.device, count, n, dim, stride};
    dense->call->interact(dense, &in, pairs.device);
    dense->call->interact_backward(dense, &in, pair_grads.device, vector_grads.device);
    get(&pairs);
    get(&vector_grads);
    for (size_t i = 0; i < count; i++) {
      double *grads = calloc(floats, sizeof *grads);
      CHECK(grads != NULL);
      const float *v = vectors.host + i * floats;
      size_t pair = i * stride;
      for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < a; b++, pair++) {
          double sum = 0;
          for (size_t d = 0; d < dim; d++) {
            sum += (double)v[a * dim + d] * (double)v[b * dim + d];
            grads[a * dim + d] += (double)pair_grads.host[pair] * (double)v[b * dim + d];
            grads[b * dim + d] += (double)pair_grads.host[pair] * (double)v[a * dim + d];
          }
          check_near(pairs.result[pair], sum, 1e-5, "interact");
        }
      for (; pair < (i + 1) * stride; pair++)
        CHECK(pairs.result[pair] == pairs.host[pair]);
      for (size_t j = 0; j < floats; j++)
        check_near(vector_grads.result[i * floats + j], grads[j], 1e-5, "interact_backward");
      free(grads);
    }
    release();
  }
}

static void losses_are_added_up(void)
{
  hr_rng rng = {hr_test_seed(9)};
  for (size_t count = 0; count <= 700; count += 350) {
    const array logits = make(&rng, count), labels = make(&rng, count), grads = make(&rng, count), loss = make(&rng, 1);
    for (size_t i = 0; i < count; i++) {
      logits.host[i] *= 9;
      labels.host[i] = labels.host[i] > 0 ? 1 : 0;
    }
    set_device(dense, logits.device, logits.host, count);
    set_device(dense, labels.device, labels.host, count);
    dense->call->logloss(dense, logits.device, labels.device, count, 0.5f, grads.device, loss.device);
    get(&grads);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
      const double p = 1 / (1 + exp(-(double)logits.host[i])), label = (double)labels.host[i];
      sum -= log(label > 0 ? p : 1 - p);
      check_near(grads.result[i], 0.5 * (p - label), 1e-6, "logloss");
    }
    check_near(get(&loss)[0], sum, 1e-6, "the sum of losses");
    release();
  }
}

/* ---- the same training on two devices ---- */

enum { STEPS = 12, SAMPLES = 40 };

static hr_model_shape middling_shape(const hr_model *model)
{
  return (hr_model_shape){.field_count = 5,
                          .numeric_count = 3,
                          .dim = 9,
                          .first_order = model->first_order,
                          .hidden_count = 2,
                          .hidden = {33, 20},
                          .bottom_count = 1,
                          .bottom = {17},
                          .cross_count = 2,
                          .cross_rank = 6,
                          .batch_capacity = SAMPLES,
                          .dropout = 0.3f,
                          .embedding_dropout = 0.1f};
}

typedef struct outcome {
  float *params, *row_grads;
  size_t param_count, row_float_count;
  double loss;
} outcome;

/* A few steps of the dense side alone, over the same random rows on every device. */
static outcome train_on(hr_dense *on, const hr_model *model, uint64_t seed)
{
  hr_dense *const tested = dense;
  dense = on; /* make() takes it */
  const hr_model_shape shape = middling_shape(model);
  hr_rng rng = {seed};
  outcome o = {.param_count = model->param_count(&shape)};
  const array params = make(&rng, o.param_count), param_grads = make(&rng, o.param_count), loss = make(&rng, 1);
  const array labels = make(&rng, SAMPLES), work = make(&rng, model->work_count(&shape));
  array rows, numeric, logit_grads, logits, row_grads;
  hr_pass pass = make_pass(&shape, SAMPLES, &rng, &rows, &numeric, &logit_grads, &logits, &row_grads);
  memset(params.host, 0, params.count * sizeof(float));
  model->init(&shape, seed, params.host);
  set_device(on, params.device, params.host, params.count);
  for (size_t i = 0; i < SAMPLES; i++)
    labels.host[i] = labels.host[i] > 0 ? 1 : 0;
  set_device(on, labels.device, labels.host, SAMPLES);
  pass.params = params.device;
  pass.work = work.device;
  pass.param_grads = param_grads.device;
  hr_dense_adam adam;
  CHECK_OK(hr_dense_adam_init(&adam, on, o.param_count));
  for (uint64_t step = 0; step < STEPS; step++) {
    pass.dropout_key = hr_random_at(seed, step) | 1;
    model->forward(&pass);
    on->call->logloss(on, pass.logits, labels.device, SAMPLES, 1.0f / SAMPLES, logit_grads.device, loss.device);
    model->backward(&pass);
    hr_dense_adam_update(&adam, 1e-3f, param_grads.device, params.device);
    o.loss += (double)get(&loss)[0];
  }
  hr_dense_adam_fini(&adam);
  o.row_float_count = row_grads.count;
  o.params = host_floats(o.param_count);
  o.row_grads = host_floats(o.row_float_count);
  memcpy(o.params, get(&params), o.param_count * sizeof(float));
  memcpy(o.row_grads, get(&row_grads), o.row_float_count * sizeof(float));
  release();
  dense = tested;
  return o;
}

static void free_outcome(outcome *o)
{
  free(o->params);
  free(o->row_grads);
}

static double furthest(const float *a, const float *b, size_t count)
{
  double most = 0;
  for (size_t i = 0; i < count; i++)
    most = fmax(most, fabs((double)a[i] - (double)b[i]));
  return most;
}

/* Twelve steps of Adam move a parameter by up to 1.2e-2, and one whose gradients are next to nothing by as much as
 * their last bits decide. The losses are sums of 480, up to hundreds each where rows are as long as here. */
static void devices_agree_and_repeat_themselves(void)
{
  const uint64_t seed = hr_test_seed(10);
  hr_dense *cpu;
  CHECK_OK(hr_dense_open(HOTROW_CPU, &cpu));
  for (const char *const *name = hr_model_names; *name != NULL; name++) {
    const hr_model *model = hr_model_find(*name);
    outcome here = train_on(dense, model, seed), again = train_on(dense, model, seed),
            there = train_on(cpu, model, seed);
    CHECK(are_equal(here.params, again.params, here.param_count) && here.loss == again.loss);
    CHECK(are_equal(here.row_grads, again.row_grads, here.row_float_count));
    const double params = furthest(here.params, there.params, here.param_count);
    const double grads = furthest(here.row_grads, there.row_grads, here.row_float_count);
    CHECK_MSG(params < 1e-4 && grads < 2e-6 && fabs(here.loss - there.loss) < 1e-3,
              "%s: parameters differ by %g, gradients by %g, losses by %g", model->name, params, grads,
              here.loss - there.loss);
    free_outcome(&here);
    free_outcome(&again);
    free_outcome(&there);
  }
  hr_dense_close(cpu);
}

static void arrays_on_both_sides(void)
{
  hr_mirror mirror = {0};
  CHECK_OK(hr_mirror_init(&mirror, dense, 3, 5, "fifteen floats"));
  for (size_t i = 0; i < 15; i++)
    mirror.host[i] = (float)i;
  CHECK_OK(hr_mirror_copy_in(&mirror, dense, 15));
  dense->call->add_scaled(dense, 1, mirror.device, 10, mirror.device);
  CHECK_OK(hr_mirror_copy_out(&mirror, dense, 15));
  CHECK_OK(dense->call->wait(dense));
  for (size_t i = 0; i < 15; i++)
    CHECK(mirror.host[i] == (float)(i < 10 ? 2 * i : i));
  hr_mirror_fini(&mirror, dense);
  hr_mirror_fini(&mirror, dense);
  CHECK_FAILS(hr_mirror_init(&mirror, dense, SIZE_MAX / 4, 5, "too many floats"), HOTROW_ERR_NO_MEMORY,
              "too many floats");
}

int main(int argc, char **argv)
{
  dense = open_dense(argc, argv);
  RUN(matrices_are_multiplied);
  RUN(arrays_are_added_up);
  RUN(rows_are_set_copied_and_added_up);
  RUN(relu_cuts_and_drops);
  RUN(vectors_are_taken_and_given_back);
  RUN(linear_terms_and_pairs_are_added);
  RUN(crossings_are_their_formula);
  RUN(all_pairs_are_multiplied);
  RUN(losses_are_added_up);
  RUN(devices_agree_and_repeat_themselves);
  RUN(arrays_on_both_sides);
  hr_dense_close(dense);
  return 0;
}
