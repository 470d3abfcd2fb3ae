/* The result of a job on stdout: a table to read, or one JSON object. */
#ifndef HR_REPORT_H
#define HR_REPORT_H

#include "train_state.h"

/* Adds up the counters of all ranks (so every rank must call it) and prints, on rank 0. */
hotrow_status hr_report(hr_trainer *trainer);

#endif
