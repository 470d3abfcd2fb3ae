#include "save.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/optimizer.h>
#include <hr/route.h>

#include "database.h"
#include "save_set.h"

hotrow_status hr_save_count_parts(const char *dir, uint32_t *shard_count_p)
{
  DIR *entries = opendir(dir);
  if (!entries)
    return errno == ENOENT ? hr_fail(HOTROW_ERR_NOT_FOUND, "%s: no such save", dir) : hr_fail_errno(dir, "list");
  uint32_t count = 0;
  hotrow_status status = HOTROW_OK;
  for (struct dirent *entry; status == HOTROW_OK && (entry = readdir(entries));) {
    unsigned shard_index, shard_count;
    hr_path name;
    if (sscanf(entry->d_name, "shard-%u-of-%u", &shard_index, &shard_count) != 2)
      continue;
    status = hr_path_format(&name, "shard-%u-of-%u", shard_index, shard_count);
    if (status != HOTROW_OK || strcmp(name.text, entry->d_name) != 0 || shard_index >= shard_count)
      continue;
    if (count != 0 && count != shard_count)
      status = hr_fail(HOTROW_ERR_EXISTS, "%s: holds parts of %u and of %u shards", dir, count, shard_count);
    count = shard_count;
  }
  closedir(entries);
  if (status == HOTROW_OK)
    *shard_count_p = count;
  return status;
}

/* What is written: tables, or what a copy of a storage has. */
typedef struct source {
  hr_table *const *tables;
  size_t table_count;
  const hr_storage *storage; /* NULL: tables. Held, until it is copied */
  bool is_held;
  hr_database database;
} source;

typedef struct saving {
  const hr_save_part *part;
  source *from;
  uint8_t *buffer;
  hr_manifest_table entries[HR_SAVE_TABLES_MAX];
  size_t table_count;
} saving;

typedef struct row_writer {
  hr_output out;
  const hr_save_part *part;
  const hr_table_desc *desc;
  uint64_t seed;
  size_t float_bytes;
  uint64_t row_count;
} row_writer;

static hotrow_status write_row(uint64_t key, uint32_t clock, const float *value_and_state, void *context)
{
  row_writer *writer = context;
  uint64_t hash = hr_key_hash(key, writer->seed);
  if (hr_shard_of(hash, writer->part->shard_count) != writer->part->shard_index)
    return hr_fail(HOTROW_ERR_INTERNAL, "table %s holds key %llu, which is not of shard %u of %u", writer->desc->name,
                   (unsigned long long)key, writer->part->shard_index, writer->part->shard_count);
  writer->row_count++;
  HOTROW_TRY(hr_output_append(&writer->out, &key, sizeof key));
  HOTROW_TRY(hr_output_append(&writer->out, &clock, sizeof clock));
  return hr_output_append(&writer->out, value_and_state, writer->float_bytes);
}

static hotrow_status write_stored_row(uint64_t key, uint32_t clock, float *record, size_t float_count, void *context)
{
  const row_writer *writer = context;
  if (float_count * sizeof *record != writer->float_bytes)
    return hr_fail(HOTROW_ERR_CORRUPT, "row %llu of table %s is stored with %zu floats, and has %zu",
                   (unsigned long long)key, writer->desc->name, float_count, writer->float_bytes / sizeof *record);
  return write_row(key, clock, record, context);
}

static hotrow_status write_bucket(uint64_t number, const void *bytes, size_t size, void *context)
{
  row_writer *writer = context;
  HOTROW_TRY(hr_output_append(&writer->out, &number, sizeof number));
  return hr_output_append(&writer->out, bytes, size);
}

static hotrow_status write_all(const source *from, size_t index, row_writer *writer)
{
  const hr_table_desc *desc = writer->desc;
  HOTROW_TRY(from->storage ? hr_database_visit_rows(&from->database, desc->id, write_stored_row, writer)
                           : hr_table_scan(from->tables[index], write_row, writer));
  if (writer->row_count != desc->row_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s has %llu rows and should have %llu", desc->name,
                   (unsigned long long)writer->row_count, (unsigned long long)desc->row_count);
  return from->storage ? hr_database_visit_buckets(&from->database, desc->id, write_bucket, writer)
                       : hr_table_visit_buckets(from->tables[index], write_bucket, writer);
}

static hotrow_status write_rows(saving *s, const char *dir, size_t index)
{
  hr_manifest_table *entry = &s->entries[index];
  const hr_table_desc *desc = &entry->desc;
  hotrow_row_layout layout;
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/%s.rows", dir, desc->name));
  HOTROW_TRY(hr_row_layout_make(desc->segments, desc->segment_count, &layout));
  size_t record_size = hr_save_record_size(desc, &layout);
  hr_rows_header header = hr_rows_header_of(desc, record_size, s->part->save.token);
  row_writer writer = {.part = s->part,
                       .desc = desc,
                       .seed = hr_table_seed(desc->name, strlen(desc->name)),
                       .float_bytes = record_size - HR_ROW_HEAD_BYTES};
  HOTROW_TRY(hr_output_begin(&writer.out, path.text, s->buffer));
  hotrow_status status = hr_output_append(&writer.out, &header, sizeof header);
  if (status == HOTROW_OK)
    status = write_all(s->from, index, &writer);
  HOTROW_TRY(hr_output_end(&writer.out, status));
  entry->file_size = writer.out.size;
  entry->file_hash = XXH3_64bits_digest(&writer.out.hash);
  return HOTROW_OK;
}

static hotrow_status write_manifest(const saving *s, const char *dir)
{
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_MANIFEST_FILE, dir));
  hr_manifest_header header = {.magic = HR_MANIFEST_MAGIC,
                               .version = HR_SAVE_VERSION,
                               .table_count = (uint32_t)s->table_count,
                               .token = s->part->save.token,
                               .epoch = s->part->epoch,
                               .shard_index = s->part->shard_index,
                               .shard_count = s->part->shard_count};
  hr_output out;
  HOTROW_TRY(hr_output_begin(&out, path.text, s->buffer));
  hotrow_status status = hr_manifest_append(&out, &header, s->entries);
  if (status == HOTROW_OK)
    status = hr_output_append_hash(&out);
  return hr_output_end(&out, status);
}

static hotrow_status add_table(const hr_table_desc *desc, void *context)
{
  saving *s = context;
  HOTROW_TRY(hr_manifest_check_table(s->part->save_dir, &(hr_manifest_table){.desc = *desc}, false));
  if (s->table_count == HR_SAVE_TABLES_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "more than %u tables are stored", HR_SAVE_TABLES_MAX);
  s->entries[s->table_count++] = (hr_manifest_table){.desc = *desc};
  return HOTROW_OK;
}

static hotrow_status write_files(saving *s, const char *dir)
{
  const source *from = s->from;
  if (from->storage)
    HOTROW_TRY(hr_database_visit_tables(&from->database, add_table, s));
  for (; s->table_count < from->table_count; s->table_count++)
    s->entries[s->table_count] = (hr_manifest_table){.desc = *hr_table_get_desc(from->tables[s->table_count])};
  for (size_t i = 0; i < s->table_count; i++)
    HOTROW_TRY(write_rows(s, dir, i));
  return write_manifest(s, dir);
}

static void let_go(source *from)
{
  if (from->is_held)
    from->storage->let_go(from->storage->context);
  from->is_held = false;
}

/* Where the copy and the data directory are on one filesystem it costs little. */
static hotrow_status write_copied(saving *s, const char *dir)
{
  hr_path copied;
  source *from = s->from;
  HOTROW_TRY(hr_path_format(&copied, "%s.database", dir));
  hr_remove_directory(copied.text);
  hotrow_status status = from->storage->copy(from->storage->context, copied.text);
  let_go(from);
  if (status == HOTROW_OK)
    status = hr_database_open(copied.text, &from->database);
  if (status == HOTROW_OK) {
    status = write_files(s, dir);
    hr_database_close(&from->database);
  }
  hr_remove_directory(copied.text);
  return status;
}

static hotrow_status write_and_publish(saving *s, const char *dir)
{
  const hr_save_part *part = s->part;
  uint32_t parts_count = 0;
  HOTROW_TRY(hr_save_count_parts(dir, &parts_count));
  if (parts_count != 0 && parts_count != part->shard_count)
    return hr_fail(HOTROW_ERR_EXISTS, "%s: holds parts of %u shards, this is one of %u: choose another name", dir,
                   parts_count, part->shard_count);
  hr_path final, written;
  HOTROW_TRY(hr_path_format(&final, "%s/shard-%u-of-%u", dir, part->shard_index, part->shard_count));
  HOTROW_TRY(hr_path_format(&written, "%s.tmp-%ld", final.text, (long)getpid()));
  hr_remove_directory(written.text);
  if (mkdir(written.text, 0777) != 0)
    return hr_fail_errno(written.text, "make the directory");
  hotrow_status status = s->from->storage ? write_copied(s, written.text) : write_files(s, written.text);
  if (status == HOTROW_OK)
    status = hr_sync_directory(written.text);
  if (status == HOTROW_OK)
    status = hr_publish_directory(written.text, final.text);
  if (status == HOTROW_OK)
    status = hr_sync_directory(dir);
  hr_remove_directory(written.text);
  return status;
}

static hotrow_status write_part(saving *s, const char *dir)
{
  hotrow_status status = HOTROW_OK;
  if (mkdir(dir, 0777) == 0)
    status = hr_sync_directory(s->part->save_dir);
  else if (errno != EEXIST)
    status = hr_fail_errno(dir, "make the directory");
  return status == HOTROW_OK ? write_and_publish(s, dir) : status;
}

static hotrow_status write_from(const hr_save_part *part, source *from)
{
  const char *name = part->save.name;
  hr_path dir;
  void *memory;
  HOTROW_ASSERT(part->shard_index < part->shard_count && from->table_count <= HR_SAVE_TABLES_MAX);
  HOTROW_TRY(hr_wire_check_name(name, strnlen(name, sizeof part->save.name)));
  HOTROW_TRY(hr_path_format(&dir, "%s/%s", part->save_dir, name));
  HOTROW_TRY(hr_alloc(1, sizeof(saving) + HR_SAVE_BUFFER_BYTES, "save buffer", &memory));
  saving *s = memory;
  *s = (saving){.part = part, .from = from, .buffer = (uint8_t *)(s + 1)};
  hotrow_status status = write_part(s, dir.text);
  free(s);
  return status;
}

hotrow_status hr_save_write(const hr_save_part *part, hr_table *const *tables, size_t table_count)
{
  source from = {.tables = tables, .table_count = table_count};
  return write_from(part, &from);
}

hotrow_status hr_save_write_stored(const hr_save_part *part, const hr_storage *storage)
{
  source from = {.storage = storage, .is_held = true};
  hotrow_status status = write_from(part, &from);
  let_go(&from);
  return status;
}
