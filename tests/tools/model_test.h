/* What the tests of dense math and models share: the device under test, a model with one batch of random numbers. */
#ifndef MODEL_TEST_H
#define MODEL_TEST_H

#include <hr/random.h>

#include "dense.h"
#include "hr_test.h"
#include "model.h"

#define BATCH 7u

/* The device that the program's argument names, "cpu" or "cuda"; a device that is not there is a skip. */
hr_dense *open_dense(int argc, char **argv);

float *host_floats(size_t count);                                 /* zeroed */
void fill(hr_rng *rng, float *values, size_t count, float scale); /* between - and + scale */
bool are_equal(const float *a, const float *b, size_t count);

float *to_device(hr_dense *dense, const float *values, size_t count); /* hr_dense_free() */
void set_device(hr_dense *dense, float *device, const float *values, size_t count);
void from_device(hr_dense *dense, float *values, const float *device, size_t count);

/* Everything a model needs for one batch. The arrays of `pass` are on the device; the others are what the host knows of
 * them: inputs, and what compute_grads() brought back. */
typedef struct fixture {
  hr_model_shape shape;
  const hr_model *model;
  hr_pass pass;
  size_t param_count, row_float_count, work_count;
  float *params, *rows, *numeric, *labels, *logits, *param_grads, *row_grads;
  float *work;   /* what is left of a pass on the device */
  bool *is_zero; /* [work_count]: in compute_grads() */
  float *device_params, *device_rows, *device_numeric, *device_labels, *device_logit_grads, *device_loss;
} fixture;

hr_model_shape small_shape(const hr_model *model);
fixture make_fixture(hr_dense *dense, const hr_model *model, hr_model_shape shape, hr_rng *rng);
void free_fixture(fixture *f);

double mean_loss(fixture *f); /* fills logits */
void compute_grads(fixture *f);

#endif
