/* What kernels, cache and a whole sparse step do on this GPU, against the bandwidth of a plain copy in the same run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "bench_gpu.h"
#include "dataset_zipf.h"
#include "options.h"

#define REPEATS_MAX 101u
#define CALLS_MAX 64u        /* of a repeat */
#define REPEAT_US 2000.0     /* a repeat has so many calls that it takes about as long */
#define CACHES_PER_ROUND 4.0 /* a buffer comes again after so many times the device's cache */
#define TURNS_MAX 32u
#define RANDOM_BYTES ((size_t)16 << 20) /* made by the host; the rest of an array is copies of it */

const char *const bench_gpu_kernel_names[] = {"all",   "copy", "dedup",   "probe", "gather", "pool",   "segment_sum",
                                              "fused", "pack", "pending", "cache", "step",   "lookup", NULL};

const char *const bench_gpu_distribution_names[] = {"both", "uniform", "zipf", NULL};

static const struct {
  const char *name; /* of bench_gpu_kernel_names */
  hotrow_status (*run)(gpu_bench *b, uint32_t dim);
  bool has_dims;
} benchmarks[] = {
    {"dedup", gpu_bench_dedup, false},
    {"probe", gpu_bench_probe, false},
    {"gather", gpu_bench_gather, true},
    {"pool", gpu_bench_pool, true},
    {"segment_sum", gpu_bench_segment_sum, true},
    {"fused", gpu_bench_fused, true},
    {"pending", gpu_bench_pending, true},
    {"pack", gpu_bench_pack, true},
    {"cache", gpu_bench_cache, false},
    {"step", gpu_bench_step, false},
    {"lookup", gpu_bench_lookup, false},
};

hotrow_status gpu_alloc(gpu_bench *b, size_t size_bytes, void *memory_p)
{
  if (b->array_count == GPU_ARRAYS_MAX)
    return hr_fail(HOTROW_ERR_INTERNAL, "more than %u arrays", GPU_ARRAYS_MAX);
  void *memory = NULL;
  HOTROW_TRY(b->kernels->alloc(size_bytes, &memory));
  b->arrays[b->array_count++] = memory;
  memcpy(memory_p, &memory, sizeof memory);
  return HOTROW_OK;
}

hotrow_status gpu_put(gpu_bench *b, const void *host, size_t size_bytes, void *memory_p)
{
  void *memory = NULL;
  HOTROW_TRY(gpu_alloc(b, size_bytes, &memory));
  HOTROW_TRY(b->kernels->copy_in(memory, host, size_bytes, b->stream));
  memcpy(memory_p, &memory, sizeof memory);
  return b->kernels->synchronize(b->stream);
}

hotrow_status gpu_floats(gpu_bench *b, size_t count, void *memory_p)
{
  const size_t size = count * sizeof(float), made = size < RANDOM_BYTES ? size : RANDOM_BYTES;
  float *host;
  char *memory = NULL;
  HOTROW_TRY(gpu_host(b, made, &host));
  for (size_t i = 0; i < made / sizeof *host; i++)
    host[i] = 2 * hr_rng_unit(&b->rng) - 1;
  HOTROW_TRY(gpu_alloc(b, size, &memory));
  HOTROW_TRY(b->kernels->copy_in(memory, host, made, b->stream));
  for (size_t done = made; done < size;) {
    const size_t more = done < size - done ? done : size - done;
    HOTROW_TRY(b->kernels->copy(memory + done, memory, more, b->stream));
    done += more;
  }
  memcpy(memory_p, &memory, sizeof memory);
  return b->kernels->synchronize(b->stream);
}

void gpu_release(gpu_bench *b, uint32_t kept)
{
  b->kernels->synchronize(b->stream);
  while (b->array_count > kept)
    b->kernels->free(b->arrays[--b->array_count]);
}

hotrow_status gpu_host(gpu_bench *b, size_t size_bytes, void *memory_p)
{
  if (size_bytes > b->host_bytes) {
    free(b->host);
    b->host = NULL;
    b->host_bytes = 0;
    HOTROW_TRY(hr_alloc(size_bytes, 1, "arrays of the host", &b->host));
    b->host_bytes = size_bytes;
  }
  memcpy(memory_p, &b->host, sizeof b->host);
  return HOTROW_OK;
}

uint32_t gpu_turns(const gpu_bench *b, double call_bytes)
{
  const double turns = CACHES_PER_ROUND * (double)b->device.cache_bytes / call_bytes + 2;
  return turns < TURNS_MAX ? (uint32_t)turns : TURNS_MAX;
}

uint64_t gpu_row_count(const gpu_bench *b, size_t row_floats)
{
  const uint64_t fitting = b->device.memory_bytes / 4 / (row_floats * sizeof(float));
  return fitting < b->sizes.rows ? fitting : b->sizes.rows;
}

void gpu_draw(gpu_bench *b, bool is_zipf, uint64_t limit, size_t count, uint32_t *index_p)
{
  hr_zipf zipf;
  hr_zipf_init(&zipf, 1, limit, GPU_ZIPF);
  for (size_t i = 0; i < count; i++) {
    if (is_zipf)
      index_p[i] = (uint32_t)(hr_mix64(hr_zipf_draw(&zipf, hr_unit_double(hr_rng_next(&b->rng)), &b->rng)) % limit);
    else
      index_p[i] = (uint32_t)hr_rng_below(&b->rng, limit);
  }
}

void gpu_draw_distinct(gpu_bench *b, uint64_t limit, size_t count, uint32_t *index_p)
{
  const uint64_t stretch = limit / count;
  for (size_t i = 0; i < count; i++)
    index_p[i] = (uint32_t)(i * stretch + hr_rng_below(&b->rng, stretch));
}

/* The device's time of `calls` calls, the first of them with this number. */
static hotrow_status time_calls(gpu_bench *b, const gpu_call *call, uint32_t first, uint32_t calls, double *us_p)
{
  const hotrow_kernels *kernels = b->kernels;
  float ms;
  if (call->prepare)
    HOTROW_TRY(call->prepare(call->context, first % call->turns));
  HOTROW_TRY(kernels->synchronize(b->stream));
  HOTROW_TRY(kernels->event_record(b->begin, b->stream));
  for (uint32_t i = 0; i < calls; i++)
    HOTROW_TRY(call->run(call->context, (first + i) % call->turns));
  HOTROW_TRY(kernels->event_record(b->end, b->stream));
  HOTROW_TRY(kernels->synchronize(b->stream));
  HOTROW_TRY(kernels->event_elapsed_ms(b->begin, b->end, &ms));
  *us_p = 1e3 * (double)ms / calls;
  return HOTROW_OK;
}

hotrow_status gpu_measure(gpu_bench *b, const gpu_call *call, gpu_times *times_p)
{
  double us[REPEATS_MAX];
  const uint32_t repeats = b->options->repeats;
  uint32_t next = 1, calls = 1;
  HOTROW_TRY(time_calls(b, call, 0, 1, us)); /* what is done once, such as loading a kernel, is not measured */
  if (!call->prepare && us[0] < REPEAT_US) {
    HOTROW_TRY(time_calls(b, call, next++, 1, us));
    const double fitting = REPEAT_US / (us[0] > 1 ? us[0] : 1);
    calls = fitting < 1 ? 1 : fitting < CALLS_MAX ? (uint32_t)fitting : CALLS_MAX;
  }
  for (uint32_t r = 0; r < repeats; r++, next += calls)
    HOTROW_TRY(time_calls(b, call, next, calls, &us[r]));
  *times_p = (gpu_times){.median_us = bench_quantile(us, repeats, 0.5), .min_us = us[0], .max_us = us[repeats - 1]};
  return HOTROW_OK;
}

hotrow_status gpu_time(gpu_bench *b, const gpu_line *line, const gpu_call *call)
{
  gpu_times times;
  HOTROW_TRY(gpu_measure(b, call, &times));
  gpu_print_line(b, line, &times);
  return HOTROW_OK;
}

hotrow_status gpu_for_distributions(gpu_bench *b, uint32_t dim, gpu_case_fn fn)
{
  const uint32_t which = b->options->distribution; /* 0 both, 1 uniform, 2 zipf */
  if (which != 2)
    HOTROW_TRY(fn(b, dim, false));
  return which != 1 ? fn(b, dim, true) : HOTROW_OK;
}

typedef struct run_context {
  gpu_bench *bench;
  hotrow_status (*run)(gpu_bench *b, uint32_t dim);
  const char *name;
  hotrow_status status;
} run_context;

/* What does not fit in memory is left out, and named. */
static bool run_dim(void *context, double dim)
{
  run_context *c = context;
  c->status = c->run(c->bench, (uint32_t)dim);
  gpu_release(c->bench, 0);
  if (c->status == HOTROW_ERR_NO_MEMORY) {
    fprintf(stderr, "hotrow bench: %s left out: %s\n", c->name, hotrow_last_error());
    c->status = HOTROW_OK;
  }
  return c->status == HOTROW_OK;
}

static hotrow_status run_benchmarks(gpu_bench *b)
{
  const char *wanted = bench_gpu_kernel_names[b->options->kernel];
  const bool wants_all = b->options->kernel == 0;
  HOTROW_TRY(gpu_bench_copy(b, 0));
  for (size_t i = 0; i < sizeof benchmarks / sizeof benchmarks[0]; i++) {
    if (!wants_all && strcmp(wanted, benchmarks[i].name) != 0)
      continue;
    run_context context = {.bench = b, .run = benchmarks[i].run, .name = benchmarks[i].name};
    if (benchmarks[i].has_dims) {
      if (!bench_for_each("dims", b->options->dims, 1, HOTROW_DIM_MAX, run_dim, &context) &&
          context.status == HOTROW_OK)
        return hr_fail(HOTROW_ERR_INVALID, "--dims %s is no list of row widths", b->options->dims);
    } else
      run_dim(&context, GPU_DIM);
    HOTROW_TRY(context.status);
  }
  return HOTROW_OK;
}

static hotrow_status open_device(gpu_bench *b)
{
  HOTROW_TRY(hotrow_kernels_get(HOTROW_CUDA, &b->kernels));
  HOTROW_TRY(b->kernels->describe(&b->device));
  HOTROW_TRY(b->kernels->stream_create(false, &b->stream));
  HOTROW_TRY(b->kernels->event_create_timed(&b->begin));
  return b->kernels->event_create_timed(&b->end);
}

static void close_device(gpu_bench *b)
{
  if (!b->kernels)
    return;
  gpu_release(b, 0);
  b->kernels->event_destroy(b->begin);
  b->kernels->event_destroy(b->end);
  b->kernels->stream_destroy(b->stream);
  free(b->host);
}

int hr_bench_gpu(const bench_gpu_options *options)
{
  gpu_bench b = {.options = options, .rng = {1}};
  gpu_sizes_make(options, &b.sizes);
  hotrow_status status = open_device(&b);
  if (status == HOTROW_OK) {
    gpu_print_header(&b);
    if (b.sizes.copy_bytes < (uint64_t)CACHES_PER_ROUND * b.device.cache_bytes)
      fprintf(stderr, "hotrow bench: so few rows fit in the device's cache: the figures say nothing of its memory\n");
    status = run_benchmarks(&b);
  }
  if (status != HOTROW_OK)
    fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
  else if (!options->json)
    printf("targets: %u met, %u missed\n", b.met_count, b.missed_count);
  close_device(&b);
  return hr_exit_code(status);
}
