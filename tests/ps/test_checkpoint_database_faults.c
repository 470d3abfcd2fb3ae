/* A checkpoint of shards with a data directory that is killed before each of its system calls, RocksDB's among them, or
 * of which each call in the directory of checkpoints fails as on a full disk: what has a name is whole, the data
 * directory is none the worse, and nothing gets its name before all of it is on disk.
 *
 * The functions that stand for the system's here are RocksDB's too: a program's own come before a library's. It has
 * threads, and they do not live on in a child: so this process never opens a database, its children do. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hotrow/checkpoint.h>

#include "cluster_test.h"
#include "save_format.h"

#define SHARDS 2u
#define KEYS 64u
#define INODES_MAX 256u
#define KILLED 9
#define NOT_REACHED 2

/* ---- the system calls, one of which does not come back, or fails ---- */

static struct {
  atomic_bool is_on;
  bool is_kill;
  atomic_uint count; /* calls so far */
  unsigned at;       /* the one that is hit, from 1 */
} fault;

static char scratch[512], save_dir[600], data_dir[600];

static bool is_in(const char *directory, const char *path)
{
  size_t size = strlen(directory);
  return strncmp(path, directory, size) == 0 && path[size] == '/';
}

/* A database that fails to write for itself may abort: what fails is the copy. Killed it may be anywhere. */
static bool is_hit(const char *path)
{
  if (!atomic_load(&fault.is_on) || !is_in(fault.is_kill ? scratch : save_dir, path))
    return false;
  if (atomic_fetch_add(&fault.count, 1) + 1 != fault.at)
    return false;
  if (fault.is_kill)
    _exit(KILLED);
  errno = ENOSPC;
  return true;
}

static bool is_file_hit(int fd)
{
  char link[64], path[4096];
  if (!atomic_load(&fault.is_on))
    return false;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  path[size > 0 ? size : 0] = 0;
  return is_hit(path);
}

/* ---- what is not on disk yet ---- */

static struct {
  pthread_mutex_t lock;
  ino_t inodes[INODES_MAX]; /* files and directories that have changed since they were synced */
  size_t count;
} dirty = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void mark(ino_t inode)
{
  size_t i = 0;
  pthread_mutex_lock(&dirty.lock);
  while (i < dirty.count && dirty.inodes[i] != inode)
    i++;
  CHECK(i < INODES_MAX);
  dirty.inodes[i] = inode;
  dirty.count += i == dirty.count;
  pthread_mutex_unlock(&dirty.lock);
}

static void mark_file(int fd)
{
  struct stat info;
  if (atomic_load(&fault.is_on) && fd >= 0 && fstat(fd, &info) == 0)
    mark(info.st_ino);
}

static void mark_parent(const char *path)
{
  struct stat info;
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", path);
  if (atomic_load(&fault.is_on) && stat(dirname(copy), &info) == 0)
    mark(info.st_ino);
}

static void clear(int fd)
{
  struct stat info;
  CHECK(fstat(fd, &info) == 0);
  pthread_mutex_lock(&dirty.lock);
  for (size_t i = 0; i < dirty.count; i++)
    if (dirty.inodes[i] == info.st_ino)
      dirty.inodes[i] = 0;
  pthread_mutex_unlock(&dirty.lock);
}

static bool is_dirty(const char *path)
{
  struct stat info;
  bool found = false;
  CHECK(stat(path, &info) == 0);
  pthread_mutex_lock(&dirty.lock);
  for (size_t i = 0; i < dirty.count; i++)
    found = found || dirty.inodes[i] == info.st_ino;
  pthread_mutex_unlock(&dirty.lock);
  return found;
}

/* All of a checkpoint is on disk before it gets its name. */
static void check_is_safe(const char *path)
{
  CHECK_MSG(!is_dirty(path), "%s gets its name before it is on disk", path);
  DIR *entries = opendir(path);
  for (struct dirent *entry; entries && (entry = readdir(entries));) {
    char inner[4096];
    CHECK(snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner);
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      check_is_safe(inner);
  }
  if (entries)
    closedir(entries);
}

/* Is it the renaming that a checkpoint gets its name by? */
static bool is_naming(const char *to)
{
  size_t size = strlen(save_dir);
  return atomic_load(&fault.is_on) && is_in(save_dir, to) && !strchr(to + size + 1, '/') && to[size + 1] != '.';
}

/* ---- the calls ---- */

static long done(long result, int fd)
{
  if (result >= 0)
    mark_file(fd);
  return result;
}

static int done_at(long result, const char *path)
{
  if (result >= 0)
    mark_parent(path);
  return (int)result;
}

static int synced(long result, int fd)
{
  if (result >= 0)
    clear(fd);
  return (int)result;
}

#define CALL(type, name, ...)                                                                                          \
  __attribute__((visibility("default"))) type name(__VA_ARGS__);                                                       \
  type name(__VA_ARGS__)

CALL(int, fsync, int fd)
{
  return is_file_hit(fd) ? -1 : synced(syscall(SYS_fsync, fd), fd);
}

CALL(int, fdatasync, int fd)
{
  return is_file_hit(fd) ? -1 : synced(syscall(SYS_fdatasync, fd), fd);
}

CALL(ssize_t, write, int fd, const void *bytes, size_t size)
{
  return is_file_hit(fd) ? -1 : done(syscall(SYS_write, fd, bytes, size), fd);
}

CALL(ssize_t, pwrite, int fd, const void *bytes, size_t size, off_t offset)
{
  return is_file_hit(fd) ? -1 : done(syscall(SYS_pwrite64, fd, bytes, size, offset), fd);
}

CALL(int, link, const char *from, const char *to)
{
  return is_hit(to) ? -1 : done_at(syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0), to);
}

CALL(int, mkdir, const char *path, mode_t mode)
{
  return is_hit(path) ? -1 : done_at(syscall(SYS_mkdirat, AT_FDCWD, path, mode), path);
}

/* What is only removed need not be known to be so. */
CALL(int, renameat2, int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
  if (is_hit(to))
    return -1;
  if (is_naming(to))
    check_is_safe(from);
  long result = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
  bool is_aside = strlen(to) > 8 && strcmp(to + strlen(to) - 8, ".old.tmp") == 0;
  return is_aside ? (int)result : done_at(result, to);
}

CALL(int, rename, const char *from, const char *to)
{
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

CALL(int, unlinkat, int dir, const char *name, int flags)
{
  return is_file_hit(dir) ? -1 : (int)syscall(SYS_unlinkat, dir, name, flags);
}

CALL(int, rmdir, const char *path)
{
  return is_hit(path) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

CALL(int, open, const char *path, int flags, ...)
{
  va_list args;
  va_start(args, flags);
  mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
  va_end(args);
  if (!(flags & O_CREAT))
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  return is_hit(path) ? -1 : done_at(syscall(SYS_openat, AT_FDCWD, path, flags, mode), path);
}

/* ---- children ---- */

/* Runs in a process of its own and returns its exit code. */
static int in_child(void (*task)(const void *context), const void *context)
{
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    task(context);
    _exit(0);
  }
  int result;
  CHECK(waitpid(child, &result, 0) == child);
  CHECK_MSG(WIFEXITED(result), "signal %d", WTERMSIG(result));
  return WEXITSTATUS(result);
}

static void run(void (*task)(const void *context), const void *context)
{
  CHECK_EQ(in_child(task, context), 0);
}

/* Rows that are pushed to, and one checkpoint of them by each name. */
static void begin(const void *context)
{
  disk_cluster c;
  uint64_t token = 1;
  cluster_open(&c, SHARDS, data_dir, save_dir, NULL);
  for (const char *const *name = context; *name; name++, token++) {
    cluster_push(&c, 0, KEYS, 1.0f);
    CHECK_OK(cluster_make(&c, *name, token, 2));
  }
  cluster_push(&c, 0, KEYS, 1.0f); /* in no cut, so that there is one to make */
  cluster_close(&c);
}

typedef struct attempt {
  const char *name;
  unsigned at;
  bool is_kill;
} attempt;

static void make_with_fault(const void *context)
{
  const attempt *a = context;
  disk_cluster c;
  cluster_open(&c, SHARDS, data_dir, save_dir, NULL);
  cluster_push(&c, 0, KEYS, 2.0f);
  atomic_store(&fault.count, 0);
  fault.at = a->at;
  fault.is_kill = a->is_kill;
  atomic_store(&fault.is_on, true);
  hotrow_status status = cluster_make(&c, a->name, 10, 2);
  bool is_reached = atomic_load(&fault.count) >= a->at;
  atomic_store(&fault.is_on, false);
  CHECK_MSG(is_reached || status == HOTROW_OK, "%s", hotrow_last_error());
  CHECK_MSG(status == HOTROW_OK || status == HOTROW_ERR_STORAGE, "call %u: %s", a->at, hotrow_last_error());
  if (!a->is_kill) {
    size_t size, loaded_size = 0;
    uint8_t *rows, *loaded = NULL;
    cluster_push(&c, 0, KEYS, 3.0f);
    atomic_store(&fault.is_on, true);
    fault.at = 0;
    CHECK_OK(cluster_make(&c, a->name, 11, 2)); /* the next one is none the worse for it */
    atomic_store(&fault.is_on, false);
    CHECK(!is_dirty(save_dir)); /* the name is on disk too */
    rows = cluster_rows(c.shards, SHARDS, &size);
    hr_path path;
    CHECK_OK(hr_path_format(&path, "%s/%s", save_dir, a->name));
    CHECK_OK(cluster_load_rows(path.text, 1, &loaded, &loaded_size));
    CHECK(size == loaded_size && memcmp(rows, loaded, size) == 0);
  }
  cluster_close(&c);
  _exit(is_reached ? 0 : NOT_REACHED);
}

/* The server that comes after: it starts, and makes a checkpoint that holds what it holds. */
static void make_afterwards(const void *context)
{
  disk_cluster c;
  hr_path path;
  size_t size, loaded_size = 0;
  uint8_t *loaded = NULL;
  cluster_open(&c, SHARDS, data_dir, save_dir, NULL);
  CHECK_OK(cluster_make(&c, context, 30, 2));
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  cluster_close(&c);
  CHECK_OK(hr_path_format(&path, "%s/%s", save_dir, (const char *)context));
  CHECK_OK(cluster_load_rows(path.text, 1, &loaded, &loaded_size));
  CHECK(size == loaded_size && memcmp(rows, loaded, size) == 0);
}

/* ---- what is found afterwards ---- */

/* Everything with a name is whole; returns the token of `name`, 0 if it is not there. */
static uint64_t look(const char *name)
{
  uint64_t token = 0;
  DIR *entries = opendir(save_dir);
  CHECK(entries);
  for (struct dirent *entry; (entry = readdir(entries));) {
    hr_path path;
    hotrow_checkpoint_info *info;
    if (entry->d_name[0] == '.')
      continue;
    CHECK_OK(hr_path_format(&path, "%s/%s", save_dir, entry->d_name));
    CHECK_OK(hotrow_checkpoint_verify(path.text, NULL, NULL));
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
  return count - 2; /* . and .. */
}

/* Directories of every attempt are a copy of the first ones. */
static void start_anew(void)
{
  static unsigned number;
  char command[2048];
  static const char *const names[] = {"run-1", "run-2", NULL};
  if (number == 0) {
    snprintf(scratch, sizeof scratch, "%s/first", hr_test_tmpdir());
    snprintf(save_dir, sizeof save_dir, "%s/saves", scratch);
    snprintf(data_dir, sizeof data_dir, "%s/data", scratch);
    CHECK(mkdir(scratch, 0777) == 0 && mkdir(save_dir, 0777) == 0);
    run(begin, (const void *)names);
  }
  snprintf(scratch, sizeof scratch, "%s/faults-%u", hr_test_tmpdir(), ++number);
  snprintf(save_dir, sizeof save_dir, "%s/saves", scratch);
  snprintf(data_dir, sizeof data_dir, "%s/data", scratch);
  snprintf(command, sizeof command, "rm -rf %s/faults-%u; cp -a %s/first %s", hr_test_tmpdir(), number - 1,
           hr_test_tmpdir(), scratch);
  CHECK(system(command) == 0); // NOLINT(cert-env33-c): the names are this test's own
}

/* Every call, or, as a checkpoint has many, every n-th; HOTROW_TEST_ALL_CALLS=1: every one. */
static unsigned stride(unsigned n)
{
  const char *all = getenv("HOTROW_TEST_ALL_CALLS");
  return all && *all ? 1 : n;
}

static void killed(const char *name, uint64_t before, unsigned step)
{
  unsigned at = 0, older = 0, newer = 0;
  for (;;) {
    start_anew();
    at += at == 0 ? 1 : step;
    int code = in_child(make_with_fault, &(attempt){name, at, true});
    uint64_t token = look(name);
    if (code == NOT_REACHED)
      break;
    CHECK_MSG(code == KILLED || code == 0, "call %u: exit code %d", at, code);
    CHECK_MSG(token == before || token == 10, "call %u: token %llu", at, (unsigned long long)token);
    older += token == before;
    newer += token == 10;
    CHECK(look("run-2") == (strcmp(name, "run-2") == 0 ? token : 2));
    run(make_afterwards, name);
    CHECK_EQ(look(name), 30);
    CHECK_EQ(count_entries(), 2); /* nothing is left behind */
  }
  printf("  %u calls: killed before %u of them the older one was there, before %u the newer\n", at, older, newer);
  CHECK(older * step > 50 && newer > 0);
}

static void killed_before_each_call(void)
{
  killed("run-3", 0, stride(9));
}

static void killed_while_it_takes_the_place_of_another(void)
{
  killed("run-2", 2, stride(13));
}

static void each_call_fails(void)
{
  unsigned at = 0, step = stride(7);
  for (;;) {
    start_anew();
    at += at == 0 ? 1 : step;
    int code = in_child(make_with_fault, &(attempt){"run-3", at, false});
    CHECK_MSG(code == 0 || code == NOT_REACHED, "call %u: exit code %d", at, code);
    CHECK_EQ(look("run-3"), 11);
    CHECK_EQ(count_entries(), 2);
    if (code == NOT_REACHED)
      break;
  }
  printf("  %u calls\n", at);
  CHECK(at > 50);
}

int main(void)
{
  RUN(killed_before_each_call);
  RUN(killed_while_it_takes_the_place_of_another);
  RUN(each_call_fails);
  return 0;
}
