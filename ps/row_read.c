#include "row_read.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

static size_t keys_max(size_t float_count, size_t row_count)
{
  size_t count = HR_READ_BYTES_MAX / (float_count * sizeof(float));
  return count == 0 ? 1 : count < row_count ? count : row_count;
}

hr_row_read *hr_row_read_create(const hr_table_desc *desc, size_t float_count, size_t row_count)
{
  HOTROW_ASSERT(float_count > 0 && float_count <= HR_STORE_FLOATS_MAX);
  HOTROW_ASSERT(row_count > 0 && row_count <= HR_READ_KEYS_MAX);
  size_t count = keys_max(float_count, row_count);
  hr_row_read *read = malloc(sizeof *read + count * float_count * sizeof(float));
  if (!read)
    return NULL;
  read->desc = desc;
  read->owner = NULL;
  read->is_visit = false;
  read->first = 0;
  read->float_count = float_count;
  read->key_count = read->found_count = 0;
  read->key_count_max = count;
  read->status = HOTROW_OK;
  read->records = (float *)(read + 1);
  return read;
}

size_t hr_row_read_bytes(const hr_row_read *read)
{
  return sizeof *read + read->key_count_max * read->float_count * sizeof(float);
}

static hotrow_status take_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  hr_row_read *read = context;
  uint32_t at = read->found_count > 0 ? read->found[read->found_count - 1] + 1 : 0;
  if (read->is_visit && at < read->key_count)
    read->keys[at] = key;
  while (at < read->key_count && read->keys[at] != key)
    at++;
  HOTROW_ASSERT(at < read->key_count);
  memcpy(read->records + read->found_count * read->float_count, record, read->float_count * sizeof *record);
  read->clocks[read->found_count] = clock;
  read->found[read->found_count++] = at;
  return HOTROW_OK;
}

void hr_row_read_run(hr_row_read *read, const hr_storage *storage)
{
  HOTROW_ASSERT(read->key_count <= read->key_count_max && read->found_count == 0);
  read->status = read->is_visit ? storage->visit_rows(storage->context, read->desc, read->float_count, read->first,
                                                      read->key_count, take_row, read)
                                : storage->get_rows(storage->context, read->desc, read->float_count, read->keys,
                                                    read->key_count, take_row, read);
}
