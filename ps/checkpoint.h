/* A checkpoint on disk, from the side that writes it. Bytes and names: ps/STORE.md.
 *
 * <save_dir>/.<name>.<token>.tmp/ fills up with a part per shard, the job's blob and CHECKPOINT; when all is safe it is
 * renamed to <save_dir>/<name>. So a checkpoint is whole or has no name. All shards of a cluster need the same
 * save_dir.
 *
 * The moment of a checkpoint is on the shard's thread. Without a storage the shard copies its tables in turns from then
 * on, while another thread writes the part; with one it makes a cut, whose rows are not looked at any more: when it is
 * durable the storage is held and its database copied. Making a part safe is for another thread: the functions for that
 * one touch nothing but the checkpoint; who calls them sees to it that nobody else does. */
#ifndef HR_CHECKPOINT_H
#define HR_CHECKPOINT_H

#include "save.h"
#include "save_copy.h"
#include "save_database.h"
#include "storage.h"

typedef struct hr_checkpoint_files {
  const char *save_dir;      /* borrowed */
  const hr_storage *storage; /* borrowed: the part is a copy of its database; NULL: the part is written from memory */
  uint32_t shard_index, shard_count;
  hr_checkpoint what;
  hr_path dir;  /* the unfinished checkpoint */
  hr_path part; /* this shard's part in it */
  /* What the part's MANIFEST says, as of its moment. */
  hr_manifest_header header;
  hr_manifest_table tables[HR_SAVE_TABLES_MAX];
  hr_save_copy *copy; /* owned, by whoever has these: of a part that is written from memory; NULL: there is none */
  /* Of a part that is a database: the files of the part before, for the life of the shard; and what this one takes. */
  hr_known_files known; /* owned */
  hr_part_bytes bytes;
  int blob_fd;          /* owned; -1: no byte has come */
  uint64_t blob_filled; /* bytes that have come, from the first on */
} hr_checkpoint_files;

/* Before anything else. HOTROW_ERR_STORAGE: a path is too long. */
hotrow_status hr_checkpoint_begin(hr_checkpoint_files *c);
/* Takes note of what the shard holds at this moment, which a cut or a copy is of. */
void hr_checkpoint_note(hr_checkpoint_files *c, uint64_t epoch, hr_table *const *tables, size_t table_count);
/* Has the tables that were noted copied (hr_table_copy) into c->copy, of which at most bytes_max wait to be written.
 * HOTROW_ERR_NO_MEMORY: none of them is */
hotrow_status hr_checkpoint_begin_copy(hr_checkpoint_files *c, hr_table *const *tables, size_t bytes_max);
/* Bytes of the blob: HOTROW_ERR_INVALID if some before them have not come, HOTROW_ERR_STORAGE. */
hotrow_status hr_checkpoint_put_blob(hr_checkpoint_files *c, uint64_t offset, const void *bytes, size_t size);

/* Another thread may call: */
/* Makes the part safe: writes what is copied, up to its end; or has the storage, which is held, copied, what lets go of
 * it in any case.
 *   HOTROW_ERR_STORAGE, HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY, HOTROW_ERR_CORRUPT, HOTROW_ERR_INTERNAL, and what the
 *   end of the copy said */
hotrow_status hr_checkpoint_settle(hr_checkpoint_files *c);
/* Checks that all parts and the whole blob are there, writes CHECKPOINT and gives the checkpoint its name; then removes
 * the older ones of its series beyond what.keep. On failure the checkpoint has no name.
 *   HOTROW_ERR_NOT_FOUND (a part is missing), HOTROW_ERR_CORRUPT, HOTROW_ERR_INVALID (the blob), HOTROW_ERR_STORAGE,
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_checkpoint_publish(hr_checkpoint_files *c);

/* Closes what is open and removes what this shard has written (shard 0: all), unless it was published. */
void hr_checkpoint_drop(hr_checkpoint_files *c);

#endif
