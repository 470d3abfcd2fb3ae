/* How often the host waits for the device: where every row is held, a lookup is queued whole before it does, and then
 * it waits once, to be told so. The client's core gets a table of functions that counts. */
#include "client.h"
#include "worker_test.h"

#define DIM 8u
#define KEYS 300u
#define PINNED_MAX 256u

static const hotrow_kernels *device;
static hotrow_kernels counting;
static uint32_t waits, watched_waits;
static const void *watched; /* a stream */
static void *stream;

static struct {
  char *first;
  size_t size;
} pinned[PINNED_MAX];

static hotrow_status counted_alloc_host(size_t size, void **memory_p)
{
  CHECK_OK(device->alloc_host(size, memory_p));
  uint32_t i = 0;
  while (i < PINNED_MAX && pinned[i].first)
    i++;
  CHECK(i < PINNED_MAX);
  pinned[i].first = *memory_p;
  pinned[i].size = size;
  return HOTROW_OK;
}

static void counted_free_host(void *memory)
{
  waits++; /* as the device may still use it */
  for (uint32_t i = 0; memory && i < PINNED_MAX; i++)
    if (pinned[i].first == memory)
      pinned[i].first = NULL;
  device->free_host(memory);
}

static hotrow_status counted_alloc(size_t size, void **memory_p)
{
  waits++;
  return device->alloc(size, memory_p);
}

static void counted_free(void *memory)
{
  waits++;
  device->free(memory);
}

static hotrow_status counted_copy_out(void *to, const void *from, size_t size, void *on)
{
  bool is_pinned = false;
  for (uint32_t i = 0; i < PINNED_MAX; i++)
    is_pinned |= pinned[i].first && (char *)to >= pinned[i].first && (char *)to < pinned[i].first + pinned[i].size;
  waits += !is_pinned;
  return device->copy_out(to, from, size, on);
}

static hotrow_status counted_synchronize(void *on)
{
  waits++;
  watched_waits += on == watched;
  return device->synchronize(on);
}

static hotrow_status counted_event_wait(void *event)
{
  waits++;
  return device->event_wait(event);
}

static hotrow_status counted_event_query(void *event, bool *has_happened_p)
{
  waits++;
  return device->event_query(event, has_happened_p);
}

static uint32_t take_waits(void)
{
  uint32_t count = waits;
  waits = 0;
  return count;
}

/* A client that counts, and arrays on the device. */
typedef struct bench {
  test_servers servers;
  hotrow_client *client;
  hotrow_table *table;
  uint64_t *keys;
  float *out, *grads;
  float rows[KEYS][DIM];
} bench;

static void open_bench(bench *b, uint32_t pull_bound, uint32_t push_bound)
{
  void *memory;
  uint64_t keys[KEYS];
  float grads[KEYS][DIM];
  for (uint32_t i = 0; i < KEYS; i++) {
    keys[i] = i % 250 * 0x9e3779b97f4a7c15u;
    for (uint32_t c = 0; c < DIM; c++)
      grads[i][c] = (float)(i + c) / 100;
  }
  test_start(&b->servers, 2, NULL, NULL);
  b->client = test_open(b->servers.endpoints, 0, 1);
  b->client->core->row_kernels = &counting; /* before there is a table that might know the other */
  hotrow_table_options options = test_table_options("t", DIM);
  options.optimizer = (hotrow_optimizer){.kind = HOTROW_ROWWISE_ADAGRAD, .lr = 0.1f, .eps = 1e-8f};
  options.cache_row_count = 4096;
  options.pull_bound = pull_bound;
  options.push_bound = push_bound;
  CHECK_OK(hotrow_table_create(b->client, &options, &b->table));
  CHECK_OK(device->alloc(sizeof keys, &memory));
  b->keys = memory;
  CHECK_OK(device->alloc(sizeof b->rows, &memory));
  b->out = memory;
  CHECK_OK(device->alloc(sizeof grads, &memory));
  b->grads = memory;
  CHECK_OK(device->copy_in(b->keys, keys, sizeof keys, stream));
  CHECK_OK(device->copy_in(b->grads, grads, sizeof grads, stream));
}

static void close_bench(bench *b)
{
  hotrow_client_close(b->client);
  test_stop(&b->servers);
  CHECK_OK(device->synchronize(stream));
  device->free(b->keys);
  device->free(b->out);
  device->free(b->grads);
}

static hotrow_lookup_request lookup_of(const bench *b, size_t key_count)
{
  hotrow_lookup_request r = test_lookup_of(b->table, b->keys, key_count, b->out);
  r.memory = HOTROW_CUDA;
  r.stream = stream;
  return r;
}

static hotrow_push_request push_of(const bench *b, size_t key_count)
{
  hotrow_push_request p = test_push_of(b->table, NULL, key_count, b->grads);
  p.memory = HOTROW_CUDA;
  p.stream = stream;
  return p;
}

static void play_step(bench *b)
{
  hotrow_lookup_request r = lookup_of(b, KEYS);
  hotrow_push_request p = push_of(b, KEYS);
  CHECK_OK(hotrow_lookup(b->client, &r, 1));
  CHECK_OK(hotrow_push(b->client, &p, 1));
  CHECK_OK(hotrow_step(b->client, 0));
}

/* The rows that the device reads for arrays in host memory are read when the lookup ends. */
static void check_out(bench *b)
{
  static uint64_t keys[KEYS];
  static float rows[KEYS][DIM];
  CHECK_OK(device->copy_out(b->rows, b->out, sizeof b->rows, stream));
  CHECK_OK(device->copy_out(keys, b->keys, sizeof keys, stream));
  CHECK_OK(device->synchronize(stream));
  hotrow_lookup_request r = test_lookup_of(b->table, keys, KEYS, &rows[0][0]);
  CHECK_OK(hotrow_lookup(b->client, &r, 1));
  CHECK_EQ(memcmp(rows, b->rows, sizeof rows), 0);
}

static void a_lookup_of_held_rows_waits_once_at_its_end(void)
{
  bench b;
  open_bench(&b, 20, 5);
  for (uint32_t i = 0; i < 8; i++)
    play_step(&b);
  hr_core *core = b.client->core;
  for (uint32_t i = 0; i < 8; i++) {
    CHECK_OK(hotrow_flush(b.client, 0));
    uint64_t requests = test_stats(b.client).requests;
    bool is_settled;
    hotrow_lookup_request r = lookup_of(&b, KEYS);
    hotrow_push_request p = push_of(&b, KEYS);
    take_waits();
    CHECK_OK(hr_core_lookup_begin(core, &r, 1, 0));
    CHECK_EQ(take_waits(), 0);
    CHECK(!hr_core_is_waiting(core));
    CHECK_OK(hr_core_lookup_settle(core, 0, &is_settled));
    CHECK(is_settled);
    CHECK_EQ(take_waits(), 1);
    CHECK_OK(hr_core_lookup_finish(core));
    CHECK_EQ(take_waits(), 0);
    CHECK_EQ(test_stats(b.client).requests, requests);
    check_out(&b);
    CHECK_OK(hotrow_push(b.client, &p, 1));
    CHECK_OK(hotrow_step(b.client, 0));
  }
  close_bench(&b);
}

/* Where rows keep steps back and where they do not. */
static void a_push_waits_for_nothing_and_a_step_once(void)
{
  for (uint32_t push_bound = 0; push_bound < 6; push_bound += 5) {
    bench b;
    open_bench(&b, 20, push_bound);
    for (uint32_t i = 0; i < 30; i++) {
      hotrow_lookup_request r = lookup_of(&b, KEYS);
      hotrow_push_request p = push_of(&b, KEYS);
      CHECK_OK(hotrow_lookup(b.client, &r, 1));
      take_waits();
      CHECK_OK(hotrow_push(b.client, &p, 1));
      uint32_t of_push = take_waits();
      CHECK_OK(hr_core_step(b.client->core, false, 0)); /* without the news that happen to have come */
      uint32_t of_step = take_waits();
      if (i < 8) /* memory is taken, and how much the steps hand out is learned */
        continue;
      CHECK_EQ(of_push, 0);
      CHECK_EQ(of_step, 1);
    }
    close_bench(&b);
  }
}

/* Distinct keys of a coming batch are found beside what the client has queued for the step: only once its rows are to
 * be asked for, somebody waits to hear which are held. */
static void a_look_ahead_waits_for_its_own_stream(void)
{
  bench b;
  open_bench(&b, 20, 5);
  hotrow_lookup_request r = lookup_of(&b, KEYS);
  for (uint32_t i = 0; i < HOTROW_FETCH_AHEAD + 1; i++)
    CHECK_OK(hotrow_lookahead(b.client, &r, 1));
  for (uint32_t i = 0; i < 8; i++) {
    play_step(&b);
    CHECK_OK(hotrow_flush(b.client, 0));
    watched = b.client->core->stream;
    watched_waits = 0;
    CHECK_OK(hotrow_lookahead(b.client, &r, 1));
    CHECK_EQ(watched_waits, 0);
    watched = NULL;
  }
  CHECK_EQ(test_stats(b.client).lookahead_dropped, 0);
  close_bench(&b);
}

/* `out` was filled without them: it is filled again. */
static void rows_that_were_missing_are_there_in_the_end(void)
{
  bench b;
  open_bench(&b, 20, 5);
  hotrow_lookup_request some = lookup_of(&b, KEYS / 3), all = lookup_of(&b, KEYS);
  CHECK_OK(hotrow_lookup(b.client, &some, 1));
  CHECK_OK(hotrow_lookup(b.client, &all, 1));
  check_out(&b);
  for (uint32_t i = 0; i < KEYS; i++)
    CHECK_MSG(b.rows[i][0] != 0 || b.rows[i][1] != 0, "row %u is missing", i);
  close_bench(&b);
}

int main(void)
{
  if (test_device() != HOTROW_CUDA)
    hr_test_skip("cuda", "HOTROW_TEST_DEVICE is not cuda");
  CHECK_OK(hotrow_kernels_get(HOTROW_CUDA, &device));
  CHECK_OK(device->stream_create(false, &stream));
  counting = *device;
  counting.alloc = counted_alloc;
  counting.free = counted_free;
  counting.alloc_host = counted_alloc_host;
  counting.free_host = counted_free_host;
  counting.copy_out = counted_copy_out;
  counting.synchronize = counted_synchronize;
  counting.event_wait = counted_event_wait;
  counting.event_query = counted_event_query;
  RUN(a_lookup_of_held_rows_waits_once_at_its_end);
  RUN(a_push_waits_for_nothing_and_a_step_once);
  RUN(a_look_ahead_waits_for_its_own_stream);
  RUN(rows_that_were_missing_are_there_in_the_end);
  device->stream_destroy(stream);
  return 0;
}
