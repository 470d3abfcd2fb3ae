/* A stored cut back into a shard. Checksums are RocksDB's; what the values say is looked at here and by the shard. */
#include <stdio.h>
#include <string.h>

#include <hr/assert.h>

#include "storage_state.h"

#define READAHEAD_BYTES ((size_t)4 << 20)
#define PROGRESS_ROWS 65536u

typedef struct load {
  const hr_rocksdb *storage;
  hr_shard *shard;
  uint64_t now_ns;
  hr_load_progress_fn progress; /* may be NULL */
  void *context;
  uint64_t row_count, row_count_expected;
  uint32_t shard_index;
  float record[HR_STORE_FLOATS_MAX]; /* a row's floats, aligned */
} load;

static hotrow_status fail_size(const load *l, const char *what, size_t size)
{
  return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: %s of %zu bytes", l->storage->dir.path.text, what, size);
}

static hotrow_status load_table(load *l, const char *key, size_t key_size, const char *value, size_t size)
{
  hr_table_desc desc;
  if (key_size != HR_STORE_TABLE_KEY_BYTES || size != sizeof desc)
    return fail_size(l, "a table", size);
  memcpy(&desc, value, sizeof desc);
  if (desc.id != hr_store_table_of((const uint8_t *)key))
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: table %u says that it is %u", l->storage->dir.path.text,
                   hr_store_table_of((const uint8_t *)key), desc.id);
  return hr_shard_restore_table(l->shard, &desc);
}

static hotrow_status load_row(load *l, const char *key, size_t key_size, const char *value, size_t size)
{
  uint32_t clock;
  if (key_size != HR_STORE_ROW_KEY_BYTES || size < sizeof clock || (size - sizeof clock) % sizeof(float) != 0 ||
      size - sizeof clock > sizeof l->record)
    return fail_size(l, "a row", size);
  memcpy(&clock, value, sizeof clock);
  memcpy(l->record, value + sizeof clock, size - sizeof clock);
  const uint8_t *at = (const uint8_t *)key;
  HOTROW_TRY(hr_shard_restore_row(l->shard, hr_store_table_of(at), hr_store_key_of(at), clock, l->record,
                                  (size - sizeof clock) / sizeof(float)));
  if (++l->row_count % PROGRESS_ROWS == 0 && l->progress)
    l->progress(l->context, l->shard_index, l->row_count, l->row_count_expected);
  return HOTROW_OK;
}

static hotrow_status load_bucket(load *l, const char *key, size_t key_size, const char *value, size_t size)
{
  if (key_size != HR_STORE_ROW_KEY_BYTES)
    return fail_size(l, "a bucket of keys without a row", size);
  const uint8_t *at = (const uint8_t *)key;
  return hr_shard_restore_bucket(l->shard, hr_store_table_of(at), hr_store_key_of(at), value, size);
}

static hotrow_status load_jobs(load *l, const char *value, size_t size)
{
  static const size_t world_bytes_max = HR_WIRE_WORLD_MAX * sizeof(hr_stored_member);
  for (size_t at = 0; at < size;) {
    hr_stored_job job;
    hr_stored_member members[HR_WIRE_WORLD_MAX];
    if (size - at < sizeof job)
      return fail_size(l, "a job", size - at);
    memcpy(&job, value + at, sizeof job);
    at += sizeof job;
    size_t members_bytes = job.world_size * sizeof *members;
    if (members_bytes > world_bytes_max || members_bytes > size - at)
      return fail_size(l, "the members of a job", size - at);
    memcpy(members, value + at, members_bytes);
    at += members_bytes;
    HOTROW_TRY(hr_shard_restore_job(l->shard, &job, members, l->now_ns));
  }
  return HOTROW_OK;
}

static hotrow_status load_sessions(load *l, const char *value, size_t size)
{
  hr_stored_session session;
  if (size % sizeof session != 0)
    return fail_size(l, "sessions", size);
  for (size_t at = 0; at < size; at += sizeof session) {
    memcpy(&session, value + at, sizeof session);
    HOTROW_TRY(hr_shard_restore_session(l->shard, &session, l->now_ns));
  }
  return HOTROW_OK;
}

/* One entry, if it is of this kind: what is not is passed over. */
static hotrow_status load_entry(load *l, char kind, const rocksdb_iterator_t *at)
{
  size_t key_size, size;
  const char *key = rocksdb_iter_key(at, &key_size), *value = rocksdb_iter_value(at, &size);
  switch (kind) {
  case HR_STORE_TABLE:
    return load_table(l, key, key_size, value, size);
  case HR_STORE_ROW:
    return load_row(l, key, key_size, value, size);
  case HR_STORE_BUCKET:
    return load_bucket(l, key, key_size, value, size);
  case HR_STORE_JOBS:
    return load_jobs(l, value, size);
  case HR_STORE_SESSIONS:
    return load_sessions(l, value, size);
  default:
    return HOTROW_OK;
  }
}

/* Up to `count_max` entries whose keys begin with `prefix`; *is_all_p: there are no more. */
static hotrow_status load_entries(load *l, const uint8_t *prefix, size_t prefix_size, uint64_t count_max,
                                  bool *is_all_p)
{
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(options, 0);
  rocksdb_readoptions_set_readahead_size(options, READAHEAD_BYTES);
  rocksdb_iterator_t *at = rocksdb_create_iterator(l->storage->db, options);
  hotrow_status status = HOTROW_OK;
  *is_all_p = true;
  rocksdb_iter_seek(at, (const char *)prefix, prefix_size);
  for (uint64_t count = 0; status == HOTROW_OK && rocksdb_iter_valid(at); rocksdb_iter_next(at), count++) {
    size_t key_size;
    const char *key = rocksdb_iter_key(at, &key_size);
    if (key_size < prefix_size || memcmp(key, prefix, prefix_size) != 0)
      break;
    *is_all_p = count < count_max;
    if (!*is_all_p)
      break;
    status = load_entry(l, (char)prefix[0], at);
  }
  char *error = NULL;
  if (status == HOTROW_OK)
    rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(options);
  return error ? hr_rocksdb_fail(l->storage, "read it", error) : status;
}

static hotrow_status load_kind(load *l, char kind)
{
  uint8_t prefix = (uint8_t)kind;
  bool is_all;
  return load_entries(l, &prefix, 1, UINT64_MAX, &is_all);
}

/* Rows of a table that is not described. */
static hotrow_status refuse_rows_after(load *l, uint32_t table_count)
{
  uint8_t first[HR_STORE_TABLE_KEY_BYTES];
  hr_store_table_key(first, HR_STORE_ROW, table_count);
  rocksdb_iterator_t *at = rocksdb_create_iterator(l->storage->db, l->storage->read_options);
  rocksdb_iter_seek(at, (const char *)first, sizeof first);
  size_t key_size;
  bool is_there = rocksdb_iter_valid(at) && *rocksdb_iter_key(at, &key_size) == HR_STORE_ROW;
  rocksdb_iter_destroy(at);
  if (is_there)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: rows of a table that is not there: it has %u",
                   l->storage->dir.path.text, table_count);
  return HOTROW_OK;
}

static hotrow_status load_rows(load *l)
{
  for (uint32_t id = 0; id < hr_shard_table_count(l->shard); id++) {
    uint8_t prefix[HR_STORE_TABLE_KEY_BYTES];
    bool is_all;
    hr_store_table_key(prefix, HR_STORE_ROW, id);
    HOTROW_TRY(load_entries(l, prefix, sizeof prefix, hr_shard_restore_max(l->shard, id), &is_all));
    HOTROW_TRY(hr_shard_restore_end(l->shard, id, is_all));
  }
  return refuse_rows_after(l, (uint32_t)hr_shard_table_count(l->shard));
}

/* What the shard says of a value does not say where it lay; and that it fits nothing is damage. */
static hotrow_status name_directory(const hr_rocksdb *storage, hotrow_status status)
{
  char sentence[HR_ERROR_TEXT_BYTES];
  snprintf(sentence, sizeof sentence, "%s", hotrow_last_error());
  if (strstr(sentence, storage->dir.path.text))
    return status;
  bool is_damage = status == HOTROW_ERR_NOT_FOUND || status == HOTROW_ERR_INVALID || status == HOTROW_ERR_EXISTS ||
                   status == HOTROW_ERR_PROTOCOL || status == HOTROW_ERR_VERSION;
  return hr_fail(is_damage ? HOTROW_ERR_CORRUPT : status, "data directory %s: %s", storage->dir.path.text, sentence);
}

/* ---- what is loaded from elsewhere ---- */

static hotrow_status is_unfinished(const hr_rocksdb *storage, bool *is_unfinished_p)
{
  static const char key = HR_STORE_LOADING;
  char *error = NULL;
  size_t size = 0;
  char *value = rocksdb_get(storage->db, storage->read_options, &key, 1, &size, &error);
  *is_unfinished_p = value != NULL;
  rocksdb_free(value);
  return error ? hr_rocksdb_fail(storage, "read it", error) : HOTROW_OK;
}

static hotrow_status refuse_unfinished(const hr_rocksdb *storage)
{
  bool is_one;
  HOTROW_TRY(is_unfinished(storage, &is_one));
  return is_one ? hr_fail(HOTROW_ERR_CORRUPT, HR_STORE_UNFINISHED_TEXT, storage->dir.path.text) : HOTROW_OK;
}

/* A failure is one of the database's own writes, and the last. */
static hotrow_status end_write(hr_rocksdb *storage, char *error)
{
  if (error)
    storage->result = hr_rocksdb_fail(storage, "note what is loaded", error);
  return storage->result;
}

hotrow_status hr_rocksdb_begin_load(hr_rocksdb *storage)
{
  static const char key = HR_STORE_LOADING;
  char *error = NULL;
  rocksdb_put(storage->db, storage->write_options, &key, 1, "", 0, &error);
  return end_write(storage, error);
}

hotrow_status hr_rocksdb_end_load(hr_rocksdb *storage)
{
  static const char key = HR_STORE_LOADING;
  char *error = NULL;
  rocksdb_delete(storage->db, storage->write_options, &key, 1, &error);
  return end_write(storage, error);
}

/* All but HR_STORE_META, in one write. */
hotrow_status hr_rocksdb_drop_unfinished(hr_rocksdb *storage)
{
  static const char first = 0, meta = HR_STORE_META, after_meta = HR_STORE_META + 1, end = 0x7f;
  bool is_one;
  char *error = NULL;
  HOTROW_TRY(is_unfinished(storage, &is_one));
  if (!is_one)
    return HOTROW_OK;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  rocksdb_writebatch_delete_range(batch, &first, 1, &meta, 1);
  rocksdb_writebatch_delete_range(batch, &after_meta, 1, &end, 1);
  rocksdb_write(storage->db, storage->write_options, batch, &error);
  rocksdb_writebatch_destroy(batch);
  return end_write(storage, error);
}

/* ---- all of it ---- */

static hotrow_status restore(load *l)
{
  HOTROW_TRY(refuse_unfinished(l->storage));
  HOTROW_TRY(load_kind(l, HR_STORE_TABLE));
  HOTROW_TRY(load_rows(l));
  HOTROW_TRY(load_kind(l, HR_STORE_BUCKET));
  HOTROW_TRY(load_kind(l, HR_STORE_JOBS));
  return load_kind(l, HR_STORE_SESSIONS);
}

hotrow_status hr_rocksdb_restore(hr_rocksdb *storage, hr_shard *shard, uint64_t now_ns, hr_load_progress_fn progress,
                                 void *context)
{
  HOTROW_ASSERT(hr_shard_table_count(shard) == 0);
  load l = {.storage = storage,
            .shard = shard,
            .now_ns = now_ns,
            .progress = progress,
            .context = context,
            .shard_index = storage->shard_index};
  rocksdb_property_int(storage->db, "rocksdb.estimate-num-keys", &l.row_count_expected);
  hotrow_status status = restore(&l);
  if (status == HOTROW_OK)
    status = hr_rocksdb_replay(storage, shard, now_ns);
  if (status != HOTROW_OK)
    return name_directory(storage, status);
  if (progress)
    progress(context, l.shard_index, l.row_count, l.row_count);
  return HOTROW_OK;
}
