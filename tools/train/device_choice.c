#include "device_choice.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/status.h>

#define INDEX_MAX 1023ul
#define CUDA "cuda"

hotrow_status hr_device_parse(const char *text, hr_device_choice *choice_p)
{
  *choice_p = (hr_device_choice){.device = HOTROW_CPU};
  if (strcmp(text, "cpu") == 0)
    return HOTROW_OK;
  choice_p->device = HOTROW_CUDA;
  if (strcmp(text, CUDA) == 0)
    return HOTROW_OK;
  const char *digits = text + sizeof CUDA; /* behind the colon */
  char *end = NULL;
  if (strncmp(text, CUDA ":", sizeof CUDA) == 0 && *digits >= '0' && *digits <= '9') {
    const unsigned long index = strtoul(digits, &end, 10);
    choice_p->has_index = *end == '\0' && index <= INDEX_MAX;
    choice_p->index = choice_p->has_index ? (uint32_t)index : 0;
  }
  if (!choice_p->has_index)
    return hr_fail(HOTROW_ERR_INVALID, "device \"%s\": want cpu, cuda or cuda:N, the N-th of them from 0 to %lu", text,
                   INDEX_MAX);
  return HOTROW_OK;
}

uint32_t hr_device_choose(const hr_device_choice *choice, uint32_t local_rank, uint32_t count)
{
  HOTROW_ASSERT(count > 0);
  return choice->has_index ? choice->index : local_rank % count;
}
