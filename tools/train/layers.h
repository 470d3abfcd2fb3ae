/* What models are made of. Each block reads its own stretch of the flat parameter array and of the work array. */
#ifndef HR_LAYERS_H
#define HR_LAYERS_H

#include "dense.h"
#include "model.h"

/* Linear: bias + the first-order weight of every key + a weight per numeric value. Sets the logits, and the gradient of
 * the whole row: zero but for the first-order weight. So it comes first in both directions. */
size_t hr_linear_param_count(const hr_model_shape *shape);
void hr_linear_forward(const hr_pass *pass, const float *params);
void hr_linear_backward(const hr_pass *pass, float *param_grads);

/* Factorisation machine: the sum over pairs of fields of the products of their vectors, added to the logits. No
 * parameters of its own. */
size_t hr_fm_work_count(const hr_model_shape *shape);
void hr_fm_forward(const hr_pass *pass, float *work);
void hr_fm_backward(const hr_pass *pass, const float *work);

/* Streams of random numbers: the same numbers decide on the way forward and back, as they depend on the key of the
 * pass, the stream and the place alone. */
#define HR_STREAM_VECTORS 0u
#define HR_STREAM_HIDDEN 1u
#define HR_STREAM_BOTTOM 16u

/* A sample's vectors, one behind the other; the way back adds to the row gradients. */
void hr_vectors_forward(const hr_pass *pass, float *to, size_t to_stride);
void hr_vectors_backward(const hr_pass *pass, const float *grads, size_t grad_stride);

/* The vectors, then the numeric values. */
size_t hr_input_size(const hr_model_shape *shape);
void hr_input_forward(const hr_pass *pass, float *input);
void hr_input_backward(const hr_pass *pass, const float *input_grads);

/* outputs = weights * inputs + biases, for every sample; weights are [output_size][input_size]. biases NULL: none. */
typedef struct hr_affine {
  size_t input_size, output_size;
  const float *weights, *biases;
} hr_affine;
void hr_affine_forward(const hr_pass *pass, const hr_affine *affine, const float *inputs, size_t input_stride,
                       float *outputs, size_t output_stride);
/* bias_grads NULL: none. */
void hr_affine_param_grads(const hr_pass *pass, const hr_affine *affine, const float *inputs, size_t input_stride,
                           const float *grads, size_t grad_stride, float *weight_grads, float *bias_grads);
/* input_grads = those of the outputs through the weights + beta * input_grads */
void hr_affine_input_grads(const hr_pass *pass, const hr_affine *affine, const float *grads, size_t grad_stride,
                           float beta, float *input_grads, size_t input_stride);

/* To be called whenever the gradients of all parameters from `first` (in param_grads) on are there: parameters lie in
 * the order of the forward pass, save what is computed at its very begin. */
void hr_grads_done(const hr_pass *pass, const float *first);

/* Hidden layers with ReLU and dropout over an input, then a linear layer. Parameters: per layer a matrix
 * [outputs][inputs], then its biases. Work: the values of every hidden layer, and two buffers for gradients that flow
 * back. */
typedef struct hr_mlp_layer {
  size_t input_size, output_size;
  size_t weights, biases; /* where they begin in the parameters */
  size_t values;          /* hidden layers: where their values begin in the work array */
} hr_mlp_layer;

typedef struct hr_mlp {
  uint32_t layer_count;
  uint32_t first_stream; /* of random numbers for dropout; layer l has the one l behind it */
  hr_mlp_layer layers[HR_HIDDEN_MAX + 1];
  size_t param_count, work_count;
  size_t grads[2]; /* where the gradient buffers begin in the work array */
} hr_mlp;

/* What one is run with. */
typedef struct hr_mlp_run {
  const hr_mlp *mlp;
  const float *params;
  const float *inputs;
  size_t input_stride;
  float *work;
} hr_mlp_run;

hr_mlp hr_mlp_plan(const hr_model_shape *shape, size_t input_size, const uint32_t *hidden, uint32_t hidden_count,
                   size_t output_size, uint32_t first_stream);
/* Where the parameters begin that are not those of the first layer; param_count if there are none. */
size_t hr_mlp_late_params(const hr_mlp *mlp);
void hr_mlp_init(const hr_mlp *mlp, uint64_t seed, float *params);
void hr_mlp_forward(const hr_pass *pass, const hr_mlp_run *run, float *outputs, size_t output_stride);
/* input_grads NULL: nobody wants them. */
void hr_mlp_backward(const hr_pass *pass, const hr_mlp_run *run, const float *grads, size_t grad_stride,
                     float *param_grads, float *input_grads, size_t input_grad_stride);

/* Hidden layers down to one number, which is added to the logits; outputs[count] is for the number. */
void hr_logit_forward(const hr_pass *pass, const hr_mlp_run *run, float *outputs);

#endif
