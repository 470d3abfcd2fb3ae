/* Copies rows by slot. Bytes moved per row: 4*dim read, 4*dim written. */
#include <string.h>

#include <hr/assert.h>
#include <hr/vector.h>

#include "kernels_impl.h"
#include "row_cpu.h"

/* Lines of a known size become vector moves; memcpy of an unknown size is a call. */
HR_ROW_INLINE void copy_row(float *restrict to, const float *restrict from, uint32_t dim)
{
  uint32_t i = 0;
  for (; i + HR_LINE_FLOATS <= dim; i += HR_LINE_FLOATS)
    memcpy(to + i, from + i, HR_LINE_FLOATS * sizeof(float));
  for (; i < dim; i++)
    to[i] = from[i];
}

HR_VECTORISED void hr_cpu_gather(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,
                                 size_t slot_count, void *stream, float *out, size_t out_stride)
{
  (void)stream;
  HOTROW_ASSERT(dim > 0 && row_stride >= dim && out_stride >= dim);
  size_t prefetch_floats = hr_prefetch_floats(dim);
  for (size_t i = 0; i < slot_count; i++) {
    if (i + HR_ROWS_AHEAD < slot_count)
      hr_prefetch_row(rows + slots[i + HR_ROWS_AHEAD] * row_stride, prefetch_floats);
    if (slots[i] == HOTROW_SLOT_NONE)
      memset(out + i * out_stride, 0, dim * sizeof *out);
    else
      copy_row(out + i * out_stride, rows + slots[i] * row_stride, dim);
  }
}
