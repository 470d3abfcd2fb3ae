/* The log of a shard (HOTROW_DURABILITY_LOG): what each message has changed, in the order in which it did, so that the
 * last cut and the records after it are the shard as it was. hr_shard_replay() in shard.h puts a record back.
 *
 * A record is of one message. It holds the push sections that were applied, as they were, and of the sessions and jobs
 * that changed what a cut at this moment would say of them: so what waits for its step is in neither. Outside of
 * hr_shard_receive(), and without a log, these calls do nothing. */
#ifndef HR_SHARD_LOG_H
#define HR_SHARD_LOG_H

#include "shard_session.h"

struct hr_job;

/* Room for what a message is about to change, before it changes anything: push_bytes of pushes (hr_log_push_bytes),
 * which may have to wait until the disk has taken others, and whatever else it may be.
 *   HOTROW_ERR_BUSY, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_log_reserve(hr_shard *shard, size_t push_bytes);
size_t hr_log_push_bytes(uint64_t payload_bytes, size_t section_count);

void hr_log_push(hr_shard *shard, const hr_header *header, const hr_section *sections, size_t section_count);
void hr_log_table(hr_shard *shard, uint32_t table);
void hr_log_session(hr_shard *shard, hr_session *session); /* its job must be in the log, or in a cut */
void hr_log_session_gone(hr_shard *shard, hr_session_id id);
void hr_log_job(hr_shard *shard, const struct hr_job *job);
void hr_log_job_gone(hr_shard *shard, uint64_t id);

/* The message is done: its record, if it has one, is whole. */
void hr_log_end(hr_shard *shard);

#endif
