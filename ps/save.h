/* Saving a shard's tables to files and loading them at any shard count. See ps/STORE.md for the bytes.
 *
 * <save_dir>/<name>/shard-<index>-of-<count>/ holds MANIFEST and one rows file per table. A part is written beside its
 * final name, synced, and renamed: it is whole or it is not there. */
#ifndef HR_SAVE_H
#define HR_SAVE_H

#include "storage.h"
#include "table.h"

#define HR_SAVE_TABLES_MAX 256u

/* Which part of which save. */
typedef struct hr_save_part {
  hr_save save;
  const char *save_dir; /* borrowed; must be there */
  uint32_t shard_index, shard_count;
  uint64_t epoch;
} hr_save_part;

/* Writes a part. One of the same name that exists is replaced once the new one is on disk, and kept if this fails.
 * Needs a buffer of 1 MiB; blocks while writing. HOTROW_ERR_STORAGE   the sentence names file and cause; what was
 * written is removed HOTROW_ERR_EXISTS    the save of this name has parts of another shard count: choose another name
 *   HOTROW_ERR_INVALID   the name
 *   HOTROW_ERR_INTERNAL  a table holds a key that is not this shard's (such a part could not be loaded)
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_save_write(const hr_save_part *part, hr_table *const *tables, size_t table_count);
/* The same of what a storage has, which is held: it is copied beside the part and let go of, whatever comes of it; then
 * the copy is read, and removed. Any thread. HOTROW_ERR_CORRUPT too */
hotrow_status hr_save_write_stored(const hr_save_part *part, const hr_storage *storage);

/* Called with each table of the save once (create it and return it), before any rows. desc->row_count is that of one
 * part, desc->id the one it had at one shard. */
typedef hotrow_status (*hr_load_table_fn)(const hr_table_desc *desc, void *context, hr_table **table_p);

/* Called with each row that this shard owns; NULL: hr_table_restore_row, whose statuses it returns. */
typedef hotrow_status (*hr_load_row_fn)(hr_table *table, uint64_t key, uint32_t clock, const float *record,
                                        void *context);

/* row_count of about row_count_expected rows have been loaded. */
typedef void (*hr_load_progress_fn)(void *context, uint32_t shard_index, uint64_t row_count,
                                    uint64_t row_count_expected);
typedef struct hr_load_progress {
  hr_load_progress_fn fn; /* called now and then; NULL: nobody */
  void *context;
} hr_load_progress;

/* What was loaded beside the rows. */
typedef struct hr_save_origin {
  hr_restored restored; /* token 0: it was a save and no checkpoint */
  int blob_fd;          /* owned: of the checkpoint's blob, on shard 0; -1: none */
} hr_save_origin;

/* Loads from `path`, a save, a checkpoint or a data directory that no server has open, what shard_index of shard_count
 * owns. All parts of the former are read and verified (XXH3 of each file and of the manifests, same token, none
 * missing, tables described alike in all). Rows are put in while their file is still being verified: after a failure
 * the tables may be half full and must be destroyed.
 *
 *   HOTROW_ERR_NOT_FOUND  no such save, a part or a file of it is missing
 *   HOTROW_ERR_CORRUPT    a file is not what was written, or parts do not belong together
 *   HOTROW_ERR_VERSION    written in a format that this build does not read
 *   HOTROW_ERR_STORAGE    cannot be read
 *   HOTROW_ERR_BUSY       a data directory that a server has open
 *
 * and what load_table and load_row return. The sentence names the file. */
hotrow_status hr_save_load(const char *path, uint32_t shard_index, uint32_t shard_count, hr_load_table_fn load_table,
                           hr_load_row_fn load_row, void *context, hr_load_progress progress, hr_save_origin *origin_p);

#endif
