#include <hr/memory.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <hr/assert.h>

#define ALIGNMENT_BYTES 64u
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

hotrow_status hr_alloc(size_t count, size_t element_size, const char *what, void **memory_p)
{
  HOTROW_ASSERT(memory_p && element_size > 0);
  size_t size = hr_mul(count, element_size);
  if (size > SIZE_MAX - ALIGNMENT_BYTES)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: %zu elements of %zu bytes do not fit in memory", what, count,
                   element_size);
  size = (size + ALIGNMENT_BYTES) / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
  void *memory = aligned_alloc(ALIGNMENT_BYTES, size);
  if (!memory)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: no memory for %zu bytes", what, size);
  memset(memory, 0, size);
  *memory_p = memory;
  return HOTROW_OK;
}

static size_t round_to_huge_page(size_t size_bytes)
{
  return (size_bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

hotrow_status hr_map(size_t size_bytes, const char *what, void **memory_p)
{
  HOTROW_ASSERT(memory_p);
  if (size_bytes > SIZE_MAX / 2)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: its size does not fit in the address space", what);
  size_t size = round_to_huge_page(size_bytes ? size_bytes : 1);
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: cannot reserve %zu bytes: %s", what, size, strerror(errno));
  madvise(memory, size, MADV_HUGEPAGE); /* advice: 4 KiB pages give the same results more slowly */
  *memory_p = memory;
  return HOTROW_OK;
}

size_t hr_map_touched(size_t used_bytes)
{
  return round_to_huge_page(used_bytes);
}

void hr_unmap(void *memory, size_t size_bytes)
{
  if (memory)
    munmap(memory, round_to_huge_page(size_bytes ? size_bytes : 1));
}
