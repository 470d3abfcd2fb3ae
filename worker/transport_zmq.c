#include "transport_zmq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include <hr/assert.h>
#include <hr/log.h>
#include <hr/memory.h>
#include <hr/thread.h>
#include <hr/wire.h>

#include "link.h"

#define SEND_HWM 1024 /* messages; the window of 64 pushes and a few pulls never fill it */
#define RECEIVE_HWM 1024
#define RECEIVE_BUFFER_BYTES (4 << 20) /* the kernel's: several parts of a large reply */
/* Less than one part of a push: the thread that sends stops and goes on as the shard's side receives, which finds the
 * bytes in a cache. With room for all parts it copied megabytes before the other side had a processor to begin on. */
#define SEND_BUFFER_BYTES (256 << 10)
#define RECONNECT_MS 20 /* first pause; doubles up to RECONNECT_MAX_MS */
#define RECONNECT_MAX_MS 1000
#define HANDSHAKE_MS 5000
#define DRAIN_MAX 64 /* messages taken from one socket before the next has its turn */

typedef struct zmq_transport {
  void *context;
  void **sockets;         /* [shard_count] */
  zmq_pollitem_t *polled; /* [shard_count]: revents says whose messages have not all been taken */
  uint32_t shard_count;
  uint32_t turn;  /* the socket that messages are taken from */
  uint32_t taken; /* of it in a row */
  zmq_msg_t parts[HR_WIRE_FRAMES_MAX];
  size_t part_count; /* of the message handed out last */
  hotrow_frame frames[HR_WIRE_FRAMES_MAX];
  struct aligned_copy {
    void *bytes; /* owned, grows: ZeroMQ leaves only small parts unaligned */
    size_t capacity;
  } copies[HR_WIRE_FRAMES_MAX];
} zmq_transport;

static void set_int(void *socket, int option, int value)
{
  int rc = zmq_setsockopt(socket, option, &value, sizeof value);
  HOTROW_ASSERT(rc == 0);
}

static hotrow_status open_socket(zmq_transport *transport, uint32_t shard, const char *endpoint)
{
  void *socket = zmq_socket(transport->context, ZMQ_DEALER);
  if (!socket)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no socket for shard %u: %s", shard, zmq_strerror(errno));
  transport->sockets[shard] = socket;
  transport->polled[shard] = (zmq_pollitem_t){.socket = socket, .events = ZMQ_POLLIN};
  set_int(socket, ZMQ_SNDHWM, SEND_HWM);
  set_int(socket, ZMQ_RCVHWM, RECEIVE_HWM);
  set_int(socket, ZMQ_LINGER, 0);
  set_int(socket, ZMQ_SNDBUF, SEND_BUFFER_BYTES);
  set_int(socket, ZMQ_RCVBUF, RECEIVE_BUFFER_BYTES);
  set_int(socket, ZMQ_IMMEDIATE, 1); /* no queue for a shard that is not there: the link sends again */
  set_int(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
  set_int(socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
  set_int(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
  if (zmq_connect(socket, endpoint) != 0)
    return hr_fail(HOTROW_ERR_INVALID, "shard %u: cannot connect to %s: %s", shard, endpoint, zmq_strerror(errno));
  return HOTROW_OK;
}

static void close_message(zmq_transport *transport)
{
  for (size_t i = 0; i < transport->part_count; i++)
    zmq_msg_close(&transport->parts[i]);
  transport->part_count = 0;
}

static void close_transport(zmq_transport *transport, int linger_ms)
{
  close_message(transport);
  for (uint32_t i = 0; transport->sockets && i < transport->shard_count; i++) {
    if (!transport->sockets[i])
      continue;
    set_int(transport->sockets[i], ZMQ_LINGER, linger_ms);
    zmq_close(transport->sockets[i]);
  }
  if (transport->context)
    zmq_ctx_term(transport->context);
  for (size_t i = 0; i < HR_WIRE_FRAMES_MAX; i++)
    free(transport->copies[i].bytes);
  free(transport->sockets);
  free(transport->polled);
  free(transport);
}

void hr_transport_zmq_close(hotrow_transport *transport, int linger_ms)
{
  if (transport->context)
    close_transport(transport->context, linger_ms);
  transport->context = NULL;
}

/* On a thread of ZeroMQ. */
static void take_back(void *data, void *users)
{
  (void)data;
  atomic_fetch_sub_explicit((atomic_uint *)users, 1, memory_order_release);
}

static bool send_frame(void *socket, const hotrow_frame *frame, atomic_uint *users, int flags)
{
  if (!users || frame->size < HR_LINK_LENT_BYTES_MIN)
    return zmq_send(socket, frame->size ? frame->data : "", frame->size, flags) >= 0;
  zmq_msg_t part;
  if (zmq_msg_init_data(&part, (void *)(uintptr_t)frame->data, frame->size, take_back, users) != 0)
    return false;
  atomic_fetch_add_explicit(users, 1, memory_order_relaxed);
  if (zmq_msg_send(&part, socket, flags) >= 0)
    return true;
  zmq_msg_close(&part); /* takes it back */
  return false;
}

void hr_transport_zmq_send(void *context, uint32_t shard, const hotrow_frame *frames, size_t frame_count,
                           atomic_uint *users)
{
  zmq_transport *transport = context;
  for (size_t i = 0; i < frame_count; i++) {
    int flags = ZMQ_DONTWAIT | (i + 1 < frame_count ? ZMQ_SNDMORE : 0);
    if (!send_frame(transport->sockets[shard], &frames[i], users, flags))
      return; /* the first part was refused: ZeroMQ takes a message whole or not at all */
  }
}

/* Receives the parts of one message. Returns how many, 0 if none is there, -1 on an error. Parts beyond the limit are
 * read and thrown away; the count then exceeds HR_WIRE_FRAMES_MAX. */
static int receive_parts(zmq_transport *transport, void *socket)
{
  int count = 0;
  for (;;) {
    zmq_msg_t extra, *part = count < (int)HR_WIRE_FRAMES_MAX ? &transport->parts[count] : &extra;
    zmq_msg_init(part);
    if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(part);
      return errno == EAGAIN && count == 0 ? 0 : -1;
    }
    count++;
    bool has_more = zmq_msg_more(part);
    if (part == &extra)
      zmq_msg_close(part);
    if (!has_more)
      return count;
  }
}

/* The frame of a part; small messages may lie anywhere in ZeroMQ's buffer and are copied to aligned memory. */
static hotrow_status frame_of(zmq_transport *transport, size_t i, hr_frame *frame_p)
{
  struct aligned_copy *copy = &transport->copies[i];
  hr_frame frame = {zmq_msg_data(&transport->parts[i]), zmq_msg_size(&transport->parts[i])};
  if ((uintptr_t)frame.data % 8 != 0 && frame.size) {
    if (frame.size > copy->capacity) {
      free(copy->bytes);
      *copy = (struct aligned_copy){0};
      HOTROW_TRY(hr_alloc(frame.size * 2, 1, "frame", &copy->bytes));
      copy->capacity = frame.size * 2;
    }
    memcpy(copy->bytes, frame.data, frame.size);
    frame.data = copy->bytes;
  }
  *frame_p = frame;
  return HOTROW_OK;
}

/* The next message of one socket. False if there is none, or it cannot be had: the shard is asked again then. */
static bool take_message(zmq_transport *transport, uint32_t shard)
{
  int count = receive_parts(transport, transport->sockets[shard]);
  if (count < 0)
    hr_log(HOTROW_LOG_ERROR, "receiving from shard %u: %s", shard, zmq_strerror(errno));
  if (count <= 0)
    return false;
  transport->part_count = count < (int)HR_WIRE_FRAMES_MAX ? (size_t)count : HR_WIRE_FRAMES_MAX;
  for (size_t i = 0; i < transport->part_count; i++)
    if (frame_of(transport, i, &transport->frames[i]) != HOTROW_OK) {
      hr_log(HOTROW_LOG_ERROR, "a message of shard %u is dropped: %s", shard, hotrow_last_error());
      close_message(transport);
      return false;
    }
  return true;
}

/* A message of a socket that was said to have some; sockets take turns. */
static bool take_any(zmq_transport *transport, uint32_t *shard_p)
{
  for (uint32_t i = 0; i <= transport->shard_count; i++) {
    uint32_t shard = transport->turn;
    bool is_ready = transport->polled[shard].revents & ZMQ_POLLIN;
    if (is_ready && transport->taken < DRAIN_MAX && take_message(transport, shard)) {
      transport->taken++;
      *shard_p = shard;
      return true;
    }
    if (is_ready && transport->taken < DRAIN_MAX)
      transport->polled[shard].revents = 0;
    transport->turn = (shard + 1) % transport->shard_count;
    transport->taken = 0;
  }
  return false;
}

static bool receive_message(void *context, uint64_t timeout_ns, uint32_t *shard_p, const hotrow_frame **frames_p,
                            size_t *frame_count_p)
{
  zmq_transport *transport = context;
  close_message(transport);
  bool has_message = take_any(transport, shard_p);
  if (!has_message) {
    int ready = zmq_poll(transport->polled, (int)transport->shard_count, (long)((timeout_ns + 999999u) / 1000000u));
    if (ready < 0 && errno != EINTR)
      hr_log(HOTROW_LOG_ERROR, "waiting for shards: %s", zmq_strerror(errno));
    has_message = ready > 0 && take_any(transport, shard_p);
  }
  if (!has_message)
    return false;
  *frames_p = transport->frames;
  *frame_count_p = transport->part_count;
  return true;
}

/* ZeroMQ makes its threads with the first socket, and they are as who makes it. */
static void *make_first_socket(void *context)
{
  return zmq_socket(context, ZMQ_PAIR);
}

static hotrow_status open_context(zmq_transport *transport)
{
  void *socket = NULL;
  transport->context = zmq_ctx_new();
  if (!transport->context)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no ZeroMQ context");
  zmq_ctx_set(transport->context, ZMQ_MAX_SOCKETS, (int)transport->shard_count + 8);
  HOTROW_TRY(hr_thread_call(HR_THREAD_PROMPT, "sockets", make_first_socket, transport->context, &socket));
  if (!socket)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "ZeroMQ cannot have threads: %s", zmq_strerror(errno));
  zmq_close(socket);
  return HOTROW_OK;
}

hotrow_status hr_transport_zmq_open(const char *const *endpoints, uint32_t shard_count, hotrow_transport *transport_p)
{
  zmq_transport *transport = calloc(1, sizeof *transport);
  if (!transport)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for sockets");
  transport->shard_count = shard_count;
  hotrow_status status = open_context(transport);
  if (status == HOTROW_OK)
    status = hr_alloc(shard_count, sizeof(void *), "sockets", (void **)&transport->sockets);
  if (status == HOTROW_OK)
    status = hr_alloc(shard_count, sizeof(zmq_pollitem_t), "sockets", (void **)&transport->polled);
  for (uint32_t i = 0; status == HOTROW_OK && i < shard_count; i++)
    status = open_socket(transport, i, endpoints[i]);
  if (status != HOTROW_OK) {
    close_transport(transport, 0);
    return status;
  }
  *transport_p = (hotrow_transport){.context = transport, .receive = receive_message};
  return HOTROW_OK;
}
