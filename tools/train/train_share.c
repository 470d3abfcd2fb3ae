/* How the processes of a job meet. */
#include "train_state.h"

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

hotrow_lookup_request hr_trainer_request(const hr_trainer *trainer, hotrow_table *table, const hr_batch *batch,
                                         float *rows)
{
  hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
  request.table = table;
  request.keys = batch->keys;
  request.key_count = batch->count * trainer->shape.field_count;
  request.out = rows;
  return request;
}
