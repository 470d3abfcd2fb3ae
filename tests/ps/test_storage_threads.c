/* What a shard's thread, its storage's writer and reader, and the thread that copies the database do at once, over a
 * real database: for the thread sanitizer, which is told to pass over what RocksDB does by itself (tsan.supp). */
#include <pthread.h>

#include <hr/random.h>

#include "disk_test.h"

#define KEYS 30000u
#define BATCH 1500u
#define ROUNDS 40u
#define COPY_EVERY 10u
#define MEMORY ((size_t)2 << 20) /* for half of the rows */

typedef struct work {
  disk d;
  test_client client;
  uint64_t number;           /* of the cut that is under way */
  uint32_t pushes[KEYS];     /* to each key */
  uint32_t cuts, busy_count; /* that were durable; pushes that had to wait for one */
  char copy_path[600];
  pthread_t copier;
  bool is_copying;
} work;

/* ---- a copy, on a thread of its own ---- */

static void *copy(void *context)
{
  work *w = context;
  const hr_storage *calls = hr_rocksdb_calls(w->d.storage);
  CHECK_OK(calls->copy(calls->context, w->copy_path));
  calls->let_go(calls->context);
  return NULL;
}

static void begin_copy(work *w, uint32_t round)
{
  const hr_storage *calls = hr_rocksdb_calls(w->d.storage);
  snprintf(w->copy_path, sizeof w->copy_path, "%s-copy-%u", w->d.dir, round);
  calls->hold(calls->context);
  CHECK_EQ(pthread_create(&w->copier, NULL, copy, w), 0);
  w->is_copying = true;
}

static void end_copy(work *w)
{
  if (w->is_copying)
    CHECK_EQ(pthread_join(w->copier, NULL), 0);
  w->is_copying = false;
}

/* ---- the shard's thread ---- */

static void take_results(work *w)
{
  uint64_t number;
  hotrow_status status;
  if (hr_rocksdb_take_result(w->d.storage, &number, &status)) {
    CHECK_OK(status);
    CHECK_EQ(number, w->number);
    hr_shard_cut_is_durable(w->d.t->shard, number);
    w->cuts++;
  }
  if (hr_rocksdb_take_logged(w->d.storage, &status)) {
    CHECK_OK(status);
    hr_shard_log_is_durable(w->d.t->shard);
  }
}

static void finish(work *w)
{
  while (hr_rocksdb_is_busy(w->d.storage) || hr_rocksdb_is_logging(w->d.storage)) {
    hr_rocksdb_wait(w->d.storage);
    take_results(w);
  }
}

/* What a server does between two messages; nothing here waits. */
static void tend(work *w)
{
  take_results(w);
  if (hr_rocksdb_can_log(w->d.storage)) {
    CHECK_OK(hr_rocksdb_log(w->d.storage));
    hr_shard_log_is_handed(w->d.t->shard);
  }
  if (!hr_rocksdb_is_busy(w->d.storage))
    CHECK_OK(test_cut(w->d.t->shard, &w->number));
}

static void push(work *w, hr_rng *rng)
{
  static uint64_t keys[BATCH];
  static float grads[BATCH * TEST_DIM];
  uint64_t first = hr_rng_below(rng, KEYS);
  for (uint32_t i = 0; i < BATCH; i++) {
    keys[i] = (first + i * 7919u) % KEYS; /* a prime that does not divide KEYS: distinct */
    grads[i * TEST_DIM] = 1.0f;
    w->pushes[keys[i]]++;
  }
  test_add_push(test_begin(&w->client, HR_OP_PUSH), 0, keys, grads, BATCH);
  hotrow_status status;
  while ((status = test_ask(w->d.t, &w->client)) == HOTROW_ERR_BUSY) {
    w->busy_count++;
    tend(w);
    finish(w);
  }
  CHECK_OK(status);
}

static void check_rows(work *w)
{
  static uint64_t keys[BATCH];
  for (uint32_t first = 0; first < KEYS; first += BATCH) {
    for (uint32_t i = 0; i < BATCH; i++)
      keys[i] = first + i;
    hr_message *m = test_begin(&w->client, HR_OP_PULL);
    m->header.flags = HR_FLAG_READ_ONLY;
    test_add_pull(m, 0, keys, BATCH);
    CHECK_OK(test_ask(w->d.t, &w->client));
    const hr_section *got = &w->d.t->replies[0].message.sections[0];
    for (uint32_t i = 0; i < BATCH; i++)
      CHECK_MSG(got->values[i * TEST_DIM] == -(float)w->pushes[first + i], "key %u has %g, and was pushed %u times",
                first + i, (double)got->values[i * TEST_DIM], w->pushes[first + i]);
  }
}

static void work_on(hotrow_durability durability, const char *name)
{
  static work w;
  hr_rng rng = {hr_test_seed(1)};
  w = (work){.d.durability = durability, .client = test_worker(1, 7, 0, 1, 100)};
  hr_table_desc desc = test_desc("t");
  disk_start_within(&w.d, disk_dir(name), MEMORY);
  disk_greet(&w.d, &w.client);
  disk_create(&w.d, &w.client, &desc);
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    push(&w, &rng);
    if (round % COPY_EVERY == 0) {
      finish(&w);
      begin_copy(&w, round);
    }
    tend(&w);
    push(&w, &rng);
    take_results(&w);
    if (round % COPY_EVERY == 0)
      end_copy(&w);
  }
  check_rows(&w);
  finish(&w);
  hotrow_shard_counts counts;
  hr_shard_get_counts(w.d.t->shard, &counts);
  CHECK_MSG(w.cuts >= ROUNDS / COPY_EVERY && counts.rows_fetched > 0, "%u cuts, %llu rows came back", w.cuts,
            (unsigned long long)counts.rows_fetched);
  disk_die(&w.d);
}

static void cuts_reads_and_copies(void)
{
  work_on(HOTROW_DURABILITY_CUT, "cuts");
}

static void and_a_log(void)
{
  work_on(HOTROW_DURABILITY_LOG, "log");
}

int main(void)
{
  RUN(cuts_reads_and_copies);
  RUN(and_a_log);
  return 0;
}
