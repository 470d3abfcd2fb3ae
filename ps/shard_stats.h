/* What a shard counts and holds, as numbers and as text. */
#ifndef HR_SHARD_STATS_H
#define HR_SHARD_STATS_H

#include "shard_session.h"

/* Sessions, blobs, announcements, requests that wait, memory for replies. */
size_t hr_shard_buffer_bytes(const hr_shard *shard);

hotrow_status hr_admin_stats(hr_shard *shard, hr_session *session, const hr_message *message);

#endif
