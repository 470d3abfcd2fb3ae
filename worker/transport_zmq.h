/* The transport over ZeroMQ: DEALER sockets, one per shard. One thread. Sends never block: what does not fit is dropped
 * and sent again later. */
#ifndef HR_TRANSPORT_ZMQ_H
#define HR_TRANSPORT_ZMQ_H

#include <hotrow/transport.h>
#include <hr/status.h>

/* Connecting is asynchronous; nobody need listen yet. endpoints are copied.
 *   HOTROW_ERR_INVALID (an endpoint ZeroMQ does not understand), HOTROW_ERR_NO_MEMORY */
hotrow_status hr_transport_zmq_open(const char *const *endpoints, uint32_t shard_count, hotrow_transport *transport_p);
/* Sends what is queued for at most linger_ms, then closes. Accepts one that was never opened (all zeroes). */
void hr_transport_zmq_close(hotrow_transport *transport, int linger_ms);

#endif
