#include "core.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/optimizer.h>
#include <hr/route.h>

/* Staging is address space until it is touched; this bounds it for wide rows. */
#define STAGING_BYTES_MAX ((size_t)8 << 30)
#define STAGING_ROWS_MIN 65536u
#define PENDING_BYTES_MAX ((size_t)1 << 30) /* a flush hands out all of a table's pending rows in one message */

hotrow_status hr_core_create(const hr_core_options *options, hr_core **core_p)
{
  HOTROW_ASSERT(options->shard_count > 0 && options->shard_count <= HR_SHARD_COUNT_MAX);
  hr_core *core = calloc(1, sizeof *core);
  hr_link *links = calloc(options->shard_count, sizeof *links);
  hr_request **drafts = calloc(options->shard_count, sizeof(hr_request *));
  if (!core || !links || !drafts) {
    free(core);
    free(links);
    free(drafts);
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a client of %u shards", options->shard_count);
  }
  core->options = *options;
  core->links = links;
  core->drafts = drafts;
  for (uint32_t i = 0; i < options->shard_count; i++)
    hr_link_init(&links[i], i, options->endpoints[i], options->session, options->rank, options->send,
                 options->send_context);
  *core_p = core;
  return HOTROW_OK;
}

static void free_workspace(hr_workspace *workspace)
{
  free(workspace->dedup.keys);
  free(workspace->dedup.hashes);
  free(workspace->dedup.inverse);
  free(workspace->dedup.offsets);
  free(workspace->dedup.positions);
  free(workspace->scratch);
  memset(workspace, 0, sizeof *workspace);
}

static void destroy_table(hotrow_table *table)
{
  if (!table)
    return;
  hotrow_cache_destroy(table->cache);
  free_workspace(&table->lookup);
  free_workspace(&table->prefetch);
  free_workspace(&table->push);
  free(table->slots);
  free(table->seen);
  free(table->key_slots);
  free(table->found);
  free(table->states);
  free(table->step_keys);
  free(table->step_hashes);
  free(table->step_grads);
  free(table->merged_grads);
  free(table->bags);
  free(table->factors);
  free(table->ids);
  free(table);
}

void hr_core_destroy(hr_core *core)
{
  if (!core)
    return;
  for (uint32_t i = 0; i < core->options.shard_count; i++) {
    hr_request_release(&core->pool, core->drafts[i]);
    hr_link_fini(&core->links[i], &core->pool);
  }
  hr_request_pool_fini(&core->pool);
  for (uint32_t i = 0; i < core->table_count; i++)
    destroy_table(core->tables[i]);
  free(core->links);
  free(core->drafts);
  free(core->answer);
  free(core);
}

static hotrow_status grow_workspace(const hotrow_kernels *kernels, hr_workspace *workspace, size_t key_count)
{
  size_t capacity = key_count + key_count / 4 + 64;
  free_workspace(workspace);
  hotrow_dedup *dedup = &workspace->dedup;
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint64_t), "keys", (void **)&dedup->keys));
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint64_t), "hashes", (void **)&dedup->hashes));
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint32_t), "inverse", (void **)&dedup->inverse));
  HOTROW_TRY(hr_alloc(capacity + 1, sizeof(uint32_t), "offsets", (void **)&dedup->offsets));
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint32_t), "positions", (void **)&dedup->positions));
  HOTROW_TRY(hr_alloc(kernels->dedup_scratch_size(capacity), 1, "dedup scratch", &workspace->scratch));
  workspace->capacity = capacity;
  return HOTROW_OK;
}

hotrow_status hr_core_dedup(hr_core *core, hotrow_table *table, hr_workspace *workspace, const uint64_t *keys,
                            size_t key_count)
{
  const hotrow_kernels *kernels = core->options.kernels;
  if (key_count > workspace->capacity || !workspace->scratch)
    HOTROW_TRY(grow_workspace(kernels, workspace, key_count));
  return kernels->dedup(keys, key_count, table->seed, workspace->scratch, NULL, &workspace->dedup);
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
  hr_fail(HOTROW_ERR_INTERNAL, "shard %u at %s: %.*s", shard, core->links[shard].endpoint, (int)reply->body_size,
          reply->body_size ? (const char *)reply->body : "");
  const char *text = hotrow_last_error();
  hotrow_status status =
      hr_status_is_known(reply->header.status) ? (hotrow_status)reply->header.status : HOTROW_ERR_PROTOCOL;
  hr_core_fail(core, status, text, strlen(text));
}

static void on_hello_reply(hr_core *core, uint32_t shard, const hr_message *reply)
{
  hr_hello_reply body;
  memcpy(&body, reply->body, sizeof body); /* its size was checked by decode */
  core->links[shard].epoch = body.epoch;
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
    if (request->kind == HR_REQUEST_DATA) /* a prefetch may fail quietly: the lookup will ask again */
      fail_with_reply(core, shard, reply);
    return;
  }
  if (!hr_core_check_pull_reply(core, shard, request, reply))
    return;
  if (request->kind == HR_REQUEST_PREFETCH)
    hr_core_on_prefetch_reply(core, request, reply);
  else if (request->call == core->call)
    hr_core_on_pull_reply(core, request, reply);
}

void hr_core_receive(hr_core *core, uint32_t shard, const hr_frame *frames, size_t frame_count, uint64_t now_ns)
{
  HOTROW_ASSERT(shard < core->options.shard_count);
  hr_request *request;
  hr_link_receive(&core->links[shard], frames, frame_count, now_ns, &core->reply, &request);
  if (!request)
    return;
  if (request->kind == HR_REQUEST_ADMIN) {
    if (request->call == core->call)
      on_answer(core, shard, &core->reply);
  } else {
    on_data_reply(core, shard, request, &core->reply);
  }
  if (request->kind == HR_REQUEST_PREFETCH)
    core->prefetch_open--;
  if (request->is_waited_for && request->call == core->call)
    core->waited_count--;
  hr_request_release(&core->pool, request);
}

void hr_core_tick(hr_core *core, uint64_t now_ns)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    hr_link_tick(&core->links[i], now_ns);
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
    if (core->links[i].oldest)
      return hr_fail(HOTROW_ERR_TIMED_OUT, "shard %u at %s has not answered within the %u ms of %s%s", i,
                     core->links[i].endpoint, timeout_ms, what,
                     core->is_sync && core->options.world_size > 1 ? " (exact steps wait for every worker)" : "");
  return hr_fail(HOTROW_ERR_TIMED_OUT, "%s did not end within %u ms", what, timeout_ms);
}

void hr_core_begin_call(hr_core *core)
{
  for (uint32_t i = 0; core->waited_count > 0 && i < core->options.shard_count; i++)
    hr_link_abandon(&core->links[i], &core->pool); /* the call before was given up */
  core->call++;
  core->waited_count = 0;
}

static hotrow_status submit_admin(hr_core *core, uint32_t shard, hr_op op, const void *body, size_t body_size,
                                  uint64_t now_ns)
{
  hr_request *request;
  HOTROW_TRY(hr_request_acquire(&core->pool, HR_REQUEST_ADMIN, &request));
  void *copy = NULL;
  if (body_size) {
    hotrow_status status = hr_request_take(request, body_size, &copy);
    if (status != HOTROW_OK) {
      hr_request_release(&core->pool, request);
      return status;
    }
    memcpy(copy, body, body_size);
  }
  request->message.header.op = (uint8_t)op;
  request->message.body = copy;
  request->message.body_size = body_size;
  request->call = core->call;
  request->is_waited_for = true;
  core->waited_count++;
  hr_link_submit(&core->links[shard], request, now_ns);
  return HOTROW_OK;
}

hotrow_status hr_core_hello_begin(hr_core *core, uint64_t now_ns)
{
  hr_core_begin_call(core);
  const hr_core_options *o = &core->options;
  for (uint32_t i = 0; i < o->shard_count; i++) {
    hr_hello hello = {.job = o->job,
                      .started_ns = o->started_ns,
                      .role = o->role,
                      .world_size = o->world_size,
                      .shard_index = i,
                      .shard_count = o->shard_count,
                      .version_min = HR_WIRE_VERSION,
                      .version_max = HR_WIRE_VERSION};
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

static hotrow_status create_cache(const hr_core *core, hotrow_table *table, const hotrow_table_options *options)
{
  hotrow_cache_options cache_options = HOTROW_CACHE_OPTIONS_INIT;
  size_t row_bytes = (table->desc.dim + table->state_dim + 16) * sizeof(float);
  size_t staging = STAGING_BYTES_MAX / row_bytes, staging_max = core->options.staging_rows_max;
  staging_max = staging_max ? staging_max : HOTROW_LOOKUP_KEYS_MAX;
  staging = staging < STAGING_ROWS_MIN ? STAGING_ROWS_MIN : staging;
  cache_options.kernels = core->options.kernels;
  hotrow_segment segment = {.dim = table->desc.dim, .optimizer = table->desc.segments[0].optimizer};
  if (!table->has_cache)
    segment.optimizer = (hotrow_optimizer){.kind = HOTROW_SGD}; /* no row is stepped: none needs room for state */
  cache_options.segments = &segment;
  cache_options.segment_count = 1;
  cache_options.row_count = options->cache_row_count;
  cache_options.staging_row_count = staging < staging_max ? staging : staging_max;
  cache_options.pull_bound = options->pull_bound;
  cache_options.push_bound = options->push_bound;
  cache_options.policy = options->policy;
  size_t push_bytes = sizeof(uint64_t) + sizeof(uint32_t) + (table->desc.dim + table->square_dim) * sizeof(float);
  size_t pending = PENDING_BYTES_MAX / push_bytes;
  cache_options.pending_row_count = pending < HR_WIRE_KEYS_MAX ? pending : HR_WIRE_KEYS_MAX;
  return hotrow_cache_create(&cache_options, &table->cache);
}

hotrow_status hr_core_add_table(hr_core *core, const hr_table_desc *desc, const uint32_t *ids,
                                const hotrow_table_options *options, hotrow_table **table_p)
{
  if (core->table_count == HOTROW_REQUESTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: a client has at most %u tables", desc->name, HOTROW_REQUESTS_MAX);
  bool is_exact = core->options.role == HR_ROLE_WORKER && options->pull_bound == 0 && options->push_bound == 0;
  if (is_exact && !core->is_sync && core->step > 0)
    return hr_fail(HOTROW_ERR_INVALID, "table %s has both bounds 0: the first such table comes before the first step",
                   desc->name);
  hotrow_table *table = calloc(1, sizeof *table);
  if (!table)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for table %s", desc->name);
  table->core = core;
  table->index = core->table_count;
  table->desc = *desc;
  table->seed = hr_table_seed(desc->name, strlen(desc->name));
  table->pull_bound = options->pull_bound;
  table->push_bound = options->push_bound;
  table->state_dim = hr_optimizer_state_dim(desc->segments[0].optimizer.kind, desc->dim);
  table->square_dim = hr_optimizer_square_dim(desc->segments[0].optimizer.kind, desc->dim);
  table->has_cache = options->cache_row_count > 0;
  hotrow_status status = hr_alloc(core->options.shard_count, sizeof *ids, "table ids", (void **)&table->ids);
  if (status == HOTROW_OK)
    status = create_cache(core, table, options);
  if (status != HOTROW_OK) {
    destroy_table(table);
    return status;
  }
  memcpy(table->ids, ids, core->options.shard_count * sizeof *ids);
  core->tables[core->table_count++] = table;
  core->is_sync |= is_exact;
  *table_p = table;
  return HOTROW_OK;
}

void hr_core_get_stats(const hr_core *core, hotrow_client_stats *stats_p)
{
  *stats_p = core->stats;
  stats_p->steps = core->step;
  for (uint32_t i = 0; i < core->options.shard_count; i++) {
    stats_p->bytes_sent += core->links[i].bytes_sent;
    stats_p->bytes_received += core->links[i].bytes_received;
    stats_p->requests += core->links[i].requests_sent;
    stats_p->resends += core->links[i].resends;
  }
  for (uint32_t i = 0; i < core->table_count; i++) {
    hotrow_cache_stats cache;
    hotrow_cache_get_stats(core->tables[i]->cache, &cache);
    stats_p->pending_max = cache.pending_max > stats_p->pending_max ? cache.pending_max : stats_p->pending_max;
  }
}
