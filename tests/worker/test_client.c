/* Lookups and pushes against a plain-loop oracle: one worker, no cache, SGD, so every bit is known. */
#include "worker_test.h"

#include <math.h>

#include <hr/hash.h>

#define KEYS 40
#define DIM 6
#define STRIDE 9
#define BATCH 60
#define BAGS 20

typedef struct oracle {
  uint64_t keys[KEYS];
  float rows[KEYS][DIM];
  float step[KEYS][DIM];
  bool is_in_step[KEYS];
} oracle;

static void oracle_init(oracle *o, const char *name, hr_rng *rng)
{
  hotrow_table_options options = test_table_options(name, DIM);
  for (size_t k = 0; k < KEYS; k++) {
    o->keys[k] = k == 0 ? 0 : k == 1 ? UINT64_MAX : hr_rng_next(rng);
    hr_init_row(&options.initializer, options.seed, hr_table_seed(name, strlen(name)), o->keys[k], DIM, o->rows[k]);
    o->is_in_step[k] = false;
  }
}

/* A batch: which keys, in which bags, with which weights and gradients. */
typedef struct batch {
  size_t key_count, bag_count;
  uint32_t chosen[BATCH], offsets[BAGS + 1];
  uint64_t keys[BATCH];
  float weights[BATCH], grads[BATCH * STRIDE], out[BATCH * STRIDE];
} batch;

static void choose(batch *b, const oracle *o, hr_rng *rng)
{
  b->key_count = hr_rng_below(rng, 8) ? hr_rng_below(rng, BATCH + 1) : 0;
  b->bag_count = 1 + hr_rng_below(rng, BAGS);
  for (size_t i = 0; i < b->key_count; i++) {
    b->chosen[i] = (uint32_t)hr_rng_below(rng, KEYS);
    b->keys[i] = o->keys[b->chosen[i]];
    b->weights[i] = hr_rng_unit(rng) * 4 - 2;
  }
  b->offsets[0] = 0;
  for (size_t g = 1; g <= b->bag_count; g++) /* many bags are empty */
    b->offsets[g] = b->offsets[g - 1] + (uint32_t)hr_rng_below(rng, b->key_count - b->offsets[g - 1] + 1);
  b->offsets[b->bag_count] = (uint32_t)b->key_count;
  for (size_t i = 0; i < BATCH * STRIDE; i++) {
    b->grads[i] = hr_rng_unit(rng) - 0.5f;
    b->out[i] = -77;
  }
}

static size_t bag_of(const batch *b, size_t i)
{
  size_t bag = 0;
  while (b->offsets[bag + 1] <= i)
    bag++;
  return bag;
}

static float divisor_of(const batch *b, hotrow_pooling pooling, size_t bag)
{
  float bag_size = (float)(b->offsets[bag + 1] - b->offsets[bag]);
  return pooling == HOTROW_POOL_MEAN ? bag_size : pooling == HOTROW_POOL_SQRTN ? sqrtf(bag_size) : 1.0f;
}

static void check_lookup(const batch *b, const oracle *o, hotrow_pooling pooling, const float *weights, size_t stride)
{
  size_t out_count = pooling == HOTROW_POOL_NONE ? b->key_count : b->bag_count;
  for (size_t r = 0; r < out_count; r++)
    for (size_t d = 0; d < stride; d++) {
      float expected = pooling == HOTROW_POOL_NONE && d < DIM ? o->rows[b->chosen[r]][d] : 0;
      if (pooling != HOTROW_POOL_NONE && d < DIM) {
        for (size_t i = b->offsets[r]; i < b->offsets[r + 1]; i++)
          expected += (weights ? weights[i] : 1.0f) * o->rows[b->chosen[i]][d];
        if (b->offsets[r + 1] > b->offsets[r])
          expected /= divisor_of(b, pooling, r);
      }
      expected = d < DIM ? expected : -77; /* between the rows nothing is written */
      CHECK_MSG(memcmp(&b->out[r * stride + d], &expected, sizeof expected) == 0 || expected == b->out[r * stride + d],
                "pooling %d, row %zu, column %zu: %g, expected %g", (int)pooling, r, d, (double)b->out[r * stride + d],
                (double)expected);
    }
}

/* One push: the terms of each key are summed in order; several pushes of a step are summed in order. */
static void oracle_push(oracle *o, const batch *b, hotrow_pooling pooling, const float *weights, size_t stride)
{
  float sums[KEYS][DIM];
  bool has_sum[KEYS] = {false};
  for (size_t i = 0; i < b->key_count; i++) {
    size_t bag = pooling == HOTROW_POOL_NONE ? i : bag_of(b, i), k = b->chosen[i];
    float factor = pooling == HOTROW_POOL_NONE || !weights ? 1.0f : weights[i];
    if (pooling != HOTROW_POOL_NONE)
      factor /= divisor_of(b, pooling, bag);
    for (size_t d = 0; d < DIM; d++) {
      float term = factor * b->grads[bag * stride + d];
      sums[k][d] = has_sum[k] ? sums[k][d] + term : term;
    }
    has_sum[k] = true;
  }
  for (size_t k = 0; k < KEYS; k++) {
    for (size_t d = 0; has_sum[k] && d < DIM; d++)
      o->step[k][d] = o->is_in_step[k] ? o->step[k][d] + sums[k][d] : sums[k][d];
    o->is_in_step[k] |= has_sum[k];
  }
}

static void oracle_step(oracle *o)
{
  for (size_t k = 0; k < KEYS; k++) {
    for (size_t d = 0; o->is_in_step[k] && d < DIM; d++)
      o->rows[k][d] -= TEST_LR * o->step[k][d];
    o->is_in_step[k] = false;
  }
}

#define TABLES 3

typedef struct shape {
  hotrow_pooling pooling;
  size_t stride;
  bool is_weighted;
} shape;

static hotrow_lookup_request request_of(hotrow_table *table, batch *b, const shape *s)
{
  hotrow_lookup_request r = test_lookup_of(table, b->keys, b->key_count, b->out);
  r.pooling = s->pooling;
  r.out_stride = s->stride == DIM ? 0 : s->stride;
  r.offsets = s->pooling ? b->offsets : NULL;
  r.bag_count = s->pooling ? b->bag_count : 0;
  r.weights = s->is_weighted ? b->weights : NULL;
  return r;
}

static hotrow_push_request push_of(hotrow_table *table, batch *b, const shape *s)
{
  hotrow_push_request r = test_push_of(table, b->keys, b->key_count, b->grads);
  r.pooling = s->pooling;
  r.grad_stride = s->stride == DIM ? 0 : s->stride;
  r.offsets = s->pooling ? b->offsets : NULL;
  r.bag_count = s->pooling ? b->bag_count : 0;
  r.weights = s->is_weighted ? b->weights : NULL;
  return r;
}

static shape choose_shape(hr_rng *rng)
{
  shape s = {(hotrow_pooling)hr_rng_below(rng, 4), hr_rng_below(rng, 2) ? DIM : STRIDE, false};
  s.is_weighted = s.pooling != HOTROW_POOL_NONE && hr_rng_below(rng, 2);
  return s;
}

/* Random steps over several tables; whatever is looked up, pushed and fused, the rows are the oracle's bit for bit. */
static void run_steps(uint32_t shards, hr_rng *rng)
{
  static const char *const names[TABLES] = {"a", "b", "c"};
  static oracle oracles[TABLES];
  static batch batches[TABLES], extra;
  test_servers servers;
  test_start(&servers, shards, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *tables[TABLES];
  for (size_t t = 0; t < TABLES; t++) {
    tables[t] = test_table(client, names[t], DIM);
    oracle_init(&oracles[t], names[t], rng);
  }
  bool is_fused = false;
  for (uint32_t step = 0; step < 60; step++) {
    hotrow_lookup_request lookups[TABLES];
    hotrow_push_request pushes[TABLES + 1];
    shape shapes[TABLES];
    for (size_t t = 0; t < TABLES; t++) {
      choose(&batches[t], &oracles[t], rng);
      shapes[t] = choose_shape(rng);
      lookups[t] = request_of(tables[t], &batches[t], &shapes[t]);
      pushes[t] = push_of(tables[t], &batches[t], &shapes[t]);
    }
    CHECK_OK(is_fused ? hotrow_step_lookup(client, lookups, TABLES) : hotrow_lookup(client, lookups, TABLES));
    CHECK_EQ(test_stats(client).steps, step);
    for (size_t t = 0; t < TABLES; t++) {
      check_lookup(&batches[t], &oracles[t], shapes[t].pooling, lookups[t].weights, shapes[t].stride);
      oracle_push(&oracles[t], &batches[t], shapes[t].pooling, lookups[t].weights, shapes[t].stride);
    }
    size_t again = hr_rng_below(rng, TABLES); /* this table stands twice in one call */
    shape extra_shape = choose_shape(rng);
    choose(&extra, &oracles[again], rng);
    pushes[TABLES] = push_of(tables[again], &extra, &extra_shape);
    CHECK_OK(hotrow_push(client, pushes, TABLES + 1));
    oracle_push(&oracles[again], &extra, extra_shape.pooling, pushes[TABLES].weights, extra_shape.stride);
    if (step % 3 == 0) { /* and again in a call of its own */
      CHECK_OK(hotrow_push(client, &pushes[TABLES], 1));
      oracle_push(&oracles[again], &extra, extra_shape.pooling, pushes[TABLES].weights, extra_shape.stride);
    }
    for (size_t t = 0; t < TABLES; t++)
      oracle_step(&oracles[t]);
    is_fused = hr_rng_below(rng, 2);
    if (!is_fused)
      CHECK_OK(hotrow_step(client, 0));
    if (!is_fused && step % 7 == 0)
      CHECK_OK(hotrow_flush(client, 0));
  }
  hotrow_client_close(client);
  test_stop(&servers);
}

static void rows_are_the_oracles(void)
{
  hr_rng rng = {hr_test_seed(5)};
  run_steps(1, &rng);
  run_steps(3, &rng);
}

/* The step's arrays grow between two parts of one call: the first part must survive. */
static void parts_of_one_push_survive_growth(void)
{
  enum { COUNT = 3000 };
  static uint64_t keys[COUNT];
  static float grads[COUNT], before[COUNT], after[COUNT];
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_table(client, "t", 1);
  for (size_t i = 0; i < COUNT; i++) {
    keys[i] = i * 3;
    grads[i] = (float)i;
  }
  test_read(client, table, keys, COUNT, before);
  hotrow_push_request parts[2] = {test_push_of(table, keys, 50, grads), test_push_of(table, keys, COUNT, grads)};
  CHECK_OK(hotrow_push(client, parts, 2));
  CHECK_OK(hotrow_step(client, 0));
  test_read(client, table, keys, COUNT, after);
  for (size_t i = 0; i < COUNT; i++)
    CHECK(after[i] == before[i] - TEST_LR * (i < 50 ? grads[i] + grads[i] : grads[i]));
  hotrow_client_close(client);
  test_stop(&servers);
}

/* Many rows are asked for in several messages, save in exact steps; each row goes to all places that want it. */
static void many_rows_come_in_parts(void)
{
  enum { COUNT = 9000, WIDTH = 200, OUT_STRIDE = WIDTH + 1 };
  float *out = calloc((size_t)COUNT * OUT_STRIDE, sizeof *out), *grads = calloc((size_t)COUNT * WIDTH, sizeof *grads);
  uint64_t *keys = calloc(COUNT, sizeof *keys);
  CHECK(out && grads && keys);
  for (size_t i = 0; i < COUNT; i++) {
    keys[i] = hr_mix64(i / 2 * 2 % 7000); /* twice and four times */
    grads[i * WIDTH] = 1;
  }
  for (uint32_t run = 0; run < 4; run++) {
    const uint32_t shards = run % 2 ? 3 : 1, bound = run / 2;
    test_servers servers;
    test_start(&servers, shards, NULL, NULL);
    hotrow_client *client = test_open(servers.endpoints, 0, 1);
    hotrow_table_options options = test_table_options("t", WIDTH);
    options.pull_bound = options.push_bound = bound;
    hotrow_table *table;
    CHECK_OK(hotrow_table_create(client, &options, &table));
    hotrow_lookup_request r = test_lookup_of(table, keys, COUNT, out);
    r.out_stride = OUT_STRIDE;
    for (uint32_t round = 0; round < 2; round++) {                                /* in the second behind a push */
      uint64_t before = test_stats(client).requests - test_stats(client).resends; /* a busy machine resends */
      if (round)
        test_push(client, table, keys, COUNT, grads);
      CHECK_OK(round ? hotrow_step_lookup(client, &r, 1) : hotrow_lookup(client, &r, 1));
      uint64_t requests = test_stats(client).requests - test_stats(client).resends - before;
      CHECK(bound == 0 ? requests == shards * (round + 1u) : requests >= 3);
      for (size_t i = 0; i < COUNT; i++) {
        float row[WIDTH];
        hr_init_row(&options.initializer, options.seed, hr_table_seed("t", 1), keys[i], WIDTH, row);
        size_t number = i / 2 * 2 % 7000;
        row[0] -= round ? TEST_LR * (number < 2000 ? 4.0f : 2.0f) : 0;
        CHECK_MSG(memcmp(row, out + i * OUT_STRIDE, sizeof row) == 0, "row %zu", i);
        CHECK(out[i * OUT_STRIDE + WIDTH] == 0);
      }
    }
    hotrow_client_close(client);
    test_stop(&servers);
  }
  free(out);
  free(grads);
  free(keys);
}

/* No keys at all: nothing is sent and bags are zero. */
static void lookups_of_nothing_send_nothing(void)
{
  test_servers servers;
  test_start(&servers, 3, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_table(client, "t", 2);
  uint64_t before = test_stats(client).requests;
  static const uint32_t offsets[3] = {0, 0, 0};
  float out[4] = {9, 9, 9, 9};
  hotrow_lookup_request r = test_lookup_of(table, NULL, 0, NULL);
  CHECK_OK(hotrow_lookup(client, NULL, 0));
  CHECK_OK(hotrow_lookup(client, &r, 1));
  r.pooling = HOTROW_POOL_MEAN;
  r.offsets = offsets;
  r.bag_count = 2;
  r.out = out;
  CHECK_OK(hotrow_lookup(client, &r, 1));
  CHECK(out[0] == 0 && out[1] == 0 && out[2] == 0 && out[3] == 0);
  CHECK_EQ(test_stats(client).requests, before);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* Only keys that are there have their bit, and reading creates none. */
static void readers_see_what_is_there(void)
{
  test_servers servers;
  test_start(&servers, 3, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1), *reader = test_open_reader(servers.endpoints);
  hotrow_table *table = test_table(client, "t", 2), *reader_table;
  hotrow_table_options options = test_table_options("t", 0);
  CHECK_OK(hotrow_table_open(reader, &options, &reader_table));
  uint64_t there[20], asked[41];
  float rows[41 * 2], expected[41 * 2];
  for (uint64_t i = 0; i < 20; i++)
    there[i] = i * i;
  for (uint64_t i = 0; i < 40; i++)
    asked[i] = i;
  asked[40] = 4; /* twice */
  test_read(client, table, there, 20, rows);
  for (int round = 0; round < 2; round++) { /* the second shows that the first created nothing */
    uint8_t mask[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    hotrow_lookup_request r = test_lookup_of(reader_table, asked, 41, rows);
    r.hit_mask = mask;
    CHECK_OK(hotrow_lookup(reader, &r, 1));
    for (uint64_t i = 0; i < 41; i++) {
      bool is_there = false;
      for (uint64_t j = 0; j < 20; j++)
        is_there |= j * j == asked[i];
      CHECK_EQ(mask[i / 8] >> (i % 8) & 1, is_there);
    }
    CHECK_EQ(mask[5] >> 1, 0);
  }
  test_read(client, table, asked, 41, expected); /* absent rows read as the value they would begin with */
  CHECK(memcmp(rows, expected, sizeof rows) == 0);
  hotrow_client_close(client);
  hotrow_client_close(reader);
  test_stop(&servers);
}

static void shards_give_their_counters(void)
{
  test_servers servers;
  test_start(&servers, 3, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_table(client, "counted", 2);
  uint64_t keys[300];
  static float rows[600];
  for (uint64_t i = 0; i < 300; i++)
    keys[i] = i;
  test_read(client, table, keys, 300, rows);
  unsigned row_count = 0;
  for (uint32_t shard = 0; shard < 3; shard++) {
    char *json, words[32];
    CHECK_OK(hotrow_shard_stats(client, shard, 0, &json));
    snprintf(words, sizeof words, "{\"shard\":%u,", shard);
    CHECK_MSG(strncmp(json, words, strlen(words)) == 0 && json[strlen(json) - 1] == '}', "%s", json);
    const char *rows_text = strstr(json, "\"name\":\"counted\",\"dim\":2,\"rows\":");
    CHECK_MSG(rows_text, "%s", json);
    row_count += (unsigned)atoi(strstr(rows_text, "\"rows\":") + 7);
    free(json);
  }
  CHECK_EQ(row_count, 300);
  hotrow_client_stats stats = test_stats(client);
  CHECK(stats.keys == 300 && stats.unique_keys == 300 && stats.misses == 300 && stats.hits == 0);
  CHECK(stats.bytes_sent > 300 * 8 && stats.bytes_received > 300 * 8 && stats.bytes_pull >= 300 * (8 + 4 + 8));
  hotrow_client_close(client);
  test_stop(&servers);
}

/* What a save holds is what a server of another shard count starts with. */
static void a_save_loads_at_another_shard_count(void)
{
  enum { COUNT = 500 };
  static uint64_t keys[COUNT];
  static float grads[COUNT * DIM], saved[COUNT * DIM], loaded[COUNT * DIM];
  char path[4096];
  test_servers servers;
  hr_rng rng = {hr_test_seed(9)};
  const char *dir = hr_test_tmpdir();
  test_start(&servers, 3, dir, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *table = test_table(client, "t", DIM);
  for (size_t i = 0; i < COUNT; i++)
    keys[i] = hr_rng_next(&rng);
  for (size_t i = 0; i < COUNT * DIM; i++)
    grads[i] = hr_rng_unit(&rng);
  test_push(client, table, keys, COUNT, grads);
  CHECK_OK(hotrow_step(client, 0));
  CHECK_OK(hotrow_flush(client, 0));
  test_read(client, table, keys, COUNT, saved);
  CHECK_OK(hotrow_save(client, "first", 0));
  CHECK_OK(hotrow_save(client, "first", 0)); /* again, over it */
  hotrow_client_close(client);
  test_stop(&servers);
  snprintf(path, sizeof path, "%s/first", dir);
  test_start(&servers, 2, NULL, path);
  client = test_open(servers.endpoints, 0, 1);
  hotrow_table_options options = test_table_options("t", 0);
  CHECK_OK(hotrow_table_open(client, &options, &table));
  test_read(client, table, keys, COUNT, loaded);
  CHECK(memcmp(saved, loaded, sizeof saved) == 0);
  hotrow_client_close(client);
  test_stop(&servers);
}

int main(void)
{
  RUN(rows_are_the_oracles);
  RUN(parts_of_one_push_survive_growth);
  RUN(many_rows_come_in_parts);
  RUN(lookups_of_nothing_send_nothing);
  RUN(readers_see_what_is_there);
  RUN(shards_give_their_counters);
  RUN(a_save_loads_at_another_shard_count);
  return 0;
}
