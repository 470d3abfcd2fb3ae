#include "model_test.h"

#include <cblas.h>

#include "metrics.h"

hr_dense *open_dense(int argc, char **argv)
{
  openblas_set_num_threads(1);
  CHECK_MSG(argc == 2 && (strcmp(argv[1], "cpu") == 0 || strcmp(argv[1], "cuda") == 0), "usage: %s cpu|cuda", argv[0]);
  hr_dense *dense;
  const hotrow_status status = hr_dense_open(strcmp(argv[1], "cpu") == 0 ? HOTROW_CPU : HOTROW_CUDA, &dense);
  if (status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE)
    hr_test_skip("cuda", "%s", hotrow_last_error());
  CHECK_OK(status);
  return dense;
}

float *host_floats(size_t count)
{
  float *memory = calloc(count + 1, sizeof *memory);
  CHECK(memory != NULL);
  return memory;
}

void fill(hr_rng *rng, float *values, size_t count, float scale)
{
  for (size_t i = 0; i < count; i++)
    values[i] = scale * (2 * hr_rng_unit(rng) - 1);
}

bool are_equal(const float *a, const float *b, size_t count)
{
  for (size_t i = 0; i < count; i++)
    if (a[i] != b[i])
      return false;
  return true;
}

void set_device(hr_dense *dense, float *device, const float *values, size_t count)
{
  CHECK_OK(dense->kernels->copy_in(device, values, count * sizeof *values, dense->stream));
}

float *to_device(hr_dense *dense, const float *values, size_t count)
{
  float *device;
  CHECK_OK(hr_dense_alloc(dense, count, 1, "an array under test", &device));
  set_device(dense, device, values, count);
  return device;
}

void from_device(hr_dense *dense, float *values, const float *device, size_t count)
{
  CHECK_OK(dense->kernels->copy_out(values, device, count * sizeof *values, dense->stream));
  CHECK_OK(dense->kernels->synchronize(dense->stream));
}

hr_model_shape small_shape(const hr_model *model)
{
  return (hr_model_shape){.field_count = 3,
                          .numeric_count = 2,
                          .dim = 4,
                          .first_order = model->first_order,
                          .hidden_count = 2,
                          .hidden = {6, 5},
                          .bottom_count = 1,
                          .bottom = {5},
                          .cross_count = 2,
                          .batch_capacity = BATCH + 2};
}

static float *device_floats(hr_dense *dense, size_t count)
{
  float *device;
  CHECK_OK(hr_dense_alloc(dense, count, 1, "an array of a model under test", &device));
  return device;
}

fixture make_fixture(hr_dense *dense, const hr_model *model, hr_model_shape shape, hr_rng *rng)
{
  fixture f = {.shape = shape, .model = model};
  f.param_count = model->param_count(&shape);
  f.row_float_count = BATCH * shape.field_count * hr_row_dim(&shape);
  f.params = host_floats(f.param_count);
  f.param_grads = host_floats(f.param_count);
  f.rows = host_floats(f.row_float_count);
  f.row_grads = host_floats(f.row_float_count);
  f.numeric = host_floats(BATCH * shape.numeric_count);
  f.labels = host_floats(BATCH);
  f.logits = host_floats(BATCH);
  f.work_count = model->work_count(&shape);
  f.work = host_floats(f.work_count);
  f.is_zero = calloc(f.work_count + 1, sizeof *f.is_zero);
  CHECK(f.is_zero != NULL);
  model->init(&shape, hr_rng_next(rng), f.params);
  for (size_t i = 0; i < f.param_count; i++) /* biases and linear weights begin at 0: move them, and all, a little */
    f.params[i] += 0.2f * (2 * hr_rng_unit(rng) - 1);
  fill(rng, f.rows, f.row_float_count, 0.5f);
  fill(rng, f.numeric, BATCH * shape.numeric_count, 1);
  for (size_t i = 0; i < BATCH; i++)
    f.labels[i] = (float)(hr_rng_next(rng) & 1);
  f.device_params = to_device(dense, f.params, f.param_count);
  f.device_rows = to_device(dense, f.rows, f.row_float_count);
  f.device_numeric = to_device(dense, f.numeric, BATCH * shape.numeric_count);
  f.device_labels = to_device(dense, f.labels, BATCH);
  f.device_logit_grads = device_floats(dense, BATCH);
  f.device_loss = device_floats(dense, 1);
  f.pass = (hr_pass){.dense = dense,
                     .params = f.device_params,
                     .rows = f.device_rows,
                     .numeric = f.device_numeric,
                     .count = BATCH,
                     .work = device_floats(dense, f.work_count),
                     .logits = device_floats(dense, BATCH),
                     .logit_grads = f.device_logit_grads,
                     .param_grads = device_floats(dense, f.param_count),
                     .row_grads = device_floats(dense, f.row_float_count)};
  return f;
}

void free_fixture(fixture *f)
{
  float *const host[] = {f->params, f->param_grads, f->rows, f->row_grads, f->numeric, f->labels, f->logits, f->work};
  float *const device[] = {f->device_params,      f->device_rows,   f->device_numeric, f->device_labels,
                           f->device_logit_grads, f->device_loss,   f->pass.work,      f->pass.logits,
                           f->pass.param_grads,   f->pass.row_grads};
  for (size_t i = 0; i < sizeof host / sizeof *host; i++)
    free(host[i]);
  free(f->is_zero);
  for (size_t i = 0; i < sizeof device / sizeof *device; i++)
    hr_dense_free(f->pass.dense, device[i]);
}

double mean_loss(fixture *f)
{
  f->pass.shape = &f->shape;
  f->model->forward(&f->pass);
  from_device(f->pass.dense, f->logits, f->pass.logits, BATCH);
  double loss = 0;
  for (size_t i = 0; i < BATCH; i++)
    loss += hr_logloss(f->logits[i], f->labels[i]);
  return loss / BATCH;
}

void compute_grads(fixture *f)
{
  hr_dense *dense = f->pass.dense;
  mean_loss(f);
  dense->call->logloss(dense, f->pass.logits, f->device_labels, BATCH, 1.0f / BATCH, f->device_logit_grads,
                       f->device_loss);
  f->model->backward(&f->pass);
  from_device(dense, f->param_grads, f->pass.param_grads, f->param_count);
  from_device(dense, f->row_grads, f->pass.row_grads, f->row_float_count);
  from_device(dense, f->work, f->pass.work, f->work_count);
  for (size_t i = 0; i < f->work_count; i++)
    f->is_zero[i] = f->work[i] == 0;
}
