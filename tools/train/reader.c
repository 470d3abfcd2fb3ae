#include "reader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/status.h>

#define SKIP_MAX 65536u /* samples passed over between two looks at `stopping` */

struct hr_reader {
  hr_reader_options options;
  uint64_t step_count;
  pthread_t thread;
  hr_batch *batches; /* owned, [options.depth]: batch n of this reader is in batches[n % depth] */

  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t changed;
  uint64_t produced; /* batches read */
  uint64_t taken;    /* batches given to the caller */
  uint64_t released; /* batches that the caller is done with: taken, or one less while it uses one */
  bool ended;        /* the thread reads no more: the end, or `status` */
  bool stopping;
  hotrow_status status;
  char error[HR_ERROR_TEXT_BYTES];
};

uint64_t hr_reader_step_count(const hr_reader *reader)
{
  return reader->step_count;
}

static uint64_t steps_of(const hr_reader_options *options)
{
  uint64_t sample_count = hr_dataset_get_info(options->dataset)->sample_count;
  uint64_t full_batches = sample_count / options->batch_size;
  if (!options->keep_last)
    return full_batches / options->world_size;
  uint64_t batches = full_batches + (sample_count % options->batch_size != 0);
  return (batches + options->world_size - 1 - options->rank) / options->world_size;
}

/* Waits for a free batch; NULL when the reader is closing. */
static hr_batch *wait_for_room(hr_reader *reader)
{
  pthread_mutex_lock(&reader->lock);
  while (reader->produced - reader->released == reader->options.depth && !reader->stopping)
    pthread_cond_wait(&reader->changed, &reader->lock);
  hr_batch *batch = reader->stopping ? NULL : &reader->batches[reader->produced % reader->options.depth];
  pthread_mutex_unlock(&reader->lock);
  return batch;
}

static bool is_stopping(hr_reader *reader)
{
  pthread_mutex_lock(&reader->lock);
  bool stopping = reader->stopping;
  pthread_mutex_unlock(&reader->lock);
  return stopping;
}

static hotrow_status skip_samples(hr_reader *reader, uint64_t count)
{
  while (count > 0 && !is_stopping(reader)) {
    uint64_t part = count < SKIP_MAX ? count : SKIP_MAX;
    HOTROW_TRY(hr_dataset_skip(reader->options.dataset, part));
    count -= part;
  }
  return HOTROW_OK;
}

static hotrow_status read_steps(hr_reader *reader)
{
  const hr_reader_options *options = &reader->options;
  uint64_t position = 0;
  HOTROW_TRY(hr_dataset_rewind(options->dataset, options->epoch));
  for (uint64_t step = options->first_step; step < reader->step_count; step++) {
    hr_batch *batch = wait_for_room(reader);
    uint64_t begin = (step * options->world_size + options->rank) * options->batch_size;
    HOTROW_TRY(skip_samples(reader, begin - position));
    if (!batch || is_stopping(reader))
      return HOTROW_OK;
    HOTROW_TRY(hr_dataset_read(options->dataset, batch));
    HOTROW_ASSERT(batch->count > 0 && (options->keep_last || batch->count == options->batch_size));
    position = begin + batch->count;
    pthread_mutex_lock(&reader->lock);
    reader->produced++;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
  }
  return HOTROW_OK;
}

static void *reader_thread(void *context)
{
  hr_reader *reader = context;
  hotrow_status status = read_steps(reader);
  pthread_mutex_lock(&reader->lock);
  if (status != HOTROW_OK) {
    strncpy(reader->error, hotrow_last_error(), sizeof reader->error - 1);
    reader->status = status;
  }
  reader->ended = true;
  pthread_cond_broadcast(&reader->changed);
  pthread_mutex_unlock(&reader->lock);
  return NULL;
}

static hotrow_status check_options(const hr_reader_options *options)
{
  if (options->batch_size == 0 || options->batch_size > HR_READER_BATCH_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "batch size %zu is not in 1..%u", options->batch_size, HR_READER_BATCH_MAX);
  if (options->rank >= options->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "rank %u is not below the world size %u", options->rank, options->world_size);
  if (options->depth < 2 || options->depth > HR_READER_DEPTH_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "depth %u is not in 2..%u", options->depth, HR_READER_DEPTH_MAX);
  return HOTROW_OK;
}

static void free_reader(hr_reader *reader)
{
  for (uint32_t i = 0; reader->batches && i < reader->options.depth; i++)
    hr_batch_fini(&reader->batches[i]);
  free(reader->batches);
  free(reader);
}

hotrow_status hr_reader_open(const hr_reader_options *options, hr_reader **reader_p)
{
  hr_reader *reader;
  HOTROW_TRY(check_options(options));
  HOTROW_TRY(hr_alloc(1, sizeof *reader, "reader", (void **)&reader));
  reader->options = *options;
  reader->step_count = steps_of(options);
  hotrow_status status = HOTROW_OK;
  if (options->first_step > reader->step_count)
    status = hr_fail(HOTROW_ERR_INVALID, "first step %llu is beyond the %llu steps of an epoch",
                     (unsigned long long)options->first_step, (unsigned long long)reader->step_count);
  if (status == HOTROW_OK)
    status = hr_alloc(options->depth, sizeof *reader->batches, "batches", (void **)&reader->batches);
  for (uint32_t i = 0; status == HOTROW_OK && i < options->depth; i++)
    status = hr_batch_init(&reader->batches[i], hr_dataset_get_info(options->dataset), options->batch_size);
  if (status != HOTROW_OK)
    goto free_reader;

  pthread_mutex_init(&reader->lock, NULL);
  pthread_cond_init(&reader->changed, NULL);
  int error = pthread_create(&reader->thread, NULL, reader_thread, reader);
  if (error) {
    status = hr_fail(HOTROW_ERR_NO_MEMORY, "cannot start the reader's thread: %s", strerror(error));
    goto fini_lock;
  }
  *reader_p = reader;
  return HOTROW_OK;

fini_lock:
  pthread_cond_destroy(&reader->changed);
  pthread_mutex_destroy(&reader->lock);
free_reader:
  free_reader(reader);
  return status;
}

void hr_reader_close(hr_reader *reader)
{
  if (!reader)
    return;
  pthread_mutex_lock(&reader->lock);
  reader->stopping = true;
  pthread_cond_broadcast(&reader->changed);
  pthread_mutex_unlock(&reader->lock);
  pthread_join(reader->thread, NULL);
  pthread_cond_destroy(&reader->changed);
  pthread_mutex_destroy(&reader->lock);
  free_reader(reader);
}

hotrow_status hr_reader_next(hr_reader *reader, const hr_batch **batch_p)
{
  hotrow_status status = HOTROW_OK;
  pthread_mutex_lock(&reader->lock);
  reader->released = reader->taken;
  pthread_cond_broadcast(&reader->changed);
  while (reader->produced == reader->taken && !reader->ended)
    pthread_cond_wait(&reader->changed, &reader->lock);
  if (reader->produced > reader->taken)
    *batch_p = &reader->batches[reader->taken++ % reader->options.depth];
  else if (reader->status == HOTROW_OK)
    *batch_p = NULL;
  else
    status = hr_fail_text(reader->status, reader->error, strlen(reader->error));
  pthread_mutex_unlock(&reader->lock);
  return status;
}

const hr_batch *hr_reader_peek(hr_reader *reader, uint32_t ahead)
{
  const hr_batch *batch = NULL;
  HOTROW_ASSERT(ahead >= 1);
  pthread_mutex_lock(&reader->lock);
  uint64_t number = reader->taken + ahead - 1;
  if (number < reader->produced)
    batch = &reader->batches[number % reader->options.depth];
  pthread_mutex_unlock(&reader->lock);
  return batch;
}
