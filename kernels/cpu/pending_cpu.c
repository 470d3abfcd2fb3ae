/* Gradients into sums that wait to be pushed, and their squares for the optimizers whose state they keep exact. */
#include <string.h>

#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

HR_ROW_INLINE void set_squares(float *restrict sum, const float *restrict g, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] = g[c] * g[c];
}

HR_ROW_INLINE void add_squares(float *restrict sum, const float *restrict g, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] += g[c] * g[c];
}

HR_ROW_INLINE void add_row(float *restrict sum, const float *restrict g, uint32_t dim)
{
  for (uint32_t c = 0; c < dim; c++)
    sum[c] += g[c];
}

typedef struct pending_sums {
  float *sums; /* G[dim] | squares */
  size_t stride;
  uint32_t dim;
  const uint32_t *slots;
  const uint8_t *is_first;
  const float *grads;
} pending_sums;

HR_ROW_INLINE void add_grads(const pending_sums *p, size_t first, size_t end, size_t row_count, size_t prefetch_floats)
{
  for (size_t i = first; i < end; i++) {
    if (i + HR_ROWS_AHEAD < row_count && p->slots[i + HR_ROWS_AHEAD] != HOTROW_SLOT_NONE)
      hr_prefetch_row(p->sums + p->slots[i + HR_ROWS_AHEAD] * p->stride, prefetch_floats);
    if (p->slots[i] == HOTROW_SLOT_NONE)
      continue;
    float *sum = p->sums + p->slots[i] * p->stride;
    const float *g = p->grads + i * p->dim;
    if (p->is_first[i])
      memcpy(sum, g, p->dim * sizeof(float));
    else
      add_row(sum, g, p->dim);
  }
}

HR_ROW_INLINE void add_squares_of_segment(const pending_sums *p, const hotrow_segment_layout *segment, size_t first,
                                          size_t end)
{
  const float *grads = p->grads + segment->value_offset;
  size_t offset = p->dim + segment->square_offset;
  for (size_t i = first; i < end; i++) {
    if (p->slots[i] == HOTROW_SLOT_NONE)
      continue;
    float *sum = p->sums + p->slots[i] * p->stride + offset;
    if (p->is_first[i])
      set_squares(sum, grads + i * p->dim, segment->dim);
    else
      add_squares(sum, grads + i * p->dim, segment->dim);
  }
}

HR_ROW_INLINE void add_means_of_segment(const pending_sums *p, const hotrow_segment_layout *segment, size_t first,
                                        size_t end)
{
  size_t offset = p->dim + segment->square_offset;
  float means[HR_MEAN_ROWS];
  for (size_t i = first; i < end; i++) {
    if (i % HR_MEAN_ROWS == 0)
      hr_mean_squares_of_group(p->grads + segment->value_offset, p->dim, segment->dim, i, end, means);
    if (p->slots[i] == HOTROW_SLOT_NONE)
      continue;
    float *sum = p->sums + p->slots[i] * p->stride + offset;
    *sum = p->is_first[i] ? means[i % HR_MEAN_ROWS] : *sum + means[i % HR_MEAN_ROWS];
  }
}

HR_VECTORISED void hr_cpu_pending_add(const hotrow_row_layout *layout, float *pending, size_t pending_stride,
                                      const uint32_t *slots, const uint8_t *is_first, const float *grads,
                                      size_t row_count, void *stream)
{
  (void)stream;
  HOTROW_ASSERT(layout->dim > 0 && pending_stride >= layout->dim + layout->square_dim);
  pending_sums sums = {pending, pending_stride, layout->dim, slots, is_first, grads};
  size_t prefetch_floats = hr_prefetch_floats(layout->dim + layout->square_dim);
  for (size_t first = 0, end; first < row_count; first = end) {
    end = row_count - first > HR_BLOCK_ROWS ? first + HR_BLOCK_ROWS : row_count;
    add_grads(&sums, first, end, row_count, prefetch_floats);
    for (uint32_t s = 0; s < layout->segment_count; s++) {
      const hotrow_segment_layout *segment = &layout->segments[s];
      if (segment->optimizer.kind == HOTROW_ROWWISE_ADAGRAD)
        add_means_of_segment(&sums, segment, first, end);
      else if (segment->square_dim > 0)
        add_squares_of_segment(&sums, segment, first, end);
    }
  }
}
