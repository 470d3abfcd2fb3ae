/* A monitor of real servers: all that answer are heard, whatever the others do. */
#include "worker_test.h"

#include <hotrow/monitor.h>

#define WAIT_MS 10000u

static hotrow_monitor *open_monitor(const char *shards)
{
  hotrow_monitor *monitor = NULL;
  CHECK_OK(hotrow_monitor_open(shards, &monitor));
  return monitor;
}

static hotrow_server *serve(const char *bind)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = bind;
  CHECK_OK(hotrow_server_start(&options, &server));
  return server;
}

static void refusals(void)
{
  hotrow_monitor *monitor = NULL;
  CHECK_FAILS(hotrow_monitor_open(NULL, &monitor), HOTROW_ERR_INVALID, "shards is empty");
  CHECK_FAILS(hotrow_monitor_open("", &monitor), HOTROW_ERR_INVALID, "shards is empty");
  CHECK_FAILS(hotrow_monitor_open("tcp://127.0.0.1:1,,", &monitor), HOTROW_ERR_INVALID, "endpoint 1 of");
  CHECK_FAILS(hotrow_monitor_open("tcp://127.0.0.1:1", NULL), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_monitor_open("nonsense", &monitor), HOTROW_ERR_INVALID, "nonsense");
  CHECK(!monitor);
  hotrow_monitor_close(NULL);
}

static void all_shards_answer(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_monitor *monitor = open_monitor(servers.endpoints);
  CHECK_EQ(hotrow_monitor_shard_count(monitor), 2);
  for (int round = 0; round < 3; round++) {
    hotrow_monitor_ask(monitor);
    CHECK(!hotrow_monitor_answer_of(monitor, 0).stats); /* that of before is forgotten */
    CHECK_EQ(hotrow_monitor_wait(monitor, WAIT_MS), 0);
    for (uint32_t i = 0; i < 2; i++) {
      char begin[64], sessions[32];
      hotrow_monitor_answer answer = hotrow_monitor_answer_of(monitor, i);
      snprintf(begin, sizeof begin, "{\"shard\":%u,\"shard_count\":2,", i);
      snprintf(sessions, sizeof sessions, "\"sessions\":%d,\"jobs\":1,", 2); /* the client's and ours */
      CHECK(answer.stats && !answer.refusal && answer.time_ns <= hr_now_ns());
      CHECK(strncmp(answer.stats, begin, strlen(begin)) == 0 && strstr(answer.stats, sessions));
    }
  }
  hotrow_monitor_close(monitor);
  hotrow_client_close(client);
  test_stop(&servers);
}

static void one_that_does_not_answer_hides_no_other(void)
{
  hotrow_server *server = serve("tcp://127.0.0.1:*");
  char shards[256];
  snprintf(shards, sizeof shards, "%s,tcp://127.0.0.1:1", hotrow_server_endpoint(server, 0));
  hotrow_monitor *monitor = open_monitor(shards);
  hotrow_monitor_ask(monitor);
  uint64_t begin = hr_now_ns();
  uint32_t missing = hotrow_monitor_wait(monitor, 400);
  CHECK(missing == 1 && test_elapsed_ms(begin) >= 400 && test_elapsed_ms(begin) < 5000);
  hotrow_monitor_answer there = hotrow_monitor_answer_of(monitor, 0), gone = hotrow_monitor_answer_of(monitor, 1);
  CHECK(there.refusal && strstr(there.refusal, "takes it for shard 0 of 2") && !there.stats);
  CHECK(!gone.refusal && !gone.stats && gone.time_ns == 0);
  hotrow_monitor_close(monitor);
  hotrow_server_stop(server);
}

/* It goes on with a shard that was restarted, and one that comes late is found. */
static void restarts(void)
{
  char endpoint[128];
  hotrow_server *server = serve("tcp://127.0.0.1:*");
  snprintf(endpoint, sizeof endpoint, "%s", hotrow_server_endpoint(server, 0));
  hotrow_monitor *monitor = open_monitor(endpoint);
  char epochs[2][64];
  for (int life = 0; life < 2; life++) {
    hotrow_monitor_ask(monitor);
    CHECK_EQ(hotrow_monitor_wait(monitor, WAIT_MS), 0);
    const char *epoch = strstr(hotrow_monitor_answer_of(monitor, 0).stats, "\"epoch\"");
    CHECK(epoch);
    snprintf(epochs[life], sizeof epochs[life], "%.28s", epoch);
    hotrow_server_stop(server);
    hotrow_monitor_ask(monitor);
    CHECK_EQ(hotrow_monitor_wait(monitor, 150), 1);
    if (life == 0)
      server = serve(endpoint);
  }
  CHECK(strcmp(epochs[0], epochs[1]) != 0);
  hotrow_monitor_close(monitor);
}

int main(void)
{
  RUN(refusals);
  RUN(all_shards_answer);
  RUN(one_that_does_not_answer_hides_no_other);
  RUN(restarts);
  return 0;
}
