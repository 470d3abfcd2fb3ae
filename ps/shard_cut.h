/* Cuts: what goes into one, and what a durable one means. hr_shard_cut() and what restores it are in shard.h. */
#ifndef HR_SHARD_CUT_H
#define HR_SHARD_CUT_H

#include "shard_session.h"

struct hr_job;

/* Answers a request for a table: at once, or when a cut that has the table is durable. A client counts on a table's id
 * and announce_step over a restart. What hr_shard_cut() returns but HOTROW_ERR_BUSY. */
hotrow_status hr_cut_answer_table(hr_shard *shard, hr_session *session, const hr_header *header, uint32_t table);

/* Answers a hello: at once, or, if it took a rank from another session, when that is durable: a shard that came back
 * without it would serve the other again. */
hotrow_status hr_cut_answer_hello(hr_shard *shard, hr_session *session, const hr_header *header);

/* A turn over all tables, of a cut or of a copy. What hr_table_copy() returns */
hotrow_status hr_cut_copy_rows(hr_shard *shard, bool *is_over_p);

/* The table's description has changed since it was last put in a cut. */
void hr_cut_table_changed(hr_shard *shard, uint32_t table);

/* What a cut made now would say of them; members has room for job->world_size. */
hr_stored_session hr_cut_describe_session(hr_session *session);
hr_stored_job hr_cut_describe_job(const struct hr_job *job, hr_stored_member *members);
/* hr_shard_restore_job() of a job that may be there; its sessions stay. */
hotrow_status hr_cut_replace_job(hr_shard *shard, const hr_stored_job *stored, const hr_stored_member *members,
                                 uint64_t now_ns);

/* Pushes up to this one are on disk, in a cut or in the log, whichever came first. */
void hr_cut_raise_durable(hr_session *session, uint64_t push_seq);
void hr_cut_count_durable(hr_shard *shard, uint64_t push_count); /* of all sessions */

#endif
