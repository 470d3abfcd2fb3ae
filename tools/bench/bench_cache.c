/* What a lookup and an update of the cache cost per key, next to a plain gather and a plain update of the same rows in
 * the same run. */
#include "bench_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hotrow/cache.h>
#include <hr/memory.h>
#include <hr/random.h>
#include <hr/vector.h>

#include "options.h"

#define BATCH_SETS 16u /* different batches, used in turn */
#define REPEATS_MAX 101u
#define PREFETCH_ROWS 16u
#define LR 0.01f
#define BOUND 100000u /* no push leaves by its bound: pushing is not what is measured */

typedef struct time_state {
  const bench_cache_options *options;
  const hotrow_kernels *kernels;
  hotrow_cache *cache;
  uint32_t dim;
  size_t batch_keys, fresh_keys; /* distinct keys of a batch; of them, those that no batch had before */
  hr_rng rng;
  uint64_t *keys;     /* [BATCH_SETS][batch_keys], ascending, as dedup gives them: a key is its own hash here */
  uint64_t *hot_keys; /* [BATCH_SETS][batch_keys - fresh_keys] */
  uint64_t *missing_keys;
  uint32_t *slots, *seen, *clocks, *missing_slots;
  uint8_t *states;
  float *out, *values; /* [batch_keys][dim] */
  float *flat;         /* as many rows as the cache has: what the plain gather reads */
  float *flat_sums;    /* a sum beside each: the plain update adds to both */
  size_t flat_bytes;   /* of either */
} time_state;

typedef struct cost {
  double lookup_ns, update_ns, gather_ns, update_floor_ns; /* per key */
  double hit_rate;
} cost;

/* A printed figure: one number a repeat. */
typedef struct figure {
  const char *name;
  int decimals;
  double values[REPEATS_MAX];
} figure;

enum { LOOKUP, UPDATE, GATHER, UPDATE_FLOOR, LOOKUP_RATIO, RATIO, FLOOR_RATIO, UPDATE_FLOOR_RATIO, FIGURES };

/* The thread's processor time: what others do on the machine meanwhile is not counted. */
static double busy_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* The hot keys of a set and as many new ones as there are to be misses. */
static uint64_t *make_batch(time_state *t, uint32_t set)
{
  const size_t hot = t->batch_keys - t->fresh_keys;
  uint64_t *keys = t->keys + set * t->batch_keys;
  memcpy(keys, t->hot_keys + set * hot, hot * sizeof *keys);
  for (size_t i = hot; i < t->batch_keys; i++)
    keys[i] = hr_rng_next(&t->rng);
  qsort(keys, t->batch_keys, sizeof *keys, compare_keys);
  return keys;
}

/* Lookup as a client does it: slots, rows that are missing put in, values gathered. */
static hotrow_status look_up(time_state *t, const uint64_t *keys, size_t *hits_p)
{
  size_t stride, missing = 0;
  hotrow_cache_begin_batch(t->cache);
  hotrow_cache_lookup(t->cache, keys, keys, t->batch_keys, NULL, NULL, t->slots, t->seen, t->states);
  for (size_t i = 0; i < t->batch_keys; i++)
    if (t->slots[i] == HOTROW_SLOT_NONE)
      t->missing_keys[missing++] = keys[i];
  HOTROW_TRY(hotrow_cache_insert(t->cache, t->missing_keys, t->missing_keys, t->clocks, t->values, NULL, NULL, missing,
                                 t->missing_slots));
  for (size_t i = 0, m = 0; m < missing; i++)
    if (t->slots[i] == HOTROW_SLOT_NONE)
      t->slots[i] = t->missing_slots[m++];
  const float *rows = hotrow_cache_rows(t->cache, &stride);
  t->kernels->gather(rows, stride, t->dim, t->slots, t->batch_keys, NULL, t->out, t->dim);
  *hits_p += t->batch_keys - missing;
  return HOTROW_OK;
}

/* The least that reading these rows can cost. */
static void plain_gather(const time_state *t)
{
  const uint32_t dim = t->dim;
  for (size_t i = 0; i < t->batch_keys; i++) {
    if (i + PREFETCH_ROWS < t->batch_keys)
      for (uint32_t c = 0; c < dim; c += 16)
        __builtin_prefetch(t->flat + (size_t)t->slots[i + PREFETCH_ROWS] * dim + c);
    memcpy(t->out + i * dim, t->flat + (size_t)t->slots[i] * dim, dim * sizeof(float));
  }
}

/* The least that a step on these rows can cost: slots known, no bookkeeping, a sum beside each row. */
HR_VECTORISED static void plain_update(const uint32_t *slots, size_t count, uint32_t dim, const float *grads,
                                       float *rows, float *sums)
{
  for (size_t i = 0; i < count; i++) {
    if (i + PREFETCH_ROWS < count)
      for (uint32_t c = 0; c < dim; c += 16) {
        __builtin_prefetch(rows + (size_t)slots[i + PREFETCH_ROWS] * dim + c, 1);
        __builtin_prefetch(sums + (size_t)slots[i + PREFETCH_ROWS] * dim + c, 1);
      }
    const float *restrict grad = grads + i * dim;
    float *restrict row = rows + (size_t)slots[i] * dim;
    float *restrict sum = sums + (size_t)slots[i] * dim;
    for (uint32_t c = 0; c < dim; c++) {
      row[c] -= LR * grad[c];
      sum[c] += grad[c];
    }
  }
}

static hotrow_status measure(time_state *t, uint32_t batches, cost *cost_p)
{
  size_t hits = 0;
  *cost_p = (cost){0};
  for (uint32_t b = 0; b < batches; b++) {
    const uint64_t *keys = make_batch(t, b % BATCH_SETS);
    const double begin = busy_seconds();
    HOTROW_TRY(look_up(t, keys, &hits));
    const double looked_up = busy_seconds();
    hotrow_cache_push_list pushes;
    HOTROW_TRY(hotrow_cache_update(t->cache, keys, keys, t->slots, t->values, NULL, t->batch_keys, NULL));
    HOTROW_TRY(hotrow_cache_take_pushes(t->cache, &pushes));
    const double updated = busy_seconds();
    plain_gather(t);
    const double gathered = busy_seconds();
    plain_update(t->slots, t->batch_keys, t->dim, t->values, t->flat, t->flat_sums);
    cost_p->lookup_ns += looked_up - begin;
    cost_p->update_ns += updated - looked_up;
    cost_p->gather_ns += gathered - updated;
    cost_p->update_floor_ns += busy_seconds() - gathered;
  }
  const double keys = (double)t->batch_keys * batches;
  cost_p->lookup_ns *= 1e9 / keys;
  cost_p->update_ns *= 1e9 / keys;
  cost_p->gather_ns *= 1e9 / keys;
  cost_p->update_floor_ns *= 1e9 / keys;
  cost_p->hit_rate = (double)hits / keys;
  return HOTROW_OK;
}

static void make_figures(const cost *costs, uint32_t n, figure figures[FIGURES])
{
  static const char *const names[FIGURES] = {"lookup_ns",    "update_ns", "gather_ns",   "update_floor_ns",
                                             "lookup_ratio", "ratio",     "floor_ratio", "update_floor_ratio"};
  for (uint32_t f = 0; f < FIGURES; f++) {
    figures[f].name = names[f];
    figures[f].decimals = f < LOOKUP_RATIO ? 1 : 3;
  }
  for (uint32_t r = 0; r < n; r++) {
    const cost *c = &costs[r];
    figures[LOOKUP].values[r] = c->lookup_ns;
    figures[UPDATE].values[r] = c->update_ns;
    figures[GATHER].values[r] = c->gather_ns;
    figures[UPDATE_FLOOR].values[r] = c->update_floor_ns;
    figures[LOOKUP_RATIO].values[r] = c->lookup_ns / c->gather_ns;
    figures[RATIO].values[r] = (c->lookup_ns + c->update_ns) / c->gather_ns;
    figures[FLOOR_RATIO].values[r] = (c->gather_ns + c->update_floor_ns) / c->gather_ns;
    figures[UPDATE_FLOOR_RATIO].values[r] = c->update_ns / c->update_floor_ns;
  }
}

/* Each figure as median, smallest and largest. */
static void print_costs(const time_state *t, const cost *costs, uint32_t n)
{
  figure figures[FIGURES];
  double medians[FIGURES];
  make_figures(costs, n, figures);
  const double hit_rate = costs[n / 2].hit_rate;
  for (uint32_t f = 0; f < FIGURES; f++)
    medians[f] = bench_quantile(figures[f].values, n, 0.5);
  if (t->options->json) {
    printf("{\"dim\":%u,\"hit_rate\":%.4f", t->dim, hit_rate);
    for (uint32_t f = 0; f < FIGURES; f++) {
      const figure *g = &figures[f];
      printf(",\"%s\":%.*f,\"%s_min\":%.*f,\"%s_max\":%.*f", g->name, g->decimals, medians[f], g->name, g->decimals,
             g->values[0], g->name, g->decimals, g->values[n - 1]);
    }
    printf(",\"cache_rows\":%llu,\"batch_keys\":%zu,\"repeats\":%u,\"batches\":%u}\n",
           (unsigned long long)t->options->rows, t->batch_keys, n, t->options->batches);
  } else {
    printf("dim %4u hits %5.1f %%  lookup %6.1f ns, update %6.1f ns, plain gather %6.1f ns, plain update %6.1f ns a "
           "key; ratio %.2f (%.2f .. %.2f), of lookup alone %.2f, of the plain two %.2f; of the updates %.2f\n",
           t->dim, 100 * hit_rate, medians[LOOKUP], medians[UPDATE], medians[GATHER], medians[UPDATE_FLOOR],
           medians[RATIO], figures[RATIO].values[0], figures[RATIO].values[n - 1], medians[LOOKUP_RATIO],
           medians[FLOOR_RATIO], medians[UPDATE_FLOOR_RATIO]);
  }
  fflush(stdout);
}

static hotrow_status create_cache(time_state *t)
{
  const hotrow_segment segment = {.dim = t->dim, .optimizer = {.kind = HOTROW_SGD, .lr = LR}};
  hotrow_cache_options options = HOTROW_CACHE_OPTIONS_INIT;
  options.kernels = t->kernels;
  options.segments = &segment;
  options.segment_count = 1;
  options.row_count = t->options->rows;
  options.staging_row_count = t->batch_keys;
  options.pull_bound = BOUND;
  options.push_bound = BOUND;
  options.mode = HOTROW_CACHE_ANNOUNCE;
  options.announce_step = 1;
  return hotrow_cache_create(&options, &t->cache);
}

static hotrow_status open_state(time_state *t)
{
  const size_t n = t->batch_keys;
  HOTROW_TRY(create_cache(t));
  HOTROW_TRY(hr_alloc(n * BATCH_SETS, sizeof *t->keys, "keys", (void **)&t->keys));
  HOTROW_TRY(hr_alloc(n * BATCH_SETS, sizeof *t->hot_keys, "hot keys", (void **)&t->hot_keys));
  HOTROW_TRY(hr_alloc(n, sizeof *t->missing_keys, "missing keys", (void **)&t->missing_keys));
  HOTROW_TRY(hr_alloc(n, sizeof *t->slots, "slots", (void **)&t->slots));
  HOTROW_TRY(hr_alloc(n, sizeof *t->seen, "seen", (void **)&t->seen));
  HOTROW_TRY(hr_alloc(n, sizeof *t->clocks, "clocks", (void **)&t->clocks));
  HOTROW_TRY(hr_alloc(n, sizeof *t->missing_slots, "missing slots", (void **)&t->missing_slots));
  HOTROW_TRY(hr_alloc(n, sizeof *t->states, "states", (void **)&t->states));
  HOTROW_TRY(hr_alloc(n * t->dim, sizeof *t->out, "rows", (void **)&t->out));
  HOTROW_TRY(hr_alloc(n * t->dim, sizeof *t->values, "values", (void **)&t->values));
  t->flat_bytes = (t->options->rows + 16 + n) * t->dim * sizeof(float);
  HOTROW_TRY(hr_map(t->flat_bytes, "flat rows", (void **)&t->flat));
  HOTROW_TRY(hr_map(t->flat_bytes, "flat sums", (void **)&t->flat_sums));
  for (size_t i = 0; i < t->flat_bytes / sizeof(float); i++)
    t->flat[i] = t->flat_sums[i] = 1;
  for (size_t i = 0; i < n * BATCH_SETS; i++)
    t->hot_keys[i] = hr_rng_next(&t->rng);
  return HOTROW_OK;
}

static void close_state(time_state *t)
{
  void *const memory[] = {t->keys,   t->hot_keys,      t->missing_keys, t->slots, t->seen,
                          t->clocks, t->missing_slots, t->states,       t->out,   t->values};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
    free(memory[i]);
  hr_unmap(t->flat, t->flat_bytes);
  hr_unmap(t->flat_sums, t->flat_bytes);
  hotrow_cache_destroy(t->cache);
}

static hotrow_status time_cache(const bench_cache_options *options, uint32_t dim, double miss_rate)
{
  time_state t = {.options = options, .dim = dim, .batch_keys = options->batch_keys, .rng = {1}};
  cost costs[REPEATS_MAX];
  if (t.batch_keys == 0) /* all hot keys take a third of the cache: hardly a set of it overflows */
    t.batch_keys = options->rows / 3 / BATCH_SETS + 1;
  t.fresh_keys = (size_t)(miss_rate * (double)t.batch_keys);
  hotrow_status status = hotrow_kernels_get(HOTROW_CPU, &t.kernels);
  if (status == HOTROW_OK)
    status = open_state(&t);
  /* The hot keys come in within a round; keys that no batch had before take all rows, and all memory, once. */
  const size_t fill_batches = t.fresh_keys > 0 ? options->rows / t.fresh_keys : 0;
  if (status == HOTROW_OK)
    status = measure(&t, 2 * BATCH_SETS + (uint32_t)fill_batches, &costs[0]);
  for (uint32_t r = 0; status == HOTROW_OK && r < options->repeats; r++)
    status = measure(&t, options->batches, &costs[r]);
  if (status == HOTROW_OK)
    print_costs(&t, costs, options->repeats);
  close_state(&t);
  return status;
}

static bool run_dim(void *context, double dim)
{
  const bench_cache_options *options = context;
  static const double miss_rates[] = {0, 0.1};
  for (size_t i = 0; i < sizeof miss_rates / sizeof miss_rates[0]; i++)
    if (time_cache(options, (uint32_t)dim, miss_rates[i]) != HOTROW_OK) {
      fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
      return false;
    }
  return true;
}

int hr_bench_cache(const bench_cache_options *options)
{
  bench_cache_options mutable = *options;
  if (options->trace != NULL)
    return hr_bench_cache_trace(options);
  return bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, run_dim, &mutable) ? 0 : HR_EXIT_SOFTWARE;
}
