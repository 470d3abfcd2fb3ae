/* Rows whose values are kept in 16 bits: read as floats, and written back rounded by chance. Bytes moved per row: 2*dim
 * of the row array, 4*dim of the caller's. */
#include <hr/assert.h>
#include <hr/vector.h>

#include "half_cpu.h"
#include "kernels_impl.h"

HR_VECTORISED void hr_cpu_gather_packed(hotrow_dtype dtype, const float *rows, size_t row_stride, uint32_t dim,
                                        const uint32_t *slots, size_t slot_count, void *stream, float *out,
                                        size_t out_stride)
{
  (void)stream;
  HOTROW_ASSERT(dtype == HOTROW_F16 || dtype == HOTROW_BF16);
  HOTROW_ASSERT(dim > 0 && row_stride >= (dim + 1u) / 2 && out_stride >= dim);
  size_t prefetch_floats = hr_prefetch_floats((dim + 1u) / 2);
  for (size_t i = 0; i < slot_count; i++) {
    if (i + HR_ROWS_AHEAD < slot_count)
      hr_prefetch_row(rows + slots[i + HR_ROWS_AHEAD] * row_stride, prefetch_floats);
    HOTROW_ASSERT(slots[i] != HOTROW_SLOT_NONE);
    const uint16_t *packed = (const uint16_t *)(rows + slots[i] * row_stride);
    if (dtype == HOTROW_F16)
      unpack_f16(out + i * out_stride, packed, dim);
    else
      unpack_bf16(out + i * out_stride, packed, dim);
  }
}

HR_ROW_INLINE void halves_by_chance(uint16_t *restrict half, const float *restrict x, uint32_t first, uint32_t width,
                                    uint64_t stream)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    half[c] = half_by_chance(x[c], random_of(stream, first + c));
}

HR_ROW_INLINE void scatter_f16(uint16_t *half, const float *x, uint32_t dim, uint64_t stream)
{
#define HALVES(first, width) halves_by_chance(half + (first), x + (first), first, width, stream)
  FOR_COLUMNS(dim, HALVES);
#undef HALVES
}

HR_ROW_INLINE void bfloats_by_chance(uint16_t *restrict bfloat, const float *restrict x, uint32_t first, uint32_t width,
                                     uint64_t stream)
{
#pragma GCC unroll 1
  for (uint32_t c = 0; c < width; c++)
    bfloat[c] = bfloat_by_chance(x[c], random_of(stream, first + c));
}

HR_ROW_INLINE void scatter_bf16(uint16_t *bfloat, const float *x, uint32_t dim, uint64_t stream)
{
#define BFLOATS(first, width) bfloats_by_chance(bfloat + (first), x + (first), first, width, stream)
  FOR_COLUMNS(dim, BFLOATS);
#undef BFLOATS
}

HR_VECTORISED void hr_cpu_scatter_packed(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,
                                         const uint64_t *streams, const uint32_t *slots, size_t slot_count,
                                         void *stream, float *rows, size_t row_stride)
{
  (void)stream;
  HOTROW_ASSERT(dtype == HOTROW_F16 || dtype == HOTROW_BF16);
  HOTROW_ASSERT(dim > 0 && row_stride >= (dim + 1u) / 2 && value_stride >= dim);
  for (size_t i = 0; i < slot_count; i++) {
    HOTROW_ASSERT(slots[i] != HOTROW_SLOT_NONE);
    uint16_t *packed = (uint16_t *)(rows + slots[i] * row_stride);
    if (dtype == HOTROW_F16)
      scatter_f16(packed, values + i * value_stride, dim, streams[i]);
    else
      scatter_bf16(packed, values + i * value_stride, dim, streams[i]);
  }
}
