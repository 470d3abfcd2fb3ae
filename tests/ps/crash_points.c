#include "crash_points.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
  atomic_bool is_on;
  atomic_uint count;
  crash_kind kind;
  unsigned at;
  char dir[512];
  char (*names)[16];
  const char *thread; /* NULL: any */
  void (*hook)(void);
} crash;

void crash_begin(const char *dir, crash_kind kind, unsigned at, char (*names)[16])
{
  snprintf(crash.dir, sizeof crash.dir, "%s/", dir);
  crash.kind = kind;
  crash.at = at;
  crash.names = names;
  atomic_store(&crash.count, 0);
  atomic_store(&crash.is_on, true);
}

void crash_end(void)
{
  atomic_store(&crash.is_on, false);
}

unsigned crash_count(void)
{
  return atomic_load(&crash.count);
}

void crash_in_thread(const char *name)
{
  crash.thread = name;
}

void crash_hook(void (*hook)(void))
{
  crash.hook = hook;
}

static bool is_below(const char *path)
{
  return strncmp(path, crash.dir, strlen(crash.dir)) == 0;
}

static bool is_file_below(int fd)
{
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  path[size > 0 ? size : 0] = 0;
  return is_below(path);
}

static bool is_in_thread(void)
{
  char name[16] = {0};
  return !crash.thread || (pthread_getname_np(pthread_self(), name, sizeof name) == 0 && !strcmp(name, crash.thread));
}

static bool takes_room(const char *name)
{
  return strstr(name, "write") || strstr("fallocate open link mkdir", name);
}

/* Once the disk is as it is going to stay. */
static bool fails_for_good(const char *name)
{
  if (crash.kind == CRASH_FULL && takes_room(name)) {
    errno = ENOSPC;
    return true;
  }
  if (crash.kind == CRASH_EROFS) {
    errno = EROFS;
    return true;
  }
  return false;
}

/* True if this call is to fail. */
static bool strikes(const char *name, bool is_counted)
{
  if (!is_counted || !is_in_thread())
    return false;
  unsigned number = atomic_fetch_add(&crash.count, 1) + 1;
  if (crash.names && number < CRASH_CALLS_MAX)
    snprintf(crash.names[number], sizeof crash.names[number], "%s", name);
  if (crash.kind == CRASH_FULL || crash.kind == CRASH_EROFS)
    return number >= crash.at && fails_for_good(name);
  if (crash.kind == CRASH_HOOK && number >= crash.at)
    crash.hook();
  if (number != crash.at || crash.kind == CRASH_NONE || crash.kind == CRASH_HOOK)
    return false;
  if (crash.kind == CRASH_KILL || crash.kind == CRASH_TORN)
    _exit(CRASH_EXIT);
  errno = crash.kind == CRASH_EIO ? EIO : ENOSPC;
  return true;
}

static bool is_on(void)
{
  return atomic_load(&crash.is_on);
}

static bool strikes_file(const char *name, int fd)
{
  return is_on() && strikes(name, is_file_below(fd));
}

static bool strikes_path(const char *name, const char *path)
{
  return is_on() && strikes(name, is_below(path));
}

/* Would the next call be the one that is done by half? */
static bool tears(int fd)
{
  return is_on() && crash.kind == CRASH_TORN && atomic_load(&crash.count) + 1 == crash.at && is_file_below(fd);
}

#define IN_PLACE_OF(type, name, ...)                                                                                   \
  __attribute__((visibility("default"))) type name(__VA_ARGS__);                                                       \
  type name(__VA_ARGS__)

IN_PLACE_OF(ssize_t, write, int fd, const void *bytes, size_t size)
{
  if (tears(fd))
    syscall(SYS_write, fd, bytes, size / 2);
  return strikes_file("write", fd) ? -1 : syscall(SYS_write, fd, bytes, size);
}

IN_PLACE_OF(ssize_t, pwrite, int fd, const void *bytes, size_t size, off_t offset)
{
  if (tears(fd))
    syscall(SYS_pwrite64, fd, bytes, size / 2, offset);
  return strikes_file("pwrite", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, size, offset);
}

IN_PLACE_OF(int, fsync, int fd)
{
  return strikes_file("fsync", fd) ? -1 : 0;
}

IN_PLACE_OF(int, fdatasync, int fd)
{
  return strikes_file("fdatasync", fd) ? -1 : 0;
}

IN_PLACE_OF(int, ftruncate, int fd, off_t size)
{
  return strikes_file("ftruncate", fd) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

IN_PLACE_OF(int, fallocate, int fd, int mode, off_t offset, off_t size)
{
  return strikes_file("fallocate", fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

IN_PLACE_OF(int, rename, const char *from, const char *to)
{
  return strikes_path("rename", from) ? -1 : (int)syscall(SYS_rename, from, to);
}

IN_PLACE_OF(int, link, const char *from, const char *to)
{
  return strikes_path("link", from) ? -1 : (int)syscall(SYS_link, from, to);
}

IN_PLACE_OF(int, unlink, const char *path)
{
  return strikes_path("unlink", path) ? -1 : (int)syscall(SYS_unlink, path);
}

IN_PLACE_OF(int, mkdir, const char *path, mode_t mode)
{
  return strikes_path("mkdir", path) ? -1 : (int)syscall(SYS_mkdir, path, mode);
}

IN_PLACE_OF(int, rmdir, const char *path)
{
  return strikes_path("rmdir", path) ? -1 : (int)syscall(SYS_rmdir, path);
}

/* What makes a file is counted; what only opens one changes nothing. */
IN_PLACE_OF(int, open, const char *path, int flags, ...)
{
  va_list args;
  va_start(args, flags);
  mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
  va_end(args);
  if ((flags & O_CREAT) && strikes_path("open", path))
    return -1;
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
