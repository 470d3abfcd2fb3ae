/* Sessions: who may speak, and what came of the last HR_PUSH_WINDOW pushes of each. */
#ifndef HR_SHARD_SESSION_H
#define HR_SHARD_SESSION_H

#include "shard_state.h"

typedef struct hr_held hr_held;

/* What came of one push, and the latest request that carried it: its answer goes there. */
typedef struct hr_outcome {
  uint64_t request_id;
  uint64_t announce_seq;
  char *sentence; /* owned; NULL unless the push was refused */
  hotrow_status status;
  uint32_t step;
  uint8_t op;
  bool waiting; /* held for its step: no outcome yet */
  bool is_step; /* its rank's push of an exact step */
} hr_outcome;

struct hr_session {
  hr_session *next; /* of its bucket */
  hr_session_id id;
  hr_hello hello;
  hr_route_id route; /* of its latest message */
  uint64_t used_ns;
  uint64_t received_seq; /* pushes taken: applied, refused, or held for their step */
  uint64_t applied_seq;  /* all pushes up to here have an outcome */
  uint64_t cut_seq;      /* of them, those that the last cut covers */
  uint64_t log_seq;      /* of them, those that the log handed over last covers */
  uint64_t durable_seq;  /* of them, those that are on disk */
  uint64_t decided;      /* bit s % HR_PUSH_WINDOW: a cut that was restored holds push s > received_seq */
  hr_job *job;           /* borrowed; NULL unless a worker */
  hr_held *pull;         /* owned: the pull that waits for its step */
  hr_parked *parked;     /* owned list: the request whose rows are read, and those behind it */
  hr_header asked;       /* the hello, or request for a table, that waits until a cut is durable; op 0: none */
  uint32_t table;        /* that table */
  uint32_t rank;
  bool fences;                         /* it took its rank from another, and a restored shard would not know */
  bool fence_in_cut;                   /* that is not durable yet */
  hr_outcome outcomes[HR_PUSH_WINDOW]; /* of push seq at seq % HR_PUSH_WINDOW */
};

/* NULL if there is none. */
hr_session *hr_session_find(const hr_shard *shard, hr_session_id id);

/* Takes in a new session, or repeats the answer to one that is there. The reply is the caller's.
 *   HOTROW_ERR_VERSION, HOTROW_ERR_INVALID, HOTROW_ERR_FENCED, HOTROW_ERR_PROTOCOL, HOTROW_ERR_LIMIT, _NO_MEMORY */
hotrow_status hr_session_hello(hr_shard *shard, const hr_header *header, const hr_hello *hello, hr_session **session_p);

/* Forgets it: its later requests are refused as fenced. What it has pushed stays. */
void hr_session_remove(hr_shard *shard, hr_session *session);

static inline hr_outcome *hr_session_outcome(hr_session *session, uint64_t push_seq)
{
  return &session->outcomes[push_seq % HR_PUSH_WINDOW];
}

/* Puts a new session in, in the place of the idlest if there is no room. NULL if memory ran out. */
hr_session *hr_session_add(hr_shard *shard, hr_session_id id, const hr_hello *hello, uint32_t rank, uint64_t now_ns);

/* Is the effect of this push, which has not come yet, in the rows already? Its outcome's status is then known. */
static inline bool hr_session_was_decided(const hr_session *session, uint64_t push_seq)
{
  return session->decided >> (push_seq % HR_PUSH_WINDOW) & 1;
}

/* The push received_seq + 1 is taken; its outcome is yet to come. */
void hr_session_take_push(hr_session *session, const hr_header *header);
/* Its outcome: recorded, with this thread's last sentence if it was refused, and answered if a plain push asks. */
void hr_session_finish_push(hr_shard *shard, hr_session *session, uint64_t push_seq, hotrow_status status);
/* Tells the latest request that carried this push what came of it. */
void hr_session_answer_push(hr_shard *shard, hr_session *session, uint64_t push_seq);

#endif
