/* The part of a checkpoint that comes from memory: files as of a save, copied in turns on the shard's thread and
 * written by another.
 *
 * What the tables put (hr_storage's put_row and put_bucket) goes into blocks of memory, records as they are to stand in
 * the files. Full blocks are handed over; the other thread appends their bytes to the file of their table, hashes them
 * on the way, and gives the blocks back. At most bytes_max of them are on their way: turns stop at half of that
 * (hr_save_copy_has_room), and whoever has to copy a row before it changes waits for the writer when it is reached. */
#ifndef HR_SAVE_COPY_H
#define HR_SAVE_COPY_H

#include "save_format.h"
#include "storage.h"
#include "table.h"

#define HR_COPY_BLOCK_BYTES ((size_t)256 << 10)
#define HR_COPY_BYTES_MAX ((size_t)64 << 20) /* of blocks that are not written yet */

typedef struct hr_save_copy hr_save_copy;

typedef struct hr_save_copy_options {
  const char *dir, *part; /* borrowed: directories that are made, the second one in the first, which may be there */
  const hr_manifest_header *header; /* borrowed */
  hr_manifest_table *entries;       /* borrowed: described; sizes and hashes are filled in */
  hr_table *const *tables;          /* of these, only their layouts */
  size_t bytes_max;
} hr_save_copy_options;

/* HOTROW_ERR_NO_MEMORY */
hotrow_status hr_save_copy_create(const hr_save_copy_options *options, hr_save_copy **copy_p);
void hr_save_copy_destroy(hr_save_copy *copy);

/* The shard's thread. put_row and put_bucket alone: HOTROW_ERR_NO_MEMORY */
const hr_storage *hr_save_copy_calls(const hr_save_copy *copy);
bool hr_save_copy_has_room(const hr_save_copy *copy);   /* for a turn */
bool hr_save_copy_is_full(const hr_save_copy *copy);    /* the next block would have to wait */
bool hr_save_copy_has_failed(const hr_save_copy *copy); /* in vain, whatever is put */
size_t hr_save_copy_bytes(const hr_save_copy *copy);    /* of memory */
/* No other thread writes: full blocks are written at once. */
void hr_save_copy_write_along(hr_save_copy *copy);
/* All is put; or, with another status, its sentence said last on this thread, there will be no copy. */
void hr_save_copy_end(hr_save_copy *copy, hotrow_status status);

/* The other thread: writes what is handed over until the end, makes it all safe, and frees the memory. After a failure
 * it still waits for the end. What the end said, HOTROW_ERR_STORAGE, HOTROW_ERR_NO_MEMORY, HOTROW_ERR_INTERNAL */
hotrow_status hr_save_copy_write(hr_save_copy *copy);

#endif
