/* Which device a worker uses: what --device says, and where it leaves that open, one after the other. */
#ifndef HR_DEVICE_CHOICE_H
#define HR_DEVICE_CHOICE_H

#include <hotrow/hotrow.h>

typedef struct hr_device_choice {
  hotrow_device device;
  bool has_index;
  uint32_t index;
} hr_device_choice;

/* "cpu", "cuda", or "cuda:1": that one of them. HOTROW_ERR_INVALID */
hotrow_status hr_device_parse(const char *text, hr_device_choice *choice_p);

/* The index among `count` devices (at least 1) of the worker that is the local_rank-th of its machine: the one that is
 * named, or else workers take them in turn. */
uint32_t hr_device_choose(const hr_device_choice *choice, uint32_t local_rank, uint32_t count);

#endif
