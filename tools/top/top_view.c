#include "top_view.h"

#include <inttypes.h>
#include <string.h>

#define TEXT_BYTES 24

typedef struct text {
  char bytes[TEXT_BYTES];
} text;

/* 0, 999, 1.2k, 12k, 123M: at most five characters. */
static text scaled(double value, double base, const char *const *units)
{
  text t;
  size_t unit = 0;
  while (value >= 999.5 && units[unit + 1]) {
    value /= base;
    unit++;
  }
  bool has_fraction = unit > 0 && value < 9.95;
  snprintf(t.bytes, sizeof t.bytes, has_fraction ? "%.1f%s" : "%.0f%s", value, units[unit]);
  return t;
}

static text number(double value)
{
  static const char *const units[] = {"", "k", "M", "G", "T", NULL};
  return scaled(value, 1000, units);
}

static text bytes(uint64_t value)
{
  static const char *const units[] = {"B", "K", "M", "G", "T", NULL};
  return scaled((double)value, 1024, units);
}

static text duration(double us)
{
  static const char *const units[] = {"us", "ms", "s", NULL};
  return scaled(us, 1000, units);
}

static text none(void)
{
  return (text){"-"};
}

static text bytes_or_none(uint64_t value)
{
  return value > 0 ? bytes(value) : none();
}

static text rate(const hr_top_row *row, double value)
{
  return row->seconds > 0 ? number(value) : none();
}

static text time_or_none(double us)
{
  return us < 0 ? none() : duration(us);
}

static const char heading[] = "SHARD STATE    PULL/s PUSH/s ROWS/s   P50   P99 BUSY  ROWS MEMORY COUNTED   RSS DIRTY   "
                              "LAG  CUTS SESS  GONE REFUSED";
#define ROW_FORMAT "%5s %-8s %6s %6s %6s %5s %5s %4s %5s %6s %7s %5s %5s %5s %5s %4s %5s %7s"

static void format_row(char line[HR_TOP_LINE_BYTES], const char *name, const hr_top_row *row)
{
  text busy = none();
  if (row->seconds > 0)
    snprintf(busy.bytes, sizeof busy.bytes, "%.0f%%", 100 * row->busy);
  snprintf(line, HR_TOP_LINE_BYTES, ROW_FORMAT, name, hr_top_state_name(row->state), rate(row, row->pulls_per_s).bytes,
           rate(row, row->pushes_per_s).bytes, rate(row, row->rows_per_s).bytes, time_or_none(row->p50_us).bytes,
           time_or_none(row->p99_us).bytes, busy.bytes, number((double)row->rows).bytes, bytes(row->memory_bytes).bytes,
           bytes_or_none(row->counted_bytes).bytes, bytes_or_none(row->process_bytes).bytes,
           bytes(row->dirty_bytes).bytes, number((double)row->durable_lag).bytes, number((double)row->cuts).bytes,
           number((double)row->sessions).bytes, number((double)row->rows_gone).bytes,
           number((double)row->rows_refused).bytes);
}

static void format_shard(char line[HR_TOP_LINE_BYTES], uint32_t shard, const hr_top_line *l)
{
  char name[16];
  snprintf(name, sizeof name, "%" PRIu32, shard);
  if (l->row.state == HR_TOP_SILENT || l->row.state == HR_TOP_REFUSED)
    snprintf(line, HR_TOP_LINE_BYTES, "%5s %-8s %s%s%s", name, hr_top_state_name(l->row.state), l->endpoint,
             l->note && l->note[0] ? ": " : "", l->note ? l->note : "");
  else
    format_row(line, name, &l->row);
}

static hr_top_row add_up(const hr_top_line *lines, uint32_t count)
{
  hr_top_row all = {.p50_us = -1, .p99_us = -1};
  uint32_t counted = 0;
  for (uint32_t i = 0; i < count; i++) {
    const hr_top_row *row = &lines[i].row;
    counted += row->seconds > 0;
    all.state = row->state > all.state ? row->state : all.state;
    all.seconds = row->seconds > all.seconds ? row->seconds : all.seconds;
    all.pulls_per_s += row->pulls_per_s;
    all.pushes_per_s += row->pushes_per_s;
    all.rows_per_s += row->rows_per_s;
    all.busy += row->busy;
    all.rows += row->rows;
    all.memory_bytes += row->memory_bytes;
    all.dirty_bytes += row->dirty_bytes;
    all.durable_lag += row->durable_lag;
    all.cuts += row->cuts;
    all.sessions += row->sessions;
    all.rows_gone += row->rows_gone;
    all.rows_refused += row->rows_refused;
    all.p99_us = row->p99_us > all.p99_us ? row->p99_us : all.p99_us; /* of the slowest */
    all.p50_us = row->p50_us > all.p50_us ? row->p50_us : all.p50_us;
  }
  all.busy = counted ? all.busy / counted : 0;
  return all;
}

static void print_line(FILE *out, const hr_top_page *page, const char *line)
{
  size_t size = strlen(line);
  if (page->columns && size > page->columns)
    size = page->columns;
  fwrite(line, 1, size, out);
  fputs(page->line_end, out);
}

void hr_top_print_table(FILE *out, const hr_top_page *page, const hr_top_line *lines, uint32_t count)
{
  char line[HR_TOP_LINE_BYTES];
  bool has_sum = count > 1;
  uint32_t around = 1u + (page->title ? 1u : 0u) + (has_sum ? 1u : 0u); /* lines that are no shard's */
  uint32_t shown = count;
  if (page->lines && count + around > page->lines)
    shown = page->lines > around + 1 ? page->lines - around - 1 : 0; /* and one that says so */
  if (page->title)
    print_line(out, page, page->title);
  print_line(out, page, heading);
  for (uint32_t i = 0; i < shown; i++) {
    format_shard(line, i, &lines[i]);
    print_line(out, page, line);
  }
  if (shown < count) {
    snprintf(line, sizeof line, "  ... %" PRIu32 " more shards", count - shown);
    print_line(out, page, line);
  }
  if (has_sum) {
    hr_top_row all = add_up(lines, count);
    format_row(line, "all", &all);
    print_line(out, page, line);
  }
}

/* A text of ours or of a shard in a JSON string: no byte below space is in it, as the wire refuses them. */
static void print_quoted(FILE *out, const char *s)
{
  fputc('"', out);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\')
      fputc('\\', out);
    if ((unsigned char)*s >= ' ')
      fputc(*s, out);
  }
  fputc('"', out);
}

void hr_top_print_json(FILE *out, uint32_t shard, const hr_top_line *line, const char *stats)
{
  const hr_top_row *row = &line->row;
  fprintf(out, "{\"shard\":%" PRIu32 ",\"endpoint\":", shard);
  print_quoted(out, line->endpoint);
  fprintf(out, ",\"state\":\"%s\"", hr_top_state_name(row->state));
  if (line->note && line->note[0]) {
    fputs(",\"refusal\":", out);
    print_quoted(out, line->note);
  }
  if (stats) {
    if (row->seconds > 0)
      fprintf(out,
              ",\"seconds\":%.3f,\"pulls_per_s\":%.1f,\"pushes_per_s\":%.1f,\"rows_per_s\":%.1f,\"refused_per_s\":%.1f,"
              "\"busy\":%.4f,\"cut_ms\":%.3f,\"log_ms\":%.3f",
              row->seconds, row->pulls_per_s, row->pushes_per_s, row->rows_per_s, row->refused_per_s, row->busy,
              row->cut_ms, row->log_ms);
    if (row->p50_us >= 0)
      fprintf(out, ",\"p50_us\":%.1f,\"p99_us\":%.1f", row->p50_us, row->p99_us);
    fprintf(out, ",\"memory_bytes\":%" PRIu64 ",\"durable_lag\":%" PRIu64 ",\"stats\":%s", row->memory_bytes,
            row->durable_lag, stats);
  }
  fputs("}\n", out);
}
