/* A data directory as a set of parts to load from: the manifests that it does not have are made from its databases. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <hr/memory.h>
#include <hr/route.h>

#include "data_dir.h"
#include "database.h"
#include "save.h"

static bool has_file(const char *path, const char *name)
{
  hr_path file;
  return hr_path_format(&file, "%s/%s", path, name) == HOTROW_OK && access(file.text, F_OK) == 0;
}

/* Its parts have RocksDB's CURRENT, and no MANIFEST of ours. */
bool hr_data_dir_is_one(const char *path)
{
  uint32_t count = 0;
  if (has_file(path, HR_CHECKPOINT_FILE) || hr_save_count_parts(path, &count) != HOTROW_OK)
    return false;
  for (uint32_t i = 0; i < count; i++) {
    hr_path part;
    if (hr_path_format(&part, "%s/shard-%u-of-%u", path, i, count) == HOTROW_OK && has_file(part.text, "CURRENT"))
      return !has_file(part.text, HR_MANIFEST_FILE);
  }
  return false;
}

/* Shared: several shards may load from it at once, and a server holds it alone. A copy may have come without the lock's
 * file, and is read then as it is. */
static hotrow_status lock(const char *path, uint32_t index, uint32_t count, int *lock_p)
{
  hr_path name;
  HOTROW_TRY(hr_path_format(&name, "%s/shard-%u-of-%u.lock", path, index, count));
  int fd = open(name.text, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT)
    return HOTROW_OK;
  if (fd < 0)
    return hr_fail_errno(name.text, "open");
  if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
    *lock_p = fd;
    return HOTROW_OK;
  }
  hotrow_status status =
      errno == EWOULDBLOCK
          ? hr_fail(HOTROW_ERR_BUSY, "data directory %s is in use: a server has shard %u open", path, index)
          : hr_fail_errno(name.text, "lock");
  close(fd);
  return status;
}

static hotrow_status add_table(const hr_table_desc *desc, void *context)
{
  hr_manifest *part = context;
  if (part->header.table_count == HR_SAVE_TABLES_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: more than %u tables", part->path.text, HR_SAVE_TABLES_MAX);
  hr_manifest_table *table = &part->tables[part->header.table_count++];
  *table = (hr_manifest_table){.desc = *desc};
  return hr_manifest_check_table(part->path.text, table, false);
}

static hotrow_status read_part(const hr_database *database, hr_manifest *part, uint32_t index, uint32_t count)
{
  hr_store_meta meta = {0};
  HOTROW_TRY(hr_database_read_meta(database, &meta));
  if (meta.shard_index != index || meta.shard_count != count)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: is of shard %u of %u", part->path.text, meta.shard_index, meta.shard_count);
  bool is_unfinished, has_log;
  HOTROW_TRY(hr_database_is_unfinished(database, &is_unfinished));
  if (is_unfinished)
    return hr_fail(HOTROW_ERR_CORRUPT, HR_STORE_UNFINISHED_TEXT, part->path.text);
  HOTROW_TRY(hr_database_has_log(database, &has_log));
  if (has_log)
    return hr_fail(
        HOTROW_ERR_UNSUPPORTED,
        "data directory %s: has pushes in its log that are not in its rows yet: start a server on it with its "
        "own shard count and stop it, then load it",
        part->path.text);
  return hr_database_visit_tables(database, add_table, part);
}

static hotrow_status open_part(hr_save_set *set, uint32_t index)
{
  hr_manifest *part = &set->parts[index];
  hr_database database;
  void *tables;
  part->is_database = true;
  part->header.shard_index = index;
  part->header.shard_count = set->part_count;
  HOTROW_TRY(hr_path_format(&part->path, "%s/shard-%u-of-%u", set->path, index, set->part_count));
  HOTROW_TRY(hr_alloc(HR_SAVE_TABLES_MAX, sizeof *part->tables, "tables of a data directory", &tables));
  part->tables = tables;
  HOTROW_TRY(lock(set->path, index, set->part_count, &set->locks[index]));
  if (!has_file(part->path.text, "CURRENT"))
    return hr_fail(HOTROW_ERR_NOT_FOUND, "%s/CURRENT: missing", part->path.text);
  HOTROW_TRY(hr_database_open(part->path.text, &database));
  hotrow_status status = read_part(&database, part, index, set->part_count);
  hr_database_close(&database);
  HOTROW_TRY(status);
  return hr_manifest_check_same(part->path.text, &set->parts[0], part);
}

static hotrow_status open_parts(hr_save_set *set)
{
  void *memory;
  HOTROW_TRY(hr_save_count_parts(set->path, &set->part_count));
  if (set->part_count > HR_SHARD_COUNT_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s is of %u shards, the limit is %u", set->path, set->part_count,
                   HR_SHARD_COUNT_MAX);
  HOTROW_TRY(hr_alloc(HR_SAVE_BUFFER_BYTES, 1, "load buffer", &memory));
  set->buffer = memory;
  HOTROW_TRY(hr_alloc(set->part_count, sizeof *set->parts, "manifests", &memory));
  set->parts = memory;
  HOTROW_TRY(hr_alloc(set->part_count, sizeof *set->locks, "locks", &memory));
  set->locks = memory;
  for (uint32_t i = 0; i < set->part_count; i++)
    set->locks[i] = -1;
  for (uint32_t i = 0; i < set->part_count; i++)
    HOTROW_TRY(open_part(set, i));
  return HOTROW_OK;
}

hotrow_status hr_data_dir_open_set(const char *path, hr_save_set *set_p)
{
  hr_save_set set = {.path = path, .is_data_dir = true};
  hotrow_status status = open_parts(&set);
  if (status == HOTROW_OK)
    *set_p = set;
  else
    hr_save_set_close(&set);
  return status;
}
