#include <hr/optimizer.h>

#include <math.h>

#include <hr/assert.h>

static float or_default(float value, float standard)
{
  return value != 0.0f ? value : standard;
}

bool hr_optimizer_takes_steps(hotrow_optimizer_kind kind)
{
  return kind == HOTROW_MOMENTUM || kind == HOTROW_ADAM || kind == HOTROW_ADAMW || kind == HOTROW_ROWWISE_ADAM ||
         kind == HOTROW_LAMB;
}

static float default_eps(hotrow_optimizer_kind kind)
{
  if (kind == HOTROW_FTRL)
    return 1.0f;
  return hr_optimizer_takes_steps(kind) && kind != HOTROW_MOMENTUM ? 1e-8f : 1e-10f;
}

hotrow_status hr_optimizer_resolve(const hotrow_optimizer *given, hotrow_optimizer *resolved_p)
{
  hotrow_optimizer o = *given;
  if (o.kind == HOTROW_OPTIMIZER_DEFAULT)
    o.kind = HOTROW_ROWWISE_ADAGRAD;
  if (o.kind < HOTROW_SGD || o.kind > HOTROW_LAMB)
    return hr_fail(HOTROW_ERR_INVALID, "optimizer kind %d is not known", (int)o.kind);
  o.lr = or_default(o.lr, 0.01f);
  o.beta1 = or_default(o.beta1, 0.9f);
  o.beta2 = or_default(o.beta2, 0.999f);
  o.eps = or_default(o.eps, default_eps(o.kind));
  if (!isfinite(o.lr) || o.lr < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "learning rate %g: must be finite and not negative", (double)o.lr);
  if (!(o.beta1 >= 0.0f && o.beta1 < 1.0f) || !(o.beta2 >= 0.0f && o.beta2 < 1.0f))
    return hr_fail(HOTROW_ERR_INVALID, "beta1 %g, beta2 %g: must lie in [0, 1)", (double)o.beta1, (double)o.beta2);
  if (!isfinite(o.eps) || o.eps < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "eps %g: must be finite and not negative", (double)o.eps);
  if (!isfinite(o.weight_decay) || o.weight_decay < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "weight_decay %g: must be finite and not negative", (double)o.weight_decay);
  if (!isfinite(o.l1) || o.l1 < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "l1 %g: must be finite and not negative", (double)o.l1);
  if (!isfinite(o.initial_state) || o.initial_state < 0.0f)
    return hr_fail(HOTROW_ERR_INVALID, "initial_state %g: must be finite and not negative", (double)o.initial_state);
  if (o.kind == HOTROW_FTRL && !(o.eps / o.lr > 0.0f && isfinite(o.eps / o.lr)))
    return hr_fail(HOTROW_ERR_INVALID, "FTRL with eps %g and learning rate %g: their quotient is no float",
                   (double)o.eps, (double)o.lr);
  *resolved_p = o;
  return HOTROW_OK;
}

hotrow_status hr_initializer_resolve(const hotrow_initializer *given, uint32_t dim, hotrow_initializer *resolved_p)
{
  HOTROW_ASSERT(dim > 0);
  hotrow_initializer i = *given;
  if (i.kind < HOTROW_INIT_DEFAULT || i.kind > HOTROW_INIT_TRUNCATED_NORMAL)
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
  case HOTROW_ADAMW:
  case HOTROW_LAMB:
    return 2 * dim + 1;
  case HOTROW_ROWWISE_ADAM:
    return dim + 2;
  case HOTROW_FTRL:
    return 2 * dim;
  default:
    return 0;
  }
}

uint32_t hr_optimizer_square_dim(hotrow_optimizer_kind kind, uint32_t dim)
{
  if (kind == HOTROW_ADAGRAD || kind == HOTROW_FTRL)
    return dim;
  return kind == HOTROW_ROWWISE_ADAGRAD ? 1 : 0;
}

uint32_t hr_optimizer_steps_max(hotrow_optimizer_kind kind)
{
  return hr_optimizer_takes_steps(kind) ? HR_OPTIMIZER_REPEATED_STEPS_MAX : UINT32_MAX;
}

hotrow_status hr_row_layout_make(const hotrow_segment *segments, uint32_t segment_count, hotrow_row_layout *layout_p)
{
  if (segment_count == 0 || segment_count > HOTROW_SEGMENTS_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "a row of %u segments: must be 1 to %u", segment_count, HOTROW_SEGMENTS_MAX);
  hotrow_row_layout layout = {.segment_count = segment_count};
  for (uint32_t i = 0; i < segment_count; i++) {
    hotrow_segment_layout *s = &layout.segments[i];
    s->dim = segments[i].dim;
    if (s->dim == 0 || s->dim > HOTROW_DIM_MAX - layout.dim)
      return hr_fail(HOTROW_ERR_INVALID, "segment %u: dim %u behind %u columns, a row has 1 to %u in all", i, s->dim,
                     layout.dim, HOTROW_DIM_MAX);
    HOTROW_TRY(hr_optimizer_resolve(&segments[i].optimizer, &s->optimizer));
    s->state_dim = hr_optimizer_state_dim(s->optimizer.kind, s->dim);
    s->square_dim = hr_optimizer_square_dim(s->optimizer.kind, s->dim);
    s->value_offset = layout.dim;
    s->state_offset = layout.state_dim;
    s->square_offset = layout.square_dim;
    layout.dim += s->dim;
    layout.state_dim += s->state_dim;
    layout.square_dim += s->square_dim;
  }
  for (uint32_t i = 0; i < segment_count; i++)
    layout.segments[i].state_offset += layout.dim;
  *layout_p = layout;
  return HOTROW_OK;
}

uint32_t hr_row_layout_find_stepper(const hotrow_row_layout *layout)
{
  uint32_t s = 0;
  while (s < layout->segment_count && !hr_optimizer_takes_steps(layout->segments[s].optimizer.kind))
    s++;
  return s;
}

uint32_t hr_row_layout_steps_max(const hotrow_row_layout *layout)
{
  uint32_t steps_max = UINT32_MAX;
  for (uint32_t i = 0; i < layout->segment_count; i++) {
    uint32_t segment_max = hr_optimizer_steps_max(layout->segments[i].optimizer.kind);
    steps_max = segment_max < steps_max ? segment_max : steps_max;
  }
  return steps_max;
}

static void init_state(const hotrow_optimizer *o, uint32_t dim, uint32_t state_dim, const float *x, float *state)
{
  bool is_adagrad = o->kind == HOTROW_ADAGRAD || o->kind == HOTROW_ROWWISE_ADAGRAD;
  for (uint32_t i = 0; i < state_dim; i++)
    state[i] = is_adagrad ? o->initial_state : 0.0f;
  if (o->kind != HOTROW_FTRL)
    return;
  float divisor = (o->eps + sqrtf(o->initial_state)) / o->lr + o->weight_decay;
  for (uint32_t c = 0; c < dim; c++) {
    state[c] = x[c] == 0.0f ? 0.0f : -(x[c] * divisor) - copysignf(o->l1, x[c]);
    state[dim + c] = o->initial_state;
  }
}

void hr_row_layout_init_state(const hotrow_row_layout *layout, const float *values, float *states)
{
  HOTROW_ASSERT(values && (states || layout->state_dim == 0));
  for (uint32_t i = 0; i < layout->segment_count; i++) {
    const hotrow_segment_layout *s = &layout->segments[i];
    if (s->state_dim > 0)
      init_state(&s->optimizer, s->dim, s->state_dim, values + s->value_offset,
                 states + (s->state_offset - layout->dim));
  }
}
