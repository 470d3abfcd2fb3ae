/* Requests whose rows only the storage has. They are not begun before the rows are in memory: the storage reads them on
 * a thread of its own, some hundred at a time, and others are served meanwhile. One thread.
 *
 * A request that is parked has had no effect but for rows that came back, or that a pull would have made: it is as if
 * it had come later. What its session sends after it waits behind it, so a stream stays in order.
 *
 * A read may be of any moment since it was asked for. It holds nevertheless, as long as no cut that was begun since
 * then has ended: a row that is in memory when the read comes is taken as it is there, and one that is not cannot have
 * been there and changed, as a changed row stays until a cut that has it has ended. A row that went for good is not
 * asked for before the cut that deletes it has ended. After such a cut the row is read again. */
#ifndef HR_SHARD_PARK_H
#define HR_SHARD_PARK_H

#include "shard_session.h"

#define HR_PARKED_REQUESTS_MAX 1024u /* of all sessions; each has one read on its way at most */
#define HR_PARKED_BEHIND_MAX 128u    /* of one session */
#define HR_PARKED_BYTES_MAX                                                                                            \
  ((size_t)256 << 20) /* copies of requests; or a part of the shard's memory. One always goes */
#define HR_PARKED_MEMORY_SHIFT 3u

/* The message in hand (shard->request, in these frames), which was admitted: true if it is not to be served now. It is
 * parked, or refused (HOTROW_ERR_BUSY), or is there already. */
bool hr_park(hr_shard *shard, hr_session *session, const hr_frame *frames, size_t frame_count);

/* The session goes, and what it has parked. */
void hr_park_forget(hr_shard *shard, hr_session *session);
/* There are no sessions any more, and the storage has forgotten what it was asked for. */
void hr_park_end(hr_shard *shard);

#endif
