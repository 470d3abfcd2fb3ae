#include "shard_memory.h"

#include <hr/assert.h>

#include "key_sort.h"
#include "shard_checkpoint.h"
#include "shard_stats.h"

#define OVER_SHIFT 3u /* over its memory by more than this part, a shard takes no pushes before a cut is durable */
/* A table from which others take memory gives up this part of its rows at least, as giving it back takes the system
 * some time; but no more than take a millisecond. */
#define SHRINK_SHIFT 5u
#define SHRINK_ROWS_MAX ((uint64_t)4096)
#define TRIES_MAX 8
#define KEPT_SHIFT 4u    /* this part of the memory is for rows that come back */
#define LOAD_PERCENT 90u /* of what is free is filled at the start */

size_t hr_memory_used(const hr_shard *shard)
{
  const hr_storage_memory *storage = &shard->counters.storage;
  size_t copies = HR_MEMORY_CUT_COPIES * (hr_shard_dirty_bytes(shard) + shard->memory.in_flight_bytes);
  size_t used =
      hr_shard_buffer_bytes(shard) + (copies > storage->cut_bytes ? copies : storage->cut_bytes) + storage->log_bytes;
  for (size_t i = 0; i < shard->table_count; i++)
    used += hr_table_memory_bytes(shard->tables[i]);
  return used;
}

uint64_t hr_memory_cold_count(const hr_table *table)
{
  return hr_table_get_desc(table)->row_count - hr_table_resident_count(table);
}

static size_t resident_bytes(const hr_table *table)
{
  return hr_table_resident_count(table) * hr_table_row_bytes(table);
}

static bool can_evict(const hr_shard *shard)
{
  const hr_storage *storage = shard->options.storage;
  return storage && storage->get_rows;
}

/* What `count` rows more of a table take: memory for those that there is none for yet, and, of those that are new, and
 * so dirty, copies. Rows that are new leave a part of the memory to rows that only come back: these may go again at
 * once, and so nobody who only reads waits for a cut because others make rows faster than the disk takes them. */
typedef struct demand {
  size_t row_bytes, copy_bytes, kept_bytes;
} demand;

static demand demand_of(const hr_shard *shard, const hr_table *table, uint64_t count, uint64_t new_count)
{
  uint64_t slots = hr_table_slot_count(table) - hr_table_resident_count(table);
  new_count = can_evict(shard) ? new_count : 0;
  return (demand){
      .row_bytes = count > slots ? (count - slots) * hr_table_row_bytes(table) : 0,
      .copy_bytes = HR_MEMORY_CUT_COPIES * new_count * hr_table_record_bytes(table),
      .kept_bytes = new_count > 0 ? shard->options.memory_bytes >> KEPT_SHIFT : 0,
  };
}

/* How many of these rows must be new. If more are, the shard is over its memory until the next request. */
static uint64_t least_new(const hr_table *table, uint64_t count, bool creates)
{
  uint64_t cold = hr_memory_cold_count(table);
  return creates && count > cold ? count - cold : 0;
}

/* By how much the shard would be over its memory. */
static size_t excess_of(const hr_shard *shard, demand d)
{
  size_t used = hr_memory_used(shard) + shard->memory.foreign_bytes + d.row_bytes + d.copy_bytes + d.kept_bytes;
  size_t max = shard->options.memory_bytes;
  return used > max ? used - max : 0;
}

static hr_table *largest(const hr_shard *shard)
{
  hr_table *found = shard->tables[0];
  for (size_t i = 1; i < shard->table_count; i++)
    if (resident_bytes(shard->tables[i]) > resident_bytes(found))
      found = shard->tables[i];
  return found;
}

static void evict(hr_shard *shard, hr_table *table, uint64_t count)
{
  uint64_t evicted = hr_table_evict(table, count);
  shard->counters.rows_evicted += evicted;
  shard->memory.is_exhausted = evicted < count && (shard->cut_in_progress || hr_shard_dirty_bytes(shard) > 0);
}

/* Gives memory back to the system, from the table that has most. */
static void shrink(hr_shard *shard, size_t size_bytes)
{
  hr_table *table = largest(shard);
  uint64_t count = size_bytes / hr_table_row_bytes(table) + 1, least = hr_table_resident_count(table) >> SHRINK_SHIFT;
  least = least < SHRINK_ROWS_MAX ? least : SHRINK_ROWS_MAX;
  evict(shard, table, count > least ? count : least);
  hr_table_give_back(table);
}

static hotrow_status refuse(hr_shard *shard, const hr_table *table, uint64_t count)
{
  unsigned long long mib = shard->options.memory_bytes >> 20;
  const char *name = hr_table_get_desc(table)->name;
  if (can_evict(shard) && !shard->is_degraded && (shard->cut_in_progress || hr_shard_dirty_bytes(shard) > 0)) {
    shard->is_cut_awaited = true;
    return hr_fail(HOTROW_ERR_BUSY, "shard %u has %llu MiB of memory and rows in it that are not durable yet",
                   shard->options.shard_index, mib);
  }
  return hr_fail(HOTROW_ERR_QUOTA, "shard %u has %llu MiB of memory and no room for %llu more rows of table %s",
                 shard->options.shard_index, mib, (unsigned long long)count, name);
}

/* May anything leave for these rows? When a round has found nothing more, new rows wait for the cut. */
static bool may_evict(const hr_shard *shard, uint64_t new_count)
{
  return can_evict(shard) && (new_count == 0 || !shard->memory.is_exhausted);
}

hotrow_status hr_memory_make_room(hr_shard *shard, hr_table *table, uint64_t count, uint64_t new_count)
{
  size_t excess = excess_of(shard, demand_of(shard, table, count, new_count));
  /* More than once, as an index keeps what a row that goes had of it. */
  for (int tries = 0; excess > 0 && tries < TRIES_MAX && may_evict(shard, new_count); tries++) {
    uint64_t evicted_before = shard->counters.rows_evicted;
    demand d = demand_of(shard, table, count, new_count);
    bool is_large = resident_bytes(table) >= resident_bytes(largest(shard)) / 2;
    size_t own_bytes = !is_large ? 0 : d.row_bytes < excess ? d.row_bytes : excess;
    if (own_bytes > 0)
      evict(shard, table, own_bytes / hr_table_row_bytes(table) + 1);
    if (excess > own_bytes && may_evict(shard, new_count))
      shrink(shard, excess - own_bytes);
    if (shard->counters.rows_evicted == evicted_before)
      break;
    excess = excess_of(shard, demand_of(shard, table, count, new_count));
  }
  /* Rows that are there change too, and are copied: over its memory by a part, it takes nothing that may wait. */
  bool is_needed = count > 0 || excess > shard->options.memory_bytes >> OVER_SHIFT;
  return excess > 0 && is_needed ? refuse(shard, table, count) : HOTROW_OK;
}

size_t hr_memory_find_missing(hr_shard *shard, const hr_table *table, const uint64_t *keys, size_t key_count)
{
  uint64_t *missing = shard->memory.missing;
  size_t count = 0, distinct = 0;
  hr_table_find(table, keys, key_count, shard->rows, shard->clocks);
  for (size_t i = 0; i < key_count; i++)
    if (shard->rows[i] == HR_ROW_NONE)
      missing[count++] = keys[i];
  shard->memory.missing_max = count > shard->memory.missing_max ? count : shard->memory.missing_max;
  hr_key_sort(missing, missing + HR_WIRE_KEYS_MAX, count);
  for (size_t i = 0; i < count; i++)
    if (distinct == 0 || missing[i] != missing[distinct - 1])
      missing[distinct++] = missing[i];
  return distinct;
}

void hr_memory_note_whole(hr_shard *shard, const uint64_t *keys)
{
  hr_shard_memory *memory = &shard->memory;
  if (memory->whole_count == 0)
    memory->whole_evicted = shard->counters.rows_evicted;
  if (memory->whole_count < HR_WIRE_DATA_SECTIONS_MAX)
    memory->whole[memory->whole_count++] = keys;
}

/* Was this array of the request in hand looked through already, and has nothing left since? */
static bool is_whole(const hr_shard *shard, const uint64_t *keys)
{
  const hr_shard_memory *memory = &shard->memory;
  bool is_noted = false;
  for (size_t i = 0; i < memory->whole_count && !is_noted; i++)
    is_noted = memory->whole[i] == keys;
  return is_noted && memory->whole_evicted == shard->counters.rows_evicted;
}

static size_t find_missing(hr_shard *shard, const hr_table *table, const uint64_t *keys, size_t key_count)
{
  return is_whole(shard, keys) ? 0 : hr_memory_find_missing(shard, table, keys, key_count);
}

/* Nothing to do if no row of the table is elsewhere and there is room for whatever may be new. */
static bool is_at_ease(const hr_shard *shard, const hr_table *table, size_t key_count)
{
  return hr_memory_cold_count(table) == 0 && excess_of(shard, demand_of(shard, table, key_count, key_count)) == 0;
}

/* Gets the rows of keys that are not in memory, which others may have had to leave: they may be of this request too. In
 * a table with rules who gets a row is not to be said here. */
static hotrow_status fetch(hr_shard *shard, hr_table *table, const uint64_t *keys, size_t key_count,
                           size_t missing_count, uint64_t evicted_before, bool creates)
{
  const hr_table_desc *desc = hr_table_get_desc(table);
  uint64_t fetched = 0;
  if (hr_memory_cold_count(table) == 0)
    return HOTROW_OK;
  creates = creates && !hr_table_has_admission(desc) && !hr_table_has_eviction(desc);
  if (shard->counters.rows_evicted != evicted_before)
    missing_count = find_missing(shard, table, keys, key_count);
  hotrow_status status = hr_table_fetch(table, shard->memory.missing, missing_count, creates, &fetched);
  shard->counters.rows_fetched += fetched;
  return status;
}

hotrow_status hr_memory_check_next_cut(hr_shard *shard)
{
  size_t dirty = shard->cut_in_progress ? hr_shard_dirty_bytes(shard) : 0, max = shard->options.cut_bytes_max;
  if (dirty < max)
    return HOTROW_OK;
  shard->is_cut_awaited = true;
  return hr_fail(HOTROW_ERR_BUSY,
                 "shard %u has %zu bytes of rows that changed since cut %llu, which is not durable yet",
                 shard->options.shard_index, dirty, (unsigned long long)shard->cut_number);
}

hotrow_status hr_memory_prepare(hr_shard *shard, hr_table *table, const uint64_t *keys, size_t key_count, bool creates)
{
  hotrow_status next_cut = creates ? hr_memory_check_next_cut(shard) : HOTROW_OK;
  if (next_cut == HOTROW_OK && (shard->options.memory_bytes == 0 || is_at_ease(shard, table, key_count)))
    return HOTROW_OK;
  size_t missing_count = find_missing(shard, table, keys, key_count);
  if (next_cut != HOTROW_OK && missing_count > hr_memory_cold_count(table))
    return next_cut; /* some will be new */
  uint64_t cold = hr_memory_cold_count(table), count = creates || missing_count < cold ? missing_count : cold;
  if (count == 0)
    return HOTROW_OK;
  uint64_t evicted_before = shard->counters.rows_evicted;
  HOTROW_TRY(hr_memory_make_room(shard, table, count, least_new(table, count, creates)));
  return fetch(shard, table, keys, key_count, missing_count, evicted_before, creates);
}

hotrow_status hr_memory_prepare_push(hr_shard *shard, hr_table *table, const uint64_t *keys, size_t key_count)
{
  if (shard->options.memory_bytes == 0 || hr_memory_cold_count(table) == 0)
    return HOTROW_OK;
  size_t missing_count = find_missing(shard, table, keys, key_count);
  if (missing_count == 0)
    return HOTROW_OK;
  uint64_t evicted_before = shard->counters.rows_evicted;
  hr_memory_make_room(
      shard, table, missing_count,
      least_new(table, missing_count, true)); /* and if there is none it is over its memory for a while */
  return fetch(shard, table, keys, key_count, missing_count, evicted_before, true);
}

hotrow_status hr_memory_admit_push(hr_shard *shard, const hr_section *sections, size_t section_count)
{
  HOTROW_TRY(hr_memory_check_next_cut(shard));
  if (hr_checkpoint_is_behind(shard))
    return hr_fail(HOTROW_ERR_BUSY, "shard %u writes a checkpoint, and too much of it is not written yet",
                   shard->options.shard_index);
  for (size_t i = 0; shard->options.memory_bytes > 0 && i < section_count; i++) {
    hr_table *table;
    if (hr_shard_find_table(shard, sections[i].table, &table) != HOTROW_OK) /* a push that will be refused */
      return HOTROW_OK;
    if (is_at_ease(shard, table, sections[i].key_count))
      continue;
    size_t missing_count = find_missing(shard, table, sections[i].keys, sections[i].key_count);
    HOTROW_TRY(hr_memory_make_room(shard, table, missing_count, least_new(table, missing_count, true)));
  }
  return HOTROW_OK;
}

void hr_shard_count_foreign(hr_shard *shard, size_t foreign_bytes)
{
  size_t max = can_evict(shard) ? shard->options.memory_bytes / 2 : 0;
  shard->memory.foreign_bytes = foreign_bytes < max ? foreign_bytes : max;
}

void hr_memory_begin_cut(hr_shard *shard, size_t dirty_bytes)
{
  shard->memory.in_flight_bytes = dirty_bytes;
}

void hr_memory_end_cut(hr_shard *shard)
{
  shard->memory.in_flight_bytes = 0;
  shard->memory.is_exhausted = false;
}

uint64_t hr_memory_load_max(const hr_shard *shard, const hr_table *table, const uint64_t *row_counts)
{
  size_t used = hr_memory_used(shard), max = shard->options.memory_bytes;
  double wanted = 0, own = 0;
  for (size_t i = 0; i < shard->table_count; i++) {
    double size_bytes = (double)row_counts[i] * (double)hr_table_row_bytes(shard->tables[i]);
    wanted += size_bytes;
    own = shard->tables[i] == table ? (double)row_counts[i] : own;
  }
  double free_bytes = used < max ? (double)(max - used) / 100 * LOAD_PERCENT : 0;
  return max == 0 || wanted <= free_bytes ? UINT64_MAX : (uint64_t)(own * (free_bytes / wanted));
}
