/* Deadlines, restarts, fencing, rendezvous: every call returns by its deadline and says whose fault it was. */
#include "worker_test.h"

#include <pthread.h>

#define SLACK_MS 1500 /* a busy machine */

static void nobody_answers(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL); /* takes a port that is free again afterwards */
  test_stop(&servers);
  hotrow_client_options options = test_options(servers.endpoints, 0, 1);
  hotrow_client *client = NULL;
  options.timeout_ms = 300;
  uint64_t begin = hr_now_ns();
  CHECK_FAILS(hotrow_client_open(&options, &client), HOTROW_ERR_TIMED_OUT, "shard 0 at tcp://127.0.0.1");
  CHECK_MSG(test_elapsed_ms(begin) >= 300 && test_elapsed_ms(begin) < 300 + SLACK_MS, "after %llu ms",
            (unsigned long long)test_elapsed_ms(begin));
  CHECK(!client);
}

static void a_server_that_stops_is_named_by_the_deadline(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_counting_table(client, "t", 1, 64, 10, 0);
  const uint64_t key = 1, other = 2;
  float row, grad = 1;
  test_read(client, table, &key, 1, &row);
  test_stop(&servers);
  test_read(client, table, &key, 1, &row); /* a fresh copy needs no network */
  hotrow_lookup_request r = test_lookup_of(table, &other, 1, &row);
  r.timeout_ms = 200;
  for (int i = 0; i < 2; i++) { /* and again: the client itself is not broken */
    uint64_t begin = hr_now_ns();
    CHECK_FAILS(hotrow_lookup(client, &r, 1), HOTROW_ERR_TIMED_OUT, "shard 0 at");
    CHECK(test_elapsed_ms(begin) >= 200 && test_elapsed_ms(begin) < 200 + SLACK_MS);
  }
  test_push(client, table, &key, 1, &grad);
  CHECK_OK(hotrow_step(client, 200)); /* does not wait */
  uint64_t begin = hr_now_ns();
  CHECK_FAILS(hotrow_flush(client, 200), HOTROW_ERR_TIMED_OUT, "shard 0 at");
  CHECK_FAILS(hotrow_barrier(client, 200), HOTROW_ERR_TIMED_OUT, "barrier");
  CHECK_FAILS(hotrow_blob_put(client, "b", "x", 1, 200), HOTROW_ERR_TIMED_OUT, "shard 0 at");
  CHECK(test_elapsed_ms(begin) >= 600 && test_elapsed_ms(begin) < 600 + SLACK_MS);
  /* 64 pushes may be unanswered; then a step waits for room. */
  hotrow_status status = HOTROW_OK;
  int steps = 1;
  for (; status == HOTROW_OK && steps < 100; steps++) {
    test_push(client, table, &key, 1, &grad);
    status = hotrow_step(client, 100);
  }
  CHECK_EQ(status, HOTROW_ERR_TIMED_OUT);
  CHECK(steps > 60 && steps <= 65);
  hotrow_client_close(client);
}

/* Every call, whatever it would do, returns the status and keeps naming the cause. */
static void check_sticky(hotrow_client *client, hotrow_table *table, hotrow_status status, const char *words)
{
  const uint64_t key = 1;
  float row = 0, grad = 1;
  char bytes[4], *json = NULL;
  size_t size;
  hotrow_table *none;
  hotrow_lookup_request lookup = test_lookup_of(table, &key, 1, &row);
  hotrow_push_request push = test_push_of(table, &key, 1, &grad);
  hotrow_table_options options = test_table_options("u", 1);
  for (int i = 0; i < 2; i++) {
    CHECK_FAILS(hotrow_lookup(client, &lookup, 1), status, words);
    CHECK_FAILS(hotrow_push(client, &push, 1), status, words);
    CHECK_FAILS(hotrow_step(client, 0), status, words);
    CHECK_FAILS(hotrow_step_lookup(client, &lookup, 1), status, words);
    CHECK_FAILS(hotrow_lookahead(client, &lookup, 1), status, words);
    CHECK_FAILS(hotrow_flush(client, 0), status, words);
    CHECK_FAILS(hotrow_barrier(client, 0), status, words);
    CHECK_FAILS(hotrow_blob_put(client, "b", "x", 1, 0), status, words);
    CHECK_FAILS(hotrow_blob_get(client, "b", bytes, sizeof bytes, &size, 0), status, words);
    CHECK_FAILS(hotrow_save(client, "s", 0), status, words);
    CHECK_FAILS(hotrow_shard_stats(client, 0, 0, &json), status, words);
    CHECK_FAILS(hotrow_table_create(client, &options, &none), status, words);
  }
}

static void a_restarted_server_is_a_reset(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_counting_table(client, "t", 1, 64, 10, 0);
  const uint64_t key = 1, other = 2;
  float row;
  test_read(client, table, &key, 1, &row);
  test_stop(&servers);
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = servers.endpoints;
  CHECK_OK(hotrow_server_start(&options, &servers.server));
  hotrow_lookup_request r = test_lookup_of(table, &other, 1, &row);
  CHECK_FAILS(hotrow_lookup(client, &r, 1), HOTROW_ERR_RESET, "shard 0 at");
  check_sticky(client, table, HOTROW_ERR_RESET, "shard 0 at");
  hotrow_client_close(client);
  test_stop(&servers);
}

static void a_successor_fences_its_predecessor(void)
{
  test_servers servers;
  test_start(&servers, 3, NULL, NULL);
  hotrow_client *first = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_counting_table(first, "t", 1, 0, 10, 0);
  const uint64_t key = 1;
  float row;
  test_read(first, table, &key, 1, &row);
  hotrow_client *second = test_open(servers.endpoints, 0, 1);
  hotrow_lookup_request r = test_lookup_of(table, &key, 1, &row);
  CHECK_FAILS(hotrow_lookup(first, &r, 1), HOTROW_ERR_FENCED, "shard ");
  check_sticky(first, table, HOTROW_ERR_FENCED, "shard ");
  hotrow_table *own = test_counting_table(second, "t", 1, 0, 10, 0);
  test_read(second, own, &key, 1, &row);
  hotrow_client_close(first);
  test_read(second, own, &key, 1, &row);
  hotrow_client_close(second);
  test_stop(&servers);
}

/* The shard refuses a push that nobody waited for: the next call that waits says so, once. */
static void a_push_that_a_shard_refuses_is_reported_once(void)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server;
  options.bind = "tcp://127.0.0.1:*";
  options.row_count_max = 8;
  CHECK_OK(hotrow_server_start(&options, &server));
  hotrow_client *client = test_open(hotrow_server_endpoint(server, 0), 0, 1);
  hotrow_table *table = test_counting_table(client, "t", 1, 0, 10, 0);
  uint64_t keys[9];
  float rows[9], grads[9] = {1};
  for (uint64_t i = 0; i < 9; i++)
    keys[i] = i;
  hotrow_lookup_request r = test_lookup_of(table, keys, 9, rows);
  CHECK_FAILS(hotrow_lookup(client, &r, 1), HOTROW_ERR_LIMIT, "shard 0 at");
  test_push(client, table, keys, 9, grads);
  CHECK_OK(hotrow_step(client, 0));
  CHECK_FAILS(hotrow_flush(client, 0), HOTROW_ERR_LIMIT, "row_count_max is 8");
  CHECK_OK(hotrow_flush(client, 0));
  hotrow_client_close(client);
  hotrow_server_stop(server);
}

typedef struct barrier_worker {
  hotrow_client *client;
  int *arrived; /* shared; each round adds one per worker before the barrier */
  pthread_t thread;
} barrier_worker;

#define ROUNDS 30
#define BARRIER_WORKERS 3

static void *meet_again_and_again(void *context)
{
  barrier_worker *w = context;
  for (int round = 1; round <= ROUNDS; round++) {
    __atomic_add_fetch(w->arrived, 1, __ATOMIC_SEQ_CST);
    CHECK_OK(hotrow_barrier(w->client, 20000));
    CHECK(__atomic_load_n(w->arrived, __ATOMIC_SEQ_CST) >= round * BARRIER_WORKERS);
  }
  return NULL;
}

static void barriers_hold_everyone(void)
{
  test_servers servers;
  barrier_worker workers[BARRIER_WORKERS];
  int arrived = 0;
  test_start(&servers, 2, NULL, NULL);
  for (uint32_t i = 0; i < BARRIER_WORKERS; i++)
    workers[i] = (barrier_worker){.client = test_open(servers.endpoints, i, BARRIER_WORKERS), .arrived = &arrived};
  for (uint32_t i = 0; i < BARRIER_WORKERS; i++)
    CHECK_EQ(pthread_create(&workers[i].thread, NULL, meet_again_and_again, &workers[i]), 0);
  for (uint32_t i = 0; i < BARRIER_WORKERS; i++)
    CHECK_EQ(pthread_join(workers[i].thread, NULL), 0);
  uint64_t begin = hr_now_ns();
  CHECK_FAILS(hotrow_barrier(workers[0].client, 150), HOTROW_ERR_TIMED_OUT, "barrier");
  CHECK(test_elapsed_ms(begin) >= 150 && test_elapsed_ms(begin) < 150 + SLACK_MS);
  for (uint32_t i = 0; i < BARRIER_WORKERS; i++)
    hotrow_client_close(workers[i].client);
  test_stop(&servers);
}

static void blobs_are_found_by_name(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *a = test_open(servers.endpoints, 0, 2), *b = test_open(servers.endpoints, 1, 2);
  hotrow_client_options options = test_options(servers.endpoints, 0, 1);
  hotrow_client *stranger;
  options.job = 8;
  CHECK_OK(hotrow_client_open(&options, &stranger));
  static uint8_t full[HOTROW_BLOB_BYTES_MAX], got[HOTROW_BLOB_BYTES_MAX];
  size_t size = 99;
  for (size_t i = 0; i < sizeof full; i++)
    full[i] = (uint8_t)(i * 7);
  CHECK_OK(hotrow_blob_put(a, "full", full, sizeof full, 0));
  CHECK_OK(hotrow_blob_get(b, "full", got, sizeof got, &size, 0));
  CHECK(size == sizeof full && memcmp(full, got, size) == 0);
  CHECK_OK(hotrow_blob_put(b, "full", "new", 3, 0)); /* replaced */
  CHECK_OK(hotrow_blob_get(a, "full", got, sizeof got, &size, 0));
  CHECK(size == 3 && memcmp(got, "new", 3) == 0);
  CHECK_FAILS(hotrow_blob_get(a, "full", got, 2, &size, 0), HOTROW_ERR_LIMIT, "has 3 bytes, there is room for 2");
  uint64_t begin = hr_now_ns();
  CHECK_FAILS(hotrow_blob_get(stranger, "full", got, sizeof got, &size, 150), HOTROW_ERR_TIMED_OUT, "blob");
  CHECK(test_elapsed_ms(begin) >= 150 && test_elapsed_ms(begin) < 150 + SLACK_MS);
  CHECK_EQ(size, 3); /* written on success only */
  hotrow_client_close(a);
  hotrow_client_close(b);
  hotrow_client_close(stranger);
  test_stop(&servers);
}

int main(void)
{
  RUN(nobody_answers);
  RUN(a_server_that_stops_is_named_by_the_deadline);
  RUN(a_restarted_server_is_a_reset);
  RUN(a_successor_fences_its_predecessor);
  RUN(a_push_that_a_shard_refuses_is_reported_once);
  RUN(barriers_hold_everyone);
  RUN(blobs_are_found_by_name);
  return 0;
}
