/* All-reduce in two laps. Lap one carries a running sum from rank 0 to the last rank, each adding its own values, so
 * the order of every sum is rank 0, 1, 2, ...; lap two carries the result from the last rank on to all the others.
 * Chunks follow one another, so all links are busy at once. Each rank sends twice the array at most. */
#include "comm_ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/hash.h>
#include <hr/log.h>
#include <hr/memory.h>
#include <hr/status.h>

#define CHUNK_BYTES ((size_t)256 << 10) /* measured: twice as fast as 64 KiB over ZeroMQ */
#define ENDPOINT_BYTES_MAX 256
#define PREFIX_BYTES 32        /* of the names of blobs */
#define WAIT_MS_MAX 50         /* of one wait: how often while_waiting is called */
#define RING_MAGIC 0x474e5248u /* "HRNG" */

typedef enum ring_phase { PHASE_SUM = 1, PHASE_RESULT = 2, PHASE_BROADCAST = 3 } ring_phase;

/* Part one of a message; part two is the chunk. */
typedef struct ring_header {
  uint32_t magic;
  uint32_t phase;
  uint64_t ring;      /* job and name: a stranger's message is not ours */
  uint64_t operation; /* counts collectives, so that ranks that disagree are found out */
  uint64_t size;      /* bytes of the whole array */
  uint64_t chunk;
} ring_header;

struct hr_ring {
  void *context, *from, *to; /* PULL from the predecessor, PUSH to the successor */
  uint32_t rank, world_size, timeout_ms;
  uint64_t id, operation;
  hotrow_client *client; /* borrowed */
  uint64_t nonce;        /* rank 0's, the same on all: names what is left with the shards as this ring's */
  char listen[ENDPOINT_BYTES_MAX];
  void (*while_waiting)(void *context); /* may be NULL */
  void *waiting_context;                /* borrowed */
  hotrow_status broken;
  char broken_text[HR_ERROR_TEXT_BYTES];
  float *chunk; /* owned, CHUNK_BYTES */
};

hotrow_status hr_ring_check(const hr_ring *ring)
{
  return ring->broken == HOTROW_OK ? HOTROW_OK : hr_fail(ring->broken, "%s", ring->broken_text);
}

static hotrow_status break_ring(hr_ring *ring, hotrow_status status)
{
  ring->broken = status;
  snprintf(ring->broken_text, sizeof ring->broken_text, "%s", hotrow_last_error());
  return status;
}

static hotrow_status send_chunk(hr_ring *ring, ring_phase phase, uint64_t size, uint64_t chunk, const void *bytes,
                                size_t chunk_size)
{
  ring_header header = {RING_MAGIC, phase, ring->id, ring->operation, size, chunk};
  if (zmq_send(ring->to, &header, sizeof header, ZMQ_SNDMORE) < 0 ||
      zmq_send(ring->to, chunk_size ? bytes : "", chunk_size, 0) < 0)
    return hr_fail(HOTROW_ERR_UNREACHABLE, "rank %u cannot be sent to: %s", (ring->rank + 1) % ring->world_size,
                   zmq_strerror(errno));
  return HOTROW_OK;
}

static hotrow_status wait_for_message(hr_ring *ring, uint64_t deadline_ns)
{
  for (;;) {
    uint64_t now = hr_now_ns();
    zmq_pollitem_t item = {.socket = ring->from, .events = ZMQ_POLLIN};
    long wait_ms = now < deadline_ns ? (long)((deadline_ns - now) / 1000000u + 1) : 0;
    if (zmq_poll(&item, 1, wait_ms < WAIT_MS_MAX ? wait_ms : WAIT_MS_MAX) > 0)
      return HOTROW_OK;
    if (ring->while_waiting)
      ring->while_waiting(ring->waiting_context);
    if (hr_now_ns() >= deadline_ns)
      return hr_fail(HOTROW_ERR_TIMED_OUT, "rank %u has been silent for %u ms",
                     (ring->rank + ring->world_size - 1) % ring->world_size, ring->timeout_ms);
  }
}

/* Receives a message of this ring into header and bytes; strangers' messages are read and dropped. */
static hotrow_status receive_chunk(hr_ring *ring, uint64_t deadline_ns, ring_header *header_p, void *bytes,
                                   size_t *size_p)
{
  for (;;) {
    HOTROW_TRY(wait_for_message(ring, deadline_ns));
    int more = 0;
    size_t more_size = sizeof more;
    int header_size = zmq_recv(ring->from, header_p, sizeof *header_p, 0);
    zmq_getsockopt(ring->from, ZMQ_RCVMORE, &more, &more_size);
    int size = more ? zmq_recv(ring->from, bytes, CHUNK_BYTES, 0) : -1;
    bool has_extra = false;
    for (zmq_getsockopt(ring->from, ZMQ_RCVMORE, &more, &more_size); more;
         zmq_getsockopt(ring->from, ZMQ_RCVMORE, &more, &more_size)) {
      has_extra = true;
      zmq_recv(ring->from, bytes, CHUNK_BYTES, 0);
    }
    bool is_ours = header_size == (int)sizeof *header_p && size >= 0 && (size_t)size <= CHUNK_BYTES && !has_extra &&
                   header_p->magic == RING_MAGIC && header_p->ring == ring->id;
    if (is_ours) {
      *size_p = (size_t)size;
      return HOTROW_OK;
    }
    hr_log(HOTROW_LOG_WARN, "rank %u dropped a message that is not of its ring", ring->rank);
  }
}

static size_t chunk_size_of(size_t size, uint64_t chunk)
{
  size_t offset = (size_t)chunk * CHUNK_BYTES;
  return size - offset < CHUNK_BYTES ? size - offset : CHUNK_BYTES;
}

/* An empty array still has one (empty) chunk: it is what a barrier sends. */
static uint64_t chunk_count_of(size_t size)
{
  return size ? (size + CHUNK_BYTES - 1) / CHUNK_BYTES : 1;
}

static hotrow_status check_chunk(const hr_ring *ring, const ring_header *header, size_t array_size, size_t size)
{
  uint32_t from = (ring->rank + ring->world_size - 1) % ring->world_size;
  if (header->operation != ring->operation)
    return hr_fail(HOTROW_ERR_PROTOCOL, "rank %u is at collective %llu, this rank at %llu", from,
                   (unsigned long long)header->operation, (unsigned long long)ring->operation);
  if (header->size != array_size)
    return hr_fail(HOTROW_ERR_PROTOCOL, "rank %u has %llu bytes, this rank %zu", from, (unsigned long long)header->size,
                   array_size);
  if (header->chunk >= chunk_count_of(array_size) || size != chunk_size_of(array_size, header->chunk))
    return hr_fail(HOTROW_ERR_PROTOCOL, "rank %u sent chunk %llu of %zu bytes", from, (unsigned long long)header->chunk,
                   size);
  return HOTROW_OK;
}

/* One received chunk of an all-reduce. *results_p counts chunks that are final on this rank. */
static hotrow_status on_allreduce_chunk(hr_ring *ring, const ring_header *header, float *values, size_t array_size,
                                        size_t size, uint64_t *results_p)
{
  uint32_t last = ring->world_size - 1;
  float *own = values + header->chunk * (CHUNK_BYTES / sizeof(float));
  if (header->phase == PHASE_SUM && ring->rank > 0) {
    for (size_t i = 0; i < size / sizeof(float); i++)
      ring->chunk[i] += own[i];
    if (ring->rank != last)
      return send_chunk(ring, PHASE_SUM, array_size, header->chunk, ring->chunk, size);
  } else if (header->phase != PHASE_RESULT || ring->rank == last) {
    return hr_fail(HOTROW_ERR_PROTOCOL, "rank %u sent phase %u during an all-reduce",
                   (ring->rank + last) % ring->world_size, header->phase);
  }
  if (size)
    memcpy(own, ring->chunk, size);
  ++*results_p;
  if (ring->rank + 1 != last) /* the last rank has the result already */
    return send_chunk(ring, PHASE_RESULT, array_size, header->chunk, ring->chunk, size);
  return HOTROW_OK;
}

static hotrow_status run_allreduce(hr_ring *ring, float *values, size_t array_size)
{
  uint64_t chunk_count = chunk_count_of(array_size), results = 0;
  uint64_t deadline = hr_now_ns() + (uint64_t)ring->timeout_ms * 1000000u;
  for (uint64_t c = 0; ring->rank == 0 && c < chunk_count; c++)
    HOTROW_TRY(send_chunk(ring, PHASE_SUM, array_size, c, values + c * (CHUNK_BYTES / sizeof(float)),
                          chunk_size_of(array_size, c)));
  while (results < chunk_count) {
    ring_header header;
    size_t size;
    HOTROW_TRY(receive_chunk(ring, deadline, &header, ring->chunk, &size));
    HOTROW_TRY(check_chunk(ring, &header, array_size, size));
    HOTROW_TRY(on_allreduce_chunk(ring, &header, values, array_size, size, &results));
  }
  return HOTROW_OK;
}

hotrow_status hr_ring_allreduce(hr_ring *ring, float *values, size_t count)
{
  HOTROW_TRY(hr_ring_check(ring));
  size_t size = hr_mul(count, sizeof(float));
  if (size == SIZE_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "an all-reduce of %zu floats", count);
  ring->operation++;
  hotrow_status status = run_allreduce(ring, size ? values : ring->chunk, size);
  return status == HOTROW_OK ? HOTROW_OK : break_ring(ring, status);
}

static hotrow_status run_broadcast(hr_ring *ring, uint8_t *bytes, size_t array_size, uint32_t root)
{
  uint64_t chunk_count = chunk_count_of(array_size);
  uint64_t deadline = hr_now_ns() + (uint64_t)ring->timeout_ms * 1000000u;
  bool forwards = (ring->rank + 1) % ring->world_size != root;
  for (uint64_t c = 0; c < chunk_count; c++) {
    uint8_t *own = bytes + c * CHUNK_BYTES;
    if (ring->rank != root) {
      ring_header header;
      size_t size;
      HOTROW_TRY(receive_chunk(ring, deadline, &header, ring->chunk, &size));
      HOTROW_TRY(check_chunk(ring, &header, array_size, size));
      if (header.phase != PHASE_BROADCAST || header.chunk != c)
        return hr_fail(HOTROW_ERR_PROTOCOL, "phase %u, chunk %llu during a broadcast", header.phase,
                       (unsigned long long)header.chunk);
      if (size)
        memcpy(own, ring->chunk, size);
    }
    if (forwards)
      HOTROW_TRY(send_chunk(ring, PHASE_BROADCAST, array_size, c, own, chunk_size_of(array_size, c)));
  }
  return HOTROW_OK;
}

hotrow_status hr_ring_broadcast(hr_ring *ring, void *bytes, size_t size, uint32_t root)
{
  HOTROW_TRY(hr_ring_check(ring));
  HOTROW_ASSERT(root < ring->world_size);
  ring->operation++;
  hotrow_status status = run_broadcast(ring, bytes, size, root);
  return status == HOTROW_OK ? HOTROW_OK : break_ring(ring, status);
}

/* ---- meeting ---- */

static hotrow_status find_rank(const hr_ring *ring, const char *prefix, uint32_t rank,
                               char endpoint[ENDPOINT_BYTES_MAX])
{
  char name[64];
  size_t size;
  snprintf(name, sizeof name, "%.31s.%u", prefix, rank);
  hotrow_status status = hotrow_blob_get(ring->client, name, endpoint, ENDPOINT_BYTES_MAX - 1, &size, ring->timeout_ms);
  if (status == HOTROW_ERR_TIMED_OUT)
    return hr_fail(status, "rank %u did not come within %u ms", rank, ring->timeout_ms);
  HOTROW_TRY(status);
  endpoint[size] = 0;
  return HOTROW_OK;
}

static bool is_loopback(const char *host)
{
  struct in_addr address;
  return strcmp(host, "localhost") == 0 ||
         (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET);
}

static hotrow_status open_sockets(hr_ring *ring)
{
  ring->from = zmq_socket(ring->context, ZMQ_PULL);
  ring->to = zmq_socket(ring->context, ZMQ_PUSH);
  if (!ring->from || !ring->to)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no sockets for a ring");
  /* Unbounded queues: what can be in them is bounded by the array, which every rank holds anyway. */
  int none = 0, linger_ms = 1000;
  zmq_setsockopt(ring->from, ZMQ_RCVHWM, &none, sizeof none);
  zmq_setsockopt(ring->to, ZMQ_SNDHWM, &none, sizeof none);
  zmq_setsockopt(ring->to, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
  return HOTROW_OK;
}

/* Listens and tells the others where: by a blob prefix.RANK. */
static hotrow_status announce(const hr_ring *ring, const char *prefix)
{
  char endpoint[ENDPOINT_BYTES_MAX], name[64];
  if (zmq_bind(ring->from, ring->listen) != 0)
    return hr_fail(HOTROW_ERR_UNREACHABLE, "cannot listen on %s: %s", ring->listen, zmq_strerror(errno));
  size_t size = sizeof endpoint;
  zmq_getsockopt(ring->from, ZMQ_LAST_ENDPOINT, endpoint, &size);
  snprintf(name, sizeof name, "%.31s.%u", prefix, ring->rank);
  return hotrow_blob_put(ring->client, name, endpoint, strlen(endpoint), ring->timeout_ms);
}

/* Finds the successor and closes the ring; all are in it when this returns. */
static hotrow_status close_ring(hr_ring *ring, const char *prefix)
{
  char endpoint[ENDPOINT_BYTES_MAX];
  uint32_t next = (ring->rank + 1) % ring->world_size;
  HOTROW_TRY(find_rank(ring, prefix, next, endpoint));
  if (zmq_connect(ring->to, endpoint) != 0)
    return hr_fail(HOTROW_ERR_UNREACHABLE, "cannot connect to rank %u at %s: %s", next, endpoint, zmq_strerror(errno));
  return hr_ring_allreduce(ring, NULL, 0);
}

static hotrow_status meet(hr_ring *ring, const char *name)
{
  char endpoint[ENDPOINT_BYTES_MAX], prefix[PREFIX_BYTES];
  snprintf(prefix, sizeof prefix, "comm.%.24s", name);
  HOTROW_TRY(announce(ring, prefix));
  HOTROW_TRY(find_rank(ring, prefix, (ring->rank + 1) % ring->world_size, endpoint));
  /* What was found may be left from an earlier ring of this name; once all have put theirs it is not. */
  HOTROW_TRY(hotrow_barrier(ring->client, ring->timeout_ms));
  HOTROW_TRY(close_ring(ring, prefix));
  ring->nonce = hr_now_ns() ^ (uint64_t)(uintptr_t)ring;
  return hr_ring_broadcast(ring, &ring->nonce, sizeof ring->nonce, 0);
}

static hotrow_status meet_again(hr_ring *ring)
{
  char prefix[PREFIX_BYTES];
  int no_linger = 0; /* what was on its way to a lost rank */
  zmq_setsockopt(ring->to, ZMQ_LINGER, &no_linger, sizeof no_linger);
  zmq_close(ring->from);
  zmq_close(ring->to);
  HOTROW_TRY(open_sockets(ring));
  /* No barrier: it would wait for the lost ones. Nothing else was ever left under this name. */
  snprintf(prefix, sizeof prefix, "comm.%016llx", (unsigned long long)ring->id);
  HOTROW_TRY(announce(ring, prefix));
  return close_ring(ring, prefix);
}

hotrow_status hr_ring_shrink(hr_ring *ring, uint32_t rank, uint32_t world_size)
{
  ring->rank = rank;
  ring->world_size = world_size;
  ring->id = hr_table_seed((const char *)&ring->nonce, sizeof ring->nonce) ^ world_size; /* it shrinks every time */
  ring->operation = 0; /* some may have begun one more than others */
  ring->broken = HOTROW_OK;
  hotrow_status status = meet_again(ring);
  return status == HOTROW_OK ? HOTROW_OK : break_ring(ring, status);
}

hotrow_status hr_ring_open(const hotrow_comm_options *o, hr_ring **ring_p)
{
  if (!is_loopback(o->host))
    return hr_fail(HOTROW_ERR_INVALID, "host %s is not a loopback address: without keys a ring stays on loopback",
                   o->host);
  hr_ring *ring = calloc(1, sizeof *ring);
  if (!ring)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a ring");
  ring->rank = o->rank;
  ring->world_size = o->world_size;
  ring->timeout_ms = o->timeout_ms;
  ring->while_waiting = o->while_waiting;
  ring->waiting_context = o->context;
  ring->client = o->client;
  ring->id = hr_table_seed(o->name, strlen(o->name)) ^ o->world_size;
  snprintf(ring->listen, sizeof ring->listen, "tcp://%s:*", o->host);
  hotrow_status status = hr_alloc(CHUNK_BYTES, 1, "ring chunk", (void **)&ring->chunk);
  ring->context = zmq_ctx_new();
  if (status == HOTROW_OK)
    status = ring->context ? open_sockets(ring) : hr_fail(HOTROW_ERR_NO_MEMORY, "no sockets for a ring");
  if (status == HOTROW_OK)
    status = meet(ring, o->name);
  if (status != HOTROW_OK) {
    hr_ring_close(ring);
    return status;
  }
  *ring_p = ring;
  return HOTROW_OK;
}

void hr_ring_close(hr_ring *ring)
{
  if (!ring)
    return;
  if (ring->from)
    zmq_close(ring->from);
  if (ring->to)
    zmq_close(ring->to);
  if (ring->context)
    zmq_ctx_term(ring->context);
  free(ring->chunk);
  free(ring);
}
