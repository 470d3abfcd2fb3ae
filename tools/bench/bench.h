/* Benchmarks: `hotrow bench NAME`. A benchmark prints one JSON object per line with --json, else a table. */
#ifndef HR_BENCH_H
#define HR_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct bench_shard_options {
  const char *dims; /* "16,64,128" */
  uint64_t rows;
  uint64_t batch_keys; /* before deduplication */
  float zipf;
  uint32_t repeats;
  uint32_t batches;   /* measured per repeat */
  uint32_t optimizer; /* 0 sgd, 1 rowwise_adagrad, 2 both */
  uint32_t io_threads;
  bool json;
} bench_shard_options;

typedef struct bench_cache_options {
  const char *dims;    /* "16,64,128" */
  const char *trace;   /* file, "criteo", or NULL: time instead of hit rates */
  const char *shares;  /* of the trace's distinct keys, in percent: "1,5,10" */
  uint64_t rows;       /* timing: of the cache */
  uint64_t batch_keys; /* timing: distinct keys; trace: keys with duplicates; 0: by what is measured */
  uint64_t samples;    /* of the built-in stream */
  uint32_t repeats;
  uint32_t batches; /* measured per repeat */
  uint32_t lookahead;
  bool json;
} bench_cache_options;

typedef struct bench_comm_options {
  const char *dims;    /* "16,128" */
  const char *configs; /* NULL: the three that are compared, and with `full` the frontier */
  const char *html;    /* a report with plots, or NULL */
  uint64_t batches;    /* per worker; 0: 4000, or 15000 with `full` */
  uint32_t workers;
  uint32_t shards;
  uint32_t batch; /* samples per worker and batch */
  uint32_t parallel;
  float cache_percent;
  float scale; /* of the stream; 0: 1, or less where `full` would not fit into memory */
  bool full;
  bool json;
} bench_comm_options;

typedef struct bench_table_options {
  const char *rows; /* "1e6,1e7": of the table */
  uint32_t dim;
  uint32_t batch_keys;  /* of a probe, pull or push */
  uint32_t insert_keys; /* of an insert */
  uint32_t repeats;
  uint32_t batches;       /* measured per repeat */
  uint32_t optimizer;     /* 0 sgd, 1 rowwise_adagrad */
  uint32_t storage_dtype; /* 0 f32, 1 f16, 2 bf16 */
  bool json;
} bench_table_options;

typedef struct bench_store_options {
  const char *dims; /* "16,128" */
  const char *dir;  /* a directory that is there; each dim makes one in it, and leaves it */
  uint64_t rows;
  uint64_t batch_keys;
  uint64_t cut_bytes;
  uint32_t passes; /* over all rows */
  uint32_t cut_interval_ms;
  bool json;
} bench_store_options;

typedef struct bench_peers_options {
  const char *dims; /* "16,64,128" */
  const char *dir;  /* where directories for data are made, and removed; NULL: where temporary files go */
  uint64_t rows;
  uint64_t batch_keys; /* before deduplication */
  float zipf;
  uint32_t repeats;
  uint32_t batches; /* measured per repeat */
  bool json;
} bench_peers_options;

typedef struct bench_overload_options {
  const char *dir; /* as above */
  uint64_t memory; /* of the server, bytes */
  uint64_t rows;   /* that the well-behaved client pulls from */
  uint64_t flood_keys;
  float zipf;
  uint32_t dim;
  uint32_t batch_keys; /* of a pull, before deduplication */
  uint32_t flood_batch_keys;
  uint32_t connections;
  uint32_t seconds; /* of a phase */
  bool json;
} bench_overload_options;

typedef struct bench_checkpoint_options {
  const char *dir; /* a directory that is there, without `data` and `saves` in it; they are left there */
  uint64_t rows;
  uint64_t cut_bytes;
  float zipf;
  uint32_t dim;
  uint32_t batch_keys; /* of a pull and of a push, before deduplication */
  uint32_t cut_interval_ms;
  uint32_t every_ms;  /* between two checkpoints */
  uint32_t phase_ms;  /* with checkpoints, and without */
  uint32_t repeats;   /* of both */
  uint32_t optimizer; /* 0 sgd, 1 rowwise_adagrad */
  bool memory_only;   /* no data directory, and nothing to come back from */
  bool json;
} bench_checkpoint_options;
typedef struct bench_memory_options {
  const char *dir; /* a directory that is there, for the rows */
  uint64_t rows;
  uint64_t memory; /* of the server; 0: a quarter of the bytes of all values, 96 MiB at least */
  uint64_t batch_keys;
  uint32_t dim;
  uint32_t batches;
  uint32_t compute_ms; /* that the dense part of a batch takes */
  float zipf;
  bool json;
} bench_memory_options;

typedef struct bench_gpu_options {
  const char *dims;      /* "8,16,32,64,128" */
  const char *loads;     /* of the slots that are probed: "0.5,0.75,1.0" */
  uint64_t rows;         /* slots, and rows of an array where they fit */
  uint64_t keys;         /* of a call; 0: a 64th of the rows */
  uint32_t kernel;       /* of bench_gpu_kernel_names */
  uint32_t distribution; /* 0 both, 1 uniform, 2 zipf */
  uint32_t repeats;
  bool json;
} bench_gpu_options;

/* Exit codes. */
int hr_bench_shard(const bench_shard_options *options);
int hr_bench_cache(const bench_cache_options *options);
int hr_bench_gpu(const bench_gpu_options *options);
int hr_bench_comm(const bench_comm_options *options);
int hr_bench_table(const bench_table_options *options);
int hr_bench_store(const bench_store_options *options);
int hr_bench_peers(const bench_peers_options *options);
int hr_bench_overload(const bench_overload_options *options);
int hr_bench_checkpoint(const bench_checkpoint_options *options);
int hr_bench_memory(const bench_memory_options *options);

extern const char *const bench_optimizer_names[]; /* by the option `optimizer`; NULL ends them */
extern const char *const bench_shard_optimizer_names[];
extern const char *const bench_gpu_kernel_names[];
extern const char *const bench_gpu_distribution_names[];
extern const char *const bench_storage_names[]; /* likewise, by storage_dtype */

/* Distinct keys of a batch, 0 .. rows-1. */
typedef struct bench_batch {
  uint64_t *keys; /* owned */
  size_t count;
} bench_batch;

#define BENCH_BATCHES 16u

/* Different batches, used in turn. */
typedef struct bench_batches {
  bench_batch all[BENCH_BATCHES];
  size_t key_count_max; /* of one */
  size_t distinct_keys; /* of one, in the mean */
} bench_batches;

/* Each of key_count keys out of `rows` before deduplication. False if memory ran out. */
bool bench_batches_init(bench_batches *b, uint64_t rows, uint64_t key_count, double zipf_exponent);
void bench_batches_fini(bench_batches *b);

/* The limit that a shard is measured against: one TCP socket, large reads and writes, rows gathered with prefetch from
 * a flat array in huge pages; the key is the row's index, so there is no hash and no protocol. */
typedef struct bench_raw bench_raw;

/* Forks the server and connects. NULL with a message on stderr if that fails. */
bench_raw *bench_raw_open(uint64_t row_count, uint32_t dim, uint32_t optimizer, size_t key_count_max);
void bench_raw_close(bench_raw *raw);
pid_t bench_raw_process(const bench_raw *raw); /* of its server */
/* Rows of keys into values[count][dim]. False if the connection broke. */
bool bench_raw_pull(bench_raw *raw, const uint64_t *keys, size_t count, float *values);
/* rows[push_keys] -= 0.01 * grads, or what row-wise Adagrad makes of it with its sums in a flat array of their own,
 * then the rows of pull_keys, in one round trip. */
bool bench_raw_push_pull(bench_raw *raw, const bench_batch *push, const float *grads, const bench_batch *pull,
                         float *values);

/* hotrow serve, this very program, as a process of its own: one shard. */
typedef struct bench_server {
  pid_t process;
  char endpoint[256];
} bench_server;

/* Returns when it serves. False, with a message on stderr, if it does not. */
bool bench_server_start(const char *data_dir, const char *save_dir, uint64_t cut_bytes, uint32_t cut_interval_ms,
                        bench_server *server_p);
void bench_server_kill(bench_server *server);                    /* with SIGKILL; once more is no error */
uint64_t bench_server_written_bytes(const bench_server *server); /* that it had the disk write so far; 0: unknown */
/* Bytes of all files in the tree, which are on disk afterwards, and no longer in the page cache. */
uint64_t bench_tree_cool(const char *path);

/* Calls fn with each number of a list like "16,64,128" until one call returns false. False also, with a message that
 * names `option`, for what is no such list of numbers in [minimum, maximum]. */
bool bench_for_each(const char *option, const char *list, double minimum, double maximum,
                    bool (*fn)(void *context, double number), void *context);

/* A new directory in `parent`, or where temporary files go if that is NULL. False with a message on stderr. */
bool bench_dir_make(const char *parent, char *path_p, size_t path_size);
void bench_dir_remove(const char *path); /* with all that is in it */

uint64_t bench_memory_bytes(pid_t process); /* resident; 0: not known */
/* The most that it has had since bench_memory_reset, or since its start if it cannot be reset here. */
uint64_t bench_memory_bytes_max(pid_t process);
void bench_memory_reset(pid_t process);

/* Since their start, of all threads of the process that have this name: what they ran, and what they waited for a
 * processor while they could have run. 0 where the system does not say. */
typedef struct bench_thread_times {
  double ran_s, waited_s;
} bench_thread_times;
bench_thread_times bench_threads(pid_t process, const char *name);

double bench_seconds(void);
double bench_cpu_seconds(pid_t process); /* that all its threads have taken so far; 0: this one */

/* Order statistics of count values; sorts them. */
double bench_quantile(double *values, size_t count, double quantile);

#endif
