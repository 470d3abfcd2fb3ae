/* What checkpoints cost a shard that is under full load: throughput, pauses and, with a data directory, bytes with one
 * every few seconds, and without, in turn; with a data directory then the time that a server which was killed takes to
 * be back. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <hotrow/hotrow.h>
#include <hr/random.h>

#include "bench.h"
#include "counts_json.h"
#include "dataset_zipf.h"
#include "options.h"

#define BATCH_SETS 4096u /* different batches, used in turn */
#define FILL_KEYS 10000u
#define REPEATS_MAX 101u
#define CHECKPOINTS_MAX 10000u
#define PULLS_MAX 10000000u
#define CALL_TIMEOUT_MS 600000u
#define KEEP 2u
#define LOAD_JOB 0u /* jobs of the three clients */
#define CHECKPOINTS_JOB 2u
#define READER_JOB 3u
#define RECORD_HEAD_BYTES 12u /* key and clock of a row in a full dump */
#define READER_KEYS 256u      /* of a pull of the client that only reads */
#define READER_PAUSE_NS 1000000
#define WINDOW_S 0.25          /* in which speed is measured after a restart */
#define FULL_SPEED 0.9         /* of what it was before */
#define FULL_SPEED_WAIT_S 60.0 /* for it */

/* Made and waited for on a thread of its own, by a client of its own. */
typedef struct checkpoints {
  const bench_checkpoint_options *options;
  const char *endpoint;
  pthread_t thread;
  atomic_bool is_on, is_idle, is_ending, has_failed;
  double seconds[CHECKPOINTS_MAX];
  size_t count, made_before; /* before anything was measured */
} checkpoints;

/* What one kind of phases gave. */
typedef struct phase_result {
  double rows_per_s[REPEATS_MAX], written_per_s[REPEATS_MAX];
  double *pull_ms, *read_ms; /* owned, [PULLS_MAX]: of the load, and of the reader */
  size_t pull_count, read_count;
  /* No request took longer on the shard's thread, and no turn of a cut: powers of two of microseconds. */
  double request_ms_max, cut_turn_ms_max;
  double seconds, shard_waited_s; /* in all; for a processor */
} phase_result;

/* A client that only pulls, on a thread of its own: what it waits for is the shard, while pulls of the load also wait
 * for pushes before them, which wait to be durable when too many are not. */
typedef struct reader {
  const struct checkpoint_bench *bench;
  pthread_t thread;
  atomic_bool is_ending, has_failed;
  _Atomic(phase_result *) phase; /* NULL: what it measures is of no phase */
} reader;

typedef struct checkpoint_bench {
  const bench_checkpoint_options *options;
  char data_dir[512], save_dir[512];
  bench_batch batches[BATCH_SETS];
  size_t key_count_max, batch_rows, next_batch;
  float *values, *grads;
  bench_server server;
  hotrow_client *client;
  hotrow_table *table;
  checkpoints checkpoints;
  reader reader;
} checkpoint_bench;

static bool fail(const char *what, const char *why)
{
  fprintf(stderr, "hotrow bench: %s: %s\n", what, why);
  return false;
}

/* ---- the load ---- */

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Zipf ranks scattered over the rows, distinct. */
static bool make_batches(checkpoint_bench *b)
{
  const bench_checkpoint_options *o = b->options;
  hr_zipf zipf;
  hr_zipf_init(&zipf, 1, o->rows, (double)o->zipf);
  hr_rng rng = {1};
  size_t total = 0;
  for (uint32_t s = 0; s < BATCH_SETS; s++) {
    uint64_t *keys = malloc(o->batch_keys * sizeof *keys);
    if (!keys)
      return fail("batches", "no memory");
    for (uint32_t i = 0; i < o->batch_keys; i++)
      keys[i] = hr_mix64(hr_zipf_draw(&zipf, hr_unit_double(hr_rng_next(&rng)), &rng)) % o->rows;
    qsort(keys, o->batch_keys, sizeof *keys, compare_keys);
    size_t count = 0;
    for (uint32_t i = 0; i < o->batch_keys; i++)
      if (i == 0 || keys[i] != keys[i - 1])
        keys[count++] = keys[i];
    b->batches[s] = (bench_batch){keys, count};
    total += count;
  }
  b->batch_rows = total / BATCH_SETS;
  b->key_count_max = o->batch_keys > FILL_KEYS ? o->batch_keys : FILL_KEYS;
  b->values = malloc(b->key_count_max * o->dim * sizeof *b->values);
  b->grads = malloc(b->key_count_max * o->dim * sizeof *b->grads);
  for (size_t i = 0; b->grads && i < b->key_count_max * o->dim; i++)
    b->grads[i] = 1e-3f * (float)(i % 5);
  return (b->values && b->grads) || fail("batches", "no memory");
}

static hotrow_status pull(checkpoint_bench *b, const uint64_t *keys, size_t count)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = b->table;
  request.keys = keys;
  request.key_count = count;
  request.out = b->values;
  request.timeout_ms = CALL_TIMEOUT_MS;
  return hotrow_lookup(b->client, &request, 1);
}

static hotrow_status push(checkpoint_bench *b, const bench_batch *batch)
{
  hotrow_push_request request = HOTROW_PUSH_REQUEST_INIT;
  request.table = b->table;
  request.keys = batch->keys;
  request.key_count = batch->count;
  request.grads = b->grads;
  hotrow_status status = hotrow_push(b->client, &request, 1);
  return status == HOTROW_OK ? hotrow_step(b->client, CALL_TIMEOUT_MS) : status;
}

/* One batch pulled, the time of it, and pushed. */
static hotrow_status work(checkpoint_bench *b, double *pull_s_p, size_t *rows_p)
{
  const bench_batch *batch = &b->batches[b->next_batch++ % BATCH_SETS];
  double begin = bench_seconds();
  hotrow_status status = pull(b, batch->keys, batch->count);
  *pull_s_p = bench_seconds() - begin;
  *rows_p += batch->count;
  return status == HOTROW_OK ? push(b, batch) : status;
}

static hotrow_status open_client(const checkpoint_bench *b, uint64_t job, hotrow_client **client_p,
                                 hotrow_table **table_p)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  client_options.shards = b->server.endpoint;
  client_options.timeout_ms = CALL_TIMEOUT_MS;
  client_options.job = job;
  table_options.name = "bench";
  table_options.dim = b->options->dim;
  table_options.optimizer.kind = b->options->optimizer == 0 ? HOTROW_SGD : HOTROW_ROWWISE_ADAGRAD;
  table_options.pull_bound = 1; /* bounds above 0 and no cache: every row is pulled and pushed at once */
  table_options.push_bound = 1;
  hotrow_status status = hotrow_client_open(&client_options, client_p);
  return status == HOTROW_OK ? hotrow_table_create(*client_p, &table_options, table_p) : status;
}

/* ---- the reader ---- */

static hotrow_status read_once(const checkpoint_bench *b, hotrow_client *client, hotrow_table *table, float *values,
                               size_t turn)
{
  const bench_batch *batch = &b->batches[turn % BATCH_SETS];
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = table;
  request.keys = batch->keys;
  request.key_count = batch->count < READER_KEYS ? batch->count : READER_KEYS;
  request.out = values;
  request.timeout_ms = CALL_TIMEOUT_MS;
  return hotrow_lookup(client, &request, 1);
}

static void *run_reader(void *context)
{
  reader *r = context;
  const checkpoint_bench *b = r->bench;
  hotrow_client *client = NULL;
  hotrow_table *table = NULL;
  float *values = malloc(READER_KEYS * b->options->dim * sizeof *values);
  hotrow_status status = values ? open_client(b, READER_JOB, &client, &table) : HOTROW_ERR_NO_MEMORY;
  for (size_t turn = 0; status == HOTROW_OK && !atomic_load(&r->is_ending); turn++) {
    phase_result *phase = atomic_load(&r->phase);
    double begin = bench_seconds();
    status = read_once(b, client, table, values, turn);
    if (phase && phase == atomic_load(&r->phase) && phase->read_count < PULLS_MAX)
      phase->read_ms[phase->read_count++] = 1e3 * (bench_seconds() - begin);
    nanosleep(&(struct timespec){.tv_nsec = READER_PAUSE_NS}, NULL);
  }
  if (status != HOTROW_OK)
    fail("reader", hotrow_last_error());
  atomic_store(&r->has_failed, status != HOTROW_OK);
  hotrow_client_close(client);
  free(values);
  return NULL;
}

static bool get_counts(const checkpoint_bench *b, hotrow_shard_counts *counts)
{
  char *json = NULL;
  if (hotrow_shard_stats(b->client, 0, CALL_TIMEOUT_MS, &json) != HOTROW_OK)
    return fail("stats", hotrow_last_error());
  bool ok = hr_counts_from_json(json, counts);
  free(json);
  return ok || fail("stats", "not understood");
}

static bool start_server(checkpoint_bench *b)
{
  const bench_checkpoint_options *o = b->options;
  return bench_server_start(o->memory_only ? NULL : b->data_dir, b->save_dir, o->cut_bytes, o->cut_interval_ms,
                            &b->server);
}

/* Creates every row, and has them all on disk if there is one. */
static bool fill_table(checkpoint_bench *b)
{
  uint64_t keys[FILL_KEYS];
  hotrow_shard_counts counts = {.dirty_bytes = 1};
  for (uint64_t first = 0; first < b->options->rows; first += FILL_KEYS) {
    size_t count = b->options->rows - first < FILL_KEYS ? (size_t)(b->options->rows - first) : FILL_KEYS;
    for (size_t i = 0; i < count; i++)
      keys[i] = first + i;
    if (pull(b, keys, count) != HOTROW_OK)
      return fail("fill", hotrow_last_error());
  }
  while (counts.dirty_bytes > 0) {
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    if (!get_counts(b, &counts))
      return false;
  }
  return true;
}

/* ---- checkpoints ---- */

static hotrow_status make_checkpoint(hotrow_client *client, checkpoints *c)
{
  char name[64];
  hotrow_checkpoint_options options = HOTROW_CHECKPOINT_OPTIONS_INIT;
  snprintf(name, sizeof name, "bench-%05zu", c->count);
  options.name = name;
  options.keep = KEEP;
  options.flags = HOTROW_CHECKPOINT_LIVE;
  options.timeout_ms = CALL_TIMEOUT_MS;
  double begin = bench_seconds();
  hotrow_status status = hotrow_checkpoint(client, &options);
  if (status == HOTROW_OK && c->count < CHECKPOINTS_MAX)
    c->seconds[c->count++] = bench_seconds() - begin;
  return status;
}

static void *run_checkpoints(void *context)
{
  checkpoints *c = context;
  hotrow_client_options options = HOTROW_CLIENT_OPTIONS_INIT;
  hotrow_client *client = NULL;
  options.shards = c->endpoint;
  options.timeout_ms = CALL_TIMEOUT_MS;
  options.job = CHECKPOINTS_JOB;
  hotrow_status status = hotrow_client_open(&options, &client);
  double due = 0;
  while (status == HOTROW_OK && !atomic_load(&c->is_ending)) {
    atomic_store(&c->is_idle, false);
    if (!atomic_load(&c->is_on)) {
      atomic_store(&c->is_idle, true);
      due = 0;
    } else if (bench_seconds() >= due) {
      due = bench_seconds() + 1e-3 * c->options->every_ms;
      status = make_checkpoint(client, c);
    }
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  if (status != HOTROW_OK)
    fail("checkpoint", hotrow_last_error());
  atomic_store(&c->has_failed, status != HOTROW_OK);
  hotrow_client_close(client);
  return NULL;
}

/* ---- with and without ---- */

/* Milliseconds that none of those counted since took longer than. */
static double longest_ms(const uint64_t *before, const uint64_t *after)
{
  uint32_t bucket = HOTROW_TIME_BUCKETS - 1;
  while (bucket > 0 && before[bucket] == after[bucket])
    bucket--;
  return 1e-3 * (double)(UINT64_C(1) << bucket);
}

static bool note_longest(const checkpoint_bench *b, const hotrow_shard_counts *before, phase_result *r)
{
  hotrow_shard_counts after = {0};
  if (!get_counts(b, &after))
    return false;
  double request_ms = longest_ms(before->request_times, after.request_times);
  double turn_ms = longest_ms(before->cut_turn_times, after.cut_turn_times);
  r->request_ms_max = request_ms > r->request_ms_max ? request_ms : r->request_ms_max;
  r->cut_turn_ms_max = turn_ms > r->cut_turn_ms_max ? turn_ms : r->cut_turn_ms_max;
  return true;
}

static bool run_phase(checkpoint_bench *b, bool with, phase_result *r, uint32_t repeat)
{
  size_t rows = 0;
  checkpoints *c = &b->checkpoints;
  hotrow_shard_counts before = {0};
  if (!get_counts(b, &before))
    return false;
  atomic_store(&c->is_on, with);
  atomic_store(&b->reader.phase, r);
  uint64_t written = bench_server_written_bytes(&b->server);
  double waited_s = bench_threads(b->server.process, "shard").waited_s;
  double begin = bench_seconds(), end = begin + 1e-3 * b->options->phase_ms;
  while (bench_seconds() < end && !atomic_load(&c->has_failed)) {
    double pull_s = 0;
    if (work(b, &pull_s, &rows) != HOTROW_OK)
      return fail("load", hotrow_last_error());
    if (r->pull_count < PULLS_MAX)
      r->pull_ms[r->pull_count++] = 1e3 * pull_s;
  }
  double took = bench_seconds() - begin;
  r->rows_per_s[repeat] = (double)rows / took;
  r->written_per_s[repeat] = (double)(bench_server_written_bytes(&b->server) - written) / took;
  r->seconds += took;
  r->shard_waited_s += bench_threads(b->server.process, "shard").waited_s - waited_s;
  atomic_store(&c->is_on, false);
  atomic_store(&b->reader.phase, NULL);
  if (!note_longest(b, &before, r))
    return false;
  size_t ignored = 0;
  for (double pull_s; !atomic_load(&c->is_idle) && !atomic_load(&c->has_failed);) /* what is begun ends */
    if (work(b, &pull_s, &ignored) != HOTROW_OK)
      return fail("load", hotrow_last_error());
  return !atomic_load(&c->has_failed) && !atomic_load(&b->reader.has_failed);
}

/* *first_p: before anything is measured. */
static bool run_phases(checkpoint_bench *b, phase_result *without, phase_result *with, hotrow_shard_counts *first_p)
{
  bool ok = pthread_create(&b->checkpoints.thread, NULL, run_checkpoints, &b->checkpoints) == 0;
  if (!ok)
    return fail("checkpoints", "no thread");
  b->reader.bench = b;
  bool has_reader = pthread_create(&b->reader.thread, NULL, run_reader, &b->reader) == 0;
  ok = has_reader || fail("reader", "no thread");
  phase_result warm_up = {.pull_ms = without->pull_ms, .read_ms = without->read_ms};
  ok = ok && run_phase(b, false, &warm_up, 0) &&
       run_phase(b, true, &warm_up, 1); /* the first one has no other to share with */
  ok = ok && get_counts(b, first_p);
  b->checkpoints.made_before = b->checkpoints.count;
  for (uint32_t i = 0; ok && i < b->options->repeats; i++)
    ok = run_phase(b, false, without, i) && run_phase(b, true, with, i);
  atomic_store(&b->checkpoints.is_ending, true);
  atomic_store(&b->reader.is_ending, true);
  pthread_join(b->checkpoints.thread, NULL);
  if (has_reader)
    pthread_join(b->reader.thread, NULL);
  return ok;
}

/* ---- recovery ---- */

typedef struct recovery {
  double ready_s, first_pull_s, full_speed_s; /* since the new process was begun; full_speed_s 0: not reached */
  uint64_t bytes;                             /* of the data directory */
} recovery;

static bool measure_recovery(checkpoint_bench *b, double rows_per_s, recovery *r)
{
  double pull_s;
  size_t rows = 0;
  bench_server_kill(&b->server);
  hotrow_client_close(b->client);
  b->client = NULL;
  r->bytes = bench_tree_cool(b->data_dir);
  double begin = bench_seconds();
  if (!start_server(b))
    return false;
  r->ready_s = bench_seconds() - begin;
  if (open_client(b, LOAD_JOB, &b->client, &b->table) != HOTROW_OK || work(b, &pull_s, &rows) != HOTROW_OK)
    return fail("recovery", hotrow_last_error());
  r->first_pull_s = bench_seconds() - begin;
  while (r->full_speed_s == 0 && bench_seconds() < begin + FULL_SPEED_WAIT_S) {
    double from = bench_seconds();
    rows = 0;
    while (bench_seconds() < from + WINDOW_S)
      if (work(b, &pull_s, &rows) != HOTROW_OK)
        return fail("recovery", hotrow_last_error());
    if ((double)rows / (bench_seconds() - from) >= FULL_SPEED * rows_per_s)
      r->full_speed_s = from - begin;
  }
  return true;
}

/* ---- all of it ---- */

static void print_pulls(const checkpoint_bench *b, const char *name, phase_result *r)
{
  double p50 = bench_quantile(r->pull_ms, r->pull_count, 0.5), p99 = bench_quantile(r->pull_ms, r->pull_count, 0.99);
  double longest = r->pull_ms[r->pull_count - 1], second = r->pull_ms[r->pull_count > 1 ? r->pull_count - 2 : 0];
  double read_p50 = bench_quantile(r->read_ms, r->read_count, 0.5);
  double read_p99 = bench_quantile(r->read_ms, r->read_count, 0.99);
  double read_p999 = bench_quantile(r->read_ms, r->read_count, 0.999), waited = r->shard_waited_s / r->seconds;
  double read_longest = r->read_count > 0 ? r->read_ms[r->read_count - 1] : 0;
  double rows = bench_quantile(r->rows_per_s, b->options->repeats, 0.5);
  double written = bench_quantile(r->written_per_s, b->options->repeats, 0.5);
  if (b->options->json)
    printf("\"%s\":{\"rows_per_s\":%.0f,\"written_bytes_per_s\":%.0f,\"pulls\":%zu,\"pull_p50_ms\":%.3f,"
           "\"pull_p99_ms\":%.3f,\"pull_second_longest_ms\":%.3f,\"pull_longest_ms\":%.3f,\"reads\":%zu,"
           "\"read_p50_ms\":%.3f,\"read_p99_ms\":%.3f,\"read_p99_9_ms\":%.3f,\"read_longest_ms\":%.3f,\"shard_waited\":"
           "%.4f,\"request_ms_max\":%.3f,"
           "\"cut_turn_ms_max\":%.3f},",
           name, rows, written, r->pull_count, p50, p99, second, longest, r->read_count, read_p50, read_p99, read_p999,
           read_longest, waited, r->request_ms_max, r->cut_turn_ms_max);
  else
    printf(
        "%-8s checkpoints: %.3f M rows/s pulled and pushed, %.0f MB/s written; a pull %.2f ms, p99 %.2f, longest "
        "%.1f and %.1f;\n         a pull of who does not push %.2f, p99 %.2f, p99.9 %.2f, longest %.1f; on the shard's "
        "thread a request took < %.1f, a turn of a cut < %.1f; it waited for a processor %.1f %% of the time\n",
        name, rows / 1e6, written / 1e6, p50, p99, longest, second, read_p50, read_p99, read_p999, read_longest,
        r->request_ms_max, r->cut_turn_ms_max, 100 * waited);
}

/* What there is to say with a data directory. */
static void print_data(const bench_checkpoint_options *o, const recovery *r, const hotrow_shard_counts *first,
                       const hotrow_shard_counts *last, double dump)
{
  double parts = (double)(last->checkpoint_parts - first->checkpoint_parts);
  double size = (double)(last->checkpoint_bytes - first->checkpoint_bytes) / parts;
  double new_size = (double)(last->checkpoint_bytes_new - first->checkpoint_bytes_new) / parts;
  if (o->json)
    printf(",\"checkpoint_bytes\":%.0f,\"checkpoint_new_bytes\":%.0f,\"new_share_of_dump\":%.4f,\"ready_s\":%.3f,"
           "\"first_pull_s\":%.3f,\"full_speed_s\":%.3f,\"data_bytes\":%llu,\"read_gb_per_s\":%.3f",
           size, new_size, new_size / dump, r->ready_s, r->first_pull_s, r->full_speed_s, (unsigned long long)r->bytes,
           1e-9 * (double)r->bytes / r->ready_s);
  else
    printf("a checkpoint has %.0f MB, of them new %.0f (%.1f %% of a dump)\nkilled: ready after %.2f s (%.2f GB/s), "
           "first pull after %.2f, full speed after %.2f\n",
           size / 1e6, new_size / 1e6, 100 * new_size / dump, r->ready_s, 1e-9 * (double)r->bytes / r->ready_s,
           r->first_pull_s, r->full_speed_s);
}

static void print_result(checkpoint_bench *b, phase_result *without, phase_result *with, const recovery *r,
                         const hotrow_shard_counts *first, const hotrow_shard_counts *last)
{
  const bench_checkpoint_options *o = b->options;
  double lost[REPEATS_MAX];
  for (uint32_t i = 0; i < o->repeats; i++)
    lost[i] = 100 * (1 - with->rows_per_s[i] / without->rows_per_s[i]);
  double median = bench_quantile(lost, o->repeats, 0.5);
  double dump = (double)last->rows * RECORD_HEAD_BYTES + (double)(last->value_bytes + last->state_bytes);
  size_t made = b->checkpoints.count - b->checkpoints.made_before;
  double seconds = bench_quantile(b->checkpoints.seconds + b->checkpoints.made_before, made, 0.5);
  if (o->json)
    printf("{\"rows\":%llu,\"dim\":%u,\"optimizer\":\"%s\",\"batch_rows\":%zu,\"zipf\":%.2f,\"cut_bytes\":%llu,"
           "\"cut_interval_ms\":%u,\"every_ms\":%u,\"phase_ms\":%u,\"repeats\":%u,\"memory_only\":%s,",
           (unsigned long long)o->rows, o->dim, bench_optimizer_names[o->optimizer], b->batch_rows, (double)o->zipf,
           (unsigned long long)o->cut_bytes, o->cut_interval_ms, o->every_ms, o->phase_ms, o->repeats,
           o->memory_only ? "true" : "false");
  print_pulls(b, "without", without);
  print_pulls(b, "with", with);
  if (o->json)
    printf("\"lost_percent\":%.2f,\"lost_percent_min\":%.2f,\"lost_percent_max\":%.2f,\"checkpoints\":%zu,"
           "\"checkpoint_s\":%.3f,\"dump_bytes\":%.0f",
           median, lost[0], lost[o->repeats - 1], made, seconds, dump);
  else
    printf("lost %.1f %% (%.1f .. %.1f); a checkpoint takes %.2f s; a full dump has %.0f MB\n", median, lost[0],
           lost[o->repeats - 1], seconds, dump / 1e6);
  if (!o->memory_only)
    print_data(o, r, first, last, dump);
  if (o->json)
    printf("}\n");
  fflush(stdout);
}

static bool run(checkpoint_bench *b, phase_result *without, phase_result *with)
{
  const bench_checkpoint_options *o = b->options;
  hotrow_shard_counts first = {0}, last = {0};
  recovery r = {0};
  if (!start_server(b))
    return false;
  b->checkpoints.endpoint = b->server.endpoint;
  if (open_client(b, LOAD_JOB, &b->client, &b->table) != HOTROW_OK)
    return fail("server", hotrow_last_error());
  if (!fill_table(b) || !run_phases(b, without, with, &first) || !get_counts(b, &last))
    return false;
  double rates[REPEATS_MAX];
  memcpy(rates, without->rows_per_s, sizeof rates);
  if (!o->memory_only && !measure_recovery(b, bench_quantile(rates, o->repeats, 0.5), &r))
    return false;
  print_result(b, without, with, &r, &first, &last);
  return true;
}

static bool make_directory(const checkpoint_bench *b, const char *name, char *path, size_t size)
{
  if (snprintf(path, size, "%s/%s", b->options->dir, name) >= (int)size)
    return fail("--dir", "too long");
  return mkdir(path, 0777) == 0 || fail(path, "cannot be made, or is there already");
}

int hr_bench_checkpoint(const bench_checkpoint_options *options)
{
  static checkpoint_bench bench;
  static phase_result without, with;
  checkpoint_bench *b = &bench;
  b->options = b->checkpoints.options = options;
  if (!options->dir) {
    fail("--dir", "name a directory for the rows");
    return HR_EXIT_USAGE;
  }
  without.pull_ms = malloc(PULLS_MAX * sizeof *without.pull_ms);
  without.read_ms = malloc(PULLS_MAX * sizeof *without.read_ms);
  with.pull_ms = malloc(PULLS_MAX * sizeof *with.pull_ms);
  with.read_ms = malloc(PULLS_MAX * sizeof *with.read_ms);
  bool ok = make_directory(b, "data", b->data_dir, sizeof b->data_dir) &&
            make_directory(b, "saves", b->save_dir, sizeof b->save_dir);
  ok = ok && ((without.pull_ms && with.pull_ms && without.read_ms && with.read_ms) || fail("pulls", "no memory"));
  ok = ok && make_batches(b) && run(b, &without, &with);
  hotrow_client_close(b->client);
  bench_server_kill(&b->server);
  for (uint32_t s = 0; s < BATCH_SETS; s++)
    free(b->batches[s].keys);
  free(b->values);
  free(b->grads);
  free(without.pull_ms);
  free(without.read_ms);
  free(with.pull_ms);
  free(with.read_ms);
  return ok ? 0 : HR_EXIT_SOFTWARE;
}
