/* The linear block and the factorisation machine. */
#include "layers.h"

#include <string.h>

size_t hr_linear_param_count(const hr_model_shape *shape)
{
  return 1 + (size_t)shape->numeric_count;
}

void hr_linear_forward(const hr_pass *pass, const float *params)
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

void hr_linear_backward(const hr_pass *pass, float *param_grads)
{
  const hr_model_shape *shape = pass->shape;
  const size_t row_dim = hr_row_dim(shape);
  memset(param_grads, 0, hr_linear_param_count(shape) * sizeof *param_grads);
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

size_t hr_fm_work_count(const hr_model_shape *shape)
{
  return shape->batch_capacity * shape->dim;
}

/* The sum over pairs <v_f, v_g> is half of |sum of v|^2 - sum of |v|^2; work keeps the sums for the way back. */
void hr_fm_forward(const hr_pass *pass, float *work)
{
  const uint32_t dim = pass->shape->dim;
  const size_t row_dim = hr_row_dim(pass->shape);
  const float *row = pass->rows;
  memset(work, 0, pass->count * dim * sizeof *work);
  for (size_t i = 0; i < pass->count; i++) {
    float *sum = work + i * dim;
    float squares = 0, square_of_sum = 0;
    for (uint32_t f = 0; f < pass->shape->field_count; f++, row += row_dim) {
      for (uint32_t d = 0; d < dim; d++) {
        sum[d] += row[1 + d];
        squares += row[1 + d] * row[1 + d];
      }
    }
    for (uint32_t d = 0; d < dim; d++)
      square_of_sum += sum[d] * sum[d];
    pass->logits[i] += 0.5f * (square_of_sum - squares);
  }
}

void hr_fm_backward(const hr_pass *pass, const float *work)
{
  const uint32_t dim = pass->shape->dim;
  const size_t row_dim = hr_row_dim(pass->shape);
  const float *row = pass->rows;
  float *row_grad = pass->row_grads;
  for (size_t i = 0; i < pass->count; i++) {
    const float *sum = work + i * dim;
    for (uint32_t f = 0; f < pass->shape->field_count; f++, row += row_dim, row_grad += row_dim)
      for (uint32_t d = 0; d < dim; d++)
        row_grad[1 + d] += pass->logit_grads[i] * (sum[d] - row[1 + d]);
  }
}
