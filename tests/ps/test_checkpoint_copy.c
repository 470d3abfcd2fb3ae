/* Checkpoints of shards without a storage: rows are copied in turns while the shard serves, and written by another
 * thread. What is loaded is the shard as it was at the moment, bit for bit, whatever came after it. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hotrow/checkpoint.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#include "save_copy.h"
#include "shard_test.h"

#define KEYS 400u /* that tables of random jobs have */
#define BATCH 24u
#define COPY_ACTS 300u /* turns and messages of a copy; what is left is copied after them */
#define DIM_MAX 5u
#define WIDE_DIM 64u
#define WIDE_ROWS 40000u /* of the wide table: 10 MiB in a file */
#define WIDE_BATCH 2000u
#define SMALL_MEMORY ((size_t)96 << 20) /* of which 6 MiB may wait to be written */

/* ---- memory that there is none of ---- */

static _Thread_local unsigned mallocs_left; /* after so many none succeeds; 0: all do */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
  if (mallocs_left > 0 && size > HR_COPY_BLOCK_BYTES && --mallocs_left == 0) {
    mallocs_left = 1;
    return NULL;
  }
  return __real_malloc(size);
}

/* Nothing here outlives the process: test_checkpoint_faults.c is about what is on disk. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
  return fd < 0 ? -1 : 0;
}

/* ---- the thread that writes ---- */

typedef struct writer {
  pthread_t thread;
  bool is_running;
  atomic_bool is_held; /* it has not begun yet */
  bool is_slow;        /* it begins after a while by itself */
  void (*task)(void *context);
  void *context;
} writer;

static void *run_writer(void *context)
{
  writer *w = context;
  if (w->is_slow)
    usleep(30000);
  while (atomic_load(&w->is_held))
    usleep(1000);
  w->task(w->context);
  return NULL;
}

static void join_writer(writer *w)
{
  if (w->is_running)
    CHECK(pthread_join(w->thread, NULL) == 0);
  w->is_running = false;
}

static bool begin_writer(void *context, void (*task)(void *task_context), void *task_context)
{
  writer *w = context;
  join_writer(w);
  w->task = task;
  w->context = task_context;
  w->is_running = pthread_create(&w->thread, NULL, run_writer, w) == 0;
  return w->is_running;
}

/* ---- a shard ---- */

typedef struct job {
  test_shard *t;
  test_client client;
  writer writer;
  hr_rng rng;
  uint32_t step;
  uint64_t token;
  uint64_t pushes, turns; /* while a copy was made */
} job;

static const char *save_dir(void)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/copies", hr_test_tmpdir());
  mkdir(path, 0777);
  return path;
}

static void open_job(job *j, size_t cut_turn_bytes, size_t memory_bytes)
{
  hr_shard_options options = {.save_dir = save_dir(),
                              .cut_turn_bytes = cut_turn_bytes,
                              .memory_bytes = memory_bytes,
                              .aside = {.begin = begin_writer, .context = &j->writer}};
  j->t = test_shard_open(&options);
  j->client = test_worker(1, 7, 0, 1, 100);
  test_greet(j->t, &j->client);
}

/* As a server ends. */
static void close_job(job *j)
{
  hr_shard_give_up_copy(j->t->shard);
  join_writer(&j->writer);
  test_shard_close(j->t);
}

static hr_checkpoint order(const job *j, uint32_t action)
{
  return (hr_checkpoint){.token = j->token, .step = j->step, .action = action, .rank_count = 1, .name = "copy"};
}

static hotrow_status ask(job *j, uint32_t action)
{
  hr_checkpoint what = order(j, action);
  test_body(&j->client, HR_OP_CHECKPOINT, &what, sizeof what);
  return test_ask(j->t, &j->client);
}

/* What is left of a copy. */
static void copy_to_end(job *j)
{
  while (hr_shard_is_copying(j->t->shard))
    if (hr_shard_copy(j->t->shard) == HOTROW_ERR_BUSY)
      sched_yield();
}

static hotrow_status publish(job *j)
{
  copy_to_end(j);
  join_writer(&j->writer);
  HOTROW_TRY(ask(j, HR_CHECKPOINT_SETTLE));
  hotrow_status status = ask(j, HR_CHECKPOINT_PUBLISH);
  join_writer(&j->writer);
  return status == HOTROW_ERR_BUSY ? ask(j, HR_CHECKPOINT_PUBLISH) : status;
}

/* ---- all of a shard, as plain bytes ---- */

typedef struct image {
  size_t table_count;
  struct {
    hr_table_desc desc;
    uint8_t *rows; /* owned: key, clock, record of each, by key */
    size_t row_size, row_count;
    uint8_t *buckets; /* owned: number and bytes of each */
    size_t bucket_size;
  } tables[HR_SAVE_TABLES_MAX];
} image;

static void append(uint8_t **bytes, size_t *size, const void *more, size_t more_size)
{
  *bytes = realloc(*bytes, *size + more_size);
  CHECK(*bytes);
  memcpy(*bytes + *size, more, more_size);
  *size += more_size;
}

typedef struct reading {
  uint8_t *bytes;
  size_t size, row_size;
} reading;

static hotrow_status read_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  reading *r = context;
  uint8_t *at = r->bytes + r->size;
  memcpy(at, &key, sizeof key);
  memcpy(at + sizeof key, &clock, sizeof clock);
  memcpy(at + HR_ROW_HEAD_BYTES, record, r->row_size - HR_ROW_HEAD_BYTES);
  r->size += r->row_size;
  return HOTROW_OK;
}

static hotrow_status read_bucket(uint64_t number, const void *bytes, size_t size, void *context)
{
  reading *r = context;
  append(&r->bytes, &r->size, &number, sizeof number);
  append(&r->bytes, &r->size, bytes, size);
  return HOTROW_OK;
}

static int compare_rows(const void *a, const void *b)
{
  uint64_t x, y;
  memcpy(&x, a, sizeof x);
  memcpy(&y, b, sizeof y);
  return (x > y) - (x < y);
}

static image look(const hr_shard *shard)
{
  image seen = {.table_count = hr_shard_table_count(shard)};
  for (size_t i = 0; i < seen.table_count; i++) {
    const hr_table *table = hr_shard_table(shard, i);
    seen.tables[i].desc = *hr_table_get_desc(table);
    size_t row_size = HR_ROW_HEAD_BYTES + hr_table_record_floats(table) * sizeof(float);
    size_t count = (size_t)seen.tables[i].desc.row_count;
    reading rows = {.bytes = malloc(count * row_size + 1), .row_size = row_size}, buckets = {0};
    CHECK(rows.bytes);
    CHECK_OK(hr_table_scan(table, read_row, &rows));
    CHECK_OK(hr_table_visit_buckets(table, read_bucket, &buckets));
    CHECK_EQ(rows.size, count * row_size);
    qsort(rows.bytes, count, row_size, compare_rows);
    seen.tables[i].rows = rows.bytes;
    seen.tables[i].row_size = row_size;
    seen.tables[i].row_count = count;
    seen.tables[i].buckets = buckets.bytes;
    seen.tables[i].bucket_size = buckets.size;
  }
  return seen;
}

static void forget(image *seen)
{
  for (size_t i = 0; i < seen->table_count; i++) {
    free(seen->tables[i].rows);
    free(seen->tables[i].buckets);
  }
}

static void check_equal(const image *moment, const image *loaded)
{
  CHECK_EQ(loaded->table_count, moment->table_count);
  for (size_t i = 0; i < moment->table_count; i++) {
    const char *name = moment->tables[i].desc.name;
    CHECK(hr_table_desc_matches(&moment->tables[i].desc, &loaded->tables[i].desc));
    CHECK_EQ(loaded->tables[i].desc.step, moment->tables[i].desc.step);
    CHECK_MSG(loaded->tables[i].row_count == moment->tables[i].row_count, "table %s: %zu rows, and it had %zu", name,
              loaded->tables[i].row_count, moment->tables[i].row_count);
    CHECK_MSG(memcmp(loaded->tables[i].rows, moment->tables[i].rows,
                     moment->tables[i].row_count * moment->tables[i].row_size) == 0,
              "table %s: its rows are not those of the moment", name);
    CHECK_EQ(loaded->tables[i].bucket_size, moment->tables[i].bucket_size);
    CHECK_MSG(moment->tables[i].bucket_size == 0 ||
                  memcmp(loaded->tables[i].buckets, moment->tables[i].buckets, moment->tables[i].bucket_size) == 0,
              "table %s: its keys without a row are not those of the moment", name);
  }
}

/* The checkpoint that was published last. */
static void check_loaded(const image *moment)
{
  hr_path path;
  CHECK_OK(hr_path_format(&path, "%s/copy", save_dir()));
  test_shard *t = test_shard_open(NULL);
  CHECK_OK(hr_shard_load(t->shard, path.text, (hr_load_progress){0}, (hr_load_settle){0}));
  image loaded = look(t->shard);
  check_equal(moment, &loaded);
  forget(&loaded);
  test_shard_close(t);
}

static bool is_published(void)
{
  hr_path path;
  CHECK_OK(hr_path_format(&path, "%s/copy", save_dir()));
  return access(path.text, F_OK) == 0;
}

static size_t count_entries(void)
{
  size_t count = 0;
  DIR *entries = opendir(save_dir());
  CHECK(entries);
  for (struct dirent *entry; (entry = readdir(entries));)
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(entries);
  return count;
}

/* ---- random jobs ---- */

static hr_table_desc describe(const char *name, uint32_t dim, hotrow_optimizer_kind kind, hotrow_dtype dtype)
{
  hr_table_desc desc = test_desc(name);
  hotrow_optimizer optimizer = {.kind = kind, .lr = 0.1f};
  hotrow_initializer uniform = {.kind = HOTROW_INIT_UNIFORM, .scale = 0.5f};
  desc.dim = desc.segments[0].dim = dim;
  desc.storage_dtype = (uint16_t)dtype;
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  CHECK_OK(hr_initializer_resolve(&uniform, dim, &desc.segments[0].initializer));
  return desc;
}

static void create_tables(job *j)
{
  hr_table_desc descs[] = {describe("plain", 2, HOTROW_SGD, HOTROW_F32),
                           describe("half", 5, HOTROW_MOMENTUM, HOTROW_F16),
                           describe("brain", 3, HOTROW_ROWWISE_ADAGRAD, HOTROW_BF16),
                           describe("short", 4, HOTROW_ADAGRAD, HOTROW_F32),
                           describe("small", 1, HOTROW_ADAM, HOTROW_F32),
                           describe("picky", 3, HOTROW_SGD, HOTROW_F16)};
  descs[1].announce_step = 2;
  descs[2].admit_count = 3;
  descs[3].steps_to_live = 4;
  descs[3].announce_step = 1;
  descs[4].row_count_max = 90;
  descs[4].eviction = HOTROW_EVICT_LRU;
  descs[5].admit_probability = 0.2f;
  descs[5].steps_to_live = 9;
  for (size_t i = 0; i < sizeof descs / sizeof *descs; i++)
    CHECK_EQ(test_create(j->t, &j->client, &descs[i]), i);
}

/* Distinct keys, of a part of them more often. */
static uint32_t draw_keys(job *j, uint64_t *keys)
{
  uint64_t span = hr_rng_below(&j->rng, 3) ? 1 + hr_rng_below(&j->rng, KEYS) : KEYS;
  uint32_t count = 0, wanted = 1 + (uint32_t)hr_rng_below(&j->rng, BATCH);
  for (uint32_t tries = 0; count < wanted && tries < 4 * BATCH; tries++) {
    uint64_t key = hr_rng_below(&j->rng, span);
    bool is_there = false;
    for (uint32_t i = 0; i < count; i++)
      is_there = is_there || keys[i] == key;
    if (!is_there)
      keys[count++] = key;
  }
  return count;
}

static uint32_t dim_of(const job *j, size_t table)
{
  return hr_table_get_desc(hr_shard_table(j->t->shard, table))->dim;
}

static void push_random(job *j)
{
  uint64_t keys[BATCH];
  float grads[BATCH * DIM_MAX];
  uint32_t table = (uint32_t)hr_rng_below(&j->rng, hr_shard_table_count(j->t->shard));
  uint32_t count = draw_keys(j, keys);
  for (size_t i = 0; i < BATCH * DIM_MAX; i++)
    grads[i] = (float)hr_rng_below(&j->rng, 17) / 8 - 1;
  hr_message *m = test_begin(&j->client, HR_OP_PUSH);
  test_add_push(m, table, keys, grads, count)->dim = dim_of(j, table);
  j->step += hr_rng_below(&j->rng, 4) == 0;
  m->header.step = j->step;
  CHECK_OK(test_ask(j->t, &j->client));
}

static void pull_random(job *j)
{
  uint64_t keys[BATCH];
  uint32_t table = (uint32_t)hr_rng_below(&j->rng, hr_shard_table_count(j->t->shard));
  uint32_t count = draw_keys(j, keys);
  hr_message *m = test_begin(&j->client, HR_OP_PULL);
  test_add_pull(m, table, keys, count)->dim = dim_of(j, table);
  m->header.step = j->step;
  CHECK_OK(test_ask(j->t, &j->client));
}

static void act_random(job *j)
{
  if (hr_rng_below(&j->rng, 4) > 0)
    push_random(j);
  else
    pull_random(j);
}

/* One checkpoint, with messages between its turns. */
static void run_checkpoint(job *j)
{
  j->token++;
  CHECK_OK(ask(j, HR_CHECKPOINT_COPY));
  CHECK(hr_shard_is_copying(j->t->shard));
  image moment = look(j->t->shard);
  for (uint32_t i = 0; i < COPY_ACTS && hr_shard_is_copying(j->t->shard); i++) {
    if (hr_rng_below(&j->rng, 2)) {
      hotrow_status status = hr_shard_copy(j->t->shard);
      CHECK(status == HOTROW_OK || status == HOTROW_ERR_BUSY);
      j->turns++;
    } else {
      act_random(j);
      j->pushes++;
    }
  }
  if (hr_rng_below(&j->rng, 2))
    act_random(j);
  CHECK_OK(publish(j));
  check_loaded(&moment);
  forget(&moment);
}

static void run_job(uint64_t seed, job *total)
{
  job j = {.rng = {seed}};
  open_job(&j, 1 + hr_rng_below(&j.rng, hr_rng_below(&j.rng, 2) ? 3000 : 60000), 0);
  create_tables(&j);
  for (uint64_t i = hr_rng_below(&j.rng, 300); i > 0; i--)
    act_random(&j);
  for (uint64_t i = 1 + hr_rng_below(&j.rng, 3); i > 0; i--) {
    run_checkpoint(&j);
    hr_table_desc late = describe("late", 2, HOTROW_SGD, HOTROW_F32);
    if (hr_shard_table_count(j.t->shard) == 6) {
      j.token++;
      CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
      image moment = look(j.t->shard);
      test_create(j.t, &j.client, &late); /* after the moment */
      for (size_t k = 0; k < 40; k++)
        push_random(&j);
      CHECK_OK(publish(&j));
      check_loaded(&moment);
      forget(&moment);
    }
  }
  hotrow_shard_counts counts;
  hr_shard_get_counts(j.t->shard, &counts);
  total->pushes += j.pushes;
  total->turns += j.turns;
  total->step += (uint32_t)counts.rows_expired;
  close_job(&j);
}

static void what_is_loaded_is_the_moment(void)
{
  const char *many = getenv("HOTROW_TEST_SEEDS");
  uint64_t seed = hr_test_seed(1), count = many ? strtoull(many, NULL, 10) : 20;
  job total = {0};
  for (uint64_t i = 0; i < count; i++)
    run_job(seed + i, &total);
  printf("  %llu messages between %llu turns, %u rows went\n", (unsigned long long)total.pushes,
         (unsigned long long)total.turns, total.step);
  CHECK(total.pushes > 100 && total.turns > 100 && total.step > 100);
}

/* ---- a table that takes many blocks ---- */

static uint64_t wide_keys[WIDE_BATCH];
static float wide_grads[WIDE_BATCH * WIDE_DIM];

static hotrow_status push_wide(job *j, uint64_t first, uint32_t count, bool is_exact)
{
  for (uint32_t i = 0; i < count; i++)
    wide_keys[i] = (first + i) % WIDE_ROWS;
  for (size_t i = 0; i < WIDE_BATCH * WIDE_DIM; i++)
    wide_grads[i] = (float)(first + i % 7);
  hr_message *m = test_begin(&j->client, HR_OP_PUSH);
  test_add_push(m, 0, wide_keys, wide_grads, count)->dim = WIDE_DIM;
  if (is_exact) {
    m->header.flags |= HR_FLAG_SYNC;
    m->header.step = j->step++;
  }
  hotrow_status status = test_ask(j->t, &j->client);
  j->client.push_seq -= status == HOTROW_ERR_BUSY; /* not taken */
  j->step -= status == HOTROW_ERR_BUSY && is_exact;
  return status;
}

static void open_wide(job *j, size_t cut_turn_bytes)
{
  hr_table_desc desc = describe("wide", WIDE_DIM, HOTROW_SGD, HOTROW_F32);
  open_job(j, cut_turn_bytes, SMALL_MEMORY);
  test_create(j->t, &j->client, &desc);
  for (uint64_t first = 0; first < WIDE_ROWS; first += WIDE_BATCH)
    CHECK_OK(push_wide(j, first, WIDE_BATCH, true));
}

static uint64_t buffer_bytes(const job *j)
{
  hotrow_shard_counts counts;
  hr_shard_get_counts(j->t->shard, &counts);
  return counts.buffer_bytes;
}

static void pull_wide(job *j)
{
  uint64_t key = 5;
  test_add_pull(test_begin(&j->client, HR_OP_PULL), 0, &key, 1)->dim = WIDE_DIM;
  CHECK_OK(test_ask(j->t, &j->client));
}

/* The writer does not write: turns stop, then pushes, and pulls go on. */
static void what_waits_to_be_written_is_bounded(void)
{
  job j = {.writer.is_held = true, .token = 1};
  open_wide(&j, 0);
  pull_wide(&j);
  uint64_t before = buffer_bytes(&j);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  image moment = look(j.t->shard);
  hotrow_status status = HOTROW_OK;
  while (status == HOTROW_OK)
    status = hr_shard_copy(j.t->shard);
  CHECK_EQ(status, HOTROW_ERR_BUSY);
  uint64_t waiting = buffer_bytes(&j) - before, max = SMALL_MEMORY / 16;
  CHECK_MSG(waiting >= max / 2 && waiting < max / 2 + 4 * HR_COPY_BLOCK_BYTES, "%llu bytes wait to be written",
            (unsigned long long)waiting);
  uint32_t pushed = 0;
  for (; pushed < WIDE_ROWS && status == HOTROW_ERR_BUSY; pushed += 100) {
    hotrow_status taken = push_wide(&j, WIDE_ROWS - 100 - pushed, 100, false); /* from the end: not copied yet */
    status = taken == HOTROW_OK ? HOTROW_ERR_BUSY : taken == HOTROW_ERR_BUSY ? HOTROW_OK : taken;
  }
  CHECK_MSG(status == HOTROW_OK && pushed > 1000 && pushed < WIDE_ROWS, "%u rows pushed", pushed);
  CHECK(strstr(hotrow_last_error(), "writes a checkpoint, and too much of it is not written yet"));
  waiting = buffer_bytes(&j) - before;
  CHECK_MSG(waiting >= max && waiting < max + 4 * HR_COPY_BLOCK_BYTES, "%llu bytes wait to be written",
            (unsigned long long)waiting);
  pull_wide(&j);
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_SETTLE), HOTROW_ERR_BUSY, "still writing checkpoint copy");
  atomic_store(&j.writer.is_held, false);
  while (push_wide(&j, 0, 100, false) == HOTROW_ERR_BUSY)
    sched_yield();
  CHECK_OK(publish(&j));
  CHECK_EQ(buffer_bytes(&j), before); /* and it is given back */
  check_loaded(&moment);
  forget(&moment);
  close_job(&j);
}

/* Exact steps are taken, and wait for the writer themselves. */
static void exact_steps_wait_for_the_writer(void)
{
  job j = {.writer.is_slow = true, .token = 1};
  open_wide(&j, 0);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  image moment = look(j.t->shard);
  for (uint64_t first = 0; first < WIDE_ROWS; first += WIDE_BATCH)
    CHECK_OK(push_wide(&j, first, WIDE_BATCH, true));
  CHECK_OK(publish(&j));
  check_loaded(&moment);
  forget(&moment);
  close_job(&j);
}

/* ---- what is in the way ---- */

static void one_is_in_hand_at_a_time(void)
{
  job j = {.writer.is_held = true, .token = 1};
  open_wide(&j, 0);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY)); /* a repeat */
  j.token = 2;
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, "still writing checkpoint copy");
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_SETTLE), HOTROW_ERR_NOT_FOUND, "no checkpoint copy in hand");
  j.token = 1;
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_SETTLE), HOTROW_ERR_BUSY, "still writing checkpoint copy");
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_PUBLISH), HOTROW_ERR_BUSY, "still writing checkpoint copy");
  atomic_store(&j.writer.is_held, false);
  copy_to_end(&j);
  join_writer(&j.writer);
  j.token = 2;
  image moment = look(j.t->shard);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY)); /* takes its place */
  CHECK_OK(publish(&j));
  check_loaded(&moment);
  forget(&moment);
  close_job(&j);
}

static void one_that_is_dropped_is_not_copied_further(void)
{
  job j = {.writer.is_held = true, .token = 1};
  open_wide(&j, 0);
  size_t before = count_entries();
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  CHECK_OK(hr_shard_copy(j.t->shard));
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_DROP), HOTROW_ERR_BUSY, "still writing checkpoint copy");
  CHECK(!hr_shard_is_copying(j.t->shard));
  CHECK_OK(push_wide(&j, 0, WIDE_BATCH, true));
  atomic_store(&j.writer.is_held, false);
  join_writer(&j.writer);
  CHECK_FAILS(ask(&j, HR_CHECKPOINT_SETTLE), HOTROW_ERR_NOT_FOUND, "checkpoint copy was dropped");
  CHECK_OK(ask(&j, HR_CHECKPOINT_DROP));
  CHECK_EQ(count_entries(), before);
  j.token = 2;
  image moment = look(j.t->shard);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  CHECK_OK(publish(&j));
  check_loaded(&moment);
  forget(&moment);
  close_job(&j);
}

static void a_shard_that_ends_gives_it_up(void)
{
  job j = {.token = 1};
  size_t before = count_entries();
  open_wide(&j, 0);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  CHECK_OK(hr_shard_copy(j.t->shard));
  close_job(&j);
  CHECK_EQ(count_entries(), before);
}

/* ---- what fails ---- */

static void check_next(job *j)
{
  j->token++;
  image moment = look(j->t->shard);
  CHECK_OK(ask(j, HR_CHECKPOINT_COPY));
  CHECK_OK(push_wide(j, 100, WIDE_BATCH, true));
  CHECK_OK(publish(j));
  check_loaded(&moment);
  forget(&moment);
}

/* Files cannot become larger: the shard hears of it between its turns, and goes on. */
static void writing_fails_in_the_middle(void)
{
  job j = {.token = 10};
  struct rlimit before, small;
  CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
  small = before;
  open_wide(&j, 0);
  size_t entries = count_entries();
  for (rlim_t limit = 0; limit < 10 * HR_COPY_BLOCK_BYTES; limit += HR_COPY_BLOCK_BYTES) {
    small.rlim_cur = limit;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    j.token++;
    CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
    for (uint64_t first = 0; first < WIDE_ROWS; first += WIDE_BATCH) {
      CHECK_OK(push_wide(&j, first, WIDE_BATCH, true));
      if (hr_shard_is_copying(j.t->shard))
        hr_shard_copy(j.t->shard);
    }
    CHECK_FAILS(publish(&j), HOTROW_ERR_STORAGE, "wide.rows: cannot write: File too large");
    CHECK_OK(ask(&j, HR_CHECKPOINT_DROP));
    CHECK_EQ(count_entries(), entries);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
  }
  check_next(&j);
  close_job(&j);
}

/* What is copied then is copied in vain. */
static void no_row_is_copied_once_writing_has_failed(void)
{
  job j = {.token = 10};
  struct rlimit before, small;
  CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
  small = before;
  small.rlim_cur = 0;
  open_wide(&j, 1); /* a row in a turn */
  CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  uint32_t turns = 0;
  for (; turns < WIDE_ROWS / 2 && hr_shard_is_copying(j.t->shard); turns++) {
    hr_shard_copy(j.t->shard);
    if (turns > 2 * HR_COPY_BLOCK_BYTES / (WIDE_DIM * sizeof(float))) /* a block is on its way */
      usleep(1000);
  }
  CHECK(!hr_shard_is_copying(j.t->shard));
  CHECK_FAILS(publish(&j), HOTROW_ERR_STORAGE, "wide.rows: cannot write: File too large");
  CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
  close_job(&j);
}

static void memory_runs_out(void)
{
  job j = {.token = 10, .writer.is_held = true};
  open_wide(&j, 0);
  CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
  mallocs_left = 1;
  CHECK_OK(push_wide(&j, 0, 10, true)); /* whose rows cannot be copied before */
  mallocs_left = 0;
  CHECK_FAILS(hr_shard_copy(j.t->shard), HOTROW_ERR_NO_MEMORY, "1 blocks of a checkpoint");
  atomic_store(&j.writer.is_held, false);
  CHECK_FAILS(publish(&j), HOTROW_ERR_NO_MEMORY, "1 blocks of a checkpoint");
  for (unsigned left = 1; left < 12; left++) { /* in turns, and before a push */
    atomic_store(&j.writer.is_held, true);
    j.token++;
    CHECK_OK(ask(&j, HR_CHECKPOINT_COPY));
    mallocs_left = left;
    hotrow_status status = HOTROW_OK;
    for (uint64_t first = 0; first < WIDE_ROWS && hr_shard_is_copying(j.t->shard); first += 500) {
      CHECK_OK(push_wide(&j, (first * 7) % WIDE_ROWS, 500, true));
      status = hr_shard_copy(j.t->shard);
    }
    mallocs_left = 0;
    CHECK_FAILS(status, HOTROW_ERR_NO_MEMORY, "blocks of a checkpoint");
    atomic_store(&j.writer.is_held, false);
    CHECK_FAILS(publish(&j), HOTROW_ERR_NO_MEMORY, "blocks of a checkpoint");
    CHECK_OK(ask(&j, HR_CHECKPOINT_DROP));
  }
  check_next(&j);
  close_job(&j);
}

int main(void)
{
  signal(SIGXFSZ, SIG_IGN);
  RUN(a_shard_that_ends_gives_it_up);
  CHECK(!is_published());
  RUN(what_is_loaded_is_the_moment);
  RUN(what_waits_to_be_written_is_bounded);
  RUN(exact_steps_wait_for_the_writer);
  RUN(one_is_in_hand_at_a_time);
  RUN(one_that_is_dropped_is_not_copied_further);
  RUN(writing_fails_in_the_middle);
  RUN(no_row_is_copied_once_writing_has_failed);
  RUN(memory_runs_out);
  return 0;
}
