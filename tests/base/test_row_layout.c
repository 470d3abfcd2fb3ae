#include <math.h>

#include <hr/optimizer.h>

#include "hr_test.h"

static hotrow_segment segment(uint32_t dim, hotrow_optimizer_kind kind)
{
  return (hotrow_segment){.dim = dim, .optimizer = {.kind = kind, .initial_state = 0.5f}};
}

static void check_segment(const hotrow_segment_layout *s, uint32_t dim, const uint32_t expected[5])
{
  CHECK_EQ(s->dim, dim);
  CHECK_EQ(s->value_offset, expected[0]);
  CHECK_EQ(s->state_offset, expected[1]);
  CHECK_EQ(s->state_dim, expected[2]);
  CHECK_EQ(s->square_offset, expected[3]);
  CHECK_EQ(s->square_dim, expected[4]);
  CHECK_MSG(s->optimizer.lr == 0.01f, "not resolved: lr %g", (double)s->optimizer.lr);
}

static void values_come_first_then_states(void)
{
  const hotrow_segment segments[] = {segment(1, HOTROW_FTRL), segment(16, HOTROW_ROWWISE_ADAGRAD),
                                     segment(5, HOTROW_SGD), segment(8, HOTROW_ADAM)};
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(segments, 4, &layout));
  CHECK_EQ(layout.segment_count, 4u);
  CHECK_EQ(layout.dim, 30u);
  CHECK_EQ(layout.state_dim, 2u + 1 + 0 + 17);
  CHECK_EQ(layout.square_dim, 2u);
  check_segment(&layout.segments[0], 1, (const uint32_t[]){0, 30, 2, 0, 1});
  check_segment(&layout.segments[1], 16, (const uint32_t[]){1, 32, 1, 1, 1});
  check_segment(&layout.segments[2], 5, (const uint32_t[]){17, 33, 0, 2, 0});
  check_segment(&layout.segments[3], 8, (const uint32_t[]){22, 33, 17, 2, 0});
}

static void rows_that_cannot_be_are_refused(void)
{
  hotrow_segment segments[5];
  for (int i = 0; i < 5; i++)
    segments[i] = segment(4, HOTROW_SGD);
  hotrow_row_layout layout;
  CHECK_FAILS(hr_row_layout_make(segments, 0, &layout), HOTROW_ERR_INVALID, "0 segments");
  CHECK_FAILS(hr_row_layout_make(segments, 5, &layout), HOTROW_ERR_INVALID, "5 segments");
  segments[1].dim = 0;
  CHECK_FAILS(hr_row_layout_make(segments, 2, &layout), HOTROW_ERR_INVALID, "segment 1: dim 0");
  segments[1].dim = HOTROW_DIM_MAX - 3;
  CHECK_FAILS(hr_row_layout_make(segments, 2, &layout), HOTROW_ERR_INVALID, "segment 1: dim 4093 behind 4");
  segments[1].dim = UINT32_MAX;
  CHECK_FAILS(hr_row_layout_make(segments, 2, &layout), HOTROW_ERR_INVALID, "segment 1");
  segments[1] = segment(4, (hotrow_optimizer_kind)77);
  CHECK_FAILS(hr_row_layout_make(segments, 2, &layout), HOTROW_ERR_INVALID, "77");
  segments[1] = segment(HOTROW_DIM_MAX - 4, HOTROW_SGD);
  CHECK_OK(hr_row_layout_make(segments, 2, &layout));
  CHECK_EQ(layout.dim, HOTROW_DIM_MAX);
}

static void the_strictest_segment_bounds_the_steps(void)
{
  hotrow_segment segments[] = {segment(1, HOTROW_FTRL), segment(2, HOTROW_ADAGRAD), segment(1, HOTROW_SGD)};
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(segments, 3, &layout));
  CHECK_EQ(hr_row_layout_steps_max(&layout), UINT32_MAX);
  const hotrow_optimizer_kind bounded[] = {HOTROW_MOMENTUM, HOTROW_ADAM, HOTROW_ADAMW, HOTROW_ROWWISE_ADAM,
                                           HOTROW_LAMB};
  for (size_t i = 0; i < sizeof bounded / sizeof *bounded; i++) {
    segments[1].optimizer.kind = bounded[i];
    CHECK_OK(hr_row_layout_make(segments, 3, &layout));
    CHECK_EQ(hr_row_layout_steps_max(&layout), HR_OPTIMIZER_REPEATED_STEPS_MAX);
  }
}

static void new_states_are_those_of_their_optimizers(void)
{
  const hotrow_segment segments[] = {segment(2, HOTROW_ADAGRAD), segment(2, HOTROW_ADAM), segment(3, HOTROW_FTRL)};
  hotrow_row_layout layout;
  CHECK_OK(hr_row_layout_make(segments, 3, &layout));
  CHECK_EQ(layout.state_dim, 2u + 5 + 6);
  const float values[7] = {1.0f, 2.0f, 3.0f, 4.0f, 0.25f, -0.5f, 0.0f};
  float states[14];
  for (int i = 0; i < 14; i++)
    states[i] = NAN;
  hr_row_layout_init_state(&layout, values, states);
  for (int i = 0; i < 2; i++)
    CHECK(states[i] == 0.5f);
  for (int i = 2; i < 7; i++)
    CHECK(states[i] == 0.0f);
  double curvature = (1.0 + sqrt(0.5)) / (double)0.01f; /* eps is 1, l1 and l2 are 0 */
  CHECK(fabs((double)states[7] + 0.25 * curvature) < 1e-4);
  CHECK(fabs((double)states[8] - 0.5 * curvature) < 1e-4);
  CHECK(states[9] == 0.0f);
  for (int i = 10; i < 13; i++)
    CHECK(states[i] == 0.5f);
  CHECK(isnan(states[13]));
}

static void defaults_are_those_of_the_papers(void)
{
  for (int kind = HOTROW_SGD; kind <= HOTROW_LAMB; kind++) {
    hotrow_optimizer given = {.kind = (hotrow_optimizer_kind)kind}, o;
    CHECK_OK(hr_optimizer_resolve(&given, &o));
    bool is_adam = kind == HOTROW_ADAM || kind == HOTROW_ADAMW || kind == HOTROW_ROWWISE_ADAM || kind == HOTROW_LAMB;
    CHECK(o.eps == (kind == HOTROW_FTRL ? 1.0f : is_adam ? 1e-8f : 1e-10f));
    CHECK(o.lr == 0.01f && o.beta1 == 0.9f && o.beta2 == 0.999f);
    CHECK(o.weight_decay == 0.0f && o.l1 == 0.0f && o.initial_state == 0.0f);
  }
}

static void penalties_and_ftrl_are_checked(void)
{
  hotrow_optimizer resolved;
  const float bad[] = {-1.0f, NAN, INFINITY};
  for (int i = 0; i < 3; i++) {
    hotrow_optimizer o = {.weight_decay = bad[i]};
    CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "weight_decay");
    o = (hotrow_optimizer){.l1 = bad[i]};
    CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "l1");
  }
  hotrow_optimizer o = {.kind = HOTROW_FTRL, .lr = -1.0f};
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "learning rate -1");
  o.lr = 1e-40f;
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "quotient");
  o = (hotrow_optimizer){.kind = HOTROW_FTRL, .lr = 1e10f, .eps = 1e-40f};
  CHECK_FAILS(hr_optimizer_resolve(&o, &resolved), HOTROW_ERR_INVALID, "quotient");
}

int main(void)
{
  RUN(values_come_first_then_states);
  RUN(rows_that_cannot_be_are_refused);
  RUN(the_strictest_segment_bounds_the_steps);
  RUN(new_states_are_those_of_their_optimizers);
  RUN(defaults_are_those_of_the_papers);
  RUN(penalties_and_ftrl_are_checked);
  return 0;
}
