/* Saves of shards with a storage: they are of one moment, come from a copy of it, and the shard goes on meanwhile. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster_test.h"
#include "save_file.h"
#include "storage_test.h"

#define SHARDS 2u
#define KEYS 300u
#define MUCH ((size_t)1 << 40)

static const char *path_of(const char *name)
{
  static hr_path paths[8];
  static size_t count;
  hr_path *path = &paths[count++ % 8];
  CHECK_OK(hr_path_format(path, "%s/%s", hr_test_tmpdir(), name));
  return path->text;
}

static hotrow_status ask(test_shard *t, test_client *client, const char *name, uint64_t token)
{
  hr_save save = {.token = token};
  snprintf(save.name, sizeof save.name, "%s", name);
  test_body(client, HR_OP_SAVE, &save, sizeof save);
  return test_ask(t, client);
}

/* What of all is not told OK; the last of it. */
static hotrow_status ask_all(disk_cluster *c, const char *name, uint64_t token)
{
  hotrow_status status = HOTROW_OK;
  for (uint32_t i = 0; i < c->count; i++) {
    hotrow_status own = ask(c->shards[i], &c->clients[i], name, token);
    status = own == HOTROW_OK ? status : own;
  }
  return status;
}

static void evict_all(disk_cluster *c)
{
  for (uint32_t i = 0; i < c->count; i++)
    CHECK(hr_table_evict(hr_shard_table(c->shards[i]->shard, 0), UINT64_MAX) > 0);
}

static void check_saved(const char *name, const uint8_t *rows, size_t size)
{
  uint8_t *loaded;
  size_t loaded_size;
  for (uint32_t count = 1; count <= CLUSTER_SHARDS_MAX; count++) {
    CHECK_OK(cluster_load_rows(path_of(name), count, &loaded, &loaded_size));
    CHECK(loaded_size == size && memcmp(loaded, rows, size) == 0);
    free(loaded);
  }
}

/* Nothing is left of the copy, and of what was written under another name. */
static void check_is_clean(const char *name)
{
  for (uint32_t i = 0; i < SHARDS; i++) {
    hr_path path;
    CHECK_OK(hr_path_format(&path, "%s/shard-%u-of-%u.tmp-%ld.database", path_of(name), i, SHARDS, (long)getpid()));
    CHECK(access(path.text, F_OK) != 0);
    path.text[strlen(path.text) - strlen(".database")] = 0;
    CHECK(access(path.text, F_OK) != 0);
  }
}

/* Most rows are in the storage alone, some have changed since; more change before the save is written. */
static void a_save_is_of_the_moment_in_which_it_was_asked_for(void)
{
  disk_cluster c;
  size_t size;
  cluster_open_within(&c, SHARDS, path_of("data"), hr_test_tmpdir(), NULL, MUCH);
  cluster_push(&c, 0, KEYS, 1.0f);
  cluster_cut(&c);
  evict_all(&c);
  cluster_push(&c, KEYS - 20, 40, 2.0f);
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  CHECK_EQ(ask_all(&c, "moment", 5), HOTROW_ERR_BUSY);
  cluster_push(&c, KEYS - 40, 100, 3.0f);
  CHECK_EQ(ask_all(&c, "moment", 5), HOTROW_ERR_BUSY);
  for (uint32_t i = 0; i < SHARDS; i++)
    CHECK_EQ(test_counter(c.shards[i]->shard, "\"busy\""), 0); /* it is an answer */
  cluster_pump(&c);
  CHECK_OK(ask_all(&c, "moment", 5));
  check_saved("moment", rows, size);
  check_is_clean("moment");
  CHECK_OK(ask_all(&c, "moment", 5)); /* a late repeat */
  cluster_pump(&c);
  check_saved("moment", rows, size);
  free(rows);
  rows = cluster_rows(c.shards, SHARDS, &size);
  CHECK_EQ(ask_all(&c, "moment", 6), HOTROW_ERR_BUSY); /* and over it */
  cluster_pump(&c);
  CHECK_OK(ask_all(&c, "moment", 6));
  check_saved("moment", rows, size);
  free(rows);
  cluster_close(&c);
}

/* Before its own cut one from before has to end. */
static void it_waits_for_the_cut_under_way(void)
{
  disk_cluster c;
  size_t size;
  uint64_t number;
  cluster_open(&c, SHARDS, path_of("behind-data"), hr_test_tmpdir(), NULL);
  cluster_push(&c, 0, KEYS, 1.0f);
  for (uint32_t i = 0; i < SHARDS; i++)
    CHECK_OK(hr_shard_cut(c.shards[i]->shard, &number));
  CHECK_EQ(ask_all(&c, "behind", 1), HOTROW_ERR_BUSY);
  cluster_push(&c, 0, KEYS, 2.0f); /* its moment is yet to come */
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  cluster_pump(&c);
  CHECK_OK(ask_all(&c, "behind", 1));
  check_saved("behind", rows, size);
  free(rows);
  cluster_close(&c);
}

/* ---- aside ---- */

static struct {
  void (*task)(void *context);
  void *context;
} asides[SHARDS];
static size_t aside_count;

static bool begin_later(void *context, void (*task)(void *task_context), void *task_context)
{
  (void)context;
  CHECK(aside_count < SHARDS);
  asides[aside_count].task = task;
  asides[aside_count++].context = task_context;
  return true;
}

static void run_asides(void)
{
  for (size_t i = 0; i < aside_count; i++)
    asides[i].task(asides[i].context);
  aside_count = 0;
}

/* One thread has one thing to do: neither begins while the other is under way. */
static void a_save_and_a_checkpoint_wait_for_each_other(void)
{
  disk_cluster c;
  hr_checkpoint what = cluster_order("checkpoint", 7);
  cluster_open(&c, SHARDS, path_of("both-data"), hr_test_tmpdir(), &(hr_shard_aside){.begin = begin_later});
  cluster_push(&c, 0, KEYS, 1.0f);
  CHECK_EQ(ask_all(&c, "both", 1), HOTROW_ERR_BUSY);
  CHECK_FAILS(cluster_ask(&c, 0, what, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, "writing a save");
  cluster_pump(&c);
  CHECK_EQ(aside_count, SHARDS);
  CHECK_FAILS(cluster_ask(&c, 0, what, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, "writing a save");
  CHECK_FAILS(ask_all(&c, "both", 1), HOTROW_ERR_BUSY, "writing save both");
  CHECK_FAILS(ask_all(&c, "other", 2), HOTROW_ERR_BUSY, "writing save both");
  run_asides();
  CHECK_OK(ask_all(&c, "both", 1));

  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_COPY));
  CHECK_FAILS(ask_all(&c, "other", 2), HOTROW_ERR_BUSY, "writing a checkpoint");
  cluster_pump(&c);
  CHECK_FAILS(ask_all(&c, "other", 2), HOTROW_ERR_BUSY, "writing a checkpoint");
  run_asides();
  CHECK_EQ(ask_all(&c, "other", 2), HOTROW_ERR_BUSY); /* begun */
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_SETTLE));
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_BLOB));
  CHECK_FAILS(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH), HOTROW_ERR_BUSY, "writing a save");
  cluster_pump(&c);
  run_asides();
  CHECK_OK(ask_all(&c, "other", 2));
  CHECK_EQ(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH), HOTROW_ERR_BUSY);
  run_asides();
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH));
  cluster_close(&c);
}

/* ---- what fails ---- */

static size_t hold_count, let_go_count;

static void count_hold(void *context)
{
  (void)context;
  hold_count++;
}

static hotrow_status fail_to_copy(void *context, const char *path)
{
  (void)context;
  return hr_fail(HOTROW_ERR_STORAGE, "there is no room for %s", path);
}

static void count_let_go(void *context)
{
  (void)context;
  let_go_count++;
}

static test_shard *open_counted(test_storage *disk, test_client *client)
{
  disk->calls.hold = count_hold;
  disk->calls.copy = fail_to_copy;
  disk->calls.let_go = count_let_go;
  hold_count = let_go_count = 0;
  test_shard *t = test_shard_open(&(hr_shard_options){.storage = &disk->calls, .save_dir = hr_test_tmpdir()});
  hr_table_desc desc = test_desc("t");
  *client = test_worker(1, 7, 0, 1, 100);
  test_greet(t, client);
  test_clear(t);
  test_body(client, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(t, client);
  CHECK_OK(test_copy(t->shard));
  test_storage_commit(disk, t->shard);
  test_clear(t);
  test_push_row(client, 0, 3, 1.0f);
  CHECK_OK(test_ask(t, client));
  return t;
}

/* It is told, once; the storage is let go of whatever happens; who asks again has it tried again. */
static void a_copy_that_fails_is_told(void)
{
  test_client client;
  test_storage *disk = test_storage_open();
  test_shard *t = open_counted(disk, &client);
  for (size_t times = 1; times <= 2; times++) {
    CHECK_EQ(ask(t, &client, "failing", 1), HOTROW_ERR_BUSY);
    CHECK_OK(test_copy(t->shard));
    test_storage_commit(disk, t->shard);
    CHECK(hold_count == times && let_go_count == times);
    CHECK_FAILS(ask(t, &client, "failing", 1), HOTROW_ERR_STORAGE, "there is no room for");
  }
  FILE *file = fopen(path_of("a-file"), "w");
  CHECK(file && fclose(file) == 0);
  CHECK_EQ(ask(t, &client, "a-file", 2), HOTROW_ERR_BUSY);
  CHECK_OK(test_copy(t->shard));
  test_storage_commit(disk, t->shard);
  CHECK(hold_count == 3 && let_go_count == 3);
  CHECK_FAILS(ask(t, &client, "a-file", 2), HOTROW_ERR_STORAGE, "a-file");
  test_shard_close(t);
  test_storage_close(disk);
}

/* So is a cut that fails. A shard whose storage has failed writes what it has itself. */
static void a_cut_that_fails_is_told(void)
{
  test_client client;
  test_storage *disk = test_storage_open();
  test_shard *t = open_counted(disk, &client);
  disk->calls_left = 1;
  CHECK_FAILS(ask(t, &client, "no-cut", 1), HOTROW_ERR_STORAGE, "the disk is full");
  CHECK_EQ(ask(t, &client, "no-cut", 1), HOTROW_ERR_BUSY);
  hr_fail(HOTROW_ERR_STORAGE, "the disk is gone");
  hr_shard_degrade(t->shard);
  CHECK_FAILS(ask(t, &client, "no-cut", 1), HOTROW_ERR_STORAGE, "the disk is gone");
  CHECK_OK(ask(t, &client, "no-cut", 1));
  CHECK(hold_count == 0 && let_go_count == 0);
  test_shard_close(t);
  test_storage_close(disk);
  t = test_shard_open(&(hr_shard_options){.epoch = 2});
  CHECK_OK(hr_shard_load(t->shard, path_of("no-cut"), (hr_load_progress){0}, (hr_load_settle){0}));
  CHECK_EQ(hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count, 1);
  test_shard_close(t);
}

static void it_may_end_before_it_is_written(void)
{
  disk_cluster c;
  cluster_open(&c, SHARDS, path_of("ending-data"), hr_test_tmpdir(), NULL);
  cluster_push(&c, 0, KEYS, 1.0f);
  CHECK_EQ(ask_all(&c, "ending", 1), HOTROW_ERR_BUSY);
  for (uint32_t i = 0; i < SHARDS; i++)
    CHECK_OK(test_copy(c.shards[i]->shard));
  cluster_close(&c);
  CHECK(access(path_of("ending"), F_OK) != 0);
}

int main(void)
{
  RUN(a_save_is_of_the_moment_in_which_it_was_asked_for);
  RUN(it_waits_for_the_cut_under_way);
  RUN(a_save_and_a_checkpoint_wait_for_each_other);
  RUN(a_copy_that_fails_is_told);
  RUN(a_cut_that_fails_is_told);
  RUN(it_may_end_before_it_is_written);
  return 0;
}
