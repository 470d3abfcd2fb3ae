#include "storage_rocksdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/thread.h>

#include "storage_state.h"

#define WRITE_BUFFER_BYTES ((size_t)64 << 20)
#define BUFFER_SHARES                                                                                                  \
  4u /* of the memory that is set: two buffers, one filled and one written; the cache has the rest */
#define LEVEL_BUFFERS 4u /* rows change all over a table: merging one buffer writes the whole first level anew */
#define BUFFER_FILTER_SHARE 0.02 /* of a write buffer: keys that are in none are told without a search */
#define FILTER_BITS 10.0         /* a key: 1 % of those that are not there cost a read */
#define BACKGROUND_JOBS 2
#define FLUSH_THREADS 1 /* RocksDB's threads for so many jobs */
#define MERGE_THREADS 1
/* New tables are merged once they have so many bytes, and the more that is the seldomer all of them are written anew.
 * By their bytes and not their number, as a checkpoint has a buffer written out before it is full: with RocksDB's own 4
 * the merging that checkpoints made necessary took a tenth of two cores. */
#define LEVEL_BYTES ((uint64_t)512 << 20)
#define LEVEL_FILES 16
#define LEVEL_FILES_SLOW (2 * LEVEL_FILES)
#define LEVEL_FILES_STOP (3 * LEVEL_FILES)
#define LOG_FILES_MAX 4u
/* Only how it was opened: its log lies on the disk that it is to tell of, and Debian's RocksDB, which is built with
 * assertions, aborts at the second line that it cannot write. */
#define LOG_LEVEL_HEADER 5
#define RECOVERY_TOLERATE_TAIL 0 /* of the write-ahead log only its end may be torn; a hole in it is an error */

static bool begins_with(const char *text, const char *word)
{
  return strncmp(text, word, strlen(word)) == 0;
}

hotrow_status hr_rocksdb_fail(const hr_rocksdb *storage, const char *deed, char *error)
{
  hotrow_status code = begins_with(error, "Corruption") || begins_with(error, "Invalid argument") ? HOTROW_ERR_CORRUPT
                                                                                                  : HOTROW_ERR_STORAGE;
  hr_fail(code, "data directory %s: cannot %s: %s", storage->dir.path.text, deed, error);
  rocksdb_free(error);
  return code;
}

/* Rows that are asked for one by one: a filter says of most tables that a key is not in them without a read, and
 * filters, indexes and blocks share one cache, so that there is an end to them. */
static void set_memory(hr_rocksdb *s, rocksdb_options_t *options)
{
  rocksdb_block_based_table_options_t *tables = rocksdb_block_based_options_create();
  size_t buffer = s->memory_bytes / BUFFER_SHARES;
  s->cache = rocksdb_cache_create_lru(s->memory_bytes / 2);
  rocksdb_block_based_options_set_block_cache(tables, s->cache);
  rocksdb_block_based_options_set_filter_policy(tables, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS));
  rocksdb_block_based_options_set_cache_index_and_filter_blocks(tables, 1);
  rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(tables, 1);
  rocksdb_options_set_block_based_table_factory(options, tables);
  rocksdb_block_based_options_destroy(tables);
  buffer = buffer < WRITE_BUFFER_BYTES ? buffer : WRITE_BUFFER_BYTES;
  rocksdb_options_set_write_buffer_size(options, buffer);
  rocksdb_options_set_memtable_whole_key_filtering(options, 1);
  rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, BUFFER_FILTER_SHARE);
  rocksdb_options_set_max_bytes_for_level_base(options, LEVEL_BUFFERS * buffer);
}

/* Rows do not compress. If they are read only to be loaded there is no block cache to speak of. */
static rocksdb_options_t *make_options(hr_rocksdb *s)
{
  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_options_set_paranoid_checks(options, 1);
  rocksdb_options_set_compression(options, rocksdb_no_compression);
  rocksdb_options_set_write_buffer_size(options, WRITE_BUFFER_BYTES);
  rocksdb_options_set_max_bytes_for_level_base(options, LEVEL_BYTES);
  rocksdb_options_set_level0_file_num_compaction_trigger(options, LEVEL_FILES);
  rocksdb_options_set_level0_slowdown_writes_trigger(options, LEVEL_FILES_SLOW);
  rocksdb_options_set_level0_stop_writes_trigger(options, LEVEL_FILES_STOP);
  if (s->memory_bytes > 0)
    set_memory(s, options);
  rocksdb_options_set_max_background_jobs(options, BACKGROUND_JOBS);
  rocksdb_options_set_wal_recovery_mode(options, RECOVERY_TOLERATE_TAIL);
  rocksdb_options_set_info_log_level(options, LOG_LEVEL_HEADER);
  rocksdb_options_set_keep_log_file_num(options, LOG_FILES_MAX);
  rocksdb_options_set_stats_dump_period_sec(options, 0);
  return options;
}

/* ---- who this database is of, and the epoch ---- */

static hotrow_status check_is_empty(const hr_rocksdb *s)
{
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  rocksdb_iterator_t *at = rocksdb_create_iterator(s->db, read);
  rocksdb_iter_seek_to_first(at);
  bool is_empty = !rocksdb_iter_valid(at);
  char *error = NULL;
  rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(read);
  if (error)
    return hr_rocksdb_fail(s, "read it", error);
  if (!is_empty)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s is a database of something else", s->dir.path.text);
  return HOTROW_OK;
}

static hotrow_status check_meta(const hr_rocksdb *s, const hr_store_meta *found, size_t size, const hr_store_meta *own)
{
  const char *path = s->dir.path.text;
  if (size != sizeof *found || memcmp(found->magic, own->magic, sizeof own->magic) != 0)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: its record of %zu bytes is not that of a shard", path, size);
  if (found->version != own->version)
    return hr_fail(HOTROW_ERR_VERSION, "data directory %s: format version %u, this build reads %u", path,
                   found->version, own->version);
  if (found->shard_index != own->shard_index || found->shard_count != own->shard_count)
    return hr_fail(HOTROW_ERR_EXISTS, "data directory %s holds shard %u of %u, not %u of %u", path, found->shard_index,
                   found->shard_count, own->shard_index, own->shard_count);
  return HOTROW_OK;
}

/* The time, so that a directory that was emptied, or brought back from a copy, does not have an epoch twice. */
static uint64_t later_epoch(uint64_t before)
{
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t epoch = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  return epoch > before ? epoch : before + 1;
}

static hotrow_status begin_epoch(hr_rocksdb *s, uint32_t shard_index, uint32_t shard_count)
{
  static const char key = HR_STORE_META;
  hr_store_meta own = {.version = HR_STORE_VERSION, .shard_index = shard_index, .shard_count = shard_count};
  hr_store_meta found = {0};
  memcpy(own.magic, HR_STORE_MAGIC, sizeof own.magic);
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *error = NULL;
  size_t size = 0;
  char *value = rocksdb_get(s->db, read, &key, 1, &size, &error);
  rocksdb_readoptions_destroy(read);
  if (error)
    return hr_rocksdb_fail(s, "read it", error);
  if (value)
    memcpy(&found, value, size < sizeof found ? size : sizeof found);
  hotrow_status status = value ? check_meta(s, &found, size, &own) : check_is_empty(s);
  rocksdb_free(value);
  HOTROW_TRY(status);
  s->epoch = own.epoch = later_epoch(found.epoch);
  rocksdb_put(s->db, s->write_options, &key, 1, (const char *)&own, sizeof own, &error);
  if (error) {
    s->result = hr_rocksdb_fail(s, "write the epoch", error);
    return s->result;
  }
  return HOTROW_OK;
}

/* ---- open and close ---- */

/* The threads that write tables out and merge them are the process's, and are as who makes them. They have time: a cut
 * is durable by the write-ahead log. */
static void *make_pools(void *context)
{
  rocksdb_env_t *env = rocksdb_create_default_env();
  rocksdb_env_set_high_priority_background_threads(env, FLUSH_THREADS);
  rocksdb_env_set_background_threads(env, MERGE_THREADS);
  rocksdb_env_destroy(env);
  return context;
}

static hotrow_status open_database(hr_rocksdb *s)
{
  static const char *const names[] = {"default"};
  char *error = NULL;
  HOTROW_TRY(hr_thread_call(HR_THREAD_BACKGROUND, "pools", make_pools, NULL, NULL));
  s->options = make_options(s);
  s->write_options = rocksdb_writeoptions_create();
  s->read_options = rocksdb_readoptions_create();
  rocksdb_writeoptions_set_sync(s->write_options, 1);
  const rocksdb_options_t *each[] = {s->options};
  s->db = rocksdb_open_column_families(s->options, s->dir.path.text, 1, names, each, &s->rows, &error);
  return error ? hr_rocksdb_fail(s, "open it", error) : HOTROW_OK;
}

hotrow_status hr_rocksdb_open(const char *data_dir, uint32_t shard_index, uint32_t shard_count, size_t memory_bytes,
                              hr_rocksdb **storage_p)
{
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_rocksdb), "storage", &memory));
  hr_rocksdb *s = memory;
  s->event_fd = -1;
  s->dir.lock = -1;
  s->shard_index = shard_index;
  s->memory_bytes = memory_bytes;
  hotrow_status status = hr_data_dir_open(data_dir, shard_index, shard_count, &s->dir);
  if (status == HOTROW_OK)
    status = open_database(s);
  if (status == HOTROW_OK)
    status = begin_epoch(s, shard_index, shard_count);
  if (status == HOTROW_OK)
    status = hr_rocksdb_start_writer(s);
  if (status == HOTROW_OK && memory_bytes > 0)
    status = hr_rocksdb_start_reader(s);
  if (status != HOTROW_OK) {
    hr_rocksdb_close(s);
    return status;
  }
  *storage_p = s;
  return HOTROW_OK;
}

void hr_rocksdb_close(hr_rocksdb *s)
{
  if (!s)
    return;
  hr_rocksdb_stop_reader(s);
  hr_rocksdb_stop_writer(s);
  if (s->db && s->result == HOTROW_OK && s->flush_result == HOTROW_OK && hr_rocksdb_check_tables(s) == HOTROW_OK) {
    rocksdb_column_family_handle_destroy(s->rows);
    rocksdb_close(s->db);
    rocksdb_options_destroy(s->options);
    rocksdb_writeoptions_destroy(s->write_options);
    rocksdb_readoptions_destroy(s->read_options);
    if (s->cache)
      rocksdb_cache_destroy(s->cache);
  }
  hr_data_dir_close(&s->dir);
  free(s);
}

/* ---- a storage that has failed ---- */

/* RocksDB waits for room and tries again by itself otherwise; what is stored can be read as before. */
void hr_rocksdb_stop_writing(hr_rocksdb *s, hotrow_status failure, const char *sentence)
{
  if (s->failure != HOTROW_OK)
    return;
  s->failure = failure;
  snprintf(s->failure_text, sizeof s->failure_text, "%s", sentence);
  rocksdb_cancel_all_background_work(s->db, 0);
}

hotrow_status hr_rocksdb_check_tables(hr_rocksdb *s)
{
  uint64_t errors = 0;
  if (s->failure == HOTROW_OK)
    rocksdb_property_int(s->db, "rocksdb.background-errors", &errors);
  if (errors > 0) {
    struct statvfs disk = {0};
    statvfs(s->dir.path.text, &disk);
    hr_fail(HOTROW_ERR_STORAGE,
            "data directory %s: RocksDB could not write its tables out, or merge them; its disk has %llu MiB free",
            s->dir.path.text, (unsigned long long)((uint64_t)disk.f_bavail * disk.f_frsize >> 20));
    hr_rocksdb_stop_writing(s, HOTROW_ERR_STORAGE, hotrow_last_error());
  }
  return s->failure == HOTROW_OK ? HOTROW_OK : hr_fail_text(s->failure, s->failure_text, strlen(s->failure_text));
}

bool hr_rocksdb_has_failed(const hr_rocksdb *s)
{
  return s->failure != HOTROW_OK;
}

uint64_t hr_rocksdb_epoch(const hr_rocksdb *storage)
{
  return storage->epoch;
}

const char *hr_rocksdb_path(const hr_rocksdb *storage)
{
  return storage->dir.path.text;
}

const hr_storage *hr_rocksdb_calls(hr_rocksdb *storage)
{
  return &storage->calls;
}

int hr_rocksdb_fd(const hr_rocksdb *storage)
{
  return storage->event_fd;
}

hr_rocksdb_counts hr_rocksdb_get_counts(const hr_rocksdb *storage)
{
  return storage->counts;
}

static size_t load(const atomic_size_t *bytes)
{
  return atomic_load_explicit(bytes, memory_order_relaxed);
}

void hr_rocksdb_ask_memory(hr_rocksdb *s)
{
  uint64_t buffers = 0, tables = 0, cache = 0;
  rocksdb_property_int(s->db, "rocksdb.cur-size-all-mem-tables", &buffers);
  rocksdb_property_int(s->db, "rocksdb.estimate-table-readers-mem", &tables);
  rocksdb_property_int(s->db, "rocksdb.block-cache-usage", &cache);
  atomic_store_explicit(&s->database_bytes, buffers + tables + cache, memory_order_relaxed);
}

/* What the writer has in hand does not grow, and it says how large its own is. */
hr_storage_memory hr_rocksdb_get_memory(const hr_rocksdb *s)
{
  const hr_bytes *filling = &s->log.filling, *handed = &s->log.handed;
  size_t log_bytes = filling->touched + handed->touched;
  return (hr_storage_memory){
      .database_bytes = load(&s->database_bytes),
      .cut_bytes = load(&s->cut.entries.block_bytes) + load(&s->batch_bytes),
      .log_bytes = log_bytes + load(&s->log.batch_bytes),
      .idle_bytes = filling->capacity + handed->capacity - log_bytes,
  };
}

bool hr_rocksdb_is_moving(const hr_rocksdb *s)
{
  return atomic_load_explicit(&s->is_moving, memory_order_relaxed);
}
