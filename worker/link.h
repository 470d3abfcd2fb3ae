/* One worker's ordered stream to one shard, as a pure state machine: no sockets, no clock, no threads.
 *
 * Requests are sent in order and kept until they are answered. Pushes are numbered from 1 without gaps; every other
 * request names the last push before it, so a shard that has missed one says so (GAP) instead of answering. Whatever
 * is unanswered when the retry time is up is sent again, oldest first: the shard applies each push once.
 *
 * A durable shard's pushes are kept, answered or not, until they are durable there. When such a shard has lost its
 * memory (another epoch) it is greeted again, says how many pushes it has, and gets those after them, in order, and
 * everything that is unanswered. A shard that keeps nothing and has lost its memory ends the stream. */
#ifndef HR_LINK_H
#define HR_LINK_H

#include "request.h"

#define HR_LINK_WINDOW 64u                         /* pushes on their way; the shard remembers as many outcomes */
#define HR_LINK_WINDOW_RESERVE 4u                  /* of it: for what a call sends beside the step's push */
#define HR_LINK_TICKS_MAX 4u                       /* steps that a shard may owe an answer for when rows are read */
#define HR_LINK_KEPT_BYTES_MAX ((size_t)256 << 20) /* pushes that are not durable */
#define HR_LINK_HELLO_RETRY_NS 20000000u           /* before a greeting is answered: connecting takes a moment */
#define HR_LINK_RETRY_MIN_NS 1000000000u
#define HR_LINK_RETRY_MAX_NS 8000000000u
#define HR_LINK_GAP_PAUSE_NS 5000000u   /* a GAP is answered by at most one resend in this time */
#define HR_LINK_BUSY_MAX_NS 1000000000u /* a shard's hint of when to ask again doubles up to this */
#define HR_LINK_CUT_POLL_NS 20000000u   /* how often to ask whether pushes are durable, when that is waited for */

/* Seam to the transport: must copy or transmit before it returns; what cannot be sent is dropped and sent again. */
typedef void (*hr_link_send_fn)(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count);

typedef struct hr_link_options {
  uint32_t shard;
  const char *endpoint; /* borrowed: for sentences */
  hr_session_id session;
  uint32_t rank;
  size_t kept_bytes_max; /* 0: HR_LINK_KEPT_BYTES_MAX */
  hr_request_pool *pool; /* borrowed */
  hr_link_send_fn send;
  void *send_context;
} hr_link_options;

typedef struct hr_queue {
  hr_request *oldest, *newest;
} hr_queue;

typedef struct hr_link {
  hr_link_options options;
  uint64_t epoch;        /* 0 until hello is answered */
  uint64_t epoch_before; /* answers of that one come too late; 0: there was none */
  uint64_t request_last; /* last request_id given out */
  uint64_t push_last;    /* last push_seq given out */
  uint64_t applied_seq;  /* highest that the shard has named in this epoch */
  uint64_t durable_seq;  /* likewise: pushes up to here are forgotten */
  uint64_t announce_seq; /* the first announcement not had */
  bool is_durable;
  bool wants_announcements;
  bool awaits_cut;                  /* the owner waits until nothing is kept any more */
  bool is_tended;                   /* the owner has nothing to say and wants to know if pushes are lost */
  bool is_exact;                    /* other ranks wait for this one's pushes, and it for theirs */
  bool is_lost;                     /* the shard has another epoch: to be greeted again */
  bool has_resumed;                 /* since the owner last looked: every copy of this shard's rows is stale */
  uint32_t pushes_open, ticks_open; /* unanswered */
  uint32_t pushes_sent;             /* of pushes_open, those on their way */
  uint64_t sent_ns;                 /* of the last send or progress: the retry time counts from here */
  uint64_t retry_ns;
  uint64_t gap_ns;        /* of the last resend after a GAP */
  bool is_busy;           /* the shard was too busy for some open requests: they come before what is not sent yet */
  uint32_t busy_window;   /* how many may be on their way meanwhile */
  uint64_t busy_due_ns;   /* when they are sent again; 0: as others are answered */
  uint64_t busy_pause_ns; /* the last such pause; 0: it was not busy since it last answered */
  hr_queue open;          /* unanswered */
  hr_request *unsent;     /* the first of them that has not been sent; NULL: all have */
  hr_queue kept;          /* answered pushes that are not durable */
  size_t kept_bytes;      /* of all pushes that are unanswered, or not durable */
  hr_request *greeting;   /* owned: the hello after the shard was lost */
  hotrow_status broken;   /* not OK: the stream has ended for this reason */
  char broken_text[HR_ERROR_TEXT_BYTES];
  uint64_t bytes_sent, bytes_received, requests_sent, resends;
  uint64_t bytes[HR_BYTES_COUNT]; /* of bytes_sent, by purpose */
} hr_link;

void hr_link_init(hr_link *link, const hr_link_options *options);
/* Releases every request that it still has. */
void hr_link_fini(hr_link *link);

/* What the first greeting's answer says. */
void hr_link_greeted(hr_link *link, const hr_hello_reply *body, uint64_t announce_seq);

/* Numbers a request whose message is filled in (op, flags, step, sections or body), and sends it as soon as fewer than
 * HR_LINK_WINDOW pushes are on their way. The link owns it from now on. */
void hr_link_submit(hr_link *link, hr_request *request, uint64_t now_ns);

/* Is there room for another call's pushes, in number and in bytes? */
bool hr_link_can_push(const hr_link *link);

/* A message from the shard. If it answers an open request, that request leaves the queue: *request_p is it and
 * *reply_p its answer, whose pointers are into frames; the caller ends with hr_link_finish. Else *request_p is NULL: it
 * was a late repeat, a GAP, BUSY or a greeting (seen to here), or the stream broke (link->broken), or it is_lost. */
void hr_link_receive(hr_link *link, const hr_frame *frames, size_t frame_count, uint64_t now_ns, hr_message *reply_p,
                     hr_request **request_p);

/* The answer has been dealt with: the request is released, or kept if it is a push that is not durable. */
void hr_link_finish(hr_link *link, hr_request *request);

/* Greets a lost shard again; hello's message is filled in. */
void hr_link_greet(hr_link *link, hr_request *hello, uint64_t now_ns);

/* Forgets what nobody waits for any more: every open request that is neither a push, nor a tick, nor for a coming
 * batch. It will not be sent again, and its answer, should it come, is ignored. */
void hr_link_abandon(hr_link *link);

/* Sends again what is due. */
void hr_link_tick(hr_link *link, uint64_t now_ns);

/* The time at which hr_link_tick has something to do; UINT64_MAX if never. */
uint64_t hr_link_due_ns(const hr_link *link);

/* Ends the stream for this reason, unless it has ended already. */
void hr_link_break(hr_link *link, hotrow_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The status of a broken link with its sentence recorded for this thread; HOTROW_OK if it works. */
hotrow_status hr_link_status(const hr_link *link);

/* Between link.c and link_resume.c. */
void hr_queue_append(hr_queue *queue, hr_request *request);
/* The greeting of a lost shard was answered. */
void hr_link_resume(hr_link *link, const hr_message *reply);
/* Sends what is unsent as far as the window allows. */
void hr_link_pump(hr_link *link, uint64_t now_ns);
/* Releases a request that counts among the kept bytes, or not. */
void hr_link_release(hr_link *link, hr_request *request);

#endif
