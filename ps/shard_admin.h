/* Tables, barriers, blobs, bye: the requests that are not data. */
#ifndef HR_SHARD_ADMIN_H
#define HR_SHARD_ADMIN_H

#include "shard_session.h"

/* Each sends its reply if it succeeds; else dispatch sends the refusal. */
hotrow_status hr_admin_table_create(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_admin_table_open(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_admin_table_list(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_admin_barrier(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_admin_blob_put(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_admin_blob_get(hr_shard *shard, hr_session *session, const hr_message *message);
hotrow_status hr_admin_bye(hr_shard *shard, hr_session *session, const hr_message *message);

/* Forgets the blobs of a job; only those that `owner` put unless it is NULL. */
void hr_blobs_drop(hr_shard *shard, uint64_t job, const hr_session_id *owner);
size_t hr_blobs_bytes(const hr_shard *shard); /* memory of all blobs */

#endif
