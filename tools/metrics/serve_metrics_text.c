/* Prometheus' text format, version 0.0.4: families one after the other, each with HELP, TYPE and a sample per shard. */
#include "serve_metrics.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef enum kind { COUNTER, GAUGE, COUNTER_NS /* of nanoseconds: told in seconds */ } kind;

typedef struct family {
  const char *name;
  kind kind;
  size_t offset; /* in hotrow_shard_counts */
  const char *help;
} family;

#define AT(field) offsetof(hotrow_shard_counts, field)
static const family families[] = {
    {"hotrow_degraded", GAUGE, AT(is_degraded),
     "1 if the data directory takes no cuts: reads go on, nothing becomes durable."},
    {"hotrow_sessions", GAUGE, AT(sessions), "Clients that have greeted the shard."},
    {"hotrow_jobs", GAUGE, AT(jobs), "Training jobs with workers on the shard."},
    {"hotrow_tables", GAUGE, AT(tables), "Tables."},
    {"hotrow_rows", GAUGE, AT(rows), "Rows of all tables."},
    {"hotrow_rows_in_memory", GAUGE, AT(rows_in_memory), "Rows of them that are not in the data directory only."},
    {"hotrow_memory_counted_bytes", GAUGE, AT(memory_bytes),
     "Memory that the shard counts: the sum of hotrow_memory_bytes."},
    {"hotrow_memory_taken_bytes", GAUGE, AT(taken_bytes),
     "Of hotrow_memory_max_bytes, with room for copies of changed rows that are still to be made."},
    {"hotrow_memory_max_bytes", GAUGE, AT(memory_bytes_max), "Memory that tables and buffers may take; 0: no bound."},
    {"hotrow_process_bytes", GAUGE, AT(process_bytes), "Memory of the whole process, as the system counts it."},
    {"hotrow_process_counted_bytes", GAUGE, AT(counted_bytes),
     "The same as it is counted: all its shards' and the next three."},
    {"hotrow_process_program_bytes", GAUGE, AT(program_bytes), "Program, libraries and what it began with."},
    {"hotrow_process_other_bytes", GAUGE, AT(other_bytes),
     "Given out by malloc and counted by no shard: messages on their way, connections."},
    {"hotrow_process_kept_bytes", GAUGE, AT(kept_bytes), "Freed and kept by malloc."},
    {"hotrow_held_bytes", GAUGE, AT(held_bytes), "Requests that wait for their exact step."},
    {"hotrow_parked_bytes", GAUGE, AT(parked_bytes),
     "Requests that wait for rows to be read, and what is read for them."},
    {"hotrow_dirty_bytes", GAUGE, AT(dirty_bytes), "Rows that changed since the last cut."},
    {"hotrow_unread_bytes", GAUGE, AT(unread_bytes), "Large replies that clients have not taken yet."},
    {"hotrow_pulls_total", COUNTER, AT(pulls), "Pulls answered."},
    {"hotrow_pulls_held_total", COUNTER, AT(pulls_held), "Pulls that had to wait for their exact step."},
    {"hotrow_pushes_total", COUNTER, AT(pushes), "Pushes taken."},
    {"hotrow_push_repeats_total", COUNTER, AT(push_repeats), "Pushes that came again and were not applied again."},
    {"hotrow_rows_pulled_total", COUNTER, AT(rows_pulled), "Rows sent."},
    {"hotrow_rows_kept_total", COUNTER, AT(rows_kept),
     "Rows asked about that the client held and that were fresh enough."},
    {"hotrow_rows_pushed_total", COUNTER, AT(rows_pushed), "Rows whose gradients were applied."},
    {"hotrow_rows_expired_total", COUNTER, AT(rows_expired), "Rows that went for good."},
    {"hotrow_rows_refused_total", COUNTER, AT(rows_refused),
     "Rows whose gradients were dropped, as their keys have no row yet."},
    {"hotrow_pulled_bytes_total", COUNTER, AT(bytes_pulled), "Values sent."},
    {"hotrow_pushed_bytes_total", COUNTER, AT(bytes_pushed), "Gradients applied."},
    {"hotrow_rows_evicted_total", COUNTER, AT(rows_evicted), "Rows that left memory for others."},
    {"hotrow_rows_fetched_total", COUNTER, AT(rows_fetched), "Rows that came back from the data directory."},
    {"hotrow_requests_parked_total", COUNTER, AT(requests_parked), "Requests that waited for rows to be read."},
    {"hotrow_announcements_total", COUNTER, AT(announcements), "Rows announced to have moved on."},
    {"hotrow_announcement_resets_total", COUNTER, AT(resets), "Replies that had to say that announcements are lost."},
    {"hotrow_replies_dropped_total", COUNTER, AT(replies_dropped), "Replies that nobody took."},
    {"hotrow_cuts_total", COUNTER, AT(cuts), "Cuts handed to the storage."},
    {"hotrow_cuts_durable_total", COUNTER, AT(cuts_durable), "Cuts that are on disk."},
    {"hotrow_cut_copy_seconds_total", COUNTER_NS, AT(cut_copy_ns), "Time of the shard's thread that cuts took."},
    {"hotrow_cut_write_seconds_total", COUNTER_NS, AT(cut_write_ns),
     "Time of writing cuts, beside the shard's thread."},
    {"hotrow_cut_rows_total", COUNTER, AT(cut_rows), "Rows written in cuts."},
    {"hotrow_cut_written_bytes_total", COUNTER, AT(cut_bytes), "Keys and values written in cuts."},
    {"hotrow_checkpoint_parts_total", COUNTER, AT(checkpoint_parts),
     "Parts of checkpoints made from the data directory."},
    {"hotrow_checkpoint_bytes_total", COUNTER, AT(checkpoint_bytes), "Bytes of all their files."},
    {"hotrow_checkpoint_new_bytes_total", COUNTER, AT(checkpoint_bytes_new),
     "Bytes of the files that the part before did not have."},
    {"hotrow_log_writes_total", COUNTER, AT(log_writes), "Groups of records written to the log of pushes."},
    {"hotrow_log_records_total", COUNTER, AT(log_records), "Records written to the log of pushes."},
    {"hotrow_log_written_bytes_total", COUNTER, AT(log_bytes), "Bytes written to the log of pushes."},
    {"hotrow_log_write_seconds_total", COUNTER_NS, AT(log_write_ns),
     "Time of writing the log, beside the shard's thread."},
    {"hotrow_busy_seconds_total", COUNTER_NS, AT(busy_ns),
     "Time that the shard's one thread spent on messages and cuts."},
};
#undef AT

static uint64_t value_at(const hotrow_shard_counts *counts, size_t offset)
{
  uint64_t value;
  memcpy(&value, (const char *)counts + offset, sizeof value);
  return value;
}

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
  fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_family(FILE *out, const family *f, const hotrow_shard_counts *counts, uint32_t shards)
{
  print_head(out, f->name, f->kind == GAUGE ? "gauge" : "counter", f->help);
  for (uint32_t i = 0; i < shards; i++) {
    uint64_t value = value_at(&counts[i], f->offset);
    fprintf(out, "%s{shard=\"%" PRIu64 "\"} ", f->name, counts[i].shard);
    if (f->kind == COUNTER_NS)
      fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", value / 1000000000u, value % 1000000000u);
    else
      fprintf(out, "%" PRIu64 "\n", value);
  }
}

static void print_info(FILE *out, const hotrow_shard_counts *counts, uint32_t shards)
{
  print_head(out, "hotrow_shard_info", "gauge", "1; the epoch is another after every start.");
  for (uint32_t i = 0; i < shards; i++)
    fprintf(out, "hotrow_shard_info{shard=\"%" PRIu64 "\",shard_count=\"%" PRIu64 "\",epoch=\"%016" PRIx64 "\"} 1\n",
            counts[i].shard, counts[i].shard_count, counts[i].epoch);
}

static void print_memory(FILE *out, const hotrow_shard_counts *counts, uint32_t shards)
{
  static const struct {
    const char *name;
    size_t offset;
  } parts[] = {{"values", offsetof(hotrow_shard_counts, value_bytes)},
               {"state", offsetof(hotrow_shard_counts, state_bytes)},
               {"index", offsetof(hotrow_shard_counts, index_bytes)},
               {"buffers", offsetof(hotrow_shard_counts, buffer_bytes)},
               {"storage", offsetof(hotrow_shard_counts, storage_bytes)},
               {"copies", offsetof(hotrow_shard_counts, copy_bytes)}};
  print_head(out, "hotrow_memory_bytes", "gauge", "Memory by what it holds.");
  for (uint32_t i = 0; i < shards; i++)
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
      fprintf(out, "hotrow_memory_bytes{shard=\"%" PRIu64 "\",of=\"%s\"} %" PRIu64 "\n", counts[i].shard, parts[p].name,
              value_at(&counts[i], parts[p].offset));
}

static void print_lag(FILE *out, const hotrow_shard_counts *counts, uint32_t shards)
{
  print_head(out, "hotrow_durable_lag_pushes", "gauge",
             "Pushes that are applied and would have to be sent again if the shard died now.");
  for (uint32_t i = 0; i < shards; i++)
    fprintf(out, "hotrow_durable_lag_pushes{shard=\"%" PRIu64 "\"} %" PRIu64 "\n", counts[i].shard,
            counts[i].is_durable ? counts[i].pushes_applied - counts[i].pushes_durable : 0);
}

static void print_by_name(FILE *out, const hotrow_shard_counts *counts, uint32_t shards)
{
  print_head(out, "hotrow_messages_total", "counter", "Requests understood, by operation.");
  for (uint32_t i = 0; i < shards; i++)
    for (uint32_t op = 1; op < HOTROW_OP_COUNT; op++)
      fprintf(out, "hotrow_messages_total{shard=\"%" PRIu64 "\",op=\"%s\"} %" PRIu64 "\n", counts[i].shard,
              hotrow_op_name(op), counts[i].messages[op]);
  print_head(out, "hotrow_refused_messages_total", "counter", "Messages refused, by reason.");
  for (uint32_t i = 0; i < shards; i++)
    for (uint32_t reason = 0; reason < HOTROW_REFUSAL_COUNT; reason++)
      fprintf(out, "hotrow_refused_messages_total{shard=\"%" PRIu64 "\",reason=\"%s\"} %" PRIu64 "\n", counts[i].shard,
              hotrow_refusal_name(reason), counts[i].refused[reason]);
}

static void print_times(FILE *out, const char *name, const hotrow_shard_counts *c, const uint64_t *times, uint64_t ns)
{
  uint64_t below = 0;
  for (uint32_t b = 0; b + 1 < HOTROW_TIME_BUCKETS; b++) {
    below += times[b];
    fprintf(out, "%s_bucket{shard=\"%" PRIu64 "\",le=\"%.9g\"} %" PRIu64 "\n", name, c->shard, ldexp(1e-6, (int)b),
            below);
  }
  below += times[HOTROW_TIME_BUCKETS - 1];
  fprintf(out, "%s_bucket{shard=\"%" PRIu64 "\",le=\"+Inf\"} %" PRIu64 "\n", name, c->shard, below);
  fprintf(out, "%s_sum{shard=\"%" PRIu64 "\"} %" PRIu64 ".%09" PRIu64 "\n", name, c->shard, ns / 1000000000u,
          ns % 1000000000u);
  fprintf(out, "%s_count{shard=\"%" PRIu64 "\"} %" PRIu64 "\n", name, c->shard, below);
}

static void print_histograms(FILE *out, const hotrow_shard_counts *counts, uint32_t shards)
{
  static const char request[] = "hotrow_request_seconds", turn[] = "hotrow_cut_turn_seconds";
  print_head(out, request, "histogram", "Time of a pull or push on the shard's thread.");
  for (uint32_t i = 0; i < shards; i++)
    print_times(out, request, &counts[i], counts[i].request_times, counts[i].request_ns);
  print_head(out, turn, "histogram", "Time of the shard's thread in one turn of copying a cut, between requests.");
  for (uint32_t i = 0; i < shards; i++)
    print_times(out, turn, &counts[i], counts[i].cut_turn_times, counts[i].cut_copy_ns);
}

void hr_metrics_print(FILE *out, const hotrow_shard_counts *counts, uint32_t shards)
{
  print_info(out, counts, shards);
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    print_family(out, &families[i], counts, shards);
  print_memory(out, counts, shards);
  print_lag(out, counts, shards);
  print_by_name(out, counts, shards);
  print_histograms(out, counts, shards);
}
