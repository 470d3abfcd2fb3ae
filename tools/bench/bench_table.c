/* A shard's table alone, on one thread: inserts into an empty table, then probes, pulls and pushes of random rows.
 * Rates are per second of the thread's own CPU time, so that a busy machine disturbs them less; pauses also by the
 * clock on the wall. The plain gather copies the same rows, of known index, with the same kernel; the two-line gather
 * first reads of each row the line of the index that its key lies in or next to, of known place too: what a pull would
 * take if neither hashing nor comparing cost anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hr/clock.h>
#include <hr/memory.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#include "bench.h"
#include "options.h"
#include "table_state.h"

#define REPEATS_MAX 101u
#define LINES_AHEAD 32u
#define MEMORY_SHARE 0.9           /* of what is available: a larger table is left out */
#define INDEX_BYTES_PER_ROW_MAX 40 /* for that estimate */

typedef enum table_op { OP_PROBE, OP_GATHER, OP_TWO_LINES, OP_PULL, OP_PUSH, OP_COUNT } table_op;

typedef struct table_bench {
  const bench_table_options *options;
  hr_table *table; /* owned */
  uint64_t rows;
  uint64_t *keys;        /* owned: batches * batch_keys of the rows, at random */
  uint32_t *known;       /* owned: where their rows are */
  hr_bucket **homes;     /* owned: and their buckets */
  uint32_t *out_rows;    /* owned [batch_keys], like those below */
  uint32_t *out_clocks;  /* owned */
  float *values, *grads; /* owned [batch_keys][dim] */
  double *pauses[2];     /* owned: seconds of each insert, by the clock and of CPU time */
  double insert_rows_per_s;
  double rates[OP_COUNT][REPEATS_MAX], ratios[REPEATS_MAX], two_line_ratios[REPEATS_MAX];
  uint64_t lines_sum; /* of what the two-line gather has read */
  size_t rss_bytes;   /* that the table has taken */
} table_bench;

static const uint16_t dtypes[] = {HOTROW_F32, HOTROW_F16, HOTROW_BF16}; /* by the option storage_dtype */

static size_t payload_bytes(const table_bench *b)
{
  const bench_table_options *o = b->options;
  return o->dim * hr_dtype_bytes((hotrow_dtype)dtypes[o->storage_dtype]) +
         hr_table_get_layout(b->table)->state_dim * sizeof(float);
}

static double cpu_seconds(void)
{
  struct timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* kB of a line of a file under /proc, such as "MemAvailable:". */
static double read_kb(const char *path, const char *name)
{
  char line[256];
  unsigned long long kb = 0;
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0)
      kb = strtoull(line + strlen(name), NULL, 10);
  if (file)
    fclose(file);
  return (double)kb;
}

static hotrow_status open_table(table_bench *b)
{
  const bench_table_options *o = b->options;
  hr_table_desc desc = {.seed = 1, .dim = o->dim, .segment_count = 1, .name = "bench", .segments[0].dim = o->dim};
  desc.storage_dtype = dtypes[o->storage_dtype];
  hotrow_optimizer optimizer = {.kind = o->optimizer == 0 ? HOTROW_SGD : HOTROW_ROWWISE_ADAGRAD};
  hotrow_initializer initializer = {0};
  HOTROW_TRY(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  HOTROW_TRY(hr_initializer_resolve(&initializer, o->dim, &desc.segments[0].initializer));
  return hr_table_create(&desc, 0, &b->table);
}

static hotrow_status take_memory(table_bench *b)
{
  const bench_table_options *o = b->options;
  const size_t asked = (size_t)o->batches * o->batch_keys, inserts = (size_t)(b->rows / o->insert_keys) + 1;
  HOTROW_TRY(hr_alloc(asked, sizeof *b->keys, "keys", (void **)&b->keys));
  HOTROW_TRY(hr_alloc(asked, sizeof *b->known, "row numbers", (void **)&b->known));
  HOTROW_TRY(hr_alloc(asked, sizeof(hr_bucket *), "buckets", (void **)&b->homes));
  HOTROW_TRY(hr_alloc(o->batch_keys, sizeof *b->out_rows, "row numbers", (void **)&b->out_rows));
  HOTROW_TRY(hr_alloc(o->batch_keys, sizeof *b->out_clocks, "clocks", (void **)&b->out_clocks));
  HOTROW_TRY(hr_alloc(hr_mul(o->batch_keys, o->dim), sizeof(float), "values", (void **)&b->values));
  HOTROW_TRY(hr_alloc(hr_mul(o->batch_keys, o->dim), sizeof(float), "gradients", (void **)&b->grads));
  for (size_t i = 0; i < 2; i++)
    HOTROW_TRY(hr_alloc(inserts, sizeof(double), "pauses", (void **)&b->pauses[i]));
  for (size_t i = 0; i < (size_t)o->batch_keys * o->dim; i++)
    b->grads[i] = 1e-3f * (float)(i % 5);
  hr_rng rng = {1};
  for (size_t i = 0; i < asked; i++)
    b->keys[i] = hr_mix64(hr_rng_below(&rng, b->rows));
  return HOTROW_OK;
}

/* Keys in no order, as they come from data. */
static hotrow_status insert_rows(table_bench *b)
{
  const bench_table_options *o = b->options;
  double before_kb = read_kb("/proc/self/status", "VmRSS:"), begin = cpu_seconds();
  size_t batch = 0;
  for (uint64_t first = 0; first < b->rows; first += o->insert_keys, batch++) {
    size_t count = b->rows - first < o->insert_keys ? (size_t)(b->rows - first) : o->insert_keys;
    uint64_t *keys = b->keys;
    for (size_t i = 0; i < count; i++)
      keys[i] = hr_mix64(first + i);
    double wall = bench_seconds(), cpu = cpu_seconds();
    HOTROW_TRY(hr_table_find_or_create(b->table, keys, count, b->out_rows, b->out_clocks));
    b->pauses[1][batch] = cpu_seconds() - cpu;
    b->pauses[0][batch] = bench_seconds() - wall;
  }
  b->insert_rows_per_s = (double)b->rows / (cpu_seconds() - begin);
  b->rss_bytes = (size_t)(1024 * (read_kb("/proc/self/status", "VmRSS:") - before_kb));
  return HOTROW_OK;
}

/* A sum, so that the reads are made. */
static uint64_t read_lines(hr_bucket *const *homes, size_t count)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    if (i + LINES_AHEAD < count)
      __builtin_prefetch(homes[i + LINES_AHEAD]);
    sum += homes[i]->keys[0];
  }
  return sum;
}

static hotrow_status run_batch(table_bench *b, table_op op, size_t first)
{
  const bench_table_options *o = b->options;
  const uint64_t *keys = b->keys + first;
  if (op == OP_PROBE || op == OP_PULL)
    hr_table_find(b->table, keys, o->batch_keys, b->out_rows, b->out_clocks);
  if (op == OP_TWO_LINES)
    b->lines_sum += read_lines(b->homes + first, o->batch_keys);
  if (op == OP_PULL || op == OP_GATHER || op == OP_TWO_LINES)
    hr_table_gather(b->table, HOTROW_F32, op == OP_PULL ? b->out_rows : b->known + first, o->batch_keys, b->values,
                    NULL);
  if (op != OP_PUSH)
    return HOTROW_OK;
  hr_section push = {.kind = HR_SECTION_PUSH,
                     .lr_scale = 1.0f,
                     .key_count = o->batch_keys,
                     .dim = o->dim,
                     .keys = keys,
                     .grads = b->grads};
  return hr_table_push(b->table, &push, NULL);
}

static hotrow_status measure(table_bench *b, table_op op, double *rate_p)
{
  const bench_table_options *o = b->options;
  double begin = cpu_seconds();
  for (uint32_t i = 0; i < o->batches; i++)
    HOTROW_TRY(run_batch(b, op, (size_t)i * o->batch_keys));
  *rate_p = (double)o->batches * o->batch_keys / (cpu_seconds() - begin);
  return HOTROW_OK;
}

static hotrow_status measure_all(table_bench *b)
{
  const bench_table_options *o = b->options;
  hr_rng rng = {1};
  for (size_t i = 0; i < (size_t)o->batches * o->batch_keys; i++) /* inserting has used their memory */
    b->keys[i] = hr_mix64(hr_rng_below(&rng, b->rows));
  for (size_t i = 0; i < o->batches; i++) {
    hr_table_find(b->table, b->keys + i * o->batch_keys, o->batch_keys, b->known + i * o->batch_keys, b->out_clocks);
    for (size_t k = i * o->batch_keys; k < (i + 1) * o->batch_keys; k++)
      b->homes[k] = hr_index_home(&b->table->index, b->keys[k]);
    for (size_t k = 0; k < o->batch_keys; k++)
      if (b->known[i * o->batch_keys + k] == HR_ROW_NONE)
        return hr_fail(HOTROW_ERR_INTERNAL, "a key that was put in is not there");
  }
  double unused;
  for (int op = 0; op < OP_COUNT; op++)
    HOTROW_TRY(measure(b, (table_op)op, &unused));
  for (uint32_t r = 0; r < o->repeats; r++) {
    for (int op = 0; op < OP_COUNT; op++)
      HOTROW_TRY(measure(b, (table_op)op, &b->rates[op][r]));
    b->ratios[r] = b->rates[OP_PULL][r] / b->rates[OP_GATHER][r];
    b->two_line_ratios[r] = b->rates[OP_PULL][r] / b->rates[OP_TWO_LINES][r];
  }
  return HOTROW_OK;
}

static void print_pauses(const table_bench *b, bool is_cpu)
{
  const double quantiles[] = {0.5, 0.99, 0.999, 1};
  const char *const names[] = {"p50", "p99", "p999", "max"};
  size_t count = (size_t)((b->rows + b->options->insert_keys - 1) / b->options->insert_keys);
  for (size_t i = 0; i < 4; i++) {
    double us = 1e6 * bench_quantile(b->pauses[is_cpu], count, quantiles[i]);
    if (b->options->json)
      printf(",\"%spause_%s_us\":%.1f", is_cpu ? "cpu_" : "", names[i], us);
    else
      printf("%s %s %.0f", i ? "," : "", names[i], us);
  }
}

static void print_json(table_bench *b)
{
  const bench_table_options *o = b->options;
  static const char *const op_names[OP_COUNT] = {"probes", "gather_rows", "two_line_rows", "pull_rows", "push_rows"};
  double index = (double)hr_table_index_bytes(b->table) / (double)b->rows;
  printf("{\"rows\":%llu,\"dim\":%u,\"optimizer\":\"%s\",\"storage_dtype\":\"%s\",\"batch_keys\":%u,\"repeats\":%u",
         (unsigned long long)b->rows, o->dim, bench_optimizer_names[o->optimizer],
         bench_storage_names[o->storage_dtype], o->batch_keys, o->repeats);
  for (int op = 0; op < OP_COUNT; op++) {
    double median = bench_quantile(b->rates[op], o->repeats, 0.5);
    printf(",\"%s_per_s\":%.0f,\"%s_per_s_min\":%.0f,\"%s_per_s_max\":%.0f", op_names[op], median, op_names[op],
           b->rates[op][0], op_names[op], b->rates[op][o->repeats - 1]);
  }
  double ratio = bench_quantile(b->ratios, o->repeats, 0.5);
  printf(",\"ratio\":%.4f,\"ratio_min\":%.4f,\"ratio_max\":%.4f,\"two_line_ratio\":%.4f", ratio, b->ratios[0],
         b->ratios[o->repeats - 1], bench_quantile(b->two_line_ratios, o->repeats, 0.5));
  printf(",\"insert_rows_per_s\":%.0f,\"insert_keys\":%u", b->insert_rows_per_s, o->insert_keys);
  print_pauses(b, false);
  print_pauses(b, true);
  printf(
      ",\"payload_bytes\":%zu,\"index_bytes_per_row\":%.2f,\"bytes_per_row\":%.2f,\"resident_bytes_per_row\":%.2f}\n",
      payload_bytes(b), index, (double)hr_table_memory_bytes(b->table) / (double)b->rows,
      (double)b->rss_bytes / (double)b->rows);
}

static void print_text(table_bench *b)
{
  const bench_table_options *o = b->options;
  printf("%llu rows of dim %u in %s, millions per CPU second: ", (unsigned long long)b->rows, o->dim,
         bench_storage_names[o->storage_dtype]);
  static const char *const op_names[OP_COUNT] = {"clock probes", "plain gather", "two-line gather", "pull", "push"};
  for (int op = 0; op < OP_COUNT; op++) {
    double median = bench_quantile(b->rates[op], o->repeats, 0.5);
    printf("%s%s %.1f (%.1f .. %.1f)", op ? ", " : "", op_names[op], 1e-6 * median, 1e-6 * b->rates[op][0],
           1e-6 * b->rates[op][o->repeats - 1]);
  }
  double ratio = bench_quantile(b->ratios, o->repeats, 0.5);
  printf("\n  pull to gather %.3f (%.3f .. %.3f), to two-line gather %.3f; inserts %.1f, us per %u keys:", ratio,
         b->ratios[0], b->ratios[o->repeats - 1], bench_quantile(b->two_line_ratios, o->repeats, 0.5),
         1e-6 * b->insert_rows_per_s, o->insert_keys);
  print_pauses(b, false);
  printf("; CPU:");
  print_pauses(b, true);
  printf("\n  bytes a row: payload %zu, index %.1f, in all %.1f, resident %.1f\n", payload_bytes(b),
         (double)hr_table_index_bytes(b->table) / (double)b->rows,
         (double)hr_table_memory_bytes(b->table) / (double)b->rows, (double)b->rss_bytes / (double)b->rows);
}

static void free_all(table_bench *b)
{
  hr_table_destroy(b->table);
  free(b->keys);
  free(b->known);
  free(b->homes);
  free(b->out_rows);
  free(b->out_clocks);
  free(b->values);
  free(b->grads);
  free(b->pauses[0]);
  free(b->pauses[1]);
}

static bool run_rows(void *context, double rows)
{
  static table_bench bench;
  const bench_table_options *o = context;
  bench = (table_bench){.options = o, .rows = (uint64_t)rows};
  double bytes =
      rows * (double)(o->dim * hr_dtype_bytes((hotrow_dtype)dtypes[o->storage_dtype]) + 32 + INDEX_BYTES_PER_ROW_MAX);
  double there = 1024 * read_kb("/proc/meminfo", "MemAvailable:");
  if (bytes > MEMORY_SHARE * there) {
    fprintf(stderr, "hotrow bench: %.0f rows of dim %u take %.1f GB, %.1f GB are available: left out\n", rows, o->dim,
            1e-9 * bytes, 1e-9 * there);
    return true;
  }
  hotrow_status status = open_table(&bench);
  if (status == HOTROW_OK)
    status = take_memory(&bench);
  if (status == HOTROW_OK)
    status = insert_rows(&bench);
  if (status == HOTROW_OK)
    status = measure_all(&bench);
  if (status == HOTROW_OK && o->json)
    print_json(&bench);
  else if (status == HOTROW_OK)
    print_text(&bench);
  else
    fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
  fflush(stdout);
  free_all(&bench);
  return status == HOTROW_OK;
}

int hr_bench_table(const bench_table_options *options)
{
  return bench_for_each("rows", options->rows, 1, 2e9, run_rows, (void *)(uintptr_t)options) ? 0 : HR_EXIT_SOFTWARE;
}
