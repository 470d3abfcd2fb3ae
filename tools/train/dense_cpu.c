/* Dense math on the CPU: BLAS, and loops in the order in which they are written. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "counter_random.h"
#include "dense_impl.h"
#include "metrics.h"

#define LANES 8u /* sums of products go in so many lanes, which are added at the end */

static void cpu_close(hr_dense *dense)
{
  free(dense);
}

static hotrow_status cpu_wait(hr_dense *dense)
{
  (void)dense;
  return HOTROW_OK;
}

static void cpu_gemm(hr_dense *dense, const hr_gemm *g)
{
  (void)dense;
  if (g->m == 0 || g->n == 0)
    return;
  cblas_sgemm(CblasRowMajor, g->is_a_transposed ? CblasTrans : CblasNoTrans,
              g->is_b_transposed ? CblasTrans : CblasNoTrans, (int)g->m, (int)g->n, (int)g->k, 1, g->a,
              (int)g->a_stride, g->b, (int)g->b_stride, g->beta, g->c, (int)g->c_stride);
}

/* ---- arrays ---- */

static void cpu_zero(hr_dense *dense, float *values, size_t count)
{
  (void)dense;
  memset(values, 0, count * sizeof *values);
}

static void cpu_add_scaled(hr_dense *dense, float scale, const float *values, size_t count, float *sums)
{
  (void)dense;
  for (size_t i = 0; i < count; i++)
    sums[i] += scale * values[i];
}

static void cpu_set_rows(hr_dense *dense, const float *row, size_t count, size_t n, float *to, size_t to_stride)
{
  (void)dense;
  for (size_t i = 0; i < count; i++)
    memcpy(to + i * to_stride, row, n * sizeof *to);
}

static void cpu_copy_rows(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *to,
                          size_t to_stride)
{
  (void)dense;
  for (size_t i = 0; i < count; i++)
    memcpy(to + i * to_stride, from + i * from_stride, n * sizeof *to);
}

static void cpu_add_rows(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *to,
                         size_t to_stride)
{
  (void)dense;
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < n; j++)
      to[i * to_stride + j] += from[i * from_stride + j];
}

static void cpu_sum_rows(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *sums)
{
  (void)dense;
  memset(sums, 0, n * sizeof *sums);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < n; j++)
      sums[j] += from[i * from_stride + j];
}

/* ---- hidden layers ---- */

static void cpu_relu(hr_dense *dense, uint64_t key, float rate, size_t count, size_t n, float *values, size_t stride)
{
  (void)dense;
  for (size_t i = 0; i < count; i++) {
    float *row = values + i * stride;
    for (size_t j = 0; j < n; j++)
      row[j] = row[j] > 0 ? row[j] : 0;
    if (rate > 0)
      for (size_t j = 0; j < n; j++)
        row[j] *= hr_dropout_scale(key, i * n + j, rate);
  }
}

static void cpu_relu_backward(hr_dense *dense, float keep, const float *values, size_t stride, size_t count, size_t n,
                              float *grads, size_t grad_stride)
{
  (void)dense;
  for (size_t i = 0; i < count; i++) {
    const float *row = values + i * stride;
    float *grad = grads + i * grad_stride;
    for (size_t j = 0; j < n; j++)
      grad[j] = row[j] > 0 ? keep * grad[j] : 0;
  }
}

/* ---- of the rows of a pass ---- */

static void cpu_take_vectors(const hr_pass *pass, uint64_t key, float rate, float *to, size_t to_stride)
{
  const hr_model_shape *shape = pass->shape;
  const size_t dim = shape->dim, row_dim = hr_row_dim(shape);
  const float *vector = pass->rows + shape->first_order;
  for (size_t i = 0; i < pass->count; i++) {
    float *out = to + i * to_stride;
    for (size_t f = 0; f < shape->field_count; f++, vector += row_dim, out += dim) {
      const float scale = rate > 0 ? hr_dropout_scale(key, i * shape->field_count + f, rate) : 1;
      for (size_t d = 0; d < dim; d++)
        out[d] = scale * vector[d];
    }
  }
}

static void cpu_give_vector_grads(const hr_pass *pass, uint64_t key, float rate, const float *grads, size_t grad_stride)
{
  const hr_model_shape *shape = pass->shape;
  const size_t dim = shape->dim, row_dim = hr_row_dim(shape);
  float *vector_grad = pass->row_grads + shape->first_order;
  for (size_t i = 0; i < pass->count; i++) {
    const float *in = grads + i * grad_stride;
    for (size_t f = 0; f < shape->field_count; f++, vector_grad += row_dim, in += dim) {
      const float scale = rate > 0 ? hr_dropout_scale(key, i * shape->field_count + f, rate) : 1;
      for (size_t d = 0; d < dim; d++)
        vector_grad[d] += scale * in[d];
    }
  }
}

static void cpu_linear(const hr_pass *pass, const float *params)
{
  const hr_model_shape *shape = pass->shape;
  const size_t row_dim = hr_row_dim(shape);
  const float *row = pass->rows;
  for (size_t i = 0; i < pass->count; i++) {
    const float *numeric = pass->numeric + i * shape->numeric_count;
    float logit = params[0];
    for (uint32_t m = 0; m < shape->numeric_count; m++)
      logit += params[1 + m] * numeric[m];
    for (uint32_t f = 0; f < shape->field_count; f++, row += row_dim)
      logit += row[0];
    pass->logits[i] = logit;
  }
}

static void cpu_linear_backward(const hr_pass *pass, float *param_grads)
{
  const hr_model_shape *shape = pass->shape;
  const size_t row_dim = hr_row_dim(shape);
  memset(param_grads, 0, (1 + (size_t)shape->numeric_count) * sizeof *param_grads);
  memset(pass->row_grads, 0, pass->count * shape->field_count * row_dim * sizeof *pass->row_grads);
  float *row_grad = pass->row_grads;
  for (size_t i = 0; i < pass->count; i++) {
    const float *numeric = pass->numeric + i * shape->numeric_count;
    const float grad = pass->logit_grads[i];
    param_grads[0] += grad;
    for (uint32_t m = 0; m < shape->numeric_count; m++)
      param_grads[1 + m] += grad * numeric[m];
    for (uint32_t f = 0; f < shape->field_count; f++, row_grad += row_dim)
      row_grad[0] = grad;
  }
}

/* The sum over pairs <v_f, v_g> is half of |sum of v|^2 - sum of |v|^2; sums are kept for the way back. */
static void cpu_fm(const hr_pass *pass, float *sums)
{
  const hr_model_shape *shape = pass->shape;
  const uint32_t dim = shape->dim;
  const size_t row_dim = hr_row_dim(shape);
  const float *vector = pass->rows + shape->first_order;
  memset(sums, 0, pass->count * dim * sizeof *sums);
  for (size_t i = 0; i < pass->count; i++) {
    float *sum = sums + i * dim;
    float squares = 0, square_of_sum = 0;
    for (uint32_t f = 0; f < shape->field_count; f++, vector += row_dim) {
      for (uint32_t d = 0; d < dim; d++) {
        sum[d] += vector[d];
        squares += vector[d] * vector[d];
      }
    }
    for (uint32_t d = 0; d < dim; d++)
      square_of_sum += sum[d] * sum[d];
    pass->logits[i] += 0.5f * (square_of_sum - squares);
  }
}

static void cpu_fm_backward(const hr_pass *pass, const float *sums)
{
  const hr_model_shape *shape = pass->shape;
  const uint32_t dim = shape->dim;
  const size_t row_dim = hr_row_dim(shape);
  const float *vector = pass->rows + shape->first_order;
  float *vector_grad = pass->row_grads + shape->first_order;
  for (size_t i = 0; i < pass->count; i++) {
    const float *sum = sums + i * dim;
    for (uint32_t f = 0; f < shape->field_count; f++, vector += row_dim, vector_grad += row_dim)
      for (uint32_t d = 0; d < dim; d++)
        vector_grad[d] += pass->logit_grads[i] * (sum[d] - vector[d]);
  }
}

/* ---- crossing layers ---- */

static void cpu_cross(hr_dense *dense, const float *first, const float *inner, const float *here, size_t count,
                      float *next)
{
  (void)dense;
  for (size_t i = 0; i < count; i++)
    next[i] = first[i] * inner[i] + here[i];
}

static void cpu_cross_backward(hr_dense *dense, const float *grads, const float *first, const float *inner,
                               size_t count, float *inner_grads, float *first_grads)
{
  (void)dense;
  for (size_t i = 0; i < count; i++) {
    inner_grads[i] = grads[i] * first[i];
    first_grads[i] += grads[i] * inner[i];
  }
}

/* ---- products of all pairs ---- */

static float product(const float *a, const float *b, size_t dim)
{
  float lanes[LANES] = {0}, sum = 0;
  size_t d = 0;
  for (; d + LANES <= dim; d += LANES)
    for (size_t l = 0; l < LANES; l++)
      lanes[l] += a[d + l] * b[d + l];
  for (size_t l = 0; d < dim; d++, l++)
    lanes[l] += a[d] * b[d];
  for (size_t l = 0; l < LANES; l++)
    sum += lanes[l];
  return sum;
}

static void cpu_interact(hr_dense *dense, const hr_interaction *in, float *pairs)
{
  (void)dense;
  const size_t dim = in->dim;
  for (size_t i = 0; i < in->count; i++) {
    const float *vectors = in->vectors + i * in->vector_count * dim;
    float *pair = pairs + i * in->pair_stride;
    for (size_t a = 1; a < in->vector_count; a++)
      for (size_t b = 0; b < a; b++)
        *pair++ = product(vectors + a * dim, vectors + b * dim, dim);
  }
}

static void cpu_interact_backward(hr_dense *dense, const hr_interaction *in, const float *pair_grads,
                                  float *vector_grads)
{
  (void)dense;
  const size_t dim = in->dim, vector_floats = in->vector_count * dim;
  memset(vector_grads, 0, in->count * vector_floats * sizeof *vector_grads);
  for (size_t i = 0; i < in->count; i++) {
    const float *vectors = in->vectors + i * vector_floats, *grad = pair_grads + i * in->pair_stride;
    float *grads = vector_grads + i * vector_floats;
    for (size_t a = 1; a < in->vector_count; a++)
      for (size_t b = 0; b < a; b++, grad++)
        for (size_t d = 0; d < dim; d++) {
          grads[a * dim + d] += *grad * vectors[b * dim + d];
          grads[b * dim + d] += *grad * vectors[a * dim + d];
        }
  }
}

/* ---- the ends of a step ---- */

static void cpu_logloss(hr_dense *dense, const float *logits, const float *labels, size_t count, float scale,
                        float *grads, float *loss_p)
{
  (void)dense;
  double loss = 0;
  for (size_t i = 0; i < count; i++) {
    loss += hr_logloss(logits[i], labels[i]);
    grads[i] = (hr_sigmoid(logits[i]) - labels[i]) * scale;
  }
  *loss_p = (float)loss;
}

static void cpu_adam(hr_dense *dense, const hr_adam_step *step, const float *grads, size_t count, float *first,
                     float *second, float *params)
{
  (void)dense;
  for (size_t i = 0; i < count; i++)
    hr_adam_update(step, grads[i], &first[i], &second[i], &params[i]);
}

static const hr_dense_functions cpu_functions = {
    .close = cpu_close,
    .wait = cpu_wait,
    .gemm = cpu_gemm,
    .zero = cpu_zero,
    .add_scaled = cpu_add_scaled,
    .set_rows = cpu_set_rows,
    .copy_rows = cpu_copy_rows,
    .add_rows = cpu_add_rows,
    .sum_rows = cpu_sum_rows,
    .relu = cpu_relu,
    .relu_backward = cpu_relu_backward,
    .take_vectors = cpu_take_vectors,
    .give_vector_grads = cpu_give_vector_grads,
    .linear = cpu_linear,
    .linear_backward = cpu_linear_backward,
    .fm = cpu_fm,
    .fm_backward = cpu_fm_backward,
    .cross = cpu_cross,
    .cross_backward = cpu_cross_backward,
    .interact = cpu_interact,
    .interact_backward = cpu_interact_backward,
    .logloss = cpu_logloss,
    .adam = cpu_adam,
};

hotrow_status hr_dense_open_cpu(const hotrow_kernels *kernels, hr_dense **dense_p)
{
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_dense), "dense math", &memory));
  hr_dense *dense = memory;
  *dense = (hr_dense){.call = &cpu_functions, .kernels = kernels};
  *dense_p = dense;
  return HOTROW_OK;
}
