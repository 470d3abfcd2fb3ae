/* Cuts: what goes into one, and what a durable one means. hr_shard_cut() and what restores it are in shard.h. */
#ifndef HR_SHARD_CUT_H
#define HR_SHARD_CUT_H

#include "shard_session.h"

/* Answers a request for a table: at once, or when a cut that has the table is durable. A client counts on a table's id
 * and announce_step over a restart. What hr_shard_cut() returns but HOTROW_ERR_BUSY. */
hotrow_status hr_cut_answer_table(hr_shard *shard, hr_session *session, const hr_header *header, uint32_t table);

/* Answers a hello: at once, or, if it took a rank from another session, when that is durable: a shard that came back
 * without it would serve the other again. */
hotrow_status hr_cut_answer_hello(hr_shard *shard, hr_session *session, const hr_header *header);

/* The table's description has changed since it was last put in a cut. */
void hr_cut_table_changed(hr_shard *shard, uint32_t table);

#endif
