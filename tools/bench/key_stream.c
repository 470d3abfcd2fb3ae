#include "key_stream.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>
#include <hr/status.h>

#include "dataset.h"
#include "text_stream.h"

#define KEYS_MAX ((size_t)1 << 31)
#define FIRST_TRACE_KEYS ((size_t)1 << 20)

/* Numbers for keys: open addressing, at most half full. */
typedef struct key_numbers {
  uint64_t *keys;
  uint32_t *numbers; /* 0: free, else the number + 1 */
  size_t mask;
  uint32_t count;
} key_numbers;

static hotrow_status key_numbers_init(key_numbers *numbers, size_t key_count_max)
{
  size_t size = 16;
  while (size < 2 * key_count_max)
    size *= 2;
  *numbers = (key_numbers){.mask = size - 1};
  hotrow_status status = hr_alloc(size, sizeof *numbers->keys, "numbers of keys", (void **)&numbers->keys);
  if (status == HOTROW_OK)
    status = hr_alloc(size, sizeof *numbers->numbers, "numbers of keys", (void **)&numbers->numbers);
  return status;
}

static void key_numbers_fini(key_numbers *numbers)
{
  free(numbers->keys);
  free(numbers->numbers);
}

static uint32_t number_of(key_numbers *numbers, uint64_t key)
{
  size_t at = hr_mix64(key) & numbers->mask;
  while (numbers->numbers[at] != 0 && numbers->keys[at] != key)
    at = (at + 1) & numbers->mask;
  if (numbers->numbers[at] == 0) {
    numbers->keys[at] = key;
    numbers->numbers[at] = ++numbers->count;
  }
  return numbers->numbers[at] - 1;
}

/* Drops what stands twice in a batch; last_batch[key] is the last batch that had it, + 1. */
static void add_batch(hr_key_stream *stream, key_numbers *numbers, uint32_t *last_batch, const uint64_t *keys,
                      size_t count)
{
  const size_t batch = stream->batch_count++;
  size_t end = stream->offsets[batch];
  for (size_t i = 0; i < count; i++) {
    const uint32_t key = number_of(numbers, keys[i]);
    if (last_batch[key] != batch + 1)
      stream->keys[end++] = key;
    last_batch[key] = (uint32_t)batch + 1;
  }
  stream->offsets[batch + 1] = end;
}

static void find_next_uses(hr_key_stream *stream, uint32_t *next)
{
  for (uint32_t i = 0; i < stream->key_count; i++)
    next[i] = HR_STREAM_NEVER;
  for (size_t b = stream->batch_count; b-- > 0;)
    for (size_t i = stream->offsets[b]; i < stream->offsets[b + 1]; i++) {
      stream->next_use[i] = next[stream->keys[i]];
      next[stream->keys[i]] = (uint32_t)b;
    }
}

hotrow_status hr_key_stream_make(const uint64_t *keys, size_t count, size_t batch_keys, hr_key_stream *stream_p)
{
  HOTROW_ASSERT(batch_keys > 0);
  if (count > KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "a stream of %zu keys: at most %zu", count, KEYS_MAX);
  const size_t batch_count = (count + batch_keys - 1) / batch_keys;
  hr_key_stream stream = {.accesses = count};
  key_numbers numbers = {0};
  uint32_t *last_batch = NULL;
  hotrow_status status = hr_alloc(count, sizeof *stream.keys, "keys of a stream", (void **)&stream.keys);
  if (status == HOTROW_OK)
    status = hr_alloc(count, sizeof *stream.next_use, "next uses of keys", (void **)&stream.next_use);
  if (status == HOTROW_OK)
    status = hr_alloc(batch_count + 1, sizeof *stream.offsets, "batches of a stream", (void **)&stream.offsets);
  if (status == HOTROW_OK)
    status = hr_alloc(count, sizeof *last_batch, "last batches of keys", (void **)&last_batch);
  if (status == HOTROW_OK)
    status = key_numbers_init(&numbers, count);
  for (size_t b = 0; status == HOTROW_OK && b < batch_count; b++) {
    const size_t left = count - b * batch_keys;
    add_batch(&stream, &numbers, last_batch, keys + b * batch_keys, left < batch_keys ? left : batch_keys);
  }
  stream.key_count = numbers.count;
  if (status == HOTROW_OK)
    find_next_uses(&stream, last_batch);
  key_numbers_fini(&numbers);
  free(last_batch);
  if (status == HOTROW_OK)
    *stream_p = stream;
  else
    hr_key_stream_fini(&stream);
  return status;
}

void hr_key_stream_fini(hr_key_stream *stream)
{
  free(stream->keys);
  free(stream->next_use);
  free(stream->offsets);
  *stream = (hr_key_stream){0};
}

static hotrow_status read_trace(hr_text_stream *text, uint64_t **keys_p, size_t *count_p)
{
  const size_t key_bytes = sizeof(uint64_t);
  size_t capacity = FIRST_TRACE_KEYS, size = 0, part;
  uint64_t *keys = malloc(capacity * sizeof *keys);
  for (;;) {
    if (!keys)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for %zu keys of %s", capacity, hr_text_stream_path(text));
    const hotrow_status status = hr_text_stream_read(text, (char *)keys + size, capacity * key_bytes - size, &part);
    if (status != HOTROW_OK) {
      free(keys);
      return status;
    }
    size += part;
    if (size < capacity * key_bytes)
      break;
    capacity *= 2;
    uint64_t *more = realloc(keys, capacity * sizeof *keys);
    if (!more)
      free(keys);
    keys = more;
  }
  if (size == 0 || size % key_bytes != 0) {
    free(keys);
    return hr_fail(HOTROW_ERR_CORRUPT, "%s has %zu bytes: a trace is 8 bytes for each key", hr_text_stream_path(text),
                   size);
  }
  *count_p = size / key_bytes;
  for (size_t i = 0; i < *count_p; i++)
    keys[i] = __builtin_bswap64(keys[i]);
  *keys_p = keys;
  return HOTROW_OK;
}

hotrow_status hr_key_stream_from_trace(const char *path, size_t batch_keys, hr_key_stream *stream_p)
{
  hr_text_stream *text;
  uint64_t *keys = NULL;
  size_t count = 0;
  HOTROW_TRY(hr_text_stream_open(path, &text));
  hotrow_status status = read_trace(text, &keys, &count);
  hr_text_stream_close(text);
  if (status == HOTROW_OK)
    status = hr_key_stream_make(keys, count, batch_keys, stream_p);
  free(keys);
  return status;
}

hotrow_status hr_key_stream_from_shape(size_t batch_count, size_t batch_samples, uint64_t seed, hr_key_stream *stream_p)
{
  const size_t sample_count = batch_count * batch_samples;
  const hr_dataset_options options = {.seed = seed, .sample_count = sample_count / 8 * 10 + 10, .split = HR_TRAIN};
  hr_dataset *dataset;
  hr_batch batch = {0};
  uint64_t *keys = NULL;
  HOTROW_TRY(hr_dataset_open(&options, &dataset));
  const size_t fields = hr_dataset_get_info(dataset)->field_count;
  hotrow_status status = hr_batch_init(&batch, hr_dataset_get_info(dataset), batch_samples);
  if (status == HOTROW_OK)
    status = hr_alloc(hr_mul(sample_count, fields), sizeof *keys, "keys of a stream", (void **)&keys);
  for (size_t b = 0; status == HOTROW_OK && b < batch_count; b++) {
    status = hr_dataset_read(dataset, &batch);
    memcpy(keys + b * batch_samples * fields, batch.keys, batch_samples * fields * sizeof *keys);
  }
  if (status == HOTROW_OK)
    status = hr_key_stream_make(keys, sample_count * fields, batch_samples * fields, stream_p);
  free(keys);
  hr_batch_fini(&batch);
  hr_dataset_close(dataset);
  return status;
}
