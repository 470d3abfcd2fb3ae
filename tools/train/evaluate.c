#include <stdlib.h>

#include <hr/memory.h>

#include "metrics.h"
#include "train_state.h"

/* Scores this process's part of one global batch. Every rank reads all labels, and leaves zero in the slots of other
 * ranks' logits: their sum over the ranks is then each logit, exactly. */
static hotrow_status score_batch(hr_trainer *trainer, hr_train_rank *rank, const hr_batch *batch, float *logits)
{
  hotrow_lookup_request request = hr_trainer_request(trainer, rank, batch);
  request.table = trainer->reader_table;
  HOTROW_TRY(hotrow_lookup(trainer->reader, &request, 1));
  hr_pass pass = trainer->pass;
  pass.rows = rank->rows;
  pass.numeric = batch->numeric;
  pass.count = batch->count;
  pass.dropout_key = 0;
  pass.logits = logits;
  trainer->model->forward(&pass);
  return HOTROW_OK;
}

static hotrow_status score_split(hr_trainer *trainer, hr_split split, size_t sample_count, float *logits, float *labels)
{
  hr_dataset *dataset = trainer->splits[split];
  hr_train_rank *rank = &trainer->ranks[0];
  hr_batch *batch = &trainer->spare;
  HOTROW_TRY(hr_dataset_rewind(dataset, 0));
  size_t first = 0;
  for (uint32_t turn = 0; first < sample_count; turn = (turn + 1) % trainer->options.workers) {
    HOTROW_TRY(hr_dataset_read(dataset, batch));
    if (batch->count == 0 || batch->count > sample_count - first)
      return hr_fail(HOTROW_ERR_CORRUPT, "a split announced as %zu samples has %s", sample_count,
                     batch->count == 0 ? "fewer" : "more");
    for (size_t i = 0; i < batch->count; i++)
      labels[first + i] = batch->labels[i];
    if (trainer->comm == NULL || turn == rank->rank)
      HOTROW_TRY(score_batch(trainer, rank, batch, logits + first));
    first += batch->count;
  }
  return hr_trainer_allreduce(trainer, logits, sample_count);
}

hotrow_status hr_evaluate(hr_trainer *trainer, hr_split split, hr_score *score_p)
{
  const size_t sample_count = (size_t)hr_dataset_get_info(trainer->splits[split])->sample_count;
  void *memory;
  HOTROW_TRY(hr_alloc(hr_mul(2, sample_count), sizeof(float), "logits and labels of a split", &memory));
  float *logits = memory, *labels = logits + sample_count;
  hotrow_status status = score_split(trainer, split, sample_count, logits, labels);
  if (status == HOTROW_OK)
    status = hr_auc(logits, labels, sample_count, &score_p->auc);
  double loss = 0;
  for (size_t i = 0; status == HOTROW_OK && i < sample_count; i++)
    loss += hr_logloss(logits[i], labels[i]);
  score_p->logloss = sample_count > 0 ? loss / (double)sample_count : 0;
  free(memory);
  return status;
}
