/* Tables that share a cache: a job's rows are those of caches of their own and of none; bounds hold, each table's own;
 * and the memory goes to the table that is hot. */
#include "worker_test.h"

#define TABLES 3
#define WORKERS 2
#define DIM 2
#define KEYS 60
#define BATCH 12
#define STEPS 40
#define CACHE_ROWS 48

static const char *const names[TABLES] = {"a", "b", "c"};

typedef enum sharing { WITHOUT, APART, TOGETHER } sharing;

/* Keys of a call, of each table; they are the same numbers in all. */
static void draw_keys(hr_rng *rng, uint64_t keys[BATCH])
{
  for (size_t i = 0; i < BATCH; i++) {
    keys[i] = hr_rng_below(rng, 1 + hr_rng_below(rng, KEYS));
    for (size_t j = 0; j < i; j++)
      if (keys[j] == keys[i])
        keys[i] = (keys[i] + 1) % KEYS, j = (size_t)-1;
  }
}

/* Of a job; an emulated device takes its time. */
static uint32_t step_count(uint32_t steps)
{
  return test_device() == HOTROW_CPU ? steps : steps / 4;
}

/* ---- refusals */

static void what_cannot_share_is_refused_one_by_one(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1), *reader = test_open_reader(servers.endpoints);
  hotrow_table *table = test_counting_table(client, "a", DIM, CACHE_ROWS, 4, 0), *none = NULL;
  hotrow_table *bare = test_counting_table(client, "bare", DIM, 0, 4, 0), *foreign;
  hotrow_client_options elsewhere = test_options(servers.endpoints, 0, 1);
  hotrow_client *other;
  elsewhere.job = 8;
  CHECK_OK(hotrow_client_open(&elsewhere, &other));
  foreign = test_counting_table(other, "a", DIM, CACHE_ROWS, 4, 0);
#define REFUSES(change, status, words)                                                                                 \
  do {                                                                                                                 \
    hotrow_table_options o = test_table_options("b", DIM);                                                             \
    o.cache_of = table;                                                                                                \
    o.pull_bound = 4;                                                                                                  \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_table_create(client, &o, &none), status, words);                                                \
  } while (0)
  REFUSES(o.cache_of = foreign, HOTROW_ERR_INVALID, "not a table of this client");
  REFUSES(o.cache_of = bare, HOTROW_ERR_INVALID, "table bare, which has no cache");
  REFUSES(o.cache_row_count = 5, HOTROW_ERR_INVALID,
          "cache_row_count 5, must be 0: its rows are in the cache of table a");
  REFUSES(o.policy = HOTROW_POLICY_LFU, HOTROW_ERR_INVALID, "policy 2, the cache of table a has policy 0");
  REFUSES(o.push_bound = 3, HOTROW_ERR_INVALID, "push_bound 3, the cache of table a was made for push_bound 0");
  REFUSES(o.dim = DIM + 1, HOTROW_ERR_INVALID, "rows of dim 3 with state 0");
  REFUSES(o.optimizer.kind = HOTROW_ADAGRAD, HOTROW_ERR_INVALID, "in the cache of table a they have 2, 0 and 0");
  hotrow_table_options o = test_table_options("a", 0);
  o.cache_of = table;
  CHECK_FAILS(hotrow_table_open(reader, &o, &none), HOTROW_ERR_UNSUPPORTED, "cache_of NULL");
  /* Nothing of it is at the shards: a table of this name may be anything yet. */
  CHECK(!none);
  test_counting_table(client, "b", DIM + 1, 0, 0, 0);
  hotrow_client_close(other);
  hotrow_client_close(reader);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* ---- exact steps */

/* The three tables' lookup requests in calls of one, two or three, in any order. */
static void look_up(hotrow_client *client, hr_rng *rng, hotrow_lookup_request requests[TABLES])
{
  size_t first = hr_rng_below(rng, TABLES);
  hotrow_lookup_request swapped = requests[first];
  requests[first] = requests[0];
  requests[0] = swapped;
  for (size_t i = 0, count; i < TABLES; i += count) {
    count = 1 + hr_rng_below(rng, TABLES - i);
    CHECK_OK(hotrow_lookup(client, requests + i, count));
  }
}

/* Runs the job and leaves every row that it has read. looks_ahead: batches are handed over two steps early. */
static void run_exact(sharing how, bool looks_ahead, hr_rng rng, float read[STEPS][TABLES][BATCH][DIM])
{
  static uint64_t keys[STEPS][TABLES][BATCH];
  float rows[BATCH][DIM], grads[BATCH][DIM];
  test_servers servers;
  hotrow_table *tables[TABLES];
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  for (uint32_t t = 0; t < TABLES; t++) {
    hotrow_table_options o = test_table_options(names[t], DIM);
    o.optimizer = (hotrow_optimizer){.kind = HOTROW_ADAGRAD, .lr = TEST_LR * (float)(t + 1)};
    o.cache_row_count = how == APART || (how == TOGETHER && t == 0) ? CACHE_ROWS : 0;
    o.cache_of = how == TOGETHER && t > 0 ? tables[t - 1] : NULL;
    CHECK_OK(hotrow_table_create(client, &o, &tables[t]));
  }
  for (uint32_t s = 0; s < STEPS; s++)
    for (uint32_t t = 0; t < TABLES; t++)
      draw_keys(&rng, keys[s][t]);
  for (uint32_t s = 0; s < step_count(STEPS); s++) {
    hotrow_lookup_request requests[TABLES], extra;
    for (uint32_t ahead = s == 0 ? 0 : 2; looks_ahead && ahead <= 2 && s + ahead < STEPS; ahead++) {
      for (uint32_t t = 0; t < TABLES; t++)
        requests[t] = test_lookup_of(tables[t], keys[s + ahead][t], BATCH, NULL);
      CHECK_OK(hotrow_lookahead(client, requests, TABLES));
    }
    for (uint32_t t = 0; t < TABLES; t++)
      requests[t] = test_lookup_of(tables[t], keys[s][t], BATCH, read[s][t][0]);
    look_up(client, &rng, requests);
    /* One table is looked up again: the slots of the others' keys may go to its rows before their step. */
    uint32_t again = (uint32_t)hr_rng_below(&rng, TABLES);
    extra = test_lookup_of(tables[again], keys[(s + 7) % STEPS][again], BATCH, rows[0]);
    if (!looks_ahead)
      CHECK_OK(hotrow_lookup(client, &extra, 1));
    for (uint32_t t = 0; t < TABLES; t++) {
      for (size_t i = 0; i < BATCH; i++)
        for (size_t c = 0; c < DIM; c++)
          grads[i][c] = hr_rng_unit(&rng) - 0.5f;
      test_push(client, tables[t], keys[s][t], BATCH, grads[0]);
    }
    CHECK_OK(hotrow_step(client, 0));
  }
  hotrow_client_stats stats = test_stats(client);
  CHECK((stats.hits > 0) == (how != WITHOUT));
  if (looks_ahead && how != WITHOUT)
    CHECK(stats.prefetched > 0 && stats.lookahead_dropped == 0);
  hotrow_client_close(client);
  test_stop(&servers);
}

static bool same_bits(const void *a, const void *b, size_t size)
{
  return memcmp(a, b, size) == 0;
}

static void exact_rows_are_those_of_other_caches_and_of_none(void)
{
  static float without[STEPS][TABLES][BATCH][DIM], with[STEPS][TABLES][BATCH][DIM];
  hr_rng rng = {hr_test_seed(11)};
  for (int looks_ahead = 0; looks_ahead < 2; looks_ahead++) {
    run_exact(WITHOUT, looks_ahead, rng, without);
    run_exact(APART, looks_ahead, rng, with);
    CHECK(same_bits(without, with, sizeof with));
    run_exact(TOGETHER, looks_ahead, rng, with);
    CHECK(same_bits(without, with, sizeof with));
  }
}

/* ---- bounds: rows count steps, column w those of worker w */

static const struct {
  hotrow_mode mode;
  uint32_t pull_bound, push_bound;
} kinds[TABLES] = {{HOTROW_MODE_ANNOUNCE, 6, 3}, {HOTROW_MODE_PROBE, 2, 5}, {HOTROW_MODE_ANNOUNCE, 100, 0}};

typedef struct job {
  hotrow_client *clients[WORKERS];
  hotrow_table *tables[WORKERS][TABLES];
  uint32_t issued[TABLES][KEYS][WORKERS];
} job;

static void open_worker(job *j, const char *endpoints, uint32_t w)
{
  j->clients[w] = test_open(endpoints, w, WORKERS);
  for (uint32_t t = 0; t < TABLES; t++) {
    hotrow_table_options o = test_table_options(names[t], WORKERS);
    o.optimizer.lr = 1;
    o.initializer = (hotrow_initializer){.kind = HOTROW_INIT_ZERO};
    o.mode = kinds[t].mode;
    o.pull_bound = kinds[t].pull_bound;
    o.push_bound = kinds[t].push_bound;
    o.cache_row_count = t == 0 ? CACHE_ROWS : 0;
    o.cache_of = t == 0 ? NULL : j->tables[w][0];
    o.policy = HOTROW_POLICY_LRU;
    CHECK_OK(hotrow_table_create(j->clients[w], &o, &j->tables[w][t]));
  }
}

/* Own steps are all there; of the other's, what bounds allow is not, and its last push, which may be on its way, or is
 * announced HR_LINK_TICKS_MAX steps late. */
static void check_rows(const job *j, uint32_t w, uint32_t t, const uint64_t keys[BATCH], float rows[BATCH][WORKERS])
{
  float lack_max = (float)(kinds[t].pull_bound + 2 * kinds[t].push_bound + 5);
  for (size_t i = 0; i < BATCH; i++) {
    const uint32_t *issued = j->issued[t][keys[i]];
    float lack = (float)issued[1 - w] - rows[i][1 - w];
    CHECK_MSG(rows[i][w] == (float)issued[w], "table %s key %llu: reads %g own steps of %u", names[t],
              (unsigned long long)keys[i], (double)rows[i][w], issued[w]);
    CHECK_MSG(lack >= 0 && lack <= lack_max, "table %s key %llu: lacks %g of the other's steps", names[t],
              (unsigned long long)keys[i], (double)lack);
  }
}

static void step_of(job *j, uint32_t w, hr_rng *rng)
{
  uint64_t keys[TABLES][BATCH];
  float rows[TABLES][BATCH][WORKERS], grads[BATCH][WORKERS] = {{0}};
  hotrow_lookup_request requests[TABLES];
  for (size_t i = 0; i < BATCH; i++)
    grads[i][w] = -1;
  for (uint32_t t = 0; t < TABLES; t++) {
    draw_keys(rng, keys[t]);
    requests[t] = test_lookup_of(j->tables[w][t], keys[t], BATCH, rows[t][0]);
  }
  look_up(j->clients[w], rng, requests);
  for (uint32_t t = 0; t < TABLES; t++) {
    check_rows(j, w, t, keys[t], rows[t]);
    test_push(j->clients[w], j->tables[w][t], keys[t], BATCH, grads[0]);
    for (size_t i = 0; i < BATCH; i++)
      j->issued[t][keys[t][i]][w]++;
  }
  CHECK_OK(hotrow_step(j->clients[w], 0));
}

static void check_stats(const job *j, uint32_t w)
{
  uint64_t row_count = 0, evicted_dirty = 0;
  for (uint32_t t = 0; t < TABLES; t++) {
    hotrow_table_stats stats = {.struct_size = sizeof stats};
    hotrow_table_get_stats(j->tables[w][t], &stats);
    CHECK_MSG(stats.pending_max <= kinds[t].push_bound && stats.unseen_max <= kinds[t].pull_bound,
              "table %s: pending_max %llu, unseen_max %llu", names[t], (unsigned long long)stats.pending_max,
              (unsigned long long)stats.unseen_max);
    CHECK(stats.hits > 0 && stats.misses > 0 && stats.hits + stats.stale + stats.misses == stats.unique_keys);
    row_count += stats.row_count;
    evicted_dirty += stats.evicted_dirty;
  }
  CHECK(row_count <= CACHE_ROWS && row_count > CACHE_ROWS / 2 && evicted_dirty > 0);
}

static void bounds_hold_for_each_table(void)
{
  hr_rng rng = {hr_test_seed(12)};
  test_servers servers;
  job j = {0};
  test_start(&servers, 2, NULL, NULL);
  for (uint32_t w = 0; w < WORKERS; w++)
    open_worker(&j, servers.endpoints, w);
  for (uint32_t step = 0; step < step_count(100); step++)
    for (uint32_t w = 0; w < WORKERS; w++)
      step_of(&j, w, &rng);
  for (uint32_t w = 0; w < WORKERS; w++) {
    check_stats(&j, w);
    CHECK_OK(hotrow_flush(j.clients[w], 0));
  }
  hotrow_client *reader = test_open_reader(servers.endpoints);
  for (uint32_t t = 0; t < TABLES; t++) {
    hotrow_table_options o = test_table_options(names[t], 0);
    hotrow_table *table;
    CHECK_OK(hotrow_table_open(reader, &o, &table));
    for (uint64_t k = 0; k < KEYS; k++) {
      float row[WORKERS];
      test_read(reader, table, &k, 1, row);
      CHECK(row[0] == (float)j.issued[t][k][0] && row[1] == (float)j.issued[t][k][1]);
    }
  }
  hotrow_client_close(reader);
  for (uint32_t w = 0; w < WORKERS; w++)
    hotrow_client_close(j.clients[w]);
  test_stop(&servers);
}

/* ---- whose the memory is */

static uint64_t rows_held(const hotrow_table *table)
{
  hotrow_table_stats stats = {.struct_size = sizeof stats};
  hotrow_table_get_stats(table, &stats);
  return stats.row_count;
}

static void the_memory_goes_to_the_hot_table(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *hot, *cold = test_counting_table(client, "cold", 1, 64, 10, 2);
  hotrow_table_options o = test_table_options("hot", 1);
  o.cache_of = cold;
  o.pull_bound = 10;
  o.push_bound = 1;
  CHECK_OK(hotrow_table_create(client, &o, &hot));
  uint64_t keys[KEYS];
  float rows[KEYS];
  for (uint64_t i = 0; i < KEYS; i++)
    keys[i] = i;
  test_read(client, cold, keys, KEYS, rows);
  uint64_t cold_rows = rows_held(cold);
  CHECK(cold_rows > 32 && rows_held(hot) == 0);
  for (int step = 0; step < 5; step++) {
    test_read(client, hot, keys, KEYS, rows);
    test_read(client, cold, keys, 1, rows);
    CHECK_OK(hotrow_step(client, 0));
  }
  CHECK_MSG(rows_held(hot) > 32 && rows_held(cold) < 24, "%llu rows of the hot table, %llu of the other",
            (unsigned long long)rows_held(hot), (unsigned long long)rows_held(cold));
  hotrow_client_close(client);
  test_stop(&servers);
}

int main(void)
{
  RUN(what_cannot_share_is_refused_one_by_one);
  RUN(exact_rows_are_those_of_other_caches_and_of_none);
  RUN(bounds_hold_for_each_table);
  RUN(the_memory_goes_to_the_hot_table);
  return 0;
}
