#include "server_watch.h"

#include <errno.h>
#include <time.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/thread.h>

#include "process_memory.h"
#include "server_memory.h"

#define MS_NS ((uint64_t)1000000)
#define LOOK_SHARE 50u /* of a processor looks may take one part: malloc takes long where it keeps many pieces */
#define RETRY_MS 20u   /* while memory is moved */
#define TRIES_MAX 500u

void hr_watch_init(hr_watch *w, const hr_watch_calls *calls, uint64_t memory_bytes, uint32_t shards)
{
  w->calls = *calls;
  w->memory_bytes = memory_bytes;
  w->shards = shards;
  w->program_bytes = hr_process_program_bytes();
  sem_init(&w->end, 0, 0);
}

/* False: memory was moved meanwhile, and it was not looked at, or not to be believed. */
static bool measure(hr_watch *w, bool is_last_try, hr_process_memory *memory_p)
{
  if (!is_last_try && w->calls.is_moving(w->calls.context))
    return false;
  w->calls.ask_storages(w->calls.context);
  hr_process_measure(memory_p);
  if (w->memory_bytes > 0 && memory_p->resident_bytes > w->memory_bytes) {
    hr_process_trim();
    hr_process_measure(memory_p);
  }
  return is_last_try || !w->calls.is_moving(w->calls.context);
}

/* What the process has too much its shards have less. */
static void tell(hr_watch *w, const hr_process_memory *memory)
{
  hotrow_shard_counts sum = {0}, seen = {0};
  w->calls.add_shards(w->calls.context, &sum);
  hr_process_counts counts = hr_process_add_up(memory, w->program_bytes, sum.memory_bytes, sum.heap_bytes);
  seen.process_bytes = counts.resident_bytes;
  seen.program_bytes = counts.program_bytes;
  seen.other_bytes = counts.other_bytes;
  seen.kept_bytes = counts.kept_bytes;
  seen.counted_bytes = counts.counted_bytes;
  hr_counts_publish(&w->seen, &seen);
  if (w->memory_bytes > 0)
    atomic_store_explicit(&w->foreign_bytes, hr_memory_foreign(memory->resident_bytes, sum.taken_bytes, w->shards),
                          memory_order_relaxed);
}

static void look(hr_watch *w)
{
  hr_process_memory memory = {0};
  measure(w, true, &memory);
  tell(w, &memory);
}

void hr_watch_look(hr_watch *w)
{
  HOTROW_ASSERT(!w->has_thread);
  uint64_t now_ns = hr_now_ns();
  if (w->looked_ns != 0 && now_ns - w->looked_ns < HR_WATCH_EVERY_MS * MS_NS)
    return;
  w->looked_ns = now_ns;
  look(w);
}

/* False: it has ended. */
static bool wait_ms(hr_watch *w, uint64_t ms)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  uint64_t ns = (uint64_t)until.tv_nsec + ms * MS_NS;
  until.tv_sec += (time_t)(ns / (1000 * MS_NS));
  until.tv_nsec = (long)(ns % (1000 * MS_NS));
  while (sem_clockwait(&w->end, CLOCK_MONOTONIC, &until) != 0)
    if (errno != EINTR)
      return true;
  return false;
}

/* That this thread had. */
static uint64_t processor_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000 * MS_NS + (uint64_t)now.tv_nsec;
}

static void *run_watch(void *context)
{
  hr_watch *w = context;
  uint64_t ms = HR_WATCH_EVERY_MS;
  bool goes_on = wait_ms(w, ms);
  while (goes_on) {
    hr_process_memory memory = {0};
    uint64_t begin_ns = processor_ns();
    for (uint32_t tries = 1; goes_on && !measure(w, tries == TRIES_MAX, &memory); tries++)
      goes_on = wait_ms(w, RETRY_MS);
    if (!goes_on)
      break;
    tell(w, &memory);
    ms = (processor_ns() - begin_ns) * LOOK_SHARE / MS_NS;
    goes_on = wait_ms(w, ms > HR_WATCH_EVERY_MS ? ms : HR_WATCH_EVERY_MS);
  }
  return NULL;
}

hotrow_status hr_watch_start(hr_watch *w)
{
  look(w);
  HOTROW_TRY(hr_thread_start(HR_THREAD_FOREGROUND, "memory watch", run_watch, w, &w->thread));
  w->has_thread = true;
  return HOTROW_OK;
}

void hr_watch_stop(hr_watch *w)
{
  if (!w->has_thread)
    return;
  sem_post(&w->end);
  pthread_join(w->thread, NULL);
  w->has_thread = false;
}

void hr_watch_tell(hr_watch *w, hr_shard *shard)
{
  hotrow_shard_counts seen;
  hr_counts_read(&w->seen, &seen);
  hr_process_counts counts = {seen.process_bytes, seen.program_bytes, seen.other_bytes, seen.kept_bytes,
                              seen.counted_bytes};
  hr_shard_count_process(shard, &counts);
  if (w->memory_bytes > 0)
    hr_shard_count_foreign(shard, atomic_load_explicit(&w->foreign_bytes, memory_order_relaxed));
}
