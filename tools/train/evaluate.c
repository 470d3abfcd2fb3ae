#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "metrics.h"
#include "train_state.h"

static hotrow_status score_batch(hr_trainer *trainer, const hr_batch *batch, float *logits)
{
  const hr_mirror *rows = &trainer->ranks[0].rows;
  hr_dense *dense = trainer->dense;
  const hotrow_lookup_request request = hr_trainer_request(trainer, trainer->viewer_table, batch, rows->host);
  HOTROW_TRY(hotrow_lookup(trainer->viewer, &request, 1));
  HOTROW_TRY(hr_mirror_copy_in(rows, dense, request.key_count * hr_row_dim(&trainer->shape)));
  HOTROW_TRY(hr_trainer_copy_in(trainer, batch));
  hr_pass pass = trainer->pass;
  pass.rows = rows->device;
  pass.count = batch->count;
  pass.dropout_key = 0;
  trainer->model->forward(&pass);
  HOTROW_TRY(hr_mirror_copy_out(&trainer->logits, dense, batch->count));
  HOTROW_TRY(dense->call->wait(dense));
  memcpy(logits, trainer->logits.host, batch->count * sizeof *logits);
  return HOTROW_OK;
}

/* Fills the slots of this process's share; those of the others stay 0, so that the sum over processes is exact. */
static hotrow_status score_share(hr_trainer *trainer, hr_reader *reader, uint32_t first, uint32_t stride,
                                 size_t sample_count, float *logits, float *labels)
{
  const size_t batch_size = trainer->shape.batch_capacity;
  const hr_batch *batch;
  for (size_t index = first;; index += stride) {
    HOTROW_TRY(hr_reader_next(reader, &batch));
    if (batch == NULL)
      return HOTROW_OK;
    const size_t slot = index * batch_size;
    HOTROW_ASSERT(slot + batch->count <= sample_count);
    for (size_t i = 0; i < batch->count; i++)
      labels[slot + i] = batch->labels[i];
    HOTROW_TRY(score_batch(trainer, batch, logits + slot));
  }
}

hotrow_status hr_evaluate(hr_trainer *trainer, hr_dataset *data, hr_score *score_p)
{
  const bool is_all = trainer->comm == NULL;
  const uint32_t first = is_all ? 0 : trainer->ranks[0].rank, stride = is_all ? 1 : trainer->options.workers;
  const size_t sample_count = (size_t)hr_dataset_get_info(data)->sample_count;
  const hr_reader_options options = {.dataset = data,
                                     .batch_size = trainer->shape.batch_capacity,
                                     .rank = first,
                                     .world_size = stride,
                                     .depth = 2,
                                     .keep_last = true};
  void *memory;
  HOTROW_TRY(hr_alloc(hr_mul(2, sample_count), sizeof(float), "logits and labels of held-out data", &memory));
  float *logits = memory, *labels = logits + sample_count;
  hr_reader *reader;
  hotrow_status status = hr_reader_open(&options, &reader);
  if (status != HOTROW_OK)
    goto free_memory;
  status = score_share(trainer, reader, first, stride, sample_count, logits, labels);
  hr_reader_close(reader);
  if (status == HOTROW_OK)
    status = hr_trainer_allreduce(trainer, logits, 2 * sample_count);
  if (status == HOTROW_OK)
    status = hr_auc(logits, labels, sample_count, &score_p->auc);
  double loss = 0;
  for (size_t i = 0; status == HOTROW_OK && i < sample_count; i++)
    loss += hr_logloss(logits[i], labels[i]);
  score_p->logloss = sample_count > 0 ? loss / (double)sample_count : 0;
free_memory:
  free(memory);
  return status;
}
