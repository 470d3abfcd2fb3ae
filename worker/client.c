#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/memory.h>
#include <hr/options.h>

HR_NO_TAIL_PADDING(hotrow_client_options, lookup_keys_max);
HR_NO_TAIL_PADDING(hotrow_table_options, cache_of); /* NOLINT(bugprone-sizeof-expression): the pointer is meant */
HR_NO_TAIL_PADDING(hotrow_lookup_request, stream);  /* NOLINT(bugprone-sizeof-expression) */
HR_NO_TAIL_PADDING(hotrow_push_request, stream);    /* NOLINT(bugprone-sizeof-expression) */

#define TIMEOUT_MS_DEFAULT 10000u
#define WAIT_NS_MAX 100000000u /* of one wait: bounds how late a resend or a deadline is noticed */
#define BYE_LINGER_MS 200
#define DEVICE_KEYS_MAX ((uint64_t)1 << 20) /* distinct keys of a lookup on a GPU, unless more are asked for */

uint64_t hr_client_deadline(const hotrow_client *client, uint32_t timeout_ms)
{
  return hr_now_ns() + (uint64_t)(timeout_ms ? timeout_ms : client->timeout_ms) * 1000000u;
}

/* Hands one message to the core, waiting at most so long for it. */
static bool feed(hotrow_client *client, uint64_t timeout_ns)
{
  uint32_t shard;
  const hotrow_frame *frames;
  size_t frame_count;
  if (!client->transport.receive(client->transport.context, timeout_ns, &shard, &frames, &frame_count))
    return false;
  if (shard < client->shard_count)
    hr_core_receive(client->core, shard, frames, frame_count, hr_now_ns());
  return true;
}

hotrow_status hr_client_wait(hotrow_client *client, bool (*is_pending)(const hr_core *core), uint64_t deadline_ns,
                             const char *what, uint32_t timeout_ms)
{
  hr_core *core = client->core;
  while (is_pending(core)) {
    HOTROW_TRY(hr_core_status(core));
    uint64_t now = hr_now_ns();
    if (now >= deadline_ns)
      return hr_core_timed_out(core, what, timeout_ms ? timeout_ms : client->timeout_ms);
    uint64_t due = hr_core_due_ns(core), until = due < deadline_ns ? due : deadline_ns;
    uint64_t wait_ns = until > now ? until - now : 0;
    feed(client, wait_ns < WAIT_NS_MAX ? wait_ns : WAIT_NS_MAX);
    hr_core_tick(core, hr_now_ns());
  }
  return hr_core_status(core);
}

void hotrow_tend(hotrow_client *client)
{
  while (feed(client, 0))
    ;
  hr_core_tend(client->core, hr_now_ns());
}

hotrow_status hr_client_ask(hotrow_client *client, uint32_t shard, hr_op op, const void *body, size_t body_size,
                            uint64_t deadline_ns, const char *what, uint32_t timeout_ms)
{
  HOTROW_TRY(hr_core_ask_begin(client->core, shard, op, body, body_size, hr_now_ns()));
  return hr_client_wait(client, hr_core_is_waiting, deadline_ns, what, timeout_ms);
}

hotrow_status hr_client_ask_all(hotrow_client *client, hr_op op, const void *body, size_t body_size,
                                uint64_t deadline_ns, const char *what, uint32_t timeout_ms)
{
  hotrow_status status = hr_core_ask_all_begin(client->core, op, body, body_size, hr_now_ns());
  if (status == HOTROW_OK)
    status = hr_client_wait(client, hr_core_is_waiting, deadline_ns, what, timeout_ms);
  if (status != HOTROW_OK)
    hr_core_begin_call(client->core); /* what other shards refuse later is not the next call's failure */
  return status;
}

static hotrow_status split_endpoints(hotrow_client *client, const char *shards)
{
  client->shards = strdup(shards);
  if (!client->shards)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for endpoints");
  uint32_t count = 1;
  for (const char *c = shards; *c; c++)
    count += *c == ',';
  if (count > HOTROW_SHARDS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%u shards, at most %u", count, HOTROW_SHARDS_MAX);
  HOTROW_TRY(hr_alloc(count, sizeof(char *), "endpoints", (void **)&client->endpoints));
  char *rest = client->shards;
  for (uint32_t i = 0; i < count; i++) {
    client->endpoints[i] = rest;
    rest += strcspn(rest, ",");
    if (*rest)
      *rest++ = 0;
    if (!client->endpoints[i][0])
      return hr_fail(HOTROW_ERR_INVALID, "endpoint %u of \"%s\" is empty", i, shards);
  }
  client->shard_count = count;
  return HOTROW_OK;
}

static hotrow_status check_options(const hotrow_client_options *o)
{
  if (!o->shards || !o->shards[0])
    return hr_fail(HOTROW_ERR_INVALID, "shards is empty: it lists the shards' endpoints");
  if (o->world_size > HOTROW_WORLD_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "world_size %u, at most %u", o->world_size, HOTROW_WORLD_MAX);
  if (o->rank >= (o->world_size ? o->world_size : 1))
    return hr_fail(HOTROW_ERR_INVALID, "rank %u of a job of %u workers", o->rank, o->world_size ? o->world_size : 1);
  if (o->read_only > 1)
    return hr_fail(HOTROW_ERR_INVALID, "read_only is %u, must be 0 or 1", o->read_only);
  if (o->transport && (!o->transport->send || !o->transport->receive))
    return hr_fail(HOTROW_ERR_INVALID, "the transport's %s is NULL", o->transport->send ? "receive" : "send");
  if (o->lookup_keys_max > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "lookup_keys_max is %llu, at most %u", (unsigned long long)o->lookup_keys_max,
                   HOTROW_LOOKUP_KEYS_MAX);
  return o->reserved ? hr_fail(HOTROW_ERR_INVALID, "reserved is %u, must be 0", o->reserved) : HOTROW_OK;
}

/* A transport that is not ours copies. */
static void send_copied(void *context, uint32_t shard, const hotrow_frame *frames, size_t frame_count,
                        atomic_uint *users)
{
  (void)users;
  const hotrow_client *client = context;
  client->transport.send(client->transport.context, shard, frames, frame_count);
}

static hotrow_status create_core(hotrow_client *client, const hotrow_client_options *o)
{
  hr_core_options options = {.job = o->job,
                             .rank = o->rank,
                             .world_size = client->world_size,
                             .role = o->read_only ? HR_ROLE_READER : HR_ROLE_WORKER,
                             .shard_count = client->shard_count,
                             .endpoints = client->endpoints,
                             .send = client->has_sockets ? hr_transport_zmq_send : send_copied,
                             .send_context = client->has_sockets ? client->transport.context : client,
                             .observe = o->observe,
                             .observe_context = o->observe_context};
  options.staging_rows_max = o->lookup_keys_max || o->device == HOTROW_CPU ? o->lookup_keys_max : DEVICE_KEYS_MAX;
  if (getrandom(&options.session, sizeof options.session, 0) != (ssize_t)sizeof options.session)
    return hr_fail(HOTROW_ERR_INTERNAL, "no random numbers: %s", strerror(errno));
  /* Of two processes that claim one rank the later start wins, also across a reboot: wall time, read once. */
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  options.started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  HOTROW_TRY(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  if (o->device != HOTROW_CPU)
    HOTROW_TRY(hotrow_kernels_get(o->device, &options.device_kernels));
  return hr_core_create(&options, &client->core);
}

hotrow_status hotrow_client_open(const hotrow_client_options *options, hotrow_client **client_p)
{
  hotrow_client_options o;
  if (!options || !client_p)
    return hr_fail(HOTROW_ERR_INVALID, "options or client_p is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_client_options"));
  HOTROW_TRY(check_options(&o));
  hotrow_client *client = calloc(1, sizeof *client);
  if (!client)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a client");
  client->timeout_ms = o.timeout_ms ? o.timeout_ms : TIMEOUT_MS_DEFAULT;
  client->job = o.job;
  client->rank = o.rank;
  client->world_size = o.world_size ? o.world_size : 1;
  uint64_t deadline = hr_client_deadline(client, 0);
  hotrow_status status = split_endpoints(client, o.shards);
  if (o.transport)
    client->transport = *o.transport;
  else if (status == HOTROW_OK)
    status = hr_transport_zmq_open(client->endpoints, client->shard_count, &client->transport);
  client->has_sockets = !o.transport;
  if (status == HOTROW_OK)
    status = create_core(client, &o);
  if (status == HOTROW_OK)
    status = hr_core_hello_begin(client->core, hr_now_ns());
  if (status == HOTROW_OK)
    status = hr_client_wait(client, hr_core_is_waiting, deadline, "connecting", 0);
  if (status != HOTROW_OK) {
    hotrow_client_close(client);
    return status;
  }
  *client_p = client;
  return HOTROW_OK;
}

void hotrow_client_close(hotrow_client *client)
{
  if (!client)
    return;
  /* Goodbyes are not waited for: a shard that misses one forgets the session when it has been idle longest. */
  for (uint32_t i = 0; client->core && i < client->shard_count; i++)
    if (client->core->links[i].epoch && client->core->links[i].broken == HOTROW_OK)
      hr_core_ask_begin(client->core, i, HR_OP_BYE, NULL, 0, hr_now_ns());
  if (client->has_sockets)
    hr_transport_zmq_close(&client->transport, BYE_LINGER_MS);
  hr_core_destroy(client->core);
  hr_client_checkpoint_forget(client);
  free(client->endpoints);
  free(client->shards);
  free(client);
}

static bool window_is_full(const hr_core *core)
{
  return !hr_core_can_push(core);
}

/* Takes in what has arrived, without waiting. */
static void absorb(hotrow_client *client)
{
  while (feed(client, 0))
    ;
}

/* What must be over before rows are looked up. */
static hotrow_status prepare_lookup(hotrow_client *client, uint64_t deadline, uint32_t timeout_ms)
{
  HOTROW_TRY(hr_client_wait(client, hr_core_is_fetching, deadline, "look-ahead", timeout_ms));
  HOTROW_TRY(hr_client_wait(client, hr_core_is_behind, deadline, "lookup", timeout_ms));
  return hr_client_wait(client, window_is_full, deadline, "lookup", timeout_ms);
}

static hotrow_status drive_lookup(hotrow_client *client, const hotrow_lookup_request *requests, size_t request_count,
                                  uint64_t deadline, uint32_t timeout_ms)
{
  hr_core *core = client->core;
  bool is_settled = false;
  HOTROW_TRY(hr_core_lookup_begin(core, requests, request_count, hr_now_ns()));
  while (!is_settled) {
    uint64_t begin = hr_now_ns();
    hotrow_status status = hr_client_wait(client, hr_core_is_waiting, deadline, "lookup", timeout_ms);
    client->stall_ns += hr_now_ns() - begin;
    HOTROW_TRY(status);
    HOTROW_TRY(hr_core_lookup_settle(core, hr_now_ns(), &is_settled));
  }
  return hr_core_lookup_finish(core);
}

static hotrow_status run_lookup(hotrow_client *client, const hotrow_lookup_request *requests, size_t request_count,
                                uint64_t deadline, uint32_t timeout_ms)
{
  hotrow_status status = drive_lookup(client, requests, request_count, deadline, timeout_ms);
  if (status != HOTROW_OK)
    hr_core_lookup_abandon(client->core); /* answers may still come */
  return status;
}

/* Ends the step if is_fused, and looks up. */
static hotrow_status step_and_lookup(hotrow_client *client, const hotrow_lookup_request *requests, size_t request_count,
                                     bool is_fused)
{
  uint32_t timeout_ms = request_count ? requests[0].timeout_ms : 0;
  uint64_t begin = hr_now_ns(), deadline = hr_client_deadline(client, timeout_ms);
  absorb(client); /* what has been announced by now counts */
  hotrow_status status = prepare_lookup(client, deadline, timeout_ms);
  client->stall_ns += hr_now_ns() - begin;
  HOTROW_TRY(status);
  if (is_fused) {
    HOTROW_TRY(hr_core_lookup_check(client->core, requests, request_count)); /* a refused call ends no step */
    HOTROW_TRY(hr_core_step(client->core, true, hr_now_ns()));
  }
  return run_lookup(client, requests, request_count, deadline, timeout_ms);
}

static hotrow_status check_lookup_call(const hotrow_client *client, const hotrow_lookup_request *requests,
                                       size_t request_count)
{
  if (!client || (request_count && !requests))
    return hr_fail(HOTROW_ERR_INVALID, "client or requests is NULL");
  return HOTROW_OK;
}

hotrow_status hotrow_lookup(hotrow_client *client, const hotrow_lookup_request *requests, size_t request_count)
{
  HOTROW_TRY(check_lookup_call(client, requests, request_count));
  return step_and_lookup(client, requests, request_count, false);
}

hotrow_status hotrow_push(hotrow_client *client, const hotrow_push_request *requests, size_t request_count)
{
  if (!client || (request_count && !requests))
    return hr_fail(HOTROW_ERR_INVALID, "client or requests is NULL");
  HOTROW_TRY(hr_core_status(client->core));
  return hr_core_push(client->core, requests, request_count);
}

hotrow_status hotrow_step(hotrow_client *client, uint32_t timeout_ms)
{
  if (!client)
    return hr_fail(HOTROW_ERR_INVALID, "client is NULL");
  absorb(client);
  HOTROW_TRY(hr_client_wait(client, window_is_full, hr_client_deadline(client, timeout_ms), "step", timeout_ms));
  return hr_core_step(client->core, false, hr_now_ns());
}

hotrow_status hotrow_step_lookup(hotrow_client *client, const hotrow_lookup_request *requests, size_t request_count)
{
  HOTROW_TRY(check_lookup_call(client, requests, request_count));
  return step_and_lookup(client, requests, request_count, true);
}

hotrow_status hotrow_lookahead(hotrow_client *client, const hotrow_lookup_request *requests, size_t request_count)
{
  HOTROW_TRY(check_lookup_call(client, requests, request_count));
  absorb(client);
  HOTROW_TRY(hr_core_status(client->core));
  return hr_core_lookahead(client->core, requests, request_count, hr_now_ns());
}

static bool pushes_are_open(const hr_core *core)
{
  return !hr_core_pushes_done(core);
}

hotrow_status hotrow_flush(hotrow_client *client, uint32_t timeout_ms)
{
  if (!client)
    return hr_fail(HOTROW_ERR_INVALID, "client is NULL");
  uint64_t deadline = hr_client_deadline(client, timeout_ms);
  HOTROW_TRY(hr_client_wait(client, window_is_full, deadline, "flush", timeout_ms));
  HOTROW_TRY(hr_core_flush_begin(client->core, hr_now_ns()));
  return hr_client_wait(client, pushes_are_open, deadline, "flush", timeout_ms);
}

void hotrow_client_get_stats(const hotrow_client *client, hotrow_client_stats *stats_p)
{
  hr_core_get_stats(client->core, stats_p);
  stats_p->stall_ns = client->stall_ns;
}
