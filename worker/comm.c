#include <hotrow/comm.h>

#include <stdlib.h>

#include <hr/options.h>

#include "client.h"
#include "comm_ring.h"

HR_NO_TAIL_PADDING(hotrow_comm_options, context); /* NOLINT(bugprone-sizeof-expression): the pointer is meant */

#define TIMEOUT_MS_DEFAULT 10000u

struct hotrow_comm {
  hr_ring *ring; /* owned; NULL for a world of one rank */
  uint32_t world_size;
};

static hotrow_status check_options(hotrow_comm_options *o)
{
  if (o->world_size == 0 || o->world_size > HOTROW_WORLD_MAX || o->rank >= o->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "rank %u of a world of %u", o->rank, o->world_size);
  if (o->kind == HOTROW_COMM_AUTO)
    o->kind = o->world_size == 1 ? HOTROW_COMM_LOCAL : HOTROW_COMM_RING;
  if (o->kind == HOTROW_COMM_LOCAL && o->world_size != 1)
    return hr_fail(HOTROW_ERR_INVALID, "a local communicator of %u ranks: use hotrow_comm_allreduce_local",
                   o->world_size);
  if (o->kind != HOTROW_COMM_LOCAL && o->kind != HOTROW_COMM_RING)
    return hr_fail(HOTROW_ERR_INVALID, "communicator kind %d is not known", (int)o->kind);
  if (o->world_size == 1)
    return HOTROW_OK; /* nobody to talk to, whatever the kind */
  if (!o->client)
    return hr_fail(HOTROW_ERR_INVALID, "a ring needs a client to find its neighbours");
  if (o->rank != o->client->rank || o->world_size != o->client->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "rank %u of %u, and its client is rank %u of %u", o->rank, o->world_size,
                   o->client->rank, o->client->world_size);
  if (!o->timeout_ms)
    o->timeout_ms = TIMEOUT_MS_DEFAULT;
  if (!o->name)
    o->name = "dense";
  if (!o->host)
    o->host = "127.0.0.1";
  return HOTROW_OK;
}

hotrow_status hotrow_comm_open(const hotrow_comm_options *options, hotrow_comm **comm_p)
{
  hotrow_comm_options o;
  if (!options || !comm_p)
    return hr_fail(HOTROW_ERR_INVALID, "options or comm_p is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_comm_options"));
  HOTROW_TRY(check_options(&o));
  hotrow_comm *comm = calloc(1, sizeof *comm);
  if (!comm)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a communicator");
  hotrow_status status = o.world_size > 1 ? hr_ring_open(&o, &comm->ring) : HOTROW_OK;
  if (status != HOTROW_OK) {
    free(comm);
    return status;
  }
  comm->world_size = o.world_size;
  *comm_p = comm;
  return HOTROW_OK;
}

void hotrow_comm_close(hotrow_comm *comm)
{
  if (!comm)
    return;
  hr_ring_close(comm->ring);
  free(comm);
}

hotrow_status hotrow_comm_allreduce(hotrow_comm *comm, float *values, size_t count)
{
  if (!comm || (count && !values))
    return hr_fail(HOTROW_ERR_INVALID, "comm or values is NULL");
  return comm->ring ? hr_ring_allreduce(comm->ring, values, count) : HOTROW_OK;
}

hotrow_status hotrow_comm_broadcast(hotrow_comm *comm, void *bytes, size_t size, uint32_t root)
{
  if (!comm || (size && !bytes))
    return hr_fail(HOTROW_ERR_INVALID, "comm or bytes is NULL");
  if (root >= comm->world_size)
    return hr_fail(HOTROW_ERR_INVALID, "root %u of a world of %u", root, comm->world_size);
  return comm->ring ? hr_ring_broadcast(comm->ring, bytes, size, root) : HOTROW_OK;
}

hotrow_status hotrow_comm_barrier(hotrow_comm *comm)
{
  return hotrow_comm_allreduce(comm, NULL, 0); /* a sum of nothing ends only when every rank has joined it */
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
