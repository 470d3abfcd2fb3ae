/* The cache in the loop: own writes, bounds, evictions, look-ahead. Rows count steps: column j is worker j's. */
#include "worker_test.h"

#include <math.h>

#define WORKERS 2
#define KEYS 60
#define BATCH 12

static void own_writes_are_visible_at_once(uint32_t shards)
{
  test_servers servers;
  test_start(&servers, shards, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1), *reader = test_open_reader(servers.endpoints);
  hotrow_table *table = test_counting_table(client, "t", 1, 64, 100, 5), *reader_table;
  hotrow_table_options options = test_table_options("t", 0);
  CHECK_OK(hotrow_table_open(reader, &options, &reader_table));
  const uint64_t keys[3] = {0, UINT64_MAX, 17};
  const float grads[3] = {-1, -1, -1};
  float rows[3];
  test_read(client, table, keys, 3, rows);
  for (int step = 1; step <= 5; step++) {
    test_push(client, table, keys, 3, grads);
    CHECK_OK(hotrow_step(client, 0));
    test_read(client, table, keys, 3, rows);
    CHECK(rows[0] == (float)step && rows[1] == (float)step && rows[2] == (float)step);
    CHECK_EQ(test_stats(client).rows_pushed, 0);
    CHECK_EQ(test_stats(client).pending_max, step);
  }
  test_read(reader, reader_table, keys, 3, rows);
  CHECK(rows[0] == 0 && rows[1] == 0 && rows[2] == 0);
  CHECK_OK(hotrow_flush(client, 0));
  CHECK_EQ(test_stats(client).rows_pushed, 3);
  test_read(reader, reader_table, keys, 3, rows);
  CHECK(rows[0] == 5 && rows[1] == 5 && rows[2] == 5);
  hotrow_client_close(client);
  hotrow_client_close(reader);
  test_stop(&servers);
}

static void own_writes_are_visible(void)
{
  own_writes_are_visible_at_once(1);
  own_writes_are_visible_at_once(3);
}

/* Own pushes are part of `seen`: a worker alone never finds its copies stale. */
static void own_pushes_make_no_copy_stale(void)
{
  test_servers servers;
  test_start(&servers, 3, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_counting_table(client, "t", 1, 64, 1, 0);
  const uint64_t keys[4] = {1, 2, 3, 4};
  const float grads[4] = {-1, -1, -1, -1};
  float rows[4];
  for (int step = 0; step < 20; step++) {
    test_read(client, table, keys, 4, rows);
    CHECK(rows[0] == (float)step && rows[3] == (float)step);
    test_push(client, table, keys, 4, grads);
    CHECK_OK(hotrow_step(client, 0));
  }
  hotrow_client_stats stats = test_stats(client);
  CHECK_EQ(stats.rows_pushed, 80);
  CHECK_EQ(stats.misses, 4);
  CHECK_EQ(stats.stale, 0);
  CHECK_EQ(stats.unseen_max, 0);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* Accumulated steps bring their squares, so that Adagrad's state on the shard is exact. */
static void adagrad_is_exact_under_a_push_bound(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1), *reader = test_open_reader(servers.endpoints);
  hotrow_table_options options = test_table_options("t", 2);
  hotrow_table *table, *reader_table;
  options.optimizer = (hotrow_optimizer){.kind = HOTROW_ADAGRAD, .lr = 0.5f};
  options.initializer = (hotrow_initializer){.kind = HOTROW_INIT_ZERO};
  options.cache_row_count = 16;
  options.pull_bound = options.push_bound = 3;
  CHECK_OK(hotrow_table_create(client, &options, &table));
  options.cache_row_count = 0;
  CHECK_OK(hotrow_table_open(reader, &options, &reader_table));
  const uint64_t key = 5;
  float row[2];
  double sum[2] = {0, 0}, squares[2] = {0, 0}, own[2] = {0, 0};
  test_read(client, table, &key, 1, row);
  for (int step = 1; step <= 3; step++) {
    const float grad[2] = {0.5f * (float)step, -1.0f};
    test_push(client, table, &key, 1, grad);
    CHECK_OK(hotrow_step(client, 0));
    test_read(client, table, &key, 1, row);
    for (int d = 0; d < 2; d++) {
      sum[d] += (double)grad[d];
      squares[d] += (double)grad[d] * (double)grad[d];
      own[d] -= 0.5 * (double)grad[d] / sqrt(squares[d]);
      CHECK(fabs((double)row[d] - own[d]) < 1e-5);
    }
  }
  CHECK_OK(hotrow_flush(client, 0));
  test_read(reader, reader_table, &key, 1, row);
  for (int d = 0; d < 2; d++)
    CHECK(fabs((double)row[d] + 0.5 * sum[d] / sqrt(squares[d])) < 1e-5);
  hotrow_client_close(client);
  hotrow_client_close(reader);
  test_stop(&servers);
}

/* Shards round rows of 16 bits after a push; with both bounds 0 a worker has their bits all the same, read after own
 * steps and before. */
static void exact_copies_of_rounded_rows_have_the_shards_bits(void)
{
  enum { DIM = 5, ROWS = 20 };
  static const hotrow_dtype dtypes[] = {HOTROW_F16, HOTROW_BF16};
  uint64_t keys[ROWS];
  float rows[ROWS * DIM], truth[ROWS * DIM], grads[ROWS * DIM];
  hr_rng rng = {hr_test_seed(6)};
  for (uint64_t i = 0; i < ROWS; i++)
    keys[i] = i * i;
  for (size_t d = 0; d < 2; d++) {
    test_servers servers;
    test_start(&servers, 2, NULL, NULL);
    hotrow_client *client = test_open(servers.endpoints, 0, 1), *reader = test_open_reader(servers.endpoints);
    hotrow_table_options options = test_table_options("t", DIM);
    hotrow_table *table, *reader_table;
    options.optimizer = (hotrow_optimizer){.kind = HOTROW_ADAGRAD, .lr = 0.05f};
    options.cache_row_count = 64;
    options.storage_dtype = dtypes[d];
    CHECK_OK(hotrow_table_create(client, &options, &table));
    options.cache_row_count = 0;
    CHECK_OK(hotrow_table_open(reader, &options, &reader_table));
    for (int step = 0; step < 20; step++) {
      test_read(client, table, keys, ROWS, rows);
      test_read(reader, reader_table, keys, ROWS, truth);
      CHECK_MSG(memcmp(rows, truth, sizeof rows) == 0, "dtype %d, step %d", (int)dtypes[d], step);
      for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
        grads[i] = hr_rng_unit(&rng) - 0.5f;
      test_push(client, table, keys, ROWS / 2, grads);
      CHECK_OK(hotrow_step(client, 0));
    }
    CHECK_EQ(test_stats(client).misses, ROWS);
    CHECK_EQ(test_stats(client).stale, 19 * ROWS / 2); /* and the rest stays */
    hotrow_client_close(client);
    hotrow_client_close(reader);
    test_stop(&servers);
  }
}

typedef struct pair {
  hotrow_client *clients[WORKERS];
  hotrow_table *tables[WORKERS];
  uint32_t issued[KEYS][WORKERS];
} pair;

/* One step of one worker; own steps are all there, and of the other's at most `lack_max` are not. */
static void step_of(pair *p, uint32_t w, float lack_max, hr_rng *rng)
{
  uint64_t keys[BATCH];
  float rows[BATCH][WORKERS], grads[BATCH][WORKERS] = {{0}};
  for (size_t i = 0; i < BATCH; i++) {
    keys[i] = (hr_rng_below(rng, KEYS) + 7 * i) % KEYS;
    for (size_t j = 0; j < i; j++)
      if (keys[j] == keys[i])
        keys[i] = (keys[i] + 1) % KEYS, j = (size_t)-1;
    grads[i][w] = -1;
  }
  test_read(p->clients[w], p->tables[w], keys, BATCH, rows[0]);
  for (size_t i = 0; i < BATCH; i++) {
    const uint32_t *issued = p->issued[keys[i]];
    CHECK_MSG(rows[i][w] == (float)issued[w], "key %llu: reads %g own steps of %u", (unsigned long long)keys[i],
              (double)rows[i][w], issued[w]);
    float lack = (float)issued[1 - w] - rows[i][1 - w];
    CHECK_MSG(lack >= 0 && lack <= lack_max, "key %llu: lacks %g of the other's steps", (unsigned long long)keys[i],
              (double)lack);
  }
  test_push(p->clients[w], p->tables[w], keys, BATCH, grads[0]);
  CHECK_OK(hotrow_step(p->clients[w], 0));
  for (size_t i = 0; i < BATCH; i++)
    p->issued[keys[i]][w]++;
}

static void check_bounds(hotrow_mode mode, uint32_t cache_row_count, uint32_t pull_bound, uint32_t push_bound,
                         hr_rng *rng)
{
  test_servers servers;
  pair p = {0};
  test_start(&servers, 1, NULL, NULL);
  for (uint32_t w = 0; w < WORKERS; w++) {
    p.clients[w] = test_open(servers.endpoints, w, WORKERS);
    hotrow_table_options options = test_table_options("t", WORKERS);
    options.optimizer.lr = 1;
    options.initializer = (hotrow_initializer){.kind = HOTROW_INIT_ZERO};
    options.cache_row_count = cache_row_count;
    options.pull_bound = pull_bound;
    options.push_bound = push_bound;
    options.mode = mode;
    CHECK_OK(hotrow_table_create(p.clients[w], &options, &p.tables[w]));
  }
  /* What the bounds allow, and the other's last push, which may still be on its way. Announcements are heard at most
   * HR_LINK_TICKS_MAX steps late. */
  uint32_t late = mode == HOTROW_MODE_PROBE ? 1 : 5;
  float lack_max = (float)(pull_bound + push_bound + push_bound + late);
  for (int step = 0; step < 150; step++)
    for (uint32_t w = 0; w < WORKERS; w++)
      step_of(&p, w, lack_max, rng);
  for (uint32_t w = 0; w < WORKERS; w++) {
    hotrow_client_stats stats = test_stats(p.clients[w]);
    CHECK_MSG(stats.unseen_max <= pull_bound, "unseen_max %llu", (unsigned long long)stats.unseen_max);
    CHECK_MSG(stats.pending_max <= push_bound, "pending_max %llu", (unsigned long long)stats.pending_max);
    CHECK(stats.hits > 0 && stats.misses > 0 && stats.hits + stats.stale + stats.misses == stats.unique_keys);
    CHECK(mode == HOTROW_MODE_PROBE ? stats.announcements == 0 : stats.announcements > 0 && stats.bytes_probe == 0);
    if (cache_row_count >= KEYS) /* room for all: bounds are reached, and only they make rows travel */
      CHECK(stats.pending_max == push_bound && (pull_bound == 0 || stats.unseen_max > 0) && stats.misses <= KEYS);
    CHECK_OK(hotrow_flush(p.clients[w], 0));
  }
  hotrow_client *reader = test_open_reader(servers.endpoints);
  hotrow_table_options options = test_table_options("t", 0);
  hotrow_table *table;
  CHECK_OK(hotrow_table_open(reader, &options, &table));
  for (uint64_t k = 0; k < KEYS; k++) {
    float row[WORKERS];
    test_read(reader, table, &k, 1, row);
    CHECK(row[0] == (float)p.issued[k][0] && row[1] == (float)p.issued[k][1]);
  }
  hotrow_client_close(reader);
  for (uint32_t w = 0; w < WORKERS; w++)
    hotrow_client_close(p.clients[w]);
  test_stop(&servers);
}

static void bounds_hold_and_no_update_is_lost(void)
{
  hr_rng rng = {hr_test_seed(3)};
  for (hotrow_mode mode = HOTROW_MODE_PROBE; mode <= HOTROW_MODE_ANNOUNCE; mode++) {
    check_bounds(mode, 1024, 3, 2, &rng);
    check_bounds(mode, 1024, 0, 4, &rng);
    check_bounds(mode, 1024, 4, 0, &rng);
    check_bounds(mode, 16, 100, 100, &rng); /* one set: dirty rows are evicted all the time */
  }
}

static void rows_that_came_early_are_found(void)
{
  test_servers servers;
  test_start(&servers, 3, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_counting_table(client, "t", 1, 1024, 100, 0);
  uint64_t keys[50];
  float rows[50], grad = -1;
  for (uint64_t i = 0; i < 50; i++)
    keys[i] = i;
  hotrow_lookup_request r = test_lookup_of(table, keys, 50, rows);
  CHECK_OK(hotrow_lookahead(client, &r, 1));
  /* Key 3 is updated while its row is on its way: that row lacks the update and must not be taken. */
  test_push(client, table, keys + 3, 1, &grad);
  CHECK_OK(hotrow_step(client, 0));
  CHECK_OK(hotrow_lookup(client, &r, 1));
  for (int i = 0; i < 50; i++)
    CHECK(rows[i] == (i == 3 ? 1.0f : 0.0f));
  hotrow_client_stats stats = test_stats(client);
  /* Unless it was here before the step began: then the step updated it. */
  CHECK(stats.prefetched == 49 || stats.prefetched == 50);
  CHECK_EQ(stats.misses, 50 - stats.prefetched);
  CHECK_EQ(stats.hits, stats.prefetched);
  CHECK_OK(hotrow_lookahead(client, &r, 1)); /* all held: nothing is asked */
  CHECK_EQ(test_stats(client).requests, stats.requests);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* One exact table makes every step exact: then own pushes wait at the shard, and so must rows that come early. */
static void a_lookahead_among_exact_steps_has_own_writes(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *clients[2];
  hotrow_table *loose[2];
  for (uint32_t w = 0; w < 2; w++) {
    clients[w] = test_open(servers.endpoints, w, 2);
    test_counting_table(clients[w], "exact", 1, 0, 0, 0);
    loose[w] = test_counting_table(clients[w], "loose", 1, 64, 100, 0);
  }
  const uint64_t key = 1;
  float grad = -1, row;
  hotrow_lookup_request r = test_lookup_of(loose[0], &key, 1, &row);
  test_push(clients[0], loose[0], &key, 1, &grad);
  CHECK_OK(hotrow_step(clients[0], 0));
  CHECK_OK(hotrow_lookahead(clients[0], &r, 1));
  char *json; /* a round trip: the request is at the shard */
  CHECK_OK(hotrow_shard_stats(clients[0], 0, 0, &json));
  free(json);
  CHECK_OK(hotrow_step(clients[1], 0));
  CHECK_OK(hotrow_lookup(clients[0], &r, 1));
  CHECK(row == 1);
  hotrow_client_close(clients[0]);
  hotrow_client_close(clients[1]);
  test_stop(&servers);
}

int main(void)
{
  RUN(own_writes_are_visible);
  RUN(own_pushes_make_no_copy_stale);
  RUN(exact_copies_of_rounded_rows_have_the_shards_bits);
  RUN(adagrad_is_exact_under_a_push_bound);
  RUN(bounds_hold_and_no_update_is_lost);
  RUN(rows_that_came_early_are_found);
  RUN(a_lookahead_among_exact_steps_has_own_writes);
  return 0;
}
