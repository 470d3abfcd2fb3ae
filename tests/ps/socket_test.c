#include "socket_test.h"

#include <hotrow/server.h>
#include <zmq.h>

#include <hr/route.h>

void *socket_test_context;

void *connect_to(const char *endpoint)
{
  void *socket = zmq_socket(socket_test_context, ZMQ_DEALER);
  int linger = 0, timeout = WAIT_MS;
  zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
  zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
  CHECK_EQ(zmq_connect(socket, endpoint), 0);
  return socket;
}

void send_frames(void *socket, const hr_frame *frames, size_t count)
{
  for (size_t i = 0; i < count; i++)
    CHECK(zmq_send(socket, frames[i].data, frames[i].size, i + 1 < count ? ZMQ_SNDMORE : 0) >= 0);
}

/* The next message, in memory that the next call reuses. */
const hr_message *receive(void *socket)
{
  static hr_message message;
  static _Alignas(8) uint8_t bytes[8][1 << 16];
  hr_frame frames[8];
  size_t count = 0;
  int more = 1;
  size_t more_size = sizeof more;
  while (more) {
    CHECK(count < 8);
    int size = zmq_recv(socket, bytes[count], sizeof bytes[count], 0);
    CHECK_MSG(size >= 0 && (size_t)size <= sizeof bytes[count], "no answer: %s", zmq_strerror(zmq_errno()));
    frames[count] = (hr_frame){bytes[count], (size_t)size};
    count++;
    zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_size);
  }
  CHECK_OK(hr_wire_decode(frames, count, &message));
  return &message;
}

const hr_message *ask(void *socket, test_client *c)
{
  uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  hr_wire_encode(&c->message, header, sections, frames, &count);
  send_frames(socket, frames, count);
  const hr_message *reply = receive(socket);
  CHECK_EQ(reply->header.request_id, c->message.header.request_id);
  return reply;
}

/* Hello, a table, a push, a pull: a client that does everything right gets what it asks for. */
test_client work(void *socket, uint64_t session, uint32_t shard_index, uint32_t shard_count)
{
  test_client c = test_worker(session, session, 0, 1, 100);
  c.shard_index = shard_index;
  c.shard_count = shard_count;
  test_hello(&c);
  const hr_message *reply = ask(socket, &c);
  CHECK_OK(test_status(reply));
  c.epoch = reply->header.epoch;
  hr_table_desc desc = test_desc("t");
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_OK(test_status(ask(socket, &c)));
  uint64_t keys[3], key = session << 32;
  for (int i = 0; i < 3; key++) /* keys of this shard: it creates no others */
    if (hr_shard_of(hr_key_hash(key, hr_table_seed("t", 1)), shard_count) == shard_index)
      keys[i++] = key;
  test_push_row(&c, 0, keys[1], 1.5f);
  CHECK_OK(test_status(ask(socket, &c)));
  test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, 3);
  reply = ask(socket, &c);
  CHECK_OK(test_status(reply));
  const float *values = reply->sections[0].values;
  CHECK(values[0] == 0.0f && values[2] == -1.5f && values[3] == 1.5f && values[4] == 0.0f);
  return c;
}

long long counter(void *socket, test_client *c, const char *name)
{
  test_begin(c, HR_OP_STATS);
  const hr_message *reply = ask(socket, c);
  CHECK_OK(test_status(reply));
  char text[8192];
  CHECK(reply->body_size < sizeof text);
  memcpy(text, reply->body, reply->body_size);
  text[reply->body_size] = 0;
  const char *at = strstr(text, name);
  CHECK_MSG(at && at[strlen(name)] == ':', "no %s in %s", name, text);
  return atoll(at + strlen(name) + 1);
}

hotrow_server *start(const char *bind, uint32_t shards)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = bind;
  options.shards = shards;
  CHECK_OK(hotrow_server_start(&options, &server));
  return server;
}
