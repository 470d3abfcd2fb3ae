#include "announce_log.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "shard.h"

_Static_assert((size_t)HR_ANNOUNCE_LOG_COUNT_MAX *(sizeof(uint64_t) + sizeof(uint32_t)) +
                       HR_WIRE_ANNOUNCE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES <=
                   HR_WIRE_ANNOUNCE_BYTES_MAX,
               "a full log fits into one reply");

hotrow_status hr_announce_log_init(hr_announce_log *log, uint32_t count_max)
{
  count_max = count_max ? count_max : HR_ANNOUNCE_LOG_COUNT_DEFAULT;
  if (count_max > HR_ANNOUNCE_LOG_COUNT_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "announcement log of %u, the limit is %u", count_max, HR_ANNOUNCE_LOG_COUNT_MAX);
  uint32_t rounded = 1;
  while (rounded < count_max)
    rounded *= 2;
  void *ring;
  HOTROW_TRY(hr_map(rounded * sizeof(hr_announcement), "announcement log", &ring));
  *log = (hr_announce_log){.ring = ring, .count_max = rounded, .next = 1};
  return HOTROW_OK;
}

void hr_announce_log_fini(hr_announce_log *log)
{
  hr_unmap(log->ring, log->count_max * sizeof(hr_announcement));
  *log = (hr_announce_log){0};
}

void hr_announce_log_count(const hr_announce_log *log, uint64_t first, uint32_t *counts_p, uint32_t *gone_p,
                           size_t table_count)
{
  HOTROW_ASSERT(first >= hr_announce_log_first(log) && first <= log->next);
  memset(counts_p, 0, table_count * sizeof *counts_p);
  memset(gone_p, 0, table_count * sizeof *gone_p);
  for (uint64_t number = first; number < log->next; number++) {
    uint32_t table = hr_announce_log_at(log, number)->table, id = table & ~HR_ANNOUNCE_GONE;
    HOTROW_ASSERT(id < table_count || table == HR_ANNOUNCE_STRUCK);
    if (table == HR_ANNOUNCE_STRUCK)
      continue;
    if (table & HR_ANNOUNCE_GONE)
      gone_p[id]++;
    else
      counts_p[id]++;
  }
}

void hr_announce_log_copy(const hr_announce_log *log, uint64_t first, const hr_announce_arrays *arrays,
                          size_t table_count)
{
  HOTROW_ASSERT(first >= hr_announce_log_first(log) && table_count <= HR_SHARD_TABLES_MAX);
  uint32_t filled[HR_SHARD_TABLES_MAX] = {0}, gone[HR_SHARD_TABLES_MAX] = {0};
  for (uint64_t number = first; number < log->next; number++) {
    const hr_announcement *a = hr_announce_log_at(log, number);
    if (a->table == HR_ANNOUNCE_STRUCK)
      continue;
    uint32_t id = a->table & ~HR_ANNOUNCE_GONE;
    if (a->table & HR_ANNOUNCE_GONE) {
      arrays[id].gone[gone[id]++] = a->key;
    } else {
      arrays[id].keys[filled[id]] = a->key;
      arrays[id].clocks[filled[id]++] = a->clock;
    }
  }
}
