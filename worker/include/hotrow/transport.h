/* The seam between a client and its shards' messages. ZeroMQ is behind it unless a client is given another one: a
 * simulated network, shards in the same process.
 *
 * A message is a list of frames. Messages to and from one shard keep their order; any of them may be lost or come
 * twice: the client sends again what is not answered. One thread. */
#ifndef HOTROW_TRANSPORT_H
#define HOTROW_TRANSPORT_H

#include <hotrow/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hotrow_transport {
  void *context;
  /* Copies or transmits the frames before it returns; what cannot be sent is dropped. Does not wait. */
  void (*send)(void *context, uint32_t shard, const hotrow_frame *frames, size_t frame_count);
  /* Waits at most timeout_ns (0: not at all) for a message from any shard; false if none came. Frames begin at
   * multiples of 8 bytes and are valid until the next call. */
  bool (*receive)(void *context, uint64_t timeout_ns, uint32_t *shard_p, const hotrow_frame **frames_p,
                  size_t *frame_count_p);
} hotrow_transport;

#ifdef __cplusplus
}
#endif
#endif
