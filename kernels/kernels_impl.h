/* What the backends share: the prototypes of their kernels, as the fields of hotrow_kernels describe them. */
#ifndef KERNELS_IMPL_H
#define KERNELS_IMPL_H

#include <hotrow/kernels.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The table of each backend; kernels.c alone calls these. HOTROW_ERR_UNSUPPORTED, HOTROW_ERR_DEVICE (CUDA). */
hotrow_status hr_kernels_get_cpu(const hotrow_kernels **kernels_p);
hotrow_status hr_kernels_get_cuda(const hotrow_kernels **kernels_p);

/* The prototypes of every kernel but the backend's own (memory, copies), for one device. */
#define HR_DECLARE_KERNELS(device)                                                                                     \
  size_t hr_##device##_dedup_scratch_size(size_t key_count);                                                           \
  hotrow_status hr_##device##_dedup(const uint64_t *keys, size_t key_count, uint64_t table_seed, void *scratch,        \
                                    void *stream, const hotrow_dedup *result);                                         \
  void hr_##device##_lower_bounds(const uint64_t *hashes, const uint32_t *count_p, const uint64_t *bounds,             \
                                  size_t bound_count, void *stream, uint32_t *position_p);                             \
  size_t hr_##device##_scan_scratch_size(size_t count);                                                                \
  void hr_##device##_scan(const uint32_t *values, size_t count, void *scratch, void *stream, uint32_t *sum_p);         \
  void hr_##device##_select(const uint8_t *flags, size_t count, uint8_t mask, uint8_t value, void *scratch,            \
                            void *stream, uint32_t *index_p, uint32_t *count_p);                                       \
  void hr_##device##_probe(const uint64_t *set_keys, const uint64_t *set_hashes, const uint16_t *occupied,             \
                           uint32_t set_count, const uint64_t *keys, const uint64_t *hashes, size_t key_count,         \
                           void *stream, uint32_t *slot_p);                                                            \
  void hr_##device##_gather(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,                 \
                            size_t slot_count, void *stream, float *out, size_t out_stride);                           \
  void hr_##device##_pool(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,                   \
                          const uint32_t *offsets, const float *weights, size_t bag_count, hotrow_pooling pooling,     \
                          void *stream, float *out, size_t out_stride);                                                \
  void hr_##device##_pool_backward(const uint32_t *offsets, const float *weights, size_t bag_count,                    \
                                   hotrow_pooling pooling, void *stream, uint32_t *source_p, float *coefficient_p);    \
  void hr_##device##_segment_sum(const float *grads, size_t grad_stride, uint32_t dim, const uint32_t *source,         \
                                 const float *coefficients, const uint32_t *positions, const uint32_t *offsets,        \
                                 size_t segment_count, void *stream, float *sums);                                     \
  void hr_##device##_optimizer_apply(const hotrow_row_layout *layout, float lr_scale, float *rows, size_t row_stride,  \
                                     const uint32_t *slots, const float *grads, const float *squares,                  \
                                     const uint32_t *steps, size_t row_count, void *stream);                           \
  void hr_##device##_pending_add(const hotrow_row_layout *layout, float *pending, size_t pending_stride,               \
                                 const uint32_t *slots, const uint8_t *is_first, const float *grads, size_t row_count, \
                                 void *stream);                                                                        \
  void hr_##device##_segment_sum_apply(const hotrow_row_layout *layout, float lr_scale, const hotrow_key_terms *terms, \
                                       const hotrow_key_rows *rows, void *stream, float *sums, uint64_t *nonfinite_p); \
  void hr_##device##_pack(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,                  \
                          const uint32_t *slots, size_t row_count, void *stream, void *packed, float *scales);         \
  void hr_##device##_unpack(hotrow_dtype dtype, const void *packed, const float *scales, uint32_t dim,                 \
                            size_t row_count, void *stream, float *values, size_t value_stride);                       \
  void hr_##device##_gather_packed(hotrow_dtype dtype, const float *rows, size_t row_stride, uint32_t dim,             \
                                   const uint32_t *slots, size_t slot_count, void *stream, float *out,                 \
                                   size_t out_stride);                                                                 \
  void hr_##device##_scatter_packed(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,        \
                                    const uint64_t *streams, const uint32_t *slots, size_t slot_count, void *stream,   \
                                    float *rows, size_t row_stride);                                                   \
  void hr_##device##_find_nonfinite(const float *values, size_t row_count, uint32_t dim, void *stream,                 \
                                    uint64_t *row_p, uint32_t *gate_p);                                                \
  void hr_##device##_sum_ranks(const float *values, size_t rank_stride, uint32_t rank_count, size_t count,             \
                               void *stream, float *sums);                                                             \
  void hr_##device##_gather_words(const uint32_t *words, const uint32_t *index, size_t count, void *stream,            \
                                  uint32_t *out);                                                                      \
  void hr_##device##_scatter_words(const uint32_t *values, const uint32_t *index, size_t count, void *stream,          \
                                   uint32_t *words);                                                                   \
  void hr_##device##_segment_words(const uint32_t *words, const uint32_t *positions, const uint32_t *offsets,          \
                                   size_t segment_count, void *stream, uint32_t *sums)

HR_DECLARE_KERNELS(cpu);
HR_DECLARE_KERNELS(cuda);

#ifdef __cplusplus
}
#endif
#endif
