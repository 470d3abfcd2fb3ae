/* Directories that a shard does not start from: in use, of another shard, foreign, damaged. */
#include "disk_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <rocksdb/c.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage_format.h"

static hr_rocksdb *storage; /* that must not be there after a refusal */

static void one_process_at_a_time(void)
{
  const char *dir = disk_dir("lock");
  CHECK_OK(hr_rocksdb_open(dir, 0, 2, 0, &storage));
  hr_rocksdb *other = NULL, *second = NULL;
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 2, 0, &second), HOTROW_ERR_BUSY, dir);
  CHECK(!second);
  CHECK_OK(hr_rocksdb_open(dir, 1, 2, 0, &other)); /* another shard's is another's */
  hr_rocksdb_close(other);
  hr_rocksdb_close(storage);
  CHECK_OK(hr_rocksdb_open(dir, 0, 2, 0, &storage));
  hr_rocksdb_close(storage);
}

static void a_shard_of_another_place(void)
{
  const char *dir = disk_dir("place");
  char from[600], to[600];
  CHECK_OK(hr_rocksdb_open(dir, 0, 2, 0, &storage));
  hr_rocksdb_close(storage);
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 3, 0, &storage), HOTROW_ERR_EXISTS, "is of 2 shards, this server is of 3");
  snprintf(from, sizeof from, "%s/shard-0-of-2", dir);
  snprintf(to, sizeof to, "%s/shard-1-of-2", dir);
  CHECK_EQ(rename(from, to), 0);
  CHECK_FAILS(hr_rocksdb_open(dir, 1, 2, 0, &storage), HOTROW_ERR_EXISTS, "holds shard 0 of 2, not 1 of 2");
  CHECK_FAILS(hr_rocksdb_open(disk_dir("no/such"), 0, 1, 0, &storage), HOTROW_ERR_STORAGE, "no/such");
}

static void write_file(const char *dir, const char *name)
{
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  int fd = open(path, O_WRONLY | O_CREAT, 0666);
  CHECK(fd >= 0 && write(fd, "x", 1) == 1);
  close(fd);
}

static rocksdb_t *open_foreign(const char *path)
{
  rocksdb_options_t *options = rocksdb_options_create();
  char *error = NULL;
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_t *db = rocksdb_open(options, path, &error);
  CHECK_MSG(!error, "%s", error);
  rocksdb_options_destroy(options);
  return db;
}

static void put_foreign(rocksdb_t *db, const char *key, size_t key_size, const void *value, size_t size)
{
  rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
  char *error = NULL;
  rocksdb_put(db, options, key, key_size, value, size, &error);
  CHECK(!error);
  rocksdb_writeoptions_destroy(options);
}

static void what_is_not_ours(void)
{
  const char *dir = disk_dir("foreign");
  char path[600], name[700];
  snprintf(path, sizeof path, "%s/shard-0-of-1", dir);
  CHECK(mkdir(dir, 0777) == 0 && mkdir(path, 0777) == 0);
  write_file(path, "LOG"); /* as a start that was killed leaves it */
  write_file(path, "thesis.txt");
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 1, 0, &storage), HOTROW_ERR_CORRUPT, "thesis.txt");
  snprintf(name, sizeof name, "%s/thesis.txt", path);
  unlink(name);
  CHECK_OK(hr_rocksdb_open(dir, 0, 1, 0, &storage));
  hr_rocksdb_close(storage);
  snprintf(name, sizeof name, "%s/CURRENT", path);
  CHECK_EQ(unlink(name), 0);
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 1, 0, &storage), HOTROW_ERR_CORRUPT, "no file CURRENT");

  dir = disk_dir("foreign-2");
  snprintf(path, sizeof path, "%s/shard-0-of-1", dir);
  CHECK_EQ(mkdir(dir, 0777), 0);
  rocksdb_t *db = open_foreign(path);
  put_foreign(db, "balance", 7, "100", 3);
  rocksdb_close(db);
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 1, 0, &storage), HOTROW_ERR_CORRUPT, "database of something else");
  db = open_foreign(path);
  put_foreign(db, "M", 1, "100", 3);
  rocksdb_close(db);
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 1, 0, &storage), HOTROW_ERR_CORRUPT, "record of 3 bytes");
  hr_store_meta meta = {.magic = HR_STORE_MAGIC, .version = 9, .shard_count = 1};
  db = open_foreign(path);
  put_foreign(db, "M", 1, &meta, sizeof meta);
  rocksdb_close(db);
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 1, 0, &storage), HOTROW_ERR_VERSION, "format version 9, this build reads 3");
}

/* One shard with a table, 200 rows and a session. */
static const char *make(const char *name)
{
  disk d = {0};
  disk_start(&d, disk_dir(name));
  test_client a = test_worker(1, 7, 0, 1, 100);
  hr_table_desc desc = test_desc("t");
  disk_greet(&d, &a);
  disk_create(&d, &a, &desc);
  for (uint64_t key = 0; key < 200; key++)
    CHECK_OK(disk_push(&d, &a, 0, key, 1.0f));
  CHECK_OK(disk_cut(&d));
  disk_die(&d);
  return d.dir;
}

static hotrow_status load(const char *dir)
{
  HOTROW_TRY(hr_rocksdb_open(dir, 0, 1, 0, &storage));
  test_shard *t = test_shard_open(&(hr_shard_options){.epoch = 1, .storage = hr_rocksdb_calls(storage)});
  hotrow_status status = hr_rocksdb_restore(storage, t->shard, 1, NULL, NULL);
  char sentence[HR_ERROR_TEXT_BYTES];
  snprintf(sentence, sizeof sentence, "%s", hotrow_last_error());
  hr_rocksdb_close(storage);
  test_shard_close(t);
  return status == HOTROW_OK ? status : hr_fail(status, "%s", sentence);
}

/* In a process of its own: what was begun on a damaged database is not closed. */
static void check_load(const char *dir, hotrow_status expected, const char *words)
{
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK_FAILS(load(dir), expected, words);
    _exit(0);
  }
  int code;
  CHECK(waitpid(child, &code, 0) == child && WIFEXITED(code));
  CHECK_EQ(WEXITSTATUS(code), 0);
}

/* Values that RocksDB has kept well and that no shard wrote. */
static void values_that_cannot_be(void)
{
  static const char zeros[512];
  uint8_t row[HR_STORE_ROW_KEY_BYTES], table[HR_STORE_TABLE_KEY_BYTES];
  hr_store_row_key(row, HR_STORE_ROW, 0, 1000);
  hr_store_table_key(table, HR_STORE_TABLE, 1);
  const struct {
    const void *key;
    size_t key_size, size;
    const char *words;
  } cases[] = {
      {row, sizeof row, 16, "row 1000 of table t has 3 floats"},
      {row, sizeof row, 11, "a row of 11 bytes"},
      {row, sizeof row, 0, "a row of 0 bytes"},
      {row, 9, 12, "a row of 12 bytes"},
      {table, sizeof table, 271, "a table of 271 bytes"},
      {table, sizeof table, sizeof(hr_table_desc), "table 1 says that it is 0"},
      {"S", 1, 143, "sessions of 143 bytes"},
      {"S", 1, 288, "no place for rank|there twice"},
      {"J", 1, 12, "a job of 12 bytes"},
      {"J", 1, 24, "has 0 workers"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char name[32], path[600];
    snprintf(name, sizeof name, "value-%zu", i);
    const char *dir = make(name);
    snprintf(path, sizeof path, "%s/shard-0-of-1", dir);
    rocksdb_t *db = open_foreign(path);
    put_foreign(db, cases[i].key, cases[i].key_size, zeros, cases[i].size);
    rocksdb_close(db);
    const char *words = strchr(cases[i].words, '|') ? NULL : cases[i].words;
    CHECK_FAILS(load(dir), HOTROW_ERR_CORRUPT, words);
  }
}

/* Every byte of the database's files, in strides: what the shard serves then is what was stored, or nothing. */
static void flip(const char *path, off_t at)
{
  uint8_t byte;
  int fd = open(path, O_RDWR);
  CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
  byte ^= 0x40;
  CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
  close(fd);
}

/* The newest file with this ending, and its size. */
static off_t find_file(const char *dir, const char *ending, char path[1024])
{
  char shard[600];
  snprintf(shard, sizeof shard, "%s/shard-0-of-1", dir);
  DIR *entries = opendir(shard);
  CHECK(entries);
  off_t found = 0;
  for (const struct dirent *entry; (entry = readdir(entries));) {
    struct stat info;
    char one[1024];
    snprintf(one, sizeof one, "%s/%.255s", shard, entry->d_name);
    size_t length = strlen(entry->d_name), ending_length = strlen(ending);
    if (length < ending_length || strcmp(entry->d_name + length - ending_length, ending) != 0)
      continue;
    CHECK_EQ(stat(one, &info), 0);
    if (info.st_size > found) {
      found = info.st_size;
      memcpy(path, one, sizeof one);
    }
  }
  closedir(entries);
  CHECK_MSG(found > 0, "no %s in %s", ending, shard);
  return found;
}

static void damaged_files(void)
{
  char path[1024];
  const char *dir = make("log");
  off_t size = find_file(dir, ".log", path);
  for (off_t at = 8; at < size / 2; at += size / 7) { /* not the last record: what is torn there was never confirmed */
    flip(path, at);
    check_load(dir, HOTROW_ERR_CORRUPT, dir);
    flip(path, at);
  }
  check_load(dir, HOTROW_OK, NULL); /* whole again; and its rows go into a table file */
  size = find_file(dir, ".sst", path);
  for (off_t at = 8; at < size / 2; at += size / 7) {
    flip(path, at);
    check_load(dir, HOTROW_ERR_CORRUPT, dir);
    flip(path, at);
  }
  check_load(dir, HOTROW_OK, NULL);
  find_file(dir, ".sst", path); /* a start may have merged some */
  CHECK_EQ(unlink(path), 0);
  check_load(dir, HOTROW_ERR_CORRUPT, "No such file");
}

int main(void)
{
  RUN(one_process_at_a_time);
  RUN(a_shard_of_another_place);
  RUN(what_is_not_ours);
  RUN(values_that_cannot_be);
  RUN(damaged_files);
  return 0;
}
