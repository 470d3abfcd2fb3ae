#include "shard_stats.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/options.h>

#include "shard_admin.h"
#include "shard_checkpoint.h"
#include "shard_memory.h"

HR_NO_TAIL_PADDING(hotrow_shard_counts, counted_bytes);
_Static_assert(HOTROW_OP_COUNT == HR_OP_COUNT, "operations of the wire");
_Static_assert(HOTROW_REFUSAL_COUNT == HR_REFUSED_COUNT, "reasons of a shard");

static const char *const reasons[HR_REFUSED_COUNT] = {"protocol", "version", "limit", "epoch",
                                                      "session",  "gap",     "busy",  "request"};

const char *hotrow_op_name(uint32_t op)
{
  return op >= HR_OP_HELLO && op < HR_OP_COUNT ? hr_op_name((uint8_t)op) : NULL;
}

const char *hotrow_refusal_name(uint32_t reason)
{
  return reason < HR_REFUSED_COUNT ? reasons[reason] : NULL;
}

/* ---- counting what a shard cannot see itself, for it has no clock ---- */

static uint32_t bucket_of(uint64_t ns)
{
  uint32_t bucket = 0;
  for (uint64_t us = ns / 1000; us > 0 && bucket + 1 < HOTROW_TIME_BUCKETS; us >>= 1)
    bucket++;
  return bucket;
}

void hr_shard_count_time(hr_shard *shard, uint64_t ns)
{
  hr_shard_counters *c = &shard->counters;
  c->busy_ns += ns;
  if (shard->op_done != HR_OP_PULL && shard->op_done != HR_OP_PUSH && shard->op_done != HR_OP_PUSH_PULL)
    return;
  c->request_ns += ns;
  c->request_times[bucket_of(ns)]++;
}

void hr_shard_count_cut(hr_shard *shard, uint64_t copy_ns)
{
  shard->counters.cut_copy_ns += copy_ns;
  shard->counters.cut_turn_times[bucket_of(copy_ns)]++;
  shard->counters.busy_ns += copy_ns;
}

void hr_shard_count_writes(hr_shard *shard, uint64_t rows, uint64_t bytes, uint64_t write_ns)
{
  shard->counters.cut_rows = rows;
  shard->counters.cut_bytes = bytes;
  shard->counters.cut_write_ns = write_ns;
}

void hr_shard_count_log(hr_shard *shard, uint64_t writes, uint64_t records, uint64_t bytes, uint64_t write_ns)
{
  shard->counters.log_writes = writes;
  shard->counters.log_records = records;
  shard->counters.log_bytes = bytes;
  shard->counters.log_write_ns = write_ns;
}

void hr_shard_count_replies(hr_shard *shard, uint64_t dropped, uint64_t unread_bytes)
{
  shard->counters.replies_dropped = dropped;
  shard->counters.unread_bytes = unread_bytes;
}

void hr_shard_count_storage(hr_shard *shard, const hr_storage_memory *memory)
{
  shard->counters.storage = *memory;
}

void hr_shard_count_process(hr_shard *shard, const hr_process_counts *counts)
{
  shard->counters.process = *counts;
}

/* ---- as numbers ---- */

static void fill_tables(const hr_shard *shard, hotrow_shard_counts *counts)
{
  counts->tables = shard->table_count;
  for (size_t i = 0; i < shard->table_count; i++) {
    const hr_table *table = shard->tables[i];
    const hr_table_desc *desc = hr_table_get_desc(table);
    uint64_t rows = hr_table_resident_count(table);
    uint64_t values = rows * desc->dim * hr_dtype_bytes((hotrow_dtype)desc->storage_dtype);
    uint64_t states = rows * hr_table_get_layout(table)->state_dim * sizeof(float);
    size_t all = hr_table_memory_bytes(table) + hr_table_slack_bytes(table);
    counts->heap_bytes += hr_table_heap_bytes(table);
    counts->rows += desc->row_count;
    counts->rows_in_memory += rows;
    counts->rows_expired += hr_table_expired_count(table);
    counts->rows_refused += hr_table_not_admitted_count(table);
    counts->value_bytes += values;
    counts->state_bytes += states;
    counts->index_bytes += all > values + states ? all - values - states : 0;
  }
}

/* Those that malloc has given out. */
static size_t heap_buffer_bytes(const hr_shard *shard)
{
  return shard->held_bytes + shard->parking.size_bytes + hr_checkpoint_bytes(shard) + hr_blobs_bytes(shard) +
         shard->session_count * sizeof(hr_session);
}

static size_t mapped_buffer_bytes(const hr_shard *shard, size_t (*pages_of)(size_t used_bytes))
{
  const hr_announce_log *log = &shard->log;
  uint64_t announcements = log->next <= log->count_max ? log->next - 1 : log->count_max;
  size_t size_bytes = pages_of(announcements * sizeof *log->ring) + pages_of(shard->keys_max * sizeof *shard->rows) +
                      pages_of(shard->keys_max * sizeof *shard->clocks);
  for (uint32_t i = 0; i < HR_REPLY_MEMORIES; i++)
    size_bytes += pages_of(shard->touched[i].size_bytes);
  return size_bytes + 2 * pages_of(shard->memory.missing_max * sizeof *shard->memory.missing);
}

static size_t as_used(size_t used_bytes)
{
  return used_bytes;
}

size_t hr_shard_buffer_bytes(const hr_shard *shard)
{
  return heap_buffer_bytes(shard) + mapped_buffer_bytes(shard, as_used);
}

static void fill_totals(const hr_shard_counters *c, hotrow_shard_counts *counts)
{
  counts->pulls = c->pulls;
  counts->pulls_held = c->pulls_held;
  counts->rows_pulled = c->rows_pulled;
  counts->rows_kept = c->rows_kept;
  counts->pushes = c->pushes;
  counts->push_repeats = c->push_repeats;
  counts->rows_pushed = c->rows_pushed;
  for (size_t i = 0; i <= HOTROW_I8; i++) {
    counts->bytes_pulled += c->bytes_pulled[i];
    counts->bytes_pushed += c->bytes_pushed[i];
  }
  counts->rows_evicted = c->rows_evicted;
  counts->rows_fetched = c->rows_fetched;
  counts->requests_parked = c->requests_parked;
  counts->resets = c->resets;
  counts->replies_dropped = c->replies_dropped;
  counts->unread_bytes = c->unread_bytes;
  counts->cuts = c->cuts;
  counts->cuts_durable = c->cuts_durable;
  counts->cut_copy_ns = c->cut_copy_ns;
  counts->cut_write_ns = c->cut_write_ns;
  counts->cut_rows = c->cut_rows;
  counts->cut_bytes = c->cut_bytes;
  counts->pushes_applied = c->pushes_applied;
  counts->pushes_durable = c->pushes_durable;
  counts->log_writes = c->log_writes;
  counts->log_records = c->log_records;
  counts->log_bytes = c->log_bytes;
  counts->log_write_ns = c->log_write_ns;
  counts->busy_ns = c->busy_ns;
  counts->request_ns = c->request_ns;
  memcpy(counts->request_times, c->request_times, sizeof counts->request_times);
  memcpy(counts->cut_turn_times, c->cut_turn_times, sizeof counts->cut_turn_times);
  memcpy(counts->messages, c->messages, sizeof counts->messages);
  memcpy(counts->refused, c->refused, sizeof counts->refused);
}

static void fill_memory(const hr_shard *shard, hotrow_shard_counts *counts)
{
  const hr_storage_memory *storage = &shard->counters.storage;
  const hr_process_counts *process = &shard->counters.process;
  counts->storage_bytes = storage->database_bytes;
  counts->copy_bytes = storage->cut_bytes + storage->log_bytes;
  counts->buffer_bytes = heap_buffer_bytes(shard) + mapped_buffer_bytes(shard, hr_map_touched);
  counts->memory_bytes = counts->value_bytes + counts->state_bytes + counts->index_bytes + counts->buffer_bytes +
                         counts->storage_bytes + counts->copy_bytes;
  counts->taken_bytes = hr_memory_used(shard);
  counts->heap_bytes += heap_buffer_bytes(shard) + counts->storage_bytes + counts->copy_bytes + storage->idle_bytes;
  counts->process_bytes = process->resident_bytes;
  counts->program_bytes = process->program_bytes;
  counts->other_bytes = process->other_bytes;
  counts->kept_bytes = process->kept_bytes;
  counts->counted_bytes = process->counted_bytes;
}

void hr_shard_get_counts(const hr_shard *shard, hotrow_shard_counts *counts)
{
  *counts = (hotrow_shard_counts){
      .struct_size = sizeof *counts,
      .shard = shard->options.shard_index,
      .shard_count = shard->options.shard_count,
      .epoch = shard->options.epoch,
      .is_durable = shard->options.storage != NULL,
      .is_degraded = shard->is_degraded || shard->is_refused || shard->is_log_refused,
      .sessions = shard->session_count,
      .jobs = shard->job_count,
      .blobs = shard->blob_count,
      .held_bytes = shard->held_bytes,
      .parked_bytes = shard->parking.size_bytes,
      .memory_bytes_max = shard->options.memory_bytes,
      .dirty_bytes = hr_shard_dirty_bytes(shard),
      .announcements_kept = shard->log.next - hr_announce_log_first(&shard->log),
      .announcements = shard->log.next - 1,
  };
  fill_tables(shard, counts);
  fill_memory(shard, counts);
  fill_totals(&shard->counters, counts);
  hr_checkpoint_fill_counts(shard, counts);
  if (shard->options.durability == HOTROW_DURABILITY_NONE && shard->options.storage)
    counts->pushes_durable = counts->pushes_applied; /* as clients are told */
}

/* ---- as text ---- */

typedef struct writer {
  char *text;
  size_t size; /* of text; what does not fit is counted */
  size_t used;
} writer;

static void write_text(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void write_text(writer *w, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  bool has_room = w->used < w->size;
  int size = vsnprintf(has_room ? w->text + w->used : NULL, has_room ? w->size - w->used : 0, format, args);
  va_end(args);
  HOTROW_ASSERT(size >= 0);
  w->used += (size_t)size;
}

static void write_counter(writer *w, const char *name, uint64_t value)
{
  write_text(w, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void write_tables(const hr_shard *shard, writer *w)
{
  static const char *const dtypes[] = {[HOTROW_F32] = "f32", [HOTROW_F16] = "f16", [HOTROW_BF16] = "bf16"};
  write_text(w, ",\"tables\":[");
  for (size_t i = 0; i < shard->table_count; i++) {
    const hr_table_desc *desc = hr_table_get_desc(shard->tables[i]);
    write_text(w, "%s{\"name\":\"%s\",\"dim\":%u,\"rows\":%llu,\"memory_bytes\":%zu,\"storage_dtype\":\"%s\"}",
               i ? "," : "", desc->name, desc->dim, (unsigned long long)desc->row_count,
               hr_table_memory_bytes(shard->tables[i]), dtypes[desc->storage_dtype]);
  }
  write_text(w, "]");
}

/* Every number of hotrow_shard_counts under its own name, but for shard and epoch and the arrays. */
static const struct {
  const char *name;
  size_t offset;
} numbers[] = {
#define NUMBER(field) #field, offsetof(hotrow_shard_counts, field)
    {NUMBER(sessions)},
    {NUMBER(jobs)},
    {NUMBER(blobs)},
    {NUMBER(rows)},
    {NUMBER(value_bytes)},
    {NUMBER(state_bytes)},
    {NUMBER(index_bytes)},
    {NUMBER(buffer_bytes)},
    {NUMBER(held_bytes)},
    {NUMBER(parked_bytes)},
    {NUMBER(requests_parked)},
    {NUMBER(dirty_bytes)},
    {NUMBER(unread_bytes)},
    {NUMBER(pulls)},
    {NUMBER(pulls_held)},
    {NUMBER(rows_pulled)},
    {NUMBER(rows_kept)},
    {NUMBER(pushes)},
    {NUMBER(push_repeats)},
    {NUMBER(rows_pushed)},
    {NUMBER(announcements)},
    {NUMBER(announcements_kept)},
    {NUMBER(resets)},
    {NUMBER(replies_dropped)},
    {NUMBER(cuts)},
    {NUMBER(cuts_durable)},
    {NUMBER(cut_copy_ns)},
    {NUMBER(cut_write_ns)},
    {NUMBER(cut_rows)},
    {NUMBER(cut_bytes)},
    {NUMBER(pushes_applied)},
    {NUMBER(pushes_durable)},
    {NUMBER(busy_ns)},
    {NUMBER(request_ns)},
    {NUMBER(log_writes)},
    {NUMBER(log_records)},
    {NUMBER(log_bytes)},
    {NUMBER(log_write_ns)},
    {NUMBER(memory_bytes)},
    {NUMBER(memory_bytes_max)},
    {NUMBER(storage_bytes)},
    {NUMBER(copy_bytes)},
    {NUMBER(taken_bytes)},
    {NUMBER(heap_bytes)},
    {NUMBER(process_bytes)},
    {NUMBER(program_bytes)},
    {NUMBER(other_bytes)},
    {NUMBER(kept_bytes)},
    {NUMBER(counted_bytes)},
    {NUMBER(rows_in_memory)},
    {NUMBER(rows_evicted)},
    {NUMBER(rows_fetched)},
    {NUMBER(checkpoint_parts)},
    {NUMBER(checkpoint_bytes)},
    {NUMBER(checkpoint_bytes_new)},
    {NUMBER(rows_expired)},
    {NUMBER(rows_refused)},
#undef NUMBER
};

static void write_numbers(const hotrow_shard_counts *c, writer *w)
{
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    uint64_t value;
    memcpy(&value, (const char *)c + numbers[i].offset, sizeof value);
    write_counter(w, numbers[i].name, value);
  }
  write_counter(w, "is_durable", c->is_durable);
  write_counter(w, "degraded", c->is_degraded);
  write_counter(w, "ticks", c->messages[HR_OP_TICK]);
}

static void write_times(writer *w, const char *name, const uint64_t *times)
{
  write_text(w, ",\"%s\":[", name);
  for (size_t i = 0; i < HOTROW_TIME_BUCKETS; i++)
    write_text(w, "%s%llu", i ? "," : "", (unsigned long long)times[i]);
  write_text(w, "]");
}

static void write_arrays(const hr_shard_counters *c, writer *w)
{
  static const char *const dtypes[] = {"f32", "f16", "i8"};
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
    write_text(w, ",\"bytes_pulled_%s\":%llu,\"bytes_pushed_%s\":%llu", dtypes[i],
               (unsigned long long)c->bytes_pulled[i], dtypes[i], (unsigned long long)c->bytes_pushed[i]);
  write_times(w, "request_times", c->request_times);
  write_times(w, "cut_turn_times", c->cut_turn_times);
  write_text(w, ",\"messages\":{");
  for (int op = HR_OP_HELLO; op < HR_OP_COUNT; op++)
    write_text(w, "%s\"%s\":%llu", op > HR_OP_HELLO ? "," : "", hr_op_name((uint8_t)op),
               (unsigned long long)c->messages[op]);
  write_text(w, "},\"refused\":{");
  for (size_t i = 0; i < HR_REFUSED_COUNT; i++)
    write_text(w, "%s\"%s\":%llu", i ? "," : "", reasons[i], (unsigned long long)c->refused[i]);
  write_text(w, "}");
}

size_t hr_shard_stats_json(const hr_shard *shard, char *text, size_t text_size)
{
  hotrow_shard_counts counts;
  writer w = {.text = text, .size = text_size};
  hr_shard_get_counts(shard, &counts);
  /* As text: the epoch has 64 bits, and many readers of JSON keep 53 of a number. */
  write_text(&w, "{\"shard\":%u,\"shard_count\":%u,\"epoch\":\"%016llx\"", shard->options.shard_index,
             shard->options.shard_count, (unsigned long long)shard->options.epoch);
  write_numbers(&counts, &w);
  write_arrays(&shard->counters, &w);
  write_tables(shard, &w);
  write_text(&w, "}");
  return w.used;
}

hotrow_status hr_admin_stats(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_reply_begin(shard, session, &message->header);
  /* This very reply may make a number longer. */
  size_t room_bytes = hr_shard_stats_json(shard, NULL, 0) + 64;
  char *text = hr_reply_take(shard, room_bytes);
  size_t size_bytes = hr_shard_stats_json(shard, text, room_bytes);
  HOTROW_ASSERT(size_bytes < room_bytes && size_bytes <= HR_WIRE_STATS_BYTES_MAX);
  shard->reply.body = text;
  shard->reply.body_size = size_bytes;
  hr_reply_send(shard);
  return HOTROW_OK;
}
