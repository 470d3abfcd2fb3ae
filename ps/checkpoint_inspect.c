#include <hotrow/checkpoint.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "save_database.h"

_Static_assert(sizeof((hotrow_checkpoint_table *)0)->name == HR_WIRE_NAME_BYTES_MAX + 1, "a table's name");

/* ---- inspect ---- */

/* What rows that lie in a database would be as a file. */
static uint64_t rows_bytes(const hr_table_desc *desc)
{
  hotrow_row_layout layout;
  hotrow_status status = hr_row_layout_make(desc->segments, desc->segment_count, &layout);
  HOTROW_ASSERT(status == HOTROW_OK); /* the manifest was checked */
  return desc->row_count * hr_save_record_size(desc, &layout);
}

static void describe_table(const hr_save_set *set, const hr_table_desc *desc, hotrow_checkpoint_table *table_p)
{
  memcpy(table_p->name, desc->name, sizeof table_p->name);
  memcpy((void *)table_p->segments, (const void *)desc->segments, sizeof table_p->segments);
  table_p->dim = desc->dim;
  table_p->segment_count = desc->segment_count;
  table_p->storage_dtype = (hotrow_dtype)desc->storage_dtype;
  for (uint32_t i = 0; i < set->part_count; i++) {
    const hr_manifest_table *entry = hr_manifest_find(&set->parts[i], desc->name);
    table_p->row_count += entry->desc.row_count;
    table_p->size_bytes += set->parts[i].is_database ? rows_bytes(&entry->desc) : entry->file_size;
  }
}

static hotrow_status describe(const hr_save_set *set, hotrow_checkpoint_info **info_p)
{
  const hr_manifest *first = &set->parts[0];
  uint32_t table_count = first->header.table_count;
  void *memory, *tables;
  HOTROW_TRY(hr_alloc(1, sizeof **info_p, "checkpoint", &memory));
  hotrow_status status = hr_alloc(table_count, sizeof(hotrow_checkpoint_table), "tables", &tables);
  if (status != HOTROW_OK) {
    free(memory);
    return status;
  }
  for (uint32_t t = 0; t < table_count; t++)
    describe_table(set, &first->tables[t].desc, &((hotrow_checkpoint_table *)tables)[t]);
  const hr_checkpoint_header *header = &set->checkpoint;
  hotrow_checkpoint_info *info = memory;
  *info = (hotrow_checkpoint_info){.is_checkpoint = set->is_checkpoint,
                                   .format_version = set->is_checkpoint ? header->version : HR_SAVE_VERSION,
                                   .shard_count = set->part_count,
                                   .rank_count = header->rank_count,
                                   .token = first->header.token,
                                   .step = header->step,
                                   .created_ns = header->created_ns,
                                   .blob_size = header->blob_size,
                                   .size_bytes = hr_save_set_bytes(set),
                                   .table_count = table_count,
                                   .tables = tables};
  *info_p = info;
  return HOTROW_OK;
}

hotrow_status hotrow_checkpoint_inspect(const char *path, hotrow_checkpoint_info **info_p)
{
  hr_save_set set;
  if (!path || !info_p)
    return hr_fail(HOTROW_ERR_INVALID, "path or info_p is NULL");
  HOTROW_TRY(hr_save_set_open(path, &set));
  hotrow_status status = describe(&set, info_p);
  hr_save_set_close(&set);
  return status;
}

void hotrow_checkpoint_info_free(hotrow_checkpoint_info *info)
{
  if (!info)
    return;
  free((void *)(uintptr_t)info->tables);
  free(info);
}

/* ---- verify ---- */

typedef struct verifying {
  hr_save_set *set;
  void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes);
  void *context;
  uint64_t done_bytes, total_bytes;
} verifying;

static void advance(verifying *v, uint64_t bytes)
{
  v->done_bytes += bytes;
  if (v->progress)
    v->progress(v->context, v->done_bytes, v->total_bytes);
}

static hotrow_status verify_rows(verifying *v, const hr_manifest *part, const hr_manifest_table *entry)
{
  hr_rows_file file;
  HOTROW_TRY(hr_rows_file_open(part, entry, &file));
  hotrow_status status = HOTROW_OK;
  advance(v, sizeof(hr_rows_header));
  while (status == HOTROW_OK && file.bytes_left > 0) {
    size_t size = file.bytes_left < HR_SAVE_BUFFER_BYTES ? (size_t)file.bytes_left : HR_SAVE_BUFFER_BYTES;
    status = hr_rows_file_read(&file, v->set->buffer, size);
    advance(v, size);
  }
  hr_rows_file_close(&file);
  return status;
}

static hotrow_status verify_part(verifying *v, const hr_manifest *part)
{
  for (size_t t = 0; !part->is_database && t < part->header.table_count; t++)
    HOTROW_TRY(verify_rows(v, part, &part->tables[t]));
  if (part->is_database)
    HOTROW_TRY(hr_database_check_files(part));
  for (size_t i = 0; i < part->header.file_count; i++) {
    HOTROW_TRY(hr_database_check_bytes(part, i, v->set->buffer));
    advance(v, part->files[i].size);
  }
  return HOTROW_OK;
}

static hotrow_status verify_files(verifying *v)
{
  int fd = -1;
  for (uint32_t i = 0; i < v->set->part_count; i++)
    HOTROW_TRY(verify_part(v, &v->set->parts[i]));
  HOTROW_TRY(hr_save_set_open_blob(v->set, &fd));
  if (fd >= 0)
    close(fd);
  advance(v, v->set->checkpoint.blob_size);
  return HOTROW_OK;
}

hotrow_status hotrow_checkpoint_verify(const char *path,
                                       void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes),
                                       void *context)
{
  hr_save_set set;
  if (!path)
    return hr_fail(HOTROW_ERR_INVALID, "path is NULL");
  HOTROW_TRY(hr_save_set_open(path, &set));
  verifying v = {.set = &set, .progress = progress, .context = context, .total_bytes = hr_save_set_bytes(&set)};
  hotrow_status status = verify_files(&v);
  hr_save_set_close(&set);
  return status;
}
