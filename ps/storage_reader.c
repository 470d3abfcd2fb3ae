/* Rows read on a thread of their own, one read after the other, while the shard goes on. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/thread.h>

#include "row_read.h"
#include "storage_state.h"

/* ---- the reader's thread ---- */

/* The event first, as of a slot: none is left over when all reads have been taken. */
static void finish(hr_rocksdb *s, uint64_t done_count)
{
  uint64_t one = 1;
  ssize_t written = write(s->event_fd, &one, sizeof one);
  HOTROW_ASSERT(written == (ssize_t)sizeof one);
  atomic_store_explicit(&s->reader.done_count, done_count, memory_order_release);
}

static void *run_reader(void *context)
{
  hr_rocksdb *s = context;
  hr_reader *reader = &s->reader;
  for (uint64_t number = 0;; number++) {
    while (sem_wait(&reader->asked) != 0)
      ;
    if (atomic_load_explicit(&reader->is_ending, memory_order_acquire))
      return NULL;
    hr_row_read_run(reader->ring[number % HR_READS_MAX], &s->calls);
    finish(s, number + 1);
  }
}

/* ---- the shard's thread ---- */

static void ask_rows(void *context, hr_row_read *read)
{
  hr_reader *reader = &((hr_rocksdb *)context)->reader;
  HOTROW_ASSERT(reader->asked_count - reader->taken_count < HR_READS_MAX);
  reader->ring[reader->asked_count++ % HR_READS_MAX] = read;
  sem_post(&reader->asked);
}

hr_row_read *hr_rocksdb_take_read(hr_rocksdb *s)
{
  hr_reader *reader = &s->reader;
  if (atomic_load_explicit(&reader->done_count, memory_order_acquire) == reader->taken_count)
    return NULL;
  uint64_t count;
  ssize_t got = read(s->event_fd, &count, sizeof count);
  HOTROW_ASSERT(got == (ssize_t)sizeof count && count == 1);
  return reader->ring[reader->taken_count++ % HR_READS_MAX];
}

bool hr_rocksdb_is_reading(const hr_rocksdb *s)
{
  return s->reader.asked_count > s->reader.taken_count;
}

hotrow_status hr_rocksdb_start_reader(hr_rocksdb *s)
{
  hr_reader *reader = &s->reader;
  sem_init(&reader->asked, 0, 0);
  HOTROW_TRY(hr_thread_start(HR_THREAD_FOREGROUND, "row reader", run_reader, s, &reader->thread));
  reader->has_thread = true;
  s->calls.ask_rows = ask_rows;
  return HOTROW_OK;
}

void hr_rocksdb_stop_reader(hr_rocksdb *s)
{
  hr_reader *reader = &s->reader;
  if (!reader->has_thread)
    return;
  atomic_store_explicit(&reader->is_ending, true, memory_order_release);
  sem_post(&reader->asked);
  pthread_join(reader->thread, NULL);
  sem_destroy(&reader->asked);
  reader->has_thread = false;
  while (hr_rocksdb_take_read(s)) /* nobody asks for these any more, and no event is left of them */
    ;
}
