/* A table larger than its server's memory: the same training with all rows in memory, with less memory than rows, with
 * look-ahead on top, and RocksDB alone with as much memory. All end with the same rows. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include <hotrow/hotrow.h>
#include <hr/random.h>

#include "bench_memory.h"
#include "dataset_zipf.h"
#include "options.h"

#define MEMORY_MIN ((uint64_t)96 << 20) /* a server with less does not start */
#define FILL_KEYS 8192u
#define CALL_TIMEOUT_MS 600000u
#define CACHE_BATCHES 6u /* of rows that the worker keeps: those of the batches ahead and a few more */
#define BATCHES_AHEAD HOTROW_FETCH_AHEAD

bool bench_memory_fail(const char *what, const char *why)
{
  fprintf(stderr, "hotrow bench: %s: %s\n", what, why);
  return false;
}

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static bool make_batches(memory_bench *b)
{
  const bench_memory_options *o = b->options;
  hr_zipf zipf;
  hr_zipf_init(&zipf, 1, o->rows, (double)o->zipf);
  hr_rng rng = {1};
  b->batches = calloc(o->batches, sizeof *b->batches);
  for (uint32_t i = 0; b->batches && i < o->batches; i++) {
    uint64_t *keys = malloc(o->batch_keys * sizeof *keys);
    if (!keys)
      return bench_memory_fail("batches", "no memory");
    for (uint64_t k = 0; k < o->batch_keys; k++)
      keys[k] = hr_mix64(hr_zipf_draw(&zipf, hr_unit_double(hr_rng_next(&rng)), &rng)) % o->rows;
    qsort(keys, o->batch_keys, sizeof *keys, compare_keys);
    size_t count = 0;
    for (uint64_t k = 0; k < o->batch_keys; k++)
      if (k == 0 || keys[k] != keys[k - 1])
        keys[count++] = keys[k];
    b->batches[i] = (bench_batch){keys, count};
    b->distinct += count;
  }
  return b->batches != NULL;
}

/* ---- the server, in a process of its own ---- */

static void serve(const char *dir, uint64_t memory_bytes, const char *ready)
{
  char memory[32];
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  snprintf(memory, sizeof memory, "%llu", (unsigned long long)memory_bytes);
  if (!freopen("/dev/null", "w", stdout))
    _exit(1);
  execl("/proc/self/exe", "hotrow", "serve", "--bind", "tcp://127.0.0.1:*", "--data-dir", dir, "--memory", memory,
        "--ready-file", ready, "--log-level", "warn", (char *)NULL);
  _exit(1);
}

static bool read_endpoint(memory_bench *b, const char *ready)
{
  FILE *file = fopen(ready, "r");
  bool ok = file && fgets(b->endpoint, sizeof b->endpoint, file);
  if (file)
    fclose(file);
  b->endpoint[strcspn(b->endpoint, "\n")] = 0;
  return ok;
}

static bool start_server(memory_bench *b, const char *name, uint64_t memory_bytes)
{
  char dir[600], ready[640];
  struct timespec pause = {0, 10000000};
  snprintf(dir, sizeof dir, "%s/%s", b->options->dir, name);
  snprintf(ready, sizeof ready, "%s.ready", dir);
  if (access(dir, F_OK) == 0)
    return bench_memory_fail(dir, "is there already");
  b->server = fork();
  if (b->server == 0)
    serve(dir, memory_bytes, ready);
  while (access(ready, F_OK) != 0) { /* it appears whole */
    if (waitpid(b->server, NULL, WNOHANG) != 0)
      return bench_memory_fail("server", "it ended");
    nanosleep(&pause, NULL);
  }
  bool ok = read_endpoint(b, ready);
  unlink(ready);
  return ok;
}

static void stop_server(memory_bench *b)
{
  hotrow_client_close(b->client);
  b->client = NULL;
  if (b->server > 0) {
    kill(b->server, SIGKILL);
    waitpid(b->server, NULL, 0);
  }
  b->server = 0;
}

uint64_t bench_memory_resident(pid_t process)
{
  char path[64];
  unsigned long long size = 0, resident = 0;
  snprintf(path, sizeof path, "/proc/%ld/statm", (long)process);
  FILE *file = fopen(path, "r");
  if (!file)
    return 0;
  int count = fscanf(file, "%llu %llu", &size, &resident);
  fclose(file);
  return count == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void note_memory(memory_bench *b)
{
  uint64_t now = bench_memory_resident(b->server);
  b->resident_max = now > b->resident_max ? now : b->resident_max;
}

/* ---- the job ---- */

static hotrow_lookup_request lookup_of(const memory_bench *b, const uint64_t *keys, size_t count)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = b->table;
  request.keys = keys;
  request.key_count = count;
  request.out = b->values;
  request.timeout_ms = CALL_TIMEOUT_MS;
  return request;
}

static hotrow_status push_rows(memory_bench *b, const uint64_t *keys, size_t count)
{
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  push.table = b->table;
  push.keys = keys;
  push.key_count = count;
  push.grads = b->grads;
  return hotrow_push(b->client, &push, 1);
}

static hotrow_status open_table(memory_bench *b, uint64_t cache_rows)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = b->endpoint;
  client_options.timeout_ms = CALL_TIMEOUT_MS;
  hotrow_status status = hotrow_client_open(&client_options, &b->client);
  hotrow_table_options options = HOTROW_TABLE_OPTIONS_INIT;
  options.name = "bench";
  options.dim = b->options->dim;
  options.optimizer = (hotrow_optimizer){.kind = HOTROW_SGD, .lr = 0.01f};
  options.initializer.kind = HOTROW_INIT_ZERO;
  options.pull_bound = 1;
  options.cache_row_count = cache_rows;
  return status == HOTROW_OK ? hotrow_table_create(b->client, &options, &b->table) : status;
}

/* Every row is pushed to once, so that the table has its size before anything is measured. */
static hotrow_status fill(memory_bench *b)
{
  uint64_t keys[FILL_KEYS];
  for (uint64_t first = 0; first < b->options->rows; first += FILL_KEYS) {
    size_t count = b->options->rows - first < FILL_KEYS ? (size_t)(b->options->rows - first) : FILL_KEYS;
    for (size_t i = 0; i < count; i++)
      keys[i] = first + i;
    hotrow_status status = push_rows(b, keys, count);
    if (status == HOTROW_OK)
      status = hotrow_step(b->client, CALL_TIMEOUT_MS);
    if (status != HOTROW_OK)
      return status;
    note_memory(b);
  }
  return hotrow_flush(b->client, CALL_TIMEOUT_MS);
}

static void compute(const memory_bench *b)
{
  struct timespec pause = {0, (long)b->options->compute_ms * 1000000};
  if (b->options->compute_ms > 0)
    nanosleep(&pause, NULL);
}

/* A step of a batch: its rows, the dense part, its gradients. */
static hotrow_status train(memory_bench *b, bool looks_ahead, memory_result *r)
{
  hotrow_status status = HOTROW_OK;
  uint32_t handed = 0;
  double begin = bench_seconds();
  for (uint32_t i = 0; i < b->options->batches && status == HOTROW_OK; i++) {
    for (; looks_ahead && handed < b->options->batches && handed <= i + BATCHES_AHEAD && status == HOTROW_OK;
         handed++) {
      hotrow_lookup_request ahead = lookup_of(b, b->batches[handed].keys, b->batches[handed].count);
      status = hotrow_lookahead(b->client, &ahead, 1);
    }
    hotrow_lookup_request lookup = lookup_of(b, b->batches[i].keys, b->batches[i].count);
    double before = bench_seconds();
    if (status == HOTROW_OK)
      status = hotrow_lookup(b->client, &lookup, 1);
    r->stall_ms[i] = 1e3 * (bench_seconds() - before);
    compute(b);
    if (status == HOTROW_OK)
      status = push_rows(b, b->batches[i].keys, b->batches[i].count);
    if (status == HOTROW_OK)
      status = hotrow_step(b->client, CALL_TIMEOUT_MS);
    note_memory(b);
  }
  r->seconds = bench_seconds() - begin - 1e-3 * b->options->compute_ms * b->options->batches;
  return status == HOTROW_OK ? hotrow_flush(b->client, CALL_TIMEOUT_MS) : status;
}

/* A sum over all rows, which it reads without keeping them. */
static hotrow_status sum_up(memory_bench *b, uint64_t *sum_p)
{
  uint64_t keys[FILL_KEYS];
  XXH3_state_t *hash = XXH3_createState();
  hotrow_status status = HOTROW_OK;
  XXH3_64bits_reset(hash);
  for (uint64_t first = 0; first < b->options->rows && status == HOTROW_OK; first += FILL_KEYS) {
    size_t count = b->options->rows - first < FILL_KEYS ? (size_t)(b->options->rows - first) : FILL_KEYS;
    for (size_t i = 0; i < count; i++)
      keys[i] = first + i;
    hotrow_lookup_request lookup = lookup_of(b, keys, count);
    status = hotrow_lookup(b->client, &lookup, 1);
    XXH3_64bits_update(hash, b->values, count * b->options->dim * sizeof *b->values);
  }
  *sum_p = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  return status;
}

static bool run_hotrow(memory_bench *b, const char *name, uint64_t memory_bytes, bool looks_ahead, memory_result *r)
{
  b->resident_max = 0;
  if (!start_server(b, name, memory_bytes))
    return false;
  hotrow_status status = open_table(b, looks_ahead ? CACHE_BATCHES * b->options->batch_keys : 0);
  if (status == HOTROW_OK)
    status = fill(b);
  if (status == HOTROW_OK)
    status = train(b, looks_ahead, r);
  hotrow_client_close(b->client); /* another one reads: this one has a cache */
  b->client = NULL;
  if (status == HOTROW_OK)
    status = open_table(b, 0);
  if (status == HOTROW_OK)
    status = sum_up(b, &r->sum);
  bool ok = status == HOTROW_OK || bench_memory_fail(name, hotrow_last_error());
  r->resident_bytes = b->resident_max;
  stop_server(b);
  return ok;
}

/* ---- what is printed ---- */

static void print_result(const memory_bench *b, const char *what, uint64_t memory_bytes, memory_result *r)
{
  const bench_memory_options *o = b->options;
  double p50 = bench_quantile(r->stall_ms, o->batches, 0.5), p99 = bench_quantile(r->stall_ms, o->batches, 0.99);
  double rows_per_s = (double)b->distinct / r->seconds;
  if (o->json)
    printf("{\"what\":\"%s\",\"dim\":%u,\"rows\":%llu,\"table_bytes\":%llu,\"memory_bytes\":%llu,"
           "\"resident_bytes_max\":%llu,\"rows_per_s\":%.0f,\"stall_ms_p50\":%.3f,\"stall_ms_p99\":%.3f,"
           "\"compute_ms\":%u,\"batch_rows\":%.0f,\"batches\":%u,\"zipf\":%.3f,\"rows_are_equal\":%s}\n",
           what, o->dim, (unsigned long long)o->rows, (unsigned long long)o->rows * o->dim * sizeof(float),
           (unsigned long long)memory_bytes, (unsigned long long)r->resident_bytes, rows_per_s, p50, p99, o->compute_ms,
           (double)b->distinct / o->batches, o->batches, (double)o->zipf, r->sum == b->sum_expected ? "true" : "false");
  else
    printf("%-22s %7.2f M rows/s, a lookup waits %.2f ms (p99 %.2f), memory %llu MiB of %llu%s\n", what,
           rows_per_s / 1e6, p50, p99, (unsigned long long)(r->resident_bytes >> 20),
           (unsigned long long)(memory_bytes >> 20), r->sum == b->sum_expected ? "" : ", OTHER ROWS");
  fflush(stdout);
}

static bool run_all(memory_bench *b)
{
  const bench_memory_options *o = b->options;
  uint64_t quarter = o->rows * o->dim * sizeof(float) / 4;
  uint64_t memory = o->memory ? o->memory : quarter > MEMORY_MIN ? quarter : MEMORY_MIN;
  memory_result r = {.stall_ms = calloc(o->batches, sizeof(double))};
  bool ok = r.stall_ms && run_hotrow(b, "memory", 0, false, &r);
  b->sum_expected = r.sum;
  if (ok)
    print_result(b, "all_in_memory", 0, &r);
  ok = ok && run_hotrow(b, "memory-ahead", 0, true, &r);
  if (ok)
    print_result(b, "all_in_memory_ahead", 0, &r);
  bool is_equal = r.sum == b->sum_expected;
  ok = ok && run_hotrow(b, "less", memory, false, &r);
  if (ok)
    print_result(b, "less_memory", memory, &r);
  is_equal = is_equal && r.sum == b->sum_expected;
  ok = ok && run_hotrow(b, "less-ahead", memory, true, &r);
  if (ok)
    print_result(b, "less_memory_ahead", memory, &r);
  is_equal = is_equal && r.sum == b->sum_expected;
  ok = ok && bench_memory_rocksdb(b, memory, &r);
  if (ok)
    print_result(b, "rocksdb", memory, &r);
  is_equal = is_equal && r.sum == b->sum_expected;
  free(r.stall_ms);
  return ok && (is_equal || bench_memory_fail("rows", "they differ"));
}

int hr_bench_memory(const bench_memory_options *options)
{
  memory_bench b = {.options = options};
  if (!options->dir || access(options->dir, W_OK) != 0) {
    bench_memory_fail("--dir", "name a directory for the rows, which is there");
    return HR_EXIT_USAGE;
  }
  uint64_t keys = options->batch_keys > FILL_KEYS ? options->batch_keys : FILL_KEYS;
  b.values = calloc(keys * options->dim, sizeof *b.values);
  b.grads = calloc(keys * options->dim, sizeof *b.grads);
  bool ok = (b.values && b.grads) || bench_memory_fail("batches", "no memory");
  for (uint64_t i = 0; ok && i < keys * options->dim; i++)
    b.grads[i] = (float)(i % 5);
  ok = ok && make_batches(&b) && run_all(&b);
  for (uint32_t i = 0; b.batches && i < options->batches; i++)
    free(b.batches[i].keys);
  free(b.batches);
  free(b.values);
  free(b.grads);
  return ok ? 0 : HR_EXIT_SOFTWARE;
}
