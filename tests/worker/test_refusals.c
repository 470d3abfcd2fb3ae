/* What the client API refuses, one by one. Nothing refused may change anything. */
#include "worker_test.h"

#include <math.h>

#define DIM 4

static test_servers servers;
static hotrow_client *client, *reader, *other;
static hotrow_table *table, *reader_table, *other_table;
static const uint64_t keys[4] = {1, 2, 3, 4};
static float rows[4 * DIM], grads[4 * DIM] = {1, 1, 1, 1};
static const uint32_t offsets[3] = {0, 1, 4};
static const float weights[4] = {1, 1, 1, 1};

static void set_up(void)
{
  test_start(&servers, 3, NULL, NULL);
  client = test_open(servers.endpoints, 0, 1);
  table = test_table(client, "t", DIM);
  hotrow_client_options options = test_options(servers.endpoints, 0, 0);
  options.job = 8;
  CHECK_OK(hotrow_client_open(&options, &other));
  other_table = test_table(other, "t", DIM);
  reader = test_open_reader(servers.endpoints);
  hotrow_table_options dim_unknown = test_table_options("t", 0);
  CHECK_OK(hotrow_table_open(reader, &dim_unknown, &reader_table));
  CHECK_EQ(hotrow_table_dim(reader_table), DIM);
  CHECK(strcmp(hotrow_table_name(reader_table), "t") == 0);
}

static void client_options_are_checked(void)
{
  hotrow_client *none = NULL;
  hotrow_client_options good = test_options(servers.endpoints, 0, 1), o;
  CHECK_FAILS(hotrow_client_open(NULL, &none), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_client_open(&good, NULL), HOTROW_ERR_INVALID, "NULL");
#define REFUSES(change, status, words)                                                                                 \
  do {                                                                                                                 \
    o = good;                                                                                                          \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_client_open(&o, &none), status, words);                                                         \
  } while (0)
  REFUSES(o.struct_size = 0, HOTROW_ERR_INVALID, "struct_size");
  REFUSES(o.shards = NULL, HOTROW_ERR_INVALID, "shards is empty");
  REFUSES(o.shards = "", HOTROW_ERR_INVALID, "shards is empty");
  REFUSES(o.shards = "tcp://127.0.0.1:1,,tcp://127.0.0.1:2", HOTROW_ERR_INVALID, "endpoint 1");
  REFUSES(o.shards = "nonsense", HOTROW_ERR_INVALID, "nonsense");
  REFUSES(o.world_size = HOTROW_WORLD_MAX + 1, HOTROW_ERR_LIMIT, "4097");
  REFUSES(o.rank = 1, HOTROW_ERR_INVALID, "rank 1 of a job of 1");
  REFUSES((o.rank = 1, o.world_size = 0), HOTROW_ERR_INVALID, "rank 1 of a job of 1");
  REFUSES(o.read_only = 2, HOTROW_ERR_INVALID, "read_only is 2");
  REFUSES(o.device = (hotrow_device)7, HOTROW_ERR_INVALID, "7");
  REFUSES(o.reserved = 1, HOTROW_ERR_INVALID, "reserved");
  REFUSES(o.lookup_keys_max = HOTROW_LOOKUP_KEYS_MAX + 1, HOTROW_ERR_LIMIT, "at most 4194304");
  static char many[2 * (HOTROW_SHARDS_MAX + 1)];
  memset(many, ',', sizeof many - 1);
  REFUSES(o.shards = many, HOTROW_ERR_LIMIT, "at most 1024");
  /* Two of three shards: whichever answers first says that the list is not the cluster. */
  char two[sizeof servers.endpoints];
  strcpy(two, servers.endpoints);
  *strrchr(two, ',') = 0;
  REFUSES((o.shards = two, o.job = 99), HOTROW_ERR_INVALID, "of 3, and the client takes it for");
  CHECK(!none);
#undef REFUSES
}

static bool receive_nothing(void *context, uint64_t timeout_ns, uint32_t *shard_p, const hotrow_frame **frames_p,
                            size_t *frame_count_p)
{
  (void)context, (void)timeout_ns, (void)shard_p, (void)frames_p, (void)frame_count_p;
  return false;
}

static void send_nowhere(void *context, uint32_t shard, const hotrow_frame *frames, size_t frame_count)
{
  (void)context, (void)shard, (void)frames, (void)frame_count;
}

static void transports_are_checked(void)
{
  hotrow_client *none = NULL;
  hotrow_client_options o = test_options("here", 0, 1);
  hotrow_transport transport = {.send = send_nowhere};
  o.transport = &transport;
  o.timeout_ms = 50;
  CHECK_FAILS(hotrow_client_open(&o, &none), HOTROW_ERR_INVALID, "transport's receive is NULL");
  transport = (hotrow_transport){.receive = receive_nothing};
  CHECK_FAILS(hotrow_client_open(&o, &none), HOTROW_ERR_INVALID, "transport's send is NULL");
  transport.send = send_nowhere;
  CHECK_FAILS(hotrow_client_open(&o, &none), HOTROW_ERR_TIMED_OUT, "shard 0 at here");
  CHECK(!none);
}

static void table_options_are_checked(void)
{
  hotrow_table *none = NULL;
  hotrow_table_options good = test_table_options("u", DIM), o;
  CHECK_FAILS(hotrow_table_create(NULL, &good, &none), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_table_create(client, NULL, &none), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_table_create(client, &good, NULL), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_table_open(NULL, &good, &none), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_table_open(client, NULL, &none), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_table_open(client, &good, NULL), HOTROW_ERR_INVALID, "NULL");
#define REFUSES(change, status, words)                                                                                 \
  do {                                                                                                                 \
    o = good;                                                                                                          \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_table_create(client, &o, &none), status, words);                                                \
  } while (0)
  REFUSES(o.struct_size = 4, HOTROW_ERR_INVALID, "struct_size");
  REFUSES(o.name = NULL, HOTROW_ERR_INVALID, "needs a name");
  REFUSES(o.name = "a/b", HOTROW_ERR_INVALID, "name has byte 0x2f");
  REFUSES(o.pull_bound = HOTROW_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "bounds");
  REFUSES(o.push_bound = HOTROW_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "bounds");
  REFUSES(o.name = "t", HOTROW_ERR_INVALID, "open on this client already");
  REFUSES(o.dim = 0, HOTROW_ERR_INVALID, "dim 0");
  REFUSES(o.dim = HOTROW_DIM_MAX + 1, HOTROW_ERR_INVALID, "dim 4097");
  REFUSES(o.optimizer.lr = NAN, HOTROW_ERR_INVALID, "learning rate nan");
  REFUSES(o.initializer.scale = INFINITY, HOTROW_ERR_INVALID, "scale");
  REFUSES(o.cache_row_count = HOTROW_CACHE_ROWS_MAX + 1, HOTROW_ERR_LIMIT, "row_count");
  REFUSES(o.push_bound = HOTROW_PUSH_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "bounds 0 and 16000001");
  REFUSES(o.mode = (hotrow_mode)3, HOTROW_ERR_INVALID, "mode 3");
  REFUSES(o.mode = HOTROW_MODE_ANNOUNCE, HOTROW_ERR_INVALID, "both bounds 0");
  REFUSES((o.pull_bound = 3, o.announce_step = 5), HOTROW_ERR_INVALID, "announce_step 5, with pull_bound 3 at most 4");
  REFUSES((o.mode = HOTROW_MODE_PROBE, o.announce_step = 1000000001), HOTROW_ERR_LIMIT, "announce_step 1000000001");
  REFUSES(o.wire_dtype = (hotrow_dtype)3, HOTROW_ERR_INVALID, "wire_dtype 3");
  REFUSES(o.flags = 4, HOTROW_ERR_INVALID, "flags 4");
  REFUSES((o.pull_bound = 3, o.flags = HOTROW_TABLE_WIDE_CLOCKS), HOTROW_ERR_INVALID, "needs mode probe");
  REFUSES((o.optimizer.kind = HOTROW_ADAM, o.flags = HOTROW_TABLE_COUNT_OCCURRENCES), HOTROW_ERR_INVALID,
          "steps one by one");
  REFUSES(o.storage_dtype = HOTROW_I8, HOTROW_ERR_INVALID, "storage_dtype 2 is none of");
  REFUSES(o.storage_dtype = (hotrow_dtype)4, HOTROW_ERR_INVALID, "storage_dtype 4 is none of");
  hotrow_segment segments[HOTROW_SEGMENTS_MAX + 1] = {{.dim = 2}, {.dim = 2}};
  REFUSES((o.segments = segments, o.segment_count = HOTROW_SEGMENTS_MAX + 1), HOTROW_ERR_LIMIT, "5 segments");
  REFUSES(o.segment_count = 1, HOTROW_ERR_INVALID, "segments is NULL");
  REFUSES((o.segments = segments, o.segment_count = 2, o.dim = 3), HOTROW_ERR_INVALID, "dim 3, its segments have 4");
  REFUSES((o.segments = segments, o.segment_count = 3, o.dim = 0), HOTROW_ERR_INVALID, "segment 2");
  segments[1].optimizer.lr = NAN;
  REFUSES((o.segments = segments, o.segment_count = 2, o.dim = 0), HOTROW_ERR_INVALID, "learning rate nan");
#undef REFUSES
  CHECK_FAILS(hotrow_table_create(reader, &good, &none), HOTROW_ERR_INVALID, "creates none");
  o = good;
  o.cache_row_count = 16;
  CHECK_FAILS(hotrow_table_open(reader, &o, &none), HOTROW_ERR_UNSUPPORTED, "cache_row_count must be 0");
  o = good;
  o.name = "absent";
  CHECK_FAILS(hotrow_table_open(client, &o, &none), HOTROW_ERR_NOT_FOUND, "absent");
  CHECK(!none);
}

static void a_table_that_differs_is_named(void)
{
  hotrow_client *second = test_open(servers.endpoints, 0, 1); /* fences `client`: its calls come before this test */
  hotrow_table *none = NULL;
  hotrow_table_options good = test_table_options("t", DIM), o;
#define DIFFERS(change, words)                                                                                         \
  do {                                                                                                                 \
    o = good;                                                                                                          \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_table_create(second, &o, &none), HOTROW_ERR_EXISTS, words);                                     \
  } while (0)
  DIFFERS(o.dim = DIM + 1, "dim");
  DIFFERS(o.seed = 1, "seed");
  DIFFERS(o.optimizer.lr = 1, "optimizer");
  DIFFERS(o.optimizer.kind = HOTROW_ADAM, "optimizer");
  DIFFERS(o.initializer.scale = 2, "initializer");
  DIFFERS(o.storage_dtype = HOTROW_F16, "storage_dtype");
  hotrow_segment halves[2] = {{DIM / 2, o.optimizer, o.initializer}, {DIM - DIM / 2, o.optimizer, o.initializer}};
  DIFFERS((o.segments = halves, o.segment_count = 2), "segment");
#undef DIFFERS
  /* A table that is never announced: its default is to be probed. */
  o = good;
  o.mode = HOTROW_MODE_ANNOUNCE;
  o.pull_bound = o.push_bound = 4;
  o.cache_row_count = 16;
  CHECK_FAILS(hotrow_table_open(second, &o, &none), HOTROW_ERR_INVALID, "announced every 0 steps");
  CHECK_OK(hotrow_table_create(second, &good, &none)); /* alike: joins */
  char name[16];
  for (uint32_t i = 1; i < HOTROW_REQUESTS_MAX; i++) {
    snprintf(name, sizeof name, "many%u", i);
    test_table(second, name, 1);
  }
  o = test_table_options("one-too-many", 1);
  CHECK_FAILS(hotrow_table_create(second, &o, &none), HOTROW_ERR_LIMIT, "at most 16 tables");
  hotrow_client_close(second);
}

static void a_job_does_not_become_exact_on_its_way(void)
{
  hotrow_client *late = test_open(servers.endpoints, 0, 1); /* fences those before it */
  hotrow_table_options bounded = test_table_options("bounded", DIM), exact = test_table_options("exact", DIM);
  bounded.pull_bound = bounded.push_bound = 2;
  exact.pull_bound = exact.push_bound = 0;
  hotrow_table *one = NULL;
  CHECK_OK(hotrow_table_create(late, &bounded, &one));
  CHECK_OK(hotrow_step(late, 0));
  one = NULL;
  CHECK_FAILS(hotrow_table_create(late, &exact, &one), HOTROW_ERR_INVALID, "before the first step");
  CHECK(!one);
  hotrow_client_close(late);
}

static void lookups_are_checked(void)
{
  hotrow_lookup_request good = test_lookup_of(table, keys, 4, rows), r[HOTROW_REQUESTS_MAX + 1];
  uint8_t mask[1];
  CHECK_FAILS(hotrow_lookup(NULL, &good, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_lookup(client, NULL, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_step_lookup(NULL, &good, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_step_lookup(client, NULL, 1), HOTROW_ERR_INVALID, "NULL");
  for (size_t i = 0; i <= HOTROW_REQUESTS_MAX; i++)
    r[i] = good;
  CHECK_FAILS(hotrow_lookup(client, r, HOTROW_REQUESTS_MAX + 1), HOTROW_ERR_LIMIT, "17 lookups");
  CHECK_FAILS(hotrow_lookup(client, r, 2), HOTROW_ERR_INVALID, "stands twice");
  hotrow_client_stats before = test_stats(client);
#define REFUSES(change, status, words)                                                                                 \
  do {                                                                                                                 \
    r[0] = good;                                                                                                       \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_lookup(client, r, 1), status, words);                                                           \
    CHECK_FAILS(hotrow_step_lookup(client, r, 1), status, words);                                                      \
  } while (0)
  REFUSES(r->struct_size = 0, HOTROW_ERR_INVALID, "struct_size");
  REFUSES(r->table = NULL, HOTROW_ERR_INVALID, "not one of this client");
  REFUSES(r->table = other_table, HOTROW_ERR_INVALID, "not one of this client");
  REFUSES(r->key_count = HOTROW_LOOKUP_KEYS_MAX + 1, HOTROW_ERR_LIMIT, "4194305 keys");
  REFUSES(r->keys = NULL, HOTROW_ERR_INVALID, "keys is NULL");
  REFUSES(r->out_stride = DIM - 1, HOTROW_ERR_INVALID, "out_stride 3");
  REFUSES(r->hit_mask = mask, HOTROW_ERR_INVALID, "read-only");
  REFUSES(r->offsets = offsets, HOTROW_ERR_INVALID, "need pooling");
  REFUSES(r->weights = weights, HOTROW_ERR_INVALID, "need pooling");
  REFUSES(r->out = NULL, HOTROW_ERR_INVALID, "out is NULL");
  REFUSES(r->pooling = (hotrow_pooling)4, HOTROW_ERR_INVALID, "pooling 4");
  good.pooling = HOTROW_POOL_SUM;
  good.bag_count = 2;
  REFUSES(r->offsets = NULL, HOTROW_ERR_INVALID, "offsets must rise");
  static const uint32_t late[3] = {1, 2, 4}, early[3] = {0, 2, 3}, falling[4] = {0, 3, 2, 4};
  REFUSES(r->offsets = late, HOTROW_ERR_INVALID, "offsets must rise");
  REFUSES(r->offsets = early, HOTROW_ERR_INVALID, "offsets must rise");
  REFUSES((r->offsets = falling, r->bag_count = 3), HOTROW_ERR_INVALID, "offsets must rise");
  REFUSES((r->offsets = offsets, r->out = NULL), HOTROW_ERR_INVALID, "out is NULL");
#undef REFUSES
  hotrow_client_stats after = test_stats(client);
  CHECK_EQ(after.requests, before.requests);
  CHECK_EQ(after.steps, before.steps); /* a refused step_lookup ends no step */
}

static void lookaheads_are_checked(void)
{
  hotrow_lookup_request good = test_lookup_of(table, keys, 4, NULL), r[HOTROW_REQUESTS_MAX + 1];
  hotrow_client_stats before = test_stats(client);
  for (size_t i = 0; i <= HOTROW_REQUESTS_MAX; i++)
    r[i] = good;
  CHECK_FAILS(hotrow_lookahead(NULL, r, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_lookahead(client, NULL, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_lookahead(client, r, HOTROW_REQUESTS_MAX + 1), HOTROW_ERR_LIMIT, "17 lookups");
  r[0].struct_size = 0;
  CHECK_FAILS(hotrow_lookahead(client, r, 1), HOTROW_ERR_INVALID, "struct_size");
  r[0] = good;
  r[0].table = other_table;
  CHECK_FAILS(hotrow_lookahead(client, r, 1), HOTROW_ERR_INVALID, "not one of this client");
  r[0] = good;
  r[0].keys = NULL;
  CHECK_FAILS(hotrow_lookahead(client, r, 1), HOTROW_ERR_INVALID, "keys is NULL");
  r[0] = good;
  r[0].key_count = HOTROW_LOOKUP_KEYS_MAX + 1;
  CHECK_FAILS(hotrow_lookahead(client, r, 1), HOTROW_ERR_LIMIT, "4194305 keys");
  r[0] = r[1] = good;
  CHECK_FAILS(hotrow_lookahead(client, r, 2), HOTROW_ERR_INVALID, "stands twice");
  CHECK_OK(hotrow_lookahead(client, &good, 1)); /* no cache: nothing to do */
  CHECK_EQ(test_stats(client).requests, before.requests);
}

static void pushes_are_checked(void)
{
  hotrow_push_request good = test_push_of(table, keys, 4, grads), r[HOTROW_REQUESTS_MAX + 1];
  for (size_t i = 0; i <= HOTROW_REQUESTS_MAX; i++)
    r[i] = good;
  CHECK_FAILS(hotrow_push(NULL, r, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_push(client, NULL, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_push(client, r, HOTROW_REQUESTS_MAX + 1), HOTROW_ERR_LIMIT, "17 pushes");
#define REFUSES(change, status, words)                                                                                 \
  do {                                                                                                                 \
    r[1] = good;                                                                                                       \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_push(client, r, 2), status, words);                                                             \
  } while (0)
  REFUSES(r[1].table = NULL, HOTROW_ERR_INVALID, "push 1: its table is not one of this client");
  REFUSES(r[1].table = other_table, HOTROW_ERR_INVALID, "not one of this client");
  REFUSES(r[1].key_count = HOTROW_LOOKUP_KEYS_MAX + 1, HOTROW_ERR_LIMIT, "4194305 keys");
  REFUSES(r[1].keys = NULL, HOTROW_ERR_INVALID, "keys is NULL");
  REFUSES(r[1].grads = NULL, HOTROW_ERR_INVALID, "grads is NULL");
  REFUSES(r[1].grad_stride = 1, HOTROW_ERR_INVALID, "grad_stride 1");
  REFUSES(r[1].offsets = offsets, HOTROW_ERR_INVALID, "need pooling");
  REFUSES(r[1].weights = weights, HOTROW_ERR_INVALID, "need pooling");
  REFUSES(r[1].pooling = (hotrow_pooling)9, HOTROW_ERR_INVALID, "pooling 9");
  good.pooling = HOTROW_POOL_MEAN;
  good.bag_count = 2;
  static const uint32_t late[3] = {1, 2, 4}, early[3] = {0, 2, 3}, falling[4] = {0, 3, 2, 4};
  REFUSES(r[1].offsets = NULL, HOTROW_ERR_INVALID, "offsets must rise");
  REFUSES(r[1].offsets = late, HOTROW_ERR_INVALID, "offsets must rise");
  REFUSES(r[1].offsets = early, HOTROW_ERR_INVALID, "offsets must rise");
  REFUSES((r[1].offsets = falling, r[1].bag_count = 3), HOTROW_ERR_INVALID, "offsets must rise");
#undef REFUSES
  r[0].struct_size = 0;
  CHECK_FAILS(hotrow_push(client, r, 1), HOTROW_ERR_INVALID, "struct_size");
  good = test_push_of(reader_table, keys, 4, grads);
  CHECK_FAILS(hotrow_push(reader, &good, 1), HOTROW_ERR_INVALID, "read-only");
}

/* Of two good requests and a bad one nothing is taken, and the key is named. */
static void gradients_that_are_not_finite_are_refused_whole(void)
{
  float before[4 * DIM], after[4 * DIM], bad[4 * DIM];
  test_read(client, table, keys, 4, before);
  const float poisons[3] = {NAN, INFINITY, -INFINITY};
  for (int p = 0; p < 3; p++) {
    memcpy(bad, grads, sizeof bad);
    bad[2 * DIM + 1] = poisons[p]; /* of key 3 */
    hotrow_push_request r[2] = {test_push_of(table, keys, 4, grads), test_push_of(table, keys, 4, bad)};
    CHECK_FAILS(hotrow_push(client, r, 2), HOTROW_ERR_INVALID, "key 3 is not finite");
  }
  CHECK_OK(hotrow_step(client, 0));
  test_read(client, table, keys, 4, after);
  CHECK(memcmp(before, after, sizeof before) == 0);
}

static void calls_without_a_client_are_refused(void)
{
  char *json = NULL, bytes[8];
  size_t size;
  CHECK_FAILS(hotrow_step(NULL, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_flush(NULL, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_barrier(NULL, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_blob_put(NULL, "b", bytes, 1, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_blob_get(NULL, "b", bytes, 1, &size, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_save(NULL, "s", 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_shard_stats(NULL, 0, 0, &json), HOTROW_ERR_INVALID, "NULL");
  hotrow_client_close(NULL);
}

static void small_calls_are_checked(void)
{
  char *json = NULL, bytes[HOTROW_BLOB_BYTES_MAX + 1] = {0};
  size_t size;
  CHECK_FAILS(hotrow_blob_put(client, NULL, bytes, 1, 0), HOTROW_ERR_INVALID, "needs a name");
  CHECK_FAILS(hotrow_blob_put(client, "a b", bytes, 1, 0), HOTROW_ERR_INVALID, "name has byte 0x20");
  CHECK_FAILS(hotrow_blob_put(client, "b", NULL, 1, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_blob_put(client, "b", bytes, sizeof bytes, 0), HOTROW_ERR_LIMIT, "4097 bytes");
  CHECK_FAILS(hotrow_blob_put(client, "a-name-that-is-too-long-for-the-job-number-before-it", bytes, 1, 0),
              HOTROW_ERR_LIMIT, "at most 46");
  CHECK_FAILS(hotrow_blob_get(client, NULL, bytes, 1, &size, 0), HOTROW_ERR_INVALID, "needs a name");
  CHECK_FAILS(hotrow_blob_get(client, "b", bytes, 1, NULL, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_blob_get(client, "b", NULL, 1, &size, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_save(client, NULL, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_save(client, "../s", 0), HOTROW_ERR_INVALID, "name");
  CHECK_FAILS(hotrow_save(client, "s", 0), HOTROW_ERR_UNSUPPORTED, "without a save directory");
  CHECK_FAILS(hotrow_shard_stats(client, 3, 0, &json), HOTROW_ERR_INVALID, "shard 3 of 3");
  CHECK_FAILS(hotrow_shard_stats(client, 0, 0, NULL), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_barrier(reader, 0), HOTROW_ERR_INVALID, "only workers");
  test_push(client, table, keys, 4, grads);
  CHECK_FAILS(hotrow_flush(client, 0), HOTROW_ERR_INVALID, "middle of a step");
  CHECK_OK(hotrow_step(client, 0));
  CHECK_OK(hotrow_flush(client, 0));
}

/* A lookup whose answer no message can hold, and a step of more rows than a section. */
static void what_no_message_can_hold_is_refused(void)
{
  size_t key_count = 140000;
  uint64_t *many = malloc(HOTROW_LOOKUP_KEYS_MAX * sizeof *many);
  float *g = calloc(HOTROW_LOOKUP_KEYS_MAX, sizeof *g), out[DIM];
  hotrow_client *lone;
  test_servers one;
  CHECK(many && g);
  for (size_t i = 0; i < HOTROW_LOOKUP_KEYS_MAX; i++)
    many[i] = i;
  test_start(&one, 1, NULL, NULL);
  hotrow_client_options patient = test_options(one.endpoints, 0, 1);
  patient.timeout_ms = 60000;
  CHECK_OK(hotrow_client_open(&patient, &lone));
  hotrow_table *wide = test_table(lone, "wide", HOTROW_DIM_MAX);
  hotrow_lookup_request r = test_lookup_of(wide, many, key_count, g); /* refused before a row is written */
  CHECK_FAILS(hotrow_lookup(lone, &r, 1), HOTROW_ERR_LIMIT, "reply");
  CHECK_FAILS(hotrow_step_lookup(lone, &r, 1), HOTROW_ERR_LIMIT, "reply");
  hotrow_table *thin = test_table(lone, "thin", 1);
  test_push(lone, thin, many, HOTROW_LOOKUP_KEYS_MAX - 1, g);
  uint64_t beyond[2] = {HOTROW_LOOKUP_KEYS_MAX, HOTROW_LOOKUP_KEYS_MAX + 1};
  hotrow_push_request p = test_push_of(thin, beyond, 2, g);
  CHECK_FAILS(hotrow_push(lone, &p, 1), HOTROW_ERR_LIMIT, "rows in one step");
  test_push(lone, thin, beyond, 1, g);
  CHECK_OK(hotrow_step(lone, 60000));
  test_read(lone, thin, beyond, 1, out);
  hotrow_client_close(lone);
  test_stop(&one);
  free(many);
  free(g);
}

int main(void)
{
  set_up();
  RUN(client_options_are_checked);
  RUN(transports_are_checked);
  RUN(table_options_are_checked);
  RUN(calls_without_a_client_are_refused);
  RUN(what_no_message_can_hold_is_refused);
  RUN(lookups_are_checked);
  RUN(lookaheads_are_checked);
  RUN(pushes_are_checked);
  RUN(gradients_that_are_not_finite_are_refused_whole);
  RUN(small_calls_are_checked);
  RUN(a_table_that_differs_is_named);
  RUN(a_job_does_not_become_exact_on_its_way);
  hotrow_client_close(client);
  hotrow_client_close(other);
  hotrow_client_close(reader);
  test_stop(&servers);
  return 0;
}
