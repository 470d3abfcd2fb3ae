#include "link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

void hr_link_init(hr_link *link, const hr_link_options *options)
{
  memset(link, 0, sizeof *link);
  link->options = *options;
  if (!link->options.kept_bytes_max)
    link->options.kept_bytes_max = HR_LINK_KEPT_BYTES_MAX;
}

void hr_queue_append(hr_queue *queue, hr_request *request)
{
  HOTROW_ASSERT(!request->next);
  if (queue->newest)
    queue->newest->next = request;
  else
    queue->oldest = request;
  queue->newest = request;
}

void hr_link_release(hr_link *link, hr_request *request)
{
  link->kept_bytes -= request->kept_size;
  hr_request_release(link->options.pool, request);
}

static void release_queue(hr_link *link, hr_queue *queue)
{
  while (queue->oldest) {
    hr_request *request = queue->oldest;
    queue->oldest = request->next;
    hr_link_release(link, request);
  }
  queue->newest = NULL;
}

void hr_link_fini(hr_link *link)
{
  release_queue(link, &link->open);
  release_queue(link, &link->kept);
  hr_request_release(link->options.pool, link->greeting);
  link->greeting = NULL;
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

void hr_link_greeted(hr_link *link, const hr_hello_reply *body, uint64_t announce_seq)
{
  link->epoch = body->epoch;
  link->is_durable = body->is_durable != 0;
  link->announce_seq = announce_seq;
}

bool hr_link_can_push(const hr_link *link)
{
  return link->pushes_open + HR_LINK_WINDOW_RESERVE <= HR_LINK_WINDOW &&
         link->kept_bytes <= link->options.kept_bytes_max;
}

static uint64_t first_retry_ns(const hr_link *link)
{
  return link->epoch && !link->greeting ? HR_LINK_RETRY_MIN_NS : HR_LINK_HELLO_RETRY_NS;
}

static void transmit(hr_link *link, const hr_request *request)
{
  const hr_link_options *o = &link->options;
  o->send(o->send_context, o->shard, request->frames, request->frame_count);
  link->requests_sent++;
  for (size_t i = 0; i < request->frame_count; i++)
    link->bytes_sent += request->frames[i].size;
  for (size_t i = 0; i < HR_BYTES_COUNT; i++)
    link->bytes[i] += request->bytes[i];
}

static bool is_data(uint8_t op)
{
  return op == HR_OP_PULL || op == HR_OP_PUSH || op == HR_OP_PUSH_PULL || op == HR_OP_TICK;
}

/* Gives it this epoch's header and frames. */
static void encode(hr_link *link, hr_request *request)
{
  hr_header *header = &request->message.header;
  request->is_refused = false; /* of an epoch before */
  header->session = link->options.session;
  header->rank = link->options.rank;
  header->epoch = header->op == HR_OP_HELLO ? 0 : link->epoch;
  header->announce_seq = link->wants_announcements && is_data(header->op) ? link->announce_seq : 0;
  hr_wire_encode(&request->message, request->header_bytes, request->section_bytes, request->frames,
                 &request->frame_count);
  if (!request->is_push)
    return;
  link->kept_bytes -= request->kept_size;
  request->kept_size = 0;
  for (size_t i = 0; i < request->frame_count; i++)
    request->kept_size += request->frames[i].size;
  link->kept_bytes += request->kept_size;
}

void hr_link_pump(hr_link *link, uint64_t now_ns)
{
  while (link->unsent && !link->is_lost && !link->is_busy) {
    hr_request *request = link->unsent;
    if (request->is_push && link->pushes_sent == HR_LINK_WINDOW)
      return;
    if (request == link->open.oldest) {
      link->sent_ns = now_ns;
      link->retry_ns = first_retry_ns(link);
    }
    link->pushes_sent += request->is_push;
    link->unsent = request->next;
    encode(link, request);
    transmit(link, request);
  }
}

void hr_link_submit(hr_link *link, hr_request *request, uint64_t now_ns)
{
  hr_header *header = &request->message.header;
  request->is_push = header->op == HR_OP_PUSH || header->op == HR_OP_PUSH_PULL;
  if (request->is_push) {
    link->push_last++;
    link->pushes_open++;
  }
  link->ticks_open += header->op == HR_OP_TICK;
  header->request_id = ++link->request_last;
  header->push_seq = link->push_last;
  hr_queue_append(&link->open, request);
  if (!link->unsent)
    link->unsent = request;
  hr_link_pump(link, now_ns);
}

static void resend_all(hr_link *link, uint64_t now_ns)
{
  for (hr_request *request = link->open.oldest; request != link->unsent; request = request->next) {
    request->is_refused = false;
    if (!(HR_MUTANT(LOST_PUSH) && request->is_push))
      transmit(link, request);
    link->resends++;
  }
  link->sent_ns = now_ns;
  link->is_busy = false;
  link->busy_due_ns = 0;
  hr_link_pump(link, now_ns);
}

static hr_request *find_sent(const hr_link *link, uint64_t request_id)
{
  hr_request *request = link->open.oldest;
  while (request != link->unsent && request->message.header.request_id != request_id)
    request = request->next;
  return request == link->unsent ? NULL : request;
}

/* The shard cannot now; what it was asked stays open, and is sent again in its own time. Barriers and
 * checkpoints are asked for by their callers. False if it is no such answer. */
static bool put_off(hr_link *link, const hr_header *header, uint64_t now_ns)
{
  if (header->status != HOTROW_ERR_BUSY || header->op == HR_OP_BARRIER || header->op == HR_OP_CHECKPOINT)
    return false;
  hr_request *request = find_sent(link, header->request_id);
  if (!request)
    return true;
  request->is_refused = true;
  link->is_busy = true;
  link->busy_window = 1;
  if (!link->busy_due_ns) {
    uint64_t hint_ns = header->retry_ms * (uint64_t)1000000, pause_ns = 2 * link->busy_pause_ns;
    pause_ns = pause_ns > hint_ns ? pause_ns : hint_ns;
    link->busy_pause_ns = pause_ns < HR_LINK_BUSY_MAX_NS ? pause_ns : HR_LINK_BUSY_MAX_NS;
    link->busy_due_ns = now_ns + link->busy_pause_ns;
  }
  return true;
}

/* A few at a time: all at once would mostly come in vain again. The oldest in any case, when it is due. */
static void resend_refused(hr_link *link, uint64_t now_ns)
{
  bool is_due = link->busy_due_ns != 0;
  uint32_t on_their_way = 0;
  hr_request *request = link->open.oldest;
  for (; request != link->unsent; request = request->next)
    on_their_way += !request->is_refused;
  for (request = link->open.oldest; request != link->unsent; request = request->next) {
    if (!request->is_refused)
      continue;
    if (on_their_way >= link->busy_window && !is_due)
      break;
    is_due = false;
    request->is_refused = false;
    transmit(link, request);
    link->resends++;
    on_their_way++;
  }
  link->is_busy = request != link->unsent;
  link->busy_due_ns = 0;
  link->sent_ns = now_ns;
  hr_link_pump(link, now_ns);
}

/* Behind a request that the shard was too busy for all others have come too early: they wait with it. */
static bool waits_behind_refused(hr_link *link, const hr_header *header)
{
  if (!link->is_busy)
    return false;
  hr_request *request = find_sent(link, header->request_id);
  if (request)
    request->is_refused = true;
  for (request = link->open.oldest; request != link->unsent; request = request->next)
    if (!request->is_refused)
      return true;
  return link->busy_due_ns != 0;
}

/* Takes the request with this id out of the open queue, or returns NULL. */
static hr_request *take_request(hr_link *link, uint64_t request_id)
{
  hr_request *before = NULL, *request = link->open.oldest;
  while (request != link->unsent && request->message.header.request_id != request_id) {
    before = request;
    request = request->next;
  }
  if (request == link->unsent)
    return NULL; /* what was not sent is not answered */
  if (before)
    before->next = request->next;
  else
    link->open.oldest = request->next;
  if (link->open.newest == request)
    link->open.newest = before;
  request->next = NULL;
  link->pushes_open -= request->is_push;
  link->pushes_sent -= request->is_push;
  link->ticks_open -= request->message.header.op == HR_OP_TICK;
  return request;
}

static void forget_durable(hr_link *link)
{
  while (link->kept.oldest && link->kept.oldest->message.header.push_seq <= link->durable_seq) {
    hr_request *request = link->kept.oldest;
    link->kept.oldest = request->next;
    if (!request->next)
      link->kept.newest = NULL;
    hr_link_release(link, request);
  }
}

void hr_link_finish(hr_link *link, hr_request *request)
{
  uint64_t push_seq = request->message.header.push_seq;
  if (!request->is_push || !link->is_durable || push_seq <= link->durable_seq || HR_MUTANT(ACK_IS_DURABLE)) {
    hr_link_release(link, request);
    return;
  }
  hr_request_strip_pulls(request);
  request->is_answered = request->is_credited = true;
  request->is_waited_for = false;
  /* Answers may overtake each other: the queue is ordered by number. */
  hr_request **at = &link->kept.oldest;
  if (link->kept.newest && link->kept.newest->message.header.push_seq < push_seq)
    at = &link->kept.newest->next;
  while (*at && (*at)->message.header.push_seq < push_seq)
    at = &(*at)->next;
  request->next = *at;
  *at = request;
  if (!request->next)
    link->kept.newest = request;
}

static bool ends_the_stream(int32_t status)
{
  return status == HOTROW_ERR_RESET || status == HOTROW_ERR_FENCED || status == HOTROW_ERR_PROTOCOL ||
         status == HOTROW_ERR_VERSION;
}

/* The shard has another epoch than the one that was greeted. */
static void on_reset(hr_link *link)
{
  if (link->is_durable)
    link->is_lost = true;
  else
    hr_link_break(link, HOTROW_ERR_RESET,
                  "shard %u at %s lost its rows: its epoch is no longer the one that was greeted", link->options.shard,
                  link->options.endpoint);
}

/* Is it a reply of this session and epoch that says nothing against the stream? */
static bool accept_header(hr_link *link, const hr_message *reply)
{
  const hr_header *header = &reply->header;
  uint32_t shard = link->options.shard;
  const char *endpoint = link->options.endpoint;
  if (!(header->flags & HR_FLAG_REPLY)) {
    hr_link_break(link, HOTROW_ERR_PROTOCOL, "shard %u at %s sent a request", shard, endpoint);
    return false;
  }
  if (header->session.high != link->options.session.high || header->session.low != link->options.session.low)
    return false; /* meant for someone who had this connection before */
  if (link->greeting && header->request_id != link->greeting->message.header.request_id)
    return false; /* of the time before */
  if (link->epoch_before && header->epoch == link->epoch_before)
    return false;
  bool is_other_epoch = link->epoch && header->epoch != link->epoch && !link->greeting && !HR_MUTANT(NO_EPOCH);
  if (is_other_epoch && (header->status == HOTROW_OK || header->status == HOTROW_ERR_RESET)) {
    on_reset(link);
    return false;
  }
  if (ends_the_stream(header->status)) {
    hr_link_break(link, (hotrow_status)header->status, "shard %u at %s: %.*s", shard, endpoint, (int)reply->body_size,
                  reply->body_size ? (const char *)reply->body : "");
    return false;
  }
  if (is_other_epoch) {
    on_reset(link);
    return false;
  }
  return true;
}

static void take_progress(hr_link *link, const hr_header *header)
{
  if (header->applied_seq > link->applied_seq)
    link->applied_seq = header->applied_seq;
  if (header->durable_seq > link->durable_seq) {
    link->durable_seq = header->durable_seq;
    forget_durable(link);
  }
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
    hr_link_break(link, status, "shard %u at %s sent a bad message: %s", link->options.shard, link->options.endpoint,
                  hotrow_last_error());
    return;
  }
  if (!accept_header(link, reply_p))
    return;
  if (link->greeting) {
    hr_link_resume(link, reply_p);
    hr_link_pump(link, now_ns);
    return;
  }
  if (link->is_lost)
    return;
  if (reply_p->header.status == HR_STATUS_GAP) {
    if (!waits_behind_refused(link, &reply_p->header) && now_ns - link->gap_ns >= HR_LINK_GAP_PAUSE_NS) {
      link->gap_ns = now_ns;
      resend_all(link, now_ns);
    }
    return;
  }
  if (link->epoch)
    take_progress(link, &reply_p->header);
  if (put_off(link, &reply_p->header, now_ns))
    return;
  link->busy_pause_ns = 0;
  hr_request *request = take_request(link, reply_p->header.request_id);
  if (!request)
    return;
  if (link->is_busy && !link->busy_due_ns) {
    link->busy_window++;
    resend_refused(link, now_ns);
  }
  if (request->message.header.op != reply_p->header.op) {
    hr_link_break(link, HOTROW_ERR_PROTOCOL, "shard %u at %s answered op %u with op %u", link->options.shard,
                  link->options.endpoint, request->message.header.op, reply_p->header.op);
    hr_link_release(link, request);
    return;
  }
  if (link->epoch && reply_p->header.announce_seq > link->announce_seq)
    link->announce_seq = reply_p->header.announce_seq; /* not of a late repeat: its announcements are not taken in */
  link->sent_ns = now_ns;
  link->retry_ns = first_retry_ns(link);
  hr_link_pump(link, now_ns);
  *request_p = request;
}

void hr_link_greet(hr_link *link, hr_request *hello, uint64_t now_ns)
{
  HOTROW_ASSERT(link->is_lost && !link->greeting && hello->message.header.op == HR_OP_HELLO);
  hello->message.header.request_id = ++link->request_last;
  hello->message.header.push_seq = link->push_last;
  link->greeting = hello;
  link->sent_ns = now_ns;
  link->retry_ns = HR_LINK_HELLO_RETRY_NS;
  encode(link, hello);
  transmit(link, hello);
}

void hr_link_abandon(hr_link *link)
{
  hr_request *request = link->open.oldest, *unsent = NULL;
  bool is_unsent = false;
  link->open = (hr_queue){0};
  while (request) {
    hr_request *next = request->next;
    is_unsent |= request == link->unsent;
    request->next = NULL;
    if (!request->is_push && !request->is_ahead && request->message.header.op != HR_OP_TICK) {
      hr_link_release(link, request);
    } else {
      hr_queue_append(&link->open, request);
      if (is_unsent && !unsent)
        unsent = request;
    }
    request = next;
  }
  link->unsent = unsent;
}

static bool wants_a_cut(const hr_link *link)
{
  return link->awaits_cut || link->kept_bytes > link->options.kept_bytes_max;
}

/* Nothing is on its way that could tell what has become of pushes that are kept. */
static bool is_quiet(const hr_link *link)
{
  return !link->open.oldest && link->kept.oldest && !link->is_lost;
}

/* When to ask then. In an exact job another rank may wait for a shard that lost one of them, while
 * this one waits for another shard that lost a push of that rank: neither would hear of it. */
static uint64_t poll_due_ns(const hr_link *link)
{
  if (wants_a_cut(link) || link->is_tended)
    return link->sent_ns + HR_LINK_CUT_POLL_NS;
  return link->is_exact ? link->sent_ns + HR_LINK_RETRY_MIN_NS : UINT64_MAX;
}

uint64_t hr_link_due_ns(const hr_link *link)
{
  if (link->broken != HOTROW_OK)
    return UINT64_MAX;
  if (is_quiet(link))
    return poll_due_ns(link);
  uint64_t due_ns = link->open.oldest || link->greeting ? link->sent_ns + link->retry_ns : UINT64_MAX;
  return link->busy_due_ns && link->busy_due_ns < due_ns && !link->greeting ? link->busy_due_ns : due_ns;
}

void hr_link_tick(hr_link *link, uint64_t now_ns)
{
  if (now_ns < hr_link_due_ns(link))
    return;
  if (link->greeting) {
    transmit(link, link->greeting);
    link->resends++;
    link->sent_ns = now_ns;
  } else if (is_quiet(link)) {
    hr_request *poll;
    if (hr_request_acquire(link->options.pool, &poll) != HOTROW_OK)
      return;
    poll->message.header.op = HR_OP_TICK;
    poll->message.header.flags = wants_a_cut(link) ? HR_FLAG_DURABLE : 0;
    hr_link_submit(link, poll, now_ns);
    return;
  } else if (link->busy_due_ns && now_ns >= link->busy_due_ns) {
    resend_refused(link, now_ns);
    return;
  } else {
    resend_all(link, now_ns);
  }
  link->retry_ns = link->retry_ns * 2 < HR_LINK_RETRY_MAX_NS ? link->retry_ns * 2 : HR_LINK_RETRY_MAX_NS;
}
