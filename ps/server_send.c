#include "server_send.h"

#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include <hr/assert.h>
#include <hr/hash.h>
#include <hr/memory.h>

#define LENT_FRAME_MIN 65536u /* bytes; a smaller frame is copied */

hotrow_status hr_sender_init(hr_sender *sender)
{
  for (uint32_t i = 0; i < HR_LENT_COUNT; i++) {
    void *bytes;
    HOTROW_TRY(hr_map(HR_REPLY_POOL_BYTES, "replies", &bytes));
    sender->lent[i].bytes = bytes;
  }
  return HOTROW_OK;
}

void hr_sender_fini(hr_sender *sender)
{
  for (uint32_t i = 0; i < HR_LENT_COUNT; i++)
    hr_unmap(sender->lent[i].bytes, HR_REPLY_POOL_BYTES);
}

void *hr_sender_lend(void *context)
{
  hr_sender *sender = context;
  for (uint32_t i = 0; i < HR_LENT_COUNT; i++)
    if (atomic_load_explicit(&sender->lent[i].open_count, memory_order_acquire) == 0)
      return sender->lent[i].bytes;
  return NULL;
}

/* ZeroMQ numbers its clients one after the other, most significant byte first; a client may choose another name. */
static atomic_size_t *peer_of(hr_sender *sender, const hr_route_id *to)
{
  uint64_t number = to->size == 5 && to->bytes[0] == 0 ? (uint64_t)to->bytes[3] << 8 | to->bytes[4]
                                                       : hr_hash_bytes(to->bytes, to->size);
  return &sender->peers[number % HR_PEER_SLOTS];
}

static bool may_send(hr_sender *sender, atomic_size_t *peer)
{
  size_t unread = atomic_load_explicit(peer, memory_order_relaxed);
  size_t all = atomic_load_explicit(&sender->unread_bytes, memory_order_relaxed);
  return unread == 0 || (unread < HR_PEER_UNREAD_BYTES_MAX && all < HR_UNREAD_BYTES_MAX);
}

bool hr_sender_has_room(void *context, const hr_route_id *to)
{
  return may_send(context, peer_of(context, to));
}

/* ---- sending ---- */

/* These two run on a thread of ZeroMQ. */
static void take_back(void *data, void *context)
{
  (void)data;
  hr_lent *lent = context;
  atomic_fetch_sub_explicit(&lent->open_count, 1, memory_order_release);
}

static void take_receipt(void *data, void *context)
{
  (void)data;
  hr_receipt *r = context;
  atomic_fetch_sub_explicit(r->peer, r->size_bytes, memory_order_relaxed);
  atomic_fetch_sub_explicit(&r->sender->unread_bytes, r->size_bytes, memory_order_relaxed);
  if (r->is_allocated)
    free(r);
  else
    atomic_store_explicit(&r->is_out, false, memory_order_release);
}

static hr_lent *lender_of(hr_sender *sender, const hr_frame *frame)
{
  const uint8_t *data = frame->data;
  for (uint32_t i = 0; i < HR_LENT_COUNT && frame->size >= LENT_FRAME_MIN; i++)
    if (data >= sender->lent[i].bytes && data < sender->lent[i].bytes + HR_REPLY_POOL_BYTES)
      return &sender->lent[i];
  return NULL;
}

static bool send_frame(hr_sender *sender, const hr_frame *frame, int flags)
{
  hr_lent *lent = lender_of(sender, frame);
  if (!lent)
    return zmq_send(sender->socket, frame->data, frame->size, flags) >= 0;
  zmq_msg_t part;
  if (zmq_msg_init_data(&part, (void *)(uintptr_t)frame->data, frame->size, take_back, lent) != 0)
    return false;
  atomic_fetch_add_explicit(&lent->open_count, 1, memory_order_relaxed);
  if (zmq_msg_send(&part, sender->socket, flags) >= 0)
    return true;
  zmq_msg_close(&part);
  return false;
}

/* NULL: no memory. */
static hr_receipt *new_receipt(hr_sender *sender)
{
  for (uint32_t i = 0; i < HR_RECEIPTS; i++) {
    hr_receipt *r = &sender->receipts[sender->receipt_next++ % HR_RECEIPTS];
    if (!atomic_load_explicit(&r->is_out, memory_order_acquire)) {
      atomic_store_explicit(&r->is_out, true, memory_order_relaxed);
      return r;
    }
  }
  hr_receipt *r = calloc(1, sizeof *r);
  if (r)
    r->is_allocated = true;
  return r;
}

/* The header of a reply that is counted. Without memory for its receipt it goes out uncounted. */
static bool send_counted(hr_sender *sender, atomic_size_t *peer, const hr_frame *header, size_t reply_bytes, int flags)
{
  HOTROW_ASSERT(header->size == HR_WIRE_HEADER_BYTES);
  hr_receipt *r = new_receipt(sender);
  if (!r)
    return send_frame(sender, header, flags);
  r->sender = sender;
  r->peer = peer;
  r->size_bytes = reply_bytes;
  memcpy(r->header, header->data, sizeof r->header);
  atomic_fetch_add_explicit(peer, reply_bytes, memory_order_relaxed);
  atomic_fetch_add_explicit(&sender->unread_bytes, reply_bytes, memory_order_relaxed);
  zmq_msg_t part;
  if (zmq_msg_init_data(&part, r->header, sizeof r->header, take_receipt, r) != 0) {
    take_receipt(NULL, r);
    return false;
  }
  if (zmq_msg_send(&part, sender->socket, flags) >= 0)
    return true;
  zmq_msg_close(&part); /* takes the receipt too */
  return false;
}

/* A client that is gone, or reads too slowly, loses its reply and asks again. */
void hr_sender_send(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count)
{
  hr_sender *sender = context;
  atomic_size_t *peer = peer_of(sender, to);
  size_t reply_bytes = 0;
  for (size_t i = 0; i < frame_count; i++)
    reply_bytes += frames[i].size;
  bool is_counted = reply_bytes >= HR_UNREAD_COUNTED_MIN;
  if ((is_counted && !may_send(sender, peer)) ||
      zmq_send(sender->socket, to->bytes, to->size, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
    sender->dropped++;
    return;
  }
  /* Once the client is chosen ZeroMQ takes the whole message, or drops it whole if the client goes. Large frames are
   * sent from where they are: a copy of 2.5 MB into fresh memory took a fifth of a pull's time. */
  for (size_t i = 0; i < frame_count; i++) {
    int flags = (i + 1 < frame_count ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT;
    bool is_sent = i == 0 && is_counted ? send_counted(sender, peer, &frames[i], reply_bytes, flags)
                                        : send_frame(sender, &frames[i], flags);
    if (!is_sent)
      return;
  }
}
