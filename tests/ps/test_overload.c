/* A client that asks and never reads, beside one that works: what the server keeps for the first has a bound in bytes,
 * and the second does not notice. */
#include "socket_test.h"

#include <stdio.h>
#include <unistd.h>
#include <zmq.h>

#include "server_send.h"

#define KEYS 32768u
#define DIM 64u
#define REPLY_BYTES ((size_t)KEYS * DIM * sizeof(float)) /* 8 MiB, a bit less than what it is */
#define ASKED 400
/* Memory that is lent to replies, both ends of the connection, and what a sanitizer keeps. Without a bound it would be
 * twice as much: 128 replies. */
#define SLACK_BYTES ((size_t)448 << 20)

static size_t resident_bytes(void)
{
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long all, resident;
  CHECK(file && fscanf(file, "%lu %lu", &all, &resident) == 2);
  fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static uint64_t keys[KEYS];
static uint8_t header[HR_WIRE_HEADER_BYTES], section[HR_WIRE_SECTION_BYTES];

/* A client with a table of rows of 256 bytes. */
static test_client greet(void *socket, uint64_t session)
{
  test_client c = test_worker(session, session, 0, 1, 100);
  test_hello(&c);
  c.epoch = ask(socket, &c)->header.epoch;
  hr_table_desc desc = test_desc("wide");
  desc.dim = desc.segments[0].dim = DIM;
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_OK(test_status(ask(socket, &c)));
  return c;
}

/* Asks for all rows; does not wait. */
static bool ask_for_rows(void *socket, test_client *c)
{
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  hr_message *m = test_begin(c, HR_OP_PULL);
  hr_section *s = test_add_pull(m, 0, keys, KEYS);
  s->dim = DIM;
  hr_wire_encode(m, header, section, frames, &count);
  for (size_t k = 0; k < count; k++)
    if (zmq_send(socket, frames[k].data, frames[k].size, ZMQ_DONTWAIT | (k + 1 < count ? ZMQ_SNDMORE : 0)) < 0)
      return false;
  return true;
}

/* The header of the next message; its other frames are thrown away. False if none comes for this time. */
static bool next_header(void *socket, int timeout_ms, hr_header *header_p)
{
  static uint8_t rest[1 << 16];
  zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
  if (zmq_recv(socket, header_p, sizeof *header_p, 0) != (int)sizeof *header_p)
    return false;
  int more;
  size_t more_size = sizeof more;
  for (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_size); more;
       zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_size))
    CHECK(zmq_recv(socket, rest, sizeof rest, 0) >= 0);
  return true;
}

static void *connect_slow(const char *endpoint)
{
  void *socket = zmq_socket(socket_test_context, ZMQ_DEALER);
  int linger = 0, queue = 1;
  zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
  zmq_setsockopt(socket, ZMQ_RCVHWM, &queue, sizeof queue);
  zmq_setsockopt(socket, ZMQ_SNDHWM, &queue, sizeof queue);
  CHECK_EQ(zmq_connect(socket, endpoint), 0);
  return socket;
}

/* Reads all that has been kept for it: rows first, then refusals that say when to ask again. */
static void drain(void *socket)
{
  hr_header got;
  uint32_t rows = 0, busy = 0;
  while (next_header(socket, 1000, &got)) {
    rows += got.status == HOTROW_OK;
    busy += got.status == HOTROW_ERR_BUSY;
    CHECK(got.status == HOTROW_OK || (got.status == HOTROW_ERR_BUSY && got.retry_ms > 0));
  }
  CHECK(rows > 0 && busy > 0);
}

static void who_never_reads_costs_a_bounded_number_of_bytes(void)
{
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  const char *endpoint = hotrow_server_endpoint(server, 0);
  void *slow = connect_slow(endpoint), *good = connect_to(endpoint);
  test_client c = greet(slow, 1);
  test_client d = greet(good, 2);
  hr_header got;
  for (uint64_t i = 0; i < KEYS; i++)
    keys[i] = i;
  CHECK(ask_for_rows(slow, &c) && next_header(slow, WAIT_MS, &got) && got.status == HOTROW_OK); /* rows are there now */
  size_t before = resident_bytes(), most = 0;
  hotrow_shard_counts counts = HOTROW_SHARD_COUNTS_INIT;
  uint64_t unread_most = 0;
  for (int asked = 0; asked < ASKED;) {
    asked += ask_for_rows(slow, &c);
    uint64_t key = (uint64_t)asked;
    hr_section *s = test_add_pull(test_begin(&d, HR_OP_PULL), 0, &key, 1);
    s->dim = DIM;
    CHECK_OK(test_status(ask(good, &d)));
    size_t now = resident_bytes();
    most = now > most ? now : most;
    CHECK_OK(hotrow_server_get_counts(server, 0, &counts));
    unread_most = counts.unread_bytes > unread_most ? counts.unread_bytes : unread_most;
  }
  CHECK_MSG(most < before + HR_PEER_UNREAD_BYTES_MAX + REPLY_BYTES + SLACK_BYTES, "%zu MiB more than before",
            (most - before) >> 20);
  CHECK(unread_most >= HR_PEER_UNREAD_BYTES_MAX);
  CHECK(unread_most < HR_PEER_UNREAD_BYTES_MAX + 2 * REPLY_BYTES);
  CHECK(counter(good, &d, "\"busy\"") > 0);
  drain(slow);
  CHECK_EQ(counter(good, &d, "\"unread_bytes\""), 0);
  CHECK(ask_for_rows(slow, &c) && next_header(slow, WAIT_MS, &got) && got.status == HOTROW_OK); /* it may go on */
  zmq_close(slow);
  zmq_close(good);
  hotrow_server_stop(server);
}

/* What it had not read is free again when it goes. */
static void who_goes_takes_its_bytes_along(void)
{
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  const char *endpoint = hotrow_server_endpoint(server, 0);
  void *good = connect_to(endpoint);
  test_client d = greet(good, 2);
  for (uint64_t session = 10; session < 13; session++) {
    void *slow = connect_slow(endpoint);
    test_client c = greet(slow, session);
    for (int asked = 0; asked < 30;)
      asked += ask_for_rows(slow, &c);
    for (int i = 0; counter(good, &d, "\"unread_bytes\"") < (long long)HR_PEER_UNREAD_BYTES_MAX; i++) {
      CHECK(i < WAIT_MS / 10);
      usleep(10000);
    }
    zmq_close(slow);
    for (int i = 0; counter(good, &d, "\"unread_bytes\"") > 0; i++) {
      CHECK(i < WAIT_MS / 10);
      usleep(10000);
    }
  }
  zmq_close(good);
  hotrow_server_stop(server);
}

int main(void)
{
  socket_test_context = zmq_ctx_new();
  RUN(who_never_reads_costs_a_bounded_number_of_bytes);
  RUN(who_goes_takes_its_bytes_along);
  zmq_ctx_term(socket_test_context);
  return 0;
}
