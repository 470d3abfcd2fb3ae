/* Memory of the emulated device and pinned memory of the host. Each piece of device memory is a mapping of its own that
 * nobody can touch but work that runs: a host that follows a pointer into it dies, as does whoever reads or writes
 * past its end, where a page lies that is never opened. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hr/assert.h>

#include "emulator.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define ALIGNMENT 256u
#define HUGE_BYTES ((size_t)2 << 20)
#define FILL_BYTES_MAX ((size_t)4 << 20)      /* more would make large memory cost what is never used */
#define HOST_ADDRESS_MIN ((uintptr_t)5 << 44) /* below lie numbers, and the shadow of the address sanitizer */
#define RETURNED_MAX 256u                     /* mappings whose addresses are not given out again yet */

typedef struct piece {
  struct piece *next;
  hr_memory_kind kind;
  char *mapping, *memory;
  size_t mapping_bytes, open_bytes, size_bytes;
} piece;

static piece *pieces;
static size_t taken_bytes;
static bool is_open;
static struct {
  char *mapping;
  size_t bytes;
} returned[RETURNED_MAX];
static size_t returned_count;

static size_t round_up(size_t bytes, size_t to)
{
  return (bytes + to - 1) / to * to;
}

/* The bytes between what was asked for and the page that is never opened. */
static size_t slack_bytes(const piece *p)
{
  return (size_t)(p->mapping + p->open_bytes - (p->memory + p->size_bytes));
}

cudaError_t hr_memory_take(size_t size_bytes, hr_memory_kind kind, void **memory_p)
{
  if (size_bytes == 0) {
    *memory_p = NULL;
    return cudaSuccess;
  }
  if (size_bytes > HR_DEVICE_BYTES - taken_bytes)
    return cudaErrorMemoryAllocation;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  piece *p = calloc(1, sizeof *p);
  if (!p)
    return cudaErrorMemoryAllocation;
  p->kind = kind;
  p->size_bytes = size_bytes;
  p->open_bytes = round_up(round_up(size_bytes, ALIGNMENT), page);
  bool is_huge = p->open_bytes >= HUGE_BYTES; /* huge pages open and close at a 512th of the time */
  if (is_huge)
    p->open_bytes = round_up(p->open_bytes, HUGE_BYTES);
  p->mapping_bytes = p->open_bytes + page + (is_huge ? HUGE_BYTES : 0);
  p->mapping = mmap(NULL, p->mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p->mapping == MAP_FAILED) {
    free(p);
    return cudaErrorMemoryAllocation;
  }
  if (is_huge) {
    char *aligned = (char *)round_up((size_t)p->mapping, HUGE_BYTES);
    size_t skipped = (size_t)(aligned - p->mapping);
    if (skipped > 0)
      munmap(p->mapping, skipped);
    if (skipped < HUGE_BYTES)
      munmap(aligned + p->open_bytes + page, HUGE_BYTES - skipped);
    p->mapping = aligned;
    p->mapping_bytes = p->open_bytes + page;
    madvise(p->mapping, p->open_bytes, MADV_HUGEPAGE);
  }
  mprotect(p->mapping + p->open_bytes, page, PROT_NONE);
  p->memory = p->mapping + p->open_bytes - round_up(size_bytes, ALIGNMENT);
  memset(p->memory, HR_RUBBISH, size_bytes < FILL_BYTES_MAX ? size_bytes : FILL_BYTES_MAX);
  memset(p->memory + size_bytes, HR_RUBBISH, slack_bytes(p));
  ASAN_POISON_MEMORY_REGION(p->memory + size_bytes, slack_bytes(p));
  if (kind == HR_ON_DEVICE && !is_open)
    mprotect(p->mapping, p->open_bytes, PROT_NONE);
  p->next = pieces;
  pieces = p;
  taken_bytes += size_bytes;
  *memory_p = p->memory;
  return cudaSuccess;
}

static void check_slack(const piece *p)
{
  const unsigned char *behind = (const unsigned char *)p->memory + p->size_bytes;
  ASAN_UNPOISON_MEMORY_REGION(behind, slack_bytes(p));
  for (size_t i = 0; i < slack_bytes(p); i++)
    if (behind[i] != HR_RUBBISH)
      hr_emulator_stop("byte %zu behind %zu bytes at %p was written to", i, p->size_bytes, (void *)p->memory);
}

void hr_memory_return(void *memory, hr_memory_kind kind)
{
  piece **link = &pieces;
  while (*link && (*link)->memory != memory)
    link = &(*link)->next;
  piece *p = *link;
  if (!p || p->kind != kind)
    hr_emulator_stop("%p is freed and was not allocated so", memory);
  *link = p->next;
  taken_bytes -= p->size_bytes;
  mprotect(p->mapping, p->open_bytes, PROT_READ);
  check_slack(p);
  /* The address stays taken for a while, so that a stale pointer into it finds nothing. */
  size_t at = returned_count++ % RETURNED_MAX;
  if (returned[at].mapping)
    munmap(returned[at].mapping, returned[at].bytes);
  madvise(p->mapping, p->open_bytes, MADV_DONTNEED);
  mprotect(p->mapping, p->mapping_bytes, PROT_NONE);
  returned[at].mapping = p->mapping;
  returned[at].bytes = p->mapping_bytes;
  free(p);
}

hr_memory_kind hr_memory_find(const void *pointer, size_t size_bytes, const char *what)
{
  const char *first = pointer;
  for (const piece *p = pieces; p; p = p->next) {
    if (first < p->memory || first > p->memory + p->size_bytes)
      continue;
    if (size_bytes > (size_t)(p->memory + p->size_bytes - first))
      hr_emulator_stop("%s: %zu bytes at %p, which is %zu before the end of its allocation", what, size_bytes, pointer,
                       (size_t)(p->memory + p->size_bytes - first));
    return p->kind;
  }
  return HR_PAGEABLE;
}

bool hr_memory_is_hosts(const void *address)
{
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  unsigned char is_resident;
  return (uintptr_t)address >= HOST_ADDRESS_MIN && hr_memory_find(address, 0, "a structure") == HR_PAGEABLE &&
         mincore((void *)((uintptr_t)address / page * page), 1, &is_resident) == 0;
}

const char *hr_memory_describe(const void *address)
{
  const char *at = address;
  for (const piece *p = pieces; p; p = p->next)
    if (at >= p->mapping && at < p->mapping + p->mapping_bytes)
      return at >= p->mapping + p->open_bytes ? "what lies behind an allocation" : "device memory, on the host";
  for (size_t i = 0; i < RETURNED_MAX; i++)
    if (returned[i].mapping && at >= returned[i].mapping && at < returned[i].mapping + returned[i].bytes)
      return "memory that is freed";
  return NULL;
}

static void protect(int protection)
{
  for (const piece *p = pieces; p; p = p->next)
    if (p->kind == HR_ON_DEVICE && mprotect(p->mapping, p->open_bytes, protection) != 0)
      hr_emulator_stop("device memory at %p cannot be protected", (void *)p->memory);
}

void hr_memory_open(void)
{
  if (!is_open)
    protect(PROT_READ | PROT_WRITE);
  is_open = true;
}

void hr_memory_close(void)
{
  if (is_open)
    protect(PROT_NONE);
  is_open = false;
}

size_t hr_memory_taken_bytes(void)
{
  return taken_bytes;
}
