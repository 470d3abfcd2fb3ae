/* On a GPU: gradients summed by key, applied to rows, and added to what is pending. */
#include <stdio.h>

#include <hr/optimizer.h>
#include <hr/status.h>

#include "bench_gpu.h"

#define FUSED_FRACTION 0.65
#define PENDING_ROWS 4u /* times the keys of a call: rows that may be pending */

typedef struct grads_state {
  gpu_bench *b;
  uint32_t dim, turns;
  size_t id_count, key_count; /* of a call: occurrences, and distinct keys among them */
  uint64_t row_count, pending_count;
  hotrow_row_layout layout;
  size_t row_stride, pending_stride;
  const float *grads;        /* [turns][id_count][dim] */
  const uint32_t *source;    /* [id_count] */
  const uint32_t *positions; /* [id_count] */
  const uint32_t *offsets;   /* [key_count + 1] */
  float *rows, *pending;
  const uint32_t *slots, *pending_slots; /* [turns][key_count] */
  const uint8_t *is_first;               /* [key_count]: none is */
  float *sums;                           /* [turns][key_count][dim] */
  uint64_t *nonfinite;
} grads_state;

/* Every key twice; or a few keys very often and the others twice. Positions are in random order, as the sort of a batch
 * leaves them. */
static hotrow_status open_terms(grads_state *s, bool has_hot_keys)
{
  gpu_bench *b = s->b;
  const size_t hot = has_hot_keys ? GPU_HOT_KEYS : 0, often = has_hot_keys ? b->sizes.hot_occurrences : 0;
  uint32_t *positions, *offsets;
  s->id_count = b->sizes.keys;
  s->key_count = hot + (s->id_count - hot * often) / 2;
  s->id_count = hot * often + (s->key_count - hot) * 2;
  HOTROW_TRY(gpu_host(b, s->id_count * sizeof *positions, &positions));
  for (size_t i = 0; i < s->id_count; i++)
    positions[i] = (uint32_t)i;
  HOTROW_TRY(gpu_put(b, positions, s->id_count * sizeof *positions, &s->source));
  for (size_t i = s->id_count - 1; i > 0; i--) {
    const size_t other = hr_rng_below(&b->rng, i + 1);
    const uint32_t position = positions[i];
    positions[i] = positions[other];
    positions[other] = position;
  }
  HOTROW_TRY(gpu_put(b, positions, s->id_count * sizeof *positions, &s->positions));
  HOTROW_TRY(gpu_host(b, (s->key_count + 1) * sizeof *offsets, &offsets));
  offsets[0] = 0;
  for (size_t k = 0; k < s->key_count; k++)
    offsets[k + 1] = offsets[k] + (uint32_t)(k < hot ? often : 2);
  HOTROW_TRY(gpu_put(b, offsets, (s->key_count + 1) * sizeof *offsets, &s->offsets));
  s->turns = gpu_turns(b, (double)s->id_count * 4 * s->dim);
  HOTROW_TRY(gpu_floats(b, s->turns * s->id_count * s->dim, &s->grads));
  return gpu_alloc(b, s->turns * s->key_count * s->dim * sizeof *s->sums, &s->sums);
}

static double term_bytes(const grads_state *s) /* gradients, positions and sources */
{
  return (double)s->id_count * (4.0 * s->dim + 8);
}

/* --- segment_sum --- */

static hotrow_status run_segment_sum(void *context, uint32_t turn)
{
  grads_state *s = context;
  s->b->kernels->segment_sum(s->grads + turn * s->id_count * s->dim, s->dim, s->dim, s->source, NULL, s->positions,
                             s->offsets, s->key_count, s->b->stream, s->sums + turn * s->key_count * s->dim);
  return HOTROW_OK;
}

static void name_shape(const grads_state *s, bool has_hot_keys, const char *more, gpu_line *line)
{
  if (has_hot_keys)
    snprintf(line->shape, sizeof line->shape, "%zu keys, %u of them %llu times%s", s->key_count, GPU_HOT_KEYS,
             (unsigned long long)s->b->sizes.hot_occurrences, more);
  else
    snprintf(line->shape, sizeof line->shape, "%zu keys, each twice%s", s->key_count, more);
}

hotrow_status gpu_bench_segment_sum(gpu_bench *b, uint32_t dim)
{
  for (int has_hot_keys = 0; has_hot_keys < 2; has_hot_keys++) {
    grads_state s = {.b = b, .dim = dim};
    HOTROW_TRY(open_terms(&s, has_hot_keys));
    gpu_line line = {.kernel = "segment_sum",
                     .dim = dim,
                     .units = s.key_count,
                     .bytes = term_bytes(&s) + (double)s.key_count * (4.0 * dim + 4)};
    name_shape(&s, has_hot_keys, "", &line);
    HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_segment_sum, .context = &s, .turns = s.turns}));
    gpu_release(b, 0);
  }
  return HOTROW_OK;
}

/* --- fused --- */

static hotrow_status open_slots(grads_state *s)
{
  gpu_bench *b = s->b;
  const size_t count = s->turns * s->key_count;
  uint32_t *slots;
  HOTROW_TRY(gpu_host(b, count * sizeof *slots, &slots));
  for (uint32_t t = 0; t < s->turns; t++)
    gpu_draw_distinct(b, s->row_count, s->key_count, slots + t * s->key_count);
  HOTROW_TRY(gpu_put(b, slots, count * sizeof *slots, &s->slots));
  for (uint32_t t = 0; t < s->turns; t++)
    gpu_draw_distinct(b, s->pending_count, s->key_count, slots + t * s->key_count);
  HOTROW_TRY(gpu_put(b, slots, count * sizeof *slots, &s->pending_slots));
  return gpu_alloc(b, s->key_count, &s->is_first);
}

/* State is left 0, as it is of new rows: of random numbers many roots would be NaN, which take another way. */
static hotrow_status open_optimizer(grads_state *s, hotrow_optimizer_kind kind)
{
  gpu_bench *b = s->b;
  const hotrow_segment segment = {.dim = s->dim, .optimizer = {.kind = kind, .lr = 1e-4f}};
  HOTROW_TRY(hr_row_layout_make(&segment, 1, &s->layout));
  s->row_stride = (s->layout.dim + s->layout.state_dim + 3) / 4 * 4;
  s->pending_stride = (s->layout.dim + s->layout.square_dim + 3) / 4 * 4;
  s->row_count = gpu_row_count(b, s->row_stride);
  s->pending_count = PENDING_ROWS * s->key_count;
  HOTROW_TRY(gpu_alloc(b, s->row_count * s->row_stride * sizeof *s->rows, &s->rows));
  HOTROW_TRY(gpu_alloc(b, s->pending_count * s->pending_stride * sizeof *s->pending, &s->pending));
  HOTROW_TRY(gpu_alloc(b, sizeof *s->nonfinite, &s->nonfinite));
  return open_slots(s);
}

static hotrow_status run_fused(void *context, uint32_t turn)
{
  grads_state *s = context;
  const hotrow_key_terms terms = {.grads = s->grads + turn * s->id_count * s->dim,
                                  .grad_stride = s->dim,
                                  .source = s->source,
                                  .positions = s->positions,
                                  .offsets = s->offsets,
                                  .key_count = s->key_count};
  const hotrow_key_rows rows = {.rows = s->rows,
                                .row_stride = s->row_stride,
                                .slots = s->slots + turn * s->key_count,
                                .pending = s->pending,
                                .pending_stride = s->pending_stride,
                                .pending_slots = s->pending_slots + turn * s->key_count,
                                .is_first = s->is_first};
  s->b->kernels->segment_sum_apply(&s->layout, 1, &terms, &rows, s->b->stream, s->sums + turn * s->key_count * s->dim,
                                   s->nonfinite);
  return HOTROW_OK;
}

/* Row and pending sums are read and written; 64: slots, flag and offset with the rest of their sectors. Row-wise
 * Adagrad has two sectors more (its sum and that of squares), Adam two moments as wide as the row. */
static double fused_bytes(const grads_state *s, hotrow_optimizer_kind kind)
{
  const double state = kind == HOTROW_ROWWISE_ADAGRAD ? 64 : kind == HOTROW_ADAM ? 16.0 * s->dim : 0;
  return term_bytes(s) + (double)s->key_count * (16.0 * s->dim + 64 + state);
}

hotrow_status gpu_bench_fused(gpu_bench *b, uint32_t dim)
{
  static const struct {
    hotrow_optimizer_kind kind;
    const char *name;
  } optimizers[] = {{HOTROW_SGD, ", sgd"}, {HOTROW_ROWWISE_ADAGRAD, ", rowwise_adagrad"}, {HOTROW_ADAM, ", adam"}};
  for (int has_hot_keys = 0; has_hot_keys < 2; has_hot_keys++) {
    grads_state s = {.b = b, .dim = dim};
    HOTROW_TRY(open_terms(&s, has_hot_keys));
    const uint32_t kept = b->array_count;
    for (size_t i = 0; i < sizeof optimizers / sizeof optimizers[0]; i++) {
      HOTROW_TRY(open_optimizer(&s, optimizers[i].kind));
      gpu_line line = {.kernel = "fused",
                       .dim = dim,
                       .units = s.key_count,
                       .bytes = fused_bytes(&s, optimizers[i].kind),
                       .goal = GPU_COPY_FRACTION,
                       .goal_value = FUSED_FRACTION};
      name_shape(&s, has_hot_keys, optimizers[i].name, &line);
      HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_fused, .context = &s, .turns = s.turns}));
      gpu_release(b, kept);
    }
    gpu_release(b, 0);
  }
  return HOTROW_OK;
}

/* --- pending_add --- */

static hotrow_status run_pending(void *context, uint32_t turn)
{
  grads_state *s = context;
  s->b->kernels->pending_add(&s->layout, s->pending, s->pending_stride, s->pending_slots + turn * s->key_count,
                             s->is_first, s->grads + turn * s->key_count * s->dim, s->key_count, s->b->stream);
  return HOTROW_OK;
}

hotrow_status gpu_bench_pending(gpu_bench *b, uint32_t dim)
{
  grads_state s = {.b = b, .dim = dim, .key_count = b->sizes.keys};
  const double bytes = (double)s.key_count * (12.0 * dim + 5 + 8); /* 8: the sum of squares */
  s.turns = gpu_turns(b, bytes);
  HOTROW_TRY(gpu_floats(b, s.turns * s.key_count * dim, &s.grads));
  HOTROW_TRY(open_optimizer(&s, HOTROW_ROWWISE_ADAGRAD));
  gpu_line line = {.kernel = "pending_add", .dim = dim, .units = s.key_count, .bytes = bytes};
  snprintf(line.shape, sizeof line.shape, "%zu rows, rowwise_adagrad", s.key_count);
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_pending, .context = &s, .turns = s.turns}));
  gpu_release(b, 0);
  return HOTROW_OK;
}
