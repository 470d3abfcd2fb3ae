/* Opening and closing what a training job holds. */
#include <cblas.h>
#include <stdlib.h>

#include <hr/log.h>
#include <hr/memory.h>

#include "counter_random.h"
#include "device_choice.h"
#include "train_state.h"

#define TABLE_NAME "train"

const char *const hr_train_optimizer_names[] = {"adagrad", "rowwise-adagrad", "sgd",  "momentum", "adam",
                                                "adamw",   "rowwise-adam",    "ftrl", "lamb",     NULL};
static const hotrow_optimizer_kind optimizer_kinds[] = {
    HOTROW_ADAGRAD, HOTROW_ROWWISE_ADAGRAD, HOTROW_SGD,  HOTROW_MOMENTUM, HOTROW_ADAM,
    HOTROW_ADAMW,   HOTROW_ROWWISE_ADAM,    HOTROW_FTRL, HOTROW_LAMB};

/* In the order of the option's names. */
static const hotrow_dtype storage_dtypes[] = {HOTROW_F32, HOTROW_F16, HOTROW_BF16};

static hotrow_status parse_sizes(const char *what, const char *text, uint32_t sizes[HR_HIDDEN_MAX], uint32_t *count_p)
{
  const char *rest = text;
  uint32_t count = 0;
  while (*rest != '\0') {
    char *end;
    unsigned long size = strtoul(rest, &end, 10);
    if (end == rest || (*end != '\0' && *end != ',') || size == 0 || size > 65536)
      return hr_fail(HOTROW_ERR_INVALID, "%s \"%s\": want sizes from 1 to 65536 with commas between", what, text);
    if (count == HR_HIDDEN_MAX)
      return hr_fail(HOTROW_ERR_LIMIT, "%s \"%s\": at most %u", what, text, HR_HIDDEN_MAX);
    sizes[count++] = (uint32_t)size;
    rest = *end == ',' ? end + 1 : end;
  }
  *count_p = count;
  return HOTROW_OK;
}

static hotrow_status open_split(const hr_trainer *trainer, hr_split split, hr_dataset **data_p)
{
  const hr_dataset_options options = {.path = trainer->options.data,
                                      .seed = trainer->options.seed,
                                      .sample_count = trainer->options.data == NULL ? trainer->options.samples : 0,
                                      .split = split};
  return hr_dataset_open(&options, data_p);
}

static hotrow_status make_shape(hr_trainer *trainer)
{
  const hr_dataset_info *info = hr_dataset_get_info(trainer->valid_data);
  hr_train_apply_preset(&trainer->options, info->name);
  const hr_train_options *options = &trainer->options;
  trainer->shape = (hr_model_shape){.field_count = info->field_count,
                                    .numeric_count = info->numeric_count,
                                    .dim = options->dim,
                                    .first_order = trainer->model->first_order,
                                    .cross_count = options->cross_layers,
                                    .cross_rank = options->cross_rank,
                                    .is_cross_stacked = options->cross_stacked,
                                    .batch_capacity = options->batch,
                                    .dropout = options->dropout,
                                    .embedding_dropout = options->embedding_dropout};
  hr_model_shape *shape = &trainer->shape;
  HOTROW_TRY(parse_sizes("hidden layers", options->hidden, shape->hidden, &shape->hidden_count));
  HOTROW_TRY(parse_sizes("bottom layers", options->bottom, shape->bottom, &shape->bottom_count));
  if ((uint64_t)options->batch * info->field_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "batch %u of %u fields: at most %u keys in one lookup", options->batch,
                   info->field_count, HOTROW_LOOKUP_KEYS_MAX);
  return HOTROW_OK;
}

/* Gradients of a mean shrink with the global batch; the accumulator is given for one sample and shrinks alike, so
 * that it damps rare keys the same at every batch size. */
static float initial_state(const hr_train_options *options)
{
  const float samples = (float)options->batch * (float)options->workers;
  return options->accumulator / (samples * samples);
}

/* The preset, and what is said beside it. */
static void set_staleness(const hr_train_options *options, hotrow_table_options *table)
{
  hotrow_table_options_preset(table, (hotrow_preset)options->preset);
  if (options->mode > 0)
    table->mode = (hotrow_mode)options->mode;
  if (options->cache_policy > 0)
    table->policy = (hotrow_cache_policy)(options->cache_policy - 1);
  if (options->wire_dtype > 0)
    table->wire_dtype = (hotrow_dtype)(options->wire_dtype - 1);
  if (options->ticks > 0)
    table->flags =
        (table->flags & ~HOTROW_TABLE_COUNT_OCCURRENCES) | (options->ticks == 2 ? HOTROW_TABLE_COUNT_OCCURRENCES : 0);
  const bool has_other_bound = options->pull_bound >= 0;
  if (has_other_bound)
    table->pull_bound = (uint32_t)options->pull_bound;
  if (options->push_bound >= 0)
    table->push_bound = (uint32_t)options->push_bound;
  if (options->announce_step >= 0 || has_other_bound) /* a step goes with its bound */
    table->announce_step = options->announce_step > 0 ? (uint32_t)options->announce_step : 0;
}

/* Where a batch's keys pass on their way to the device. */
static hotrow_status open_keys(hr_trainer *trainer, hr_train_rank *rank)
{
  const hotrow_kernels *kernels = trainer->dense->kernels;
  const size_t size = trainer->shape.batch_capacity * trainer->shape.field_count * sizeof *rank->keys_here;
  if (kernels->device == HOTROW_CPU)
    return HOTROW_OK;
  HOTROW_TRY(kernels->alloc_host(size, (void **)&rank->keys_here));
  return kernels->alloc(size, (void **)&rank->keys_there);
}

static hotrow_status open_rank(hr_trainer *trainer, hr_train_rank *rank)
{
  const hr_train_options *options = &trainer->options;
  const hr_model_shape *shape = &trainer->shape;
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = options->shards;
  client_options.job = options->job;
  client_options.rank = rank->rank;
  client_options.world_size = options->workers;
  client_options.timeout_ms = options->timeout_ms;
  client_options.device = trainer->dense->kernels->device;
  client_options.lookup_keys_max = shape->batch_capacity * shape->field_count;
  HOTROW_TRY(hotrow_client_open(&client_options, &rank->client));

  hotrow_table_options table = HOTROW_TABLE_OPTIONS_INIT;
  table.name = TABLE_NAME;
  table.seed = options->seed;
  table.optimizer.kind = optimizer_kinds[options->optimizer];
  table.optimizer.lr = options->lr;
  table.optimizer.weight_decay = options->weight_decay;
  table.optimizer.l1 = options->l1;
  if (table.optimizer.kind == HOTROW_ADAGRAD || table.optimizer.kind == HOTROW_ROWWISE_ADAGRAD)
    table.optimizer.initial_state = initial_state(options);
  table.initializer.kind = HOTROW_INIT_UNIFORM;
  table.initializer.scale = options->init_scale;
  table.dim = hr_row_dim(shape);
  table.storage_dtype = storage_dtypes[options->storage_dtype];
  table.cache_row_count = options->cache_rows;
  table.admit_count = options->admit_count;
  table.admit_probability = options->admit_probability;
  table.steps_to_live = options->steps_to_live;
  table.l2_weight_threshold = options->l2_weight_threshold;
  table.row_count_max = options->row_count_max;
  table.eviction = (hotrow_eviction)options->eviction;
  set_staleness(options, &table);
  trainer->pull_bound = table.pull_bound;
  trainer->push_bound = table.push_bound;
  HOTROW_TRY(hotrow_table_create(rank->client, &table, &rank->table));

  HOTROW_TRY(open_split(trainer, HR_TRAIN, &rank->data));
  HOTROW_TRY(hr_mirror_init(&rank->rows, trainer->dense, shape->batch_capacity * shape->field_count, hr_row_dim(shape),
                            "rows of a batch"));
  HOTROW_TRY(open_keys(trainer, rank));
  HOTROW_TRY(trainer->dense->kernels->event_create_timed(&rank->pass_begin));
  HOTROW_TRY(trainer->dense->kernels->event_create_timed(&rank->pass_end));
  return hr_mirror_init(&rank->sums, trainer->dense, trainer->param_count + 1, 1, "dense gradients");
}

static hotrow_status open_viewer(hr_trainer *trainer)
{
  hotrow_client_options client_options = HOTROW_CLIENT_OPTIONS_INIT;
  client_options.shards = trainer->options.shards;
  client_options.job = trainer->options.job;
  client_options.timeout_ms = trainer->options.timeout_ms;
  client_options.read_only = 1;
  HOTROW_TRY(hotrow_client_open(&client_options, &trainer->viewer));
  hotrow_table_options table = HOTROW_TABLE_OPTIONS_INIT;
  table.name = TABLE_NAME;
  return hotrow_table_open(trainer->viewer, &table, &trainer->viewer_table);
}

/* In the order of the option's names. */
static const hotrow_comm_kind comm_kinds[] = {HOTROW_COMM_AUTO, HOTROW_COMM_RING, HOTROW_COMM_NCCL};

static void tend_client(void *context)
{
  hotrow_tend(context);
}

static hotrow_status open_ranks(hr_trainer *trainer)
{
  const hr_train_options *options = &trainer->options;
  const bool is_all = options->play_ranks || options->workers == 1;
  void *ranks;
  HOTROW_TRY(hr_alloc(is_all ? options->workers : 1, sizeof *trainer->ranks, "ranks", &ranks));
  trainer->ranks = ranks;
  trainer->rank_count = is_all ? options->workers : 1;
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    trainer->ranks[i].rank = is_all ? i : options->rank;
    HOTROW_TRY(open_rank(trainer, &trainer->ranks[i]));
  }
  HOTROW_TRY(open_viewer(trainer));
  if (is_all)
    return HOTROW_OK;
  hotrow_comm_options comm_options = HOTROW_COMM_OPTIONS_INIT;
  comm_options.client = trainer->ranks[0].client;
  comm_options.rank = options->rank;
  comm_options.world_size = options->workers;
  comm_options.timeout_ms = options->timeout_ms;
  comm_options.while_waiting = tend_client; /* of one thread, as both are */
  comm_options.context = trainer->ranks[0].client;
  comm_options.kind = comm_kinds[options->comm];
  comm_options.device = trainer->dense->kernels->device;
  comm_options.stream = trainer->dense->stream;
  if (trainer->pull_bound == 0 && trainer->push_bound == 0) /* exact: every bit is that of one process */
    comm_options.flags = HOTROW_COMM_RANK_ORDER;
  return hotrow_comm_open(&comm_options, &trainer->comm);
}

/* The same on every rank: a function of the seed. */
static hotrow_status init_params(hr_trainer *trainer)
{
  void *memory;
  HOTROW_TRY(hr_alloc(trainer->param_count, sizeof(float), "first dense parameters", &memory));
  trainer->model->init(&trainer->shape, hr_random_at(trainer->options.seed, 0), memory);
  const hotrow_status status = trainer->dense->kernels->copy_in(
      trainer->params, memory, trainer->param_count * sizeof(float), trainer->dense->stream);
  free(memory);
  return status;
}

static hotrow_status open_model(hr_trainer *trainer)
{
  const hr_model_shape *shape = &trainer->shape;
  const size_t batch = shape->batch_capacity;
  hr_dense *dense = trainer->dense;
  hr_pass *pass = &trainer->pass;
  HOTROW_TRY(hr_dense_alloc(dense, trainer->param_count, 1, "dense parameters", &trainer->params));
  HOTROW_TRY(hr_dense_adam_init(&trainer->adam, dense, trainer->param_count));
  HOTROW_TRY(hr_dense_alloc(dense, trainer->model->work_count(shape), 1, "hidden values", &pass->work));
  HOTROW_TRY(hr_mirror_init(&trainer->numeric, dense, batch, shape->numeric_count, "numeric values"));
  HOTROW_TRY(hr_mirror_init(&trainer->labels, dense, batch, 1, "labels"));
  HOTROW_TRY(hr_mirror_init(&trainer->logits, dense, batch, 1, "logits"));
  HOTROW_TRY(hr_dense_alloc(dense, batch, 1, "gradients of logits", &trainer->logit_grads));
  HOTROW_TRY(
      hr_mirror_init(&trainer->row_grads, dense, batch * shape->field_count, hr_row_dim(shape), "gradients of rows"));
  *pass = (hr_pass){.dense = dense,
                    .shape = shape,
                    .params = trainer->params,
                    .numeric = trainer->numeric.device,
                    .work = pass->work,
                    .logits = trainer->logits.device,
                    .logit_grads = trainer->logit_grads,
                    .row_grads = trainer->row_grads.device,
                    .context = trainer,
                    .late_first = trainer->model->late_params(shape)};
  return init_params(trainer);
}

static hotrow_status open_device(hr_trainer *trainer)
{
  const hr_train_options *options = &trainer->options;
  const uint32_t local_rank = options->local_rank >= 0 ? (uint32_t)options->local_rank : options->rank;
  const hotrow_kernels *kernels;
  hr_device_choice choice;
  HOTROW_TRY(hr_device_parse(options->device, &choice));
  HOTROW_TRY(hotrow_kernels_get(choice.device, &kernels));
  const uint32_t count = kernels->device_count(), index = hr_device_choose(&choice, local_rank, count);
  HOTROW_TRY(kernels->device_use(index));
  if (choice.device != HOTROW_CPU)
    hr_log(HOTROW_LOG_INFO, "rank %u uses device %s:%u of %u", options->rank, kernels->name, index, count);
  return hr_dense_open(choice.device, &trainer->dense);
}

hotrow_status hr_trainer_open(hr_trainer *trainer)
{
  /* One thread: the ranks are the parallelism, and sums that do not depend on the machine's core count. */
  openblas_set_num_threads(1);
  trainer->model = hr_model_find(hr_model_names[trainer->options.model]);
  HOTROW_TRY(open_device(trainer));
  HOTROW_TRY(open_split(trainer, HR_VALID, &trainer->valid_data));
  HOTROW_TRY(open_split(trainer, HR_TEST, &trainer->test_data));
  HOTROW_TRY(make_shape(trainer));
  trainer->param_count = trainer->model->param_count(&trainer->shape);
  HOTROW_TRY(open_model(trainer));
  return open_ranks(trainer);
}

void hr_trainer_close(hr_trainer *trainer)
{
  hotrow_comm_close(trainer->comm);
  hotrow_client_close(trainer->viewer);
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    hr_train_rank *rank = &trainer->ranks[i];
    hotrow_client_close(rank->client);
    if (rank->reader != NULL)
      hr_reader_close(rank->reader);
    if (rank->data != NULL)
      hr_dataset_close(rank->data);
    if (rank->keys_here != NULL)
      trainer->dense->kernels->free_host(rank->keys_here);
    if (rank->keys_there != NULL)
      trainer->dense->kernels->free(rank->keys_there);
    trainer->dense->kernels->event_destroy(rank->pass_begin);
    trainer->dense->kernels->event_destroy(rank->pass_end);
    hr_mirror_fini(&rank->rows, trainer->dense);
    hr_mirror_fini(&rank->sums, trainer->dense);
  }
  free(trainer->ranks);
  hr_dense_adam_fini(&trainer->adam);
  hr_dense_free(trainer->dense, trainer->params);
  hr_dense_free(trainer->dense, trainer->pass.work);
  hr_mirror_fini(&trainer->numeric, trainer->dense);
  hr_mirror_fini(&trainer->labels, trainer->dense);
  hr_mirror_fini(&trainer->logits, trainer->dense);
  hr_mirror_fini(&trainer->row_grads, trainer->dense);
  hr_dense_free(trainer->dense, trainer->logit_grads);
  hr_dense_close(trainer->dense);
  if (trainer->valid_data != NULL)
    hr_dataset_close(trainer->valid_data);
  if (trainer->test_data != NULL)
    hr_dataset_close(trainer->test_data);
}
