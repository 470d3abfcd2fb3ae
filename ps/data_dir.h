/* The directory that a shard keeps its database in, and the lock on it.
 *
 * <data_dir>/shard-<index>-of-<count>/ is the database, shard-<index>-of-<count>.lock beside it is held by the process
 * that has it open; the kernel lets go of it however that process ends. */
#ifndef HR_DATA_DIR_H
#define HR_DATA_DIR_H

#include "save_set.h"

typedef struct hr_data_dir {
  hr_path path; /* of the database */
  int lock;     /* owned: the open lock file */
} hr_data_dir;

/* Makes data_dir (its parent must be there) and the shard's directory in it if they are missing, and locks the latter.
 *   HOTROW_ERR_BUSY     another process has it open
 *   HOTROW_ERR_EXISTS   data_dir is of another shard count, or a checkpoint
 *   HOTROW_ERR_CORRUPT  the shard's directory holds files, and no database
 *   HOTROW_ERR_STORAGE  it cannot be made, read or written
 * The sentence names the directory or file. */
hotrow_status hr_data_dir_open(const char *data_dir, uint32_t shard_index, uint32_t shard_count, hr_data_dir *dir_p);
void hr_data_dir_close(hr_data_dir *dir);

/* Does `path` hold shards' databases, and is no checkpoint? */
bool hr_data_dir_is_one(const char *path);
/* A data directory as something to load from: its tables and databases, and shared locks, with which no server opens it
 * while it is read. Nothing in it is changed. Sessions and jobs are not looked at.
 *   HOTROW_ERR_BUSY       a server has it open
 *   HOTROW_ERR_NOT_FOUND  a shard's directory is missing
 *   HOTROW_ERR_CORRUPT, HOTROW_ERR_VERSION, HOTROW_ERR_STORAGE, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_data_dir_open_set(const char *path, hr_save_set *set_p);

#endif
