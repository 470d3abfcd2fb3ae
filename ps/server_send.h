/* How the replies of one shard leave it: large ones from where they were written, and of no client more than so many
 * bytes that it has not taken. ZeroMQ's own bound counts messages, whatever their size. */
#ifndef HR_SERVER_SEND_H
#define HR_SERVER_SEND_H

#include <stdatomic.h>

#include "shard.h"

/* Of replies that wait for one client; beyond that are the one that is on its way, and one that went over it. */
#define HR_PEER_UNREAD_BYTES_MAX ((size_t)64 << 20)
/* Of replies that wait for all clients of a shard; beyond that a client has one waiting at most. */
#define HR_UNREAD_BYTES_MAX ((size_t)1 << 30)
#define HR_UNREAD_MESSAGES_MAX 128  /* to one client: its 64 open pushes and what else it may ask meanwhile */
#define HR_UNREAD_COUNTED_MIN 4096u /* bytes of a reply: smaller ones are bounded by their number alone */

#define HR_PEER_SLOTS 4096u /* clients that share one share its bound */

#define HR_RECEIPTS 256u /* counted replies that wait; of any further one the receipt is allocated */
#define HR_LENT_COUNT 4u /* replies of one shard that ZeroMQ may have in hand; any further one is copied */

/* Memory that a reply is written to and sent from. */
typedef struct hr_lent {
  uint8_t *bytes;         /* owned: HR_REPLY_POOL_BYTES of address space, memory once touched */
  atomic_uint open_count; /* its frames that ZeroMQ has not sent yet */
} hr_lent;

/* Goes out as the first frame of a counted reply, and comes back when that has left: the rest is on its way then. */
typedef struct hr_receipt {
  struct hr_sender *sender;
  atomic_size_t *peer;
  size_t size_bytes; /* of the whole reply */
  bool is_allocated;
  atomic_bool is_out;
  uint8_t header[HR_WIRE_HEADER_BYTES];
} hr_receipt;

typedef struct hr_sender {
  void *socket; /* borrowed */
  hr_lent lent[HR_LENT_COUNT];
  atomic_size_t unread_bytes; /* of all clients */
  uint64_t dropped;           /* replies that nobody could take */
  atomic_size_t peers[HR_PEER_SLOTS];
  hr_receipt receipts[HR_RECEIPTS];
  uint32_t receipt_next; /* where a free one is looked for */
} hr_sender;

/* HOTROW_ERR_NO_MEMORY */
hotrow_status hr_sender_init(hr_sender *sender);
/* Once the socket's context has ended. */
void hr_sender_fini(hr_sender *sender);

/* The calls of hr_shard_transport, on the shard's thread; context is the sender. */
void hr_sender_send(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count);
void *hr_sender_lend(void *context);
bool hr_sender_has_room(void *context, const hr_route_id *to);

#endif
