/* A shard's side of checkpoints: one in hand at a time. */
#ifndef HR_SHARD_CHECKPOINT_H
#define HR_SHARD_CHECKPOINT_H

#include "shard_session.h"

hotrow_status hr_checkpoint_request(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_checkpoint_restored(hr_shard *shard, hr_session *session, const hr_message *message);
/* The cut under way is durable, which may be a checkpoint's or one that a checkpoint waits for: then another one is
 * begun, or the storage is copied aside. */
void hr_checkpoint_cut_is_durable(hr_shard *shard);
/* The storage has failed: so has the checkpoint that waits for a cut, with this thread's last sentence. */
void hr_checkpoint_cut_failed(hr_shard *shard);
/* Without a storage: is there something left to copy? Then a turn of it, and what the last turn leads to. BUSY: the
 * thread that writes is behind, and nothing was copied. */
bool hr_checkpoint_is_copying(const hr_shard *shard);
hotrow_status hr_checkpoint_copy(hr_shard *shard);
/* Have rows that pushes change to wait for that thread before they are copied? */
bool hr_checkpoint_is_behind(const hr_shard *shard);
size_t hr_checkpoint_bytes(const hr_shard *shard); /* of memory that copies take */
/* Does one wait for its cut, or run aside? Then no save is begun. */
bool hr_checkpoint_is_under_way(const hr_shard *shard);
void hr_checkpoint_fill_counts(const hr_shard *shard, hotrow_shard_counts *counts);
/* When nothing runs aside any more. */
void hr_checkpoint_end(hr_shard *shard);

#endif
