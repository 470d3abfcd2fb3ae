/* The hand that looks for dead rows among those that only the storage has: the next of them are read while the shard
 * goes on, and judged when they have come. One thread.
 *
 * It does not matter when a row is judged, as dead rows are found by nobody; but it must be judged by what it is. A
 * visit reads what comes, rows that are in memory too, and those of the cut under way: once this has ended they may
 * leave, and what was read of them may be from before. So a visit holds while no cut has ended since it was asked for:
 * a row that is neither in memory nor gone now has been neither since, and is as it was. Else the hand asks again. */
#ifndef HR_SHARD_VISIT_H
#define HR_SHARD_VISIT_H

#include "shard_state.h"

/* Asks for the next rows of a table, unless some are on their way, there are none, or the storage has failed. */
void hr_visit_ask(hr_shard *shard, uint32_t table, size_t row_count);
/* They have come. What cannot be read stays: who asks for it is told. */
void hr_visit_take(hr_shard *shard, hr_row_read *read);
/* The storage has forgotten what it was asked for. */
void hr_visit_end(hr_shard *shard);

#endif
