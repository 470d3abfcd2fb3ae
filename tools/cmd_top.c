/* hotrow top: what running shards do, on a terminal, as text or as JSON. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hotrow/monitor.h>

#include "commands.h"
#include "counts_json.h"
#include "options.h"
#include "signals.h"
#include "terminal.h"
#include "top_view.h"

#define MS_NS ((uint64_t)1000000)
#define WAIT_SLICE_MS 50u  /* how late a key or a signal is noticed while a shard keeps silent */
#define ONCE_WAIT_MS 3000u /* --once: a shard is silent only after so long, however short the interval */
#define LINE_END_DRAWN "\033[K\n"

typedef struct top_values {
  const char *shards;
  uint32_t interval_ms;
  bool json;
  bool once;
} top_values;

#define AT(field) offsetof(top_values, field)
static const hr_option options[] = {
    {"shards", HR_OPTION_TEXT, AT(shards), NULL, 0, 0, NULL,
     "addresses of all shards, in order, with commas between them"},
    {"interval-ms", HR_OPTION_U32, AT(interval_ms), "1000", 100, 3600000, NULL,
     "time between two looks; a shard that takes longer to answer (3 s with --once) is shown as silent"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "print an object per shard and interval, one a line"},
    {"once", HR_OPTION_BOOL, AT(once), NULL, 0, 0, NULL, "end after the first interval"},
};

static const hr_command command = {
    .name = "top",
    .summary = "what running shards do",
    .details = "PULL/s PUSH/s ROWS/s  answered, taken, rows of both        MEMORY  index, rows, state, buffers\n"
               "P50 P99  time of a request on the shard's thread           DIRTY   bytes that are in no cut yet\n"
               "BUSY  share of its time (it has one thread)                LAG     pushes that are not durable\n"
               "STATE  ok; degraded: serves, and makes nothing durable; silent: no answer; refused: it says why.\n"
               "q or Ctrl-C ends it. The exit code is 69 if a shard kept silent or refused at the end, else 0.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

typedef struct top {
  top_values values;
  hotrow_monitor *monitor;     /* owned */
  uint32_t count;              /* of shards */
  hr_top_sample *before, *now; /* owned [count] */
  hr_top_line *lines;          /* owned [count] */
  int signal_fd;
  bool is_drawn; /* on a terminal */
  bool is_over;
} top;

static uint64_t later_of(uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

static uint64_t now_ns(void)
{
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- looking ---- */

static void take_sample(const top *t, uint32_t shard, hr_top_sample *sample)
{
  hotrow_monitor_answer answer = hotrow_monitor_answer_of(t->monitor, shard);
  *sample = (hr_top_sample){.state = HR_TOP_SILENT, .time_ns = answer.time_ns};
  if (answer.refusal) {
    sample->state = HR_TOP_REFUSED;
    snprintf(sample->note, sizeof sample->note, "%s", answer.refusal);
  } else if (answer.stats && !hr_counts_from_json(answer.stats, &sample->counts)) {
    sample->state = HR_TOP_REFUSED;
    snprintf(sample->note, sizeof sample->note, "its statistics are not what this program reads");
  } else if (answer.stats) {
    sample->state = sample->counts.is_degraded ? HR_TOP_DEGRADED : HR_TOP_OK;
  }
}

static void take_samples(top *t)
{
  hr_top_sample *oldest = t->before;
  t->before = t->now;
  t->now = oldest;
  for (uint32_t i = 0; i < t->count; i++) {
    take_sample(t, i, &t->now[i]);
    t->lines[i] = (hr_top_line){.endpoint = hotrow_monitor_endpoint(t->monitor, i),
                                .note = t->now[i].note,
                                .row = hr_top_compare(&t->before[i], &t->now[i])};
  }
}

static bool all_are_well(const top *t)
{
  for (uint32_t i = 0; i < t->count; i++)
    if (t->now[i].state == HR_TOP_SILENT || t->now[i].state == HR_TOP_REFUSED)
      return false;
  return true;
}

/* ---- showing ---- */

static void draw(const top *t)
{
  char title[HR_TOP_LINE_BYTES], clock[16] = "";
  time_t seconds = time(NULL);
  struct tm local;
  if (localtime_r(&seconds, &local))
    strftime(clock, sizeof clock, "%H:%M:%S", &local);
  snprintf(title, sizeof title, "hotrow top  %s  %u shards, every %u ms  (q ends)", clock, t->count,
           t->values.interval_ms);
  hr_top_page page = {.line_end = LINE_END_DRAWN, .title = title};
  hr_terminal_size(&page.columns, &page.lines);
  page.lines--;   /* the cursor's */
  page.columns--; /* behind the last one it would erase what it has just written */
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size); /* one write: no half of a picture is seen */
  if (!out)
    return;
  fputs("\033[H", out);
  hr_top_print_table(out, &page, t->lines, t->count);
  fputs("\033[J", out);
  if (fclose(out) == 0) {
    fwrite(text, 1, size, stdout);
    fflush(stdout);
  }
  free(text);
}

static void show(const top *t, bool has_rates)
{
  if (t->is_drawn) {
    draw(t);
    return;
  }
  if (!has_rates)
    return;
  if (t->values.json) {
    for (uint32_t i = 0; i < t->count; i++)
      hr_top_print_json(stdout, i, &t->lines[i], hotrow_monitor_answer_of(t->monitor, i).stats);
  } else {
    hr_top_page page = {.line_end = "\n"};
    hr_top_print_table(stdout, &page, t->lines, t->count);
  }
  fflush(stdout);
}

/* ---- waiting ---- */

/* Keys and signals, waiting for them at most so long. */
static void take_input(top *t, int timeout_ms)
{
  unsigned char number;
  int key = 0;
  if (t->is_drawn) {
    key = hr_terminal_key(t->signal_fd, timeout_ms);
  } else {
    struct pollfd item = {.fd = t->signal_fd, .events = POLLIN};
    poll(&item, 1, timeout_ms);
  }
  t->is_over |= key == 'q' || key == 'Q';
  while (read(t->signal_fd, &number, 1) == 1) {
    if (number != SIGWINCH)
      t->is_over = true;
    else if (t->is_drawn)
      draw(t);
  }
  t->is_over |= ferror(stdout) != 0; /* whoever read it has gone */
}

/* Until all shards have answered, or this time. */
static void wait_for_answers(top *t, uint64_t due_ns)
{
  while (!t->is_over && now_ns() < due_ns && hotrow_monitor_wait(t->monitor, WAIT_SLICE_MS) > 0)
    take_input(t, 0);
}

static void wait_until(top *t, uint64_t due_ns)
{
  for (uint64_t now = now_ns(); !t->is_over && now < due_ns; now = now_ns())
    take_input(t, (int)((due_ns - now) / MS_NS + 1));
}

static void watch(top *t)
{
  uint64_t due_ns = now_ns();
  for (uint64_t look = 0; !t->is_over; look++) {
    due_ns += t->values.interval_ms * MS_NS;
    if (due_ns < now_ns()) /* the machine slept */
      due_ns = now_ns() + t->values.interval_ms * MS_NS;
    hotrow_monitor_ask(t->monitor);
    wait_for_answers(t, t->values.once ? later_of(due_ns, now_ns() + ONCE_WAIT_MS * MS_NS) : due_ns);
    if (t->is_over)
      break;
    take_samples(t);
    show(t, look > 0);
    if (t->values.once && look > 0)
      break;
    wait_until(t, due_ns);
  }
}

static int run(top *t)
{
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
  if (hotrow_monitor_open(t->values.shards, &t->monitor) != HOTROW_OK) {
    fprintf(stderr, "hotrow top: %s\n", hotrow_last_error());
    return HR_EXIT_CONFIG;
  }
  t->count = hotrow_monitor_shard_count(t->monitor);
  t->before = calloc(t->count, sizeof *t->before);
  t->now = calloc(t->count, sizeof *t->now);
  t->lines = calloc(t->count, sizeof *t->lines);
  if (!t->before || !t->now || !t->lines ||
      !hr_signals_open(numbers, sizeof numbers / sizeof *numbers, &t->signal_fd)) {
    perror("hotrow top: cannot begin");
    return HR_EXIT_OS;
  }
  for (uint32_t i = 0; i < t->count; i++)
    t->before[i].state = t->now[i].state = HR_TOP_SILENT;
  t->is_drawn = !t->values.json && !t->values.once && hr_terminal_open();
  watch(t);
  hr_terminal_close();
  return all_are_well(t) ? 0 : HR_EXIT_UNAVAILABLE;
}

int hr_cmd_top(int argc, char **argv)
{
  top t = {.signal_fd = -1};
  int code = hr_options_parse(&command, argc, argv, &t.values, NULL);
  if (code >= 0)
    return code;
  if (!t.values.shards) {
    fprintf(stderr, "hotrow top: name the shards, as --shards or in HOTROW_SHARDS: tcp://127.0.0.1:7117,...\n");
    return HR_EXIT_USAGE;
  }
  code = run(&t);
  hotrow_monitor_close(t.monitor);
  free(t.before);
  free(t.now);
  free(t.lines);
  return code;
}
