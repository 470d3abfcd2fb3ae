/* The CPU's memory and its function table. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "kernels_impl.h"

/* A block of memory is preceded by one line that says how it was got: large ones are mapped, so that they cost memory
 * only where they are touched. */
typedef struct block_header {
  size_t mapped_bytes; /* 0: from hr_alloc */
  char fill[64 - sizeof(size_t)];
} block_header;

#define MAP_BYTES_MIN ((size_t)2 << 20)

static hotrow_status cpu_alloc(size_t size_bytes, void **memory_p)
{
  HOTROW_ASSERT(memory_p);
  if (size_bytes > SIZE_MAX - sizeof(block_header))
    return hr_fail(HOTROW_ERR_NO_MEMORY, "rows: %zu bytes do not fit in memory", size_bytes);
  size_t total_bytes = size_bytes + sizeof(block_header);
  bool is_mapped = size_bytes >= MAP_BYTES_MIN;
  void *block;
  if (is_mapped)
    HOTROW_TRY(hr_map(total_bytes, "rows", &block));
  else
    HOTROW_TRY(hr_alloc(total_bytes, 1, "rows", &block));
  block_header *header = block;
  header->mapped_bytes = is_mapped ? total_bytes : 0;
  *memory_p = header + 1;
  return HOTROW_OK;
}

static void cpu_free(void *memory)
{
  if (!memory)
    return;
  block_header *header = (block_header *)memory - 1;
  if (header->mapped_bytes > 0)
    hr_unmap(header, header->mapped_bytes);
  else
    free(header);
}

static hotrow_status cpu_copy(void *to, const void *from, size_t size_bytes, void *stream)
{
  (void)stream;
  HOTROW_ASSERT(size_bytes == 0 || (to && from));
  if (size_bytes > 0)
    memcpy(to, from, size_bytes);
  return HOTROW_OK;
}

static hotrow_status cpu_fill(void *memory, uint8_t byte, size_t size_bytes, void *stream)
{
  (void)stream;
  HOTROW_ASSERT(size_bytes == 0 || memory);
  if (size_bytes > 0)
    memset(memory, byte, size_bytes);
  return HOTROW_OK;
}

static hotrow_status cpu_synchronize(void *stream)
{
  (void)stream;
  return HOTROW_OK;
}

/* Calls are over when they return: there is one stream, and every event has happened. */
static hotrow_status cpu_stream_create(bool is_urgent, void **stream_p)
{
  (void)is_urgent;
  *stream_p = NULL;
  return HOTROW_OK;
}

static void cpu_stream_destroy(void *stream)
{
  HOTROW_ASSERT(!stream);
}

static hotrow_status cpu_event_create(void **event_p)
{
  *event_p = NULL;
  return HOTROW_OK;
}

static void cpu_event_destroy(void *event)
{
  HOTROW_ASSERT(!event);
}

static hotrow_status cpu_event_on_stream(void *event, void *stream)
{
  HOTROW_ASSERT(!event && !stream);
  return HOTROW_OK;
}

static hotrow_status cpu_event_wait(void *event)
{
  HOTROW_ASSERT(!event);
  return HOTROW_OK;
}

static hotrow_status cpu_event_query(void *event, bool *has_happened_p)
{
  HOTROW_ASSERT(!event && has_happened_p);
  *has_happened_p = true;
  return HOTROW_OK;
}

static hotrow_status cpu_event_elapsed_ms(void *from, void *to, float *elapsed_ms_p)
{
  HOTROW_ASSERT(!from && !to && elapsed_ms_p);
  *elapsed_ms_p = 0;
  return HOTROW_OK;
}

static uint64_t system_number(int name)
{
  long number = sysconf(name);
  return number > 0 ? (uint64_t)number : 0;
}

static hotrow_status cpu_describe(hotrow_device_info *info_p)
{
  const uint64_t page_bytes = system_number(_SC_PAGESIZE);
  *info_p = (hotrow_device_info){
      .name = "cpu",
      .memory_bytes = system_number(_SC_PHYS_PAGES) * page_bytes,
      .free_bytes = system_number(_SC_AVPHYS_PAGES) * page_bytes,
      .cache_bytes = system_number(_SC_LEVEL3_CACHE_SIZE),
      .processor_count = (uint32_t)system_number(_SC_NPROCESSORS_ONLN),
  };
  return HOTROW_OK;
}

static uint32_t cpu_device_count(void)
{
  return 1;
}

static hotrow_status cpu_device_use(uint32_t index)
{
  return index == 0 ? HOTROW_OK : hr_fail(HOTROW_ERR_INVALID, "device cpu:%u: there is one, cpu:0", index);
}

static const hotrow_kernels cpu_kernels = {
    .device = HOTROW_CPU,
    .name = "cpu",
    .describe = cpu_describe,
    .device_count = cpu_device_count,
    .device_use = cpu_device_use,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .alloc_host = cpu_alloc,
    .free_host = cpu_free,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .synchronize = cpu_synchronize,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .event_create = cpu_event_create,
    .event_create_timed = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_on_stream,
    .event_order = cpu_event_on_stream,
    .event_wait = cpu_event_wait,
    .event_query = cpu_event_query,
    .event_elapsed_ms = cpu_event_elapsed_ms,
    .dedup_scratch_size = hr_cpu_dedup_scratch_size,
    .dedup = hr_cpu_dedup,
    .lower_bounds = hr_cpu_lower_bounds,
    .scan_scratch_size = hr_cpu_scan_scratch_size,
    .scan = hr_cpu_scan,
    .select = hr_cpu_select,
    .probe = hr_cpu_probe,
    .gather = hr_cpu_gather,
    .pool = hr_cpu_pool,
    .pool_backward = hr_cpu_pool_backward,
    .segment_sum = hr_cpu_segment_sum,
    .optimizer_apply = hr_cpu_optimizer_apply,
    .pending_add = hr_cpu_pending_add,
    .segment_sum_apply = hr_cpu_segment_sum_apply,
    .pack = hr_cpu_pack,
    .unpack = hr_cpu_unpack,
    .gather_packed = hr_cpu_gather_packed,
    .scatter_packed = hr_cpu_scatter_packed,
    .find_nonfinite = hr_cpu_find_nonfinite,
    .sum_ranks = hr_cpu_sum_ranks,
    .gather_words = hr_cpu_gather_words,
    .scatter_words = hr_cpu_scatter_words,
    .segment_words = hr_cpu_segment_words,
};

hotrow_status hr_kernels_get_cpu(const hotrow_kernels **kernels_p)
{
  *kernels_p = &cpu_kernels;
  return HOTROW_OK;
}
