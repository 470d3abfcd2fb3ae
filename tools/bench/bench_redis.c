/* Redis over loopback TCP: MGET and MSET with keys and values in binary, several commands on their way. Updates are
 * made at the client, as Redis has no optimizer: right for one writer only. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_peers.h"

#define CHUNK_KEYS 1000u /* of one command */
#define COMMANDS_OPEN 4u /* sent and not answered: the server works while the client reads */
#define INPUT_BYTES ((size_t)256 << 10)
#define LINE_BYTES_MAX 64u /* of a header line */
#define KEY_BYTES 8u
#define START_MS 10000

typedef struct redis {
  const bench_peer_setup *setup;
  pid_t server;
  int socket;
  uint8_t *output; /* owned: one command */
  uint8_t *input;  /* owned, INPUT_BYTES: [input_at, input_end) is not read yet */
  size_t output_size, input_at, input_end;
  struct sockaddr_in address;
} redis;

static bool fail(const char *why)
{
  fprintf(stderr, "hotrow bench: redis: %s\n", why);
  return false;
}

/* ---- the protocol (RESP2): "$8" and "*1000" are lines, bytes follow the first ---- */

static void put(redis *r, const void *bytes, size_t size)
{
  memcpy(r->output + r->output_size, bytes, size);
  r->output_size += size;
}

static void put_line(redis *r, char kind, size_t number)
{
  char line[LINE_BYTES_MAX];
  put(r, line, (size_t)snprintf(line, sizeof line, "%c%zu\r\n", kind, number));
}

static void put_bulk(redis *r, const void *bytes, size_t size)
{
  put_line(r, '$', size);
  put(r, bytes, size);
  put(r, "\r\n", 2);
}

static bool send_output(redis *r)
{
  for (size_t at = 0; at < r->output_size;) {
    ssize_t done = send(r->socket, r->output + at, r->output_size - at, MSG_NOSIGNAL);
    if (done < 0 && errno != EINTR)
      return fail(strerror(errno));
    at += done > 0 ? (size_t)done : 0;
  }
  r->output_size = 0;
  return true;
}

static bool read_more(redis *r)
{
  memmove(r->input, r->input + r->input_at, r->input_end - r->input_at);
  r->input_end -= r->input_at;
  r->input_at = 0;
  ssize_t done;
  do
    done = recv(r->socket, r->input + r->input_end, INPUT_BYTES - r->input_end, 0);
  while (done < 0 && errno == EINTR);
  r->input_end += done > 0 ? (size_t)done : 0;
  return done > 0 || fail("the connection broke");
}

/* The rest of the next line if it begins with `kind`. */
static bool read_line(redis *r, char kind, char *line_p)
{
  uint8_t *end;
  while (!(end = memchr(r->input + r->input_at, '\n', r->input_end - r->input_at)))
    if (!read_more(r))
      return false;
  char got = (char)r->input[r->input_at];
  int size = (int)(end - r->input - (ptrdiff_t)r->input_at) - 2; /* without what it begins and ends with */
  snprintf(line_p, LINE_BYTES_MAX, "%.*s", size, (const char *)r->input + r->input_at + 1);
  r->input_at = (size_t)(end - r->input) + 1;
  return got == kind || fail(line_p);
}

static bool read_number(redis *r, char kind, size_t expected)
{
  char line[LINE_BYTES_MAX];
  if (!read_line(r, kind, line))
    return false;
  return strtoull(line, NULL, 10) == expected || fail("an answer of another size, or a key that is not there");
}

static bool read_bulk(redis *r, void *bytes, size_t size)
{
  if (!read_number(r, '$', size))
    return false;
  while (r->input_end - r->input_at < size + 2)
    if (!read_more(r))
      return false;
  memcpy(bytes, r->input + r->input_at, size);
  r->input_at += size + 2;
  return true;
}

/* ---- commands ---- */

static size_t row_bytes(const redis *r)
{
  return r->setup->dim * sizeof(float);
}

/* values NULL: MGET, else MSET. */
static bool send_command(redis *r, const uint64_t *keys, size_t count, const float *values)
{
  put_line(r, '*', 1 + count * (values ? 2 : 1));
  put_bulk(r, values ? "MSET" : "MGET", 4);
  for (size_t i = 0; i < count; i++) {
    put_bulk(r, &keys[i], KEY_BYTES);
    if (values)
      put_bulk(r, values + i * r->setup->dim, row_bytes(r));
  }
  return send_output(r);
}

static bool read_rows(redis *r, size_t count, float *values)
{
  if (!read_number(r, '*', count))
    return false;
  for (size_t i = 0; i < count; i++)
    if (!read_bulk(r, values + i * r->setup->dim, row_bytes(r)))
      return false;
  return true;
}

static bool run_commands(redis *r, const uint64_t *keys, size_t count, float *values, bool is_set)
{
  char line[LINE_BYTES_MAX];
  size_t command_count = (count + CHUNK_KEYS - 1) / CHUNK_KEYS, sent = 0;
  for (size_t done = 0; done < command_count; done++) {
    for (; sent < command_count && sent < done + COMMANDS_OPEN; sent++) {
      size_t first = sent * CHUNK_KEYS, size = count - first < CHUNK_KEYS ? count - first : CHUNK_KEYS;
      if (!send_command(r, keys + first, size, is_set ? values + first * r->setup->dim : NULL))
        return false;
    }
    size_t first = done * CHUNK_KEYS, size = count - first < CHUNK_KEYS ? count - first : CHUNK_KEYS;
    if (!(is_set ? read_line(r, '+', line) : read_rows(r, size, values + first * r->setup->dim)))
      return false;
  }
  return true;
}

static bool pull(void *peer, const uint64_t *keys, size_t count, float *values)
{
  return run_commands(peer, keys, count, values, false);
}

static bool push_pull(void *peer, const bench_batch *push, const float *grads, const bench_batch *batch, float *values)
{
  redis *r = peer;
  (void)push;
  if (!run_commands(r, batch->keys, batch->count, values, false))
    return false;
  bench_peer_sgd(values, grads, batch->count * r->setup->dim);
  return run_commands(r, batch->keys, batch->count, values, true);
}

static bool fill(void *peer, float *values)
{
  redis *r = peer;
  uint64_t keys[CHUNK_KEYS];
  size_t chunk = r->setup->key_count_max < CHUNK_KEYS ? r->setup->key_count_max : CHUNK_KEYS;
  for (uint64_t first = 0; first < r->setup->row_count; first += chunk) {
    size_t count = r->setup->row_count - first < chunk ? (size_t)(r->setup->row_count - first) : chunk;
    for (size_t i = 0; i < count; i++) {
      keys[i] = first + i;
      bench_peer_init_row(keys[i], r->setup->dim, values + i * r->setup->dim);
    }
    if (!run_commands(r, keys, count, values, true))
      return false;
  }
  return true;
}

/* ---- its server ---- */

/* A port that is free now. If another takes it meanwhile the server does not start, and says so. */
static bool find_port(struct sockaddr_in *address)
{
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof *address;
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool ok = listener >= 0 && bind(listener, (struct sockaddr *)address, size) == 0 &&
            getsockname(listener, (struct sockaddr *)address, &size) == 0;
  if (listener >= 0)
    close(listener);
  return ok;
}

static _Noreturn void run_server(const redis *r, int report)
{
  char port[8], log[4096];
  snprintf(port, sizeof port, "%u", ntohs(r->address.sin_port));
  snprintf(log, sizeof log, "%s/redis.log", r->setup->dir);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
         "--dir", r->setup->dir, "--logfile", log, (char *)NULL);
  int error = errno;
  _exit(write(report, &error, sizeof error) < 0);
}

static bench_peer_status start_server(redis *r)
{
  int ends[2], error = 0;
  if (!find_port(&r->address) || pipe2(ends, O_CLOEXEC) != 0) {
    fail(strerror(errno));
    return BENCH_PEER_FAILED;
  }
  r->server = fork();
  if (r->server == 0)
    run_server(r, ends[1]);
  close(ends[1]);
  ssize_t size = read(ends[0], &error, sizeof error); /* nothing if it was executed */
  close(ends[0]);
  if (r->server > 0 && size == 0)
    return BENCH_PEER_OK;
  if (size > 0 && error == ENOENT)
    return BENCH_PEER_ABSENT;
  fail(strerror(size > 0 ? error : errno));
  return BENCH_PEER_FAILED;
}

static bool connect_to_server(redis *r)
{
  const struct timespec pause = {0, 10000000};
  int on = 1;
  for (int waited_ms = 0; waited_ms < START_MS; waited_ms += 10) {
    if (waitpid(r->server, NULL, WNOHANG) != 0) {
      r->server = 0;
      return fail("redis-server ended at once");
    }
    r->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(r->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(r->socket, (struct sockaddr *)&r->address, sizeof r->address) == 0)
      return true;
    close(r->socket);
    r->socket = -1;
    nanosleep(&pause, NULL);
  }
  return fail("redis-server does not answer");
}

static void close_redis(void *peer)
{
  redis *r = peer;
  if (!r)
    return;
  if (r->socket >= 0)
    close(r->socket);
  if (r->server > 0) {
    kill(r->server, SIGKILL);
    waitpid(r->server, NULL, 0);
  }
  free(r->output);
  free(r->input);
  free(r);
}

static bench_peer_status open_redis(const bench_peer_setup *setup, void **peer_p)
{
  redis *r = calloc(1, sizeof *r);
  if (!r)
    return BENCH_PEER_FAILED;
  r->setup = setup;
  r->socket = -1;
  r->output = malloc(CHUNK_KEYS * (KEY_BYTES + row_bytes(r) + 2 * LINE_BYTES_MAX));
  r->input = malloc(INPUT_BYTES);
  bench_peer_status status = r->output && r->input ? start_server(r) : BENCH_PEER_FAILED;
  if (status == BENCH_PEER_OK && !connect_to_server(r))
    status = BENCH_PEER_FAILED;
  if (status == BENCH_PEER_OK)
    *peer_p = r;
  else
    close_redis(r);
  return status;
}

static pid_t process(const void *peer)
{
  return ((const redis *)peer)->server;
}

static uint64_t disk_bytes(const void *peer)
{
  (void)peer;
  return 0;
}

const bench_peer bench_peer_redis = {
    .name = "redis",
    .absent = "redis-server is not installed",
    .open = open_redis,
    .fill = fill,
    .pull = pull,
    .push_pull = push_pull,
    .process = process,
    .disk_bytes = disk_bytes,
    .close = close_redis,
};
