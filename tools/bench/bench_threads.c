/* How long threads of a process ran, and how long they could have and had no processor: the scheduler's part of what a
 * benchmark measures. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define NAME_BYTES 64 /* Linux keeps 16 */

/* The first line of a file of a thread. */
static bool read_line(pid_t process, const char *thread, const char *file_name, char *line_p, size_t size)
{
  char path[512];
  snprintf(path, sizeof path, "/proc/%ld/task/%s/%s", (long)process, thread, file_name);
  FILE *file = fopen(path, "r");
  bool ok = file && fgets(line_p, (int)size, file);
  if (file)
    fclose(file);
  return ok;
}

static void add_thread(pid_t process, const char *thread, const char *name, bench_thread_times *times)
{
  char own_name[NAME_BYTES], line[128];
  unsigned long long ran_ns = 0, waited_ns = 0;
  if (!read_line(process, thread, "comm", own_name, sizeof own_name))
    return;
  own_name[strcspn(own_name, "\n")] = 0;
  if (strcmp(own_name, name) != 0 || !read_line(process, thread, "schedstat", line, sizeof line) ||
      sscanf(line, "%llu %llu", &ran_ns, &waited_ns) != 2)
    return;
  times->ran_s += 1e-9 * (double)ran_ns;
  times->waited_s += 1e-9 * (double)waited_ns;
}

bench_thread_times bench_threads(pid_t process, const char *name)
{
  char path[64];
  bench_thread_times times = {0};
  snprintf(path, sizeof path, "/proc/%ld/task", (long)process);
  DIR *threads = opendir(path);
  for (const struct dirent *thread; threads && (thread = readdir(threads));)
    if (thread->d_name[0] != '.')
      add_thread(process, thread->d_name, name, &times);
  if (threads)
    closedir(threads);
  return times;
}
