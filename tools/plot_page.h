/* What plot.c (the page) and plot_svg.c (the plots in it) share. */
#ifndef HR_PLOT_PAGE_H
#define HR_PLOT_PAGE_H

#include <stdio.h>

#include "plot.h"

struct hr_plot_page {
  FILE *file;
  char *path;         /* owned */
  char *partial_path; /* owned */
};

/* Text between tags or in an attribute: escaped, and what is no character of XML replaced. */
void hr_plot_put_text(hr_plot_page *page, const char *text);

#endif
