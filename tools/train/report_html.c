/* The run as a page with plots. */
#include <stdio.h>
#include <stdlib.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "plot.h"
#include "report.h"

#define LINE_TEXT_BYTES 64u

/* Columns of the history as plots want them: what happened between a point and the one before. */
typedef struct columns {
  size_t count, score_count;
  double step[HR_HISTORY_POINTS_MAX], loss[HR_HISTORY_POINTS_MAX], speed[HR_HISTORY_POINTS_MAX];
  double hit_rate[HR_HISTORY_POINTS_MAX], stall[HR_HISTORY_POINTS_MAX];
  double bytes[HR_BYTE_KIND_COUNT][HR_HISTORY_POINTS_MAX];
  double score_step[HR_HISTORY_SCORES_MAX], valid_auc[HR_HISTORY_SCORES_MAX], test_auc[HR_HISTORY_SCORES_MAX];
} columns;

hotrow_status hr_report_check(const char *path)
{
  hr_plot_page *page;
  HOTROW_TRY(hr_plot_open(path, "", &page));
  hr_plot_discard(page);
  return HOTROW_OK;
}

static double ratio(double part, double whole)
{
  return whole > 0 ? part / whole : 0;
}

static void fill_point(columns *c, size_t i, const hr_trainer *trainer, const hr_history_point *before,
                       const hr_history_point *now)
{
  uint64_t old[HR_STATS_COUNT], new[HR_STATS_COUNT];
  const double rank_samples = (double)(now->step - before->step) * trainer->options.batch;
  const double samples = rank_samples * trainer->options.workers;
  const double seconds = (double)(now->train_ns - before->train_ns) / 1e9;
  hr_get_counters(&before->stats, old);
  hr_get_counters(&now->stats, new);
  c->step[i] = (double)now->step;
  c->loss[i] = ratio(now->loss - before->loss, samples);
  c->speed[i] = ratio(samples, seconds);
  c->hit_rate[i] = ratio((double)(new[HR_HITS] - old[HR_HITS]), (double)(new[HR_DISTINCT] - old[HR_DISTINCT]));
  c->stall[i] = ratio((double)(new[HR_STALL_NS] - old[HR_STALL_NS]) / 1e9, seconds);
  for (size_t k = 0; k < HR_BYTE_KIND_COUNT; k++)
    c->bytes[k][i] = ratio((double)(new[k] - old[k]), rank_samples);
}

static void fill_columns(columns *c, const hr_trainer *trainer)
{
  static const hr_history_point nothing;
  const hr_history *history = &trainer->history;
  c->count = history->point_count;
  for (size_t i = 0; i < c->count; i++)
    fill_point(c, i, trainer, i > 0 ? &history->points[i - 1] : &nothing, &history->points[i]);
  c->score_count = history->score_count;
  for (size_t i = 0; i < c->score_count; i++) {
    c->score_step[i] = (double)history->scores[i].step;
    c->valid_auc[i] = history->scores[i].valid.auc;
    c->test_auc[i] = history->scores[i].test.auc;
  }
}

static void put_line(hr_plot_page *page, const columns *c, const char *title, const char *label, const double *values)
{
  const hr_plot_series series = {.name = label, .x = c->step, .y = values, .count = c->count};
  const hr_plot_line_chart chart = {title, {"step", false}, {label, false}, &series, 1};
  hr_plot_lines(page, &chart);
}

static void put_course(hr_plot_page *page, const columns *c)
{
  const hr_plot_series scores[] = {
      {.name = "validation", .x = c->score_step, .y = c->valid_auc, .count = c->score_count},
      {.name = "test", .x = c->score_step, .y = c->test_auc, .count = c->score_count}};
  const hr_plot_line_chart auc = {"AUC on held-out data", {"step", false}, {"AUC", false}, scores, 2};
  hr_plot_series kinds[HR_BYTE_KIND_COUNT];
  for (size_t k = 0; k < HR_BYTE_KIND_COUNT; k++)
    kinds[k] = (hr_plot_series){.name = hr_byte_kind_names[k], .x = c->step, .y = c->bytes[k], .count = c->count};
  const hr_plot_line_chart bytes = {
      "Bytes on the wire by kind, rank 0", {"step", false}, {"bytes per sample", false}, kinds, HR_BYTE_KIND_COUNT};
  hr_plot_heading(page, "Course");
  put_line(page, c, "Training loss", "logloss", c->loss);
  hr_plot_lines(page, &auc);
  put_line(page, c, "Speed", "samples per second", c->speed);
  put_line(page, c, "Cache hits, rank 0", "share of distinct keys", c->hit_rate);
  put_line(page, c, "Time spent waiting for rows, rank 0", "share", c->stall);
  hr_plot_lines(page, &bytes);
}

static void put_totals(hr_plot_page *page, const hr_trainer *trainer, const uint64_t totals[HR_COUNTER_COUNT])
{
  static const char *const labels[] = {"all ranks, whole run"};
  const double samples =
      (double)(trainer->step - trainer->first_step) * (double)trainer->options.workers * (double)trainer->options.batch;
  double bytes[HR_BYTE_KIND_COUNT];
  for (size_t k = 0; k < HR_BYTE_KIND_COUNT; k++)
    bytes[k] = ratio((double)totals[k], samples);
  const hr_plot_bar_chart chart = {.title = "Bytes on the wire by kind",
                                   .x_label = "",
                                   .y_label = "bytes per sample",
                                   .labels = labels,
                                   .bar_count = 1,
                                   .parts = hr_byte_kind_names,
                                   .part_count = HR_BYTE_KIND_COUNT,
                                   .values = bytes};
  hr_plot_heading(page, "Totals");
  hr_plot_bars(page, &chart);
  hr_plot_log2_histogram(page, "Updates of other workers that used copies lacked", "updates, from",
                         totals + HR_UNSEEN_BUCKETS, HOTROW_UNSEEN_BUCKETS);
  hr_plot_text(page, "The pull bound is %u: no copy that lacks more may be used. The most that one lacked was %llu.",
               trainer->pull_bound, (unsigned long long)totals[HR_UNSEEN_MAX]);
}

static void put_summary(hr_plot_page *page, const hr_report_line *lines, size_t count)
{
  static const char *const head[] = {"", "value"};
  char(*texts)[LINE_TEXT_BYTES] = calloc(count + 1, sizeof *texts);
  const char **cells = calloc(2 * count + 1, sizeof *cells);
  size_t rows = 0;
  for (size_t i = 0; texts && cells && i < count; i++) {
    if (lines[i].kind == HR_LINE_LIST)
      continue;
    if (lines[i].kind == HR_LINE_TEXT)
      snprintf(texts[i], LINE_TEXT_BYTES, "%s", lines[i].text);
    else if (lines[i].kind == HR_LINE_WHOLE)
      snprintf(texts[i], LINE_TEXT_BYTES, "%llu", (unsigned long long)lines[i].whole);
    else
      snprintf(texts[i], LINE_TEXT_BYTES, "%.6g", lines[i].real);
    cells[2 * rows] = lines[i].name;
    cells[2 * rows++ + 1] = texts[i];
  }
  hr_plot_heading(page, "Summary");
  if (texts && cells)
    hr_plot_table(page, head, 2, cells, rows);
  free(texts);
  free(cells);
}

hotrow_status hr_report_write(const hr_trainer *trainer, const hr_report_line *lines, size_t line_count,
                              const uint64_t totals[HR_COUNTER_COUNT])
{
  hr_plot_page *page;
  columns *c;
  HOTROW_TRY(hr_alloc(1, sizeof *c, "report", (void **)&c));
  const hotrow_status status = hr_plot_open(trainer->options.report, "Hotrow: a training run", &page);
  if (status == HOTROW_OK) {
    fill_columns(c, trainer);
    put_course(page, c);
    put_totals(page, trainer, totals);
    put_summary(page, lines, line_count);
  }
  free(c);
  return status == HOTROW_OK ? hr_plot_close(page) : status;
}
