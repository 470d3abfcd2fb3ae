/* The transport over ZeroMQ: DEALER sockets, one per shard. One thread. Sends never block: what does not fit is dropped
 * and sent again later. */
#ifndef HR_TRANSPORT_ZMQ_H
#define HR_TRANSPORT_ZMQ_H

#include <stdatomic.h>

#include <hotrow/transport.h>
#include <hr/status.h>

/* Connecting is asynchronous; nobody need listen yet. endpoints are copied. The transport's own send is not there:
 * hr_transport_zmq_send is.
 *   HOTROW_ERR_INVALID (an endpoint ZeroMQ does not understand), HOTROW_ERR_NO_MEMORY */
hotrow_status hr_transport_zmq_open(const char *const *endpoints, uint32_t shard_count, hotrow_transport *transport_p);
/* Copies the frames, or counts up `users` and sends from where they are (hr_link_send_fn). */
void hr_transport_zmq_send(void *transport, uint32_t shard, const hotrow_frame *frames, size_t frame_count,
                           atomic_uint *users);
/* Sends what is queued for at most linger_ms, then closes. Accepts one that was never opened (all zeroes). */
void hr_transport_zmq_close(hotrow_transport *transport, int linger_ms);

#endif
