#include "table_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <hr/assert.h>
#include <hr/thread.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define HELPER_BYTES ((size_t)1 << 20) /* used of an array before a table has a helper */
#define LEAD_SHIFT 3u                  /* the helper is ahead by an eighth of what is used, within these: */
#define LEAD_BYTES_MIN ((size_t)8 << 20)
#define LEAD_BYTES_MAX ((size_t)64 << 20)
#define SAVING_HELPER_BYTES ((size_t)16 << 20) /* where memory is short: an eighth of it is one huge page */

static size_t round_up(size_t size_bytes)
{
  return (size_bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

static size_t lead_of(const hr_table_memory *memory, size_t used_bytes)
{
  size_t lead = used_bytes >> LEAD_SHIFT;
  lead = lead < memory->lead_bytes_min ? memory->lead_bytes_min : lead;
  return round_up(lead < LEAD_BYTES_MAX ? lead : LEAD_BYTES_MAX);
}

void hr_table_memory_init(hr_table_memory *memory)
{
  memset(memory, 0, sizeof *memory);
  memory->can_have_helper = sem_init(&memory->wake, 0, 0) == 0;
  memory->helper_bytes = HELPER_BYTES;
  memory->lead_bytes_min = LEAD_BYTES_MIN;
  atomic_store_explicit(&memory->touches_ahead, true, memory_order_relaxed);
  for (size_t i = 0; i < HR_ARRAY_COUNT; i++)
    memory->arrays[i].wake_bytes = SIZE_MAX;
}

hotrow_status hr_table_memory_map(hr_table_memory *memory, hr_array_kind kind, size_t size_bytes, const char *what,
                                  void **memory_p)
{
  hr_array *array = &memory->arrays[kind];
  HOTROW_ASSERT(!array->bytes);
  if (size_bytes > SIZE_MAX / 2)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: its size does not fit in the address space", what);
  size_t size = round_up(size_bytes ? size_bytes : 1);
  void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes == MAP_FAILED)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: cannot reserve %zu bytes: %s", what, size, strerror(errno));
  array->bytes = bytes;
  array->size_bytes = size;
  array->wake_bytes = memory->helper_bytes;
  madvise(bytes, size, MADV_NOHUGEPAGE); /* advice: other pages give the same results */
  *memory_p = bytes;
  return HOTROW_OK;
}

/* Makes the next huge page of an array ready. False if there is nothing to do, or it cannot be done. */
static bool make_ready(const hr_table_memory *memory, hr_array *array)
{
  size_t used = atomic_load_explicit(&array->used_bytes, memory_order_relaxed);
  if (used == 0 || !atomic_load_explicit(&memory->touches_ahead, memory_order_relaxed))
    return false;
  size_t lead = lead_of(memory, used), reached = round_up(used), wanted = reached + lead;
  wanted = wanted < array->size_bytes ? wanted : array->size_bytes;
  /* A page that the table's thread may come to meanwhile would be made by that, all of it at once. */
  size_t nearest = round_up(reached + lead / 2);
  size_t ready = atomic_load_explicit(&array->ready_bytes, memory_order_relaxed);
  if (ready < nearest) {
    ready = nearest;
    atomic_store_explicit(&array->left_bytes, nearest, memory_order_relaxed);
  }
  uint8_t *page = array->bytes + ready;
  bool is_needed = ready < wanted;
  atomic_store_explicit(&array->ready_bytes, ready + (is_needed ? HUGE_PAGE_BYTES : 0), memory_order_relaxed);
  if (!is_needed)
    return false;
  HOTROW_ASSERT(ready + HUGE_PAGE_BYTES <= array->size_bytes);
  madvise(page, HUGE_PAGE_BYTES, MADV_HUGEPAGE);
  return madvise(page, HUGE_PAGE_BYTES, MADV_POPULATE_WRITE) == 0;
}

static size_t filled_bytes(const hr_array *array)
{
  return atomic_load_explicit(&array->used_bytes, memory_order_relaxed) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

/* Pages that the table's thread has filled before the helper came to them become huge now: a row at random costs
 * several times as much in small ones. A kernel that cannot do it at once (before 6.1) does when it gets round to it.
 * False if there is none.
 */
static bool make_huge(hr_array *array)
{
  size_t filled = filled_bytes(array), advised = atomic_load_explicit(&array->advised_bytes, memory_order_relaxed);
  if (advised >= filled)
    return false;
  madvise(array->bytes + advised, HUGE_PAGE_BYTES, MADV_HUGEPAGE);
  madvise(array->bytes + advised, HUGE_PAGE_BYTES, MADV_COLLAPSE);
  /* Unless some went back meanwhile. */
  atomic_compare_exchange_strong_explicit(&array->advised_bytes, &advised, advised + HUGE_PAGE_BYTES,
                                          memory_order_relaxed, memory_order_relaxed);
  return true;
}

/* One page. The index comes before the rows: it takes the least an insert, and a split touches a whole segment of it at
 * once. What is filled waits until nothing else does. False if there is nothing to do. */
static bool help(hr_table_memory *memory)
{
  for (size_t i = HR_ARRAY_COUNT; i-- > 0;)
    if (make_ready(memory, &memory->arrays[i]))
      return true;
  for (size_t i = HR_ARRAY_COUNT; i-- > 0;)
    if (make_huge(&memory->arrays[i]))
      return true;
  return false;
}

static void *run_helper(void *context)
{
  hr_table_memory *memory = context;
  while (!atomic_load_explicit(&memory->is_ending, memory_order_relaxed))
    if (!help(memory))
      while (sem_wait(&memory->wake) != 0)
        HOTROW_ASSERT(errno == EINTR);
  return NULL;
}

static void start_helper(hr_table_memory *memory)
{
  memory->has_helper =
      hr_thread_start(HR_THREAD_FOREGROUND, "table memory", run_helper, memory, &memory->helper) == HOTROW_OK;
  memory->can_have_helper = memory->has_helper;
}

void hr_table_memory_wake(hr_table_memory *memory, hr_array_kind kind, size_t used_bytes)
{
  hr_array *array = &memory->arrays[kind];
  array->wake_bytes = used_bytes + HUGE_PAGE_BYTES;
  atomic_store_explicit(&array->used_bytes, used_bytes, memory_order_relaxed);
  if (memory->can_have_helper && !memory->has_helper)
    start_helper(memory);
  if (memory->has_helper)
    sem_post(&memory->wake);
}

void hr_table_memory_save(hr_table_memory *memory)
{
  memory->helper_bytes = SAVING_HELPER_BYTES;
  memory->lead_bytes_min = HUGE_PAGE_BYTES;
  for (size_t i = 0; i < HR_ARRAY_COUNT; i++)
    memory->arrays[i].wake_bytes = SAVING_HELPER_BYTES;
}

size_t hr_table_memory_ahead(const hr_table_memory *memory, hr_array_kind kind, size_t used_bytes)
{
  const hr_array *array = &memory->arrays[kind];
  size_t ready = atomic_load_explicit(&array->ready_bytes, memory_order_relaxed);
  size_t left = atomic_load_explicit(&array->left_bytes, memory_order_relaxed);
  size_t from = used_bytes > left ? used_bytes : left;
  return ready > from ? ready - from : 0;
}

static size_t larger(size_t a, size_t b)
{
  return a > b ? a : b;
}

/* The table's thread does not wait for the helper, who may be waiting for a processor. What the helper touches of this
 * array just now, a page, goes back with the next call. */
void hr_table_memory_shrink(hr_table_memory *memory, hr_array_kind kind, size_t used_bytes, size_t used_bytes_before)
{
  hr_array *array = &memory->arrays[kind];
  size_t kept = round_up(used_bytes), ready = atomic_load_explicit(&array->ready_bytes, memory_order_relaxed);
  atomic_store_explicit(&memory->touches_ahead, false, memory_order_relaxed);
  atomic_store_explicit(&array->used_bytes, used_bytes, memory_order_relaxed);
  array->touched_bytes = larger(array->touched_bytes, larger(round_up(used_bytes_before), ready));
  if (kept < array->touched_bytes)
    madvise(array->bytes + kept, array->touched_bytes - kept, MADV_DONTNEED);
  if (ready > kept)
    atomic_store_explicit(&array->ready_bytes, kept, memory_order_relaxed);
  if (atomic_load_explicit(&array->advised_bytes, memory_order_relaxed) > kept)
    atomic_store_explicit(&array->advised_bytes, kept, memory_order_relaxed);
  array->wake_bytes = larger(used_bytes + HUGE_PAGE_BYTES, memory->helper_bytes);
}

void hr_table_memory_fini(hr_table_memory *memory)
{
  if (memory->has_helper) {
    atomic_store_explicit(&memory->is_ending, true, memory_order_relaxed);
    sem_post(&memory->wake);
    pthread_join(memory->helper, NULL);
  }
  for (size_t i = 0; i < HR_ARRAY_COUNT; i++)
    if (memory->arrays[i].bytes)
      munmap(memory->arrays[i].bytes, memory->arrays[i].size_bytes);
  sem_destroy(&memory->wake);
}
