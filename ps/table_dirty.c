/* Which rows changed since the last cut, and which are in one that is not durable yet. */
#include "table_state.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define VISIT_CHUNK 256u

static size_t dirty_bytes(const hr_table *table)
{
  return 2 * table->row_count_max * sizeof *table->marks.dirty;
}

hotrow_status hr_table_track(hr_table *table)
{
  HOTROW_ASSERT(!table->marks.bytes);
  void *bytes, *dirty;
  HOTROW_TRY(hr_map(table->row_count_max, "marks of a table's rows", &bytes));
  hotrow_status status = hr_map(dirty_bytes(table), "dirty rows of a table", &dirty);
  if (status != HOTROW_OK) {
    hr_unmap(bytes, table->row_count_max);
    return status;
  }
  table->marks = (hr_row_marks){.bytes = bytes, .dirty = dirty, .next_cut = 1};
  table->admission.is_tracked = true;
  return HOTROW_OK;
}

void hr_table_untrack(hr_table *table)
{
  hr_unmap(table->marks.dirty, dirty_bytes(table));
  hr_unmap(table->marks.bytes, table->row_count_max);
  table->marks = (hr_row_marks){0};
}

void hr_table_touch_all(hr_table *table)
{
  for (uint64_t row = 0; row < table->resident_count; row++)
    hr_table_touch(table, (uint32_t)row);
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
    if (row >= table->resident_count || !(marks->bytes[row] & HR_ROW_DIRTY))
      continue;
    marks->bytes[row] &= (uint8_t)~HR_ROW_DIRTY;
    marks->dirty[count++] = row;
  }
  for (uint64_t i = 0; i < count; i++)
    marks->bytes[marks->dirty[i]] |= HR_ROW_DIRTY;
  marks->dirty_count = count;
  marks->stale_count = 0;
}

hotrow_status hr_table_visit_dirty(hr_table *table, hr_table_visit_fn visit, void *context)
{
  hr_row_marks *marks = &table->marks;
  uint64_t keys[VISIT_CHUNK];
  uint32_t rows[VISIT_CHUNK], clocks[VISIT_CHUNK];
  if (marks->stale_count > 0)
    hr_table_settle(table);
  for (uint64_t first = 0; first < marks->dirty_count; first += VISIT_CHUNK) {
    const uint32_t *dirty = marks->dirty + first;
    uint64_t left = marks->dirty_count - first;
    size_t count = left < VISIT_CHUNK ? (size_t)left : VISIT_CHUNK;
    for (size_t i = 0; i < count; i++)
      keys[i] = table->keys[dirty[i]];
    hr_table_look(table, keys, count, rows, clocks);
    for (size_t i = 0; i < count; i++) {
      HOTROW_ASSERT(rows[i] == dirty[i]);
      uint8_t *mark = &marks->bytes[rows[i]];
      *mark = (uint8_t)((*mark & (HR_ROW_DIRTY | HR_ROW_USED)) | (uint32_t)marks->next_cut << HR_ROW_CUT_SHIFT);
      HOTROW_TRY(visit(keys[i], clocks[i], hr_table_read_record(table, rows[i]), context));
    }
  }
  return HOTROW_OK;
}

void hr_table_begin_cut(hr_table *table)
{
  hr_row_marks *marks = &table->marks;
  HOTROW_ASSERT(marks->in_flight == 0 && marks->stale_count == 0);
  for (uint64_t i = 0; i < marks->dirty_count; i++)
    marks->bytes[marks->dirty[i]] &= (uint8_t)~HR_ROW_DIRTY;
  marks->dirty_peak = marks->dirty_count > marks->dirty_peak ? marks->dirty_count : marks->dirty_peak;
  marks->dirty_count = 0;
  hr_key_set leaving = table->expiry.gone;
  table->expiry.gone = table->expiry.leaving; /* which is empty */
  table->expiry.leaving = leaving;
  hr_key_set_clear(&table->admission.changed);
  marks->in_flight = marks->next_cut;
  marks->next_cut = (uint8_t)(marks->next_cut % HR_ROW_CUTS + 1);
}

void hr_table_end_cut(hr_table *table)
{
  table->marks.in_flight = 0;
  hr_key_set_clear(&table->expiry.leaving);
}
