/* hotrow bench NAME: what the parts do on this machine, against a limit measured in the same run. */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "commands.h"
#include "options.h"

#define AT(field) offsetof(bench_shard_options, field)
static const hr_option shard_options[] = {
    {"dims", HR_OPTION_TEXT, AT(dims), "16,64,128", 0, 0, NULL, "row widths, with commas"},
    {"rows", HR_OPTION_U64, AT(rows), "10000000", 1, 1e9, NULL, "rows of the table"},
    {"batch-keys", HR_OPTION_U64, AT(batch_keys), "106496", 1, 4e6, NULL, "keys of a batch before deduplication"},
    {"zipf", HR_OPTION_FLOAT, AT(zipf), "1.05", 0.05, 4, NULL, "exponent of the keys' distribution"},
    {"repeats", HR_OPTION_U32, AT(repeats), "7", 1, 101, NULL, "repeats; the figures are their medians"},
    {"batches", HR_OPTION_U32, AT(batches), "32", 1, 100000, NULL, "requests of a repeat"},
    {"optimizer", HR_OPTION_CHOICE, AT(optimizer), "both", 0, 0, bench_shard_optimizer_names, "of the pushes"},
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

#undef AT
#define AT(field) offsetof(bench_cache_options, field)
static const hr_option cache_options[] = {
    {"dims", HR_OPTION_TEXT, AT(dims), "16,64,128", 0, 0, NULL, "row widths, with commas"},
    {"rows", HR_OPTION_U64, AT(rows), "1000000", 1000, 1e9, NULL, "rows of the cache"},
    {"batch-keys", HR_OPTION_U64, AT(batch_keys), "0", 0, 4e6, NULL,
     "keys of a batch; 0: a 48th of the rows, of a trace 2048"},
    {"repeats", HR_OPTION_U32, AT(repeats), "7", 1, 101, NULL, "repeats; the figures are their medians"},
    {"batches", HR_OPTION_U32, AT(batches), "32", 1, 100000, NULL, "batches of a repeat"},
    {"trace", HR_OPTION_TEXT, AT(trace), NULL, 0, 0, NULL,
     "hit rates instead of times: a file of big-endian 64-bit keys (plain, .gz, .xz), or criteo for the built-in "
     "stream"},
    {"cache", HR_OPTION_TEXT, AT(shares), "1,5,10", 0, 0, NULL,
     "trace: rows of the cache in percent of the trace's distinct keys, with commas"},
    {"samples", HR_OPTION_U64, AT(samples), "512000", 128, 1e9, NULL, "trace: of the built-in stream"},
    {"lookahead", HR_OPTION_U32, AT(lookahead), "64", 0, 100000, NULL, "trace: batches that the cache knows ahead"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command cache_command = {
    .name = "bench cache",
    .summary = "a lookup and an update of cached rows against a plain gather; or hit rates on a trace",
    .details =
        "Times are per key, one thread, keys deduplicated and hashed. The plain gather copies the same rows out of\n"
        "a flat array with prefetches, the plain update adds to them and to sums beside them: the floor.\n"
        "With --trace: hit rates of every policy, without and with look-ahead, next to the best that a cache of that\n"
        "size could have (Belady's, fully associative, knowing all).",
    .options = cache_options,
    .option_count = sizeof cache_options / sizeof cache_options[0],
};

static int run_cache(int argc, char **argv)
{
  bench_cache_options options = {0};
  int rest, code = hr_options_parse(&cache_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_cache(&options);
}

#undef AT
#define AT(field) offsetof(bench_gpu_options, field)
static const hr_option gpu_options[] = {
    {"kernel", HR_OPTION_CHOICE, AT(kernel), "all", 0, 0, bench_gpu_kernel_names, "what to measure beside the copy"},
    {"dims", HR_OPTION_TEXT, AT(dims), "8,16,32,64,128", 0, 0, NULL, "row widths, with commas"},
    {"rows", HR_OPTION_U64, AT(rows), "67108864", 4096, 2e9, NULL, "slots that are probed, and rows of an array"},
    {"keys", HR_OPTION_U64, AT(keys), "0", 0, 64e6, NULL, "keys of a call; 0: a 64th of the rows"},
    {"load", HR_OPTION_TEXT, AT(loads), "0.5,0.75,1.0", 0, 0, NULL, "occupied slots of those probed, with commas"},
    {"distribution", HR_OPTION_CHOICE, AT(distribution), "both", 0, 0, bench_gpu_distribution_names, "of the keys"},
    {"repeats", HR_OPTION_U32, AT(repeats), "7", 1, 101, NULL, "repeats; the figures are their medians"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command gpu_command = {
    .name = "bench gpu",
    .summary = "kernels, cache and a whole sparse step on a GPU against a plain copy on it",
    .details =
        "Times are the device's own. Bandwidth counts what a call must move, and is held against a copy between two\n"
        "buffers larger than the device's cache in the same run; buffers come in turn, so that none is still in the\n"
        "cache. Targets are those of an H200 at the default sizes. What does not fit in memory is left out.",
    .options = gpu_options,
    .option_count = sizeof gpu_options / sizeof gpu_options[0],
};

static int run_gpu(int argc, char **argv)
{
  bench_gpu_options options = {0};
  int rest, code = hr_options_parse(&gpu_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_gpu(&options);
}

#undef AT
#define AT(field) offsetof(bench_comm_options, field)
static const hr_option comm_options[] = {
    {"dims", HR_OPTION_TEXT, AT(dims), "16,128", 0, 0, NULL, "row widths, with commas"},
    {"configs", HR_OPTION_TEXT, AT(configs), NULL, 0, 0, NULL,
     "what to compare, with commas: no-cache, het-compat, default, "
     "MODE:PULL/PUSH[:STEP][:POLICY][:DTYPE][:occurrences]"},
    {"workers", HR_OPTION_U32, AT(workers), "8", 1, 64, NULL, "clients, in turn"},
    {"shards", HR_OPTION_U32, AT(shards), "1", 1, 64, NULL, "shards that they share"},
    {"batch", HR_OPTION_U32, AT(batch), "128", 1, 65536, NULL, "samples per worker and batch"},
    {"batches", HR_OPTION_U64, AT(batches), "0", 0, 1e9, NULL,
     "batches per worker, half of them to warm up; 0: 4000, with --full 15000, or 6000 for wide rows"},
    {"cache-percent", HR_OPTION_FLOAT, AT(cache_percent), "10", 0.001, 100, NULL,
     "rows of a worker's cache in percent of the table's"},
    {"scale", HR_OPTION_FLOAT, AT(scale), "0", 0, 1, NULL,
     "the stream's fields have so many times Criteo's values; 0: 1, with --full 0.4 for wide rows (dim 64 on)"},
    {"parallel", HR_OPTION_U32, AT(parallel), "2", 1, 64, NULL, "configurations at a time, each a process"},
    {"full", HR_OPTION_BOOL, AT(full), NULL, 0, 0, NULL, "longer, and the frontier of bounds, modes and wire types"},
    {"html", HR_OPTION_TEXT, AT(html), NULL, 0, 0, NULL, "write a report with plots to this file"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command comm_command = {
    .name = "bench comm",
    .summary = "bytes on the wire and staleness: without a cache, with HET's protocol, with ours",
    .details =
        "Real clients and shards in one process, in turn, on the built-in Criteo-shaped stream; bytes of frames as\n"
        "encoded. \"Less\" is against 2 * (8 + 4 dim) bytes for each distinct key of a batch. What a used copy lacked\n"
        "is counted from outside, in occurrences, those that other workers still keep back included.",
    .options = comm_options,
    .option_count = sizeof comm_options / sizeof comm_options[0],
};

static int run_comm(int argc, char **argv)
{
  bench_comm_options options = {0};
  int rest, code = hr_options_parse(&comm_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_comm(&options);
}

#undef AT
#define AT(field) offsetof(bench_table_options, field)
static const hr_option table_options[] = {
    {"rows", HR_OPTION_TEXT, AT(rows), "1e6,1e7,64e6", 0, 0, NULL, "rows of the table, with commas"},
    {"dim", HR_OPTION_U32, AT(dim), "64", 1, 4096, NULL, "row width"},
    {"batch-keys", HR_OPTION_U32, AT(batch_keys), "32768", 1, 4e6, NULL, "keys of a probe, pull or push"},
    {"insert-keys", HR_OPTION_U32, AT(insert_keys), "256", 1, 32768, NULL, "keys of an insert"},
    {"repeats", HR_OPTION_U32, AT(repeats), "7", 1, 101, NULL, "repeats; the figures are their medians"},
    {"batches", HR_OPTION_U32, AT(batches), "64", 1, 100000, NULL, "batches of a repeat"},
    {"optimizer", HR_OPTION_CHOICE, AT(optimizer), "sgd", 0, 0, bench_optimizer_names, "of the pushes"},
    {"storage-dtype", HR_OPTION_CHOICE, AT(storage_dtype), "f32", 0, 0, bench_storage_names, "of the rows' values"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command table_command = {
    .name = "bench table",
    .summary = "a shard's table alone: probes, pulls and pushes against a plain gather, pauses of inserts, memory",
    .details = "One thread, keys at random over the whole table; rates per second of its CPU time. The plain gather\n"
               "copies the same rows, whose index it knows. A size that does not fit in memory is left out.",
    .options = table_options,
    .option_count = sizeof table_options / sizeof table_options[0],
};

static int run_table(int argc, char **argv)
{
  bench_table_options options = {0};
  int rest, code = hr_options_parse(&table_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_table(&options);
}

#undef AT
#define AT(field) offsetof(bench_store_options, field)
static const hr_option store_options[] = {
    {"dir", HR_OPTION_TEXT, AT(dir), NULL, 0, 0, NULL, "directory for the data directories; they are left there"},
    {"dims", HR_OPTION_TEXT, AT(dims), "16,128", 0, 0, NULL, "row widths, with commas"},
    {"rows", HR_OPTION_U64, AT(rows), "2000000", 1, 1e9, NULL, "rows of the table"},
    {"batch-keys", HR_OPTION_U64, AT(batch_keys), "40000", 1, 4e6, NULL, "rows of a push"},
    {"passes", HR_OPTION_U32, AT(passes), "3", 1, 1000, NULL, "how often every row is pushed to"},
    {"cut-bytes", HR_OPTION_U64, AT(cut_bytes), "4MiB", 1, 1e12, NULL, "as of serve"},
    {"cut-interval-ms", HR_OPTION_U32, AT(cut_interval_ms), "0", 0, 86400000, NULL, "as of serve"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command store_command = {
    .name = "bench store",
    .summary = "pushes until they are durable, and loading them again, against memory and a plain file",
    .details =
        "One client, one shard over loopback TCP, SGD. A plain file takes the same bytes, synced as often as cuts\n"
        "are made. For each --durability of serve also the time from a push until it is durable: 1000 pushes of\n"
        "256 rows, one every 2 ms.",
    .options = store_options,
    .option_count = sizeof store_options / sizeof store_options[0],
};

static int run_store(int argc, char **argv)
{
  bench_store_options options = {0};
  int rest, code = hr_options_parse(&store_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_store(&options);
}

#undef AT
#define AT(field) offsetof(bench_checkpoint_options, field)
static const hr_option checkpoint_options[] = {
    {"dir", HR_OPTION_TEXT, AT(dir), NULL, 0, 0, NULL, "directory for data and checkpoints; they are left there"},
    {"rows", HR_OPTION_U64, AT(rows), "10000000", 1000, 1e9, NULL, "rows of the table"},
    {"dim", HR_OPTION_U32, AT(dim), "16", 1, 4096, NULL, "row width"},
    {"batch-keys", HR_OPTION_U32, AT(batch_keys), "8192", 1, 4e6, NULL, "keys of a pull and of a push"},
    {"zipf", HR_OPTION_FLOAT, AT(zipf), "1.05", 0.05, 4, NULL, "exponent of the keys' distribution"},
    {"optimizer", HR_OPTION_CHOICE, AT(optimizer), "sgd", 0, 0, bench_optimizer_names, "of the pushes"},
    {"every-ms", HR_OPTION_U32, AT(every_ms), "5000", 1, 86400000, NULL, "time between two checkpoints"},
    {"phase-ms", HR_OPTION_U32, AT(phase_ms), "15000", 100, 86400000, NULL, "time with checkpoints, and time without"},
    {"repeats", HR_OPTION_U32, AT(repeats), "5", 1, 101, NULL, "of both in turn; the figures are their medians"},
    {"cut-bytes", HR_OPTION_U64, AT(cut_bytes), "4MiB", 1, 1e12, NULL, "as of serve"},
    {"cut-interval-ms", HR_OPTION_U32, AT(cut_interval_ms), "1000", 1, 86400000, NULL, "as of serve"},
    {"memory-only", HR_OPTION_BOOL, AT(memory_only), NULL, 0, 0, NULL, "a server without a data directory"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object"},
};

static const hr_command checkpoint_command = {
    .name = "bench checkpoint",
    .summary = "a shard under load, with checkpoints and without; with a data directory then killed and back",
    .details =
        "One client pulls a batch and pushes it, without a pause; another has checkpoints made. The server is a\n"
        "process of its own. After it was killed its files are not in the page cache.",
    .options = checkpoint_options,
    .option_count = sizeof checkpoint_options / sizeof checkpoint_options[0],
};

static int run_checkpoint(int argc, char **argv)
{
  bench_checkpoint_options options = {0};
  int rest, code = hr_options_parse(&checkpoint_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_checkpoint(&options);
}

#undef AT
#define AT(field) offsetof(bench_peers_options, field)
static const hr_option peers_options[] = {
    {"dims", HR_OPTION_TEXT, AT(dims), "16,64,128", 0, 0, NULL, "row widths, with commas"},
    {"dir", HR_OPTION_TEXT, AT(dir), NULL, 0, 0, NULL,
     "where RocksDB's data goes for as long; default: TMPDIR or /tmp"},
    {"rows", HR_OPTION_U64, AT(rows), "10000000", 1, 1e9, NULL, "rows of the table"},
    {"batch-keys", HR_OPTION_U64, AT(batch_keys), "106496", 1, 4e6, NULL, "keys of a batch before deduplication"},
    {"zipf", HR_OPTION_FLOAT, AT(zipf), "1.05", 0.05, 4, NULL, "exponent of the keys' distribution"},
    {"repeats", HR_OPTION_U32, AT(repeats), "7", 1, 101, NULL, "repeats; the figures are their medians"},
    {"batches", HR_OPTION_U32, AT(batches), "16", 1, 100000, NULL, "requests of a repeat"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command peers_command = {
    .name = "bench peers",
    .summary = "pull and push+pull next to Redis and RocksDB, with the same batches",
    .details =
        "One client, one batch at a time, SGD. Redis: loopback TCP, nothing kept on disk, MGET and MSET of 1000 rows,\n"
        "four on their way, updates at the client. RocksDB: in the client's process, batched MultiGet and WriteBatch,\n"
        "its own options but for a block cache that holds the table, compacted once; log not synced. Without\n"
        "redis-server Redis is skipped. Memory is what the process with the rows has grown by.",
    .options = peers_options,
    .option_count = sizeof peers_options / sizeof peers_options[0],
};

static int run_peers(int argc, char **argv)
{
  bench_peers_options options = {0};
  int rest, code = hr_options_parse(&peers_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_peers(&options);
}

#undef AT
#define AT(field) offsetof(bench_overload_options, field)
static const hr_option overload_options[] = {
    {"dir", HR_OPTION_TEXT, AT(dir), NULL, 0, 0, NULL,
     "where the data directory is for as long; default: TMPDIR or /tmp"},
    {"memory", HR_OPTION_U64, AT(memory), "256MiB", 1, 1e15, NULL, "as of serve"},
    {"rows", HR_OPTION_U64, AT(rows), "200000", 1, 1e9, NULL, "rows that the well-behaved client pulls from"},
    {"dim", HR_OPTION_U32, AT(dim), "16", 1, 4096, NULL, "row width"},
    {"batch-keys", HR_OPTION_U32, AT(batch_keys), "4096", 1, 4e6, NULL, "keys of its pulls before deduplication"},
    {"zipf", HR_OPTION_FLOAT, AT(zipf), "1.05", 0.05, 4, NULL, "exponent of their distribution"},
    {"seconds", HR_OPTION_U32, AT(seconds), "10", 1, 86400, NULL, "of a phase"},
    {"flood-keys", HR_OPTION_U64, AT(flood_keys), "50000000", 1, 1e12, NULL, "new keys after which a flood is over"},
    {"flood-batch-keys", HR_OPTION_U32, AT(flood_batch_keys), "16384", 1, 4e6, NULL, "keys of a pull of the flood"},
    {"connections", HR_OPTION_U32, AT(connections), "2000", 1, 100000, NULL, "clients at once"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command overload_command = {
    .name = "bench overload",
    .summary = "a well-behaved client beside others that are not, and the server's memory",
    .details =
        "One shard with a data directory and --memory. A client pulls, with a pause of 1 ms: alone; beside a process\n"
        "that only computes, for what the cores have to do with it; beside --connections clients that pull a little;\n"
        "beside one that asks and never reads; beside one that pulls nothing but new keys; and alone again.",
    .options = overload_options,
    .option_count = sizeof overload_options / sizeof overload_options[0],
};

static int run_overload(int argc, char **argv)
{
  bench_overload_options options = {0};
  int rest, code = hr_options_parse(&overload_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_overload(&options);
}

#undef AT
#define AT(field) offsetof(bench_memory_options, field)
static const hr_option memory_options[] = {
    {"dir", HR_OPTION_TEXT, AT(dir), NULL, 0, 0, NULL, "directory for the data directories; they are left there"},
    {"dim", HR_OPTION_U32, AT(dim), "64", 1, 4096, NULL, "row width"},
    {"rows", HR_OPTION_U64, AT(rows), "4000000", 1, 1e9, NULL, "rows of the table"},
    {"memory", HR_OPTION_U64, AT(memory), "0", 0, 1e15, NULL,
     "of the server; 0: a quarter of the rows' values, 96 MiB at least"},
    {"batch-keys", HR_OPTION_U64, AT(batch_keys), "16384", 1, 4e6, NULL, "keys of a batch before deduplication"},
    {"zipf", HR_OPTION_FLOAT, AT(zipf), "1.05", 0.05, 4, NULL, "exponent of the keys' distribution"},
    {"batches", HR_OPTION_U32, AT(batches), "300", 1, 1e6, NULL, "batches of each run"},
    {"compute-ms", HR_OPTION_U32, AT(compute_ms), "20", 0, 900, NULL, "that the dense part of a batch takes"},
    {"json", HR_OPTION_BOOL, AT(json), NULL, 0, 0, NULL, "one JSON object per line"},
};

static const hr_command memory_command = {
    .name = "bench memory",
    .summary = "a table larger than its server's memory, with and without look-ahead, against RocksDB alone",
    .details = "One client, one shard with a data directory over loopback TCP, SGD. All runs must end with the same\n"
               "rows. RocksDB alone: batched MultiGet and WriteBatch in the client, with as much memory.",
    .options = memory_options,
    .option_count = sizeof memory_options / sizeof memory_options[0],
};

static int run_memory(int argc, char **argv)
{
  bench_memory_options options = {0};
  int rest, code = hr_options_parse(&memory_command, argc, argv, &options, &rest);
  return code >= 0 ? code : hr_bench_memory(&options);
}

/* A new benchmark is one line here and one file under bench/. */
static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary;
} benchmarks[] = {
    {"shard", run_shard, "pull and push+pull over loopback TCP against a raw socket"},
    {"peers", run_peers, "pull and push+pull next to Redis and RocksDB"},
    {"overload", run_overload, "a well-behaved client beside others that are not, and the server's memory"},
    {"table", run_table, "a shard's table alone: probes, pulls, pushes, pauses of inserts, memory"},
    {"cache", run_cache, "a lookup and an update of cached rows against a plain gather; hit rates on a trace"},
    {"gpu", run_gpu, "kernels, cache and a whole sparse step on a GPU against a plain copy on it"},
    {"store", run_store, "pushes until they are durable, and loading them, against memory and a plain file"},
    {"checkpoint", run_checkpoint, "a shard with checkpoints and without; with a data directory killed and back"},
    {"memory", run_memory, "a table larger than its server's memory, against RocksDB alone"},
    {"comm", run_comm, "bytes on the wire and staleness: no cache, HET's protocol, ours"},
};

static void print_usage(FILE *out)
{
  fprintf(out, "usage: hotrow bench NAME [options]\n\nbenchmarks:\n");
  for (size_t i = 0; i < sizeof benchmarks / sizeof benchmarks[0]; i++)
    fprintf(out, "  %-12s%s\n", benchmarks[i].name, benchmarks[i].summary);
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
