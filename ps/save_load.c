#include "save.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/route.h>

#include "save_set.h"

typedef struct loading {
  hr_save_set *set;
  uint32_t shard_index;
  uint32_t shard_count;
  hr_table *tables[HR_SAVE_TABLES_MAX]; /* borrowed: those of part 0's manifest, in its order */
  uint64_t row_count, row_count_total;  /* read, and to be read */
  hr_load_progress progress;
} loading;

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
  uint64_t hash = hr_key_hash(key, hr_table_get_seed(table));
  if (hr_shard_of(hash, l->set->part_count) != part->header.shard_index)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is not of this part", file->path.text, (unsigned long long)key);
  if (hr_shard_of(hash, l->shard_count) != l->shard_index)
    return HOTROW_OK;
  hotrow_status status =
      hr_table_restore_row(table, key, clock, value_and_state, (record_size - HR_ROW_HEAD_BYTES) / sizeof(float));
  if (status == HOTROW_ERR_EXISTS)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is there twice", file->path.text, (unsigned long long)key);
  return status;
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

static hotrow_status load_rows(loading *l, const hr_manifest *part, const char *name, hr_table *table)
{
  hr_rows_file file;
  HOTROW_TRY(hr_rows_file_open(part, hr_manifest_find(part, name), &file));
  hotrow_status status = load_records(l, part, &file, table);
  hr_rows_file_close(&file);
  return status;
}

static hotrow_status load_parts(loading *l, hr_load_table_fn load_table, void *context)
{
  const hr_save_set *set = l->set;
  const hr_manifest *first = &set->parts[0];
  for (uint32_t i = 0; i < set->part_count; i++)
    for (size_t t = 0; t < set->parts[i].header.table_count; t++)
      l->row_count_total += set->parts[i].tables[t].desc.row_count;
  for (size_t t = 0; t < first->header.table_count; t++)
    HOTROW_TRY(load_table(&first->tables[t].desc, context, &l->tables[t]));
  for (uint32_t i = 0; i < set->part_count; i++)
    for (size_t t = 0; t < first->header.table_count; t++)
      HOTROW_TRY(load_rows(l, &set->parts[i], first->tables[t].desc.name, l->tables[t]));
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
  HOTROW_TRY(hr_save_set_open(path, &set));
  loading l = {.set = &set, .shard_index = shard_index, .shard_count = shard_count, .progress = progress};
  hotrow_status status = load_parts(&l, load_table, context);
  if (status == HOTROW_OK)
    status = load_origin(&l, origin_p);
  hr_save_set_close(&set);
  return status;
}
