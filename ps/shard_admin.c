#include "shard_admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

#include "shard_cut.h"
#include "shard_sync.h"

/* ---- tables ---- */

static hr_table *table_by_name(const hr_shard *shard, const char *name)
{
  for (size_t i = 0; i < shard->table_count; i++)
    if (strcmp(hr_table_get_desc(shard->tables[i])->name, name) == 0)
      return shard->tables[i];
  return NULL;
}

/* Writes the name of the first field in which two descriptions differ; false if there is none. Floats are compared as
 * bits. */
static bool find_difference(const hr_table_desc *a, const hr_table_desc *b, char *name, size_t name_size)
{
  static const struct {
    const char *name;
    size_t offset, size;
  } fields[] = {
#define FIELD(field) {#field, offsetof(hotrow_segment, field), sizeof((hotrow_segment *)0)->field}
      FIELD(dim),
      FIELD(optimizer.kind),
      FIELD(optimizer.lr),
      FIELD(optimizer.beta1),
      FIELD(optimizer.beta2),
      FIELD(optimizer.eps),
      FIELD(optimizer.initial_state),
      FIELD(optimizer.weight_decay),
      FIELD(optimizer.l1),
      FIELD(initializer.kind),
      FIELD(initializer.scale),
#undef FIELD
  };
  const char *whole = a->dim != b->dim                       ? "dim"
                      : a->seed != b->seed                   ? "seed"
                      : a->segment_count != b->segment_count ? "segment_count"
                                                             : NULL;
  if (whole) {
    snprintf(name, name_size, "%s", whole);
    return true;
  }
  for (uint32_t s = 0; s < a->segment_count; s++)
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
      if (memcmp((const char *)&a->segments[s] + fields[i].offset, (const char *)&b->segments[s] + fields[i].offset,
                 fields[i].size) != 0) {
        snprintf(name, name_size, "segments[%u].%s", s, fields[i].name);
        return true;
      }
  return false;
}

hotrow_status hr_admin_table_create(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_table_desc desc;
  char difference[64];
  HOTROW_ASSERT(message->body_size == sizeof desc);
  memcpy(&desc, message->body, sizeof desc);
  hr_table *table = table_by_name(shard, desc.name);
  if (table && find_difference(hr_table_get_desc(table), &desc, difference, sizeof difference))
    return hr_fail(HOTROW_ERR_EXISTS, "table %s exists with another %s", desc.name, difference);
  if (!table)
    HOTROW_TRY(hr_shard_add_table(shard, &desc, &table));
  uint32_t id = hr_table_get_desc(table)->id;
  if (hr_table_lower_announce_step(table, desc.announce_step))
    hr_cut_table_changed(shard, id);
  return hr_cut_answer_table(shard, session, &message->header, id);
}

hotrow_status hr_admin_table_open(hr_shard *shard, hr_session *session, const hr_message *message)
{
  char name[HR_WIRE_NAME_BYTES_MAX + 1] = {0};
  HOTROW_ASSERT(message->body_size <= HR_WIRE_NAME_BYTES_MAX);
  memcpy(name, message->body, message->body_size);
  const hr_table *table = table_by_name(shard, name);
  if (!table)
    return hr_fail(HOTROW_ERR_NOT_FOUND, "no table %s", name);
  return hr_cut_answer_table(shard, session, &message->header, hr_table_get_desc(table)->id);
}

hotrow_status hr_admin_table_list(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_reply_begin(shard, session, &message->header);
  size_t size_bytes = shard->table_count * sizeof(hr_table_desc);
  hr_table_desc *descs = hr_reply_take(shard, size_bytes);
  for (size_t i = 0; i < shard->table_count; i++)
    descs[i] = *hr_table_get_desc(shard->tables[i]);
  shard->reply.body = descs;
  shard->reply.body_size = size_bytes;
  hr_reply_send(shard);
  return HOTROW_OK;
}

/* ---- barrier ---- */

hotrow_status hr_admin_barrier(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_barrier barrier;
  HOTROW_ASSERT(session->job && message->body_size == sizeof barrier);
  memcpy(&barrier, message->body, sizeof barrier);
  if (barrier.world_size != session->job->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "barrier of %u workers in a job of %u", barrier.world_size,
                   session->job->world_size);
  if (hr_job_barrier(session->job, session->rank, barrier.number)) {
    hr_reply_body(shard, session, &message->header, NULL, 0);
  } else {
    hr_fail(HOTROW_ERR_BUSY, "barrier %llu: not all %u workers are here", (unsigned long long)barrier.number,
            barrier.world_size);
    hr_reply_error(shard, session, &message->header, HOTROW_ERR_BUSY);
  }
  return HOTROW_OK;
}

/* ---- blobs ---- */

struct hr_blob {
  uint64_t job;
  hr_session_id owner; /* who put it last */
  size_t size;
  char name[HR_WIRE_NAME_BYTES_MAX + 1];
  uint8_t bytes[HR_WIRE_BLOB_BYTES_MAX];
};

static hr_blob *find_blob(const hr_shard *shard, uint64_t job, const void *name, size_t name_size)
{
  for (size_t i = 0; i < shard->blob_count; i++) {
    hr_blob *blob = shard->blobs[i];
    if (blob->job == job && strlen(blob->name) == name_size && memcmp(blob->name, name, name_size) == 0)
      return blob;
  }
  return NULL;
}

static void drop_blob(hr_shard *shard, size_t index)
{
  free(shard->blobs[index]);
  shard->blob_count--;
  memmove(&shard->blobs[index], &shard->blobs[index + 1], (shard->blob_count - index) * sizeof(hr_blob *));
}

void hr_blobs_drop(hr_shard *shard, uint64_t job, const hr_session_id *owner)
{
  for (size_t i = shard->blob_count; i-- > 0;) {
    const hr_blob *blob = shard->blobs[i];
    bool is_owned = !owner || (blob->owner.high == owner->high && blob->owner.low == owner->low);
    if (blob->job == job && is_owned)
      drop_blob(shard, i);
  }
}

hotrow_status hr_admin_blob_put(hr_shard *shard, hr_session *session, const hr_message *message)
{
  const uint8_t *body = message->body;
  size_t name_size = body[0];
  HOTROW_ASSERT(message->body_size > name_size && name_size <= HR_WIRE_NAME_BYTES_MAX);
  hr_blob *blob = find_blob(shard, session->hello.job, body + 1, name_size);
  if (!blob) {
    blob = calloc(1, sizeof *blob);
    if (!blob)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a blob");
    if (shard->blob_count == HR_SHARD_BLOBS_MAX)
      drop_blob(shard, 0); /* blobs are for meeting: the oldest has been read, or nobody will */
    blob->job = session->hello.job;
    memcpy(blob->name, body + 1, name_size);
    shard->blobs[shard->blob_count++] = blob;
  }
  blob->owner = session->id;
  blob->size = message->body_size - 1 - name_size;
  memcpy(blob->bytes, body + 1 + name_size, blob->size);
  hr_reply_body(shard, session, &message->header, NULL, 0);
  return HOTROW_OK;
}

/* Not found is an answer here and not a refusal: clients ask until the blob is there. */
hotrow_status hr_admin_blob_get(hr_shard *shard, hr_session *session, const hr_message *message)
{
  const hr_blob *blob = find_blob(shard, session->hello.job, message->body, message->body_size);
  if (blob) {
    hr_reply_body(shard, session, &message->header, blob->bytes, blob->size);
  } else {
    hr_fail(HOTROW_ERR_NOT_FOUND, "nobody has put blob %.*s yet", (int)message->body_size, (const char *)message->body);
    hr_reply_error(shard, session, &message->header, HOTROW_ERR_NOT_FOUND);
  }
  return HOTROW_OK;
}

/* ---- save, bye ---- */

hotrow_status hr_admin_save(hr_shard *shard, hr_session *session, const hr_message *message)
{
  const hr_shard_options *own = &shard->options;
  hr_save save;
  HOTROW_ASSERT(message->body_size == sizeof save);
  memcpy(&save, message->body, sizeof save);
  if (!own->save_dir)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "shard %u was started without a save directory", own->shard_index);
  /* A save takes long and its client may ask again meanwhile: that repeat is answered and not written. */
  if (memcmp(&shard->saved, &save, sizeof save) != 0) {
    HOTROW_TRY(hr_save_write(own->save_dir, &save, own->shard_index, own->shard_count, own->epoch, shard->tables,
                             shard->table_count));
    shard->saved = save;
  }
  hr_reply_body(shard, session, &message->header, NULL, 0);
  return HOTROW_OK;
}

hotrow_status hr_admin_bye(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_job *job = session->job;
  uint32_t rank = session->rank;
  hr_reply_body(shard, session, &message->header, NULL, 0);
  hr_session_remove(shard, session);
  if (job)
    hr_job_bye(shard, job, rank);
  return HOTROW_OK;
}

/* ---- stats ---- */

typedef struct writer {
  char *text;
  size_t size; /* of text; what does not fit is counted */
  size_t used;
} writer;

static void write_text(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void write_text(writer *w, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  bool has_room = w->used < w->size;
  int size = vsnprintf(has_room ? w->text + w->used : NULL, has_room ? w->size - w->used : 0, format, args);
  va_end(args);
  HOTROW_ASSERT(size >= 0);
  w->used += (size_t)size;
}

static void write_counter(writer *w, const char *name, uint64_t value)
{
  write_text(w, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void write_tables(const hr_shard *shard, writer *w)
{
  write_text(w, ",\"tables\":[");
  for (size_t i = 0; i < shard->table_count; i++) {
    const hr_table_desc *desc = hr_table_get_desc(shard->tables[i]);
    write_text(w, "%s{\"name\":\"%s\",\"dim\":%u,\"rows\":%llu,\"memory_bytes\":%zu}", i ? "," : "", desc->name,
               desc->dim, (unsigned long long)desc->row_count, hr_table_memory_bytes(shard->tables[i]));
  }
  write_text(w, "]");
}

static void write_traffic(const hr_shard_counters *c, writer *w)
{
  static const char *const dtypes[] = {"f32", "f16", "i8"};
  write_counter(w, "pulls", c->pulls);
  write_counter(w, "pulls_held", c->pulls_held);
  write_counter(w, "rows_pulled", c->rows_pulled);
  write_counter(w, "rows_kept", c->rows_kept);
  write_counter(w, "pushes", c->pushes);
  write_counter(w, "push_repeats", c->push_repeats);
  write_counter(w, "rows_pushed", c->rows_pushed);
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
    write_text(w, ",\"bytes_pulled_%s\":%llu,\"bytes_pushed_%s\":%llu", dtypes[i],
               (unsigned long long)c->bytes_pulled[i], dtypes[i], (unsigned long long)c->bytes_pushed[i]);
}

static void write_messages(const hr_shard_counters *c, writer *w)
{
  static const char *const reasons[HR_REFUSED_COUNT] = {"protocol", "version", "limit", "epoch",
                                                        "session",  "gap",     "busy",  "request"};
  write_text(w, ",\"messages\":{");
  for (int op = HR_OP_HELLO; op < HR_OP_COUNT; op++)
    write_text(w, "%s\"%s\":%llu", op > HR_OP_HELLO ? "," : "", hr_op_name((uint8_t)op),
               (unsigned long long)c->messages[op]);
  write_text(w, "},\"refused\":{");
  for (size_t i = 0; i < HR_REFUSED_COUNT; i++)
    write_text(w, "%s\"%s\":%llu", i ? "," : "", reasons[i], (unsigned long long)c->refused[i]);
  write_text(w, "}");
}

size_t hr_shard_stats_json(const hr_shard *shard, char *text, size_t text_size)
{
  const hr_shard_counters *c = &shard->counters;
  writer w = {.text = text, .size = text_size};
  /* As text: the epoch has 64 bits, and many readers of JSON keep 53 of a number. */
  write_text(&w, "{\"shard\":%u,\"shard_count\":%u,\"epoch\":\"%016llx\"", shard->options.shard_index,
             shard->options.shard_count, (unsigned long long)shard->options.epoch);
  write_counter(&w, "sessions", shard->session_count);
  write_counter(&w, "jobs", shard->job_count);
  write_counter(&w, "blobs", shard->blob_count);
  write_counter(&w, "held_bytes", shard->held_bytes);
  write_traffic(c, &w);
  write_counter(&w, "announcements", shard->log.next - 1);
  write_counter(&w, "announcements_kept", shard->log.next - hr_announce_log_first(&shard->log));
  write_counter(&w, "resets", c->resets);
  write_counter(&w, "ticks", c->messages[HR_OP_TICK]);
  write_counter(&w, "cuts", c->cuts);
  write_counter(&w, "cuts_durable", c->cuts_durable);
  write_counter(&w, "degraded", shard->is_degraded || shard->is_refused);
  write_counter(&w, "dirty_bytes", hr_shard_dirty_bytes(shard));
  write_messages(c, &w);
  write_tables(shard, &w);
  write_text(&w, "}");
  return w.used;
}

hotrow_status hr_admin_stats(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_reply_begin(shard, session, &message->header);
  char *text = hr_reply_take(shard, HR_WIRE_STATS_BYTES_MAX);
  size_t size_bytes = hr_shard_stats_json(shard, text, HR_WIRE_STATS_BYTES_MAX);
  HOTROW_ASSERT(size_bytes < HR_WIRE_STATS_BYTES_MAX);
  shard->reply.body = text;
  shard->reply.body_size = size_bytes;
  hr_reply_send(shard);
  return HOTROW_OK;
}
