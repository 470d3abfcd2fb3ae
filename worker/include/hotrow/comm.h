/* Dense collectives among the workers of a job: all-reduce, broadcast, barrier, of arrays in host memory or on a GPU.
 *
 * Sums of a ring, and of NCCL with HOTROW_COMM_RANK_ORDER, have one order: element by element ((rank 0 + rank 1) +
 * rank 2) + ..., whatever the transport, so every rank gets the same bits, and W processes the same bits as one process
 * that plays the W ranks. NCCL's own sums have an order of NCCL's choice: it depends on its version, the number of
 * ranks, the count and the machines, and no bits are promised. One thread at a time. */
#ifndef HOTROW_COMM_H
#define HOTROW_COMM_H

#include <hotrow/hotrow.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hotrow_comm hotrow_comm;

typedef enum hotrow_comm_kind {
  /* LOCAL if world_size is 1; NCCL if the arrays are on a GPU and this build and machine have it; else RING. All ranks
   * need the same: where machines differ, say which. */
  HOTROW_COMM_AUTO = 0,
  HOTROW_COMM_RING = 1,  /* a pipelined ring over ZeroMQ, found through the shards' rendezvous */
  HOTROW_COMM_LOCAL = 2, /* one process that plays all ranks: see hotrow_comm_allreduce_local */
  HOTROW_COMM_NCCL = 3   /* arrays on a GPU, one for each rank; its id comes through the shards' rendezvous */
} hotrow_comm_kind;

/* Flags. With NCCL every rank gathers the arrays of all and adds them up in rank order: world_size times the bytes on
 * the wire, 32 MiB of device memory, and the bits of the ring. A ring's sums are so in any case. */
#define HOTROW_COMM_RANK_ORDER 1u

typedef struct hotrow_comm_options {
  size_t struct_size;
  hotrow_client *client; /* borrowed until close: rendezvous. NULL with LOCAL */
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
  void *stream;         /* device HOTROW_CUDA: what the arrays are written on; NULL: the default stream. Borrowed */
  hotrow_device device; /* where arrays lie. With a ring those of a GPU go through host memory */
  uint32_t flags;
} hotrow_comm_options;
#define HOTROW_COMM_OPTIONS_INIT HOTROW_INIT(hotrow_comm_options)

/* Meets the other ranks; returns once this rank's neighbours are connected.
 *
 *   HOTROW_ERR_INVALID      an option, or ranks that NCCL refuses (two on one GPU)
 *   HOTROW_ERR_TIMED_OUT    a rank did not come; a ring's sentence names it
 *   HOTROW_ERR_UNSUPPORTED  NCCL: this build or machine has none, or one before 2.27
 *   HOTROW_ERR_VERSION, HOTROW_ERR_PROTOCOL  NCCL: the ranks have different ones, or did not meet in one place
 *   HOTROW_ERR_DEVICE, HOTROW_ERR_NO_MEMORY, HOTROW_ERR_UNREACHABLE, HOTROW_ERR_INTERNAL */
HOTROW_API hotrow_status hotrow_comm_open(const hotrow_comm_options *options, hotrow_comm **comm_p);

/* Accepts NULL. A communicator that failed, or has begun what nobody waited for, is given up at once; the others end
 * what they do. Arrays are the caller's again afterwards. */
HOTROW_API void hotrow_comm_close(hotrow_comm *comm);

/* AUTO's choice; the rank and the size of the world, which a shrink changes. */
HOTROW_API hotrow_comm_kind hotrow_comm_get_kind(const hotrow_comm *comm);
HOTROW_API uint32_t hotrow_comm_rank(const hotrow_comm *comm);
HOTROW_API uint32_t hotrow_comm_world_size(const hotrow_comm *comm);

/* values[count] becomes the sum over all ranks; every rank calls it with the same count. On a GPU the sum comes behind
 * what was queued on the stream before, and is there when the call returns; different counts are not found out.
 *
 *   HOTROW_ERR_TIMED_OUT    a ring's neighbour fell silent, and is named; NCCL: a rank is lost or late
 *   HOTROW_ERR_PROTOCOL     counts differ, or foreign bytes
 *   HOTROW_ERR_UNREACHABLE  NCCL: the network, or a rank that is gone
 *   HOTROW_ERR_DEVICE, HOTROW_ERR_INVALID, HOTROW_ERR_INTERNAL  what CUDA or NCCL said
 *
 * After a failure the communicator is broken: every later call but shrink and close returns the same status and
 * sentence. What it was doing may use the arrays until one of these two; what they hold then is undefined. */
HOTROW_API hotrow_status hotrow_comm_allreduce(hotrow_comm *comm, float *values, size_t count);

/* The same sum in two halves: values may be used again after hotrow_comm_wait(). On a GPU with NCCL the caller computes
 * meanwhile; a ring has done the work when begin returns. Several may be begun, of parts of one array or of several, in
 * the same order on every rank; other collectives wait for them as well. */
HOTROW_API hotrow_status hotrow_comm_allreduce_begin(hotrow_comm *comm, float *values, size_t count);
/* Returns once all that was begun is done; its deadline begins with the call. */
HOTROW_API hotrow_status hotrow_comm_wait(hotrow_comm *comm);

/* bytes of root's buffer to every rank. */
HOTROW_API hotrow_status hotrow_comm_broadcast(hotrow_comm *comm, void *bytes, size_t size, uint32_t root);

/* Returns once every rank has called it. */
HOTROW_API hotrow_status hotrow_comm_barrier(hotrow_comm *comm);

/* Goes on without the ranks that are lost (lost_ranks[lost_count], ascending): the survivors call it, all with the same
 * list, and the lost ones must not. What is going on is given up, its arrays are the caller's again with undefined
 * values, a broken communicator is whole, and ranks are counted anew from 0 in the old order. Who is lost the caller
 * has to know; the shards' barrier still counts all.
 * NCCL shrinks a communicator that waits for a rank in vain (HOTROW_ERR_TIMED_OUT) or is whole, not one that has an
 * error of its own.
 *
 *   HOTROW_ERR_INVALID  the list is empty, not ascending, names this rank or one that is none
 *
 * and the statuses of hotrow_comm_open: then the communicator stays broken, and is only to be closed. */
HOTROW_API hotrow_status hotrow_comm_shrink(hotrow_comm *comm, const uint32_t *lost_ranks, uint32_t lost_count);

/* The same sum for ranks that are arrays of one process: rank_values[r][count] for r < world_size all become the sum,
 * in rank order. The bits are those of hotrow_comm_allreduce. Cannot fail. */
HOTROW_API void hotrow_comm_allreduce_local(float *const *rank_values, uint32_t world_size, size_t count);

#ifdef __cplusplus
}
#endif
#endif
