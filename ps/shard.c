#include "shard.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/mutant.h>
#include <hr/route.h>

#include "key_filter.h"
#include "shard_admin.h"
#include "shard_checkpoint.h"
#include "shard_cut.h"
#include "shard_data.h"
#include "shard_log.h"
#include "shard_memory.h"
#include "shard_park.h"
#include "shard_save.h"
#include "shard_stats.h"
#include "shard_sync.h"
#include "shard_visit.h"

#define SCRATCH_BYTES (HR_WIRE_KEYS_MAX * sizeof(uint32_t))
#define LOAD_ROWS 1024u       /* of what is loaded, for which room is made at a time */
#define LOAD_FILTER_SHARE 16u /* of the shard's memory, for knowing which keys were loaded */
#define LOAD_FILTER_BYTES_MAX ((size_t)256 << 20)
#define MISSING_BYTES (2 * HR_WIRE_KEYS_MAX * sizeof(uint64_t))

hotrow_status hr_shard_create(const hr_shard_options *options, hr_shard **shard_p)
{
  HOTROW_ASSERT(options->epoch != 0 && options->kernels && options->transport.send);
  HOTROW_ASSERT(options->shard_index < options->shard_count && options->shard_count <= HR_SHARD_COUNT_MAX);
  HOTROW_ASSERT(options->transport.lent_count_max < HR_REPLY_MEMORIES);
  HOTROW_ASSERT(options->durability != HOTROW_DURABILITY_LOG || (options->storage && options->storage->reserve_log));
  void *memory, *pool = NULL, *rows = NULL, *clocks = NULL, *missing = NULL;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_shard), "shard", &memory));
  hr_shard *shard = memory;
  shard->options = *options;
  if (shard->options.held_bytes_max == 0)
    shard->options.held_bytes_max = HR_SHARD_HELD_BYTES_MAX;
  if (shard->options.cut_bytes_max == 0)
    shard->options.cut_bytes_max = HR_CUT_BYTES_MAX;
  if (shard->options.cut_turn_bytes == 0)
    shard->options.cut_turn_bytes = HR_CUT_TURN_BYTES;
  hotrow_status status = hr_map(HR_REPLY_POOL_BYTES, "reply pool", &pool);
  if (status == HOTROW_OK)
    status = hr_announce_log_init(&shard->log, options->announce_log_count);
  if (status == HOTROW_OK)
    status = hr_map(SCRATCH_BYTES, "row numbers of a pull", &rows);
  if (status == HOTROW_OK)
    status = hr_map(SCRATCH_BYTES, "clocks of a pull", &clocks);
  if (status == HOTROW_OK)
    status = hr_map(MISSING_BYTES, "missing keys of a request", &missing);
  shard->pool = pool;
  shard->touched[0].memory = pool;
  shard->rows = rows;
  shard->clocks = clocks;
  shard->memory.missing = missing;
  if (status != HOTROW_OK) {
    hr_shard_destroy(shard);
    return status;
  }
  *shard_p = shard;
  return HOTROW_OK;
}

void hr_shard_destroy(hr_shard *shard)
{
  if (!shard)
    return;
  hr_checkpoint_end(shard);
  hr_save_end(shard);
  while (shard->jobs)
    hr_job_drop(shard, shard->jobs);
  for (size_t i = 0; i < HR_SESSION_BUCKETS; i++)
    while (shard->sessions[i])
      hr_session_remove(shard, shard->sessions[i]);
  for (size_t i = 0; i < shard->blob_count; i++)
    free(shard->blobs[i]);
  hr_visit_end(shard);
  for (size_t i = 0; i < shard->table_count; i++)
    hr_table_destroy(shard->tables[i]);
  hr_park_end(shard);
  HOTROW_ASSERT(shard->held_bytes == 0 && shard->parking.size_bytes == 0);
  hr_announce_log_fini(&shard->log);
  hr_unmap(shard->memory.missing, MISSING_BYTES);
  hr_unmap(shard->clocks, SCRATCH_BYTES);
  hr_unmap(shard->rows, SCRATCH_BYTES);
  hr_unmap(shard->pool, HR_REPLY_POOL_BYTES);
  free(shard);
}

hotrow_status hr_shard_find_table(const hr_shard *shard, uint32_t id, hr_table **table_p)
{
  if (id >= shard->table_count)
    return hr_fail(HOTROW_ERR_NOT_FOUND, "no table with id %u: shard %u has %zu", id, shard->options.shard_index,
                   shard->table_count);
  *table_p = shard->tables[id];
  return HOTROW_OK;
}

hotrow_status hr_shard_add_table(hr_shard *shard, const hr_table_desc *desc, hr_table **table_p)
{
  if (shard->table_count == HR_SHARD_TABLES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: a shard has at most %u tables", desc->name, HR_SHARD_TABLES_MAX);
  hr_table_desc own = *desc;
  own.id = (uint32_t)shard->table_count;
  own.row_count = 0;
  hr_table *table;
  HOTROW_TRY(hr_table_create(&own, shard->options.row_count_max, &table));
  hr_table_set_owner(table, shard->options.shard_index, shard->options.shard_count);
  hr_table_set_log(table, &shard->log);
  const hr_storage *storage = shard->options.storage;
  hotrow_status status = HOTROW_OK;
  if (shard->options.memory_bytes > 0)
    hr_table_save_memory(table);
  if (storage && storage->get_rows && shard->options.memory_bytes > 0)
    status = hr_table_set_storage(table, storage);
  else if (storage)
    status = hr_table_track(table);
  if (status != HOTROW_OK) {
    hr_table_destroy(table);
    return status;
  }
  shard->tables[shard->table_count++] = table;
  hr_cut_table_changed(shard, own.id);
  *table_p = table;
  return HOTROW_OK;
}

void hr_shard_sweep(hr_shard *shard)
{
  for (size_t i = 0; i < shard->table_count; i++)
    hr_table_sweep(shard->tables[i], UINT64_MAX);
}

typedef struct shard_load {
  hr_shard *shard;
  hr_key_filter keys; /* that came, of a shard whose rows may leave memory meanwhile */
  hr_load_settle settle;
  size_t room; /* for rows more, before memory is looked at again */
} shard_load;

/* Nobody has asked for announcements yet: how often they are made is for those to say who will. */
static hotrow_status load_table(const hr_table_desc *desc, void *context, hr_table **table_p)
{
  shard_load *load = context;
  hr_table_desc own = *desc;
  own.announce_step = 0;
  load->room = 0;
  return hr_shard_add_table(load->shard, &own, table_p);
}

static hotrow_status make_load_room(shard_load *load, hr_table *table)
{
  hr_shard *shard = load->shard;
  bool has_memory_bound = shard->options.memory_bytes > 0;
  load->room = LOAD_ROWS;
  if (load->settle.fn && hr_shard_dirty_bytes(shard) >= shard->options.cut_bytes_max)
    HOTROW_TRY(load->settle.fn(load->settle.context));
  hotrow_status status = has_memory_bound ? hr_memory_make_room(shard, table, LOAD_ROWS, LOAD_ROWS) : HOTROW_OK;
  if (status != HOTROW_ERR_BUSY || !load->settle.fn)
    return status;
  HOTROW_TRY(load->settle.fn(load->settle.context));
  return hr_memory_make_room(shard, table, LOAD_ROWS, LOAD_ROWS);
}

static hotrow_status note_stored(uint64_t key, uint32_t clock, const float *record, void *context)
{
  (void)key, (void)clock, (void)record;
  *(bool *)context = true;
  return HOTROW_OK;
}

/* A key that comes twice is known by the row in memory, or, if that has left it, by the storage. To ask that for each
 * would take longer than to load it; a filter says of which that is needless. */
static hotrow_status check_is_new(shard_load *load, const hr_table *table, uint64_t key)
{
  const hr_storage *storage = load->shard->options.storage;
  const hr_table_desc *desc = hr_table_get_desc(table);
  bool is_stored = false;
  if (!load->keys.words || !hr_key_filter_add(&load->keys, hr_key_hash(key, hr_table_get_seed(table))) ||
      hr_table_resident_count(table) == desc->row_count)
    return HOTROW_OK;
  HOTROW_TRY(
      storage->get_rows(storage->context, desc, hr_table_record_floats(table), &key, 1, note_stored, &is_stored));
  return is_stored ? HOTROW_ERR_EXISTS : HOTROW_OK;
}

static hotrow_status load_row(hr_table *table, uint64_t key, uint32_t clock, const float *record, void *context)
{
  shard_load *load = context;
  if (load->room == 0)
    HOTROW_TRY(make_load_room(load, table));
  HOTROW_TRY(check_is_new(load, table, key));
  HOTROW_TRY(hr_table_restore_row(table, key, clock, record));
  load->room--;
  if (load->shard->options.storage)
    hr_table_touch_newest(table);
  return HOTROW_OK;
}

hotrow_status hr_shard_load(hr_shard *shard, const char *path, hr_load_progress progress, hr_load_settle settle)
{
  HOTROW_ASSERT(shard->table_count == 0);
  shard_load load = {.shard = shard, .settle = settle};
  size_t filter_bytes = shard->options.memory_bytes / LOAD_FILTER_SHARE;
  filter_bytes = filter_bytes < LOAD_FILTER_BYTES_MAX ? filter_bytes : LOAD_FILTER_BYTES_MAX;
  if (shard->options.storage && filter_bytes > 0)
    HOTROW_TRY(hr_key_filter_init(&load.keys, filter_bytes));
  hotrow_status status = hr_save_load(path, shard->options.shard_index, shard->options.shard_count, load_table,
                                      load_row, &load, progress, &shard->origin);
  hr_key_filter_fini(&load.keys);
  HOTROW_TRY(status);
  for (size_t i = 0; shard->options.storage && i < shard->table_count; i++)
    hr_table_touch_buckets(shard->tables[i]);
  return HOTROW_OK;
}

size_t hr_shard_table_count(const hr_shard *shard)
{
  return shard->table_count;
}

hr_table *hr_shard_table(const hr_shard *shard, size_t index)
{
  HOTROW_ASSERT(index < shard->table_count);
  return shard->tables[index];
}

/* ---- replies ---- */

/* With HOTROW_DURABILITY_NONE nobody is to keep what is applied. */
static uint64_t durable_seq(const hr_shard *shard, const hr_session *session)
{
  bool is_kept_by_none = shard->options.storage && shard->options.durability == HOTROW_DURABILITY_NONE;
  return is_kept_by_none ? session->applied_seq : session->durable_seq;
}

static void address(hr_shard *shard, const hr_session *session)
{
  shard->reply.header.epoch = shard->options.epoch;
  shard->reply.header.applied_seq = session ? session->applied_seq : 0;
  shard->reply.header.durable_seq = session ? durable_seq(shard, session) : 0;
  shard->reply_to = session ? session->route : *shard->from;
}

static hr_reply_touched *touched_of(hr_shard *shard)
{
  uint32_t i = 0;
  while (shard->touched[i].memory && shard->touched[i].memory != shard->reply_memory)
    HOTROW_ASSERT(++i < HR_REPLY_MEMORIES);
  shard->touched[i].memory = shard->reply_memory;
  return &shard->touched[i];
}

void hr_reply_begin(hr_shard *shard, const hr_session *session, const hr_header *request)
{
  hr_wire_reply(request, &shard->reply);
  address(shard, session);
  const hr_shard_transport *transport = &shard->options.transport;
  shard->reply_memory = transport->lend ? transport->lend(transport->context) : NULL;
  if (!shard->reply_memory)
    shard->reply_memory = shard->pool;
  shard->touched_now = touched_of(shard);
  shard->pool_used = 0;
}

void *hr_reply_take(hr_shard *shard, size_t size_bytes)
{
  size_t rounded = (size_bytes + HR_REPLY_ALIGNMENT - 1) / HR_REPLY_ALIGNMENT * HR_REPLY_ALIGNMENT;
  HOTROW_ASSERT(rounded <= HR_REPLY_POOL_BYTES - shard->pool_used);
  void *memory = shard->reply_memory + shard->pool_used;
  shard->pool_used += rounded;
  if (shard->pool_used > shard->touched_now->size_bytes)
    shard->touched_now->size_bytes = shard->pool_used;
  return memory;
}

void hr_reply_send(hr_shard *shard)
{
  size_t frame_count = 0;
  hr_wire_encode(&shard->reply, shard->header_bytes, shard->section_bytes, shard->frames, &frame_count);
  shard->options.transport.send(shard->options.transport.context, &shard->reply_to, shard->frames, frame_count);
}

void hr_reply_body(hr_shard *shard, const hr_session *session, const hr_header *request, const void *body, size_t size)
{
  hr_reply_begin(shard, session, request);
  shard->reply.body = body;
  shard->reply.body_size = size;
  hr_reply_send(shard);
}

void hr_reply_error(hr_shard *shard, const hr_session *session, const hr_header *request, int32_t status)
{
  hr_wire_reply_error(request, status, hotrow_last_error(), shard->text, &shard->reply);
  address(shard, session);
  if (status == HOTROW_ERR_BUSY)
    shard->reply.header.retry_ms = shard->memory.is_exhausted ? HR_RETRY_CUT_MS : HR_RETRY_MS;
  if (status == HR_STATUS_GAP) {
    HOTROW_ASSERT(session);
    shard->reply.header.applied_seq = session->received_seq;
  }
  hr_reply_send(shard);
}

void hr_shard_count_refusal(hr_shard *shard, int32_t status)
{
  hr_refusal reason = HR_REFUSED_REQUEST;
  switch (status) {
  case HOTROW_ERR_PROTOCOL:
    reason = HR_REFUSED_PROTOCOL;
    break;
  case HOTROW_ERR_VERSION:
    reason = HR_REFUSED_VERSION;
    break;
  case HOTROW_ERR_LIMIT:
    reason = HR_REFUSED_LIMIT;
    break;
  case HOTROW_ERR_RESET:
    reason = HR_REFUSED_EPOCH;
    break;
  case HOTROW_ERR_FENCED:
    reason = HR_REFUSED_SESSION;
    break;
  case HR_STATUS_GAP:
    reason = HR_REFUSED_GAP;
    break;
  case HOTROW_ERR_BUSY:
  case HOTROW_ERR_NO_MEMORY:
    reason = HR_REFUSED_BUSY;
    break;
  default:
    break;
  }
  shard->counters.refused[reason]++;
}

void hr_reply_refuse(hr_shard *shard, const hr_session *session, const hr_header *request, int32_t status)
{
  hr_shard_count_refusal(shard, status);
  hr_reply_error(shard, session, request, status);
}

void hr_shard_count_refused(hr_shard *shard)
{
  shard->counters.refused[HR_REFUSED_LIMIT]++;
}

/* ---- requests ---- */

/* What could not be decoded is answered if its header says who asks, but never a reply: two shards must not talk. */
static void refuse_undecoded(hr_shard *shard, const hr_header *header, hotrow_status status)
{
  if (header->magic == HR_WIRE_MAGIC && !(header->flags & HR_FLAG_REPLY))
    hr_reply_refuse(shard, NULL, header, status);
  else
    hr_shard_count_refusal(shard, status);
}

void hr_reply_hello(hr_shard *shard, const hr_session *session, const hr_header *request)
{
  hr_hello_reply reply = {
      .epoch = shard->options.epoch,
      .received_seq = session->received_seq,
      .shard_index = shard->options.shard_index,
      .shard_count = shard->options.shard_count,
      .version = HR_WIRE_VERSION,
      .table_count = (uint32_t)shard->table_count,
      .is_durable = shard->options.storage != NULL,
  };
  hr_reply_begin(shard, session, request);
  shard->reply.header.announce_seq = shard->log.next;
  shard->reply.body = &reply;
  shard->reply.body_size = sizeof reply;
  hr_reply_send(shard);
}

static hotrow_status greet(hr_shard *shard, const hr_message *message)
{
  hr_hello hello;
  hr_session *session;
  memcpy(&hello, message->body, sizeof hello);
  HOTROW_TRY(hr_log_reserve(shard, 0));
  HOTROW_TRY(hr_session_hello(shard, &message->header, &hello, &session));
  return hr_cut_answer_hello(shard, session, &message->header);
}

/* A shard that was restarted knows neither the session nor the epoch: the epoch says more, so it is looked at first. */
static hotrow_status admit(hr_shard *shard, const hr_header *header, hr_session **session_p)
{
  if (header->epoch != shard->options.epoch && !HR_MUTANT(NO_EPOCH))
    return hr_fail(HOTROW_ERR_RESET, "shard %u was restarted: its epoch is %016llx, the request names %016llx",
                   shard->options.shard_index, (unsigned long long)shard->options.epoch,
                   (unsigned long long)header->epoch);
  hr_session *session = hr_session_find(shard, header->session);
  if (!session)
    return hr_fail(HOTROW_ERR_FENCED, "unknown session %016llx%016llx: it was replaced by a newer one, or forgotten",
                   (unsigned long long)header->session.high, (unsigned long long)header->session.low);
  session->route = *shard->from;
  session->used_ns = shard->now_ns;
  if (session->job)
    session->job->used_ns = shard->now_ns;
  *session_p = session;
  return HOTROW_OK;
}

static hotrow_status check_role(const hr_session *session, const hr_header *header)
{
  bool changes = header->op == HR_OP_PUSH || header->op == HR_OP_PUSH_PULL || header->op == HR_OP_TABLE_CREATE ||
                 header->op == HR_OP_SAVE || header->op == HR_OP_CHECKPOINT;
  if (changes && session->hello.role == HR_ROLE_READER)
    return hr_fail(HOTROW_ERR_INVALID, "a reader may not push, create tables, save or make checkpoints");
  bool is_ranked = header->op == HR_OP_BARRIER || (header->flags & HR_FLAG_SYNC);
  if (is_ranked && !session->job)
    return hr_fail(HOTROW_ERR_INVALID, "only workers take part in exact steps and barriers");
  return HOTROW_OK;
}

/* What may be answered with a large reply is not done for a client that does not take those it has. A push is: what
 * came of it is kept, and told when it comes again. */
static hotrow_status check_room(const hr_shard *shard, const hr_header *header)
{
  const hr_shard_transport *transport = &shard->options.transport;
  bool is_small = header->op == HR_OP_PUSH || header->op == HR_OP_BYE || header->op == HR_OP_BARRIER;
  if (is_small || !transport->has_room || transport->has_room(transport->context, shard->from))
    return HOTROW_OK;
  return hr_fail(HOTROW_ERR_BUSY, "too many bytes of replies are on their way to this client: take them first");
}

static hotrow_status dispatch(hr_shard *shard, hr_session *session, hr_message *message)
{
  shard->op_done = message->header.op;
  for (size_t i = 0; i < message->section_count; i++)
    shard->keys_max =
        message->sections[i].key_count > shard->keys_max ? message->sections[i].key_count : shard->keys_max;
  switch ((hr_op)message->header.op) {
  case HR_OP_TABLE_CREATE:
    return hr_admin_table_create(shard, session, message);
  case HR_OP_TABLE_OPEN:
    return hr_admin_table_open(shard, session, message);
  case HR_OP_TABLE_LIST:
    return hr_admin_table_list(shard, session, message);
  case HR_OP_PULL:
    hr_data_pull(shard, session, message);
    return HOTROW_OK;
  case HR_OP_PUSH:
    hr_data_push(shard, session, message);
    return HOTROW_OK;
  case HR_OP_PUSH_PULL:
    hr_data_push_pull(shard, session, message);
    return HOTROW_OK;
  case HR_OP_BARRIER:
    return hr_admin_barrier(shard, session, message);
  case HR_OP_BLOB_PUT:
    return hr_admin_blob_put(shard, session, message);
  case HR_OP_BLOB_GET:
    return hr_admin_blob_get(shard, session, message);
  case HR_OP_STATS:
    return hr_admin_stats(shard, session, message);
  case HR_OP_SAVE:
    return hr_save_request(shard, session, message);
  case HR_OP_CHECKPOINT:
    return hr_checkpoint_request(shard, session, message);
  case HR_OP_RESTORED:
    return hr_checkpoint_restored(shard, session, message);
  case HR_OP_BYE:
    return hr_admin_bye(shard, session, message);
  case HR_OP_TICK:
    hr_data_tick(shard, session, &message->header);
    return HOTROW_OK;
  case HR_OP_HELLO:
  case HR_OP_COUNT:
    break;
  }
  return hr_fail(HOTROW_ERR_PROTOCOL, "operation %d is not known", message->header.op);
}

static void begin_logging(hr_shard *shard)
{
  shard->is_logging =
      shard->options.storage && shard->options.durability == HOTROW_DURABILITY_LOG && !shard->is_degraded;
}

void hr_shard_serve(hr_shard *shard, hr_session *session, hr_message *message)
{
  begin_logging(shard);
  hotrow_status status = check_room(shard, &message->header);
  if (status == HOTROW_OK)
    status = dispatch(shard, session, message);
  if (status != HOTROW_OK)
    hr_reply_refuse(shard, session, &message->header, status);
  hr_log_end(shard);
}

void hr_shard_receive(hr_shard *shard, const hr_route_id *from, const hr_frame *frames, size_t frame_count,
                      uint64_t now_ns)
{
  hr_message *message = &shard->request;
  const hr_header *header = &message->header;
  shard->from = from;
  shard->now_ns = now_ns;
  shard->op_done = 0;
  hotrow_status status = hr_wire_decode(frames, frame_count, message);
  if (status == HOTROW_OK && (header->flags & HR_FLAG_REPLY))
    status = hr_fail(HOTROW_ERR_PROTOCOL, "a shard takes requests and this is a reply");
  if (status != HOTROW_OK) {
    refuse_undecoded(shard, header, status);
    return;
  }
  shard->counters.messages[header->op]++;
  begin_logging(shard);
  hr_session *session = NULL;
  if (header->op == HR_OP_HELLO) {
    status = greet(shard, message);
  } else {
    status = admit(shard, header, &session);
    HOTROW_ASSERT((status == HOTROW_OK) == (session != NULL));
    if (status == HOTROW_OK)
      status = check_role(session, header);
    if (status == HOTROW_OK)
      status = check_room(shard, header);
    if (status == HOTROW_OK && !hr_park(shard, session, frames, frame_count))
      status = dispatch(shard, session, message);
  }
  if (status != HOTROW_OK)
    hr_reply_refuse(shard, session, header, status);
  hr_log_end(shard);
}
