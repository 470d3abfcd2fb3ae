/* Saves and checkpoints on disk: what one holds, and whether it is whole. Needs no server. Any thread. */
#ifndef HOTROW_CHECKPOINT_H
#define HOTROW_CHECKPOINT_H

#include <hotrow/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hotrow_checkpoint_table {
  char name[64];
  uint32_t dim;
  uint32_t segment_count;
  hotrow_segment segments[HOTROW_SEGMENTS_MAX];
  uint64_t row_count; /* of all shards */
  uint64_t size_bytes;
  hotrow_dtype storage_dtype; /* of values in the memory of shards: files hold floats */
  uint32_t reserved;
} hotrow_checkpoint_table;

typedef struct hotrow_checkpoint_info {
  uint32_t is_checkpoint;  /* 0: a save. Then step, rank_count, created_ns and blob_size say nothing */
  uint32_t format_version; /* of the checkpoint, or of the save */
  uint32_t shard_count;    /* that wrote it; it loads at any */
  uint32_t rank_count;     /* of the job, which stood still at this step; 0: it is of no one step */
  uint64_t token;          /* no two checkpoints have the same */
  uint64_t step;           /* the job's */
  uint64_t created_ns;     /* since 1970 */
  uint64_t blob_size;      /* bytes of the job's own blob */
  uint64_t size_bytes;     /* of all rows files and the blob */
  uint32_t table_count;
  uint32_t reserved;
  const hotrow_checkpoint_table *tables; /* in no order that means anything */
} hotrow_checkpoint_info;

/* Reads the manifests of the checkpoint or save in directory `path`, and checks them, but no row.
 *   HOTROW_ERR_NOT_FOUND  no such directory, nothing in it, or a manifest is missing
 *   HOTROW_ERR_CORRUPT    a manifest is not what was written, or the checkpoint was not finished
 *   HOTROW_ERR_VERSION, HOTROW_ERR_STORAGE, HOTROW_ERR_NO_MEMORY
 * The sentence names the file. Free *info_p with hotrow_checkpoint_info_free(). */
HOTROW_API hotrow_status hotrow_checkpoint_inspect(const char *path, hotrow_checkpoint_info **info_p);
HOTROW_API void hotrow_checkpoint_info_free(hotrow_checkpoint_info *info); /* accepts NULL */

/* Reads every byte and compares it with what the manifests say; the first file that is not what was written is named.
 * Statuses as above. `progress` (NULL: nobody) is called now and then with the bytes read and those to be read. */
HOTROW_API hotrow_status hotrow_checkpoint_verify(
    const char *path, void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes), void *context);

#ifdef __cplusplus
}
#endif
#endif
