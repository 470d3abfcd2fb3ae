/* How the ranks of a job share data and meet. */
#include "train_state.h"

hotrow_status hr_trainer_read(hr_trainer *trainer, hr_split split, size_t slot, bool *full_p)
{
  bool full = true;
  for (uint32_t rank = 0, mine = 0; rank < trainer->options.workers; rank++) {
    const bool is_mine = mine < trainer->rank_count && trainer->ranks[mine].rank == rank;
    hr_batch *batch = is_mine ? &trainer->ranks[mine++].batches[slot] : &trainer->spare;
    HOTROW_TRY(hr_dataset_read(trainer->splits[split], batch));
    full = full && batch->count == batch->capacity;
  }
  *full_p = full;
  return HOTROW_OK;
}

hotrow_status hr_trainer_allreduce(hr_trainer *trainer, float *values, size_t count)
{
  return trainer->comm != NULL ? hotrow_comm_allreduce(trainer->comm, values, count) : HOTROW_OK;
}

hotrow_status hr_trainer_flush(hr_trainer *trainer)
{
  for (uint32_t i = 0; i < trainer->rank_count; i++)
    HOTROW_TRY(hotrow_flush(trainer->ranks[i].client, 0));
  return trainer->comm != NULL ? hotrow_comm_barrier(trainer->comm) : HOTROW_OK;
}

hotrow_lookup_request hr_trainer_request(const hr_trainer *trainer, const hr_train_rank *rank, const hr_batch *batch)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = rank->table;
  request.keys = batch->keys;
  request.key_count = batch->count * trainer->shape.field_count;
  request.out = rank->rows;
  return request;
}
