/* A bar on stderr for what takes long: on a terminal, from the first second on. Elsewhere nothing. */
#ifndef HR_TOOLS_BAR_H
#define HR_TOOLS_BAR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hr_bar {
  const char *what; /* "verify" */
  bool is_terminal, is_shown;
  uint64_t begin_ms, shown_ms;
} hr_bar;

void hr_bar_begin(hr_bar *bar, const char *what);
/* total 0: nobody knows; the time alone is shown. */
void hr_bar_show(hr_bar *bar, uint64_t done, uint64_t total);
void hr_bar_end(hr_bar *bar); /* takes it away */

#endif
