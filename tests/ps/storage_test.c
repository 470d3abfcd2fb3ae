#include "storage_test.h"

static hotrow_status check_call(test_storage *s)
{
  if (s->calls_left > 0 && --s->calls_left == 0) {
    s->is_open = false;
    return hr_fail(HOTROW_ERR_STORAGE, "the disk is full");
  }
  return HOTROW_OK;
}

static hotrow_status reserve_log(void *context, size_t push_bytes, size_t other_bytes)
{
  const test_storage *s = context;
  CHECK(!s->is_record_open && push_bytes < SIZE_MAX && other_bytes > 0);
  return HOTROW_OK;
}

static void *put_log(void *context, size_t size_bytes)
{
  test_storage *s = context;
  CHECK(s->log_count < STORED_RECORDS_MAX && size_bytes % 8 == 0);
  stored_record *record = &s->log[s->log_count];
  record->size = (s->is_record_open ? record->size : 0) + size_bytes;
  record->bytes = realloc(record->bytes, record->size);
  CHECK(record->bytes);
  s->is_record_open = true;
  return record->bytes + record->size - size_bytes;
}

static void end_log(void *context)
{
  test_storage *s = context;
  s->log_count += s->is_record_open;
  s->is_record_open = false;
}

static hotrow_status begin_cut(void *context, uint64_t number)
{
  test_storage *s = context;
  CHECK(!s->is_open && !s->is_whole && number > s->number);
  s->number = number;
  memset(&s->staged, 0, sizeof s->staged);
  end_log(s);
  s->staged.log_count = s->log_count;
  s->is_open = true;
  return check_call(s);
}

static hotrow_status put_table(void *context, const hr_table_desc *desc)
{
  test_storage *s = context;
  CHECK(s->is_open && s->staged.table_count < STORED_TABLES_MAX && s->staged.row_count == 0);
  s->staged.tables[s->staged.table_count++] = *desc;
  return check_call(s);
}

static hotrow_status put_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                             const float *record, size_t float_count)
{
  test_storage *s = context;
  CHECK(s->is_open && s->staged.row_count < STORED_ROWS_MAX && float_count <= STORED_FLOATS_MAX);
  for (size_t i = 0; i < s->staged.row_count; i++)
    CHECK(s->staged.rows[i].key != key || s->staged.rows[i].table != desc->id); /* once */
  stored_row *row = &s->staged.rows[s->staged.row_count++];
  *row = (stored_row){.key = key, .table = desc->id, .clock = clock, .float_count = float_count};
  memcpy(row->record, record, float_count * sizeof *record);
  return check_call(s);
}

static hotrow_status delete_row(void *context, const hr_table_desc *desc, uint64_t key)
{
  test_storage *s = context;
  CHECK(s->is_open && s->staged.gone_count < STORED_GONE_MAX);
  s->staged.gone[s->staged.gone_count++] = (stored_gone){key, desc->id};
  return check_call(s);
}

static hotrow_status put_bucket(void *context, const hr_table_desc *desc, uint64_t number, const void *bytes,
                                size_t size_bytes)
{
  test_storage *s = context;
  CHECK(s->is_open && s->staged.bucket_count < STORED_BUCKETS_MAX && size_bytes == STORED_BUCKET_BYTES);
  stored_bucket *bucket = &s->staged.buckets[s->staged.bucket_count++];
  *bucket = (stored_bucket){.number = number, .table = desc->id};
  memcpy(bucket->bytes, bytes, size_bytes);
  return check_call(s);
}

static hotrow_status put_job(void *context, const hr_stored_job *job, const hr_stored_member *members)
{
  test_storage *s = context;
  CHECK(s->is_open && s->staged.job_count < STORED_JOBS_MAX && job->world_size <= STORED_MEMBERS_MAX);
  stored_job *stored = &s->staged.jobs[s->staged.job_count++];
  stored->job = *job;
  memcpy(stored->members, members, job->world_size * sizeof *members);
  return check_call(s);
}

static hotrow_status put_session(void *context, const hr_stored_session *session)
{
  test_storage *s = context;
  CHECK(s->is_open && s->staged.session_count < STORED_SESSIONS_MAX);
  s->staged.sessions[s->staged.session_count++] = *session;
  return check_call(s);
}

static hotrow_status end_cut(void *context, uint64_t number)
{
  test_storage *s = context;
  CHECK(s->is_open && number == s->number);
  HOTROW_TRY(check_call(s));
  s->is_open = false;
  s->is_whole = true;
  return HOTROW_OK;
}

test_storage *test_storage_open(void)
{
  test_storage *s = calloc(1, sizeof *s);
  CHECK(s);
  s->calls = (hr_storage){.context = s,
                          .begin_cut = begin_cut,
                          .put_table = put_table,
                          .put_row = put_row,
                          .delete_row = delete_row,
                          .put_bucket = put_bucket,
                          .put_job = put_job,
                          .put_session = put_session,
                          .end_cut = end_cut,
                          .reserve_log = reserve_log,
                          .put_log = put_log,
                          .end_log = end_log};
  return s;
}

/* ---- what is read of it ---- */

static hotrow_status get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                              size_t key_count, hr_stored_row_fn found, void *found_context)
{
  test_storage *s = context;
  s->waited_for += s->is_reading ? 0 : key_count;
  if (s->fails)
    return hr_fail(HOTROW_ERR_STORAGE, "the disk cannot be read");
  for (size_t k = 0; k < key_count; k++)
    for (size_t i = 0; i < s->safe.row_count; i++) {
      const stored_row *row = &s->safe.rows[i];
      CHECK(k == 0 || keys[k] > keys[k - 1]);
      if (row->key == keys[k] && row->table == desc->id && row->float_count == float_count)
        HOTROW_TRY(found(row->key, row->clock, row->record, found_context));
    }
  return HOTROW_OK;
}

static const stored_row *next_row(const stored_cut *safe, uint32_t table, uint64_t first)
{
  const stored_row *next = NULL;
  for (size_t i = 0; i < safe->row_count; i++) {
    const stored_row *row = &safe->rows[i];
    if (row->table == table && row->key >= first && (!next || row->key < next->key))
      next = row;
  }
  return next;
}

static hotrow_status visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                size_t count_max, hr_stored_row_fn found, void *found_context)
{
  test_storage *s = context;
  const stored_row *row = next_row(&s->safe, desc->id, first);
  s->waited_for += s->is_reading ? 0 : 1;
  for (; row && count_max > 0; count_max--) {
    if (s->fails)
      return hr_fail(HOTROW_ERR_STORAGE, "the disk cannot be read");
    CHECK_EQ(row->float_count, float_count);
    HOTROW_TRY(found(row->key, row->clock, row->record, found_context));
    row = row->key < UINT64_MAX ? next_row(&s->safe, desc->id, row->key + 1) : NULL;
  }
  return HOTROW_OK;
}

static void ask_rows(void *context, hr_row_read *read)
{
  test_storage *s = context;
  CHECK(s->asked_count < ASKED_MAX);
  s->has_run[s->asked_count] = false;
  s->asked[s->asked_count++] = read;
}

void test_storage_let_read(test_storage *s)
{
  s->calls.get_rows = get_rows;
  s->calls.visit_rows = visit_rows;
  s->calls.ask_rows = ask_rows;
}

void test_storage_run(test_storage *s, size_t i)
{
  CHECK(i < s->asked_count);
  s->is_reading = true;
  if (!s->has_run[i])
    hr_row_read_run(s->asked[i], &s->calls);
  s->is_reading = false;
  s->has_run[i] = true;
}

void test_storage_bring(test_storage *s, test_shard *t, size_t i)
{
  test_storage_run(s, i);
  hr_row_read *read = s->asked[i];
  s->asked_count--;
  memmove(s->asked + i, s->asked + i + 1, (s->asked_count - i) * sizeof(hr_row_read *));
  memmove(s->has_run + i, s->has_run + i + 1, (s->asked_count - i) * sizeof(bool));
  hr_shard_take_rows(t->shard, read, t->now_ns);
}

void test_storage_bring_all(test_storage *s, test_shard *t)
{
  while (s->asked_count > 0)
    test_storage_bring(s, t, 0);
}

/* ---- what is safe ---- */

static void merge_row(stored_cut *safe, const stored_row *row)
{
  size_t i = 0;
  while (i < safe->row_count && (safe->rows[i].key != row->key || safe->rows[i].table != row->table))
    i++;
  CHECK(i < STORED_ROWS_MAX);
  safe->rows[i] = *row;
  safe->row_count += i == safe->row_count;
}

static void merge_gone(stored_cut *safe, const stored_gone *gone)
{
  for (size_t i = 0; i < safe->row_count; i++)
    if (safe->rows[i].key == gone->key && safe->rows[i].table == gone->table)
      safe->rows[i--] = safe->rows[--safe->row_count];
}

static void merge_bucket(stored_cut *safe, const stored_bucket *bucket)
{
  size_t i = 0;
  while (i < safe->bucket_count &&
         (safe->buckets[i].number != bucket->number || safe->buckets[i].table != bucket->table))
    i++;
  CHECK(i < STORED_BUCKETS_MAX);
  safe->buckets[i] = *bucket;
  safe->bucket_count += i == safe->bucket_count;
}

void test_storage_commit(test_storage *s, hr_shard *shard)
{
  CHECK_OK(test_copy(shard));
  CHECK(s->is_whole);
  for (size_t i = 0; i < s->staged.table_count; i++) {
    const hr_table_desc *desc = &s->staged.tables[i];
    CHECK(desc->id <= s->safe.table_count);
    s->safe.table_count += desc->id == s->safe.table_count;
    s->safe.tables[desc->id] = *desc;
  }
  for (size_t i = 0; i < s->staged.gone_count; i++)
    merge_gone(&s->safe, &s->staged.gone[i]);
  for (size_t i = 0; i < s->staged.row_count; i++)
    merge_row(&s->safe, &s->staged.rows[i]);
  for (size_t i = 0; i < s->staged.bucket_count; i++)
    merge_bucket(&s->safe, &s->staged.buckets[i]);
  memcpy(s->safe.jobs, s->staged.jobs, sizeof s->safe.jobs);
  memcpy(s->safe.sessions, s->staged.sessions, sizeof s->safe.sessions);
  s->safe.log_count = s->staged.log_count;
  s->safe.job_count = s->staged.job_count;
  s->safe.session_count = s->staged.session_count;
  s->is_whole = false;
  hr_shard_cut_is_durable(shard, s->number);
}

void test_storage_close(test_storage *s)
{
  for (size_t i = 0; i < STORED_RECORDS_MAX; i++)
    free(s->log[i].bytes);
  free(s);
}

void test_storage_log(test_storage *s, hr_shard *shard)
{
  if (s->log_handed > s->log_safe) {
    s->log_safe = s->log_handed;
    hr_shard_log_is_durable(shard);
  } else if (s->log_count > s->log_handed) {
    s->log_handed = s->log_count;
    hr_shard_log_is_handed(shard);
  }
}

void test_storage_restore(test_storage *s, hr_shard *shard, uint64_t now_ns)
{
  const stored_cut *safe = &s->safe;
  for (size_t i = 0; i < safe->table_count; i++)
    CHECK_OK(hr_shard_restore_table(shard, &safe->tables[i]));
  for (size_t i = 0; i < safe->row_count; i++) {
    const stored_row *row = &safe->rows[i];
    CHECK_OK(hr_shard_restore_row(shard, row->table, row->key, row->clock, row->record, row->float_count));
  }
  for (size_t i = 0; i < safe->bucket_count; i++)
    CHECK_OK(hr_shard_restore_bucket(shard, safe->buckets[i].table, safe->buckets[i].number, safe->buckets[i].bytes,
                                     STORED_BUCKET_BYTES));
  for (size_t i = 0; i < safe->job_count; i++)
    CHECK_OK(hr_shard_restore_job(shard, &safe->jobs[i].job, safe->jobs[i].members, now_ns));
  for (size_t i = 0; i < safe->session_count; i++)
    CHECK_OK(hr_shard_restore_session(shard, &safe->sessions[i], now_ns));
  for (size_t i = safe->log_count; i < s->log_safe; i++)
    CHECK_OK(hr_shard_replay(shard, s->log[i].bytes, s->log[i].size, now_ns));
  if (s->log_safe < safe->log_count)
    s->log_safe = safe->log_count; /* these numbers are used */
  s->log_count = s->log_handed = s->log_safe;
  s->is_open = s->is_whole = s->is_record_open = false;
  s->number = 0; /* the new shard counts from 1 */
}
