#include <stdio.h>
#include <stdlib.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "bench_comm.h"
#include "plot.h"

#define DIMS_MAX 16u

static double unseen_mean(const comm_result *result)
{
  return result->unseen.uses > 0 ? (double)result->unseen.sum / (double)result->unseen.uses : 0;
}

/* The jobs of one row width, as plots want them. */
typedef struct page_part {
  uint32_t dim;
  const comm_job **jobs; /* owned, [capacity] */
  size_t count;
  const char **names;              /* owned: names of configurations */
  double *bytes, *unseen, *stacks; /* owned; stacks[count][COMM_KIND_COUNT] */
} page_part;

static hotrow_status open_part(page_part *part, size_t capacity)
{
  const size_t pointer_bytes = sizeof *part->jobs; /* NOLINT(bugprone-sizeof-expression): the pointer is meant */
  HOTROW_TRY(hr_alloc(capacity, pointer_bytes, "report", (void **)&part->jobs));
  HOTROW_TRY(hr_alloc(capacity, sizeof *part->names, "report", (void **)&part->names));
  HOTROW_TRY(hr_alloc(capacity, sizeof *part->bytes, "report", (void **)&part->bytes));
  HOTROW_TRY(hr_alloc(capacity, sizeof *part->unseen, "report", (void **)&part->unseen));
  return hr_alloc(capacity * COMM_KIND_COUNT, sizeof *part->stacks, "report", (void **)&part->stacks);
}

static void close_part(page_part *part)
{
  free(part->jobs);
  free(part->names);
  free(part->bytes);
  free(part->unseen);
  free(part->stacks);
}

static void fill_part(page_part *part, const comm_job *jobs, size_t count, uint32_t dim)
{
  part->dim = dim;
  part->count = 0;
  for (size_t j = 0; j < count; j++) {
    if (jobs[j].config.dim != dim || !jobs[j].is_done)
      continue;
    const comm_result *result = &jobs[j].result;
    for (size_t k = 0; k < COMM_KIND_COUNT; k++)
      part->stacks[part->count * COMM_KIND_COUNT + k] = result->bytes[k];
    part->bytes[part->count] = result->bytes_per_sample;
    part->unseen[part->count] = unseen_mean(result);
    part->names[part->count] = jobs[j].config.name;
    part->jobs[part->count++] = &jobs[j];
  }
}

static void put_table(hr_plot_page *page, const page_part *part)
{
  static const char *const head[] = {"configuration", "mode",         "pull", "push", "step",        "policy",
                                     "wire",          "bytes/sample", "less", "hits", "unseen mean", "max"};
  enum { COLUMNS = sizeof head / sizeof head[0] };
  char(*texts)[COLUMNS][HR_PLOT_NUMBER_BYTES + COMM_NAME_BYTES] = calloc(part->count + 1, sizeof *texts);
  const char **cells = calloc((part->count + 1) * COLUMNS, sizeof *cells);
  for (size_t i = 0; texts && cells && i < part->count; i++) {
    const comm_config *c = &part->jobs[i]->config;
    const comm_result *r = &part->jobs[i]->result;
    const size_t size = sizeof texts[0][0];
    snprintf(texts[i][0], size, "%s", c->name);
    snprintf(texts[i][1], size, "%s", comm_mode_name(c));
    snprintf(texts[i][2], size, "%u", c->table.pull_bound);
    snprintf(texts[i][3], size, "%u", c->table.push_bound);
    snprintf(texts[i][4], size, "%u", c->table.announce_step);
    snprintf(texts[i][5], size, "%s", comm_policy_name(c));
    snprintf(texts[i][6], size, "%s", comm_dtype_name(c));
    snprintf(texts[i][7], size, "%.0f", r->bytes_per_sample);
    snprintf(texts[i][8], size, "%.1f%%", 100 * r->reduction);
    snprintf(texts[i][9], size, "%.1f%%", 100 * r->hit_rate);
    snprintf(texts[i][10], size, "%.1f", unseen_mean(r));
    snprintf(texts[i][11], size, "%llu", (unsigned long long)r->unseen.max);
    for (size_t c2 = 0; c2 < COLUMNS; c2++)
      cells[i * COLUMNS + c2] = texts[i][c2];
  }
  if (texts && cells)
    hr_plot_table(page, head, COLUMNS, cells, part->count);
  free(texts);
  free(cells);
}

static void put_frontier(hr_plot_page *page, const page_part *part)
{
  /* One series per configuration would be a legend longer than the plot: points carry their names. */
  const hr_plot_series series = {.name = "configurations",
                                 .x = part->unseen,
                                 .y = part->bytes,
                                 .count = part->count,
                                 .notes = part->names,
                                 .is_points = true};
  const hr_plot_line_chart chart = {.title = "Bytes against what is lacked (lower left is better)",
                                    .x = {"unseen updates of a used copy, mean", true},
                                    .y = {"bytes per sample", true},
                                    .series = &series,
                                    .series_count = 1};
  hr_plot_lines(page, &chart);
}

static void put_part(hr_plot_page *page, const page_part *part)
{
  const comm_config *c = &part->jobs[0]->config;
  char text[96];
  snprintf(text, sizeof text, "Rows of %u floats", part->dim);
  hr_plot_heading(page, text);
  hr_plot_text(page,
               "%u workers, %u shards, %llu batches of %u samples per worker, the second half measured; caches of %llu "
               "rows; the stream has %g times Criteo's values. \"Less\" is against a parameter server without caches "
               "that sends each distinct key of a batch once: %.0f bytes per sample.",
               c->workers, c->shards, (unsigned long long)c->batches, c->batch, (unsigned long long)comm_cache_rows(c),
               c->scale, part->jobs[0]->result.baseline_bytes_per_sample);
  put_table(page, part);
  const hr_plot_bar_chart bars = {.title = "Bytes per sample by kind",
                                  .x_label = "configuration",
                                  .y_label = "bytes per sample",
                                  .labels = part->names,
                                  .bar_count = part->count,
                                  .parts = comm_kind_names,
                                  .part_count = COMM_KIND_COUNT,
                                  .values = part->stacks};
  hr_plot_bars(page, &bars);
  put_frontier(page, part);
  for (size_t i = 0; i < part->count; i++) {
    snprintf(text, sizeof text, "Unseen updates of used copies: %s", part->names[i]);
    hr_plot_log2_histogram(page, text, "updates of others that a used copy lacked, from",
                           part->jobs[i]->result.unseen.counts, COMM_BUCKETS);
  }
}

hotrow_status comm_write_html(const char *path, const comm_job *jobs, size_t count)
{
  hr_plot_page *page;
  page_part part = {0};
  uint32_t dims[DIMS_MAX];
  size_t dim_count = 0;
  hotrow_status status = open_part(&part, count);
  if (status == HOTROW_OK)
    status = hr_plot_open(path, "Hotrow: bytes on the wire and staleness", &page);
  if (status != HOTROW_OK) {
    close_part(&part);
    return status;
  }
  for (size_t j = 0; j < count; j++) {
    size_t d = 0;
    while (d < dim_count && dims[d] != jobs[j].config.dim)
      d++;
    if (d < dim_count || d == DIMS_MAX)
      continue;
    dims[dim_count++] = jobs[j].config.dim;
    fill_part(&part, jobs, count, jobs[j].config.dim);
    if (part.count > 0)
      put_part(page, &part);
  }
  close_part(&part);
  return hr_plot_close(page);
}
