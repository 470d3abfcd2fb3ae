#include <hotrow/server.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <zmq.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/log.h>
#include <hr/memory.h>
#include <hr/route.h>
#include <hr/thread.h>

#include "server_address.h"
#include "server_counts.h"
#include "server_durable.h"
#include "server_memory.h"
#include "server_options.h"
#include "server_send.h"
#include "server_watch.h"
#include "shard.h"

#define QUEUE_MESSAGES 128     /* of one client, not yet taken in */
#define QUEUE_MESSAGES_BOUND 2 /* where memory is bounded */
#define LINGER_MS 200
#define SOCKET_BUFFER_BYTES (4 << 20) /* the kernel's, of one peer: several parts of a large reply */
#define HANDSHAKE_MS 5000
#define HEARTBEAT_MS 5000
#define HEARTBEAT_TIMEOUT_MS 30000
#define FRAME_ALIGNMENT 8u
#define COPY_PAUSE_MS 1 /* when who writes a checkpoint is behind */
#define ALIGNED_BYTES (HR_WIRE_MESSAGE_BYTES_MAX + (size_t)HR_WIRE_FRAMES_MAX * FRAME_ALIGNMENT)

/* A shard, its socket and its thread. After start only the thread touches them, but for counts. */
typedef struct host {
  hotrow_server *server;
  hr_shard *shard;      /* owned */
  void *socket;         /* owned */
  uint8_t *aligned;     /* owned: copies of frames that ZeroMQ did not align */
  size_t aligned_bytes; /* of it so far */
  hr_sender sender;
  hr_durable durable;
  hr_counts_slot counts; /* for any thread */
  uint64_t published_ns;
  hotrow_status end_status; /* of the last cut, once the thread has ended */
  pthread_t thread;
  bool is_running;
  pthread_t aside; /* what the shard has done there; one at a time */
  bool has_aside;
  void (*task)(void *task_context);
  void *task_context;
  zmq_msg_t parts[HR_WIRE_FRAMES_MAX];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  char endpoint[HR_ENDPOINT_BYTES];
} host;

struct hotrow_server {
  void *zmq;      /* owned */
  char *save_dir; /* owned; NULL: saves are refused */
  hr_watch watch; /* over the memory of the process */
  uint32_t host_count;
  host hosts[];
};

static void count_replies(host *h)
{
  hr_shard_count_replies(h->shard, h->sender.dropped,
                         atomic_load_explicit(&h->sender.unread_bytes, memory_order_relaxed));
}

/* ---- what the watch over the process asks ---- */

static void ask_storages(void *context)
{
  hotrow_server *server = context;
  for (uint32_t i = 0; i < server->host_count; i++)
    if (server->hosts[i].durable.storage)
      hr_rocksdb_ask_memory(server->hosts[i].durable.storage);
}

static void add_shards(void *context, hotrow_shard_counts *sum_p)
{
  const hotrow_server *server = context;
  hotrow_shard_counts counts;
  for (uint32_t i = 0; i < server->host_count; i++) {
    hr_counts_read(&server->hosts[i].counts, &counts);
    sum_p->memory_bytes += counts.memory_bytes;
    sum_p->taken_bytes += counts.taken_bytes + counts.storage_bytes;
    sum_p->heap_bytes += counts.heap_bytes;
  }
}

static bool is_moving(void *context)
{
  const hotrow_server *server = context;
  bool is = false;
  for (uint32_t i = 0; i < server->host_count && !is; i++) {
    const hr_rocksdb *storage = server->hosts[i].durable.storage;
    is = storage && hr_rocksdb_is_moving(storage);
  }
  return is;
}

/* ---- the shard's thread ---- */

static void count_memory(host *h)
{
  hr_storage_memory storage = {0};
  if (h->durable.storage)
    storage = hr_rocksdb_get_memory(h->durable.storage);
  hr_shard_count_storage(h->shard, &storage);
  hr_watch_tell(&h->server->watch, h->shard);
}

/* Puts the counts where any thread can read them: before the thread waits, and now and then while it does not. */
static void publish(void *context)
{
  host *h = context;
  hotrow_shard_counts counts;
  uint64_t now_ns = hr_now_ns();
  count_replies(h);
  count_memory(h);
  hr_shard_get_counts(h->shard, &counts);
  counts.buffer_bytes += hr_map_touched(h->aligned_bytes);
  counts.memory_bytes += hr_map_touched(h->aligned_bytes);
  hr_counts_publish(&h->counts, &counts);
  h->published_ns = now_ns;
}

/* One part, with EINTR tried again. False when the server stops. */
static bool receive_part(host *h, zmq_msg_t *part)
{
  zmq_msg_init(part);
  if (zmq_msg_recv(part, h->socket, ZMQ_DONTWAIT) >= 0)
    return true;
  if (errno == EAGAIN)
    publish(h);
  while (zmq_msg_recv(part, h->socket, 0) < 0) {
    if (errno == EINTR)
      continue;
    HOTROW_ASSERT(errno == ETERM);
    zmq_msg_close(part);
    return false;
  }
  return true;
}

/* The frames of a message, into h->parts. What is over a limit is read to its end and thrown away: *is_refused_p. */
static bool receive_parts(host *h, size_t *part_count_p, bool *is_refused_p)
{
  size_t size_bytes = 0;
  bool has_more = true;
  *part_count_p = 0;
  *is_refused_p = false;
  while (has_more) {
    zmq_msg_t part;
    if (!receive_part(h, &part))
      return false;
    has_more = zmq_msg_more(&part);
    size_t part_bytes = zmq_msg_size(&part);
    if (*part_count_p == HR_WIRE_FRAMES_MAX || part_bytes > HR_WIRE_MESSAGE_BYTES_MAX - size_bytes)
      *is_refused_p = true;
    if (*is_refused_p) {
      zmq_msg_close(&part);
      continue;
    }
    size_bytes += part_bytes;
    zmq_msg_init(&h->parts[*part_count_p]);
    zmq_msg_move(&h->parts[(*part_count_p)++], &part);
  }
  return true;
}

/* ZeroMQ cuts small frames out of its receive buffer wherever they lie. */
static void align_frames(host *h, size_t frame_count)
{
  size_t used = 0;
  for (size_t i = 0; i < frame_count; i++) {
    const void *data = zmq_msg_data(&h->parts[i]);
    size_t size_bytes = zmq_msg_size(&h->parts[i]);
    if (size_bytes > 0 && (uintptr_t)data % FRAME_ALIGNMENT != 0) {
      memcpy(h->aligned + used, data, size_bytes);
      data = h->aligned + used;
      used += (size_bytes + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
    }
    h->frames[i] = (hr_frame){data, size_bytes};
  }
  HOTROW_ASSERT(used <= ALIGNED_BYTES);
  if (used > h->aligned_bytes)
    h->aligned_bytes = used;
}

static void serve_message(host *h, const hr_route_id *from, size_t part_count)
{
  uint64_t begin_ns = hr_now_ns();
  if (begin_ns - h->published_ns >= HR_COUNTS_EVERY_NS)
    publish(h);
  align_frames(h, part_count);
  count_replies(h); /* it may be asked for them */
  hr_shard_receive(h->shard, from, h->frames, part_count, begin_ns);
  uint64_t end_ns = hr_now_ns();
  hr_shard_count_time(h->shard, end_ns - begin_ns);
}

/* One message. False when the server stops. */
static bool serve_one(host *h)
{
  hr_route_id from = {0};
  zmq_msg_t route;
  if (!receive_part(h, &route))
    return false;
  bool has_frames = zmq_msg_more(&route);
  bool has_route = zmq_msg_size(&route) <= sizeof from.bytes; /* a peer may choose a longer one */
  if (has_route) {
    from.size = (uint8_t)zmq_msg_size(&route);
    memcpy(from.bytes, zmq_msg_data(&route), from.size);
  }
  zmq_msg_close(&route);

  size_t part_count = 0;
  bool is_refused = false;
  bool goes_on = !has_frames || receive_parts(h, &part_count, &is_refused);
  if (is_refused || !has_route) {
    hr_shard_count_refused(h->shard);
  } else if (goes_on) {
    serve_message(h, &from, part_count);
  }
  for (size_t i = 0; i < part_count; i++)
    zmq_msg_close(&h->parts[i]);
  return goes_on;
}

static void *run_task(void *context)
{
  host *h = context;
  h->task(h->task_context);
  return NULL;
}

static void end_aside(host *h)
{
  if (h->has_aside)
    pthread_join(h->aside, NULL);
  h->has_aside = false;
}

/* The shard begins one when the one before is over, so joining it does not wait. */
static bool begin_aside(void *context, void (*task)(void *task_context), void *task_context)
{
  host *h = context;
  end_aside(h);
  h->task = task;
  h->task_context = task_context;
  h->has_aside = hr_thread_start(HR_THREAD_BACKGROUND, "checkpoint", run_task, h, &h->aside) == HOTROW_OK;
  return h->has_aside;
}

static bool has_message(void *socket)
{
  int events = 0;
  size_t size = sizeof events;
  return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) != 0 || (events & ZMQ_POLLIN);
}

/* A turn of a checkpoint's copy before each message, and further ones while there is none. */
static void copy_until_message(host *h)
{
  while (hr_shard_is_copying(h->shard)) {
    uint64_t begin_ns = hr_now_ns();
    bool is_behind = hr_shard_copy(h->shard) == HOTROW_ERR_BUSY;
    if (!is_behind)
      hr_shard_count_cut(h->shard, hr_now_ns() - begin_ns);
    if (has_message(h->socket))
      return;
    zmq_pollitem_t item = {.socket = h->socket, .events = ZMQ_POLLIN};
    if (is_behind && zmq_poll(&item, 1, COPY_PAUSE_MS) != 0)
      return;
  }
}

static void *run_host(void *context)
{
  host *h = context;
  do {
    if (h->durable.storage)
      hr_durable_wait(&h->durable, h->socket);
    else
      copy_until_message(h);
  } while (serve_one(h));
  hr_shard_give_up_copy(h->shard);
  if (h->durable.storage) {
    hr_rocksdb_stop_reader(h->durable.storage); /* what waits for its rows was not begun */
    h->end_status = hr_durable_finish(&h->durable);
  }
  publish(h);
  zmq_close(h->socket);
  h->socket = NULL;
  return NULL;
}

/* ---- start and stop ---- */

static hotrow_status open_socket(hotrow_server *server, host *h, const char *address, bool has_memory_bound)
{
  h->socket = zmq_socket(server->zmq, ZMQ_ROUTER);
  if (!h->socket)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no socket: %s", zmq_strerror(errno));
  h->sender.socket = h->socket;
  const struct {
    int option, value;
  } options[] = {
      {ZMQ_ROUTER_MANDATORY, 1}, /* a reply that nobody can take fails at once, and is not copied */
      {ZMQ_SNDHWM, HR_UNREAD_MESSAGES_MAX},
      {ZMQ_RCVHWM, has_memory_bound ? QUEUE_MESSAGES_BOUND : QUEUE_MESSAGES},
      {ZMQ_LINGER, LINGER_MS},
      {ZMQ_SNDBUF, SOCKET_BUFFER_BYTES},
      {ZMQ_RCVBUF, SOCKET_BUFFER_BYTES},
      {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
      {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
      {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
      {ZMQ_IPV6, hr_address_is_ipv6(address)},
  };
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (zmq_setsockopt(h->socket, options[i].option, &options[i].value, sizeof(int)) != 0)
      return hr_fail(HOTROW_ERR_INTERNAL, "socket option %d: %s", options[i].option, zmq_strerror(errno));
  int64_t frame_bytes_max = HR_WIRE_MESSAGE_BYTES_MAX;
  if (zmq_setsockopt(h->socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) != 0)
    return hr_fail(HOTROW_ERR_INTERNAL, "socket option ZMQ_MAXMSGSIZE: %s", zmq_strerror(errno));
  if (zmq_bind(h->socket, address) != 0)
    return hr_fail(HOTROW_ERR_UNREACHABLE, "cannot listen on %s: %s", address, zmq_strerror(errno));
  size_t endpoint_size = sizeof h->endpoint;
  if (zmq_getsockopt(h->socket, ZMQ_LAST_ENDPOINT, h->endpoint, &endpoint_size) != 0)
    return hr_fail(HOTROW_ERR_INTERNAL, "the address of a bound socket: %s", zmq_strerror(errno));
  return HOTROW_OK;
}

/* Without a storage rows and clocks do not outlive the process, so every start is a new epoch. */
static hotrow_status random_epoch(uint64_t *epoch_p)
{
  uint64_t epoch = 0;
  if (getrandom(&epoch, sizeof epoch, 0) != (ssize_t)sizeof epoch)
    return hr_fail(HOTROW_ERR_INTERNAL, "no random numbers: %s", strerror(errno));
  *epoch_p = epoch ? epoch : 1;
  return HOTROW_OK;
}

static hotrow_status open_storage(host *h, const hotrow_server_options *o, const hr_memory_shares *shares,
                                  hr_shard_options *options)
{
  hr_durable *d = &h->durable;
  HOTROW_TRY(
      hr_rocksdb_open(o->data_dir, options->shard_index, options->shard_count, shares->storage_bytes, &d->storage));
  d->interval_ns = o->cut_interval_ms * (uint64_t)1000000;
  d->dirty_bytes_max = o->cut_bytes < shares->cut_bytes_max ? o->cut_bytes : shares->cut_bytes_max;
  d->log_bytes_max = o->memory_bytes ? d->dirty_bytes_max : HR_CUT_LOG_FACTOR * o->cut_bytes;
  d->durability = options->durability = o->durability;
  uint64_t due_bytes = o->durability == HOTROW_DURABILITY_LOG ? d->log_bytes_max : d->dirty_bytes_max;
  if (due_bytes > HR_CUT_BYTES_MAX / HR_CUT_NEXT_FACTOR)
    options->cut_bytes_max = due_bytes < SIZE_MAX / HR_CUT_NEXT_FACTOR ? due_bytes * HR_CUT_NEXT_FACTOR : SIZE_MAX;
  options->storage = hr_rocksdb_calls(d->storage);
  options->epoch = hr_rocksdb_epoch(d->storage);
  return HOTROW_OK;
}

static hotrow_status settle(void *context)
{
  host *h = context;
  publish(h);
  hr_watch_look(&h->server->watch);
  hr_watch_tell(&h->server->watch, h->shard);
  return hr_durable_finish(&h->durable);
}

/* That is made durable before anyone may count on it. */
static hotrow_status load_into_storage(host *h, const hotrow_server_options *o)
{
  hr_durable *d = &h->durable;
  HOTROW_TRY(hr_rocksdb_begin_load(d->storage));
  HOTROW_TRY(
      hr_shard_load(h->shard, o->load_path, (hr_load_progress){o->progress, o->context}, (hr_load_settle){settle, h}));
  HOTROW_TRY(hr_durable_finish(d));
  return hr_rocksdb_end_load(d->storage);
}

/* What was durable, then a save. */
static hotrow_status load(host *h, const hotrow_server_options *o)
{
  hr_durable *d = &h->durable;
  d->shard = h->shard;
  d->before_wait = publish;
  d->context = h;
  uint64_t begin_ns = hr_now_ns();
  if (d->storage && o->load_path)
    HOTROW_TRY(hr_rocksdb_drop_unfinished(d->storage));
  if (d->storage) {
    HOTROW_TRY(hr_rocksdb_restore(d->storage, h->shard, begin_ns, o->progress, o->context));
    hr_log(HOTROW_LOG_INFO, "data directory %s loaded in %llu ms", hr_rocksdb_path(d->storage),
           (unsigned long long)((hr_now_ns() - begin_ns) / 1000000));
    d->due_ns = hr_now_ns() + d->interval_ns;
  }
  if (!o->load_path)
    return HOTROW_OK;
  if (hr_shard_table_count(h->shard) > 0)
    return hr_fail(HOTROW_ERR_EXISTS, "data directory %s has tables: save %s can be loaded into a new one only",
                   hr_rocksdb_path(d->storage), o->load_path);
  if (d->storage)
    return load_into_storage(h, o);
  return hr_shard_load(h->shard, o->load_path, (hr_load_progress){o->progress, o->context}, (hr_load_settle){0});
}

static hotrow_status open_host(hotrow_server *server, const hotrow_server_options *o, uint32_t i)
{
  host *h = &server->hosts[i];
  h->server = server;
  hr_shard_options options = {
      .shard_index = o->shard_first + i,
      .shard_count = o->shard_count,
      .row_count_max = o->row_count_max,
      .save_dir = server->save_dir,
      .transport = {.send = hr_sender_send,
                    .context = &h->sender,
                    .lend = hr_sender_lend,
                    .lent_count_max = HR_LENT_COUNT,
                    .has_room = hr_sender_has_room},
      .aside = {.begin = begin_aside, .context = h},
  };
  hr_memory_shares shares;
  HOTROW_TRY(hr_memory_share_out(o->memory_bytes, o->shards, o->data_dir != NULL, &shares));
  options.memory_bytes = shares.shard_bytes;
  char address[HR_ENDPOINT_BYTES];
  HOTROW_TRY(hr_address_of_shard(o->bind, i, address, sizeof address));
  HOTROW_TRY(o->data_dir ? open_storage(h, o, &shares, &options) : random_epoch(&options.epoch));
  HOTROW_TRY(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  void *aligned;
  HOTROW_TRY(hr_map(ALIGNED_BYTES, "aligned frames", &aligned));
  h->aligned = aligned;
  HOTROW_TRY(hr_sender_init(&h->sender));
  HOTROW_TRY(hr_shard_create(&options, &h->shard));
  HOTROW_TRY(load(h, o));
  return open_socket(server, h, address, o->memory_bytes > 0);
}

static hotrow_status start_host(host *h)
{
  publish(h);
  HOTROW_TRY(hr_thread_start(HR_THREAD_PROMPT, "shard", run_host, h, &h->thread));
  h->is_running = true;
  return HOTROW_OK;
}

/* ZeroMQ makes its threads with the first socket, and they are as who makes it. */
static void *make_first_socket(void *zmq)
{
  return zmq_socket(zmq, ZMQ_PAIR);
}

static hotrow_status open_context(hotrow_server *server, uint32_t io_threads)
{
  void *socket = NULL;
  server->zmq = zmq_ctx_new();
  if (!server->zmq || zmq_ctx_set(server->zmq, ZMQ_IO_THREADS, (int)io_threads) != 0)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no ZeroMQ context: %s", zmq_strerror(errno));
  HOTROW_TRY(hr_thread_call(HR_THREAD_PROMPT, "sockets", make_first_socket, server->zmq, &socket));
  if (!socket)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "ZeroMQ cannot have %u threads", io_threads);
  zmq_close(socket);
  return HOTROW_OK;
}

hotrow_status hotrow_server_start(const hotrow_server_options *options, hotrow_server **server_p)
{
  hotrow_server_options o = {0};
  HOTROW_TRY(hr_server_options_resolve(options, &o));
  if (!server_p)
    return hr_fail(HOTROW_ERR_INVALID, "server_p is NULL");
  hotrow_server *server = calloc(1, sizeof *server + o.shards * sizeof(host));
  if (!server)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a server of %u shards", o.shards);
  server->host_count = o.shards;
  hr_watch_init(&server->watch, &(hr_watch_calls){ask_storages, add_shards, is_moving, server}, o.memory_bytes,
                o.shards);
  if (o.memory_bytes > 0 || o.data_dir)
    hr_memory_set_malloc(o.memory_bytes > 0);
  hotrow_status status = HOTROW_OK;
  if (o.save_dir && !(server->save_dir = strdup(o.save_dir)))
    status = hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for the name of the save directory");
  if (status == HOTROW_OK)
    status = open_context(server, o.io_threads);
  for (uint32_t i = 0; i < o.shards && status == HOTROW_OK; i++)
    if ((status = open_host(server, &o, i)) == HOTROW_OK)
      publish(&server->hosts[i]);
  if (status == HOTROW_OK)
    status = hr_watch_start(&server->watch);
  for (uint32_t i = 0; i < o.shards && status == HOTROW_OK; i++)
    status = start_host(&server->hosts[i]);
  if (status != HOTROW_OK) {
    hotrow_server_stop(server);
    return status;
  }
  for (uint32_t i = 0; i < o.shards; i++)
    hr_log(HOTROW_LOG_INFO, "shard %u of %u listens on %s", o.shard_first + i, o.shard_count,
           server->hosts[i].endpoint);
  *server_p = server;
  return HOTROW_OK;
}

const char *hotrow_server_endpoint(const hotrow_server *server, uint32_t i)
{
  return i < server->host_count ? server->hosts[i].endpoint : NULL;
}

hotrow_status hotrow_server_get_counts(const hotrow_server *server, uint32_t i, hotrow_shard_counts *counts)
{
  if (!server || !counts || i >= server->host_count)
    return hr_fail(HOTROW_ERR_INVALID, "server or counts is NULL, or there is no shard %u", i);
  size_t size = counts->struct_size;
  hotrow_shard_counts now;
  if (size < sizeof(size_t))
    return hr_fail(HOTROW_ERR_INVALID, "hotrow_shard_counts has struct_size %zu: start from its _INIT macro", size);
  hr_counts_read(&server->hosts[i].counts, &now);
  memcpy(counts, &now, size < sizeof now ? size : sizeof now);
  counts->struct_size = size;
  return HOTROW_OK;
}

hotrow_status hotrow_server_drain(hotrow_server *server)
{
  hotrow_status status = HOTROW_OK;
  if (server->zmq)
    zmq_ctx_shutdown(server->zmq); /* every receive returns ETERM from now on */
  for (uint32_t i = 0; i < server->host_count; i++) {
    host *h = &server->hosts[i];
    if (h->is_running)
      pthread_join(h->thread, NULL);
    h->is_running = false;
    end_aside(h);
    if (h->end_status != HOTROW_OK && status == HOTROW_OK)
      status = hr_fail(h->end_status, "%s", h->durable.sentence);
  }
  return status;
}

void hotrow_server_stop(hotrow_server *server)
{
  if (!server)
    return;
  hotrow_server_drain(server);
  hr_watch_stop(&server->watch);
  for (uint32_t i = 0; i < server->host_count; i++) {
    host *h = &server->hosts[i];
    if (h->socket)
      zmq_close(h->socket);
  }
  while (server->zmq && zmq_ctx_term(server->zmq) != 0 && errno == EINTR)
    ;
  for (uint32_t i = 0; i < server->host_count; i++) {
    if (server->hosts[i].durable.storage)
      hr_rocksdb_stop_reader(server->hosts[i].durable.storage); /* where the thread never ran */
    hr_shard_destroy(server->hosts[i].shard);
    hr_rocksdb_close(server->hosts[i].durable.storage);
    hr_unmap(server->hosts[i].aligned, ALIGNED_BYTES);
    hr_sender_fini(&server->hosts[i].sender);
  }
  free(server->save_dir);
  free(server);
}
