/* The bytes of a save (ps/STORE.md) as structs, and the few helpers that writing and loading share. */
#ifndef HR_SAVE_FORMAT_H
#define HR_SAVE_FORMAT_H

#include <stdint.h>

#include <hr/optimizer.h>
#include <hr/wire.h>

#include "save_file.h"
#include "table_admission.h"

#define HR_SAVE_VERSION 4u
#define HR_MANIFEST_MAGIC "HOTROW-M"
#define HR_PART_MAGIC "HOTROW-P"     /* in its place: a part of a checkpoint, which is nothing without its CHECKPOINT */
#define HR_DATABASE_MAGIC "HOTROW-B" /* the same, and its rows are in a database */
#define HR_ROWS_MAGIC "HOTROW-R"
#define HR_SAVE_MAGIC_BYTES 8u
#define HR_ROW_HEAD_BYTES 12u /* key u64, clock u32; value and state follow, and a step where rows go for good */

#define HR_MANIFEST_FILE "MANIFEST"
#define HR_MANIFEST_FILES_MAX 8192u /* of a database: 512 GiB in files of 64 MiB */

/* MANIFEST: this header, table_count hr_manifest_table, file_count hr_manifest_file, XXH3-64 of all before. */
typedef struct hr_manifest_header {
  char magic[HR_SAVE_MAGIC_BYTES];
  uint32_t version;
  uint32_t table_count;
  uint64_t token;
  uint64_t epoch;
  uint32_t shard_index;
  uint32_t shard_count;
  uint32_t file_count; /* of a database; 0: every table has its rows file */
  uint32_t reserved;   /* 0 */
} hr_manifest_header;

typedef struct hr_manifest_table {
  hr_table_desc desc;
  uint64_t file_size;
  uint64_t file_hash; /* XXH3-64 of the whole rows file */
} hr_manifest_table;

#define HR_MANIFEST_NAME_BYTES 48u
typedef struct hr_manifest_file {
  char name[HR_MANIFEST_NAME_BYTES]; /* filled up with 0 */
  uint64_t size;
  uint64_t hash; /* XXH3-64 of the whole file */
} hr_manifest_file;

/* <table>.rows: this header, row_count records, and of a table with admission hr_saved_bucket up to its end. */
typedef struct hr_rows_header {
  char magic[HR_SAVE_MAGIC_BYTES];
  uint32_t version;
  uint32_t record_size;
  uint64_t token;
  uint64_t row_count;
} hr_rows_header;

typedef struct hr_saved_bucket {
  uint64_t number; /* ascending */
  hr_admission_bucket bucket;
} hr_saved_bucket;

/* CHECKPOINT: this header, shard_count hr_checkpoint_part, XXH3-64 of all before. */
#define HR_CHECKPOINT_FILE "CHECKPOINT"
#define HR_CHECKPOINT_BLOB_FILE "blob"
#define HR_CHECKPOINT_MAGIC "HOTROW-C"
#define HR_CHECKPOINT_VERSION 1u
typedef struct hr_checkpoint_header {
  char magic[HR_SAVE_MAGIC_BYTES];
  uint32_t version;
  uint32_t shard_count;
  uint64_t token; /* that of all parts */
  uint64_t step;
  uint64_t created_ns; /* since 1970 */
  uint32_t rank_count; /* that stood still at this step; 0: it is of no one step */
  uint32_t reserved;   /* 0 */
  uint64_t blob_size;  /* 0: there is no such file */
  uint64_t blob_hash;
} hr_checkpoint_header;

typedef struct hr_checkpoint_part {
  uint64_t row_count; /* of all tables */
  uint64_t rows_size; /* bytes of all files but MANIFEST */
  uint64_t manifest_size;
  uint64_t manifest_hash; /* XXH3-64 of the whole MANIFEST */
} hr_checkpoint_part;

#define HR_MANIFEST_BYTES(table_count, file_count)                                                                     \
  (sizeof(hr_manifest_header) + (table_count) * sizeof(hr_manifest_table) + (file_count) * sizeof(hr_manifest_file) +  \
   sizeof(uint64_t))
#define HR_CHECKPOINT_BYTES(shard_count)                                                                               \
  (sizeof(hr_checkpoint_header) + (shard_count) * sizeof(hr_checkpoint_part) + sizeof(uint64_t))

_Static_assert(sizeof(hr_checkpoint_header) == 64 && sizeof(hr_checkpoint_part) == 32, "STORE.md gives these sizes");
_Static_assert(sizeof(hr_manifest_header) == 48 && sizeof(hr_manifest_table) == 320 && sizeof(hr_rows_header) == 32 &&
                   sizeof(hr_manifest_file) == 64 && sizeof(hr_saved_bucket) == 72,
               "STORE.md gives these sizes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and so is this code");

static inline size_t hr_save_record_size(const hr_table_desc *desc, const hotrow_row_layout *layout)
{
  size_t step_bytes = hr_table_has_eviction(desc) ? sizeof desc->step : 0;
  return HR_ROW_HEAD_BYTES + sizeof(float) * (layout->dim + layout->state_dim) + step_bytes;
}

static inline hr_rows_header hr_rows_header_of(const hr_table_desc *desc, size_t record_size, uint64_t token)
{
  return (hr_rows_header){.magic = HR_ROWS_MAGIC,
                          .version = HR_SAVE_VERSION,
                          .record_size = (uint32_t)record_size,
                          .token = token,
                          .row_count = desc->row_count};
}

/* The shard count of the parts in a save's directory, 0 if it holds none. Names that are not a part's are passed over.
 *   HOTROW_ERR_EXISTS  parts of two shard counts
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_STORAGE  the directory */
hotrow_status hr_save_count_parts(const char *dir, uint32_t *shard_count_p);

#endif
