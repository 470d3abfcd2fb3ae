/* The directory that a shard keeps its database in, and the lock on it.
 *
 * <data_dir>/shard-<index>-of-<count>/ is the database, shard-<index>-of-<count>.lock beside it is held by the process
 * that has it open; the kernel lets go of it however that process ends. */
#ifndef HR_DATA_DIR_H
#define HR_DATA_DIR_H

#include "save_format.h"

typedef struct hr_data_dir {
  hr_path path; /* of the database */
  int lock;     /* owned: the open lock file */
} hr_data_dir;

/* Makes data_dir (its parent must be there) and the shard's directory in it if they are missing, and locks the latter.
 *   HOTROW_ERR_BUSY     another process has it open
 *   HOTROW_ERR_EXISTS   data_dir is of another shard count
 *   HOTROW_ERR_CORRUPT  the shard's directory holds files, and no database
 *   HOTROW_ERR_STORAGE  it cannot be made, read or written
 * The sentence names the directory or file. */
hotrow_status hr_data_dir_open(const char *data_dir, uint32_t shard_index, uint32_t shard_count, hr_data_dir *dir_p);
void hr_data_dir_close(hr_data_dir *dir);

#endif
