#include "dataset_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "text_stream.h"

static const hr_dataset_format *const file_formats[] = {
    &hr_format_criteo,
    &hr_format_movielens,
};
#define FILE_FORMAT_COUNT (sizeof file_formats / sizeof file_formats[0])

void hr_split_range(uint64_t sample_count, hr_split split, uint64_t *begin_p, uint64_t *end_p)
{
  HOTROW_ASSERT(sample_count <= HR_SAMPLES_MAX);
  uint64_t ends[] = {0, sample_count * 8 / 10, sample_count * 9 / 10, sample_count};
  *begin_p = ends[split];
  *end_p = ends[split + 1];
}

/* Each format may cut up a copy of its own. */
static hotrow_status find_format(const char *path, const char *line, const hr_dataset_format **format_p)
{
  char looks[256] = "";
  for (size_t i = 0; i < FILE_FORMAT_COUNT; i++) {
    char *copy = strdup(line);
    if (!copy)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for the first line of %s", path);
    bool recognised = file_formats[i]->recognise(copy);
    free(copy);
    if (recognised) {
      *format_p = file_formats[i];
      return HOTROW_OK;
    }
    size_t size = strlen(looks);
    snprintf(looks + size, sizeof looks - size, "%s%s", i ? "; or " : "", file_formats[i]->looks);
  }
  return hr_fail(HOTROW_ERR_UNSUPPORTED, "%s line 1 is of no known format (%s)", path, looks);
}

static hotrow_status recognise(const char *path, const hr_dataset_format **format_p)
{
  hr_text_stream *stream;
  char *line = NULL;
  size_t size;
  HOTROW_TRY(hr_text_stream_open(path, &stream));
  hotrow_status status = hr_text_stream_next(stream, &line, &size);
  if (status == HOTROW_OK)
    status = line ? find_format(path, line, format_p) : hr_fail(HOTROW_ERR_CORRUPT, "%s is empty", path);
  hr_text_stream_close(stream);
  return status;
}

hotrow_status hr_dataset_open(const hr_dataset_options *options, hr_dataset **dataset_p)
{
  const hr_dataset_format *format = &hr_format_shape;
  hr_dataset *dataset;
  if ((unsigned)options->split > HR_TEST)
    return hr_fail(HOTROW_ERR_INVALID, "split %d is none of train, valid and test", (int)options->split);
  if (options->path) {
    if (options->sample_count)
      return hr_fail(HOTROW_ERR_INVALID, "sample count %llu is for the built-in stream, not for the file %s",
                     (unsigned long long)options->sample_count, options->path);
    HOTROW_TRY(recognise(options->path, &format));
  }
  HOTROW_TRY(format->open(options, &dataset));
  HOTROW_ASSERT(dataset->info.field_count <= HR_FIELDS_MAX && dataset->info.numeric_count <= HR_NUMERIC_MAX);
  dataset->format = format;
  dataset->position = 0;
  *dataset_p = dataset;
  return HOTROW_OK;
}

void hr_dataset_close(hr_dataset *dataset)
{
  if (dataset)
    dataset->format->close(dataset);
}

const hr_dataset_info *hr_dataset_get_info(const hr_dataset *dataset)
{
  return &dataset->info;
}

static uint64_t clamp_to_split(const hr_dataset *dataset, uint64_t sample_count)
{
  uint64_t left = dataset->info.sample_count - dataset->position;
  return sample_count < left ? sample_count : left;
}

hotrow_status hr_dataset_read(hr_dataset *dataset, hr_batch *batch)
{
  batch->count = (size_t)clamp_to_split(dataset, batch->capacity);
  hotrow_status status = dataset->format->read(dataset, batch);
  if (status != HOTROW_OK)
    batch->count = 0;
  dataset->position += batch->count;
  return status;
}

hotrow_status hr_dataset_skip(hr_dataset *dataset, uint64_t sample_count)
{
  sample_count = clamp_to_split(dataset, sample_count);
  HOTROW_TRY(dataset->format->skip(dataset, sample_count));
  dataset->position += sample_count;
  return HOTROW_OK;
}

hotrow_status hr_dataset_rewind(hr_dataset *dataset, uint32_t epoch)
{
  HOTROW_TRY(dataset->format->rewind(dataset, epoch));
  dataset->position = 0;
  return HOTROW_OK;
}

hotrow_status hr_batch_init(hr_batch *batch, const hr_dataset_info *info, size_t capacity)
{
  hr_batch taken = {.capacity = capacity};
  hotrow_status status =
      hr_alloc(hr_mul(capacity, info->field_count), sizeof *taken.keys, "keys of a batch", (void **)&taken.keys);
  if (status == HOTROW_OK)
    status = hr_alloc(hr_mul(capacity, info->numeric_count), sizeof *taken.numeric, "numeric values of a batch",
                      (void **)&taken.numeric);
  if (status == HOTROW_OK)
    status = hr_alloc(capacity, sizeof *taken.labels, "labels of a batch", (void **)&taken.labels);
  if (status == HOTROW_OK)
    *batch = taken;
  else
    hr_batch_fini(&taken);
  return status;
}

void hr_batch_fini(hr_batch *batch)
{
  free(batch->keys);
  free(batch->numeric);
  free(batch->labels);
  *batch = (hr_batch){0};
}
