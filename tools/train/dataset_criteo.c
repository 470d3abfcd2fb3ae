/* Criteo's click logs: a line is label, 13 integers and 26 hexadecimal tokens, separated by tabs; empty is missing.
 *
 * All 39 features are fields with a key, since that is what logistic and factorisation models of this data learn from:
 * an integer v > 2 is in the bucket floor(ln(v)^2), smaller ones and "missing" are buckets of their own; a token is
 * its own id. The 13 numeric values are +-sqrt(|bucket|)/4, which is about ln(v)/4 and within [-1, 4]; a missing one is
 * 0 there and known by its key.
 *
 * The lines are in time order. Splits follow it, so that a model is judged on what comes after its training data, and
 * training keeps it in every epoch: the file is streamed, never held. */
#include "dataset_format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "text_stream.h"

#define INTEGER_COUNT 13u
#define TOKEN_COUNT 26u
#define FIELD_COUNT (INTEGER_COUNT + TOKEN_COUNT)
#define COLUMN_COUNT (1 + FIELD_COUNT)
#define MISSING_ID (UINT64_C(1) << 32) /* next to the 32-bit tokens */
#define TOKEN_DIGITS_MAX 12
#define INTEGER_DIGITS_MAX 18
#define SMALL_INTEGER_ID 65536 /* ids of the integers below 3: 65536 - v; a bucket's id is its number */
#define SMALLEST_INTEGER (-16) /* in the files seen the smallest is -3 */

typedef struct criteo_dataset {
  hr_dataset base;
  char *path;
  hr_text_stream *stream;
  uint64_t line_count; /* of the file */
  uint64_t begin;      /* lines before the split */
} criteo_dataset;

static bool criteo_recognise(char *first_line)
{
  char *columns[1];
  return hr_text_split(first_line, "\t", columns, 1) == COLUMN_COUNT;
}

static hotrow_status next_line(criteo_dataset *dataset, char **line_p)
{
  size_t size;
  HOTROW_TRY(hr_text_stream_next(dataset->stream, line_p, &size));
  if (!*line_p)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s ends after line %llu and had %llu lines when it was opened", dataset->path,
                   (unsigned long long)hr_text_stream_line(dataset->stream), (unsigned long long)dataset->line_count);
  return HOTROW_OK;
}

static hotrow_status criteo_skip(hr_dataset *base, uint64_t sample_count)
{
  char *line;
  for (uint64_t i = 0; i < sample_count; i++)
    HOTROW_TRY(next_line((criteo_dataset *)base, &line));
  return HOTROW_OK;
}

static hotrow_status criteo_rewind(hr_dataset *base, uint32_t epoch)
{
  criteo_dataset *dataset = (criteo_dataset *)base;
  hr_text_stream *stream;
  (void)epoch;
  HOTROW_TRY(hr_text_stream_open(dataset->path, &stream));
  hr_text_stream_close(dataset->stream);
  dataset->stream = stream;
  return criteo_skip(base, dataset->begin);
}

static hotrow_status parse_integer(const hr_text_stream *stream, const char *text, uint32_t index, uint64_t *id_p,
                                   float *numeric_p)
{
  uint64_t magnitude;
  if (!*text) {
    *id_p = MISSING_ID;
    *numeric_p = 0;
    return HOTROW_OK;
  }
  bool negative = *text == '-';
  if (!hr_text_parse(text + negative, 10, INTEGER_DIGITS_MAX, &magnitude))
    return hr_text_stream_fail(stream, "column %u: \"%.40s\" is no integer of at most %d digits", index + 2, text,
                               INTEGER_DIGITS_MAX);
  int64_t value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
  if (value > 2) {
    double log_value = log((double)value);
    value = (int64_t)floor(log_value * log_value);
    *id_p = (uint64_t)value;
  } else {
    value = value < SMALLEST_INTEGER ? SMALLEST_INTEGER : value;
    *id_p = (uint64_t)(SMALL_INTEGER_ID - value);
  }
  float scaled = sqrtf(fabsf((float)value)) / 4;
  *numeric_p = value < 0 ? -scaled : scaled;
  return HOTROW_OK;
}

static hotrow_status parse_token(const hr_text_stream *stream, const char *text, uint32_t index, uint64_t *id_p)
{
  *id_p = MISSING_ID;
  if (*text && !hr_text_parse(text, 16, TOKEN_DIGITS_MAX, id_p))
    return hr_text_stream_fail(stream, "column %u: \"%.40s\" is no hexadecimal token of at most %d digits",
                               index + INTEGER_COUNT + 2, text, TOKEN_DIGITS_MAX);
  return HOTROW_OK;
}

static hotrow_status parse_sample(const hr_text_stream *stream, char *line, uint64_t *keys, float *numeric,
                                  float *label_p)
{
  char *columns[COLUMN_COUNT];
  uint64_t id = MISSING_ID;
  size_t column_count = hr_text_split(line, "\t", columns, COLUMN_COUNT);
  if (column_count != COLUMN_COUNT)
    return hr_text_stream_fail(stream, "%zu columns, need %u", column_count, COLUMN_COUNT);
  if (strcmp(columns[0], "0") != 0 && strcmp(columns[0], "1") != 0)
    return hr_text_stream_fail(stream, "column 1: label \"%.40s\" is neither 0 nor 1", columns[0]);
  *label_p = columns[0][0] == '1' ? 1.0f : 0.0f;
  for (uint32_t i = 0; i < INTEGER_COUNT; i++) {
    HOTROW_TRY(parse_integer(stream, columns[1 + i], i, &id, &numeric[i]));
    keys[i] = hr_format_key(i, id);
  }
  for (uint32_t i = 0; i < TOKEN_COUNT; i++) {
    HOTROW_TRY(parse_token(stream, columns[1 + INTEGER_COUNT + i], i, &id));
    keys[INTEGER_COUNT + i] = hr_format_key(INTEGER_COUNT + i, id);
  }
  return HOTROW_OK;
}

static hotrow_status criteo_read(hr_dataset *base, hr_batch *batch)
{
  criteo_dataset *dataset = (criteo_dataset *)base;
  char *line;
  for (size_t i = 0; i < batch->count; i++) {
    HOTROW_TRY(next_line(dataset, &line));
    HOTROW_TRY(parse_sample(dataset->stream, line, batch->keys + i * FIELD_COUNT, batch->numeric + i * INTEGER_COUNT,
                            &batch->labels[i]));
  }
  return HOTROW_OK;
}

static void criteo_close(hr_dataset *base)
{
  criteo_dataset *dataset = (criteo_dataset *)base;
  hr_text_stream_close(dataset->stream);
  free(dataset->path);
  free(dataset);
}

static hotrow_status count_lines(const char *path, uint64_t *count_p)
{
  hr_text_stream *stream;
  char *line;
  size_t size;
  HOTROW_TRY(hr_text_stream_open(path, &stream));
  hotrow_status status;
  do
    status = hr_text_stream_next(stream, &line, &size);
  while (status == HOTROW_OK && line);
  *count_p = hr_text_stream_line(stream);
  hr_text_stream_close(stream);
  if (status == HOTROW_OK && *count_p > HR_SAMPLES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%s has %llu lines, the limit is %llu", path, (unsigned long long)*count_p,
                   (unsigned long long)HR_SAMPLES_MAX);
  return status;
}

/* Reads the file once to count its lines: a split is a share of them. */
static hotrow_status criteo_open(const hr_dataset_options *options, hr_dataset **dataset_p)
{
  criteo_dataset *dataset;
  uint64_t end;
  HOTROW_TRY(hr_alloc(1, sizeof *dataset, "criteo data set", (void **)&dataset));
  dataset->base.info = (hr_dataset_info){"criteo", FIELD_COUNT, INTEGER_COUNT, 0, 0};
  hotrow_status status = HOTROW_OK;
  dataset->path = strdup(options->path);
  if (!dataset->path)
    status = hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for the name of %s", options->path);
  if (status == HOTROW_OK)
    status = count_lines(options->path, &dataset->line_count);
  if (status == HOTROW_OK) {
    hr_split_range(dataset->line_count, options->split, &dataset->begin, &end);
    dataset->base.info.sample_count = end - dataset->begin;
    status = criteo_rewind(&dataset->base, 0);
  }
  if (status != HOTROW_OK) {
    criteo_close(&dataset->base);
    return status;
  }
  *dataset_p = &dataset->base;
  return HOTROW_OK;
}

const hr_dataset_format hr_format_criteo = {
    .looks = "criteo: 40 columns separated by tabs",
    .recognise = criteo_recognise,
    .open = criteo_open,
    .close = criteo_close,
    .read = criteo_read,
    .skip = criteo_skip,
    .rewind = criteo_rewind,
};
