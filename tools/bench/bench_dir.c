/* Directories that go with the benchmark, and what a process takes. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define OPEN_DIRECTORIES 16

bool bench_dir_make(const char *parent, char *path_p, size_t path_size)
{
  const char *standard = getenv("TMPDIR");
  if (!parent)
    parent = standard && *standard ? standard : "/tmp";
  int length = snprintf(path_p, path_size, "%s/hotrow-bench-XXXXXX", parent);
  if (length > 0 && (size_t)length < path_size && mkdtemp(path_p))
    return true;
  fprintf(stderr, "hotrow bench: cannot make a directory in %s\n", parent);
  return false;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at)
{
  (void)info, (void)kind, (void)at;
  return remove(path);
}

void bench_dir_remove(const char *path)
{
  nftw(path, remove_entry, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);
}

uint64_t bench_memory_bytes(pid_t process)
{
  char path[64];
  unsigned long long size = 0, resident = 0;
  snprintf(path, sizeof path, "/proc/%ld/statm", (long)process);
  FILE *file = fopen(path, "r");
  if (!file)
    return 0;
  int count = fscanf(file, "%llu %llu", &size, &resident);
  fclose(file);
  return count == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t bench_memory_bytes_max(pid_t process)
{
  char path[64], line[256];
  unsigned long long kib = 0;
  snprintf(path, sizeof path, "/proc/%ld/status", (long)process);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, "VmHWM:", 6) == 0)
      kib = strtoull(line + 6, NULL, 10);
  if (file)
    fclose(file);
  return kib << 10;
}

void bench_memory_reset(pid_t process)
{
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/clear_refs", (long)process);
  FILE *file = fopen(path, "w");
  if (!file)
    return;
  fputs("5", file); /* the largest resident size, and nothing else */
  fclose(file);
}
