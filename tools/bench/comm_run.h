/* One configuration of `hotrow bench comm`: real clients and real shards in one process, in turn, on the built-in
 * Criteo-shaped stream. The first half of the batches warms up, the second is measured. */
#ifndef HR_COMM_RUN_H
#define HR_COMM_RUN_H

#include <hotrow/hotrow.h>

#include "comm_oracle.h"

#define COMM_NAME_BYTES 64u

typedef struct comm_config {
  char name[COMM_NAME_BYTES];
  hotrow_table_options table; /* the fields of staleness; cache_row_count != 0: with a cache */
  uint32_t dim, workers, shards;
  uint32_t batch;     /* samples per worker and batch */
  uint64_t batches;   /* per worker */
  double scale;       /* of the stream's cardinalities, and so of the caches */
  double cache_share; /* rows of a cache to rows of the table */
  uint64_t seed;
} comm_config;

typedef enum comm_kind {
  COMM_MISS,
  COMM_STALE,
  COMM_PUSH,
  COMM_ANNOUNCE,
  COMM_PROBE,
  COMM_OVERHEAD,
  COMM_KIND_COUNT
} comm_kind;
extern const char *const comm_kind_names[COMM_KIND_COUNT];

typedef struct comm_result {
  double bytes[COMM_KIND_COUNT]; /* per sample */
  double bytes_per_sample;
  double baseline_bytes_per_sample; /* a deduplicated parameter server without caches: 2 * (8 + 4 dim) a distinct key */
  double reduction;                 /* 1 - bytes / baseline */
  double hit_rate;                  /* of distinct keys: used as they were, without a row coming */
  double seconds;
  uint64_t unseen_ticks_max; /* what the clients say themselves, in the table's own clock */
  comm_unseen unseen;
} comm_result;

/* batches_done_p is counted up while it runs, for who watches. */
hotrow_status comm_run(const comm_config *config, volatile uint64_t *batches_done_p, comm_result *result_p);

/* Rows of a worker's cache. */
uint64_t comm_cache_rows(const comm_config *config);

#endif
