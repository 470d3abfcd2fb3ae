/* A shard's side of checkpoints: one in hand at a time. */
#ifndef HR_SHARD_CHECKPOINT_H
#define HR_SHARD_CHECKPOINT_H

#include "shard_session.h"

hotrow_status hr_checkpoint_request(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_checkpoint_restored(hr_shard *shard, hr_session *session, const hr_message *message);
/* When nothing runs aside any more. */
void hr_checkpoint_end(hr_shard *shard);

#endif
