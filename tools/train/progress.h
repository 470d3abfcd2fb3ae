/* What a person sees of a job while it runs, on stderr, from rank 0 alone: on a terminal one line redrawn, else a line
 * after a second and then every few; and a line per evaluation. */
#ifndef HR_PROGRESS_H
#define HR_PROGRESS_H

#include "train_state.h"

typedef struct hr_progress {
  bool is_shown; /* this process is rank 0 */
  bool is_terminal;
  bool is_line_open; /* the redrawn line stands on the terminal */
  bool has_shown;    /* a line at least */
  uint64_t shown_ns;
  uint64_t shown_step;
} hr_progress;

void hr_progress_init(hr_progress *progress, const hr_trainer *trainer);
/* After each step: `done` of the epoch's `total`. */
void hr_progress_step(hr_progress *progress, const hr_trainer *trainer, uint64_t done, uint64_t total);
void hr_progress_evaluation(hr_progress *progress, const hr_trainer *trainer, const hr_score *valid,
                            const hr_score *test);
void hr_progress_end(hr_progress *progress);

#endif
