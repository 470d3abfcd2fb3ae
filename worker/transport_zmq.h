/* DEALER sockets, one per shard. One thread. Sends never block: what does not fit is dropped and sent again later. */
#ifndef HR_TRANSPORT_ZMQ_H
#define HR_TRANSPORT_ZMQ_H

#include <hr/wire.h>

typedef struct hr_transport hr_transport;

/* Connecting is asynchronous; nobody need listen yet. endpoints are copied.
 *   HOTROW_ERR_INVALID (an endpoint ZeroMQ does not understand), HOTROW_ERR_NO_MEMORY */
hotrow_status hr_transport_open(const char *const *endpoints, uint32_t shard_count, hr_transport **transport_p);
/* Sends what is queued for at most linger_ms, then closes. Accepts NULL. */
void hr_transport_close(hr_transport *transport, int linger_ms);

/* An hr_link_send_fn; context is the transport. Copies the frames. */
void hr_transport_send(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count);

/* Called for each message; frames are aligned to 8 bytes and valid during the call. */
typedef void (*hr_transport_receive_fn)(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count);

/* Waits up to wait_ms (0: does not wait) and hands on every message that is there.
 *   HOTROW_ERR_INTERNAL  ZeroMQ failed */
hotrow_status hr_transport_poll(hr_transport *transport, long wait_ms, hr_transport_receive_fn receive, void *context);

#endif
