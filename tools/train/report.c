#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/memory.h>

#define LIMBS 4u /* of 16 bits: an integer that a float holds exactly */

const char *const hr_byte_kind_names[HR_BYTE_KIND_COUNT] = {"miss", "stale", "push", "announce", "probe", "overhead"};

void hr_get_counters(const hotrow_client_stats *stats, uint64_t counters[HR_STATS_COUNT])
{
  counters[HR_BYTES_MISS] = stats->bytes_miss;
  counters[HR_BYTES_STALE] = stats->bytes_stale;
  counters[HR_BYTES_PUSH] = stats->bytes_push;
  counters[HR_BYTES_ANNOUNCE] = stats->bytes_announce;
  counters[HR_BYTES_PROBE] = stats->bytes_probe;
  counters[HR_BYTES_OVERHEAD] = stats->bytes_overhead;
  /* A row fetched early is a row fetched. */
  counters[HR_HITS] = stats->hits > stats->lookahead_hits ? stats->hits - stats->lookahead_hits : 0;
  counters[HR_DISTINCT] = stats->hits + stats->stale + stats->misses;
  counters[HR_STALL_NS] = stats->stall_ns;
  counters[HR_UNSEEN_SUM] = stats->unseen_sum;
  counters[HR_UNSEEN_COUNT] = stats->hits;
  counters[HR_UNSEEN_MAX] = stats->unseen_max;
  counters[HR_PENDING_MAX] = stats->pending_max;
  for (size_t b = 0; b < HOTROW_UNSEEN_BUCKETS; b++)
    counters[HR_UNSEEN_BUCKETS + b] = stats->unseen_counts[b];
}

/* Each rank fills its own slots of a zeroed array, in limbs, and the sum over ranks is everyone's counters. */
static hotrow_status gather_counters(hr_trainer *trainer, uint64_t totals[HR_COUNTER_COUNT])
{
  const size_t limbs_per_rank = (size_t)HR_COUNTER_COUNT * LIMBS;
  const size_t count = trainer->options.workers * limbs_per_rank;
  void *memory;
  HOTROW_TRY(hr_alloc(count, sizeof(float), "counters of all ranks", &memory));
  float *limbs = memory;
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    uint64_t counters[HR_COUNTER_COUNT] = {0};
    hotrow_client_stats stats;
    hotrow_client_get_stats(trainer->ranks[i].client, &stats);
    hr_get_counters(&stats, counters);
    if (i == 0) { /* time is the process's */
      memcpy(counters + HR_PHASES, trainer->phase_ns, sizeof trainer->phase_ns);
      counters[HR_PASS_NS] = (uint64_t)(trainer->pass_ms * 1e6);
    }
    for (size_t j = 0; j < limbs_per_rank; j++)
      limbs[trainer->ranks[i].rank * limbs_per_rank + j] = (float)(uint16_t)(counters[j / LIMBS] >> 16 * (j % LIMBS));
  }
  hotrow_status status = hr_trainer_allreduce(trainer, limbs, count);
  for (size_t c = 0; c < HR_COUNTER_COUNT; c++)
    totals[c] = 0;
  for (uint32_t rank = 0; rank < trainer->options.workers; rank++) {
    for (size_t c = 0; c < HR_COUNTER_COUNT; c++) {
      uint64_t value = 0;
      for (size_t l = 0; l < LIMBS; l++)
        value |= (uint64_t)limbs[(rank * HR_COUNTER_COUNT + c) * LIMBS + l] << 16 * l;
      if (c == HR_UNSEEN_MAX || c == HR_PENDING_MAX)
        totals[c] = value > totals[c] ? value : totals[c];
      else
        totals[c] += value;
    }
  }
  free(memory);
  return status;
}

static void print_json_string(const char *text)
{
  putchar('"');
  for (; *text != '\0'; text++) {
    if (*text == '"' || *text == '\\')
      printf("\\%c", *text);
    else if ((unsigned char)*text < 0x20)
      printf("\\u%04x", (unsigned)*text);
    else
      putchar(*text);
  }
  putchar('"');
}

static void print_list(const hr_report_line *line, bool json)
{
  for (uint64_t i = 0; i < line->whole; i++)
    printf("%s%llu", i > 0 ? json ? "," : " " : json ? "[" : "", (unsigned long long)line->list[i]);
  printf("%s", !json ? "" : line->whole > 0 ? "]" : "[]");
}

static void print_value(const hr_report_line *line, bool json)
{
  if (line->kind == HR_LINE_LIST)
    print_list(line, json);
  else if (line->kind == HR_LINE_WHOLE)
    printf("%llu", (unsigned long long)line->whole);
  else if (line->kind == HR_LINE_REAL)
    printf("%.9g", line->real);
  else if (json)
    print_json_string(line->text);
  else
    printf("%s", line->text);
}

static void print_lines(const hr_report_line *lines, size_t count, bool json)
{
  if (json)
    putchar('{');
  for (size_t i = 0; i < count; i++) {
    if (json)
      printf("%s\"%s\": ", i > 0 ? ", " : "", lines[i].name);
    else
      printf("%-24s", lines[i].name);
    print_value(&lines[i], json);
    if (!json)
      putchar('\n');
  }
  if (json)
    puts("}");
  fflush(stdout);
}

static uint64_t shard_count(const char *shards)
{
  uint64_t count = 1;
  for (; *shards != '\0'; shards++)
    count += *shards == ',';
  return count;
}

static double ratio(double part, double whole)
{
  return whole > 0 ? part / whole : 0;
}

/* Buckets without the empty ones at the end. */
static uint64_t used_buckets(const uint64_t totals[HR_COUNTER_COUNT])
{
  uint64_t count = HOTROW_UNSEEN_BUCKETS;
  while (count > 0 && totals[HR_UNSEEN_BUCKETS + count - 1] == 0)
    count--;
  return count;
}

/* Of a process, on average. */
static double phase_seconds(const hr_trainer *trainer, const uint64_t totals[HR_COUNTER_COUNT], size_t counter)
{
  const uint32_t process_count = trainer->comm != NULL ? trainer->options.workers : 1;
  return (double)totals[counter] / 1e9 / process_count;
}

#define LINE_WHOLE(name, value)                                                                                        \
  {                                                                                                                    \
    name, HR_LINE_WHOLE, (value), 0, NULL, NULL                                                                        \
  }
#define LINE_REAL(name, value)                                                                                         \
  {                                                                                                                    \
    name, HR_LINE_REAL, 0, (value), NULL, NULL                                                                         \
  }
#define LINE_TEXT(name, value)                                                                                         \
  {                                                                                                                    \
    name, HR_LINE_TEXT, 0, 0, (value), NULL                                                                            \
  }

hotrow_status hr_report(hr_trainer *trainer)
{
  uint64_t totals[HR_COUNTER_COUNT];
  HOTROW_TRY(gather_counters(trainer, totals));
  if (trainer->ranks[0].rank != 0)
    return HOTROW_OK;
  const hr_train_options *options = &trainer->options;
  const hr_dataset_info *info = hr_dataset_get_info(trainer->test_data);
  const uint64_t samples = (trainer->step - trainer->first_step) * options->workers * options->batch;
  const double seconds = (double)trainer->train_ns / 1e9;
  double bytes = 0;
  for (size_t k = 0; k < HR_BYTE_KIND_COUNT; k++)
    bytes += (double)totals[k];
  const hr_report_line lines[] = {
      LINE_TEXT("model", trainer->model->name),
      LINE_TEXT("data", info->name),
      LINE_TEXT("device", trainer->dense->kernels->name),
      LINE_WHOLE("workers", options->workers),
      LINE_WHOLE("shards", shard_count(options->shards)),
      LINE_WHOLE("dim", options->dim),
      LINE_WHOLE("batch", options->batch),
      LINE_WHOLE("pull_bound", trainer->pull_bound),
      LINE_WHOLE("push_bound", trainer->push_bound),
      LINE_WHOLE("cache_rows", options->cache_rows),
      LINE_WHOLE("seed", options->seed),
      LINE_WHOLE("epochs", trainer->epoch),
      LINE_WHOLE("steps", trainer->step),
      LINE_WHOLE("samples", samples),
      LINE_REAL("seconds", seconds),
      LINE_REAL("samples_per_s", ratio((double)samples, seconds)),
      LINE_WHOLE("best_step", trainer->best_step),
      LINE_REAL("train_logloss", trainer->train_logloss),
      LINE_REAL("valid_auc", trainer->valid.auc),
      LINE_REAL("valid_logloss", trainer->valid.logloss),
      LINE_REAL("auc", trainer->test.auc),
      LINE_REAL("logloss", trainer->test.logloss),
      LINE_REAL("cache_hit_rate", ratio((double)totals[HR_HITS], (double)totals[HR_DISTINCT])),
      LINE_REAL("read_seconds", phase_seconds(trainer, totals, HR_PHASES + HR_PHASE_READ)),
      LINE_REAL("lookup_seconds", phase_seconds(trainer, totals, HR_PHASES + HR_PHASE_LOOKUP)),
      LINE_REAL("dense_seconds", phase_seconds(trainer, totals, HR_PHASES + HR_PHASE_DENSE)),
      LINE_REAL("push_seconds", phase_seconds(trainer, totals, HR_PHASES + HR_PHASE_PUSH)),
      LINE_REAL("sum_seconds", phase_seconds(trainer, totals, HR_PHASES + HR_PHASE_SUM)),
      LINE_REAL("device_seconds", phase_seconds(trainer, totals, HR_PASS_NS)),
      LINE_REAL("stall_seconds", (double)totals[HR_STALL_NS] / 1e9 / options->workers),
      LINE_REAL("wire_bytes_per_sample", ratio(bytes, (double)samples)),
      LINE_REAL("bytes_miss", ratio((double)totals[HR_BYTES_MISS], (double)samples)),
      LINE_REAL("bytes_stale", ratio((double)totals[HR_BYTES_STALE], (double)samples)),
      LINE_REAL("bytes_push", ratio((double)totals[HR_BYTES_PUSH], (double)samples)),
      LINE_REAL("bytes_announce", ratio((double)totals[HR_BYTES_ANNOUNCE], (double)samples)),
      LINE_REAL("bytes_probe", ratio((double)totals[HR_BYTES_PROBE], (double)samples)),
      LINE_REAL("bytes_overhead", ratio((double)totals[HR_BYTES_OVERHEAD], (double)samples)),
      LINE_REAL("unseen_mean", ratio((double)totals[HR_UNSEEN_SUM], (double)totals[HR_UNSEEN_COUNT])),
      LINE_WHOLE("unseen_max", totals[HR_UNSEEN_MAX]),
      LINE_WHOLE("pending_max", totals[HR_PENDING_MAX]),
      {"unseen_counts", HR_LINE_LIST, used_buckets(totals), 0, NULL, totals + HR_UNSEEN_BUCKETS},
      LINE_REAL("teacher_auc", info->teacher_auc), /* last: only of data that has one */
  };
  const size_t count = sizeof lines / sizeof *lines - (info->teacher_auc > 0 ? 0 : 1);
  print_lines(lines, count, options->json);
  return options->report != NULL ? hr_report_write(trainer, lines, count, totals) : HOTROW_OK;
}
