#include "server_durable.h"

#include <errno.h>
#include <stdio.h>
#include <zmq.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/log.h>

#define MS_NS ((uint64_t)1000000)

/* Keeps the sentence of the failure, and says it once. */
static void note(hr_durable *d, hotrow_status status)
{
  if (status != HOTROW_OK && d->status == HOTROW_OK)
    hr_log(HOTROW_LOG_ERROR, "%s", hotrow_last_error());
  else if (status == HOTROW_OK && d->status != HOTROW_OK)
    hr_log(HOTROW_LOG_WARN, "%s: cuts are written again", hr_rocksdb_path(d->storage));
  if (status != HOTROW_OK)
    snprintf(d->sentence, sizeof d->sentence, "%s", hotrow_last_error());
  d->status = status;
}

static void fail(hr_durable *d, hotrow_status status)
{
  if (d->is_failed)
    return;
  hr_shard_degrade(d->shard);
  d->is_failed = true;
  note(d, status);
}

static void take_result(hr_durable *d)
{
  uint64_t number;
  hotrow_status status;
  if (!hr_rocksdb_take_result(d->storage, &number, &status))
    return;
  if (status == HOTROW_OK && !d->is_failed) {
    hr_rocksdb_counts counts = hr_rocksdb_get_counts(d->storage);
    hr_log(HOTROW_LOG_DEBUG, "cut %llu durable, %llu rows and %llu ms of writing so far", (unsigned long long)number,
           (unsigned long long)counts.rows, (unsigned long long)(counts.write_ns / 1000000));
    hr_shard_count_writes(d->shard, counts.rows, counts.bytes, counts.write_ns);
    uint64_t begin_ns = hr_now_ns();
    hr_shard_cut_is_durable(d->shard, number); /* a cut that somebody waits for is begun */
    hr_shard_count_cut(d->shard, hr_now_ns() - begin_ns);
    return;
  }
  fail(d, status);
}

static void take_logged(hr_durable *d)
{
  hotrow_status status;
  if (!hr_rocksdb_take_logged(d->storage, &status))
    return;
  if (status != HOTROW_OK || d->is_failed) {
    fail(d, status);
    return;
  }
  hr_rocksdb_log_counts counts = hr_rocksdb_get_log_counts(d->storage);
  hr_shard_count_log(d->shard, counts.writes, counts.records, counts.bytes, counts.write_ns);
  hr_shard_log_is_durable(d->shard);
}

/* What was put in the log while the writer was busy goes to it at once. */
static void hand_over_log(hr_durable *d, uint64_t now_ns)
{
  if (!hr_rocksdb_can_log(d->storage) || now_ns < d->log_due_ns)
    return;
  hotrow_status status = hr_rocksdb_log(d->storage);
  if (status == HOTROW_OK) {
    hr_shard_log_is_handed(d->shard);
    d->log_due_ns = 0;
    return;
  }
  if (hr_rocksdb_has_failed(d->storage)) {
    fail(d, status);
    return;
  }
  if (d->log_due_ns == 0)
    hr_log(HOTROW_LOG_ERROR, "%s", hotrow_last_error());
  hr_shard_log_is_refused(d->shard);
  d->log_due_ns = now_ns + HR_LOG_RETRY_MS * MS_NS;
}

/* One at a time: what waits for its rows and what needs none are served in turn. */
static void take_read(hr_durable *d, uint64_t now_ns)
{
  hr_row_read *read = hr_rocksdb_take_read(d->storage);
  if (!read)
    return;
  hr_shard_take_rows(d->shard, read, now_ns);
  hr_shard_count_time(d->shard, hr_now_ns() - now_ns);
}

static void begin_cut(hr_durable *d, uint64_t now_ns)
{
  uint64_t number;
  d->due_ns = now_ns + d->interval_ns;
  hotrow_status status = hr_shard_cut(d->shard, &number);
  hr_shard_count_cut(d->shard, hr_now_ns() - now_ns);
  if (hr_rocksdb_has_failed(d->storage))
    fail(d, status);
  else
    note(d, status);
}

static void copy_cut(hr_durable *d)
{
  uint64_t begin_ns = hr_now_ns();
  hotrow_status status = hr_shard_copy(d->shard);
  hr_shard_count_cut(d->shard, hr_now_ns() - begin_ns);
  note(d, status);
}

/* A refused cut is not tried again before it is due: it was copied for nothing. */
static void tend(hr_durable *d, uint64_t now_ns)
{
  take_result(d);
  take_logged(d);
  take_read(d, hr_now_ns());
  if (d->is_failed)
    return;
  if (hr_shard_is_copying(d->shard))
    copy_cut(d);
  if (d->durability == HOTROW_DURABILITY_NONE && !hr_shard_awaits_cut(d->shard))
    return;
  hand_over_log(d, now_ns);
  if (hr_shard_is_copying(d->shard) || hr_rocksdb_is_busy(d->storage))
    return;
  bool has_log = d->durability == HOTROW_DURABILITY_LOG;
  bool is_long = hr_shard_dirty_bytes(d->shard) >= (has_log ? d->log_bytes_max : d->dirty_bytes_max) ||
                 (has_log && hr_rocksdb_log_bytes(d->storage) >= d->log_bytes_max);
  bool is_urgent = hr_shard_awaits_cut(d->shard) || is_long;
  if (now_ns >= d->due_ns || (is_urgent && d->status == HOTROW_OK))
    begin_cut(d, now_ns);
}

/* -1: only an event ends the wait. */
static long wait_ms(const hr_durable *d, uint64_t now_ns)
{
  if (d->is_failed || d->durability == HOTROW_DURABILITY_NONE)
    return -1;
  uint64_t due_ns = hr_rocksdb_is_busy(d->storage) ? UINT64_MAX : d->due_ns;
  if (d->log_due_ns != 0 && d->log_due_ns < due_ns)
    due_ns = d->log_due_ns;
  if (due_ns == UINT64_MAX)
    return -1;
  return now_ns < due_ns ? (long)((due_ns - now_ns + MS_NS - 1) / MS_NS) : 0;
}

void hr_durable_wait(hr_durable *d, void *socket)
{
  for (;;) {
    uint64_t now_ns = hr_now_ns();
    tend(d, now_ns);
    int events = 0;
    size_t size = sizeof events;
    if (zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) != 0 || (events & ZMQ_POLLIN))
      return;
    if (hr_shard_is_copying(d->shard))
      continue;
    d->before_wait(d->context);
    zmq_pollitem_t items[] = {{.socket = socket, .events = ZMQ_POLLIN},
                              {.fd = hr_rocksdb_fd(d->storage), .events = ZMQ_POLLIN}};
    if (zmq_poll(items, 2, wait_ms(d, now_ns)) < 0 && errno == ETERM)
      return;
  }
}

static void wait_for_results(hr_durable *d)
{
  /* Who waits for a table makes the shard begin one cut after the other. */
  while (hr_shard_is_copying(d->shard) || hr_rocksdb_is_busy(d->storage) || hr_rocksdb_is_logging(d->storage)) {
    if (hr_shard_is_copying(d->shard)) {
      copy_cut(d);
      continue;
    }
    hr_rocksdb_wait(d->storage);
    take_result(d);
    take_logged(d);
  }
}

hotrow_status hr_durable_finish(hr_durable *d)
{
  wait_for_results(d);
  if (!d->is_failed) { /* it covers what was not logged yet */
    begin_cut(d, hr_now_ns());
    wait_for_results(d);
  }
  return d->status == HOTROW_OK ? HOTROW_OK : hr_fail(d->status, "%s", d->sentence);
}
