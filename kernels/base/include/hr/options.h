/* Option structs: first field struct_size, a zero field means its default, new fields go at the end. */
#ifndef HR_OPTIONS_H
#define HR_OPTIONS_H

#include <stddef.h>
#include <string.h>

#include <hr/status.h>

/* A new field must never land in an old struct's padding, or an old caller's garbage becomes an option. */
#define HR_NO_TAIL_PADDING(type, last)                                                                                 \
  _Static_assert(sizeof(type) == offsetof(type, last) + sizeof(((type *)0)->last), #type " has tail padding")

/* Copies what the caller's version of the struct has over zeroes, and refuses a struct without its size. */
static inline hotrow_status hr_options_copy(void *to, size_t to_size, const void *from, size_t from_size,
                                            const char *name)
{
  if (from_size < sizeof(size_t) || from_size > 4096)
    return hr_fail(HOTROW_ERR_INVALID, "%s has struct_size %zu: start from its _INIT macro", name, from_size);
  memset(to, 0, to_size);
  memcpy(to, from, from_size < to_size ? from_size : to_size);
  return HOTROW_OK;
}

#endif
