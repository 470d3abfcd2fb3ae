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
#include <hr/route.h>

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

/* What one call of hr_save_write() writes. */
typedef struct save_part {
  const hr_save *save;
  uint32_t shard_index;
  uint32_t shard_count;
  uint64_t epoch;
  hr_table *const *tables;
  size_t table_count;
  uint8_t *buffer;
} save_part;

typedef struct row_writer {
  hr_output out;
  const save_part *part;
  const hr_table *table;
  size_t float_bytes;
} row_writer;

static hotrow_status write_row(uint64_t key, uint32_t clock, const float *value_and_state, void *context)
{
  row_writer *writer = context;
  uint64_t hash = hr_key_hash(key, hr_table_get_seed(writer->table));
  if (hr_shard_of(hash, writer->part->shard_count) != writer->part->shard_index)
    return hr_fail(HOTROW_ERR_INTERNAL, "table %s holds key %llu, which is not of shard %u of %u",
                   hr_table_get_desc(writer->table)->name, (unsigned long long)key, writer->part->shard_index,
                   writer->part->shard_count);
  HOTROW_TRY(hr_output_append(&writer->out, &key, sizeof key));
  HOTROW_TRY(hr_output_append(&writer->out, &clock, sizeof clock));
  return hr_output_append(&writer->out, value_and_state, writer->float_bytes);
}

static hotrow_status write_bucket(uint64_t number, const void *bytes, size_t size, void *context)
{
  row_writer *writer = context;
  HOTROW_TRY(hr_output_append(&writer->out, &number, sizeof number));
  return hr_output_append(&writer->out, bytes, size);
}

static hotrow_status write_rows(const save_part *part, const char *dir, const hr_table *table,
                                hr_manifest_table *entry_p)
{
  const hr_table_desc *desc = hr_table_get_desc(table);
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/%s.rows", dir, desc->name));
  size_t record_size = hr_save_record_size(desc, hr_table_get_layout(table));
  hr_rows_header header = hr_rows_header_of(desc, record_size, part->save->token);
  row_writer writer = {.part = part, .table = table, .float_bytes = record_size - HR_ROW_HEAD_BYTES};
  HOTROW_TRY(hr_output_begin(&writer.out, path.text, part->buffer));
  hotrow_status status = hr_output_append(&writer.out, &header, sizeof header);
  if (status == HOTROW_OK)
    status = hr_table_scan(table, write_row, &writer);
  if (status == HOTROW_OK)
    status = hr_table_visit_buckets(table, write_bucket, &writer);
  HOTROW_TRY(hr_output_end(&writer.out, status));
  *entry_p = (hr_manifest_table){*desc, writer.out.size, XXH3_64bits_digest(&writer.out.hash)};
  return HOTROW_OK;
}

static hotrow_status write_manifest(const save_part *part, const char *dir, const hr_manifest_table *entries)
{
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_MANIFEST_FILE, dir));
  hr_manifest_header header = {.magic = HR_MANIFEST_MAGIC,
                               .version = HR_SAVE_VERSION,
                               .table_count = (uint32_t)part->table_count,
                               .token = part->save->token,
                               .epoch = part->epoch,
                               .shard_index = part->shard_index,
                               .shard_count = part->shard_count};
  hr_output out;
  HOTROW_TRY(hr_output_begin(&out, path.text, part->buffer));
  hotrow_status status = hr_manifest_append(&out, &header, entries);
  if (status == HOTROW_OK)
    status = hr_output_append_hash(&out);
  return hr_output_end(&out, status);
}

static hotrow_status write_files(const save_part *part, const char *dir)
{
  hr_manifest_table entries[HR_SAVE_TABLES_MAX];
  for (size_t i = 0; i < part->table_count; i++)
    HOTROW_TRY(write_rows(part, dir, part->tables[i], &entries[i]));
  return write_manifest(part, dir, entries);
}

static hotrow_status write_and_publish(const save_part *part, const char *dir)
{
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
  hotrow_status status = write_files(part, written.text);
  if (status == HOTROW_OK)
    status = hr_sync_directory(written.text);
  if (status == HOTROW_OK)
    status = hr_publish_directory(written.text, final.text);
  if (status == HOTROW_OK)
    status = hr_sync_directory(dir);
  hr_remove_directory(written.text);
  return status;
}

hotrow_status hr_save_write(const char *save_dir, const hr_save *save, uint32_t shard_index, uint32_t shard_count,
                            uint64_t epoch, hr_table *const *tables, size_t table_count)
{
  HOTROW_ASSERT(shard_index < shard_count && table_count <= HR_SAVE_TABLES_MAX);
  HOTROW_TRY(hr_wire_check_name(save->name, strnlen(save->name, sizeof save->name)));
  hr_path dir;
  HOTROW_TRY(hr_path_format(&dir, "%s/%s", save_dir, save->name));
  void *buffer;
  HOTROW_TRY(hr_alloc(HR_SAVE_BUFFER_BYTES, 1, "save buffer", &buffer));
  save_part part = {save, shard_index, shard_count, epoch, tables, table_count, buffer};
  hotrow_status status = HOTROW_OK;
  if (mkdir(dir.text, 0777) == 0)
    status = hr_sync_directory(save_dir);
  else if (errno != EEXIST)
    status = hr_fail_errno(dir.text, "make the directory");
  if (status == HOTROW_OK)
    status = write_and_publish(&part, dir.text);
  free(buffer);
  return status;
}
