/* What the files of `hotrow bench memory` share. */
#ifndef HR_BENCH_MEMORY_H
#define HR_BENCH_MEMORY_H

#include <hotrow/hotrow.h>

#include "bench.h"

typedef struct memory_bench {
  const bench_memory_options *options;
  bench_batch *batches; /* owned */
  uint64_t distinct;    /* keys of all batches */
  float *values, *grads;
  char endpoint[256];
  pid_t server;
  hotrow_client *client;
  hotrow_table *table;
  uint64_t resident_max; /* of the server */
  uint64_t sum_expected;
} memory_bench;

typedef struct memory_result {
  double seconds;   /* of all batches, without the dense part */
  double *stall_ms; /* owned [batches]: until the rows of a batch were there */
  uint64_t sum;     /* over all rows at the end */
  uint64_t resident_bytes;
} memory_result;

bool bench_memory_fail(const char *what, const char *why); /* says it; false */
uint64_t bench_memory_resident(pid_t process);             /* bytes */

/* The same training by RocksDB in this process: batched MultiGet, SGD, one WriteBatch a batch. */
bool bench_memory_rocksdb(memory_bench *b, uint64_t memory_bytes, memory_result *r);

#endif
