/* Rows that a storage reads while the shard goes on: what is asked for, and what came. Made by the shard, filled by the
 * storage, on whatever thread. */
#ifndef HR_ROW_READ_H
#define HR_ROW_READ_H

#include "storage.h"

/* A turn of the storage's reader, and of the shard when the rows have come: others are served in between. */
#define HR_READ_KEYS_MAX 512u
#define HR_READ_BYTES_MAX ((size_t)1 << 20) /* of its rows, but for the first one */

struct hr_row_read {
  const hr_table_desc *desc; /* borrowed */
  void *owner;               /* whose it is, for the shard */
  bool is_visit;             /* of the next key_count rows there are, from key `first` on: their keys come too */
  uint64_t first;
  size_t float_count, key_count, key_count_max;
  uint64_t keys[HR_READ_KEYS_MAX]; /* ascending, none twice */
  bool creates[HR_READ_KEYS_MAX];  /* a row is made if the storage has none */

  /* What came. */
  hotrow_status status;
  size_t found_count;
  uint32_t found[HR_READ_KEYS_MAX]; /* positions in keys, ascending */
  uint32_t clocks[HR_READ_KEYS_MAX];
  float *records; /* behind this struct: [key_count_max][float_count] */
};

/* Room for up to row_count rows of a table, and for fewer if they are many bytes. NULL: no memory. Free with free(). */
hr_row_read *hr_row_read_create(const hr_table_desc *desc, size_t float_count, size_t row_count);
size_t hr_row_read_bytes(const hr_row_read *read);
/* Has the storage look for the rows, on this thread; what its get_rows or visit_rows returns is in `status`. */
void hr_row_read_run(hr_row_read *read, const hr_storage *storage);

#endif
