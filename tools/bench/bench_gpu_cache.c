/* On a GPU: what the calls of a cache cost whose keys and rows never leave the device. */
#include "bench_gpu_cache.h"

#include <stdio.h>
#include <stdlib.h>

#include <hr/memory.h>
#include <hr/status.h>

#define BOUND 1000000u /* no push leaves by its bound: pushing is not what is measured */

/* Arrays as long as the largest call. */
static hotrow_status open_arrays(gpu_cache *c)
{
  gpu_bench *b = c->b;
  const hotrow_kernels *kernels = b->kernels;
  const size_t n = c->key_count_max, dedup_bytes = kernels->dedup_scratch_size(n);
  const size_t select_bytes = kernels->scan_scratch_size(n);
  HOTROW_TRY(gpu_alloc(b, dedup_bytes > select_bytes ? dedup_bytes : select_bytes, &c->scratch));
  HOTROW_TRY(gpu_alloc(b, n * sizeof(uint64_t), &c->distinct.keys));
  HOTROW_TRY(gpu_alloc(b, n * sizeof(uint64_t), &c->distinct.hashes));
  HOTROW_TRY(gpu_alloc(b, n * sizeof(uint32_t), &c->distinct.inverse));
  HOTROW_TRY(gpu_alloc(b, (n + 1) * sizeof(uint32_t), &c->distinct.offsets));
  HOTROW_TRY(gpu_alloc(b, n * sizeof(uint32_t), &c->distinct.positions));
  HOTROW_TRY(gpu_alloc(b, sizeof(uint32_t), &c->distinct.unique_count_p));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *c->ids, &c->ids));
  HOTROW_TRY(gpu_floats(b, n * c->dim, &c->values));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *c->states, &c->states));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *c->clocks, &c->clocks));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *c->slots, &c->slots));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *c->seen, &c->seen));
  return gpu_alloc(b, n * sizeof *c->row_states, &c->row_states);
}

static hotrow_status open_cache(gpu_cache *c, uint64_t row_count)
{
  const hotrow_segment segment = {.dim = c->dim, .optimizer = {.kind = HOTROW_ROWWISE_ADAGRAD, .lr = 1e-4f}};
  hotrow_cache_options options = HOTROW_CACHE_OPTIONS_INIT;
  options.kernels = c->b->kernels;
  options.stream = c->b->stream;
  options.segments = &segment;
  options.segment_count = 1;
  options.row_count = row_count;
  options.staging_row_count = c->key_count_max;
  options.pending_row_count = row_count < 2 * c->key_count_max ? row_count : 2 * c->key_count_max;
  options.pull_bound = options.push_bound = BOUND;
  options.mode = HOTROW_CACHE_ANNOUNCE;
  options.announce_step = 1;
  return hotrow_cache_create(&options, &c->cache);
}

hotrow_status gpu_cache_dedup(gpu_cache *c, const uint64_t *host_ids, size_t count, uint32_t *unique_count_p)
{
  const hotrow_kernels *kernels = c->b->kernels;
  void *stream = c->b->stream;
  HOTROW_TRY(kernels->copy_in(c->ids, host_ids, count * sizeof *host_ids, stream));
  HOTROW_TRY(kernels->dedup(c->ids, count, GPU_TABLE_SEED, c->scratch, stream, &c->distinct));
  if (!unique_count_p)
    return HOTROW_OK;
  HOTROW_TRY(kernels->copy_out(unique_count_p, c->distinct.unique_count_p, sizeof *unique_count_p, stream));
  return kernels->synchronize(stream);
}

hotrow_status gpu_cache_insert(gpu_cache *c, const uint64_t *keys, const uint64_t *hashes, size_t count)
{
  return hotrow_cache_insert(c->cache, keys, hashes, c->clocks, c->values, c->states, NULL, count, c->slots);
}

hotrow_status gpu_cache_drain(gpu_cache *c)
{
  hotrow_cache_push_list pushes;
  hotrow_cache_flush(c->cache);
  return hotrow_cache_take_pushes(c->cache, &pushes);
}

/* The hottest come last, so that they are what is in the cache when it is full. */
static hotrow_status fill_cache(gpu_cache *c, uint64_t key_count)
{
  for (uint64_t left = key_count; left > 0;) {
    const size_t count = left < c->key_count_max ? left : c->key_count_max;
    uint64_t *keys;
    left -= count;
    HOTROW_TRY(gpu_host(c->b, count * sizeof *keys, &keys));
    for (size_t i = 0; i < count; i++)
      keys[i] = gpu_cache_key(left + i);
    hotrow_cache_begin_batch(c->cache);
    HOTROW_TRY(gpu_cache_dedup(c, keys, count, NULL));
    HOTROW_TRY(gpu_cache_insert(c, c->distinct.keys, c->distinct.hashes, count));
  }
  c->next_index = key_count;
  return c->b->kernels->synchronize(c->b->stream);
}

hotrow_status gpu_cache_open(gpu_cache *c, gpu_bench *b, uint64_t row_count, uint64_t key_count, size_t key_count_max)
{
  *c = (gpu_cache){.b = b, .dim = GPU_DIM, .key_count_max = key_count_max};
  HOTROW_TRY(open_arrays(c));
  HOTROW_TRY(open_cache(c, row_count));
  return fill_cache(c, key_count);
}

hotrow_status gpu_cache_find_held(gpu_cache *c, uint64_t key_count)
{
  const hotrow_kernels *kernels = c->b->kernels;
  const size_t most = c->key_count_max;
  uint64_t *keys;
  HOTROW_TRY(hr_alloc(key_count, sizeof *c->held, "keys that are held", (void **)&c->held));
  HOTROW_TRY(gpu_host(c->b, most * (sizeof *keys + sizeof(uint32_t) + 1), &keys));
  uint32_t *inverse = (uint32_t *)(void *)(keys + most);
  uint8_t *states = (uint8_t *)(inverse + most);
  for (uint64_t first = 0; first < key_count; first += most) {
    const size_t count = key_count - first < most ? key_count - first : most;
    for (size_t i = 0; i < count; i++)
      keys[i] = gpu_cache_key(first + i);
    hotrow_cache_begin_batch(c->cache);
    HOTROW_TRY(gpu_cache_dedup(c, keys, count, NULL));
    hotrow_cache_lookup(c->cache, c->distinct.keys, c->distinct.hashes, count, NULL, NULL, c->slots, c->seen,
                        c->row_states);
    HOTROW_TRY(kernels->copy_out(inverse, c->distinct.inverse, count * sizeof *inverse, c->b->stream));
    HOTROW_TRY(kernels->copy_out(states, c->row_states, count, c->b->stream));
    HOTROW_TRY(kernels->synchronize(c->b->stream));
    for (size_t i = 0; i < count; i++)
      if (states[inverse[i]] == HOTROW_ROW_FRESH)
        c->held[c->held_count++] = (uint32_t)(first + i);
  }
  return HOTROW_OK;
}

void gpu_cache_close(gpu_cache *c)
{
  hotrow_cache_destroy(c->cache);
  free(c->held);
}

/* --- The calls --- */

#define LOOKUP_BYTES 205.0 /* a set's keys 128, a row's books read and written 64, the rest of the arguments */
#define LOOKUP_RATE 8.0
#define INSERT_BYTES(dim) (456 + 8.0 * (dim)) /* a set's keys and the books of all its rows, key, row */
#define INSERT_RATE 1.0
#define UPDATE_BYTES(dim) (20.0 * (dim) + 136) /* gradient 4 dim + 8, row and pending sums 16 dim, state, books */
#define INSERTS_PER_KEY 4u                     /* a call of insert has a quarter of the keys */

typedef struct calls_state {
  gpu_cache cache;
  uint32_t turns;
  size_t count, insert_count;
  uint64_t *keys, *hashes; /* [turns][count]: held, distinct, ascending by hash */
} calls_state;

static hotrow_status open_batches(calls_state *s)
{
  gpu_cache *c = &s->cache;
  gpu_bench *b = c->b;
  const size_t size = s->count * sizeof *s->keys;
  uint64_t *keys;
  HOTROW_TRY(gpu_host(b, s->count * (sizeof *keys + sizeof(uint32_t)), &keys));
  uint32_t *index = (uint32_t *)(void *)(keys + s->count);
  HOTROW_TRY(gpu_alloc(b, s->turns * size, &s->keys));
  HOTROW_TRY(gpu_alloc(b, s->turns * size, &s->hashes));
  for (uint32_t t = 0; t < s->turns; t++) {
    gpu_draw_distinct(b, c->held_count, s->count, index);
    for (size_t i = 0; i < s->count; i++)
      keys[i] = gpu_cache_key(c->held[index[i]]);
    HOTROW_TRY(gpu_cache_dedup(c, keys, s->count, NULL));
    HOTROW_TRY(b->kernels->copy(s->keys + t * s->count, c->distinct.keys, size, b->stream));
    HOTROW_TRY(b->kernels->copy(s->hashes + t * s->count, c->distinct.hashes, size, b->stream));
  }
  return b->kernels->synchronize(b->stream);
}

static hotrow_status run_lookup(void *context, uint32_t turn)
{
  calls_state *s = context;
  gpu_cache *c = &s->cache;
  hotrow_cache_begin_batch(c->cache);
  hotrow_cache_lookup(c->cache, s->keys + turn * s->count, s->hashes + turn * s->count, s->count, NULL, NULL, c->slots,
                      c->seen, c->row_states);
  return HOTROW_OK;
}

static hotrow_status prepare_update(void *context, uint32_t turn)
{
  calls_state *s = context;
  HOTROW_TRY(gpu_cache_drain(&s->cache));
  return run_lookup(s, turn);
}

static hotrow_status run_update(void *context, uint32_t turn)
{
  calls_state *s = context;
  gpu_cache *c = &s->cache;
  return hotrow_cache_update(c->cache, s->keys + turn * s->count, s->hashes + turn * s->count, c->slots, c->values,
                             NULL, s->count, NULL);
}

/* Keys that were never there, in the order of their hashes. */
static hotrow_status prepare_insert(void *context, uint32_t turn)
{
  calls_state *s = context;
  gpu_cache *c = &s->cache;
  uint64_t *keys;
  (void)turn;
  HOTROW_TRY(gpu_host(c->b, s->insert_count * sizeof *keys, &keys));
  for (size_t i = 0; i < s->insert_count; i++)
    keys[i] = gpu_cache_key(c->next_index++);
  hotrow_cache_begin_batch(c->cache);
  return gpu_cache_dedup(c, keys, s->insert_count, NULL);
}

static hotrow_status run_insert(void *context, uint32_t turn)
{
  calls_state *s = context;
  gpu_cache *c = &s->cache;
  (void)turn;
  return gpu_cache_insert(c, c->distinct.keys, c->distinct.hashes, s->insert_count);
}

static gpu_line make_line(const calls_state *s, const char *kernel, size_t count, double key_bytes, gpu_goal goal,
                          double goal_value)
{
  gpu_line line = {.kernel = kernel,
                   .dim = s->cache.dim,
                   .units = count,
                   .bytes = key_bytes * (double)count,
                   .goal = goal,
                   .goal_value = goal_value};
  snprintf(line.shape, sizeof line.shape, "%zu keys, cache of %llu rows", count,
           (unsigned long long)s->cache.b->sizes.cache_rows);
  return line;
}

/* A cache that is half full, so that no set overflows, and all keys are held. */
static hotrow_status time_hits(calls_state *s)
{
  gpu_bench *b = s->cache.b;
  const uint64_t row_count = b->sizes.cache_rows;
  gpu_line line = make_line(s, "cache_lookup", s->count, LOOKUP_BYTES, GPU_RATE, LOOKUP_RATE);
  s->turns = gpu_turns(b, line.bytes);
  HOTROW_TRY(gpu_cache_open(&s->cache, b, row_count, row_count / 2, s->count));
  HOTROW_TRY(gpu_cache_find_held(&s->cache, row_count / 2));
  HOTROW_TRY(open_batches(s));
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_lookup, .context = s, .turns = s->turns}));
  line = make_line(s, "cache_update", s->count, UPDATE_BYTES(s->cache.dim), GPU_NO_GOAL, 0);
  return gpu_time(b, &line, &(gpu_call){.run = run_update, .prepare = prepare_update, .context = s, .turns = s->turns});
}

/* A full cache: almost every row that comes makes another go. */
static hotrow_status time_misses(calls_state *s)
{
  gpu_bench *b = s->cache.b;
  const uint64_t row_count = b->sizes.cache_rows;
  const gpu_line line =
      make_line(s, "cache_insert", s->insert_count, INSERT_BYTES(s->cache.dim), GPU_RATE, INSERT_RATE);
  HOTROW_TRY(gpu_cache_open(&s->cache, b, row_count, row_count + row_count / 4, s->count));
  return gpu_time(b, &line, &(gpu_call){.run = run_insert, .prepare = prepare_insert, .context = s, .turns = 1});
}

hotrow_status gpu_bench_cache(gpu_bench *b, uint32_t dim)
{
  calls_state s = {
      .cache = {.b = b, .dim = dim}, .count = b->sizes.keys, .insert_count = b->sizes.keys / INSERTS_PER_KEY};
  hotrow_status status = time_hits(&s);
  gpu_cache_close(&s.cache);
  gpu_release(b, 0);
  if (status != HOTROW_OK)
    return status;
  s.cache = (gpu_cache){.b = b, .dim = dim};
  status = time_misses(&s);
  gpu_cache_close(&s.cache);
  return status;
}
