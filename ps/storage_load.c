/* A stored cut back into a shard. Checksums are RocksDB's; what the values say is looked at here and by the shard. */
#include <string.h>

#include <hr/assert.h>

#include "storage_read.h"
#include "storage_state.h"

#define PROGRESS_ROWS 65536u

typedef struct load {
  hr_database database; /* the storage's, which is open */
  hr_shard *shard;
  uint64_t now_ns;
  hr_load_progress_fn progress; /* may be NULL */
  void *context;
  uint64_t row_count, row_count_expected;
  uint32_t shard_index;
  uint32_t table; /* that is being loaded */
} load;

static hotrow_status fail_size(const load *l, const char *what, size_t size)
{
  return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: %s of %zu bytes", l->database.path.text, what, size);
}

static hotrow_status load_table(const hr_table_desc *desc, void *context)
{
  const load *l = context;
  return hr_shard_restore_table(l->shard, desc);
}

static hotrow_status load_row(uint64_t key, uint32_t clock, const float *record, size_t float_count, void *context)
{
  load *l = context;
  HOTROW_TRY(hr_shard_restore_row(l->shard, l->table, key, clock, record, float_count));
  if (++l->row_count % PROGRESS_ROWS == 0 && l->progress)
    l->progress(l->context, l->shard_index, l->row_count, l->row_count_expected);
  return HOTROW_OK;
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

/* What stands under a key of one letter; nothing, in a database that has had no cut. */
static hotrow_status load_one(load *l, char kind, hotrow_status (*take)(load *l, const char *value, size_t size))
{
  char *error = NULL;
  size_t size = 0;
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *value = rocksdb_get(l->database.db, read, &kind, 1, &size, &error);
  rocksdb_readoptions_destroy(read);
  if (error)
    return hr_database_fail(&l->database, "read it", error);
  hotrow_status status = value ? take(l, value, size) : HOTROW_OK;
  rocksdb_free(value);
  return status;
}

hotrow_status hr_rocksdb_restore(const hr_rocksdb *storage, hr_shard *shard, uint64_t now_ns,
                                 hr_load_progress_fn progress, void *context)
{
  HOTROW_ASSERT(hr_shard_table_count(shard) == 0);
  load l = {.database = {.path = storage->dir.path, .db = storage->db},
            .shard = shard,
            .now_ns = now_ns,
            .progress = progress,
            .context = context,
            .shard_index = storage->shard_index};
  l.row_count_expected = hr_database_estimate_count(&l.database);
  HOTROW_TRY(hr_database_visit_tables(&l.database, load_table, &l));
  for (; l.table < hr_shard_table_count(shard); l.table++)
    HOTROW_TRY(hr_database_visit_rows(&l.database, l.table, load_row, &l));
  HOTROW_TRY(load_one(&l, HR_STORE_JOBS, load_jobs));
  HOTROW_TRY(load_one(&l, HR_STORE_SESSIONS, load_sessions));
  if (progress)
    progress(context, l.shard_index, l.row_count, l.row_count);
  return HOTROW_OK;
}
