/* The statistics of a shard, from the text that it answers with. */
#ifndef HR_COUNTS_JSON_H
#define HR_COUNTS_JSON_H

#include <stdbool.h>

#include <hotrow/counts.h>

/* Numbers that are not there are 0; names that are not known are passed over. False if it is no JSON object. */
bool hr_counts_from_json(const char *json, hotrow_shard_counts *counts_p);

#endif
