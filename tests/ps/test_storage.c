/* The RocksDB storage: what a cut holds comes back, all of it and nothing else. */
#include "disk_test.h"

#include <dirent.h>
#include <sys/resource.h>
#include <time.h>

#include <hr/optimizer.h>
#include <hr/thread.h>

#include "shard_state.h"
#include "storage_state.h"

static test_client worker(uint64_t session, uint32_t rank)
{
  return test_worker(session, 7, rank, 2, 100);
}

static float value_of(disk *d, uint64_t key)
{
  const hr_table *table = hr_shard_table(d->t->shard, 0);
  size_t stride;
  uint32_t row, clock;
  hr_table_find(table, &key, 1, &row, &clock);
  return row == HR_ROW_NONE ? 0.0f : hr_table_rows(table, &stride)[row * stride];
}

/* The memory of a cut is kept for the next one, and counted. */
static void what_is_kept_is_counted(void)
{
  enum { KEPT = 1 << 20 }; /* a block of entries */
  disk d = {0};
  disk_start(&d, disk_dir("kept"));
  test_client a = worker(1, 0);
  hr_table_desc desc = test_desc("t");
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  CHECK_OK(disk_push(&d, &a, 0, 1, 1.0f));
  CHECK_OK(disk_cut(&d));
  size_t kept = hr_rocksdb_get_memory(d.storage).cut_bytes;
  CHECK(kept >= KEPT && kept < 2 * KEPT);
  hr_entries_free(&d.storage->cut.entries);
  CHECK_EQ(hr_rocksdb_get_memory(d.storage).cut_bytes, 0);
  hr_rocksdb_ask_memory(d.storage);
  CHECK(hr_rocksdb_get_memory(d.storage).database_bytes > 0);
  disk_die(&d);
}

/* Two sessions; the shard dies with a cut on disk and pushes after it. */
static void a_cut_comes_back(void)
{
  disk d = {0};
  disk_start(&d, disk_dir("back"));
  test_client a = worker(1, 0), b = worker(2, 1);
  hr_table_desc desc = test_desc("t");
  CHECK(disk_greet(&d, &a) == 0 && disk_greet(&d, &b) == 0);
  CHECK_EQ(disk_create(&d, &a, &desc), 0);
  for (uint64_t i = 1; i <= 40; i++)
    CHECK_OK(disk_push(&d, &a, 0, i % 7, 1.0f));
  for (uint64_t i = 1; i <= 3; i++)
    CHECK_OK(disk_push(&d, &b, 0, UINT64_MAX, 4.0f));
  CHECK_EQ(d.t->replies[0].message.header.durable_seq, 0);
  CHECK_OK(disk_cut(&d));
  CHECK_OK(disk_push(&d, &b, 0, UINT64_MAX, 4.0f));
  CHECK_EQ(d.t->replies[0].message.header.durable_seq, 3);
  CHECK(value_of(&d, UINT64_MAX) == -16.0f);
  disk_die(&d);

  disk_start(&d, d.dir);
  CHECK(value_of(&d, UINT64_MAX) == -12.0f && value_of(&d, 0) == -5.0f && value_of(&d, 1) == -6.0f);
  CHECK_EQ(hr_shard_dirty_bytes(d.t->shard), 0);
  test_begin(&a, HR_OP_STATS);
  CHECK_FAILS(test_ask(d.t, &a), HOTROW_ERR_RESET, "restarted");
  CHECK(disk_greet(&d, &a) == 40 && disk_greet(&d, &b) == 3);
  b.push_seq = 2;
  CHECK_OK(disk_push(&d, &b, 0, UINT64_MAX, 4.0f)); /* a repeat */
  CHECK(value_of(&d, UINT64_MAX) == -12.0f);
  CHECK_EQ(d.t->replies[0].message.header.durable_seq, 3);
  CHECK_OK(disk_push(&d, &b, 0, UINT64_MAX, 4.0f));
  CHECK(value_of(&d, UINT64_MAX) == -16.0f);

  test_begin(&a, HR_OP_BYE);
  CHECK_OK(test_ask(d.t, &a));
  CHECK_OK(disk_cut(&d));
  disk_die(&d); /* whose session is over is not stored any more */
  disk_start(&d, d.dir);
  CHECK_EQ(test_counter(d.t->shard, "\"sessions\""), 1);
  CHECK_EQ(disk_greet(&d, &b), 4);
  disk_die(&d);
}

static hr_table_desc desc_of(const char *name, hotrow_optimizer_kind kind, uint32_t dim)
{
  hr_table_desc desc = test_desc(name);
  hotrow_optimizer optimizer = {.kind = kind, .lr = 0.1f};
  desc.dim = desc.segments[0].dim = dim;
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_UNIFORM, 0.5f};
  return desc;
}

static void push_rows(disk *d, test_client *c, uint32_t table, uint32_t dim)
{
  static const uint64_t keys[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, (uint64_t)1 << 63, 255, 256, 0x0100000000000000};
  static float grads[8 * HOTROW_DIM_MAX];
  for (size_t i = 0; i < 8 * (size_t)dim; i++)
    grads[i] = (float)((i * 2654435761u) % 1000) / 500.0f - 1.0f;
  test_add_push(test_begin(c, HR_OP_PUSH), table, keys, grads, 8)->dim = dim;
  CHECK_OK(test_ask(d->t, c));
}

/* Every optimizer's state, every width, every storage dtype, tables with segments, and the keys at both ends. */
static void every_kind_of_row_comes_back(void)
{
  static const uint32_t dims[] = {1, 2, 3, 16, 64, 100, 128, 4096, 7, 5};
  static const uint16_t dtypes[] = {HOTROW_F32, HOTROW_BF16, HOTROW_F16, HOTROW_BF16};
  enum { TABLES = 10 };
  disk d = {0};
  disk_start(&d, disk_dir("kinds"));
  test_client a = worker(1, 0);
  disk_greet(&d, &a);
  for (uint32_t i = 0; i < TABLES; i++) {
    char name[16];
    snprintf(name, sizeof name, "table-%u", i);
    hr_table_desc desc = desc_of(name, i + 1 < TABLES ? (hotrow_optimizer_kind)(HOTROW_SGD + i) : HOTROW_FTRL, dims[i]);
    if (i + 1 == TABLES) {
      desc.segment_count = 2;
      desc.segments[1] = desc_of("", HOTROW_ADAM, 4).segments[0];
      desc.segments[0].dim = 1;
    }
    desc.announce_step = i;
    desc.storage_dtype = dtypes[i % 4];
    CHECK_EQ(disk_create(&d, &a, &desc), i);
    push_rows(&d, &a, i, dims[i]);
    push_rows(&d, &a, i, dims[i]);
  }
  CHECK_OK(disk_cut(&d));
  void *before[TABLES];
  size_t sizes[TABLES], size;
  hr_table_desc descs[TABLES];
  for (uint32_t i = 0; i < TABLES; i++) {
    before[i] = disk_rows(&d, i, &sizes[i]);
    descs[i] = *hr_table_get_desc(hr_shard_table(d.t->shard, i));
  }
  disk_die(&d);
  disk_start(&d, d.dir);
  CHECK_EQ(hr_shard_table_count(d.t->shard), TABLES);
  for (uint32_t i = 0; i < TABLES; i++) {
    void *after = disk_rows(&d, i, &size);
    CHECK(size == sizes[i] && memcmp(before[i], after, size) == 0);
    CHECK(memcmp(&descs[i], hr_table_get_desc(hr_shard_table(d.t->shard, i)), sizeof descs[i]) == 0);
    free(before[i]);
    free(after);
  }
  disk_die(&d);
}

static void only_what_changed_is_written(void)
{
  disk d = {0};
  disk_start(&d, disk_dir("changed"));
  test_client a = worker(1, 0);
  hr_table_desc desc = test_desc("t");
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  hr_rocksdb_counts before = hr_rocksdb_get_counts(d.storage);
  for (uint64_t key = 0; key < 100; key++)
    CHECK_OK(disk_push(&d, &a, 0, key, 1.0f));
  CHECK_OK(disk_cut(&d));
  CHECK_EQ(hr_rocksdb_get_counts(d.storage).rows - before.rows, 100);
  CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
  CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
  CHECK_OK(disk_cut(&d));
  CHECK_EQ(hr_rocksdb_get_counts(d.storage).rows - before.rows, 101);
  before = hr_rocksdb_get_counts(d.storage);
  CHECK_OK(disk_cut(&d)); /* of nothing new: no write, and durable all the same */
  CHECK_OK(disk_cut(&d));
  CHECK_EQ(hr_rocksdb_get_counts(d.storage).writes, before.writes);
  CHECK_EQ(test_counter(d.t->shard, "\"cuts_durable\""), 5);
  test_client b = worker(2, 1);
  disk_greet(&d, &b);
  CHECK_OK(disk_cut(&d)); /* of no row, and a session that was not there */
  CHECK_EQ(hr_rocksdb_get_counts(d.storage).writes, before.writes + 1);
  disk_die(&d);
  disk_start(&d, d.dir);
  CHECK_EQ(test_counter(d.t->shard, "\"sessions\""), 2);
  CHECK(value_of(&d, 5) == -3.0f && value_of(&d, 99) == -1.0f);
  disk_die(&d);
}

/* A shard that never had a table, or a push. */
static void an_empty_cut_comes_back(void)
{
  disk d = {0};
  disk_start(&d, disk_dir("empty"));
  CHECK_OK(disk_cut(&d));
  disk_die(&d);
  disk_start(&d, d.dir);
  CHECK_EQ(hr_shard_table_count(d.t->shard), 0);
  CHECK_EQ(test_counter(d.t->shard, "\"sessions\""), 0);
  disk_die(&d);
}

/* disk_start checks that each is larger than the one before. */
static void every_start_is_a_new_epoch(void)
{
  disk d = {0};
  for (int i = 0; i < 5; i++) {
    disk_start(&d, disk_dir("epoch"));
    disk_die(&d);
  }
}

/* Many more entries than one buffer, in many cuts, over the same keys. */
static void many_cuts_come_back(void)
{
  enum { KEYS = 1000 };
  static uint64_t keys[KEYS];
  static float grads[KEYS * TEST_DIM];
  disk d = {0};
  disk_start(&d, disk_dir("many"));
  test_client a = worker(1, 0);
  hr_table_desc desc = test_desc("t");
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  for (uint32_t round = 1; round <= 60; round++) {
    for (uint32_t i = 0; i < KEYS; i++) {
      keys[i] = i * (uint64_t)0x9e3779b97f4a7c15 % (KEYS * round);
      keys[i] = keys[i] * KEYS + i; /* distinct */
      grads[i * TEST_DIM] = 1.0f;
    }
    test_add_push(test_begin(&a, HR_OP_PUSH), 0, keys, grads, KEYS);
    CHECK_OK(test_ask(d.t, &a));
    CHECK_OK(disk_cut(&d));
  }
  size_t size_before, size;
  void *before = disk_rows(&d, 0, &size_before);
  disk_die(&d);
  disk_start(&d, d.dir);
  void *after = disk_rows(&d, 0, &size);
  CHECK(size == size_before && memcmp(before, after, size) == 0);
  CHECK_EQ(disk_greet(&d, &a), 60);
  free(before);
  free(after);
  disk_die(&d);
}

/* Keys without a row and how often they asked: two pushes before the shard's death, the third behind it. */
static void keys_without_a_row_come_back(void)
{
  disk d = {0};
  disk_start(&d, disk_dir("admission"));
  test_client a = worker(1, 0);
  hr_table_desc desc = test_desc("t");
  desc.admit_count = 3;
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  for (uint64_t key = 0; key < 200; key++)
    for (uint64_t i = 0; i < key % 3; i++)
      CHECK_OK(disk_push(&d, &a, 0, key, 1.0f));
  CHECK_OK(disk_cut(&d));
  disk_die(&d);
  disk_start(&d, d.dir);
  disk_greet(&d, &a);
  for (uint64_t key = 0; key < 200; key++)
    CHECK_OK(disk_push(&d, &a, 0, key, 1.0f));
  uint64_t rows = hr_table_get_desc(hr_shard_table(d.t->shard, 0))->row_count;
  CHECK_MSG(rows == 66, "%llu rows", (unsigned long long)rows);
  disk_die(&d);
}

/* Rows that have left memory, and that nobody asks for: they go from the database, and are gone when it is opened. */
static void rows_that_nobody_asks_for_go_from_the_disk(void)
{
  enum { ROWS = 500, LIFE = 20 };
  disk d = {0};
  disk_start_within(&d, disk_dir("cold"), (size_t)1 << 30);
  test_client a = worker(1, 0);
  hr_table_desc desc = test_desc("t");
  desc.steps_to_live = LIFE;
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  for (uint64_t key = 0; key < ROWS; key++)
    CHECK_OK(disk_push(&d, &a, 0, key * 1000, 1.0f));
  CHECK_OK(disk_cut(&d));
  hr_table *table = hr_shard_table(d.t->shard, 0);
  CHECK_EQ(hr_table_evict(table, ROWS), ROWS);
  for (uint32_t step = 0; step < LIFE + 2 + 2 * ROWS / HR_SWEEP_STORED_ROWS_MIN; step++) {
    test_begin(&a, HR_OP_TICK)->header.step = step;
    CHECK_OK(test_ask(d.t, &a));
    CHECK(step > LIFE || hr_table_get_desc(table)->row_count == ROWS);
  }
  CHECK_EQ(hr_table_get_desc(table)->row_count, 0);
  CHECK_OK(disk_cut(&d));
  disk_die(&d);
  disk_start(&d, d.dir);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(d.t->shard, 0))->row_count, 0);
  disk_die(&d);
}

/* A row that goes and is made anew between two cuts is deleted and put by the same one. */
static void a_row_made_anew_comes_back(void)
{
  enum { ROWS = 40, LIFE = 3 };
  disk d = {0};
  disk_start(&d, disk_dir("anew"));
  test_client a = worker(1, 0);
  hr_table_desc desc = test_desc("t");
  desc.steps_to_live = LIFE;
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  for (uint32_t life = 0; life < 2; life++) {
    for (uint64_t key = 0; key < ROWS; key++) {
      test_push_row(&a, 0, key, 1.0f + (float)life)->header.step = life * (LIFE + 1);
      CHECK_OK(test_ask(d.t, &a));
    }
    CHECK_EQ(hr_table_expired_count(hr_shard_table(d.t->shard, 0)), life * ROWS);
    CHECK_OK(disk_cut(&d));
  }
  disk_die(&d);
  disk_start(&d, d.dir);
  disk_greet(&d, &a);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(d.t->shard, 0))->row_count, ROWS);
  for (uint64_t key = 0; key < ROWS; key++)
    CHECK(test_pull_value(d.t, &a, 0, key) == -2.0f);
  disk_die(&d);
}

/* Nice values of this process's threads of a name; their number. */
static size_t count_threads(const char *name, int nice)
{
  size_t count = 0;
  DIR *tasks = opendir("/proc/self/task");
  CHECK(tasks);
  for (const struct dirent *task; (task = readdir(tasks));) {
    char path[300], text[32] = {0};
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
    FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (file && fgets(text, sizeof text, file) && strncmp(text, name, strlen(name)) == 0 &&
        text[strlen(name)] == '\n') {
      count++;
      CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)strtoul(task->d_name, NULL, 10)), nice);
    }
    if (file)
      fclose(file);
  }
  closedir(tasks);
  return count;
}

/* A thread has its name when it has its priority, and both soon after it was started. */
static void check_thread(const char *name, int nice)
{
  struct timespec pause = {.tv_nsec = 1000000};
  while (count_threads(name, nice) == 0)
    nanosleep(&pause, NULL);
}

static void what_has_time_lets_others_go_first(void)
{
  disk d = {0};
  int own = getpriority(PRIO_PROCESS, 0), later = own + HR_BACKGROUND_NICE < 19 ? own + HR_BACKGROUND_NICE : 19;
  disk_start_within(&d, disk_dir("priorities"), (size_t)64 << 20);
  check_thread("cut writer", later);
  check_thread("rocksdb:low", later);
  check_thread("rocksdb:high", later);
  check_thread("row reader", own);
  disk_die(&d);
}

int main(void)
{
  RUN(what_has_time_lets_others_go_first);
  RUN(a_cut_comes_back);
  RUN(what_is_kept_is_counted);
  RUN(every_kind_of_row_comes_back);
  RUN(only_what_changed_is_written);
  RUN(an_empty_cut_comes_back);
  RUN(every_start_is_a_new_epoch);
  RUN(many_cuts_come_back);
  RUN(keys_without_a_row_come_back);
  RUN(rows_that_nobody_asks_for_go_from_the_disk);
  RUN(a_row_made_anew_comes_back);
  return 0;
}
