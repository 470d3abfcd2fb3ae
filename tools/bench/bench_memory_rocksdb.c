/* RocksDB alone, as one would use it: rows by batched MultiGet, SGD by the caller, a WriteBatch for each batch, not
 * synced. In a child, so that its memory is its own. */
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "bench_memory.h"

#define GET_KEYS 256u
#define FILTER_BITS 10.0
#define BUFFERS 8u /* a write buffer has this part of the memory, and there are two; the block cache has the rest */

typedef struct store {
  memory_bench *bench;
  rocksdb_options_t *options;
  rocksdb_readoptions_t *read;
  rocksdb_writeoptions_t *write;
  rocksdb_column_family_handle_t *rows;
  rocksdb_t *db;
} store;

static bool check(const char *deed, char *error)
{
  if (!error)
    return true;
  bench_memory_fail(deed, error);
  rocksdb_free(error);
  return false;
}

static bool open_store(store *s, uint64_t memory_bytes)
{
  static const char *const names[] = {"default"};
  char path[600], *error = NULL;
  snprintf(path, sizeof path, "%s/rocksdb", s->bench->options->dir);
  size_t buffer = memory_bytes / BUFFERS;
  rocksdb_block_based_table_options_t *tables = rocksdb_block_based_options_create();
  rocksdb_cache_t *cache = rocksdb_cache_create_lru(memory_bytes - 2 * buffer);
  rocksdb_block_based_options_set_block_cache(tables, cache);
  rocksdb_block_based_options_set_filter_policy(tables, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS));
  rocksdb_block_based_options_set_cache_index_and_filter_blocks(tables, 1);
  s->options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(s->options, 1);
  rocksdb_options_set_error_if_exists(s->options, 1);
  rocksdb_options_set_block_based_table_factory(s->options, tables);
  rocksdb_options_set_write_buffer_size(s->options, buffer);
  rocksdb_options_set_compression(s->options, rocksdb_no_compression);
  rocksdb_options_increase_parallelism(s->options, 2);
  s->read = rocksdb_readoptions_create();
  s->write = rocksdb_writeoptions_create();
  const rocksdb_options_t *each[] = {s->options};
  s->db = rocksdb_open_column_families(s->options, path, 1, names, each, &s->rows, &error);
  return check(path, error);
}

static uint64_t order_of(uint64_t key)
{
  return __builtin_bswap64(key);
}

/* Up to GET_KEYS rows, zeros for those there are not. */
static bool get_some(store *s, const uint64_t *keys, size_t count, float *values)
{
  uint64_t ordered[GET_KEYS];
  const char *names[GET_KEYS] = {0};
  size_t sizes[GET_KEYS] = {0}, row_bytes = s->bench->options->dim * sizeof(float);
  rocksdb_pinnableslice_t *found[GET_KEYS];
  char *errors[GET_KEYS];
  for (size_t i = 0; i < count; i++) {
    ordered[i] = order_of(keys[i]);
    names[i] = (const char *)&ordered[i];
    sizes[i] = sizeof ordered[i];
  }
  rocksdb_batched_multi_get_cf(s->db, s->read, s->rows, count, names, sizes, found, errors, true);
  bool ok = true;
  memset(values, 0, count * row_bytes);
  for (size_t i = 0; i < count; i++) {
    size_t size;
    ok = check("read", errors[i]) && ok;
    if (!found[i])
      continue;
    const char *value = rocksdb_pinnableslice_value(found[i], &size);
    memcpy((char *)values + i * row_bytes, value, size < row_bytes ? size : row_bytes);
    rocksdb_pinnableslice_destroy(found[i]);
  }
  return ok;
}

static bool get(store *s, const uint64_t *keys, size_t count, float *values)
{
  for (size_t done = 0; done < count; done += GET_KEYS)
    if (!get_some(s, keys + done, count - done < GET_KEYS ? count - done : GET_KEYS,
                  values + done * s->bench->options->dim))
      return false;
  return true;
}

static bool put(store *s, const uint64_t *keys, size_t count, float *values)
{
  const uint32_t dim = s->bench->options->dim;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  for (size_t i = 0; i < count; i++) {
    uint64_t ordered = order_of(keys[i]);
    for (uint32_t c = 0; c < dim; c++)
      values[i * dim + c] -= 0.01f * s->bench->grads[i * dim + c];
    rocksdb_writebatch_put(batch, (const char *)&ordered, sizeof ordered, (const char *)(values + i * dim),
                           dim * sizeof *values);
  }
  char *error = NULL;
  rocksdb_write(s->db, s->write, batch, &error);
  rocksdb_writebatch_destroy(batch);
  return check("write", error);
}

/* Reads all rows, and pushes to them first if it is the fill. */
static bool pass_over(store *s, bool is_fill, XXH3_state_t *hash)
{
  uint64_t keys[GET_KEYS];
  memory_bench *b = s->bench;
  bool ok = true;
  for (uint64_t first = 0; ok && first < b->options->rows; first += GET_KEYS) {
    size_t count = b->options->rows - first < GET_KEYS ? (size_t)(b->options->rows - first) : GET_KEYS;
    for (size_t i = 0; i < count; i++)
      keys[i] = first + i;
    ok = get_some(s, keys, count, b->values);
    if (is_fill) {
      /* Gradients count from the beginning of a message of 8192 keys, as in the fill of the servers. */
      memory_bench at = *b;
      at.grads += first % 8192 * b->options->dim;
      s->bench = &at;
      ok = ok && put(s, keys, count, b->values);
      s->bench = b;
    } else {
      XXH3_64bits_update(hash, b->values, count * b->options->dim * sizeof *b->values);
    }
  }
  return ok;
}

static bool train(store *s, memory_result *r)
{
  memory_bench *b = s->bench;
  struct timespec pause = {0, (long)b->options->compute_ms * 1000000};
  double begin = bench_seconds();
  for (uint32_t i = 0; i < b->options->batches; i++) {
    double before = bench_seconds();
    if (!get(s, b->batches[i].keys, b->batches[i].count, b->values))
      return false;
    r->stall_ms[i] = 1e3 * (bench_seconds() - before);
    nanosleep(&pause, NULL);
    if (!put(s, b->batches[i].keys, b->batches[i].count, b->values))
      return false;
  }
  r->seconds = bench_seconds() - begin - 1e-3 * b->options->compute_ms * b->options->batches;
  return true;
}

static int run_child(memory_bench *b, uint64_t memory_bytes, memory_result *r)
{
  store s = {.bench = b};
  uint64_t before = bench_memory_resident(getpid());
  XXH3_state_t *hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  bool ok = open_store(&s, memory_bytes) && pass_over(&s, true, NULL) && train(&s, r);
  r->resident_bytes = bench_memory_resident(getpid()) - before;
  ok = ok && pass_over(&s, false, hash);
  r->sum = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  return ok ? 0 : 1;
}

bool bench_memory_rocksdb(memory_bench *b, uint64_t memory_bytes, memory_result *r)
{
  size_t stall_bytes = b->options->batches * sizeof *r->stall_ms;
  memory_result *shared =
      mmap(NULL, sizeof *shared + stall_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED)
    return bench_memory_fail("rocksdb", "no memory");
  shared->stall_ms = (double *)(shared + 1);
  pid_t child = fork();
  if (child == 0)
    _exit(run_child(b, memory_bytes, shared));
  int status = 1;
  waitpid(child, &status, 0);
  memcpy(r->stall_ms, shared->stall_ms, stall_bytes);
  r->seconds = shared->seconds;
  r->sum = shared->sum;
  r->resident_bytes = shared->resident_bytes;
  munmap(shared, sizeof *shared + stall_bytes);
  return status == 0;
}
