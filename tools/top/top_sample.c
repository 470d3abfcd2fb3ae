#include "top_sample.h"

#include <math.h>

const char *hr_top_state_name(hr_top_state state)
{
  static const char *const names[] = {"ok", "degraded", "silent", "refused"};
  return names[state];
}

double hr_top_quantile_us(const uint64_t times[HOTROW_TIME_BUCKETS], double share)
{
  uint64_t total = 0, below = 0;
  for (uint32_t b = 0; b < HOTROW_TIME_BUCKETS; b++)
    total += times[b];
  if (total == 0)
    return -1;
  double wanted = share * (double)total;
  uint32_t bucket = 0;
  while (bucket + 1 < HOTROW_TIME_BUCKETS && (double)(below + times[bucket]) < wanted)
    below += times[bucket++];
  double from = bucket == 0 ? 0 : exp2(bucket - 1), to = exp2(bucket);
  double inside = times[bucket] ? (wanted - (double)below) / (double)times[bucket] : 0;
  return from + (to - from) * inside;
}

static bool has_counts(const hr_top_sample *sample)
{
  return sample->state == HR_TOP_OK || sample->state == HR_TOP_DEGRADED;
}

static double rate(uint64_t before, uint64_t now, double seconds)
{
  return now > before ? (double)(now - before) / seconds : 0;
}

static uint64_t sum_refused(const hotrow_shard_counts *c)
{
  uint64_t sum = 0;
  for (uint32_t i = 0; i < HOTROW_REFUSAL_COUNT; i++)
    sum += c->refused[i];
  return sum;
}

static void fill_rates(const hotrow_shard_counts *a, const hotrow_shard_counts *b, hr_top_row *row)
{
  uint64_t times[HOTROW_TIME_BUCKETS];
  for (uint32_t i = 0; i < HOTROW_TIME_BUCKETS; i++)
    times[i] = b->request_times[i] - a->request_times[i];
  row->pulls_per_s = rate(a->pulls, b->pulls, row->seconds);
  row->pushes_per_s = rate(a->pushes, b->pushes, row->seconds);
  row->rows_per_s = rate(a->rows_pulled + a->rows_pushed, b->rows_pulled + b->rows_pushed, row->seconds);
  row->refused_per_s = rate(sum_refused(a), sum_refused(b), row->seconds);
  row->busy = fmin(1, rate(a->busy_ns, b->busy_ns, row->seconds) / 1e9);
  row->cut_ms = (double)(b->cut_copy_ns - a->cut_copy_ns) / 1e6;
  uint64_t log_writes = b->log_writes - a->log_writes;
  row->log_ms = log_writes > 0 ? (double)(b->log_write_ns - a->log_write_ns) / 1e6 / (double)log_writes : 0;
  row->p50_us = hr_top_quantile_us(times, 0.5);
  row->p99_us = hr_top_quantile_us(times, 0.99);
}

hr_top_row hr_top_compare(const hr_top_sample *before, const hr_top_sample *now)
{
  hr_top_row row = {.state = now->state, .p50_us = -1, .p99_us = -1};
  if (!has_counts(now))
    return row;
  const hotrow_shard_counts *c = &now->counts;
  row.rows = c->rows;
  row.memory_bytes = c->memory_bytes;
  row.counted_bytes = c->counted_bytes;
  row.process_bytes = c->process_bytes;
  row.dirty_bytes = c->dirty_bytes;
  row.durable_lag = c->is_durable ? c->pushes_applied - c->pushes_durable : 0;
  row.cuts = c->cuts;
  row.sessions = c->sessions;
  row.rows_gone = c->rows_expired;
  row.rows_refused = c->rows_refused;
  if (has_counts(before) && before->counts.epoch == c->epoch && now->time_ns > before->time_ns) {
    row.seconds = (double)(now->time_ns - before->time_ns) / 1e9;
    fill_rates(&before->counts, c, &row);
  }
  return row;
}
