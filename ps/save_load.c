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
  hr_load_row_fn load_row;
  void *context; /* of that */
} loading;

/* One table of one part. */
typedef struct source {
  loading *l;
  const hr_manifest *part;
  const hr_manifest_table *entry;
  const char *path; /* where its rows stand */
  hr_table *table;
  size_t float_count; /* of a row */
  uint64_t row_count; /* of a database, so far */
} source;

static source source_of(loading *l, const hr_manifest *part, const hr_manifest_table *entry, hr_table *table)
{
  return (source){l, part, entry, part->path.text, table, hr_table_record_floats(table), 0};
}

/* Parts need not agree on what time it is: a row is as old as it was. */
static void keep_age(const source *from, float *record)
{
  uint32_t step, now = hr_table_get_desc(from->table)->step;
  if (!hr_table_has_eviction(&from->entry->desc))
    return;
  memcpy(&step, record + from->float_count - 1, sizeof step);
  step += now - from->entry->desc.step;
  memcpy(record + from->float_count - 1, &step, sizeof step);
}

static hotrow_status put_row(const source *from, uint64_t key, uint32_t clock, float *record)
{
  const loading *l = from->l;
  uint64_t hash = hr_key_hash(key, hr_table_get_seed(from->table));
  if (hr_shard_of(hash, l->set->part_count) != from->part->header.shard_index)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is not of this part", from->path, (unsigned long long)key);
  if (hr_shard_of(hash, l->shard_count) != l->shard_index)
    return HOTROW_OK;
  keep_age(from, record);
  hotrow_status status = l->load_row ? l->load_row(from->table, key, clock, record, l->context)
                                     : hr_table_restore_row(from->table, key, clock, record);
  if (status == HOTROW_ERR_EXISTS)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is there twice", from->path, (unsigned long long)key);
  return status;
}

/* All hashes of a bucket are of one shard, at any number of shards. */
static hotrow_status put_bucket(uint64_t number, const void *bytes, size_t size, void *context)
{
  const source *from = context;
  const loading *l = from->l;
  uint64_t hash = number << (64u - HR_ADMISSION_BITS);
  if (number >> HR_ADMISSION_BITS != 0 || hr_shard_of(hash, l->set->part_count) != from->part->header.shard_index)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: bucket %llu of keys without a row is not of this part", from->path,
                   (unsigned long long)number);
  if (hr_shard_of(hash, l->shard_count) != l->shard_index)
    return HOTROW_OK;
  hotrow_status status = hr_table_restore_admission(from->table, number, bytes, size);
  if (status != HOTROW_OK)
    return hr_fail(status, "%s: %s", from->path, hotrow_last_error());
  return HOTROW_OK;
}

/* ---- from rows files ---- */

static hotrow_status load_record(const source *from, const uint8_t *bytes)
{
  uint64_t key;
  uint32_t clock;
  float record[HR_STORE_FLOATS_MAX];
  HOTROW_ASSERT(from->float_count <= HR_STORE_FLOATS_MAX);
  memcpy(&key, bytes, sizeof key);
  memcpy(&clock, bytes + sizeof key, sizeof clock);
  memcpy(record, bytes + HR_ROW_HEAD_BYTES, from->float_count * sizeof *record);
  return put_row(from, key, clock, record);
}

static void show(const loading *l)
{
  if (l->progress.fn)
    l->progress.fn(l->progress.context, l->shard_index, l->row_count, l->row_count_total);
}

static hotrow_status load_records(const source *from, hr_rows_file *file)
{
  loading *l = from->l;
  size_t record_size = HR_ROW_HEAD_BYTES + from->float_count * sizeof(float);
  size_t batch = HR_SAVE_BUFFER_BYTES / record_size;
  for (uint64_t left = from->entry->desc.row_count; left > 0;) {
    size_t count = left < batch ? (size_t)left : batch;
    HOTROW_TRY(hr_rows_file_read(file, l->set->buffer, count * record_size));
    for (size_t i = 0; i < count; i++)
      HOTROW_TRY(load_record(from, l->set->buffer + i * record_size));
    left -= count;
    l->row_count += count;
    show(l);
  }
  return HOTROW_OK;
}

static hotrow_status load_buckets(source *from, hr_rows_file *file)
{
  uint8_t *buffer = from->l->set->buffer;
  uint64_t next = 0;
  while (file->bytes_left > 0) {
    size_t count = HR_SAVE_BUFFER_BYTES / sizeof(hr_saved_bucket);
    if (count > file->bytes_left / sizeof(hr_saved_bucket))
      count = (size_t)file->bytes_left / sizeof(hr_saved_bucket);
    HOTROW_TRY(hr_rows_file_read(file, buffer, count * sizeof(hr_saved_bucket)));
    for (size_t i = 0; i < count; i++) {
      hr_saved_bucket saved;
      memcpy(&saved, buffer + i * sizeof saved, sizeof saved);
      if (saved.number < next)
        return hr_fail(HOTROW_ERR_CORRUPT, "%s: bucket %llu of keys without a row after bucket %llu", from->path,
                       (unsigned long long)saved.number, (unsigned long long)next - 1);
      HOTROW_TRY(put_bucket(saved.number, &saved.bucket, sizeof saved.bucket, from));
      next = saved.number + 1;
    }
  }
  return HOTROW_OK;
}

static hotrow_status load_rows(source *from)
{
  hr_rows_file file;
  HOTROW_TRY(hr_rows_file_open(from->part, from->entry, &file));
  from->path = file.path.text;
  hotrow_status status = load_records(from, &file);
  if (status == HOTROW_OK)
    status = load_buckets(from, &file);
  hr_rows_file_close(&file);
  from->path = from->part->path.text; /* the name of the file goes with it */
  return status;
}

/* ---- from a database ---- */

static hotrow_status take_row(uint64_t key, uint32_t clock, float *record, size_t float_count, void *context)
{
  source *from = context;
  if (float_count != from->float_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: row %llu of table %s has %zu floats, the table has %zu", from->path,
                   (unsigned long long)key, from->entry->desc.name, float_count, from->float_count);
  from->row_count++;
  if (++from->l->row_count % PROGRESS_ROWS == 0)
    show(from->l);
  return put_row(from, key, clock, record);
}

static hotrow_status load_database_table(const hr_database *database, source *from)
{
  const hr_table_desc *desc = &from->entry->desc;
  HOTROW_TRY(hr_database_visit_rows(database, desc->id, take_row, from));
  if (from->row_count != desc->row_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu rows of table %s, it is said to have %llu", from->path,
                   (unsigned long long)from->row_count, desc->name, (unsigned long long)desc->row_count);
  return hr_database_visit_buckets(database, desc->id, put_bucket, from);
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
  for (size_t t = 0; status == HOTROW_OK && t < first->header.table_count; t++) {
    source from = source_of(l, part, hr_manifest_find(part, first->tables[t].desc.name), l->tables[t]);
    status = load_database_table(&database, &from);
  }
  hr_database_close(&database);
  return status;
}

/* ---- all of it ---- */

static hotrow_status load_part(loading *l, const hr_manifest *part)
{
  const hr_manifest *first = &l->set->parts[0];
  if (part->is_database)
    return load_database(l, part);
  for (size_t t = 0; t < first->header.table_count; t++) {
    source from = source_of(l, part, hr_manifest_find(part, first->tables[t].desc.name), l->tables[t]);
    HOTROW_TRY(load_rows(&from));
  }
  return HOTROW_OK;
}

static hotrow_status load_parts(loading *l, hr_load_table_fn load_table)
{
  const hr_save_set *set = l->set;
  const hr_manifest *first = &set->parts[0];
  for (uint32_t i = 0; i < set->part_count; i++)
    l->row_count_total += hr_manifest_row_count(&set->parts[i]);
  for (size_t t = 0; t < first->header.table_count; t++)
    HOTROW_TRY(load_table(&first->tables[t].desc, l->context, &l->tables[t]));
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
                           hr_load_row_fn load_row, void *context, hr_load_progress progress, hr_save_origin *origin_p)
{
  HOTROW_ASSERT(shard_index < shard_count);
  hr_save_set set;
  HOTROW_TRY(hr_data_dir_is_one(path) ? hr_data_dir_open_set(path, &set) : hr_save_set_open(path, &set));
  loading l = {.set = &set,
               .shard_index = shard_index,
               .shard_count = shard_count,
               .progress = progress,
               .load_row = load_row,
               .context = context};
  hotrow_status status = load_parts(&l, load_table);
  if (status == HOTROW_OK)
    status = load_origin(&l, origin_p);
  hr_save_set_close(&set);
  return status;
}
