/* Clients that are a burden to a server, each in a process of its own. */
#ifndef HR_OVERLOAD_CLIENTS_H
#define HR_OVERLOAD_CLIENTS_H

#include <stdatomic.h>

#include "bench.h"

/* Shared with the process of the client. */
typedef struct overload_progress {
  atomic_bool is_ready; /* it has begun */
  atomic_ullong done;   /* see each */
  atomic_ullong failed; /* calls */
} overload_progress;

typedef struct overload_client {
  const bench_overload_options *options;
  const char *endpoint;
  overload_progress *progress;
} overload_client;

/* These run until they are killed, or return when they are done or cannot begin (with a message on stderr). */
void overload_compute(const overload_client *c);     /* takes two cores and leaves the server alone */
void overload_connections(const overload_client *c); /* done: pulls of 64 rows, of one connection after the other */
void overload_never_read(const overload_client *c);  /* done: pulls of 65536 rows that were asked for */
void overload_flood(const overload_client *c);       /* done: new keys pulled */

#endif
