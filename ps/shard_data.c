#include "shard_data.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/optimizer.h>

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
hotrow_status hr_data_apply_push(hr_shard *shard, const hr_section *sections, size_t section_count)
{
  for (size_t i = 0; i < section_count; i++) {
    hr_table *table;
    HOTROW_TRY(hr_shard_find_table(shard, sections[i].table, &table));
    HOTROW_TRY(hr_table_push(table, &sections[i]));
    shard->counters.rows_pushed += sections[i].key_count;
  }
  return HOTROW_OK;
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

/* A request that cannot be kept until its step is as good as lost: the client sends it again. */
static void drop_for_now(hr_shard *shard, hotrow_status status)
{
  HOTROW_ASSERT(status == HOTROW_ERR_BUSY || status == HOTROW_ERR_NO_MEMORY);
  hr_shard_count_refusal(shard, status);
}

/* A push that is here again: true if it has its outcome. The answer goes to this repeat, now or when there is one. */
static bool repeat_push(hr_shard *shard, hr_session *session, const hr_header *header)
{
  shard->counters.push_repeats++;
  /* Older than any that a client may have unanswered: nobody waits for this answer. */
  if (header->push_seq + HR_PUSH_WINDOW <= session->received_seq)
    return false;
  hr_outcome *outcome = hr_session_outcome(session, header->push_seq);
  outcome->request_id = header->request_id;
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
  hotrow_status status = HOTROW_OK;
  if (header->flags & HR_FLAG_SYNC) {
    status = hr_job_push(shard, session, header, message->sections, count);
    if (status != HOTROW_OK) {
      drop_for_now(shard, status);
      return false;
    }
  } else {
    hr_session_take_push(session, header);
    status = hr_data_check_push(shard, message->sections, count);
    if (status == HOTROW_OK)
      status = hr_data_apply_push(shard, message->sections, count);
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

/* Of the section's rows (shard->rows, shard->clocks) moves those to be sent to the front: the held ones that break the
 * bound, whose positions go to `index`, then the others. Fills in the reply section's counts. */
static void select_rows(hr_shard *shard, const hr_section *asked, uint32_t *index, hr_section *reply)
{
  uint32_t *rows = shard->rows, *clocks = shard->clocks;
  uint32_t stale_count = 0, unseen_max = 0;
  uint64_t unseen_sum = 0;
  for (uint32_t i = 0; i < asked->held_count; i++) {
    /* Clocks wrap, and a client may be ahead by its own pushes that wait for their step: the difference is signed.
     * A row that is not there has had no updates. */
    int32_t unseen = rows[i] == HR_ROW_NONE ? 0 : (int32_t)(clocks[i] - asked->seen[i]);
    if (unseen > 0 && (uint32_t)unseen > asked->bound) {
      rows[stale_count] = rows[i];
      clocks[stale_count] = clocks[i];
      index[stale_count++] = i;
    } else if (unseen > 0) {
      unseen_max = (uint32_t)unseen > unseen_max ? (uint32_t)unseen : unseen_max;
      unseen_sum += (uint32_t)unseen;
    }
  }
  uint32_t missing_count = asked->key_count - asked->held_count;
  memmove(rows + stale_count, rows + asked->held_count, missing_count * sizeof *rows);
  memmove(clocks + stale_count, clocks + asked->held_count, missing_count * sizeof *clocks);
  reply->held_count = stale_count;
  reply->row_count = stale_count + missing_count;
  reply->unseen_max = unseen_max;
  reply->unseen_sum = unseen_sum < UINT32_MAX ? (uint32_t)unseen_sum : UINT32_MAX;
  shard->counters.rows_pulled += reply->row_count;
  shard->counters.rows_kept += asked->held_count - stale_count;
}

/* Bit i for the i-th key that was not held. Rows that are not there become row 0 for the gather, and are written over.
 */
static void mark_found(uint32_t *rows, uint32_t count, uint8_t *found)
{
  memset(found, 0, (count + 7u) / 8u);
  for (uint32_t i = 0; i < count; i++) {
    if (rows[i] == HR_ROW_NONE)
      rows[i] = 0;
    else
      found[i / 8] |= (uint8_t)(1u << (i % 8));
  }
}

static void fill_default_rows(const hr_table *table, const hr_section *asked, const hr_section *reply, float *values,
                              float *states)
{
  const hotrow_row_layout *layout = hr_table_get_layout(table);
  for (uint32_t i = 0; i < asked->key_count - asked->held_count; i++) {
    if (reply->found[i / 8] & (1u << (i % 8)))
      continue;
    size_t row = reply->held_count + i;
    hr_table_default_row(table, asked->keys[asked->held_count + i], values + row * reply->dim);
    if (states)
      hr_row_layout_init_state(layout, values + row * reply->dim, states + row * reply->extra_dim);
  }
}

/* Copies the selected rows into the reply. */
static void fill_reply(hr_shard *shard, const hr_table *table, const hr_section *asked, hr_section *reply)
{
  const hotrow_kernels *kernels = shard->options.kernels;
  size_t stride;
  const float *base = hr_table_rows(table, &stride);
  size_t count = reply->row_count;
  uint32_t *clocks = hr_reply_take(shard, count * sizeof *clocks);
  memcpy(clocks, shard->clocks, count * sizeof *clocks);
  reply->clocks = clocks;
  if (reply->flags & HR_SECTION_FOUND) {
    uint8_t *found = hr_reply_take(shard, (asked->key_count - asked->held_count + 7u) / 8u);
    mark_found(shard->rows + reply->held_count, asked->key_count - asked->held_count, found);
    reply->found = found;
  }
  float *values = hr_reply_take(shard, count * reply->dim * sizeof *values), *states = NULL;
  kernels->gather(base, stride, reply->dim, shard->rows, count, NULL, values, reply->dim);
  reply->values = values;
  if (reply->extra_dim) {
    states = hr_reply_take(shard, count * reply->extra_dim * sizeof *states);
    kernels->gather(base + reply->dim, stride, reply->extra_dim, shard->rows, count, NULL, states, reply->extra_dim);
    reply->states = states;
  }
  if (reply->flags & HR_SECTION_FOUND)
    fill_default_rows(table, asked, reply, values, states);
}

/* Appends the answer to one pull section. hr_wire_decode has seen to it that the largest reply there is room for. */
static hotrow_status answer_section(hr_shard *shard, const hr_section *asked, bool find_only)
{
  hr_table *table;
  HOTROW_TRY(hr_shard_find_table(shard, asked->table, &table));
  const hr_table_desc *desc = hr_table_get_desc(table);
  if (asked->dim != desc->dim)
    return hr_fail(HOTROW_ERR_INVALID, "pull of %u floats a row from table %s of dim %u", asked->dim, desc->name,
                   desc->dim);
  if (find_only)
    hr_table_find(table, asked->keys, asked->key_count, shard->rows, shard->clocks);
  else
    HOTROW_TRY(hr_table_find_or_create(table, asked->keys, asked->key_count, shard->rows, shard->clocks));

  bool want_state = asked->flags & HR_SECTION_WANT_STATE;
  hr_section *reply = &shard->reply.sections[shard->reply.section_count++];
  *reply = (hr_section){
      .kind = HR_SECTION_PULL_REPLY,
      .flags = find_only ? HR_SECTION_FOUND : 0,
      .table = asked->table,
      .key_count = asked->key_count,
      .dim = desc->dim,
      .extra_dim = want_state ? hr_table_get_layout(table)->state_dim : 0,
      .bound = asked->held_count,
  };
  uint32_t *index = hr_reply_take(shard, asked->held_count * sizeof *index);
  select_rows(shard, asked, index, reply);
  reply->index = index;
  fill_reply(shard, table, asked, reply);
  return HOTROW_OK;
}

void hr_data_answer_pull(hr_shard *shard, hr_session *session, const hr_header *header, const hr_section *sections,
                         size_t section_count)
{
  bool find_only = (header->flags & HR_FLAG_READ_ONLY) || session->hello.role == HR_ROLE_READER;
  hr_reply_begin(shard, session, header);
  for (size_t i = 0; i < section_count; i++) {
    hotrow_status status = answer_section(shard, &sections[i], find_only);
    if (status != HOTROW_OK) {
      hr_reply_refuse(shard, session, header, status);
      return;
    }
  }
  shard->counters.pulls++;
  hr_reply_send(shard);
}

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
    drop_for_now(shard, status);
}

void hr_data_pull(hr_shard *shard, hr_session *session, hr_message *message)
{
  if (message->header.push_seq > session->received_seq)
    say_gap(shard, session, &message->header);
  else
    pull_or_hold(shard, session, &message->header, message->sections, message->section_count);
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
