/* Collectives on arrays in a device's memory, over NCCL's functions. */
#ifndef HR_COMM_DEVICE_H
#define HR_COMM_DEVICE_H

#include <hotrow/comm.h>
#include <hotrow/kernels.h>

#include "comm_nccl.h"

/* hotrow_comm_open() with options that are checked, over these functions: NCCL's, or a test's. nccl may be NULL unless
 * the kind is HOTROW_COMM_NCCL. */
hotrow_status hr_comm_open_over(const hotrow_comm_options *options, const hr_nccl *nccl, const hotrow_kernels *kernels,
                                hotrow_comm **comm_p);

typedef struct hr_device_comm hr_device_comm;

/* Rank 0 makes an id and leaves it with the shards; the others fetch it. */
hotrow_status hr_nccl_meet(const hotrow_comm_options *options, const hr_nccl *nccl, hr_nccl_id *id_p);

/* Both tables are borrowed, for as long as the communicator is open. */
hotrow_status hr_device_comm_open(const hotrow_comm_options *options, const hr_nccl_id *id, const hr_nccl *nccl,
                                  const hotrow_kernels *kernels, hr_device_comm **comm_p);
void hr_device_comm_close(hr_device_comm *comm); /* accepts NULL; keeps hotrow_last_error() */

hotrow_status hr_device_comm_allreduce_begin(hr_device_comm *comm, float *values, size_t count);
hotrow_status hr_device_comm_broadcast_begin(hr_device_comm *comm, void *bytes, size_t size, uint32_t root);
hotrow_status hr_device_comm_wait(hr_device_comm *comm);
hotrow_status hr_device_comm_shrink(hr_device_comm *comm, const uint32_t *lost_ranks, uint32_t lost_count,
                                    uint32_t rank, uint32_t world_size);

#endif
