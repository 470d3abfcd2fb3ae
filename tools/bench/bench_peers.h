/* What a user might take instead, behind the same calls. One thread. */
#ifndef HR_BENCH_PEERS_H
#define HR_BENCH_PEERS_H

#include "bench.h"

#define BENCH_PEER_LR 0.01f

/* What every peer is opened with; outlives it. */
typedef struct bench_peer_setup {
  uint64_t row_count;
  size_t key_count_max; /* of a pull */
  const char *dir;      /* empty, and removed by who made it */
  uint32_t dim;
} bench_peer_setup;

typedef enum bench_peer_status {
  BENCH_PEER_OK = 0,
  BENCH_PEER_FAILED = 1, /* with a message on stderr */
  BENCH_PEER_ABSENT = 2  /* its program is not installed */
} bench_peer_status;

typedef struct bench_peer {
  const char *name;
  const char *absent;                                                      /* the sentence for BENCH_PEER_ABSENT */
  bench_peer_status (*open)(const bench_peer_setup *setup, void **peer_p); /* empty */
  bool (*fill)(void *peer, float *values); /* rows 0 .. row_count-1; values: room for a pull */
  bool (*pull)(void *peer, const uint64_t *keys, size_t count, float *values);
  /* One step of SGD on one batch, then the rows of the next: what updates at the client reads, changes and writes
   * back `pull`; what updates at the server is sent the gradients of `push`. */
  bool (*push_pull)(void *peer, const bench_batch *push, const float *grads, const bench_batch *pull, float *values);
  pid_t (*process)(const void *peer); /* that has the rows in its memory */
  uint64_t (*disk_bytes)(const void *peer);
  void (*close)(void *peer); /* accepts NULL */
} bench_peer;

extern const bench_peer bench_peer_hotrow, bench_peer_redis, bench_peer_rocksdb;

/* Values that do not compress, of rows that have no initializer. */
void bench_peer_init_row(uint64_t key, uint32_t dim, float *row);
void bench_peer_sgd(float *values, const float *grads, size_t count);

#endif
