/* Many clients that pull large replies from one shard at once: a reply's memory, which the server lends to ZeroMQ, is
 * not written again before the last byte of it has left. */
#include <pthread.h>

#include <hr/hash.h>
#include <hr/optimizer.h>

#include "worker_test.h"

#define CLIENTS 6
#define ROUNDS 12
#define KEYS 6000u
#define DIM 64u
#define SEED 11u

static test_servers servers;
static hotrow_initializer initializer;

/* The first difference between a row and what the key's row must be, or DIM. */
static uint32_t first_wrong(uint64_t key, const float *row)
{
  float expected[DIM];
  hr_init_row(&initializer, SEED, hr_table_seed("wide", 4), key, DIM, expected);
  uint32_t column = 0;
  while (column < DIM && row[column] == expected[column])
    column++;
  return column;
}

static void *pull(void *context)
{
  uint64_t first = (uint64_t)(uintptr_t)context * 1000000u;
  hotrow_client_options options = test_options(servers.endpoints, 0, 1);
  options.job = first + 1;
  hotrow_client *client;
  CHECK_OK(hotrow_client_open(&options, &client));
  hotrow_table_options wide = test_table_options("wide", DIM);
  wide.initializer = (hotrow_initializer){0};
  wide.seed = SEED;
  wide.pull_bound = wide.push_bound = 1;
  hotrow_table *table;
  CHECK_OK(hotrow_table_create(client, &wide, &table));
  uint64_t *keys = malloc(KEYS * sizeof *keys);
  float *rows = malloc((size_t)KEYS * DIM * sizeof *rows);
  CHECK(keys && rows);
  for (uint64_t round = 0; round < ROUNDS; round++) {
    for (uint32_t i = 0; i < KEYS; i++)
      keys[i] = first + round * 1000 + i;
    test_read(client, table, keys, KEYS, rows);
    for (uint32_t i = 0; i < KEYS; i++)
      CHECK_MSG(first_wrong(keys[i], rows + (size_t)i * DIM) == DIM, "key %llu has a foreign value",
                (unsigned long long)keys[i]);
  }
  free(keys);
  free(rows);
  hotrow_client_close(client);
  return NULL;
}

static void large_replies_do_not_run_into_each_other(void)
{
  CHECK_OK(hr_initializer_resolve(&(hotrow_initializer){0}, DIM, &initializer));
  test_start(&servers, 1, NULL, NULL);
  pthread_t threads[CLIENTS];
  for (uintptr_t i = 0; i < CLIENTS; i++)
    CHECK_EQ(pthread_create(&threads[i], NULL, pull, (void *)(i + 1)), 0);
  for (int i = 0; i < CLIENTS; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  test_stop(&servers);
}

int main(void)
{
  RUN(large_replies_do_not_run_into_each_other);
  return 0;
}
