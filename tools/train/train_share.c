/* How the processes of a job meet, and how rows and their gradients go between the client and the model. */
#include <string.h>

#include "train_state.h"

/* What the communicator adds up lies on the device: a part at a time goes there, into the gradients of rows, which
 * nobody needs between steps. */
hotrow_status hr_trainer_allreduce(hr_trainer *trainer, float *values, size_t count)
{
  const hr_model_shape *shape = &trainer->shape;
  const size_t part_max = shape->batch_capacity * shape->field_count * hr_row_dim(shape);
  const hr_mirror *mirror = &trainer->row_grads;
  hr_dense *dense = trainer->dense;
  if (trainer->comm == NULL)
    return HOTROW_OK;
  for (size_t first = 0; first < count; first += part_max) {
    const size_t part = count - first < part_max ? count - first : part_max;
    memcpy(mirror->host, values + first, part * sizeof *values);
    HOTROW_TRY(hr_mirror_copy_in(mirror, dense, part));
    HOTROW_TRY(hotrow_comm_allreduce(trainer->comm, mirror->device, part));
    HOTROW_TRY(hr_mirror_copy_out(mirror, dense, part));
    HOTROW_TRY(dense->call->wait(dense));
    memcpy(values + first, mirror->host, part * sizeof *values);
  }
  return HOTROW_OK;
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

hotrow_status hr_trainer_lookup(hr_trainer *trainer, const hr_train_rank *rank)
{
  const hr_batch *batch = rank->batch;
  hr_dense *dense = trainer->dense;
  hotrow_lookup_request request = hr_trainer_request(trainer, rank->table, batch, rank->rows.device);
  if (rank->keys_there != NULL) {
    /* The lookup before has waited for its keys. */
    memcpy(rank->keys_here, batch->keys, request.key_count * sizeof *batch->keys);
    HOTROW_TRY(dense->kernels->copy_in(rank->keys_there, rank->keys_here, request.key_count * sizeof *batch->keys,
                                       dense->stream));
    request.keys = rank->keys_there;
    request.memory = dense->kernels->device;
    request.stream = dense->stream;
  }
  return hotrow_lookup(rank->client, &request, 1);
}

hotrow_status hr_trainer_copy_in(hr_trainer *trainer, const hr_batch *batch)
{
  const size_t numeric_count = batch->count * trainer->shape.numeric_count;
  hr_dense *dense = trainer->dense;
  memcpy(trainer->numeric.host, batch->numeric, numeric_count * sizeof *batch->numeric);
  memcpy(trainer->labels.host, batch->labels, batch->count * sizeof *batch->labels);
  HOTROW_TRY(hr_mirror_copy_in(&trainer->numeric, dense, numeric_count));
  return hr_mirror_copy_in(&trainer->labels, dense, batch->count);
}

hotrow_status hr_trainer_push(hr_trainer *trainer, const hr_train_rank *rank)
{
  const hr_dense *dense = trainer->dense;
  hotrow_push_request push = HOTROW_PUSH_REQUEST_INIT;
  push.table = rank->table;
  push.key_count = rank->batch->count * trainer->shape.field_count; /* the keys of the lookup */
  push.grads = trainer->row_grads.device;
  push.memory = dense->kernels->device;
  push.stream = dense->stream;
  return hotrow_push(rank->client, &push, 1);
}
