/* The part of a checkpoint that is a database: a directory of RocksDB's files, and MANIFEST, which lists them all with
 * their hashes. Most of them are links to files that the shard's own database has too, and never change: what the part
 * before had already is not read again. */
#ifndef HR_SAVE_DATABASE_H
#define HR_SAVE_DATABASE_H

#include "save_set.h"

/* The files of the last part that was written, by which the next one knows them. */
typedef struct hr_known_file {
  hr_manifest_file file;
  uint64_t inode;
} hr_known_file;

typedef struct hr_known_files {
  hr_known_file *files; /* owned; in the order of their names */
  size_t count;
} hr_known_files;

typedef struct hr_part_bytes {
  uint64_t size;     /* of the whole part */
  uint64_t new_size; /* of it, what the part before did not have */
} hr_part_bytes;

/* Writes the MANIFEST of a part whose files are in `dir`, and makes all of it safe. header->file_count is filled in.
 * `known` becomes the files of this part. HOTROW_ERR_STORAGE, HOTROW_ERR_LIMIT (too many files), HOTROW_ERR_NO_MEMORY;
 * HOTROW_ERR_CORRUPT if a file changes meanwhile */
hotrow_status hr_database_write_manifest(const char *dir, const hr_manifest_header *header,
                                         const hr_manifest_table *tables, hr_known_files *known,
                                         hr_part_bytes *bytes_p);
void hr_known_files_free(hr_known_files *known);

/* Are the files of the part there, with their sizes, and none beside them? RocksDB would take in a log that it finds.
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE: the sentence names the file */
hotrow_status hr_database_check_files(const hr_manifest *part);
/* The same, and every byte of file `index` against its hash. `buffer` is of HR_SAVE_BUFFER_BYTES. */
hotrow_status hr_database_check_bytes(const hr_manifest *part, size_t index, uint8_t *buffer);

#endif
