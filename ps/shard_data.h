/* Pull, push, push_pull and tick. */
#ifndef HR_SHARD_DATA_H
#define HR_SHARD_DATA_H

#include "shard_session.h"

/* The requests, as dispatch hands them over. Each sends its reply, or leaves it to the step it waits for. */
void hr_data_pull(hr_shard *shard, hr_session *session, hr_message *message);
void hr_data_push(hr_shard *shard, hr_session *session, hr_message *message);
void hr_data_push_pull(hr_shard *shard, hr_session *session, hr_message *message);
void hr_data_tick(hr_shard *shard, hr_session *session, const hr_header *header);

/* Could these push sections be applied? HOTROW_ERR_NOT_FOUND, HOTROW_ERR_INVALID */
hotrow_status hr_data_check_push(const hr_shard *shard, const hr_section *sections, size_t section_count);
/* Applies sections that were checked, in order; the header is that of their push. */
hotrow_status hr_data_apply_push(hr_shard *shard, const hr_header *header, const hr_section *sections,
                                 size_t section_count);

#endif
