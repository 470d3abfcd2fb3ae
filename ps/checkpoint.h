/* A checkpoint on disk, from the side that writes it. Bytes and names: ps/STORE.md.
 *
 * <save_dir>/.<name>.<token>.tmp/ fills up with a part per shard, the job's blob and CHECKPOINT; when all is safe it is
 * renamed to <save_dir>/<name>. So a checkpoint is whole or has no name. All shards of a cluster need the same
 * save_dir.
 *
 * A shard copies its part on its own thread (the moment of the checkpoint) and makes it safe on another one. The two
 * functions for that other thread touch nothing but the checkpoint; who calls them sees to it that nobody else does. */
#ifndef HR_CHECKPOINT_H
#define HR_CHECKPOINT_H

#include "save.h"
#include "save_file.h"

typedef struct hr_checkpoint_files {
  const char *save_dir; /* borrowed */
  uint32_t shard_index, shard_count;
  hr_checkpoint what;
  hr_path dir;          /* the unfinished checkpoint */
  hr_path part;         /* this shard's part in it */
  hr_open_files files;  /* of the part, not safe yet */
  int blob_fd;          /* owned; -1: no byte has come */
  uint64_t blob_filled; /* bytes that have come, from the first on */
} hr_checkpoint_files;

/* Writes this shard's part. After a failure nothing of it is left.
 *   HOTROW_ERR_STORAGE, HOTROW_ERR_INTERNAL, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_checkpoint_copy(hr_checkpoint_files *c, uint64_t epoch, hr_table *const *tables, size_t table_count);
/* Bytes of the blob: HOTROW_ERR_INVALID if some before them have not come, HOTROW_ERR_STORAGE. */
hotrow_status hr_checkpoint_put_blob(hr_checkpoint_files *c, uint64_t offset, const void *bytes, size_t size);

/* Another thread may call: */
hotrow_status hr_checkpoint_settle(hr_checkpoint_files *c); /* makes the part safe; HOTROW_ERR_STORAGE */
/* Checks that all parts and the whole blob are there, writes CHECKPOINT and gives the checkpoint its name; then removes
 * the older ones of its series beyond what.keep. On failure the checkpoint has no name.
 *   HOTROW_ERR_NOT_FOUND (a part is missing), HOTROW_ERR_CORRUPT, HOTROW_ERR_INVALID (the blob), HOTROW_ERR_STORAGE,
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_checkpoint_publish(hr_checkpoint_files *c);

/* Closes what is open and removes what this shard has written (shard 0: all), unless it was published. */
void hr_checkpoint_drop(hr_checkpoint_files *c);

#endif
