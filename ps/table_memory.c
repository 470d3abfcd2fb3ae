#include "table_memory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <hr/assert.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define HELPER_BYTES ((size_t)1 << 20) /* used of an array before a table has a helper */
#define LEAD_SHIFT 3u                  /* the helper is ahead by an eighth of what is used, within these: */
#define LEAD_BYTES_MIN ((size_t)8 << 20)
#define LEAD_BYTES_MAX ((size_t)64 << 20)

static size_t round_up(size_t size_bytes)
{
  return (size_bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

static size_t lead_of(size_t used_bytes)
{
  size_t lead = used_bytes >> LEAD_SHIFT;
  lead = lead < LEAD_BYTES_MIN ? LEAD_BYTES_MIN : lead;
  return round_up(lead < LEAD_BYTES_MAX ? lead : LEAD_BYTES_MAX);
}

void hr_table_memory_init(hr_table_memory *memory)
{
  memset(memory, 0, sizeof *memory);
  memory->can_have_helper = sem_init(&memory->wake, 0, 0) == 0;
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
  array->wake_bytes = HELPER_BYTES;
  madvise(bytes, size, MADV_NOHUGEPAGE); /* advice: other pages give the same results */
  *memory_p = bytes;
  return HOTROW_OK;
}

/* Makes the next huge page of an array ready. False if there is nothing to do, or it cannot be done. */
static bool make_ready(hr_array *array)
{
  size_t used = atomic_load_explicit(&array->used_bytes, memory_order_relaxed);
  if (used == 0)
    return false;
  size_t lead = lead_of(used), reached = round_up(used), wanted = reached + lead;
  wanted = wanted < array->size_bytes ? wanted : array->size_bytes;
  /* A page that the table's thread may come to meanwhile would be made by that, all of it at once. */
  size_t nearest = round_up(reached + lead / 2);
  if (array->ready_bytes < nearest)
    array->ready_bytes = nearest;
  if (array->ready_bytes >= wanted)
    return false;
  uint8_t *page = array->bytes + array->ready_bytes;
  array->ready_bytes += HUGE_PAGE_BYTES;
  HOTROW_ASSERT(array->ready_bytes <= array->size_bytes);
  madvise(page, HUGE_PAGE_BYTES, MADV_HUGEPAGE);
  return madvise(page, HUGE_PAGE_BYTES, MADV_POPULATE_WRITE) == 0;
}

/* Pages that the table's thread has filled may become huge when the kernel gets round to it. */
static void advise_filled(hr_array *array)
{
  size_t filled = atomic_load_explicit(&array->used_bytes, memory_order_relaxed) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
  if (filled > array->advised_bytes)
    madvise(array->bytes + array->advised_bytes, filled - array->advised_bytes, MADV_HUGEPAGE);
  array->advised_bytes = filled;
}

static void *run_helper(void *context)
{
  hr_table_memory *memory = context;
  for (;;) {
    while (sem_wait(&memory->wake) != 0)
      HOTROW_ASSERT(errno == EINTR);
    bool goes_on = true;
    while (goes_on) {
      goes_on = false;
      for (size_t i = 0; i < HR_ARRAY_COUNT; i++) {
        if (atomic_load_explicit(&memory->is_ending, memory_order_relaxed))
          return NULL;
        goes_on |= make_ready(&memory->arrays[i]);
      }
    }
    for (size_t i = 0; i < HR_ARRAY_COUNT; i++)
      advise_filled(&memory->arrays[i]);
  }
}

static void start_helper(hr_table_memory *memory)
{
  sigset_t all, before;
  sigfillset(&all); /* the program's signals are for its own threads */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  memory->has_helper = pthread_create(&memory->helper, NULL, run_helper, memory) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
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
