/* Bytes on the wire and what copies lack, side by side: no cache, HET's protocol and settings, ours. */
#include "bench_comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

#include "options.h"

#define SHORT_BATCHES 4000u
#define FULL_BATCHES 15000u
#define NO_CACHE_BATCHES 40u /* every batch costs the same */
#define WIDE_DIM 64u         /* rows from here on take memory that must be shared out */
/* --full must fit into 20 GiB. Of wide rows the stream has fewer values, the caches fewer rows and the run fewer
 * batches, all by this factor, so that a row of a cache is asked for as often and caches fill as far. */
#define FULL_WIDE_SCALE 0.4

static const char *const default_configs = "no-cache,het-compat,default";
/* The frontier: the default's bounds tighter and wider; then, one by one, what it differs in from HET's protocol:
 * bounds of their own for pull and push, announcements, narrow types on the wire; and clocks that count steps. */
#define LIKE_DEFAULT ":w-tinylfu:i8:occurrences"
static const char *const frontier_configs =
    "announce:15/7:8" LIKE_DEFAULT ",announce:50/24:25" LIKE_DEFAULT ",announce:300/140:141" LIKE_DEFAULT
    ",announce:600/280:281" LIKE_DEFAULT ",probe:150/70:w-tinylfu:occurrences,announce:150/70:71:w-tinylfu:occurrences"
    ",announce:150/70:71:w-tinylfu:f16:occurrences,announce:100/30:32:w-tinylfu:i8";

static const char *const mode_names[] = {"default", "probe", "announce"};
static const char *const policy_names[] = {"lru", "lightlfu", "lfu", "w-tinylfu"};
static const char *const dtype_names[] = {"f32", "f16", "i8"};
static const char count_word[] = "occurrences";
#define NAME_COUNT(names) (sizeof(names) / sizeof *(names))

const char *comm_mode_name(const comm_config *config)
{
  return config->table.cache_row_count == 0 ? "none" : mode_names[config->table.mode];
}

const char *comm_policy_name(const comm_config *config)
{
  return policy_names[config->table.policy];
}

const char *comm_dtype_name(const comm_config *config)
{
  return dtype_names[config->table.wire_dtype];
}

static bool find_name(const char *const *names, size_t count, const char *text, size_t size, uint32_t *index_p)
{
  for (uint32_t i = 0; i < count; i++)
    if (strlen(names[i]) == size && memcmp(names[i], text, size) == 0) {
      *index_p = i;
      return true;
    }
  return false;
}

static bool is_bound(unsigned long long value)
{
  return value <= HOTROW_PUSH_BOUND_MAX;
}

/* One of the words behind the bounds: a step, a policy, a dtype, or what clocks count. */
static bool take_word(hotrow_table_options *table, const char *text, size_t size)
{
  uint32_t index;
  char *end;
  const unsigned long long number = strtoull(text, &end, 10);
  if (size > 0 && end == text + size && is_bound(number))
    table->announce_step = (uint32_t)number;
  else if (find_name(policy_names, NAME_COUNT(policy_names), text, size, &index))
    table->policy = (hotrow_cache_policy)index;
  else if (find_name(dtype_names, NAME_COUNT(dtype_names), text, size, &index))
    table->wire_dtype = (hotrow_dtype)index;
  else if (size == strlen(count_word) && memcmp(text, count_word, size) == 0)
    table->flags |= HOTROW_TABLE_COUNT_OCCURRENCES;
  else
    return false;
  return true;
}

static bool parse_bounds(hotrow_table_options *table, const char *text)
{
  uint32_t mode;
  char *end;
  const size_t mode_size = strcspn(text, ":");
  if (!find_name(mode_names, NAME_COUNT(mode_names), text, mode_size, &mode) || text[mode_size] != ':')
    return false;
  table->mode = (hotrow_mode)mode;
  const unsigned long long pull = strtoull(text + mode_size + 1, &end, 10);
  if (*end != '/')
    return false;
  const unsigned long long push = strtoull(end + 1, &end, 10);
  if (!is_bound(pull) || !is_bound(push) || (*end != '\0' && *end != ':'))
    return false;
  table->pull_bound = (uint32_t)pull;
  table->push_bound = (uint32_t)push;
  while (*end == ':') {
    const size_t size = strcspn(end + 1, ":");
    if (!take_word(table, end + 1, size))
      return false;
    end += 1 + size;
  }
  return true;
}

bool comm_add_config(const comm_config *common, const char *text, comm_job *jobs, size_t *count_p)
{
  comm_config config = *common;
  config.table.cache_row_count = 1;
  hotrow_table_options_preset(&config.table, HOTROW_PRESET_BOUNDED);
  if (strcmp(text, "no-cache") == 0) {
    config.table.cache_row_count = 0;
    hotrow_table_options_preset(&config.table, HOTROW_PRESET_EXACT);
    config.table.pull_bound = config.table.push_bound = 1; /* without a cache the same, but workers do not wait */
    config.batches = config.batches < NO_CACHE_BATCHES ? config.batches : NO_CACHE_BATCHES;
  } else if (strcmp(text, "het-compat") == 0) {
    hotrow_table_options_preset(&config.table, HOTROW_PRESET_HET_COMPAT);
  } else if (strcmp(text, "default") != 0) {
    config.table.announce_step = 0;
    config.table.wire_dtype = HOTROW_F32;
    config.table.policy = HOTROW_POLICY_LRU;
    config.table.flags = 0;
    if (!parse_bounds(&config.table, text)) {
      fprintf(stderr,
              "hotrow bench: --configs %s: must be no-cache, het-compat, default or MODE:PULL/PUSH and any of "
              ":STEP, :POLICY, :DTYPE, :occurrences, such as announce:300/30:75:lru:i8:occurrences\n",
              text);
      return false;
    }
  }
  if (*count_p == COMM_CONFIGS_MAX || strlen(text) >= COMM_NAME_BYTES) {
    fprintf(stderr, "hotrow bench: --configs: more than %u, or a name of %zu bytes\n", COMM_CONFIGS_MAX, strlen(text));
    return false;
  }
  snprintf(config.name, sizeof config.name, "%s", text);
  jobs[(*count_p)++] = (comm_job){.config = config};
  return true;
}

static bool add_configs(const comm_config *common, const char *list, comm_job *jobs, size_t *count_p)
{
  for (const char *at = list; *at != '\0';) {
    char text[COMM_NAME_BYTES];
    const size_t size = strcspn(at, ",");
    snprintf(text, sizeof text, "%.*s", (int)size, at);
    if (!comm_add_config(common, text, jobs, count_p))
      return false;
    at += size + (at[size] == ',');
  }
  return true;
}

typedef struct job_list {
  const bench_comm_options *options;
  comm_job *jobs;
  size_t count;
} job_list;

static bool add_dim(void *context, double dim)
{
  job_list *list = context;
  const bench_comm_options *o = list->options;
  comm_config common = {.table = HOTROW_TABLE_OPTIONS_INIT,
                        .dim = (uint32_t)dim,
                        .workers = o->workers,
                        .shards = o->shards,
                        .batch = o->batch,
                        .batches = o->batches > 0 ? o->batches
                                   : o->full      ? FULL_BATCHES
                                                  : SHORT_BATCHES,
                        .scale = o->scale > 0 ? (double)o->scale : 1,
                        .cache_share = (double)o->cache_percent / 100,
                        .seed = 1};
  if (o->full && o->scale == 0 && common.dim >= WIDE_DIM) {
    common.scale = FULL_WIDE_SCALE;
    common.batches = o->batches > 0 ? o->batches : (uint64_t)(FULL_WIDE_SCALE * FULL_BATCHES);
  }
  const char *configs = o->configs ? o->configs : default_configs;
  return add_configs(&common, configs, list->jobs, &list->count) &&
         (!o->full || add_configs(&common, frontier_configs, list->jobs, &list->count));
}

static void print_json(const comm_job *job)
{
  const comm_config *c = &job->config;
  const comm_result *r = &job->result;
  printf("{\"config\":\"%s\",\"dim\":%u,\"workers\":%u,\"shards\":%u,\"batch\":%u,\"batches\":%llu,\"scale\":%g,"
         "\"cache_rows\":%llu,\"mode\":\"%s\",\"pull_bound\":%u,\"push_bound\":%u,\"announce_step\":%u,"
         "\"policy\":\"%s\",\"wire_dtype\":\"%s\",\"bytes_per_sample\":%.1f,\"baseline_bytes_per_sample\":%.1f,"
         "\"reduction\":%.4f",
         c->name, c->dim, c->workers, c->shards, c->batch, (unsigned long long)c->batches, c->scale,
         (unsigned long long)(c->table.cache_row_count > 0 ? comm_cache_rows(c) : 0), comm_mode_name(c),
         c->table.pull_bound, c->table.push_bound, c->table.announce_step, comm_policy_name(c), comm_dtype_name(c),
         r->bytes_per_sample, r->baseline_bytes_per_sample, r->reduction);
  for (size_t k = 0; k < COMM_KIND_COUNT; k++)
    printf(",\"%s\":%.1f", comm_kind_names[k], r->bytes[k]);
  printf(",\"hit_rate\":%.4f,\"unseen_mean\":%.2f,\"unseen_max\":%llu,\"unseen_ticks_max\":%llu,\"seconds\":%.1f}\n",
         r->hit_rate, r->unseen.uses > 0 ? (double)r->unseen.sum / (double)r->unseen.uses : 0,
         (unsigned long long)r->unseen.max, (unsigned long long)r->unseen_ticks_max, r->seconds);
}

static void print_line(const comm_job *job)
{
  const comm_config *c = &job->config;
  const comm_result *r = &job->result;
  printf("%-30s dim %4u %-8s pull %5u push %4u step %4u %-9s %s  %8.0f bytes/sample, %.1f %% less  hits %.1f %%  "
         "unseen %.1f (max %llu, %llu of its own ticks)  %.0f s\n",
         c->name, c->dim, comm_mode_name(c), c->table.pull_bound, c->table.push_bound, c->table.announce_step,
         comm_policy_name(c), comm_dtype_name(c), r->bytes_per_sample, 100 * r->reduction, 100 * r->hit_rate,
         r->unseen.uses > 0 ? (double)r->unseen.sum / (double)r->unseen.uses : 0, (unsigned long long)r->unseen.max,
         (unsigned long long)r->unseen_ticks_max, r->seconds);
}

static void print_job(const comm_job *job, void *context)
{
  const bench_comm_options *options = context;
  (options->json ? print_json : print_line)(job);
  fflush(stdout);
}

int hr_bench_comm(const bench_comm_options *options)
{
  bench_comm_options mutable = *options;
  job_list list = {.options = options, .jobs = calloc(COMM_CONFIGS_MAX, sizeof *list.jobs)};
  if (list.jobs == NULL)
    return HR_EXIT_OS;
  int code = HR_EXIT_USAGE;
  if (bench_for_each("dims", options->dims, 1, HOTROW_DIM_MAX, add_dim, &list))
    code = comm_run_jobs(list.jobs, list.count, options->parallel, print_job, &mutable);
  if (code == 0 && options->html != NULL) {
    const hotrow_status status = comm_write_html(options->html, list.jobs, list.count);
    if (status != HOTROW_OK)
      fprintf(stderr, "hotrow bench: %s\n", hotrow_last_error());
    code = hr_exit_code(status);
  }
  free(list.jobs);
  return code;
}
