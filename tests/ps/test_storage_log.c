/* The log of pushes in RocksDB: what was logged comes back behind the cut, once, and what cannot be is refused. */
#include "disk_test.h"

#include <sys/stat.h>

#include <hr/optimizer.h>
#include <rocksdb/c.h>

#include "storage_state.h"

#define MANY_KEYS 100000u

static test_client worker(uint64_t session, uint32_t rank)
{
  return test_worker(session, 7, rank, 2, 100);
}

/* A shard with a log, two workers and a table, which a cut has. */
static void begin(disk *d, const char *name, test_client *a, test_client *b)
{
  hr_table_desc desc = test_desc("t");
  *d = (disk){.durability = HOTROW_DURABILITY_LOG};
  disk_start(d, disk_dir(name));
  *a = worker(1, 0), *b = worker(2, 1);
  CHECK(disk_greet(d, a) == 0 && disk_greet(d, b) == 0);
  CHECK_EQ(disk_create(d, a, &desc), 0);
  CHECK_OK(disk_log(d));
}

static void restart(disk *d)
{
  disk_die(d);
  disk_start(d, d->dir);
}

static float value_of(const disk *d, uint64_t key, uint32_t clock_expected)
{
  const hr_table *table = hr_shard_table(d->t->shard, 0);
  size_t stride;
  uint32_t row, clock;
  hr_table_find(table, &key, 1, &row, &clock);
  CHECK_EQ(clock, clock_expected);
  return row == HR_ROW_NONE ? 0.0f : hr_table_rows(table, &stride)[row * stride];
}

static uint64_t durable_seq(disk *d, test_client *c)
{
  test_begin(c, HR_OP_TICK)->header.flags = HR_FLAG_DURABLE;
  CHECK_OK(test_ask(d->t, c));
  CHECK(!hr_shard_awaits_cut(d->t->shard));
  return d->t->replies[0].message.header.durable_seq;
}

static void what_was_logged_comes_back(void)
{
  disk d;
  test_client a, b;
  begin(&d, "back", &a, &b);
  uint64_t cuts = hr_rocksdb_get_counts(d.storage).writes;
  for (uint64_t i = 0; i < 10; i++)
    CHECK_OK(disk_push(&d, &a, 0, i % 3, 1.0f));
  CHECK_OK(disk_push(&d, &b, 0, UINT64_MAX, 4.0f));
  CHECK(durable_seq(&d, &a) == 0 && durable_seq(&d, &b) == 0);
  CHECK_OK(disk_log(&d)); /* all of them in one write */
  CHECK_EQ(hr_rocksdb_get_log_counts(d.storage).writes, 2);
  CHECK_EQ(hr_rocksdb_get_counts(d.storage).writes, cuts);
  CHECK(durable_seq(&d, &a) == 10 && durable_seq(&d, &b) == 1);
  CHECK_EQ(test_counter(d.t->shard, "\"pushes_durable\""), 11);
  CHECK_OK(disk_push(&d, &b, 0, UINT64_MAX, 4.0f)); /* not handed over */
  CHECK_EQ(durable_seq(&d, &b), 1);

  restart(&d);
  CHECK(value_of(&d, 0, 4) == -4.0f && value_of(&d, 1, 3) == -3.0f && value_of(&d, UINT64_MAX, 1) == -4.0f);
  CHECK_EQ(test_counter(d.t->shard, "\"rows_pushed\""), 0);
  CHECK(hr_shard_dirty_bytes(d.t->shard) > 0); /* the next cut has them */
  CHECK(disk_greet(&d, &a) == 10 && disk_greet(&d, &b) == 1);
  CHECK(durable_seq(&d, &a) == 10 && durable_seq(&d, &b) == 1);
  a.push_seq = 9;
  CHECK_OK(disk_push(&d, &a, 0, 0, 1.0f)); /* a repeat */
  CHECK(value_of(&d, 0, 4) == -4.0f);
  CHECK_OK(disk_push(&d, &a, 0, 0, 1.0f));
  CHECK_OK(disk_log(&d));
  restart(&d); /* the records of two lives */
  CHECK(value_of(&d, 0, 5) == -5.0f);
  CHECK(disk_greet(&d, &a) == 11 && disk_greet(&d, &b) == 1);
  CHECK_OK(disk_cut(&d));
  restart(&d);
  CHECK(value_of(&d, 0, 5) == -5.0f && hr_rocksdb_log_bytes(d.storage) == 0);
  CHECK_EQ(disk_greet(&d, &a), 11);
  disk_die(&d);
}

/* A cut covers records that are on their way, or not even that: they are not applied again behind it. */
static void a_record_behind_the_cut_that_covers_it(void)
{
  disk d;
  test_client a, b;
  uint64_t number, written;
  hotrow_status status;
  begin(&d, "behind", &a, &b);
  for (int round = 1; round <= 3; round++) {
    CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
    CHECK_OK(test_cut(d.t->shard, &number));
    if (round == 2) /* the cut is written before the record is handed over */
      hr_rocksdb_wait(d.storage);
    CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
    CHECK_OK(hr_rocksdb_log(d.storage));
    hr_shard_log_is_handed(d.t->shard);
    while (hr_rocksdb_is_busy(d.storage) || hr_rocksdb_is_logging(d.storage)) {
      hr_rocksdb_wait(d.storage);
      if (hr_rocksdb_take_result(d.storage, &written, &status)) {
        CHECK_OK(status);
        hr_shard_cut_is_durable(d.t->shard, written);
      }
      if (hr_rocksdb_take_logged(d.storage, &status)) {
        CHECK_OK(status);
        hr_shard_log_is_durable(d.t->shard);
      }
      CHECK(durable_seq(&d, &a) <= 2 * (uint64_t)round);
    }
    CHECK_EQ(durable_seq(&d, &a), 2 * round);
    restart(&d);
    CHECK_EQ(disk_greet(&d, &a), 2 * round);
    CHECK(value_of(&d, 5, 2 * (uint32_t)round) == -2.0f * (float)round);
  }
  disk_die(&d);
}

/* What a cut made durable is not taken back by a group of records that was handed over before it. */
static void the_watermark_does_not_go_back(void)
{
  disk d;
  test_client a, b;
  hotrow_status status;
  begin(&d, "watermark", &a, &b);
  CHECK_OK(disk_push(&d, &a, 0, 1, 1.0f));
  CHECK_OK(hr_rocksdb_log(d.storage));
  hr_shard_log_is_handed(d.t->shard);
  hr_rocksdb_wait(d.storage);
  CHECK_OK(disk_push(&d, &a, 0, 1, 1.0f));
  uint64_t number, written;
  CHECK_OK(test_cut(d.t->shard, &number));
  while (!hr_rocksdb_take_result(d.storage, &written, &status))
    ;
  hr_shard_cut_is_durable(d.t->shard, written);
  CHECK_EQ(durable_seq(&d, &a), 2);
  CHECK(hr_rocksdb_take_logged(d.storage, &status));
  hr_shard_log_is_durable(d.t->shard);
  CHECK_EQ(durable_seq(&d, &a), 2);
  CHECK_OK(disk_push(&d, &a, 0, 1, 1.0f)); /* and the other way round */
  CHECK_OK(test_cut(d.t->shard, &number));
  CHECK_OK(disk_push(&d, &a, 0, 1, 1.0f));
  CHECK_OK(hr_rocksdb_log(d.storage));
  hr_shard_log_is_handed(d.t->shard);
  while (!hr_rocksdb_take_logged(d.storage, &status))
    ;
  hr_shard_log_is_durable(d.t->shard);
  CHECK_EQ(durable_seq(&d, &a), 4);
  while (!hr_rocksdb_take_result(d.storage, &written, &status))
    ;
  hr_shard_cut_is_durable(d.t->shard, written);
  CHECK_EQ(durable_seq(&d, &a), 4);
  disk_die(&d);
}

static hr_table_desc desc_of(uint32_t i, hotrow_optimizer_kind kind, uint32_t dim)
{
  char name[16];
  snprintf(name, sizeof name, "table-%u", i);
  hr_table_desc desc = test_desc(name);
  hotrow_optimizer optimizer = {.kind = kind, .lr = 0.1f};
  desc.dim = desc.segments[0].dim = dim;
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_UNIFORM, 0.5f};
  desc.announce_step = i;
  return desc;
}

/* Gradients as floats, as bytes, with steps and squares, at another learning rate, of several tables in one message. */
static void push_every_way(disk *d, test_client *c, uint32_t table, const hr_table_desc *desc, float lr_scale)
{
  static const uint64_t keys[] = {0, UINT64_MAX, 7};
  static const uint32_t steps[] = {1, 3, 2};
  static const int8_t packed[3 * 16] = {100, -3, 5, 127, -127, 44, 9};
  static const float scales[] = {0.5f, 2.0f, 0.0f};
  float grads[3 * 16], squares[3 * 16];
  for (size_t i = 0; i < 3 * 16; i++) {
    grads[i] = (float)((i * 2654435761u) % 1000) / 500.0f - 1.0f;
    squares[i] = (float)i;
  }
  hr_message *m = test_begin(c, HR_OP_PUSH);
  test_add_push(m, 0, keys, grads, 3);
  hr_section *s = test_add_push(m, table, keys, grads, 3);
  s->dim = desc->dim;
  s->lr_scale = lr_scale;
  s = test_add_push(m, table, keys, NULL, 3);
  s->dim = desc->dim;
  s->dtype = HOTROW_I8;
  s->packed = packed;
  s->scales = scales;
  s = test_add_push(m, table, keys, grads, 3);
  s->dim = desc->dim;
  s->flags = HR_SECTION_STEPS;
  s->extra_dim = hr_table_get_layout(hr_shard_table(d->t->shard, table))->square_dim;
  s->steps = steps;
  s->squares = s->extra_dim ? squares : NULL;
  CHECK_OK(test_ask(d->t, c));
}

static void check_same_rows(const disk *d, uint32_t tables, void *const *before, const size_t *sizes)
{
  CHECK_EQ(hr_shard_table_count(d->t->shard), tables);
  for (uint32_t i = 0; i < tables; i++) {
    size_t size;
    void *after = disk_rows(d, i, &size);
    CHECK_MSG(size == sizes[i] && memcmp(before[i], after, size) == 0, "the rows of table %u are others", i);
    free(after);
  }
}

static void every_kind_of_push_comes_back(void)
{
  enum { TABLES = 10 };
  static const uint32_t dims[] = {2, 1, 3, 16, 8, 5, 7, 16, 4, 9};
  disk d;
  test_client a, b;
  begin(&d, "kinds", &a, &b);
  for (uint32_t i = 1; i < TABLES; i++) {
    hr_table_desc desc = desc_of(i, (hotrow_optimizer_kind)(HOTROW_SGD + i - 1), dims[i]);
    CHECK_EQ(disk_create(&d, &a, &desc), i);
    push_every_way(&d, i % 2 ? &a : &b, i, &desc, 0.25f);
    push_every_way(&d, i % 2 ? &b : &a, i, &desc, 3.0f);
  }
  CHECK_OK(disk_log(&d));
  void *before[TABLES];
  size_t sizes[TABLES];
  for (uint32_t i = 0; i < TABLES; i++)
    before[i] = disk_rows(&d, i, &sizes[i]);
  restart(&d);
  check_same_rows(&d, TABLES, before, sizes);
  restart(&d); /* without a cut in between */
  check_same_rows(&d, TABLES, before, sizes);
  CHECK_OK(disk_cut(&d));
  restart(&d);
  check_same_rows(&d, TABLES, before, sizes);
  for (uint32_t i = 0; i < TABLES; i++)
    free(before[i]);
  disk_die(&d);
}

/* Refusals, half a message, a table that no cut has, sessions that come and go. */
static void what_changes_beside_rows_comes_back(void)
{
  disk d;
  test_client a, b, late = test_worker(3, 7, 1, 2, 200), reader = test_reader(4);
  begin(&d, "beside", &a, &b);
  test_push_row(&a, 5, 1, 1.0f);
  CHECK_FAILS(test_ask(d.t, &a), HOTROW_ERR_NOT_FOUND, "no table");
  hr_table_desc desc = test_desc("guessed");
  uint64_t number;
  CHECK_OK(test_cut(d.t->shard, &number)); /* under way, so that the table waits for the next */
  test_body(&a, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_clear(d.t);
  test_send(d.t, &a);
  CHECK_EQ(d.t->reply_count, 0);
  CHECK_OK(disk_push(&d, &b, 1, 9, 1.0f)); /* its client does not know that it is there */
  test_greet(d.t, &reader);
  test_begin(&b, HR_OP_BYE);
  CHECK_OK(test_ask(d.t, &b));
  CHECK_OK(disk_push(&d, &a, 1, 9, 1.0f));
  hr_rocksdb_wait(d.storage);
  hotrow_status status;
  CHECK(hr_rocksdb_take_result(d.storage, &number, &status));
  CHECK_OK(disk_log(&d));
  size_t size;
  void *rows = disk_rows(&d, 1, &size);
  restart(&d);
  void *rows_after = disk_rows(&d, 1, &size);
  CHECK(hr_shard_table_count(d.t->shard) == 2 && memcmp(rows, rows_after, size) == 0);
  free(rows);
  free(rows_after);
  CHECK_EQ(test_counter(d.t->shard, "\"sessions\""), 2);
  CHECK_EQ(disk_greet(&d, &a), 2);
  a.push_seq = 0;
  test_push_row(&a, 5, 1, 1.0f);
  CHECK_FAILS(test_ask(d.t, &a), HOTROW_ERR_NOT_FOUND, NULL); /* refused before, and refused again */
  test_greet(d.t, &reader);
  CHECK_EQ(disk_create(&d, &a, &desc), 1); /* it is in the next cut */
  test_clear(d.t);
  test_hello(&late); /* its answer waits for a cut, which is lost, and the log has it */
  test_send(d.t, &late);
  CHECK_OK(disk_log(&d));
  restart(&d);
  CHECK_EQ(test_counter(d.t->shard, "\"sessions\""), 3);
  test_hello(&b);
  CHECK_FAILS(test_ask(d.t, &b), HOTROW_ERR_FENCED, "started later");
  disk_die(&d);
}

/* Pushes up to a limit wait for the disk; then they are not taken, and come again. */
static void too_much_that_waits(void)
{
  static uint64_t keys[MANY_KEYS];
  static float grads[MANY_KEYS * TEST_DIM];
  disk d;
  test_client a, b;
  begin(&d, "waits", &a, &b);
  d.storage->log.waiting_bytes_max = (size_t)5 << 20;
  for (uint32_t i = 0; i < MANY_KEYS; i++) {
    keys[i] = i;
    grads[(size_t)i * TEST_DIM] = 1.0f;
    grads[(size_t)i * TEST_DIM + 1] = -1.0f;
  }
  uint32_t taken = 0;
  hotrow_status status;
  for (;; taken++) {
    test_add_push(test_begin(&a, HR_OP_PUSH), 0, keys, grads, MANY_KEYS);
    status = test_ask(d.t, &a);
    if (status != HOTROW_OK)
      break;
  }
  CHECK_FAILS(status, HOTROW_ERR_BUSY, "wait to be logged, no room for");
  CHECK(d.t->replies[0].message.header.retry_ms > 0);
  CHECK_EQ(taken, ((size_t)5 << 20) / (MANY_KEYS * 16));
  a.push_seq = taken;
  test_client reader = test_reader(4);
  test_greet(d.t, &reader); /* what is small goes on, and reads do */
  CHECK(test_pull_value(d.t, &a, 0, 1) == -(float)taken);
  CHECK_OK(disk_log(&d));
  CHECK_EQ(durable_seq(&d, &a), taken);
  test_add_push(test_begin(&a, HR_OP_PUSH), 0, keys, grads, MANY_KEYS);
  CHECK_OK(test_ask(d.t, &a));
  CHECK_OK(disk_log(&d));
  restart(&d);
  CHECK_EQ(disk_greet(&d, &a), taken + 1);
  CHECK(value_of(&d, 1, taken + 1) == -(float)(taken + 1));
  disk_die(&d);
}

/* HOTROW_DURABILITY_NONE: clients keep nothing, and a start finds what was there when the last one ended in order. */
static void nothing_is_kept_for_who_does_not_ask(void)
{
  disk d = {.durability = HOTROW_DURABILITY_NONE};
  test_client a = worker(1, 0), again = test_worker(3, 7, 0, 2, 200);
  hr_table_desc desc = test_desc("t");
  disk_start(&d, disk_dir("none"));
  disk_greet(&d, &a);
  CHECK_EQ(test_create(d.t, &a, &desc), 0); /* answered at once, without a cut */
  CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
  CHECK_EQ(d.t->replies[0].message.header.durable_seq, 1);
  CHECK_EQ(test_counter(d.t->shard, "\"pushes_durable\""), 1);
  CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
  CHECK_EQ(durable_seq(&d, &a), 2);
  test_greet(d.t, &again); /* takes the rank: answered at once too */
  CHECK_OK(disk_cut(&d));  /* the end */
  CHECK_OK(disk_push(&d, &again, 0, 5, 1.0f));
  restart(&d);
  CHECK(value_of(&d, 5, 2) == -2.0f);
  CHECK_EQ(disk_greet(&d, &again), 0);
  disk_die(&d);
}

/* ---- records that cannot be ---- */

static rocksdb_t *open_database(const char *dir)
{
  char path[600], *error = NULL;
  snprintf(path, sizeof path, "%s/shard-0-of-1", dir);
  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_t *db = rocksdb_open(options, path, &error);
  CHECK_MSG(!error, "%s", error);
  rocksdb_options_destroy(options);
  return db;
}

static void put(const char *dir, uint64_t number, const void *value, size_t size)
{
  uint8_t key[HR_STORE_LOG_KEY_BYTES];
  char *error = NULL;
  rocksdb_t *db = open_database(dir);
  rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
  hr_store_log_key(key, number);
  if (value)
    rocksdb_put(db, options, (const char *)key, number ? sizeof key : 1, value, size, &error);
  else
    rocksdb_delete(db, options, (const char *)key, sizeof key, &error);
  CHECK(!error);
  rocksdb_writeoptions_destroy(options);
  rocksdb_close(db);
}

static uint8_t *get(const char *dir, uint64_t number, size_t *size_p)
{
  uint8_t key[HR_STORE_LOG_KEY_BYTES];
  char *error = NULL;
  rocksdb_t *db = open_database(dir);
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  hr_store_log_key(key, number);
  uint8_t *value = (uint8_t *)rocksdb_get(db, options, (const char *)key, number ? sizeof key : 1, size_p, &error);
  CHECK(!error);
  rocksdb_readoptions_destroy(options);
  rocksdb_close(db);
  return value;
}

static hotrow_status load(const char *dir)
{
  hr_rocksdb *storage;
  HOTROW_TRY(hr_rocksdb_open(dir, 0, 1, 0, &storage));
  test_shard *t = test_shard_open(&(hr_shard_options){.epoch = 1, .storage = hr_rocksdb_calls(storage)});
  hotrow_status status = hr_rocksdb_restore(storage, t->shard, 1, NULL, NULL);
  char sentence[HR_ERROR_TEXT_BYTES];
  snprintf(sentence, sizeof sentence, "%s", hotrow_last_error());
  hr_rocksdb_close(storage);
  test_shard_close(t);
  return status == HOTROW_OK ? status : hr_fail(status, "%s", sentence);
}

static void records_that_cannot_be(void)
{
  disk d;
  test_client a, b;
  begin(&d, "records", &a, &b);
  uint64_t covered;
  for (int i = 0; i < 3; i++)
    CHECK_OK(disk_push(&d, &a, 0, 5, 1.0f));
  CHECK_OK(disk_log(&d));
  disk_die(&d);
  size_t size = 0;
  uint8_t *begins = get(d.dir, 0, &size);
  CHECK(begins && size == sizeof covered);
  memcpy(&covered, begins, size);
  uint64_t first = covered + 1;
  uint8_t *last = get(d.dir, first + 2, &size), *broken = malloc(size + 16);
  CHECK(last && broken);
  char words[64];
  snprintf(words, sizeof words, "record %llu of its log", (unsigned long long)first + 2);
  uint64_t push_bytes;
  memcpy(&push_bytes, last + 8, sizeof push_bytes);
  for (size_t cut_to = 1; cut_to < size; cut_to += 61) { /* too short */
    if (cut_to == 16 + push_bytes)
      continue; /* one item less */
    put(d.dir, first + 2, last, cut_to);
    CHECK_FAILS(load(d.dir), HOTROW_ERR_CORRUPT, words);
  }
  for (size_t at = 0; at < size; at += 19) { /* any byte another: what RocksDB's checksums let pass does not crash it */
    memcpy(broken, last, size);
    broken[at] ^= 0x41;
    put(d.dir, first + 2, broken, size);
    hotrow_status status = load(d.dir);
    CHECK_MSG(status == HOTROW_OK || strstr(hotrow_last_error(), words), "byte %zu: %s", at, hotrow_last_error());
  }
  put(d.dir, first + 2, last, size);
  put(d.dir, 0, "1234567", 7);
  CHECK_FAILS(load(d.dir), HOTROW_ERR_CORRUPT, "where its log begins has 7 bytes");
  put(d.dir, 0, &covered, sizeof covered);
  CHECK_OK(load(d.dir));
  put(d.dir, first + 1, NULL, 0);
  snprintf(words, sizeof words, "record %llu of its log is missing", (unsigned long long)first + 1);
  CHECK_FAILS(load(d.dir), HOTROW_ERR_CORRUPT, words);
  free(begins);
  free(last);
  free(broken);
}

int main(void)
{
  RUN(what_was_logged_comes_back);
  RUN(a_record_behind_the_cut_that_covers_it);
  RUN(the_watermark_does_not_go_back);
  RUN(every_kind_of_push_comes_back);
  RUN(what_changes_beside_rows_comes_back);
  RUN(too_much_that_waits);
  RUN(nothing_is_kept_for_who_does_not_ask);
  RUN(records_that_cannot_be);
  return 0;
}
