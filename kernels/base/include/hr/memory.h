/* Host memory. Large arrays are reserved as address space and cost memory only once touched. */
#ifndef HR_MEMORY_H
#define HR_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include <hr/status.h>

/* `count` zeroed elements aligned to 64 bytes; HOTROW_ERR_NO_MEMORY, naming `what`, when the product overflows or
 * memory ran out. count 0 gives a pointer that may be freed. Free with free(). */
hotrow_status hr_alloc(size_t count, size_t element_size, const char *what, void **memory_p);

/* Zeroed address space of at least size_bytes (rounded up to 2 MiB) that takes memory page by page as it is touched,
 * in huge pages where the kernel gives them. HOTROW_ERR_NO_MEMORY. Free with hr_unmap() and the same size. */
hotrow_status hr_map(size_t size_bytes, const char *what, void **memory_p);
void hr_unmap(void *memory, size_t size_bytes); /* accepts NULL */
/* What such an array takes of memory once its first used_bytes are touched: whole huge pages. */
size_t hr_map_touched(size_t used_bytes);

/* a*b, or SIZE_MAX when it does not fit. */
static inline size_t hr_mul(size_t a, size_t b)
{
  size_t product;
  return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

#endif
