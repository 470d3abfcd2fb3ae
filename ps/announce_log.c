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

void hr_announce_log_count(const hr_announce_log *log, uint64_t first, uint32_t *counts_p, size_t table_count)
{
  HOTROW_ASSERT(first >= hr_announce_log_first(log) && first <= log->next);
  memset(counts_p, 0, table_count * sizeof *counts_p);
  for (uint64_t number = first; number < log->next; number++) {
    uint32_t table = hr_announce_log_at(log, number)->table;
    HOTROW_ASSERT(table < table_count || table == HR_ANNOUNCE_STRUCK);
    if (table != HR_ANNOUNCE_STRUCK)
      counts_p[table]++;
  }
}

void hr_announce_log_copy(const hr_announce_log *log, uint64_t first, uint64_t *const *keys, uint32_t *const *clocks,
                          size_t table_count)
{
  HOTROW_ASSERT(first >= hr_announce_log_first(log) && table_count <= HR_SHARD_TABLES_MAX);
  uint32_t filled[HR_SHARD_TABLES_MAX] = {0};
  for (uint64_t number = first; number < log->next; number++) {
    const hr_announcement *a = hr_announce_log_at(log, number);
    if (a->table == HR_ANNOUNCE_STRUCK)
      continue;
    keys[a->table][filled[a->table]] = a->key;
    clocks[a->table][filled[a->table]++] = a->clock;
  }
}
