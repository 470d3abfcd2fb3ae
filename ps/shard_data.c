#include "shard_data.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "shard_log.h"
#include "shard_memory.h"
#include "shard_pull.h"
#include "shard_sync.h"

/* ---- push ---- */

hotrow_status hr_data_check_push(const hr_shard *shard, const hr_section *sections, size_t section_count)
{
  for (size_t i = 0; i < section_count; i++) {
    hr_table *table;
    HOTROW_TRY(hr_shard_find_table(shard, sections[i].table, &table));
    HOTROW_TRY(hr_table_check_push(table, &sections[i]));
  }
  return HOTROW_OK;
}

/* When all sections have been checked a message is all or nothing but for one case: a table is full or memory ran out,
 * and the sections before stay applied. The refusal is recorded as the outcome, so that no repeat applies them again.
 */
hotrow_status hr_data_apply_push(hr_shard *shard, const hr_header *header, const hr_section *sections,
                                 size_t section_count)
{
  size_t done = 0;
  hotrow_status status = HOTROW_OK;
  for (; done < section_count; done++) {
    const hr_section *section = &sections[done];
    hr_table *table;
    status = hr_shard_find_table(shard, section->table, &table);
    if (status == HOTROW_OK)
      status = hr_memory_prepare_push(shard, table, section->keys, section->key_count);
    if (status == HOTROW_OK)
      status = hr_table_push(table, section, &shard->log);
    if (status != HOTROW_OK)
      break;
    shard->counters.rows_pushed += section->key_count;
    shard->counters.bytes_pushed[section->dtype] +=
        (size_t)section->key_count * section->dim * hr_dtype_bytes((hotrow_dtype)section->dtype);
  }
  hr_log_push(shard, header, sections, done);
  return status;
}

static size_t push_section_count(const hr_message *message)
{
  size_t count = 0;
  while (count < message->section_count && message->sections[count].kind == HR_SECTION_PUSH)
    count++;
  return count;
}

static void say_gap(hr_shard *shard, const hr_session *session, const hr_header *header)
{
  hr_fail(HOTROW_ERR_PROTOCOL, "push %llu is named and push %llu is the last that came: send those after it again",
          (unsigned long long)header->push_seq, (unsigned long long)session->received_seq);
  hr_reply_refuse(shard, session, header, HR_STATUS_GAP);
}

/* A request that cannot be kept until its step, or until it is logged, is not taken: the client asks again. */
static void say_busy(hr_shard *shard, const hr_session *session, const hr_header *header, hotrow_status status)
{
  HOTROW_ASSERT(status == HOTROW_ERR_BUSY || status == HOTROW_ERR_NO_MEMORY);
  hr_reply_refuse(shard, session, header, HOTROW_ERR_BUSY);
}

/* A push that is here again: true if it has its outcome. The answer goes to this repeat, now or when there is one. */
static bool repeat_push(hr_shard *shard, hr_session *session, const hr_header *header)
{
  shard->counters.push_repeats++;
  if (HR_MUTANT(NO_DEDUPE))
    hr_data_apply_push(shard, header, shard->request.sections, push_section_count(&shard->request));
  /* Older than any that a client may have unanswered: nobody waits for this answer. */
  if (header->push_seq + HR_PUSH_WINDOW <= session->received_seq)
    return false;
  hr_outcome *outcome = hr_session_outcome(session, header->push_seq);
  outcome->request_id = header->request_id;
  outcome->announce_seq = header->announce_seq;
  outcome->step = header->step;
  outcome->op = header->op;
  if (!outcome->waiting && header->op == HR_OP_PUSH)
    hr_session_answer_push(shard, session, header->push_seq);
  return true;
}

static bool take_new_push(hr_shard *shard, hr_session *session, hr_message *message)
{
  const hr_header *header = &message->header;
  size_t count = push_section_count(message);
  if (header->push_seq - session->applied_seq > HR_PUSH_WINDOW) {
    hr_fail(HOTROW_ERR_PROTOCOL, "push %llu: the %u before it wait for their steps, and no client may be further ahead",
            (unsigned long long)header->push_seq, HR_PUSH_WINDOW);
    hr_reply_refuse(shard, session, header, HOTROW_ERR_PROTOCOL);
    return false;
  }
  bool is_sync = header->flags & HR_FLAG_SYNC, was_decided = hr_session_was_decided(session, header->push_seq);
  hotrow_status status = HOTROW_OK;
  if (was_decided || !is_sync) /* an exact step sees to its own room */
    status = hr_log_reserve(shard, was_decided ? 0 : hr_log_push_bytes(header->payload_size, count));
  if (status != HOTROW_OK) {
    say_busy(shard, session, header, status);
    return false;
  }
  if (was_decided) {
    status = hr_session_outcome(session, header->push_seq)->status;
    hr_session_take_push(session, header);
    if (status != HOTROW_OK)
      hr_fail(status, "%s", hotrow_status_text(status)); /* the sentence was not kept */
    hr_session_finish_push(shard, session, header->push_seq, status);
  } else if (is_sync) {
    status = hr_job_push(shard, session, header, message->sections, count);
    if (status != HOTROW_OK) {
      say_busy(shard, session, header, status);
      return false;
    }
  } else {
    status = hr_memory_admit_push(shard, message->sections, count);
    if (status != HOTROW_OK) {
      hr_reply_refuse(shard, session, header, status);
      return false;
    }
    hr_session_take_push(session, header);
    status = hr_data_check_push(shard, message->sections, count);
    if (status == HOTROW_OK)
      status = hr_data_apply_push(shard, header, message->sections, count);
    hr_session_finish_push(shard, session, header->push_seq, status);
  }
  shard->counters.pushes++;
  return true;
}

/* The push part of a message. True if the push is taken, now or before, and its outcome is known or will be. */
static bool take_push(hr_shard *shard, hr_session *session, hr_message *message)
{
  const hr_header *header = &message->header;
  HOTROW_ASSERT(header->push_seq > 0);
  if (session->job)
    hr_job_note_step(shard, session->job, header);
  if (header->push_seq <= session->received_seq)
    return repeat_push(shard, session, header);
  if (header->push_seq == session->received_seq + 1)
    return take_new_push(shard, session, message);
  say_gap(shard, session, header);
  return false;
}

void hr_data_push(hr_shard *shard, hr_session *session, hr_message *message)
{
  take_push(shard, session, message);
}

/* ---- pull ---- */

/* The pull of a message whose push, if it has one, is taken: now, or when its step has come. */
static void pull_or_hold(hr_shard *shard, hr_session *session, const hr_header *header, hr_section *sections,
                         size_t section_count)
{
  if (!(header->flags & HR_FLAG_SYNC) || !hr_job_must_wait(session->job, header)) {
    hr_data_answer_pull(shard, session, header, sections, section_count);
    return;
  }
  hotrow_status status = hr_job_hold_pull(shard, session, header, sections, section_count);
  if (status != HOTROW_OK)
    say_busy(shard, session, header, status);
}

void hr_data_pull(hr_shard *shard, hr_session *session, hr_message *message)
{
  if (message->header.push_seq > session->received_seq && !HR_MUTANT(NO_GAP))
    say_gap(shard, session, &message->header);
  else
    pull_or_hold(shard, session, &message->header, message->sections, message->section_count);
}

void hr_data_tick(hr_shard *shard, hr_session *session, const hr_header *header)
{
  if (header->push_seq > session->received_seq) {
    say_gap(shard, session, header);
    return;
  }
  if (session->job)
    hr_job_note_step(shard, session->job, header);
  if ((header->flags & HR_FLAG_DURABLE) && shard->options.storage &&
      shard->options.durability == HOTROW_DURABILITY_CUT && session->cut_seq < session->applied_seq)
    shard->is_cut_awaited = true;
  hr_reply_begin(shard, session, header);
  hr_reply_announce(shard, header->announce_seq);
  hr_reply_send(shard);
}

void hr_data_push_pull(hr_shard *shard, hr_session *session, hr_message *message)
{
  const hr_header *header = &message->header;
  if (!take_push(shard, session, message))
    return;
  const hr_outcome *outcome = hr_session_outcome(session, header->push_seq);
  if (outcome->status != HOTROW_OK) {
    hr_session_answer_push(shard, session, header->push_seq);
    return;
  }
  size_t pushed = push_section_count(message);
  pull_or_hold(shard, session, header, message->sections + pushed, message->section_count - pushed);
}
