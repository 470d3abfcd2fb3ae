#include "server_options.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/options.h>
#include <hr/route.h>

#include "save_file.h"
#include "server_durable.h"

HR_NO_TAIL_PADDING(hotrow_server_options, memory_bytes);

static hotrow_status sync_parent(const char *path)
{
  hr_path parent;
  HOTROW_TRY(hr_path_format(&parent, "%s/..", path));
  return hr_sync_directory(parent.text);
}

/* It is made if only it itself is missing, as a data directory is. A save that cannot be written is found out now and
 * not at the end of the job. */
static hotrow_status open_save_dir(const char *path)
{
  struct stat info;
  if (mkdir(path, 0777) == 0)
    HOTROW_TRY(sync_parent(path));
  else if (errno != EEXIST)
    return hr_fail(HOTROW_ERR_STORAGE, "save directory %s: cannot make it: %s", path, strerror(errno));
  if (stat(path, &info) != 0)
    return hr_fail(HOTROW_ERR_STORAGE, "save directory %s: %s", path, strerror(errno));
  if (!S_ISDIR(info.st_mode))
    return hr_fail(HOTROW_ERR_STORAGE, "save directory %s: not a directory", path);
  if (access(path, W_OK | X_OK) != 0)
    return hr_fail(HOTROW_ERR_STORAGE, "save directory %s: %s", path, strerror(errno));
  return HOTROW_OK;
}

hotrow_status hr_server_options_resolve(const hotrow_server_options *given, hotrow_server_options *o)
{
  if (!given)
    return hr_fail(HOTROW_ERR_INVALID, "options is NULL");
  HOTROW_TRY(hr_options_copy(o, sizeof *o, given, given->struct_size, "hotrow_server_options"));
  o->shards = o->shards ? o->shards : 1;
  o->shard_count = o->shard_count ? o->shard_count : o->shards;
  o->io_threads = o->io_threads ? o->io_threads : 1;
  o->cut_bytes = o->cut_bytes ? o->cut_bytes : HR_CUT_BYTES_DEFAULT;
  uint32_t interval_ms =
      o->durability == HOTROW_DURABILITY_LOG ? HR_CUT_INTERVAL_LOG_MS_DEFAULT : HR_CUT_INTERVAL_MS_DEFAULT;
  o->cut_interval_ms = o->cut_interval_ms ? o->cut_interval_ms : interval_ms;
  if (!o->bind)
    return hr_fail(HOTROW_ERR_INVALID, "bind is NULL: an address to listen on is needed");
  if (o->shards > HOTROW_SERVER_SHARDS_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "%u shards in one server, at most %u", o->shards, HOTROW_SERVER_SHARDS_MAX);
  if (o->shard_count > HR_SHARD_COUNT_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "shard_count %u, at most %u", o->shard_count, HR_SHARD_COUNT_MAX);
  if (o->shard_first >= o->shard_count || o->shards > o->shard_count - o->shard_first)
    return hr_fail(HOTROW_ERR_INVALID, "%u shards from shard_first %u do not fit in shard_count %u", o->shards,
                   o->shard_first, o->shard_count);
  if (o->io_threads > HOTROW_SERVER_SHARDS_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "%u io_threads, at most %u", o->io_threads, HOTROW_SERVER_SHARDS_MAX);
  if (o->cut_interval_ms > HR_CUT_INTERVAL_MS_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "cut_interval_ms %u, at most %u", o->cut_interval_ms, HR_CUT_INTERVAL_MS_MAX);
  if (o->durability < HOTROW_DURABILITY_CUT || o->durability > HOTROW_DURABILITY_LOG)
    return hr_fail(HOTROW_ERR_INVALID, "durability %d is not known", (int)o->durability);
  if (o->durability != HOTROW_DURABILITY_CUT && !o->data_dir)
    return hr_fail(HOTROW_ERR_INVALID, "durability is for servers with a data directory, and there is no data_dir");
  return o->save_dir ? open_save_dir(o->save_dir) : HOTROW_OK;
}
