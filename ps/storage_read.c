/* Rows read back one by one, or table by table, while the shard serves. On the thread of whoever asks. */
#include <string.h>

#include <hr/assert.h>

#include "storage_state.h"

#define GET_CHUNK 128u
#define READAHEAD_BYTES ((size_t)2 << 20)
#define READAHEAD_ROWS 65536u /* who wants fewer is not read so much for */

typedef struct reader {
  const hr_rocksdb *storage;
  const hr_table_desc *desc;
  size_t float_count;
  hr_stored_row_fn found;
  void *found_context;
  float record[HR_STORE_FLOATS_MAX]; /* aligned, as values in RocksDB are not */
} reader;

static hotrow_status take_row(reader *r, uint64_t key, const char *value, size_t size)
{
  uint32_t clock;
  size_t record_bytes = r->float_count * sizeof(float);
  if (size != sizeof clock + record_bytes)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: row %llu of table %s has %zu bytes, not %zu",
                   r->storage->dir.path.text, (unsigned long long)key, r->desc->name, size,
                   sizeof clock + record_bytes);
  memcpy(&clock, value, sizeof clock);
  memcpy(r->record, value + sizeof clock, record_bytes);
  return r->found(key, clock, r->record, r->found_context);
}

static hotrow_status get_chunk(reader *r, const uint64_t *keys, size_t count)
{
  const hr_rocksdb *s = r->storage;
  uint8_t bytes[GET_CHUNK][HR_STORE_ROW_KEY_BYTES];
  const char *names[GET_CHUNK] = {0};
  size_t sizes[GET_CHUNK] = {0};
  rocksdb_pinnableslice_t *values[GET_CHUNK];
  char *errors[GET_CHUNK];
  for (size_t i = 0; i < count; i++) {
    hr_store_row_key(bytes[i], HR_STORE_ROW, r->desc->id, keys[i]);
    names[i] = (const char *)bytes[i];
    sizes[i] = HR_STORE_ROW_KEY_BYTES;
  }
  rocksdb_batched_multi_get_cf(s->db, s->read_options, s->rows, count, names, sizes, values, errors, true);
  hotrow_status status = HOTROW_OK;
  for (size_t i = 0; i < count; i++) {
    if (errors[i] && status == HOTROW_OK)
      status = hr_rocksdb_fail(s, "read a row", errors[i]);
    else if (errors[i])
      rocksdb_free(errors[i]);
    if (!values[i])
      continue;
    size_t size;
    const char *value = rocksdb_pinnableslice_value(values[i], &size);
    if (status == HOTROW_OK)
      status = take_row(r, keys[i], value, size);
    rocksdb_pinnableslice_destroy(values[i]);
  }
  return status;
}

hotrow_status hr_rocksdb_get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                                  size_t key_count, hr_stored_row_fn found, void *found_context)
{
  reader r = {
      .storage = context, .desc = desc, .float_count = float_count, .found = found, .found_context = found_context};
  HOTROW_ASSERT(float_count <= HR_STORE_FLOATS_MAX);
  for (size_t done = 0; done < key_count; done += GET_CHUNK) {
    size_t left = key_count - done;
    HOTROW_TRY(get_chunk(&r, keys + done, left < GET_CHUNK ? left : GET_CHUNK));
  }
  return HOTROW_OK;
}

hotrow_status hr_rocksdb_visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                    size_t count_max, hr_stored_row_fn found, void *found_context)
{
  const hr_rocksdb *s = context;
  reader r = {.storage = s, .desc = desc, .float_count = float_count, .found = found, .found_context = found_context};
  uint8_t begin[HR_STORE_ROW_KEY_BYTES];
  hr_store_row_key(begin, HR_STORE_ROW, desc->id, first);
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(options, 0);
  if (count_max >= READAHEAD_ROWS)
    rocksdb_readoptions_set_readahead_size(options, READAHEAD_BYTES);
  rocksdb_iterator_t *at = rocksdb_create_iterator(s->db, options);
  hotrow_status status = HOTROW_OK;
  rocksdb_iter_seek(at, (const char *)begin, sizeof begin);
  for (size_t count = 0; status == HOTROW_OK && count < count_max && rocksdb_iter_valid(at); count++) {
    size_t key_size, size;
    const char *key = rocksdb_iter_key(at, &key_size), *value = rocksdb_iter_value(at, &size);
    if (key_size != HR_STORE_ROW_KEY_BYTES || memcmp(key, begin, HR_STORE_TABLE_KEY_BYTES) != 0)
      break;
    status = take_row(&r, hr_store_key_of((const uint8_t *)key), value, size);
    rocksdb_iter_next(at);
  }
  char *error = NULL;
  if (status == HOTROW_OK)
    rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(options);
  return error ? hr_rocksdb_fail(s, "read it", error) : status;
}
