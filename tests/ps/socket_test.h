/* Raw DEALERs of a server over real sockets. */
#ifndef SOCKET_TEST_H
#define SOCKET_TEST_H

#include "shard_test.h"

#include <hotrow/server.h>

#define WAIT_MS 10000

extern void *socket_test_context; /* ZeroMQ's; the test makes it */

void *connect_to(const char *endpoint);
void send_frames(void *socket, const hr_frame *frames, size_t count);
/* The next message, in memory that the next call reuses. */
const hr_message *receive(void *socket);
const hr_message *ask(void *socket, test_client *c);
/* Hello, a table, a push, a pull: a client that does everything right gets what it asks for. */
test_client work(void *socket, uint64_t session, uint32_t shard_index, uint32_t shard_count);
long long counter(void *socket, test_client *c, const char *name);
hotrow_server *start(const char *bind, uint32_t shards);

#endif
