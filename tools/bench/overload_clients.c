#include "overload_clients.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <zmq.h>

#include <hr/random.h>

#include "bench_hotrow.h"

#define TIMEOUT_MS 60000u
#define FLOOD_JOB 1u
#define FLOOD_TIMEOUT_MS 10000u
#define CONNECTION_KEYS 64u
#define CONNECTION_PAUSE_NS 1000000 /* between two pulls of all connections */
#define LARGE_KEYS 65536u
#define LARGE_TIMEOUT_MS 1u /* it does not read, so there is nothing to wait for */
#define FILES_OF_CONNECTION 3u
#define FRAME_ALIGNMENT 8u
#define FRAMES_MAX 64u
#define MESSAGE_BYTES_MAX ((size_t)1 << 20)

static bool check(hotrow_status status)
{
  if (status != HOTROW_OK)
    fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
  return status == HOTROW_OK;
}

/* ---- a process that computes ---- */

static void *compute(void *context)
{
  atomic_ullong *done = context;
  for (;;)
    atomic_fetch_add_explicit(done, 1, memory_order_relaxed);
  return NULL;
}

void overload_compute(const overload_client *c)
{
  pthread_t other;
  atomic_store(&c->progress->is_ready, true);
  if (pthread_create(&other, NULL, compute, &c->progress->done) == 0)
    compute(&c->progress->done);
}

/* ---- a transport whose sockets share a context, and may stop reading ---- */

typedef struct plain_socket {
  void *socket;
  bool is_deaf;
} plain_socket;

static void send_frames(void *context, uint32_t shard, const hotrow_frame *frames, size_t count)
{
  plain_socket *s = context;
  (void)shard;
  for (size_t i = 0; i < count; i++) {
    int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
    if (zmq_send(s->socket, frames[i].size ? frames[i].data : "", frames[i].size, flags) < 0)
      return;
  }
}

/* One message for all sockets: they are used in turn. */
static bool receive_frames(void *context, uint64_t timeout_ns, uint32_t *shard_p, const hotrow_frame **frames_p,
                           size_t *count_p)
{
  static _Alignas(FRAME_ALIGNMENT) uint8_t bytes[MESSAGE_BYTES_MAX];
  static hotrow_frame frames[FRAMES_MAX];
  plain_socket *s = context;
  int timeout_ms = (int)((timeout_ns + 999999u) / 1000000u), more = 1;
  size_t count = 0, used = 0, more_size = sizeof more;
  if (s->is_deaf) {
    nanosleep(&(struct timespec){.tv_nsec = (long)(timeout_ns % 1000000000u)}, NULL);
    return false;
  }
  zmq_setsockopt(s->socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
  while (more) {
    if (count == FRAMES_MAX || used >= sizeof bytes)
      return false;
    int size = zmq_recv(s->socket, bytes + used, sizeof bytes - used, 0);
    if (size < 0 || (size_t)size > sizeof bytes - used)
      return false;
    frames[count++] = (hotrow_frame){bytes + used, (size_t)size};
    used += ((size_t)size + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
    zmq_getsockopt(s->socket, ZMQ_RCVMORE, &more, &more_size);
  }
  *shard_p = 0;
  *frames_p = frames;
  *count_p = count;
  return true;
}

/* A reader of the table. */
static bool connect_reader(const overload_client *c, void *zmq, plain_socket *s, hotrow_client **client_p,
                           hotrow_table **table_p)
{
  const int one = 1, zero = 0;
  s->socket = zmq_socket(zmq, ZMQ_DEALER);
  if (!s->socket) {
    fprintf(stderr, "hotrow bench: a socket: %s\n", zmq_strerror(zmq_errno()));
    return false;
  }
  zmq_setsockopt(s->socket, ZMQ_RCVHWM, &one, sizeof one); /* what it does not read is left to the server */
  zmq_setsockopt(s->socket, ZMQ_LINGER, &zero, sizeof zero);
  zmq_connect(s->socket, c->endpoint);
  hotrow_transport transport = {.context = s, .send = send_frames, .receive = receive_frames};
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = c->endpoint;
  client_options.read_only = 1;
  client_options.timeout_ms = TIMEOUT_MS;
  client_options.transport = &transport;
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  table_options.name = "bench";
  return check(hotrow_client_open(&client_options, client_p)) &&
         check(hotrow_table_open(*client_p, &table_options, table_p));
}

static bool pull(const overload_client *c, hotrow_client *client, const hotrow_lookup_request *request)
{
  bool ok = hotrow_lookup(client, request, 1) == HOTROW_OK;
  if (!ok)
    atomic_fetch_add(&c->progress->failed, 1);
  return ok;
}

/* ---- many connections ---- */

static void pull_in_turn(const overload_client *c, hotrow_client **clients, hotrow_table **tables)
{
  uint64_t keys[CONNECTION_KEYS];
  float *values = calloc(CONNECTION_KEYS * c->options->dim, sizeof *values);
  hr_rng rng = {2};
  if (!values)
    return;
  atomic_store(&c->progress->is_ready, true);
  for (uint32_t i = 0;; i = (i + 1) % c->options->connections) {
    for (size_t k = 0; k < CONNECTION_KEYS; k++)
      keys[k] = hr_rng_below(&rng, c->options->rows);
    hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
    request.table = tables[i];
    request.keys = keys;
    request.key_count = CONNECTION_KEYS;
    request.out = values;
    if (pull(c, clients[i], &request))
      atomic_fetch_add(&c->progress->done, 1);
    nanosleep(&(struct timespec){.tv_nsec = CONNECTION_PAUSE_NS}, NULL);
  }
}

void overload_connections(const overload_client *c)
{
  uint32_t count = c->options->connections;
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  void *zmq = zmq_ctx_new();
  zmq_ctx_set(zmq, ZMQ_MAX_SOCKETS, (int)count + 8);
  plain_socket *sockets = calloc(count, sizeof *sockets);
  hotrow_client **clients = calloc(count, sizeof(hotrow_client *));
  hotrow_table **tables = calloc(count, sizeof(hotrow_table *));
  bool ok = sockets && clients && tables;
  if (ok && files.rlim_cur < (rlim_t)count * FILES_OF_CONNECTION) {
    fprintf(stderr, "hotrow bench: %u connections need %u open files, %llu are allowed\n", count,
            count * FILES_OF_CONNECTION, (unsigned long long)files.rlim_cur);
    ok = false;
  }
  for (uint32_t i = 0; ok && i < count; i++)
    ok = connect_reader(c, zmq, &sockets[i], &clients[i], &tables[i]);
  if (ok)
    pull_in_turn(c, clients, tables);
  free(sockets);
  free(clients);
  free(tables);
}

/* ---- one that never reads ---- */

static void ask_for_much(const overload_client *c, hotrow_client *client, hotrow_lookup_request *request)
{
  atomic_store(&c->progress->is_ready, true);
  for (;;) {
    pull(c, client, request);
    atomic_fetch_add(&c->progress->done, 1);
  }
}

void overload_never_read(const overload_client *c)
{
  static uint64_t keys[LARGE_KEYS];
  plain_socket socket = {0};
  hotrow_client *client;
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  for (uint64_t i = 0; i < LARGE_KEYS; i++)
    keys[i] = i % c->options->rows;
  request.keys = keys;
  request.key_count = LARGE_KEYS;
  request.out = calloc((size_t)LARGE_KEYS * c->options->dim, sizeof *request.out);
  request.timeout_ms = LARGE_TIMEOUT_MS;
  if (request.out && connect_reader(c, zmq_ctx_new(), &socket, &client, &request.table)) {
    socket.is_deaf = true;
    ask_for_much(c, client, &request);
  }
  free(request.out);
}

/* ---- a flood of new keys ---- */

static void pull_new_keys(const overload_client *c, hotrow_client *client, hotrow_lookup_request *request,
                          uint64_t *keys)
{
  hr_rng rng = {3};
  request->keys = keys;
  atomic_store(&c->progress->is_ready, true);
  while (atomic_load(&c->progress->done) < c->options->flood_keys) {
    for (size_t i = 0; i < request->key_count; i++)
      keys[i] = hr_rng_next(&rng);
    if (pull(c, client, request))
      atomic_fetch_add(&c->progress->done, request->key_count);
  }
}

void overload_flood(const overload_client *c)
{
  bench_hotrow h = {0};
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.key_count = c->options->flood_batch_keys;
  request.out = calloc(request.key_count * c->options->dim, sizeof *request.out);
  request.timeout_ms = FLOOD_TIMEOUT_MS;
  uint64_t *keys = calloc(request.key_count, sizeof *keys);
  memcpy(h.endpoint, c->endpoint, strlen(c->endpoint) + 1);
  if (keys && request.out && bench_hotrow_connect(&h, FLOOD_JOB, c->options->dim, HOTROW_SGD)) {
    request.table = h.table;
    pull_new_keys(c, h.client, &request, keys);
  }
  free(keys);
  free(request.out);
}
