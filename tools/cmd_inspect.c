/* hotrow inspect, verify: checkpoints and saves on disk. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <hotrow/checkpoint.h>

#include "bar.h"
#include "commands.h"
#include "options.h"

static const char *const optimizer_names[] = {"none", "sgd",   "momentum",     "adagrad", "rowwise-adagrad",
                                              "adam", "adamw", "rowwise-adam", "ftrl",    "lamb"};

static const char *const dtype_names[] = {
    [HOTROW_F32] = "f32", [HOTROW_F16] = "f16", [HOTROW_I8] = "i8", [HOTROW_BF16] = "bf16"};

/* A file of another format version is as bad as a damaged one to who asks whether it is good. */
static int fail(const char *command, hotrow_status status)
{
  fprintf(stderr, "hotrow %s: %s\n", command, hotrow_last_error());
  return status == HOTROW_ERR_VERSION ? HR_EXIT_DATA : hr_exit_code(status);
}

static const char *optimizer_name(const hotrow_segment *segment)
{
  size_t kind = (size_t)segment->optimizer.kind;
  return kind < sizeof optimizer_names / sizeof *optimizer_names ? optimizer_names[kind] : "unknown";
}

static const char *dtype_name(hotrow_dtype dtype)
{
  return (size_t)dtype < sizeof dtype_names / sizeof *dtype_names ? dtype_names[dtype] : "unknown";
}

static uint64_t count_rows(const hotrow_checkpoint_info *info)
{
  uint64_t rows = 0;
  for (uint32_t i = 0; i < info->table_count; i++)
    rows += info->tables[i].row_count;
  return rows;
}

/* ---- inspect ---- */

typedef struct inspect_values {
  bool json;
} inspect_values;

static const hr_option inspect_options[] = {
    {"json", HR_OPTION_BOOL, offsetof(inspect_values, json), NULL, 0, 0, NULL, "one JSON object"},
};

static const hr_command inspect_command = {
    .name = "inspect",
    .summary = "what a checkpoint or save holds",
    .details = "usage: hotrow inspect DIR [options]\n"
               "Reads and checks its manifests; hotrow verify reads the rows too.",
    .options = inspect_options,
    .option_count = sizeof inspect_options / sizeof inspect_options[0],
};

static void format_time(uint64_t created_ns, char *text, size_t size)
{
  const time_t seconds = (time_t)(created_ns / 1000000000u);
  struct tm parts;
  if (!gmtime_r(&seconds, &parts) || strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
    snprintf(text, size, "?");
}

static void print_text(const hotrow_checkpoint_info *info)
{
  char created[32];
  format_time(info->created_ns, created, sizeof created);
  if (info->is_checkpoint) {
    printf("checkpoint of %s, format %u\n", created, info->format_version);
    if (info->rank_count > 0)
      printf("step %" PRIu64 " of %u ranks, blob of %" PRIu64 " bytes\n", info->step, info->rank_count,
             info->blob_size);
    else
      printf("of no one step: made while shards were in use\n");
  } else {
    printf("save, format %u\n", info->format_version);
  }
  printf("%" PRIu64 " rows of %u tables, %" PRIu64 " bytes, written by %u shards\n", count_rows(info),
         info->table_count, info->size_bytes, info->shard_count);
  for (uint32_t i = 0; i < info->table_count; i++) {
    const hotrow_checkpoint_table *table = &info->tables[i];
    printf("  %-24s dim %u, %s, %s", table->name, table->dim, dtype_name(table->storage_dtype),
           optimizer_name(&table->segments[0]));
    for (uint32_t s = 1; s < table->segment_count; s++)
      printf(" + %s", optimizer_name(&table->segments[s]));
    printf(", %" PRIu64 " rows, %" PRIu64 " bytes\n", table->row_count, table->size_bytes);
  }
}

static void print_json(const hotrow_checkpoint_info *info)
{
  printf("{\"kind\": \"%s\", \"format\": %u, \"shards\": %u, \"ranks\": %u, \"token\": \"%016" PRIx64
         "\", \"step\": %" PRIu64 ", \"created_ns\": %" PRIu64 ", \"blob_bytes\": %" PRIu64 ", \"bytes\": %" PRIu64
         ", \"rows\": %" PRIu64 ", \"tables\": [",
         info->is_checkpoint ? "checkpoint" : "save", info->format_version, info->shard_count, info->rank_count,
         info->token, info->step, info->created_ns, info->blob_size, info->size_bytes, count_rows(info));
  for (uint32_t i = 0; i < info->table_count; i++) {
    const hotrow_checkpoint_table *table = &info->tables[i];
    printf("%s{\"name\": \"%s\", \"dim\": %u, \"storage_dtype\": \"%s\", \"rows\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"segments\": [",
           i > 0 ? ", " : "", table->name, table->dim, dtype_name(table->storage_dtype), table->row_count,
           table->size_bytes);
    for (uint32_t s = 0; s < table->segment_count; s++)
      printf("%s{\"dim\": %u, \"optimizer\": \"%s\"}", s > 0 ? ", " : "", table->segments[s].dim,
             optimizer_name(&table->segments[s]));
    printf("]}");
  }
  printf("]}\n");
}

int hr_cmd_inspect(int argc, char **argv)
{
  inspect_values values;
  const char *path = hr_command_take_word(&argc, argv);
  int code = hr_options_parse(&inspect_command, argc, argv, &values, NULL);
  if (code >= 0)
    return code;
  if (!path) {
    fprintf(stderr, "hotrow inspect: wants the directory of a checkpoint or save\n");
    return HR_EXIT_USAGE;
  }
  hotrow_checkpoint_info *info;
  hotrow_status status = hotrow_checkpoint_inspect(path, &info);
  if (status != HOTROW_OK)
    return fail("inspect", status);
  if (values.json)
    print_json(info);
  else
    print_text(info);
  hotrow_checkpoint_info_free(info);
  return 0;
}

/* ---- verify ---- */

static const hr_command verify_command = {
    .name = "verify",
    .summary = "check every byte of a checkpoint or save",
    .details = "usage: hotrow verify DIR\n"
               "Exit code 0: it is whole. 65: it is not, and the file is named.",
};

static void show(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
  hr_bar_show(context, done_bytes, total_bytes);
}

int hr_cmd_verify(int argc, char **argv)
{
  char none;
  const char *path = hr_command_take_word(&argc, argv);
  int code = hr_options_parse(&verify_command, argc, argv, &none, NULL);
  if (code >= 0)
    return code;
  if (!path) {
    fprintf(stderr, "hotrow verify: wants the directory of a checkpoint or save\n");
    return HR_EXIT_USAGE;
  }
  hr_bar bar;
  hr_bar_begin(&bar, "verify");
  hotrow_status status = hotrow_checkpoint_verify(path, show, &bar);
  hr_bar_end(&bar);
  if (status != HOTROW_OK)
    return fail("verify", status);
  printf("%s: whole\n", path);
  return 0;
}
