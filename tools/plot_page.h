/* What plot.c (the page) and plot_svg.c (the plots in it) share. */
#ifndef HR_PLOT_PAGE_H
#define HR_PLOT_PAGE_H

#include <stdio.h>

#include "plot.h"

/* The drawing of a plot, in units of the view box, and what an image has above each for its title and names. */
#define HR_PLOT_WIDTH 760.0
#define HR_PLOT_HEIGHT 340.0
#define HR_PLOT_HEAD 58.0

struct hr_plot_page {
  FILE *file;
  bool is_image;
  double image_top;   /* where the next plot of an image begins */
  char *path;         /* owned */
  char *partial_path; /* owned */
};

/* Text between tags or in an attribute: escaped, and what is no character of XML replaced. */
void hr_plot_put_text(hr_plot_page *page, const char *text);

#endif
