#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/log.h>

#include "checkpoint_prune.h"
#include "save_set.h"

/* ---- the part ---- */

hotrow_status hr_checkpoint_begin(hr_checkpoint_files *c)
{
  c->blob_fd = -1;
  c->blob_filled = 0;
  HOTROW_TRY(
      hr_path_format(&c->dir, "%s/.%s.%016llx.tmp", c->save_dir, c->what.name, (unsigned long long)c->what.token));
  return hr_path_format(&c->part, "%s/shard-%u-of-%u", c->dir.text, c->shard_index, c->shard_count);
}

void hr_checkpoint_note(hr_checkpoint_files *c, uint64_t epoch, hr_table *const *tables, size_t table_count)
{
  HOTROW_ASSERT(table_count <= HR_SAVE_TABLES_MAX);
  c->header = (hr_manifest_header){.version = HR_SAVE_VERSION,
                                   .table_count = (uint32_t)table_count,
                                   .token = c->what.token,
                                   .epoch = epoch,
                                   .shard_index = c->shard_index,
                                   .shard_count = c->shard_count};
  memcpy(c->header.magic, c->storage ? HR_DATABASE_MAGIC : HR_PART_MAGIC, HR_SAVE_MAGIC_BYTES);
  for (size_t i = 0; i < table_count; i++)
    c->tables[i] = (hr_manifest_table){.desc = *hr_table_get_desc(tables[i])};
}

hotrow_status hr_checkpoint_begin_copy(hr_checkpoint_files *c, hr_table *const *tables, size_t bytes_max)
{
  hr_save_copy_options options = {.dir = c->dir.text,
                                  .part = c->part.text,
                                  .header = &c->header,
                                  .entries = c->tables,
                                  .tables = tables,
                                  .bytes_max = bytes_max};
  HOTROW_TRY(hr_save_copy_create(&options, &c->copy));
  hotrow_status status = HOTROW_OK;
  size_t begun = 0;
  while (status == HOTROW_OK && begun < c->header.table_count)
    status = hr_table_begin_copy(tables[begun++], hr_save_copy_calls(c->copy));
  if (status == HOTROW_OK)
    return HOTROW_OK;
  while (begun > 0)
    hr_table_abandon_cut(tables[--begun]);
  hr_save_copy_destroy(c->copy);
  c->copy = NULL;
  return status;
}

/* The storage is let go of before the files are read. */
static hotrow_status copy_database(hr_checkpoint_files *c)
{
  const hr_storage *storage = c->storage;
  hotrow_status status = hr_make_directory(c->dir.text, true);
  if (status == HOTROW_OK)
    status = storage->copy(storage->context, c->part.text);
  storage->let_go(storage->context);
  HOTROW_TRY(status);
  HOTROW_TRY(hr_database_write_manifest(c->part.text, &c->header, c->tables, &c->known, &c->bytes));
  hr_log(HOTROW_LOG_INFO, "checkpoint %s: part of shard %u is on disk, %llu bytes, of them new %llu", c->what.name,
         c->shard_index, (unsigned long long)c->bytes.size, (unsigned long long)c->bytes.new_size);
  return HOTROW_OK;
}

hotrow_status hr_checkpoint_settle(hr_checkpoint_files *c)
{
  return c->storage ? copy_database(c) : hr_save_copy_write(c->copy);
}

void hr_checkpoint_drop(hr_checkpoint_files *c)
{
  if (c->blob_fd >= 0)
    close(c->blob_fd);
  c->blob_fd = -1;
  hr_remove_directory(c->shard_index == 0 ? c->dir.text : c->part.text); /* RocksDB removes what it has begun */
  rmdir(c->dir.text);                                                    /* by the last of them */
}

/* ---- the blob ---- */

static hotrow_status blob_path(const hr_checkpoint_files *c, hr_path *path_p)
{
  return hr_path_format(path_p, "%s/" HR_CHECKPOINT_BLOB_FILE, c->dir.text);
}

hotrow_status hr_checkpoint_put_blob(hr_checkpoint_files *c, uint64_t offset, const void *bytes, size_t size)
{
  hr_path path;
  HOTROW_TRY(blob_path(c, &path));
  HOTROW_ASSERT(offset <= c->what.blob_size && size <= c->what.blob_size - offset);
  if (offset > c->blob_filled)
    return hr_fail(HOTROW_ERR_INVALID, "checkpoint %s: bytes of the blob from %llu on, and it is filled up to %llu",
                   c->what.name, (unsigned long long)offset, (unsigned long long)c->blob_filled);
  if (c->blob_fd < 0)
    c->blob_fd = open(path.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (c->blob_fd < 0)
    return hr_fail_errno(path.text, "create");
  for (size_t done = 0; done < size;) {
    ssize_t written = pwrite(c->blob_fd, (const uint8_t *)bytes + done, size - done, (off_t)(offset + done));
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return hr_fail_errno(path.text, "write");
    done += (size_t)written;
  }
  if (offset + size > c->blob_filled)
    c->blob_filled = offset + size;
  return HOTROW_OK;
}

static hotrow_status settle_blob(const hr_checkpoint_files *c, uint8_t *buffer, uint64_t *hash_p)
{
  hr_path path;
  HOTROW_TRY(blob_path(c, &path));
  if (c->blob_filled != c->what.blob_size)
    return hr_fail(HOTROW_ERR_INVALID, "checkpoint %s: %llu of the %llu bytes of its blob have come", c->what.name,
                   (unsigned long long)c->blob_filled, (unsigned long long)c->what.blob_size);
  if (c->blob_fd < 0)
    return HOTROW_OK;
  if (lseek(c->blob_fd, 0, SEEK_SET) < 0)
    return hr_fail_errno(path.text, "read");
  HOTROW_TRY(hr_input_hash(c->blob_fd, path.text, c->what.blob_size, buffer, hash_p));
  return hr_sync_file(path.text, c->blob_fd);
}

/* ---- publishing ---- */

/* What CHECKPOINT says of one part, whose files must all be there with their sizes. */
static hotrow_status describe_part(const hr_checkpoint_files *c, const hr_manifest *part, hr_checkpoint_part *entry_p)
{
  if (part->header.token != c->what.token)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: of checkpoint %016llx, and not of %016llx", part->path.text,
                   (unsigned long long)part->header.token, (unsigned long long)c->what.token);
  *entry_p = (hr_checkpoint_part){.row_count = hr_manifest_row_count(part),
                                  .rows_size = hr_manifest_data_bytes(part),
                                  .manifest_size = hr_manifest_size(part),
                                  .manifest_hash = part->hash};
  for (size_t i = 0; !part->is_database && i < part->header.table_count; i++) {
    hr_rows_file file;
    HOTROW_TRY(hr_rows_file_open(part, &part->tables[i], &file));
    hr_rows_file_close(&file);
  }
  if (part->is_database)
    HOTROW_TRY(hr_database_check_files(part));
  return HOTROW_OK;
}

static hr_checkpoint_header describe(const hr_checkpoint_files *c, uint64_t blob_hash)
{
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (hr_checkpoint_header){.magic = HR_CHECKPOINT_MAGIC,
                                .version = HR_CHECKPOINT_VERSION,
                                .shard_count = c->shard_count,
                                .token = c->what.token,
                                .step = c->what.step,
                                .created_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                                .rank_count = c->what.rank_count,
                                .blob_size = c->what.blob_size,
                                .blob_hash = blob_hash};
}

static hotrow_status append_parts(const hr_checkpoint_files *c, const hr_save_set *set, hr_output *out)
{
  for (uint32_t i = 0; i < set->part_count; i++) {
    hr_checkpoint_part entry;
    HOTROW_TRY(describe_part(c, &set->parts[i], &entry));
    HOTROW_TRY(hr_output_append(out, &entry, sizeof entry));
  }
  return hr_output_append_hash(out);
}

static hotrow_status write_checkpoint(const hr_checkpoint_files *c, const hr_save_set *set)
{
  hr_path path;
  hr_output out;
  uint64_t blob_hash = 0;
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_CHECKPOINT_FILE, c->dir.text));
  HOTROW_TRY(settle_blob(c, set->buffer, &blob_hash));
  hr_checkpoint_header header = describe(c, blob_hash);
  HOTROW_TRY(hr_output_begin(&out, path.text, set->buffer));
  hotrow_status status = hr_output_append(&out, &header, sizeof header);
  if (status == HOTROW_OK)
    status = append_parts(c, set, &out);
  return hr_output_end(&out, status);
}

hotrow_status hr_checkpoint_publish(hr_checkpoint_files *c)
{
  hr_save_set set;
  hr_path final;
  HOTROW_TRY(hr_path_format(&final, "%s/%s", c->save_dir, c->what.name));
  HOTROW_TRY(hr_save_set_open_parts(c->dir.text, c->shard_count, &set));
  hotrow_status status = write_checkpoint(c, &set);
  hr_save_set_close(&set);
  HOTROW_TRY(status);
  if (c->blob_fd >= 0)
    close(c->blob_fd);
  c->blob_fd = -1;
  HOTROW_TRY(hr_sync_directory(c->dir.text));
  HOTROW_TRY(hr_publish_directory(c->dir.text, final.text));
  HOTROW_TRY(hr_sync_directory(c->save_dir));
  hr_remove_directory(c->dir.text); /* one of the same name that was there before */
  hr_checkpoint_prune(c->save_dir, &c->what);
  return HOTROW_OK;
}
