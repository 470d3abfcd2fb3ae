/* Asks shards for their statistics. Not a client: nothing here waits for one shard before it hears another. */
#include <hotrow/monitor.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/memory.h>
#include <hr/route.h>
#include <hr/wire.h>

#include "transport_zmq.h"

#define ASK_AGAIN_NS 100000000u /* an answer that is missing for so long is asked for again */
#define BYE_LINGER_MS 200

typedef struct watched {
  const char *endpoint; /* borrowed from monitor->shards */
  uint64_t epoch;       /* 0: to be greeted first */
  uint64_t asked_ns;
  char *text; /* owned, grows: the answer */
  size_t capacity;
  bool is_answered, is_refused;
  uint64_t time_ns;
} watched;

struct hotrow_monitor {
  char *shards;       /* owned: the endpoints, cut apart */
  watched *watched;   /* owned [shard_count] */
  const char **names; /* owned [shard_count]: the endpoints, for the transport */
  uint32_t shard_count;
  hotrow_transport transport;
  hr_session_id session;
  uint64_t round; /* the request id of what is asked now */
  hr_message message;
  hr_message reply;
};

/* ---- open and close ---- */

static hotrow_status cut_apart(hotrow_monitor *monitor, const char *shards)
{
  monitor->shards = strdup(shards);
  if (!monitor->shards)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for endpoints");
  uint32_t count = 1;
  for (const char *c = shards; *c; c++)
    count += *c == ',';
  if (count > HR_SHARD_COUNT_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%u shards, at most %u", count, HR_SHARD_COUNT_MAX);
  HOTROW_TRY(hr_alloc(count, sizeof *monitor->watched, "shards", (void **)&monitor->watched));
  HOTROW_TRY(hr_alloc(count, sizeof *monitor->names, "endpoints", (void **)&monitor->names));
  char *rest = monitor->shards;
  for (uint32_t i = 0; i < count; i++) {
    monitor->names[i] = monitor->watched[i].endpoint = rest;
    rest += strcspn(rest, ",");
    if (*rest)
      *rest++ = 0;
    if (!monitor->names[i][0])
      return hr_fail(HOTROW_ERR_INVALID, "endpoint %u of \"%s\" is empty", i, shards);
  }
  monitor->shard_count = count;
  return HOTROW_OK;
}

hotrow_status hotrow_monitor_open(const char *shards, hotrow_monitor **monitor_p)
{
  if (!shards || !shards[0] || !monitor_p)
    return hr_fail(HOTROW_ERR_INVALID, "shards is empty, or monitor_p is NULL");
  hotrow_monitor *monitor = calloc(1, sizeof *monitor);
  if (!monitor)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a monitor");
  hotrow_status status = cut_apart(monitor, shards);
  if (status == HOTROW_OK &&
      getrandom(&monitor->session, sizeof monitor->session, 0) != (ssize_t)sizeof monitor->session)
    status = hr_fail(HOTROW_ERR_INTERNAL, "no random numbers: %s", strerror(errno));
  if (status == HOTROW_OK)
    status = hr_transport_zmq_open(monitor->names, monitor->shard_count, &monitor->transport);
  if (status != HOTROW_OK) {
    hotrow_monitor_close(monitor);
    return status;
  }
  *monitor_p = monitor;
  return HOTROW_OK;
}

uint32_t hotrow_monitor_shard_count(const hotrow_monitor *monitor)
{
  return monitor->shard_count;
}

const char *hotrow_monitor_endpoint(const hotrow_monitor *monitor, uint32_t shard)
{
  return shard < monitor->shard_count ? monitor->watched[shard].endpoint : NULL;
}

/* ---- asking ---- */

static void send_request(hotrow_monitor *monitor, uint32_t shard, hr_op op, const void *body, size_t body_size)
{
  hr_message *m = &monitor->message;
  uint8_t header[HR_WIRE_HEADER_BYTES];
  hr_frame frames[2];
  size_t frame_count;
  memset(&m->header, 0, sizeof m->header);
  m->header.op = (uint8_t)op;
  m->header.session = monitor->session;
  m->header.request_id = monitor->round;
  m->header.epoch = op == HR_OP_HELLO ? 0 : monitor->watched[shard].epoch;
  m->body = body;
  m->body_size = body_size;
  m->section_count = 0;
  hr_wire_encode(m, header, NULL, frames, &frame_count);
  HOTROW_ASSERT(frame_count <= 2);
  hr_transport_zmq_send(monitor->transport.context, shard, frames, frame_count, NULL);
}

static void ask(hotrow_monitor *monitor, uint32_t shard, uint64_t now_ns)
{
  watched *w = &monitor->watched[shard];
  w->asked_ns = now_ns;
  if (w->epoch) {
    send_request(monitor, shard, HR_OP_STATS, NULL, 0);
    return;
  }
  hr_hello hello = {.role = HR_ROLE_TOOL,
                    .world_size = 1,
                    .shard_index = shard,
                    .shard_count = monitor->shard_count,
                    .version_min = HR_WIRE_VERSION,
                    .version_max = HR_WIRE_VERSION};
  send_request(monitor, shard, HR_OP_HELLO, &hello, sizeof hello);
}

void hotrow_monitor_ask(hotrow_monitor *monitor)
{
  uint64_t now_ns = hr_now_ns();
  monitor->round++;
  for (uint32_t i = 0; i < monitor->shard_count; i++) {
    monitor->watched[i].is_answered = monitor->watched[i].is_refused = false;
    ask(monitor, i, now_ns);
  }
}

/* ---- answers ---- */

static void keep_text(watched *w, const hr_message *reply, bool is_refused)
{
  if (reply->body_size + 1 > w->capacity) {
    char *grown = realloc(w->text, reply->body_size + 1);
    if (!grown)
      return; /* as if none had come */
    w->text = grown;
    w->capacity = reply->body_size + 1;
  }
  if (reply->body_size)
    memcpy(w->text, reply->body, reply->body_size);
  w->text[reply->body_size] = 0;
  w->is_answered = true;
  w->is_refused = is_refused;
  w->time_ns = hr_now_ns();
}

static void take_answer(hotrow_monitor *monitor, uint32_t shard, const hotrow_frame *frames, size_t frame_count)
{
  watched *w = &monitor->watched[shard];
  hr_message *reply = &monitor->reply;
  const hr_header *header = &reply->header;
  if (hr_wire_decode(frames, frame_count, reply) != HOTROW_OK || !(header->flags & HR_FLAG_REPLY) ||
      header->request_id != monitor->round || w->is_answered)
    return;
  bool is_stranger = header->status == HOTROW_ERR_RESET || header->status == HOTROW_ERR_FENCED;
  if (is_stranger) { /* restarted, or it has forgotten us: greeted when it is due to be asked again */
    w->epoch = 0;
  } else if (header->status != HOTROW_OK) {
    keep_text(w, reply, true);
  } else if (header->op == HR_OP_HELLO) {
    w->epoch = header->epoch;
    ask(monitor, shard, hr_now_ns());
  } else if (header->op == HR_OP_STATS) {
    keep_text(w, reply, false);
  }
}

static uint32_t count_missing(const hotrow_monitor *monitor)
{
  uint32_t missing = 0;
  for (uint32_t i = 0; i < monitor->shard_count; i++)
    missing += !monitor->watched[i].is_answered;
  return missing;
}

static void ask_again(hotrow_monitor *monitor, uint64_t now_ns)
{
  for (uint32_t i = 0; i < monitor->shard_count; i++)
    if (!monitor->watched[i].is_answered && now_ns - monitor->watched[i].asked_ns >= ASK_AGAIN_NS)
      ask(monitor, i, now_ns);
}

uint32_t hotrow_monitor_wait(hotrow_monitor *monitor, uint32_t timeout_ms)
{
  uint64_t until_ns = hr_now_ns() + timeout_ms * (uint64_t)1000000;
  uint32_t missing = count_missing(monitor);
  while (missing > 0) {
    uint64_t now_ns = hr_now_ns();
    if (now_ns >= until_ns)
      break;
    uint64_t wait_ns = until_ns - now_ns < ASK_AGAIN_NS ? until_ns - now_ns : ASK_AGAIN_NS;
    uint32_t shard;
    const hotrow_frame *frames;
    size_t frame_count;
    if (monitor->transport.receive(monitor->transport.context, wait_ns, &shard, &frames, &frame_count))
      take_answer(monitor, shard, frames, frame_count);
    ask_again(monitor, hr_now_ns());
    missing = count_missing(monitor);
  }
  return missing;
}

hotrow_monitor_answer hotrow_monitor_answer_of(const hotrow_monitor *monitor, uint32_t shard)
{
  HOTROW_ASSERT(shard < monitor->shard_count);
  const watched *w = &monitor->watched[shard];
  hotrow_monitor_answer answer = {0};
  if (!w->is_answered)
    return answer;
  answer.time_ns = w->time_ns;
  *(w->is_refused ? &answer.refusal : &answer.stats) = w->text;
  return answer;
}

void hotrow_monitor_close(hotrow_monitor *monitor)
{
  if (!monitor)
    return;
  for (uint32_t i = 0; monitor->transport.context && i < monitor->shard_count; i++)
    if (monitor->watched[i].epoch)
      send_request(monitor, i, HR_OP_BYE, NULL, 0); /* not waited for */
  hr_transport_zmq_close(&monitor->transport, BYE_LINGER_MS);
  for (uint32_t i = 0; i < monitor->shard_count; i++)
    free(monitor->watched[i].text);
  free(monitor->names);
  free(monitor->watched);
  free(monitor->shards);
  free(monitor);
}
