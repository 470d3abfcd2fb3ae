#include "shard_log.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "shard_cut.h"
#include "shard_data.h"
#include "shard_sync.h"

/* ---- what a record consists of ---- */

typedef enum item_kind {
  ITEM_PUSH = 1,         /* frame_count u64, the size of each frame u64, the frames of a push message */
  ITEM_TABLE = 2,        /* hr_table_desc */
  ITEM_SESSION = 3,      /* hr_stored_session, in the place of what there was of it */
  ITEM_SESSION_GONE = 4, /* hr_session_id */
  ITEM_JOB = 5,          /* hr_stored_job, hr_stored_member of each rank; likewise */
  ITEM_JOB_GONE = 6      /* id u64 */
} item_kind;

/* Behind it are size bytes, filled up with 0 to a multiple of 8; so is each frame of a push. */
typedef struct item_head {
  uint32_t kind;
  uint32_t reserved; /* 0 */
  uint64_t size;
} item_head;

#define ALIGNMENT 8u
#define SESSION_BYTES (sizeof(item_head) + sizeof(hr_stored_session))
#define GONE_BYTES (sizeof(item_head) + sizeof(hr_session_id))
#define JOB_BYTES (sizeof(item_head) + sizeof(hr_stored_job) + HR_WIRE_WORLD_MAX * sizeof(hr_stored_member))
#define OTHER_BYTES ((size_t)1 << 20) /* of a record without its pushes */

_Static_assert(HR_WIRE_WORLD_MAX *SESSION_BYTES + JOB_BYTES <= OTHER_BYTES, "a step");
_Static_assert((2 * HR_WIRE_WORLD_MAX + 1) * GONE_BYTES + 2 * GONE_BYTES + JOB_BYTES + SESSION_BYTES <= OTHER_BYTES,
               "a hello that takes the place of the idlest session and job, and fences all of its own");
_Static_assert(sizeof(hr_stored_session) % ALIGNMENT == 0 && sizeof(hr_stored_job) % ALIGNMENT == 0 &&
                   sizeof(hr_table_desc) % ALIGNMENT == 0,
               "nothing to fill up");

static size_t aligned(uint64_t size)
{
  return (size_t)(size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t hr_log_push_bytes(uint64_t payload_bytes, size_t section_count)
{
  size_t frame_count = 2 + section_count * HR_WIRE_ARRAYS_MAX;
  return sizeof(item_head) + sizeof(uint64_t) + frame_count * (sizeof(uint64_t) + ALIGNMENT) + HR_WIRE_HEADER_BYTES +
         aligned(payload_bytes);
}

/* ---- writing ---- */

hotrow_status hr_log_reserve(hr_shard *shard, size_t push_bytes)
{
  if (!shard->is_logging)
    return HOTROW_OK;
  const hr_storage *storage = shard->options.storage;
  return storage->reserve_log(storage->context, push_bytes, OTHER_BYTES);
}

static void *put(hr_shard *shard, item_kind kind, uint64_t size)
{
  const hr_storage *storage = shard->options.storage;
  item_head head = {.kind = kind, .size = size};
  uint8_t *memory = storage->put_log(storage->context, sizeof head + aligned(size));
  memcpy(memory, &head, sizeof head);
  return memory + sizeof head;
}

static void put_whole(hr_shard *shard, item_kind kind, const void *bytes, size_t size)
{
  if (shard->is_logging)
    memcpy(put(shard, kind, size), bytes, size);
}

/* As a message of the wire: reading it back checks all that reading it from a client checks. No reply is in the making
 * while a push is applied, so what serves to encode one is free. */
void hr_log_push(hr_shard *shard, const hr_header *header, const hr_section *sections, size_t section_count)
{
  if (!shard->is_logging || section_count == 0 || HR_MUTANT(HOLLOW_LOG))
    return;
  hr_message *message = &shard->reply;
  message->header = (hr_header){.op = HR_OP_PUSH,
                                .session = header->session,
                                .epoch = shard->options.epoch,
                                .push_seq = header->push_seq,
                                .step = header->step,
                                .rank = header->rank};
  message->body = NULL;
  message->body_size = 0;
  message->section_count = (uint16_t)section_count;
  memcpy(message->sections, sections, section_count * sizeof *sections);
  size_t frame_count;
  hr_wire_encode(message, shard->header_bytes, shard->section_bytes, shard->frames, &frame_count);
  uint64_t size = (1 + frame_count) * sizeof(uint64_t);
  for (size_t i = 0; i < frame_count; i++)
    size += aligned(shard->frames[i].size);
  uint64_t *words = put(shard, ITEM_PUSH, size);
  *words++ = frame_count;
  uint8_t *at = (uint8_t *)(words + frame_count);
  for (size_t i = 0; i < frame_count; i++) {
    size_t bytes = shard->frames[i].size, room = aligned(bytes);
    words[i] = bytes;
    if (bytes)
      memcpy(at, shard->frames[i].data, bytes);
    memset(at + bytes, 0, room - bytes);
    at += room;
  }
}

void hr_log_table(hr_shard *shard, uint32_t table)
{
  put_whole(shard, ITEM_TABLE, hr_table_get_desc(shard->tables[table]), sizeof(hr_table_desc));
}

void hr_log_session(hr_shard *shard, hr_session *session)
{
  if (!shard->is_logging)
    return;
  hr_stored_session stored = hr_cut_describe_session(session);
  put_whole(shard, ITEM_SESSION, &stored, sizeof stored);
}

void hr_log_session_gone(hr_shard *shard, hr_session_id id)
{
  put_whole(shard, ITEM_SESSION_GONE, &id, sizeof id);
}

void hr_log_job(hr_shard *shard, const hr_job *job)
{
  if (!shard->is_logging)
    return;
  hr_stored_job *stored = put(shard, ITEM_JOB, sizeof *stored + job->world_size * sizeof(hr_stored_member));
  *stored = hr_cut_describe_job(job, (hr_stored_member *)(stored + 1));
}

void hr_log_job_gone(hr_shard *shard, uint64_t id)
{
  put_whole(shard, ITEM_JOB_GONE, &id, sizeof id);
}

void hr_log_end(hr_shard *shard)
{
  const hr_storage *storage = shard->options.storage;
  if (shard->is_logging)
    storage->end_log(storage->context);
  shard->is_logging = false;
}

/* ---- what of it is on disk ---- */

void hr_shard_log_is_handed(hr_shard *shard)
{
  shard->is_log_refused = false;
  shard->counters.pushes_in_log = shard->counters.pushes_applied;
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next)
      session->log_seq = session->applied_seq;
  if (HR_MUTANT(EARLY_LOG))
    hr_shard_log_is_durable(shard);
}

void hr_shard_log_is_refused(hr_shard *shard)
{
  shard->is_log_refused = true;
}

void hr_shard_log_is_durable(hr_shard *shard)
{
  hr_cut_count_durable(shard, shard->counters.pushes_in_log);
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next)
      hr_cut_raise_durable(session, session->log_seq);
}

/* ---- reading it back ---- */

static hotrow_status fail_size(const char *what, uint64_t size)
{
  return hr_fail(HOTROW_ERR_CORRUPT, "a record of the log has %s of %llu bytes", what, (unsigned long long)size);
}

/* The frames of an item that was read; refuses what does not fit. */
static hotrow_status find_frames(const uint8_t *bytes, uint64_t size, hr_frame *frames, size_t *frame_count_p)
{
  uint64_t count, left = size;
  if (left < sizeof count)
    return fail_size("a push", size);
  memcpy(&count, bytes, sizeof count);
  left -= sizeof count;
  if (count > HR_WIRE_FRAMES_MAX || count * sizeof(uint64_t) > left)
    return fail_size("a push", size);
  const uint8_t *sizes = bytes + sizeof count, *at = sizes + count * sizeof(uint64_t);
  left -= count * sizeof(uint64_t);
  for (size_t i = 0; i < count; i++) {
    uint64_t frame_bytes;
    memcpy(&frame_bytes, sizes + i * sizeof frame_bytes, sizeof frame_bytes);
    if (frame_bytes > left || aligned(frame_bytes) > left)
      return fail_size("a push", size);
    frames[i] = (hr_frame){at, (size_t)frame_bytes};
    at += aligned(frame_bytes);
    left -= aligned(frame_bytes);
  }
  *frame_count_p = (size_t)count;
  return HOTROW_OK;
}

static hotrow_status replay_push(hr_shard *shard, const uint8_t *bytes, uint64_t size)
{
  hr_message *message = &shard->request;
  size_t frame_count = 0;
  HOTROW_TRY(find_frames(bytes, size, shard->frames, &frame_count));
  HOTROW_TRY(hr_wire_decode(shard->frames, frame_count, message));
  if (message->header.op != HR_OP_PUSH)
    return hr_fail(HOTROW_ERR_CORRUPT, "a record of the log has a %s for a push", hr_op_name(message->header.op));
  HOTROW_TRY(hr_data_check_push(shard, message->sections, message->section_count));
  const hr_session *session = hr_session_find(shard, message->header.session);
  if (session && session->job)
    hr_job_note_step(shard, session->job, &message->header);
  return hr_data_apply_push(shard, &message->header, message->sections, message->section_count);
}

/* A table that no cut has is to be in the next one; or it has another announce step. */
static hotrow_status replay_table(hr_shard *shard, const uint8_t *bytes, uint64_t size)
{
  hr_table_desc desc;
  hr_table *table;
  if (size != sizeof desc)
    return fail_size("a table", size);
  memcpy(&desc, bytes, sizeof desc);
  if (desc.id == shard->table_count)
    return hr_shard_add_table(shard, &desc, &table);
  HOTROW_TRY(hr_shard_find_table(shard, desc.id, &table));
  if (!hr_table_desc_matches(hr_table_get_desc(table), &desc))
    return hr_fail(HOTROW_ERR_CORRUPT, "a record of the log has another table %u than %s", desc.id,
                   hr_table_get_desc(table)->name);
  if (hr_table_lower_announce_step(table, desc.announce_step))
    hr_cut_table_changed(shard, desc.id);
  return HOTROW_OK;
}

static void remove_session(hr_shard *shard, hr_session_id id)
{
  hr_session *session = hr_session_find(shard, id);
  if (session)
    hr_session_remove(shard, session);
}

static hotrow_status replay_session(hr_shard *shard, const uint8_t *bytes, uint64_t size, uint64_t now_ns)
{
  hr_stored_session stored;
  if (size != sizeof stored)
    return fail_size("a session", size);
  memcpy(&stored, bytes, sizeof stored);
  remove_session(shard, stored.id);
  return hr_shard_restore_session(shard, &stored, now_ns);
}

static hotrow_status replay_job(hr_shard *shard, const uint8_t *bytes, uint64_t size, uint64_t now_ns)
{
  hr_stored_job stored;
  hr_stored_member members[HR_WIRE_WORLD_MAX];
  if (size < sizeof stored)
    return fail_size("a job", size);
  memcpy(&stored, bytes, sizeof stored);
  size -= sizeof stored;
  if (stored.world_size > HR_WIRE_WORLD_MAX || size != stored.world_size * sizeof *members)
    return fail_size("the members of a job", size);
  memcpy(members, bytes + sizeof stored, (size_t)size);
  const hr_job *before = hr_job_find(shard, stored.id);
  if (before && stored.step_next > before->step_next)
    hr_job_advance(shard, (uint32_t)(stored.step_next - before->step_next));
  return hr_cut_replace_job(shard, &stored, members, now_ns);
}

static hotrow_status replay_gone(hr_shard *shard, uint32_t kind, const uint8_t *bytes, uint64_t size)
{
  hr_session_id session;
  uint64_t id;
  if (size != (kind == ITEM_JOB_GONE ? sizeof id : sizeof session))
    return fail_size("what is gone", size);
  if (kind == ITEM_SESSION_GONE) {
    memcpy(&session, bytes, sizeof session);
    remove_session(shard, session);
    return HOTROW_OK;
  }
  memcpy(&id, bytes, sizeof id);
  hr_job *job = hr_job_find(shard, id);
  if (job)
    hr_job_drop(shard, job);
  return HOTROW_OK;
}

static hotrow_status replay_item(hr_shard *shard, const item_head *head, const uint8_t *bytes, uint64_t now_ns)
{
  switch (head->kind) {
  case ITEM_PUSH:
    return replay_push(shard, bytes, head->size);
  case ITEM_TABLE:
    return replay_table(shard, bytes, head->size);
  case ITEM_SESSION:
    return replay_session(shard, bytes, head->size, now_ns);
  case ITEM_JOB:
    return replay_job(shard, bytes, head->size, now_ns);
  case ITEM_SESSION_GONE:
  case ITEM_JOB_GONE:
    return replay_gone(shard, head->kind, bytes, head->size);
  default:
    return hr_fail(HOTROW_ERR_CORRUPT, "a record of the log has an item of kind %u", head->kind);
  }
}

hotrow_status hr_shard_replay(hr_shard *shard, const void *record, size_t size, uint64_t now_ns)
{
  HOTROW_ASSERT(!shard->is_logging && (uintptr_t)record % ALIGNMENT == 0);
  const hr_shard_counters before = shard->counters; /* what is counted is what this life does */
  hotrow_status status = HOTROW_OK;
  const uint8_t *at = record;
  while (status == HOTROW_OK && size > 0) {
    item_head head;
    if (size < sizeof head)
      return fail_size("an item", size);
    memcpy(&head, at, sizeof head);
    at += sizeof head;
    size -= sizeof head;
    if (head.size > size || aligned(head.size) > size)
      return fail_size("an item", head.size);
    status = replay_item(shard, &head, at, now_ns);
    at += aligned(head.size);
    size -= aligned(head.size);
  }
  shard->counters = before;
  return status;
}
