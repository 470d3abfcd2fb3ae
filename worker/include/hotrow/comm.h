/* Dense collectives among the workers of a job: all-reduce, broadcast, barrier.
 *
 * Sums have one order: element by element ((rank 0 + rank 1) + rank 2) + ..., whatever the transport, so every rank
 * gets the same bits, and W processes the same bits as one process that plays the W ranks. One thread at a time. */
#ifndef HOTROW_COMM_H
#define HOTROW_COMM_H

#include <hotrow/hotrow.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hotrow_comm hotrow_comm;

typedef enum hotrow_comm_kind {
  HOTROW_COMM_AUTO = 0, /* LOCAL if world_size is 1, else RING */
  HOTROW_COMM_RING = 1, /* a pipelined ring over ZeroMQ, found through the shards' rendezvous */
  HOTROW_COMM_LOCAL = 2 /* one process that plays all ranks: see hotrow_comm_allreduce_local */
} hotrow_comm_kind;

typedef struct hotrow_comm_options {
  size_t struct_size;
  hotrow_client *client; /* borrowed during open: rendezvous. NULL with LOCAL */
  const char *name;      /* distinguishes communicators of one job; NULL means "dense" */
  const char *host;      /* the address this rank listens on; NULL means 127.0.0.1. Loopback only */
  uint32_t rank;
  uint32_t world_size;
  uint32_t timeout_ms; /* of every call; 0 means 10000 */
  hotrow_comm_kind kind;
  /* Called every 50 ms while a call waits for a neighbour; NULL: nobody. Where shards may be restarted it is to call
   * hotrow_tend(): that neighbour may wait for a shard that lost this rank's push. */
  void (*while_waiting)(void *context);
  void *context;
} hotrow_comm_options;
#define HOTROW_COMM_OPTIONS_INIT HOTROW_INIT(hotrow_comm_options)

/* Meets the other ranks; returns once this rank's neighbours are connected.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_TIMED_OUT (the sentence names the rank that did not come) */
HOTROW_API hotrow_status hotrow_comm_open(const hotrow_comm_options *options, hotrow_comm **comm_p);
HOTROW_API void hotrow_comm_close(hotrow_comm *comm); /* accepts NULL */

/* values[count] becomes the sum over all ranks; every rank calls it with the same count.
 *   HOTROW_ERR_TIMED_OUT  the neighbour named fell silent; HOTROW_ERR_PROTOCOL  counts differ, or foreign bytes.
 * After a failure the communicator is broken: every later call returns the same status. */
HOTROW_API hotrow_status hotrow_comm_allreduce(hotrow_comm *comm, float *values, size_t count);

/* bytes of root's buffer to every rank. */
HOTROW_API hotrow_status hotrow_comm_broadcast(hotrow_comm *comm, void *bytes, size_t size, uint32_t root);

/* Returns once every rank has called it. */
HOTROW_API hotrow_status hotrow_comm_barrier(hotrow_comm *comm);

/* The same sum for ranks that are arrays of one process: rank_values[r][count] for r < world_size all become the sum,
 * in rank order. The bits are those of hotrow_comm_allreduce. Cannot fail. */
HOTROW_API void hotrow_comm_allreduce_local(float *const *rank_values, uint32_t world_size, size_t count);

#ifdef __cplusplus
}
#endif
#endif
