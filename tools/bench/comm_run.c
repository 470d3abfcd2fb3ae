#include "comm_run.h"

#include <stdlib.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/memory.h>
#include <hr/status.h>

#include "comm_link.h"
#include "criteo_shape_constants.h"
#include "dataset.h"

#define WORKERS_MAX 64u
#define GRADIENT 1e-4f
#define LEARNING_RATE 0.01f

const char *const comm_kind_names[COMM_KIND_COUNT] = {"miss", "stale", "push", "announce", "probe", "overhead"};

typedef struct run_state {
  const comm_config *config;
  comm_cluster *cluster;
  comm_oracle *oracle;
  hr_dataset *data;
  hr_batch batch;
  size_t batch_keys;
  hotrow_client *clients[WORKERS_MAX];
  hotrow_table *tables[WORKERS_MAX];
  float *rows, *grads;
} run_state;

/* What is counted from the measured half's begin on. */
typedef struct counters {
  uint64_t bytes[COMM_KIND_COUNT], total_bytes, unique_keys, hits;
} counters;

uint64_t comm_cache_rows(const comm_config *config)
{
  double rows = 0;
  for (uint32_t f = 0; f < HR_SHAPE_FIELD_COUNT; f++)
    rows += (double)hr_shape_cardinality(&hr_shape_fields[f], config->scale);
  return (uint64_t)(rows * config->cache_share);
}

static hotrow_status open_worker(run_state *run, uint32_t worker)
{
  const comm_config *config = run->config;
  hotrow_client_options client = HOTROW_CLIENT_OPTIONS_INIT;
  client.shards = comm_cluster_shards(run->cluster);
  client.job = 1;
  client.rank = worker;
  client.world_size = config->workers;
  client.transport = comm_cluster_transport(run->cluster, worker);
  client.observe = comm_oracle_observe;
  client.observe_context = comm_oracle_context(run->oracle, worker);
  HOTROW_TRY(hotrow_client_open(&client, &run->clients[worker]));
  hotrow_table_options table = config->table;
  table.name = "comm";
  table.seed = config->seed;
  table.dim = config->dim;
  table.optimizer.kind = HOTROW_SGD;
  table.optimizer.lr = LEARNING_RATE;
  table.cache_row_count = table.cache_row_count > 0 ? comm_cache_rows(config) : 0;
  return hotrow_table_create(run->clients[worker], &table, &run->tables[worker]);
}

static hotrow_status open_run(run_state *run)
{
  const comm_config *config = run->config;
  const uint64_t samples = config->batches * config->workers * config->batch;
  /* The training split is 8 of 10 samples. */
  const hr_dataset_options options = {
      .seed = config->seed, .sample_count = samples / 8 * 10 + 10, .split = HR_TRAIN, .shape_scale = config->scale};
  HOTROW_TRY(hr_dataset_open(&options, &run->data));
  const hr_dataset_info *info = hr_dataset_get_info(run->data);
  HOTROW_TRY(hr_batch_init(&run->batch, info, config->batch));
  run->batch_keys = (size_t)config->batch * info->field_count;
  HOTROW_TRY(hr_alloc(run->batch_keys * config->dim, sizeof *run->rows, "rows", (void **)&run->rows));
  HOTROW_TRY(hr_alloc(run->batch_keys * config->dim, sizeof *run->grads, "gradients", (void **)&run->grads));
  for (size_t i = 0; i < run->batch_keys * config->dim; i++)
    run->grads[i] = GRADIENT * (float)(1 + i % 7);
  HOTROW_TRY(comm_oracle_open(config->workers, &run->oracle));
  HOTROW_TRY(comm_cluster_open(config->shards, config->workers, &run->cluster));
  for (uint32_t w = 0; w < config->workers; w++)
    HOTROW_TRY(open_worker(run, w));
  return HOTROW_OK;
}

static void close_run(run_state *run)
{
  for (uint32_t w = 0; w < WORKERS_MAX; w++)
    hotrow_client_close(run->clients[w]);
  comm_cluster_close(run->cluster);
  comm_oracle_close(run->oracle);
  hr_batch_fini(&run->batch);
  hr_dataset_close(run->data);
  free(run->rows);
  free(run->grads);
}

static hotrow_status train_batch(run_state *run, uint32_t worker)
{
  HOTROW_TRY(hr_dataset_read(run->data, &run->batch));
  HOTROW_ASSERT(run->batch.count == run->batch.capacity);
  hotrow_lookup_request lookup = HOTROW_LOOKUP_REQUEST_INIT;
  lookup.table = run->tables[worker];
  lookup.keys = run->batch.keys;
  lookup.key_count = run->batch_keys;
  lookup.out = run->rows;
  HOTROW_TRY(hotrow_lookup(run->clients[worker], &lookup, 1));
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  push.table = run->tables[worker];
  push.keys = run->batch.keys;
  push.key_count = run->batch_keys;
  push.grads = run->grads;
  HOTROW_TRY(hotrow_push(run->clients[worker], &push, 1));
  comm_oracle_made(run->oracle, worker, run->batch.keys, run->batch_keys);
  return hotrow_step(run->clients[worker], 0);
}

static counters get_counters(const run_state *run, uint64_t *unseen_ticks_max_p)
{
  counters sum = {.total_bytes = comm_cluster_bytes(run->cluster)};
  *unseen_ticks_max_p = 0;
  for (uint32_t w = 0; w < run->config->workers; w++) {
    hotrow_client_stats stats;
    hotrow_client_get_stats(run->clients[w], &stats);
    sum.bytes[COMM_MISS] += stats.bytes_miss;
    sum.bytes[COMM_STALE] += stats.bytes_stale;
    sum.bytes[COMM_PUSH] += stats.bytes_push;
    sum.bytes[COMM_ANNOUNCE] += stats.bytes_announce;
    sum.bytes[COMM_PROBE] += stats.bytes_probe;
    sum.bytes[COMM_OVERHEAD] += stats.bytes_overhead;
    sum.unique_keys += stats.unique_keys;
    sum.hits += stats.hits;
    *unseen_ticks_max_p = stats.unseen_max > *unseen_ticks_max_p ? stats.unseen_max : *unseen_ticks_max_p;
  }
  return sum;
}

static hotrow_status run_batches(run_state *run, uint64_t first, uint64_t last, volatile uint64_t *batches_done_p)
{
  for (uint64_t b = first; b < last; b++, ++*batches_done_p)
    for (uint32_t w = 0; w < run->config->workers; w++)
      HOTROW_TRY(train_batch(run, w));
  return HOTROW_OK;
}

/* HOTROW_ERR_INTERNAL: the clients' counters do not add up to the bytes that went over the link. */
static hotrow_status fill_result(const run_state *run, const counters *begin, uint64_t measured_batches,
                                 comm_result *result)
{
  const comm_config *config = run->config;
  const double samples = (double)(measured_batches * config->workers * config->batch);
  const counters end = get_counters(run, &result->unseen_ticks_max);
  const uint64_t bytes = end.total_bytes - begin->total_bytes;
  uint64_t sum = 0;
  for (size_t k = 0; k < COMM_KIND_COUNT; k++) {
    sum += end.bytes[k] - begin->bytes[k];
    result->bytes[k] = (double)(end.bytes[k] - begin->bytes[k]) / samples;
  }
  if (sum != bytes)
    return hr_fail(HOTROW_ERR_INTERNAL, "%s: the clients count %llu bytes and the link %llu", config->name,
                   (unsigned long long)sum, (unsigned long long)bytes);
  const double unique_keys = (double)(end.unique_keys - begin->unique_keys);
  result->bytes_per_sample = (double)bytes / samples;
  result->baseline_bytes_per_sample = unique_keys / samples * 2 * (8 + 4 * (double)config->dim);
  result->reduction = 1 - result->bytes_per_sample / result->baseline_bytes_per_sample;
  result->hit_rate = (double)(end.hits - begin->hits) / unique_keys;
  result->unseen = *comm_oracle_unseen(run->oracle);
  return HOTROW_OK;
}

hotrow_status comm_run(const comm_config *config, volatile uint64_t *batches_done_p, comm_result *result_p)
{
  HOTROW_ASSERT(config->workers <= WORKERS_MAX);
  run_state run = {.config = config};
  const uint64_t begin_ns = hr_now_ns(), warm_batches = config->batches / 2;
  counters begin = {0};
  comm_result result = {0};
  hotrow_status status = open_run(&run);
  if (status == HOTROW_OK)
    status = run_batches(&run, 0, warm_batches, batches_done_p);
  if (status == HOTROW_OK) {
    begin = get_counters(&run, &result.unseen_ticks_max);
    comm_oracle_restart(run.oracle);
    status = run_batches(&run, warm_batches, config->batches, batches_done_p);
  }
  if (status == HOTROW_OK)
    status = fill_result(&run, &begin, config->batches - warm_batches, &result);
  close_run(&run);
  result.seconds = 1e-9 * (double)(hr_now_ns() - begin_ns);
  if (status == HOTROW_OK)
    *result_p = result;
  return status;
}
