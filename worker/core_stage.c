#include "core_stage.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/status.h>

#define STAGE_ALIGNMENT ((size_t)256)
#define STAGE_BYTES_MIN ((size_t)64 << 10)

hotrow_status hr_stage_init(hr_stage *stage, const hotrow_kernels *kernels, void *stream)
{
  *stage = (hr_stage){.kernels = kernels, .stream = stream};
  return kernels->event_create(&stage->event);
}

static void free_memory(hr_stage *stage)
{
  stage->kernels->free_host(stage->host);
  stage->kernels->free(stage->device);
  stage->host = stage->device = NULL;
  stage->capacity = 0;
}

void hr_stage_fini(hr_stage *stage)
{
  if (!stage->kernels)
    return;
  stage->kernels->synchronize(stage->stream);
  free_memory(stage);
  stage->kernels->event_destroy(stage->event);
  *stage = (hr_stage){0};
}

size_t hr_stage_size(size_t size_bytes)
{
  return (size_bytes + STAGE_ALIGNMENT - 1) / STAGE_ALIGNMENT * STAGE_ALIGNMENT;
}

static hotrow_status grow(hr_stage *stage, size_t size_bytes)
{
  void *host, *device;
  size_t capacity = size_bytes + size_bytes / 4 < STAGE_BYTES_MIN ? STAGE_BYTES_MIN : size_bytes + size_bytes / 4;
  HOTROW_TRY(stage->kernels->synchronize(stage->stream)); /* the device may still read what is there */
  free_memory(stage);
  HOTROW_TRY(stage->kernels->alloc_host(capacity, &host));
  hotrow_status status = stage->kernels->alloc(capacity, &device);
  if (status != HOTROW_OK) {
    stage->kernels->free_host(host);
    return status;
  }
  stage->host = host;
  stage->device = device;
  stage->capacity = capacity;
  return HOTROW_OK;
}

hotrow_status hr_stage_begin(hr_stage *stage, size_t size_bytes)
{
  HOTROW_TRY(stage->kernels->event_wait(stage->event));
  stage->used = 0;
  return size_bytes > stage->capacity ? grow(stage, size_bytes) : HOTROW_OK;
}

hotrow_status hr_stage_put(hr_stage *stage, const void *array, size_t size_bytes, const void **device_p)
{
  if (!array) {
    *device_p = NULL;
    return HOTROW_OK;
  }
  size_t at = stage->used, size = hr_stage_size(size_bytes);
  HOTROW_ASSERT(size <= stage->capacity - at);
  stage->used += size;
  if (size_bytes > 0)
    memcpy(stage->host + at, array, size_bytes);
  HOTROW_TRY(stage->kernels->copy_in(stage->device + at, stage->host + at, size_bytes, stage->stream));
  *device_p = stage->device + at;
  return HOTROW_OK;
}

hotrow_status hr_stage_end(hr_stage *stage)
{
  return stage->kernels->event_record(stage->event, stage->stream);
}
