/* RocksDB's own threads, which write tables out ("rocksdb:high") and merge them ("rocksdb:low"), meet a disk that is
 * full, fails or is read-only: the process lives, the shard is degraded and can be read, and what was durable is there
 * when it starts again on a disk that is well. Push n makes every row -n, so a row says how many it has had.
 *
 * HOTROW_TEST_POINTS=N tries each Nth call of such a thread, all: each; then shards on a full disk also stay for as
 * long as RocksDB would let pass before it tries again. */
#include "crash_points.h"
#include "disk_test.h"
#include "socket_test.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define DIM 256u
#define KEYS 512u /* of 1 KiB: RocksDB has a new table after two pushes, and merges after four tables */
#define MEMORY ((size_t)64 << 20)
#define PUSHES_MAX 30
#define FAILED_MAX 6000 /* tries, of 10 ms */
#define DEGRADED 74
#define ROOM "size=600m"
#define SAMPLE_EVERY 13u
#define CALLS 40u /* of one such thread, that are tried */
#define RETRY_S 6 /* RocksDB looks every five for room on a disk that was full */

typedef struct life {
  uint64_t told;  /* pushes that were told to be durable */
  uint64_t tried; /* that are, if the write under way when it ended is on disk */
  unsigned struck;
} life;

static life *now; /* shared with the process that lives it */
static hotrow_durability durability;
static char *mounted;
static atomic_bool is_full;
static bool is_patient;
static char names[CRASH_CALLS_MAX][16];

static hotrow_status push_all(disk *d, test_client *c)
{
  static uint64_t keys[KEYS];
  static float grads[(size_t)KEYS * DIM];
  for (uint32_t i = 0; i < KEYS; i++) {
    keys[i] = i;
    grads[(size_t)i * DIM] = 1.0f;
  }
  test_add_push(test_begin(c, HR_OP_PUSH), 0, keys, grads, KEYS)->dim = DIM;
  return test_ask(d->t, c);
}

static void begin(disk *d, const char *dir, test_client *c)
{
  *d = (disk){.durability = durability};
  *c = test_worker(1, 7, 0, 1, 100);
  disk_start_within(d, dir, MEMORY);
  now->told = now->tried = disk_greet(d, c);
  if (hr_shard_table_count(d->t->shard) == 0) {
    hr_table_desc desc = test_desc("t");
    desc.dim = desc.segments[0].dim = DIM;
    disk_create(d, c, &desc);
  }
}

/* ---- what is stored ---- */

static hotrow_status check_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  uint64_t *sums = context;
  CHECK(key == sums[0]++ && record[0] == -(float)clock);
  CHECK_MSG(sums[1] == 0 || clock == sums[1], "key %llu has had %u pushes, and others %llu", (unsigned long long)key,
            clock, (unsigned long long)sums[1]);
  sums[1] = clock;
  return HOTROW_OK;
}

/* By the storage, not from memory: so many pushes each row has had. */
static uint64_t read_stored(const disk *d)
{
  const hr_storage *storage = hr_rocksdb_calls(d->storage);
  const hr_table_desc *desc = hr_table_get_desc(hr_shard_table(d->t->shard, 0));
  uint64_t sums[2] = {0, 0};
  CHECK_OK(storage->visit_rows(storage->context, desc, DIM, 0, 2 * KEYS, check_row, sums));
  CHECK(sums[0] == 0 || sums[0] == KEYS);
  return sums[1];
}

static void check_rows(const disk *d, uint64_t pushes)
{
  const hr_table *table = hr_shard_table(d->t->shard, 0);
  size_t stride;
  const float *rows = hr_table_rows(table, &stride);
  for (uint64_t key = 0; key < KEYS; key++) {
    uint32_t row, clock;
    hr_table_find(table, &key, 1, &row, &clock);
    CHECK_MSG(row == HR_ROW_NONE ? pushes == 0 : clock == pushes && rows[row * stride] == -(float)pushes,
              "key %llu: clock %u, and %llu pushes are there", (unsigned long long)key, clock,
              (unsigned long long)pushes);
  }
}

/* ---- a disk that becomes full ---- */

static void unmount(void)
{
  umount2(mounted, MNT_DETACH);
}

static void make_room(void)
{
  is_full = false;
  CHECK_EQ(mount("none", mounted, "tmpfs", MS_REMOUNT, ROOM), 0);
}

/* Somebody else takes all the room that is left, and what other threads give back. Refused if one has taken some. */
static void fill(void)
{
  struct statvfs room;
  char size[64];
  do {
    if (!is_full)
      return;
    CHECK_EQ(statvfs(mounted, &room), 0);
    unsigned long long taken = (room.f_blocks - room.f_bfree) * room.f_frsize;
    snprintf(size, sizeof size, "size=%llu", taken);
  } while (mount("none", mounted, "tmpfs", MS_REMOUNT, size) != 0 && errno == EINVAL);
}

/* ---- a life ---- */

/* Made durable, or refused for good. A disk that is full already when a cut begins is one that might have room later:
 * then the shard is asked again until RocksDB's thread has failed, too. */
static hotrow_status make_durable(disk *d, test_client *c)
{
  now->tried = c->push_seq;
  hotrow_status status = disk_make_durable(d);
  for (int i = 0; status != HOTROW_OK && !hr_rocksdb_has_failed(d->storage); i++) {
    CHECK_MSG(i < FAILED_MAX, "nothing is durable, and nothing has failed: %s", hotrow_last_error());
    CHECK_EQ(test_counter(d->t->shard, "\"degraded\""), 1);
    usleep(10000);
    status = disk_make_durable(d);
  }
  now->told = status == HOTROW_OK ? c->push_seq : now->told;
  return status;
}

/* Reads go on, from memory and from RocksDB, and pushes too; nothing more is told to be durable or done to the disk. */
_Noreturn static void end_degraded(disk *d, test_client *c)
{
  CHECK_EQ(test_counter(d->t->shard, "\"degraded\""), 1);
  if (is_patient) {
    sleep(RETRY_S / 2);
    make_room();
    unsigned calls = crash_count();
    sleep(RETRY_S);
    while (crash_count() > calls++) /* what was begun is cleared away */
      CHECK_MSG(!strstr(names[calls], "write"), "call %u is another %s", calls, names[calls]);
  }
  for (int i = 0; i < 3; i++) {
    CHECK_OK(push_all(d, c));
    CHECK_EQ(d->t->replies[0].message.header.durable_seq, now->told);
    CHECK_EQ(d->t->replies[0].message.header.applied_seq, c->push_seq);
    CHECK_FAILS(disk_cut(d), HOTROW_ERR_STORAGE, "is degraded");
  }
  check_rows(d, c->push_seq);
  uint64_t stored = read_stored(d);
  CHECK(durability == HOTROW_DURABILITY_LOG || stored == now->told || stored == now->tried);
  disk_die(d);
  _exit(DEGRADED);
}

_Noreturn static void live(const char *dir, const char *thread, crash_kind kind, unsigned at)
{
  disk d;
  test_client c;
  begin(&d, dir, &c);
  crash_in_thread(thread);
  crash_begin(dir, kind, at, names);
  hotrow_status status = HOTROW_OK;
  for (int i = 0; i < PUSHES_MAX && status == HOTROW_OK; i++) {
    CHECK_OK(push_all(&d, &c));
    status = make_durable(&d, &c);
    if (status == HOTROW_OK && durability == HOTROW_DURABILITY_LOG && i % 8 == 7)
      status = disk_cut(&d);
    now->struck = crash_count() >= at;
  }
  CHECK_MSG(status == HOTROW_OK || (status == HOTROW_ERR_STORAGE && strstr(hotrow_last_error(), dir)), "%s",
            hotrow_last_error());
  if (status != HOTROW_OK)
    end_degraded(&d, &c);
  disk_die(&d);
  crash_end();
  _exit(0);
}

/* In a process of its own, as a database that has failed stays open. Returns its exit. */
static int run(const char *dir, const char *thread, crash_kind kind, unsigned at)
{
  *now = (life){0};
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0)
    live(dir, thread, kind, at);
  int code;
  CHECK(waitpid(child, &code, 0) == child);
  CHECK_MSG(WIFEXITED(code) && (WEXITSTATUS(code) == 0 || WEXITSTATUS(code) == DEGRADED),
            "%s, call %u, fault %d: end %x", thread, at, (int)kind, (unsigned)code);
  return WEXITSTATUS(code);
}

/* All that was durable is there, nothing twice, and the directory is a good one. */
static void check_recovered(const char *dir)
{
  uint64_t told = now->told, tried = now->tried;
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    disk d;
    test_client c;
    begin(&d, dir, &c);
    CHECK_MSG(now->told == told || now->told == tried, "%llu pushes were durable, %llu were to be, %llu are there",
              (unsigned long long)told, (unsigned long long)tried, (unsigned long long)now->told);
    check_rows(&d, now->told);
    CHECK_OK(push_all(&d, &c));
    CHECK_OK(disk_cut(&d));
    CHECK_EQ(read_stored(&d), c.push_seq);
    disk_die(&d);
    _exit(0);
  }
  int code;
  CHECK(waitpid(child, &code, 0) == child);
  CHECK_MSG(WIFEXITED(code) && WEXITSTATUS(code) == 0, "%s does not open again: %x", dir, (unsigned)code);
}

/* ---- each call of such a thread ---- */

static void try_thread(const char *thread, unsigned first)
{
  static const crash_kind kinds[] = {CRASH_EIO, CRASH_ENOSPC, CRASH_FULL, CRASH_EROFS};
  static const char *const faults[] = {"EIO from", "ENOSPC from", "a full disk from", "a read-only disk from"};
  const char *points = getenv("HOTROW_TEST_POINTS");
  unsigned every = points ? (unsigned)strtoul(points, NULL, 10) : SAMPLE_EVERY;
  unsigned degraded_count = 0;
  every = every ? every : 1;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    unsigned lives = 0, degraded = 0;
    for (unsigned at = 1 + (first + (unsigned)k) % every; at <= CALLS; at += every) {
      char dir[600], name[64];
      snprintf(name, sizeof name, "%.8s-%zu-%u", strchr(thread, ':') + 1, k, at);
      snprintf(dir, sizeof dir, "%s", disk_dir(name));
      degraded += run(dir, thread, kinds[k], at) == DEGRADED;
      lives++;
      bool is_over = !now->struck; /* it has fewer calls */
      check_recovered(dir);
      disk_remove(dir);
      if (is_over)
        break;
    }
    printf("  %s, %s %u calls: %u were degraded, %u went on\n", thread, faults[k], lives, degraded, lives - degraded);
    degraded_count += degraded;
  }
  CHECK(degraded_count > 0);
}

static void tables_that_cannot_be_written(void)
{
  try_thread("rocksdb:high", 0);
}

static void tables_that_cannot_be_merged(void)
{
  try_thread("rocksdb:low", 1);
}

static void with_a_log(void)
{
  durability = HOTROW_DURABILITY_LOG;
  try_thread("rocksdb:high", 2);
  durability = HOTROW_DURABILITY_CUT;
}

/* ---- a server ---- */

static hotrow_server *start_server(const char *dir)
{
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  hotrow_server *server = NULL;
  options.bind = "tcp://127.0.0.1:*";
  options.data_dir = dir;
  options.row_count_max = KEYS;
  CHECK_OK(hotrow_server_start(&options, &server));
  return server;
}

/* The process is to end with 74 when hotrow_server_drain() has said so. */
_Noreturn static void serve(const char *dir)
{
  hotrow_server *server = start_server(dir);
  socket_test_context = zmq_ctx_new();
  void *socket = connect_to(hotrow_server_endpoint(server, 0));
  test_client c = work(socket, 1, 0, 1);
  crash_begin(dir, CRASH_EROFS, 1, NULL);
  test_push_row(&c, 0, 1, 1.0f);
  CHECK_OK(test_status(ask(socket, &c)));
  for (int i = 0; counter(socket, &c, "\"degraded\"") == 0; i++) {
    CHECK_MSG(i < FAILED_MAX, "the server does not notice");
    usleep(10000);
  }
  for (int i = 0; i < 3; i++) { /* it serves, and makes nothing durable */
    uint64_t key = 1;
    test_push_row(&c, 0, key, 1.0f);
    const hr_message *reply = ask(socket, &c);
    CHECK_OK(test_status(reply));
    CHECK(reply->header.applied_seq == c.push_seq && reply->header.durable_seq < c.push_seq);
    test_add_pull(test_begin(&c, HR_OP_PULL), 0, &key, 1);
    reply = ask(socket, &c);
    CHECK_OK(test_status(reply));
    CHECK(reply->sections[0].values[0] == -(float)(i + 2));
  }
  CHECK_FAILS(hotrow_server_drain(server), HOTROW_ERR_STORAGE, "Read-only file system");
  hotrow_server_stop(server);
  _exit(DEGRADED);
}

_Noreturn static void serve_again(const char *dir)
{
  hotrow_server *server = start_server(dir);
  CHECK_OK(hotrow_server_drain(server));
  hotrow_server_stop(server);
  _exit(0);
}

static void a_server_on_a_disk_that_becomes_read_only(void)
{
  const char *dir = disk_dir("server");
  for (int again = 0; again < 2;
       again++) { /* each a process: RocksDB's threads would be missing in children of this one */
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
      again ? serve_again(dir) : serve(dir);
    int code;
    CHECK(waitpid(child, &code, 0) == child);
    CHECK_MSG(WIFEXITED(code) && WEXITSTATUS(code) == (again ? 0 : DEGRADED), "it ended with %x", (unsigned)code);
  }
}

/* ---- and a disk that is really full ---- */

static void a_full_disk(void)
{
  static const char *const threads[] = {"rocksdb:high", "rocksdb:low"};
  mounted = (char *)(uintptr_t)disk_dir("tmpfs");
  CHECK_EQ(mkdir(mounted, 0777), 0);
  if (mount("none", mounted, "tmpfs", 0, ROOM) != 0)
    hr_test_skip("mount", "no tmpfs may be mounted here (%s): a disk that others fill was not tried", strerror(errno));
  atexit(unmount);
  crash_hook(fill);
  is_patient = getenv("HOTROW_TEST_POINTS") != NULL;
  for (size_t i = 0; i < 4; i++) {
    char dir[600];
    snprintf(dir, sizeof dir, "%s/%zu", mounted, i);
    durability = i < 2 ? HOTROW_DURABILITY_CUT : HOTROW_DURABILITY_LOG;
    is_full = true;
    CHECK_EQ(run(dir, threads[i % 2], CRASH_HOOK, 1), DEGRADED);
    CHECK(now->struck);
    make_room();
    check_recovered(dir);
  }
}

int main(void)
{
  now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(now != MAP_FAILED);
  RUN(tables_that_cannot_be_written);
  RUN(tables_that_cannot_be_merged);
  RUN(with_a_log);
  RUN(a_server_on_a_disk_that_becomes_read_only);
  RUN(a_full_disk); /* last, as it may be skipped */
  return 0;
}
