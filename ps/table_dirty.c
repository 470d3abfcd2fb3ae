/* Which rows changed since the last cut, and how those of a cut are copied: as they were at its moment, a few at a
 * time.
 *
 * A row that has changed has the bit of the cut that is to come, and is in a list of that cut. When the cut begins the
 * other bit and the other list take over; the old bit now says that the row is still to be copied. The cursor goes
 * through the old list; whoever is about to change a row with the old bit, or to move it or take it out, copies it
 * before. So a number in the old list whose row has lost the bit is passed over, and each row is copied once.
 *
 * A copy of the whole table goes the same way, over all rows instead of a list. It has a bit for each, set when the row
 * has been copied: memory that nobody touches at its moment. A row that comes later has a number of its own, or one
 * whose row went, and so has its bit. */
#include "table_state.h"

#include <stdio.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define COPY_CHUNK 256u
#define LINE_FLOATS 16u
#define AHEAD_LINES 4u /* of a record: beyond these the processor sees by itself where it goes */

static size_t dirty_bytes(const hr_table *table)
{
  return 2 * table->row_count_max * sizeof *table->marks.dirty;
}

hotrow_status hr_table_track(hr_table *table)
{
  HOTROW_ASSERT(!table->marks.bytes);
  void *bytes, *dirty = NULL, *cutting = NULL;
  HOTROW_TRY(hr_map(table->row_count_max, "marks of a table's rows", &bytes));
  hotrow_status status = hr_map(dirty_bytes(table), "dirty rows of a table", &dirty);
  if (status == HOTROW_OK)
    status = hr_map(dirty_bytes(table), "rows of a table in a cut", &cutting);
  if (status == HOTROW_OK)
    status = hr_admission_track(&table->admission);
  table->marks =
      (hr_row_marks){.bytes = bytes, .dirty = dirty, .cutting = cutting, .dirty_bit = HR_ROW_DIRTY_A, .next_cut = 1};
  if (status != HOTROW_OK)
    hr_table_untrack(table);
  return status;
}

static size_t copied_bytes(const hr_table *table)
{
  return (table->cut.row_count / HR_COPIED_WORD_BITS + 1) * sizeof *table->cut.copied;
}

static void end_copy(hr_table *table)
{
  hr_unmap(table->cut.copied, copied_bytes(table));
  table->cut.copied = NULL;
  hr_admission_end_copy(&table->admission);
}

void hr_table_untrack(hr_table *table)
{
  end_copy(table);
  hr_unmap(table->marks.cutting, dirty_bytes(table));
  hr_unmap(table->marks.dirty, dirty_bytes(table));
  hr_unmap(table->marks.bytes, table->row_count_max);
  table->marks = (hr_row_marks){0};
}

void hr_table_touch_newest(hr_table *table)
{
  HOTROW_ASSERT(table->resident_count > 0);
  hr_table_touch(table, (uint32_t)table->resident_count - 1);
}

void hr_table_touch_buckets(hr_table *table)
{
  hr_admission_touch_all(&table->admission);
}

uint64_t hr_table_dirty_count(const hr_table *table)
{
  return table->marks.dirty_count - table->marks.stale_count;
}

void hr_table_settle(hr_table *table)
{
  hr_row_marks *marks = &table->marks;
  uint64_t count = 0;
  for (uint64_t i = 0; i < marks->dirty_count; i++) {
    uint32_t row = marks->dirty[i];
    if (row >= table->resident_count || !(marks->bytes[row] & marks->dirty_bit))
      continue;
    marks->bytes[row] &= (uint8_t)~marks->dirty_bit;
    marks->dirty[count++] = row;
  }
  for (uint64_t i = 0; i < count; i++)
    marks->bytes[marks->dirty[i]] |= marks->dirty_bit;
  marks->dirty_count = count;
  marks->stale_count = 0;
}

/* ---- a cut ---- */

/* What an earlier cut deleted and did not make durable is deleted by this one. */
static hotrow_status take_back_leaving(hr_expiry *expiry)
{
  uint64_t key;
  if (hr_key_set_count(&expiry->leaving) == 0)
    return HOTROW_OK;
  HOTROW_TRY(hr_key_set_reserve(&expiry->gone, hr_key_set_count(&expiry->leaving)));
  for (size_t i = 0; i <= expiry->leaving.slot_count; i++)
    if (hr_key_set_at(&expiry->leaving, i, &key))
      hr_key_set_add(&expiry->gone, key);
  hr_key_set_clear(&expiry->leaving);
  return HOTROW_OK;
}

hotrow_status hr_table_begin_cut(hr_table *table, const hr_storage *storage)
{
  hr_row_marks *marks = &table->marks;
  HOTROW_ASSERT(marks->bytes && marks->in_flight == 0 && marks->pending_bit == 0);
  HOTROW_TRY(take_back_leaving(&table->expiry));
  marks->dirty_peak = marks->dirty_count > marks->dirty_peak ? marks->dirty_count : marks->dirty_peak;
  uint32_t *list = marks->cutting;
  marks->cutting = marks->dirty;
  marks->dirty = list;
  marks->pending_bit = marks->dirty_bit;
  marks->dirty_bit ^= HR_ROW_DIRTY_A | HR_ROW_DIRTY_B;
  hr_key_set emptied = table->expiry.leaving;
  table->expiry.leaving = table->expiry.gone;
  table->expiry.gone = emptied;
  hr_admission_begin_cut(&table->admission);
  table->cut = (hr_table_cut_state){.storage = storage, .row_count = marks->dirty_count};
  marks->dirty_count = marks->stale_count = 0;
  marks->in_flight = marks->next_cut;
  marks->next_cut = (uint8_t)(marks->next_cut % HR_ROW_CUTS + 1);
  return HOTROW_OK;
}

hotrow_status hr_table_begin_copy(hr_table *table, const hr_storage *storage)
{
  void *memory;
  HOTROW_ASSERT(!table->marks.bytes && !table->cut.copied && table->resident_count == table->desc.row_count);
  table->cut = (hr_table_cut_state){.storage = storage, .row_count = table->resident_count};
  HOTROW_TRY(hr_map(copied_bytes(table), "which rows of a table are copied", &memory));
  table->cut.copied = memory;
  hotrow_status status = hr_admission_begin_copy(&table->admission);
  if (status != HOTROW_OK)
    end_copy(table);
  return status;
}

bool hr_table_is_copying(const hr_table *table)
{
  return table->marks.pending_bit != 0 || table->cut.copied;
}

void hr_table_end_cut(hr_table *table)
{
  HOTROW_ASSERT(!hr_table_is_copying(table));
  table->marks.in_flight = 0;
  hr_key_set_clear(&table->expiry.leaving);
}

/* Rows may have moved since they were copied, so all are looked at: it is a byte each, and seldom. */
void hr_table_abandon_cut(hr_table *table)
{
  hr_row_marks *marks = &table->marks;
  uint8_t number = marks->in_flight, pending = marks->pending_bit;
  end_copy(table);
  if (number == 0)
    return;
  marks->in_flight = marks->pending_bit = 0;
  hr_table_settle(table);
  for (uint64_t row = 0; row < table->resident_count; row++)
    if ((marks->bytes[row] & pending) || marks->bytes[row] >> HR_ROW_CUT_SHIFT == number) {
      marks->bytes[row] &= (uint8_t)~pending;
      hr_table_touch(table, (uint32_t)row);
    }
  hr_admission_abandon_cut(&table->admission);
}

/* A copy goes on in vain until its next turn. */
static hotrow_status fail_cut(hr_table *table, hotrow_status status)
{
  table->cut.status = status;
  snprintf(table->cut.sentence, sizeof table->cut.sentence, "%s", hotrow_last_error());
  if (!table->cut.copied)
    hr_table_abandon_cut(table);
  return status;
}

static void mark_in_cut(hr_row_marks *marks, uint32_t row)
{
  uint8_t kept = marks->bytes[row] & (HR_ROW_DIRTY_A | HR_ROW_DIRTY_B | HR_ROW_USED) & (uint8_t)~marks->pending_bit;
  marks->bytes[row] = (uint8_t)(kept | (uint32_t)marks->in_flight << HR_ROW_CUT_SHIFT);
}

static hotrow_status put_row(hr_table *table, uint32_t row, uint32_t clock)
{
  const hr_storage *storage = table->cut.storage;
  uint64_t *copied = table->cut.copied;
  if (copied)
    copied[row / HR_COPIED_WORD_BITS] |= (uint64_t)1 << (row % HR_COPIED_WORD_BITS);
  else
    mark_in_cut(&table->marks, row);
  return storage->put_row(storage->context, &table->desc, table->keys[row], clock, hr_table_read_record(table, row),
                          hr_table_record_floats(table));
}

void hr_table_copy_row(hr_table *table, uint32_t row, uint32_t clock)
{
  hotrow_status status = put_row(table, row, clock);
  if (status != HOTROW_OK)
    fail_cut(table, status);
}

void hr_table_copy_before_it_goes(hr_table *table, uint32_t row)
{
  if (!hr_table_is_pending(table, row))
    return;
  uint64_t key = table->keys[row];
  hr_table_copy_row(table, row, hr_index_find(&table->index, hr_key_hash(key, table->seed), key)->clock);
}

/* Those of the next `count` numbers, of the list or of all rows, that are still to be copied, their records on their
 * way from memory. */
static size_t gather_pending(const hr_table *table, size_t count, uint64_t *keys)
{
  const uint32_t *list = table->cut.copied ? NULL : table->marks.cutting + table->cut.row_at;
  size_t lines = (table->row_stride + LINE_FLOATS - 1) / LINE_FLOATS, found = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t row = list ? list[i] : table->cut.row_at + i;
    if (row >= table->resident_count || !hr_table_is_pending(table, row))
      continue;
    keys[found++] = table->keys[row];
    const float *record = hr_table_row_at(table, row);
    for (size_t line = 0; line < lines && line < AHEAD_LINES; line++)
      __builtin_prefetch(record + line * LINE_FLOATS);
  }
  return found;
}

/* A number may be in the list twice. */
static hotrow_status copy_rows(hr_table *table, size_t count)
{
  uint64_t keys[COPY_CHUNK] = {0};
  uint32_t rows[COPY_CHUNK], clocks[COPY_CHUNK];
  HOTROW_ASSERT(count <= COPY_CHUNK);
  size_t found = gather_pending(table, count, keys);
  hr_table_look(table, keys, found, rows, clocks);
  for (size_t i = 0; i < found; i++)
    if (hr_table_is_pending(table, rows[i]))
      HOTROW_TRY(put_row(table, rows[i], clocks[i]));
  table->cut.row_at += count;
  return HOTROW_OK;
}

/* A key may have a row again that is in the cut: putting it counts, whichever comes first. */
static hotrow_status copy_gone(hr_table *table, size_t count)
{
  const hr_storage *storage = table->cut.storage;
  const hr_key_set *leaving = &table->expiry.leaving;
  uint64_t key;
  for (; count > 0; count--)
    if (hr_key_set_at(leaving, table->cut.gone_at++, &key))
      HOTROW_TRY(storage->delete_row(storage->context, &table->desc, key));
  return HOTROW_OK;
}

static hotrow_status put_bucket(hr_table *table, uint64_t number, const hr_admission_bucket *bucket)
{
  const hr_storage *storage = table->cut.storage;
  return storage->put_bucket(storage->context, &table->desc, number, bucket, sizeof *bucket);
}

void hr_table_copy_bucket(hr_table *table, uint64_t hash)
{
  uint64_t number;
  const hr_admission_bucket *bucket;
  if (!hr_admission_take(&table->admission, hash, &number, &bucket))
    return;
  hotrow_status status = put_bucket(table, number, bucket);
  if (status != HOTROW_OK)
    fail_cut(table, status);
}

static size_t least(uint64_t a, uint64_t b)
{
  return (size_t)(a < b ? a : b);
}

/* How many things of so many bytes there is a budget for: one at least. */
static size_t afford(size_t *budget_p, size_t size_bytes, uint64_t left)
{
  size_t cost = HR_COPY_ENTRY_BYTES + size_bytes, count = *budget_p / cost;
  count = least(least(count > 0 ? count : 1, COPY_CHUNK), left);
  *budget_p -= least(*budget_p, count * cost);
  return count;
}

static hotrow_status copy_some(hr_table *table, size_t *budget_p)
{
  hr_table_cut_state *cut = &table->cut;
  const hr_key_set *leaving = &table->expiry.leaving;
  size_t gone_end = hr_key_set_count(leaving) > 0 ? leaving->slot_count + 1 : 0;
  uint64_t number;
  const hr_admission_bucket *bucket;
  while (*budget_p > 0) {
    if (cut->row_at < cut->row_count)
      HOTROW_TRY(copy_rows(
          table, afford(budget_p, hr_table_record_floats(table) * sizeof(float), cut->row_count - cut->row_at)));
    else if (cut->gone_at < gone_end)
      HOTROW_TRY(copy_gone(table, afford(budget_p, 0, gone_end - cut->gone_at)));
    else if (hr_admission_next(&table->admission, &number, &bucket) && afford(budget_p, sizeof *bucket, 1))
      HOTROW_TRY(put_bucket(table, number, bucket));
    else {
      table->marks.pending_bit = 0;
      end_copy(table);
      break;
    }
  }
  return HOTROW_OK;
}

hotrow_status hr_table_copy(hr_table *table, size_t *budget_p)
{
  const hr_table_cut_state *cut = &table->cut;
  if (cut->status != HOTROW_OK)
    return hr_fail_text(cut->status, cut->sentence, strlen(cut->sentence));
  if (!hr_table_is_copying(table))
    return HOTROW_OK;
  hotrow_status status = copy_some(table, budget_p);
  return status == HOTROW_OK ? HOTROW_OK : fail_cut(table, status);
}
