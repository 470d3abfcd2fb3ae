/* What two answers of a shard say about the time between them. Pure. */
#ifndef HR_TOP_SAMPLE_H
#define HR_TOP_SAMPLE_H

#include <stdbool.h>

#include <hotrow/counts.h>

#define HR_TOP_NOTE_BYTES 200u

typedef enum hr_top_state {
  HR_TOP_OK,
  HR_TOP_DEGRADED, /* serves, and makes nothing durable */
  HR_TOP_SILENT,
  HR_TOP_REFUSED /* it answers and will not tell */
} hr_top_state;

/* One answer. */
typedef struct hr_top_sample {
  hr_top_state state;
  uint64_t time_ns;
  hotrow_shard_counts counts;   /* if it is OK or DEGRADED */
  char note[HR_TOP_NOTE_BYTES]; /* if it is REFUSED: why */
} hr_top_sample;

/* What is shown of one shard. */
typedef struct hr_top_row {
  hr_top_state state;
  double seconds; /* that rates and times are of; 0: there are none yet, or the shard was restarted meanwhile */
  double pulls_per_s, pushes_per_s, rows_per_s, refused_per_s;
  double p50_us, p99_us; /* of a request on the shard's thread; below 0: there was none */
  double busy;           /* share of its thread's time */
  double cut_ms;         /* that its thread copied for cuts, in this time */
  double log_ms;         /* of one synced write of its log; 0: there was none */
  uint64_t rows, memory_bytes, dirty_bytes, durable_lag, cuts, sessions;
  uint64_t counted_bytes, process_bytes; /* of its process: as counted, as the system says */
  uint64_t rows_gone, rows_refused;      /* for good; pushed to keys without a row and dropped */
} hr_top_row;

const char *hr_top_state_name(hr_top_state state);

/* `before` may be of any state; rates need both. */
hr_top_row hr_top_compare(const hr_top_sample *before, const hr_top_sample *now);

/* The time that a share (0.5, 0.99) of requests did not exceed, as if they lay evenly within a bucket; -1: none. */
double hr_top_quantile_us(const uint64_t times[HOTROW_TIME_BUCKETS], double share);

#endif
