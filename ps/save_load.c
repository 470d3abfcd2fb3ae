#include "save.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/route.h>

#include "data_dir.h"
#include "database.h"
#include "save_database.h"

#define PROGRESS_ROWS 65536u

typedef struct loading {
  hr_save_set *set;
  uint32_t shard_index;
  uint32_t shard_count;
  hr_table *tables[HR_SAVE_TABLES_MAX]; /* borrowed: those of part 0's manifest, in its order */
  uint64_t row_count, row_count_total;  /* read, and to be read */
  hr_load_progress progress;
} loading;

/* `path`: where the row stands. When it was last pushed to is not asked for: parts need not agree on what time it is.
 */
static hotrow_status put_row(const loading *l, const hr_manifest *part, const char *path, hr_table *table, uint64_t key,
                             uint32_t clock, const float *value_and_state)
{
  uint64_t hash = hr_key_hash(key, hr_table_get_seed(table));
  if (hr_shard_of(hash, l->set->part_count) != part->header.shard_index)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is not of this part", path, (unsigned long long)key);
  if (hr_shard_of(hash, l->shard_count) != l->shard_index)
    return HOTROW_OK;
  const hotrow_row_layout *layout = hr_table_get_layout(table);
  hotrow_status status =
      hr_table_restore_row(table, key, clock, value_and_state, (size_t)layout->dim + layout->state_dim);
  if (status == HOTROW_ERR_EXISTS)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is there twice", path, (unsigned long long)key);
  return status;
}

/* ---- from rows files ---- */

static hotrow_status load_record(const loading *l, const hr_manifest *part, const hr_rows_file *file, hr_table *table,
                                 const uint8_t *record)
{
  uint64_t key;
  uint32_t clock;
  float value_and_state[3 * HOTROW_DIM_MAX + HOTROW_SEGMENTS_MAX];
  size_t record_size = hr_save_record_size(hr_table_get_layout(table));
  HOTROW_ASSERT(record_size - HR_ROW_HEAD_BYTES <= sizeof value_and_state);
  memcpy(&key, record, sizeof key);
  memcpy(&clock, record + sizeof key, sizeof clock);
  memcpy(value_and_state, record + HR_ROW_HEAD_BYTES, record_size - HR_ROW_HEAD_BYTES);
  return put_row(l, part, file->path.text, table, key, clock, value_and_state);
}

static void show(const loading *l)
{
  if (l->progress.fn)
    l->progress.fn(l->progress.context, l->shard_index, l->row_count, l->row_count_total);
}

static hotrow_status load_records(loading *l, const hr_manifest *part, hr_rows_file *file, hr_table *table)
{
  size_t record_size = hr_save_record_size(hr_table_get_layout(table));
  size_t batch = HR_SAVE_BUFFER_BYTES / record_size;
  for (uint64_t left = file->entry->desc.row_count; left > 0;) {
    size_t count = left < batch ? (size_t)left : batch;
    HOTROW_TRY(hr_rows_file_read(file, l->set->buffer, count * record_size));
    for (size_t i = 0; i < count; i++)
      HOTROW_TRY(load_record(l, part, file, table, l->set->buffer + i * record_size));
    left -= count;
    l->row_count += count;
    show(l);
  }
  return HOTROW_OK;
}

static hotrow_status load_rows(loading *l, const hr_manifest *part, const hr_manifest_table *entry, hr_table *table)
{
  hr_rows_file file;
  HOTROW_TRY(hr_rows_file_open(part, entry, &file));
  hotrow_status status = load_records(l, part, &file, table);
  hr_rows_file_close(&file);
  return status;
}

/* ---- from a database ---- */

typedef struct database_rows {
  loading *l;
  const hr_manifest *part;
  hr_table *table;
  size_t float_count; /* of a row */
  uint64_t row_count;
} database_rows;

static hotrow_status take_row(uint64_t key, uint32_t clock, const float *record, size_t float_count, void *context)
{
  database_rows *rows = context;
  loading *l = rows->l;
  if (float_count != rows->float_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: row %llu of table %s has %zu floats, the table has %zu",
                   rows->part->path.text, (unsigned long long)key, hr_table_get_desc(rows->table)->name, float_count,
                   rows->float_count);
  rows->row_count++;
  if (++l->row_count % PROGRESS_ROWS == 0)
    show(l);
  return put_row(l, rows->part, rows->part->path.text, rows->table, key, clock, record);
}

static hotrow_status load_database_rows(loading *l, const hr_manifest *part, const hr_database *database,
                                        const hr_manifest_table *entry, hr_table *table)
{
  database_rows rows = {.l = l, .part = part, .table = table, .float_count = hr_table_record_floats(table)};
  HOTROW_TRY(hr_database_visit_rows(database, entry->desc.id, take_row, &rows));
  if (rows.row_count != entry->desc.row_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu rows of table %s, it is said to have %llu", part->path.text,
                   (unsigned long long)rows.row_count, entry->desc.name, (unsigned long long)entry->desc.row_count);
  return HOTROW_OK;
}

static hotrow_status load_database(loading *l, const hr_manifest *part)
{
  const hr_manifest *first = &l->set->parts[0];
  hr_database database;
  if (!l->set->is_data_dir)
    HOTROW_TRY(hr_database_check_files(part));
  for (size_t i = 0; i < part->header.file_count; i++)
    HOTROW_TRY(hr_database_check_bytes(part, i, l->set->buffer));
  HOTROW_TRY(hr_database_open(part->path.text, &database));
  hotrow_status status = HOTROW_OK;
  for (size_t t = 0; status == HOTROW_OK && t < first->header.table_count; t++)
    status = load_database_rows(l, part, &database, hr_manifest_find(part, first->tables[t].desc.name), l->tables[t]);
  hr_database_close(&database);
  return status;
}

/* ---- all of it ---- */

static hotrow_status load_part(loading *l, const hr_manifest *part)
{
  const hr_manifest *first = &l->set->parts[0];
  if (part->is_database)
    return load_database(l, part);
  for (size_t t = 0; t < first->header.table_count; t++)
    HOTROW_TRY(load_rows(l, part, hr_manifest_find(part, first->tables[t].desc.name), l->tables[t]));
  return HOTROW_OK;
}

static hotrow_status load_parts(loading *l, hr_load_table_fn load_table, void *context)
{
  const hr_save_set *set = l->set;
  const hr_manifest *first = &set->parts[0];
  for (uint32_t i = 0; i < set->part_count; i++)
    l->row_count_total += hr_manifest_row_count(&set->parts[i]);
  for (size_t t = 0; t < first->header.table_count; t++)
    HOTROW_TRY(load_table(&first->tables[t].desc, context, &l->tables[t]));
  for (uint32_t i = 0; i < set->part_count; i++)
    HOTROW_TRY(load_part(l, &set->parts[i]));
  show(l);
  return HOTROW_OK;
}

/* Every shard learns of which checkpoint it is; the first has its blob. */
static hotrow_status load_origin(loading *l, hr_save_origin *origin_p)
{
  int fd = -1;
  if (l->shard_index == 0)
    HOTROW_TRY(hr_save_set_open_blob(l->set, &fd));
  *origin_p = (hr_save_origin){.blob_fd = fd};
  if (l->set->is_checkpoint)
    origin_p->restored = (hr_restored){.token = l->set->checkpoint.token,
                                       .step = l->set->checkpoint.step,
                                       .blob_size = l->set->checkpoint.blob_size,
                                       .rank_count = l->set->checkpoint.rank_count};
  return HOTROW_OK;
}

hotrow_status hr_save_load(const char *path, uint32_t shard_index, uint32_t shard_count, hr_load_table_fn load_table,
                           void *context, hr_load_progress progress, hr_save_origin *origin_p)
{
  HOTROW_ASSERT(shard_index < shard_count);
  hr_save_set set;
  HOTROW_TRY(hr_data_dir_is_one(path) ? hr_data_dir_open_set(path, &set) : hr_save_set_open(path, &set));
  loading l = {.set = &set, .shard_index = shard_index, .shard_count = shard_count, .progress = progress};
  hotrow_status status = load_parts(&l, load_table, context);
  if (status == HOTROW_OK)
    status = load_origin(&l, origin_p);
  hr_save_set_close(&set);
  return status;
}
