/* A durable shard that was restarted: what it has is forgotten here, what it has not is sent again. */
#include <string.h>

#include <hr/assert.h>

#include "link.h"

static hr_request *pop(hr_queue *queue)
{
  hr_request *request = queue->oldest;
  queue->oldest = request->next;
  if (!queue->oldest)
    queue->newest = NULL;
  request->next = NULL;
  return request;
}

/* Of the answered and the unanswered, the one that went out first. A push comes before what names it as the last. */
static hr_request *pop_first(hr_queue *kept, hr_queue *open)
{
  if (!kept->oldest || !open->oldest)
    return pop(kept->oldest ? kept : open);
  uint64_t kept_seq = kept->oldest->message.header.push_seq, open_seq = open->oldest->message.header.push_seq;
  return pop(kept_seq <= open_seq ? kept : open);
}

/* What the shard has of this request, as it has every push up to `received`, is taken out. NULL: nothing is left. */
static hr_request *reduce(hr_link *link, hr_request *request, uint64_t received)
{
  if (!request->is_push || request->message.header.push_seq > received)
    return request;
  if (request->pull_count) {
    link->kept_bytes -= request->kept_size;
    request->kept_size = 0;
    hr_request_strip_pushes(request);
    return request;
  }
  hr_link_release(link, request);
  return NULL;
}

static void requeue(hr_link *link, uint64_t received)
{
  hr_queue kept = link->kept, open = link->open;
  link->kept = link->open = (hr_queue){0};
  link->pushes_open = link->pushes_sent = 0;
  while (kept.oldest || open.oldest) {
    hr_request *request = reduce(link, pop_first(&kept, &open), received);
    if (!request)
      continue;
    hr_request_forget_held(request); /* its clocks are of an epoch that is gone */
    link->pushes_open += request->is_push;
    hr_queue_append(&link->open, request);
  }
  link->unsent = link->open.oldest;
}

void hr_link_resume(hr_link *link, const hr_message *reply)
{
  const hr_header *header = &reply->header;
  uint32_t shard = link->options.shard;
  const char *endpoint = link->options.endpoint;
  hr_hello_reply body;
  if (header->status != HOTROW_OK || header->op != HR_OP_HELLO) {
    hotrow_status status = hr_status_is_known(header->status) && header->status != HOTROW_OK
                               ? (hotrow_status)header->status
                               : HOTROW_ERR_PROTOCOL;
    hr_link_break(link, status, "shard %u at %s, greeted again: %.*s", shard, endpoint, (int)reply->body_size,
                  reply->body_size ? (const char *)reply->body : "");
    return;
  }
  memcpy(&body, reply->body, sizeof body); /* its size was checked by decode */
  if (body.received_seq > link->push_last) {
    hr_link_break(link, HOTROW_ERR_PROTOCOL, "shard %u at %s claims to have push %llu, the last is %llu", shard,
                  endpoint, (unsigned long long)body.received_seq, (unsigned long long)link->push_last);
    return;
  }
  if (!body.is_durable || body.received_seq < link->durable_seq) {
    hr_link_break(link, HOTROW_ERR_RESET,
                  "shard %u at %s lost its rows: it has pushes up to %llu, and %llu were durable", shard, endpoint,
                  (unsigned long long)body.received_seq, (unsigned long long)link->durable_seq);
    return;
  }
  hr_request_release(link->options.pool, link->greeting);
  link->greeting = NULL;
  link->is_lost = false;
  link->epoch_before = link->epoch;
  link->epoch = body.epoch;
  link->announce_seq = header->announce_seq;
  link->applied_seq = link->durable_seq = body.received_seq;
  link->has_resumed = true;
  link->is_busy = false;
  link->busy_due_ns = 0;
  requeue(link, body.received_seq);
}
