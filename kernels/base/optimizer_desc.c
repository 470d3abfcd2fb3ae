#include <hr/optimizer.h>

#include <math.h>

#include <hr/assert.h>

static float or_default(float value, float standard)
{
  return value != 0.0f ? value : standard;
}

hotrow_status hr_optimizer_resolve(const hotrow_optimizer *given, hotrow_optimizer *resolved_p)
{
  hotrow_optimizer o = *given;
  if (o.kind == HOTROW_OPTIMIZER_DEFAULT)
    o.kind = HOTROW_ROWWISE_ADAGRAD;
  if (o.kind < HOTROW_SGD || o.kind > HOTROW_ADAM)
    return hr_fail(HOTROW_ERR_INVALID, "optimizer kind %d is not known", (int)o.kind);
  o.lr = or_default(o.lr, 0.01f);
  o.beta1 = or_default(o.beta1, 0.9f);
  o.beta2 = or_default(o.beta2, 0.999f);
  o.eps = or_default(o.eps, o.kind == HOTROW_ADAM ? 1e-8f : 1e-10f);
  if (!isfinite(o.lr) || o.lr < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "learning rate %g: must be finite and not negative", (double)o.lr);
  if (!(o.beta1 >= 0.0f && o.beta1 < 1.0f) || !(o.beta2 >= 0.0f && o.beta2 < 1.0f))
    return hr_fail(HOTROW_ERR_INVALID, "beta1 %g, beta2 %g: must lie in [0, 1)", (double)o.beta1, (double)o.beta2);
  if (!isfinite(o.eps) || o.eps < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "eps %g: must be finite and not negative", (double)o.eps);
  if (!isfinite(o.initial_state) || o.initial_state < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "initial_state %g: must be finite and not negative", (double)o.initial_state);
  *resolved_p = o;
  return HOTROW_OK;
}

hotrow_status hr_initializer_resolve(const hotrow_initializer *given, uint32_t dim, hotrow_initializer *resolved_p)
{
  HOTROW_ASSERT(dim > 0);
  hotrow_initializer i = *given;
  if (i.kind < HOTROW_INIT_DEFAULT || i.kind > HOTROW_INIT_NORMAL)
    return hr_fail(HOTROW_ERR_INVALID, "initializer kind %d is not known", (int)i.kind);
  if (!isfinite(i.scale))
    return hr_fail(HOTROW_ERR_INVALID, "initializer scale is not finite");
  if (i.kind == HOTROW_INIT_DEFAULT) {
    i.kind = HOTROW_INIT_UNIFORM;
    i.scale = or_default(i.scale, 1.0f / sqrtf((float)dim));
  }
  *resolved_p = i;
  return HOTROW_OK;
}

uint32_t hr_optimizer_state_dim(hotrow_optimizer_kind kind, uint32_t dim)
{
  switch (kind) {
  case HOTROW_MOMENTUM:
  case HOTROW_ADAGRAD:
    return dim;
  case HOTROW_ROWWISE_ADAGRAD:
    return 1;
  case HOTROW_ADAM:
    return 2 * dim + 1;
  default:
    return 0;
  }
}

uint32_t hr_optimizer_square_dim(hotrow_optimizer_kind kind, uint32_t dim)
{
  if (kind == HOTROW_ADAGRAD)
    return dim;
  return kind == HOTROW_ROWWISE_ADAGRAD ? 1 : 0;
}

uint32_t hr_optimizer_steps_max(hotrow_optimizer_kind kind)
{
  return kind == HOTROW_MOMENTUM || kind == HOTROW_ADAM ? HR_OPTIMIZER_REPEATED_STEPS_MAX : UINT32_MAX;
}

void hr_optimizer_init_state(const hotrow_optimizer *optimizer, uint32_t dim, float *state)
{
  bool is_adagrad = optimizer->kind == HOTROW_ADAGRAD || optimizer->kind == HOTROW_ROWWISE_ADAGRAD;
  uint32_t state_dim = hr_optimizer_state_dim(optimizer->kind, dim);
  for (uint32_t i = 0; i < state_dim; i++)
    state[i] = is_adagrad ? optimizer->initial_state : 0.0f;
}
