#include "wire_layout.h"

#include <string.h>

#include <hr/optimizer.h>
#include <hr/route.h>

#define REFUSE(...) return hr_fail(HOTROW_ERR_PROTOCOL, __VA_ARGS__)
#define OVER_LIMIT(...) return hr_fail(HOTROW_ERR_LIMIT, __VA_ARGS__)

/* What a body may weigh. */
typedef struct size_range {
  uint32_t min, max;
} size_range;

#define NO_BODY                                                                                                        \
  {                                                                                                                    \
    0, 0                                                                                                               \
  }
#define EXACTLY(type)                                                                                                  \
  {                                                                                                                    \
    sizeof(type), sizeof(type)                                                                                         \
  }
#define NAME_BODY                                                                                                      \
  {                                                                                                                    \
    1, HR_WIRE_NAME_BYTES_MAX                                                                                          \
  }

static const struct {
  const char *name;
  uint16_t request_flags;
  size_range request, reply;
} ops[HR_OP_COUNT] = {
    [HR_OP_HELLO] = {"hello", 0, EXACTLY(hr_hello), EXACTLY(hr_hello_reply)},
    [HR_OP_TABLE_CREATE] = {"table_create", 0, EXACTLY(hr_table_desc), EXACTLY(hr_table_desc)},
    [HR_OP_TABLE_OPEN] = {"table_open", 0, NAME_BODY, EXACTLY(hr_table_desc)},
    [HR_OP_TABLE_LIST] = {"table_list", 0, NO_BODY, {0, HR_WIRE_TABLES_MAX * sizeof(hr_table_desc)}},
    [HR_OP_PULL] = {"pull", HR_FLAG_SYNC | HR_FLAG_READ_ONLY, NO_BODY, NO_BODY},
    [HR_OP_PUSH] = {"push", HR_FLAG_SYNC, NO_BODY, NO_BODY},
    [HR_OP_PUSH_PULL] = {"push_pull", HR_FLAG_SYNC, NO_BODY, NO_BODY},
    [HR_OP_BARRIER] = {"barrier", 0, EXACTLY(hr_barrier), NO_BODY},
    [HR_OP_BLOB_PUT] = {"blob_put", 0, {2, 1 + HR_WIRE_NAME_BYTES_MAX + HR_WIRE_BLOB_BYTES_MAX}, NO_BODY},
    [HR_OP_BLOB_GET] = {"blob_get", 0, NAME_BODY, {0, HR_WIRE_BLOB_BYTES_MAX}},
    [HR_OP_STATS] = {"stats", 0, NO_BODY, {2, HR_WIRE_STATS_BYTES_MAX}},
    [HR_OP_SAVE] = {"save", 0, EXACTLY(hr_save), NO_BODY},
    [HR_OP_BYE] = {"bye", 0, NO_BODY, NO_BODY},
};

const char *hr_op_name(uint8_t op)
{
  return op > 0 && op < HR_OP_COUNT ? ops[op].name : "unknown";
}

static bool is_reply(const hr_header *h)
{
  return h->flags & HR_FLAG_REPLY;
}

/* For sentences: "pull reply". */
static const char *reply_word(const hr_header *h)
{
  return is_reply(h) ? " reply" : "";
}

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

/* --- header --- */

static hotrow_status check_request(const hr_header *h)
{
  uint16_t allowed = ops[h->op].request_flags;
  if (h->flags & ~allowed)
    REFUSE("flags 0x%x say nothing on a %s, only 0x%x do", (unsigned)h->flags, ops[h->op].name, (unsigned)allowed);
  if (h->status != 0)
    REFUSE("status %d in a request", h->status);
  if (h->applied_seq != 0 || h->durable_seq != 0)
    REFUSE("applied_seq %llu, durable_seq %llu in a request", (unsigned long long)h->applied_seq,
           (unsigned long long)h->durable_seq);
  if (h->op == HR_OP_HELLO && h->epoch != 0)
    REFUSE("epoch %llu in a hello, which cannot know it", (unsigned long long)h->epoch);
  if ((h->op == HR_OP_PUSH || h->op == HR_OP_PUSH_PULL) && h->push_seq == 0)
    REFUSE("push_seq 0 in a %s: pushes count from 1", ops[h->op].name);
  if (h->rank >= HR_WIRE_WORLD_MAX)
    OVER_LIMIT("rank %u, limit HR_WIRE_WORLD_MAX %u", h->rank, HR_WIRE_WORLD_MAX);
  return HOTROW_OK;
}

static hotrow_status check_reply(const hr_header *h)
{
  bool is_error = h->flags & HR_FLAG_ERROR;
  if (h->flags & ~(HR_FLAG_REPLY | HR_FLAG_ERROR))
    REFUSE("flags 0x%x say nothing on a reply, only 0x%x do", (unsigned)h->flags, HR_FLAG_REPLY | HR_FLAG_ERROR);
  if (is_error != (h->status != 0))
    REFUSE("status %d in a reply %s HR_FLAG_ERROR", h->status, is_error ? "with" : "without");
  if (h->status != HR_STATUS_GAP && !hr_status_is_known(h->status))
    REFUSE("status %d is none of ours", h->status);
  if (h->durable_seq > h->applied_seq)
    REFUSE("durable_seq %llu is beyond applied_seq %llu", (unsigned long long)h->durable_seq,
           (unsigned long long)h->applied_seq);
  return HOTROW_OK;
}

hotrow_status hr_wire_check_header(const hr_header *h)
{
  if (h->flags & ~HR_FLAGS_KNOWN)
    REFUSE("flags 0x%x: only 0x%x are known", (unsigned)h->flags, HR_FLAGS_KNOWN);
  HOTROW_TRY(is_reply(h) ? check_reply(h) : check_request(h));
  if (h->retry_ms != 0 && h->status != HOTROW_ERR_BUSY)
    REFUSE("retry_ms %u with status %d, which is not busy", h->retry_ms, h->status);
  if (h->reserved != 0 || h->reserved2[0] != 0 || h->reserved2[1] != 0)
    REFUSE("header's reserved fields are 0x%x 0x%llx 0x%llx, not 0", h->reserved, (unsigned long long)h->reserved2[0],
           (unsigned long long)h->reserved2[1]);
  if (h->section_count > HR_WIRE_SECTIONS_MAX)
    OVER_LIMIT("section_count %u, limit HR_WIRE_SECTIONS_MAX %u", h->section_count, HR_WIRE_SECTIONS_MAX);
  bool may_have_sections = hr_wire_has_sections(h) && !(h->op == HR_OP_PUSH && is_reply(h));
  if (h->section_count != 0 && !may_have_sections)
    REFUSE("section_count %u in a %s%s, which has none", h->section_count, ops[h->op].name, reply_word(h));
  return HOTROW_OK;
}

/* --- bodies --- */

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

static hotrow_status check_hello_reply(const uint8_t *body)
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
  return HOTROW_OK;
}

/* Optimizer and initializer as resolved. The kinds are looked at as numbers first: a number that is no value of an enum
 * must not be read as one. */
static hotrow_status check_resolved(const uint8_t *body, uint32_t dim)
{
  int32_t optimizer_kind, initializer_kind;
  memcpy(&optimizer_kind, body + offsetof(hr_table_desc, optimizer.kind), sizeof optimizer_kind);
  memcpy(&initializer_kind, body + offsetof(hr_table_desc, initializer.kind), sizeof initializer_kind);
  if (optimizer_kind < HOTROW_SGD || optimizer_kind > HOTROW_ADAM)
    REFUSE("table: optimizer kind %d is none of ours", optimizer_kind);
  if (initializer_kind < HOTROW_INIT_ZERO || initializer_kind > HOTROW_INIT_NORMAL)
    REFUSE("table: initializer kind %d is none of ours", initializer_kind);
  hotrow_optimizer optimizer, optimizer_resolved;
  hotrow_initializer initializer, initializer_resolved;
  memcpy(&optimizer, body + offsetof(hr_table_desc, optimizer), sizeof optimizer);
  memcpy(&initializer, body + offsetof(hr_table_desc, initializer), sizeof initializer);
  if (hr_optimizer_resolve(&optimizer, &optimizer_resolved) != HOTROW_OK ||
      hr_initializer_resolve(&initializer, dim, &initializer_resolved) != HOTROW_OK)
    REFUSE("table: %s", hotrow_last_error());
  if (optimizer.lr != optimizer_resolved.lr || optimizer.beta1 != optimizer_resolved.beta1 ||
      optimizer.beta2 != optimizer_resolved.beta2 || optimizer.eps != optimizer_resolved.eps)
    REFUSE("table: optimizer is not resolved: a default is left for the shard to fill in");
  return HOTROW_OK;
}

static hotrow_status check_table(const hr_header *h, const uint8_t *body)
{
  uint32_t dim, id;
  uint64_t row_count;
  memcpy(&dim, body + offsetof(hr_table_desc, dim), sizeof dim);
  memcpy(&id, body + offsetof(hr_table_desc, id), sizeof id);
  memcpy(&row_count, body + offsetof(hr_table_desc, row_count), sizeof row_count);
  if (dim < 1 || dim > HOTROW_DIM_MAX)
    OVER_LIMIT("table: dim %u, not 1 to HOTROW_DIM_MAX %u", dim, HOTROW_DIM_MAX);
  if (!is_reply(h) && (id != 0 || row_count != 0))
    REFUSE("table: id %u, row_count %llu in a request", id, (unsigned long long)row_count);
  HOTROW_TRY(check_name_field("table", (const char *)body + offsetof(hr_table_desc, name)));
  return check_resolved(body, dim);
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
  default:
    return HOTROW_OK;
  }
}

static hotrow_status check_reply_body(const hr_header *h, const uint8_t *body, size_t size)
{
  switch (h->op) {
  case HR_OP_HELLO:
    return check_hello_reply(body);
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
  default:
    return HOTROW_OK;
  }
}

hotrow_status hr_wire_check_body(const hr_header *h, const void *body, size_t size)
{
  bool is_error = h->flags & HR_FLAG_ERROR;
  size_range range = is_reply(h) ? ops[h->op].reply : ops[h->op].request;
  if (is_error)
    range = (size_range){1, HR_WIRE_TEXT_BYTES_MAX};
  if (range.min < range.max && size > range.max)
    OVER_LIMIT("body of a %s%s has %zu bytes, limit %u", ops[h->op].name, reply_word(h), size, range.max);
  if (size < range.min || size > range.max)
    REFUSE("body of a %s%s has %zu bytes, not %u", ops[h->op].name, reply_word(h), size, range.min);
  if (size == 0)
    return HOTROW_OK;
  if (is_error)
    return check_text("error's sentence", body, size);
  return is_reply(h) ? check_reply_body(h, body, size) : check_request_body(h, body, size);
}

/* --- sections --- */

static hotrow_status check_kind(const hr_header *h, const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  bool fits = false;
  if (is_reply(h))
    fits = s->kind == HR_SECTION_PULL_REPLY;
  else if (s->kind == HR_SECTION_PULL)
    fits = h->op != HR_OP_PUSH;
  else if (s->kind == HR_SECTION_PUSH)
    fits = h->op != HR_OP_PULL;
  if (!fits)
    REFUSE("section %zu: kind %u is not for a %s%s", i, s->kind, ops[h->op].name, reply_word(h));
  if (i > 0 && s->kind == HR_SECTION_PUSH && sections[i - 1].kind == HR_SECTION_PULL)
    REFUSE("section %zu: a push after a pull", i);
  return HOTROW_OK;
}

static hotrow_status check_pull(const hr_section *s, size_t i)
{
  if (s->flags & ~HR_SECTION_WANT_STATE)
    REFUSE("section %zu: flags 0x%x say nothing on a pull", i, s->flags);
  if (s->extra_dim != 0 || s->row_count != 0 || s->unseen_max != 0 || s->unseen_sum != 0)
    REFUSE("section %zu: a pull with extra_dim %u, row_count %u, unseen_max %u, unseen_sum %u", i, s->extra_dim,
           s->row_count, s->unseen_max, s->unseen_sum);
  if (s->held_count > s->key_count)
    REFUSE("section %zu: held_count %u of key_count %u", i, s->held_count, s->key_count);
  if (s->bound > HR_WIRE_BOUND_MAX)
    OVER_LIMIT("section %zu: bound %u, limit HR_WIRE_BOUND_MAX %u", i, s->bound, HR_WIRE_BOUND_MAX);
  return HOTROW_OK;
}

static hotrow_status check_push(const hr_section *s, size_t i)
{
  if (s->flags & ~HR_SECTION_STEPS)
    REFUSE("section %zu: flags 0x%x say nothing on a push", i, s->flags);
  if (s->extra_dim != 0 && !(s->flags & HR_SECTION_STEPS))
    REFUSE("section %zu: extra_dim %u in a push without steps", i, s->extra_dim);
  if (s->held_count != 0 || s->row_count != 0 || s->bound != 0 || s->unseen_max != 0 || s->unseen_sum != 0)
    REFUSE("section %zu: a push with held_count %u, row_count %u, bound %u, unseen_max %u, unseen_sum %u", i,
           s->held_count, s->row_count, s->bound, s->unseen_max, s->unseen_sum);
  return HOTROW_OK;
}

static hotrow_status check_pull_reply(const hr_section *s, size_t i)
{
  uint32_t asked_held = s->bound;
  if (s->flags & ~HR_SECTION_FOUND)
    REFUSE("section %zu: flags 0x%x say nothing on a pull reply", i, s->flags);
  if (asked_held > s->key_count)
    REFUSE("section %zu: asked_held %u of key_count %u", i, asked_held, s->key_count);
  if (s->held_count > asked_held)
    REFUSE("section %zu: held_count %u of asked_held %u", i, s->held_count, asked_held);
  if (s->row_count != s->held_count + (s->key_count - asked_held))
    REFUSE("section %zu: row_count %u, not held_count %u and %u that were not held", i, s->row_count, s->held_count,
           s->key_count - asked_held);
  if (s->unseen_sum < s->unseen_max || (s->unseen_max == 0 && s->unseen_sum != 0))
    REFUSE("section %zu: unseen_sum %u with unseen_max %u", i, s->unseen_sum, s->unseen_max);
  if (s->unseen_max != 0 && s->held_count == asked_held)
    REFUSE("section %zu: unseen_max %u, and no held row was left out", i, s->unseen_max);
  return HOTROW_OK;
}

hotrow_status hr_wire_check_section(const hr_header *h, const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  HOTROW_TRY(check_kind(h, sections, i));
  if (s->flags & ~HR_SECTION_FLAGS_KNOWN)
    REFUSE("section %zu: flags 0x%x: only 0x%x are known", i, s->flags, HR_SECTION_FLAGS_KNOWN);
  if (s->reserved != 0)
    REFUSE("section %zu: reserved field is 0x%x, not 0", i, s->reserved);
  if (s->key_count > HR_WIRE_KEYS_MAX)
    OVER_LIMIT("section %zu: key_count %u, limit HR_WIRE_KEYS_MAX %u", i, s->key_count, HR_WIRE_KEYS_MAX);
  if (s->dim < 1 || s->dim > HOTROW_DIM_MAX)
    OVER_LIMIT("section %zu: dim %u, not 1 to HOTROW_DIM_MAX %u", i, s->dim, HOTROW_DIM_MAX);
  if (s->extra_dim > 2 * s->dim + 1)
    REFUSE("section %zu: extra_dim %u is more than any optimizer has at dim %u", i, s->extra_dim, s->dim);
  switch (s->kind) {
  case HR_SECTION_PULL:
    return check_pull(s, i);
  case HR_SECTION_PUSH:
    return check_push(s, i);
  default:
    return check_pull_reply(s, i);
  }
}

static hotrow_status check_steps(const hr_section *s, size_t i)
{
  for (uint32_t k = 0; k < s->key_count; k++)
    if (s->steps[k] < 1 || s->steps[k] > HR_WIRE_STEPS_MAX)
      OVER_LIMIT("section %zu: steps[%u] is %u, not 1 to HR_WIRE_STEPS_MAX %u", i, k, s->steps[k], HR_WIRE_STEPS_MAX);
  return HOTROW_OK;
}

static hotrow_status check_index(const hr_section *s, size_t i)
{
  uint32_t asked_held = s->bound;
  for (uint32_t k = 0; k < s->held_count; k++) {
    if (s->index[k] >= asked_held)
      REFUSE("section %zu: index[%u] is %u of asked_held %u", i, k, s->index[k], asked_held);
    if (k > 0 && s->index[k] <= s->index[k - 1])
      REFUSE("section %zu: index[%u] is %u, after %u: must ascend", i, k, s->index[k], s->index[k - 1]);
  }
  return HOTROW_OK;
}

static hotrow_status check_found(const hr_section *s, size_t i)
{
  uint32_t bit_count = s->key_count - s->bound;
  if (bit_count % 8 != 0 && s->found[bit_count / 8] >> (bit_count % 8) != 0)
    REFUSE("section %zu: found has bits behind its %u", i, bit_count);
  return HOTROW_OK;
}

hotrow_status hr_wire_check_arrays(const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  if (s->kind == HR_SECTION_PUSH && s->flags & HR_SECTION_STEPS)
    return check_steps(s, i);
  if (s->kind == HR_SECTION_PULL_REPLY) {
    HOTROW_TRY(check_index(s, i));
    if (s->flags & HR_SECTION_FOUND)
      return check_found(s, i);
  }
  return HOTROW_OK;
}

/* --- sizes --- */

uint64_t hr_wire_section_bytes(const hr_section *section)
{
  hr_wire_array arrays[HR_WIRE_ARRAYS_MAX];
  size_t array_count = hr_wire_arrays(section, arrays);
  uint64_t size = HR_WIRE_SECTION_BYTES;
  for (size_t i = 0; i < array_count; i++)
    size += arrays[i].size_bytes;
  return size;
}

/* The largest reply: every held row is too old, and the state of the heaviest optimizer comes along. */
static uint64_t reply_bytes_max(const hr_section *pull)
{
  hr_section reply = {.kind = HR_SECTION_PULL_REPLY,
                      .flags = HR_SECTION_FOUND,
                      .key_count = pull->key_count,
                      .held_count = pull->held_count,
                      .row_count = pull->key_count,
                      .dim = pull->dim,
                      .extra_dim = pull->flags & HR_SECTION_WANT_STATE ? 2 * pull->dim + 1 : 0,
                      .bound = pull->held_count};
  return hr_wire_section_bytes(&reply);
}

hotrow_status hr_wire_check_size(const hr_message *message)
{
  uint64_t size = HR_WIRE_HEADER_BYTES + message->body_size, reply_size = HR_WIRE_HEADER_BYTES;
  for (size_t i = 0; i < message->section_count; i++) {
    size += hr_wire_section_bytes(&message->sections[i]);
    if (message->sections[i].kind == HR_SECTION_PULL)
      reply_size += reply_bytes_max(&message->sections[i]);
  }
  if (size > HR_WIRE_MESSAGE_BYTES_MAX)
    OVER_LIMIT("message of %llu bytes, limit HR_WIRE_MESSAGE_BYTES_MAX %zu", (unsigned long long)size,
               HR_WIRE_MESSAGE_BYTES_MAX);
  if (reply_size > HR_WIRE_MESSAGE_BYTES_MAX)
    OVER_LIMIT("pull with a reply of up to %llu bytes, limit HR_WIRE_MESSAGE_BYTES_MAX %zu",
               (unsigned long long)reply_size, HR_WIRE_MESSAGE_BYTES_MAX);
  return HOTROW_OK;
}
