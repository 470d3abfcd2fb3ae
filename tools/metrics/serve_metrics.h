/* What a server's shards count, over HTTP: /metrics in Prometheus' text format, and /healthz and /readyz for who must
 * know whether the process lives and whether its shards serve. */
#ifndef HR_SERVE_METRICS_H
#define HR_SERVE_METRICS_H

#include <stdbool.h>
#include <stdio.h>

#include <hotrow/server.h>

#define HR_METRICS_WHY_BYTES 256u
#define HR_METRICS_ADDRESS_BYTES 64u

typedef struct hr_metrics hr_metrics;

typedef enum hr_metrics_result {
  HR_METRICS_OK,
  HR_METRICS_BAD_ADDRESS, /* no address, or none of loopback */
  HR_METRICS_UNREACHABLE, /* in use, or not there */
  HR_METRICS_NO_MEMORY
} hr_metrics_result;

/* Listens on "127.0.0.1:9117" or "[::1]:9117" (port *: a free one) with a thread of its own; until there is a server to
 * watch, /readyz says no. On failure `why` is a sentence. */
hr_metrics_result hr_metrics_open(const char *address, hr_metrics **metrics_p, char why[HR_METRICS_WHY_BYTES]);

/* From now on it tells of this server, which must stay until another is named or NULL: none. Waits for an answer that
 * is being made. */
void hr_metrics_watch(hr_metrics *metrics, const hotrow_server *server, uint32_t shards);

const char *hr_metrics_address(const hr_metrics *metrics); /* "127.0.0.1:9117", with the port that was found */
void hr_metrics_close(hr_metrics *metrics);                /* accepts NULL */

/* The body of /metrics. */
void hr_metrics_print(FILE *out, const hotrow_shard_counts *counts, uint32_t shards);

#endif
