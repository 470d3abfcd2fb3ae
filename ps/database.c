#include "database.h"

#include <string.h>

#include <hr/assert.h>

#define READAHEAD_BYTES ((size_t)4 << 20)
#define TAIL_MAY_BE_TORN 0 /* of a write-ahead log, by the death of its server: what it holds was not confirmed */
#define EVEN_IF_LOG_EXISTS 0

static hotrow_status fail_text(const hr_database *d, const char *deed, char *error)
{
  bool is_corrupt = strncmp(error, "Corruption", 10) == 0 || strncmp(error, "Invalid argument", 16) == 0;
  hotrow_status status = hr_fail(is_corrupt ? HOTROW_ERR_CORRUPT : HOTROW_ERR_STORAGE, "database %s: cannot %s: %s",
                                 d->path.text, deed, error);
  rocksdb_free(error);
  return status;
}

static hotrow_status fail_size(const hr_database *d, const char *what, size_t size)
{
  return hr_fail(HOTROW_ERR_CORRUPT, "database %s: %s of %zu bytes", d->path.text, what, size);
}

hotrow_status hr_database_open(const char *path, hr_database *database_p)
{
  hr_database *d = database_p;
  char *error = NULL;
  HOTROW_TRY(hr_path_format(&d->path, "%s", path));
  d->options = rocksdb_options_create();
  rocksdb_options_set_paranoid_checks(d->options, 1);
  rocksdb_options_set_wal_recovery_mode(d->options, TAIL_MAY_BE_TORN);
  d->db = rocksdb_open_for_read_only(d->options, path, EVEN_IF_LOG_EXISTS, &error);
  if (!error)
    return HOTROW_OK;
  rocksdb_options_destroy(d->options);
  return fail_text(d, "open the database", error);
}

void hr_database_close(hr_database *d)
{
  rocksdb_close(d->db);
  rocksdb_options_destroy(d->options);
}

hotrow_status hr_database_read_meta(const hr_database *d, hr_store_meta *meta_p)
{
  static const char key = HR_STORE_META;
  char *error = NULL;
  size_t size = 0;
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *value = rocksdb_get(d->db, read, &key, 1, &size, &error);
  rocksdb_readoptions_destroy(read);
  if (error)
    return fail_text(d, "read it", error);
  bool is_whole = value && size == sizeof *meta_p;
  if (is_whole)
    memcpy(meta_p, value, size);
  rocksdb_free(value);
  if (!is_whole || memcmp(meta_p->magic, HR_STORE_MAGIC, HR_STORE_MAGIC_BYTES) != 0)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s is a database of something else", d->path.text);
  if (meta_p->version != HR_STORE_VERSION)
    return hr_fail(HOTROW_ERR_VERSION, "database %s: format version %u, this build reads %u", d->path.text,
                   meta_p->version, HR_STORE_VERSION);
  return HOTROW_OK;
}

hotrow_status hr_database_is_unfinished(const hr_database *d, bool *is_unfinished_p)
{
  static const char key = HR_STORE_LOADING;
  char *error = NULL;
  size_t size = 0;
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *value = rocksdb_get(d->db, read, &key, 1, &size, &error);
  rocksdb_readoptions_destroy(read);
  *is_unfinished_p = value != NULL;
  rocksdb_free(value);
  return error ? fail_text(d, "read it", error) : HOTROW_OK;
}

hotrow_status hr_database_has_log(const hr_database *d, bool *has_log_p)
{
  static const char key = HR_STORE_LOG;
  char *error = NULL;
  size_t size = 0;
  uint64_t covered = 0;
  uint8_t next[HR_STORE_LOG_KEY_BYTES];
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *value = rocksdb_get(d->db, read, &key, 1, &size, &error);
  if (value)
    memcpy(&covered, value, size < sizeof covered ? size : sizeof covered);
  rocksdb_free(value);
  hr_store_log_key(next, covered + 1);
  rocksdb_iterator_t *at = rocksdb_create_iterator(d->db, read);
  rocksdb_iter_seek(at, (const char *)next, sizeof next);
  *has_log_p = rocksdb_iter_valid(at) && *rocksdb_iter_key(at, &size) == HR_STORE_LOG;
  if (!error)
    rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(read);
  return error ? fail_text(d, "read it", error) : HOTROW_OK;
}

/* ---- entries ---- */

typedef struct entry {
  const uint8_t *key, *value;
  size_t key_size, size;
} entry;

typedef struct visiting {
  const hr_database *database;
  hr_database_table_fn table;
  hr_database_row_fn row;
  hr_database_bucket_fn bucket;
  void *context;
  float record[HR_STORE_FLOATS_MAX]; /* a row's floats, aligned */
} visiting;

/* All entries whose keys begin with `head`. */
static hotrow_status visit(visiting *v, const uint8_t *head, size_t head_size,
                           hotrow_status (*take)(visiting *v, const entry *e))
{
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(options, 0);
  rocksdb_readoptions_set_readahead_size(options, READAHEAD_BYTES);
  rocksdb_iterator_t *at = rocksdb_create_iterator(v->database->db, options);
  hotrow_status status = HOTROW_OK;
  rocksdb_iter_seek(at, (const char *)head, head_size);
  for (; status == HOTROW_OK && rocksdb_iter_valid(at); rocksdb_iter_next(at)) {
    entry e;
    e.key = (const uint8_t *)rocksdb_iter_key(at, &e.key_size);
    e.value = (const uint8_t *)rocksdb_iter_value(at, &e.size);
    if (e.key_size < head_size || memcmp(e.key, head, head_size) != 0)
      break;
    status = take(v, &e);
  }
  char *error = NULL;
  if (status == HOTROW_OK)
    rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(options);
  return error ? fail_text(v->database, "read it", error) : status;
}

static hotrow_status take_table(visiting *v, const entry *e)
{
  hr_table_desc desc;
  if (e->key_size != HR_STORE_TABLE_KEY_BYTES || e->size != sizeof desc)
    return fail_size(v->database, "a table", e->size);
  memcpy(&desc, e->value, sizeof desc);
  if (desc.id != hr_store_table_of(e->key))
    return hr_fail(HOTROW_ERR_CORRUPT, "database %s: table %u says that it is %u", v->database->path.text,
                   hr_store_table_of(e->key), desc.id);
  return v->table(&desc, v->context);
}

static hotrow_status take_row(visiting *v, const entry *e)
{
  uint32_t clock;
  if (e->key_size != HR_STORE_ROW_KEY_BYTES || e->size < sizeof clock ||
      (e->size - sizeof clock) % sizeof(float) != 0 || e->size - sizeof clock > sizeof v->record)
    return fail_size(v->database, "a row", e->size);
  memcpy(&clock, e->value, sizeof clock);
  memcpy(v->record, e->value + sizeof clock, e->size - sizeof clock);
  return v->row(hr_store_key_of(e->key), clock, v->record, (e->size - sizeof clock) / sizeof(float), v->context);
}

static hotrow_status take_bucket(visiting *v, const entry *e)
{
  if (e->key_size != HR_STORE_ROW_KEY_BYTES)
    return fail_size(v->database, "the key of a bucket", e->key_size);
  return v->bucket(hr_store_key_of(e->key), e->value, e->size, v->context);
}

hotrow_status hr_database_visit_tables(const hr_database *database, hr_database_table_fn table, void *context)
{
  visiting v = {.database = database, .table = table, .context = context};
  return visit(&v, (const uint8_t[]){HR_STORE_TABLE}, 1, take_table);
}

hotrow_status hr_database_visit_rows(const hr_database *database, uint32_t table, hr_database_row_fn row, void *context)
{
  uint8_t head[HR_STORE_TABLE_KEY_BYTES];
  visiting v = {.database = database, .row = row, .context = context};
  hr_store_table_key(head, HR_STORE_ROW, table);
  return visit(&v, head, sizeof head, take_row);
}

hotrow_status hr_database_visit_buckets(const hr_database *database, uint32_t table, hr_database_bucket_fn bucket,
                                        void *context)
{
  uint8_t head[HR_STORE_TABLE_KEY_BYTES];
  visiting v = {.database = database, .bucket = bucket, .context = context};
  hr_store_table_key(head, HR_STORE_BUCKET, table);
  return visit(&v, head, sizeof head, take_bucket);
}
