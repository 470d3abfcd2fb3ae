/* Streams of keys in batches, each batch's keys distinct, from a trace file or the built-in Criteo-shaped stream: what
 * caches are compared on. Keys are numbered from 0 in the order in which they are first seen. */
#ifndef HR_KEY_STREAM_H
#define HR_KEY_STREAM_H

#include <hotrow/base.h>

#define HR_STREAM_NEVER UINT32_MAX

typedef struct hr_key_stream {
  uint32_t *keys;     /* owned: batch b is keys[offsets[b]] to keys[offsets[b + 1]] */
  uint32_t *next_use; /* owned: the next batch that has the key again, or HR_STREAM_NEVER */
  size_t *offsets;    /* owned, [batch_count + 1] */
  size_t batch_count;
  size_t accesses;    /* keys before duplicates within a batch were dropped */
  uint32_t key_count; /* distinct keys of the whole stream */
} hr_key_stream;

/* Big-endian 64-bit keys, plain or compressed (xz, gzip), batch_keys of them to a batch.
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_CORRUPT (also: not a whole number of keys), HOTROW_ERR_NO_MEMORY */
hotrow_status hr_key_stream_from_trace(const char *path, size_t batch_keys, hr_key_stream *stream_p);
/* `batch_count` batches of batch_samples samples of the built-in stream. */
hotrow_status hr_key_stream_from_shape(size_t batch_count, size_t batch_samples, uint64_t seed,
                                       hr_key_stream *stream_p);
/* From keys in memory. */
hotrow_status hr_key_stream_make(const uint64_t *keys, size_t count, size_t batch_keys, hr_key_stream *stream_p);
void hr_key_stream_fini(hr_key_stream *stream);

/* Hits of the best cache there can be: fully associative, of row_count rows, it knows the future and may keep any of
 * the rows that it has or that the batch brought (Belady 1966, by batches). */
hotrow_status hr_belady_hits(const hr_key_stream *stream, uint64_t row_count, uint64_t *hits_p);

#endif
