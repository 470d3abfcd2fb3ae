/* The RocksDB storage when things go wrong: the process is killed at any moment, the disk is full. */
#include "disk_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS 64u
#define KILLS 25
#define FULL_ROWS 2000u

static uint64_t keys[FULL_ROWS];
static float grads[FULL_ROWS * TEST_DIM];

static hotrow_status push_all(disk *d, test_client *c, uint32_t key_count)
{
  for (uint32_t i = 0; i < key_count; i++) {
    keys[i] = i;
    grads[i * TEST_DIM] = 1.0f;
  }
  test_add_push(test_begin(c, HR_OP_PUSH), 0, keys, grads, key_count);
  return test_ask(d->t, c);
}

static hotrow_durability durability;

static uint64_t begin(disk *d, const char *dir, test_client *c)
{
  d->durability = durability;
  *c = test_worker(1, 7, 0, 1, 100);
  disk_start(d, dir);
  uint64_t received = disk_greet(d, c);
  if (hr_shard_table_count(d->t->shard) == 0) {
    hr_table_desc desc = test_desc("t");
    disk_create(d, c, &desc);
  }
  return received;
}

/* Every row has had the pushes that the shard says it has: all of one cut, nothing of the next. */
static void check_rows(const disk *d, uint64_t pushes)
{
  const hr_table *table = hr_shard_table(d->t->shard, 0);
  size_t stride;
  const float *rows = hr_table_rows(table, &stride);
  for (uint64_t key = 0; key < KEYS; key++) {
    uint32_t row, clock;
    hr_table_find(table, &key, 1, &row, &clock);
    if (row == HR_ROW_NONE)
      CHECK_MSG(pushes == 0, "key %llu is not there, and %llu pushes are", (unsigned long long)key,
                (unsigned long long)pushes);
    else
      CHECK_MSG(clock == pushes && rows[row * stride] == -(float)pushes,
                "key %llu has %g and clock %u, pushes are %llu", (unsigned long long)key, (double)rows[row * stride],
                clock, (unsigned long long)pushes);
  }
}

/* Pushes and cuts without end, or records of a log and now and then a cut; what is durable is told through the pipe. */
_Noreturn static void work_until_killed(const char *dir, int tell)
{
  disk d = {0};
  test_client c;
  begin(&d, dir, &c);
  for (uint32_t round = 1;; round++) {
    CHECK_OK(push_all(&d, &c, KEYS));
    CHECK_OK(push_all(&d, &c, KEYS));
    CHECK_OK(round % 8 == 0 ? disk_cut(&d) : disk_make_durable(&d));
    test_begin(&c, HR_OP_TICK);
    CHECK_OK(test_ask(d.t, &c));
    uint64_t durable = d.t->replies[0].message.header.durable_seq;
    CHECK_EQ(durable, c.push_seq);
    CHECK_EQ(write(tell, &durable, sizeof durable), sizeof durable);
  }
}

/* A process that works is killed, two of three times once it has come to something, however slow the machine. Returns
 * what it told last, or else `told`. */
static uint64_t kill_one(const char *dir, int kills, uint64_t *seed, void (*work)(const char *dir, int tell),
                         uint64_t told)
{
  int ends[2], code;
  uint64_t durable;
  CHECK_EQ(pipe(ends), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0)
    work(dir, ends[1]);
  close(ends[1]);
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  if (kills % 3 > 0 && read(ends[0], &durable, sizeof durable) == (ssize_t)sizeof durable)
    told = durable;
  usleep((useconds_t)(*seed >> 40) % 60000);
  kill(child, SIGKILL);
  while (read(ends[0], &durable, sizeof durable) == (ssize_t)sizeof durable)
    told = durable;
  close(ends[0]);
  CHECK(waitpid(child, &code, 0) == child && WIFSIGNALED(code));
  return told;
}

static void kill_often(const char *name)
{
  const char *dir = disk_dir(name);
  uint64_t seed = hr_test_seed(1), survived = 0;
  for (int kills = 0; kills < KILLS; kills++) {
    uint64_t told = kill_one(dir, kills, &seed, work_until_killed, survived);
    disk d = {0};
    test_client c;
    survived = begin(&d, dir, &c);
    CHECK_MSG(survived >= told, "%llu pushes were durable and %llu are there", (unsigned long long)told,
              (unsigned long long)survived);
    check_rows(&d, survived);
    disk_die(&d);
  }
  CHECK(survived > 0);
}

static void killed_at_any_moment(void)
{
  kill_often("killed");
}

static void killed_at_any_moment_with_a_log(void)
{
  durability = HOTROW_DURABILITY_LOG;
  kill_often("killed-log");
  durability = HOTROW_DURABILITY_CUT;
}

/* ---- rows that go for good ---- */

#define LIFE 3u
#define WIDTH 8u

static uint64_t begin_mortal(disk *d, const char *dir, test_client *c)
{
  *c = test_worker(1, 7, 0, 1, 100);
  disk_start(d, dir);
  uint64_t received = disk_greet(d, c);
  if (hr_shard_table_count(d->t->shard) == 0) {
    hr_table_desc desc = test_desc("t");
    desc.steps_to_live = LIFE;
    disk_create(d, c, &desc);
  }
  test_begin(c, HR_OP_TICK)->header.step = (uint32_t)received; /* from where it counts on */
  CHECK_OK(test_ask(d->t, c));
  return received;
}

/* Push n is of step n and of some rows that the one before pushed too, and some others. */
static uint64_t key_of(uint64_t push, uint32_t i)
{
  return (5 * push + i) % KEYS;
}

static hotrow_status push_some(disk *d, test_client *c)
{
  hr_message *m = test_begin(c, HR_OP_PUSH);
  for (uint32_t i = 0; i < WIDTH; i++) {
    keys[i] = key_of(c->push_seq, i);
    grads[i * TEST_DIM] = 1.0f;
  }
  m->header.step = (uint32_t)c->push_seq;
  test_add_push(m, 0, keys, grads, WIDTH);
  return test_ask(d->t, c);
}

/* The rows are those that these pushes make, and no row is there that has gone. */
static void check_mortal_rows(disk *d, test_client *c, uint64_t pushes)
{
  uint64_t pushed_at[KEYS] = {0}, alive = 0;
  float values[KEYS] = {0};
  for (uint64_t push = 1; push <= pushes; push++)
    for (uint32_t i = 0; i < WIDTH; i++) {
      uint64_t key = key_of(push, i);
      values[key] = pushed_at[key] > 0 && push - pushed_at[key] <= LIFE ? values[key] - 1 : -1;
      pushed_at[key] = push;
    }
  for (uint64_t key = 0; key < KEYS; key++)
    keys[key] = key;
  hr_message *m = test_begin(c, HR_OP_PULL);
  m->header.flags = HR_FLAG_READ_ONLY;
  test_add_pull(m, 0, keys, KEYS);
  CHECK_OK(test_ask(d->t, c));
  const hr_section *got = &d->t->replies[0].message.sections[0];
  for (uint64_t key = 0; key < KEYS; key++) {
    bool is_alive = pushed_at[key] > 0 && pushes - pushed_at[key] <= LIFE;
    alive += is_alive;
    CHECK_MSG((got->found[key / 8] >> key % 8 & 1) == is_alive, "key %llu, pushed at %llu of %llu",
              (unsigned long long)key, (unsigned long long)pushed_at[key], (unsigned long long)pushes);
    CHECK(!is_alive || got->values[key * TEST_DIM] == values[key]);
  }
  CHECK_EQ(hr_table_get_desc(hr_shard_table(d->t->shard, 0))->row_count, alive);
}

_Noreturn static void expire_until_killed(const char *dir, int tell)
{
  disk d = {0};
  test_client c;
  begin_mortal(&d, dir, &c);
  for (;;) {
    CHECK_OK(push_some(&d, &c));
    CHECK_OK(push_some(&d, &c));
    CHECK_OK(disk_cut(&d));
    CHECK_EQ(write(tell, &c.push_seq, sizeof c.push_seq), sizeof c.push_seq);
  }
}

/* What is loaded is as many rows as the table's description says, or the shard would not start. */
static void rows_that_went_stay_gone_when_killed(void)
{
  const char *dir = disk_dir("expired");
  uint64_t seed = hr_test_seed(2), survived = 0;
  for (int kills = 0; kills < KILLS; kills++) {
    uint64_t told = kill_one(dir, kills, &seed, expire_until_killed, survived);
    disk d = {0};
    test_client c;
    survived = begin_mortal(&d, dir, &c);
    CHECK(survived >= told);
    check_mortal_rows(&d, &c, survived);
    disk_die(&d);
  }
  CHECK(survived > 0);
}

/* In a process of its own, as it leaves a database open. Returns how many pushes were durable, by its exit. */
static void fail_in_child(const char *dir, const char *words)
{
  disk d = {0};
  test_client c;
  uint64_t received = begin(&d, dir, &c), durable = 0;
  CHECK_EQ(received, 0);
  hotrow_status status = HOTROW_OK;
  for (int cuts = 0; status == HOTROW_OK; cuts++) {
    CHECK_MSG(cuts < 4000, "the disk does not get full");
    CHECK_OK(push_all(&d, &c, FULL_ROWS));
    status = disk_make_durable(&d);
    durable = status == HOTROW_OK ? c.push_seq : durable;
  }
  CHECK_FAILS(status, HOTROW_ERR_STORAGE, words);
  CHECK_EQ(test_counter(d.t->shard, "\"degraded\""), 1);
  /* Reads and pushes go on, nothing becomes durable, and a table, which must be, is refused. */
  CHECK(test_pull_value(d.t, &c, 0, FULL_ROWS) == 0.0f);
  CHECK_OK(push_all(&d, &c, KEYS));
  CHECK_EQ(d.t->replies[0].message.header.durable_seq, durable);
  CHECK_EQ(d.t->replies[0].message.header.applied_seq, c.push_seq);
  CHECK_FAILS(disk_cut(&d), HOTROW_ERR_STORAGE, "is degraded");
  hr_table_desc desc = test_desc("another");
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(d.t, &c), HOTROW_ERR_STORAGE, "is degraded");
  disk_die(&d);
  _exit(0);
}

/* After the fault is gone all that was durable is there: the last cut wholly or, as its failure was told, not at all.
 */
static void check_recovered(const char *dir)
{
  disk d = {0};
  test_client c;
  uint64_t survived = begin(&d, dir, &c);
  CHECK(survived > 0);
  check_rows(&d, survived);
  CHECK_OK(push_all(&d, &c, KEYS));
  CHECK_OK(disk_cut(&d));
  disk_die(&d);
  survived++;
  CHECK_EQ(begin(&d, dir, &c), survived);
  check_rows(&d, survived);
  disk_die(&d);
}

static void limit_files(const char *name)
{
  const char *dir = disk_dir(name);
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct rlimit limit = {1 << 20, 1 << 20};
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fail_in_child(dir, "File too large");
  }
  int code;
  CHECK(waitpid(child, &code, 0) == child);
  CHECK_MSG(WIFEXITED(code) && WEXITSTATUS(code) == 0, "the child ended with %d", code);
  check_recovered(dir);
}

static void a_file_that_cannot_grow(void)
{
  limit_files("limit");
}

static void a_log_that_cannot_grow(void)
{
  durability = HOTROW_DURABILITY_LOG;
  limit_files("limit-log");
  durability = HOTROW_DURABILITY_CUT;
}

static void *mounted; /* a directory, to be unmounted */
static void unmount(void)
{
  umount2(mounted, MNT_DETACH);
}

static void fill(const char *path, off_t size)
{
  int fd = open(path, O_WRONLY | O_CREAT, 0666);
  CHECK(fd >= 0 && posix_fallocate(fd, 0, size) == 0);
  close(fd);
}

/* A disk that others fill: cuts, and records, are refused before RocksDB sees it, and made when there is room again. */
static void fill_disk(const char *name)
{
  char dir[600], filler[600];
  snprintf(dir, sizeof dir, "%s/%s", (const char *)mounted, name);
  snprintf(filler, sizeof filler, "%s/filler", (const char *)mounted);
  disk d = {0};
  test_client c;
  begin(&d, dir, &c);
  CHECK_OK(push_all(&d, &c, KEYS));
  CHECK_OK(disk_make_durable(&d));
  fill(filler, 300 << 20);
  for (int i = 0; i < 3; i++) {
    CHECK_OK(push_all(&d, &c, KEYS));
    CHECK_FAILS(disk_make_durable(&d), HOTROW_ERR_STORAGE, "0 MiB need 256");
    CHECK_EQ(test_counter(d.t->shard, "\"degraded\""), 1);
    CHECK_OK(push_all(&d, &c, KEYS));
    CHECK_EQ(d.t->replies[0].message.header.durable_seq, 1);
  }
  CHECK_EQ(unlink(filler), 0);
  CHECK_OK(disk_make_durable(&d));
  CHECK_EQ(test_counter(d.t->shard, "\"degraded\""), 0);
  disk_die(&d);
  CHECK_EQ(begin(&d, dir, &c), 7);
  check_rows(&d, 7);
  disk_die(&d);
}

/* A checkpoint for which the disk is too small: it is refused, nothing of it stays, and the next one is made. */
static void fill_disk_under_a_checkpoint(void)
{
  char save_dir[600], filler[600];
  snprintf(save_dir, sizeof save_dir, "%s/saves", (const char *)mounted);
  snprintf(filler, sizeof filler, "%s/filler", (const char *)mounted);
  CHECK_EQ(mkdir(save_dir, 0777), 0);
  test_shard *t = test_shard_open(&(hr_shard_options){.save_dir = save_dir});
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  test_create_table(t, &c, "t");
  for (uint64_t i = 0; i < FULL_ROWS; i++)
    keys[i] = i;
  test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys, grads, FULL_ROWS);
  CHECK_OK(test_ask(t, &c));
  struct statvfs room;
  CHECK_EQ(statvfs(mounted, &room), 0);
  fill(filler, (off_t)(room.f_bavail * room.f_frsize - (16u << 10))); /* its rows need 40 KiB */
  hr_checkpoint what = {.token = 1, .action = HR_CHECKPOINT_COPY, .rank_count = 1};
  snprintf(what.name, sizeof what.name, "run-1");
  test_body(&c, HR_OP_CHECKPOINT, &what, sizeof what);
  CHECK_OK(test_ask(t, &c));
  what.action = HR_CHECKPOINT_SETTLE; /* it was written while others were served */
  test_body(&c, HR_OP_CHECKPOINT, &what, sizeof what);
  hotrow_status status = test_ask(t, &c);
  CHECK_FAILS(status, HOTROW_ERR_STORAGE, "No space left");
  what.action = HR_CHECKPOINT_DROP;
  test_body(&c, HR_OP_CHECKPOINT, &what, sizeof what);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(unlink(filler), 0);
  CHECK_EQ(rmdir(save_dir), 0); /* nothing is left in it */
  CHECK_EQ(mkdir(save_dir, 0777), 0);
  static const uint32_t actions[] = {HR_CHECKPOINT_COPY, HR_CHECKPOINT_SETTLE, HR_CHECKPOINT_PUBLISH};
  what.token = 2;
  for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
    what.action = actions[i];
    test_body(&c, HR_OP_CHECKPOINT, &what, sizeof what);
    CHECK_OK(test_ask(t, &c));
  }
  test_shard_close(t);
}

static void a_full_disk(void)
{
  mounted = (void *)(uintptr_t)disk_dir("tmpfs");
  CHECK_EQ(mkdir(mounted, 0777), 0);
  if (mount("none", mounted, "tmpfs", 0, "size=512m") != 0)
    hr_test_skip("mount", "no tmpfs may be mounted here (%s): a full disk was not tried", strerror(errno));
  atexit(unmount);
  fill_disk("cuts");
  durability = HOTROW_DURABILITY_LOG;
  fill_disk("log");
  durability = HOTROW_DURABILITY_CUT;
  fill_disk_under_a_checkpoint();
}

int main(void)
{
  RUN(killed_at_any_moment);
  RUN(rows_that_went_stay_gone_when_killed);
  RUN(killed_at_any_moment_with_a_log);
  RUN(a_file_that_cannot_grow);
  RUN(a_log_that_cannot_grow);
  RUN(a_full_disk); /* last, as it may be skipped */
  return 0;
}
