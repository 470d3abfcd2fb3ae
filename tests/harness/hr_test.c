#include "hr_test.h"

#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

static char tmpdir[256];
static pthread_mutex_t leaving = PTHREAD_MUTEX_INITIALIZER;

/* Ends the program. exit() is not for two threads at once: the second waits here until the first has ended it. */
static _Noreturn void leave(int status)
{
  pthread_mutex_lock(&leaving);
  exit(status);
}

void hr_test_fail(const char *file, int line, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fprintf(stderr, "%s:%d: FAILED: ", file, line);
  vfprintf(stderr, format, args);
  fprintf(stderr, "\n");
  va_end(args);
  leave(1);
}

void hr_test_check_fails(const char *file, int line, const char *call, hotrow_status actual, hotrow_status expected,
                         const char *words)
{
  if (actual != expected)
    hr_test_fail(file, line, "%s returned %s, expected %s (%s)", call, hotrow_status_name(actual),
                 hotrow_status_name(expected), hotrow_last_error());
  if (words && !strstr(hotrow_last_error(), words))
    hr_test_fail(file, line, "%s said \"%s\", expected it to contain \"%s\"", call, hotrow_last_error(), words);
}

void hr_test_skip(const char *what, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  const char *required = getenv("HOTROW_TEST_REQUIRE");
  bool must = required && strstr(required, what);
  printf(must ? "FAILED, required %s is missing: " : "SKIPPED, no %s: ", what);
  vprintf(format, args);
  printf("\n");
  va_end(args);
  leave(must ? 1 : HR_TEST_SKIP);
}

uint64_t hr_test_seed(uint64_t standard)
{
  const char *text = getenv("HOTROW_TEST_SEED");
  uint64_t seed = text ? strtoull(text, NULL, 0) : standard;
  printf("seed %llu (HOTROW_TEST_SEED replays it)\n", (unsigned long long)seed);
  return seed;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
  (void)info, (void)type, (void)ftw;
  return remove(path);
}

static void remove_tmpdir(void)
{
  nftw(tmpdir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *hr_test_tmpdir(void)
{
  if (!tmpdir[0]) {
    const char *base = getenv("TMPDIR");
    snprintf(tmpdir, sizeof tmpdir, "%s/hotrow-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(tmpdir))
      hr_test_fail(__FILE__, __LINE__, "cannot make a directory at %s", tmpdir);
    atexit(remove_tmpdir);
  }
  return tmpdir;
}

const char *hr_test_data_dir(void)
{
  const char *dir = getenv("HOTROW_TEST_DATA");
  if (!dir)
    dir = HOTROW_TEST_DATA_DEFAULT;
  return access(dir, R_OK) == 0 ? dir : NULL;
}
