#include "wire_layout.h"

#include <string.h>

#include <hr/optimizer.h>
#include <hr/route.h>

hotrow_status hr_wire_check_name(const char *name, size_t name_size)
{
  if (name_size < 1 || name_size > HR_WIRE_NAME_BYTES_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "name of %zu bytes, not 1 to %u", name_size, HR_WIRE_NAME_BYTES_MAX);
  if (name[0] == '.')
    return hr_fail(HOTROW_ERR_INVALID, "name begins with a dot");
  for (size_t i = 0; i < name_size; i++) {
    unsigned char c = (unsigned char)name[i];
    bool is_alphanumeric = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!is_alphanumeric && c != '_' && c != '.' && c != '-')
      return hr_fail(HOTROW_ERR_INVALID, "name has byte 0x%02x at %zu, not one of A-Z a-z 0-9 _ . -", c, i);
  }
  return HOTROW_OK;
}

/* Text may be shown on a terminal. */
static hotrow_status check_text(const char *what, const uint8_t *text, size_t size)
{
  for (size_t i = 0; i < size; i++)
    if (text[i] < 0x20 || text[i] == 0x7f)
      REFUSE("%s has control byte 0x%02x at %zu", what, text[i], i);
  return HOTROW_OK;
}

static hotrow_status check_body_name(const char *what, const void *name, size_t name_size)
{
  if (hr_wire_check_name(name, name_size) != HOTROW_OK)
    REFUSE("%s: %s", what, hotrow_last_error());
  return HOTROW_OK;
}

/* A name field: the name, then zeroes to the end. */
static hotrow_status check_name_field(const char *what, const char field[HR_WIRE_NAME_BYTES_MAX + 1])
{
  size_t size = strnlen(field, HR_WIRE_NAME_BYTES_MAX + 1);
  HOTROW_TRY(check_body_name(what, field, size));
  for (size_t i = size; i <= HR_WIRE_NAME_BYTES_MAX; i++)
    if (field[i] != 0)
      REFUSE("%s: byte 0x%02x at %zu, behind the name's end", what, (unsigned char)field[i], i);
  return HOTROW_OK;
}

static hotrow_status check_hello(const hr_header *h, const uint8_t *body)
{
  hr_hello hello;
  memcpy(&hello, body, sizeof hello);
  if (hello.role < HR_ROLE_WORKER || hello.role > HR_ROLE_TOOL)
    REFUSE("hello: role %u is none of ours", hello.role);
  if (hello.world_size < 1 || hello.world_size > HR_WIRE_WORLD_MAX)
    OVER_LIMIT("hello: world_size %u, not 1 to HR_WIRE_WORLD_MAX %u", hello.world_size, HR_WIRE_WORLD_MAX);
  if (h->rank >= hello.world_size)
    REFUSE("hello: rank %u of world_size %u", h->rank, hello.world_size);
  if (hello.shard_count < 1 || hello.shard_count > HR_SHARD_COUNT_MAX)
    OVER_LIMIT("hello: shard_count %u, not 1 to HR_SHARD_COUNT_MAX %u", hello.shard_count, HR_SHARD_COUNT_MAX);
  if (hello.shard_index >= hello.shard_count)
    REFUSE("hello: shard_index %u of shard_count %u", hello.shard_index, hello.shard_count);
  if (hello.version_min < 1 || hello.version_min > hello.version_max)
    REFUSE("hello: version_min %u, version_max %u", hello.version_min, hello.version_max);
  return HOTROW_OK;
}

static hotrow_status check_hello_reply(const hr_header *h, const uint8_t *body)
{
  hr_hello_reply reply;
  memcpy(&reply, body, sizeof reply);
  if (reply.epoch == 0)
    REFUSE("hello reply: epoch 0");
  if (reply.shard_count < 1 || reply.shard_count > HR_SHARD_COUNT_MAX)
    OVER_LIMIT("hello reply: shard_count %u, not 1 to HR_SHARD_COUNT_MAX %u", reply.shard_count, HR_SHARD_COUNT_MAX);
  if (reply.shard_index >= reply.shard_count)
    REFUSE("hello reply: shard_index %u of shard_count %u", reply.shard_index, reply.shard_count);
  if (reply.version < 1)
    REFUSE("hello reply: version 0");
  if (reply.table_count > HR_WIRE_TABLES_MAX)
    OVER_LIMIT("hello reply: table_count %u, limit HR_WIRE_TABLES_MAX %u", reply.table_count, HR_WIRE_TABLES_MAX);
  if (reply.received_seq < h->applied_seq)
    REFUSE("hello reply: received_seq %llu, and applied_seq is %llu", (unsigned long long)reply.received_seq,
           (unsigned long long)h->applied_seq);
  if (reply.is_durable > 1)
    REFUSE("hello reply: is_durable %u, not 0 or 1", reply.is_durable);
  if (reply.reserved != 0)
    REFUSE("hello reply: reserved field is 0x%x, not 0", reply.reserved);
  return HOTROW_OK;
}

/* A segment as resolved. The kinds are looked at as numbers first: a number that is no value of an enum must not be
 * read as one. */
static hotrow_status check_segment(const uint8_t *bytes, uint32_t i)
{
  int32_t optimizer_kind, initializer_kind;
  memcpy(&optimizer_kind, bytes + offsetof(hotrow_segment, optimizer.kind), sizeof optimizer_kind);
  memcpy(&initializer_kind, bytes + offsetof(hotrow_segment, initializer.kind), sizeof initializer_kind);
  if (optimizer_kind < HOTROW_SGD || optimizer_kind > HOTROW_LAMB)
    REFUSE("table: segment %u: optimizer kind %d is none of ours", i, optimizer_kind);
  if (initializer_kind < HOTROW_INIT_ZERO || initializer_kind > HOTROW_INIT_TRUNCATED_NORMAL)
    REFUSE("table: segment %u: initializer kind %d is none of ours", i, initializer_kind);
  hotrow_segment segment, resolved;
  memcpy(&segment, bytes, sizeof segment);
  resolved = segment;
  if (hr_optimizer_resolve(&segment.optimizer, &resolved.optimizer) != HOTROW_OK ||
      hr_initializer_resolve(&segment.initializer, segment.dim, &resolved.initializer) != HOTROW_OK)
    REFUSE("table: segment %u: %s", i, hotrow_last_error());
  if (memcmp((const void *)&segment, (const void *)&resolved, sizeof segment) != 0)
    REFUSE("table: segment %u is not resolved: a default is left for the shard to fill in", i);
  return HOTROW_OK;
}

static hotrow_status check_segments(const uint8_t *segments, uint32_t segment_count, uint32_t dim)
{
  static const hotrow_segment none;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < HOTROW_SEGMENTS_MAX; i++, segments += sizeof none) {
    uint32_t segment_dim;
    memcpy(&segment_dim, segments + offsetof(hotrow_segment, dim), sizeof segment_dim);
    if (i >= segment_count) {
      if (memcmp((const void *)segments, (const void *)&none, sizeof none) != 0)
        REFUSE("table: segment %u is not zero, and segment_count is %u", i, segment_count);
      continue;
    }
    if (segment_dim < 1 || segment_dim > dim)
      REFUSE("table: segment %u: dim %u, not 1 to the table's %u", i, segment_dim, dim);
    sum += segment_dim;
    HOTROW_TRY(check_segment(segments, i));
  }
  if (sum != dim)
    REFUSE("table: dim %u, and its segments have %u", dim, sum);
  return HOTROW_OK;
}

static hotrow_status check_rules(const uint8_t *body)
{
  hr_table_desc desc = {0};
  const size_t first = offsetof(hr_table_desc, row_count_max);
  memcpy((uint8_t *)&desc + first, body + first, sizeof desc - first);
  hotrow_status status = hr_table_check_rules(&desc);
  if (status == HOTROW_ERR_LIMIT)
    OVER_LIMIT("table: %s", hotrow_last_error());
  if (status != HOTROW_OK)
    REFUSE("table: %s", hotrow_last_error());
  return HOTROW_OK;
}

static hotrow_status check_table(const hr_header *h, const uint8_t *body)
{
  uint32_t id, dim, announce_step, step;
  uint16_t segment_count, storage_dtype;
  uint64_t row_count;
  memcpy(&row_count, body + offsetof(hr_table_desc, row_count), sizeof row_count);
  memcpy(&id, body + offsetof(hr_table_desc, id), sizeof id);
  memcpy(&dim, body + offsetof(hr_table_desc, dim), sizeof dim);
  memcpy(&segment_count, body + offsetof(hr_table_desc, segment_count), sizeof segment_count);
  memcpy(&storage_dtype, body + offsetof(hr_table_desc, storage_dtype), sizeof storage_dtype);
  memcpy(&announce_step, body + offsetof(hr_table_desc, announce_step), sizeof announce_step);
  memcpy(&step, body + offsetof(hr_table_desc, step), sizeof step);
  if (!hr_wire_is_reply(h) && (id != 0 || row_count != 0 || step != 0))
    REFUSE("table: id %u, row_count %llu, step %u in a request", id, (unsigned long long)row_count, step);
  if (dim < 1 || dim > HOTROW_DIM_MAX)
    OVER_LIMIT("table: dim %u, not 1 to HOTROW_DIM_MAX %u", dim, HOTROW_DIM_MAX);
  if (segment_count < 1 || segment_count > HOTROW_SEGMENTS_MAX)
    OVER_LIMIT("table: segment_count %u, not 1 to HOTROW_SEGMENTS_MAX %u", segment_count, HOTROW_SEGMENTS_MAX);
  if (!hr_dtype_is_kept(storage_dtype))
    REFUSE("table: storage_dtype %u is none of ours", storage_dtype);
  if (announce_step > HR_WIRE_BOUND_MAX)
    OVER_LIMIT("table: announce_step %u, limit HR_WIRE_BOUND_MAX %u", announce_step, HR_WIRE_BOUND_MAX);
  HOTROW_TRY(check_name_field("table", (const char *)body + offsetof(hr_table_desc, name)));
  HOTROW_TRY(check_segments(body + offsetof(hr_table_desc, segments), segment_count, dim));
  return check_rules(body);
}

static hotrow_status check_barrier(const hr_header *h, const uint8_t *body)
{
  hr_barrier barrier;
  memcpy(&barrier, body, sizeof barrier);
  if (barrier.number == 0)
    REFUSE("barrier: number 0: barriers count from 1");
  if (barrier.world_size < 1 || barrier.world_size > HR_WIRE_WORLD_MAX)
    OVER_LIMIT("barrier: world_size %u, not 1 to HR_WIRE_WORLD_MAX %u", barrier.world_size, HR_WIRE_WORLD_MAX);
  if (h->rank >= barrier.world_size)
    REFUSE("barrier: rank %u of world_size %u", h->rank, barrier.world_size);
  if (barrier.reserved != 0)
    REFUSE("barrier: reserved field is 0x%x, not 0", barrier.reserved);
  return HOTROW_OK;
}

static hotrow_status check_blob_put(const uint8_t *body, size_t size)
{
  size_t name_size = body[0];
  if (1 + name_size > size)
    REFUSE("blob: name of %zu bytes in a body of %zu", name_size, size);
  HOTROW_TRY(check_body_name("blob", body + 1, name_size));
  if (size - 1 - name_size > HR_WIRE_BLOB_BYTES_MAX)
    OVER_LIMIT("blob of %zu bytes, limit HR_WIRE_BLOB_BYTES_MAX %u", size - 1 - name_size, HR_WIRE_BLOB_BYTES_MAX);
  return HOTROW_OK;
}

static hotrow_status check_checkpoint_blob(const hr_checkpoint *c, size_t chunk_size)
{
  if (c->blob_size > HR_WIRE_CHECKPOINT_BLOB_MAX)
    OVER_LIMIT("checkpoint: blob of %llu bytes, limit HR_WIRE_CHECKPOINT_BLOB_MAX %u", (unsigned long long)c->blob_size,
               HR_WIRE_CHECKPOINT_BLOB_MAX);
  if (c->action != HR_CHECKPOINT_BLOB && (chunk_size > 0 || c->blob_offset != 0))
    REFUSE("checkpoint: %zu bytes of blob at %llu with action %u, which has none", chunk_size,
           (unsigned long long)c->blob_offset, c->action);
  if (c->action == HR_CHECKPOINT_BLOB && chunk_size == 0)
    REFUSE("checkpoint: action %u without bytes of the blob", c->action);
  if (c->blob_offset > c->blob_size || chunk_size > c->blob_size - c->blob_offset)
    REFUSE("checkpoint: %zu bytes at %llu of a blob of %llu", chunk_size, (unsigned long long)c->blob_offset,
           (unsigned long long)c->blob_size);
  return HOTROW_OK;
}

static hotrow_status check_checkpoint(const uint8_t *body, size_t size)
{
  hr_checkpoint c;
  memcpy(&c, body, sizeof c);
  if (c.token == 0)
    REFUSE("checkpoint: token 0");
  HOTROW_TRY(check_name_field("checkpoint", c.name));
  if (c.action < HR_CHECKPOINT_COPY || c.action > HR_CHECKPOINT_DROP)
    REFUSE("checkpoint: action %u is none of ours", c.action);
  if (c.rank_count > HR_WIRE_WORLD_MAX)
    OVER_LIMIT("checkpoint: rank_count %u, limit HR_WIRE_WORLD_MAX %u", c.rank_count, HR_WIRE_WORLD_MAX);
  if (c.keep > HR_WIRE_CHECKPOINT_KEEP_MAX)
    OVER_LIMIT("checkpoint: keep %u, limit HR_WIRE_CHECKPOINT_KEEP_MAX %u", c.keep, HR_WIRE_CHECKPOINT_KEEP_MAX);
  if (c.reserved != 0)
    REFUSE("checkpoint: reserved field is 0x%x, not 0", c.reserved);
  return check_checkpoint_blob(&c, size - sizeof c);
}

static hotrow_status check_restored(const uint8_t *body, size_t size)
{
  hr_restored restored;
  memcpy(&restored, body, sizeof restored);
  if (restored.blob_size > HR_WIRE_CHECKPOINT_BLOB_MAX)
    OVER_LIMIT("restored reply: blob of %llu bytes, limit HR_WIRE_CHECKPOINT_BLOB_MAX %u",
               (unsigned long long)restored.blob_size, HR_WIRE_CHECKPOINT_BLOB_MAX);
  if (size - sizeof restored > restored.blob_size)
    REFUSE("restored reply: %zu bytes of a blob of %llu", size - sizeof restored,
           (unsigned long long)restored.blob_size);
  if (restored.token == 0)
    REFUSE("restored reply: token 0");
  if (restored.rank_count > HR_WIRE_WORLD_MAX)
    OVER_LIMIT("restored reply: rank_count %u, limit HR_WIRE_WORLD_MAX %u", restored.rank_count, HR_WIRE_WORLD_MAX);
  if (restored.reserved != 0)
    REFUSE("restored reply: reserved field is 0x%x, not 0", restored.reserved);
  return HOTROW_OK;
}

static hotrow_status check_stats(const uint8_t *body, size_t size)
{
  if (body[0] != '{' || body[size - 1] != '}')
    REFUSE("stats: not one JSON object");
  return check_text("stats", body, size);
}

static hotrow_status check_request_body(const hr_header *h, const uint8_t *body, size_t size)
{
  switch (h->op) {
  case HR_OP_HELLO:
    return check_hello(h, body);
  case HR_OP_TABLE_CREATE:
    return check_table(h, body);
  case HR_OP_TABLE_OPEN:
    return check_body_name("table", body, size);
  case HR_OP_BARRIER:
    return check_barrier(h, body);
  case HR_OP_BLOB_PUT:
    return check_blob_put(body, size);
  case HR_OP_BLOB_GET:
    return check_body_name("blob", body, size);
  case HR_OP_SAVE:
    return check_name_field("save", (const char *)body + offsetof(hr_save, name));
  case HR_OP_CHECKPOINT:
    return check_checkpoint(body, size);
  default:
    return HOTROW_OK;
  }
}

static hotrow_status check_reply_body(const hr_header *h, const uint8_t *body, size_t size)
{
  switch (h->op) {
  case HR_OP_HELLO:
    return check_hello_reply(h, body);
  case HR_OP_TABLE_CREATE:
  case HR_OP_TABLE_OPEN:
  case HR_OP_TABLE_LIST:
    if (size % sizeof(hr_table_desc) != 0)
      REFUSE("body of %zu bytes is no whole number of tables of %zu", size, sizeof(hr_table_desc));
    for (size_t at = 0; at < size; at += sizeof(hr_table_desc))
      HOTROW_TRY(check_table(h, body + at));
    return HOTROW_OK;
  case HR_OP_STATS:
    return check_stats(body, size);
  case HR_OP_RESTORED:
    return check_restored(body, size);
  default:
    return HOTROW_OK;
  }
}

hotrow_status hr_wire_check_body(const hr_header *h, const void *body, size_t size)
{
  bool is_error = h->flags & HR_FLAG_ERROR;
  hr_wire_size_range range = hr_wire_is_reply(h) ? hr_wire_ops[h->op].reply : hr_wire_ops[h->op].request;
  if (is_error)
    range = (hr_wire_size_range){1, HR_WIRE_TEXT_BYTES_MAX};
  if (range.min < range.max && size > range.max)
    OVER_LIMIT("body of a %s%s has %zu bytes, limit %u", hr_wire_ops[h->op].name, hr_wire_reply_word(h), size,
               range.max);
  if (size < range.min || size > range.max)
    REFUSE("body of a %s%s has %zu bytes, not %u", hr_wire_ops[h->op].name, hr_wire_reply_word(h), size, range.min);
  if (size == 0)
    return HOTROW_OK;
  if (is_error)
    return check_text("error's sentence", body, size);
  return hr_wire_is_reply(h) ? check_reply_body(h, body, size) : check_request_body(h, body, size);
}
