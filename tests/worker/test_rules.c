/* Tables whose keys must be admitted and whose rows go for good, seen by the jobs that use them. */
#include "worker_test.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DIM 2u

static hotrow_table_options counting(uint64_t cache_row_count, uint32_t pull_bound, uint32_t push_bound)
{
  hotrow_table_options o = test_table_options("t", DIM);
  o.optimizer.lr = 1;
  o.initializer = (hotrow_initializer){HOTROW_INIT_CONSTANT, 100};
  o.cache_row_count = cache_row_count;
  o.pull_bound = pull_bound;
  o.push_bound = push_bound;
  return o;
}

static hotrow_table *create(hotrow_client *client, const hotrow_table_options *options)
{
  hotrow_table *table = NULL;
  CHECK_OK(hotrow_table_create(client, options, &table));
  return table;
}

static float read_one(hotrow_client *client, hotrow_table *table, uint64_t key)
{
  float row[DIM];
  test_read(client, table, &key, 1, row);
  return row[0];
}

static void step(hotrow_client *client, hotrow_table *table, uint64_t key, float grad)
{
  float grads[DIM] = {grad, 0};
  test_push(client, table, &key, 1, grads);
  CHECK_OK(hotrow_step(client, 0));
}

static uint64_t counter(hotrow_client *client, uint32_t shards, const char *name)
{
  uint64_t sum = 0;
  for (uint32_t s = 0; s < shards; s++) {
    char *json;
    CHECK_OK(hotrow_shard_stats(client, s, 0, &json));
    const char *at = strstr(json, name);
    CHECK(at);
    sum += strtoull(at + strlen(name) + 1, NULL, 10);
    free(json);
  }
  return sum;
}

static void what_does_not_go_together(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table_options o;
  hotrow_table *table;
#define REFUSED(change, status, words)                                                                                 \
  o = counting(0, 10, 10);                                                                                             \
  change;                                                                                                              \
  CHECK_FAILS(hotrow_table_create(client, &o, &table), status, words)
  REFUSED(o.admit_count = 65536, HOTROW_ERR_LIMIT, "table t: admit_count 65536, at most 65535");
  REFUSED(o.admit_probability = -0.5f, HOTROW_ERR_INVALID, "table t: admit_probability -0.5 is not in 0 .. 1");
  REFUSED(o.admit_probability = 1.5f, HOTROW_ERR_INVALID, "admit_probability 1.5");
  REFUSED((o.admit_count = 2, o.admit_probability = 0.5f), HOTROW_ERR_INVALID,
          "admit_count 2 and admit_probability 0.5: only one");
  REFUSED(o.steps_to_live = 1000000001, HOTROW_ERR_LIMIT, "steps_to_live 1000000001, at most 1000000000");
  REFUSED(o.l2_weight_threshold = 1, HOTROW_ERR_INVALID, "l2_weight_threshold 1 without steps_to_live");
  REFUSED((o.steps_to_live = 1, o.l2_weight_threshold = -1), HOTROW_ERR_INVALID, "l2_weight_threshold -1");
  REFUSED(o.row_count_max = (uint64_t)1 << 43, HOTROW_ERR_LIMIT, "row_count_max 8796093022208, at most 4398046511104");
  REFUSED(o.eviction = HOTROW_EVICT_LFU, HOTROW_ERR_INVALID, "eviction 1 without row_count_max");
  REFUSED((o.row_count_max = 9, o.eviction = (hotrow_eviction)7), HOTROW_ERR_INVALID, "eviction 7 is none of ours");
  REFUSED((o.cache_row_count = 16, o.mode = HOTROW_MODE_PROBE, o.steps_to_live = 5), HOTROW_ERR_INVALID,
          "table t: its rows go for good (steps_to_live), and copies of them are told so by announcements");
  REFUSED((o.cache_row_count = 16, o.mode = HOTROW_MODE_PROBE, o.row_count_max = 5), HOTROW_ERR_INVALID,
          "go for good (row_count_max)");
#undef REFUSED
  o = counting(16, 0, 0); /* exact steps ask for every copy */
  o.name = "exact";
  o.steps_to_live = 5;
  CHECK_FAILS(hotrow_table_create(client, &o, &table), HOTROW_ERR_INVALID, "or cache_row_count 0");
  o = counting(0, 0, 0);
  o.name = "exact2";
  o.row_count_max = 5;
  CHECK_FAILS(hotrow_table_create(client, &o, &table), HOTROW_ERR_INVALID,
              "table exact2: row_count_max 5 with both bounds 0");
  hotrow_client_close(client);
  test_stop(&servers);
}

static void another_rule_is_another_table(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 2), *second = test_open(servers.endpoints, 1, 2);
  hotrow_table_options o = counting(16, 10, 10);
  hotrow_table *table;
  o.admit_count = 3;
  o.steps_to_live = 100;
  create(client, &o);
  o.steps_to_live = 99;
  CHECK_FAILS(hotrow_table_create(second, &o, &table), HOTROW_ERR_EXISTS, "another steps_to_live");
  o.admit_count = 1; /* which is none */
  CHECK_FAILS(hotrow_table_create(second, &o, &table), HOTROW_ERR_EXISTS, "another admit_count");
  o = counting(16, 10, 10); /* who opens it knows its rules from the shards */
  CHECK_OK(hotrow_table_open(second, &o, &table));
  CHECK(read_one(second, table, 5) == 100);
  CHECK_EQ(counter(client, 1, "\"rows\""), 0);
  hotrow_client_close(second);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* With a cache and steps kept back: a key without a row is read as it begins, is not cached, and its gradients leave at
 * once; the same key is cached from when it has a row. */
static void what_is_not_admitted_is_not_cached(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table_options o = counting(64, 10, 10);
  o.admit_count = 3;
  hotrow_table *table = create(client, &o);
  for (uint64_t i = 1; i <= 3; i++) {
    CHECK(read_one(client, table, 5) == 100);
    step(client, table, 5, 1);
    CHECK_EQ(test_stats(client).rows_pushed, i);
  }
  CHECK_EQ(test_stats(client).hits, 0);
  CHECK(read_one(client, table, 5) == 99);
  CHECK_EQ(test_stats(client).misses, 4);
  step(client, table, 5, 1);
  CHECK(read_one(client, table, 5) == 98);
  CHECK(test_stats(client).hits == 1 && test_stats(client).rows_pushed == 3);
  uint64_t keys[] = {5, 6, 7, 8, 5}; /* rows and no rows in one lookup */
  float rows[5][DIM];
  test_read(client, table, keys, 5, rows[0]);
  for (int i = 0; i < 5; i++)
    CHECK(rows[i][0] == (keys[i] == 5 ? 98 : 100));
  CHECK_OK(hotrow_flush(client, 0));
  CHECK(counter(client, 2, "\"rows_refused\"") == 2 && counter(client, 2, "\"rows\"") == 1);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* Rows asked for ahead of time: a key without a row is passed over, and asked for by its lookup. */
static void look_ahead_brings_rows_only(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table_options o = counting(256, 10, 0);
  o.admit_count = 2;
  hotrow_table *table = create(client, &o);
  uint64_t keys[8];
  float rows[8][DIM], grads[8][DIM];
  for (uint64_t batch = 0; batch < 40; batch++) {
    for (uint64_t i = 0; i < 8; i++) {
      keys[i] = batch * 4 + i; /* each key is in two batches, one after the other */
      grads[i][0] = grads[i][1] = 1;
    }
    uint64_t next[8];
    for (uint64_t i = 0; i < 8; i++)
      next[i] = keys[i] + 4;
    hotrow_lookup_request ahead = test_lookup_of(table, batch == 0 ? keys : next, 8, NULL);
    CHECK_OK(hotrow_lookahead(client, &ahead, 1));
    ahead.keys = next;
    if (batch == 0)
      CHECK_OK(hotrow_lookahead(client, &ahead, 1));
    test_read(client, table, keys, 8, rows[0]);
    for (int i = 0; i < 8; i++)
      CHECK(rows[i][0] == 100);
    test_push(client, table, keys, 8, grads[0]);
    CHECK_OK(hotrow_step(client, 0));
  }
  CHECK_OK(hotrow_flush(client, 0));
  CHECK_EQ(counter(client, 2, "\"rows\""), 39 * 4);
  CHECK(read_one(client, table, 10) == 99);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* Two workers have copies of a row that nobody pushes to. Once it has gone neither reads its copy, although nothing was
 * pushed to it; what one of them kept back goes to the new row. */
static void copies_of_a_row_that_is_gone_are_not_read(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *clients[2];
  hotrow_table *tables[2];
  hotrow_table_options o = counting(64, 1000, 100);
  o.steps_to_live = 20;
  for (uint32_t r = 0; r < 2; r++) {
    clients[r] = test_open(servers.endpoints, r, 2);
    tables[r] = create(clients[r], &o);
  }
  step(clients[0], tables[0], 5, 40);
  CHECK_OK(hotrow_flush(clients[0], 0));
  for (uint32_t r = 0; r < 2; r++)
    CHECK(read_one(clients[r], tables[r], 5) == 60);
  step(clients[1], tables[1], 5, 8); /* which it keeps back */
  CHECK(read_one(clients[1], tables[1], 5) == 52);
  for (int i = 0; i < 40; i++)
    step(clients[0], tables[0], 6, 0);
  CHECK_OK(hotrow_flush(clients[0], 0));
  CHECK_EQ(counter(clients[0], 2, "\"rows_expired\""), 1);
  CHECK(read_one(clients[0], tables[0], 5) == 100);
  CHECK_OK(hotrow_step(clients[1], 0)); /* it hears of it with whatever it is told next */
  counter(clients[1], 2, "\"rows\"");   /* and what it is told comes in order */
  CHECK(read_one(clients[1], tables[1], 5) == 92);
  CHECK_OK(hotrow_flush(clients[1], 0));
  hotrow_client *reader = test_open_reader(servers.endpoints);
  hotrow_table_options open = HOTROW_TABLE_OPTIONS_INIT;
  hotrow_table *table;
  open.name = "t";
  CHECK_OK(hotrow_table_open(reader, &open, &table));
  CHECK(read_one(reader, table, 5) == 92);
  hotrow_client_close(reader);
  for (uint32_t r = 0; r < 2; r++)
    hotrow_client_close(clients[r]);
  test_stop(&servers);
}

static void a_table_keeps_to_its_rows(void)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table_options o = counting(64, 10, 0);
  o.row_count_max = 100;
  hotrow_table *table = create(client, &o);
  hr_rng rng = {hr_test_seed(3)};
  for (int i = 0; i < 600; i++) {
    uint64_t key = i % 2 ? hr_rng_below(&rng, 5) : hr_rng_next(&rng); /* a few again and again, the others once */
    read_one(client, table, key);
    step(client, table, key, 1);
  }
  CHECK_OK(hotrow_flush(client, 0));
  CHECK(counter(client, 2, "\"rows\"") <= 100 && counter(client, 2, "\"rows_expired\"") >= 200);
  float sum = 0;
  for (uint64_t key = 0; key < 5; key++)
    sum += 100 - read_one(client, table, key);
  CHECK_MSG(sum == 300, "%g of 300 pushes", (double)sum);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* ---- exact steps: bit for bit the same on every number of shards ---- */

#define RANKS 2u
#define KEYS 120u
#define STEPS 60u
#define BATCH 12u

/* Steps of the job on one set of servers. */
typedef struct leg {
  uint32_t shards, step_first, step_end;
  const char *data_dir, *save_dir, *load_path; /* NULL: none */
} leg;

typedef struct rank {
  const char *endpoints;
  uint32_t index;
  hotrow_table_options options;
  const leg *leg;
} rank;

static void train_step(hotrow_client *client, hotrow_table *table, uint32_t rank_index, uint32_t number)
{
  hr_rng rng = {1000 * (uint64_t)rank_index + number};
  uint64_t keys[BATCH];
  float rows[BATCH][DIM], grads[BATCH][DIM];
  for (uint32_t i = 0; i < BATCH; i++) {
    uint64_t span = 1 + hr_rng_below(&rng, KEYS);
    keys[i] = hr_rng_below(&rng, span);
  }
  test_read(client, table, keys, BATCH, rows[0]);
  for (uint32_t i = 0; i < BATCH; i++)
    for (uint32_t d = 0; d < DIM; d++)
      grads[i][d] = rows[i][d] * 0.01f + hr_rng_unit(&rng);
  test_push(client, table, keys, BATCH, grads[0]);
  CHECK_OK(hotrow_step(client, 0));
}

static void *train(void *context)
{
  const rank *r = context;
  hotrow_client *client = test_open(r->endpoints, r->index, RANKS);
  hotrow_table *table = create(client, &r->options);
  hotrow_checkpoint_options checkpoint = HOTROW_CHECKPOINT_OPTIONS_INIT;
  checkpoint.name = "half";
  for (uint32_t s = r->leg->step_first; s < r->leg->step_end; s++)
    train_step(client, table, r->index, s);
  if (r->leg->save_dir)
    CHECK_OK(hotrow_checkpoint(client, &checkpoint));
  CHECK_OK(hotrow_flush(client, 0));
  CHECK_OK(hotrow_barrier(client, 0));
  hotrow_client_close(client);
  return NULL;
}

static void start(test_servers *servers, const leg *l)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = "tcp://127.0.0.1:*";
  options.shards = l->shards;
  options.data_dir = l->data_dir;
  options.cut_interval_ms = 5;
  options.save_dir = l->save_dir;
  options.load_path = l->load_path;
  CHECK_OK(hotrow_server_start(&options, &servers->server));
  servers->endpoints[0] = 0;
  for (uint32_t i = 0; i < l->shards; i++) {
    strcat(servers->endpoints, i ? "," : "");
    strcat(servers->endpoints, hotrow_server_endpoint(servers->server, i));
  }
}

/* ---- what clocks count ---- */

static hotrow_table_options counting_occurrences(const char *name, bool counts_occurrences)
{
  hotrow_table_options o = counting(0, 10, 10);
  o.name = name;
  o.flags = counts_occurrences ? HOTROW_TABLE_COUNT_OCCURRENCES : 0;
  return o;
}

/* Of tables "steps" and "occurrences", which are there. */
static void check_counting(const char *endpoints)
{
  static const char *const names[] = {"steps", "occurrences"};
  hotrow_client *reader = test_open_reader(endpoints);
  for (int kind = 0; kind < 2; kind++) {
    hotrow_client *client = test_open(endpoints, 1, 2);
    hotrow_table_options same = counting_occurrences(names[kind], kind == 1);
    hotrow_table_options other = counting_occurrences(names[kind], kind == 0);
    hotrow_table *table;
    char words[128];
    snprintf(words, sizeof words, "table %s exists with another counts_occurrences", names[kind]);
    CHECK_FAILS(hotrow_table_create(client, &other, &table), HOTROW_ERR_EXISTS, words);
    snprintf(words, sizeof words, "table %s counts %s, and the options %s HOTROW_TABLE_COUNT_OCCURRENCES", names[kind],
             names[kind], kind == 1 ? "lack" : "have");
    CHECK_FAILS(hotrow_table_open(client, &other, &table), HOTROW_ERR_INVALID, words);
    create(client, &same);
    CHECK_OK(hotrow_table_open(reader, &other, &table)); /* who pushes nothing counts nothing */
    hotrow_client_close(client);
  }
  hotrow_client_close(reader);
}

static void steps_and_occurrences_do_not_mix(void)
{
  char save_dir[512], data_dir[512], path[600];
  test_servers servers;
  snprintf(save_dir, sizeof save_dir, "%s/counting", hr_test_tmpdir());
  snprintf(data_dir, sizeof data_dir, "%s/counting-data", hr_test_tmpdir());
  snprintf(path, sizeof path, "%s/all", save_dir);
  CHECK(mkdir(save_dir, 0777) == 0);
  leg l = {.shards = 1, .data_dir = data_dir, .save_dir = save_dir};
  start(&servers, &l);
  hotrow_client *client = test_open(servers.endpoints, 0, 2);
  hotrow_table_options steps = counting_occurrences("steps", false);
  hotrow_table_options occurrences = counting_occurrences("occurrences", true);
  create(client, &steps);
  create(client, &occurrences);
  check_counting(servers.endpoints);
  CHECK_OK(hotrow_save(client, "all", 0));
  hotrow_client_close(client);
  test_stop(&servers);
  start(&servers, &l); /* again, from its directory */
  check_counting(servers.endpoints);
  test_stop(&servers);
  start(&servers, &(leg){.shards = 2, .load_path = path});
  check_counting(servers.endpoints);
  test_stop(&servers);
}

/* What the rows are at the end of the leg, and which there are. */
static uint64_t run(const leg *l, const hotrow_table_options *options, float rows[KEYS][DIM], uint8_t *hits)
{
  test_servers servers;
  rank ranks[RANKS];
  pthread_t threads[RANKS];
  start(&servers, l);
  for (uint32_t i = 0; i < RANKS; i++) {
    ranks[i] = (rank){servers.endpoints, i, *options, l};
    CHECK_EQ(pthread_create(&threads[i], NULL, train, &ranks[i]), 0);
  }
  for (uint32_t i = 0; i < RANKS; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  hotrow_client *reader = test_open_reader(servers.endpoints);
  hotrow_table_options open = HOTROW_TABLE_OPTIONS_INIT;
  hotrow_table *table;
  uint64_t keys[KEYS];
  for (uint64_t key = 0; key < KEYS; key++)
    keys[key] = key;
  open.name = "t";
  CHECK_OK(hotrow_table_open(reader, &open, &table));
  hotrow_lookup_request request = test_lookup_of(table, keys, KEYS, rows[0]);
  request.hit_mask = hits;
  CHECK_OK(hotrow_lookup(reader, &request, 1));
  uint64_t went = counter(reader, l->shards, "\"rows_expired\"") + counter(reader, l->shards, "\"rows_refused\"");
  hotrow_client_close(reader);
  test_stop(&servers);
  return went;
}

static hotrow_table_options rules_of(int kind)
{
  hotrow_table_options o = test_table_options("t", DIM);
  o.admit_count = kind % 2 ? 3 : 0;
  o.admit_probability = kind == 2 ? 0.3f : 0;
  o.steps_to_live = kind == 1 ? 0 : 4;
  o.l2_weight_threshold = kind == 3 ? 1.5f : 0;
  o.cache_row_count = kind == 1 ? 64 : 0;
  return o;
}

static void exact_steps_give_the_same_rows_on_any_number_of_shards(void)
{
  for (int kind = 0; kind < 4; kind++) {
    const hotrow_table_options o = rules_of(kind);
    float rows[2][KEYS][DIM];
    uint8_t hits[2][(KEYS + 7) / 8];
    CHECK(run(&(leg){.shards = 1, .step_end = STEPS}, &o, rows[0], hits[0]) > 0);
    CHECK(run(&(leg){.shards = 3, .step_end = STEPS}, &o, rows[1], hits[1]) > 0);
    CHECK(memcmp(rows[0], rows[1], sizeof rows[0]) == 0 && memcmp(hits[0], hits[1], sizeof hits[0]) == 0);
    uint32_t there = 0;
    for (uint32_t key = 0; key < KEYS; key++)
      there += hits[0][key / 8] >> key % 8 & 1;
    CHECK_MSG(there > 5 && there < KEYS - 5, "kind %d: %u of the keys have rows", kind, there);
  }
}

/* How often keys have asked for a row, and how old rows are, are in a checkpoint, whichever way it is made. */
static void a_job_that_is_resumed_ends_with_the_same_rows(void)
{
  char save_dir[512], data_dir[512], path[600];
  snprintf(save_dir, sizeof save_dir, "%s/saves", hr_test_tmpdir());
  snprintf(path, sizeof path, "%s/half", save_dir);
  CHECK(mkdir(save_dir, 0777) == 0);
  for (int kind = 0; kind < 4; kind++) {
    const hotrow_table_options o = rules_of(kind);
    float rows[2][KEYS][DIM];
    uint8_t hits[2][(KEYS + 7) / 8];
    run(&(leg){.shards = 2, .step_end = STEPS}, &o, rows[0], hits[0]);
    for (uint32_t way = 0; way < (kind == 3 ? 4 : 2); way++) { /* from a database takes long */
      snprintf(data_dir, sizeof data_dir, "%s/data-%d-%u", hr_test_tmpdir(), kind, way);
      leg first = {.shards = way % 2 ? 3 : 1, .step_end = STEPS - 3, .save_dir = save_dir};
      leg second = {.shards = way % 2 ? 2 : 3, .step_first = STEPS - 3, .step_end = STEPS, .load_path = path};
      first.data_dir = way / 2 ? data_dir : NULL;
      run(&first, &o, rows[1], hits[1]);
      run(&second, &o, rows[1], hits[1]);
      CHECK_MSG(memcmp(hits[0], hits[1], sizeof hits[0]) == 0, "kind %d, way %u: other keys have rows", kind, way);
      CHECK_MSG(memcmp(rows[0], rows[1], sizeof rows[0]) == 0, "kind %d, way %u: other rows", kind, way);
    }
  }
}

int main(void)
{
  RUN(what_does_not_go_together);
  RUN(another_rule_is_another_table);
  RUN(what_is_not_admitted_is_not_cached);
  RUN(look_ahead_brings_rows_only);
  RUN(copies_of_a_row_that_is_gone_are_not_read);
  RUN(a_table_keeps_to_its_rows);
  RUN(steps_and_occurrences_do_not_mix);
  RUN(exact_steps_give_the_same_rows_on_any_number_of_shards);
  RUN(a_job_that_is_resumed_ends_with_the_same_rows);
  return 0;
}
