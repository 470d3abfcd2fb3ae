/* Rows of shards as a table for people and as JSON for programs. */
#ifndef HR_TOP_VIEW_H
#define HR_TOP_VIEW_H

#include <stdio.h>

#include "top_sample.h"

#define HR_TOP_LINE_BYTES 512u

typedef struct hr_top_line {
  const char *endpoint;
  const char *note; /* of a shard that refuses */
  hr_top_row row;
} hr_top_line;

typedef struct hr_top_page {
  uint32_t columns, lines; /* of the terminal: what is over is cut off; 0: no limit */
  const char *line_end;    /* behind every line */
  const char *title;       /* the first line; NULL: none */
} hr_top_page;

void hr_top_print_table(FILE *out, const hr_top_page *page, const hr_top_line *lines, uint32_t count);

/* One object on one line. stats: the shard's own JSON, or NULL. */
void hr_top_print_json(FILE *out, uint32_t shard, const hr_top_line *line, const char *stats);

#endif
