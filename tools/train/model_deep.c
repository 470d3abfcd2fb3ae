/* Wide & Deep (Cheng et al. 2016): a linear model and hidden layers over the same keys, summed. The wide part has a
 * weight for every key; crossed features would be further fields of the data set. DeepFM (Guo et al. 2017) has a
 * factorisation machine beside both, which shares the vectors. Numeric values take part in the linear term and the
 * hidden layers, not in the pairs. Parameters: linear, hidden layers. Work: input, its gradients, the last layer's
 * outputs, hidden layers, sums of the FM. */
#include "layers.h"

typedef struct deep_plan {
  hr_mlp mlp;
  size_t linear_count;
  size_t input, input_grads, outputs, hidden, fm; /* where they begin in the work array */
  size_t work_count;
} deep_plan;

static deep_plan make_plan(const hr_model_shape *shape)
{
  const size_t input_size = hr_input_size(shape), batch = shape->batch_capacity;
  deep_plan plan = {.mlp = hr_mlp_plan(shape, input_size, shape->hidden, shape->hidden_count, 1, HR_STREAM_HIDDEN),
                    .linear_count = hr_linear_param_count(shape)};
  plan.input_grads = batch * input_size;
  plan.outputs = plan.input_grads + batch * input_size;
  plan.hidden = plan.outputs + batch;
  plan.fm = plan.hidden + plan.mlp.work_count;
  plan.work_count = plan.fm + hr_fm_work_count(shape);
  return plan;
}

static size_t deep_param_count(const hr_model_shape *shape)
{
  const deep_plan plan = make_plan(shape);
  return plan.linear_count + plan.mlp.param_count;
}

static size_t deep_late_params(const hr_model_shape *shape)
{
  const deep_plan plan = make_plan(shape);
  return plan.linear_count + hr_mlp_late_params(&plan.mlp);
}

static size_t wdl_work_count(const hr_model_shape *shape)
{
  return make_plan(shape).fm;
}

static size_t deepfm_work_count(const hr_model_shape *shape)
{
  return make_plan(shape).work_count;
}

static void deep_init(const hr_model_shape *shape, uint64_t seed, float *params)
{
  const deep_plan plan = make_plan(shape);
  hr_mlp_init(&plan.mlp, seed, params + plan.linear_count);
}

static hr_mlp_run make_run(const hr_pass *pass, const deep_plan *plan)
{
  return (hr_mlp_run){.mlp = &plan->mlp,
                      .params = pass->params + plan->linear_count,
                      .inputs = pass->work + plan->input,
                      .input_stride = hr_input_size(pass->shape),
                      .work = pass->work + plan->hidden};
}

static void deep_forward(const hr_pass *pass, bool has_fm)
{
  const deep_plan plan = make_plan(pass->shape);
  const hr_mlp_run run = make_run(pass, &plan);
  hr_linear_forward(pass, pass->params);
  if (has_fm)
    hr_fm_forward(pass, pass->work + plan.fm);
  hr_input_forward(pass, pass->work + plan.input);
  hr_logit_forward(pass, &run, pass->work + plan.outputs);
}

static void deep_backward(const hr_pass *pass, bool has_fm)
{
  const deep_plan plan = make_plan(pass->shape);
  const hr_mlp_run run = make_run(pass, &plan);
  hr_linear_backward(pass, pass->param_grads);
  if (has_fm)
    hr_fm_backward(pass, pass->work + plan.fm);
  hr_mlp_backward(pass, &run, pass->logit_grads, 1, pass->param_grads + plan.linear_count,
                  pass->work + plan.input_grads, run.input_stride);
  hr_input_backward(pass, pass->work + plan.input_grads);
}

static void wdl_forward(const hr_pass *pass)
{
  deep_forward(pass, false);
}

static void wdl_backward(const hr_pass *pass)
{
  deep_backward(pass, false);
}

static void deepfm_forward(const hr_pass *pass)
{
  deep_forward(pass, true);
}

static void deepfm_backward(const hr_pass *pass)
{
  deep_backward(pass, true);
}

const hr_model hr_model_wdl = {
    .name = "wdl",
    .summary = "Wide & Deep: a linear model beside hidden layers",
    .first_order = 1,
    .param_count = deep_param_count,
    .work_count = wdl_work_count,
    .late_params = deep_late_params,
    .init = deep_init,
    .forward = wdl_forward,
    .backward = wdl_backward,
};

const hr_model hr_model_deepfm = {
    .name = "deepfm",
    .summary = "DeepFM: a factorisation machine beside hidden layers",
    .first_order = 1,
    .param_count = deep_param_count,
    .work_count = deepfm_work_count,
    .late_params = deep_late_params,
    .init = deep_init,
    .forward = deepfm_forward,
    .backward = deepfm_backward,
};
