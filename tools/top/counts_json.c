#include "counts_json.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8
#define NAME_BYTES 48

typedef struct name_of_field {
  const char *name;
  size_t offset;
} name_of_field;

static const name_of_field fields[] = {
#define FIELD(field)                                                                                                   \
  {                                                                                                                    \
#field, offsetof(hotrow_shard_counts, field)                                                                       \
  }
    FIELD(shard),
    FIELD(shard_count),
    FIELD(is_durable),
    FIELD(sessions),
    FIELD(jobs),
    FIELD(blobs),
    FIELD(rows),
    FIELD(value_bytes),
    FIELD(state_bytes),
    FIELD(index_bytes),
    FIELD(buffer_bytes),
    FIELD(held_bytes),
    FIELD(parked_bytes),
    FIELD(dirty_bytes),
    FIELD(unread_bytes),
    FIELD(announcements_kept),
    FIELD(rows_in_memory),
    FIELD(memory_bytes),
    FIELD(memory_bytes_max),
    FIELD(storage_bytes),
    FIELD(copy_bytes),
    FIELD(taken_bytes),
    FIELD(heap_bytes),
    FIELD(process_bytes),
    FIELD(program_bytes),
    FIELD(other_bytes),
    FIELD(kept_bytes),
    FIELD(counted_bytes),
    FIELD(rows_evicted),
    FIELD(rows_fetched),
    FIELD(requests_parked),
    FIELD(pulls),
    FIELD(pulls_held),
    FIELD(rows_pulled),
    FIELD(rows_kept),
    FIELD(pushes),
    FIELD(push_repeats),
    FIELD(rows_pushed),
    FIELD(rows_expired),
    FIELD(rows_refused),
    FIELD(announcements),
    FIELD(resets),
    FIELD(replies_dropped),
    FIELD(cuts),
    FIELD(cuts_durable),
    FIELD(cut_copy_ns),
    FIELD(cut_write_ns),
    FIELD(cut_rows),
    FIELD(cut_bytes),
    FIELD(log_writes),
    FIELD(log_records),
    FIELD(log_bytes),
    FIELD(log_write_ns),
    FIELD(pushes_applied),
    FIELD(pushes_durable),
    FIELD(busy_ns),
    FIELD(request_ns),
    FIELD(checkpoint_parts),
    FIELD(checkpoint_bytes),
    FIELD(checkpoint_bytes_new),
#undef FIELD
    {"degraded", offsetof(hotrow_shard_counts, is_degraded)},
};

typedef struct reader {
  const char *at;
  hotrow_shard_counts *counts;
  char names[DEPTH_MAX + 1][NAME_BYTES]; /* of the value that is read, by depth; empty in an array */
  size_t index;                          /* of it in the innermost array */
  int depth;
} reader;

/* Passes over this character. False if another stands there: never over the end. */
static bool take(reader *r, char c)
{
  bool is_there = *r->at == c;
  r->at += is_there;
  return is_there;
}

static void skip_space(reader *r)
{
  while (isspace((unsigned char)*r->at))
    r->at++;
}

/* A text; what does not fit is cut off. Escapes stand for nothing that is looked for. */
static bool read_text(reader *r, char *text, size_t size)
{
  size_t used = 0;
  if (!take(r, '"'))
    return false;
  for (; *r->at && *r->at != '"'; r->at++) {
    if (*r->at == '\\' && r->at[1])
      r->at++;
    if (used + 1 < size)
      text[used++] = *r->at;
  }
  text[used] = 0;
  return take(r, '"');
}

static void put(hotrow_shard_counts *counts, size_t offset, uint64_t value)
{
  memcpy((char *)counts + offset, &value, sizeof value);
}

static void take_named(hotrow_shard_counts *counts, const char *parent, const char *name, uint64_t value)
{
  for (uint32_t i = 0; i < HOTROW_OP_COUNT && strcmp(parent, "messages") == 0; i++)
    if (hotrow_op_name(i) && strcmp(hotrow_op_name(i), name) == 0)
      counts->messages[i] = value;
  for (uint32_t i = 0; i < HOTROW_REFUSAL_COUNT && strcmp(parent, "refused") == 0; i++)
    if (strcmp(hotrow_refusal_name(i), name) == 0)
      counts->refused[i] = value;
}

static void take_number(const reader *r, uint64_t value)
{
  const char *name = r->names[r->depth];
  if (r->depth == 1)
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
      if (strcmp(fields[i].name, name) == 0)
        put(r->counts, fields[i].offset, value);
  if (r->depth != 2)
    return;
  if (name[0])
    take_named(r->counts, r->names[1], name, value);
  else if (strcmp(r->names[1], "request_times") == 0 && r->index < HOTROW_TIME_BUCKETS)
    r->counts->request_times[r->index] = value;
  else if (strcmp(r->names[1], "cut_turn_times") == 0 && r->index < HOTROW_TIME_BUCKETS)
    r->counts->cut_turn_times[r->index] = value;
}

static void take_text(const reader *r, const char *text)
{
  if (r->depth == 1 && strcmp(r->names[1], "epoch") == 0)
    r->counts->epoch = strtoull(text, NULL, 16);
}

static bool read_value(reader *r);

/* What stands between two brackets, after the first. DEPTH_MAX bounds the recursion. */
static bool read_members(reader *r, char end)
{
  if (r->depth == DEPTH_MAX)
    return false;
  r->depth++;
  bool is_good = true, is_object = end == '}';
  skip_space(r);
  for (size_t i = 0; is_good && *r->at != end; i++) {
    if (i > 0) {
      is_good = take(r, ',');
      skip_space(r);
    }
    r->names[r->depth][0] = 0;
    if (is_object) {
      is_good = is_good && read_text(r, r->names[r->depth], NAME_BYTES);
      skip_space(r);
      is_good = is_good && take(r, ':');
    }
    r->index = i;
    is_good = is_good && read_value(r);
    skip_space(r);
  }
  r->depth--;
  return is_good && take(r, end);
}

static bool read_value(reader *r)
{
  char text[NAME_BYTES];
  skip_space(r);
  if (*r->at == '{' || *r->at == '[') {
    char end = *r->at++ == '{' ? '}' : ']';
    return read_members(r, end);
  }
  if (*r->at == '"') {
    bool is_good = read_text(r, text, sizeof text);
    take_text(r, text);
    return is_good;
  }
  char *end;
  unsigned long long value = strtoull(r->at, &end, 10);
  if (end == r->at || *r->at == '-')
    return false;
  r->at = end;
  take_number(r, value);
  return true;
}

bool hr_counts_from_json(const char *json, hotrow_shard_counts *counts)
{
  *counts = (hotrow_shard_counts){.struct_size = sizeof *counts};
  reader r = {.at = json, .counts = counts};
  skip_space(&r);
  return *r.at == '{' && read_value(&r);
}
