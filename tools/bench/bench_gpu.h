/* What the files of `bench gpu` share: a device with its clock, arrays on it, calls that are timed, lines that are
 * printed. */
#ifndef HR_BENCH_GPU_H
#define HR_BENCH_GPU_H

#include <hotrow/kernels.h>
#include <hr/random.h>

#include "bench.h"

#define GPU_ZIPF 1.05 /* of --distribution zipf */
#define GPU_DIM 64    /* of what is measured at one dim: cache, step, lookup */
#define GPU_WAYS HOTROW_CACHE_WAYS

/* How large everything is: a function of --rows and --keys alone (bench_gpu_print.c), so that a run of small sizes is
 * the same program. In brackets: by default. */
typedef struct gpu_sizes {
  uint64_t rows;            /* [64 Mi] slots that are probed; rows of an array, where they fit */
  uint64_t keys;            /* [1 Mi] of a call */
  uint64_t many_keys;       /* [16 Mi] of the large dedup */
  uint64_t hot_occurrences; /* [100,000] of a hot key */
  uint64_t copy_bytes;      /* [1 GiB] */
  uint64_t cache_rows;      /* [16 Mi] of the cache whose calls are timed; half of it is held */
  uint64_t step_ids;        /* [1.7 million] 65,536 samples of 26 fields */
  uint64_t lookup_rows;     /* [105 million] of the table of which 12 % are cached */
  uint64_t lookup_keys;     /* [212,992] 8192 samples of 26 fields */
} gpu_sizes;

#define GPU_HOT_KEYS 5u
#define GPU_BAG 20u /* keys of a larger bag */
#define GPU_STEP_FIELDS 26u
#define GPU_LOOKUP_ZIPF 1.2
#define GPU_LOOKUP_CACHED 0.12

#define GPU_ARRAYS_MAX 96u

typedef struct gpu_bench {
  const bench_gpu_options *options;
  const hotrow_kernels *kernels;
  hotrow_device_info device;
  gpu_sizes sizes;
  void *stream;
  void *begin, *end; /* timed events */
  hr_rng rng;
  double copy_gb_per_s; /* of this run */
  uint32_t met_count, missed_count;
  uint32_t array_count;
  void *arrays[GPU_ARRAYS_MAX]; /* owned, on the device: of the benchmark in hand */
  void *host;                   /* owned: gpu_host */
  size_t host_bytes;
} gpu_bench;

/* Zeroed, on the device, until gpu_release. */
hotrow_status gpu_alloc(gpu_bench *b, size_t size_bytes, void *memory_p);
hotrow_status gpu_put(gpu_bench *b, const void *host, size_t size_bytes, void *memory_p);
hotrow_status gpu_floats(gpu_bench *b, size_t count, void *memory_p); /* in [-1, 1) */
/* Waits, and frees all arrays beyond the first `kept`. */
void gpu_release(gpu_bench *b, uint32_t kept);
/* Host memory until the next call of this. */
hotrow_status gpu_host(gpu_bench *b, size_t size_bytes, void *memory_p);

/* How many sets of buffers a call of so many bytes takes in turn, so that none is in the cache when it comes again. */
uint32_t gpu_turns(const gpu_bench *b, double call_bytes);
/* Rows of so many floats of which an array has --rows, or as many as a quarter of the device's memory holds. */
uint64_t gpu_row_count(const gpu_bench *b, size_t row_floats);

/* `count` indices below `limit`: with repeats, hot ones scattered; or distinct and ascending, as those of sorted keys
 * are (count <= limit). */
void gpu_draw(gpu_bench *b, bool is_zipf, uint64_t limit, size_t count, uint32_t *index_p);
void gpu_draw_distinct(gpu_bench *b, uint64_t limit, size_t count, uint32_t *index_p);

/* What is timed: run queues one call on b->stream. prepare (or NULL), before each, is not timed. */
typedef struct gpu_call {
  hotrow_status (*run)(void *context, uint32_t turn);
  hotrow_status (*prepare)(void *context, uint32_t turn);
  void *context;
  uint32_t turns; /* turn counts from 0 to turns - 1 and round again */
} gpu_call;

typedef struct gpu_times {
  double median_us, min_us, max_us; /* of one call */
} gpu_times;

hotrow_status gpu_measure(gpu_bench *b, const gpu_call *call, gpu_times *times_p);

typedef enum gpu_goal {
  GPU_NO_GOAL,
  GPU_COPY_FRACTION, /* at least so much of the copy's bandwidth */
  GPU_RATE,          /* at least so many G units a second */
  GPU_TIME           /* at most so many microseconds */
} gpu_goal;

typedef struct gpu_line {
  const char *kernel;
  uint32_t dim; /* 0: it has none */
  char shape[72];
  uint64_t units; /* keys, rows or ids of a call */
  double bytes;   /* that a call must move */
  gpu_goal goal;
  double goal_value;
} gpu_line;

void gpu_print_header(const gpu_bench *b);
void gpu_print_line(gpu_bench *b, const gpu_line *line, const gpu_times *times);
/* Both. */
hotrow_status gpu_time(gpu_bench *b, const gpu_line *line, const gpu_call *call);

void gpu_sizes_make(const bench_gpu_options *options, gpu_sizes *sizes_p);

/* Calls fn for each distribution that is asked for. */
typedef hotrow_status (*gpu_case_fn)(gpu_bench *b, uint32_t dim, bool is_zipf);
hotrow_status gpu_for_distributions(gpu_bench *b, uint32_t dim, gpu_case_fn fn);
static inline const char *gpu_distribution(bool is_zipf)
{
  return is_zipf ? "zipf" : "uniform";
}

/* The benchmarks. Those with a dim are called once for each. */
hotrow_status gpu_bench_copy(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_dedup(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_probe(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_gather(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_pool(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_pack(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_segment_sum(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_fused(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_pending(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_cache(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_step(gpu_bench *b, uint32_t dim);
hotrow_status gpu_bench_lookup(gpu_bench *b, uint32_t dim);

#endif
