/* Our side of a benchmark: a server in a process of its own, so that its memory and time are its own too, and a client
 * of it with a table. One thread. */
#ifndef HR_BENCH_HOTROW_H
#define HR_BENCH_HOTROW_H

#include <hotrow/hotrow.h>
#include <hotrow/server.h>

#include "bench.h"

typedef struct bench_hotrow {
  pid_t server;
  int control;        /* a socket to its process */
  char endpoint[256]; /* of its only shard */
  hotrow_client *client;
  hotrow_table *table;
} bench_hotrow;

/* Forks the server. False, with a message on stderr, if it does not start; close it all the same. */
bool bench_hotrow_start(bench_hotrow *h, const hotrow_server_options *options);

/* A client with the table `bench`: no cache, and every row is pulled and pushed at once, without waiting for other
 * workers. Two clients are of different jobs. */
bool bench_hotrow_connect(bench_hotrow *h, uint64_t job, uint32_t dim, hotrow_optimizer_kind optimizer);

/* What the server counts, without disturbing its shard. */
bool bench_hotrow_counts(const bench_hotrow *h, hotrow_shard_counts *counts_p);

/* Creates rows 0 .. row_count-1, at most values_count at a time: values has room for so many. */
bool bench_hotrow_fill(bench_hotrow *h, uint64_t row_count, float *values, size_t values_count);

/* As of the raw reference; a message on stderr if they fail. */
bool bench_hotrow_pull(bench_hotrow *h, const uint64_t *keys, size_t count, float *values);
bool bench_hotrow_push_pull(bench_hotrow *h, const bench_batch *push, const float *grads, const bench_batch *pull,
                            float *values);

void bench_hotrow_close(bench_hotrow *h);

#endif
