/* Checkpoints of a training job, and going on from one. What a job is beside its tables (dense parameters, their Adam,
 * where in the data it is, the scores so far) is the checkpoint's blob; everything random is a function of seed and
 * step, so that in exact jobs a resumed run gives the bits of one that was never interrupted. */
#ifndef HR_TRAIN_CHECKPOINT_H
#define HR_TRAIN_CHECKPOINT_H

#include "train_state.h"

/* Called by all ranks after each step: takes the checkpoint that is on its way further, and begins one if it is time.
 * What goes wrong with a checkpoint is said on stderr and kept; training goes on. Returns what ends the job: a rank
 * that is gone, a shard that is. */
hotrow_status hr_checkpoint_step(hr_trainer *trainer);

/* Waits for the checkpoint that is on its way. Returns why the last one that was begun failed, if it did, whenever that
 * was noticed. */
hotrow_status hr_checkpoint_last(hr_trainer *trainer);

/* Takes the job to where the checkpoint that the shards were started from left it. All ranks, before their first step.
 *   HOTROW_ERR_NOT_FOUND  the shards were not started from one, or have changed since
 *   HOTROW_ERR_CORRUPT    its blob is not one of this program
 *   HOTROW_ERR_VERSION    or of another version
 *   HOTROW_ERR_EXISTS     it is of a job with other options: the sentence names one */
hotrow_status hr_checkpoint_resume(hr_trainer *trainer);

#endif
