/* Gradients into rows and their state, by the steps of optimizer_math.h.
 * Grid: one launch per segment; lanes share its rows as row_cuda.h says. What a row has once (an accumulator, a count
 * of steps) each of its lanes reads and moves on by itself, and the first one writes it when all have read it. Bytes
 * per row: 4 (slot), 4 (steps, where given), 4*dim of gradients, 8*(dim + state_dim) of the row, 4*square_dim of
 * squares of rows of several steps. LAMB reads and writes its row once more. */
#include "optimizer_cuda.h"

/* A segment of the rows; the pointers are at the first row's segment. */
typedef struct rows_update {
  segment_rule rule;
  float *values;
  float *states;
  size_t row_stride;
  const uint32_t *slots;
  const float *grads;
  size_t grad_stride;
  const float *squares; /* NULL: none are given */
  size_t square_stride;
  const uint32_t *steps; /* NULL: 1 each */
  size_t row_count;
} rows_update;

static __device__ inline row_update row_of(rows_update u, size_t i)
{
  size_t at = u.slots[i] * u.row_stride;
  uint32_t steps = u.steps ? u.steps[i] : 1;
  row_update row = {u.values + at, u.states + at, u.grads + i * u.grad_stride,
                    steps > 1 && u.squares ? u.squares + i * u.square_stride : NULL, steps};
  return row;
}

template <unsigned width, hotrow_optimizer_kind kind>
static __global__ __launch_bounds__(HR_CUDA_BLOCK_THREADS, 4) void apply_rows(const rows_update u, hr_row_shape shape)
{
  size_t step = hr_row_step(shape);
  for (size_t i = hr_first_row(shape); i < u.row_count; i += step)
    if (u.slots[i] != HOTROW_SLOT_NONE)
      step_row<width, kind>(&u.rule, row_of(u, i), shape);
}

template <hotrow_optimizer_kind kind> static void apply_segment(const rows_update *u, cudaStream_t stream)
{
  size_t elements = hr_address(u->values) | u->row_stride | hr_address(u->grads) | u->grad_stride | u->rule.dim;
  if (kind != HOTROW_SGD && kind != HOTROW_ROWWISE_ADAGRAD)
    elements |= hr_address(u->states);
  if ((kind == HOTROW_ADAGRAD || kind == HOTROW_FTRL) && u->squares)
    elements |= hr_address(u->squares) | u->square_stride;
  unsigned width = hr_row_width(elements);
  hr_row_shape shape = hr_whole_rows(width, u->rule.dim);
  HR_LAUNCH((width == 4   ? apply_rows<4, kind>
             : width == 2 ? apply_rows<2, kind>
                          : apply_rows<1, kind>),
            hr_row_grid(shape, u->row_count, 1), HR_CUDA_BLOCK_THREADS, 0, stream)
  (*u, shape);
  hr_cuda_check_launch("optimizer_apply");
}

extern "C" void hr_cuda_optimizer_apply(const hotrow_row_layout *layout, float lr_scale, float *rows, size_t row_stride,
                                        const uint32_t *slots, const float *grads, const float *squares,
                                        const uint32_t *steps, size_t row_count, void *stream)
{
  for (uint32_t s = 0; s < layout->segment_count && row_count > 0; s++) {
    const hotrow_segment_layout *segment = &layout->segments[s];
    rows_update u = {rule_of(segment, lr_scale),
                     rows + segment->value_offset,
                     rows + segment->state_offset,
                     row_stride,
                     slots,
                     grads + segment->value_offset,
                     layout->dim,
                     squares && segment->square_dim > 0 ? squares + segment->square_offset : NULL,
                     layout->square_dim,
                     steps,
                     row_count};
    switch (segment->optimizer.kind) {
#define APPLY(kind)                                                                                                    \
  case kind:                                                                                                           \
    apply_segment<kind>(&u, (cudaStream_t)stream);                                                                     \
    break
      APPLY(HOTROW_SGD);
      APPLY(HOTROW_MOMENTUM);
      APPLY(HOTROW_ADAGRAD);
      APPLY(HOTROW_ROWWISE_ADAGRAD);
      APPLY(HOTROW_ADAM);
      APPLY(HOTROW_ADAMW);
      APPLY(HOTROW_ROWWISE_ADAM);
      APPLY(HOTROW_FTRL);
      APPLY(HOTROW_LAMB);
#undef APPLY
    default:
      break; /* a layout has resolved kinds only */
    }
  }
}
