#include "report.h"

#include <stdio.h>
#include <stdlib.h>

#include <hr/memory.h>

/* The counters that ranks exchange. */
enum { BYTES, HITS, DISTINCT, UNSEEN_MAX, PENDING_MAX, COUNTER_COUNT };
#define LIMBS 4u /* of 16 bits: an integer that a float holds exactly */

static void get_counters(const hr_train_rank *rank, uint64_t counters[COUNTER_COUNT])
{
  hotrow_client_stats stats;
  hotrow_client_get_stats(rank->client, &stats);
  counters[BYTES] = stats.bytes_sent + stats.bytes_received;
  /* A row fetched early is a row fetched. */
  counters[HITS] = stats.hits > stats.prefetched ? stats.hits - stats.prefetched : 0;
  counters[DISTINCT] = stats.hits + stats.stale + stats.misses;
  counters[UNSEEN_MAX] = stats.unseen_max;
  counters[PENDING_MAX] = stats.pending_max;
}

/* Each rank fills its own slots of a zeroed array, in limbs, and the sum over ranks is everyone's counters. */
static hotrow_status gather_counters(hr_trainer *trainer, uint64_t totals[COUNTER_COUNT])
{
  const size_t limbs_per_rank = (size_t)COUNTER_COUNT * LIMBS;
  const size_t count = trainer->options.workers * limbs_per_rank;
  void *memory;
  HOTROW_TRY(hr_alloc(count, sizeof(float), "counters of all ranks", &memory));
  float *limbs = memory;
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    uint64_t counters[COUNTER_COUNT];
    get_counters(&trainer->ranks[i], counters);
    for (size_t j = 0; j < limbs_per_rank; j++)
      limbs[trainer->ranks[i].rank * limbs_per_rank + j] = (float)(uint16_t)(counters[j / LIMBS] >> 16 * (j % LIMBS));
  }
  hotrow_status status = hr_trainer_allreduce(trainer, limbs, count);
  for (size_t c = 0; c < COUNTER_COUNT; c++)
    totals[c] = 0;
  for (uint32_t rank = 0; rank < trainer->options.workers; rank++) {
    for (size_t c = 0; c < COUNTER_COUNT; c++) {
      uint64_t value = 0;
      for (size_t l = 0; l < LIMBS; l++)
        value |= (uint64_t)limbs[(rank * COUNTER_COUNT + c) * LIMBS + l] << 16 * l;
      if (c == UNSEEN_MAX || c == PENDING_MAX)
        totals[c] = value > totals[c] ? value : totals[c];
      else
        totals[c] += value;
    }
  }
  free(memory);
  return status;
}

/* One line of the result. Text is printed as it is, or as a JSON string. */
typedef struct report_line {
  const char *name;
  enum { WHOLE, REAL, TEXT } kind;
  uint64_t whole;
  double real;
  const char *text;
} report_line;

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

static void print_value(const report_line *line, bool json)
{
  if (line->kind == WHOLE)
    printf("%llu", (unsigned long long)line->whole);
  else if (line->kind == REAL)
    printf("%.9g", line->real);
  else if (json)
    print_json_string(line->text);
  else
    printf("%s", line->text);
}

static void print_lines(const report_line *lines, size_t count, bool json)
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

hotrow_status hr_report(hr_trainer *trainer)
{
  uint64_t totals[COUNTER_COUNT];
  HOTROW_TRY(gather_counters(trainer, totals));
  if (trainer->ranks[0].rank != 0)
    return HOTROW_OK;
  const hr_train_options *options = &trainer->options;
  const hr_dataset_info *info = hr_dataset_get_info(trainer->test_data);
  const uint64_t samples = trainer->step * options->workers * options->batch;
  const double seconds = (double)trainer->train_ns / 1e9;
#define LINE_WHOLE(name, value)                                                                                        \
  {                                                                                                                    \
    name, WHOLE, (value), 0, NULL                                                                                      \
  }
#define LINE_REAL(name, value)                                                                                         \
  {                                                                                                                    \
    name, REAL, 0, (value), NULL                                                                                       \
  }
#define LINE_TEXT(name, value)                                                                                         \
  {                                                                                                                    \
    name, TEXT, 0, 0, (value)                                                                                          \
  }
  const report_line lines[] = {
      LINE_TEXT("model", trainer->model->name),
      LINE_TEXT("data", info->name),
      LINE_WHOLE("workers", options->workers),
      LINE_WHOLE("shards", shard_count(options->shards)),
      LINE_WHOLE("dim", options->dim),
      LINE_WHOLE("batch", options->batch),
      LINE_WHOLE("pull_bound", options->pull_bound),
      LINE_WHOLE("push_bound", options->push_bound),
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
      LINE_REAL("cache_hit_rate", ratio((double)totals[HITS], (double)totals[DISTINCT])),
      LINE_REAL("wire_bytes_per_sample", ratio((double)totals[BYTES], (double)samples)),
      LINE_WHOLE("unseen_max", totals[UNSEEN_MAX]),
      LINE_WHOLE("pending_max", totals[PENDING_MAX]),
      LINE_REAL("teacher_auc", info->teacher_auc), /* last: only of data that has one */
  };
  const size_t count = sizeof lines / sizeof *lines;
  print_lines(lines, info->teacher_auc > 0 ? count : count - 1, options->json);
  return HOTROW_OK;
}
