/* The server of a benchmark that kills it: hotrow serve in a process of its own. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define READY "ready: "

static _Noreturn void serve(int out, const char *data_dir, const char *save_dir, uint64_t cut_bytes,
                            uint32_t cut_interval_ms)
{
  char bytes[32], interval[32];
  snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)cut_bytes);
  snprintf(interval, sizeof interval, "%u", cut_interval_ms);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(out, STDOUT_FILENO);
  if (data_dir)
    execl("/proc/self/exe", "hotrow", "serve", "--bind", "tcp://127.0.0.1:*", "--data-dir", data_dir, "--save-dir",
          save_dir, "--cut-bytes", bytes, "--cut-interval-ms", interval, (char *)NULL);
  else
    execl("/proc/self/exe", "hotrow", "serve", "--bind", "tcp://127.0.0.1:*", "--save-dir", save_dir, (char *)NULL);
  _exit(127);
}

bool bench_server_start(const char *data_dir, const char *save_dir, uint64_t cut_bytes, uint32_t cut_interval_ms,
                        bench_server *server_p)
{
  int ends[2];
  *server_p = (bench_server){0};
  if (pipe2(ends, O_CLOEXEC) != 0)
    return false;
  server_p->process = fork();
  if (server_p->process == 0)
    serve(ends[1], data_dir, save_dir, cut_bytes, cut_interval_ms);
  close(ends[1]);
  FILE *lines = fdopen(ends[0], "r");
  bool is_ready = lines && fgets(server_p->endpoint, sizeof server_p->endpoint, lines) &&
                  strncmp(server_p->endpoint, READY, strlen(READY)) == 0;
  if (lines)
    fclose(lines);
  if (!is_ready) {
    fprintf(stderr, "hotrow bench: the server does not start\n");
    bench_server_kill(server_p);
    return false;
  }
  char *address = server_p->endpoint + strlen(READY);
  address[strcspn(address, "\n")] = 0;
  memmove(server_p->endpoint, address, strlen(address) + 1);
  return true;
}

void bench_server_kill(bench_server *server)
{
  if (server->process > 0) {
    kill(server->process, SIGKILL);
    waitpid(server->process, NULL, 0);
  }
  server->process = 0;
}

uint64_t bench_server_written_bytes(const bench_server *server)
{
  char path[64], line[128];
  unsigned long long bytes = 0;
  snprintf(path, sizeof path, "/proc/%ld/io", (long)server->process);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, "write_bytes:", 12) == 0)
      bytes = strtoull(line + 12, NULL, 10);
  if (file)
    fclose(file);
  return bytes;
}

static uint64_t cool_file(const char *path)
{
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  uint64_t bytes = fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0;
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
  return bytes;
}

/* A data directory has directories of files and no deeper ones. */
uint64_t bench_tree_cool(const char *path)
{
  uint64_t bytes = 0;
  DIR *entries = opendir(path);
  for (const struct dirent *entry; entries && (entry = readdir(entries));) {
    char inner[4096];
    if (entry->d_name[0] == '.' || snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= (int)sizeof inner)
      continue;
    bytes += entry->d_type == DT_DIR ? bench_tree_cool(inner) : cool_file(inner);
  }
  if (entries)
    closedir(entries);
  return bytes;
}
