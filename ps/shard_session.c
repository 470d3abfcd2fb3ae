#include "shard_session.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>

#include "shard_log.h"
#include "shard_park.h"
#include "shard_sync.h"

static hr_session **bucket_of(hr_shard *shard, hr_session_id id)
{
  return &shard->sessions[hr_hash_bytes(&id, sizeof id) % HR_SESSION_BUCKETS];
}

hr_session *hr_session_find(const hr_shard *shard, hr_session_id id)
{
  hr_session *session = shard->sessions[hr_hash_bytes(&id, sizeof id) % HR_SESSION_BUCKETS];
  while (session && (session->id.high != id.high || session->id.low != id.low))
    session = session->next;
  return session;
}

void hr_session_remove(hr_shard *shard, hr_session *session)
{
  hr_session **link = bucket_of(shard, session->id);
  while (*link != session)
    link = &(*link)->next;
  *link = session->next;
  shard->session_count--;
  hr_log_session_gone(shard, session->id);
  if (session->job) {
    HOTROW_ASSERT(session->job->members[session->rank].session == session);
    session->job->members[session->rank].session = NULL;
  }
  hr_held_free(shard, session->pull);
  hr_park_forget(shard, session);
  for (size_t i = 0; i < HR_PUSH_WINDOW; i++)
    free(session->outcomes[i].sentence);
  free(session);
}

static void forget_idlest(hr_shard *shard)
{
  hr_session *idlest = NULL;
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    for (hr_session *session = shard->sessions[i]; session; session = session->next)
      if (!idlest || session->used_ns < idlest->used_ns)
        idlest = session;
  hr_session_remove(shard, idlest);
}

hr_session *hr_session_add(hr_shard *shard, hr_session_id id, const hr_hello *hello, uint32_t rank, uint64_t now_ns)
{
  hr_session *session = calloc(1, sizeof *session);
  if (!session)
    return NULL;
  if (shard->session_count == HR_SHARD_SESSIONS_MAX)
    forget_idlest(shard);
  session->id = id;
  session->hello = *hello;
  session->rank = rank;
  session->used_ns = now_ns;
  hr_session **bucket = bucket_of(shard, id);
  session->next = *bucket;
  *bucket = session;
  shard->session_count++;
  return session;
}

static hotrow_status check_hello(const hr_shard *shard, const hr_header *header, const hr_hello *hello)
{
  const hr_shard_options *own = &shard->options;
  if (hello->version_min > HR_WIRE_VERSION || hello->version_max < HR_WIRE_VERSION)
    return hr_fail(HOTROW_ERR_VERSION, "the client speaks versions %u to %u, shard %u speaks %u", hello->version_min,
                   hello->version_max, own->shard_index, HR_WIRE_VERSION);
  if (hello->shard_index != own->shard_index || hello->shard_count != own->shard_count)
    return hr_fail(HOTROW_ERR_INVALID, "this is shard %u of %u, and the client takes it for shard %u of %u",
                   own->shard_index, own->shard_count, hello->shard_index, hello->shard_count);
  if (hello->role < HR_ROLE_WORKER || hello->role > HR_ROLE_TOOL)
    return hr_fail(HOTROW_ERR_INVALID, "role %u is not known", hello->role);
  if (hello->role != HR_ROLE_WORKER)
    return HOTROW_OK;
  if (hello->world_size == 0 || hello->world_size > HR_WIRE_WORLD_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "world size %u: must be 1 to %u", hello->world_size, HR_WIRE_WORLD_MAX);
  if (header->rank >= hello->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "rank %u of %u workers: ranks count from 0", header->rank, hello->world_size);
  return HOTROW_OK;
}

hotrow_status hr_session_hello(hr_shard *shard, const hr_header *header, const hr_hello *hello, hr_session **session_p)
{
  HOTROW_TRY(check_hello(shard, header, hello));
  hr_session *session = hr_session_find(shard, header->session);
  if (session) {
    if (memcmp(&session->hello, hello, sizeof *hello) != 0 || session->rank != header->rank)
      return hr_fail(HOTROW_ERR_PROTOCOL, "session %016llx%016llx greets again and says something else",
                     (unsigned long long)header->session.high, (unsigned long long)header->session.low);
    session->route = *shard->from;
    session->used_ns = shard->now_ns;
    *session_p = session;
    return HOTROW_OK;
  }
  hr_job *job = NULL;
  if (hello->role == HR_ROLE_WORKER)
    HOTROW_TRY(hr_job_open(shard, hello, header->rank, &job));
  session = hr_session_add(shard, header->session, hello, header->rank, shard->now_ns);
  if (!session)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a session");
  session->route = *shard->from;
  if (job) {
    hr_job_join(shard, job, session);
    hr_log_job(shard, job);
  }
  hr_log_session(shard, session);
  *session_p = session;
  return HOTROW_OK;
}

void hr_session_take_push(hr_session *session, const hr_header *header)
{
  HOTROW_ASSERT(header->push_seq == session->received_seq + 1);
  HOTROW_ASSERT(header->push_seq - session->applied_seq <= HR_PUSH_WINDOW);
  hr_outcome *outcome = hr_session_outcome(session, header->push_seq);
  HOTROW_ASSERT(!outcome->waiting);
  free(outcome->sentence);
  *outcome = (hr_outcome){.request_id = header->request_id,
                          .announce_seq = header->announce_seq,
                          .status = HOTROW_OK,
                          .step = header->step,
                          .op = header->op,
                          .waiting = true};
  session->decided &= ~((uint64_t)1 << (header->push_seq % HR_PUSH_WINDOW));
  session->received_seq = header->push_seq;
}

void hr_session_finish_push(hr_shard *shard, hr_session *session, uint64_t push_seq, hotrow_status status)
{
  hr_outcome *outcome = hr_session_outcome(session, push_seq);
  HOTROW_ASSERT(outcome->waiting && push_seq <= session->received_seq);
  outcome->waiting = false;
  outcome->status = status;
  if (status != HOTROW_OK)
    outcome->sentence = strdup(hotrow_last_error()); /* without memory the status alone must do */
  while (session->applied_seq < session->received_seq &&
         !hr_session_outcome(session, session->applied_seq + 1)->waiting) {
    session->applied_seq++;
    shard->counters.pushes_applied++;
  }
  hr_log_session(shard, session);
  if (outcome->op == HR_OP_PUSH)
    hr_session_answer_push(shard, session, push_seq);
}

void hr_session_answer_push(hr_shard *shard, hr_session *session, uint64_t push_seq)
{
  const hr_outcome *outcome = hr_session_outcome(session, push_seq);
  HOTROW_ASSERT(!outcome->waiting);
  hr_header request = {
      .op = outcome->op,
      .request_id = outcome->request_id,
      .session = session->id,
      .push_seq = push_seq,
      .step = outcome->step,
      .rank = session->rank,
  };
  if (outcome->status == HOTROW_OK) {
    hr_reply_begin(shard, session, &request);
    hr_reply_announce(shard, outcome->announce_seq);
    hr_reply_send(shard);
    return;
  }
  const char *sentence = outcome->sentence ? outcome->sentence : hotrow_status_text(outcome->status);
  hr_fail_text(outcome->status, sentence, strlen(sentence));
  hr_reply_refuse(shard, session, &request, outcome->status);
}
