/* On a GPU: rows read, summed in bags, packed and unpacked. */
#include <stdio.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "bench_gpu.h"

typedef struct rows_state {
  gpu_bench *b;
  uint32_t dim, turns, bag;
  uint64_t row_count;
  size_t count; /* rows read by a call */
  const float *rows;
  const uint32_t *slots;   /* [turns][count] */
  const uint32_t *offsets; /* [count / bag + 1] */
  const float *weights;    /* [count] or NULL */
  float *out;              /* [turns][count / bag][dim] */
  hotrow_dtype dtype;
  void *packed; /* [turns][count][dim] */
  float *scales;
} rows_state;

static hotrow_status open_rows(rows_state *s, size_t row_floats)
{
  s->row_count = gpu_row_count(s->b, row_floats);
  return gpu_floats(s->b, s->row_count * row_floats, &s->rows);
}

static hotrow_status draw_slots(rows_state *s, bool is_zipf)
{
  const size_t count = s->turns * s->count;
  uint32_t *slots;
  HOTROW_TRY(gpu_host(s->b, count * sizeof *slots, &slots));
  gpu_draw(s->b, is_zipf, s->row_count, count, slots);
  return gpu_put(s->b, slots, count * sizeof *slots, &s->slots);
}

/* --- gather --- */

static hotrow_status run_gather(void *context, uint32_t turn)
{
  rows_state *s = context;
  s->b->kernels->gather(s->rows, s->dim, s->dim, s->slots + turn * s->count, s->count, s->b->stream,
                        s->out + turn * s->count * s->dim, s->dim);
  return HOTROW_OK;
}

static hotrow_status time_gather(gpu_bench *b, uint32_t dim, bool is_zipf)
{
  rows_state s = {.b = b, .dim = dim, .count = b->sizes.keys};
  const double bytes = (double)s.count * (8.0 * dim + 4);
  s.turns = gpu_turns(b, bytes);
  HOTROW_TRY(open_rows(&s, dim));
  HOTROW_TRY(draw_slots(&s, is_zipf));
  HOTROW_TRY(gpu_alloc(b, s.turns * s.count * dim * sizeof *s.out, &s.out));
  gpu_line line = {.kernel = "gather", .dim = dim, .units = s.count, .bytes = bytes};
  snprintf(line.shape, sizeof line.shape, "%zu of %llu rows, %s", s.count, (unsigned long long)s.row_count,
           gpu_distribution(is_zipf));
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_gather, .context = &s, .turns = s.turns}));
  gpu_release(b, 0);
  return HOTROW_OK;
}

hotrow_status gpu_bench_gather(gpu_bench *b, uint32_t dim)
{
  return gpu_for_distributions(b, dim, time_gather);
}

/* --- pool --- */

#define POOL_FRACTION_WIDE 0.75 /* at dim 64 and wider */
#define POOL_FRACTION_16 0.45

static hotrow_status run_pool(void *context, uint32_t turn)
{
  rows_state *s = context;
  const size_t bags = s->count / s->bag;
  s->b->kernels->pool(s->rows, s->dim, s->dim, s->slots + turn * s->count, s->offsets, s->weights, bags,
                      HOTROW_POOL_SUM, s->b->stream, s->out + turn * bags * s->dim, s->dim);
  return HOTROW_OK;
}

static hotrow_status open_bags(rows_state *s)
{
  const size_t bags = s->count / s->bag;
  uint32_t *offsets;
  HOTROW_TRY(gpu_host(s->b, (bags + 1) * sizeof *offsets, &offsets));
  for (size_t i = 0; i <= bags; i++)
    offsets[i] = (uint32_t)(i * s->bag);
  HOTROW_TRY(gpu_put(s->b, offsets, (bags + 1) * sizeof *offsets, &s->offsets));
  if (s->bag > 1)
    HOTROW_TRY(gpu_floats(s->b, s->count, &s->weights));
  return gpu_alloc(s->b, s->turns * bags * s->dim * sizeof *s->out, &s->out);
}

static hotrow_status time_bags(rows_state *s, uint32_t bag, bool is_zipf)
{
  gpu_bench *b = s->b;
  const uint32_t dim = s->dim, kept = b->array_count;
  s->bag = bag;
  s->count = b->sizes.keys / bag * bag;
  const double bytes = (double)s->count * (8 + 4.0 * dim + 4.0 * dim / bag); /* 8: slot, and weight or offset */
  s->turns = gpu_turns(b, bytes);
  HOTROW_TRY(draw_slots(s, is_zipf));
  HOTROW_TRY(open_bags(s));
  gpu_line line = {.kernel = "pool",
                   .dim = dim,
                   .units = s->count,
                   .bytes = bytes,
                   .goal = dim >= 64 || dim == 16 ? GPU_COPY_FRACTION : GPU_NO_GOAL,
                   .goal_value = dim == 16 ? POOL_FRACTION_16 : POOL_FRACTION_WIDE};
  snprintf(line.shape, sizeof line.shape, "bags of %u%s, %llu rows, %s", bag, bag > 1 ? ", weights" : "",
           (unsigned long long)s->row_count, gpu_distribution(is_zipf));
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_pool, .context = s, .turns = s->turns}));
  s->weights = NULL;
  gpu_release(b, kept);
  return HOTROW_OK;
}

static hotrow_status time_pools(gpu_bench *b, uint32_t dim, bool is_zipf)
{
  rows_state s = {.b = b, .dim = dim};
  HOTROW_TRY(open_rows(&s, dim));
  HOTROW_TRY(time_bags(&s, 1, is_zipf));
  HOTROW_TRY(time_bags(&s, GPU_BAG, is_zipf));
  gpu_release(b, 0);
  return HOTROW_OK;
}

hotrow_status gpu_bench_pool(gpu_bench *b, uint32_t dim)
{
  return gpu_for_distributions(b, dim, time_pools);
}

/* --- pack --- */

#define PACK_FRACTION 0.80

static size_t packed_bytes(const rows_state *s)
{
  return s->dtype == HOTROW_I8 ? 1 : 2;
}

static void *packed_of(const rows_state *s, uint32_t turn)
{
  return (char *)s->packed + turn * s->count * s->dim * packed_bytes(s);
}

static hotrow_status run_pack(void *context, uint32_t turn)
{
  rows_state *s = context;
  s->b->kernels->pack(s->dtype, s->rows + turn * s->count * s->dim, s->dim, s->dim, NULL, s->count, s->b->stream,
                      packed_of(s, turn), s->scales + turn * s->count);
  return HOTROW_OK;
}

static hotrow_status run_unpack(void *context, uint32_t turn)
{
  rows_state *s = context;
  s->b->kernels->unpack(s->dtype, packed_of(s, turn), s->scales + turn * s->count, s->dim, s->count, s->b->stream,
                        s->out + turn * s->count * s->dim, s->dim);
  return HOTROW_OK;
}

static hotrow_status time_pack(rows_state *s, const char *dtype_name)
{
  gpu_bench *b = s->b;
  const uint32_t kept = b->array_count;
  const size_t count = s->turns * s->count;
  const double scale_bytes = s->dtype == HOTROW_I8 ? sizeof(float) : 0;
  HOTROW_TRY(gpu_alloc(b, count * s->dim * packed_bytes(s), &s->packed));
  HOTROW_TRY(gpu_alloc(b, count * sizeof(float), &s->scales));
  gpu_line line = {.kernel = "pack",
                   .dim = s->dim,
                   .units = s->count,
                   .bytes = (double)s->count * ((4 + (double)packed_bytes(s)) * s->dim + scale_bytes),
                   .goal = GPU_COPY_FRACTION,
                   .goal_value = PACK_FRACTION};
  snprintf(line.shape, sizeof line.shape, "%s, %zu rows", dtype_name, s->count);
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_pack, .context = s, .turns = s->turns}));
  for (uint32_t t = 0; t < s->turns; t++) /* every row that is unpacked was packed */
    HOTROW_TRY(run_pack(s, t));
  line.kernel = "unpack";
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_unpack, .context = s, .turns = s->turns}));
  gpu_release(b, kept);
  return HOTROW_OK;
}

/* Rows that are kept as halves, read as floats. */
static hotrow_status run_gather_packed(void *context, uint32_t turn)
{
  rows_state *s = context;
  const size_t stride = (s->dim + 1) / 2;
  s->b->kernels->gather_packed(HOTROW_F16, s->rows, stride, s->dim, s->slots + turn * s->count, s->count, s->b->stream,
                               s->out + turn * s->count * s->dim, s->dim);
  return HOTROW_OK;
}

static hotrow_status time_gather_packed(gpu_bench *b, uint32_t dim)
{
  rows_state s = {.b = b, .dim = dim, .count = b->sizes.keys};
  const double bytes = (double)s.count * (6.0 * dim + 4);
  s.turns = gpu_turns(b, bytes);
  HOTROW_TRY(open_rows(&s, (dim + 1) / 2));
  HOTROW_TRY(draw_slots(&s, false));
  HOTROW_TRY(gpu_alloc(b, s.turns * s.count * dim * sizeof *s.out, &s.out));
  gpu_line line = {.kernel = "gather_packed", .dim = dim, .units = s.count, .bytes = bytes};
  snprintf(line.shape, sizeof line.shape, "f16, %zu of %llu rows, uniform", s.count, (unsigned long long)s.row_count);
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_gather_packed, .context = &s, .turns = s.turns}));
  gpu_release(b, 0);
  return HOTROW_OK;
}

hotrow_status gpu_bench_pack(gpu_bench *b, uint32_t dim)
{
  rows_state s = {.b = b, .dim = dim, .count = b->sizes.keys};
  s.turns = gpu_turns(b, (double)s.count * 5 * dim);
  HOTROW_TRY(gpu_floats(b, s.turns * s.count * dim, &s.rows));
  HOTROW_TRY(gpu_alloc(b, s.turns * s.count * dim * sizeof *s.out, &s.out));
  s.dtype = HOTROW_F16;
  HOTROW_TRY(time_pack(&s, "f16"));
  s.dtype = HOTROW_I8;
  HOTROW_TRY(time_pack(&s, "i8"));
  gpu_release(b, 0);
  return time_gather_packed(b, dim);
}
