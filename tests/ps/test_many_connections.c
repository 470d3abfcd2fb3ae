/* Thousands of clients of one server: all are answered, each costs it little, and one that works does not notice. */
#include "socket_test.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#define CONNECTIONS 2000u
#define CONNECTIONS_MIN 100u   /* with fewer there is nothing to see */
#define FILES_OF_CONNECTION 3u /* both ends are in this process, and a client's socket has one to be woken by */
#define FILES_OF_OTHERS 200u
#define WAVES 3u        /* more sessions than a shard keeps */
#define GOOD_EVERY 100u /* connections, between two requests of the client that works */
/* Both ends, of which ZeroMQ takes 137 KiB and touches them bit by bit, and what a sanitizer keeps of those that are
 * gone. */
#define CONNECTION_BYTES_MAX ((size_t)320 << 10)

static void *sockets[CONNECTIONS];
static uint64_t epochs[CONNECTIONS];

static size_t resident_bytes(void)
{
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long all, resident;
  CHECK(file && fscanf(file, "%lu %lu", &all, &resident) == 2);
  fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static uint32_t open_files(void)
{
  DIR *files = opendir("/proc/self/fd");
  CHECK(files != NULL);
  uint32_t count = 0;
  while (readdir(files))
    count++;
  closedir(files);
  return count;
}

/* As many as may have files open here. */
static uint32_t connection_count(void)
{
  struct rlimit files;
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  uint64_t most = files.rlim_cur > FILES_OF_OTHERS ? (files.rlim_cur - FILES_OF_OTHERS) / FILES_OF_CONNECTION : 0;
  if (most < CONNECTIONS_MIN)
    hr_test_skip("files", "%llu open files are allowed", (unsigned long long)files.rlim_cur);
  return most < CONNECTIONS ? (uint32_t)most : CONNECTIONS;
}

static void send_request(void *socket, test_client *c)
{
  uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  hr_wire_encode(&c->message, header, sections, frames, &count);
  send_frames(socket, frames, count);
}

static void pull_good(void *socket, test_client *c, uint64_t key)
{
  test_add_pull(test_begin(c, HR_OP_PULL), 0, &key, 1);
  CHECK_OK(test_status(ask(socket, c)));
}

static test_client reader(uint32_t wave, uint32_t i)
{
  return test_reader(1000 + wave * CONNECTIONS + i);
}

/* All greet before any answer is read, and then all pull so. */
static void come(const char *endpoint, uint32_t count, uint32_t wave, void *good, test_client *d)
{
  uint64_t key = 1;
  for (uint32_t i = 0; i < count; i++) {
    test_client c = reader(wave, i);
    test_hello(&c);
    sockets[i] = connect_to(endpoint);
    send_request(sockets[i], &c);
    if (i % GOOD_EVERY == 0)
      pull_good(good, d, i);
  }
  for (uint32_t i = 0; i < count; i++) {
    const hr_message *reply = receive(sockets[i]);
    CHECK_OK(test_status(reply));
    epochs[i] = reply->header.epoch;
  }
  for (uint32_t i = 0; i < count; i++) {
    test_client c = reader(wave, i);
    c.epoch = epochs[i];
    test_add_pull(test_begin(&c, HR_OP_PULL), 0, &key, 1);
    send_request(sockets[i], &c);
    if (i % GOOD_EVERY == 0)
      pull_good(good, d, i);
  }
  for (uint32_t i = 0; i < count; i++) {
    const hr_message *reply = receive(sockets[i]);
    CHECK_OK(test_status(reply));
    CHECK_EQ(reply->sections[0].key_count, 1);
  }
}

/* Both ends of all: ZeroMQ closes them when it comes to it. */
static void go(uint32_t count, uint32_t files_before)
{
  for (uint32_t i = 0; i < count; i++)
    zmq_close(sockets[i]);
  for (int waited_ms = 0; open_files() > files_before; waited_ms += 10) {
    CHECK_MSG(waited_ms < WAIT_MS, "%u files are open, not %u", open_files(), files_before);
    usleep(10000);
  }
}

static void thousands_are_answered(uint32_t count)
{
  hotrow_server *server = start("tcp://127.0.0.1:*", 1);
  const char *endpoint = hotrow_server_endpoint(server, 0);
  void *good = connect_to(endpoint);
  test_client d = work(good, 1, 0, 1);
  size_t before = resident_bytes();
  uint32_t files_before = open_files();
  for (uint32_t wave = 0; wave < WAVES; wave++) {
    come(endpoint, count, wave, good, &d);
    size_t now = resident_bytes(), grown = (now > before ? now - before : 0) / count;
    printf("  %u connections, %zu bytes each\n", count, grown);
    CHECK(grown < CONNECTION_BYTES_MAX);
    long long sessions = counter(good, &d, "\"sessions\"");
    CHECK(sessions > count && sessions <= (long long)HR_SHARD_SESSIONS_MAX);
    go(count, files_before);
  }
  pull_good(good, &d, 1); /* its session is not among those that had to go */
  zmq_close(good);
  hotrow_server_stop(server);
}

int main(void)
{
  uint32_t count = connection_count();
  socket_test_context = zmq_ctx_new();
  zmq_ctx_set(socket_test_context, ZMQ_MAX_SOCKETS, (int)(count * 2)); /* a closed one is not gone at once */
  printf("- thousands_are_answered\n");
  thousands_are_answered(count);
  zmq_ctx_term(socket_test_context);
  return 0;
}
