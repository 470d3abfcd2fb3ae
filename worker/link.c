#include "link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <hr/assert.h>

void hr_link_init(hr_link *link, uint32_t shard, const char *endpoint, hr_session_id session, uint32_t rank,
                  hr_link_send_fn send, void *send_context)
{
  memset(link, 0, sizeof *link);
  link->shard = shard;
  link->endpoint = endpoint;
  link->session = session;
  link->rank = rank;
  link->send = send;
  link->send_context = send_context;
}

void hr_link_fini(hr_link *link, hr_request_pool *pool)
{
  while (link->oldest) {
    hr_request *request = link->oldest;
    link->oldest = request->next;
    hr_request_release(pool, request);
  }
  link->newest = NULL;
}

void hr_link_break(hr_link *link, hotrow_status status, const char *format, ...)
{
  if (link->broken != HOTROW_OK)
    return;
  va_list args;
  va_start(args, format);
  vsnprintf(link->broken_text, sizeof link->broken_text, format, args);
  va_end(args);
  link->broken = status;
}

hotrow_status hr_link_status(const hr_link *link)
{
  return link->broken == HOTROW_OK ? HOTROW_OK : hr_fail(link->broken, "%s", link->broken_text);
}

bool hr_link_can_push(const hr_link *link)
{
  return link->pushes_open < HR_LINK_WINDOW;
}

static uint64_t first_retry_ns(const hr_link *link)
{
  return link->epoch ? HR_LINK_RETRY_MIN_NS : HR_LINK_HELLO_RETRY_NS;
}

static void send_request(hr_link *link, const hr_request *request)
{
  link->send(link->send_context, link->shard, request->frames, request->frame_count);
  link->requests_sent++;
  for (size_t i = 0; i < request->frame_count; i++)
    link->bytes_sent += request->frames[i].size;
}

void hr_link_submit(hr_link *link, hr_request *request, uint64_t now_ns)
{
  HOTROW_ASSERT(!request->next);
  hr_header *header = &request->message.header;
  request->is_push = header->op == HR_OP_PUSH || header->op == HR_OP_PUSH_PULL;
  if (request->is_push) {
    HOTROW_ASSERT(hr_link_can_push(link));
    link->push_last++;
    link->pushes_open++;
  }
  header->request_id = ++link->request_last;
  header->session = link->session;
  header->epoch = header->op == HR_OP_HELLO ? 0 : link->epoch;
  header->push_seq = link->push_last;
  header->rank = link->rank;
  hr_wire_encode(&request->message, request->header_bytes, request->section_bytes, request->frames,
                 &request->frame_count);
  if (!link->oldest) {
    link->oldest = request;
    link->sent_ns = now_ns;
    link->retry_ns = first_retry_ns(link);
  } else {
    link->newest->next = request;
  }
  link->newest = request;
  send_request(link, request);
}

static void resend_all(hr_link *link, uint64_t now_ns)
{
  for (hr_request *request = link->oldest; request; request = request->next) {
    send_request(link, request);
    link->resends++;
  }
  link->sent_ns = now_ns;
}

/* Takes the request with this id out of the queue, or returns NULL. */
static hr_request *take_request(hr_link *link, uint64_t request_id)
{
  hr_request *before = NULL, *request = link->oldest;
  while (request && request->message.header.request_id != request_id) {
    before = request;
    request = request->next;
  }
  if (!request)
    return NULL;
  if (before)
    before->next = request->next;
  else
    link->oldest = request->next;
  if (link->newest == request)
    link->newest = before;
  request->next = NULL;
  if (request->is_push)
    link->pushes_open--;
  return request;
}

static bool ends_the_stream(int32_t status)
{
  return status == HOTROW_ERR_RESET || status == HOTROW_ERR_FENCED || status == HOTROW_ERR_PROTOCOL ||
         status == HOTROW_ERR_VERSION;
}

/* What a reply's header alone decides. True if the reply may answer a request. */
static bool accept_header(hr_link *link, const hr_message *reply, uint64_t now_ns)
{
  const hr_header *header = &reply->header;
  if (!(header->flags & HR_FLAG_REPLY)) {
    hr_link_break(link, HOTROW_ERR_PROTOCOL, "shard %u at %s sent a request", link->shard, link->endpoint);
    return false;
  }
  if (header->session.high != link->session.high || header->session.low != link->session.low)
    return false; /* meant for someone who had this connection before */
  if (ends_the_stream(header->status)) {
    hr_link_break(link, (hotrow_status)header->status, "shard %u at %s: %.*s", link->shard, link->endpoint,
                  (int)reply->body_size, reply->body_size ? (const char *)reply->body : "");
    return false;
  }
  if (link->epoch && header->epoch != link->epoch) {
    hr_link_break(link, HOTROW_ERR_RESET,
                  "shard %u at %s lost its rows: its epoch is no longer the one that was greeted", link->shard,
                  link->endpoint);
    return false;
  }
  if (header->applied_seq > link->applied_seq)
    link->applied_seq = header->applied_seq;
  if (header->status == HR_STATUS_GAP) {
    if (now_ns - link->gap_ns >= HR_LINK_GAP_PAUSE_NS) {
      link->gap_ns = now_ns;
      resend_all(link, now_ns);
    }
    return false;
  }
  return true;
}

void hr_link_receive(hr_link *link, const hr_frame *frames, size_t frame_count, uint64_t now_ns, hr_message *reply_p,
                     hr_request **request_p)
{
  *request_p = NULL;
  if (link->broken != HOTROW_OK)
    return;
  for (size_t i = 0; i < frame_count; i++)
    link->bytes_received += frames[i].size;
  hotrow_status status = hr_wire_decode(frames, frame_count, reply_p);
  if (status != HOTROW_OK) {
    hr_link_break(link, status, "shard %u at %s sent a bad message: %s", link->shard, link->endpoint,
                  hotrow_last_error());
    return;
  }
  if (!accept_header(link, reply_p, now_ns))
    return;
  hr_request *request = take_request(link, reply_p->header.request_id);
  if (!request)
    return;
  if (request->message.header.op != reply_p->header.op) {
    hr_link_break(link, HOTROW_ERR_PROTOCOL, "shard %u at %s answered op %u with op %u", link->shard, link->endpoint,
                  request->message.header.op, reply_p->header.op);
    request->next = link->oldest; /* back in the queue: fini releases it */
    link->oldest = request;
    if (!link->newest)
      link->newest = request;
    return;
  }
  link->sent_ns = now_ns;
  link->retry_ns = first_retry_ns(link);
  *request_p = request;
}

void hr_link_abandon(hr_link *link, hr_request_pool *pool)
{
  hr_request *request = link->oldest;
  link->oldest = link->newest = NULL;
  while (request) {
    hr_request *next = request->next;
    request->next = NULL;
    if (!request->is_push && request->kind != HR_REQUEST_PREFETCH) {
      hr_request_release(pool, request);
    } else {
      if (link->newest)
        link->newest->next = request;
      else
        link->oldest = request;
      link->newest = request;
    }
    request = next;
  }
}

uint64_t hr_link_due_ns(const hr_link *link)
{
  return link->oldest && link->broken == HOTROW_OK ? link->sent_ns + link->retry_ns : UINT64_MAX;
}

void hr_link_tick(hr_link *link, uint64_t now_ns)
{
  if (now_ns < hr_link_due_ns(link))
    return;
  resend_all(link, now_ns);
  link->retry_ns = link->retry_ns * 2 < HR_LINK_RETRY_MAX_NS ? link->retry_ns * 2 : HR_LINK_RETRY_MAX_NS;
}
