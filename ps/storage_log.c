/* The log in RocksDB: records are gathered on the shard's thread, written in groups on the writer's, and read back. */
#include <stdio.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/log.h>

#include "storage_state.h"

#define RECORD_BYTES_MAX ((size_t)1 << 30) /* then another one is begun: a value of RocksDB is below 4 GiB */
#define HEADS_BYTES (16 * sizeof(hr_record_head))
#define HEAD_BYTES_MAX (16 + HR_STORE_LOG_KEY_BYTES) /* of a record in a batch, with its key */

/* ---- the shard's thread ---- */

static hotrow_status reserve_log(void *context, size_t push_bytes, size_t other_bytes)
{
  hr_rocksdb *s = context;
  size_t waiting = s->log.filling.size;
  HOTROW_ASSERT(!s->log.is_open);
  size_t waiting_bytes_max = s->log.waiting_bytes_max;
  if (push_bytes > 0 && waiting > 0 && (waiting > waiting_bytes_max || push_bytes > waiting_bytes_max - waiting))
    return hr_fail(HOTROW_ERR_BUSY, "%zu bytes wait to be logged, no room for %zu more", waiting, push_bytes);
  size_t size_bytes = HEADS_BYTES + push_bytes + other_bytes, touched = s->log.filling.touched;
  if (!hr_bytes_take(&s->log.filling, size_bytes))
    return HOTROW_ERR_NO_MEMORY;
  s->log.filling.size -= size_bytes;
  s->log.filling.touched = touched; /* what is to be put there is less */
  return HOTROW_OK;
}

static void end_log(void *context)
{
  hr_records *log = &((hr_rocksdb *)context)->log;
  if (!log->is_open)
    return;
  hr_record_head head = {log->filling.size - log->record_at - sizeof head};
  memcpy(log->filling.bytes + log->record_at, &head, sizeof head);
  log->is_open = false;
  log->number++;
}

static void *put_log(void *context, size_t size_bytes)
{
  hr_records *log = &((hr_rocksdb *)context)->log;
  HOTROW_ASSERT(size_bytes % sizeof(hr_record_head) == 0);
  HOTROW_ASSERT(size_bytes + sizeof(hr_record_head) <= log->filling.capacity - log->filling.size); /* was reserved */
  if (log->is_open && log->filling.size - log->record_at > RECORD_BYTES_MAX)
    end_log(context);
  if (!log->is_open) {
    log->record_at = log->filling.size;
    hr_bytes_take(&log->filling, sizeof(hr_record_head));
    log->is_open = true;
  }
  return hr_bytes_take(&log->filling, size_bytes);
}

void hr_rocksdb_init_log(hr_rocksdb *s)
{
  s->calls.reserve_log = reserve_log;
  s->calls.put_log = put_log;
  s->calls.end_log = end_log;
  s->log.waiting_bytes_max = s->memory_bytes ? s->memory_bytes / 4 : HR_STORE_LOG_WAITING_BYTES_MAX;
}

uint64_t hr_rocksdb_end_record(hr_rocksdb *s)
{
  end_log(s);
  return s->log.number;
}

bool hr_rocksdb_can_log(const hr_rocksdb *s)
{
  return s->log.filling.size > 0 && !hr_rocksdb_has_failed(s) &&
         atomic_load_explicit(&s->log.slot.state, memory_order_acquire) == HR_SLOT_FREE;
}

hotrow_status hr_rocksdb_log(hr_rocksdb *s)
{
  hr_records *log = &s->log;
  HOTROW_ASSERT(hr_rocksdb_can_log(s) && !log->is_open);
  HOTROW_TRY(hr_rocksdb_check_tables(s));
  HOTROW_TRY(hr_rocksdb_check_space(s, log->filling.size));
  hr_bytes emptied = log->handed;
  log->handed = log->filling;
  log->filling = emptied;
  log->bytes_since_cut += log->handed.size;
  hr_bytes_empty(s, &log->filling);
  log->handed_first = log->handed_last + 1;
  log->handed_last = log->number;
  hr_rocksdb_hand_over(s, &log->slot);
  return HOTROW_OK;
}

bool hr_rocksdb_take_logged(hr_rocksdb *s, hotrow_status *status_p)
{
  return hr_rocksdb_take(s, &s->log.slot, status_p);
}

bool hr_rocksdb_is_logging(const hr_rocksdb *s)
{
  return atomic_load_explicit(&s->log.slot.state, memory_order_acquire) != HR_SLOT_FREE;
}

hr_rocksdb_log_counts hr_rocksdb_get_log_counts(const hr_rocksdb *s)
{
  return s->log.counts;
}

size_t hr_rocksdb_log_bytes(const hr_rocksdb *s)
{
  return s->log.bytes_since_cut;
}

/* ---- the writer's thread ---- */

hotrow_status hr_rocksdb_write_log(hr_rocksdb *s)
{
  hr_records *log = &s->log;
  uint64_t begin_ns = hr_now_ns(), number = log->handed_first;
  size_t size_bytes = log->handed.size + (size_t)(log->handed_last - log->handed_first + 1) * HEAD_BYTES_MAX;
  rocksdb_writebatch_t *batch = hr_rocksdb_make_batch(s, size_bytes);
  atomic_store_explicit(&log->batch_bytes, size_bytes, memory_order_relaxed);
  for (size_t at = 0; at < log->handed.size; number++) {
    hr_record_head head;
    uint8_t key[HR_STORE_LOG_KEY_BYTES];
    memcpy(&head, log->handed.bytes + at, sizeof head);
    at += sizeof head;
    hr_store_log_key(key, number);
    rocksdb_writebatch_put(batch, (const char *)key, sizeof key, (const char *)log->handed.bytes + at, head.size);
    at += head.size;
  }
  HOTROW_ASSERT(number == log->handed_last + 1);
  char *error = NULL;
  rocksdb_write(s->db, s->write_options, batch, &error);
  hr_rocksdb_destroy_batch(s, batch);
  atomic_store_explicit(&log->batch_bytes, 0, memory_order_relaxed);
  log->counts.writes++;
  log->counts.records += number - log->handed_first;
  log->counts.bytes += log->handed.size;
  log->counts.write_ns += hr_now_ns() - begin_ns;
  return error ? hr_rocksdb_fail(s, "write its log", error) : HOTROW_OK;
}

/* In the batch of a cut: the records that it covers are gone with it. Those that are written behind it, as they were on
 * their way, are passed over by their numbers, and go with the next. */
void hr_rocksdb_cover_log(rocksdb_writebatch_t *batch, uint64_t number)
{
  static const char covered = HR_STORE_LOG;
  uint8_t first[HR_STORE_LOG_KEY_BYTES], end[HR_STORE_LOG_KEY_BYTES];
  hr_store_log_key(first, 0);
  hr_store_log_key(end, number + 1);
  rocksdb_writebatch_put(batch, &covered, 1, (const char *)&number, sizeof number);
  rocksdb_writebatch_delete_range(batch, (const char *)first, sizeof first, (const char *)end, sizeof end);
}

/* ---- reading it back ---- */

static hotrow_status read_covered(hr_rocksdb *s)
{
  static const char key = HR_STORE_LOG;
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *error = NULL;
  size_t size = 0;
  char *value = rocksdb_get(s->db, read, &key, 1, &size, &error);
  rocksdb_readoptions_destroy(read);
  if (error)
    return hr_rocksdb_fail(s, "read it", error);
  bool is_good = !value || size == sizeof s->log.covered;
  if (value && is_good)
    memcpy(&s->log.covered, value, size);
  rocksdb_free(value);
  if (!is_good)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: where its log begins has %zu bytes", s->dir.path.text, size);
  s->log.number = s->log.covered;
  return HOTROW_OK;
}

/* Values lie in RocksDB's memory as they come; a record is read where it is aligned. */
static hotrow_status replay_one(hr_rocksdb *s, hr_shard *shard, uint64_t now_ns, const rocksdb_iterator_t *at,
                                hr_bytes *record)
{
  size_t key_size, size;
  const uint8_t *key = (const uint8_t *)rocksdb_iter_key(at, &key_size);
  const char *value = rocksdb_iter_value(at, &size);
  uint64_t number = s->log.number + 1;
  if (key_size != HR_STORE_LOG_KEY_BYTES || hr_store_log_number_of(key) != number)
    return hr_fail(HOTROW_ERR_CORRUPT, "data directory %s: record %llu of its log is missing", s->dir.path.text,
                   (unsigned long long)number);
  record->size = 0;
  void *memory = hr_bytes_take(record, size);
  if (!memory)
    return HOTROW_ERR_NO_MEMORY;
  memcpy(memory, value, size);
  hotrow_status status = hr_shard_replay(shard, memory, size, now_ns);
  if (status != HOTROW_OK) {
    char sentence[HR_ERROR_TEXT_BYTES];
    snprintf(sentence, sizeof sentence, "%s", hotrow_last_error());
    return hr_fail(status, "record %llu of its log: %s", (unsigned long long)number, sentence);
  }
  s->log.number = number;
  s->log.bytes_since_cut += size;
  return HOTROW_OK;
}

hotrow_status hr_rocksdb_replay(hr_rocksdb *s, hr_shard *shard, uint64_t now_ns)
{
  uint8_t first[HR_STORE_LOG_KEY_BYTES];
  HOTROW_TRY(read_covered(s));
  hr_store_log_key(first, s->log.covered + 1);
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(options, 0);
  rocksdb_iterator_t *at = rocksdb_create_iterator(s->db, options);
  hotrow_status status = HOTROW_OK;
  hr_bytes record = {0};
  rocksdb_iter_seek(at, (const char *)first, sizeof first);
  for (; status == HOTROW_OK && rocksdb_iter_valid(at); rocksdb_iter_next(at)) {
    size_t key_size;
    if (*rocksdb_iter_key(at, &key_size) != HR_STORE_LOG)
      break;
    status = replay_one(s, shard, now_ns, at, &record);
  }
  char *error = NULL;
  if (status == HOTROW_OK)
    rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  rocksdb_readoptions_destroy(options);
  hr_bytes_free(&record);
  if (error)
    return hr_rocksdb_fail(s, "read it", error);
  s->log.handed_last = s->log.number;
  if (status == HOTROW_OK && s->log.number > s->log.covered)
    hr_log(HOTROW_LOG_INFO, "data directory %s: %llu records of its log applied", s->dir.path.text,
           (unsigned long long)(s->log.number - s->log.covered));
  return status;
}
