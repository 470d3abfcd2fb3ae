/* The bytes of a save (ps/STORE.md) as structs, and the few helpers that writing and loading share. */
#ifndef HR_SAVE_FORMAT_H
#define HR_SAVE_FORMAT_H

#include <limits.h>
#include <stdint.h>

#include <hr/optimizer.h>
#include <hr/wire.h>

#define HR_SAVE_VERSION 2u
#define HR_MANIFEST_MAGIC "HOTROW-M"
#define HR_ROWS_MAGIC "HOTROW-R"
#define HR_SAVE_MAGIC_BYTES 8u
#define HR_SAVE_BUFFER_BYTES ((size_t)1 << 20)
#define HR_ROW_HEAD_BYTES 12u /* key u64, clock u32; value and state follow */

/* MANIFEST: this header, table_count hr_manifest_table, XXH3-64 of all before. */
typedef struct hr_manifest_header {
  char magic[HR_SAVE_MAGIC_BYTES];
  uint32_t version;
  uint32_t table_count;
  uint64_t token;
  uint64_t epoch;
  uint32_t shard_index;
  uint32_t shard_count;
} hr_manifest_header;

typedef struct hr_manifest_table {
  hr_table_desc desc;
  uint64_t file_size;
  uint64_t file_hash; /* XXH3-64 of the whole rows file */
} hr_manifest_table;

/* <table>.rows: this header, then row_count records. */
typedef struct hr_rows_header {
  char magic[HR_SAVE_MAGIC_BYTES];
  uint32_t version;
  uint32_t record_size;
  uint64_t token;
  uint64_t row_count;
} hr_rows_header;

_Static_assert(sizeof(hr_manifest_header) == 40 && sizeof(hr_manifest_table) == 288 && sizeof(hr_rows_header) == 32,
               "STORE.md gives these sizes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and so is this code");

static inline size_t hr_save_record_size(const hotrow_row_layout *layout)
{
  return HR_ROW_HEAD_BYTES + sizeof(float) * (layout->dim + layout->state_dim);
}

typedef struct hr_path {
  char text[PATH_MAX];
} hr_path;

/* HOTROW_ERR_STORAGE if it is too long for the system. */
hotrow_status hr_path_format(hr_path *path_p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The shard count of the parts in a save's directory, 0 if it holds none. Names that are not a part's are passed over.
 *   HOTROW_ERR_EXISTS  parts of two shard counts
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_STORAGE  the directory */
hotrow_status hr_save_count_parts(const char *dir, uint32_t *shard_count_p);

#endif
