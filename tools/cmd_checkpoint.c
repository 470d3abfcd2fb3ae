/* hotrow checkpoint, restore: what needs shards. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <hotrow/hotrow.h>
#include <hotrow/server.h>

#include "bar.h"
#include "commands.h"
#include "options.h"

#define POLL_MS 20

const char *hr_command_take_word(int *argc_p, char **argv)
{
  if (*argc_p < 2 || argv[1][0] == '-')
    return NULL;
  const char *word = argv[1];
  for (int i = 1; i < *argc_p; i++)
    argv[i] = argv[i + 1]; /* the NULL at the end too */
  (*argc_p)--;
  return word;
}

/* ---- checkpoint ---- */

typedef struct checkpoint_values {
  const char *shards;
  uint32_t keep;
  uint32_t timeout_ms;
} checkpoint_values;

#define AT(field) offsetof(checkpoint_values, field)
static const hr_option checkpoint_options[] = {
    {"shards", HR_OPTION_TEXT, AT(shards), NULL, 0, 0, NULL, "endpoints of the shards, in order, with commas between"},
    {"keep", HR_OPTION_U32, AT(keep), "0", 0, HOTROW_CHECKPOINT_KEEP_MAX, NULL,
     "how many of the series stay, which NAME is one of if it is SERIES-DIGITS; 0: all"},
    {"timeout-ms", HR_OPTION_U32, AT(timeout_ms), "600000", 1, 86400000, NULL, "how long it may take"},
};

static const hr_command checkpoint_command = {
    .name = "checkpoint",
    .summary = "have running shards write a checkpoint",
    .details = "usage: hotrow checkpoint NAME [options]\n"
               "Shards write it under their --save-dir, which is one directory for all of them. Each copies its rows\n"
               "when it is asked; while a job trains, that is no one step of it (hotrow train --checkpoint is).",
    .options = checkpoint_options,
    .option_count = sizeof checkpoint_options / sizeof checkpoint_options[0],
};

static hotrow_status make_checkpoint(const char *name, const checkpoint_values *values, hotrow_client *client)
{
  hotrow_checkpoint_options options = HOTROW_CHECKPOINT_OPTIONS_INIT;
  options.name = name;
  options.keep = values->keep;
  options.flags = HOTROW_CHECKPOINT_LIVE;
  options.timeout_ms = values->timeout_ms;
  hr_bar bar;
  hr_bar_begin(&bar, "checkpoint");
  bool is_published = false;
  hotrow_status status = hotrow_checkpoint_begin(client, &options);
  while (status == HOTROW_OK && !is_published) {
    status = hotrow_checkpoint_poll(client, &is_published);
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    hr_bar_show(&bar, 0, 0);
  }
  hr_bar_end(&bar);
  return status;
}

static int fail(const char *command, hotrow_status status)
{
  fprintf(stderr, "hotrow %s: %s\n", command, hotrow_last_error());
  return hr_exit_code(status);
}

int hr_cmd_checkpoint(int argc, char **argv)
{
  checkpoint_values values;
  const char *name = hr_command_take_word(&argc, argv);
  int code = hr_options_parse(&checkpoint_command, argc, argv, &values, NULL);
  if (code >= 0)
    return code;
  if (!name || !values.shards) {
    fprintf(stderr, "hotrow checkpoint: wants a NAME, and --shards\n");
    return HR_EXIT_USAGE;
  }
  hotrow_client_options options = HOTROW_CLIENT_OPTIONS_INIT;
  options.shards = values.shards;
  options.timeout_ms = values.timeout_ms;
  if (getrandom(&options.job, sizeof options.job, 0) != (ssize_t)sizeof options.job) /* a job of its own */
    options.job = (uint64_t)getpid();
  hotrow_client *client;
  hotrow_status status = hotrow_client_open(&options, &client);
  if (status != HOTROW_OK)
    return fail("checkpoint", status);
  status = make_checkpoint(name, &values, client);
  code = status == HOTROW_OK ? 0 : fail("checkpoint", status);
  hotrow_client_close(client);
  return code;
}

/* ---- restore ---- */

typedef struct restore_values {
  const char *data_dir;
  uint64_t memory;
  uint32_t shards;
} restore_values;

#undef AT
#define AT(field) offsetof(restore_values, field)
static const hr_option restore_options[] = {
    {"data-dir", HR_OPTION_TEXT, AT(data_dir), NULL, 0, 0, NULL, "directory for the rows, without any so far"},
    {"shards", HR_OPTION_U32, AT(shards), "1", 1, HOTROW_SERVER_SHARDS_MAX, NULL, "shards that it is to be of"},
    {"memory", HR_OPTION_U64, AT(memory), "0", 0, 1e18, NULL,
     "bytes to be used meanwhile, also less than there is of rows; 0: no bound"},
};

static const hr_command restore_command = {
    .name = "restore",
    .summary = "make a data directory from a checkpoint, a save or another data directory",
    .details =
        "usage: hotrow restore DIR [options]\n"
        "DIR may be of any number of shards; a data directory must not be open in a server, and nothing in it is\n"
        "changed. Rows and clocks come along, sessions do not: what shares in a job is to be started again.\n"
        "hotrow serve --data-dir then starts from it. serve --load DIR starts from a checkpoint without this,\n"
        "and is what hotrow train --resume needs.",
    .options = restore_options,
    .option_count = sizeof restore_options / sizeof restore_options[0],
};

static void show_loading(void *context, uint32_t shard, uint64_t rows, uint64_t expected)
{
  (void)shard;
  hr_bar_show(context, rows, expected);
}

/* A server that loads, makes it durable, and ends. Its address is in the data directory's place and lives as short. */
static hotrow_status restore(const char *path, const restore_values *values)
{
  hr_bar bar;
  hotrow_server *server;
  hotrow_server_options options = HOTROW_SERVER_OPTIONS_INIT;
  options.bind = "tcp://127.0.0.1:*";
  options.load_path = path;
  options.data_dir = values->data_dir;
  options.shards = values->shards;
  options.memory_bytes = values->memory;
  options.progress = show_loading;
  options.context = &bar;
  hr_bar_begin(&bar, "restore");
  hotrow_status status = hotrow_server_start(&options, &server);
  if (status == HOTROW_OK)
    status = hotrow_server_drain(server);
  hr_bar_end(&bar);
  return status;
}

int hr_cmd_restore(int argc, char **argv)
{
  restore_values values;
  const char *path = hr_command_take_word(&argc, argv);
  int code = hr_options_parse(&restore_command, argc, argv, &values, NULL);
  if (code >= 0)
    return code;
  if (!path || !values.data_dir) {
    fprintf(stderr, "hotrow restore: wants a DIR, and --data-dir\n");
    return HR_EXIT_USAGE;
  }
  hotrow_status status = restore(path, &values);
  code = status == HOTROW_OK ? 0 : fail("restore", status);
  fflush(NULL);
  _exit(code); /* a database that failed is left open and must not be met again */
}
