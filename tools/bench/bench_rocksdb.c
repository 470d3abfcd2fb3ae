/* RocksDB in this process: batched MultiGet and WriteBatch with the options it comes with, but for a block cache that
 * holds the whole table. The log is written and not synced. Updates are made by the caller: right for one thread only.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rocksdb/c.h>

#include "bench_peers.h"

#define KEY_BYTES 8u
#define CACHE_ROW_BYTES 64u /* of a row in the block cache, beside its values, at most */
#define FILL_KEYS 10000u

typedef struct rocks {
  const bench_peer_setup *setup;
  rocksdb_options_t *options;
  rocksdb_block_based_table_options_t *tables;
  rocksdb_cache_t *cache;
  rocksdb_readoptions_t *read;
  rocksdb_writeoptions_t *write;
  rocksdb_t *db;
  rocksdb_column_family_handle_t *rows;
  uint64_t *names; /* owned: keys with the most significant byte first, as RocksDB compares bytes */
  const char **name_pointers;
  size_t *name_sizes;
  rocksdb_pinnableslice_t **slices;
  char **errors;
} rocks;

/* Takes the error. */
static bool check(char *error)
{
  if (error)
    fprintf(stderr, "hotrow bench: rocksdb: %s\n", error);
  rocksdb_free(error);
  return !error;
}

static bool take_row(const rocks *r, size_t i, float *row)
{
  size_t size = 0;
  const char *value = r->slices[i] ? rocksdb_pinnableslice_value(r->slices[i], &size) : NULL;
  bool ok = value && size == r->setup->dim * sizeof(float);
  if (ok)
    memcpy(row, value, size);
  else if (!r->errors[i])
    fprintf(stderr, "hotrow bench: rocksdb: a row of %zu bytes\n", size);
  if (r->slices[i])
    rocksdb_pinnableslice_destroy(r->slices[i]);
  return check(r->errors[i]) && ok;
}

static bool pull(void *peer, const uint64_t *keys, size_t count, float *values)
{
  rocks *r = peer;
  bool ok = true;
  for (size_t i = 0; i < count; i++)
    r->names[i] = htobe64(keys[i]);
  rocksdb_batched_multi_get_cf(r->db, r->read, r->rows, count, r->name_pointers, r->name_sizes, r->slices, r->errors,
                               false);
  for (size_t i = 0; i < count; i++)
    ok = take_row(r, i, values + i * r->setup->dim) && ok;
  return ok;
}

static bool put(rocks *r, const uint64_t *keys, size_t count, const float *values)
{
  char *error = NULL;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  size_t row_bytes = r->setup->dim * sizeof(float);
  for (size_t i = 0; i < count; i++) {
    uint64_t name = htobe64(keys[i]);
    rocksdb_writebatch_put(batch, (const char *)&name, KEY_BYTES, (const char *)(values + i * r->setup->dim),
                           row_bytes);
  }
  rocksdb_write(r->db, r->write, batch, &error);
  rocksdb_writebatch_destroy(batch);
  return check(error);
}

static bool push_pull(void *peer, const bench_batch *push, const float *grads, const bench_batch *batch, float *values)
{
  rocks *r = peer;
  (void)push;
  if (!pull(r, batch->keys, batch->count, values))
    return false;
  bench_peer_sgd(values, grads, batch->count * r->setup->dim);
  return put(r, batch->keys, batch->count, values);
}

/* In the order of keys, and compacted: RocksDB at its best. */
static bool fill(void *peer, float *values)
{
  rocks *r = peer;
  uint64_t keys[FILL_KEYS];
  size_t chunk = r->setup->key_count_max < FILL_KEYS ? r->setup->key_count_max : FILL_KEYS;
  for (uint64_t first = 0; first < r->setup->row_count; first += chunk) {
    size_t count = r->setup->row_count - first < chunk ? (size_t)(r->setup->row_count - first) : chunk;
    for (size_t i = 0; i < count; i++) {
      keys[i] = first + i;
      bench_peer_init_row(keys[i], r->setup->dim, values + i * r->setup->dim);
    }
    if (!put(r, keys, count, values))
      return false;
  }
  rocksdb_compact_range_cf(r->db, r->rows, NULL, 0, NULL, 0);
  return true;
}

static void close_rocks(void *peer)
{
  rocks *r = peer;
  if (!r)
    return;
  if (r->db) {
    rocksdb_column_family_handle_destroy(r->rows);
    rocksdb_close(r->db);
  }
  rocksdb_readoptions_destroy(r->read);
  rocksdb_writeoptions_destroy(r->write);
  rocksdb_options_destroy(r->options);
  rocksdb_block_based_options_destroy(r->tables);
  rocksdb_cache_destroy(r->cache);
  free(r->names);
  free(r->name_pointers);
  free(r->name_sizes);
  free(r->slices);
  free(r->errors);
  free(r);
}

static bool take_memory(rocks *r)
{
  size_t count = r->setup->key_count_max;
  r->names = calloc(count, sizeof *r->names);
  r->name_pointers = calloc(count, sizeof *r->name_pointers);
  r->name_sizes = calloc(count, sizeof *r->name_sizes);
  r->slices = calloc(count, sizeof(rocksdb_pinnableslice_t *));
  r->errors = calloc(count, sizeof(char *));
  if (!r->names || !r->name_pointers || !r->name_sizes || !r->slices || !r->errors)
    return false;
  for (size_t i = 0; i < count; i++) {
    r->name_pointers[i] = (const char *)&r->names[i];
    r->name_sizes[i] = KEY_BYTES;
  }
  return true;
}

static bench_peer_status open_rocks(const bench_peer_setup *setup, void **peer_p)
{
  static const char *const names[] = {"default"};
  rocks *r = calloc(1, sizeof *r);
  if (!r)
    return BENCH_PEER_FAILED;
  r->setup = setup;
  r->options = rocksdb_options_create();
  r->tables = rocksdb_block_based_options_create();
  r->cache = rocksdb_cache_create_lru(setup->row_count * (setup->dim * sizeof(float) + CACHE_ROW_BYTES) * 2);
  r->read = rocksdb_readoptions_create();
  r->write = rocksdb_writeoptions_create();
  rocksdb_options_set_create_if_missing(r->options, 1);
  rocksdb_block_based_options_set_block_cache(r->tables, r->cache);
  rocksdb_options_set_block_based_table_factory(r->options, r->tables);
  const rocksdb_options_t *each[] = {r->options};
  char *error = NULL;
  r->db = rocksdb_open_column_families(r->options, setup->dir, 1, names, each, &r->rows, &error);
  if (!check(error) || !take_memory(r)) {
    close_rocks(r);
    return BENCH_PEER_FAILED;
  }
  *peer_p = r;
  return BENCH_PEER_OK;
}

static pid_t process(const void *peer)
{
  (void)peer;
  return getpid();
}

static uint64_t disk_bytes(const void *peer)
{
  const rocks *r = peer;
  uint64_t bytes = 0;
  rocksdb_property_int(r->db, "rocksdb.total-sst-files-size", &bytes);
  return bytes;
}

const bench_peer bench_peer_rocksdb = {
    .name = "rocksdb",
    .open = open_rocks,
    .fill = fill,
    .pull = pull,
    .push_pull = push_pull,
    .process = process,
    .disk_bytes = disk_bytes,
    .close = close_rocks,
};
