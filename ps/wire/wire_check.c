#include "wire_layout.h"

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

const hr_wire_op hr_wire_ops[HR_OP_COUNT] = {
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
    [HR_OP_TICK] = {"tick", HR_FLAG_DURABLE, NO_BODY, NO_BODY},
};

const char *hr_op_name(uint8_t op)
{
  return op > 0 && op < HR_OP_COUNT ? hr_wire_ops[op].name : "unknown";
}

static hotrow_status check_request(const hr_header *h)
{
  uint16_t allowed = hr_wire_ops[h->op].request_flags;
  if (h->flags & ~allowed)
    REFUSE("flags 0x%x say nothing on a %s, only 0x%x do", (unsigned)h->flags, hr_wire_ops[h->op].name,
           (unsigned)allowed);
  if (h->status != 0)
    REFUSE("status %d in a request", h->status);
  if (h->applied_seq != 0 || h->durable_seq != 0)
    REFUSE("applied_seq %llu, durable_seq %llu in a request", (unsigned long long)h->applied_seq,
           (unsigned long long)h->durable_seq);
  if (h->op == HR_OP_HELLO && h->epoch != 0)
    REFUSE("epoch %llu in a hello, which cannot know it", (unsigned long long)h->epoch);
  if ((h->op == HR_OP_PUSH || h->op == HR_OP_PUSH_PULL) && h->push_seq == 0)
    REFUSE("push_seq 0 in a %s: pushes count from 1", hr_wire_ops[h->op].name);
  if (h->rank >= HR_WIRE_WORLD_MAX)
    OVER_LIMIT("rank %u, limit HR_WIRE_WORLD_MAX %u", h->rank, HR_WIRE_WORLD_MAX);
  return HOTROW_OK;
}

static hotrow_status check_reply(const hr_header *h)
{
  bool is_error = h->flags & HR_FLAG_ERROR;
  unsigned allowed = HR_FLAG_REPLY | HR_FLAG_ERROR | (hr_wire_has_sections(h) ? HR_FLAG_RESET : 0);
  if (h->flags & ~allowed)
    REFUSE("flags 0x%x say nothing on this %s reply, only 0x%x do", (unsigned)h->flags, hr_wire_ops[h->op].name,
           allowed);
  if (is_error != (h->status != 0))
    REFUSE("status %d in a reply %s HR_FLAG_ERROR", h->status, is_error ? "with" : "without");
  if (h->status != HR_STATUS_GAP && !hr_status_is_known(h->status))
    REFUSE("status %d is none of ours", h->status);
  if (h->durable_seq > h->applied_seq)
    REFUSE("durable_seq %llu is beyond applied_seq %llu", (unsigned long long)h->durable_seq,
           (unsigned long long)h->applied_seq);
  return HOTROW_OK;
}

/* Which messages have announcements, or speak of them. */
static hotrow_status check_announce_seq(const hr_header *h)
{
  bool is_error = h->flags & HR_FLAG_ERROR;
  bool is_greeting = h->op == HR_OP_HELLO && hr_wire_is_reply(h) && !is_error;
  if (h->announce_seq != 0 && !is_greeting && (is_error || !hr_wire_is_data(h->op)))
    REFUSE("announce_seq %llu says nothing on this %s%s", (unsigned long long)h->announce_seq, hr_wire_ops[h->op].name,
           hr_wire_reply_word(h));
  if (h->announce_seq == 0 && (is_greeting || h->flags & HR_FLAG_RESET))
    REFUSE("announce_seq 0 in a %s%s: announcements count from 1", hr_wire_ops[h->op].name, hr_wire_reply_word(h));
  return HOTROW_OK;
}

static hotrow_status check_section_count(const hr_header *h)
{
  unsigned limit = hr_wire_is_reply(h) ? HR_WIRE_SECTIONS_MAX : HR_WIRE_DATA_SECTIONS_MAX;
  if (h->section_count > limit)
    OVER_LIMIT("section_count %u, limit %s %u", h->section_count,
               hr_wire_is_reply(h) ? "HR_WIRE_SECTIONS_MAX" : "HR_WIRE_DATA_SECTIONS_MAX", limit);
  bool may_have_sections = hr_wire_has_sections(h) && !(h->op == HR_OP_TICK && !hr_wire_is_reply(h));
  if (h->section_count != 0 && !may_have_sections)
    REFUSE("section_count %u in a %s%s, which has none", h->section_count, hr_wire_ops[h->op].name,
           hr_wire_reply_word(h));
  return HOTROW_OK;
}

hotrow_status hr_wire_check_header(const hr_header *h)
{
  if (h->flags & ~HR_FLAGS_KNOWN)
    REFUSE("flags 0x%x: only 0x%x are known", (unsigned)h->flags, HR_FLAGS_KNOWN);
  HOTROW_TRY(hr_wire_is_reply(h) ? check_reply(h) : check_request(h));
  if (h->retry_ms != 0 && h->status != HOTROW_ERR_BUSY)
    REFUSE("retry_ms %u with status %d, which is not busy", h->retry_ms, h->status);
  if (h->reserved != 0 || h->reserved2 != 0)
    REFUSE("header's reserved fields are 0x%x 0x%llx, not 0", h->reserved, (unsigned long long)h->reserved2);
  HOTROW_TRY(check_announce_seq(h));
  return check_section_count(h);
}
