#include "save_set.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/route.h>

#include "data_dir.h"
#include "save.h"

/* ---- CHECKPOINT ---- */

static hotrow_status check_version(const char *path, uint32_t version, uint32_t expected)
{
  if (version != expected)
    return hr_fail(HOTROW_ERR_VERSION, "%s: format version %u, this build reads %u", path, version, expected);
  return HOTROW_OK;
}

static hotrow_status parse_checkpoint(const char *path, int fd, uint64_t size, hr_save_set *set)
{
  hr_checkpoint_header *header = &set->checkpoint;
  if (size < HR_CHECKPOINT_BYTES(1) || size > HR_CHECKPOINT_BYTES(HR_SHARD_COUNT_MAX))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes cannot be a checkpoint's", path, (unsigned long long)size);
  HOTROW_TRY(hr_input_read(fd, path, set->buffer, size));
  memcpy(header, set->buffer, sizeof *header);
  if (memcmp(header->magic, HR_CHECKPOINT_MAGIC, HR_SAVE_MAGIC_BYTES) != 0)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: not a file of a hotrow checkpoint", path);
  HOTROW_TRY(check_version(path, header->version, HR_CHECKPOINT_VERSION));
  if (header->shard_count > HR_SHARD_COUNT_MAX || size != HR_CHECKPOINT_BYTES(header->shard_count))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes are not those of %u shards", path, (unsigned long long)size,
                   header->shard_count);
  HOTROW_TRY(hr_input_check_hash(path, set->buffer, size));
  if (header->reserved != 0 || header->blob_size > HR_WIRE_CHECKPOINT_BLOB_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: a blob of %llu bytes, the limit is %u; reserved field %u", path,
                   (unsigned long long)header->blob_size, HR_WIRE_CHECKPOINT_BLOB_MAX, header->reserved);
  void *parts;
  HOTROW_TRY(hr_alloc(header->shard_count, sizeof *set->checkpoint_parts, "checkpoint", &parts));
  set->checkpoint_parts = parts;
  memcpy(parts, set->buffer + sizeof *header, header->shard_count * sizeof *set->checkpoint_parts);
  set->is_checkpoint = true;
  set->part_count = header->shard_count;
  return HOTROW_OK;
}

/* A directory without CHECKPOINT may be a save. */
static hotrow_status read_checkpoint(hr_save_set *set)
{
  hr_path path;
  struct stat info;
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_CHECKPOINT_FILE, set->path));
  if (stat(path.text, &info) != 0)
    return HOTROW_OK;
  int fd = -1;
  uint64_t size = 0;
  HOTROW_TRY(hr_input_open(path.text, &fd, &size));
  hotrow_status status = parse_checkpoint(path.text, fd, size, set);
  close(fd);
  return status;
}

/* ---- MANIFEST ---- */

static bool is_database(const hr_manifest *part)
{
  return memcmp(part->header.magic, HR_DATABASE_MAGIC, HR_SAVE_MAGIC_BYTES) == 0;
}

static hotrow_status check_magic(const char *path, const char *magic, bool is_checkpoint)
{
  bool is_part = memcmp(magic, HR_PART_MAGIC, HR_SAVE_MAGIC_BYTES) == 0 ||
                 memcmp(magic, HR_DATABASE_MAGIC, HR_SAVE_MAGIC_BYTES) == 0;
  bool is_save = memcmp(magic, HR_MANIFEST_MAGIC, HR_SAVE_MAGIC_BYTES) == 0;
  if (!is_part && !is_save)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: not a file of a hotrow save", path);
  if (is_part && !is_checkpoint)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of a checkpoint whose file CHECKPOINT is missing: it was not finished",
                   path);
  if (is_save && is_checkpoint)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of a save, and not of the checkpoint that CHECKPOINT describes", path);
  return HOTROW_OK;
}

/* Of a table with admission any number of buckets may follow the rows. */
static bool is_size_good(const hr_manifest_table *table, const hotrow_row_layout *layout, bool has_file)
{
  const hr_table_desc *desc = &table->desc;
  if (!has_file)
    return table->file_size == 0;
  uint64_t rest = table->file_size - sizeof(hr_rows_header) - desc->row_count * hr_save_record_size(desc, layout);
  if (!hr_table_has_admission(desc))
    return rest == 0;
  return rest % sizeof(hr_saved_bucket) == 0 && rest / sizeof(hr_saved_bucket) <= 1u << HR_ADMISSION_BITS;
}

hotrow_status hr_manifest_check_table(const char *path, const hr_manifest_table *table, bool has_file)
{
  const hr_table_desc *desc = &table->desc;
  if (hr_wire_check_name(desc->name, strnlen(desc->name, sizeof desc->name)) != HOTROW_OK)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %s", path, hotrow_last_error());
  hotrow_row_layout layout;
  if (hr_row_layout_make(desc->segments, desc->segment_count, &layout) != HOTROW_OK)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: table %s: %s", path, desc->name, hotrow_last_error());
  if (!hr_dtype_is_kept(desc->storage_dtype))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: table %s: storage_dtype %u is none of ours", path, desc->name,
                   desc->storage_dtype);
  if (desc->dim != layout.dim || desc->row_count > HR_TABLE_ROWS_MAX || !is_size_good(table, &layout, has_file))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: table %s: %llu rows of dim %u do not make a file of %llu bytes", path,
                   desc->name, (unsigned long long)desc->row_count, desc->dim, (unsigned long long)table->file_size);
  return HOTROW_OK;
}

/* The names lead nowhere else, and stand in their order, each once. */
static hotrow_status check_files(const char *path, const hr_manifest *part)
{
  const char *before = "";
  for (size_t i = 0; i < part->header.file_count; i++) {
    const char *name = part->files[i].name;
    if (strnlen(name, HR_MANIFEST_NAME_BYTES) == HR_MANIFEST_NAME_BYTES || strchr(name, '/') || name[0] == '.' ||
        strcmp(name, HR_MANIFEST_FILE) == 0 || strcmp(before, name) >= 0)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: file %zu of the database is called %.48s", path, i, name);
    before = name;
  }
  return HOTROW_OK;
}

/* Everything that can be said of a manifest by itself. `bytes` is the whole file. */
static hotrow_status check_manifest(const char *path, const uint8_t *bytes, size_t size, const hr_manifest *part)
{
  HOTROW_TRY(hr_input_check_hash(path, bytes, size));
  if (part->header.reserved != 0 || (part->header.file_count > 0) != part->is_database)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %u files of a database, reserved field %u", path, part->header.file_count,
                   part->header.reserved);
  for (size_t i = 0; i < part->header.table_count; i++)
    HOTROW_TRY(hr_manifest_check_table(path, &part->tables[i], !part->is_database));
  return check_files(path, part);
}

static hotrow_status parse_manifest(const hr_save_set *set, const char *path, int fd, uint64_t size, hr_manifest *part)
{
  uint8_t *buffer = set->buffer;
  if (size < HR_MANIFEST_BYTES(0, 0) || size > HR_MANIFEST_BYTES(HR_SAVE_TABLES_MAX, HR_MANIFEST_FILES_MAX))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes cannot be a manifest", path, (unsigned long long)size);
  HOTROW_TRY(hr_input_read(fd, path, buffer, size));
  memcpy(&part->header, buffer, sizeof part->header);
  HOTROW_TRY(check_magic(path, part->header.magic, set->is_checkpoint));
  HOTROW_TRY(check_version(path, part->header.version, HR_SAVE_VERSION));
  size_t table_count = part->header.table_count, file_count = part->header.file_count;
  if (table_count > HR_SAVE_TABLES_MAX || file_count > HR_MANIFEST_FILES_MAX ||
      size != HR_MANIFEST_BYTES(table_count, file_count))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes do not hold %zu tables and %zu files", path,
                   (unsigned long long)size, table_count, file_count);
  void *tables, *files;
  HOTROW_TRY(hr_alloc(table_count, sizeof *part->tables, "manifest", &tables));
  part->tables = tables;
  HOTROW_TRY(hr_alloc(file_count, sizeof *part->files, "manifest", &files));
  part->files = files;
  memcpy(tables, buffer + sizeof part->header, table_count * sizeof *part->tables);
  memcpy(files, buffer + sizeof part->header + table_count * sizeof *part->tables, file_count * sizeof *part->files);
  part->is_database = is_database(part);
  part->hash = hr_hash_bytes(buffer, size);
  return check_manifest(path, buffer, size, part);
}

hotrow_status hr_manifest_append(hr_output *out, const hr_manifest_header *header, const hr_manifest_table *tables)
{
  HOTROW_TRY(hr_output_append(out, header, sizeof *header));
  return hr_output_append(out, tables, header->table_count * sizeof *tables);
}

uint64_t hr_manifest_size(const hr_manifest *part)
{
  return HR_MANIFEST_BYTES(part->header.table_count, (uint64_t)part->header.file_count);
}

uint64_t hr_manifest_row_count(const hr_manifest *part)
{
  uint64_t count = 0;
  for (size_t i = 0; i < part->header.table_count; i++)
    count += part->tables[i].desc.row_count;
  return count;
}

uint64_t hr_manifest_data_bytes(const hr_manifest *part)
{
  uint64_t bytes = 0;
  for (size_t i = 0; i < part->header.table_count; i++)
    bytes += part->tables[i].file_size;
  for (size_t i = 0; i < part->header.file_count; i++)
    bytes += part->files[i].size;
  return bytes;
}

const hr_manifest_table *hr_manifest_find(const hr_manifest *part, const char *name)
{
  for (size_t i = 0; i < part->header.table_count; i++)
    if (strcmp(part->tables[i].desc.name, name) == 0)
      return &part->tables[i];
  return NULL;
}

/* All parts must be of one save. Shards may have met their tables in another order, under other ids. */
hotrow_status hr_manifest_check_same(const char *path, const hr_manifest *first, const hr_manifest *part)
{
  if (part->header.token != first->header.token)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of save %016llx, but %s is of %016llx", path,
                   (unsigned long long)part->header.token, first->path.text, (unsigned long long)first->header.token);
  if (part->header.table_count != first->header.table_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: has %u tables, but %s has %u", path, part->header.table_count,
                   first->path.text, first->header.table_count);
  for (size_t i = 0; i < first->header.table_count; i++) {
    const hr_table_desc *desc = &first->tables[i].desc;
    const hr_manifest_table *same = hr_manifest_find(part, desc->name);
    if (!same)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: lacks table %s, which %s has", path, desc->name, first->path.text);
    if (!hr_table_desc_matches(&same->desc, desc))
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: describes table %s otherwise than %s", path, desc->name,
                     first->path.text);
  }
  return HOTROW_OK;
}

/* CHECKPOINT vouches for every manifest, as a manifest does for its files. */
static hotrow_status check_against_checkpoint(const hr_save_set *set, const char *path, const hr_manifest *part)
{
  const hr_checkpoint_part *expected = &set->checkpoint_parts[part->header.shard_index];
  uint64_t row_count = hr_manifest_row_count(part), rows_size = hr_manifest_data_bytes(part);
  if (hr_manifest_size(part) != expected->manifest_size || part->hash != expected->manifest_hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match the checksum in CHECKPOINT", path);
  if (part->header.token != set->checkpoint.token)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of checkpoint %016llx, but CHECKPOINT is of %016llx", path,
                   (unsigned long long)part->header.token, (unsigned long long)set->checkpoint.token);
  if (row_count != expected->row_count || rows_size != expected->rows_size)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu rows in %llu bytes, CHECKPOINT says %llu in %llu", path,
                   (unsigned long long)row_count, (unsigned long long)rows_size,
                   (unsigned long long)expected->row_count, (unsigned long long)expected->rows_size);
  return HOTROW_OK;
}

static hotrow_status read_manifest(hr_save_set *set, uint32_t index)
{
  hr_manifest *part = &set->parts[index];
  hr_path path;
  HOTROW_TRY(hr_path_format(&part->path, "%s/shard-%u-of-%u", set->path, index, set->part_count));
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_MANIFEST_FILE, part->path.text));
  int fd = -1;
  uint64_t size = 0;
  HOTROW_TRY(hr_input_open(path.text, &fd, &size));
  hotrow_status status = parse_manifest(set, path.text, fd, size, part);
  close(fd);
  HOTROW_TRY(status);
  if (part->header.shard_index != index || part->header.shard_count != set->part_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: is of shard %u of %u", path.text, part->header.shard_index,
                   part->header.shard_count);
  if (set->checkpoint_parts)
    HOTROW_TRY(check_against_checkpoint(set, path.text, part));
  return hr_manifest_check_same(path.text, &set->parts[0], part);
}

/* ---- the set ---- */

static hotrow_status count_parts(hr_save_set *set)
{
  hotrow_status status = hr_save_count_parts(set->path, &set->part_count);
  if (status == HOTROW_ERR_EXISTS)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s", hotrow_last_error());
  HOTROW_TRY(status);
  if (set->part_count == 0)
    return hr_fail(HOTROW_ERR_NOT_FOUND, "%s: holds no part of a save", set->path);
  if (set->part_count > HR_SHARD_COUNT_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: holds parts of %u shards, the limit is %u", set->path, set->part_count,
                   HR_SHARD_COUNT_MAX);
  return HOTROW_OK;
}

static hotrow_status read_set(hr_save_set *set)
{
  if (!set->is_checkpoint)
    HOTROW_TRY(read_checkpoint(set));
  if (!set->is_checkpoint && hr_data_dir_is_one(set->path))
    return hr_fail(HOTROW_ERR_INVALID, "%s: a data directory, and no checkpoint or save", set->path);
  if (!set->is_checkpoint)
    HOTROW_TRY(count_parts(set));
  void *parts;
  HOTROW_TRY(hr_alloc(set->part_count, sizeof *set->parts, "manifests", &parts));
  set->parts = parts;
  for (uint32_t i = 0; i < set->part_count; i++)
    HOTROW_TRY(read_manifest(set, i));
  return HOTROW_OK;
}

static hotrow_status open_set(hr_save_set *set, hr_save_set *set_p)
{
  void *buffer;
  HOTROW_TRY(hr_alloc(HR_SAVE_BUFFER_BYTES, 1, "load buffer", &buffer));
  set->buffer = buffer;
  hotrow_status status = read_set(set);
  if (status == HOTROW_OK)
    *set_p = *set;
  else
    hr_save_set_close(set);
  return status;
}

hotrow_status hr_save_set_open(const char *path, hr_save_set *set_p)
{
  return open_set(&(hr_save_set){.path = path}, set_p);
}

hotrow_status hr_save_set_open_parts(const char *path, uint32_t part_count, hr_save_set *set_p)
{
  return open_set(&(hr_save_set){.path = path, .part_count = part_count, .is_checkpoint = true}, set_p);
}

static void free_manifest(hr_manifest *part)
{
  free(part->tables);
  free(part->files);
}

void hr_save_set_close(hr_save_set *set)
{
  for (uint32_t i = 0; set->parts && i < set->part_count; i++)
    free_manifest(&set->parts[i]);
  for (uint32_t i = 0; set->locks && i < set->part_count; i++)
    if (set->locks[i] >= 0)
      close(set->locks[i]);
  free(set->locks);
  free(set->parts);
  free(set->checkpoint_parts);
  free(set->buffer);
}

uint64_t hr_save_set_bytes(const hr_save_set *set)
{
  uint64_t bytes = set->checkpoint.blob_size;
  for (uint32_t i = 0; i < set->part_count; i++)
    bytes += hr_manifest_data_bytes(&set->parts[i]);
  return bytes;
}

/* ---- rows and blob ---- */

static hotrow_status check_rows_head(hr_rows_file *file, uint64_t size, uint64_t token)
{
  const char *path = file->path.text;
  hr_rows_header header;
  if (size != file->entry->file_size)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes, MANIFEST says %llu", path, (unsigned long long)size,
                   (unsigned long long)file->entry->file_size);
  HOTROW_TRY(hr_input_read(file->fd, path, &header, sizeof header));
  if (memcmp(header.magic, HR_ROWS_MAGIC, HR_SAVE_MAGIC_BYTES) != 0)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: not a file of a hotrow save", path);
  HOTROW_TRY(check_version(path, header.version, HR_SAVE_VERSION));
  if (header.token != token)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of save %016llx, but MANIFEST is of %016llx", path,
                   (unsigned long long)header.token, (unsigned long long)token);
  XXH3_64bits_reset(&file->hash);
  XXH3_64bits_update(&file->hash, &header, sizeof header);
  file->bytes_left = size - sizeof header;
  return HOTROW_OK;
}

static hotrow_status check_rows_hash(const hr_rows_file *file)
{
  if (file->bytes_left == 0 && XXH3_64bits_digest(&file->hash) != file->entry->file_hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match the checksum in MANIFEST", file->path.text);
  return HOTROW_OK;
}

hotrow_status hr_rows_file_open(const hr_manifest *part, const hr_manifest_table *entry, hr_rows_file *file_p)
{
  hr_rows_file *file = file_p;
  uint64_t size = 0;
  file->entry = entry;
  HOTROW_TRY(hr_path_format(&file->path, "%s/%s.rows", part->path.text, entry->desc.name));
  HOTROW_TRY(hr_input_open(file->path.text, &file->fd, &size));
  hotrow_status status = check_rows_head(file, size, part->header.token);
  if (status == HOTROW_OK)
    status = check_rows_hash(file); /* of one without rows */
  if (status != HOTROW_OK)
    close(file->fd);
  return status;
}

hotrow_status hr_rows_file_read(hr_rows_file *file, void *bytes, size_t size)
{
  HOTROW_ASSERT(size <= file->bytes_left);
  HOTROW_TRY(hr_input_read(file->fd, file->path.text, bytes, size));
  XXH3_64bits_update(&file->hash, bytes, size);
  file->bytes_left -= size;
  return check_rows_hash(file);
}

void hr_rows_file_close(hr_rows_file *file)
{
  close(file->fd);
}

static hotrow_status check_blob(hr_save_set *set, const char *path, int fd, uint64_t size)
{
  uint64_t hash;
  if (size != set->checkpoint.blob_size)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes, CHECKPOINT says %llu", path, (unsigned long long)size,
                   (unsigned long long)set->checkpoint.blob_size);
  HOTROW_TRY(hr_input_hash(fd, path, size, set->buffer, &hash));
  if (hash != set->checkpoint.blob_hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match the checksum in CHECKPOINT", path);
  return HOTROW_OK;
}

hotrow_status hr_save_set_open_blob(hr_save_set *set, int *fd_p)
{
  hr_path path;
  int fd = -1;
  uint64_t size = 0;
  if (set->is_checkpoint && set->checkpoint.blob_size > 0) {
    HOTROW_TRY(hr_path_format(&path, "%s/" HR_CHECKPOINT_BLOB_FILE, set->path));
    HOTROW_TRY(hr_input_open(path.text, &fd, &size));
    hotrow_status status = check_blob(set, path.text, fd, size);
    if (status != HOTROW_OK) {
      close(fd);
      return status;
    }
  }
  *fd_p = fd;
  return HOTROW_OK;
}
