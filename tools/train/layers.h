/* What models are made of. Each block reads its own stretch of the flat parameter array and of the work array, adds
 * its part to the logits on the way forward, and to the gradients on the way back. */
#ifndef HR_LAYERS_H
#define HR_LAYERS_H

#include "model.h"

/* Linear: bias + the first-order weight of every key + a weight per numeric value. Sets the logits, and the gradient of
 * the whole row: zero but for the first-order weight. So it comes first in both directions. */
size_t hr_linear_param_count(const hr_model_shape *shape);
void hr_linear_forward(const hr_pass *pass, const float *params);
void hr_linear_backward(const hr_pass *pass, float *param_grads);

/* Factorisation machine: the sum over pairs of fields of the products of their vectors. No parameters of its own. */
size_t hr_fm_work_count(const hr_model_shape *shape);
void hr_fm_forward(const hr_pass *pass, float *work);
void hr_fm_backward(const hr_pass *pass, const float *work);

/* Hidden layers with ReLU over all vectors and numeric values, down to one number. */
size_t hr_mlp_param_count(const hr_model_shape *shape);
size_t hr_mlp_work_count(const hr_model_shape *shape);
void hr_mlp_init(const hr_model_shape *shape, uint64_t seed, float *params);
void hr_mlp_forward(const hr_pass *pass, const float *params, float *work);
void hr_mlp_backward(const hr_pass *pass, const float *params, float *work, float *param_grads);

#endif
