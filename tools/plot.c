#include "plot_page.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hr/memory.h>
#include <hr/status.h>

#define TEXT_MAX 4096 /* bytes of one paragraph */

/* The colours are those of Okabe and Ito, which people with colour-blind eyes tell apart too. */
static const char page_style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c1e21;--dim:#6a7079;--grid:#e3e5e8;--s0:#0072b2;--s1:#d55e00;"
    "--s2:#009e73;--s3:#cc79a7;--s4:#b58900;--s5:#56b4e9;--s6:#8b5cf6;--s7:#7a7a7a}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e4e6ea;--dim:#9aa1ab;--grid:#2e3238;--s0:#4aa8e0;"
    "--s1:#f28c45;--s2:#2ec49b;--s3:#e39cc4;--s4:#e0b93c;--s5:#8fd0f5;--s6:#b197fc;--s7:#a5a5a5}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;background:var(--bg);color:var(--fg);max-width:60em;margin:2em auto;"
    "padding:0 1em}\nh1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}\n"
    "figure{margin:1.5em 0}figcaption{font-weight:600}.legend{color:var(--dim);font-size:.9em}\n"
    ".legend span{margin-right:1.2em;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;"
    "margin-right:.4em;border-radius:2px}\nsvg{width:100%;height:auto;overflow:visible}\n"
    ".title{font-weight:600}\nsvg text{fill:var(--dim);font:12px system-ui,sans-serif}.grid{stroke:var(--grid)}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}\n"
    "table{border-collapse:collapse;font-size:.9em}td,th{padding:.25em .8em;border-bottom:1px solid var(--grid);"
    "text-align:left}.num{text-align:right;font-variant-numeric:tabular-nums}.scroll{overflow-x:auto}\n"
    ".s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}.s5{--c:var(--s5)}"
    ".s6{--c:var(--s6)}.s7{--c:var(--s7)}\n.line{stroke:var(--c)}.fill{fill:var(--c)}i.fill{background:var(--c)}\n";

static const char page_head[] = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<style>\n";

/* Bytes of the UTF-8 character that begins here, 0 if none does. */
static size_t utf8_size(const unsigned char *text)
{
  const unsigned char first = text[0];
  const size_t size = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : 4;
  if ((first >= 0x80 && first < 0xc2) || first > 0xf4)
    return 0;
  for (size_t i = 1; i < size; i++)
    if ((text[i] & 0xc0) != 0x80)
      return 0;
  const bool is_overlong = (first == 0xe0 && text[1] < 0xa0) || (first == 0xf0 && text[1] < 0x90);
  const bool is_beyond = (first == 0xed && text[1] > 0x9f) || (first == 0xf4 && text[1] > 0x8f);
  const bool is_no_character = first == 0xef && text[1] == 0xbf && text[2] >= 0xbe;
  return is_overlong || is_beyond || is_no_character ? 0 : size;
}

void hr_plot_put_text(hr_plot_page *page, const char *text)
{
  for (const unsigned char *at = (const unsigned char *)text; *at != 0;) {
    const size_t size = utf8_size(at);
    if (size == 0 || (*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7f)
      fputs("\xef\xbf\xbd", page->file); /* what is no character of XML becomes U+FFFD */
    else if (*at == '&')
      fputs("&amp;", page->file);
    else if (*at == '<')
      fputs("&lt;", page->file);
    else if (*at == '>')
      fputs("&gt;", page->file);
    else if (*at == '"')
      fputs("&quot;", page->file);
    else
      fwrite(at, 1, size, page->file);
    at += size > 0 ? size : 1;
  }
}

static hotrow_status file_error(const hr_plot_page *page, const char *what)
{
  return hr_fail(HOTROW_ERR_STORAGE, "cannot %s the report %s: %s", what, page->path, strerror(errno));
}

static void free_page(hr_plot_page *page)
{
  free(page->path);
  free(page->partial_path);
  free(page);
}

static hotrow_status open_file(const char *path, hr_plot_page **page_p)
{
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof **page_p, "report", &memory));
  hr_plot_page *page = memory;
  hotrow_status status;
  const size_t size = strlen(path) + sizeof ".partial";
  page->path = strdup(path);
  page->partial_path = malloc(size);
  if (!page->path || !page->partial_path) {
    status = hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for the name of the report %s", path);
    goto free_page;
  }
  snprintf(page->partial_path, size, "%s.partial", path);
  page->file = fopen(page->partial_path, "w");
  if (!page->file) {
    status = file_error(page, "write");
    goto free_page;
  }
  *page_p = page;
  return HOTROW_OK;

free_page:
  free_page(page);
  return status;
}

hotrow_status hr_plot_open(const char *path, const char *title, hr_plot_page **page_p)
{
  hr_plot_page *page = NULL;
  HOTROW_TRY(open_file(path, &page));
  fprintf(page->file, "%s%s</style>\n<title>", page_head, page_style);
  hr_plot_put_text(page, title);
  fputs("</title>\n</head>\n<body>\n<h1>", page->file);
  hr_plot_put_text(page, title);
  fputs("</h1>\n", page->file);
  *page_p = page;
  return HOTROW_OK;
}

hotrow_status hr_plot_open_image(const char *path, const char *title, size_t plot_count, hr_plot_page **page_p)
{
  hr_plot_page *page = NULL;
  const double height = (HR_PLOT_HEAD + HR_PLOT_HEIGHT) * (double)plot_count;
  HOTROW_TRY(open_file(path, &page));
  page->is_image = true;
  fprintf(page->file, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\">\n<style>\n%s</style>\n<title>",
          HR_PLOT_WIDTH, height, page_style);
  hr_plot_put_text(page, title);
  fprintf(page->file, "</title>\n<rect width=\"%g\" height=\"%g\" style=\"fill:var(--bg)\"/>\n", HR_PLOT_WIDTH, height);
  *page_p = page;
  return HOTROW_OK;
}

hotrow_status hr_plot_close(hr_plot_page *page)
{
  hotrow_status status = HOTROW_OK;
  fputs(page->is_image ? "</svg>\n" : "</body>\n</html>\n", page->file);
  if (fflush(page->file) != 0 || ferror(page->file))
    status = file_error(page, "write");
  if (fclose(page->file) != 0 && status == HOTROW_OK)
    status = file_error(page, "write");
  if (status == HOTROW_OK && rename(page->partial_path, page->path) != 0)
    status = file_error(page, "name");
  if (status != HOTROW_OK)
    unlink(page->partial_path);
  free_page(page);
  return status;
}

void hr_plot_discard(hr_plot_page *page)
{
  if (!page)
    return;
  fclose(page->file);
  unlink(page->partial_path);
  free_page(page);
}

void hr_plot_heading(hr_plot_page *page, const char *text)
{
  fputs("<h2>", page->file);
  hr_plot_put_text(page, text);
  fputs("</h2>\n", page->file);
}

void hr_plot_text(hr_plot_page *page, const char *format, ...)
{
  char text[TEXT_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fputs("<p>", page->file);
  hr_plot_put_text(page, text);
  fputs("</p>\n", page->file);
}

static bool is_number(const char *text)
{
  char *end;
  strtod(text, &end);
  return end != text && (*end == '\0' || (strchr("kMGT%", *end) != NULL && end[1] == '\0'));
}

static void put_cell(hr_plot_page *page, const char *tag, const char *text)
{
  fprintf(page->file, "<%s%s>", tag, is_number(text) ? " class=\"num\"" : "");
  hr_plot_put_text(page, text);
  fprintf(page->file, "</%s>", tag);
}

void hr_plot_table(hr_plot_page *page, const char *const *head, size_t column_count, const char *const *cells,
                   size_t row_count)
{
  fputs("<div class=\"scroll\"><table>\n<tr>", page->file);
  for (size_t c = 0; c < column_count; c++)
    put_cell(page, "th", head[c]);
  fputs("</tr>\n", page->file);
  for (size_t r = 0; r < row_count; r++) {
    fputs("<tr>", page->file);
    for (size_t c = 0; c < column_count; c++)
      put_cell(page, "td", cells[r * column_count + c]);
    fputs("</tr>\n", page->file);
  }
  fputs("</table></div>\n", page->file);
}

const char *hr_plot_number(double value, char text[HR_PLOT_NUMBER_BYTES])
{
  static const struct {
    double unit;
    const char *letter;
  } units[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  const double size = fabs(value);
  if (value == 0) {
    snprintf(text, HR_PLOT_NUMBER_BYTES, "0");
    return text;
  }
  if (size >= 999.5 && size < 999.5e12)
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
      if (size >= 0.9995 * units[i].unit) {
        snprintf(text, HR_PLOT_NUMBER_BYTES, "%.3g%s", value / units[i].unit, units[i].letter);
        return text;
      }
  snprintf(text, HR_PLOT_NUMBER_BYTES, size >= 1e-4 && size < 1e4 ? "%.3g" : "%.2g", value);
  return text;
}
