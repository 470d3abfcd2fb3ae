/* A server over real sockets, asked by raw DEALERs and by strangers. */
#include "socket_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hotrow/server.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <hr/route.h>

static hotrow_status try_start(const char *bind, uint32_t shards)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = bind;
  options.shards = shards;
  hotrow_status status = hotrow_server_start(&options, &server);
  CHECK(status != HOTROW_OK && !server);
  return status;
}

static void start_is_refused(void)
{
  static const char *const open[] = {
      "tcp://0.0.0.0:7117", "tcp://192.168.1.4:7117", "tcp://[::]:7117",  "tcp://*:7117",
      "tcp://eth0:7117",    "tcp://128.0.0.1:7117",   "tcp://[::2]:7117", "tcp://127.0.0.1.example.com:7117"};
  for (size_t i = 0; i < sizeof open / sizeof *open; i++)
    CHECK_FAILS(try_start(open[i], 1), HOTROW_ERR_INVALID,
                "is not a loopback address: without keys (not in this version) Hotrow listens on loopback only");
  CHECK_FAILS(try_start("udp://127.0.0.1:7117", 1), HOTROW_ERR_INVALID, "begins with tcp:// or ipc://");
  CHECK_FAILS(try_start("tcp://127.0.0.1", 1), HOTROW_ERR_INVALID, "not tcp://address:port");
  CHECK_FAILS(try_start("tcp://:7117", 1), HOTROW_ERR_INVALID, "not tcp://address:port");
  CHECK_FAILS(try_start("tcp://127.0.0.1:0", 1), HOTROW_ERR_INVALID, "port 0");
  CHECK_FAILS(try_start("tcp://127.0.0.1:70000", 1), HOTROW_ERR_INVALID, "port 70000");
  CHECK_FAILS(try_start("tcp://127.0.0.1:71x", 1), HOTROW_ERR_INVALID, "port 71x");
  CHECK_FAILS(try_start("tcp://127.0.0.1:65535", 2), HOTROW_ERR_INVALID, "would need port 65536");
  CHECK_FAILS(try_start("ipc://relative", 1), HOTROW_ERR_INVALID, "absolute path");
  char path[256] = "ipc:///";
  memset(path + 7, 'x', 200);
  CHECK_FAILS(try_start(path, 1), HOTROW_ERR_INVALID, "at most 107 bytes");
  CHECK_FAILS(try_start("ipc:///nowhere/at/all", 1), HOTROW_ERR_UNREACHABLE,
              "cannot listen on ipc:///nowhere/at/all.0");
  CHECK_FAILS(try_start(NULL, 1), HOTROW_ERR_INVALID, "bind is NULL");
  CHECK_FAILS(try_start("tcp://127.0.0.1:*", HOTROW_SERVER_SHARDS_MAX + 1), HOTROW_ERR_INVALID, "65 shards");

  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = "tcp://127.0.0.1:*";
  CHECK_FAILS(hotrow_server_start(NULL, &server), HOTROW_ERR_INVALID, NULL);
  CHECK_FAILS(hotrow_server_start(&options, NULL), HOTROW_ERR_INVALID, NULL);
  options.shards = 2;
  options.shard_first = 2;
  options.shard_count = 3;
  CHECK_FAILS(hotrow_server_start(&options, &server), HOTROW_ERR_INVALID, "do not fit in shard_count 3");
  options.shard_count = 4;
  options.load_path = "/nowhere/at/all";
  CHECK_FAILS(hotrow_server_start(&options, &server), HOTROW_ERR_NOT_FOUND, "/nowhere/at/all");
  options.load_path = NULL;
  options.save_dir = "/nowhere/at/all";
  CHECK_FAILS(hotrow_server_start(&options, &server), HOTROW_ERR_STORAGE,
              "save directory /nowhere/at/all: cannot make it: No such file");
  options.save_dir = "/dev/null";
  CHECK_FAILS(hotrow_server_start(&options, &server), HOTROW_ERR_STORAGE, "/dev/null: not a directory");
  options.save_dir = NULL;
  options.struct_size = 0;
  CHECK_FAILS(hotrow_server_start(&options, &server), HOTROW_ERR_INVALID, "struct_size");
  hotrow_server_stop(NULL);
}

static void clients_are_served_over(const char *bind)
{
  hotrow_server *server = start(bind, 2);
  CHECK(!hotrow_server_endpoint(server, 2));
  for (uint32_t shard = 0; shard < 2; shard++) {
    void *socket = connect_to(hotrow_server_endpoint(server, shard)),
         *other = connect_to(hotrow_server_endpoint(server, shard));
    work(socket, 10, shard, 2);
    work(other, 20, shard, 2);
    test_client wrong = test_worker(30, 1, 0, 1, 1);
    wrong.shard_index = 1 - shard;
    wrong.shard_count = 2;
    test_hello(&wrong);
    CHECK_FAILS(test_status(ask(other, &wrong)), HOTROW_ERR_INVALID, "the client takes it for shard");
    zmq_close(socket);
    zmq_close(other);
  }
  hotrow_server_stop(server);
}

static void clients_are_served(void)
{
  char path[300];
  snprintf(path, sizeof path, "ipc://%s/socket", hr_test_tmpdir());
  clients_are_served_over("tcp://127.0.0.1:*");
  clients_are_served_over("tcp://localhost:*");
  clients_are_served_over(path);
  clients_are_served_over(path); /* what the first left behind is in nobody's way */
}

static void address_in_use(void)
{
  char path[300];
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  CHECK_FAILS(try_start(hotrow_server_endpoint(server, 0), 1), HOTROW_ERR_UNREACHABLE, "Address already in use");
  hotrow_server_stop(server);
  snprintf(path, sizeof path, "ipc://%s/taken", hr_test_tmpdir());
  server = start(path, 2);
  CHECK_FAILS(try_start(path, 1), HOTROW_ERR_UNREACHABLE, "somebody does already");
  void *socket = connect_to(hotrow_server_endpoint(server, 1));
  work(socket, 1, 1, 2);
  zmq_close(socket);
  hotrow_server_stop(server);
}

static int connect_raw(const char *endpoint)
{
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  return fd;
}

/* What a DEALER says before its first message (ZMTP 3.1, NULL mechanism). */
static void greet_raw(int fd)
{
  uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, 'N', 'U', 'L', 'L'};
  uint8_t ready[] = {4,   28,  5,   'R', 'E', 'A', 'D', 'Y', 11, 'S', 'o', 'c', 'k', 'e', 't',
                     '-', 'T', 'y', 'p', 'e', 0,   0,   0,   6,  'D', 'E', 'A', 'L', 'E', 'R'};
  CHECK(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL) == sizeof greeting);
  CHECK(send(fd, ready, sizeof ready, MSG_NOSIGNAL) == sizeof ready);
}

static void strangers_do_no_harm(void)
{
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  const char *endpoint = hotrow_server_endpoint(server, 0);
  static uint8_t noise[4096];
  for (size_t i = 0; i < sizeof noise; i++)
    noise[i] = (uint8_t)(i * 131 + 7);
  int fds[4];
  for (int i = 0; i < 4; i++)
    fds[i] = connect_raw(endpoint);
  send(fds[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL);
  send(fds[1], noise, sizeof noise, MSG_NOSIGNAL);
  greet_raw(fds[2]);
  send(fds[2], noise, sizeof noise, MSG_NOSIGNAL);
  greet_raw(fds[3]);
  uint8_t huge[9] = {2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}; /* a frame of 2^63-1 bytes is on its way */
  send(fds[3], huge, sizeof huge, MSG_NOSIGNAL);
  void *socket = connect_to(endpoint);
  work(socket, 1, 0, 1);
  uint8_t byte;
  struct timeval patience = {.tv_sec = WAIT_MS / 1000};
  setsockopt(fds[3], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ssize_t got;
  do
    got = recv(fds[3], &byte, 1, 0);
  while (got == 1);
  CHECK(got == 0 || errno == ECONNRESET); /* a frame over the limit ends its connection */
  for (int i = 0; i < 4; i++)
    close(fds[i]);
  test_client c = work(socket, 2, 0, 1);
  CHECK(counter(socket, &c, "\"messages\":{\"hello\"") == 2);
  zmq_close(socket);
  hotrow_server_stop(server);
}

/* Messages that ZeroMQ delivers and that are not right; each is counted, and good clients are served before and after.
 */
static void bad_messages_are_counted(void)
{
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  const char *endpoint = hotrow_server_endpoint(server, 0);
  void *good = connect_to(endpoint), *bad = connect_to(endpoint);
  test_client c = work(good, 1, 0, 1);
  uint8_t header[HR_WIRE_HEADER_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  hr_wire_encode(test_begin(&c, HR_OP_STATS), header, NULL, frames, &count);

  send_frames(bad, &(hr_frame){header, 100}, 1); /* truncated: nobody to answer */
  send_frames(bad, &(hr_frame){"", 0}, 1);
  send_frames(bad, &(hr_frame){"hello there, is this the web?", 29}, 1);
  hr_header other;
  memcpy(&other, header, sizeof other);
  other.version = 7;
  other.header_hash = hr_hash_bytes(&other, offsetof(hr_header, header_hash));
  send_frames(bad, &(hr_frame){&other, sizeof other}, 1);
  CHECK_FAILS(test_status(receive(bad)), HOTROW_ERR_VERSION, "version 7");

  for (int i = 0; i < 2000; i++) /* more frames than any message has */
    CHECK_EQ(zmq_send(bad, header, sizeof header, ZMQ_SNDMORE), sizeof header);
  CHECK_EQ(zmq_send(bad, header, 0, 0), 0);
  hr_frame two[2] = {{header, sizeof header}, {header, 8}}; /* one more than the header says */
  send_frames(bad, two, 2);
  CHECK_FAILS(test_status(receive(bad)), HOTROW_ERR_PROTOCOL, "frame_count 1 in a message of 2");

  void *named = zmq_socket(socket_test_context, ZMQ_DEALER);
  int linger = 1000;
  zmq_setsockopt(named, ZMQ_LINGER, &linger, sizeof linger);
  zmq_setsockopt(named, ZMQ_ROUTING_ID, "a name that is longer than any route the shard keeps", 52);
  CHECK_EQ(zmq_connect(named, endpoint), 0);
  send_frames(named, frames, count);
  for (int i = 0; counter(good, &c, "\"limit\"") < 2; i++) {
    CHECK(i < WAIT_MS / 10);
    usleep(10000);
  }
  zmq_close(named);

  CHECK_EQ(counter(good, &c, "\"protocol\""), 4);
  CHECK_EQ(counter(good, &c, "\"version\""), 1);
  CHECK_EQ(counter(good, &c, "\"limit\""), 2);
  work(good, 2, 0, 1);
  work(bad, 3, 0, 1);
  zmq_close(good);
  zmq_close(bad);
  hotrow_server_stop(server);
}

/* A client that asks and never reads: its replies are dropped beyond its queue, and others are served. */
static void slow_reader_is_left_behind(void)
{
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  const char *endpoint = hotrow_server_endpoint(server, 0);
  void *slow = connect_to(endpoint), *good = connect_to(endpoint);
  test_client c = work(slow, 1, 0, 1);
  enum { KEYS = 4096, ASKED = 3000 };
  static uint64_t keys[KEYS];
  for (uint64_t i = 0; i < KEYS; i++)
    keys[i] = i;
  uint8_t header[HR_WIRE_HEADER_BYTES], section[HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  hr_message *m = test_begin(&c, HR_OP_PULL);
  test_add_pull(m, 0, keys, KEYS);
  hr_wire_encode(m, header, section, frames, &count);
  for (int i = 0; i < ASKED; i++)
    for (size_t k = 0; k < count; k++)
      CHECK(zmq_send(slow, frames[k].data, frames[k].size, k + 1 < count ? ZMQ_SNDMORE : 0) >= 0);
  test_client d = work(good, 2, 0, 1);
  for (int i = 0; counter(good, &d, "\"pulls\"") < ASKED + 2; i++) {
    CHECK(i < WAIT_MS / 10);
    usleep(10000);
  }
  zmq_close(slow);
  zmq_close(good);
  hotrow_server_stop(server);
}

static void server_starts_from_a_save(void)
{
  char path[300];
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = "tcp://127.0.0.1:*";
  snprintf(path, sizeof path, "%s/saves", hr_test_tmpdir()); /* which the server makes */
  options.save_dir = path;
  CHECK_OK(hotrow_server_start(&options, &server));
  memset(path, 0, sizeof path); /* options are the caller's again */
  void *socket = connect_to(hotrow_server_endpoint(server, 0));
  test_client c = work(socket, 1, 0, 1);
  hr_save save = {.token = 5, .name = "kept"};
  test_body(&c, HR_OP_SAVE, &save, sizeof save);
  CHECK_OK(test_status(ask(socket, &c)));
  zmq_close(socket);
  hotrow_server_stop(server);

  options.save_dir = NULL;
  snprintf(path, sizeof path, "%s/saves/kept", hr_test_tmpdir());
  options.load_path = path;
  CHECK_OK(hotrow_server_start(&options, &server));
  socket = connect_to(hotrow_server_endpoint(server, 0));
  test_begin(&c, HR_OP_STATS);
  CHECK_FAILS(test_status(ask(socket, &c)), HOTROW_ERR_RESET, "was restarted"); /* a new epoch */
  test_client again = test_worker(2, 2, 0, 1, 1);
  test_hello(&again);
  again.epoch = ask(socket, &again)->header.epoch;
  uint64_t key = ((uint64_t)1 << 32) + 1; /* that work() pushed to */
  test_add_pull(test_begin(&again, HR_OP_PULL), 0, &key, 1);
  const hr_message *reply = ask(socket, &again);
  CHECK_OK(test_status(reply));
  CHECK(reply->sections[0].values[0] == -1.5f && reply->sections[0].clocks[0] == 1);
  zmq_close(socket);
  hotrow_server_stop(server);
}

#define FILL_KEYS 4000u
#define FILL_PUSHES 60u

/* A server with many rows, and the client that made them. */
static hotrow_server *start_filled(const char *path, void **socket_p, test_client *c)
{
  static uint64_t keys[FILL_KEYS];
  static float grads[FILL_KEYS * TEST_DIM];
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = "tcp://127.0.0.1:*";
  options.save_dir = path;
  CHECK_OK(hotrow_server_start(&options, &server));
  *socket_p = connect_to(hotrow_server_endpoint(server, 0));
  *c = work(*socket_p, 1, 0, 1);
  for (uint64_t i = 0; i < FILL_PUSHES; i++) {
    for (uint64_t k = 0; k < FILL_KEYS; k++)
      keys[k] = i * FILL_KEYS + k;
    test_add_push(test_begin(c, HR_OP_PUSH), 0, keys, grads, FILL_KEYS);
    CHECK_OK(test_status(ask(*socket_p, c)));
  }
  return server;
}

static hotrow_status order(void *socket, test_client *c, uint32_t action)
{
  hr_checkpoint what = {.token = 3, .rank_count = 1, .name = "made", .action = action};
  test_body(c, HR_OP_CHECKPOINT, &what, sizeof what);
  return test_status(ask(socket, c));
}

static void a_checkpoint_is_copied_between_messages_and_without_them(void)
{
  char path[300];
  void *socket;
  test_client c;
  snprintf(path, sizeof path, "%s/checkpoints", hr_test_tmpdir());
  hotrow_server *server = start_filled(path, &socket, &c);
  CHECK_OK(order(socket, &c, HR_CHECKPOINT_COPY));
  for (uint64_t key = 0; key < 20; key++) { /* they are not in it */
    test_push_row(&c, 0, key * FILL_KEYS, 1.0f);
    CHECK_OK(test_status(ask(socket, &c)));
  }
  while (order(socket, &c, HR_CHECKPOINT_SETTLE) == HOTROW_ERR_BUSY)
    usleep(1000);
  CHECK_OK(order(socket, &c, HR_CHECKPOINT_SETTLE));
  CHECK(counter(socket, &c, "\"cut_copy_ns\"") > 0);
  while (order(socket, &c, HR_CHECKPOINT_PUBLISH) == HOTROW_ERR_BUSY)
    usleep(1000);
  zmq_close(socket);
  hotrow_server_stop(server);
  snprintf(path, sizeof path, "%s/checkpoints/made", hr_test_tmpdir());
  test_shard *t = test_shard_open(NULL);
  CHECK_OK(hr_shard_load(t->shard, path, (hr_load_progress){0}, (hr_load_settle){0}));
  CHECK_EQ(hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count, FILL_KEYS * FILL_PUSHES + 3);
  test_client reader = test_reader(9);
  test_greet(t, &reader);
  CHECK(test_pull_value(t, &reader, 0, 0) == 0.0f && test_pull_value(t, &reader, 0, 19 * FILL_KEYS) == 0.0f);
  test_shard_close(t);
}

static void a_server_stops_in_the_middle_of_a_copy(void)
{
  char path[300];
  void *socket;
  test_client c;
  snprintf(path, sizeof path, "%s/stopped", hr_test_tmpdir());
  hotrow_server *server = start_filled(path, &socket, &c);
  CHECK_OK(order(socket, &c, HR_CHECKPOINT_COPY));
  hotrow_server_stop(server);
  zmq_close(socket);
  CHECK(rmdir(path) == 0); /* nothing is left in it */
}

/* Without being asked over a socket. */
static void a_server_tells_its_counts(void)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server;
  options.bind = "tcp://127.0.0.1:*";
  options.shards = 2;
  CHECK_OK(hotrow_server_start(&options, &server));
  hotrow_shard_counts counts = HOTROW_SHARD_COUNTS_INIT;
  CHECK_OK(hotrow_server_get_counts(server, 1, &counts));
  CHECK(counts.shard == 1 && counts.shard_count == 2 && counts.epoch != 0 && counts.sessions == 0);
  CHECK_FAILS(hotrow_server_get_counts(server, 2, &counts), HOTROW_ERR_INVALID, "no shard 2");
  CHECK_FAILS(hotrow_server_get_counts(NULL, 0, &counts), HOTROW_ERR_INVALID, "NULL");
  hotrow_shard_counts other = {0};
  CHECK_FAILS(hotrow_server_get_counts(server, 0, &other), HOTROW_ERR_INVALID, "struct_size 0");
  other.struct_size = offsetof(hotrow_shard_counts, epoch); /* of an older program */
  other.epoch = 5;
  CHECK_OK(hotrow_server_get_counts(server, 1, &other));
  CHECK(other.shard == 1 && other.epoch == 5 && other.struct_size == offsetof(hotrow_shard_counts, epoch));
  hotrow_server_stop(server);
}

int main(void)
{
  socket_test_context = zmq_ctx_new();
  RUN(start_is_refused);
  RUN(clients_are_served);
  RUN(address_in_use);
  RUN(strangers_do_no_harm);
  RUN(bad_messages_are_counted);
  RUN(slow_reader_is_left_behind);
  RUN(server_starts_from_a_save);
  RUN(a_checkpoint_is_copied_between_messages_and_without_them);
  RUN(a_server_stops_in_the_middle_of_a_copy);
  RUN(a_server_tells_its_counts);
  zmq_ctx_term(socket_test_context);
  return 0;
}
