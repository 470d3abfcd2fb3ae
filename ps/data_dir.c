#include "data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/assert.h>

static hotrow_status fail_errno(const char *path, const char *deed)
{
  return hr_fail(HOTROW_ERR_STORAGE, "data directory %s: cannot %s: %s", path, deed, strerror(errno));
}

/* True if it was not there. */
static hotrow_status make_directory(const char *path, bool *is_new_p)
{
  *is_new_p = mkdir(path, 0777) == 0;
  if (!*is_new_p && errno != EEXIST)
    return fail_errno(path, "make it");
  return HOTROW_OK;
}

static hotrow_status sync_directory(const char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return fail_errno(path, "open it");
  hotrow_status status = fsync(fd) == 0 ? HOTROW_OK : fail_errno(path, "sync it");
  close(fd);
  return status;
}

/* What another shard count left there would go unread and never be missed. */
static hotrow_status check_count(const char *data_dir, uint32_t shard_count)
{
  uint32_t count = 0;
  HOTROW_TRY(hr_save_count_parts(data_dir, &count));
  if (count != 0 && count != shard_count)
    return hr_fail(HOTROW_ERR_EXISTS,
                   "data directory %s is of %u shards, this server is of %u: start %u, or load it into a new one "
                   "(hotrow restore %s --data-dir NEW --shards %u)",
                   data_dir, count, shard_count, count, data_dir, shard_count);
  return HOTROW_OK;
}

/* The part of a checkpoint may be a database too, and would be written to. */
static hotrow_status check_is_no_checkpoint(const char *data_dir, const char *path)
{
  hr_path manifest;
  HOTROW_TRY(hr_path_format(&manifest, "%s/" HR_MANIFEST_FILE, path));
  if (access(manifest.text, F_OK) == 0)
    return hr_fail(HOTROW_ERR_EXISTS,
                   "data directory %s: %s is there, it is a checkpoint or save (hotrow restore makes a data directory)",
                   data_dir, manifest.text);
  return HOTROW_OK;
}

static hotrow_status lock(const char *data_dir, hr_data_dir *dir)
{
  hr_path name;
  HOTROW_TRY(hr_path_format(&name, "%s.lock", dir->path.text));
  dir->lock = open(name.text, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (dir->lock < 0)
    return fail_errno(name.text, "open it");
  if (flock(dir->lock, LOCK_EX | LOCK_NB) == 0)
    return HOTROW_OK;
  hotrow_status status = errno == EWOULDBLOCK
                             ? hr_fail(HOTROW_ERR_BUSY, "data directory %s is in use: another server has %s open",
                                       data_dir, dir->path.text)
                             : fail_errno(name.text, "lock it");
  close(dir->lock);
  dir->lock = -1;
  return status;
}

/* A database that is being made has these before it has CURRENT; a process may be killed then. */
static bool is_of_a_beginning(const char *name)
{
  static const char *const words[] = {".", "..", "LOCK", "IDENTITY", "MANIFEST-000001", "000000.dbtmp", "000001.dbtmp"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(name, words[i]) == 0)
      return true;
  return strncmp(name, "LOG", 3) == 0;
}

/* RocksDB would make an empty database beside what is left of one that has lost its CURRENT. */
static hotrow_status check_content(const char *path)
{
  DIR *entries = opendir(path);
  if (!entries)
    return fail_errno(path, "list it");
  bool has_current = false;
  hr_path stranger = {.text = ""};
  for (const struct dirent *entry; (entry = readdir(entries));) {
    has_current = has_current || strcmp(entry->d_name, "CURRENT") == 0;
    if (!stranger.text[0] && !is_of_a_beginning(entry->d_name))
      snprintf(stranger.text, sizeof stranger.text, "%s", entry->d_name);
  }
  closedir(entries);
  if (!has_current && stranger.text[0])
    return hr_fail(HOTROW_ERR_CORRUPT,
                   "data directory %s holds %.255s and no file CURRENT: it is no database, or has lost it", path,
                   stranger.text);
  return HOTROW_OK;
}

hotrow_status hr_data_dir_open(const char *data_dir, uint32_t shard_index, uint32_t shard_count, hr_data_dir *dir_p)
{
  HOTROW_ASSERT(data_dir && shard_index < shard_count);
  hr_data_dir dir = {.lock = -1};
  bool is_new;
  HOTROW_TRY(make_directory(data_dir, &is_new));
  if (is_new) {
    hr_path parent;
    HOTROW_TRY(hr_path_format(&parent, "%s/..", data_dir));
    HOTROW_TRY(sync_directory(parent.text));
  }
  HOTROW_TRY(check_count(data_dir, shard_count));
  HOTROW_TRY(hr_path_format(&dir.path, "%s/shard-%u-of-%u", data_dir, shard_index, shard_count));
  HOTROW_TRY(check_is_no_checkpoint(data_dir, dir.path.text));
  HOTROW_TRY(lock(data_dir, &dir));
  hotrow_status status = make_directory(dir.path.text, &is_new);
  if (status == HOTROW_OK && is_new)
    status = sync_directory(data_dir);
  if (status == HOTROW_OK)
    status = check_content(dir.path.text);
  if (status != HOTROW_OK) {
    hr_data_dir_close(&dir);
    return status;
  }
  *dir_p = dir;
  return HOTROW_OK;
}

void hr_data_dir_close(hr_data_dir *dir)
{
  if (dir->lock >= 0)
    close(dir->lock);
  dir->lock = -1;
}
