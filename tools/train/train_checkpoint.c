#include "train_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hr/memory.h>

#define BLOB_MAGIC "HRTRAIN"
#define BLOB_VERSION 1u
#define MODEL_NAME_BYTES 32u

/* The blob: this, then param_count floats each of parameters, first and second means. Little-endian, no padding. */
typedef struct saved_job {
  char magic[8];
  uint64_t version;
  /* What must be the same in the job that resumes. */
  char model[MODEL_NAME_BYTES];
  uint64_t workers, batch, seed, sample_count, param_count;
  /* Where it was. */
  uint64_t step, epoch, epoch_step;
  uint64_t epoch_samples, evaluation_count, best_step, worse_count;
  double epoch_loss, loss_sum, train_logloss;
  double first_left, second_left;
  double scores[4]; /* auc, logloss of validation, then of test, at the best point */
} saved_job;

_Static_assert(sizeof(saved_job) == 8 * 23 + MODEL_NAME_BYTES, "no padding: it is stored as it is");

static size_t blob_size(const hr_trainer *trainer)
{
  return sizeof(saved_job) + 3 * trainer->param_count * sizeof(float);
}

/* ---- writing ---- */

static saved_job describe(const hr_trainer *trainer)
{
  saved_job job = {.magic = BLOB_MAGIC,
                   .version = BLOB_VERSION,
                   .workers = trainer->options.workers,
                   .batch = trainer->options.batch,
                   .seed = trainer->options.seed,
                   .sample_count = hr_dataset_get_info(trainer->ranks[0].data)->sample_count,
                   .param_count = trainer->param_count,
                   .step = trainer->step,
                   .epoch = trainer->epoch,
                   .epoch_step = trainer->epoch_step,
                   .epoch_samples = trainer->epoch_samples,
                   .evaluation_count = trainer->evaluation_count,
                   .best_step = trainer->best_step,
                   .worse_count = trainer->worse_count,
                   .epoch_loss = trainer->epoch_loss,
                   .loss_sum = trainer->loss_sum,
                   .train_logloss = trainer->train_logloss,
                   .first_left = trainer->adam.first_left,
                   .second_left = trainer->adam.second_left,
                   .scores = {trainer->valid.auc, trainer->valid.logloss, trainer->test.auc, trainer->test.logloss}};
  snprintf(job.model, sizeof job.model, "%s", trainer->model->name);
  return job;
}

static hotrow_status make_blob(const hr_trainer *trainer, void **blob_p)
{
  const size_t bytes = trainer->param_count * sizeof(float);
  const saved_job job = describe(trainer);
  hr_dense *dense = trainer->dense;
  void *blob;
  HOTROW_TRY(hr_alloc(blob_size(trainer), 1, "a checkpoint's blob", &blob));
  uint8_t *at = blob;
  memcpy(at, &job, sizeof job);
  at += sizeof job;
  hotrow_status status = HOTROW_OK;
  const float *const arrays[] = {trainer->params, trainer->adam.first, trainer->adam.second};
  for (size_t i = 0; i < 3 && status == HOTROW_OK; i++)
    status = dense->kernels->copy_out(at + i * bytes, arrays[i], bytes, dense->stream);
  if (status == HOTROW_OK)
    status = dense->call->wait(dense);
  if (status != HOTROW_OK) {
    free(blob);
    return status;
  }
  *blob_p = blob;
  return HOTROW_OK;
}

/* Is it the checkpoint alone that failed? Then the job can go on without it. */
static bool is_survivable(hotrow_status status)
{
  return status == HOTROW_ERR_STORAGE || status == HOTROW_ERR_NOT_FOUND || status == HOTROW_ERR_CORRUPT ||
         status == HOTROW_ERR_NO_MEMORY || status == HOTROW_ERR_BUSY || status == HOTROW_ERR_LIMIT;
}

/* Waits for the one on its way half as long as the other ranks wait for this one. If it is not on disk by then it is
 * given up: there is another one to begin. */
static hotrow_status finish(hr_trainer *trainer)
{
  hotrow_status status = hotrow_checkpoint_finish(trainer->ranks[0].client, trainer->options.timeout_ms / 2 + 1);
  return status == HOTROW_ERR_TIMED_OUT ? hr_fail(HOTROW_ERR_BUSY, "it is not on disk yet") : status;
}

/* Keeps and says why there is no such checkpoint; returns what ends the job. Whoever asks later, when there is nothing
 * to ask about, does not change that: only the next checkpoint does. */
static hotrow_status note(hr_trainer *trainer, hotrow_status status)
{
  if (status == HOTROW_OK)
    return HOTROW_OK;
  trainer->checkpoint_status = status;
  if (!is_survivable(status))
    return status;
  snprintf(trainer->checkpoint_sentence, sizeof trainer->checkpoint_sentence, "%s", hotrow_last_error());
  fprintf(stderr, "%shotrow train: no checkpoint of step %llu: %s\n", isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "",
          (unsigned long long)trainer->checkpoint_step, trainer->checkpoint_sentence);
  return HOTROW_OK;
}

static hotrow_status begin(hr_trainer *trainer)
{
  const hr_train_options *options = &trainer->options;
  char name[128];
  void *blob = NULL;
  hotrow_checkpoint_options checkpoint = HOTROW_CHECKPOINT_OPTIONS_INIT;
  snprintf(name, sizeof name, "%s-%010llu", options->checkpoint, (unsigned long long)trainer->step);
  checkpoint.name = name;
  checkpoint.step = trainer->step;
  checkpoint.keep = options->keep;
  trainer->checkpoint_step = trainer->step;
  trainer->checkpoint_status = HOTROW_OK;
  if (trainer->ranks[0].rank == 0)
    HOTROW_TRY(make_blob(trainer, &blob));
  checkpoint.blob = blob;
  checkpoint.blob_size = blob != NULL ? blob_size(trainer) : 0;
  hotrow_status status = HOTROW_OK;
  if (trainer->comm == NULL) { /* this process is all ranks */
    checkpoint.flags = HOTROW_CHECKPOINT_ALONE;
    status = hr_trainer_flush(trainer);
  }
  if (status == HOTROW_OK)
    status = hotrow_checkpoint_begin(trainer->ranks[0].client, &checkpoint);
  free(blob);
  return status;
}

hotrow_status hr_checkpoint_step(hr_trainer *trainer)
{
  const hr_train_options *options = &trainer->options;
  bool is_published;
  if (options->checkpoint == NULL)
    return HOTROW_OK;
  HOTROW_TRY(note(trainer, hotrow_checkpoint_poll(trainer->ranks[0].client, &is_published)));
  if (trainer->step % options->every != 0)
    return HOTROW_OK;
  HOTROW_TRY(note(trainer, finish(trainer)));
  return note(trainer, begin(trainer));
}

hotrow_status hr_checkpoint_last(hr_trainer *trainer)
{
  if (trainer->options.checkpoint == NULL)
    return HOTROW_OK;
  if (trainer->checkpoint_status == HOTROW_OK)
    HOTROW_TRY(note(trainer, finish(trainer)));
  return trainer->checkpoint_status == HOTROW_OK
             ? HOTROW_OK
             : hr_fail(trainer->checkpoint_status, "no checkpoint of step %llu: %s",
                       (unsigned long long)trainer->checkpoint_step, trainer->checkpoint_sentence);
}

/* ---- going on from one ---- */

static hotrow_status check_same(const char *what, uint64_t saved, uint64_t own)
{
  if (saved != own)
    return hr_fail(HOTROW_ERR_EXISTS, "the checkpoint is of a job with %s %llu, this one has %llu", what,
                   (unsigned long long)saved, (unsigned long long)own);
  return HOTROW_OK;
}

static hotrow_status check_job(const hr_trainer *trainer, const saved_job *job, size_t size)
{
  if (memcmp(job->magic, BLOB_MAGIC, sizeof job->magic) != 0)
    return hr_fail(HOTROW_ERR_CORRUPT, "the checkpoint's blob is not one of hotrow train");
  if (job->version != BLOB_VERSION)
    return hr_fail(HOTROW_ERR_VERSION, "the checkpoint's blob is of version %llu, this build reads %u",
                   (unsigned long long)job->version, BLOB_VERSION);
  if (job->model[MODEL_NAME_BYTES - 1] != '\0' || strcmp(job->model, trainer->model->name) != 0)
    return hr_fail(HOTROW_ERR_EXISTS, "the checkpoint is of model %.*s, this job has %s", (int)MODEL_NAME_BYTES - 1,
                   job->model, trainer->model->name);
  HOTROW_TRY(check_same("workers", job->workers, trainer->options.workers));
  HOTROW_TRY(check_same("batch", job->batch, trainer->options.batch));
  HOTROW_TRY(check_same("seed", job->seed, trainer->options.seed));
  HOTROW_TRY(
      check_same("training samples", job->sample_count, hr_dataset_get_info(trainer->ranks[0].data)->sample_count));
  HOTROW_TRY(check_same("dense parameters", job->param_count, trainer->param_count));
  if (size != blob_size(trainer))
    return hr_fail(HOTROW_ERR_CORRUPT, "the checkpoint's blob has %zu bytes, need %zu", size, blob_size(trainer));
  return HOTROW_OK;
}

static hotrow_status apply(hr_trainer *trainer, const saved_job *job, const uint8_t *floats)
{
  const size_t bytes = trainer->param_count * sizeof(float);
  hr_dense *dense = trainer->dense;
  trainer->step = trainer->first_step = job->step;
  trainer->epoch = (uint32_t)job->epoch;
  trainer->epoch_step = job->epoch_step;
  trainer->epoch_samples = job->epoch_samples;
  trainer->evaluation_count = (uint32_t)job->evaluation_count;
  trainer->best_step = job->best_step;
  trainer->worse_count = (uint32_t)job->worse_count;
  trainer->epoch_loss = job->epoch_loss;
  trainer->loss_sum = job->loss_sum;
  trainer->train_logloss = job->train_logloss;
  trainer->adam.first_left = job->first_left;
  trainer->adam.second_left = job->second_left;
  trainer->valid = (hr_score){.auc = job->scores[0], .logloss = job->scores[1]};
  trainer->test = (hr_score){.auc = job->scores[2], .logloss = job->scores[3]};
  float *const arrays[] = {trainer->params, trainer->adam.first, trainer->adam.second};
  for (size_t i = 0; i < 3; i++)
    HOTROW_TRY(dense->kernels->copy_in(arrays[i], floats + i * bytes, bytes, dense->stream));
  return HOTROW_OK;
}

static hotrow_status take_blob(hr_trainer *trainer, const uint8_t *blob, size_t size)
{
  saved_job job;
  if (size < sizeof job)
    return hr_fail(HOTROW_ERR_CORRUPT, "the checkpoint's blob has %zu bytes, and a job's at least %zu", size,
                   sizeof job);
  memcpy(&job, blob, sizeof job);
  HOTROW_TRY(check_job(trainer, &job, size));
  return apply(trainer, &job, blob + sizeof job);
}

hotrow_status hr_checkpoint_resume(hr_trainer *trainer)
{
  void *blob;
  size_t size;
  uint64_t step;
  HOTROW_TRY(hotrow_checkpoint_restored(trainer->ranks[0].client, &blob, &size, &step, 0));
  hotrow_status status = take_blob(trainer, blob, size);
  free(blob);
  HOTROW_TRY(status);
  if (trainer->ranks[0].rank == 0)
    fprintf(stderr, "resumed at step %llu, epoch %u\n", (unsigned long long)trainer->step, trainer->epoch + 1);
  /* Nobody pushes before all have read it. */
  return trainer->comm != NULL ? hotrow_comm_barrier(trainer->comm) : HOTROW_OK;
}
