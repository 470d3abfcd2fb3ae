/* Checkpoints loaded into data directories in several cuts: with less memory than there is of rows, with smaller cuts
 * than there is of rows, and interrupted between two of them. */
#include <stddef.h>
#include <sys/stat.h>

#include <hotrow/server.h>
#include <hr/hash.h>
#include <hr/random.h>

#include "cluster_test.h"
#include "disk_test.h"
#include "key_filter.h"
#include "save_format.h"

#define KEYS 60000u
#define MEMORY ((size_t)2 << 20) /* for a quarter of them */
#define CUT_BYTES ((size_t)128 << 10)

static char saves[512], checkpoint[600];
static uint8_t *rows; /* what is in it */
static size_t rows_size;

static void make_checkpoint(void)
{
  disk_cluster c;
  snprintf(saves, sizeof saves, "%s/saves", hr_test_tmpdir());
  snprintf(checkpoint, sizeof checkpoint, "%s/one", saves);
  mkdir(saves, 0777);
  cluster_open(&c, 2, disk_dir("source"), saves, NULL);
  cluster_push(&c, 0, KEYS, 2.0f);
  rows = cluster_rows(c.shards, 2, &rows_size);
  CHECK_OK(cluster_make(&c, "one", 1, 0));
  cluster_close(&c);
}

static void check_rows(const disk *d)
{
  size_t size;
  uint8_t *found = cluster_rows(&d->t, 1, &size);
  CHECK(size == rows_size && memcmp(found, rows, size) == 0);
  free(found);
}

typedef struct settling {
  disk *d;
  size_t count, count_max; /* cuts that are made, and may be before the next one fails */
  size_t dirty_bytes_max;  /* that were in one */
  uint64_t memory_bytes_max;
} settling;

static hotrow_status settle(void *context)
{
  settling *s = context;
  hotrow_shard_counts counts;
  hr_shard_get_counts(s->d->t->shard, &counts);
  size_t dirty = hr_shard_dirty_bytes(s->d->t->shard);
  s->dirty_bytes_max = dirty > s->dirty_bytes_max ? dirty : s->dirty_bytes_max;
  s->memory_bytes_max = counts.taken_bytes > s->memory_bytes_max ? counts.taken_bytes : s->memory_bytes_max;
  if (s->count == s->count_max)
    return hr_fail(HOTROW_ERR_STORAGE, "the disk is gone");
  s->count++;
  return disk_cut(s->d);
}

static hotrow_status load(disk *d, settling *s)
{
  *s = (settling){.d = d, .count_max = s->count_max};
  CHECK_OK(hr_rocksdb_begin_load(d->storage));
  HOTROW_TRY(hr_shard_load(d->t->shard, checkpoint, (hr_load_progress){0}, (hr_load_settle){settle, s}));
  CHECK_OK(disk_cut(d));
  return hr_rocksdb_end_load(d->storage);
}

static void a_table_larger_than_memory_is_loaded(void)
{
  disk d = {0};
  settling s = {.count_max = SIZE_MAX};
  hotrow_shard_counts counts;
  disk_start_within(&d, disk_dir("small"), MEMORY);
  CHECK_OK(load(&d, &s));
  hr_shard_get_counts(d.t->shard, &counts);
  CHECK_MSG(counts.rows == KEYS && counts.rows_in_memory < KEYS / 3, "%llu of %llu rows in memory",
            (unsigned long long)counts.rows_in_memory, (unsigned long long)counts.rows);
  CHECK_MSG(s.count > 3 && s.memory_bytes_max <= MEMORY && counts.taken_bytes <= MEMORY, "%zu cuts, %llu bytes",
            s.count, (unsigned long long)s.memory_bytes_max);
  check_rows(&d);
  disk_die(&d);
  disk_start(&d, d.dir); /* and all of it is there */
  check_rows(&d);
  disk_die(&d);
}

static void with_enough_memory_cuts_are_bounded_too(void)
{
  disk d = {.cut_bytes_max = CUT_BYTES};
  settling s = {.count_max = SIZE_MAX};
  disk_start(&d, disk_dir("large"));
  CHECK_OK(load(&d, &s));
  CHECK_MSG(s.count > 3 && s.dirty_bytes_max < 2 * CUT_BYTES, "%zu cuts, %zu bytes in one", s.count, s.dirty_bytes_max);
  check_rows(&d);
  disk_die(&d);
  disk_start(&d, d.dir);
  check_rows(&d);
  disk_die(&d);
}

static void without_a_storage_there_must_be_memory_for_all(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.memory_bytes = MEMORY, .row_count_max = KEYS});
  CHECK_FAILS(hr_shard_load(t->shard, checkpoint, (hr_load_progress){0}, (hr_load_settle){0}), HOTROW_ERR_QUOTA,
              "no room for");
  test_shard_close(t);
}

static hotrow_status restore_again(const char *dir)
{
  hr_rocksdb *storage;
  CHECK_OK(hr_rocksdb_open(dir, 0, 1, 0, &storage));
  test_shard *t =
      test_shard_open(&(hr_shard_options){.epoch = hr_rocksdb_epoch(storage), .storage = hr_rocksdb_calls(storage)});
  hotrow_status status = hr_rocksdb_restore(storage, t->shard, 1, NULL, NULL);
  test_shard_close(t);
  hr_rocksdb_close(storage);
  return status;
}

static void what_was_interrupted_is_refused_and_loaded_again(void)
{
  disk d = {0};
  settling s = {.count_max = 2};
  uint8_t *found;
  size_t size;
  disk_start_within(&d, disk_dir("part"), MEMORY);
  CHECK_FAILS(load(&d, &s), HOTROW_ERR_STORAGE, "the disk is gone");
  CHECK_EQ(s.count, 2);
  disk_die(&d);
  CHECK_FAILS(restore_again(d.dir), HOTROW_ERR_CORRUPT, "holds a part of what was to be loaded into it");
  CHECK_FAILS(cluster_load_rows(d.dir, 1, &found, &size), HOTROW_ERR_CORRUPT, "holds a part of what");

  hotrow_server *server;
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = "tcp://127.0.0.1:*";
  options.data_dir = d.dir;
  options.row_count_max = KEYS;
  CHECK_FAILS(hotrow_server_start(&options, &server), HOTROW_ERR_CORRUPT, "holds a part of what");
  options.load_path = checkpoint;
  CHECK_OK(hotrow_server_start(&options, &server));
  CHECK_OK(hotrow_server_drain(server));
  hotrow_server_stop(server);
  disk_start(&d, d.dir);
  check_rows(&d);
  disk_die(&d);
}

/* ---- a key twice ---- */

static uint8_t *read_file(const char *path, size_t *size_p)
{
  FILE *file = fopen(path, "rb");
  CHECK(file && fseek(file, 0, SEEK_END) == 0);
  *size_p = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = malloc(*size_p);
  CHECK(bytes && fread(bytes, 1, *size_p, file) == *size_p);
  fclose(file);
  return bytes;
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
  FILE *file = fopen(path, "wb");
  CHECK(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* A save of one part, in which a record of the rows file has the key of the first one; all hashes are right. */
static uint64_t forge(const char *name, uint64_t record)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.row_count_max = KEYS});
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  uint32_t id = test_create_table(t, &c, "t");
  static uint64_t keys[KEYS];
  static float grads[(size_t)KEYS * TEST_DIM];
  for (uint64_t i = 0; i < KEYS; i++)
    keys[i] = i + 1;
  test_add_push(test_begin(&c, HR_OP_PUSH), id, keys, grads, KEYS);
  CHECK_OK(test_ask(t, &c));
  hr_table *table = hr_shard_table(t->shard, id);
  hr_save_part part = {.save.token = 1, .save_dir = saves, .shard_count = 1, .epoch = 4};
  snprintf(part.save.name, sizeof part.save.name, "%s", name);
  CHECK_OK(hr_save_write(&part, &table, 1));
  test_shard_close(t);

  char path[1200];
  size_t size, record_bytes = HR_ROW_HEAD_BYTES + TEST_DIM * sizeof(float);
  uint64_t key, hash;
  snprintf(path, sizeof path, "%s/%s/shard-0-of-1/t.rows", saves, name);
  uint8_t *bytes = read_file(path, &size), *first = bytes + sizeof(hr_rows_header);
  CHECK_EQ(size, sizeof(hr_rows_header) + KEYS * record_bytes);
  memcpy(&key, first, sizeof key);
  memcpy(first + record * record_bytes, &key, sizeof key);
  write_file(path, bytes, size);
  hash = hr_hash_bytes(bytes, size);
  free(bytes);
  snprintf(path, sizeof path, "%s/%s/shard-0-of-1/" HR_MANIFEST_FILE, saves, name);
  bytes = read_file(path, &size);
  memcpy(bytes + sizeof(hr_manifest_header) + offsetof(hr_manifest_table, file_hash), &hash, sizeof hash);
  hash = hr_hash_bytes(bytes, size - sizeof hash);
  memcpy(bytes + size - sizeof hash, &hash, sizeof hash);
  write_file(path, bytes, size);
  free(bytes);
  return key;
}

/* Whether the row that came first is in memory yet, or has left it for the storage. */
static void a_key_that_comes_twice_is_refused(void)
{
  static const uint64_t records[] = {1, KEYS / 2, KEYS - 1};
  for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
    char name[32], words[64];
    disk d = {0};
    settling s = {.d = &d, .count_max = SIZE_MAX};
    snprintf(name, sizeof name, "twice-%zu", i);
    uint64_t key = forge(name, records[i]);
    snprintf(checkpoint, sizeof checkpoint, "%s/%s", saves, name);
    snprintf(words, sizeof words, "/t.rows: key %llu is there twice", (unsigned long long)key);
    disk_start_within(&d, disk_dir(name), MEMORY);
    CHECK_FAILS(load(&d, &s), HOTROW_ERR_CORRUPT, words);
    CHECK(i == 0 || s.count > 0);
    disk_die(&d);
  }
}

/* Of keys that were added it says so, and of others seldom, in the order in which they came. */
static void a_filter_of_keys(void)
{
  hr_key_filter filter = {0};
  hr_key_filter_fini(&filter);
  CHECK_OK(
      hr_key_filter_init(&filter, (size_t)KEYS * sizeof(uint64_t) / 2)); /* a quarter to a half of a word for each */
  uint64_t wrong = 0;
  for (uint64_t key = 0; key < KEYS; key++)
    wrong += hr_key_filter_add(&filter, hr_mix64(key));
  CHECK_MSG(wrong < KEYS / 200, "of %u keys that are new %llu are said to be known", KEYS, (unsigned long long)wrong);
  for (uint64_t key = 0; key < KEYS; key++)
    CHECK(hr_key_filter_add(&filter, hr_mix64(key)));
  hr_key_filter_fini(&filter);
}

int main(void)
{
  make_checkpoint();
  RUN(a_filter_of_keys);
  RUN(a_table_larger_than_memory_is_loaded);
  RUN(with_enough_memory_cuts_are_bounded_too);
  RUN(without_a_storage_there_must_be_memory_for_all);
  RUN(what_was_interrupted_is_refused_and_loaded_again);
  RUN(a_key_that_comes_twice_is_refused);
  free(rows);
  return 0;
}
