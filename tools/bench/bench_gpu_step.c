/* On a GPU: the sparse part of a whole training step, and a lookup of a table whose rows are mostly in host memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "bench_gpu_cache.h"
#include "dataset_zipf.h"

/* --- step --- */

#define STEP_US 600.0
#define STEP_TURNS 4u

typedef struct step_state {
  gpu_cache cache;
  size_t id_count;
  const uint64_t *ids;              /* [STEP_TURNS][id_count] */
  uint32_t unique[STEP_TURNS];      /* distinct keys of each */
  const uint32_t *offsets;          /* bags of one: what a field of a sample holds */
  uint32_t *id_slots, *source;      /* [id_count] */
  float *coefficients, *out, *sums; /* [id_count], and twice [id_count][dim] */
} step_state;

/* Everything is queued; nobody waits. How many distinct keys a batch has was found when it was prepared, as a worker
 * does that knows its batches ahead. */
static hotrow_status run_step(void *context, uint32_t turn)
{
  step_state *s = context;
  gpu_cache *c = &s->cache;
  const hotrow_kernels *kernels = c->b->kernels;
  const hotrow_dedup *d = &c->distinct;
  void *stream = c->b->stream;
  const size_t n = s->id_count;
  size_t stride;
  const float *rows = hotrow_cache_rows(c->cache, &stride);
  HOTROW_TRY(kernels->dedup(s->ids + turn * n, n, GPU_TABLE_SEED, c->scratch, stream, d));
  hotrow_cache_begin_batch(c->cache);
  hotrow_cache_lookup(c->cache, d->keys, d->hashes, n, d->unique_count_p, NULL, c->slots, c->seen, c->row_states);
  kernels->gather_words(c->slots, d->inverse, n, stream, s->id_slots);
  kernels->pool(rows, stride, c->dim, s->id_slots, s->offsets, NULL, n, HOTROW_POOL_SUM, stream, s->out, c->dim);
  kernels->pool_backward(s->offsets, NULL, n, HOTROW_POOL_SUM, stream, s->source, s->coefficients);
  kernels->segment_sum(c->values, c->dim, c->dim, s->source, s->coefficients, d->positions, d->offsets, s->unique[turn],
                       stream, s->sums);
  return hotrow_cache_update(c->cache, d->keys, d->hashes, c->slots, s->sums, NULL, n, d->unique_count_p);
}

static hotrow_status prepare_step(void *context, uint32_t turn)
{
  step_state *s = context;
  (void)turn;
  return gpu_cache_drain(&s->cache);
}

static hotrow_status draw_ids(step_state *s, bool is_zipf)
{
  gpu_cache *c = &s->cache;
  uint64_t *ids;
  const size_t n = s->id_count;
  HOTROW_TRY(gpu_host(c->b, STEP_TURNS * n * (sizeof *ids + sizeof(uint32_t)), &ids));
  uint32_t *index = (uint32_t *)(void *)(ids + STEP_TURNS * n);
  gpu_draw(c->b, is_zipf, c->held_count, STEP_TURNS * n, index);
  for (size_t i = 0; i < STEP_TURNS * n; i++)
    ids[i] = gpu_cache_key(c->held[index[i]]);
  for (uint32_t t = 0; t < STEP_TURNS; t++)
    HOTROW_TRY(gpu_cache_dedup(c, ids + t * n, n, &s->unique[t]));
  return gpu_put(c->b, ids, STEP_TURNS * n * sizeof *ids, &s->ids);
}

static hotrow_status open_step(step_state *s)
{
  gpu_cache *c = &s->cache;
  gpu_bench *b = c->b;
  const size_t n = s->id_count;
  uint32_t *offsets;
  HOTROW_TRY(gpu_host(b, (n + 1) * sizeof *offsets, &offsets));
  for (size_t i = 0; i <= n; i++)
    offsets[i] = (uint32_t)i;
  HOTROW_TRY(gpu_put(b, offsets, (n + 1) * sizeof *offsets, &s->offsets));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->id_slots, &s->id_slots));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->source, &s->source));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->coefficients, &s->coefficients));
  HOTROW_TRY(gpu_alloc(b, n * c->dim * sizeof *s->out, &s->out));
  return gpu_alloc(b, n * c->dim * sizeof *s->sums, &s->sums);
}

/* The kernels' own: dedup 286, slots of ids 12, pool 8 + 8 dim, gradients 4 dim + 8 an id; lookup 205, sums 4 dim,
 * update 20 dim + 136 a distinct key. */
static double step_bytes(const step_state *s)
{
  const double dim = s->cache.dim;
  return (double)s->id_count * (286 + 12 + 8 + 8 * dim + 4 * dim + 8) +
         (double)s->unique[0] * (205 + 4 * dim + 20 * dim + 136);
}

static hotrow_status time_step(step_state *s, bool is_zipf)
{
  gpu_bench *b = s->cache.b;
  const uint32_t kept = b->array_count;
  HOTROW_TRY(draw_ids(s, is_zipf));
  gpu_line line = {.kernel = "step",
                   .dim = s->cache.dim,
                   .units = s->id_count,
                   .bytes = step_bytes(s),
                   .goal = GPU_TIME,
                   .goal_value = STEP_US};
  snprintf(line.shape, sizeof line.shape, "%zu ids, %u distinct, %s", s->id_count, s->unique[0],
           gpu_distribution(is_zipf));
  HOTROW_TRY(
      gpu_time(b, &line, &(gpu_call){.run = run_step, .prepare = prepare_step, .context = s, .turns = STEP_TURNS}));
  gpu_release(b, kept);
  return HOTROW_OK;
}

static hotrow_status time_steps(step_state *s)
{
  gpu_bench *b = s->cache.b;
  const uint64_t row_count = b->sizes.cache_rows;
  const uint32_t which = b->options->distribution;
  HOTROW_TRY(gpu_cache_open(&s->cache, b, row_count, row_count / 2, s->id_count));
  HOTROW_TRY(gpu_cache_find_held(&s->cache, row_count / 2));
  HOTROW_TRY(open_step(s));
  if (which != 2)
    HOTROW_TRY(time_step(s, false));
  return which != 1 ? time_step(s, true) : HOTROW_OK;
}

hotrow_status gpu_bench_step(gpu_bench *b, uint32_t dim)
{
  step_state s = {.cache = {.b = b, .dim = dim}, .id_count = b->sizes.step_ids};
  hotrow_status status = time_steps(&s);
  gpu_cache_close(&s.cache);
  return status;
}

/* --- lookup --- */

#define LOOKUP_US 500.0
#define HOST_BYTES ((uint64_t)1 << 30) /* rows of the host: those beyond are read from the place of others */

typedef struct host_misses { /* pinned */
  uint32_t *count;           /* 1 */
  uint64_t *keys;
  float *values; /* [key_count][dim] */
} host_misses;

typedef struct table_state {
  gpu_cache cache;
  size_t key_count;
  hr_zipf zipf;
  uint64_t *ids; /* [key_count], pinned */
  float *table;  /* [table_rows][dim], the host's */
  uint64_t table_rows;
  host_misses here;
  uint32_t *missing; /* on the device: their indices among the distinct keys, count, slots */
  uint32_t *missing_count;
  uint32_t *missing_slots;
  uint64_t *missing_keys, *missing_hashes;
  uint32_t *id_slots;
  float *out;
  uint64_t calls, distinct, missed; /* distinct keys of all calls */
} table_state;

/* What of the distinct keys is not in the cache: waits for their number, and for their keys. */
static hotrow_status find_missing(table_state *s, size_t *count_p)
{
  gpu_cache *c = &s->cache;
  const hotrow_kernels *kernels = c->b->kernels;
  const hotrow_dedup *d = &c->distinct;
  void *stream = c->b->stream;
  const size_t n = s->key_count;
  HOTROW_TRY(kernels->fill(c->row_states, HOTROW_ROW_FRESH, n, stream)); /* nothing beyond the last distinct key */
  hotrow_cache_lookup(c->cache, d->keys, d->hashes, n, d->unique_count_p, NULL, c->slots, c->seen, c->row_states);
  kernels->select(c->row_states, n, 1, 0, c->scratch, stream, s->missing, s->missing_count);
  HOTROW_TRY(kernels->copy_out(s->here.count, s->missing_count, sizeof *s->here.count, stream));
  HOTROW_TRY(kernels->synchronize(stream));
  const size_t count = *s->here.count;
  *count_p = count;
  if (count == 0)
    return HOTROW_OK;
  /* A key is as wide as two floats, and rows are copied bit by bit. */
  kernels->gather((const float *)(const void *)d->keys, 2, 2, s->missing, count, stream,
                  (float *)(void *)s->missing_keys, 2);
  kernels->gather((const float *)(const void *)d->hashes, 2, 2, s->missing, count, stream,
                  (float *)(void *)s->missing_hashes, 2);
  HOTROW_TRY(kernels->copy_out(s->here.keys, s->missing_keys, count * sizeof *s->here.keys, stream));
  return kernels->synchronize(stream);
}

/* Rows of the host's table into pinned memory, and from there to the device and into the cache. */
static hotrow_status bring_in(table_state *s, size_t count)
{
  gpu_cache *c = &s->cache;
  const hotrow_kernels *kernels = c->b->kernels;
  void *stream = c->b->stream;
  const size_t row_bytes = c->dim * sizeof(float), ahead = 16;
  for (size_t i = 0; i < count; i++) {
    if (i + ahead < count)
      for (uint32_t column = 0; column < c->dim; column += 16)
        __builtin_prefetch(s->table + s->here.keys[i + ahead] % s->table_rows * c->dim + column);
    memcpy(s->here.values + i * c->dim, s->table + s->here.keys[i] % s->table_rows * c->dim, row_bytes);
  }
  HOTROW_TRY(kernels->copy_in(c->values, s->here.values, count * row_bytes, stream));
  HOTROW_TRY(hotrow_cache_insert(c->cache, s->missing_keys, s->missing_hashes, c->clocks, c->values, c->states, NULL,
                                 count, s->missing_slots));
  kernels->scatter_words(s->missing_slots, s->missing, count, stream, c->slots);
  return HOTROW_OK;
}

/* A batch that was never there before, or what was missing would be held. Hot keys have small indices: the cache was
 * filled with them last. */
static hotrow_status prepare_table_lookup(void *context, uint32_t turn)
{
  table_state *s = context;
  gpu_cache *c = &s->cache;
  hr_rng *rng = &c->b->rng;
  uint32_t unique;
  (void)turn;
  for (size_t i = 0; i < s->key_count; i++)
    s->ids[i] = gpu_cache_key(hr_zipf_draw(&s->zipf, hr_unit_double(hr_rng_next(rng)), rng) - 1);
  HOTROW_TRY(gpu_cache_dedup(c, s->ids, s->key_count, &unique));
  s->distinct += unique;
  s->calls++;
  return HOTROW_OK;
}

static hotrow_status run_table_lookup(void *context, uint32_t turn)
{
  table_state *s = context;
  gpu_cache *c = &s->cache;
  const hotrow_kernels *kernels = c->b->kernels;
  const size_t n = s->key_count;
  size_t count, stride;
  const float *rows = hotrow_cache_rows(c->cache, &stride);
  (void)turn;
  hotrow_cache_begin_batch(c->cache);
  HOTROW_TRY(gpu_cache_dedup(c, s->ids, n, NULL));
  HOTROW_TRY(find_missing(s, &count));
  if (count > 0)
    HOTROW_TRY(bring_in(s, count));
  kernels->gather_words(c->slots, c->distinct.inverse, n, c->b->stream, s->id_slots);
  kernels->gather(rows, stride, c->dim, s->id_slots, n, c->b->stream, s->out, c->dim);
  s->missed += count;
  return HOTROW_OK;
}

static hotrow_status open_host(table_state *s)
{
  gpu_cache *c = &s->cache;
  gpu_bench *b = c->b;
  const hotrow_kernels *kernels = b->kernels;
  const size_t n = s->key_count;
  s->table_rows = HOST_BYTES / (c->dim * sizeof *s->table);
  if (s->table_rows > b->sizes.lookup_rows)
    s->table_rows = b->sizes.lookup_rows;
  HOTROW_TRY(hr_alloc(s->table_rows * c->dim, sizeof *s->table, "rows of the host", (void **)&s->table));
  for (uint64_t i = 0; i < s->table_rows * c->dim; i++)
    s->table[i] = (float)(i & 1023);
  HOTROW_TRY(kernels->alloc_host(n * sizeof *s->ids, (void **)&s->ids));
  HOTROW_TRY(kernels->alloc_host(sizeof *s->here.count, (void **)&s->here.count));
  HOTROW_TRY(kernels->alloc_host(n * sizeof *s->here.keys, (void **)&s->here.keys));
  HOTROW_TRY(kernels->alloc_host(n * c->dim * sizeof *s->here.values, (void **)&s->here.values));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->missing, &s->missing));
  HOTROW_TRY(gpu_alloc(b, sizeof *s->missing_count, &s->missing_count));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->missing_slots, &s->missing_slots));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->missing_keys, &s->missing_keys));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->missing_hashes, &s->missing_hashes));
  HOTROW_TRY(gpu_alloc(b, n * sizeof *s->id_slots, &s->id_slots));
  return gpu_alloc(b, n * c->dim * sizeof *s->out, &s->out);
}

static void close_table(table_state *s)
{
  const hotrow_kernels *kernels = s->cache.b->kernels;
  void *const pinned[] = {s->ids, s->here.count, s->here.keys, s->here.values};
  kernels->synchronize(s->cache.b->stream);
  for (size_t i = 0; i < sizeof pinned / sizeof pinned[0]; i++)
    kernels->free_host(pinned[i]);
  free(s->table);
  gpu_cache_close(&s->cache);
}

static hotrow_status time_table(table_state *s)
{
  gpu_bench *b = s->cache.b;
  const uint64_t cached = (uint64_t)(GPU_LOOKUP_CACHED * (double)b->sizes.lookup_rows);
  const size_t fill_keys = s->key_count > b->sizes.keys ? s->key_count : b->sizes.keys;
  gpu_times times;
  hr_zipf_init(&s->zipf, 1, b->sizes.lookup_rows, GPU_LOOKUP_ZIPF);
  HOTROW_TRY(gpu_cache_open(&s->cache, b, cached, cached, fill_keys));
  HOTROW_TRY(open_host(s));
  HOTROW_TRY(gpu_measure(
      b, &(gpu_call){.run = run_table_lookup, .prepare = prepare_table_lookup, .context = s, .turns = 1}, &times));
  const double distinct = (double)s->distinct / (double)s->calls, missed = (double)s->missed / (double)s->calls;
  gpu_line line = {.kernel = "lookup",
                   .dim = s->cache.dim,
                   .units = s->key_count,
                   .bytes = (double)s->key_count * (286 + 12 + 8.0 * s->cache.dim + 4) + distinct * 205,
                   .goal = GPU_TIME,
                   .goal_value = LOOKUP_US};
  snprintf(line.shape, sizeof line.shape, "%zu ids of %llu rows, zipf %.1f, %.0f of %.0f missing", s->key_count,
           (unsigned long long)b->sizes.lookup_rows, GPU_LOOKUP_ZIPF, missed, distinct);
  gpu_print_line(b, &line, &times);
  return HOTROW_OK;
}

hotrow_status gpu_bench_lookup(gpu_bench *b, uint32_t dim)
{
  table_state s = {.cache = {.b = b, .dim = dim}, .key_count = b->sizes.lookup_keys};
  hotrow_status status = time_table(&s);
  close_table(&s);
  return status;
}
