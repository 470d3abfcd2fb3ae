#include "save.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/route.h>

#include "save_format.h"

hotrow_status hr_path_format(hr_path *path_p, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  int size = vsnprintf(path_p->text, sizeof path_p->text, format, args);
  va_end(args);
  if (size < 0 || (size_t)size >= sizeof path_p->text)
    return hr_fail(HOTROW_ERR_STORAGE, "%.200s...: a path of %d bytes, the limit is %d", path_p->text, size, PATH_MAX);
  return HOTROW_OK;
}

static hotrow_status fail_errno(const char *path, const char *deed)
{
  return hr_fail(HOTROW_ERR_STORAGE, "%s: cannot %s: %s", path, deed, strerror(errno));
}

hotrow_status hr_save_count_parts(const char *dir, uint32_t *shard_count_p)
{
  DIR *entries = opendir(dir);
  if (!entries)
    return errno == ENOENT ? hr_fail(HOTROW_ERR_NOT_FOUND, "%s: no such save", dir) : fail_errno(dir, "list");
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

/* A file being written: buffered, hashed on the way. */
typedef struct output {
  XXH3_state_t hash;
  const char *path;
  int fd;
  size_t used;
  uint64_t size;
  uint8_t *buffer; /* borrowed, HR_SAVE_BUFFER_BYTES */
} output;

static hotrow_status flush(output *out)
{
  XXH3_64bits_update(&out->hash, out->buffer, out->used);
  for (size_t done = 0; done < out->used;) {
    ssize_t written = write(out->fd, out->buffer + done, out->used - done);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return fail_errno(out->path, "write");
    done += (size_t)written;
  }
  out->used = 0;
  return HOTROW_OK;
}

static hotrow_status append(output *out, const void *bytes, size_t size)
{
  HOTROW_ASSERT(size <= HR_SAVE_BUFFER_BYTES);
  if (size > HR_SAVE_BUFFER_BYTES - out->used)
    HOTROW_TRY(flush(out));
  memcpy(out->buffer + out->used, bytes, size);
  out->used += size;
  out->size += size;
  return HOTROW_OK;
}

static hotrow_status begin_output(output *out, const char *path, uint8_t *buffer)
{
  *out = (output){.path = path, .buffer = buffer};
  XXH3_64bits_reset(&out->hash);
  out->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return out->fd < 0 ? fail_errno(path, "create") : HOTROW_OK;
}

/* Closes the file in any case; it is on disk if this succeeds. */
static hotrow_status end_output(output *out, hotrow_status status)
{
  if (status == HOTROW_OK)
    status = flush(out);
  if (status == HOTROW_OK && fsync(out->fd) != 0)
    status = fail_errno(out->path, "sync");
  if (close(out->fd) != 0 && status == HOTROW_OK)
    status = fail_errno(out->path, "close");
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
  output out;
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
  HOTROW_TRY(append(&writer->out, &key, sizeof key));
  HOTROW_TRY(append(&writer->out, &clock, sizeof clock));
  return append(&writer->out, value_and_state, writer->float_bytes);
}

static hotrow_status write_rows(const save_part *part, const char *dir, const hr_table *table,
                                hr_manifest_table *entry_p)
{
  const hr_table_desc *desc = hr_table_get_desc(table);
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/%s.rows", dir, desc->name));
  size_t record_size = hr_save_record_size(hr_table_get_layout(table));
  hr_rows_header header = {.magic = HR_ROWS_MAGIC,
                           .version = HR_SAVE_VERSION,
                           .record_size = (uint32_t)record_size,
                           .token = part->save->token,
                           .row_count = desc->row_count};
  row_writer writer = {.part = part, .table = table, .float_bytes = record_size - HR_ROW_HEAD_BYTES};
  HOTROW_TRY(begin_output(&writer.out, path.text, part->buffer));
  hotrow_status status = append(&writer.out, &header, sizeof header);
  if (status == HOTROW_OK)
    status = hr_table_scan(table, write_row, &writer);
  HOTROW_TRY(end_output(&writer.out, status));
  *entry_p = (hr_manifest_table){*desc, writer.out.size, XXH3_64bits_digest(&writer.out.hash)};
  return HOTROW_OK;
}

static hotrow_status write_manifest(const save_part *part, const char *dir, const hr_manifest_table *entries)
{
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/MANIFEST", dir));
  hr_manifest_header header = {.magic = HR_MANIFEST_MAGIC,
                               .version = HR_SAVE_VERSION,
                               .table_count = (uint32_t)part->table_count,
                               .token = part->save->token,
                               .epoch = part->epoch,
                               .shard_index = part->shard_index,
                               .shard_count = part->shard_count};
  output out;
  HOTROW_TRY(begin_output(&out, path.text, part->buffer));
  hotrow_status status = append(&out, &header, sizeof header);
  if (status == HOTROW_OK)
    status = append(&out, entries, part->table_count * sizeof *entries);
  if (status == HOTROW_OK)
    status = flush(&out);
  uint64_t hash = XXH3_64bits_digest(&out.hash);
  if (status == HOTROW_OK)
    status = append(&out, &hash, sizeof hash);
  return end_output(&out, status);
}

static hotrow_status sync_directory(const char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return fail_errno(path, "open");
  hotrow_status status = fsync(fd) == 0 ? HOTROW_OK : fail_errno(path, "sync");
  close(fd);
  return status;
}

static hotrow_status write_files(const save_part *part, const char *dir)
{
  hr_manifest_table entries[HR_SAVE_TABLES_MAX];
  for (size_t i = 0; i < part->table_count; i++)
    HOTROW_TRY(write_rows(part, dir, part->tables[i], &entries[i]));
  HOTROW_TRY(write_manifest(part, dir, entries));
  return sync_directory(dir);
}

/* Removes a part, as far as it is there. Nothing depends on it: a name with ".tmp-" in it is never read. */
static void remove_part(const char *path)
{
  DIR *entries = opendir(path);
  if (!entries)
    return;
  for (struct dirent *entry; (entry = readdir(entries));)
    unlinkat(dirfd(entries), entry->d_name, 0);
  closedir(entries);
  rmdir(path);
}

/* Puts `written` in the place of `final`; an older part ends up at `written`. */
static hotrow_status publish(const char *written, const char *final)
{
  if (renameat2(AT_FDCWD, written, AT_FDCWD, final, RENAME_EXCHANGE) == 0)
    return HOTROW_OK;
  if (errno == ENOENT)
    return rename(written, final) == 0 ? HOTROW_OK : fail_errno(final, "rename the new part");
  if (errno != EINVAL && errno != ENOSYS)
    return fail_errno(final, "replace the older part");
  /* A filesystem that cannot exchange (NFS): for a moment the part has neither, but both are on disk. */
  hr_path aside;
  HOTROW_TRY(hr_path_format(&aside, "%s.old", written));
  if (rename(final, aside.text) != 0)
    return fail_errno(final, "move the older part aside");
  if (rename(written, final) != 0) {
    hotrow_status status = fail_errno(final, "rename the new part");
    rename(aside.text, final);
    return status;
  }
  return rename(aside.text, written) == 0 ? HOTROW_OK : fail_errno(aside.text, "rename the older part");
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
  remove_part(written.text);
  if (mkdir(written.text, 0777) != 0)
    return fail_errno(written.text, "make the directory");
  hotrow_status status = write_files(part, written.text);
  if (status == HOTROW_OK)
    status = publish(written.text, final.text);
  if (status == HOTROW_OK)
    status = sync_directory(dir);
  remove_part(written.text);
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
    status = sync_directory(save_dir);
  else if (errno != EEXIST)
    status = fail_errno(dir.text, "make the directory");
  if (status == HOTROW_OK)
    status = write_and_publish(&part, dir.text);
  free(buffer);
  return status;
}
