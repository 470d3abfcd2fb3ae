#include "shard_admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

#include "shard_cut.h"
#include "shard_log.h"
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
                      : a->storage_dtype != b->storage_dtype ? "storage_dtype"
                                                             : hr_table_rules_difference(a, b);
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
  HOTROW_TRY(hr_log_reserve(shard, 0));
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

size_t hr_blobs_bytes(const hr_shard *shard)
{
  return shard->blob_count * sizeof(hr_blob);
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

/* ---- bye ---- */

hotrow_status hr_admin_bye(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_job *job = session->job;
  uint32_t rank = session->rank;
  HOTROW_TRY(hr_log_reserve(shard, 0));
  hr_reply_body(shard, session, &message->header, NULL, 0);
  hr_session_remove(shard, session);
  if (job)
    hr_job_bye(shard, job, rank);
  return HOTROW_OK;
}
