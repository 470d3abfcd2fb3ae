#include "core_device.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/route.h>

static hotrow_status take_arrays(hr_core *core)
{
  uint32_t count = core->options.shard_count;
  HOTROW_TRY(hr_alloc(count, sizeof *core->links, "links", (void **)&core->links));
  HOTROW_TRY(hr_alloc(count, sizeof(hr_request *), "drafts", (void **)&core->drafts));
  HOTROW_TRY(hr_alloc(count, sizeof *core->is_told, "links", (void **)&core->is_told));
  return hr_alloc(2 * (size_t)count, sizeof *core->shares, "links", (void **)&core->shares);
}

hotrow_status hr_core_create(const hr_core_options *options, hr_core **core_p)
{
  HOTROW_ASSERT(options->shard_count > 0 && options->shard_count <= HR_SHARD_COUNT_MAX);
  hr_core *core = calloc(1, sizeof *core);
  if (!core)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a client of %u shards", options->shard_count);
  core->options = *options;
  if (!core->options.part_bytes)
    core->options.part_bytes = HR_CORE_PART_BYTES;
  core->row_kernels = options->device_kernels ? options->device_kernels : options->kernels;
  hotrow_status status = options->device_kernels ? hr_device_open(core) : HOTROW_OK;
  if (status == HOTROW_OK)
    status = take_arrays(core);
  if (status != HOTROW_OK) {
    core->options.shard_count = 0; /* no link has begun */
    hr_core_destroy(core);
    return status;
  }
  for (uint32_t i = 0; i < options->shard_count; i++)
    hr_link_init(&core->links[i], &(hr_link_options){.shard = i,
                                                     .endpoint = options->endpoints[i],
                                                     .session = options->session,
                                                     .rank = options->rank,
                                                     .kept_bytes_max = options->kept_bytes_max,
                                                     .pool = &core->pool,
                                                     .send = options->send,
                                                     .send_context = options->send_context});
  *core_p = core;
  return HOTROW_OK;
}

void hr_core_destroy(hr_core *core)
{
  if (!core)
    return;
  for (uint32_t i = 0; i < core->options.shard_count; i++) {
    hr_request_release(&core->pool, core->drafts[i]);
    hr_link_fini(&core->links[i]);
  }
  for (uint32_t i = 0; i < core->table_count; i++)
    hr_core_drop_direct(core, core->tables[i]);
  hr_request_pool_fini(&core->pool);
  for (uint32_t i = 0; i < core->table_count; i++)
    hr_core_destroy_table(core->tables[i]);
  hr_device_close(core);
  free(core->links);
  free(core->drafts);
  free(core->is_told);
  free(core->shares);
  free(core->answer);
  free(core);
}

void hr_core_fail(hr_core *core, hotrow_status status, const char *text, size_t text_size)
{
  HOTROW_ASSERT(status != HOTROW_OK);
  if (core->failure.status != HOTROW_OK)
    return; /* the first reason is the one that counts */
  size_t size = text_size < sizeof core->failure.text - 1 ? text_size : sizeof core->failure.text - 1;
  memcpy(core->failure.text, text, size);
  core->failure.text[size] = 0;
  core->failure.status = status;
}

static void fail_with_reply(hr_core *core, uint32_t shard, const hr_message *reply)
{
  hr_fail(HOTROW_ERR_INTERNAL, "shard %u at %s: %.*s", shard, core->links[shard].options.endpoint,
          (int)reply->body_size, reply->body_size ? (const char *)reply->body : "");
  const char *text = hotrow_last_error();
  hotrow_status status =
      hr_status_is_known(reply->header.status) ? (hotrow_status)reply->header.status : HOTROW_ERR_PROTOCOL;
  hr_core_fail(core, status, text, strlen(text));
}

static void on_hello_reply(hr_core *core, uint32_t shard, const hr_message *reply)
{
  hr_hello_reply body;
  memcpy(&body, reply->body, sizeof body); /* its size was checked by decode */
  hr_link_greeted(&core->links[shard], &body, reply->header.announce_seq);
}

static void on_answer(hr_core *core, uint32_t shard, const hr_message *reply)
{
  if (reply->header.status != HOTROW_OK) {
    core->answer_status =
        hr_status_is_known(reply->header.status) ? (hotrow_status)reply->header.status : HOTROW_ERR_PROTOCOL;
    fail_with_reply(core, shard, reply);
    return;
  }
  if (reply->header.op == HR_OP_HELLO)
    on_hello_reply(core, shard, reply);
  if (reply->body_size > core->answer_capacity) {
    void *grown = realloc(core->answer, reply->body_size);
    if (!grown) {
      hr_core_fail(core, HOTROW_ERR_NO_MEMORY, "no memory for an answer", 23);
      return;
    }
    core->answer = grown;
    core->answer_capacity = reply->body_size;
  }
  if (reply->body_size)
    memcpy(core->answer, reply->body, reply->body_size);
  core->answer_size = reply->body_size;
  core->answer_status = HOTROW_OK;
}

static void on_data_reply(hr_core *core, uint32_t shard, hr_request *request, const hr_message *reply)
{
  if (reply->header.status != HOTROW_OK) {
    /* Rows of a coming batch may fail quietly, the lookup will ask again; a push sent again was reported before. */
    bool is_quiet = request->is_answered || (request->is_ahead && !request->is_push);
    if (!is_quiet)
      fail_with_reply(core, shard, reply);
    return;
  }
  if (!hr_core_check_pull_reply(core, shard, request, reply))
    return;
  hr_core_take_news(core, shard, request, reply);
  if (request->is_ahead || request->call == core->call)
    hr_core_take_rows(core, request, reply);
}

static void fill_hello(const hr_core *core, uint32_t shard, hr_hello *hello_p)
{
  const hr_core_options *o = &core->options;
  *hello_p = (hr_hello){.job = o->job,
                        .started_ns = o->started_ns,
                        .role = o->role,
                        .world_size = o->world_size,
                        .shard_index = shard,
                        .shard_count = o->shard_count,
                        .version_min = HR_WIRE_VERSION,
                        .version_max = HR_WIRE_VERSION};
}

static hotrow_status acquire_admin(hr_core *core, hr_op op, const void *body, size_t body_size, hr_request **request_p)
{
  hr_request *request;
  HOTROW_TRY(hr_request_acquire(&core->pool, &request));
  void *copy = NULL;
  if (body_size) {
    hotrow_status status = hr_request_take(request, body_size, &copy);
    if (status != HOTROW_OK) {
      hr_request_release(&core->pool, request);
      return status;
    }
    memcpy(copy, body, body_size);
  }
  request->is_admin = true;
  request->message.header.op = (uint8_t)op;
  request->message.body = copy;
  request->message.body_size = body_size;
  *request_p = request;
  return HOTROW_OK;
}

/* A durable shard was restarted: it is greeted again, and then told what it has not. */
static void greet_again(hr_core *core, uint32_t shard)
{
  hr_hello hello;
  hr_request *request;
  fill_hello(core, shard, &hello);
  if (acquire_admin(core, HR_OP_HELLO, &hello, sizeof hello, &request) == HOTROW_OK)
    hr_link_greet(&core->links[shard], request, core->now_ns);
  else
    hr_link_break(&core->links[shard], HOTROW_ERR_NO_MEMORY, "no memory to greet shard %u again", shard);
}

void hr_core_receive(hr_core *core, uint32_t shard, const hr_frame *frames, size_t frame_count, uint64_t now_ns)
{
  HOTROW_ASSERT(shard < core->options.shard_count);
  hr_link *link = &core->links[shard];
  hr_request *request;
  core->now_ns = now_ns;
  hr_link_receive(link, frames, frame_count, now_ns, &core->reply, &request);
  if (link->is_lost && !link->greeting && link->broken == HOTROW_OK)
    greet_again(core, shard);
  if (link->has_resumed) {
    link->has_resumed = false;
    hr_core_forget_clocks(core, shard, true);
  }
  if (!request)
    return;
  if (!request->is_admin)
    on_data_reply(core, shard, request, &core->reply);
  else if (request->call == core->call)
    on_answer(core, shard, &core->reply);
  if (request->is_ahead)
    hr_core_count_ahead(core, request, false);
  if (request->is_waited_for && request->call == core->call)
    core->waited_count--;
  hr_link_finish(link, request);
}

void hr_core_tick(hr_core *core, uint64_t now_ns)
{
  core->now_ns = now_ns;
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    hr_link_tick(&core->links[i], now_ns);
}

void hr_core_tend(hr_core *core, uint64_t now_ns)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    core->links[i].is_tended = true;
  hr_core_tick(core, now_ns);
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    core->links[i].is_tended = false;
}

uint64_t hr_core_due_ns(const hr_core *core)
{
  uint64_t due = UINT64_MAX;
  for (uint32_t i = 0; i < core->options.shard_count; i++) {
    uint64_t link_due = hr_link_due_ns(&core->links[i]);
    due = link_due < due ? link_due : due;
  }
  return due;
}

static const hr_link *broken_link(const hr_core *core)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (core->links[i].broken != HOTROW_OK)
      return &core->links[i];
  return NULL;
}

bool hr_core_can_push(const hr_core *core)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (!hr_link_can_push(&core->links[i]))
      return false;
  return true;
}

bool hr_core_pushes_done(const hr_core *core)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (core->links[i].pushes_open > 0 || (core->links[i].awaits_cut && core->links[i].kept.oldest))
      return false;
  return true;
}

bool hr_core_is_waiting(const hr_core *core)
{
  return core->waited_count > 0 && core->failure.status == HOTROW_OK && !broken_link(core);
}

hotrow_status hr_core_status(hr_core *core)
{
  const hr_link *broken = broken_link(core);
  if (broken)
    return hr_link_status(broken);
  if (core->failure.status == HOTROW_OK)
    return HOTROW_OK;
  hotrow_status status = core->failure.status;
  core->failure.status = HOTROW_OK;
  return hr_fail(status, "%s", core->failure.text);
}

hotrow_status hr_core_timed_out(hr_core *core, const char *what, uint32_t timeout_ms)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (core->links[i].open.oldest || core->links[i].greeting)
      return hr_fail(HOTROW_ERR_TIMED_OUT, "shard %u at %s has not answered within the %u ms of %s%s", i,
                     core->links[i].options.endpoint, timeout_ms, what,
                     core->is_sync && core->options.world_size > 1 ? " (exact steps wait for every worker)" : "");
  return hr_fail(HOTROW_ERR_TIMED_OUT, "%s did not end within %u ms", what, timeout_ms);
}

uint32_t hr_core_part_rows(const hr_core *core, size_t row_bytes, uint32_t row_count, uint32_t parts_wanted,
                           uint32_t parts_max)
{
  if (core->is_sync || core->has_cache)
    return UINT32_MAX;
  size_t part_bytes = row_count * row_bytes / parts_wanted, most = core->options.part_bytes;
  part_bytes = part_bytes < most / 2 ? most / 2 : part_bytes < most ? part_bytes : most;
  size_t rows = part_bytes / row_bytes + 1, rows_min = row_count / parts_max + 1;
  return (uint32_t)(rows > rows_min ? rows : rows_min);
}

void hr_core_begin_call(hr_core *core)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    core->links[i].awaits_cut = false;
  for (uint32_t i = 0; core->waited_count > 0 && i < core->options.shard_count; i++)
    hr_link_abandon(&core->links[i], core->now_ns); /* the call before was given up */
  core->call++;
  core->waited_count = 0;
  core->round = 0;
  core->is_unread = false;
}

static hotrow_status submit_admin(hr_core *core, uint32_t shard, hr_op op, const void *body, size_t body_size,
                                  uint64_t now_ns)
{
  hr_request *request;
  HOTROW_TRY(acquire_admin(core, op, body, body_size, &request));
  request->call = core->call;
  request->is_waited_for = true;
  core->waited_count++;
  hr_link_submit(&core->links[shard], request, now_ns);
  return HOTROW_OK;
}

hotrow_status hr_core_hello_begin(hr_core *core, uint64_t now_ns)
{
  hr_core_begin_call(core);
  for (uint32_t i = 0; i < core->options.shard_count; i++) {
    hr_hello hello;
    fill_hello(core, i, &hello);
    HOTROW_TRY(submit_admin(core, i, HR_OP_HELLO, &hello, sizeof hello, now_ns));
  }
  return HOTROW_OK;
}

hotrow_status hr_core_ask_begin(hr_core *core, uint32_t shard, hr_op op, const void *body, size_t body_size,
                                uint64_t now_ns)
{
  hr_core_begin_call(core);
  core->answer_status = HOTROW_ERR_INTERNAL;
  core->answer_size = 0;
  return submit_admin(core, shard, op, body, body_size, now_ns);
}

hotrow_status hr_core_ask_all_begin(hr_core *core, hr_op op, const void *body, size_t body_size, uint64_t now_ns)
{
  hr_core_begin_call(core);
  core->answer_status = HOTROW_ERR_INTERNAL;
  core->answer_size = 0;
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    HOTROW_TRY(submit_admin(core, i, op, body, body_size, now_ns));
  return HOTROW_OK;
}
