/* The course of a run, for its report: counters every so many steps, scores at every evaluation. */
#ifndef HR_HISTORY_H
#define HR_HISTORY_H

#include <hotrow/hotrow.h>

#define HR_HISTORY_POINTS_MAX 512u
#define HR_HISTORY_SCORES_MAX 1024u

typedef struct hr_score {
  double auc;
  double logloss;
} hr_score;

/* Sums since the begin of the run. */
typedef struct hr_history_point {
  uint64_t step;
  double loss; /* of the samples of all ranks */
  uint64_t train_ns;
  hotrow_client_stats stats; /* of rank 0 */
} hr_history_point;

typedef struct hr_history_score {
  uint64_t step;
  hr_score valid, test;
} hr_history_score;

typedef struct hr_history {
  hr_history_point points[HR_HISTORY_POINTS_MAX];
  hr_history_score scores[HR_HISTORY_SCORES_MAX];
  size_t point_count, score_count;
} hr_history;

/* Steps between two points, so that a run of step_total steps fills about half of them. */
uint64_t hr_history_interval(uint64_t step_total);
/* What finds no room is left out. */
void hr_history_add_step(hr_history *history, uint64_t step, double loss_sum, uint64_t train_ns,
                         const hotrow_client_stats *stats);
void hr_history_add_scores(hr_history *history, uint64_t step, const hr_score *valid, const hr_score *test);

#endif
