/* The program `hotrow`: finds the subcommand and hands over. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "commands.h"
#include "options.h"

/* A new subcommand is one line here and one in commands.h. */
static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary;
} commands[] = {
    {"serve", hr_cmd_serve, "run shards of the parameter server"},
    {"train", hr_cmd_train, "train a model as a worker of a job"},
    {"launch", hr_cmd_launch, "start shards and workers of one job on this machine"},
    {"checkpoint", hr_cmd_checkpoint, "have running shards write a checkpoint"},
    {"inspect", hr_cmd_inspect, "what a checkpoint or save holds"},
    {"verify", hr_cmd_verify, "check every byte of a checkpoint or save"},
    {"restore", hr_cmd_restore, "make a data directory from a checkpoint or another one"},
    {"top", hr_cmd_top, "show what running shards do"},
    {"bench", hr_cmd_bench, "measure a part against its limit"},
    {"plot", hr_cmd_plot, "plots of results as an HTML file"},
    {"version", hr_cmd_version, "print the version"},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out)
{
  fprintf(out, "usage: hotrow COMMAND [options]\n\ncommands:\n");
  for (size_t i = 0; i < COMMAND_COUNT; i++)
    fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].summary);
  fprintf(out, "\nhotrow COMMAND --help, or hotrow help COMMAND, lists a command's options.\n");
}

static int run_command(const char *name, int argc, char **argv)
{
  for (size_t i = 0; i < COMMAND_COUNT; i++)
    if (strcmp(commands[i].name, name) == 0)
      return commands[i].run(argc, argv);
  fprintf(stderr, "hotrow: unknown command '%s'\n", name);
  print_usage(stderr);
  return HR_EXIT_USAGE;
}

static bool is_any(const char *word, const char *a, const char *b)
{
  return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* Messages of megabytes come and go: glibc would give their memory back each time, and the next one fault it in. */
static void keep_freed_memory(void)
{
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20); /* its largest */
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

int main(int argc, char **argv)
{
  keep_freed_memory();
  if (argc < 2) {
    print_usage(stderr);
    return HR_EXIT_USAGE;
  }
  if (is_any(argv[1], "--version", "-V"))
    return run_command("version", 1, argv + 1);
  if (is_any(argv[1], "--help", "-h") || (strcmp(argv[1], "help") == 0 && argc == 2)) {
    print_usage(stdout);
    return 0;
  }
  if (strcmp(argv[1], "help") == 0)
    return run_command(argv[2], 2, (char *[]){argv[2], "--help", NULL});
  return run_command(argv[1], argc - 1, argv + 1);
}
