/* hotrow plot: results as JSON objects, one a line, become a page of plots and a table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hotrow/base.h>

#include "commands.h"
#include "options.h"
#include "plot.h"

#define LINES_MAX 4096u
#define SERIES_MAX HR_PLOT_SERIES_MAX
#define COLUMNS_MAX 32u
#define WORD_BYTES 128u

typedef struct plot_options {
  const char *html, *svg, *title, *plots, *series, *columns;
  bool log;
} plot_options;

#define AT(field) offsetof(plot_options, field)
static const hr_option options[] = {
    {"html", HR_OPTION_TEXT, AT(html), NULL, 0, 0, NULL, "page to write"},
    {"svg", HR_OPTION_TEXT, AT(svg), NULL, 0, 0, NULL, "file to write the plots to as one image"},
    {"title", HR_OPTION_TEXT, AT(title), "Hotrow: results", 0, 0, NULL, "of the page"},
    {"plots", HR_OPTION_TEXT, AT(plots), NULL, 0, 0, NULL,
     "pairs of fields, such as wire_bytes_per_sample:auc, with commas: one plot each"},
    {"series", HR_OPTION_TEXT, AT(series), NULL, 0, 0, NULL, "field whose values are the colours"},
    {"columns", HR_OPTION_TEXT, AT(columns), NULL, 0, 0, NULL, "fields of the table, with commas"},
    {"log", HR_OPTION_BOOL, AT(log), NULL, 0, 0, NULL, "logarithmic horizontal axes"},
};

static const hr_command command = {
    .name = "plot",
    .summary = "plots of results: reads JSON objects from stdin, one a line, and writes an HTML page or an SVG image",
    .details = "Every result is a point. Objects are those of hotrow train --json and hotrow bench --json, perhaps "
               "with more fields.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
};

typedef struct results {
  char *lines[LINES_MAX]; /* owned */
  size_t count;
} results;

/* The value of a field of an object on one line, without quotes; "" if it has none. Results have no nested objects. */
static void find_field(const char *line, const char *name, char value[WORD_BYTES])
{
  char quoted[WORD_BYTES];
  snprintf(quoted, sizeof quoted, "\"%s\"", name);
  value[0] = '\0';
  for (const char *at = line; (at = strstr(at, quoted)) != NULL; at++) {
    const char *begin = at + strlen(quoted);
    begin += strspn(begin, " ");
    if (*begin != ':')
      continue;
    begin += 1 + strspn(begin + 1, " ");
    const bool is_text = *begin == '"';
    begin += is_text;
    const size_t size = is_text         ? strcspn(begin, "\"")
                        : *begin == '[' ? strcspn(begin, "]") + 1
                                        : strcspn(begin, ",} ");
    snprintf(value, WORD_BYTES, "%.*s", (int)(size < WORD_BYTES ? size : WORD_BYTES - 1), begin);
    return;
  }
}

static double find_number(const char *line, const char *name)
{
  char value[WORD_BYTES], *end;
  find_field(line, name, value);
  const double number = strtod(value, &end);
  return end != value && *end == '\0' ? number : NAN;
}

/* The next of the words between commas; false at the end. */
static bool next_word(const char **list, char word[WORD_BYTES])
{
  const size_t size = strcspn(*list, ",");
  snprintf(word, WORD_BYTES, "%.*s", (int)(size < WORD_BYTES ? size : WORD_BYTES - 1), *list);
  *list += size + ((*list)[size] == ',');
  return size > 0;
}

static bool read_results(results *r)
{
  char *line = NULL;
  size_t capacity = 0;
  ssize_t size;
  while ((size = getline(&line, &capacity, stdin)) > 0) {
    if (strspn(line, " \n") == (size_t)size)
      continue;
    if (line[strspn(line, " ")] != '{' || r->count == LINES_MAX) {
      fprintf(stderr, "hotrow plot: line %zu is no JSON object, or one of more than %u\n", r->count + 1, LINES_MAX);
      break;
    }
    r->lines[r->count++] = line;
    line = NULL;
    capacity = 0;
  }
  free(line);
  return size < 0 && !ferror(stdin);
}

/* Points in the order of the lines, sorted into series. */
typedef struct points {
  hr_plot_series series[SERIES_MAX];
  char names[SERIES_MAX][WORD_BYTES];
  size_t series_count;
  double x[LINES_MAX], y[LINES_MAX];
} points;

static void find_series(points *p, const results *r, const char *field)
{
  char name[WORD_BYTES];
  for (size_t i = 0; i < r->count && p->series_count < SERIES_MAX; i++) {
    find_field(r->lines[i], field ? field : "", name);
    size_t s = 0;
    while (s < p->series_count && strcmp(p->names[s], name) != 0)
      s++;
    if (s == p->series_count)
      snprintf(p->names[p->series_count++], WORD_BYTES, "%s", name);
  }
}

static void put_plot(hr_plot_page *page, points *p, const results *r, const plot_options *o, const char *pair)
{
  char x_name[WORD_BYTES], title[2 * WORD_BYTES], name[WORD_BYTES];
  const char *y_name = strchr(pair, ':') + 1;
  snprintf(x_name, sizeof x_name, "%.*s", (int)(y_name - 1 - pair), pair);
  snprintf(title, sizeof title, "%s against %s", y_name, x_name);
  size_t used = 0;
  for (size_t s = 0; s < p->series_count; s++) {
    p->series[s] = (hr_plot_series){.name = p->names[s], .x = p->x + used, .y = p->y + used, .is_points = true};
    for (size_t i = 0; i < r->count; i++) {
      find_field(r->lines[i], o->series ? o->series : "", name);
      if (strcmp(name, p->names[s]) != 0)
        continue;
      p->x[used] = find_number(r->lines[i], x_name);
      p->y[used++] = find_number(r->lines[i], y_name);
      p->series[s].count++;
    }
  }
  const hr_plot_line_chart chart = {title, {x_name, o->log}, {y_name, false}, p->series, p->series_count};
  hr_plot_lines(page, &chart);
}

static void put_table(hr_plot_page *page, const results *r, const char *columns)
{
  char names[COLUMNS_MAX][WORD_BYTES];
  const char *head[COLUMNS_MAX];
  size_t count = 0;
  while (count < COLUMNS_MAX && next_word(&columns, names[count])) {
    head[count] = names[count];
    count++;
  }
  char(*texts)[WORD_BYTES] = calloc(r->count * count + 1, sizeof *texts);
  const char **cells = calloc(r->count * count + 1, sizeof *cells);
  for (size_t i = 0; texts && cells && i < r->count * count; i++) {
    find_field(r->lines[i / count], names[i % count], texts[i]);
    cells[i] = texts[i];
  }
  if (texts && cells)
    hr_plot_table(page, head, count, cells, r->count);
  free(texts);
  free(cells);
}

static void put_plots(hr_plot_page *page, points *p, const results *r, const plot_options *o)
{
  char pair[WORD_BYTES];
  for (const char *rest = o->plots; next_word(&rest, pair);)
    put_plot(page, p, r, o, pair);
}

static hotrow_status write_page(const plot_options *o, const results *r, points *p)
{
  hr_plot_page *page;
  const hotrow_status status = hr_plot_open(o->html, o->title, &page);
  if (status != HOTROW_OK)
    return status;
  put_plots(page, p, r, o);
  if (o->columns)
    put_table(page, r, o->columns);
  return hr_plot_close(page);
}

static hotrow_status write_image(const plot_options *o, const results *r, points *p)
{
  char pair[WORD_BYTES];
  hr_plot_page *page;
  size_t count = 0;
  for (const char *rest = o->plots; next_word(&rest, pair);)
    count++;
  const hotrow_status status = hr_plot_open_image(o->svg, o->title, count, &page);
  if (status != HOTROW_OK)
    return status;
  put_plots(page, p, r, o);
  return hr_plot_close(page);
}

static int write_plots(const plot_options *o, const results *r)
{
  points *p = calloc(1, sizeof *p);
  hotrow_status status = p ? HOTROW_OK : HOTROW_ERR_NO_MEMORY;
  if (p)
    find_series(p, r, o->series);
  if (status == HOTROW_OK && o->html)
    status = write_page(o, r, p);
  if (status == HOTROW_OK && o->svg)
    status = write_image(o, r, p);
  if (status != HOTROW_OK)
    fprintf(stderr, "hotrow plot: %s\n", p ? hotrow_last_error() : "out of memory");
  free(p);
  return hr_exit_code(status);
}

static bool are_pairs(const char *plots)
{
  char pair[WORD_BYTES];
  while (next_word(&plots, pair))
    if (strchr(pair, ':') == NULL)
      return false;
  return true;
}

int hr_cmd_plot(int argc, char **argv)
{
  static results r;
  plot_options o = {0};
  int code = hr_options_parse(&command, argc, argv, &o, NULL);
  if (code >= 0)
    return code;
  if ((!o.html && !o.svg) || !o.plots || !are_pairs(o.plots)) {
    fprintf(stderr, "hotrow plot: wants --html FILE or --svg FILE, and --plots X:Y,...\n");
    return HR_EXIT_USAGE;
  }
  code = read_results(&r) ? write_plots(&o, &r) : HR_EXIT_DATA;
  for (size_t i = 0; i < r.count; i++)
    free(r.lines[i]);
  return code;
}
