/* Gradients summed and applied in blocks whose sums stay in the first-level cache: bits are those of the calls that it
 * makes. */
#include <hr/assert.h>

#include "kernels_impl.h"

#define BLOCK_FLOATS 4096u /* of sums */

/* What the calls of one block share. */
typedef struct block {
  const hotrow_row_layout *layout;
  float lr_scale;
  const hotrow_key_rows *rows;
  const float *sums; /* of key `first` and those behind it */
  size_t first;
} block;

/* Keys begin .. end-1 of the batch. */
static void step_rows(const block *b, size_t begin, size_t end)
{
  hr_cpu_optimizer_apply(b->layout, b->lr_scale, b->rows->rows, b->rows->row_stride, b->rows->slots + begin,
                         b->sums + (begin - b->first) * b->layout->dim, NULL, NULL, end - begin, NULL);
}

static void add_pending(const block *b, size_t begin, size_t end)
{
  hr_cpu_pending_add(b->layout, b->rows->pending, b->rows->pending_stride, b->rows->pending_slots + begin,
                     b->rows->is_first + begin, b->sums + (begin - b->first) * b->layout->dim, end - begin, NULL);
}

/* Calls `apply` for every run of keys begin .. end-1 that have a slot. */
static void apply_runs(const block *b, const uint32_t *slots, size_t begin, size_t end,
                       void (*apply)(const block *, size_t, size_t))
{
  for (size_t i = begin; i < end; i++) {
    if (slots[i] != HOTROW_SLOT_NONE)
      continue;
    if (i > begin)
      apply(b, begin, i);
    begin = i + 1;
  }
  if (end > begin)
    apply(b, begin, end);
}

void hr_cpu_segment_sum_apply(const hotrow_row_layout *layout, float lr_scale, const hotrow_key_terms *terms,
                              const hotrow_key_rows *rows, void *stream, float *sums, uint64_t *nonfinite_p)
{
  uint32_t dim = layout->dim;
  HOTROW_ASSERT(dim > 0);
  size_t block_keys = dim < BLOCK_FLOATS ? BLOCK_FLOATS / dim : 1;
  uint64_t nonfinite = terms->key_count;
  block b = {layout, lr_scale, rows, sums, 0};
  for (size_t end; b.first < terms->key_count; b.first = end) {
    end = terms->key_count - b.first > block_keys ? b.first + block_keys : terms->key_count;
    hr_cpu_segment_sum(terms->grads, terms->grad_stride, dim, terms->source, terms->coefficients, terms->positions,
                       terms->offsets + b.first, end - b.first, stream, sums);
    for (size_t begin = b.first, next; begin < end; begin = next + 1) {
      uint64_t finite_count;
      hr_cpu_find_nonfinite(sums + (begin - b.first) * dim, end - begin, dim, stream, &finite_count, NULL);
      next = begin + finite_count;
      apply_runs(&b, rows->slots, begin, next, step_rows);
      if (rows->pending_slots)
        apply_runs(&b, rows->pending_slots, begin, next, add_pending);
      if (next < end && next < nonfinite)
        nonfinite = next;
    }
  }
  *nonfinite_p = nonfinite;
}
