/* What a pull is answered with. */
#ifndef HR_SHARD_PULL_H
#define HR_SHARD_PULL_H

#include "shard_session.h"

/* Serves a pull whose time has come, or says why not. */
void hr_data_answer_pull(hr_shard *shard, hr_session *session, const hr_header *header, const hr_section *sections,
                         size_t section_count);

#endif
