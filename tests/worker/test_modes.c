/* Clients and shards in one process, over the transport seam: every message is answered before send returns, so what
 * comes out is exact. Modes, dtypes, segments, look-ahead, presets, counters, who watches. */
#include "worker_test.h"

#include <math.h>

#define CLIENTS 2u
#define SHARDS 2u

typedef struct kept_message {
  struct kept_message *next;
  uint32_t shard;
  size_t frame_count;
  hotrow_frame frames[]; /* data owned */
} kept_message;

typedef struct party {
  struct cluster *cluster;
  uint32_t index;
  kept_message *oldest, *newest, *handed_out;
  hotrow_client *client;
} party;

typedef struct cluster {
  hotrow_shard *shards[SHARDS];
  uint32_t shard_in_hand;
  party parties[CLIENTS];
} cluster;

static void free_message(kept_message *message)
{
  for (size_t i = 0; message && i < message->frame_count; i++)
    free((void *)(uintptr_t)message->frames[i].data);
  free(message);
}

static void on_reply(void *context, uint64_t client, const hotrow_frame *frames, size_t frame_count)
{
  cluster *c = context;
  party *to = &c->parties[client];
  kept_message *message = calloc(1, sizeof *message + frame_count * sizeof *frames);
  CHECK(message);
  message->shard = c->shard_in_hand;
  message->frame_count = frame_count;
  for (size_t i = 0; i < frame_count; i++) {
    void *copy = malloc(frames[i].size + 1);
    CHECK(copy);
    if (frames[i].size)
      memcpy(copy, frames[i].data, frames[i].size);
    message->frames[i] = (hotrow_frame){copy, frames[i].size};
  }
  if (to->newest)
    to->newest->next = message;
  else
    to->oldest = message;
  to->newest = message;
}

static void send_to_shard(void *context, uint32_t shard, const hotrow_frame *frames, size_t frame_count)
{
  party *from = context;
  from->cluster->shard_in_hand = shard;
  hotrow_shard_receive(from->cluster->shards[shard], from->index, frames, frame_count, 1);
}

static bool receive(void *context, uint64_t timeout_ns, uint32_t *shard_p, const hotrow_frame **frames_p,
                    size_t *frame_count_p)
{
  party *p = context;
  (void)timeout_ns;
  free_message(p->handed_out);
  p->handed_out = p->oldest;
  if (!p->oldest)
    return false;
  p->oldest = p->oldest->next;
  if (!p->oldest)
    p->newest = NULL;
  *shard_p = p->handed_out->shard;
  *frames_p = p->handed_out->frames;
  *frame_count_p = p->handed_out->frame_count;
  return true;
}

static void start(cluster *c)
{
  memset(c, 0, sizeof *c);
  for (uint32_t s = 0; s < SHARDS; s++) {
    hotrow_shard_options options = HOTROW_SHARD_OPTIONS_INIT;
    options.shard_index = s;
    options.shard_count = SHARDS;
    options.reply = on_reply;
    options.context = c;
    CHECK_OK(hotrow_shard_open(&options, &c->shards[s]));
  }
}

static hotrow_client *open_client(cluster *c, uint32_t index, bool is_reader, hotrow_observe_fn observe, void *context)
{
  party *p = &c->parties[index];
  hotrow_transport transport = {.context = p, .send = send_to_shard, .receive = receive};
  hotrow_client_options options = test_options("shard-0,shard-1", is_reader ? 0 : index, is_reader ? 1 : CLIENTS);
  *p = (party){.cluster = c, .index = index};
  options.transport = &transport;
  options.read_only = is_reader;
  options.observe = observe;
  options.observe_context = context;
  CHECK_OK(hotrow_client_open(&options, &p->client));
  return p->client;
}

static void close_client(cluster *c, uint32_t index)
{
  party *p = &c->parties[index];
  hotrow_client_close(p->client);
  for (uint32_t shard; receive(p, 0, &shard, &(const hotrow_frame *){NULL}, &(size_t){0});)
    ;
  p->client = NULL;
}

static void stop(cluster *c)
{
  for (uint32_t i = 0; i < CLIENTS; i++)
    if (c->parties[i].client)
      close_client(c, i);
  for (uint32_t s = 0; s < SHARDS; s++)
    hotrow_shard_close(c->shards[s]);
}

/* Rows count steps: zero at first, rate 1. */
static hotrow_table_options counting(uint32_t dim, uint64_t cache_row_count, uint32_t pull_bound, uint32_t push_bound)
{
  hotrow_table_options options = test_table_options("t", dim);
  options.optimizer.lr = 1;
  options.initializer = (hotrow_initializer){.kind = HOTROW_INIT_ZERO};
  options.cache_row_count = cache_row_count;
  options.pull_bound = pull_bound;
  options.push_bound = push_bound;
  return options;
}

static hotrow_table *create(hotrow_client *client, const hotrow_table_options *options)
{
  hotrow_table *table;
  CHECK_OK(hotrow_table_create(client, options, &table));
  return table;
}

static void push_step(hotrow_client *client, hotrow_table *table, const uint64_t *keys, size_t count,
                      const float *grads)
{
  test_push(client, table, keys, count, grads);
  CHECK_OK(hotrow_step(client, 0));
}

static hotrow_table_stats table_stats(const hotrow_table *table)
{
  hotrow_table_stats stats = HOTROW_TABLE_STATS_INIT;
  hotrow_table_get_stats(table, &stats);
  return stats;
}

/* What does a reader in full precision see? Takes the place of client 1. */
static void read_truth(cluster *c, const uint64_t *keys, size_t count, float *rows)
{
  hotrow_table_options options = HOTROW_TABLE_OPTIONS_INIT;
  hotrow_table *table;
  hotrow_client *reader = open_client(c, 1, true, NULL, NULL);
  options.name = "t";
  CHECK_OK(hotrow_table_open(reader, &options, &table));
  test_read(reader, table, keys, count, rows);
  close_client(c, 1);
}

/* ---- bounds ---- */

#define KEYS 24u
#define BATCH 8u

static void check_sums(hotrow_client *client, const hotrow_table *table)
{
  for (uint32_t shard = 0; shard < SHARDS; shard++) { /* rows of a coming batch may be on their way: they are first */
    char *json;
    CHECK_OK(hotrow_shard_stats(client, shard, 0, &json));
    free(json);
  }
  hotrow_client_stats s = test_stats(client);
  hotrow_table_stats t = table_stats(table);
  uint64_t buckets = 0;
  CHECK_EQ(s.bytes_miss + s.bytes_stale + s.bytes_probe + s.bytes_push + s.bytes_announce + s.bytes_overhead,
           s.bytes_sent + s.bytes_received);
  CHECK_EQ(s.bytes_pull, s.bytes_miss + s.bytes_stale + s.bytes_probe);
  CHECK_EQ(s.hits + s.stale + s.misses, s.unique_keys);
  CHECK(s.bytes_overhead > s.requests * 128);
  CHECK(t.hits == s.hits && t.stale == s.stale && t.misses == s.misses && t.keys == s.keys);
  CHECK(t.bytes_announce == s.bytes_announce && t.rows_pushed == s.rows_pushed);
  if (s.resends == 0) { /* a machine that stood still for a second has some */
    CHECK(t.bytes_miss == s.bytes_miss && t.bytes_stale == s.bytes_stale);
    CHECK(t.bytes_probe == s.bytes_probe && t.bytes_push == s.bytes_push);
  }
  for (uint32_t b = 0; b < HOTROW_UNSEEN_BUCKETS; b++)
    buckets += s.unseen_counts[b];
  /* Announce mode counts what was fresh when the lookup began; some of it was told to be too old meanwhile. */
  CHECK(buckets >= s.hits && buckets <= s.hits + s.stale);
}

static void run_bounds(hotrow_mode mode, uint32_t pull_bound, uint32_t push_bound, uint32_t announce_step,
                       uint32_t ahead, hr_rng *rng)
{
  cluster c;
  hotrow_table *tables[CLIENTS];
  uint32_t issued[KEYS][CLIENTS] = {{0}};
  uint64_t queue[CLIENTS][8][BATCH];
  uint32_t queued[CLIENTS] = {0};
  start(&c);
  for (uint32_t w = 0; w < CLIENTS; w++) {
    hotrow_table_options options = counting(CLIENTS, 1024, pull_bound, push_bound);
    options.mode = mode;
    options.announce_step = announce_step;
    tables[w] = create(open_client(&c, w, false, NULL, NULL), &options);
  }
  /* A worker knows what was true when its own step ended; since then the other has made one. */
  float lack_max = (float)(pull_bound + push_bound + push_bound + 1), lack_seen = 0;
  for (uint32_t step = 0; step < 300; step++) {
    uint32_t w = step % CLIENTS;
    hotrow_client *client = c.parties[w].client;
    float rows[BATCH][CLIENTS], grads[BATCH][CLIENTS] = {{0}};
    while (queued[w] <= ahead) {
      uint64_t *keys = queue[w][queued[w]++], first = hr_rng_below(rng, KEYS);
      for (uint32_t i = 0; i < BATCH; i++)
        keys[i] = (first + i * i) % KEYS == first && i ? (first + i + 1) % KEYS : (first + i * (i + 1) / 2) % KEYS;
      hotrow_lookup_request r = test_lookup_of(tables[w], keys, BATCH, NULL);
      if (ahead)
        CHECK_OK(hotrow_lookahead(client, &r, 1));
    }
    uint64_t keys[BATCH];
    memcpy(keys, queue[w][0], sizeof keys);
    memmove(queue[w][0], queue[w][1], sizeof queue[w] - sizeof queue[w][0]);
    queued[w]--;
    test_read(client, tables[w], keys, BATCH, rows[0]);
    bool counted[KEYS] = {false};
    for (uint32_t i = 0; i < BATCH; i++) {
      const uint32_t *made = issued[keys[i]];
      CHECK_MSG(rows[i][w] == (float)made[w], "reads %g own steps of %u", (double)rows[i][w], made[w]);
      float lack = (float)made[1 - w] - rows[i][1 - w];
      CHECK_MSG(lack >= 0 && lack <= lack_max, "lacks %g of the other's steps, at most %g", (double)lack,
                (double)lack_max);
      lack_seen = lack > lack_seen ? lack : lack_seen;
      grads[i][w] = counted[keys[i]] ? 0 : -1;
      counted[keys[i]] = true;
    }
    push_step(client, tables[w], keys, BATCH, grads[0]);
    for (uint32_t k = 0; k < KEYS; k++)
      issued[k][w] += counted[k];
  }
  for (uint32_t w = 0; w < CLIENTS; w++) {
    hotrow_client_stats s = test_stats(c.parties[w].client);
    CHECK(s.unseen_max <= pull_bound && s.pending_max <= push_bound && s.hits > 0 && s.stale > 0);
    CHECK(mode == HOTROW_MODE_PROBE ? s.announcements == 0 && s.ticks == 0 && s.bytes_probe > 0
                                    : s.announcements > 0 && s.bytes_announce >= 12 && s.bytes_probe == 0);
    CHECK_EQ(s.lookahead_dropped, 0);
    CHECK(!ahead || (s.prefetched > 0 && s.lookahead_hits > 0));
    check_sums(c.parties[w].client, tables[w]);
    CHECK_OK(hotrow_flush(c.parties[w].client, 0));
  }
  CHECK(lack_seen > 0);
  close_client(&c, 1);
  uint64_t keys[KEYS];
  float rows[KEYS][CLIENTS];
  for (uint32_t k = 0; k < KEYS; k++)
    keys[k] = k;
  read_truth(&c, keys, KEYS, rows[0]);
  for (uint32_t k = 0; k < KEYS; k++)
    CHECK(rows[k][0] == (float)issued[k][0] && rows[k][1] == (float)issued[k][1]);
  stop(&c);
}

static void bounds_are_kept_in_both_modes(void)
{
  hr_rng rng = {hr_test_seed(5)};
  run_bounds(HOTROW_MODE_PROBE, 4, 2, 0, 0, &rng);
  run_bounds(HOTROW_MODE_PROBE, 4, 2, 0, 3, &rng);
  run_bounds(HOTROW_MODE_ANNOUNCE, 4, 2, 0, 0, &rng);
  run_bounds(HOTROW_MODE_ANNOUNCE, 4, 2, 5, 0, &rng);
  run_bounds(HOTROW_MODE_DEFAULT, 6, 0, 3, 0, &rng);
  run_bounds(HOTROW_MODE_DEFAULT, 0, 3, 1, 0, &rng);
  run_bounds(HOTROW_MODE_ANNOUNCE, 6, 2, 2, 1, &rng);
  run_bounds(HOTROW_MODE_ANNOUNCE, 6, 2, 2, 5, &rng);
}

/* In announce mode a batch that is all fresh costs no message, and a step tells the shards that it has nothing for. */
static void fresh_rows_cost_nothing(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  hotrow_table_options options = counting(1, 64, 100, 100);
  hotrow_table *table = create(client, &options);
  const uint64_t keys[4] = {1, 2, 3, 4};
  const float grads[4] = {-1, -1, -1, -1};
  float rows[4];
  test_read(client, table, keys, 4, rows);
  uint64_t requests = test_stats(client).requests;
  for (int i = 0; i < 5; i++) {
    test_read(client, table, keys, 4, rows);
    CHECK(rows[0] == (float)i);
    CHECK_EQ(test_stats(client).requests, requests + SHARDS * (uint64_t)i);
    push_step(client, table, keys, 4, grads);
  }
  CHECK_EQ(test_stats(client).ticks, 5 * SHARDS);
  stop(&c);
}

/* ---- what travels ---- */

static void gradients_are_whole_whatever_the_dtype(void)
{
  static const hotrow_dtype dtypes[] = {HOTROW_F32, HOTROW_F16, HOTROW_I8};
  hr_rng rng = {hr_test_seed(6)};
  for (size_t d = 0; d < 3; d++) {
    cluster c;
    start(&c);
    hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
    hotrow_table_options options = counting(4, 64, 100, 3);
    options.wire_dtype = dtypes[d];
    hotrow_table *table = create(client, &options);
    const uint64_t keys[3] = {7, 8, 9};
    double sums[12] = {0};
    float rows[12], truth[12];
    for (int step = 0; step < 50; step++) {
      float grads[12];
      test_read(client, table, keys, 3, rows);
      for (int i = 0; i < 12; i++) {
        CHECK_MSG(fabs((double)rows[i] - sums[i]) < 1e-3, "reads %g, own steps come to %g", (double)rows[i], sums[i]);
        grads[i] = hr_rng_unit(&rng) - 0.3f;
        sums[i] -= (double)grads[i];
      }
      push_step(client, table, keys, 3, grads);
    }
    CHECK_OK(hotrow_flush(client, 0));
    read_truth(&c, keys, 3, truth);
    for (int i = 0; i < 12; i++)
      CHECK_MSG(fabs((double)truth[i] - sums[i]) < 1e-4, "dtype %zu: %g of %g arrived", d, (double)truth[i], sums[i]);
    /* Another worker pulls in this dtype: within what it can say. */
    hotrow_client *other = open_client(&c, 1, false, NULL, NULL);
    hotrow_table *other_table = create(other, &options);
    test_read(other, other_table, keys, 3, rows);
    for (int i = 0; i < 12; i++) {
      double scale = 0;
      for (int j = i / 4 * 4; j < i / 4 * 4 + 4; j++)
        scale = fmax(scale, fabs(sums[j]));
      double allowed = d == 0 ? 1e-4 : d == 1 ? scale / 1024 : scale / 200;
      CHECK_MSG(fabs((double)rows[i] - sums[i]) <= allowed, "dtype %zu: %g of %g", d, (double)rows[i], sums[i]);
    }
    uint64_t row_bytes = d == 0 ? 16 : d == 1 ? 8 : 8; /* 4 floats; 4 halves; 4 bytes and a scale */
    CHECK_EQ(table_stats(other_table).bytes_miss, 3 * (8 + 4 + row_bytes));
    check_sums(other, other_table);
    stop(&c);
  }
}

static void segments_have_their_own_rates_and_values(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  const hotrow_segment segments[2] = {{1, {.kind = HOTROW_SGD, .lr = 1}, {HOTROW_INIT_CONSTANT, 3}},
                                      {2, {.kind = HOTROW_ADAGRAD, .lr = 0.5f}, {HOTROW_INIT_CONSTANT, 7}}};
  hotrow_table_options options = counting(0, 64, 100, 2);
  options.segments = segments;
  options.segment_count = 2;
  hotrow_table *table = create(client, &options);
  CHECK_EQ(hotrow_table_dim(table), 3);
  const uint64_t key = 5;
  const float grad[3] = {0.5f, 2, -4};
  float row[3], expected[3] = {2.5f, 6.5f, 7.5f}; /* Adagrad's first step is its rate */
  test_read(client, table, &key, 1, row);
  CHECK(row[0] == 3 && row[1] == 7 && row[2] == 7);
  push_step(client, table, &key, 1, grad);
  for (int i = 0; i < 2; i++) {
    if (i == 0)
      test_read(client, table, &key, 1, row); /* own copy */
    else
      read_truth(&c, &key, 1, row);
    for (int d = 0; d < 3; d++)
      CHECK(fabsf(row[d] - expected[d]) < 1e-5f);
    CHECK_OK(hotrow_flush(client, 0));
  }
  stop(&c);
}

static void the_rate_is_scaled_for_pushes_that_leave_from_the_next_step_on(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  hotrow_table_options options = counting(1, 64, 100, 0);
  hotrow_table *table = create(client, &options);
  const uint64_t key = 5;
  const float grad = -8;
  float row;
  test_read(client, table, &key, 1, &row);
  test_push(client, table, &key, 1, &grad);
  CHECK_OK(hotrow_table_set_lr_scale(table, 0.25f));
  CHECK_OK(hotrow_step(client, 0));
  for (int i = 0; i < 2; i++) {
    test_read(client, table, &key, 1, &row);
    CHECK(row == 2);
    CHECK_OK(hotrow_flush(client, 0));
    read_truth(&c, &key, 1, &row);
    CHECK(row == 2);
  }
  CHECK_OK(hotrow_table_set_lr_scale(table, 0));
  push_step(client, table, &key, 1, &grad);
  read_truth(&c, &key, 1, &row);
  CHECK(row == 2);
  CHECK_FAILS(hotrow_table_set_lr_scale(table, -1), HOTROW_ERR_INVALID, "lr_scale -1");
  CHECK_FAILS(hotrow_table_set_lr_scale(table, NAN), HOTROW_ERR_INVALID, "lr_scale nan");
  CHECK_FAILS(hotrow_table_set_lr_scale(table, INFINITY), HOTROW_ERR_INVALID, "lr_scale inf");
  CHECK_FAILS(hotrow_table_set_lr_scale(NULL, 1), HOTROW_ERR_INVALID, "NULL");
  stop(&c);
}

/* ---- look-ahead ---- */

static void rows_of_coming_batches_are_there_when_they_are_needed(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  hotrow_table_options options = counting(1, 64, 100, 0);
  hotrow_table *table = create(client, &options);
  float rows[4];
  hotrow_lookup_request r = test_lookup_of(table, NULL, 4, rows);
  for (uint64_t batch = 0; batch < HOTROW_LOOKAHEAD_MAX; batch++) {
    const uint64_t keys[4] = {batch, batch + 1, batch + 2, 1000 + batch};
    r.keys = keys;
    CHECK_OK(hotrow_lookahead(client, &r, 1));
  }
  CHECK_FAILS(hotrow_lookahead(client, &r, 1), HOTROW_ERR_LIMIT, "256 batches");
  for (uint64_t batch = 0; batch < HOTROW_LOOKAHEAD_MAX; batch++) {
    const uint64_t keys[4] = {1000 + batch, batch, batch + 1, batch + 2}; /* the order within a batch is free */
    const float grads[4] = {-1, -1, -1, -1};
    r.keys = keys;
    CHECK_OK(hotrow_lookup(client, &r, 1));
    CHECK(rows[0] == 0 && rows[1] == (batch < 2 ? (float)batch : 2.0f) && rows[3] == 0);
    push_step(client, table, keys, 4, grads);
  }
  hotrow_client_stats s = test_stats(client);
  CHECK_EQ(s.misses, 0);
  CHECK_EQ(s.prefetched, 2 * HOTROW_LOOKAHEAD_MAX + 2);
  CHECK_EQ(s.lookahead_hits, s.prefetched);
  CHECK_EQ(s.lookahead_dropped, 0);
  stop(&c);
}

static void other_keys_than_those_handed_over_drop_the_window(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  hotrow_table_options options = counting(1, 64, 100, 0);
  hotrow_table *table = create(client, &options);
  float row;
  uint64_t keys[5] = {1, 2, 3, 4, 5};
  for (int i = 0; i < 4; i++) {
    hotrow_lookup_request r = test_lookup_of(table, keys + i, 1, NULL);
    CHECK_OK(hotrow_lookahead(client, &r, 1));
  }
  test_read(client, table, keys + 4, 1, &row);
  CHECK_EQ(test_stats(client).lookahead_dropped, 4);
  test_read(client, table, keys, 1, &row); /* it came all the same */
  CHECK(test_stats(client).misses == 1 && test_stats(client).hits == 1);
  hotrow_lookup_request r = test_lookup_of(table, keys, 1, NULL);
  CHECK_OK(hotrow_lookahead(client, &r, 1)); /* a new window */
  test_read(client, table, keys, 1, &row);
  CHECK_EQ(test_stats(client).lookahead_dropped, 4);
  stop(&c);
}

/* ---- presets and watchers ---- */

static void presets_set_the_staleness_fields_only(void)
{
  hotrow_table_options o = HOTROW_TABLE_OPTIONS_INIT;
  o.name = "kept";
  o.cache_row_count = 77;
  hotrow_table_options_preset(&o, HOTROW_PRESET_BOUNDED);
  CHECK(o.mode == HOTROW_MODE_ANNOUNCE && o.pull_bound == 150 && o.push_bound == 70 && o.announce_step == 71);
  CHECK(o.policy == HOTROW_POLICY_W_TINY_LFU && o.wire_dtype == HOTROW_I8);
  CHECK(o.flags == HOTROW_TABLE_COUNT_OCCURRENCES);
  const hotrow_segment segments[2] = {{.dim = 1}, {.dim = 1, .optimizer = {.kind = HOTROW_ADAM}}};
  o.segments = segments; /* Adam takes the steps of a push one by one: they are what is counted */
  o.segment_count = 2;
  hotrow_table_options_preset(&o, HOTROW_PRESET_BOUNDED);
  CHECK(o.pull_bound == 10 && o.push_bound == 3 && o.announce_step == 4 && o.flags == 0);
  o.segment_count = 1;
  hotrow_table_options_preset(&o, HOTROW_PRESET_BOUNDED);
  CHECK(o.pull_bound == 150);
  o.segment_count = 0;
  o.optimizer.kind = HOTROW_MOMENTUM;
  hotrow_table_options_preset(&o, HOTROW_PRESET_BOUNDED);
  CHECK(o.pull_bound == 10 && o.flags == 0);
  hotrow_table_options_preset(&o, HOTROW_PRESET_HET_COMPAT);
  CHECK(o.mode == HOTROW_MODE_PROBE && o.pull_bound == 100 && o.push_bound == 100 && o.announce_step == 0);
  CHECK(o.policy == HOTROW_POLICY_LIGHT_LFU && o.wire_dtype == HOTROW_F32 && o.flags == 3);
  hotrow_table_options_preset(&o, HOTROW_PRESET_EXACT);
  CHECK(o.pull_bound == 0 && o.push_bound == 0 && o.policy == HOTROW_POLICY_LRU && o.flags == 0);
  CHECK(o.cache_row_count == 77 && strcmp(o.name, "kept") == 0);
}

typedef struct seen_events {
  uint64_t counts[4], numbers[4]; /* sums */
} seen_events;

static void watch(void *context, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                  const uint32_t *numbers, size_t count)
{
  seen_events *seen = context;
  CHECK(table && keys && count > 0 && (event == HOTROW_EVENT_HIT) == !numbers);
  seen->counts[event] += count;
  for (size_t i = 0; numbers && i < count; i++)
    seen->numbers[event] += numbers[i];
}

static void het_counts_occurrences_and_sends_wide_clocks(void)
{
  cluster c;
  seen_events seen[CLIENTS] = {{{0}, {0}}};
  hotrow_table *tables[CLIENTS];
  start(&c);
  for (uint32_t w = 0; w < CLIENTS; w++) {
    hotrow_table_options options = counting(1, 64, 0, 0);
    hotrow_table_options_preset(&options, HOTROW_PRESET_HET_COMPAT);
    tables[w] = create(open_client(&c, w, false, watch, &seen[w]), &options);
  }
  hotrow_client *a = c.parties[0].client, *b = c.parties[1].client;
  const uint64_t keys[4] = {1, 1, 1, 2};
  const float grads[4] = {-1, -1, -1, -1};
  float rows[4];
  test_read(a, tables[0], keys, 4, rows);
  /* 2 keys with a clock each way: 16 bytes to the shard, 8 of clock and 4 of value back. */
  CHECK_EQ(table_stats(tables[0]).bytes_miss, 2 * (16 + 12));
  test_push(a, tables[0], keys, 4, grads);
  test_push(a, tables[0], keys, 2, grads); /* a second part: 5 occurrences of key 1 in the step */
  CHECK_OK(hotrow_step(a, 0));
  CHECK_OK(hotrow_flush(a, 0));
  CHECK_EQ(seen[0].numbers[HOTROW_EVENT_PUSH], 6);
  test_read(b, tables[1], keys, 4, rows);
  CHECK(rows[0] == 5 && rows[3] == 1);
  CHECK(seen[1].counts[HOTROW_EVENT_MISS] == 2 && seen[1].numbers[HOTROW_EVENT_MISS] == 6); /* clocks 5 and 1 */
  test_read(b, tables[1], keys, 4, rows);
  CHECK_EQ(seen[1].counts[HOTROW_EVENT_HIT], 2);
  CHECK_EQ(table_stats(tables[1]).bytes_probe, 2 * 16);
  for (int i = 0; i < 101; i++) /* 101 steps of key 2: copies lack more than the bound */
    push_step(a, tables[0], keys + 3, 1, grads);
  CHECK_OK(hotrow_flush(a, 0));
  test_read(b, tables[1], keys, 4, rows);
  CHECK(rows[3] == 102 && seen[1].counts[HOTROW_EVENT_STALE] == 1 && seen[1].numbers[HOTROW_EVENT_STALE] == 102);
  CHECK(seen[1].counts[HOTROW_EVENT_HIT] == 3 && test_stats(b).stale == 1 && test_stats(b).hits == 3);
  test_read(b, tables[1], keys, 4, rows); /* the clock that came is the one that is sent */
  CHECK(test_stats(b).stale == 1 && test_stats(b).hits == 5);
  stop(&c);
}

/* A step that counts more than once is still one step: Adagrad moves by lr whatever its first gradient is. */
static void occurrences_leave_adagrad_as_it_is(void)
{
  static const hotrow_optimizer_kind kinds[] = {HOTROW_ADAGRAD, HOTROW_ROWWISE_ADAGRAD};
  const uint64_t keys[4] = {1, 1, 1, 2};
  const float grads[4] = {-1, -1, -1, -1};
  for (int run = 0; run < 12; run++) {
    cluster c;
    start(&c);
    hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
    hotrow_table_options options = counting(1, run % 3 ? 64 : 0, 50, run % 3 == 2 ? 20 : 0);
    options.optimizer.kind = kinds[run / 3 % 2];
    options.flags = HOTROW_TABLE_COUNT_OCCURRENCES;
    options.mode = run / 6 ? HOTROW_MODE_ANNOUNCE : HOTROW_MODE_PROBE;
    hotrow_table *table = create(client, &options);
    float rows[4], expected = 0, state = 0;
    for (int step = 0; step < 8; step++) {
      test_read(client, table, keys, 4, rows);
      CHECK_MSG(fabsf(rows[0] - expected) < 1e-6f, "run %d step %d: %g for %g", run, step, (double)rows[0],
                (double)expected);
      push_step(client, table, keys, 4, grads);
      state += 9;
      expected += 3 / sqrtf(state);
    }
    CHECK_OK(hotrow_flush(client, 0));
    read_truth(&c, keys, 4, rows);
    if (run % 3 < 2) /* with a push bound the shard takes one sum of steps, with the state of their end */
      CHECK_MSG(fabsf(rows[0] - expected) < 1e-5f, "run %d: %g for %g", run, (double)rows[0], (double)expected);
    else
      CHECK_MSG(rows[0] > 2 && rows[0] < expected, "run %d: %g", run, (double)rows[0]);
    stop(&c);
  }
}

static void the_bounded_preset_works(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  hotrow_table_options options = counting(2, 64, 0, 0);
  hotrow_table_options_preset(&options, HOTROW_PRESET_BOUNDED);
  hotrow_table *table = create(client, &options);
  const uint64_t keys[2] = {1, 2};
  const float grads[4] = {-1, -2, -1, 1};
  float rows[4];
  for (int i = 0; i < 100; i++) {
    test_read(client, table, keys, 2, rows);
    CHECK(fabsf(rows[1] - 2 * (float)i) < 0.01f);
    push_step(client, table, keys, 2, grads);
  }
  CHECK_EQ(table_stats(table).rows_pushed, 2); /* 70 of 71 steps leave, one stays with the remainder */
  CHECK_OK(hotrow_flush(client, 0));
  read_truth(&c, keys, 2, rows);
  CHECK(fabsf(rows[0] - 100) < 1e-3f && fabsf(rows[1] - 200) < 1e-3f && fabsf(rows[3] + 100) < 1e-3f);
  stop(&c);
}

/* An old caller's struct is shorter: only what it has is written. */
static void table_stats_fit_the_callers_struct(void)
{
  cluster c;
  start(&c);
  hotrow_client *client = open_client(&c, 0, false, NULL, NULL);
  hotrow_table_options options = counting(1, 64, 1, 1);
  hotrow_table *table = create(client, &options);
  hotrow_table_stats stats;
  memset(&stats, 0xee, sizeof stats);
  stats.struct_size = offsetof(hotrow_table_stats, unique_keys);
  hotrow_table_get_stats(table, &stats);
  CHECK(stats.keys == 0 && stats.unique_keys == 0xeeeeeeeeeeeeeeeeu);
  CHECK_EQ(stats.struct_size, offsetof(hotrow_table_stats, unique_keys));
  stop(&c);
}

int main(void)
{
  RUN(bounds_are_kept_in_both_modes);
  RUN(fresh_rows_cost_nothing);
  RUN(gradients_are_whole_whatever_the_dtype);
  RUN(segments_have_their_own_rates_and_values);
  RUN(the_rate_is_scaled_for_pushes_that_leave_from_the_next_step_on);
  RUN(rows_of_coming_batches_are_there_when_they_are_needed);
  RUN(other_keys_than_those_handed_over_drop_the_window);
  RUN(presets_set_the_staleness_fields_only);
  RUN(het_counts_occurrences_and_sends_wide_clocks);
  RUN(occurrences_leave_adagrad_as_it_is);
  RUN(the_bounded_preset_works);
  RUN(table_stats_fit_the_callers_struct);
  return 0;
}
