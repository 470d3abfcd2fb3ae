/* A stand-in for NCCL, so that ranks that are threads really sum, and every call can fail. Its rules are checked:
 * nothing is called on a communicator that is in progress or has failed, and none is left behind. */
#ifndef HR_FAKE_NCCL_H
#define HR_FAKE_NCCL_H

#include "comm_nccl.h"
#include "fake_stream.h"

#define FAKE_VERSION 22809
#define FAKE_RANKS_MAX 8u

extern const hr_nccl fake_nccl;

/* An id whose communicator needs nobody: the arrays of the other ranks are zeroes. */
hr_nccl_id fake_id_alone(void);

/* Communicators that are there now, of all threads. */
int fake_comm_count(void);
/* How many were given up, and how many left, since the last call. */
void fake_take_ends(int *aborted_p, int *destroyed_p);

#endif
