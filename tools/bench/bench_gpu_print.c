/* How large everything is that `bench gpu` measures, and the lines that it prints. */
#include <stdio.h>

#include "bench_gpu.h"

#define KEYS_MIN 256u

void gpu_sizes_make(const bench_gpu_options *options, gpu_sizes *sizes_p)
{
  const uint64_t rows = options->rows;
  uint64_t keys = options->keys > 0 ? options->keys : rows / 64;
  if (keys < KEYS_MIN)
    keys = KEYS_MIN;
  if (keys > rows / 16) /* a cache of a quarter of the rows, half full, holds two batches */
    keys = rows / 16;
  const uint64_t hot = keys / 2 / GPU_HOT_KEYS;
  *sizes_p = (gpu_sizes){
      .rows = rows,
      .keys = keys,
      .many_keys = 16 * keys,
      .hot_occurrences = hot < 100000 ? hot : 100000,
      .copy_bytes = 16 * rows,
      .cache_rows = rows / 4,
      .step_ids = keys * 13 / 8 / GPU_STEP_FIELDS * GPU_STEP_FIELDS,
      .lookup_rows = rows * 25 / 16,
      .lookup_keys = keys * 13 / 64,
  };
}

static const char *goal_text(const gpu_line *line, char *text, size_t size)
{
  switch (line->goal) {
  case GPU_COPY_FRACTION:
    snprintf(text, size, ">= %.2f of copy", line->goal_value);
    break;
  case GPU_RATE:
    snprintf(text, size, ">= %.1f G/s", line->goal_value);
    break;
  case GPU_TIME:
    snprintf(text, size, "<= %.0f us", line->goal_value);
    break;
  case GPU_NO_GOAL:
    text[0] = '\0';
    break;
  }
  return text;
}

static bool is_met(const gpu_line *line, double fraction, double rate, double time_us)
{
  return line->goal == GPU_COPY_FRACTION ? fraction >= line->goal_value
         : line->goal == GPU_RATE        ? rate >= line->goal_value
                                         : time_us <= line->goal_value;
}

void gpu_print_header(const gpu_bench *b)
{
  const hotrow_device_info *d = &b->device;
  if (b->options->json)
    return;
  printf("%s, sm_%u, %u multiprocessors, %.1f GiB of memory, %.0f MiB of cache\n", d->name, d->architecture,
         d->processor_count, (double)d->memory_bytes / 0x1p30, (double)d->cache_bytes / 0x1p20);
  printf("%-12s %4s  %-44s %10s %10s %10s %8s %8s %8s %7s  target\n", "kernel", "dim", "shape", "us", "min", "max",
         "G/s", "B each", "GB/s", "of copy");
}

static void print_json(const gpu_bench *b, const gpu_line *line, const gpu_times *times, double rate, double gb_per_s,
                       double fraction)
{
  char goal[32];
  printf("{\"device\":\"%s\",\"kernel\":\"%s\",\"dim\":%u,\"shape\":\"%s\",\"keys\":%llu,\"us\":%.3f,\"us_min\":%.3f,"
         "\"us_max\":%.3f,\"gkeys_per_s\":%.6g,\"bytes_per_key\":%.1f,\"gb_per_s\":%.6g,\"copy_fraction\":%.6g",
         b->device.name, line->kernel, line->dim, line->shape, (unsigned long long)line->units, times->median_us,
         times->min_us, times->max_us, rate, line->bytes / (double)line->units, gb_per_s, fraction);
  if (line->goal != GPU_NO_GOAL)
    printf(",\"target\":\"%s\",\"met\":%s", goal_text(line, goal, sizeof goal),
           is_met(line, fraction, rate, times->median_us) ? "true" : "false");
  printf(",\"repeats\":%u}\n", b->options->repeats);
}

void gpu_print_line(gpu_bench *b, const gpu_line *line, const gpu_times *times)
{
  const double rate = (double)line->units / times->median_us * 1e-3; /* a thousand a microsecond is a G a second */
  const double gb_per_s = line->bytes / times->median_us * 1e-3;
  const double fraction = b->copy_gb_per_s > 0 ? gb_per_s / b->copy_gb_per_s : 1;
  const bool met = line->goal != GPU_NO_GOAL && is_met(line, fraction, rate, times->median_us);
  char dim[16] = "", goal[32];
  b->met_count += met;
  b->missed_count += line->goal != GPU_NO_GOAL && !met;
  if (b->options->json)
    print_json(b, line, times, rate, gb_per_s, fraction);
  else {
    if (line->dim > 0)
      snprintf(dim, sizeof dim, "%u", line->dim);
    printf("%-12s %4s  %-44s %10.1f %10.1f %10.1f %8.3f %8.1f %8.1f %7.3f  %s%s\n", line->kernel, dim, line->shape,
           times->median_us, times->min_us, times->max_us, rate, line->bytes / (double)line->units, gb_per_s, fraction,
           goal_text(line, goal, sizeof goal),
           line->goal == GPU_NO_GOAL ? ""
           : met                     ? ": met"
                                     : ": MISSED");
  }
  fflush(stdout);
}
