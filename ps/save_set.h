/* A save or a checkpoint as it lies on disk: its manifests, read and checked against each other before any row is. */
#ifndef HR_SAVE_SET_H
#define HR_SAVE_SET_H

#include "save_format.h"

typedef struct hr_manifest {
  hr_path path; /* of its part's directory */
  hr_manifest_header header;
  bool is_database;          /* rows are in a database that consists of `files`, else in a file per table */
  hr_manifest_table *tables; /* owned */
  hr_manifest_file *files;   /* owned */
  uint64_t hash;             /* of the whole file */
} hr_manifest;

typedef struct hr_save_set {
  const char *path;    /* borrowed */
  hr_manifest *parts;  /* owned, [part_count] */
  uint32_t part_count; /* of so many shards */
  bool is_checkpoint;
  bool is_data_dir;                     /* then manifests were made from what is there, and there are no hashes */
  int *locks;                           /* owned, [part_count], -1: none; NULL if it is no data directory */
  hr_checkpoint_header checkpoint;      /* if it is one */
  hr_checkpoint_part *checkpoint_parts; /* owned, [part_count]; NULL if it has no CHECKPOINT */
  uint8_t *buffer;                      /* owned, HR_SAVE_BUFFER_BYTES: free for use once it is open */
} hr_save_set;

/* Reads and checks all manifests: each by itself, against the others, and, of a checkpoint, against CHECKPOINT.
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_CORRUPT, HOTROW_ERR_VERSION, HOTROW_ERR_STORAGE, HOTROW_ERR_NO_MEMORY
 * The sentence names the file. */
hotrow_status hr_save_set_open(const char *path, hr_save_set *set_p);
/* For who makes the manifests himself (data_dir_set.c): what each must say, alone and beside the first one. */
hotrow_status hr_manifest_check_table(const char *path, const hr_manifest_table *table, bool has_file);
hotrow_status hr_manifest_check_same(const char *path, const hr_manifest *first, const hr_manifest *part);
/* The same for a checkpoint that is not published: its part_count parts, without CHECKPOINT. */
hotrow_status hr_save_set_open_parts(const char *path, uint32_t part_count, hr_save_set *set_p);
void hr_save_set_close(hr_save_set *set);

/* Appends what every manifest begins with. HOTROW_ERR_STORAGE */
hotrow_status hr_manifest_append(hr_output *out, const hr_manifest_header *header, const hr_manifest_table *tables);

/* The table of this name in a part, which has it if the set is open. */
const hr_manifest_table *hr_manifest_find(const hr_manifest *part, const char *name);

uint64_t hr_manifest_size(const hr_manifest *part); /* of the file */
uint64_t hr_manifest_row_count(const hr_manifest *part);
uint64_t hr_manifest_data_bytes(const hr_manifest *part); /* of all files that it lists */

/* Bytes of all files that the manifests list, and of the blob. */
uint64_t hr_save_set_bytes(const hr_save_set *set);

/* A rows file being read front to back. */
typedef struct hr_rows_file {
  hr_path path;
  const hr_manifest_table *entry;
  int fd;
  uint64_t bytes_left; /* of records and buckets */
  XXH3_state_t hash;
} hr_rows_file;

/* Opens it and checks its size and header. */
hotrow_status hr_rows_file_open(const hr_manifest *part, const hr_manifest_table *entry, hr_rows_file *file_p);
/* Exactly `size` bytes, of those left. The last call also compares the hash of the whole file. */
hotrow_status hr_rows_file_read(hr_rows_file *file, void *bytes, size_t size);
void hr_rows_file_close(hr_rows_file *file);

/* Opens the checkpoint's blob (*fd_p -1 if it has none) and checks every byte of it. */
hotrow_status hr_save_set_open_blob(hr_save_set *set, int *fd_p);

#endif
