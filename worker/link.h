/* One worker's ordered stream to one shard, as a pure state machine: no sockets, no clock, no threads.
 *
 * Requests are sent in order and kept until they are answered. Pushes are numbered from 1 without gaps; every other
 * request names the last push before it, so a shard that has missed one says so (GAP) instead of answering. Whatever
 * is unanswered when the retry time is up is sent again, oldest first: the shard applies each push once. */
#ifndef HR_LINK_H
#define HR_LINK_H

#include "request.h"

#define HR_LINK_WINDOW 64u               /* unanswered pushes; the shard remembers as many outcomes */
#define HR_LINK_HELLO_RETRY_NS 20000000u /* before the greeting is answered: connecting takes a moment */
#define HR_LINK_RETRY_MIN_NS 1000000000u
#define HR_LINK_RETRY_MAX_NS 8000000000u
#define HR_LINK_GAP_PAUSE_NS 5000000u /* a GAP is answered by at most one resend in this time */

/* Seam to the transport: must copy or transmit before it returns; what cannot be sent is dropped and sent again. */
typedef void (*hr_link_send_fn)(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count);

typedef struct hr_link {
  uint32_t shard;
  const char *endpoint; /* borrowed: for sentences */
  hr_session_id session;
  uint32_t rank;
  uint64_t epoch;        /* 0 until hello is answered */
  uint64_t request_last; /* last request_id given out */
  uint64_t push_last;    /* last push_seq given out */
  uint64_t applied_seq;  /* highest that the shard has named */
  uint32_t pushes_open;  /* unanswered pushes */
  uint64_t sent_ns;      /* of the last send or progress: the retry time counts from here */
  uint64_t retry_ns;
  uint64_t gap_ns; /* of the last resend after a GAP */
  hr_request *oldest, *newest;
  hotrow_status broken; /* not OK: the stream has ended for this reason */
  char broken_text[HR_ERROR_TEXT_BYTES];
  hr_link_send_fn send;
  void *send_context;
  uint64_t bytes_sent, bytes_received, requests_sent, resends;
} hr_link;

void hr_link_init(hr_link *link, uint32_t shard, const char *endpoint, hr_session_id session, uint32_t rank,
                  hr_link_send_fn send, void *send_context);
/* Releases every request that is still open. */
void hr_link_fini(hr_link *link, hr_request_pool *pool);

/* Numbers, encodes and sends a request whose message is filled in (op, flags, step, sections or body). The link owns it
 * from now on. At most HR_LINK_WINDOW pushes may be open (asserted: ask hr_link_can_push). */
void hr_link_submit(hr_link *link, hr_request *request, uint64_t now_ns);
bool hr_link_can_push(const hr_link *link);

/* A message from the shard. If it answers an open request, that request leaves the link: *request_p is it and
 * *reply_p its answer, whose pointers are into frames; the caller releases the request. Else *request_p is NULL: it was
 * a late repeat or a GAP (seen to here), or the stream broke (link->broken). */
void hr_link_receive(hr_link *link, const hr_frame *frames, size_t frame_count, uint64_t now_ns, hr_message *reply_p,
                     hr_request **request_p);

/* Forgets what nobody waits for any more: every open request that is neither a push nor a prefetch. It will not be sent
 * again, and its answer, should it come, is ignored. */
void hr_link_abandon(hr_link *link, hr_request_pool *pool);

/* Sends again what is due. */
void hr_link_tick(hr_link *link, uint64_t now_ns);

/* The time at which hr_link_tick has something to do; UINT64_MAX if never. */
uint64_t hr_link_due_ns(const hr_link *link);

/* Ends the stream for this reason, unless it has ended already. */
void hr_link_break(hr_link *link, hotrow_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The status of a broken link with its sentence recorded for this thread; HOTROW_OK if it works. */
hotrow_status hr_link_status(const hr_link *link);

#endif
