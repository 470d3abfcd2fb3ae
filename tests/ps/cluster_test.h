/* Shards over real databases and a client of each, which have checkpoints made: for the tests of checkpoints that come
 * from data directories. */
#ifndef CLUSTER_TEST_H
#define CLUSTER_TEST_H

#include "shard_test.h"
#include "storage_rocksdb.h"

#define CLUSTER_SHARDS_MAX 3u
#define CLUSTER_BLOB "what the job needs"

typedef struct disk_cluster {
  uint32_t count;
  hr_rocksdb *storages[CLUSTER_SHARDS_MAX];
  test_shard *shards[CLUSTER_SHARDS_MAX];
  test_client clients[CLUSTER_SHARDS_MAX];
} disk_cluster;

/* Opens or makes the data directory; table 0 is "t", under Adagrad so that rows have state. */
void cluster_open(disk_cluster *c, uint32_t count, const char *data_dir, const char *save_dir,
                  const hr_shard_aside *aside);
/* The same, with so much memory for each shard that not all rows need fit; 0: enough. */
void cluster_open_within(disk_cluster *c, uint32_t count, const char *data_dir, const char *save_dir,
                         const hr_shard_aside *aside, size_t memory_bytes);
void cluster_close(disk_cluster *c); /* what no cut has is lost */

void cluster_push(disk_cluster *c, uint64_t first_key, uint64_t key_count, float grad);
/* Cuts under way become durable, and what follows from that is done. */
void cluster_pump(disk_cluster *c);
void cluster_cut(disk_cluster *c);

hr_checkpoint cluster_order(const char *name, uint64_t token);
hotrow_status cluster_ask(disk_cluster *c, uint32_t shard, hr_checkpoint what, uint32_t action);
hotrow_status cluster_ask_all(disk_cluster *c, hr_checkpoint what, uint32_t action);
/* All of it, as a client does it: dropped when something fails. */
hotrow_status cluster_make(disk_cluster *c, const char *name, uint64_t token, uint32_t keep);

/* All rows of table 0 of all shards {key, clock, floats}, by key. Free it. */
uint8_t *cluster_rows(test_shard *const *shards, uint32_t count, size_t *size_p);
/* The same of shards that were loaded from `path`, which may be refused. */
hotrow_status cluster_load_rows(const char *path, uint32_t count, uint8_t **rows_p, size_t *size_p);

#endif
