/* Saving a shard's tables to files and loading them at any shard count. See ps/STORE.md for the bytes.
 *
 * <save_dir>/<name>/shard-<index>-of-<count>/ holds MANIFEST and one rows file per table. A part is written beside its
 * final name, synced, and renamed: it is whole or it is not there. */
#ifndef HR_SAVE_H
#define HR_SAVE_H

#include "table.h"

#define HR_SAVE_TABLES_MAX 256u

/* Writes one shard's part. A part of the same name that exists is replaced.
 *   HOTROW_ERR_STORAGE  the sentence names file and cause */
hotrow_status hr_save_write(const char *save_dir, const hr_save *save, uint32_t shard_index, uint32_t shard_count,
                            uint64_t epoch, hr_table *const *tables, size_t table_count);

/* Called with each table of the save once (create it and return it), before its rows. */
typedef hotrow_status (*hr_load_table_fn)(const hr_table_desc *desc, void *context, hr_table **table_p);

/* Loads from <path> = <save_dir>/<name> what shard_index of shard_count owns. All parts are read and verified
 * (XXH3 of each file and of the manifests, same token, none missing, tables described alike in all).
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE: the sentence names the file */
hotrow_status hr_save_load(const char *path, uint32_t shard_index, uint32_t shard_count, hr_load_table_fn load_table,
                           void *context);

#endif
