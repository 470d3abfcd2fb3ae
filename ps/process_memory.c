#include "process_memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* The system and malloc are asked one after the other. While much comes or goes the two answers are of two moments, so
 * both are asked until neither has changed by more than this part since the time before. */
#define CHANGE_SHARE 100u
#define ASKED_MAX 10
#define PAUSE_NS 2000000

/* Of what malloc keeps, what it has given back by its last trimming and not used since: it goes on counting that. */
static atomic_size_t trimmed_bytes;

static void ask_system(hr_process_memory *m)
{
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file)
    return;
  unsigned long long size = 0, resident = 0, shared = 0;
  uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
  if (fscanf(file, "%llu %llu %llu", &size, &resident, &shared) == 3) {
    m->resident_bytes = resident * page_bytes;
    m->file_bytes = shared * page_bytes;
  }
  fclose(file);
}

static void ask_both(hr_process_memory *m)
{
  *m = (hr_process_memory){0};
  ask_system(m);
  struct mallinfo2 heap = mallinfo2();
  size_t trimmed = atomic_load_explicit(&trimmed_bytes, memory_order_relaxed);
  trimmed = trimmed < heap.fordblks ? trimmed : heap.fordblks;
  atomic_store_explicit(&trimmed_bytes, trimmed, memory_order_relaxed);
  m->heap_bytes = heap.uordblks + heap.hblkhd;
  m->kept_bytes = heap.fordblks - trimmed;
}

static bool is_close(uint64_t a, uint64_t b, uint64_t whole)
{
  return (a > b ? a - b : b - a) <= whole / CHANGE_SHARE;
}

void hr_process_measure(hr_process_memory *memory_p)
{
  const struct timespec pause = {.tv_nsec = PAUSE_NS};
  hr_process_memory before, now;
  ask_both(&now);
  for (int asked = 1; asked < ASKED_MAX; asked++) {
    before = now;
    nanosleep(&pause, NULL);
    ask_both(&now);
    if (is_close(now.resident_bytes, before.resident_bytes, now.resident_bytes) &&
        is_close(now.heap_bytes, before.heap_bytes, now.resident_bytes))
      break;
  }
  *memory_p = now;
}

void hr_process_trim(void)
{
  malloc_trim(0);
  atomic_store_explicit(&trimmed_bytes, mallinfo2().fordblks, memory_order_relaxed);
}

uint64_t hr_process_program_bytes(void)
{
  hr_process_memory m;
  ask_both(&m);
  uint64_t known = m.file_bytes + m.heap_bytes + m.kept_bytes;
  return m.resident_bytes > known ? m.resident_bytes - known : 0;
}

hr_process_counts hr_process_add_up(const hr_process_memory *memory, uint64_t program_bytes, uint64_t shard_bytes,
                                    uint64_t shard_heap_bytes)
{
  hr_process_counts c = {
      .resident_bytes = memory->resident_bytes,
      .program_bytes = program_bytes + memory->file_bytes,
      .other_bytes = memory->heap_bytes > shard_heap_bytes ? memory->heap_bytes - shard_heap_bytes : 0,
      .kept_bytes = memory->kept_bytes,
  };
  /* Not of other_bytes: shards may have said how much they have a moment ago, and have given it back. */
  c.counted_bytes = shard_bytes - shard_heap_bytes + memory->heap_bytes + c.kept_bytes + c.program_bytes;
  return c;
}
