/* The linear block, the factorisation machine, the input of hidden layers, one affine layer. */
#include "layers.h"

#include "counter_random.h"

size_t hr_linear_param_count(const hr_model_shape *shape)
{
  return 1 + (size_t)shape->numeric_count;
}

void hr_linear_forward(const hr_pass *pass, const float *params)
{
  pass->dense->call->linear(pass, params);
}

void hr_linear_backward(const hr_pass *pass, float *param_grads)
{
  pass->dense->call->linear_backward(pass, param_grads);
}

size_t hr_fm_work_count(const hr_model_shape *shape)
{
  return shape->batch_capacity * shape->dim;
}

void hr_fm_forward(const hr_pass *pass, float *work)
{
  pass->dense->call->fm(pass, work);
}

void hr_fm_backward(const hr_pass *pass, const float *work)
{
  pass->dense->call->fm_backward(pass, work);
}

static float embedding_rate(const hr_pass *pass)
{
  return pass->dropout_key != 0 ? pass->shape->embedding_dropout : 0;
}

void hr_vectors_forward(const hr_pass *pass, float *to, size_t to_stride)
{
  pass->dense->call->take_vectors(pass, hr_random_at(pass->dropout_key, HR_STREAM_VECTORS), embedding_rate(pass), to,
                                  to_stride);
}

void hr_vectors_backward(const hr_pass *pass, const float *grads, size_t grad_stride)
{
  pass->dense->call->give_vector_grads(pass, hr_random_at(pass->dropout_key, HR_STREAM_VECTORS), embedding_rate(pass),
                                       grads, grad_stride);
}

size_t hr_input_size(const hr_model_shape *shape)
{
  return (size_t)shape->field_count * shape->dim + shape->numeric_count;
}

void hr_input_forward(const hr_pass *pass, float *input)
{
  const hr_model_shape *shape = pass->shape;
  const size_t size = hr_input_size(shape);
  hr_vectors_forward(pass, input, size);
  pass->dense->call->copy_rows(pass->dense, pass->numeric, shape->numeric_count, pass->count, shape->numeric_count,
                               input + (size_t)shape->field_count * shape->dim, size);
}

void hr_input_backward(const hr_pass *pass, const float *input_grads)
{
  hr_vectors_backward(pass, input_grads, hr_input_size(pass->shape));
}

void hr_grads_done(const hr_pass *pass, const float *first)
{
  if (pass->on_late_grads != NULL && first == pass->param_grads + pass->late_first)
    pass->on_late_grads(pass->context);
}

void hr_affine_forward(const hr_pass *pass, const hr_affine *affine, const float *inputs, size_t input_stride,
                       float *outputs, size_t output_stride)
{
  const size_t n = affine->output_size;
  if (affine->biases != NULL)
    pass->dense->call->set_rows(pass->dense, affine->biases, pass->count, n, outputs, output_stride);
  pass->dense->call->gemm(pass->dense, &(hr_gemm){.m = pass->count,
                                                  .n = n,
                                                  .k = affine->input_size,
                                                  .a = inputs,
                                                  .a_stride = input_stride,
                                                  .b = affine->weights,
                                                  .b_stride = affine->input_size,
                                                  .is_b_transposed = true,
                                                  .beta = affine->biases != NULL ? 1 : 0,
                                                  .c = outputs,
                                                  .c_stride = output_stride});
}

void hr_affine_param_grads(const hr_pass *pass, const hr_affine *affine, const float *inputs, size_t input_stride,
                           const float *grads, size_t grad_stride, float *weight_grads, float *bias_grads)
{
  const size_t n = affine->output_size;
  pass->dense->call->gemm(pass->dense, &(hr_gemm){.m = n,
                                                  .n = affine->input_size,
                                                  .k = pass->count,
                                                  .a = grads,
                                                  .a_stride = grad_stride,
                                                  .is_a_transposed = true,
                                                  .b = inputs,
                                                  .b_stride = input_stride,
                                                  .c = weight_grads,
                                                  .c_stride = affine->input_size});
  if (bias_grads != NULL)
    pass->dense->call->sum_rows(pass->dense, grads, grad_stride, pass->count, n, bias_grads);
}

void hr_affine_input_grads(const hr_pass *pass, const hr_affine *affine, const float *grads, size_t grad_stride,
                           float beta, float *input_grads, size_t input_stride)
{
  pass->dense->call->gemm(pass->dense, &(hr_gemm){.m = pass->count,
                                                  .n = affine->input_size,
                                                  .k = affine->output_size,
                                                  .a = grads,
                                                  .a_stride = grad_stride,
                                                  .b = affine->weights,
                                                  .b_stride = affine->input_size,
                                                  .beta = beta,
                                                  .c = input_grads,
                                                  .c_stride = input_stride});
}
