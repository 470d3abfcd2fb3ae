/* A communicator of NCCL's. Nothing here blocks in NCCL or on the device: communicators are made not to block, and what
 * was begun is asked about (an event of the device, the communicator's own error) until it is done, has failed or the
 * deadline is over. NCCL cannot say which rank is lost, only that one is.
 *
 * A communicator that failed is kept, for a shrink needs it; what it was doing may go on to use the caller's arrays
 * until it is shrunk or closed. */
#include "comm_device.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/log.h>
#include <hr/status.h>

#include "client.h"

#define GATHER_FLOATS ((size_t)8 << 20) /* of all ranks together, at a time, in rank order: 32 MiB */
#define SPIN_ROUNDS 200u                /* most sums take less than a sleep does */
#define PAUSE_NS 50000
#define CALL_NS 50000000u /* how often while_waiting is called */
#define DOING_BYTES 96

struct hr_device_comm {
  const hr_nccl *nccl;
  const hotrow_kernels *kernels;
  void *handle;        /* owned: NCCL's communicator; NULL: there is none any more */
  void *smaller;       /* owned: what a shrink makes of it; NCCL may write here from a thread of its own */
  void *stream;        /* owned: collectives, one after the other */
  void *caller_stream; /* borrowed: what the arrays are written on */
  void *ready, *done;  /* owned: events: the caller's stream, before a collective; this one, after it */
  float *scratch;      /* owned, on the device: gathered arrays in rank order, else the one float of barriers */
  uint32_t rank, world_size, timeout_ms;
  bool in_rank_order;
  bool is_pending;    /* something was begun that nobody has waited for */
  uint64_t operation; /* counts collectives, for sentences */
  char doing[DOING_BYTES];
  void (*while_waiting)(void *context); /* may be NULL */
  void *waiting_context;                /* borrowed */
  hotrow_status broken;
  char broken_text[HR_ERROR_TEXT_BYTES];
};

typedef struct wait_limit {
  uint64_t deadline_ns, called_ns;
  uint32_t round_count;
} wait_limit;

static wait_limit begin_waiting(const hr_device_comm *comm)
{
  uint64_t now = hr_now_ns();
  return (wait_limit){.deadline_ns = now + (uint64_t)comm->timeout_ms * 1000000u, .called_ns = now};
}

/* A pause; false: the deadline is over. */
static bool go_on_waiting(const hr_device_comm *comm, wait_limit *limit)
{
  uint64_t now = hr_now_ns();
  if (now >= limit->deadline_ns)
    return false;
  if (comm->while_waiting && now - limit->called_ns >= CALL_NS) {
    limit->called_ns = now;
    comm->while_waiting(comm->waiting_context);
  }
  if (++limit->round_count < SPIN_ROUNDS)
    sched_yield();
  else
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
  return true;
}

static hotrow_status status_of(hr_nccl_result result)
{
  switch (result) {
  case HR_NCCL_CUDA_ERROR:
    return HOTROW_ERR_DEVICE;
  case HR_NCCL_SYSTEM_ERROR: /* a socket, mostly */
  case HR_NCCL_REMOTE_ERROR:
    return HOTROW_ERR_UNREACHABLE;
  case HR_NCCL_INVALID_ARGUMENT:
  case HR_NCCL_INVALID_USAGE:
    return HOTROW_ERR_INVALID;
  case HR_NCCL_IN_PROGRESS:
    return HOTROW_ERR_TIMED_OUT;
  default:
    return HOTROW_ERR_INTERNAL;
  }
}

/* The sentence of a result that is no success; IN_PROGRESS: still so when the deadline was over. */
static hotrow_status fail(const hr_device_comm *comm, hr_nccl_result result)
{
  if (result == HR_NCCL_IN_PROGRESS)
    return hr_fail(HOTROW_ERR_TIMED_OUT, "%s is not done after %u ms: a rank is lost or late, NCCL does not know which",
                   comm->doing, comm->timeout_ms);
  const char *more = comm->handle ? comm->nccl->last_error(comm->handle) : NULL;
  int size = more ? (int)strcspn(more, "\n") : 0;
  return hr_fail(status_of(result), "%s: NCCL says %s (%d)%s%.*s", comm->doing, comm->nccl->error_string(result),
                 (int)result, size ? ": " : "", size, more ? more : "");
}

/* What became of a call on `handle` that answered `result`: IN_PROGRESS only when the deadline is over. */
static hr_nccl_result settle(const hr_device_comm *comm, void *handle, hr_nccl_result result, wait_limit *limit)
{
  while (result == HR_NCCL_IN_PROGRESS) {
    hr_nccl_result asked = comm->nccl->comm_async_error(handle, &result);
    if (asked != HR_NCCL_SUCCESS)
      return asked;
    if (result == HR_NCCL_IN_PROGRESS && !go_on_waiting(comm, limit))
      break;
  }
  return result;
}

static hotrow_status queued(const hr_device_comm *comm, hr_nccl_result result)
{
  wait_limit limit = begin_waiting(comm);
  result = settle(comm, comm->handle, result, &limit);
  return result == HR_NCCL_SUCCESS ? HOTROW_OK : fail(comm, result);
}

/* What was begun, to its end. An operation that was given up ends too, so that the communicator is asked even then. */
static hotrow_status wait_for_done(const hr_device_comm *comm)
{
  wait_limit limit = begin_waiting(comm);
  for (;;) {
    bool is_done;
    hr_nccl_result state;
    HOTROW_TRY(comm->kernels->event_query(comm->done, &is_done));
    hr_nccl_result asked = comm->nccl->comm_async_error(comm->handle, &state);
    if (asked != HR_NCCL_SUCCESS)
      return fail(comm, asked);
    if (state != HR_NCCL_SUCCESS && state != HR_NCCL_IN_PROGRESS)
      return fail(comm, state);
    if (is_done && state == HR_NCCL_SUCCESS)
      return comm->kernels->synchronize(comm->stream); /* waits for nothing, and says what launches failed */
    if (!go_on_waiting(comm, &limit))
      return fail(comm, HR_NCCL_IN_PROGRESS);
  }
}

static hotrow_status break_comm(hr_device_comm *comm, hotrow_status status)
{
  if (status == HOTROW_OK)
    return HOTROW_OK;
  comm->broken = status;
  snprintf(comm->broken_text, sizeof comm->broken_text, "%s", hotrow_last_error());
  return status;
}

static hotrow_status check_whole(const hr_device_comm *comm)
{
  return comm->broken == HOTROW_OK ? HOTROW_OK : hr_fail(comm->broken, "%s", comm->broken_text);
}

/* The collective's stream goes on behind what the caller has queued so far. */
static hotrow_status follow_caller(const hr_device_comm *comm)
{
  HOTROW_TRY(comm->kernels->event_record(comm->ready, comm->caller_stream));
  return comm->kernels->event_order(comm->ready, comm->stream);
}

static hotrow_status mark_done(hr_device_comm *comm)
{
  HOTROW_TRY(comm->kernels->event_record(comm->done, comm->stream));
  comm->is_pending = true;
  return HOTROW_OK;
}

/* Every rank gets the arrays of all and adds them up itself. Piece by piece: the stream keeps the order in which the
 * pieces use the scratch. */
static hotrow_status queue_ordered_sum(const hr_device_comm *comm, float *values, size_t count)
{
  size_t piece =
      GATHER_FLOATS / comm->world_size / 4 * 4; /* NCCL moves 16 bytes at a time where arrays begin on them */
  for (size_t first = 0; first < count; first += piece) {
    size_t size = count - first < piece ? count - first : piece;
    HOTROW_TRY(queued(comm, comm->nccl->all_gather(values + first, comm->scratch, size, comm->handle, comm->stream)));
    comm->kernels->sum_ranks(comm->scratch, size, comm->world_size, size, comm->stream, values + first);
  }
  return HOTROW_OK;
}

static hotrow_status queue_sum(hr_device_comm *comm, float *values, size_t count)
{
  HOTROW_TRY(follow_caller(comm));
  if (count == 0) /* a barrier, as with the ring: NCCL would not meet for nothing */
    HOTROW_TRY(queued(comm, comm->nccl->all_reduce(comm->scratch, 1, comm->handle, comm->stream)));
  else if (comm->in_rank_order)
    HOTROW_TRY(queue_ordered_sum(comm, values, count));
  else
    HOTROW_TRY(queued(comm, comm->nccl->all_reduce(values, count, comm->handle, comm->stream)));
  return mark_done(comm);
}

hotrow_status hr_device_comm_allreduce_begin(hr_device_comm *comm, float *values, size_t count)
{
  HOTROW_TRY(check_whole(comm));
  snprintf(comm->doing, sizeof comm->doing, "all-reduce %llu of %zu floats", (unsigned long long)++comm->operation,
           count);
  return break_comm(comm, queue_sum(comm, values, count));
}

static hotrow_status queue_broadcast(hr_device_comm *comm, void *bytes, size_t size, uint32_t root)
{
  if (size == 0)
    return queue_sum(comm, NULL, 0);
  HOTROW_TRY(follow_caller(comm));
  HOTROW_TRY(queued(comm, comm->nccl->broadcast(bytes, size, root, comm->handle, comm->stream)));
  return mark_done(comm);
}

hotrow_status hr_device_comm_broadcast_begin(hr_device_comm *comm, void *bytes, size_t size, uint32_t root)
{
  HOTROW_ASSERT(root < comm->world_size);
  HOTROW_TRY(check_whole(comm));
  snprintf(comm->doing, sizeof comm->doing, "broadcast %llu of %zu bytes from rank %u",
           (unsigned long long)++comm->operation, size, root);
  return break_comm(comm, queue_broadcast(comm, bytes, size, root));
}

hotrow_status hr_device_comm_wait(hr_device_comm *comm)
{
  HOTROW_TRY(check_whole(comm));
  if (!comm->is_pending)
    return HOTROW_OK;
  HOTROW_TRY(break_comm(comm, wait_for_done(comm)));
  comm->is_pending = false;
  return HOTROW_OK;
}

static void give_up(const hr_device_comm *comm, void **handle_p)
{
  if (!*handle_p)
    return;
  hr_nccl_result result = comm->nccl->comm_abort(*handle_p);
  if (result != HR_NCCL_SUCCESS && result != HR_NCCL_IN_PROGRESS)
    hr_log(HOTROW_LOG_WARN, "giving up a communicator: NCCL says %s (%d)", comm->nccl->error_string(result),
           (int)result);
  *handle_p = NULL;
}

/* Until nothing of what was given up uses the caller's arrays any more. False: that could not be waited for. */
static bool drain(hr_device_comm *comm)
{
  char text[HR_ERROR_TEXT_BYTES]; /* what the caller is to read is why it was given up */
  snprintf(text, sizeof text, "%s", hotrow_last_error());
  wait_limit limit = begin_waiting(comm);
  bool is_done = false;
  hotrow_status status = comm->kernels->event_record(comm->done, comm->stream);
  while (status == HOTROW_OK && !is_done) {
    status = comm->kernels->event_query(comm->done, &is_done);
    if (!is_done && !go_on_waiting(comm, &limit))
      break;
  }
  if (!is_done)
    hr_log(HOTROW_LOG_WARN, "communicator of rank %u: what it gave up is still on the device", comm->rank);
  hr_fail(HOTROW_ERR_DEVICE, "%s", text);
  return is_done;
}

/* ---- shrinking ---- */

/* NCCL may make the smaller communicator on a thread of its own: the old one says when, then the new one. */
static hr_nccl_result make_smaller(hr_device_comm *comm, const uint32_t *lost_ranks, uint32_t lost_count)
{
  wait_limit limit = begin_waiting(comm);
  hr_nccl_result result = comm->nccl->comm_shrink(comm->handle, lost_ranks, lost_count, &comm->smaller);
  result = settle(comm, comm->handle, result, &limit);
  if (result != HR_NCCL_SUCCESS)
    return result;
  while (!__atomic_load_n(&comm->smaller, __ATOMIC_ACQUIRE))
    if (!go_on_waiting(comm, &limit))
      return HR_NCCL_IN_PROGRESS;
  return settle(comm, comm->smaller, HR_NCCL_IN_PROGRESS, &limit);
}

hotrow_status hr_device_comm_shrink(hr_device_comm *comm, const uint32_t *lost_ranks, uint32_t lost_count,
                                    uint32_t rank, uint32_t world_size)
{
  HOTROW_ASSERT(comm->handle && world_size > 1 && world_size + lost_count == comm->world_size);
  snprintf(comm->doing, sizeof comm->doing, "shrinking a world of %u by %u", comm->world_size, lost_count);
  hr_nccl_result result = make_smaller(comm, lost_ranks, lost_count);
  hotrow_status status = result == HR_NCCL_SUCCESS ? HOTROW_OK : fail(comm, result);
  give_up(comm, &comm->handle); /* first: then no thread of its writes comm->smaller any more */
  drain(comm);
  if (status != HOTROW_OK) {
    give_up(comm, &comm->smaller);
    return break_comm(comm, status);
  }
  comm->handle = comm->smaller;
  comm->smaller = NULL;
  comm->broken = HOTROW_OK;
  comm->is_pending = false;
  comm->rank = rank;
  comm->world_size = world_size;
  HOTROW_TRY(hr_device_comm_allreduce_begin(comm, NULL, 0));
  return hr_device_comm_wait(comm);
}

/* ---- opening and closing ---- */

/* What rank 0 leaves with the shards. */
typedef struct invitation {
  uint64_t generation; /* the barrier that follows it: what is left from an earlier communicator has another */
  uint32_t world_size;
  uint32_t version; /* of NCCL: ranks with different ones would not get along */
  hr_nccl_id id;
} invitation;

static hotrow_status check_invitation(const hotrow_comm_options *o, const invitation *found, size_t size,
                                      const invitation *own)
{
  if (size != sizeof *found || found->generation != own->generation)
    return hr_fail(HOTROW_ERR_PROTOCOL, "communicator %s: what rank 0 left is not of this meeting", o->name);
  if (found->world_size != own->world_size || found->version != own->version)
    return hr_fail(HOTROW_ERR_VERSION,
                   "communicator %s: rank 0 has NCCL %u in a world of %u, this rank %u in one of %u", o->name,
                   found->version, found->world_size, own->version, own->world_size);
  return HOTROW_OK;
}

static hotrow_status fail_to_meet(const hr_nccl *nccl, const char *what, hr_nccl_result result)
{
  return hr_fail(status_of(result), "%s: NCCL says %s (%d)", what, nccl->error_string(result), (int)result);
}

hotrow_status hr_nccl_meet(const hotrow_comm_options *o, const hr_nccl *nccl, hr_nccl_id *id_p)
{
  char name[64];
  int version;
  snprintf(name, sizeof name, "comm.%.24s.id", o->name);
  hr_nccl_result result = nccl->get_version(&version);
  if (result != HR_NCCL_SUCCESS)
    return fail_to_meet(nccl, "asking for the version", result);
  invitation own = {
      .generation = o->client->barrier_number + 1, .world_size = o->world_size, .version = (uint32_t)version};
  if (o->rank == 0) {
    result = nccl->get_unique_id(&own.id);
    if (result != HR_NCCL_SUCCESS)
      return fail_to_meet(nccl, "making an id", result);
    HOTROW_TRY(hotrow_blob_put(o->client, name, &own, sizeof own, o->timeout_ms));
  }
  HOTROW_TRY(hotrow_barrier(o->client, o->timeout_ms));
  if (o->rank > 0) {
    invitation found;
    size_t size;
    HOTROW_TRY(hotrow_blob_get(o->client, name, &found, sizeof found, &size, o->timeout_ms));
    HOTROW_TRY(check_invitation(o, &found, size, &own));
    own = found;
  }
  *id_p = own.id;
  return HOTROW_OK;
}

/* What the device has to give, before the others are kept waiting. */
static hotrow_status take_device(hr_device_comm *comm)
{
  const hotrow_kernels *k = comm->kernels;
  void *scratch;
  HOTROW_TRY(k->stream_create(true, &comm->stream));
  HOTROW_TRY(k->event_create(&comm->ready));
  HOTROW_TRY(k->event_create(&comm->done));
  HOTROW_TRY(k->alloc((comm->in_rank_order ? GATHER_FLOATS : 1) * sizeof(float), &scratch));
  comm->scratch = scratch;
  return HOTROW_OK;
}

static hotrow_status join(hr_device_comm *comm, const char *name, const hr_nccl_id *id)
{
  snprintf(comm->doing, sizeof comm->doing, "communicator %.24s of %u ranks", name, comm->world_size);
  hr_nccl_result result = comm->nccl->comm_init(&comm->handle, comm->world_size, id, comm->rank);
  HOTROW_TRY(queued(comm, result));
  HOTROW_TRY(
      hr_device_comm_allreduce_begin(comm, NULL, 0)); /* connects them, which the first sum would else wait for */
  return hr_device_comm_wait(comm);
}

hotrow_status hr_device_comm_open(const hotrow_comm_options *o, const hr_nccl_id *id, const hr_nccl *nccl,
                                  const hotrow_kernels *kernels, hr_device_comm **comm_p)
{
  HOTROW_ASSERT(o->world_size > 1 && o->rank < o->world_size);
  hr_device_comm *comm = calloc(1, sizeof *comm);
  if (!comm)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a communicator");
  comm->nccl = nccl;
  comm->kernels = kernels;
  comm->caller_stream = o->stream;
  comm->rank = o->rank;
  comm->world_size = o->world_size;
  comm->timeout_ms = o->timeout_ms;
  comm->in_rank_order = o->flags & HOTROW_COMM_RANK_ORDER;
  comm->while_waiting = o->while_waiting;
  comm->waiting_context = o->context;
  hotrow_status status = take_device(comm);
  if (status == HOTROW_OK)
    status = break_comm(comm, join(comm, o->name, id));
  if (status != HOTROW_OK) {
    hr_device_comm_close(comm);
    return status;
  }
  *comm_p = comm;
  return HOTROW_OK;
}

/* A whole communicator leaves when what it had to do is done; a broken one, or one in the middle of a sum, is given up.
 */
static void leave(hr_device_comm *comm)
{
  if (comm->broken == HOTROW_OK && !comm->is_pending) {
    wait_limit limit = begin_waiting(comm);
    hr_nccl_result result = settle(comm, comm->handle, comm->nccl->comm_finalize(comm->handle), &limit);
    if (result == HR_NCCL_SUCCESS) {
      result = comm->nccl->comm_destroy(comm->handle);
      if (result != HR_NCCL_SUCCESS && result != HR_NCCL_IN_PROGRESS)
        hr_log(HOTROW_LOG_WARN, "closing a communicator: NCCL says %s (%d)", comm->nccl->error_string(result),
               (int)result);
      comm->handle = NULL;
    }
  }
  give_up(comm, &comm->handle);
}

static void release_device(hr_device_comm *comm)
{
  comm->kernels->free(comm->scratch);
  if (comm->done)
    comm->kernels->event_destroy(comm->done);
  if (comm->ready)
    comm->kernels->event_destroy(comm->ready);
  if (comm->stream)
    comm->kernels->stream_destroy(comm->stream);
}

void hr_device_comm_close(hr_device_comm *comm)
{
  if (!comm)
    return;
  comm->while_waiting = NULL; /* its context may be gone */
  bool is_idle = true;
  if (comm->handle) {
    bool was_idle = comm->broken == HOTROW_OK && !comm->is_pending;
    leave(comm);
    is_idle = was_idle || drain(comm);
  }
  if (is_idle) /* else to free it would be to wait for what never ends */
    release_device(comm);
  free(comm);
}
