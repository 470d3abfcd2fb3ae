/* Cuts into RocksDB: copied on the shard's thread, written on the writer's. */
#include "storage_state.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/thread.h>

#define GATE_POLL_NS 1000000
#define BYTES_MIN ((size_t)1 << 16)
#define BATCH_HEADS_BYTES 256u              /* of what a cut has beside its entries */
#define BATCH_ROOM_MIN ((size_t)1 << 20)    /* a smaller batch may grow */
#define BATCH_ROOM_MAX ((size_t)UINT32_MAX) /* of a value of RocksDB's */
#define LOG_EVERY_ENTRIES 1024u
#define BYTES_KEPT_MAX ((size_t)256 << 20) /* a larger buffer is given back after its cut */

/* ---- bytes ---- */

void *hr_bytes_take(hr_bytes *b, size_t size_bytes)
{
  if (size_bytes > b->capacity - b->size) {
    size_t capacity = b->capacity ? b->capacity : BYTES_MIN;
    while (capacity - b->size < size_bytes && capacity <= SIZE_MAX / 2)
      capacity *= 2;
    uint8_t *bytes = capacity - b->size < size_bytes ? NULL : realloc(b->bytes, capacity);
    if (!bytes) {
      hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for %zu bytes that are to be stored", b->size + size_bytes);
      return NULL;
    }
    b->bytes = bytes;
    b->capacity = capacity;
  }
  void *memory = b->bytes + b->size;
  b->size += size_bytes;
  b->touched = b->size > b->touched ? b->size : b->touched;
  return memory;
}

void hr_bytes_free(hr_bytes *b)
{
  free(b->bytes);
  *b = (hr_bytes){0};
}

void hr_bytes_empty(const hr_rocksdb *s, hr_bytes *b)
{
  b->size = 0;
  if (b->capacity > (s->memory_bytes ? s->memory_bytes / 4 : BYTES_KEPT_MAX))
    hr_bytes_free(b);
}

/* ---- the shard's thread ---- */

hotrow_status hr_rocksdb_check_space(const hr_rocksdb *s, uint64_t size_bytes)
{
  struct statvfs disk;
  if (statvfs(s->dir.path.text, &disk) != 0)
    return hr_fail(HOTROW_ERR_STORAGE, "data directory %s: how full its disk is: %s", s->dir.path.text,
                   strerror(errno));
  uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
  uint64_t needed = HR_STORE_FREE_BYTES_MIN + 2 * size_bytes;
  if (free_bytes < needed)
    return hr_fail(HOTROW_ERR_STORAGE,
                   "data directory %s: nothing is written while its disk has %llu MiB free, %llu MiB need %llu",
                   s->dir.path.text, (unsigned long long)(free_bytes >> 20), (unsigned long long)(size_bytes >> 20),
                   (unsigned long long)(needed >> 20));
  return HOTROW_OK;
}

static hotrow_status begin_cut(void *context, uint64_t number)
{
  hr_rocksdb *s = context;
  HOTROW_ASSERT(atomic_load_explicit(&s->slot.state, memory_order_acquire) == HR_SLOT_FREE);
  HOTROW_TRY(hr_rocksdb_check_tables(s));
  hr_entries_empty(s, &s->cut.entries);
  hr_bytes_empty(s, &s->cut.jobs);
  hr_bytes_empty(s, &s->cut.sessions);
  HOTROW_TRY(hr_rocksdb_check_space(s, 0)); /* before rows are copied for nothing */
  s->cut.row_count = 0;
  s->cut.number = number;
  s->cut.log_number = hr_rocksdb_end_record(s);
  s->cut.log_bytes = s->log.bytes_since_cut;
  s->is_open = true;
  return HOTROW_OK;
}

/* Room for an entry's value; its head and key are in their place. */
static uint8_t *take_entry(hr_rocksdb *s, const uint8_t *key, uint32_t key_size, uint32_t value_size)
{
  HOTROW_ASSERT(s->is_open);
  hr_entry_head head = {key_size, value_size};
  uint8_t *memory = hr_entries_take(&s->cut.entries, sizeof head + key_size + value_size);
  if (!memory)
    return NULL;
  memcpy(memory, &head, sizeof head);
  memcpy(memory + sizeof head, key, key_size);
  return memory + sizeof head + key_size;
}

static hotrow_status put_table(void *context, const hr_table_desc *desc)
{
  uint8_t key[HR_STORE_TABLE_KEY_BYTES];
  hr_store_table_key(key, HR_STORE_TABLE, desc->id);
  uint8_t *value = take_entry(context, key, sizeof key, sizeof *desc);
  if (!value)
    return HOTROW_ERR_NO_MEMORY;
  memcpy(value, desc, sizeof *desc);
  return HOTROW_OK;
}

static hotrow_status put_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                             const float *record, size_t float_count)
{
  hr_rocksdb *s = context;
  uint8_t key_bytes[HR_STORE_ROW_KEY_BYTES];
  hr_store_row_key(key_bytes, HR_STORE_ROW, desc->id, key);
  uint32_t value_size = (uint32_t)(sizeof clock + float_count * sizeof *record);
  uint8_t *value = take_entry(s, key_bytes, sizeof key_bytes, value_size);
  if (!value)
    return HOTROW_ERR_NO_MEMORY;
  memcpy(value, &clock, sizeof clock);
  memcpy(value + sizeof clock, record, float_count * sizeof *record);
  s->cut.row_count++;
  return HOTROW_OK;
}

static hotrow_status delete_row(void *context, const hr_table_desc *desc, uint64_t key)
{
  uint8_t bytes[HR_STORE_ROW_KEY_BYTES];
  hr_store_row_key(bytes, HR_STORE_ROW, desc->id, key);
  return take_entry(context, bytes, sizeof bytes, 0) ? HOTROW_OK : HOTROW_ERR_NO_MEMORY;
}

static hotrow_status put_bucket(void *context, const hr_table_desc *desc, uint64_t number, const void *bytes,
                                size_t size_bytes)
{
  uint8_t key[HR_STORE_ROW_KEY_BYTES];
  hr_store_row_key(key, HR_STORE_BUCKET, desc->id, number);
  uint8_t *value = take_entry(context, key, sizeof key, (uint32_t)size_bytes);
  if (!value)
    return HOTROW_ERR_NO_MEMORY;
  memcpy(value, bytes, size_bytes);
  return HOTROW_OK;
}

static hotrow_status append(const hr_rocksdb *s, hr_bytes *b, const void *bytes, size_t size_bytes)
{
  HOTROW_ASSERT(s->is_open);
  void *memory = hr_bytes_take(b, size_bytes);
  if (!memory)
    return HOTROW_ERR_NO_MEMORY;
  memcpy(memory, bytes, size_bytes);
  return HOTROW_OK;
}

static hotrow_status put_job(void *context, const hr_stored_job *job, const hr_stored_member *members)
{
  hr_rocksdb *s = context;
  HOTROW_TRY(append(s, &s->cut.jobs, job, sizeof *job));
  return append(s, &s->cut.jobs, members, job->world_size * sizeof *members);
}

static hotrow_status put_session(void *context, const hr_stored_session *session)
{
  hr_rocksdb *s = context;
  return append(s, &s->cut.sessions, session, sizeof *session);
}

/* The event first, so that none is left over when the result has been taken. Who is woken in between waits again, and
 * is woken again at once. */
static void finish(hr_rocksdb *s, hr_slot *slot, hotrow_status result)
{
  slot->result = result;
  uint64_t one = 1;
  ssize_t written = write(s->event_fd, &one, sizeof one);
  HOTROW_ASSERT(written == (ssize_t)sizeof one);
  atomic_store_explicit(&slot->state, HR_SLOT_DONE, memory_order_release);
}

void hr_rocksdb_hand_over(hr_rocksdb *s, hr_slot *slot)
{
  atomic_store_explicit(&slot->state, HR_SLOT_HANDED, memory_order_release);
  sem_post(&s->handed);
}

bool hr_rocksdb_take(hr_rocksdb *s, hr_slot *slot, hotrow_status *status_p)
{
  if (atomic_load_explicit(&slot->state, memory_order_acquire) != HR_SLOT_DONE)
    return false;
  uint64_t count;
  ssize_t got = read(s->event_fd, &count, sizeof count);
  HOTROW_ASSERT(got == (ssize_t)sizeof count && count == 1);
  atomic_store_explicit(&slot->state, HR_SLOT_FREE, memory_order_relaxed);
  *status_p = slot->result;
  if (slot->result != HOTROW_OK) {
    hr_rocksdb_stop_writing(s, slot->result, s->sentence);
    hr_fail_text(slot->result, s->sentence, strlen(s->sentence));
  }
  return true;
}

/* A cut of nothing new is on disk already. */
static hotrow_status end_cut(void *context, uint64_t number)
{
  hr_rocksdb *s = context;
  HOTROW_ASSERT(s->is_open && number == s->cut.number);
  s->is_open = false;
  s->cut.hash = hr_hash_bytes(s->cut.jobs.bytes, s->cut.jobs.size) * 31 +
                hr_hash_bytes(s->cut.sessions.bytes, s->cut.sessions.size);
  bool is_new = s->cut.entries.size > 0 || s->hash_durable == 0 || s->cut.hash != s->hash_durable;
  if (!is_new && s->cut.log_number == s->log.covered) {
    finish(s, &s->slot, HOTROW_OK);
    return HOTROW_OK;
  }
  HOTROW_TRY(hr_rocksdb_check_space(s, s->cut.entries.size));
  s->log.bytes_since_cut -= s->cut.log_bytes;
  hr_rocksdb_hand_over(s, &s->slot);
  return HOTROW_OK;
}

bool hr_rocksdb_take_result(hr_rocksdb *s, uint64_t *number_p, hotrow_status *status_p)
{
  if (!hr_rocksdb_take(s, &s->slot, status_p))
    return false;
  *number_p = s->cut.number;
  return true;
}

bool hr_rocksdb_is_busy(const hr_rocksdb *s)
{
  return atomic_load_explicit(&s->slot.state, memory_order_acquire) != HR_SLOT_FREE;
}

/* The event comes a moment before the slot is DONE. */
void hr_rocksdb_wait(const hr_rocksdb *s)
{
  struct pollfd item = {.fd = s->event_fd, .events = POLLIN};
  for (;;) {
    int cut = atomic_load_explicit(&s->slot.state, memory_order_acquire);
    int log = atomic_load_explicit(&s->log.slot.state, memory_order_acquire);
    if (cut == HR_SLOT_DONE || log == HR_SLOT_DONE || (cut == HR_SLOT_FREE && log == HR_SLOT_FREE))
      return;
    poll(&item, 1, -1);
  }
}

/* ---- the writer's thread ---- */

/* Once a write has failed none is tried. */
static void write_slot(hr_rocksdb *s, hr_slot *slot, hotrow_status (*write_it)(hr_rocksdb *s))
{
  if (s->result == HOTROW_OK) {
    hotrow_status status = write_it(s);
    if (status != HOTROW_OK)
      snprintf(s->sentence, sizeof s->sentence, "%s", hotrow_last_error());
    s->result = status;
  }
  finish(s, slot, s->result);
}

/* Records that come while a cut is prepared do not wait for it; who handed them over has said so, or is about to. */
static void write_log_between(hr_rocksdb *s)
{
  if (atomic_load_explicit(&s->log.slot.state, memory_order_acquire) != HR_SLOT_HANDED)
    return;
  while (sem_wait(&s->handed) != 0)
    ;
  write_slot(s, &s->log.slot, hr_rocksdb_write_log);
}

static void put(rocksdb_writebatch_t *batch, char kind, const hr_bytes *value)
{
  rocksdb_writebatch_put(batch, &kind, 1, (const char *)value->bytes, value->size);
}

static void put_entry(rocksdb_writebatch_t *batch, const uint8_t *entry)
{
  hr_entry_head head;
  memcpy(&head, entry, sizeof head);
  const char *key = (const char *)entry + sizeof head;
  if (head.value_size > 0)
    rocksdb_writebatch_put(batch, key, head.key_size, key + head.key_size, head.value_size);
  else
    rocksdb_writebatch_delete(batch, key, head.key_size);
}

/* What is deleted, then what is put, for a row may be both. */
static void put_unsorted(rocksdb_writebatch_t *batch, const hr_entries *entries)
{
  for (int puts = 0; puts < 2; puts++) {
    hr_entries_place place = {0};
    for (const uint8_t *entry; (entry = hr_entries_next(entries, &place));) {
      hr_entry_head head;
      memcpy(&head, entry, sizeof head);
      if ((head.value_size > 0) == (puts > 0))
        put_entry(batch, entry);
    }
  }
}

void hr_rocksdb_move_memory(hr_rocksdb *s, bool is_moving)
{
  atomic_store_explicit(&s->is_moving, is_moving, memory_order_relaxed);
}

/* By itself a batch grows by doubling, copies all that is in it each time, and has memory for twice as much in the end.
 * One that has held so many zeros once has room for as much, and these take none: nobody has written them. */
rocksdb_writebatch_t *hr_rocksdb_make_batch(hr_rocksdb *s, size_t size_bytes)
{
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  void *zeros;
  if (size_bytes < BATCH_ROOM_MIN || size_bytes > BATCH_ROOM_MAX ||
      hr_map(size_bytes, "room for a batch", &zeros) != HOTROW_OK)
    return batch;
  hr_rocksdb_move_memory(s, true);
  rocksdb_writebatch_put(batch, "", 0, zeros, size_bytes);
  hr_rocksdb_move_memory(s, false);
  rocksdb_writebatch_clear(batch);
  hr_unmap(zeros, size_bytes);
  return batch;
}

void hr_rocksdb_destroy_batch(hr_rocksdb *s, rocksdb_writebatch_t *batch)
{
  hr_rocksdb_move_memory(s, true);
  rocksdb_writebatch_destroy(batch);
  hr_rocksdb_move_memory(s, false);
}

/* In the order of their keys RocksDB takes in rows three times as fast: each goes in where the one before did. */
static void put_entries(hr_rocksdb *s, rocksdb_writebatch_t *batch, const hr_entries *entries)
{
  hr_rocksdb_move_memory(s, true);
  hr_entry_order *order = hr_rocksdb_order(entries);
  hr_rocksdb_move_memory(s, false);
  if (!order) {
    put_unsorted(batch, entries);
    return;
  }
  size_t order_bytes = entries->count * sizeof *order;
  atomic_fetch_add_explicit(&s->batch_bytes, order_bytes, memory_order_relaxed);
  for (size_t i = 0; i < entries->count; i++) {
    put_entry(batch, order[i].entry);
    if (i % LOG_EVERY_ENTRIES == 0)
      write_log_between(s);
  }
  free(order);
  atomic_fetch_sub_explicit(&s->batch_bytes, order_bytes, memory_order_relaxed);
}

/* A cut waits while the database is copied, for what is copied is the cut before. Records of the log do not: a copy's
 * readers pass over them. */
static void await_gate(hr_rocksdb *s)
{
  struct timespec pause = {.tv_nsec = GATE_POLL_NS};
  while (!hr_rocksdb_enter(s)) {
    write_log_between(s);
    nanosleep(&pause, NULL);
  }
}

static hotrow_status write_batch(hr_rocksdb *s, rocksdb_writebatch_t *batch)
{
  char *error = NULL;
  if (s->flush_result != HOTROW_OK)
    return hr_fail_text(s->flush_result, s->flush_sentence, strlen(s->flush_sentence));
  if (s->result != HOTROW_OK) /* a group of records failed meanwhile */
    return hr_fail_text(s->result, s->sentence, strlen(s->sentence));
  rocksdb_write(s->db, s->write_options, batch, &error);
  return error ? hr_rocksdb_fail(s, "write a cut", error) : HOTROW_OK;
}

static hotrow_status write_cut(hr_rocksdb *s)
{
  const hr_cut *cut = &s->cut;
  size_t size_bytes = cut->entries.size + cut->jobs.size + cut->sessions.size + BATCH_HEADS_BYTES;
  rocksdb_writebatch_t *batch = hr_rocksdb_make_batch(s, size_bytes);
  atomic_store_explicit(&s->batch_bytes, size_bytes, memory_order_relaxed);
  put_entries(s, batch, &cut->entries);
  write_log_between(s);
  put(batch, HR_STORE_JOBS, &cut->jobs);
  put(batch, HR_STORE_SESSIONS, &cut->sessions);
  if (cut->log_number > s->log.covered)
    hr_rocksdb_cover_log(batch, cut->log_number);
  await_gate(s);
  hotrow_status status = write_batch(s, batch);
  hr_rocksdb_leave(s);
  hr_rocksdb_destroy_batch(s, batch);
  atomic_store_explicit(&s->batch_bytes, 0, memory_order_relaxed);
  return status;
}

static hotrow_status write_and_count_cut(hr_rocksdb *s)
{
  uint64_t begin_ns = hr_now_ns();
  hotrow_status status = write_cut(s);
  if (status == HOTROW_OK) {
    s->hash_durable = s->cut.hash;
    s->log.covered = s->cut.log_number;
  }
  s->counts.writes++;
  s->counts.rows += s->cut.row_count;
  s->counts.bytes += s->cut.entries.size + s->cut.jobs.size + s->cut.sessions.size;
  s->counts.write_ns += hr_now_ns() - begin_ns;
  hr_rocksdb_move_memory(s, true);
  hr_entries_empty(s, &s->cut.entries); /* here, as giving back much takes the system some time */
  hr_rocksdb_move_memory(s, false);
  return status;
}

/* The log first: who pushes waits for it, and a cut takes long. */
static void *run_writer(void *context)
{
  hr_rocksdb *s = context;
  for (;;) {
    while (sem_wait(&s->handed) != 0)
      ;
    if (atomic_load_explicit(&s->log.slot.state, memory_order_acquire) == HR_SLOT_HANDED) {
      write_slot(s, &s->log.slot, hr_rocksdb_write_log);
    } else if (atomic_load_explicit(&s->slot.state, memory_order_acquire) == HR_SLOT_HANDED) {
      write_slot(s, &s->slot, write_and_count_cut);
    } else {
      HOTROW_ASSERT(atomic_load_explicit(&s->is_ending, memory_order_acquire));
      return NULL;
    }
  }
}

hotrow_status hr_rocksdb_start_writer(hr_rocksdb *s)
{
  s->calls = (hr_storage){.context = s,
                          .begin_cut = begin_cut,
                          .put_table = put_table,
                          .put_row = put_row,
                          .delete_row = delete_row,
                          .put_bucket = put_bucket,
                          .put_job = put_job,
                          .put_session = put_session,
                          .end_cut = end_cut,
                          .get_rows = hr_rocksdb_get_rows,
                          .visit_rows = hr_rocksdb_visit_rows};
  hr_rocksdb_init_copies(s);
  hr_rocksdb_init_log(s);
  s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
  if (s->event_fd < 0)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no event for the storage: %s", strerror(errno));
  sem_init(&s->handed, 0, 0);
  HOTROW_TRY(hr_thread_start(HR_THREAD_BACKGROUND, "cut writer", run_writer, s, &s->writer));
  s->has_writer = true;
  return HOTROW_OK;
}

void hr_rocksdb_stop_writer(hr_rocksdb *s)
{
  if (s->has_writer) { /* it ends when it has written what was handed over */
    atomic_store_explicit(&s->is_ending, true, memory_order_release);
    sem_post(&s->handed);
    pthread_join(s->writer, NULL);
    sem_destroy(&s->handed);
    sem_destroy(&s->gate);
  }
  if (s->event_fd >= 0)
    close(s->event_fd);
  hr_entries_free(&s->cut.entries);
  hr_bytes_free(&s->cut.jobs);
  hr_bytes_free(&s->cut.sessions);
  hr_bytes_free(&s->log.filling);
  hr_bytes_free(&s->log.handed);
}
