#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hr/vector.h>

#define SOCKET_BUFFER_BYTES (4 << 20)
#define PREFETCH_ROWS 32u
/* Gathered, then written: the kernel sends a slice while the next one is gathered. */
#define SLICE_BYTES ((size_t)256 << 10)
#define RAW_LR 0.01f
#define RAW_EPS 1e-8f

typedef struct raw_header {
  uint64_t push_count, pull_count;
} raw_header;

struct bench_raw {
  int socket;
  pid_t server;
  uint32_t dim;
};

static bool write_all(int socket, const void *bytes, size_t size)
{
  const char *at = bytes;
  while (size) {
    ssize_t done = send(socket, at, size, MSG_NOSIGNAL);
    if (done <= 0 && !(done < 0 && errno == EINTR))
      return false;
    at += done > 0 ? done : 0;
    size -= done > 0 ? (size_t)done : 0;
  }
  return true;
}

static bool read_all(int socket, void *bytes, size_t size)
{
  char *at = bytes;
  while (size) {
    ssize_t done = recv(socket, at, size, MSG_WAITALL);
    if (done <= 0 && !(done < 0 && errno == EINTR))
      return false;
    at += done > 0 ? done : 0;
    size -= done > 0 ? (size_t)done : 0;
  }
  return true;
}

static void tune_socket(int socket)
{
  int on = 1, size = SOCKET_BUFFER_BYTES;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static void prefetch_row(const float *rows, uint64_t key, uint32_t dim)
{
  for (uint32_t i = 0; i < dim; i += 16)
    __builtin_prefetch(rows + key * dim + i);
}

static bool send_rows(int socket, const float *rows, uint32_t dim, const uint64_t *keys, size_t count, float *slice)
{
  size_t slice_rows = SLICE_BYTES / (dim * sizeof(float));
  for (size_t first = 0; first < count; first += slice_rows) {
    size_t last = first + slice_rows < count ? first + slice_rows : count;
    for (size_t i = first; i < last; i++) {
      if (i + PREFETCH_ROWS < count)
        prefetch_row(rows, keys[i + PREFETCH_ROWS], dim);
      memcpy(slice + (i - first) * dim, rows + keys[i] * dim, dim * sizeof(float));
    }
    if (!write_all(socket, slice, (last - first) * dim * sizeof(float)))
      return false;
  }
  return true;
}

/* sums: of row-wise Adagrad; NULL: SGD. */
HR_VECTORISED static void apply(float *rows, float *sums, uint32_t dim, const uint64_t *keys, size_t count,
                                const float *grads)
{
  for (size_t i = 0; i < count; i++) {
    if (i + PREFETCH_ROWS < count) {
      prefetch_row(rows, keys[i + PREFETCH_ROWS], dim);
      if (sums)
        __builtin_prefetch(sums + keys[i + PREFETCH_ROWS]);
    }
    float *row = rows + keys[i] * dim, rate = RAW_LR;
    const float *g = grads + i * dim;
    if (sums) {
      float square = 0;
      for (uint32_t c = 0; c < dim; c++)
        square += g[c] * g[c];
      sums[keys[i]] += square / (float)dim;
      rate = RAW_LR / (sqrtf(sums[keys[i]]) + RAW_EPS);
    }
    for (uint32_t c = 0; c < dim; c++)
      row[c] -= rate * g[c];
  }
}

/* In huge pages. */
static float *map_floats(size_t count)
{
  size_t bytes = count * sizeof(float);
  float *floats = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (floats == MAP_FAILED)
    return NULL;
  madvise(floats, bytes, MADV_HUGEPAGE);
  for (size_t i = 0; i < count; i++)
    floats[i] = (float)(i % 7);
  return floats;
}

static void serve(int socket, uint64_t row_count, uint32_t dim, uint32_t optimizer, size_t key_count_max)
{
  float *rows = map_floats((size_t)row_count * dim), *sums = optimizer == 1 ? map_floats((size_t)row_count) : NULL;
  uint64_t *push_keys = malloc(key_count_max * sizeof *push_keys),
           *pull_keys = malloc(key_count_max * sizeof *pull_keys);
  float *grads = malloc(key_count_max * dim * sizeof *grads), *slice = malloc(SLICE_BYTES);
  if (!rows || (optimizer == 1 && !sums) || !push_keys || !pull_keys || !grads || !slice)
    return;
  raw_header header;
  while (read_all(socket, &header, sizeof header)) {
    if (header.push_count > key_count_max || header.pull_count > key_count_max ||
        !read_all(socket, push_keys, header.push_count * sizeof *push_keys) ||
        !read_all(socket, grads, header.push_count * dim * sizeof *grads) ||
        !read_all(socket, pull_keys, header.pull_count * sizeof *pull_keys))
      return;
    apply(rows, sums, dim, push_keys, header.push_count, grads);
    if (!send_rows(socket, rows, dim, pull_keys, header.pull_count, slice))
      return;
  }
}

bench_raw *bench_raw_open(uint64_t row_count, uint32_t dim, uint32_t optimizer, size_t key_count_max)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t address_size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bench_raw *raw = calloc(1, sizeof *raw);
  if (!raw || listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &address_size) != 0) {
    perror("hotrow bench: raw reference");
    free(raw);
    return NULL;
  }
  raw->dim = dim;
  raw->server = fork();
  if (raw->server == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int peer = accept(listener, NULL, NULL);
    tune_socket(peer);
    serve(peer, row_count, dim, optimizer, key_count_max);
    _exit(0);
  }
  raw->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  tune_socket(raw->socket);
  if (raw->server < 0 || connect(raw->socket, (struct sockaddr *)&address, sizeof address) != 0) {
    perror("hotrow bench: raw reference");
    bench_raw_close(raw);
    raw = NULL;
  }
  close(listener);
  return raw;
}

pid_t bench_raw_process(const bench_raw *raw)
{
  return raw->server;
}

void bench_raw_close(bench_raw *raw)
{
  if (!raw)
    return;
  close(raw->socket);
  if (raw->server > 0) {
    kill(raw->server, SIGKILL);
    waitpid(raw->server, NULL, 0);
  }
  free(raw);
}

bool bench_raw_pull(bench_raw *raw, const uint64_t *keys, size_t count, float *values)
{
  raw_header header = {0, count};
  return write_all(raw->socket, &header, sizeof header) && write_all(raw->socket, keys, count * sizeof *keys) &&
         read_all(raw->socket, values, count * raw->dim * sizeof *values);
}

bool bench_raw_push_pull(bench_raw *raw, const bench_batch *push, const float *grads, const bench_batch *pull,
                         float *values)
{
  raw_header header = {push->count, pull->count};
  return write_all(raw->socket, &header, sizeof header) &&
         write_all(raw->socket, push->keys, push->count * sizeof *push->keys) &&
         write_all(raw->socket, grads, push->count * raw->dim * sizeof *grads) &&
         write_all(raw->socket, pull->keys, pull->count * sizeof *pull->keys) &&
         read_all(raw->socket, values, pull->count * raw->dim * sizeof *values);
}
