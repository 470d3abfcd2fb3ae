#include "shard_cut.h"

#include <stdio.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "shard_checkpoint.h"
#include "shard_log.h"
#include "shard_memory.h"
#include "shard_save.h"
#include "shard_sync.h"

/* ---- what a cut holds ---- */

/* Pushes that wait for their step are in no cut: their clients send them again. Neither are those of an exact step that
 * were refused behind a waiting one, as steps must come in order: they are refused again. */
static bool is_replayed(const hr_outcome *outcome)
{
  return outcome->waiting || outcome->is_step;
}

hr_stored_session hr_cut_describe_session(hr_session *session)
{
  hr_stored_session stored = {.id = session->id,
                              .hello = session->hello,
                              .watermark = session->applied_seq + (HR_MUTANT(TORN_CUT) && session->applied_seq > 0),
                              .decided = session->decided,
                              .rank = session->rank};
  for (uint64_t seq = session->applied_seq + 1; seq <= session->received_seq; seq++)
    if (!is_replayed(hr_session_outcome(session, seq)))
      stored.decided |= (uint64_t)1 << (seq % HR_PUSH_WINDOW);
  for (size_t i = 0; i < HR_PUSH_WINDOW; i++)
    stored.statuses[i] = (int8_t)session->outcomes[i].status;
  return stored;
}

hr_stored_job hr_cut_describe_job(const hr_job *job, hr_stored_member *members)
{
  for (uint32_t rank = 0; rank < job->world_size; rank++) {
    const hr_member *member = &job->members[rank];
    members[rank] = (hr_stored_member){.started_ns = member->started_ns,
                                       .barrier = member->barrier,
                                       .step_next = member->step_next,
                                       .has_joined = member->has_joined,
                                       .said_bye = member->said_bye};
    hr_session *session = member->session;
    for (uint64_t seq = session ? session->applied_seq + 1 : 1; session && seq <= session->received_seq; seq++)
      members[rank].step_next -= hr_session_outcome(session, seq)->is_step;
  }
  return (hr_stored_job){.id = job->id, .step_next = job->step_next, .world_size = job->world_size};
}

static hotrow_status put_job(const hr_job *job, const hr_storage *storage)
{
  hr_stored_member members[HR_WIRE_WORLD_MAX];
  hr_stored_job stored = hr_cut_describe_job(job, members);
  return storage->put_job(storage->context, &stored, members);
}

/* What is little, and so copied at once. */
static hotrow_status put_state(hr_shard *shard, const hr_storage *storage)
{
  for (size_t i = 0; i < shard->table_count; i++) {
    const hr_table_desc *desc = hr_table_get_desc(shard->tables[i]);
    if (shard->table_cuts[i] == HR_TABLE_CHANGED || shard->stored_counts[i] != desc->row_count ||
        shard->stored_steps[i] != desc->step)
      HOTROW_TRY(storage->put_table(storage->context, desc));
  }
  for (const hr_job *job = shard->jobs; job; job = job->next)
    HOTROW_TRY(put_job(job, storage));
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next) {
      hr_stored_session stored = hr_cut_describe_session(session);
      HOTROW_TRY(storage->put_session(storage->context, &stored));
    }
  return HOTROW_OK;
}

/* ---- its moment, and its copy ---- */

/* There is no cut: whatever was to be in it is to be in the next one. */
static void abandon(hr_shard *shard)
{
  shard->is_copying = shard->cut_in_progress = false;
  shard->is_cut_awaited = shard->is_cut_awaited || shard->was_cut_awaited;
  hr_memory_end_cut(shard);
  for (size_t i = 0; i < shard->table_count; i++) {
    hr_table_abandon_cut(shard->tables[i]);
    shard->stored_counts[i] = UINT64_MAX; /* not known: described anew */
    if (shard->table_cuts[i] == HR_TABLE_IN_CUT)
      shard->table_cuts[i] = HR_TABLE_CHANGED;
  }
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next) {
      session->cut_seq = session->durable_seq;
      session->fence_in_cut = false;
    }
}

/* From here on the cut is copied, and whatever changes is copied before. */
static hotrow_status begin(hr_shard *shard, const hr_storage *storage)
{
  shard->cut_in_progress = shard->is_copying = true;
  shard->was_cut_awaited = shard->is_cut_awaited;
  shard->is_cut_awaited = false;
  shard->counters.pushes_in_cut = shard->counters.pushes_applied;
  hr_memory_begin_cut(shard, hr_shard_dirty_bytes(shard));
  for (size_t i = 0; i < shard->table_count; i++) {
    const hr_table_desc *desc = hr_table_get_desc(shard->tables[i]);
    HOTROW_TRY(hr_table_begin_cut(shard->tables[i], storage));
    shard->stored_counts[i] = desc->row_count;
    shard->stored_steps[i] = desc->step;
    if (shard->table_cuts[i] == HR_TABLE_CHANGED)
      shard->table_cuts[i] = HR_TABLE_IN_CUT;
  }
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next) {
      session->cut_seq = session->applied_seq;
      session->fence_in_cut = session->fences;
    }
  return HOTROW_OK;
}

hotrow_status hr_cut_copy_rows(hr_shard *shard, bool *is_over_p)
{
  size_t budget = shard->options.cut_turn_bytes;
  *is_over_p = false;
  for (size_t i = 0; i < shard->table_count; i++) {
    HOTROW_TRY(hr_table_copy(shard->tables[i], &budget));
    if (hr_table_is_copying(shard->tables[i]))
      return HOTROW_OK;
  }
  *is_over_p = true;
  return HOTROW_OK;
}

static hotrow_status copy(hr_shard *shard)
{
  const hr_storage *storage = shard->options.storage;
  bool is_over;
  HOTROW_TRY(hr_cut_copy_rows(shard, &is_over));
  if (!is_over)
    return HOTROW_OK;
  HOTROW_TRY(storage->end_cut(storage->context, shard->cut_number));
  shard->is_copying = false;
  shard->counters.cuts++;
  return HOTROW_OK;
}

hotrow_status hr_shard_cut(hr_shard *shard, uint64_t *number_p)
{
  const hr_storage *storage = shard->options.storage;
  HOTROW_ASSERT(storage);
  if (shard->is_degraded)
    return hr_fail_text(HOTROW_ERR_STORAGE, shard->degraded_by, strlen(shard->degraded_by));
  if (shard->cut_in_progress)
    return hr_fail(HOTROW_ERR_BUSY, "cut %llu is not durable yet", (unsigned long long)shard->cut_number);
  hotrow_status status = storage->begin_cut(storage->context, ++shard->cut_number);
  if (status == HOTROW_OK)
    status = put_state(shard, storage);
  if (status == HOTROW_OK) {
    status = begin(shard, storage);
    if (status == HOTROW_OK)
      status = copy(shard);
    if (status != HOTROW_OK)
      abandon(shard);
  }
  shard->is_refused = status != HOTROW_OK;
  HOTROW_TRY(status);
  *number_p = shard->cut_number;
  return HOTROW_OK;
}

bool hr_shard_is_copying(const hr_shard *shard)
{
  return shard->is_copying || hr_checkpoint_is_copying(shard);
}

hotrow_status hr_shard_copy(hr_shard *shard)
{
  if (!shard->options.storage)
    return hr_checkpoint_copy(shard);
  HOTROW_ASSERT(shard->is_copying);
  hotrow_status status = copy(shard);
  if (status == HOTROW_OK)
    return HOTROW_OK;
  abandon(shard);
  shard->is_refused = true;
  hr_checkpoint_cut_failed(shard);
  hr_save_cut_failed(shard);
  return status;
}

bool hr_shard_awaits_cut(const hr_shard *shard)
{
  return shard->is_cut_awaited;
}

size_t hr_shard_dirty_bytes(const hr_shard *shard)
{
  size_t size_bytes = 0;
  for (size_t i = 0; i < shard->table_count; i++)
    size_bytes += hr_table_dirty_count(shard->tables[i]) * hr_table_record_floats(shard->tables[i]) * sizeof(float);
  return size_bytes;
}

/* ---- when it is durable ---- */

void hr_cut_raise_durable(hr_session *session, uint64_t push_seq)
{
  if (push_seq > session->durable_seq)
    session->durable_seq = push_seq;
}

void hr_cut_count_durable(hr_shard *shard, uint64_t push_count)
{
  if (push_count > shard->counters.pushes_durable)
    shard->counters.pushes_durable = push_count;
}

static void send_table(hr_shard *shard, const hr_session *session, const hr_header *header, uint32_t table)
{
  hr_reply_body(shard, session, header, hr_table_get_desc(shard->tables[table]), sizeof(hr_table_desc));
}

/* True if it still waits for its hello or its table. */
static bool answer_waiting(hr_shard *shard, hr_session *session)
{
  if (session->asked.op == 0)
    return false;
  bool is_hello = session->asked.op == HR_OP_HELLO;
  if (is_hello ? session->fences : shard->table_cuts[session->table] != HR_TABLE_DURABLE)
    return true;
  if (is_hello)
    hr_reply_hello(shard, session, &session->asked);
  else
    send_table(shard, session, &session->asked, session->table);
  session->asked.op = 0;
  return false;
}

void hr_shard_cut_is_durable(hr_shard *shard, uint64_t number)
{
  HOTROW_ASSERT(shard->cut_in_progress && !shard->is_copying && number == shard->cut_number);
  bool is_awaited = false;
  shard->cut_in_progress = false;
  shard->cut_ended = number;
  shard->counters.cuts_durable++;
  hr_memory_end_cut(shard);
  hr_cut_count_durable(shard, shard->counters.pushes_in_cut);
  for (size_t i = 0; i < shard->table_count; i++) {
    hr_table_end_cut(shard->tables[i]);
    if (shard->table_cuts[i] == HR_TABLE_IN_CUT)
      shard->table_cuts[i] = HR_TABLE_DURABLE;
  }
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next) {
      hr_cut_raise_durable(session, session->cut_seq);
      session->fences = session->fences && !session->fence_in_cut;
      is_awaited = answer_waiting(shard, session) || is_awaited;
    }
  uint64_t next;
  hr_checkpoint_cut_is_durable(shard);
  hr_save_cut_is_durable(shard);
  if (is_awaited && !shard->cut_in_progress)
    hr_shard_cut(shard, &next); /* if it fails the client asks again, and is told */
}

void hr_shard_degrade(hr_shard *shard)
{
  HOTROW_ASSERT(shard->options.storage && !shard->is_degraded);
  shard->is_degraded = true;
  snprintf(shard->degraded_by, sizeof shard->degraded_by, "shard %u is degraded and makes nothing durable: %s",
           shard->options.shard_index, hotrow_last_error());
  hr_fail_text(HOTROW_ERR_STORAGE, shard->degraded_by, strlen(shard->degraded_by));
  hr_checkpoint_cut_failed(shard);
  hr_save_cut_failed(shard);
  if (shard->cut_in_progress)
    abandon(shard);
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next)
      if (session->asked.op != 0) {
        hr_reply_refuse(shard, session, &session->asked, HOTROW_ERR_STORAGE);
        session->asked.op = 0;
      }
}

void hr_cut_table_changed(hr_shard *shard, uint32_t table)
{
  shard->table_cuts[table] = shard->options.storage ? HR_TABLE_CHANGED : HR_TABLE_DURABLE;
  hr_log_table(shard, table);
}

/* Who waits for the cut under way to end makes it be followed by another. */
static hotrow_status ask(hr_shard *shard, hr_session *session, const hr_header *header)
{
  uint64_t number;
  hotrow_status status = hr_shard_cut(shard, &number);
  if (status != HOTROW_OK && status != HOTROW_ERR_BUSY)
    return status;
  session->asked = *header;
  return HOTROW_OK;
}

hotrow_status hr_cut_answer_hello(hr_shard *shard, hr_session *session, const hr_header *header)
{
  if (session->fences && hr_shard_waits_for_disk(shard))
    return ask(shard, session, header);
  hr_reply_hello(shard, session, header);
  return HOTROW_OK;
}

hotrow_status hr_cut_answer_table(hr_shard *shard, hr_session *session, const hr_header *header, uint32_t table)
{
  if (shard->table_cuts[table] == HR_TABLE_DURABLE || !hr_shard_waits_for_disk(shard)) {
    send_table(shard, session, header, table);
    return HOTROW_OK;
  }
  HOTROW_TRY(ask(shard, session, header));
  session->table = table;
  return HOTROW_OK;
}
