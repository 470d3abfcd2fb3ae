#include "save.h"

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

#include "save_format.h"

#define MANIFEST_BYTES(table_count)                                                                                    \
  (sizeof(hr_manifest_header) + (table_count) * sizeof(hr_manifest_table) + sizeof(uint64_t))

typedef struct manifest {
  hr_path path; /* of its part's directory */
  hr_manifest_header header;
  hr_manifest_table *tables; /* owned */
} manifest;

typedef struct loading {
  const char *path; /* of the save */
  uint32_t shard_index;
  uint32_t shard_count;
  uint32_t part_count;
  manifest *parts;                      /* owned */
  hr_table *tables[HR_SAVE_TABLES_MAX]; /* borrowed: those of part 0's manifest, in its order */
  uint8_t *buffer;                      /* owned, HR_SAVE_BUFFER_BYTES */
} loading;

static hotrow_status open_file(const char *path, int *fd_p, uint64_t *size_p)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? hr_fail(HOTROW_ERR_NOT_FOUND, "%s: missing", path)
                           : hr_fail(HOTROW_ERR_STORAGE, "%s: cannot open: %s", path, strerror(errno));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return hr_fail(HOTROW_ERR_STORAGE, "%s: not a readable file", path);
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  *fd_p = fd;
  *size_p = (uint64_t)info.st_size;
  return HOTROW_OK;
}

static hotrow_status read_bytes(int fd, const char *path, void *bytes, size_t size)
{
  for (size_t done = 0; done < size;) {
    ssize_t got = read(fd, (uint8_t *)bytes + done, size - done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return hr_fail(HOTROW_ERR_STORAGE, "%s: cannot read: %s", path, strerror(errno));
    if (got == 0)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: ends early", path);
    done += (size_t)got;
  }
  return HOTROW_OK;
}

static hotrow_status check_head(const char *path, const char *magic, const char *expected_magic, uint32_t version)
{
  if (memcmp(magic, expected_magic, HR_SAVE_MAGIC_BYTES) != 0)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: not a file of a hotrow save", path);
  if (version != HR_SAVE_VERSION)
    return hr_fail(HOTROW_ERR_VERSION, "%s: format version %u, this build reads %u", path, version, HR_SAVE_VERSION);
  return HOTROW_OK;
}

/* Everything that can be said of a manifest by itself. `bytes` is the whole file. */
static hotrow_status check_manifest(const char *path, const uint8_t *bytes, size_t size, manifest *part)
{
  uint64_t hash;
  memcpy(&hash, bytes + size - sizeof hash, sizeof hash);
  if (hr_hash_bytes(bytes, size - sizeof hash) != hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match its checksum", path);
  for (size_t i = 0; i < part->header.table_count; i++) {
    hr_manifest_table *table = &part->tables[i];
    if (hr_wire_check_name(table->desc.name, strnlen(table->desc.name, sizeof table->desc.name)) != HOTROW_OK)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: %s", path, hotrow_last_error());
    hotrow_row_layout layout;
    if (hr_row_layout_make(table->desc.segments, table->desc.segment_count, &layout) != HOTROW_OK)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: table %s: %s", path, table->desc.name, hotrow_last_error());
    if (table->desc.dim != layout.dim || table->desc.row_count > HR_TABLE_ROWS_MAX ||
        table->file_size != sizeof(hr_rows_header) + table->desc.row_count * hr_save_record_size(&layout))
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: table %s: %llu rows of dim %u do not make a file of %llu bytes", path,
                     table->desc.name, (unsigned long long)table->desc.row_count, table->desc.dim,
                     (unsigned long long)table->file_size);
  }
  return HOTROW_OK;
}

static hotrow_status parse_manifest(const char *path, int fd, uint64_t size, uint8_t *buffer, manifest *part)
{
  if (size < MANIFEST_BYTES(0) || size > MANIFEST_BYTES(HR_SAVE_TABLES_MAX))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes cannot be a manifest", path, (unsigned long long)size);
  HOTROW_TRY(read_bytes(fd, path, buffer, size));
  memcpy(&part->header, buffer, sizeof part->header);
  HOTROW_TRY(check_head(path, part->header.magic, HR_MANIFEST_MAGIC, part->header.version));
  size_t table_count = part->header.table_count;
  if (table_count > HR_SAVE_TABLES_MAX || size != MANIFEST_BYTES(table_count))
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes do not hold %zu tables", path, (unsigned long long)size,
                   table_count);
  void *tables;
  HOTROW_TRY(hr_alloc(table_count, sizeof *part->tables, "manifest", &tables));
  part->tables = tables;
  memcpy(tables, buffer + sizeof part->header, table_count * sizeof *part->tables);
  return check_manifest(path, buffer, size, part);
}

static hr_manifest_table *find_table(manifest *part, const char *name)
{
  for (size_t i = 0; i < part->header.table_count; i++)
    if (strcmp(part->tables[i].desc.name, name) == 0)
      return &part->tables[i];
  return NULL;
}

/* All parts must be of one save. Shards may have met their tables in another order, under other ids. */
static hotrow_status check_against_first(const char *path, manifest *first, manifest *part)
{
  if (part->header.token != first->header.token)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of save %016llx, but %s is of %016llx", path,
                   (unsigned long long)part->header.token, first->path.text, (unsigned long long)first->header.token);
  if (part->header.table_count != first->header.table_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: has %u tables, but %s has %u", path, part->header.table_count,
                   first->path.text, first->header.table_count);
  for (size_t i = 0; i < first->header.table_count; i++) {
    const hr_table_desc *desc = &first->tables[i].desc;
    const hr_manifest_table *same = find_table(part, desc->name);
    if (!same)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: lacks table %s, which %s has", path, desc->name, first->path.text);
    if (!hr_table_desc_matches(&same->desc, desc))
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: describes table %s otherwise than %s", path, desc->name,
                     first->path.text);
  }
  return HOTROW_OK;
}

static hotrow_status read_manifest(loading *l, uint32_t index)
{
  manifest *part = &l->parts[index];
  hr_path path;
  HOTROW_TRY(hr_path_format(&part->path, "%s/shard-%u-of-%u", l->path, index, l->part_count));
  HOTROW_TRY(hr_path_format(&path, "%s/MANIFEST", part->path.text));
  int fd = -1;
  uint64_t size = 0;
  HOTROW_TRY(open_file(path.text, &fd, &size));
  hotrow_status status = parse_manifest(path.text, fd, size, l->buffer, part);
  close(fd);
  HOTROW_TRY(status);
  if (part->header.shard_index != index || part->header.shard_count != l->part_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: is of shard %u of %u", path.text, part->header.shard_index,
                   part->header.shard_count);
  return check_against_first(path.text, &l->parts[0], part);
}

/* A rows file being read. */
typedef struct rows_file {
  hr_path path;
  const hr_manifest_table *entry;
  const manifest *part;
  hr_table *table;
  XXH3_state_t hash;
} rows_file;

static hotrow_status load_record(const loading *l, const rows_file *file, const uint8_t *record)
{
  uint64_t key;
  uint32_t clock;
  float value_and_state[3 * HOTROW_DIM_MAX + HOTROW_SEGMENTS_MAX];
  size_t record_size = hr_save_record_size(hr_table_get_layout(file->table));
  HOTROW_ASSERT(record_size - HR_ROW_HEAD_BYTES <= sizeof value_and_state);
  memcpy(&key, record, sizeof key);
  memcpy(&clock, record + sizeof key, sizeof clock);
  memcpy(value_and_state, record + HR_ROW_HEAD_BYTES, record_size - HR_ROW_HEAD_BYTES);
  uint64_t hash = hr_key_hash(key, hr_table_get_seed(file->table));
  if (hr_shard_of(hash, l->part_count) != file->part->header.shard_index)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is not of this part", file->path.text, (unsigned long long)key);
  if (hr_shard_of(hash, l->shard_count) != l->shard_index)
    return HOTROW_OK;
  hotrow_status status = hr_table_restore_row(file->table, key, clock, value_and_state);
  if (status == HOTROW_ERR_EXISTS)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: key %llu is there twice", file->path.text, (unsigned long long)key);
  return status;
}

static hotrow_status load_records(const loading *l, rows_file *file, int fd)
{
  size_t record_size = hr_save_record_size(hr_table_get_layout(file->table));
  size_t batch = HR_SAVE_BUFFER_BYTES / record_size;
  for (uint64_t left = file->entry->desc.row_count; left > 0;) {
    size_t count = left < batch ? (size_t)left : batch;
    HOTROW_TRY(read_bytes(fd, file->path.text, l->buffer, count * record_size));
    XXH3_64bits_update(&file->hash, l->buffer, count * record_size);
    for (size_t i = 0; i < count; i++)
      HOTROW_TRY(load_record(l, file, l->buffer + i * record_size));
    left -= count;
  }
  if (XXH3_64bits_digest(&file->hash) != file->entry->file_hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match the checksum in MANIFEST", file->path.text);
  return HOTROW_OK;
}

static hotrow_status load_rows_from(const loading *l, rows_file *file, int fd, uint64_t size)
{
  if (size != file->entry->file_size)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes, MANIFEST says %llu", file->path.text, (unsigned long long)size,
                   (unsigned long long)file->entry->file_size);
  hr_rows_header header;
  HOTROW_TRY(read_bytes(fd, file->path.text, &header, sizeof header));
  HOTROW_TRY(check_head(file->path.text, header.magic, HR_ROWS_MAGIC, header.version));
  if (header.token != file->part->header.token)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of save %016llx, but MANIFEST is of %016llx", file->path.text,
                   (unsigned long long)header.token, (unsigned long long)file->part->header.token);
  XXH3_64bits_update(&file->hash, &header, sizeof header);
  return load_records(l, file, fd);
}

static hotrow_status load_rows(const loading *l, const manifest *part, const hr_manifest_table *entry, hr_table *table)
{
  rows_file file = {.entry = entry, .part = part, .table = table};
  XXH3_64bits_reset(&file.hash);
  HOTROW_TRY(hr_path_format(&file.path, "%s/%s.rows", part->path.text, entry->desc.name));
  int fd = -1;
  uint64_t size = 0;
  HOTROW_TRY(open_file(file.path.text, &fd, &size));
  hotrow_status status = load_rows_from(l, &file, fd, size);
  close(fd);
  return status;
}

static hotrow_status load_parts(loading *l, hr_load_table_fn load_table, void *context)
{
  for (uint32_t i = 0; i < l->part_count; i++)
    HOTROW_TRY(read_manifest(l, i));
  const manifest *first = &l->parts[0];
  for (size_t t = 0; t < first->header.table_count; t++)
    HOTROW_TRY(load_table(&first->tables[t].desc, context, &l->tables[t]));
  for (uint32_t i = 0; i < l->part_count; i++)
    for (size_t t = 0; t < first->header.table_count; t++)
      HOTROW_TRY(load_rows(l, &l->parts[i], find_table(&l->parts[i], first->tables[t].desc.name), l->tables[t]));
  return HOTROW_OK;
}

hotrow_status hr_save_load(const char *path, uint32_t shard_index, uint32_t shard_count, hr_load_table_fn load_table,
                           void *context)
{
  HOTROW_ASSERT(shard_index < shard_count);
  loading l = {.path = path, .shard_index = shard_index, .shard_count = shard_count};
  hotrow_status status = hr_save_count_parts(path, &l.part_count);
  if (status == HOTROW_ERR_EXISTS)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s", hotrow_last_error());
  HOTROW_TRY(status);
  if (l.part_count == 0)
    return hr_fail(HOTROW_ERR_NOT_FOUND, "%s: holds no part of a save", path);
  if (l.part_count > HR_SHARD_COUNT_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: holds parts of %u shards, the limit is %u", path, l.part_count,
                   HR_SHARD_COUNT_MAX);
  void *parts, *buffer;
  HOTROW_TRY(hr_alloc(HR_SAVE_BUFFER_BYTES, 1, "load buffer", &buffer));
  status = hr_alloc(l.part_count, sizeof *l.parts, "manifests", &parts);
  if (status != HOTROW_OK)
    goto free_buffer;
  l.buffer = buffer;
  l.parts = parts;
  status = load_parts(&l, load_table, context);
  for (uint32_t i = 0; i < l.part_count; i++)
    free(l.parts[i].tables);
  free(parts);
free_buffer:
  free(buffer);
  return status;
}
