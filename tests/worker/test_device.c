/* A client whose rows are on a GPU beside one whose rows are in host memory: the same job on servers of their own must
 * give the same bits, counters and messages, whether arrays lie in host memory or on the device. */
#include "worker_test.h"

#define DIM 8u
#define KEYS_MAX 700u
#define KEY_RANGE 1500u
#define STEPS 25u

typedef enum batch_shape { PLAIN, BAGS, WEIGHTED_BAGS, SHAPES } batch_shape;

typedef struct side {
  test_servers servers;
  hotrow_client *client;
  hotrow_table *table;
  bool is_on_device; /* its arrays, not only its rows */
} side;

static const hotrow_kernels *device;
static void *stream;
static hr_rng rng = {1};

static uint64_t keys[KEYS_MAX];
static uint32_t offsets[KEYS_MAX + 1];
static float weights[KEYS_MAX], grads[KEYS_MAX][DIM], rows[2][KEYS_MAX][DIM];
static size_t key_count, bag_count;

static void *taken[16];
static size_t taken_count;

/* A copy on the device that is written on the caller's stream, and may not be there yet. */
static void *there(const void *array, size_t size)
{
  CHECK(taken_count < sizeof taken / sizeof *taken);
  void *memory;
  CHECK_OK(device->alloc(size + 1, &memory));
  if (array)
    CHECK_OK(device->copy_in(memory, array, size, stream));
  taken[taken_count++] = memory;
  return memory;
}

static void release(void)
{
  CHECK_OK(device->synchronize(stream));
  while (taken_count > 0)
    device->free(taken[--taken_count]);
}

static void open_side(side *s, hotrow_device where, bool is_on_device, const hotrow_table_options *table_options)
{
  test_start(&s->servers, 2, NULL, NULL);
  hotrow_client_options options = test_options(s->servers.endpoints, 0, 1);
  options.device = where;
  CHECK_OK(hotrow_client_open(&options, &s->client));
  CHECK_OK(hotrow_table_create(s->client, table_options, &s->table));
  s->is_on_device = is_on_device;
}

static void close_side(side *s)
{
  hotrow_client_close(s->client);
  test_stop(&s->servers);
}

static void draw_batch(batch_shape shape)
{
  key_count = 1 + hr_rng_below(&rng, KEYS_MAX);
  for (size_t i = 0; i < key_count; i++) {
    uint64_t range = hr_rng_below(&rng, 3) == 0 ? KEY_RANGE : 40; /* a hot few */
    keys[i] = hr_rng_below(&rng, range) * 0x9e3779b97f4a7c15u;
    weights[i] = (float)hr_rng_below(&rng, 1000) / 300 - 1;
  }
  bag_count = key_count;
  for (size_t i = 0; shape != PLAIN && i < 1; i++) {
    size_t at = 0;
    bag_count = 0;
    while (at < key_count) {
      offsets[bag_count++] = (uint32_t)at;
      at += hr_rng_below(&rng, 9);
    }
    offsets[bag_count] = (uint32_t)key_count;
  }
  for (size_t b = 0; b < bag_count; b++)
    for (uint32_t c = 0; c < DIM; c++)
      grads[b][c] = (float)hr_rng_below(&rng, 2000) / 1000 - 1;
}

static hotrow_lookup_request lookup_of(const side *s, batch_shape shape, float *out)
{
  hotrow_lookup_request r = test_lookup_of(s->table, keys, key_count, out);
  if (s->is_on_device) {
    r.memory = HOTROW_CUDA;
    r.stream = stream;
    r.keys = there(keys, key_count * sizeof *keys);
    r.out = there(NULL, bag_count * DIM * sizeof *out);
  }
  if (shape == PLAIN)
    return r;
  r.pooling = HOTROW_POOL_MEAN;
  r.bag_count = bag_count;
  r.offsets = s->is_on_device ? there(offsets, (bag_count + 1) * sizeof *offsets) : offsets;
  if (shape == WEIGHTED_BAGS)
    r.weights = s->is_on_device ? there(weights, key_count * sizeof *weights) : weights;
  return r;
}

static void look_up(const side *s, batch_shape shape, float *out)
{
  hotrow_lookup_request r = lookup_of(s, shape, out);
  CHECK_OK(hotrow_lookup(s->client, &r, 1));
  if (s->is_on_device) {
    CHECK_OK(device->copy_out(out, r.out, bag_count * DIM * sizeof *out, stream));
    release();
  }
}

static void push(const side *s, batch_shape shape, bool names_keys)
{
  hotrow_lookup_request as = lookup_of(s, shape, &rows[0][0][0]);
  hotrow_push_request r = test_push_of(s->table, names_keys ? as.keys : NULL, key_count, &grads[0][0]);
  r.offsets = as.offsets;
  r.bag_count = as.bag_count;
  r.weights = as.weights;
  r.pooling = as.pooling;
  if (s->is_on_device) {
    r.memory = HOTROW_CUDA;
    r.stream = stream;
    r.grads = there(grads, bag_count * sizeof grads[0]);
  }
  CHECK_OK(hotrow_push(s->client, &r, 1));
  if (s->is_on_device) /* written anew on the caller's stream: NaN, which the step would refuse */
    CHECK_OK(device->fill(taken[taken_count - 1], 0xff, bag_count * sizeof grads[0], stream));
  release();
}

static void compare(const side *host, const side *there_side, uint32_t step)
{
  CHECK_MSG(memcmp(rows[0], rows[1], bag_count * sizeof rows[0][0]) == 0, "rows differ at step %u", step);
  hotrow_table_stats a = HOTROW_TABLE_STATS_INIT, b = HOTROW_TABLE_STATS_INIT;
  hotrow_table_get_stats(host->table, &a);
  hotrow_table_get_stats(there_side->table, &b);
#define SAME(field)                                                                                                    \
  CHECK_MSG(a.field == b.field, #field " at step %u: %llu, in host memory %llu", step, (unsigned long long)b.field,    \
            (unsigned long long)a.field)
  SAME(keys);
  SAME(unique_keys);
  SAME(rows_pushed);
  SAME(row_count);
  SAME(evicted_dirty);
  SAME(bytes_push);
#undef SAME
}

/* One worker alone: what it reads depends on nothing but its own calls. */
static void play(const hotrow_table_options *options, bool is_on_device, bool looks_ahead, batch_shape shape)
{
  side sides[2];
  open_side(&sides[0], HOTROW_CPU, false, options);
  open_side(&sides[1], HOTROW_CUDA, is_on_device, options);
  for (uint32_t step = 0; step < STEPS; step++) {
    draw_batch(shape);
    for (int i = 0; i < 2; i++) {
      hotrow_lookup_request ahead = lookup_of(&sides[i], PLAIN, &rows[i][0][0]);
      if (looks_ahead)
        CHECK_OK(hotrow_lookahead(sides[i].client, &ahead, 1));
      release();
      look_up(&sides[i], shape, &rows[i][0][0]);
      push(&sides[i], shape, step % 2 == 0);
      if (step % 5 == 0)
        push(&sides[i], shape, true); /* a second part of the step */
      CHECK_OK(hotrow_step(sides[i].client, 0));
      if (step % 7 == 6)
        CHECK_OK(hotrow_flush(sides[i].client, 0));
    }
    compare(&sides[0], &sides[1], step);
  }
  close_side(&sides[0]);
  close_side(&sides[1]);
}

static hotrow_table_options bounded_options(uint32_t pull_bound, uint32_t push_bound, uint64_t cache_row_count);

/* A lookup between push and step: what it has found says nothing of the step's keys. */
static void a_lookup_may_come_between_push_and_step(void)
{
  side sides[2];
  hotrow_table_options options = bounded_options(20, 5, 64);
  open_side(&sides[0], HOTROW_CPU, false, &options);
  open_side(&sides[1], HOTROW_CUDA, true, &options);
  for (uint32_t step = 0; step < STEPS; step++) {
    hr_rng before = rng;
    for (int i = 0; i < 2; i++) {
      rng = before;
      draw_batch(PLAIN);
      look_up(&sides[i], PLAIN, &rows[i][0][0]);
      push(&sides[i], PLAIN, false);
      size_t count = key_count;
      for (size_t k = 0; k < count; k++)
        keys[k] += 7; /* as many, others */
      look_up(&sides[i], PLAIN, &rows[i][0][0]);
      CHECK_OK(hotrow_step(sides[i].client, 0));
      for (size_t k = 0; k < count; k++)
        keys[k] -= 7;
      look_up(&sides[i], PLAIN, &rows[i][0][0]);
    }
    compare(&sides[0], &sides[1], step);
  }
  close_side(&sides[0]);
  close_side(&sides[1]);
}

static void no_keys_are_a_batch_too(void)
{
  for (int on_device = 0; on_device < 2; on_device++) {
    side s;
    hotrow_table_options options = bounded_options(20, 5, 64);
    open_side(&s, HOTROW_CUDA, on_device, &options);
    key_count = bag_count = 0;
    look_up(&s, PLAIN, &rows[0][0][0]);
    push(&s, PLAIN, true);
    CHECK_OK(hotrow_step(s.client, 0));
    close_side(&s);
  }
}

static hotrow_table_options bounded_options(uint32_t pull_bound, uint32_t push_bound, uint64_t cache_row_count)
{
  hotrow_table_options options = test_table_options("t", DIM);
  options.optimizer = (hotrow_optimizer){.kind = HOTROW_ROWWISE_ADAGRAD, .lr = 0.1f, .eps = 1e-8f};
  options.cache_row_count = cache_row_count;
  options.pull_bound = pull_bound;
  options.push_bound = push_bound;
  options.policy = HOTROW_POLICY_W_TINY_LFU;
  return options;
}

static void a_job_gives_the_same_bits(void)
{
  for (int on_device = 0; on_device < 2; on_device++)
    for (int shape = PLAIN; shape < SHAPES; shape++) {
      hotrow_table_options none = bounded_options(0, 0, 0), exact = bounded_options(0, 0, 256),
                           bounded = bounded_options(20, 5, 256);
      play(&none, on_device, false, (batch_shape)shape);
      play(&exact, on_device, shape == PLAIN, (batch_shape)shape);
      play(&bounded, on_device, shape != PLAIN, (batch_shape)shape);
      bounded.wire_dtype = HOTROW_I8;
      bounded.mode = HOTROW_MODE_PROBE;
      play(&bounded, on_device, false, (batch_shape)shape);
    }
}

static void memory_is_named_and_checked(void)
{
  side host, there_side;
  hotrow_table_options options = bounded_options(20, 5, 256);
  open_side(&host, HOTROW_CPU, false, &options);
  open_side(&there_side, HOTROW_CUDA, true, &options);
  key_count = bag_count = 3;
  hotrow_lookup_request r = test_lookup_of(host.table, keys, 3, &rows[0][0][0]);
  r.memory = HOTROW_CUDA;
  CHECK_FAILS(hotrow_lookup(host.client, &r, 1), HOTROW_ERR_INVALID, "memory is 1");
  CHECK_FAILS(hotrow_lookahead(host.client, &r, 1), HOTROW_ERR_INVALID, "memory is 1");
  hotrow_push_request p = test_push_of(host.table, keys, 3, &grads[0][0]);
  p.memory = HOTROW_CUDA;
  CHECK_FAILS(hotrow_push(host.client, &p, 1), HOTROW_ERR_INVALID, "memory is 1");
  r = test_lookup_of(there_side.table, keys, 3, &rows[0][0][0]);
  r.memory = (hotrow_device)7;
  CHECK_FAILS(hotrow_lookup(there_side.client, &r, 1), HOTROW_ERR_INVALID, "memory is 7");
  r.memory = HOTROW_CPU;
  r.reserved = 1;
  CHECK_FAILS(hotrow_lookup(there_side.client, &r, 1), HOTROW_ERR_INVALID, "reserved is 1");
  r.reserved = 0;
  CHECK_OK(hotrow_lookup(there_side.client, &r, 1));
  p = test_push_of(there_side.table, NULL, 4, &grads[0][0]);
  CHECK_FAILS(hotrow_push(there_side.client, &p, 1), HOTROW_ERR_INVALID, "3 keys, not 4");
  close_side(&host);
  close_side(&there_side);
}

/* By the step, and then nothing of it is applied, in no table; what is in host memory by the push. */
static void what_is_not_finite_is_named(void)
{
  side s;
  hotrow_table *other;
  hotrow_table_options options = bounded_options(20, 5, 256);
  open_side(&s, HOTROW_CUDA, true, &options);
  options.name = "other";
  CHECK_OK(hotrow_table_create(s.client, &options, &other));
  draw_batch(PLAIN);
  look_up(&s, PLAIN, &rows[0][0][0]);
  memcpy(rows[1], rows[0], sizeof rows[0]);
  keys[2] = 4711;
  grads[2][DIM - 1] = 1.0f / 0.0f;
  key_count = bag_count = 3;
  hotrow_push_request p = test_push_of(s.table, there(keys, 3 * sizeof *keys), 3, there(grads, 3 * sizeof grads[0]));
  p.memory = HOTROW_CUDA;
  p.stream = stream;
  CHECK_OK(hotrow_push(s.client, &p, 1));
  hotrow_push_request sound = test_push_of(other, there(keys, 2 * sizeof *keys), 2, p.grads);
  sound.memory = HOTROW_CUDA;
  sound.stream = stream;
  CHECK_OK(hotrow_push(s.client, &sound, 1));
  CHECK_FAILS(hotrow_step(s.client, 0), HOTROW_ERR_INVALID, "push to t: the gradient of key 4711 is not finite");
  release();
  p = test_push_of(s.table, keys, 3, &grads[0][0]);
  CHECK_FAILS(hotrow_push(s.client, &p, 1), HOTROW_ERR_INVALID, "key 4711 is not finite");
  CHECK_OK(hotrow_step(s.client, 0)); /* nothing is left of them */
  CHECK_OK(hotrow_flush(s.client, 0));
  look_up(&s, PLAIN, &rows[0][0][0]);
  CHECK_EQ(memcmp(rows[0], rows[1], 2 * sizeof rows[0][0]), 0);
  CHECK_EQ(test_stats(s.client).rows_pushed, 0);
  close_side(&s);
}

static void readers_learn_which_keys_are_there(void)
{
  side s;
  hotrow_table_options options = bounded_options(0, 0, 0);
  open_side(&s, HOTROW_CUDA, false, &options);
  for (uint64_t i = 0; i < 20; i++)
    keys[i] = i / 2; /* every key twice */
  key_count = bag_count = 10;
  look_up(&s, PLAIN, &rows[0][0][0]); /* keys 0 to 4 come to be */
  hotrow_client *reader = test_open_reader(s.servers.endpoints);
  hotrow_table_options opened = test_table_options("t", 0);
  hotrow_table *table;
  CHECK_OK(hotrow_table_open(reader, &opened, &table));
  hotrow_lookup_request r =
      test_lookup_of(table, there(keys, 20 * sizeof *keys), 20, there(NULL, 20 * sizeof rows[0][0]));
  uint8_t *mask_there = there(NULL, 3), mask[3];
  r.memory = HOTROW_CUDA;
  r.stream = stream;
  r.hit_mask = mask_there;
  CHECK_OK(hotrow_lookup(reader, &r, 1));
  CHECK_OK(device->copy_out(mask, mask_there, 3, stream));
  CHECK_OK(device->copy_out(rows[1], r.out, 10 * sizeof rows[0][0], stream));
  release();
  CHECK_EQ(mask[0], 0xff);
  CHECK_EQ(mask[1], 0x03);
  CHECK_EQ(mask[2], 0);
  CHECK_EQ(memcmp(rows[0], rows[1], 10 * sizeof rows[0][0]), 0);
  hotrow_client_close(reader);
  close_side(&s);
}

int main(void)
{
  if (test_device() != HOTROW_CUDA)
    hr_test_skip("cuda", "HOTROW_TEST_DEVICE is not cuda");
  CHECK_OK(hotrow_kernels_get(HOTROW_CUDA, &device));
  CHECK_OK(device->stream_create(false, &stream));
  rng.state = hr_test_seed(53);
  RUN(memory_is_named_and_checked);
  RUN(a_job_gives_the_same_bits);
  RUN(a_lookup_may_come_between_push_and_step);
  RUN(no_keys_are_a_batch_too);
  RUN(what_is_not_finite_is_named);
  RUN(readers_learn_which_keys_are_there);
  device->stream_destroy(stream);
  return 0;
}
