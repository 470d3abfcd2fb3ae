#include "shard_checkpoint.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "checkpoint.h"
#include "shard_cut.h"
#include "shard_save.h"

#define COPY_SHARES 16u /* of a shard's memory is what may wait to be written of a copy */

typedef enum phase {
  PHASE_NONE,     /* no checkpoint in hand */
  PHASE_AWAITING, /* with a storage: a cut from before is under way, and its own is not made yet */
  PHASE_CUTTING,  /* its own cut is under way */
  PHASE_SETTLING, /* from here on, until is_idle: whatever runs aside has the files. Rows may still be copied */
  PHASE_SETTLED,
  PHASE_PUBLISHING,
  PHASE_PUBLISHED
} phase;

struct hr_shard_checkpoint {
  hr_checkpoint_files files;
  phase phase;
  bool is_copying; /* without a storage: tables are copied into files.copy, which is written aside */
  uint64_t part_count, part_bytes, part_bytes_new; /* of parts that are databases, so far */
  /* Written aside, read here once is_idle is true. */
  atomic_bool is_idle;
  hotrow_status status; /* not OK: it has failed and can only be dropped */
  char sentence[HR_ERROR_TEXT_BYTES];
};

/* ---- aside ---- */

static void end_task(hr_shard_checkpoint *c, hotrow_status status)
{
  c->status = status;
  if (status != HOTROW_OK)
    snprintf(c->sentence, sizeof c->sentence, "%s", hotrow_last_error());
  atomic_store_explicit(&c->is_idle, true, memory_order_release);
}

static void settle(void *context)
{
  hr_shard_checkpoint *c = context;
  end_task(c, hr_checkpoint_settle(&c->files));
}

static void publish(void *context)
{
  hr_shard_checkpoint *c = context;
  end_task(c, hr_checkpoint_publish(&c->files));
}

/* False: there is no other thread for it. */
static bool begin_aside(hr_shard *shard, phase running, void (*task)(void *context))
{
  hr_shard_checkpoint *c = shard->checkpoint;
  const hr_shard_aside *aside = &shard->options.aside;
  c->phase = running;
  atomic_store_explicit(&c->is_idle, false, memory_order_relaxed);
  return aside->begin && aside->begin(aside->context, task, c);
}

static void run_aside(hr_shard *shard, phase running, void (*task)(void *context))
{
  if (!begin_aside(shard, running, task))
    task(shard->checkpoint);
}

static void note_part(hr_shard_checkpoint *c)
{
  c->part_count += c->files.storage != NULL;
  c->part_bytes += c->files.bytes.size;
  c->part_bytes_new += c->files.bytes.new_size;
}

/* Takes note of what has ended aside. */
static bool is_idle(hr_shard_checkpoint *c)
{
  if (c->phase == PHASE_NONE)
    return true;
  if (c->phase < PHASE_SETTLING || !atomic_load_explicit(&c->is_idle, memory_order_acquire))
    return false;
  if (c->status == HOTROW_OK && c->phase == PHASE_SETTLING)
    note_part(c);
  if (c->status == HOTROW_OK && (c->phase == PHASE_SETTLING || c->phase == PHASE_PUBLISHING))
    c->phase = c->phase == PHASE_SETTLING ? PHASE_SETTLED : PHASE_PUBLISHED;
  return true;
}

/* Does something run aside with its files? */
static bool is_running(hr_shard_checkpoint *c)
{
  return c->phase >= PHASE_SETTLING && !is_idle(c);
}

static hotrow_status say_busy(const hr_shard *shard)
{
  const hr_shard_checkpoint *c = shard->checkpoint;
  return hr_fail(HOTROW_ERR_BUSY, "shard %u is still writing checkpoint %s", shard->options.shard_index,
                 c->files.what.name);
}

bool hr_checkpoint_is_under_way(const hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  return c && (c->phase == PHASE_AWAITING || c->phase == PHASE_CUTTING || is_running(c));
}

/* A save takes the same thread, and may hold the storage. */
static hotrow_status check_no_save(const hr_shard *shard)
{
  if (hr_save_is_under_way(shard))
    return hr_fail(HOTROW_ERR_BUSY, "shard %u is still writing a save", shard->options.shard_index);
  return HOTROW_OK;
}

/* What came of the last thing that ran aside. */
static hotrow_status outcome(const hr_shard_checkpoint *c)
{
  return c->status == HOTROW_OK ? HOTROW_OK : hr_fail_text(c->status, c->sentence, strlen(c->sentence));
}

/* ---- the copy of a shard without a storage ---- */

bool hr_checkpoint_is_copying(const hr_shard *shard)
{
  return shard->checkpoint && shard->checkpoint->is_copying;
}

/* All is copied; or, with another status, it is given up. */
static void end_copy(hr_shard *shard, hotrow_status status)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  hr_save_copy_end(c->files.copy, status);
  for (size_t i = 0; i < shard->table_count; i++)
    hr_table_abandon_cut(shard->tables[i]);
  c->is_copying = false;
}

hotrow_status hr_checkpoint_copy(hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  HOTROW_ASSERT(c->is_copying);
  bool is_over = hr_save_copy_has_failed(c->files.copy); /* it says itself why */
  hotrow_status status = HOTROW_OK;
  if (!is_over && !hr_save_copy_has_room(c->files.copy))
    return say_busy(shard);
  if (!is_over)
    status = hr_cut_copy_rows(shard, &is_over);
  if (status != HOTROW_OK || is_over)
    end_copy(shard, status);
  return status;
}

bool hr_checkpoint_is_behind(const hr_shard *shard)
{
  return hr_checkpoint_is_copying(shard) && hr_save_copy_is_full(shard->checkpoint->files.copy);
}

size_t hr_checkpoint_bytes(const hr_shard *shard)
{
  const hr_shard_checkpoint *c = shard->checkpoint;
  if (!c || !c->files.copy || (c->phase >= PHASE_SETTLING && atomic_load_explicit(&c->is_idle, memory_order_acquire)))
    return 0;
  return hr_save_copy_bytes(c->files.copy);
}

void hr_shard_give_up_copy(hr_shard *shard)
{
  if (hr_checkpoint_is_copying(shard))
    end_copy(shard, hr_fail(HOTROW_ERR_NOT_FOUND, "shard %u ends, and its checkpoint %s was not copied",
                            shard->options.shard_index, shard->checkpoint->files.what.name));
}

/* The moment of a checkpoint that comes from memory. With no thread beside this one all of it is copied at once. */
static hotrow_status begin_copy(hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  size_t bytes_max = shard->options.memory_bytes / COPY_SHARES;
  bytes_max = shard->options.memory_bytes == 0 || bytes_max > HR_COPY_BYTES_MAX ? HR_COPY_BYTES_MAX : bytes_max;
  hr_checkpoint_note(&c->files, shard->options.epoch, shard->tables, shard->table_count);
  HOTROW_TRY(hr_checkpoint_begin_copy(&c->files, shard->tables, bytes_max));
  c->is_copying = true;
  if (begin_aside(shard, PHASE_SETTLING, settle))
    return HOTROW_OK;
  hr_save_copy_write_along(c->files.copy);
  while (c->is_copying)
    hr_checkpoint_copy(shard);
  settle(c);
  return HOTROW_OK;
}

/* ---- requests ---- */

static void drop(hr_shard_checkpoint *c)
{
  if (c->phase != PHASE_NONE && c->phase != PHASE_PUBLISHED)
    hr_checkpoint_drop(&c->files);
  hr_save_copy_destroy(c->files.copy);
  c->files.copy = NULL;
  c->phase = PHASE_NONE;
}

static bool is_in_hand(const hr_shard_checkpoint *c, const hr_checkpoint *what)
{
  return c->phase != PHASE_NONE && c->files.what.token == what->token;
}

/* The moment of a checkpoint that comes from the storage. While a cut from before is under way it is still to come, and
 * the client asks again. */
static hotrow_status cut(hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  uint64_t number;
  c->phase = PHASE_AWAITING;
  if (shard->cut_in_progress)
    return say_busy(shard);
  hotrow_status status = hr_shard_cut(shard, &number);
  if (status != HOTROW_OK) {
    drop(c);
    return status;
  }
  hr_checkpoint_note(&c->files, shard->options.epoch, shard->tables, shard->table_count);
  c->phase = PHASE_CUTTING;
  return HOTROW_OK;
}

static hotrow_status begin(hr_shard *shard, const hr_checkpoint *what)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  const hr_storage *storage = shard->options.storage;
  if (storage && !storage->copy)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "shard %u has a storage that makes no copies", shard->options.shard_index);
  if (is_in_hand(c, what) && c->phase == PHASE_AWAITING)
    return say_busy(shard);
  if (is_in_hand(c, what))
    return is_idle(c) ? outcome(c) : HOTROW_OK;
  if (is_running(c))
    return say_busy(shard);
  HOTROW_TRY(check_no_save(shard));
  drop(c);
  c->files.save_dir = shard->options.save_dir;
  c->files.storage = storage;
  c->files.shard_index = shard->options.shard_index;
  c->files.shard_count = shard->options.shard_count;
  c->files.what = *what;
  c->status = HOTROW_OK;
  c->sentence[0] = 0;
  HOTROW_TRY(hr_checkpoint_begin(&c->files));
  return storage ? cut(shard) : begin_copy(shard);
}

/* It has failed before anything ran aside. */
static void fail(hr_shard_checkpoint *c, hotrow_status status)
{
  c->phase = PHASE_SETTLING;
  end_task(c, status);
}

void hr_checkpoint_cut_is_durable(hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  if (c && c->phase == PHASE_AWAITING) {
    hotrow_status status = cut(shard);
    if (status != HOTROW_OK)
      fail(c, status);
  } else if (c && c->phase == PHASE_CUTTING) {
    c->files.storage->hold(c->files.storage->context);
    run_aside(shard, PHASE_SETTLING, settle);
  }
}

void hr_checkpoint_cut_failed(hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  if (c && (c->phase == PHASE_AWAITING || c->phase == PHASE_CUTTING))
    fail(c, HOTROW_ERR_STORAGE);
}

/* All but a copy is about the checkpoint in hand, when nothing runs aside. */
static hotrow_status check_in_hand(hr_shard *shard, const hr_checkpoint *what)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  if (!is_in_hand(c, what))
    return hr_fail(HOTROW_ERR_NOT_FOUND, "shard %u has no checkpoint %s in hand: it was restarted, or another came",
                   shard->options.shard_index, what->name);
  if (!is_idle(c))
    return say_busy(shard);
  return outcome(c);
}

static hotrow_status take_blob(hr_shard *shard, const hr_checkpoint *what, const uint8_t *bytes, size_t size)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  if (c->phase == PHASE_PUBLISHED) /* a repeat that was long on its way */
    return HOTROW_OK;
  if (what->blob_size != c->files.what.blob_size)
    return hr_fail(HOTROW_ERR_INVALID, "checkpoint %s: a blob of %llu bytes, and before it had %llu", what->name,
                   (unsigned long long)what->blob_size, (unsigned long long)c->files.what.blob_size);
  return hr_checkpoint_put_blob(&c->files, what->blob_offset, bytes, size);
}

static hotrow_status start_publishing(hr_shard *shard)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  if (c->phase == PHASE_PUBLISHED)
    return HOTROW_OK;
  HOTROW_TRY(check_no_save(shard));
  run_aside(shard, PHASE_PUBLISHING, publish);
  if (!is_idle(c))
    return say_busy(shard);
  return outcome(c);
}

static hotrow_status act(hr_shard *shard, const hr_checkpoint *what, const uint8_t *bytes, size_t size)
{
  hr_shard_checkpoint *c = shard->checkpoint;
  if (what->action == HR_CHECKPOINT_COPY)
    return begin(shard, what);
  if (what->action == HR_CHECKPOINT_DROP) {
    if (is_in_hand(c, what) && c->is_copying)
      end_copy(shard, hr_fail(HOTROW_ERR_NOT_FOUND, "checkpoint %s was dropped", what->name));
    if (is_in_hand(c, what) && is_running(c))
      return say_busy(shard);
    if (is_in_hand(c, what))
      drop(c);
    return HOTROW_OK;
  }
  HOTROW_TRY(check_in_hand(shard, what));
  if (what->action == HR_CHECKPOINT_SETTLE)
    return HOTROW_OK;
  if (shard->options.shard_index != 0)
    return hr_fail(HOTROW_ERR_INVALID, "shard %u neither takes blobs nor publishes: shard 0 does",
                   shard->options.shard_index);
  return what->action == HR_CHECKPOINT_BLOB ? take_blob(shard, what, bytes, size) : start_publishing(shard);
}

hotrow_status hr_checkpoint_request(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_checkpoint what;
  HOTROW_ASSERT(message->body_size >= sizeof what);
  memcpy(&what, message->body, sizeof what);
  if (!shard->options.save_dir)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "shard %u was started without a save directory", shard->options.shard_index);
  if (!shard->checkpoint) {
    void *memory;
    HOTROW_TRY(hr_alloc(1, sizeof *shard->checkpoint, "checkpoint", &memory));
    shard->checkpoint = memory;
  }
  hotrow_status status =
      act(shard, &what, (const uint8_t *)message->body + sizeof what, message->body_size - sizeof what);
  if (status == HOTROW_ERR_BUSY) { /* an answer here and not a refusal: clients ask until it is done */
    hr_reply_error(shard, session, &message->header, HOTROW_ERR_BUSY);
    return HOTROW_OK;
  }
  HOTROW_TRY(status);
  hr_reply_body(shard, session, &message->header, NULL, 0);
  return HOTROW_OK;
}

void hr_checkpoint_fill_counts(const hr_shard *shard, hotrow_shard_counts *counts)
{
  const hr_shard_checkpoint *c = shard->checkpoint;
  if (!c)
    return;
  counts->checkpoint_parts = c->part_count;
  counts->checkpoint_bytes = c->part_bytes;
  counts->checkpoint_bytes_new = c->part_bytes_new;
}

void hr_checkpoint_end(hr_shard *shard)
{
  if (shard->checkpoint && !is_running(shard->checkpoint))
    drop(shard->checkpoint);
  if (shard->checkpoint)
    hr_known_files_free(&shard->checkpoint->files.known);
  free(shard->checkpoint);
  shard->checkpoint = NULL;
  if (shard->origin.restored.token != 0 && shard->origin.blob_fd >= 0)
    close(shard->origin.blob_fd);
}

/* ---- what the shard was started from ---- */

static hotrow_status read_blob(int fd, uint64_t offset, uint8_t *bytes, size_t size)
{
  for (size_t done = 0; done < size;) {
    ssize_t got = pread(fd, bytes + done, size - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return hr_fail(HOTROW_ERR_STORAGE, "the checkpoint's blob cannot be read at %llu: %s",
                     (unsigned long long)(offset + done), got < 0 ? strerror(errno) : "it ends early");
    done += (size_t)got;
  }
  return HOTROW_OK;
}

hotrow_status hr_checkpoint_restored(hr_shard *shard, hr_session *session, const hr_message *message)
{
  const hr_restored *restored = &shard->origin.restored;
  hr_restored_request request;
  HOTROW_ASSERT(message->body_size == sizeof request);
  memcpy(&request, message->body, sizeof request);
  if (restored->token == 0)
    return hr_fail(HOTROW_ERR_NOT_FOUND, "shard %u was not started from a checkpoint", shard->options.shard_index);
  if (shard->counters.pushes > 0)
    return hr_fail(HOTROW_ERR_NOT_FOUND, "shard %u has taken pushes since it was started from its checkpoint",
                   shard->options.shard_index);
  if (request.offset > restored->blob_size)
    return hr_fail(HOTROW_ERR_INVALID, "byte %llu of a blob of %llu", (unsigned long long)request.offset,
                   (unsigned long long)restored->blob_size);
  uint64_t left = shard->origin.blob_fd >= 0 ? restored->blob_size - request.offset : 0;
  size_t size = left < HR_WIRE_CHUNK_BYTES_MAX ? (size_t)left : HR_WIRE_CHUNK_BYTES_MAX;
  hr_reply_begin(shard, session, &message->header);
  uint8_t *body = hr_reply_take(shard, sizeof *restored + size);
  memcpy(body, restored, sizeof *restored);
  HOTROW_TRY(read_blob(shard->origin.blob_fd, request.offset, body + sizeof *restored, size));
  shard->reply.body = body;
  shard->reply.body_size = sizeof *restored + size;
  hr_reply_send(shard);
  return HOTROW_OK;
}
