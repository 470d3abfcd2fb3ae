/* A shard over a real database, for the tests of the RocksDB storage: it is opened, makes cuts, dies and comes back. */
#ifndef DISK_TEST_H
#define DISK_TEST_H

#include "shard_test.h"
#include "storage_rocksdb.h"

typedef struct disk {
  const char *dir;
  hr_rocksdb *storage;
  test_shard *t;
  uint64_t epoch;
  hotrow_durability durability; /* set before disk_start, like this: */
  size_t cut_bytes_max;
} disk;

/* A directory of the test's own that is not there yet. */
const char *disk_dir(const char *name);

void disk_remove(const char *dir); /* of shard 0 of 1 */

void disk_start(disk *d, const char *dir);
void disk_start_within(disk *d, const char *dir, size_t memory_bytes); /* of the shard; 0: no bound */
void disk_die(disk *d);                                                /* what no cut has is lost */

hotrow_status disk_cut(disk *d); /* made, awaited, told to the shard */

hotrow_status disk_log(disk *d);          /* what was logged is handed over, awaited, told to the shard */
hotrow_status disk_make_durable(disk *d); /* that, or a cut: whichever the durability says */

/* Waits for all rows that a shard has asked its storage (context) for: test_shard's settle. */
void disk_settle(hr_shard *shard, void *storage);

/* Hello; c->push_seq is what the shard has of its pushes. */
uint64_t disk_greet(disk *d, test_client *c);
uint32_t disk_create(disk *d, test_client *c, const hr_table_desc *desc); /* with the cut that it waits for */
hotrow_status disk_push(disk *d, test_client *c, uint32_t table, uint64_t key, float grad);

/* All rows of a table as bytes {key, clock, floats}, in an order of their own: two tables that are equal have equal
 * ones. Free it. */
void *disk_rows(const disk *d, uint32_t table, size_t *size_p);

#endif
