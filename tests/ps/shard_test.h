/* Clients made by hand and a shard without a network, for the tests of the shard and of the server. */
#ifndef SHARD_TEST_H
#define SHARD_TEST_H

#include "hr_test.h"

#include <hr/wire.h>

#include "shard.h"

#define TEST_DIM 2u

typedef struct test_client {
  hr_session_id session;
  uint64_t job;
  uint64_t started_ns;
  uint64_t epoch;
  uint64_t push_seq;     /* the last push sent */
  uint64_t announce_seq; /* of its data requests */
  uint64_t request_id;
  uint32_t role;
  uint32_t rank;
  uint32_t world_size;
  uint32_t shard_index;
  uint32_t shard_count;
  hr_route_id route;
  hr_message message; /* the request in the making, or the one sent last */
} test_client;

typedef struct test_reply {
  hr_message message;
  hr_route_id to;
  void *memory[HR_WIRE_FRAMES_MAX];
  size_t memory_count;
} test_reply;

#define TEST_REPLIES_MAX 256u
typedef struct test_shard {
  hr_shard *shard;
  uint64_t now_ns;
  test_reply *replies; /* since the last test_clear */
  size_t reply_count;
  void (*settle)(hr_shard *shard, void *context); /* after each message; NULL: nothing */
  void *settle_context;
} test_shard;

/* A shard with SGD, lr 1, rows that begin at 0: a row is minus the sum of its gradients. Other options: zero. */
test_shard *test_shard_open(const hr_shard_options *options);
void test_shard_close(test_shard *t);
void test_clear(test_shard *t); /* forgets the replies */

test_client test_worker(uint64_t session, uint64_t job, uint32_t rank, uint32_t world_size, uint64_t started_ns);
test_client test_reader(uint64_t session);

/* Begins a request. Pushes get the next push_seq; a repeat sets header.push_seq back. */
hr_message *test_begin(test_client *c, hr_op op);
hr_section *test_add_pull(hr_message *m, uint32_t table, const uint64_t *keys, uint32_t key_count);
hr_section *test_add_push(hr_message *m, uint32_t table, const uint64_t *keys, const float *grads, uint32_t key_count);
/* Bodies: copied into memory that the next request of any client reuses. */
hr_message *test_hello(test_client *c);
hr_message *test_body(test_client *c, hr_op op, const void *body, size_t size);
hr_table_desc test_desc(const char *name);

/* Sends the client's message; replies come into t->replies. */
void test_send(test_shard *t, test_client *c);
/* Sends it and takes the one reply there must be: its status, its sentence as this thread's last error. */
hotrow_status test_ask(test_shard *t, test_client *c);
/* The one reply that there must be since test_clear. */
const test_reply *test_one_reply(const test_shard *t);
hotrow_status test_status(const hr_message *reply);
/* The reply that went to a client last, or NULL. */
const test_reply *test_reply_to(const test_shard *t, const test_client *c);

/* What most tests need: greet (the epoch is noted), create a table, push one row (grad, -grad), pull one row. */
void test_greet(test_shard *t, test_client *c);
uint32_t test_create_table(test_shard *t, test_client *c, const char *name);
uint32_t test_create(test_shard *t, test_client *c, const hr_table_desc *desc);
hr_message *test_push_row(test_client *c, uint32_t table, uint64_t key, float grad);
float test_pull_value(test_shard *t, test_client *c, uint32_t table, uint64_t key);

/* The cut that was begun, if there is one, is copied to its end; and hr_shard_cut(), likewise. */
hotrow_status test_copy(hr_shard *shard);
hotrow_status test_cut(hr_shard *shard, uint64_t *number_p);

/* A counter of the stats, e.g. "\"gap\"". */
long long test_counter(const hr_shard *shard, const char *name);

#endif
