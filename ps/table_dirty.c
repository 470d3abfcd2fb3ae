/* Which rows changed since the last cut. */
#include "table_state.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define VISIT_CHUNK 256u

static size_t bits_bytes(const hr_table *table)
{
  return (size_t)(table->row_count_max + 63) / 64 * sizeof(uint64_t);
}

hotrow_status hr_table_track(hr_table *table)
{
  HOTROW_ASSERT(!table->dirty.bits);
  void *bits, *rows;
  HOTROW_TRY(hr_map(bits_bytes(table), "dirty bits of a table", &bits));
  hotrow_status status = hr_map(table->row_count_max * sizeof *table->dirty.rows, "dirty rows of a table", &rows);
  if (status != HOTROW_OK) {
    hr_unmap(bits, bits_bytes(table));
    return status;
  }
  table->dirty = (hr_dirty_rows){.bits = bits, .rows = rows};
  return HOTROW_OK;
}

void hr_table_untrack(hr_table *table)
{
  hr_unmap(table->dirty.rows, table->row_count_max * sizeof *table->dirty.rows);
  hr_unmap(table->dirty.bits, bits_bytes(table));
  table->dirty = (hr_dirty_rows){0};
}

void hr_table_touch_all(hr_table *table)
{
  for (uint64_t row = 0; row < table->desc.row_count; row++)
    hr_table_touch(table, (uint32_t)row);
}

uint64_t hr_table_dirty_count(const hr_table *table)
{
  return table->dirty.count;
}

hotrow_status hr_table_visit_dirty(const hr_table *table, hr_table_visit_fn visit, void *context)
{
  uint64_t keys[VISIT_CHUNK];
  uint32_t rows[VISIT_CHUNK], clocks[VISIT_CHUNK];
  for (uint64_t first = 0; first < table->dirty.count; first += VISIT_CHUNK) {
    const uint32_t *dirty = table->dirty.rows + first;
    uint64_t left = table->dirty.count - first;
    size_t count = left < VISIT_CHUNK ? (size_t)left : VISIT_CHUNK;
    for (size_t i = 0; i < count; i++)
      keys[i] = table->keys[dirty[i]];
    hr_table_find(table, keys, count, rows, clocks);
    for (size_t i = 0; i < count; i++) {
      HOTROW_ASSERT(rows[i] == dirty[i]);
      HOTROW_TRY(visit(keys[i], clocks[i], hr_table_row_at(table, rows[i]), context));
    }
  }
  return HOTROW_OK;
}

void hr_table_clear_dirty(hr_table *table)
{
  hr_dirty_rows *dirty = &table->dirty;
  for (uint64_t i = 0; i < dirty->count; i++)
    dirty->bits[dirty->rows[i] / 64] = 0;
  dirty->count = 0;
}
