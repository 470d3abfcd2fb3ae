/* The ring: each rank hears its predecessor and speaks to its successor. */
#ifndef HR_COMM_RING_H
#define HR_COMM_RING_H

#include <hotrow/comm.h>

typedef struct hr_ring hr_ring;

hotrow_status hr_ring_open(const hotrow_comm_options *options, hr_ring **ring_p);
void hr_ring_close(hr_ring *ring);
hotrow_status hr_ring_allreduce(hr_ring *ring, float *values, size_t count);
hotrow_status hr_ring_check(const hr_ring *ring); /* what broke it, or HOTROW_OK */
/* A new ring of those that are left, in their new order. If it fails the ring is broken. */
hotrow_status hr_ring_shrink(hr_ring *ring, uint32_t rank, uint32_t world_size);
hotrow_status hr_ring_broadcast(hr_ring *ring, void *bytes, size_t size, uint32_t root);

#endif
