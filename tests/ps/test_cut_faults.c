/* A shard with a data directory that is killed before each of its system calls on it, or in the middle of a write, or
 * of which each call fails once, or whose disk is full or read-only from there on: the directory opens again, whole.
 * Push n adds 2^(n-1) to every row, so what a row holds says which pushes it has had, each once.
 *
 * HOTROW_TEST_POINTS=N tries each Nth call, also while RocksDB writes table files, which takes long; all: each. */
#include "crash_points.h"
#include "disk_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS 32u
#define SAMPLE_EVERY 9u
#define REFUSED 3   /* the exit of a life that could not begin */
#define DEGRADED 74 /* of one whose storage has failed */
#define WIDE_DIM 4096u
#define WIDE_KEYS 560u /* of 16 KiB: a life writes more of them than RocksDB keeps in memory */

/* What a life has got to, as it said while it lived. */
typedef struct life {
  uint64_t told;   /* pushes that were told to be durable */
  uint64_t tried;  /* that are, if the write under way when it ended is on disk */
  bool is_reached; /* the call that was to be struck came */
  unsigned count;  /* of calls */
  char names[CRASH_CALLS_MAX][16];
} life;

typedef struct tally {
  unsigned points, older, newer, refused, degraded, went_on, aborted;
} tally;

static life *now; /* shared with the process that lives it */
static hotrow_durability durability;
static bool is_wide; /* rows that fill RocksDB's memory, so that it writes table files while the shard lives */

static float gradient(uint64_t seq)
{
  return (float)((uint64_t)1 << (seq - 1));
}

static hotrow_status push_all(disk *d, test_client *c)
{
  static uint64_t keys[WIDE_KEYS];
  static float grads[(size_t)WIDE_KEYS * WIDE_DIM];
  uint32_t dim = is_wide ? WIDE_DIM : TEST_DIM, count = is_wide ? WIDE_KEYS : KEYS;
  for (uint32_t i = 0; i < count; i++) {
    keys[i] = i;
    grads[(size_t)i * dim] = gradient(c->push_seq + 1);
  }
  test_add_push(test_begin(c, HR_OP_PUSH), 0, keys, grads, count)->dim = dim;
  return test_ask(d->t, c);
}

static hr_table_desc describe(const char *name)
{
  hr_table_desc desc = test_desc(name);
  desc.dim = desc.segments[0].dim = is_wide ? WIDE_DIM : TEST_DIM;
  return desc;
}

/* ---- a life ---- */

static void begin(disk *d, const char *dir, test_client *c)
{
  *d = (disk){.dir = dir, .durability = durability};
  *c = test_worker(1, 7, 0, 1, 100);
  hotrow_status status = hr_rocksdb_open(dir, 0, 1, 0, &d->storage);
  if (status == HOTROW_OK) {
    d->t = test_shard_open(&(hr_shard_options){.epoch = hr_rocksdb_epoch(d->storage),
                                               .storage = hr_rocksdb_calls(d->storage),
                                               .durability = durability,
                                               .row_count_max = 100000});
    d->t->now_ns = 1000000000000u;
    status = hr_rocksdb_restore(d->storage, d->t->shard, d->t->now_ns, NULL, NULL);
  }
  if (status != HOTROW_OK) {
    if (strstr(hotrow_last_error(), dir) == NULL) {
      printf("refused without naming it: %s\n", hotrow_last_error());
      fflush(stdout);
      _exit(1);
    }
    _exit(REFUSED);
  }
  now->told = now->tried = disk_greet(d, c);
}

/* The storage has failed: reads go on, and nothing more is told to be durable. */
_Noreturn static void end_degraded(disk *d, test_client *c)
{
  CHECK_EQ(test_counter(d->t->shard, "\"degraded\""), 1);
  CHECK_OK(push_all(d, c));
  CHECK_EQ(d->t->replies[0].message.header.durable_seq, now->told);
  CHECK_EQ(d->t->replies[0].message.header.applied_seq, c->push_seq);
  CHECK_FAILS(disk_cut(d), HOTROW_ERR_STORAGE, NULL);
  _exit(DEGRADED);
}

static void make_durable(disk *d, test_client *c, hotrow_status (*write_it)(disk *d))
{
  now->tried = c->push_seq;
  if (write_it(d) != HOTROW_OK)
    end_degraded(d, c);
  test_begin(c, HR_OP_TICK);
  CHECK_OK(test_ask(d->t, c));
  now->told = d->t->replies[0].message.header.durable_seq;
  CHECK_EQ(now->told, now->tried);
}

/* A table waits for a cut of its own, in which the pushes before it are; in the second life it is there. */
static void make_table(disk *d, test_client *c)
{
  hr_table_desc desc = describe("another");
  uint64_t number;
  hotrow_status status;
  now->tried = c->push_seq;
  test_clear(d->t);
  test_body(c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(d->t, c);
  CHECK_OK(test_copy(d->t->shard));
  if (hr_rocksdb_is_busy(d->storage)) {
    hr_rocksdb_wait(d->storage);
    CHECK(hr_rocksdb_take_result(d->storage, &number, &status));
    if (status != HOTROW_OK) {
      hr_shard_degrade(d->t->shard);
      end_degraded(d, c);
    }
    hr_shard_cut_is_durable(d->t->shard, number);
    now->told = now->tried;
  }
  CHECK_OK(test_status(&test_one_reply(d->t)->message));
}

static void live_once(const char *dir)
{
  disk d;
  test_client c;
  begin(&d, dir, &c);
  CHECK_OK(push_all(&d, &c));
  CHECK_OK(push_all(&d, &c));
  make_durable(&d, &c, disk_make_durable);
  CHECK_OK(push_all(&d, &c));
  make_durable(&d, &c, disk_make_durable);
  CHECK_OK(push_all(&d, &c));
  make_table(&d, &c);
  CHECK_OK(push_all(&d, &c));
  make_durable(&d, &c, disk_make_durable);
  make_durable(&d, &c, disk_cut); /* in the place of a log */
  CHECK_OK(push_all(&d, &c));
  make_durable(&d, &c, disk_make_durable);
  disk_die(&d);
}

_Noreturn static void live(const char *dir, crash_kind kind, unsigned at)
{
  crash_begin(dir, kind, at, kind == CRASH_NONE ? now->names : NULL);
  live_once(dir);
  live_once(dir); /* a start from what the one before has written is part of it */
  crash_end();
  now->count = crash_count();
  now->is_reached = crash_count() >= at;
  _exit(0);
}

/* ---- what is found afterwards ---- */

static void check_rows(const disk *d, uint64_t pushes)
{
  const hr_table *table = hr_shard_table(d->t->shard, 0);
  size_t stride;
  const float *rows = hr_table_rows(table, &stride);
  float expected = -(float)(((uint64_t)1 << pushes) - 1);
  for (uint64_t key = 0; key < (is_wide ? WIDE_KEYS : KEYS); key++) {
    uint32_t row, clock;
    hr_table_find(table, &key, 1, &row, &clock);
    CHECK_MSG(row != HR_ROW_NONE && clock == pushes && rows[row * stride] == expected,
              "key %llu has %g and clock %u, and %llu pushes are there", (unsigned long long)key,
              row == HR_ROW_NONE ? 0.0 : (double)rows[row * stride], clock, (unsigned long long)pushes);
  }
}

/* In a process of its own, as what comes of a damaged directory might be an abort. */
static uint64_t look(const char *dir)
{
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    disk d;
    test_client c;
    begin(&d, dir, &c);
    uint64_t found = now->told;
    check_rows(&d, found);
    CHECK_OK(push_all(&d, &c)); /* and it is a good directory */
    CHECK_OK(disk_make_durable(&d));
    disk_die(&d);
    begin(&d, dir, &c);
    CHECK_EQ(now->told, found + 1);
    check_rows(&d, found + 1);
    disk_die(&d);
    now->told = found;
    _exit(0);
  }
  int code;
  CHECK(waitpid(child, &code, 0) == child);
  CHECK_MSG(WIFEXITED(code) && WEXITSTATUS(code) == 0, "%s does not open again: %x", dir, (unsigned)code);
  return now->told;
}

/* ---- one directory after the other ---- */

static void copy_file(int from_dir, int to_dir, const char *name)
{
  char bytes[65536];
  int from = openat(from_dir, name, O_RDONLY), to = openat(to_dir, name, O_WRONLY | O_CREAT, 0666);
  CHECK(from >= 0 && to >= 0);
  for (ssize_t size; (size = read(from, bytes, sizeof bytes)) > 0;)
    CHECK_EQ(write(to, bytes, (size_t)size), size);
  close(from);
  close(to);
}

static void copy_shard(const char *from_dir, const char *to_dir)
{
  char from[600], to[600];
  snprintf(from, sizeof from, "%s/shard-0-of-1", from_dir);
  snprintf(to, sizeof to, "%s/shard-0-of-1", to_dir);
  CHECK(mkdir(to_dir, 0777) == 0 && mkdir(to, 0777) == 0);
  int from_fd = open(from, O_RDONLY | O_DIRECTORY), to_fd = open(to, O_RDONLY | O_DIRECTORY);
  DIR *entries = fdopendir(from_fd);
  CHECK(entries && to_fd >= 0);
  for (const struct dirent *entry; (entry = readdir(entries));)
    if (entry->d_type == DT_REG)
      copy_file(from_fd, to_fd, entry->d_name);
  closedir(entries);
  close(to_fd);
}

/* A shard with a table and a push, in a cut and, if it keeps one, a log behind it. In a process of its own like all
 * that has a database: RocksDB's threads, once begun, would be missing in the children. */
static const char *make_first(const char *name)
{
  const char *dir = disk_dir(name);
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  int code;
  if (child > 0) {
    CHECK(waitpid(child, &code, 0) == child);
    CHECK_EQ(code, 0);
    return dir;
  }
  disk d = {.durability = durability};
  test_client c = test_worker(1, 7, 0, 1, 100);
  hr_table_desc desc = describe("t");
  disk_start(&d, dir);
  disk_greet(&d, &c);
  disk_create(&d, &c, &desc);
  CHECK_OK(push_all(&d, &c));
  CHECK_OK(disk_make_durable(&d));
  disk_die(&d);
  _exit(0);
}

/* Returns how the life ended. */
static int run(const char *first, const char *dir, crash_kind kind, unsigned at)
{
  copy_shard(first, dir);
  *now = (life){.told = 1, .tried = 1};
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0)
    live(dir, kind, at);
  int code;
  CHECK(waitpid(child, &code, 0) == child);
  return code;
}

static void try_point(const char *first, crash_kind kind, unsigned at, tally *sums)
{
  char dir[600];
  snprintf(dir, sizeof dir, "%s-%d-%u", first, (int)kind, at);
  int code = run(first, dir, kind, at);
  bool is_error = kind >= CRASH_EIO;
  int exit_code = WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  uint64_t told = now->told, tried = now->tried;
  if (is_error) { /* RocksDB's assertions may end a process that goes on after an error: it is one that was killed */
    bool is_aborted = WIFSIGNALED(code) && WTERMSIG(code) == SIGABRT;
    CHECK_MSG(is_aborted || exit_code == 0 || exit_code == REFUSED || exit_code == DEGRADED, "call %u failed: end %x",
              at, (unsigned)code);
    sums->aborted += is_aborted;
    sums->refused += exit_code == REFUSED;
    sums->degraded += exit_code == DEGRADED;
    sums->went_on += exit_code == 0;
  } else {
    CHECK_MSG(exit_code == CRASH_EXIT || exit_code == 0, "call %u killed: end %x", at, (unsigned)code);
  }
  uint64_t found = look(dir);
  CHECK_MSG(found == told || found == tried, "call %u: %llu pushes were durable, %llu were to be, %llu are there", at,
            (unsigned long long)told, (unsigned long long)tried, (unsigned long long)found);
  sums->points++;
  sums->older += found == told;
  sums->newer += found != told;
  disk_remove(dir);
}

static void try_all(const char *name)
{
  static const char *const kinds[] = {
      [CRASH_KILL] = "killed before", [CRASH_TORN] = "killed within",    [CRASH_EIO] = "EIO from",
      [CRASH_ENOSPC] = "ENOSPC from", [CRASH_FULL] = "a full disk from", [CRASH_EROFS] = "a read-only disk from"};
  const char *points = getenv("HOTROW_TEST_POINTS");
  unsigned every = points ? (unsigned)strtoul(points, NULL, 10) : SAMPLE_EVERY;
  every = every ? every : 1;
  const char *first = make_first(name);
  char dir[600];
  snprintf(dir, sizeof dir, "%s-first", first);
  CHECK_EQ(run(first, dir, CRASH_NONE, 0), 0);
  disk_remove(dir);
  unsigned count = now->count;
  static char names[CRASH_CALLS_MAX][16];
  memcpy(names, now->names, sizeof names);
  CHECK(count > 20 && count < CRASH_CALLS_MAX);
  for (crash_kind kind = CRASH_KILL; kind <= CRASH_EROFS; kind++) {
    tally sums = {0};
    for (unsigned at = 1 + (unsigned)kind % every; at <= count; at += every)
      if (kind != CRASH_TORN || strstr(names[at], "write"))
        try_point(first, kind, at, &sums);
    printf("  %u calls, %s %u of them: %u times the older state, %u the newer", count, kinds[kind], sums.points,
           sums.older, sums.newer);
    if (kind >= CRASH_EIO)
      printf("; %u did not start, %u were degraded, %u went on, %u aborted", sums.refused, sums.degraded, sums.went_on,
             sums.aborted);
    printf("\n");
  }
}

static void a_shard_that_makes_cuts(void)
{
  durability = HOTROW_DURABILITY_CUT;
  try_all("cut");
}

static void a_shard_that_logs(void)
{
  durability = HOTROW_DURABILITY_LOG;
  try_all("log");
}

/* Rows enough that RocksDB writes table files, and merges them, while cuts are made. */
static void while_table_files_are_written(void)
{
  is_wide = true;
  durability = HOTROW_DURABILITY_LOG;
  try_all("wide");
  is_wide = false;
}

int main(void)
{
  now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(now != MAP_FAILED);
  RUN(a_shard_that_makes_cuts);
  RUN(a_shard_that_logs);
  if (getenv("HOTROW_TEST_POINTS"))
    RUN(while_table_files_are_written);
  return 0;
}
