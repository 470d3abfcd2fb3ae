/* Reports as one HTML file each: headings, text, tables and plots as inline SVG. No scripts, nothing loaded from
 * elsewhere; light or dark as the reader's system is. The file is well-formed XML too. One thread at a time.
 *
 *   hr_plot_page *page;
 *   HOTROW_TRY(hr_plot_open("report.html", "A run", &page));
 *   hr_plot_lines(page, &lines);
 *   return hr_plot_close(page);
 *
 * Nothing between open and close fails: what goes wrong, close tells. Values that are NaN or infinite, and on a
 * logarithmic axis those not above 0, are left out of a plot and break a line. */
#ifndef HR_PLOT_H
#define HR_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hotrow/base.h>

#define HR_PLOT_BUCKETS_MAX 64u /* of hr_plot_log2_histogram */

typedef struct hr_plot_page hr_plot_page;

/* Starts a page beside `path` (path.partial); the name itself appears, or is replaced, when the page is closed.
 *   HOTROW_ERR_STORAGE (the sentence names the file), HOTROW_ERR_NO_MEMORY */
hotrow_status hr_plot_open(const char *path, const char *title, hr_plot_page **page_p);
/* The same for an SVG image alone, of so many line charts one below the other, for pages of others: there are no
 * headings, texts and tables in it. */
hotrow_status hr_plot_open_image(const char *path, const char *title, size_t plot_count, hr_plot_page **page_p);
/* Finishes and frees the page in any case. HOTROW_ERR_STORAGE: nothing is left behind. */
hotrow_status hr_plot_close(hr_plot_page *page);
/* Throws the page away. Accepts NULL. */
void hr_plot_discard(hr_plot_page *page);

void hr_plot_heading(hr_plot_page *page, const char *text);
void hr_plot_text(hr_plot_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* head[column_count], cells[row_count * column_count]. Cells that are numbers stand to the right. */
void hr_plot_table(hr_plot_page *page, const char *const *head, size_t column_count, const char *const *cells,
                   size_t row_count);

typedef struct hr_plot_series {
  const char *name;
  const double *x, *y; /* [count] */
  size_t count;
  const char *const *notes; /* [count]: what a point is, shown when the pointer rests on it; or NULL */
  bool is_points;           /* only the points, without a line through them */
} hr_plot_series;

typedef struct hr_plot_axis {
  const char *label;
  bool is_log;
} hr_plot_axis;

#define HR_PLOT_SERIES_MAX 32u
typedef struct hr_plot_line_chart {
  const char *title;
  hr_plot_axis x, y;
  const hr_plot_series *series;
  size_t series_count; /* those beyond HR_PLOT_SERIES_MAX are left out */
} hr_plot_line_chart;
void hr_plot_lines(hr_plot_page *page, const hr_plot_line_chart *chart);

/* Bars of one or more parts on top of each other, from 0 up; a part below 0, NaN or infinite counts as 0. */
typedef struct hr_plot_bar_chart {
  const char *title;
  const char *x_label, *y_label;
  const char *const *labels; /* [bar_count] */
  size_t bar_count;
  const char *const *parts; /* [part_count]: names; NULL with one part */
  size_t part_count;
  const double *values; /* [bar_count][part_count] */
} hr_plot_bar_chart;
void hr_plot_bars(hr_plot_page *page, const hr_plot_bar_chart *chart);

/* Shares of counts[bucket_count <= HR_PLOT_BUCKETS_MAX], bucket 0 being the value 0 and bucket b the values from
 * 2^(b-1) to 2^b - 1, labelled with the least; empty buckets at the end are left out. */
void hr_plot_log2_histogram(hr_plot_page *page, const char *title, const char *x_label, const uint64_t *counts,
                            size_t bucket_count);

/* A number as people read it: 0, 0.25, 1.5k, 33.8M, 2e-9. */
#define HR_PLOT_NUMBER_BYTES 32u
const char *hr_plot_number(double value, char text[HR_PLOT_NUMBER_BYTES]);

#endif
