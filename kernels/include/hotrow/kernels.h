/* Row math: one table of functions per device. Every function gives the same bits on every device.
 *
 * Rows live in a row array: row s begins at rows + s*row_stride floats; its first `dim` floats are the values of all
 * its segments, the next state_dim floats their optimizers' states (see hotrow_row_layout). Arrays belong to the caller
 * and lie on the table's device. Calls on CPU finish before they return and may run on any thread; calls on a GPU are
 * queued on `stream` (NULL: the default stream). Counts may be 0. Arguments are the caller's promise and are asserted,
 * not reported: only memory and device calls and kernels that can run out of something return a status. */
#ifndef HOTROW_KERNELS_H
#define HOTROW_KERNELS_H

#include <hotrow/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_SLOT_NONE UINT32_MAX
#define HOTROW_CACHE_WAYS 16u
#define HOTROW_SUM_CHUNK 32u /* segment_sum adds at most this many terms in a row before it adds up the chunks */

typedef enum hotrow_pooling {
  HOTROW_POOL_NONE = 0,
  HOTROW_POOL_SUM = 1,
  HOTROW_POOL_MEAN = 2, /* the sum divided by the number of keys */
  HOTROW_POOL_SQRTN = 3 /* the sum divided by the square root of the number of keys */
} hotrow_pooling;

/* What dedup fills in: U distinct keys in ascending order of their hash (XXH3 of key and table seed, a bijection), so
 * that the keys of one shard, and of one stretch of cache sets, lie together. */
typedef struct hotrow_dedup {
  uint64_t *keys;           /* [key_count]: the first U are the distinct keys */
  uint64_t *hashes;         /* [key_count]: their hashes, ascending */
  uint32_t *inverse;        /* [key_count]: input position -> index of its distinct key */
  uint32_t *offsets;        /* [key_count + 1]: CSR over distinct keys into positions */
  uint32_t *positions;      /* [key_count]: input positions grouped by distinct key, ascending within each */
  uint32_t *unique_count_p; /* U; on the device too: nobody waits for it there */
} hotrow_dedup;

/* The gradients of distinct keys as sums of terms: the arguments of segment_sum. */
typedef struct hotrow_key_terms {
  const float *grads;
  size_t grad_stride;
  const uint32_t *source;
  const float *coefficients;
  const uint32_t *positions;
  const uint32_t *offsets; /* [key_count + 1] */
  size_t key_count;
} hotrow_key_terms;

/* Where the gradient of each key goes. HOTROW_SLOT_NONE: not there. */
typedef struct hotrow_key_rows {
  float *rows;
  size_t row_stride;
  const uint32_t *slots; /* [key_count], distinct where not NONE */
  float *pending;
  size_t pending_stride;
  const uint32_t *pending_slots; /* likewise; NULL: NONE for all, and nothing else of pending is looked at */
  const uint8_t *is_first;       /* [key_count] */
} hotrow_key_rows;

/* What a device says of itself. */
typedef struct hotrow_device_info {
  char name[256];
  uint64_t memory_bytes;
  uint64_t free_bytes;  /* of them, when asked */
  uint64_t cache_bytes; /* of the cache that all processors share before memory; 0: not known */
  uint32_t processor_count;
  uint32_t architecture; /* of a GPU: 90 is sm_90; else 0 */
} hotrow_device_info;

typedef struct hotrow_kernels {
  hotrow_device device;
  const char *name; /* "cpu", "cuda" */

  hotrow_status (*describe)(hotrow_device_info *info_p); /* HOTROW_ERR_DEVICE */
  /* How many devices of this kind there are, and which of them the calling thread uses from here on: 0, unless it says
   * so. Memory, streams and events are of the one that they were made on. HOTROW_ERR_INVALID: there is no such one */
  uint32_t (*device_count)(void);
  hotrow_status (*device_use)(uint32_t index);

  hotrow_status (*alloc)(size_t size_bytes, void **memory_p); /* zeroed; HOTROW_ERR_NO_MEMORY, HOTROW_ERR_DEVICE */
  void (*free)(void *memory);                                 /* accepts NULL */
  /* Host memory that a GPU reads and writes by itself: a copy between it and the device is queued, and the host must
   * let it be until the stream has passed. Other host memory may be touched at once: copy_in has read it, and copy_out
   * waits. Zeroed; HOTROW_ERR_NO_MEMORY, HOTROW_ERR_DEVICE. free_host accepts NULL. Neither is for the data path. */
  hotrow_status (*alloc_host)(size_t size_bytes, void **memory_p);
  void (*free_host)(void *memory);
  hotrow_status (*copy_in)(void *device_to, const void *host_from, size_t size_bytes, void *stream);
  hotrow_status (*copy_out)(void *host_to, const void *device_from, size_t size_bytes, void *stream);
  hotrow_status (*copy)(void *device_to, const void *device_from, size_t size_bytes, void *stream); /* no overlap */
  hotrow_status (*fill)(void *device_memory, uint8_t byte, size_t size_bytes, void *stream);
  hotrow_status (*synchronize)(void *stream); /* waits for the stream; reports what failed on it */

  /* Streams run beside each other and beside the default stream; only events order them. What is queued on an urgent
   * one goes first where both could. On CPU there are none: NULL. HOTROW_ERR_NO_MEMORY, HOTROW_ERR_DEVICE. */
  hotrow_status (*stream_create)(bool is_urgent, void **stream_p);
  void (*stream_destroy)(void *stream); /* accepts NULL; what is queued still runs */
  /* An event stands for what was queued on a stream before it was last recorded; one never recorded has happened.
   * event_order: what is queued on `stream` from here on comes after the event. event_wait: the host waits, and hears
   * what failed as from synchronize.
   * event_query: whether it has happened, without waiting. Those of event_create_timed also note when: elapsed_ms is
   * the device's time from one that has happened to another; 0 on CPU, where the host's clock tells. */
  hotrow_status (*event_create)(void **event_p);
  hotrow_status (*event_create_timed)(void **event_p);
  void (*event_destroy)(void *event); /* accepts NULL */
  hotrow_status (*event_record)(void *event, void *stream);
  hotrow_status (*event_order)(void *event, void *stream);
  hotrow_status (*event_wait)(void *event);
  hotrow_status (*event_query)(void *event, bool *has_happened_p);
  hotrow_status (*event_elapsed_ms)(void *from, void *to, float *elapsed_ms_p);

  /* Bytes of scratch that dedup needs for key_count keys. */
  size_t (*dedup_scratch_size)(size_t key_count);
  /* Distinct keys, inverse and occurrences (see hotrow_dedup; its arrays are the caller's). key_count < 2^31. */
  hotrow_status (*dedup)(const uint64_t *keys, size_t key_count, uint64_t table_seed, void *scratch, void *stream,
                         const hotrow_dedup *result);

  /* Where ascending hashes (the first *count_p) reach each bound: position_p[b] = how many are below bounds[b]. */
  void (*lower_bounds)(const uint64_t *hashes, const uint32_t *count_p, const uint64_t *bounds, size_t bound_count,
                       void *stream, uint32_t *position_p);

  /* Prefix sums: sum_p[i] = values[0] + ... + values[i-1] modulo 2^32 for i in [0, count]: sum_p has count + 1 places,
   * and may be values itself. count < 2^32. Scratch of scan_scratch_size(count) bytes, aligned to 16, for both. */
  size_t (*scan_scratch_size)(size_t count);
  void (*scan)(const uint32_t *values, size_t count, void *scratch, void *stream, uint32_t *sum_p);
  /* The indices of those flags with (flags[i] & mask) == value, ascending, and their number. index_p has room for all.
   */
  void (*select)(const uint8_t *flags, size_t count, uint8_t mask, uint8_t value, void *scratch, void *stream,
                 uint32_t *index_p, uint32_t *count_p);

  /* slot_p[i] = set*16 + way of keys[i], which no two ways have, or HOTROW_SLOT_NONE. set = ((hash >> 32) * set_count)
   * >> 32. set_keys[set_count][16], aligned to 16 bytes; way w of a set is taken iff bit w of occupied[set] is 1.
   * set_hashes[set_count][16]: keys of several tables share the sets, and it is key and hash that no two ways have;
   * else NULL. */
  void (*probe)(const uint64_t *set_keys, const uint64_t *set_hashes, const uint16_t *occupied, uint32_t set_count,
                const uint64_t *keys, const uint64_t *hashes, size_t key_count, void *stream, uint32_t *slot_p);

  /* out[i] = value of row slots[i], zeroes where that is HOTROW_SLOT_NONE; out rows are out_stride floats apart.
   * Bit-exact copies. */
  void (*gather)(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots, size_t slot_count,
                 void *stream, float *out, size_t out_stride);

  /* out[b] = sum over i in [offsets[b], offsets[b+1]) of weights[i] * row slots[i], in order of i, starting from 0;
   * weights NULL means 1. MEAN and SQRTN divide by the number of keys in the bag or its root (an empty bag gives
   * zeroes). A key whose slot is HOTROW_SLOT_NONE adds nothing, and is counted. */
  void (*pool)(const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots, const uint32_t *offsets,
               const float *weights, size_t bag_count, hotrow_pooling pooling, void *stream, float *out,
               size_t out_stride);

  /* The two arrays that turn a pooled gradient into segment_sum's terms: for input position i in bag b,
   * source_p[i] = b and coefficient_p[i] = weights[i] (1 if NULL), divided by what pool divides the bag by. */
  void (*pool_backward)(const uint32_t *offsets, const float *weights, size_t bag_count, hotrow_pooling pooling,
                        void *stream, uint32_t *source_p, float *coefficient_p);

  /* sums[u] = sum over j in [offsets[u], offsets[u+1]) of term(positions[j]), where
   * term(p) = coefficients[p] * grads row source[p]  (source NULL: row p; coefficients NULL: 1).
   * Order: chunks of HOTROW_SUM_CHUNK consecutive j are each summed in order from the chunk's first term, then the
   * chunk sums are added in order. Products are rounded before they are added. */
  void (*segment_sum)(const float *grads, size_t grad_stride, uint32_t dim, const uint32_t *source,
                      const float *coefficients, const uint32_t *positions, const uint32_t *offsets,
                      size_t segment_count, void *stream, float *sums);

  /* Applies gradients to rows and their state. slots[i] are distinct; those that are HOTROW_SLOT_NONE are left out,
   * with their gradients. steps NULL: every push is one step (k = 1), and squares are taken from the gradient. Else
   * steps[i] = k >= 1 and squares[i][square_dim] (NULL if square_dim is 0) is, segment by segment, the sum over the k
   * steps of g*g (Adagrad and FTRL, per element) or of the mean of g*g over the segment (row-wise Adagrad); for a row
   * with k = 1 it is ignored and taken from the gradient, so that k = 1 has one meaning. The mean of g*g is summed in
   * column order and multiplied by 1/(float)dim. The rules are in <hotrow/base.h>. lr_scale (finite, not negative)
   * multiplies every segment's lr: 1 leaves it. */
  void (*optimizer_apply)(const hotrow_row_layout *layout, float lr_scale, float *rows, size_t row_stride,
                          const uint32_t *slots, const float *grads, const float *squares, const uint32_t *steps,
                          size_t row_count, void *stream);

  /* Adds one step to pending sums: pending row p = pending + slots[i]*pending_stride holds G[dim] | squares. For each i
   * G += grads[i]; squares += g*g or its mean as above. A row with is_first[i] != 0 is set, not added to. slots[i] that
   * are HOTROW_SLOT_NONE are left out. */
  void (*pending_add)(const hotrow_row_layout *layout, float *pending, size_t pending_stride, const uint32_t *slots,
                      const uint8_t *is_first, const float *grads, size_t row_count, void *stream);

  /* segment_sum, then optimizer_apply of one step and pending_add, to the same bits in one pass: the sums are not
   * written and read again. A key whose gradient is not finite changes nothing; *nonfinite_p = the first such key, or
   * key_count (on the table's device). sums[key_count][dim] is scratch: what it holds afterwards is not defined. */
  void (*segment_sum_apply)(const hotrow_row_layout *layout, float lr_scale, const hotrow_key_terms *terms,
                            const hotrow_key_rows *rows, void *stream, float *sums, uint64_t *nonfinite_p);

  /* Rows of finite values as they travel or are kept: row i is values + slots[i]*value_stride (slots NULL: values +
   * i*value_stride), packed[i][dim] lies without gaps.
   *
   *   F32  a copy
   *   F16  IEEE half, rounded to nearest even; beyond +-65504 that limit
   *   BF16 the upper half of a float, rounded to nearest even; beyond its largest finite value that
   *   I8   scales[i] = max |x| of the row, q = x / scale * 127 rounded to nearest even; a row of zeroes has scale 0
   *
   * scales is written for I8 only. */
  void (*pack)(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim, const uint32_t *slots,
               size_t row_count, void *stream, void *packed, float *scales);

  /* The values of packed rows, value_stride floats apart. I8: q / 127 * scale, so that +-scale is exact and packing
   * again gives the same bytes; a byte of -128, which pack never makes, is read as -127. */
  void (*unpack)(hotrow_dtype dtype, const void *packed, const float *scales, uint32_t dim, size_t row_count,
                 void *stream, float *values, size_t value_stride);

  /* Of a row array whose rows begin with `dim` values packed as F16 or BF16 (padded to a whole float; what lies behind
   * is theirs too): out[i] = the values of row slots[i], as floats; out rows are out_stride floats apart. */
  void (*gather_packed)(hotrow_dtype dtype, const float *rows, size_t row_stride, uint32_t dim, const uint32_t *slots,
                        size_t slot_count, void *stream, float *out, size_t out_stride);

  /* The way back: values[i] become those of row slots[i] (distinct), rounded by chance so that the mean is the value:
   * one that F16 or BF16 says exactly stays as it is; else the neighbour away from 0 is taken where the low bits of the
   * magnitude beyond the last that stays, plus as many random ones, carry. Below 2^-14 a half's are its bits from 2^-25
   * to 2^-44, and the rest is cut off. Beyond the largest finite value: that. The random bits are
   * the low ones of r(column):
   *
   *   x = low 32 bits of streams[i] + column * 0x9e3779b9;  x = (x ^ x >> 16) * 0x7feb352d + high 32 bits of it;
   *   x = (x ^ x >> 15) * 0x846ca68b;  r = x ^ x >> 16 */
  void (*scatter_packed)(hotrow_dtype dtype, const float *values, size_t value_stride, uint32_t dim,
                         const uint64_t *streams, const uint32_t *slots, size_t slot_count, void *stream, float *rows,
                         size_t row_stride);

  /* *row_p = index of the first row of values[row_count][dim] that holds a NaN or an infinity, or row_count if none
   * does. *gate_p = 0 if one does, else it stays as it is: a count that what is queued behind takes, of none if any of
   * several calls has found something (NULL: nobody). Both lie on the table's device, as every array does. */
  void (*find_nonfinite)(const float *values, size_t row_count, uint32_t dim, void *stream, uint64_t *row_p,
                         uint32_t *gate_p);

  /* sums[i] = (rank 0's values[i] + rank 1's) + rank 2's ..., for i < count; a rank's values are rank_stride floats
   * behind those of the rank before. rank_count >= 1. sums overlaps no values. */
  void (*sum_ranks)(const float *values, size_t rank_stride, uint32_t rank_count, size_t count, void *stream,
                    float *sums);

  /* Words by index: out[i] = words[index[i]]; words[index[i]] = values[i] for distinct indices. */
  void (*gather_words)(const uint32_t *words, const uint32_t *index, size_t count, void *stream, uint32_t *out);
  void (*scatter_words)(const uint32_t *values, const uint32_t *index, size_t count, void *stream, uint32_t *words);
  /* sums[s] = words[positions[j]] over j in [offsets[s], offsets[s+1]) modulo 2^32; words NULL: how many j there are.
   */
  void (*segment_words)(const uint32_t *words, const uint32_t *positions, const uint32_t *offsets, size_t segment_count,
                        void *stream, uint32_t *sums);
} hotrow_kernels;

/* The function table of a device; it lives as long as the program. Any thread. Both are complete.
 *   HOTROW_ERR_INVALID      no such device
 *   HOTROW_ERR_UNSUPPORTED  this build has no CUDA
 *   HOTROW_ERR_DEVICE       the build has CUDA and this machine has no usable GPU */
HOTROW_API hotrow_status hotrow_kernels_get(hotrow_device device, const hotrow_kernels **kernels_p);

#ifdef __cplusplus
}
#endif
#endif
