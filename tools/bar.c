#include "bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define FIRST_MS 1000u
#define EVERY_MS 200u
#define WIDTH 40

static uint64_t now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

void hr_bar_begin(hr_bar *bar, const char *what)
{
  *bar = (hr_bar){.what = what, .is_terminal = isatty(STDERR_FILENO) == 1, .begin_ms = now_ms()};
}

void hr_bar_show(hr_bar *bar, uint64_t done, uint64_t total)
{
  if (!bar->is_terminal)
    return;
  uint64_t now = now_ms();
  if (bar->is_shown ? now - bar->shown_ms < EVERY_MS : now - bar->begin_ms < FIRST_MS)
    return;
  if (total > 0) {
    uint64_t share = done < total ? done : total;
    int filled = (int)((double)share * WIDTH / (double)total);
    fprintf(stderr, "\r%s [%.*s%*s] %3.0f %%\033[K", bar->what, filled,
            "========================================", WIDTH - filled, "", 100 * (double)share / (double)total);
  } else {
    fprintf(stderr, "\r%s ... %" PRIu64 " s\033[K", bar->what, (now - bar->begin_ms) / 1000u);
  }
  bar->is_shown = true;
  bar->shown_ms = now;
}

void hr_bar_end(hr_bar *bar)
{
  if (bar->is_shown)
    fprintf(stderr, "\r\033[K");
  bar->is_shown = false;
}
