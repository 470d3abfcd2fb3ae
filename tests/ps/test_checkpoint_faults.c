/* A checkpoint that is killed before each of its system calls, or of which each call fails as on a full disk: what has
 * a name is whole. And nothing gets its name before all of it is on disk. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hotrow/checkpoint.h>
#include <hr/route.h>

#include "save_format.h"
#include "shard_test.h"

#define SHARDS 2u
#define BLOB "blob"
#define INODES_MAX 64u
#define KILLED 9

/* ---- the system calls, one of which does not come back, or fails ---- */

static struct {
  bool is_on, is_kill;
  unsigned count, at; /* calls so far; the one that is hit, from 1 */
  /* Files and directories that have changed since they were synced. */
  ino_t dirty[INODES_MAX];
  size_t dirty_count;
} fault;

static bool is_hit(void)
{
  if (!fault.is_on || ++fault.count != fault.at)
    return false;
  if (fault.is_kill)
    _exit(KILLED);
  errno = ENOSPC;
  return true;
}

static void mark(ino_t inode)
{
  for (size_t i = 0; i < fault.dirty_count; i++)
    if (fault.dirty[i] == inode)
      return;
  CHECK(fault.dirty_count < INODES_MAX);
  fault.dirty[fault.dirty_count++] = inode;
}

static void mark_file(int fd)
{
  struct stat info;
  CHECK(fstat(fd, &info) == 0);
  mark(info.st_ino);
}

static void mark_parent(const char *path)
{
  struct stat info;
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", path);
  CHECK(stat(dirname(copy), &info) == 0);
  mark(info.st_ino);
}

static bool is_dirty(ino_t inode)
{
  for (size_t i = 0; i < fault.dirty_count; i++)
    if (fault.dirty[i] == inode)
      return true;
  return false;
}

/* Is something in this tree not on disk? */
static bool has_dirty(const char *path)
{
  struct stat info;
  CHECK(lstat(path, &info) == 0);
  bool found = is_dirty(info.st_ino);
  DIR *entries = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
  for (struct dirent *entry; entries && (entry = readdir(entries));) {
    char inner[4096];
    CHECK(snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner);
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      found = has_dirty(inner) || found;
  }
  if (entries)
    closedir(entries);
  return found;
}

#define REAL(type, name, ...)                                                                                          \
  type __real_##name(__VA_ARGS__);                                                                                     \
  type __wrap_##name(__VA_ARGS__);                                                                                     \
  type __wrap_##name(__VA_ARGS__)

REAL(int, fsync, int fd)
{
  struct stat info;
  if (is_hit())
    return -1;
  CHECK(fstat(fd, &info) == 0);
  for (size_t i = 0; i < fault.dirty_count; i++)
    if (fault.dirty[i] == info.st_ino)
      fault.dirty[i] = 0;
  return __real_fsync(fd);
}

REAL(ssize_t, write, int fd, const void *bytes, size_t size)
{
  if (is_hit())
    return -1;
  if (fault.is_on)
    mark_file(fd);
  return __real_write(fd, bytes, size);
}

REAL(ssize_t, pwrite, int fd, const void *bytes, size_t size, off_t offset)
{
  if (is_hit())
    return -1;
  if (fault.is_on)
    mark_file(fd);
  return __real_pwrite(fd, bytes, size, offset);
}

REAL(int, mkdir, const char *path, mode_t mode)
{
  if (is_hit())
    return -1;
  int result = __real_mkdir(path, mode);
  if (fault.is_on && result == 0)
    mark_parent(path);
  return result;
}

REAL(int, renameat2, int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
  if (is_hit())
    return -1;
  if (fault.is_on) {
    CHECK_MSG(!has_dirty(from), "%s gets the name %s before it is on disk", from, to);
    mark_parent(to);
  }
  return __real_renameat2(from_dir, from, to_dir, to, flags);
}

REAL(int, rename, const char *from, const char *to)
{
  if (is_hit())
    return -1;
  if (fault.is_on && strstr(to, ".tmp") == NULL) {
    CHECK_MSG(!has_dirty(from), "%s gets the name %s before it is on disk", from, to);
    mark_parent(to);
  }
  return __real_rename(from, to);
}

REAL(int, unlinkat, int dir, const char *name, int flags)
{
  return is_hit() ? -1 : __real_unlinkat(dir, name, flags);
}

REAL(int, rmdir, const char *path)
{
  return is_hit() ? -1 : __real_rmdir(path);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
  va_list args;
  va_start(args, flags);
  mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
  va_end(args);
  bool is_new = (flags & O_CREAT) != 0;
  if (is_new && is_hit())
    return -1;
  int fd = __real_open(path, flags, mode);
  if (fault.is_on && is_new && fd >= 0) {
    mark_file(fd);
    mark_parent(path);
  }
  return fd;
}

/* ---- a checkpoint ---- */

static char save_dir[512];

/* What a shard has done on a thread of its own: one at a time, so that calls come in one order. */
typedef struct aside {
  pthread_t thread;
  bool is_running;
  void (*task)(void *context);
  void *context;
} aside;

typedef struct cluster {
  test_shard *shards[SHARDS];
  test_client clients[SHARDS];
  aside asides[SHARDS];
} cluster;

static void *run_aside(void *context)
{
  const aside *a = context;
  a->task(a->context);
  return NULL;
}

static bool begin_aside(void *context, void (*task)(void *task_context), void *task_context)
{
  aside *a = context;
  CHECK(!a->is_running);
  a->task = task;
  a->context = task_context;
  a->is_running = pthread_create(&a->thread, NULL, run_aside, a) == 0;
  return a->is_running;
}

/* Rows are copied, and what runs aside ends. */
static void settle(cluster *c, uint32_t shard)
{
  test_copy(c->shards[shard]->shard);
  if (c->asides[shard].is_running)
    CHECK(pthread_join(c->asides[shard].thread, NULL) == 0);
  c->asides[shard].is_running = false;
}

static void open_cluster(cluster *c, float amount)
{
  for (uint32_t i = 0; i < SHARDS; i++) {
    c->asides[i].is_running = false;
    c->shards[i] = test_shard_open(&(hr_shard_options){.shard_index = i,
                                                       .shard_count = SHARDS,
                                                       .save_dir = save_dir,
                                                       .aside = {.begin = begin_aside, .context = &c->asides[i]}});
    c->clients[i] = test_worker(1, 7, 0, 1, 100);
    c->clients[i].shard_index = i;
    c->clients[i].shard_count = SHARDS;
    test_greet(c->shards[i], &c->clients[i]);
    test_create_table(c->shards[i], &c->clients[i], "t");
  }
  for (uint64_t key = 0; key < 8; key++) {
    uint32_t shard = hr_shard_of(hr_key_hash(key, hr_table_seed("t", 1)), SHARDS);
    test_push_row(&c->clients[shard], 0, key, amount);
    CHECK_OK(test_ask(c->shards[shard], &c->clients[shard]));
  }
}

static hotrow_status ask(cluster *c, uint32_t shard, hr_checkpoint what, uint32_t action)
{
  struct {
    hr_checkpoint what;
    char bytes[sizeof BLOB];
  } body = {.what = what, .bytes = BLOB};
  body.what.action = action;
  hotrow_status status = HOTROW_ERR_BUSY;
  while (status == HOTROW_ERR_BUSY) {
    test_body(&c->clients[shard], HR_OP_CHECKPOINT, &body,
              sizeof body.what + (action == HR_CHECKPOINT_BLOB ? sizeof BLOB : 0));
    status = test_ask(c->shards[shard], &c->clients[shard]);
    settle(c, shard);
  }
  return status;
}

static hotrow_status steps(cluster *c, hr_checkpoint what)
{
  for (uint32_t i = 0; i < SHARDS; i++)
    HOTROW_TRY(ask(c, i, what, HR_CHECKPOINT_COPY));
  for (uint32_t i = 0; i < SHARDS; i++)
    HOTROW_TRY(ask(c, i, what, HR_CHECKPOINT_SETTLE));
  HOTROW_TRY(ask(c, 0, what, HR_CHECKPOINT_BLOB));
  return ask(c, 0, what, HR_CHECKPOINT_PUBLISH);
}

/* What a client does: when something fails it tells the shards that it is not to be. */
static hotrow_status make(cluster *c, const char *name, uint64_t token)
{
  hr_checkpoint what = {.token = token, .blob_size = sizeof BLOB, .rank_count = 1, .keep = 2};
  snprintf(what.name, sizeof what.name, "%s", name);
  hotrow_status status = steps(c, what);
  for (uint32_t i = 0; i < SHARDS && status != HOTROW_OK; i++)
    CHECK_OK(ask(c, i, what, HR_CHECKPOINT_DROP));
  return status;
}

static void make_whole(const char *name, uint64_t token)
{
  cluster c;
  open_cluster(&c, (float)token);
  CHECK_OK(make(&c, name, token));
  for (uint32_t i = 0; i < SHARDS; i++)
    test_shard_close(c.shards[i]);
}

/* ---- what is found afterwards ---- */

/* Everything with a name is whole; returns the token of `name`, 0 if it is not there. What has no name yet, but its
 * CHECKPOINT, is whole too, and without that it is refused. */
static uint64_t look(const char *name)
{
  uint64_t token = 0;
  DIR *entries = opendir(save_dir);
  CHECK(entries);
  for (struct dirent *entry; (entry = readdir(entries));) {
    hr_path path, file;
    hotrow_checkpoint_info *info;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    CHECK_OK(hr_path_format(&path, "%s/%s", save_dir, entry->d_name));
    CHECK_OK(hr_path_format(&file, "%s/" HR_CHECKPOINT_FILE, path.text));
    hotrow_status status = hotrow_checkpoint_verify(path.text, NULL, NULL);
    CHECK_MSG(entry->d_name[0] == '.' || status == HOTROW_OK, "%s: %s", entry->d_name, hotrow_last_error());
    CHECK_MSG(status != HOTROW_OK || access(file.text, F_OK) == 0, "%s has no CHECKPOINT and passes", path.text);
    if (strcmp(entry->d_name, name) != 0)
      continue;
    CHECK_OK(hotrow_checkpoint_inspect(path.text, &info));
    token = info->token;
    hotrow_checkpoint_info_free(info);
  }
  closedir(entries);
  return token;
}

static size_t count_entries(void)
{
  size_t count = 0;
  DIR *entries = opendir(save_dir);
  CHECK(entries);
  while (readdir(entries))
    count++;
  closedir(entries);
  return count;
}

/* One checkpoint in a process of its own with a fault at call `at`: true if the call was reached. */
static bool run_with_fault(const char *name, uint64_t token, unsigned at, bool is_kill)
{
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    cluster c;
    open_cluster(&c, 2.0f);
    memset(&fault, 0, sizeof fault);
    fault.at = at;
    fault.is_kill = is_kill;
    fault.is_on = true;
    hotrow_status status = make(&c, name, token);
    bool is_reached = fault.count >= at;
    fault.is_on = false;
    CHECK(is_reached || status == HOTROW_OK);
    if (status == HOTROW_OK) {
      struct stat info;
      CHECK(stat(save_dir, &info) == 0 && !is_dirty(info.st_ino)); /* the name is on disk too */
    } else if (status != HOTROW_ERR_STORAGE) {
      printf("call %u: %s\n", at, hotrow_last_error());
      _exit(1);
    }
    CHECK_OK(make(&c, name, token + 1)); /* the next one is none the worse for it */
    _exit(is_reached ? 0 : 2);
  }
  int result;
  CHECK(waitpid(child, &result, 0) == child && WIFEXITED(result));
  int code = WEXITSTATUS(result);
  CHECK_MSG(code == 0 || code == 2 || (is_kill && code == KILLED), "call %u: exit code %d", at, code);
  return code != 2;
}

static void start_anew(void)
{
  static unsigned number;
  CHECK(snprintf(save_dir, sizeof save_dir, "%s/faults-%u", hr_test_tmpdir(), number++) < (int)sizeof save_dir);
  CHECK(mkdir(save_dir, 0777) == 0);
}

static void killed_before_each_call(void)
{
  unsigned at = 0, absent = 0, there = 0;
  do {
    start_anew();
    make_whole("run-1", 1);
    make_whole("run-2", 2); /* keep is 2: run-1 has to go when run-3 has come */
    at++;
    bool is_hit_now = run_with_fault("run-3", 10, at, true);
    uint64_t token = look("run-3");
    if (!is_hit_now)
      break;
    CHECK(token == 0 || token == 10);
    absent += token == 0;
    there += token != 0;
    CHECK(look("run-2") == 2 && (look("run-1") == 1 || token == 10));
    make_whole("run-3", 30);
    CHECK_EQ(look("run-3"), 30);
    CHECK_EQ(count_entries(), 2 + 2); /* . and .., two of the series, and nothing that was left behind */
  } while (true);
  printf("  %u calls: killed before %u of them there was none, before %u a whole one\n", at - 1, absent, there);
  CHECK(absent > 20 && there > 3);
}

static void killed_while_it_takes_the_place_of_another(void)
{
  unsigned at = 0, older = 0, newer = 0;
  do {
    start_anew();
    make_whole("run-1", 1);
    at++;
    bool is_hit_now = run_with_fault("run-1", 10, at, true);
    if (!is_hit_now)
      break;
    uint64_t token = look("run-1");
    CHECK(token == 1 || token == 10);
    older += token == 1;
    newer += token == 10;
    make_whole("run-1", 30);
    CHECK_EQ(look("run-1"), 30);
    CHECK_EQ(count_entries(), 2 + 1); /* . and .., and nothing that was left behind */
  } while (true);
  printf("  %u calls: killed before %u of them the older one was there, before %u the newer\n", at - 1, older, newer);
  CHECK(older > 20 && newer > 3);
}

static void each_call_fails(void)
{
  unsigned at = 0;
  do {
    start_anew();
    make_whole("run-1", 1);
    at++;
    bool is_hit_now = run_with_fault("run-3", 10, at, false);
    CHECK_EQ(look("run-1"), 1);
    uint64_t token = look("run-3");
    CHECK_EQ(token, 11);
    CHECK_EQ(count_entries(), 2 + 2);
    if (!is_hit_now)
      break;
  } while (true);
  CHECK(at > 20);
}

int main(void)
{
  RUN(killed_before_each_call);
  RUN(killed_while_it_takes_the_place_of_another);
  RUN(each_call_fails);
  return 0;
}
