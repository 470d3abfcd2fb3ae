/* On a GPU: the plain copy that all is held against, distinct keys, and keys looked for in sets. */
#include <stdio.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "bench_gpu.h"

/* --- copy --- */

typedef struct copy_state {
  gpu_bench *b;
  void *from, *to;
} copy_state;

static hotrow_status run_copy(void *context, uint32_t turn)
{
  copy_state *s = context;
  (void)turn;
  return s->b->kernels->copy(s->to, s->from, s->b->sizes.copy_bytes, s->b->stream);
}

hotrow_status gpu_bench_copy(gpu_bench *b, uint32_t dim)
{
  copy_state s = {.b = b};
  gpu_times times;
  (void)dim;
  HOTROW_TRY(gpu_floats(b, b->sizes.copy_bytes / sizeof(float), &s.from));
  HOTROW_TRY(gpu_alloc(b, b->sizes.copy_bytes, &s.to));
  HOTROW_TRY(gpu_measure(b, &(gpu_call){.run = run_copy, .context = &s, .turns = 1}, &times));
  gpu_line line = {
      .kernel = "copy", .units = b->sizes.copy_bytes / sizeof(float), .bytes = 2 * (double)b->sizes.copy_bytes};
  snprintf(line.shape, sizeof line.shape, "%.4g MiB, read and written", (double)b->sizes.copy_bytes / 0x1p20);
  b->copy_gb_per_s = line.bytes / times.median_us * 1e-3;
  gpu_print_line(b, &line, &times);
  gpu_release(b, 0);
  return HOTROW_OK;
}

/* --- dedup --- */

/* A key is hashed (16 bytes), eight passes of a radix sort each read and write hash and position (192) after a count of
 * digits (8), and the runs are written (66): 8 passes * 24 + 28 + 66. */
#define DEDUP_BYTES 286
#define DEDUP_US 200.0
#define DEDUP_RATE 7.1 /* of the large one: 10 G/s of sorting and 25 G/s of the rest, one after the other */

typedef struct dedup_state {
  gpu_bench *b;
  size_t count;
  const uint64_t *keys; /* [turns][count] */
  void *scratch;
  hotrow_dedup result;
} dedup_state;

static hotrow_status run_dedup(void *context, uint32_t turn)
{
  dedup_state *s = context;
  return s->b->kernels->dedup(s->keys + turn * s->count, s->count, 1, s->scratch, s->b->stream, &s->result);
}

static hotrow_status time_dedup(gpu_bench *b, size_t count, bool is_zipf)
{
  dedup_state s = {.b = b, .count = count};
  const uint32_t turns = gpu_turns(b, (double)count * 60); /* its arrays and scratch are most of it, and come again */
  uint32_t *index;
  uint64_t *keys;
  HOTROW_TRY(gpu_host(b, turns * count * (sizeof *keys + sizeof *index), &keys));
  index = (uint32_t *)(void *)(keys + turns * count);
  gpu_draw(b, is_zipf, b->sizes.rows, turns * count, index);
  for (size_t i = 0; i < turns * count; i++)
    keys[i] = hr_mix64(index[i]);
  HOTROW_TRY(gpu_put(b, keys, turns * count * sizeof *keys, &s.keys));
  HOTROW_TRY(gpu_alloc(b, b->kernels->dedup_scratch_size(count), &s.scratch));
  HOTROW_TRY(gpu_alloc(b, count * sizeof(uint64_t), &s.result.keys));
  HOTROW_TRY(gpu_alloc(b, count * sizeof(uint64_t), &s.result.hashes));
  HOTROW_TRY(gpu_alloc(b, count * sizeof(uint32_t), &s.result.inverse));
  HOTROW_TRY(gpu_alloc(b, (count + 1) * sizeof(uint32_t), &s.result.offsets));
  HOTROW_TRY(gpu_alloc(b, count * sizeof(uint32_t), &s.result.positions));
  HOTROW_TRY(gpu_alloc(b, sizeof(uint32_t), &s.result.unique_count_p));
  const bool is_large = count == b->sizes.many_keys;
  gpu_line line = {.kernel = "dedup",
                   .units = count,
                   .bytes = DEDUP_BYTES * (double)count,
                   .goal = is_large ? GPU_RATE : GPU_TIME,
                   .goal_value = is_large ? DEDUP_RATE : DEDUP_US};
  snprintf(line.shape, sizeof line.shape, "%zu keys, %s", count, gpu_distribution(is_zipf));
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_dedup, .context = &s, .turns = turns}));
  gpu_release(b, 0);
  return HOTROW_OK;
}

static hotrow_status time_dedups(gpu_bench *b, uint32_t dim, bool is_zipf)
{
  (void)dim;
  HOTROW_TRY(time_dedup(b, b->sizes.keys, is_zipf));
  return time_dedup(b, b->sizes.many_keys, is_zipf);
}

hotrow_status gpu_bench_dedup(gpu_bench *b, uint32_t dim)
{
  return gpu_for_distributions(b, dim, time_dedups);
}

/* --- probe --- */

#define PROBE_BYTES 150 /* a set's keys 128, its occupied ways 2, key and hash 16, slot 4 */
#define PROBE_RATE 8.0

typedef struct probe_state {
  gpu_bench *b;
  uint32_t set_count, turns;
  size_t count;
  const uint64_t *set_keys;      /* [set_count][16]: a slot's key is a mix of its number, whatever is occupied */
  const uint64_t *keys, *hashes; /* [turns][count], of occupied slots, ascending */
  const uint16_t *occupied;
  uint32_t *slots; /* [turns][count] */
  uint32_t ways;   /* occupied, of each set */
  hotrow_status status;
} probe_state;

static hotrow_status run_probe(void *context, uint32_t turn)
{
  probe_state *s = context;
  const size_t first = turn * s->count;
  s->b->kernels->probe(s->set_keys, NULL, s->occupied, s->set_count, s->keys + first, s->hashes + first, s->count,
                       s->b->stream, s->slots + first);
  return HOTROW_OK;
}

static hotrow_status fill_sets(probe_state *s)
{
  uint64_t *keys;
  const size_t count = (size_t)s->set_count * GPU_WAYS;
  HOTROW_TRY(gpu_host(s->b, count * sizeof *keys, &keys));
  for (size_t i = 0; i < count; i++)
    keys[i] = hr_mix64(i + 1);
  return gpu_put(s->b, keys, count * sizeof *keys, &s->set_keys);
}

/* Keys that are held, each once, in the order of their sets; a hash says no more than its set, which is all of it that
 * is looked at. */
static hotrow_status draw_keys(probe_state *s)
{
  gpu_bench *b = s->b;
  const size_t count = s->turns * s->count;
  uint64_t *keys, *hashes;
  HOTROW_TRY(gpu_host(b, count * (2 * sizeof *keys + sizeof(uint32_t)), &keys));
  hashes = keys + count;
  uint32_t *held = (uint32_t *)(void *)(hashes + count);
  for (uint32_t t = 0; t < s->turns; t++)
    gpu_draw_distinct(b, (uint64_t)s->set_count * s->ways, s->count, held + t * s->count);
  for (size_t i = 0; i < count; i++) {
    const uint64_t set = held[i] / s->ways, slot = set * GPU_WAYS + held[i] % s->ways;
    keys[i] = hr_mix64(slot + 1);
    hashes[i] = ((set << 32) / s->set_count + 1) << 32;
  }
  HOTROW_TRY(gpu_put(b, keys, count * sizeof *keys, &s->keys));
  return gpu_put(b, hashes, count * sizeof *hashes, &s->hashes);
}

/* Every key of the last call was found. */
static hotrow_status check_probe(probe_state *s)
{
  uint32_t *slots;
  HOTROW_TRY(gpu_host(s->b, s->count * sizeof *slots, &slots));
  HOTROW_TRY(s->b->kernels->copy_out(slots, s->slots, s->count * sizeof *slots, s->b->stream));
  HOTROW_TRY(s->b->kernels->synchronize(s->b->stream));
  for (size_t i = 0; i < s->count; i++)
    if (slots[i] == HOTROW_SLOT_NONE)
      return hr_fail(HOTROW_ERR_INTERNAL, "probe has not found key %zu of %zu", i, s->count);
  return HOTROW_OK;
}

static hotrow_status time_load(probe_state *s, double load)
{
  gpu_bench *b = s->b;
  const uint32_t kept = b->array_count;
  uint16_t *occupied;
  s->ways = (uint32_t)(load * GPU_WAYS + 0.5);
  s->ways = s->ways < 1 ? 1 : s->ways;
  HOTROW_TRY(gpu_host(b, s->set_count * sizeof *occupied, &occupied));
  for (uint32_t set = 0; set < s->set_count; set++)
    occupied[set] = (uint16_t)((1u << s->ways) - 1);
  HOTROW_TRY(gpu_put(b, occupied, s->set_count * sizeof *occupied, &s->occupied));
  HOTROW_TRY(draw_keys(s));
  HOTROW_TRY(gpu_alloc(b, s->turns * s->count * sizeof *s->slots, &s->slots));
  gpu_line line = {.kernel = "probe",
                   .units = s->count,
                   .bytes = PROBE_BYTES * (double)s->count,
                   .goal = GPU_RATE,
                   .goal_value = PROBE_RATE};
  snprintf(line.shape, sizeof line.shape, "%zu sorted in %llu slots, load %.2f", s->count,
           (unsigned long long)s->set_count * GPU_WAYS, (double)s->ways / GPU_WAYS);
  HOTROW_TRY(gpu_time(b, &line, &(gpu_call){.run = run_probe, .context = s, .turns = s->turns}));
  HOTROW_TRY(check_probe(s));
  gpu_release(b, kept);
  return HOTROW_OK;
}

static bool run_load(void *context, double load)
{
  probe_state *s = context;
  s->status = time_load(s, load);
  return s->status == HOTROW_OK;
}

hotrow_status gpu_bench_probe(gpu_bench *b, uint32_t dim)
{
  probe_state s = {.b = b, .set_count = (uint32_t)(b->sizes.rows / GPU_WAYS), .count = b->sizes.keys};
  (void)dim;
  s.turns = gpu_turns(b, PROBE_BYTES * (double)s.count);
  HOTROW_TRY(fill_sets(&s));
  if (!bench_for_each("load", b->options->loads, 0, 1, run_load, &s) && s.status == HOTROW_OK)
    return hr_fail(HOTROW_ERR_INVALID, "--load %s is no list of loads", b->options->loads);
  return s.status;
}
