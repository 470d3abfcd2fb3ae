/* A shard's side of saves: one under way at a time. One thread.
 *
 * With a storage that can copy itself a save is of a cut: when that is durable the storage is copied, and another
 * thread writes the part from the copy. So rows that only the storage has are not read here. Until it is over its
 * client is told BUSY, and asks again. Else the shard writes it at once. */
#ifndef HR_SHARD_SAVE_H
#define HR_SHARD_SAVE_H

#include "shard_session.h"

hotrow_status hr_save_request(hr_shard *shard, hr_session *session, const hr_message *message);
/* Does one wait for its cut, or is it written? Then no checkpoint is begun or published. */
bool hr_save_is_under_way(const hr_shard *shard);
/* As hr_checkpoint_cut_is_durable() and hr_checkpoint_cut_failed(). */
void hr_save_cut_is_durable(hr_shard *shard);
void hr_save_cut_failed(hr_shard *shard);
/* When nothing runs aside any more. */
void hr_save_end(hr_shard *shard);

#endif
