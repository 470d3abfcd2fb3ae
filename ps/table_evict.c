/* Rows that leave memory, and rows that come back to it.
 *
 * The choice is CLOCK's (Corbato 1968): a hand goes round the rows, and one that was used since it last came by is
 * passed over once. */
#include "row_read.h"
#include "table_state.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

/* The next turns of the hand are of keys whose buckets are on their way from memory. */
#define AHEAD 16u
#define PASS_ROWS 64u /* marks that are looked at together */
#define STAYS (HR_ROW_DIRTY_A | HR_ROW_DIRTY_B | HR_ROW_USED)
#define ASKED_CHUNK 128u /* keys that the storage is asked for at once, where others are left out */

void hr_table_save_memory(hr_table *table)
{
  hr_table_memory_save(&table->memory);
}

hotrow_status hr_table_set_storage(hr_table *table, const hr_storage *storage)
{
  HOTROW_ASSERT(storage->get_rows && storage->visit_rows);
  if (!table->marks.bytes)
    HOTROW_TRY(hr_table_track(table));
  table->storage = storage;
  table->marks.counts_use = true;
  return HOTROW_OK;
}

uint64_t hr_table_resident_count(const hr_table *table)
{
  return table->resident_count;
}

size_t hr_table_record_bytes(const hr_table *table)
{
  return (table->layout.dim + table->layout.state_dim) * sizeof *table->rows;
}

size_t hr_table_row_bytes(const hr_table *table)
{
  return table->row_stride * sizeof *table->rows + sizeof *table->keys + sizeof *table->announced +
         sizeof *table->marks.bytes + 2 * sizeof *table->marks.dirty + HR_INDEX_ROW_BYTES;
}

uint64_t hr_table_slot_count(const hr_table *table)
{
  return table->slot_count;
}

/* The last row takes the place of one that is gone. */
static void move_last(hr_table *table, uint32_t to, uint32_t last)
{
  hr_row_marks *marks = &table->marks;
  uint64_t key = table->keys[last];
  hr_index_find(&table->index, hr_key_hash(key, table->seed), key)->row = to;
  memcpy(hr_table_row_at(table, to), hr_table_row_at(table, last), table->row_stride * sizeof *table->rows);
  table->keys[to] = key;
  if (table->desc.announce_step > 0)
    table->announced[to] = table->announced[last];
  if (!marks->bytes)
    return;
  marks->bytes[to] = marks->bytes[last];
  if (marks->bytes[to] & marks->dirty_bit) {
    marks->dirty[marks->dirty_count++] = to;
    marks->stale_count++;
  }
}

void hr_table_take_out(hr_table *table, uint32_t row)
{
  hr_row_marks *marks = &table->marks;
  uint64_t key = table->keys[row];
  uint32_t last = (uint32_t)table->resident_count - 1;
  hr_table_copy_before_it_goes(table, row);
  hr_table_copy_before_it_goes(table, last);
  if (marks->bytes && (marks->bytes[row] & marks->dirty_bit))
    marks->stale_count++;
  hr_index_remove(&table->index, hr_key_hash(key, table->seed), key);
  table->resident_count--;
  if (row != last)
    move_last(table, row, last);
}

/* The mark of a row that nothing else keeps than the cut that is not durable yet. There is no such cut: of no row. */
static uint8_t flying_mark(const hr_row_marks *marks)
{
  if (marks->in_flight == 0 || HR_MUTANT(EARLY_EVICTION))
    return STAYS;
  return (uint8_t)(marks->in_flight << HR_ROW_CUT_SHIFT);
}

static bool may_go(uint8_t mark, uint8_t flying)
{
  return !(mark & STAYS) & (mark != flying);
}

/* Passes over PASS_ROWS rows if all of them stay: most of a table may be dirty or in a cut, and clients wait while the
 * hand goes round it. */
static bool pass_over(uint8_t *marks, uint8_t flying)
{
  uint8_t goes = 0;
  for (size_t i = 0; i < PASS_ROWS; i++)
    goes |= may_go(marks[i], flying);
  for (size_t i = 0; !goes && i < PASS_ROWS; i++)
    marks[i] &= (uint8_t)~HR_ROW_USED;
  return !goes;
}

uint64_t hr_table_evict(hr_table *table, uint64_t count)
{
  hr_row_marks *marks = &table->marks;
  HOTROW_ASSERT(marks->counts_use);
  const uint8_t flying = flying_mark(marks);
  uint64_t evicted = 0, seen = 0; /* rows below this are not to be passed over */
  /* Twice round: the first time may only find that all rows were used. A list of dirty rows has room for as many that
   * were moved as there are rows. */
  for (uint64_t turns = 2 * table->resident_count; turns > 0 && evicted < count; turns--) {
    if (table->resident_count == 0 || marks->dirty_count >= table->row_count_max)
      break;
    if (marks->hand >= table->resident_count)
      marks->hand = seen = 0;
    uint64_t row = marks->hand;
    if (row >= seen && turns >= PASS_ROWS && row + PASS_ROWS <= table->resident_count) {
      seen = row + PASS_ROWS;
      if (pass_over(marks->bytes + row, flying)) {
        marks->hand = seen;
        turns -= PASS_ROWS - 1;
        continue;
      }
    }
    if (row + AHEAD < table->resident_count && may_go(marks->bytes[row + AHEAD], flying))
      __builtin_prefetch(hr_index_home(&table->index, table->keys[row + AHEAD]));
    if (may_go(marks->bytes[row], flying)) {
      hr_table_take_out(table, (uint32_t)row);
      evicted++;
    } else {
      marks->bytes[row] &= (uint8_t)~HR_ROW_USED;
      marks->hand++;
    }
  }
  return evicted;
}

typedef struct fetch {
  hr_table *table;
  uint64_t count;
} fetch;

/* What was announced of it is forgotten, and who has a copy counts on hearing of announce_step updates after that: the
 * next push is announced, whatever it was. */
static hotrow_status put_back(uint64_t key, uint32_t clock, const float *record, void *context)
{
  fetch *f = context;
  hr_table *table = f->table;
  hr_entry *entry;
  if (hr_table_is_gone(table, key))
    return HOTROW_OK;
  if (table->resident_count == table->desc.row_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s: key %llu is stored and should not be", table->desc.name,
                   (unsigned long long)key);
  if (hr_table_is_dead(table, record))
    return hr_table_bury(table, key);
  HOTROW_TRY(hr_table_add_row(table, hr_key_hash(key, table->seed), key, &entry));
  entry->clock = clock;
  if (table->desc.announce_step > 0)
    table->announced[entry->row] =
        (hr_announced){.clock = clock - (HR_MUTANT(FORGOTTEN_UPDATES) ? 0 : HR_WIRE_BOUND_MAX)};
  hr_table_write_record(table, entry->row, record);
  hr_table_copy_stamp(table, entry->row, record);
  f->count++;
  return HOTROW_OK;
}

void hr_table_know_absent(hr_table *table, const uint64_t *keys, size_t key_count)
{
  table->absent = keys;
  table->absent_count = key_count;
}

/* The first of the absent keys, from `from` on, that is not below `key`. */
static size_t absent_at(const hr_table *table, size_t from, uint64_t key)
{
  size_t end = table->absent_count;
  while (from < end) {
    size_t middle = from + (end - from) / 2;
    if (table->absent[middle] < key)
      from = middle + 1;
    else
      end = middle;
  }
  return from;
}

/* Has the storage look for those keys of which that is not known to be in vain. */
static hotrow_status get_rows(hr_table *table, const uint64_t *keys, size_t key_count, fetch *f)
{
  const hr_storage *storage = table->storage;
  const size_t float_count = hr_table_record_floats(table);
  uint64_t unknown[ASKED_CHUNK];
  if (table->absent_count == 0)
    return storage->get_rows(storage->context, &table->desc, float_count, keys, key_count, put_back, f);
  size_t count = 0, at = 0;
  for (size_t i = 0; i < key_count; i++) {
    at = absent_at(table, at, keys[i]);
    if (at == table->absent_count || table->absent[at] != keys[i])
      unknown[count++] = keys[i];
    if (count == ASKED_CHUNK || (count > 0 && i + 1 == key_count)) {
      HOTROW_TRY(storage->get_rows(storage->context, &table->desc, float_count, unknown, count, put_back, f));
      count = 0;
    }
  }
  return HOTROW_OK;
}

hotrow_status hr_table_fetch(hr_table *table, const uint64_t *keys, size_t key_count, bool creates,
                             uint64_t *fetched_count_p)
{
  fetch f = {.table = table};
  hotrow_status status = get_rows(table, keys, key_count, &f);
  *fetched_count_p = f.count;
  for (size_t i = 0; creates && status == HOTROW_OK && i < key_count; i++) {
    hr_entry *entry;
    if (f.count == 0 || !hr_table_has_resident(table, keys[i])) /* all new: a miss in the index for each is saved */
      status = hr_table_create_row(table, keys[i], &entry);
  }
  return status;
}

hotrow_status hr_table_take_read(hr_table *table, const hr_row_read *read, uint64_t *fetched_count_p)
{
  fetch f = {.table = table};
  uint32_t rows[HR_READ_KEYS_MAX], clocks[HR_READ_KEYS_MAX];
  hotrow_status status = HOTROW_OK;
  hr_table_look(table, read->keys, read->key_count, rows, clocks);
  for (size_t i = 0, found = 0; status == HOTROW_OK && i < read->key_count; i++) {
    hr_entry *entry;
    bool is_found = found < read->found_count && read->found[found] == i;
    if (is_found && rows[i] == HR_ROW_NONE)
      status = put_back(read->keys[i], read->clocks[found], read->records + found * read->float_count, &f);
    else if (is_found && HR_MUTANT(OVERWRITTEN_ROW))
      hr_table_write_record(table, rows[i], read->records + found * read->float_count);
    else if (rows[i] == HR_ROW_NONE && read->creates[i])
      status = hr_table_create_row(table, read->keys[i], &entry);
    found += is_found;
  }
  *fetched_count_p = f.count;
  return status;
}

void hr_table_set_row_count(hr_table *table, uint64_t row_count)
{
  HOTROW_ASSERT(row_count >= table->resident_count && (table->storage || row_count == table->resident_count));
  table->desc.row_count = row_count;
}

bool hr_table_has_resident(const hr_table *table, uint64_t key)
{
  return hr_index_find(&table->index, hr_key_hash(key, table->seed), key) != NULL;
}

void hr_table_give_back(hr_table *table)
{
  uint64_t count = table->resident_count;
  if (count == table->slot_count)
    return;
  const size_t sizes[] = {[HR_ARRAY_ROWS] = table->row_stride * sizeof *table->rows,
                          [HR_ARRAY_KEYS] = sizeof *table->keys,
                          [HR_ARRAY_ANNOUNCED] = sizeof *table->announced};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    hr_table_memory_shrink(&table->memory, (hr_array_kind)i, count * sizes[i], table->slot_count * sizes[i]);
  table->slot_count = count;
}
