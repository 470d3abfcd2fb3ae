#include <hotrow/comm.h>

#include <stdlib.h>

#include <hr/log.h>
#include <hr/memory.h>
#include <hr/options.h>

#include "client.h"
#include "comm_device.h"
#include "comm_ring.h"

HR_NO_TAIL_PADDING(hotrow_comm_options, flags);

#define TIMEOUT_MS_DEFAULT 10000u
#define STAGE_BYTES ((size_t)4 << 20) /* of a device's array in host memory at a time */

struct hotrow_comm {
  hr_ring *ring;          /* owned; one of the two, or none in a world of one rank */
  hr_device_comm *device; /* owned */
  void *stage;            /* owned: pinned host memory, where a ring's arrays lie on a device; else NULL */
  const hotrow_kernels *kernels;
  void *stream; /* borrowed */
  uint32_t rank, world_size;
  bool is_lost; /* a shrink failed: its transport is of no use */
};

static hotrow_status check_client(const hotrow_comm_options *o)
{
  if (!o->client)
    return hr_fail(HOTROW_ERR_INVALID, "a communicator needs a client to find the other ranks");
  if (o->rank != o->client->rank || o->world_size != o->client->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "rank %u of %u, and its client is rank %u of %u", o->rank, o->world_size,
                   o->client->rank, o->client->world_size);
  return HOTROW_OK;
}

static hotrow_status check_options(hotrow_comm_options *o)
{
  if (o->world_size == 0 || o->world_size > HOTROW_WORLD_MAX || o->rank >= o->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "rank %u of a world of %u", o->rank, o->world_size);
  if (o->kind < HOTROW_COMM_AUTO || o->kind > HOTROW_COMM_NCCL)
    return hr_fail(HOTROW_ERR_INVALID, "communicator kind %d is not known", (int)o->kind);
  if (o->flags & ~HOTROW_COMM_RANK_ORDER)
    return hr_fail(HOTROW_ERR_INVALID, "communicator flags 0x%x are not known", o->flags);
  if (o->kind == HOTROW_COMM_LOCAL && o->world_size != 1)
    return hr_fail(HOTROW_ERR_INVALID, "a local communicator of %u ranks: use hotrow_comm_allreduce_local",
                   o->world_size);
  if (o->device != HOTROW_CPU && o->device != HOTROW_CUDA)
    return hr_fail(HOTROW_ERR_INVALID, "device %d is not known", (int)o->device);
  if (o->kind == HOTROW_COMM_NCCL && o->device != HOTROW_CUDA)
    return hr_fail(HOTROW_ERR_INVALID, "NCCL sums arrays on a GPU, and these are in host memory");
  if (!o->timeout_ms)
    o->timeout_ms = TIMEOUT_MS_DEFAULT;
  if (!o->name)
    o->name = "dense";
  if (!o->host)
    o->host = "127.0.0.1";
  return o->world_size == 1 ? HOTROW_OK : check_client(o); /* one rank has nobody to talk to, whatever the kind */
}

static hotrow_status open_transport(const hotrow_comm_options *o, const hr_nccl *nccl, hotrow_comm *comm)
{
  hr_nccl_id id;
  if (o->world_size == 1)
    return HOTROW_OK;
  if (o->kind == HOTROW_COMM_NCCL) {
    HOTROW_TRY(hr_nccl_meet(o, nccl, &id));
    return hr_device_comm_open(o, &id, nccl, comm->kernels, &comm->device);
  }
  if (o->device != HOTROW_CPU)
    HOTROW_TRY(comm->kernels->alloc_host(STAGE_BYTES, &comm->stage));
  return hr_ring_open(o, &comm->ring);
}

hotrow_status hr_comm_open_over(const hotrow_comm_options *options, const hr_nccl *nccl, const hotrow_kernels *kernels,
                                hotrow_comm **comm_p)
{
  hotrow_comm *comm = calloc(1, sizeof *comm);
  if (!comm)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a communicator");
  comm->kernels = kernels;
  comm->stream = options->stream;
  comm->rank = options->rank;
  comm->world_size = options->world_size;
  hotrow_status status = open_transport(options, nccl, comm);
  if (status != HOTROW_OK) {
    hotrow_comm_close(comm);
    return status;
  }
  *comm_p = comm;
  return HOTROW_OK;
}

/* What AUTO means here, and NCCL's functions if it is that. */
static hotrow_status choose_kind(hotrow_comm_options *o, const hr_nccl **nccl_p)
{
  if (o->kind == HOTROW_COMM_NCCL)
    return hr_nccl_get(nccl_p);
  if (o->kind != HOTROW_COMM_AUTO)
    return HOTROW_OK;
  o->kind = o->device == HOTROW_CPU || hr_nccl_get(nccl_p) != HOTROW_OK ? HOTROW_COMM_RING : HOTROW_COMM_NCCL;
  if (o->device != HOTROW_CPU && o->kind == HOTROW_COMM_RING)
    hr_log(HOTROW_LOG_WARN, "communicator %s is a ring over host memory: %s", o->name, hotrow_last_error());
  return HOTROW_OK;
}

hotrow_status hotrow_comm_open(const hotrow_comm_options *options, hotrow_comm **comm_p)
{
  hotrow_comm_options o;
  const hotrow_kernels *kernels = NULL;
  const hr_nccl *nccl = NULL;
  if (!options || !comm_p)
    return hr_fail(HOTROW_ERR_INVALID, "options or comm_p is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_comm_options"));
  HOTROW_TRY(check_options(&o));
  if (o.world_size > 1) {
    HOTROW_TRY(hotrow_kernels_get(o.device, &kernels));
    HOTROW_TRY(choose_kind(&o, &nccl));
  }
  return hr_comm_open_over(&o, nccl, kernels, comm_p);
}

static void close_transport(hotrow_comm *comm)
{
  hr_ring_close(comm->ring);
  hr_device_comm_close(comm->device);
  if (comm->stage)
    comm->kernels->free_host(comm->stage);
  comm->ring = NULL;
  comm->device = NULL;
  comm->stage = NULL;
}

void hotrow_comm_close(hotrow_comm *comm)
{
  if (!comm)
    return;
  close_transport(comm);
  free(comm);
}

hotrow_comm_kind hotrow_comm_get_kind(const hotrow_comm *comm)
{
  return comm->device ? HOTROW_COMM_NCCL : comm->ring ? HOTROW_COMM_RING : HOTROW_COMM_LOCAL;
}

uint32_t hotrow_comm_rank(const hotrow_comm *comm)
{
  return comm->rank;
}

uint32_t hotrow_comm_world_size(const hotrow_comm *comm)
{
  return comm->world_size;
}

/* A device's array through a ring: piece by piece into host memory, over the ring, and back. root: a broadcast; NULL: a
 * sum. */
static hotrow_status run_staged(const hotrow_comm *comm, uint8_t *bytes, size_t size, const uint32_t *root)
{
  const hotrow_kernels *k = comm->kernels;
  for (size_t first = 0; first < size; first += STAGE_BYTES) {
    size_t piece = size - first < STAGE_BYTES ? size - first : STAGE_BYTES;
    if (!root || *root == comm->rank) {
      HOTROW_TRY(k->copy_out(comm->stage, bytes + first, piece, comm->stream));
      HOTROW_TRY(k->synchronize(comm->stream));
    }
    HOTROW_TRY(root ? hr_ring_broadcast(comm->ring, comm->stage, piece, *root)
                    : hr_ring_allreduce(comm->ring, comm->stage, piece / sizeof(float)));
    HOTROW_TRY(k->copy_in(bytes + first, comm->stage, piece, comm->stream));
    HOTROW_TRY(k->synchronize(comm->stream)); /* the next piece goes where this one is */
  }
  return HOTROW_OK;
}

hotrow_status hotrow_comm_allreduce_begin(hotrow_comm *comm, float *values, size_t count)
{
  if (!comm || (count && !values))
    return hr_fail(HOTROW_ERR_INVALID, "comm or values is NULL");
  size_t size = hr_mul(count, sizeof(float));
  if (size == SIZE_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "an all-reduce of %zu floats", count);
  if (comm->device)
    return hr_device_comm_allreduce_begin(comm->device, values, count);
  if (comm->ring && comm->stage && count)
    return run_staged(comm, (uint8_t *)values, size, NULL);
  return comm->ring ? hr_ring_allreduce(comm->ring, values, count) : HOTROW_OK;
}

hotrow_status hotrow_comm_wait(hotrow_comm *comm)
{
  if (!comm)
    return hr_fail(HOTROW_ERR_INVALID, "comm is NULL");
  if (comm->device)
    return hr_device_comm_wait(comm->device);
  return comm->ring ? hr_ring_check(comm->ring) : HOTROW_OK;
}

hotrow_status hotrow_comm_allreduce(hotrow_comm *comm, float *values, size_t count)
{
  HOTROW_TRY(hotrow_comm_allreduce_begin(comm, values, count));
  return hotrow_comm_wait(comm);
}

hotrow_status hotrow_comm_broadcast(hotrow_comm *comm, void *bytes, size_t size, uint32_t root)
{
  if (!comm || (size && !bytes))
    return hr_fail(HOTROW_ERR_INVALID, "comm or bytes is NULL");
  if (root >= comm->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "root %u of a world of %u", root, comm->world_size);
  if (comm->device) {
    HOTROW_TRY(hr_device_comm_broadcast_begin(comm->device, bytes, size, root));
    return hr_device_comm_wait(comm->device);
  }
  if (comm->ring && comm->stage && size)
    return run_staged(comm, bytes, size, &root);
  return comm->ring ? hr_ring_broadcast(comm->ring, bytes, size, root) : HOTROW_OK;
}

hotrow_status hotrow_comm_barrier(hotrow_comm *comm)
{
  return hotrow_comm_allreduce(comm, NULL, 0); /* a sum of nothing ends only when every rank has joined it */
}

static hotrow_status check_lost(const hotrow_comm *comm, const uint32_t *lost_ranks, uint32_t lost_count)
{
  if (!comm || !lost_ranks || !lost_count)
    return hr_fail(HOTROW_ERR_INVALID, "comm is NULL, or no rank is lost");
  for (uint32_t i = 0; i < lost_count; i++) {
    if (lost_ranks[i] >= comm->world_size || lost_ranks[i] == comm->rank)
      return hr_fail(HOTROW_ERR_INVALID, "rank %u is lost, says rank %u of a world of %u", lost_ranks[i], comm->rank,
                     comm->world_size);
    if (i && lost_ranks[i] <= lost_ranks[i - 1])
      return hr_fail(HOTROW_ERR_INVALID, "lost rank %u comes behind rank %u: want them ascending", lost_ranks[i],
                     lost_ranks[i - 1]);
  }
  return HOTROW_OK;
}

hotrow_status hotrow_comm_shrink(hotrow_comm *comm, const uint32_t *lost_ranks, uint32_t lost_count)
{
  HOTROW_TRY(check_lost(comm, lost_ranks, lost_count));
  if (comm->is_lost)
    return hr_fail(HOTROW_ERR_INVALID, "a shrink of this communicator failed: close it and open another");
  uint32_t rank = comm->rank, world_size = comm->world_size - lost_count;
  for (uint32_t i = 0; i < lost_count; i++)
    rank -= lost_ranks[i] < comm->rank;
  hotrow_status status = HOTROW_OK;
  if (world_size == 1)
    close_transport(comm);
  else if (comm->device)
    status = hr_device_comm_shrink(comm->device, lost_ranks, lost_count, rank, world_size);
  else
    status = hr_ring_shrink(comm->ring, rank, world_size);
  if (status != HOTROW_OK) {
    comm->is_lost = true;
    return status;
  }
  comm->rank = rank;
  comm->world_size = world_size;
  return HOTROW_OK;
}

void hotrow_comm_allreduce_local(float *const *rank_values, uint32_t world_size, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    float sum = rank_values[0][i];
    for (uint32_t r = 1; r < world_size; r++)
      sum += rank_values[r][i];
    for (uint32_t r = 0; r < world_size; r++)
      rank_values[r][i] = sum;
  }
}
