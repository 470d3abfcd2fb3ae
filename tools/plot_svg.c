#include <float.h>
#include <math.h>
#include <string.h>

#include "plot_page.h"

#define WIDTH HR_PLOT_WIDTH
#define HEIGHT HR_PLOT_HEIGHT
#define LEFT 64.0
#define RIGHT 12.0
#define TOP 10.0
#define BOTTOM 46.0
#define COLOURS 8u
#define TICKS_MAX 16u
#define VALUE_MAX 1e300 /* the span of an axis must not overflow */
#define POINTS_OF_LINE_MAX 100u
#define CHARACTER_WIDTH 6.5
#define LABEL_HEIGHT_MAX 150.0

typedef struct scale {
  double low, high;  /* of the values, or of their logarithms */
  double begin, end; /* where they lie in the drawing */
  bool is_log;
  double ticks[TICKS_MAX]; /* values */
  size_t tick_count;
} scale;

static bool is_drawable(double value, bool is_log)
{
  return isfinite(value) && (!is_log || value >= DBL_MIN);
}

static double clamp(double value)
{
  return fmax(-VALUE_MAX, fmin(VALUE_MAX, fabs(value) < 1 / VALUE_MAX ? 0 : value));
}

static double on_scale(const scale *axis, double value)
{
  const double at = axis->is_log ? log10(fmin(value, VALUE_MAX)) : clamp(value);
  return axis->begin + (at - axis->low) / (axis->high - axis->low) * (axis->end - axis->begin);
}

/* 1, 2 or 5 times a power of ten: the smallest that makes at most `most` steps of a span. */
static double round_step(double span, double most)
{
  const double power = pow(10, floor(log10(span / most)));
  const double factors[] = {1, 2, 5, 10};
  size_t i = 0;
  while (i < 3 && span / (factors[i] * power) > most)
    i++;
  return factors[i] * power;
}

static void add_tick(scale *axis, double value)
{
  if (axis->tick_count < TICKS_MAX)
    axis->ticks[axis->tick_count++] = value;
}

static void make_linear_ticks(scale *axis)
{
  const double step = round_step(axis->high - axis->low, 7);
  axis->low = floor(axis->low / step + 1e-9) * step;
  axis->high = ceil(axis->high / step - 1e-9) * step;
  const size_t count = (size_t)round((axis->high - axis->low) / step);
  for (size_t i = 0; i <= count; i++) {
    const double value = axis->low + (double)i * step;
    add_tick(axis, fabs(value) < step * 1e-6 ? 0 : value);
  }
}

/* Whole decades; over few of them 2 and 5 too, over many only some. */
static void make_log_ticks(scale *axis)
{
  static const double between[] = {1, 2, 5};
  axis->low = floor(axis->low + 1e-9);
  axis->high = ceil(axis->high - 1e-9);
  const double decades = axis->high - axis->low, step = ceil(decades / 8);
  const size_t parts = decades <= 3 ? 3 : 1;
  for (size_t d = 0; axis->low + (double)d * step <= axis->high; d++) {
    const double decade = axis->low + (double)d * step;
    for (size_t i = 0; i < parts; i++)
      if (decade + log10(between[i]) <= axis->high + 1e-9)
        add_tick(axis, pow(10, decade) * between[i]);
  }
}

/* From values' least and largest; none at all (low > high) gives an axis from 0 to 1. */
static scale make_scale(double low, double high, bool is_log, double begin, double end)
{
  scale axis = {.begin = begin, .end = end, .is_log = is_log};
  if (low > high) {
    low = is_log ? 1 : 0;
    high = is_log ? 10 : 1;
  }
  axis.low = is_log ? log10(fmin(low, VALUE_MAX)) : clamp(low);
  axis.high = is_log ? log10(fmin(high, VALUE_MAX)) : clamp(high);
  const double size = fmax(fabs(axis.low), fabs(axis.high));
  if (axis.high - axis.low <= 1e-9 * size || axis.high == axis.low) { /* all alike: some room around */
    const double room = is_log ? 0.5 : size > 0 ? size / 2 : 0.5;
    axis.low -= room;
    axis.high += room;
  }
  if (is_log)
    make_log_ticks(&axis);
  else
    make_linear_ticks(&axis);
  return axis;
}

static void put_label(hr_plot_page *page, double x, double y, const char *anchor, const char *more, const char *text)
{
  fprintf(page->file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more);
  hr_plot_put_text(page, text);
  fputs("</text>\n", page->file);
}

static void put_legend_entry(hr_plot_page *page, size_t colour, const char *name)
{
  fprintf(page->file, "<span><i class=\"s%zu fill\"></i>", colour % COLOURS);
  hr_plot_put_text(page, name);
  fputs("</span> ", page->file);
}

/* Title, names and drawing of a page. names NULL: there is nothing to tell apart. */
static void begin_figure(hr_plot_page *page, const char *title, const char *const *names, size_t name_count,
                         double height)
{
  fputs("<figure>\n<figcaption>", page->file);
  hr_plot_put_text(page, title);
  fputs("</figcaption>\n<div class=\"legend\">", page->file);
  for (size_t n = 0; names && n < name_count; n++)
    put_legend_entry(page, n, names[n]);
  fprintf(page->file, "</div>\n<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", WIDTH, height);
  hr_plot_put_text(page, title);
  fputs("\">\n", page->file);
}

/* The same of an image, which has no text but that of the drawing. */
static void begin_group(hr_plot_page *page, const char *title, const char *const *names, size_t name_count)
{
  double x = LEFT;
  fprintf(page->file, "<g transform=\"translate(0 %g)\">\n", page->image_top + HR_PLOT_HEAD);
  put_label(page, LEFT, -32, "start", " class=\"title\"", title);
  for (size_t n = 0; names && n < name_count; n++) {
    fprintf(page->file, "<g class=\"s%zu\"><rect class=\"fill\" x=\"%.1f\" y=\"-19\" width=\"9\" height=\"9\"/></g>\n",
            n % COLOURS, x);
    put_label(page, x + 13, -10, "start", "", names[n]);
    x += 34 + CHARACTER_WIDTH * (double)strlen(names[n]);
  }
}

static void begin_plot(hr_plot_page *page, const char *title, const char *const *names, size_t name_count,
                       double height)
{
  if (page->is_image)
    begin_group(page, title, names, name_count);
  else
    begin_figure(page, title, names, name_count, height);
}

static void end_plot(hr_plot_page *page, double height)
{
  fputs(page->is_image ? "</g>\n" : "</svg>\n</figure>\n", page->file);
  page->image_top += HR_PLOT_HEAD + height;
}

static void put_y_axis(hr_plot_page *page, const scale *y, const char *label)
{
  char number[HR_PLOT_NUMBER_BYTES], turn[80];
  for (size_t i = 0; i < y->tick_count; i++) {
    const double at = on_scale(y, y->ticks[i]);
    fprintf(page->file, "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH - RIGHT, at,
            at);
    put_label(page, LEFT - 6, at + 4, "end", "", hr_plot_number(y->ticks[i], number));
  }
  const double middle = (TOP + HEIGHT - BOTTOM) / 2;
  snprintf(turn, sizeof turn, " transform=\"rotate(-90 12 %g)\"", middle);
  put_label(page, 12, middle, "middle", turn, label);
}

static void put_x_label(hr_plot_page *page, double height, const char *label)
{
  put_label(page, (LEFT + WIDTH - RIGHT) / 2, height - 8, "middle", "", label);
}

static void put_x_axis(hr_plot_page *page, const scale *x, const char *label)
{
  char number[HR_PLOT_NUMBER_BYTES];
  for (size_t i = 0; i < x->tick_count; i++) {
    const double at = on_scale(x, x->ticks[i]);
    fprintf(page->file, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>\n", at, at, HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 5);
    put_label(page, at, HEIGHT - BOTTOM + 19, "middle", "", hr_plot_number(x->ticks[i], number));
  }
  put_x_label(page, HEIGHT, label);
}

static void put_point(hr_plot_page *page, const hr_plot_series *series, size_t i, double x, double y)
{
  char x_text[HR_PLOT_NUMBER_BYTES], y_text[HR_PLOT_NUMBER_BYTES];
  fprintf(page->file, "<circle class=\"fill\" cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"><title>", x, y,
          series->is_points ? 4.5 : 2.5);
  hr_plot_put_text(page, series->notes ? series->notes[i] : series->name);
  fprintf(page->file, ": %s, %s</title></circle>\n", hr_plot_number(series->x[i], x_text),
          hr_plot_number(series->y[i], y_text));
}

static void put_path(hr_plot_page *page, const hr_plot_series *series, const scale *x, const scale *y)
{
  bool is_pen_down = false;
  fputs("<path class=\"line\" d=\"", page->file);
  for (size_t i = 0; i < series->count; i++) {
    const bool is_there = is_drawable(series->x[i], x->is_log) && is_drawable(series->y[i], y->is_log);
    if (is_there)
      fprintf(page->file, "%c%.1f %.1f", is_pen_down ? 'L' : 'M', on_scale(x, series->x[i]), on_scale(y, series->y[i]));
    is_pen_down = is_there;
  }
  fputs("\"/>\n", page->file);
}

static void put_series(hr_plot_page *page, const hr_plot_series *series, size_t number, const scale *x, const scale *y)
{
  fprintf(page->file, "<g class=\"s%zu\">\n", number % COLOURS);
  if (!series->is_points)
    put_path(page, series, x, y);
  /* The points of a long line say nothing that the line does not. */
  for (size_t i = 0; i < series->count && (series->is_points || series->count <= POINTS_OF_LINE_MAX); i++)
    if (is_drawable(series->x[i], x->is_log) && is_drawable(series->y[i], y->is_log))
      put_point(page, series, i, on_scale(x, series->x[i]), on_scale(y, series->y[i]));
  fputs("</g>\n", page->file);
}

void hr_plot_lines(hr_plot_page *page, const hr_plot_line_chart *chart)
{
  double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
  for (size_t s = 0; s < chart->series_count && s < HR_PLOT_SERIES_MAX; s++) {
    const hr_plot_series *series = &chart->series[s];
    for (size_t i = 0; i < series->count; i++) {
      if (!is_drawable(series->x[i], chart->x.is_log) || !is_drawable(series->y[i], chart->y.is_log))
        continue;
      low[0] = fmin(low[0], series->x[i]);
      high[0] = fmax(high[0], series->x[i]);
      low[1] = fmin(low[1], series->y[i]);
      high[1] = fmax(high[1], series->y[i]);
    }
  }
  const scale x = make_scale(low[0], high[0], chart->x.is_log, LEFT, WIDTH - RIGHT);
  const scale y = make_scale(low[1], high[1], chart->y.is_log, HEIGHT - BOTTOM, TOP);
  const char *names[HR_PLOT_SERIES_MAX];
  const size_t count = chart->series_count < HR_PLOT_SERIES_MAX ? chart->series_count : HR_PLOT_SERIES_MAX;
  for (size_t s = 0; s < count; s++)
    names[s] = chart->series[s].name;
  begin_plot(page, chart->title, names, count, HEIGHT);
  put_y_axis(page, &y, chart->y.label);
  put_x_axis(page, &x, chart->x.label);
  for (size_t s = 0; s < count; s++)
    put_series(page, &chart->series[s], s, &x, &y);
  end_plot(page, HEIGHT);
}

static double bar_part(const hr_plot_bar_chart *chart, size_t bar, size_t part)
{
  const double value = chart->values[bar * chart->part_count + part];
  return isfinite(value) && value > 0 ? fmin(value, VALUE_MAX / (double)chart->part_count) : 0;
}

/* Where one bar begins to the next. */
static double bar_pitch(const hr_plot_bar_chart *chart)
{
  return (WIDTH - RIGHT - LEFT) / (double)chart->bar_count;
}

/* How far labels that are too wide for their bars, and so are turned, reach down; 0 if they fit. */
static double turned_label_height(const hr_plot_bar_chart *chart)
{
  size_t longest = 0;
  for (size_t b = 0; b < chart->bar_count; b++)
    longest = strlen(chart->labels[b]) > longest ? strlen(chart->labels[b]) : longest;
  const double width = CHARACTER_WIDTH * (double)longest;
  return width > bar_pitch(chart) ? fmin(width * 0.6, LABEL_HEIGHT_MAX) : 0;
}

static void put_bar_label(hr_plot_page *page, double x, bool is_turned, const char *label)
{
  char turn[80] = "";
  const double y = HEIGHT - BOTTOM + 15;
  if (is_turned)
    snprintf(turn, sizeof turn, " transform=\"rotate(-35 %.1f %g)\"", x, y);
  put_label(page, x, y, is_turned ? "end" : "middle", turn, label);
}

static void put_bar(hr_plot_page *page, const hr_plot_bar_chart *chart, size_t bar, const scale *y)
{
  char number[HR_PLOT_NUMBER_BYTES];
  const double pitch = bar_pitch(chart), width = fmin(0.75 * pitch, 90);
  const double middle = LEFT + pitch * ((double)bar + 0.5);
  double below = 0;
  for (size_t p = 0; p < chart->part_count; p++) {
    const double value = bar_part(chart, bar, p);
    const double top = on_scale(y, below + value), bottom = on_scale(y, below);
    below += value;
    fprintf(page->file, "<rect class=\"s%zu fill\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>",
            p % COLOURS, middle - width / 2, top, width, bottom - top);
    hr_plot_put_text(page, chart->labels[bar]);
    fputs(chart->parts ? " " : "", page->file);
    hr_plot_put_text(page, chart->parts ? chart->parts[p] : "");
    fprintf(page->file, ": %s</title></rect>\n", hr_plot_number(value, number));
  }
  if (pitch >= 44)
    put_label(page, middle, on_scale(y, below) - 4, "middle", "", hr_plot_number(below, number));
}

void hr_plot_bars(hr_plot_page *page, const hr_plot_bar_chart *chart)
{
  double high = 0;
  for (size_t b = 0; b < chart->bar_count; b++) {
    double sum = 0;
    for (size_t p = 0; p < chart->part_count; p++)
      sum += bar_part(chart, b, p);
    high = fmax(high, sum);
  }
  const scale y = make_scale(0, high > 0 ? high : 1, false, HEIGHT - BOTTOM, TOP + 8);
  const double label_height = turned_label_height(chart);
  begin_plot(page, chart->title, chart->parts, chart->part_count, HEIGHT + label_height);
  put_y_axis(page, &y, chart->y_label);
  for (size_t b = 0; b < chart->bar_count; b++) {
    put_bar(page, chart, b, &y);
    put_bar_label(page, LEFT + bar_pitch(chart) * ((double)b + 0.5), label_height > 0, chart->labels[b]);
  }
  put_x_label(page, HEIGHT + label_height, chart->x_label);
  end_plot(page, HEIGHT + label_height);
}

void hr_plot_log2_histogram(hr_plot_page *page, const char *title, const char *x_label, const uint64_t *counts,
                            size_t bucket_count)
{
  char texts[HR_PLOT_BUCKETS_MAX][HR_PLOT_NUMBER_BYTES];
  const char *labels[HR_PLOT_BUCKETS_MAX];
  double values[HR_PLOT_BUCKETS_MAX], sum = 0;
  while (bucket_count > 1 && counts[bucket_count - 1] == 0)
    bucket_count--;
  for (size_t b = 0; b < bucket_count; b++)
    sum += (double)counts[b];
  for (size_t b = 0; b < bucket_count; b++) {
    values[b] = sum > 0 ? (double)counts[b] / sum : 0;
    labels[b] = hr_plot_number(b > 0 ? ldexp(1, (int)b - 1) : 0, texts[b]);
  }
  const hr_plot_bar_chart chart = {.title = title,
                                   .x_label = x_label,
                                   .y_label = "share",
                                   .labels = labels,
                                   .bar_count = bucket_count,
                                   .part_count = 1,
                                   .values = values};
  hr_plot_bars(page, &chart);
}
