/* Jobs: the ranks that belong together, their exact steps, their barriers. */
#ifndef HR_SHARD_SYNC_H
#define HR_SHARD_SYNC_H

#include "shard_session.h"

/* A request that waits for its step: one block of memory, with copies of the arrays that it needs. */
struct hr_held {
  hr_header header;
  size_t size_bytes;
  size_t section_count;
  hr_section *sections; /* behind this struct, and their arrays behind them */
};

typedef struct hr_member {
  hr_session *session; /* borrowed; NULL: none yet, or gone */
  uint64_t started_ns; /* of the newest session of this rank */
  uint64_t barrier;    /* the latest it asked for */
  uint64_t step_next;  /* the step that its next exact push ends */
  bool has_joined;     /* since the steps last began at 0 */
  bool said_bye;
} hr_member;

struct hr_job {
  hr_job *next;
  uint64_t id;
  uint64_t used_ns;
  uint64_t step_next; /* the first step that is not applied */
  uint32_t world_size;
  uint32_t step_seen; /* of steps that are not exact: the furthest that any rank has named, once has_step */
  bool has_step;
  bool is_exact;                    /* has sent HR_FLAG_SYNC: its steps count when they are applied */
  uint32_t arrived[HR_PUSH_WINDOW]; /* ranks whose push of step t is here, at t % HR_PUSH_WINDOW */
  hr_held **held;                   /* owned [HR_PUSH_WINDOW][world_size], taken with the first push that must wait */
  hr_member members[];
};

/* Finds or creates the job that a new worker names, and checks that this rank may have a new session.
 *   HOTROW_ERR_INVALID (world size), HOTROW_ERR_FENCED, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_job_open(hr_shard *shard, const hr_hello *hello, uint32_t rank, hr_job **job_p);
hr_job *hr_job_find(const hr_shard *shard, uint64_t id); /* NULL if there is none */
/* A new job, in the place of the idlest if there is no room. NULL if memory ran out. */
hr_job *hr_job_add(hr_shard *shard, uint64_t id, uint32_t world_size, uint64_t now_ns);
/* Makes the session its rank's. The old one is fenced; if exact steps have begun, all the old ones are, and the steps
 * begin again at 0. */
void hr_job_join(hr_shard *shard, hr_job *job, hr_session *session);
/* The session has said bye; the last one ends the job. */
void hr_job_bye(hr_shard *shard, hr_job *job, uint32_t rank);
/* Forgets the job, its sessions and its blobs. */
void hr_job_drop(hr_shard *shard, hr_job *job);

/* Has every rank asked for this barrier? Marks that this one has. */
bool hr_job_barrier(hr_job *job, uint32_t rank, uint64_t number);

/* Takes the push sections of an exact step's message: applies the step if it is the last that was missing, else keeps a
 * copy. A push that is refused for what it says is taken too. Fails only for a push that is not taken:
 *   HOTROW_ERR_BUSY, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_job_push(hr_shard *shard, hr_session *session, const hr_header *header, hr_section *sections,
                          size_t section_count);

/* Time for rows that go for good: a message of a worker that ends its step. */
void hr_job_advance(hr_shard *shard, uint32_t step_count); /* so many steps have been made */
void hr_job_note_step(hr_shard *shard, hr_job *job, const hr_header *header);

/* Does this new push of the session complete its step? Then visits what will be done at once with it: the pushes of the
 * step, and the pulls that wait for it. */
typedef void (*hr_sections_fn)(void *context, const hr_header *header, const hr_section *sections,
                               size_t section_count);
bool hr_job_visit_waiting(hr_session *session, const hr_header *header, hr_sections_fn visit, void *context);

/* Must a pull of this message wait for its step? */
bool hr_job_must_wait(const hr_job *job, const hr_header *header);
/* Keeps the pull until its step has come, in place of an older one of the session. HOTROW_ERR_BUSY, _NO_MEMORY */
hotrow_status hr_job_hold_pull(hr_shard *shard, hr_session *session, const hr_header *header, hr_section *sections,
                               size_t section_count);

void hr_held_free(hr_shard *shard, hr_held *held); /* accepts NULL */

#endif
