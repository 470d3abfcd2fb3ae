/* Real servers on free loopback ports, clients of them, and a plain-loop oracle of what their rows hold. */
#ifndef HR_WORKER_TEST_H
#define HR_WORKER_TEST_H

#include "hr_test.h"

#include <hotrow/hotrow.h>
#include <hotrow/server.h>
#include <hr/clock.h>
#include <hr/random.h>

#define TEST_SHARDS_MAX 3u
#define TEST_LR 0.25f

typedef struct test_servers {
  hotrow_server *server;
  char endpoints[TEST_SHARDS_MAX * 64];
} test_servers;

void test_start(test_servers *servers, uint32_t shards, const char *save_dir, const char *load_path);
void test_stop(test_servers *servers);

/* Where clients keep rows: HOTROW_TEST_DEVICE, cpu or cuda. Skips the test if there is no GPU. */
hotrow_device test_device(void);

hotrow_client_options test_options(const char *endpoints, uint32_t rank, uint32_t world_size);
hotrow_client *test_open(const char *endpoints, uint32_t rank, uint32_t world_size);
hotrow_client *test_open_reader(const char *endpoints);

/* SGD with rate TEST_LR and normal initial values. */
hotrow_table_options test_table_options(const char *name, uint32_t dim);
hotrow_table *test_table(hotrow_client *client, const char *name, uint32_t dim);
/* The same with zero initial values, rate 1 and a cache: rows count steps. */
hotrow_table *test_counting_table(hotrow_client *client, const char *name, uint32_t dim, uint64_t cache_row_count,
                                  uint32_t pull_bound, uint32_t push_bound);

hotrow_lookup_request test_lookup_of(hotrow_table *table, const uint64_t *keys, size_t key_count, float *out);
hotrow_push_request test_push_of(hotrow_table *table, const uint64_t *keys, size_t key_count, const float *grads);
void test_read(hotrow_client *client, hotrow_table *table, const uint64_t *keys, size_t key_count, float *out);
void test_push(hotrow_client *client, hotrow_table *table, const uint64_t *keys, size_t key_count, const float *grads);

hotrow_client_stats test_stats(const hotrow_client *client);
uint64_t test_elapsed_ms(uint64_t since_ns);

#endif
