/* hotrow bench NAME: what the parts do on this machine, against a limit measured in the same run. */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "commands.h"
#include "options.h"

#define AT(field) offsetof(bench_shard_options, field)
static const char *const optimizers[] = {"sgd", "rowwise_adagrad", NULL};
static const hr_option shard_options[] = {
    {"dims", HR_OPTION_TEXT, AT(dims), "16,64,128", 0, 0, NULL, "row widths, with commas"},
    {"rows", HR_OPTION_U64, AT(rows), "10000000", 1, 1e9, NULL, "rows of the table"},
    {"batch-keys", HR_OPTION_U64, AT(batch_keys), "106496", 1, 4e6, NULL, "keys of a batch before deduplication"},
    {"zipf", HR_OPTION_FLOAT, AT(zipf), "1.05", 0.05, 4, NULL, "exponent of the keys' distribution"},
    {"repeats", HR_OPTION_U32, AT(repeats), "7", 1, 101, NULL, "repeats; the figures are their medians"},
    {"batches", HR_OPTION_U32, AT(batches), "32", 1, 100000, NULL, "requests of a repeat"},
    {"optimizer", HR_OPTION_CHOICE, AT(optimizer), "sgd", 0, 0, optimizers, "of the pushes"},
    {"io-threads", HR_OPTION_U32, AT(io_threads), "1", 1, 64, NULL, "network threads of the server"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command shard_command = {
    .name = "bench shard",
    .summary = "pull and push+pull over loopback TCP against a raw socket with a flat array behind it",
    .details = "The raw reference has no hash and no protocol: the key is the row's index. Both get the same\n"
               "deduplicated batches, one request outstanding, alternating in one run.",
    .options = shard_options,
    .option_count = sizeof shard_options / sizeof shard_options[0],
};

static int run_shard(int argc, char **argv)
{
  bench_shard_options options = {0};
  int rest, code = hr_options_parse(&shard_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_shard(&options);
}

/* A new benchmark is one line here and one file under bench/. */
static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary;
} benchmarks[] = {
    {"shard", run_shard, "pull and push+pull over loopback TCP against a raw socket"},
};

static void print_usage(FILE *out)
{
  fprintf(out, "usage: hotrow bench NAME [options]\n\nbenchmarks:\n");
  for (size_t i = 0; i < sizeof benchmarks / sizeof benchmarks[0]; i++)
    fprintf(out, "  %-10s%s\n", benchmarks[i].name, benchmarks[i].summary);
}

int hr_cmd_bench(int argc, char **argv)
{
  for (size_t i = 0; argc > 1 && i < sizeof benchmarks / sizeof benchmarks[0]; i++)
    if (strcmp(argv[1], benchmarks[i].name) == 0)
      return benchmarks[i].run(argc - 1, argv + 1);
  bool wants_help = argc > 1 && strcmp(argv[1], "--help") == 0;
  if (argc > 1 && !wants_help)
    fprintf(stderr, "hotrow bench: unknown benchmark '%s'\n", argv[1]);
  print_usage(wants_help ? stdout : stderr);
  return wants_help ? 0 : HR_EXIT_USAGE;
}
