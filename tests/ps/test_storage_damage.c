/* Bytes of a data directory that are not what was written: a shard that starts on it has the rows that were stored, or
 * does not start and names the directory. HOTROW_TEST_POINTS=N: with N bytes (default 120), each alone. */
#include "disk_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <hr/hash.h>
#include <hr/random.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_DEFAULT 120u
#define FILES_MAX 32u
#define REFUSED 3
#define OTHER 4
#define ROWS 1500u

/* What is found: rows and watermark, as one hash. */
typedef struct found {
  uint64_t hash;
  uint64_t received;
} found;

static found *result; /* shared with the process that looks */

typedef struct data_file {
  char name[64];
  off_t size;
} data_file;

static void push_rows(disk *d, test_client *c, uint64_t first)
{
  static uint64_t keys[ROWS];
  static float grads[ROWS * TEST_DIM];
  for (uint32_t i = 0; i < ROWS; i++) {
    keys[i] = first + i;
    grads[i * TEST_DIM] = (float)(i + 1);
  }
  test_add_push(test_begin(c, HR_OP_PUSH), 0, keys, grads, ROWS);
  CHECK_OK(test_ask(d->t, c));
}

static found describe(disk *d)
{
  test_client c = test_worker(1, 7, 0, 1, 100);
  size_t size;
  void *rows = disk_rows(d, 0, &size);
  found f = {.hash = hr_hash_bytes(rows, size), .received = disk_greet(d, &c)};
  free(rows);
  return f;
}

/* Two lives, so that there are table files, and in the write-ahead log a cut with records of a log behind it. */
static void make_in_child(const char *dir)
{
  disk d = {.durability = HOTROW_DURABILITY_LOG};
  test_client c = test_worker(1, 7, 0, 1, 100);
  hr_table_desc desc = test_desc("t");
  disk_start(&d, dir);
  disk_greet(&d, &c);
  disk_create(&d, &c, &desc);
  for (uint64_t i = 0; i < 4; i++) {
    push_rows(&d, &c, i * ROWS / 2);
    CHECK_OK(disk_make_durable(&d));
  }
  disk_die(&d);
  disk_start(&d, dir);
  disk_greet(&d, &c);
  push_rows(&d, &c, 100);
  CHECK_OK(disk_cut(&d));
  for (uint64_t i = 0; i < 3; i++) {
    push_rows(&d, &c, i * 1000);
    CHECK_OK(disk_make_durable(&d));
  }
  *result = describe(&d);
  disk_die(&d);
  _exit(0);
}

static int wait_for(pid_t child)
{
  int code;
  CHECK(child >= 0 && waitpid(child, &code, 0) == child);
  return code;
}

static void look_in_child(const char *dir)
{
  disk d = {.durability = HOTROW_DURABILITY_LOG};
  hotrow_status status = hr_rocksdb_open(dir, 0, 1, 0, &d.storage);
  if (status == HOTROW_OK) {
    d.t = test_shard_open(&(hr_shard_options){
        .epoch = 1, .storage = hr_rocksdb_calls(d.storage), .durability = d.durability, .row_count_max = 100000});
    d.t->now_ns = 1000000000000u;
    status = hr_rocksdb_restore(d.storage, d.t->shard, d.t->now_ns, NULL, NULL);
  }
  if (status != HOTROW_OK) {
    if (!strstr(hotrow_last_error(), dir)) {
      printf("refused without its name: %s\n", hotrow_last_error());
      fflush(stdout);
      _exit(1);
    }
    _exit(REFUSED);
  }
  if (hr_shard_table_count(d.t->shard) == 0)
    _exit(OTHER);
  *result = describe(&d);
  _exit(0);
}

static size_t list_files(const char *dir, data_file *files)
{
  char shard[600], path[1024];
  size_t count = 0;
  snprintf(shard, sizeof shard, "%s/shard-0-of-1", dir);
  DIR *entries = opendir(shard);
  CHECK(entries);
  for (const struct dirent *entry; (entry = readdir(entries));) {
    struct stat info;
    snprintf(path, sizeof path, "%s/%.255s", shard, entry->d_name);
    CHECK_EQ(stat(path, &info), 0);
    if (!S_ISREG(info.st_mode) || info.st_size == 0)
      continue;
    CHECK(count < FILES_MAX);
    snprintf(files[count].name, sizeof files[count].name, "%.63s", entry->d_name);
    files[count++].size = info.st_size;
  }
  closedir(entries);
  return count;
}

static void copy(const char *from, const char *to, const data_file *files, size_t count)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/shard-0-of-1", to);
  CHECK((mkdir(to, 0777) == 0) && mkdir(path, 0777) == 0);
  for (size_t i = 0; i < count; i++) {
    static char bytes[1 << 20];
    snprintf(path, sizeof path, "%s/shard-0-of-1/%s", from, files[i].name);
    int in = open(path, O_RDONLY);
    ssize_t size = read(in, bytes, sizeof bytes);
    CHECK(in >= 0 && size == files[i].size);
    snprintf(path, sizeof path, "%s/shard-0-of-1/%s", to, files[i].name);
    int out = open(path, O_WRONLY | O_CREAT, 0666);
    CHECK(out >= 0 && write(out, bytes, (size_t)size) == size);
    close(in);
    close(out);
  }
}

static void flip(const char *dir, const char *name, off_t at, uint8_t bits)
{
  char path[1024];
  uint8_t byte;
  snprintf(path, sizeof path, "%s/shard-0-of-1/%s", dir, name);
  int fd = open(path, O_RDWR);
  CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
  byte ^= bits;
  CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
  close(fd);
}

static void remove_all(const char *dir)
{
  data_file files[FILES_MAX];
  char path[1024];
  size_t count = list_files(dir, files);
  for (size_t i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/shard-0-of-1/%s", dir, files[i].name);
    unlink(path);
  }
}

static void bytes_that_changed(void)
{
  const char *text = getenv("HOTROW_TEST_POINTS");
  unsigned flips = text && atoi(text) > 0 ? (unsigned)atoi(text) : BYTES_DEFAULT, refused = 0, same = 0;
  hr_rng rng = {hr_test_seed(7)};
  const char *first = disk_dir("damage");
  fflush(NULL);
  pid_t child = fork();
  if (child == 0)
    make_in_child(first);
  CHECK_EQ(wait_for(child), 0);
  const found expected = *result;
  data_file files[FILES_MAX];
  size_t count = list_files(first, files);
  for (unsigned n = 0; n < flips; n++) {
    const data_file *file = &files[hr_rng_below(&rng, count)]; /* small ones as often as large ones */
    off_t at = (off_t)hr_rng_below(&rng, (uint64_t)file->size);
    uint8_t bits = (uint8_t)(1 + hr_rng_below(&rng, 255));
    char dir[600];
    snprintf(dir, sizeof dir, "%s-%u", first, n);
    copy(first, dir, files, count);
    flip(dir, file->name, at, bits);
    fflush(NULL);
    child = fork();
    if (child == 0)
      look_in_child(dir);
    int code = wait_for(child);
    bool is_refused = WIFEXITED(code) && WEXITSTATUS(code) == REFUSED;
    bool is_same = code == 0 && result->hash == expected.hash && result->received == expected.received;
    if (!(is_refused || is_same))
      printf("%s, byte %lld of %lld ^ %02x: end %x, %llu pushes\n", file->name, (long long)at, (long long)file->size,
             bits, (unsigned)code, (unsigned long long)result->received);
    refused += is_refused;
    same += is_same;
    remove_all(dir);
  }
  printf("  %u bytes: %u times refused, %u times the same rows\n", flips, refused, same);
}

int main(void)
{
  result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(result != MAP_FAILED);
  RUN(bytes_that_changed);
  return 0;
}
