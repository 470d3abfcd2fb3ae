/* The result of a job: on stdout a table to read or one JSON object, and an HTML file with plots if one is wanted. */
#ifndef HR_REPORT_H
#define HR_REPORT_H

#include "train_state.h"

/* The counters that are added up over all ranks. Bytes by kind, in the order of hr_byte_kind_names, come first. */
typedef enum hr_counter {
  HR_BYTES_MISS,
  HR_BYTES_STALE,
  HR_BYTES_PUSH,
  HR_BYTES_ANNOUNCE,
  HR_BYTES_PROBE,
  HR_BYTES_OVERHEAD,
  HR_BYTE_KIND_COUNT,
  HR_HITS = HR_BYTE_KIND_COUNT, /* distinct keys served without a row coming for them */
  HR_DISTINCT,
  HR_STALL_NS,
  HR_UNSEEN_SUM,
  HR_UNSEEN_COUNT, /* hits that unseen_sum is over */
  HR_UNSEEN_MAX,   /* these two: the largest over ranks */
  HR_PENDING_MAX,
  HR_UNSEEN_BUCKETS,
  HR_STATS_COUNT = HR_UNSEEN_BUCKETS + HOTROW_UNSEEN_BUCKETS, /* the others are not the client's */
  HR_PHASES = HR_STATS_COUNT,                                 /* time by hr_train_phase, in ns */
  HR_PASS_NS = HR_PHASES + HR_PHASE_COUNT,
  HR_COUNTER_COUNT
} hr_counter;
extern const char *const hr_byte_kind_names[HR_BYTE_KIND_COUNT];

void hr_get_counters(const hotrow_client_stats *stats, uint64_t counters[HR_STATS_COUNT]);

/* One line of the result. Text is printed as it is, or as a JSON string; a list as its numbers. */
typedef struct hr_report_line {
  const char *name;
  enum { HR_LINE_WHOLE, HR_LINE_REAL, HR_LINE_TEXT, HR_LINE_LIST } kind;
  uint64_t whole; /* of a list: its numbers */
  double real;
  const char *text;
  const uint64_t *list;
} hr_report_line;

/* Adds up the counters of all ranks (so every rank must call it); rank 0 prints them and writes options.report. */
hotrow_status hr_report(hr_trainer *trainer);

/* Can the file be written? HOTROW_ERR_STORAGE */
hotrow_status hr_report_check(const char *path);
hotrow_status hr_report_write(const hr_trainer *trainer, const hr_report_line *lines, size_t line_count,
                              const uint64_t totals[HR_COUNTER_COUNT]);

#endif
