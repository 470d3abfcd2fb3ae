#include "shard_visit.h"

#include <stdlib.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "shard_memory.h"
#include "shard_park.h"

_Static_assert(HR_PARKED_REQUESTS_MAX + HR_SHARD_TABLES_MAX <= HR_READS_MAX, "a read for each, on their way at once");

static void end(hr_shard *shard, hr_visit *visit)
{
  HOTROW_ASSERT(shard->parking.size_bytes >= hr_row_read_bytes(visit->read));
  shard->parking.size_bytes -= hr_row_read_bytes(visit->read);
  free(visit->read);
  visit->read = NULL;
}

void hr_visit_ask(hr_shard *shard, uint32_t table, size_t row_count)
{
  const hr_storage *storage = shard->options.storage;
  const hr_table *visited = shard->tables[table];
  hr_visit *visit = &shard->visits[table];
  if (visit->read || shard->is_degraded || hr_memory_cold_count(visited) == 0)
    return;
  visit->read = hr_row_read_create(hr_table_get_desc(visited), hr_table_record_floats(visited), row_count);
  if (!visit->read)
    return; /* with another step */
  shard->parking.size_bytes += hr_row_read_bytes(visit->read);
  visit->cut_ended = shard->cut_ended;
  hr_table_ask_visit(visited, visit->read);
  if (storage->ask_rows) {
    storage->ask_rows(storage->context, visit->read);
  } else {
    hr_row_read_run(visit->read, storage);
    hr_visit_take(shard, visit->read);
  }
}

void hr_visit_take(hr_shard *shard, hr_row_read *read)
{
  uint32_t table = read->desc->id;
  hr_visit *visit = &shard->visits[table];
  HOTROW_ASSERT(table < shard->table_count && visit->read == read);
  bool holds = visit->cut_ended == shard->cut_ended || HR_MUTANT(STALE_VISIT);
  if (holds && !shard->is_degraded)
    hr_table_take_visit(shard->tables[table], read);
  end(shard, visit);
}

void hr_visit_end(hr_shard *shard)
{
  for (size_t i = 0; i < shard->table_count; i++)
    if (shard->visits[i].read)
      end(shard, &shard->visits[i]);
}
