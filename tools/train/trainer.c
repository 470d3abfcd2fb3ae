/* The loop. One step of all ranks that this process is: all lookups, then each rank's forward, backward, push and step
 * in rank order, then the sum of the dense gradients and one update. That order is the same whether a process is one
 * rank or all of them, and with both bounds 0 so is every bit. */
#include "trainer.h"

#include <string.h>

#include <hr/clock.h>

#include "counter_random.h"
#include "progress.h"
#include "report.h"
#include "train_checkpoint.h"
#include "train_state.h"

#define READ_MORE 2u /* batches that the reader is ahead of the look-ahead */

/* The time since the last phase ended was this one's. */
static void end_phase(hr_trainer *trainer, hr_train_phase phase)
{
  const uint64_t now = hr_now_ns();
  trainer->phase_ns[phase] += now - trainer->phase_begin_ns;
  trainer->phase_begin_ns = now;
}

static hotrow_status lookup_all(hr_trainer *trainer)
{
  for (uint32_t i = 0; i < trainer->rank_count; i++)
    HOTROW_TRY(hr_trainer_lookup(trainer, &trainer->ranks[i]));
  return HOTROW_OK;
}

/* NCCL adds up dense gradients while the host pushes those of the rows. A ring does its work in the call that begins
 * it, so it comes behind the push, which the shards are to have early. */
static bool is_sum_early(const hr_trainer *trainer)
{
  return trainer->comm != NULL && hotrow_comm_get_kind(trainer->comm) == HOTROW_COMM_NCCL;
}

/* The sums from `first` on that are not begun yet. */
static hotrow_status begin_sum(hr_trainer *trainer, size_t first)
{
  const size_t count = trainer->sum_first - first;
  trainer->sum_first = first;
  return hotrow_comm_allreduce_begin(trainer->comm, trainer->ranks[0].sums.device + first, count);
}

/* In the midst of a backward pass: what is computed by now, and the loss behind it, is added up beside the rest of it.
 */
static void begin_late_sum(void *context)
{
  hr_trainer *trainer = context;
  trainer->sum_status = begin_sum(trainer, trainer->pass.late_first);
}

static hotrow_status compute_and_push(hr_trainer *trainer, hr_train_rank *rank)
{
  const hr_batch *batch = rank->batch;
  hr_dense *dense = trainer->dense;
  const float samples = (float)trainer->options.workers * (float)trainer->options.batch; /* of the global batch */
  const uint64_t step_key = hr_random_at(hr_random_at(trainer->options.seed, 1), trainer->step);
  hr_pass *pass = &trainer->pass;
  pass->rows = rank->rows.device;
  pass->count = batch->count;
  pass->param_grads = rank->sums.device;
  pass->dropout_key = hr_random_at(step_key, rank->rank) | 1;
  pass->on_late_grads = is_sum_early(trainer) ? begin_late_sum : NULL;
  trainer->sum_first = trainer->param_count + 1;
  trainer->sum_status = HOTROW_OK;

  HOTROW_TRY(hr_trainer_copy_in(trainer, batch));
  HOTROW_TRY(dense->kernels->event_record(rank->pass_begin, dense->stream));
  trainer->model->forward(pass);
  dense->call->logloss(dense, pass->logits, trainer->labels.device, batch->count, 1 / samples, trainer->logit_grads,
                       rank->sums.device + trainer->param_count);
  trainer->model->backward(pass);
  /* The penalty is l2/2 times the squared rows of each sample, in the same mean as the loss. */
  if (trainer->options.l2 > 0)
    dense->call->add_scaled(dense, trainer->options.l2 / samples, pass->rows,
                            batch->count * trainer->shape.field_count * hr_row_dim(&trainer->shape), pass->row_grads);
  HOTROW_TRY(dense->kernels->event_record(rank->pass_end, dense->stream));
  HOTROW_TRY(trainer->sum_status);
  if (is_sum_early(trainer))
    HOTROW_TRY(begin_sum(trainer, 0));
  end_phase(trainer, HR_PHASE_DENSE);
  HOTROW_TRY(hr_trainer_push(trainer, rank));
  const hotrow_status status = hotrow_step(rank->client, 0);
  end_phase(trainer, HR_PHASE_PUSH);
  return status;
}

/* Hands over the keys of the batches that are read by now, up to the look-ahead. What is not read yet is not waited
 * for: that costs time later and changes no value. */
static hotrow_status look_ahead(const hr_trainer *trainer, hr_train_rank *rank)
{
  while (rank->handed_count < trainer->options.lookahead) {
    const hr_batch *next = hr_reader_peek(rank->reader, rank->handed_count + 1);
    if (next == NULL)
      return HOTROW_OK;
    const hotrow_lookup_request request = hr_trainer_request(trainer, rank->table, next, rank->rows.host);
    HOTROW_TRY(hotrow_lookahead(rank->client, &request, 1));
    rank->handed_count++;
  }
  return HOTROW_OK;
}

static hotrow_status next_batch(hr_train_rank *rank)
{
  HOTROW_TRY(hr_reader_next(rank->reader, &rank->batch));
  if (rank->handed_count > 0)
    rank->handed_count--;
  return HOTROW_OK;
}

/* Both learning rates, as a share of what they began at: a straight line over the steps of the job. */
static float lr_scale(const hr_trainer *trainer)
{
  const double share = (double)trainer->step / (double)trainer->step_total;
  return (float)(1 - (1 - (double)trainer->options.lr_decay) * share);
}

/* The same for the ranks that this process plays. */
static hotrow_status sum_played(hr_trainer *trainer)
{
  const size_t count = trainer->param_count + 1;
  float *sums[HR_PLAYED_RANKS_MAX];
  hr_dense *dense = trainer->dense;
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    sums[i] = trainer->ranks[i].sums.host;
    HOTROW_TRY(hr_mirror_copy_out(&trainer->ranks[i].sums, dense, count));
  }
  HOTROW_TRY(dense->call->wait(dense));
  hotrow_comm_allreduce_local(sums, trainer->rank_count, count);
  return hr_mirror_copy_in(&trainer->ranks[0].sums, dense, count);
}

/* The sums of all ranks' dense gradients, on the device, and of their losses. */
static hotrow_status sum_dense(hr_trainer *trainer, float *loss_p)
{
  hr_dense *dense = trainer->dense;
  if (trainer->comm == NULL)
    HOTROW_TRY(sum_played(trainer));
  else if (!is_sum_early(trainer))
    HOTROW_TRY(begin_sum(trainer, 0));
  if (trainer->comm != NULL)
    HOTROW_TRY(hotrow_comm_wait(trainer->comm));
  HOTROW_TRY(dense->kernels->copy_out(loss_p, trainer->ranks[0].sums.device + trainer->param_count, sizeof *loss_p,
                                      dense->stream));
  HOTROW_TRY(dense->call->wait(dense));
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    float elapsed_ms;
    HOTROW_TRY(dense->kernels->event_elapsed_ms(trainer->ranks[i].pass_begin, trainer->ranks[i].pass_end, &elapsed_ms));
    trainer->pass_ms += (double)elapsed_ms;
  }
  return HOTROW_OK;
}

static hotrow_status train_step(hr_trainer *trainer)
{
  const float scale = lr_scale(trainer);
  float loss = 0;
  for (uint32_t i = 0; i < trainer->rank_count; i++)
    HOTROW_TRY(next_batch(&trainer->ranks[i]));
  end_phase(trainer, HR_PHASE_READ);
  HOTROW_TRY(lookup_all(trainer));
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    HOTROW_TRY(look_ahead(trainer, &trainer->ranks[i]));
    HOTROW_TRY(hotrow_table_set_lr_scale(trainer->ranks[i].table, scale));
  }
  end_phase(trainer, HR_PHASE_LOOKUP);
  for (uint32_t i = 0; i < trainer->rank_count; i++)
    HOTROW_TRY(compute_and_push(trainer, &trainer->ranks[i]));
  HOTROW_TRY(sum_dense(trainer, &loss));
  end_phase(trainer, HR_PHASE_SUM);
  hr_dense_adam_update(&trainer->adam, trainer->options.dense_lr * scale, trainer->ranks[0].sums.device,
                       trainer->params);
  end_phase(trainer, HR_PHASE_DENSE);
  trainer->epoch_loss += (double)loss;
  trainer->loss_sum += (double)loss;
  trainer->epoch_samples += (uint64_t)trainer->options.workers * trainer->options.batch;
  trainer->step++;
  return HOTROW_OK;
}

/* Scores validation and test, and keeps both if validation is the best so far. */
static hotrow_status evaluate(hr_trainer *trainer, hr_progress *progress)
{
  hr_score valid, test;
  HOTROW_TRY(hr_trainer_flush(trainer));
  HOTROW_TRY(hr_evaluate(trainer, trainer->valid_data, &valid));
  HOTROW_TRY(hr_evaluate(trainer, trainer->test_data, &test));
  trainer->worse_count++;
  if (trainer->evaluation_count++ == 0 || valid.auc > trainer->valid.auc) {
    trainer->valid = valid;
    trainer->test = test;
    trainer->train_logloss = trainer->epoch_loss / (double)trainer->epoch_samples;
    trainer->best_step = trainer->step;
    trainer->worse_count = 0;
  }
  hr_progress_evaluation(progress, trainer, &valid, &test);
  hr_history_add_scores(&trainer->history, trainer->step, &valid, &test);
  return HOTROW_OK;
}

/* Is a point of evaluation reached when `done` of an epoch's `total` steps are done? The last step is one. */
static bool is_evaluation_due(uint64_t done, uint64_t total, uint32_t evaluations)
{
  return done * evaluations / total != (done - 1) * evaluations / total;
}

static bool is_over(const hr_trainer *trainer)
{
  const hr_train_options *options = &trainer->options;
  return (options->steps > 0 && trainer->step >= options->steps) ||
         (options->patience > 0 && trainer->worse_count >= options->patience);
}

static hotrow_status open_readers(hr_trainer *trainer)
{
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    const hr_reader_options options = {.dataset = trainer->ranks[i].data,
                                       .batch_size = trainer->options.batch,
                                       .rank = trainer->ranks[i].rank,
                                       .world_size = trainer->options.workers,
                                       .depth = trainer->options.lookahead + 1 + READ_MORE,
                                       .epoch = trainer->epoch,
                                       .first_step = trainer->epoch_step};
    HOTROW_TRY(hr_reader_open(&options, &trainer->ranks[i].reader));
  }
  return HOTROW_OK;
}

static void close_readers(hr_trainer *trainer)
{
  for (uint32_t i = 0; i < trainer->rank_count; i++) {
    hr_reader_close(trainer->ranks[i].reader);
    trainer->ranks[i].reader = NULL;
    trainer->ranks[i].batch = NULL;
    trainer->ranks[i].handed_count = 0;
  }
}

/* Rank 0's counters stand for those of the others. */
static void add_history(hr_trainer *trainer)
{
  if (trainer->step % hr_history_interval(trainer->step_total) != 0)
    return;
  hotrow_client_stats stats;
  hotrow_client_get_stats(trainer->ranks[0].client, &stats);
  hr_history_add_step(&trainer->history, trainer->step, trainer->loss_sum, trainer->train_ns, &stats);
}

static hotrow_status train_epoch(hr_trainer *trainer, hr_progress *progress)
{
  HOTROW_TRY(open_readers(trainer));
  const uint64_t step_count = hr_reader_step_count(trainer->ranks[0].reader);
  if (step_count == 0)
    return hr_fail(HOTROW_ERR_INVALID, "%llu training samples do not fill one batch of %u for each of %u workers",
                   (unsigned long long)hr_dataset_get_info(trainer->ranks[0].data)->sample_count,
                   trainer->options.batch, trainer->options.workers);
  const uint64_t most = step_count * trainer->options.epochs, limit = trainer->options.steps;
  trainer->step_total = limit > 0 && limit < most ? limit : most;
  while (trainer->epoch_step < step_count && !is_over(trainer)) {
    const uint64_t begin_ns = trainer->phase_begin_ns = hr_now_ns();
    HOTROW_TRY(train_step(trainer));
    trainer->epoch_step++;
    trainer->train_ns += trainer->phase_begin_ns - begin_ns;
    hr_progress_step(progress, trainer, trainer->epoch_step, step_count);
    add_history(trainer);
    if (is_evaluation_due(trainer->epoch_step, step_count, trainer->options.evaluations))
      HOTROW_TRY(evaluate(trainer, progress));
    HOTROW_TRY(hr_checkpoint_step(trainer));
  }
  close_readers(trainer);
  return HOTROW_OK;
}

static hotrow_status run(hr_trainer *trainer)
{
  const hr_train_options *options = &trainer->options;
  hr_progress progress;
  hr_progress_init(&progress, trainer);
  while (trainer->epoch < options->epochs && !is_over(trainer)) {
    HOTROW_TRY(train_epoch(trainer, &progress));
    trainer->epoch++;
    trainer->epoch_step = 0;
    if (trainer->epoch < options->epochs && !is_over(trainer)) { /* the last epoch's are for the last evaluation */
      trainer->epoch_loss = 0;
      trainer->epoch_samples = 0;
    }
  }
  if (trainer->evaluation_count == 0)
    HOTROW_TRY(evaluate(trainer, &progress));
  hr_progress_end(&progress);
  HOTROW_TRY(hr_trainer_flush(trainer));
  HOTROW_TRY(hr_report(trainer)); /* the last thing all ranks do together: nobody waits while rank 0 writes files */
  if (trainer->ranks[0].rank == 0 && options->save != NULL)
    HOTROW_TRY(hotrow_save(trainer->ranks[0].client, options->save, 0));
  if (trainer->ranks[0].rank == 0 && options->dump != NULL)
    HOTROW_TRY(hr_dump(trainer, options->dump));
  return hr_checkpoint_last(trainer);
}

/* What cannot be written is said before hours of training. */
static hotrow_status check_files(const hr_train_options *options)
{
  if (options->dump != NULL)
    HOTROW_TRY(hr_dump_check(options->dump));
  return options->report != NULL ? hr_report_check(options->report) : HOTROW_OK;
}

hotrow_status hr_train(const hr_train_options *options)
{
  hr_trainer trainer = {.options = *options};
  hotrow_status status = options->rank == 0 ? check_files(options) : HOTROW_OK;
  if (status == HOTROW_OK)
    status = hr_trainer_open(&trainer);
  if (status == HOTROW_OK && options->resume)
    status = hr_checkpoint_resume(&trainer);
  if (status == HOTROW_OK)
    status = run(&trainer);
  hr_trainer_close(&trainer);
  return status;
}
