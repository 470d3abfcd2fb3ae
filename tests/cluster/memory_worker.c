/* What the memory test does to servers, and what it holds them to. Public C API only.
 *   memory_worker SHARDS ROWS DIM BATCHES SETTLE_MS
 * Makes rows, trains on them, flushes and rests, and looks all the while at what the shards count and what the system
 * says that their process has. One line a phase on stdout; exit 1: the two were farther apart than they may be. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hotrow/hotrow.h>
#include <hotrow/monitor.h>

#define SHARDS_MAX 16u
#define BATCH 16384u
#define DIM_MAX 256u
#define APART_PERCENT 5u
#define APART_BYTES ((uint64_t)12 << 20) /* of a process so small that this is more */
#define ASK_MS 10u
#define TIMEOUT_MS 60000u
#define PARTS 11u

static const char *const parts[PARTS] = {"value_bytes",   "state_bytes", "index_bytes",  "buffer_bytes",
                                         "storage_bytes", "copy_bytes",  "memory_bytes", "heap_bytes",
                                         "program_bytes", "other_bytes", "kept_bytes"};
enum { COPY = 5, PARTS_OF_SHARDS = 8 }; /* the first are of a shard, the others of its process */

typedef struct sample {
  uint64_t counted, process;
  uint64_t parts[PARTS];
} sample;

typedef struct watch {
  const char *shards;
  pthread_mutex_t lock; /* of these: */
  sample worst, last;
  uint64_t count, copies_max, process_max, evicted;
  pthread_t thread;
  atomic_bool is_ending;
} watch;

static void pause_ms(uint32_t ms)
{
  struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  nanosleep(&pause, NULL);
}

static int fail(const char *what)
{
  fprintf(stderr, "memory_worker: %s: %s\n", what, hotrow_last_error());
  exit(2);
}

static uint64_t number(const char *json, const char *name)
{
  char quoted[48];
  snprintf(quoted, sizeof quoted, "\"%s\":", name);
  const char *at = strstr(json, quoted);
  if (!at) {
    fprintf(stderr, "memory_worker: no %s in %s\n", name, json);
    exit(2);
  }
  return strtoull(at + strlen(quoted), NULL, 10);
}

static uint64_t apart(const sample *s)
{
  return s->counted > s->process ? s->counted - s->process : s->process - s->counted;
}

/* Above 1: too far. */
static double badness(const sample *s)
{
  double allowed = (double)s->process * APART_PERCENT / 100;
  return (double)apart(s) / (allowed > (double)APART_BYTES ? allowed : (double)APART_BYTES);
}

static void take(watch *w, const sample *s, uint64_t evicted)
{
  pthread_mutex_lock(&w->lock);
  w->evicted = evicted;
  if (s->counted != w->last.counted || s->process != w->last.process) {
    w->count++;
    w->last = *s;
    w->copies_max = s->parts[COPY] > w->copies_max ? s->parts[COPY] : w->copies_max;
    w->process_max = s->process > w->process_max ? s->process : w->process_max;
    if (w->count == 1 || badness(s) > badness(&w->worst))
      w->worst = *s;
  }
  pthread_mutex_unlock(&w->lock);
}

/* What a shard says of its process is of one moment; of the others' parts it may be another, so these are only shown.
 */
static void *run_watch(void *context)
{
  watch *w = context;
  hotrow_monitor *monitor;
  if (hotrow_monitor_open(w->shards, &monitor) != HOTROW_OK)
    fail("watch");
  uint32_t shards = hotrow_monitor_shard_count(monitor);
  while (!atomic_load(&w->is_ending)) {
    sample s = {0};
    uint64_t evicted = 0;
    hotrow_monitor_ask(monitor);
    if (hotrow_monitor_wait(monitor, TIMEOUT_MS) > 0)
      fail("a shard does not answer");
    for (uint32_t i = 0; i < shards; i++) {
      const char *stats = hotrow_monitor_answer_of(monitor, i).stats;
      s.counted = number(stats, "counted_bytes");
      s.process = number(stats, "process_bytes");
      evicted += number(stats, "rows_evicted");
      for (size_t p = 0; p < PARTS; p++)
        s.parts[p] = number(stats, parts[p]) + (p < PARTS_OF_SHARDS ? s.parts[p] : 0);
    }
    take(w, &s, evicted);
    pause_ms(ASK_MS);
  }
  hotrow_monitor_close(monitor);
  return NULL;
}

static bool show(watch *w, const char *phase)
{
  pthread_mutex_lock(&w->lock);
  const sample *s = &w->worst;
  double mib = 1 << 20;
  bool is_good = badness(s) <= 1;
  if (w->count > 0) {
    printf(
        "%-6s %3llu looks, at most %.0f MiB, %.0f of copies; farthest: %.1f MiB are %+.1f, %.2f of what is allowed%s:",
        phase, (unsigned long long)w->count, (double)w->process_max / mib, (double)w->copies_max / mib,
        (double)s->process / mib, ((double)s->counted - (double)s->process) / mib, badness(s), is_good ? "" : ", BAD");
    for (size_t p = 0; p < PARTS; p++)
      printf(" %.*s %.1f", (int)(strlen(parts[p]) - strlen("_bytes")), parts[p], (double)s->parts[p] / mib);
    printf("\n");
  }
  fflush(stdout);
  w->worst = (sample){0};
  w->count = w->copies_max = w->process_max = 0;
  pthread_mutex_unlock(&w->lock);
  return is_good;
}

typedef struct job {
  hotrow_client *client;
  hotrow_table *table;
  uint64_t rows, drawn;
  uint32_t dim;
  uint64_t keys[BATCH];
  float values[BATCH * DIM_MAX], grads[BATCH * DIM_MAX];
} job;

static uint64_t mix(uint64_t x)
{
  x = (x ^ x >> 31) * 0x7fb5d329728ea185u;
  x = (x ^ x >> 27) * 0x81dadef4bc2dd44du;
  return x ^ x >> 33;
}

static void step(job *j)
{
  hotrow_lookup_request lookup = HOTROW_LOOKUP_REQUEST_INIT;
  lookup.table = j->table, lookup.keys = j->keys, lookup.key_count = BATCH, lookup.out = j->values;
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  push.table = j->table, push.keys = j->keys, push.key_count = BATCH, push.grads = j->grads;
  if (hotrow_lookup(j->client, &lookup, 1) != HOTROW_OK || hotrow_push(j->client, &push, 1) != HOTROW_OK ||
      hotrow_step(j->client, 0) != HOTROW_OK)
    fail("step");
}

static void fill(job *j)
{
  for (uint64_t first = 0; first < j->rows; first += BATCH) {
    for (uint64_t i = 0; i < BATCH; i++)
      j->keys[i] = (first + i) % j->rows;
    step(j);
  }
}

static void train(job *j, uint64_t batches)
{
  for (uint64_t b = 0; b < batches; b++) {
    for (uint64_t i = 0; i < BATCH; i++)
      j->keys[i] = mix(++j->drawn) % j->rows;
    step(j);
  }
}

static void open_job(job *j, const char *shards)
{
  hotrow_client_options where = HOTROW_CLIENT_OPTIONS_INIT;
  where.shards = shards;
  where.job = 1;
  where.timeout_ms = TIMEOUT_MS;
  hotrow_table_options what = HOTROW_TABLE_OPTIONS_INIT;
  what.name = "rows";
  what.dim = j->dim;
  what.optimizer.kind = HOTROW_ADAGRAD;
  if (hotrow_client_open(&where, &j->client) != HOTROW_OK ||
      hotrow_table_create(j->client, &what, &j->table) != HOTROW_OK)
    fail("open");
}

int main(int argc, char **argv)
{
  static job j;
  static watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
  if (argc != 6)
    return 64;
  w.shards = argv[1];
  j.rows = strtoull(argv[2], NULL, 10);
  j.dim = (uint32_t)strtoul(argv[3], NULL, 10);
  uint64_t batches = strtoull(argv[4], NULL, 10);
  uint32_t settle_ms = (uint32_t)strtoul(argv[5], NULL, 10);
  for (size_t i = 0; i < sizeof j.grads / sizeof *j.grads; i++)
    j.grads[i] = (float)(i % 13) - 6;
  pthread_create(&w.thread, NULL, run_watch, &w);
  pause_ms(settle_ms);
  bool is_good = w.count > 0 && w.last.process > 0;
  is_good &= show(&w, "empty");
  open_job(&j, argv[1]);
  fill(&j);
  is_good &= show(&w, "fill");
  train(&j, batches);
  is_good &= show(&w, "train");
  if (hotrow_flush(j.client, 0) != HOTROW_OK)
    fail("flush");
  is_good &= show(&w, "flush");
  hotrow_client_close(j.client);
  pause_ms(settle_ms);
  is_good &= show(&w, "rest");
  if (w.evicted > 0)
    printf("%llu rows left memory\n", (unsigned long long)w.evicted);
  atomic_store(&w.is_ending, true);
  pthread_join(w.thread, NULL);
  return is_good ? 0 : 1;
}
