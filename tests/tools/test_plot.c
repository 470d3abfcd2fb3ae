/* Reports: well-formed whatever is put in, and what is drawn is where it belongs. The files are checked by a small XML
 * reader here, and by xmllint too where that is installed. */
#include <ctype.h>
#include <float.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/random.h>

#include "hr_test.h"
#include "plot.h"

#define DEPTH_MAX 32

static char page_path[512];

static char *read_all(const char *path)
{
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0);
  const long size = ftell(file);
  CHECK(size >= 0);
  rewind(file);
  char *text = malloc((size_t)size + 1);
  CHECK(text != NULL && fread(text, 1, (size_t)size, file) == (size_t)size);
  text[size] = 0;
  CHECK_EQ(strlen(text), size); /* no zero byte inside */
  fclose(file);
  return text;
}

static const char *check_entity(const char *at)
{
  static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
  for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++)
    if (strncmp(at, entities[i], strlen(entities[i])) == 0)
      return at + strlen(entities[i]);
  hr_test_fail(__FILE__, __LINE__, "a bare & before %.20s", at);
}

/* One tag from '<' on: attributes are quoted, names match. */
static const char *check_tag(const char *at, char stack[DEPTH_MAX][16], size_t *depth)
{
  char name[16] = "";
  size_t size = 0;
  const bool is_end = at[1] == '/';
  at += is_end ? 2 : 1;
  while (isalnum((unsigned char)*at) && size < 15)
    name[size++] = *at++;
  CHECK_MSG(size > 0, "no name in <%.20s", at);
  bool is_quoted = false;
  for (; *at != '>' || is_quoted; at++) {
    CHECK_MSG(*at != 0 && *at != '<', "an open tag %s", name);
    if (*at == '"')
      is_quoted = !is_quoted;
    if (*at == '&')
      at = check_entity(at) - 1;
  }
  if (is_end) {
    CHECK_MSG(*depth > 0 && strcmp(stack[*depth - 1], name) == 0, "</%s> closes nothing", name);
    --*depth;
  } else if (at[-1] != '/') {
    CHECK(*depth < DEPTH_MAX);
    strcpy(stack[(*depth)++], name);
  }
  return at + 1;
}

static void check_well_formed(const char *text)
{
  char stack[DEPTH_MAX][16];
  size_t depth = 0;
  const char *doctype = "<!DOCTYPE html>\n";
  CHECK(strncmp(text, doctype, strlen(doctype)) == 0);
  for (const char *at = text + strlen(doctype); *at != 0;)
    at = *at == '<' ? check_tag(at, stack, &depth) : *at == '&' ? check_entity(at) : at + 1;
  CHECK_EQ(depth, 0);
}

static size_t count_of(const char *text, const char *word)
{
  size_t count = 0;
  for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
    count++;
  return count;
}

static hr_plot_page *open_page(const char *title)
{
  hr_plot_page *page;
  snprintf(page_path, sizeof page_path, "%s/page.html", hr_test_tmpdir());
  CHECK_OK(hr_plot_open(page_path, title, &page));
  return page;
}

/* Closes the page and checks all that every page must be. The text is the caller's. */
static char *close_page(hr_plot_page *page)
{
  char command[600];
  CHECK_OK(hr_plot_close(page));
  char *text = read_all(page_path);
  check_well_formed(text);
  CHECK(strstr(text, "<script") == NULL && strstr(text, "http:") == NULL && strstr(text, "https:") == NULL);
  CHECK(strstr(text, "\"nan") == NULL && strstr(text, "\"-nan") == NULL && strstr(text, "inf\"") == NULL);
  CHECK(strstr(text, " nan") == NULL && strstr(text, "Mnan") == NULL && strstr(text, "Lnan") == NULL);
  if (system("command -v xmllint >/dev/null 2>&1") == 0) {
    snprintf(command, sizeof command, "xmllint --noout %s", page_path);
    CHECK_EQ(system(command), 0);
  }
  return text;
}

static void draw(hr_plot_page *page, const double *x, const double *y, size_t count, bool is_log)
{
  const hr_plot_series series[] = {{.name = "line", .x = x, .y = y, .count = count},
                                   {.name = "points", .x = x, .y = y, .count = count, .is_points = true}};
  const hr_plot_line_chart chart = {
      .title = "chart", .x = {"x", is_log}, .y = {"y", is_log}, .series = series, .series_count = 2};
  hr_plot_lines(page, &chart);
}

static void test_refusals(void)
{
  hr_plot_page *page;
  struct stat found;
  CHECK_FAILS(hr_plot_open("/nonexistent/a.html", "t", &page), HOTROW_ERR_STORAGE, "/nonexistent/a.html");
  /* A directory is in the way of the name: nothing is left beside it. */
  char path[512], partial[520];
  snprintf(path, sizeof path, "%s/directory", hr_test_tmpdir());
  snprintf(partial, sizeof partial, "%s.partial", path);
  CHECK_EQ(mkdir(path, 0700), 0);
  CHECK_OK(hr_plot_open(path, "t", &page));
  CHECK_FAILS(hr_plot_close(page), HOTROW_ERR_STORAGE, path);
  CHECK(stat(partial, &found) != 0);
  /* A full disk. */
  if (stat("/dev/full", &found) == 0) {
    CHECK_EQ(symlink("/dev/full", partial), 0);
    CHECK_OK(hr_plot_open(path, "t", &page));
    for (int i = 0; i < 10000; i++)
      hr_plot_heading(page, "text");
    CHECK_FAILS(hr_plot_close(page), HOTROW_ERR_STORAGE, path);
  }
}

static void test_name_appears_when_closed(void)
{
  struct stat found;
  hr_plot_page *page = open_page("first");
  CHECK(stat(page_path, &found) != 0);
  hr_plot_discard(page);
  CHECK(stat(page_path, &found) != 0);
  hr_plot_discard(NULL);
  free(close_page(open_page("first")));
  page = open_page("second");
  char *text = read_all(page_path);
  CHECK(strstr(text, "first") != NULL);
  free(text);
  text = close_page(page);
  CHECK(strstr(text, "<h1>second</h1>") != NULL && strstr(text, "first") == NULL);
  free(text);
}

static void test_escapes(void)
{
  static const char *const texts[] = {"<b> & \"quoted\" 'x'",
                                      "a\x01\x1f\x7f z",
                                      "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                                      "\xff\xc3",
                                      "\xc0\xaf\xed\xa0\x80\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xef\xbf\xbf",
                                      ""};
  const double one[] = {1};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    const char *const words[] = {texts[i]};
    hr_plot_page *page = open_page(texts[i]);
    hr_plot_heading(page, texts[i]);
    hr_plot_text(page, "%s", texts[i]);
    hr_plot_table(page, words, 1, words, 1);
    const hr_plot_series series = {.name = texts[i], .x = one, .y = one, .count = 1, .notes = words};
    hr_plot_lines(page, &(hr_plot_line_chart){texts[i], {texts[i], false}, {texts[i], true}, &series, 1});
    hr_plot_bars(page, &(hr_plot_bar_chart){texts[i], texts[i], texts[i], words, 1, words, 1, one});
    char *text = close_page(page);
    if (i == 0)
      CHECK(strstr(text, "&lt;b&gt; &amp; &quot;quoted&quot; 'x'") != NULL && strstr(text, "<b>") == NULL);
    if (i == 2)
      CHECK(strstr(text, texts[2]) != NULL);
    if (i >= 3 && i <= 6) /* no UTF-8 */
      CHECK(strstr(text, texts[i]) == NULL);
    if (i == 3)
      CHECK(strstr(text, "<h1>\xef\xbf\xbd\xef\xbf\xbd</h1>") != NULL);
    free(text);
  }
}

/* The numbers behind every attribute of this name lie in [low, high]. */
static void check_attributes(const char *text, const char *name, double low, double high)
{
  char word[16];
  snprintf(word, sizeof word, " %s=\"", name);
  for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
    const double value = strtod(at + strlen(word), NULL);
    CHECK_MSG(value >= low && value <= high, "%s is %g, not in [%g, %g]", name, value, low, high);
  }
}

static void test_extreme_values(void)
{
  const double values[] = {0,        -1,        1,   1e-320, DBL_MIN,  DBL_MAX, -DBL_MAX,
                           INFINITY, -INFINITY, NAN, 1e15,   1e15 + 1, 5e-9};
  const size_t count = sizeof values / sizeof values[0];
  for (size_t a = 0; a < count; a++)
    for (size_t b = 0; b < count; b++) {
      const double x[] = {values[a], values[b]}, y[] = {values[b], values[a]};
      const char *const labels[] = {"a", "b"};
      hr_plot_page *page = open_page("extreme");
      draw(page, x, y, 2, false);
      draw(page, x, y, 2, true);
      hr_plot_bars(page, &(hr_plot_bar_chart){"bars", "x", "y", labels, 2, NULL, 1, x});
      hr_plot_bars(page, &(hr_plot_bar_chart){"bars", "x", "y", labels, 1, labels, 2, x});
      CHECK_OK(hr_plot_close(page));
      char *text = read_all(page_path);
      check_well_formed(text);
      check_attributes(text, "cx", 60, 760);
      check_attributes(text, "cy", 0, 340);
      check_attributes(text, "height", 0, 340);
      check_attributes(text, "y1", 0, 340);
      free(text);
    }
}

static void test_nothing_to_draw(void)
{
  const double nan[] = {NAN, NAN};
  hr_plot_page *page = open_page("empty");
  hr_plot_lines(page, &(hr_plot_line_chart){.title = "none", .x = {"x", false}, .y = {"y", true}});
  draw(page, NULL, NULL, 0, false);
  draw(page, nan, nan, 2, true);
  hr_plot_bars(page, &(hr_plot_bar_chart){.title = "none", .x_label = "x", .y_label = "y"});
  hr_plot_log2_histogram(page, "none", "x", (uint64_t[]){0, 0, 0}, 3);
  hr_plot_table(page, NULL, 0, NULL, 0);
  char *text = close_page(page);
  CHECK_EQ(count_of(text, "<circle"), 0);
  CHECK_EQ(count_of(text, "<svg"), 5);
  free(text);
}

static void test_lines_break_where_a_value_is_missing(void)
{
  const double x[] = {0, 1, 2, 3, 4}, y[] = {1, 2, NAN, 3, 0};
  hr_plot_page *page = open_page("breaks");
  draw(page, x, y, 5, false);
  char *text = close_page(page);
  const char *path = strstr(text, " d=\"");
  CHECK(path != NULL);
  CHECK(strncmp(path, " d=\"M64.0 199.3L", 16) == 0); /* x 0 is the left end, y 1 a third up from 0 to 3 */
  *strchr(path + 4, '"') = 0;
  CHECK_EQ(count_of(path, "M"), 2);
  CHECK_EQ(count_of(path, "L"), 2);
  free(text);
  page = open_page("logarithm");
  draw(page, (double[]){1, 10, 100}, (double[]){1, 0, 100}, 3, true);
  text = close_page(page);
  CHECK_EQ(count_of(text, "<circle"), 4); /* 0 has no logarithm: two points, drawn twice */
  CHECK(strstr(text, "cx=\"64.0\" cy=\"294.0\"") != NULL && strstr(text, "cx=\"748.0\" cy=\"10.0\"") != NULL);
  free(text);
}

static void test_bars_stand_on_each_other(void)
{
  const char *const labels[] = {"one", "a label that is much too long to stand under its bar"};
  const char *const parts[] = {"low", "high"};
  const double values[] = {1, 3, 2, -7};
  hr_plot_page *page = open_page("bars");
  hr_plot_bars(page, &(hr_plot_bar_chart){"bars", "x", "y", labels, 2, parts, 2, values});
  char *text = close_page(page);
  CHECK_EQ(count_of(text, "<rect"), 4);
  CHECK(strstr(text, "y=\"225.0\" width=\"90.0\" height=\"69.0\"") != NULL); /* 0 to 1 of 4 over 276 */
  CHECK(strstr(text, "y=\"18.0\" width=\"90.0\" height=\"207.0\"") != NULL); /* 1 to 4 */
  CHECK(strstr(text, "height=\"0.0\"") != NULL);                             /* below 0 */
  free(text);
  page = open_page("histogram");
  hr_plot_log2_histogram(page, "h", "x", (uint64_t[]){1, 0, 3, 0, 0}, 5);
  text = close_page(page);
  CHECK_EQ(count_of(text, "<rect"), 3);
  CHECK(strstr(text, "2: 0.75</title>") != NULL);
  free(text);
}

static void test_table_and_numbers(void)
{
  static const struct {
    double value;
    const char *text;
  } numbers[] = {{0, "0"},     {1, "1"},        {0.25, "0.25"},     {-3, "-3"},          {999, "999"},
                 {1000, "1k"}, {999.6, "1k"},   {1520, "1.52k"},    {33762577, "33.8M"}, {-2e9, "-2G"},
                 {5e12, "5T"}, {1e15, "1e+15"}, {0.00001, "1e-05"}, {999999, "1M"},      {0.001234, "0.00123"}};
  char text[HR_PLOT_NUMBER_BYTES];
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    CHECK_MSG(strcmp(hr_plot_number(numbers[i].value, text), numbers[i].text) == 0, "%g is written %s, not %s",
              numbers[i].value, text, numbers[i].text);
  const char *const head[] = {"name", "count"}, *const cells[] = {"a", "12", "b", "3.5k"};
  hr_plot_page *page = open_page("table");
  hr_plot_table(page, head, 2, cells, 2);
  char *page_text = close_page(page);
  CHECK(strstr(page_text, "<tr><td>a</td><td class=\"num\">12</td></tr>\n<tr><td>b</td><td class=\"num\">3.5k</td>"));
  free(page_text);
}

static void test_many_series(void)
{
  double x[300], y[12][300];
  hr_plot_series series[12];
  hr_rng rng = {hr_test_seed(1)};
  for (size_t s = 0; s < 12; s++) {
    for (size_t i = 0; i < 300; i++) {
      x[i] = (double)i;
      y[s][i] = 1000 * (double)hr_rng_unit(&rng);
    }
    series[s] = (hr_plot_series){.name = "s", .x = x, .y = y[s], .count = 300};
  }
  hr_plot_page *page = open_page("many");
  hr_plot_lines(page, &(hr_plot_line_chart){"many", {"x", false}, {"y", false}, series, 12});
  char *text = close_page(page);
  CHECK_EQ(count_of(text, "<path"), 12);
  CHECK_EQ(count_of(text, "<circle"), 0); /* lines of so many points are drawn without them */
  free(text);
}

int main(void)
{
  RUN(test_refusals);
  RUN(test_name_appears_when_closed);
  RUN(test_escapes);
  RUN(test_extreme_values);
  RUN(test_nothing_to_draw);
  RUN(test_lines_break_where_a_value_is_missing);
  RUN(test_bars_stand_on_each_other);
  RUN(test_table_and_numbers);
  RUN(test_many_series);
  return 0;
}
