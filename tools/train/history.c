#include "history.h"

uint64_t hr_history_interval(uint64_t step_total)
{
  return step_total / (HR_HISTORY_POINTS_MAX / 2) + 1;
}

void hr_history_add_step(hr_history *history, uint64_t step, double loss_sum, uint64_t train_ns,
                         const hotrow_client_stats *stats)
{
  if (history->point_count < HR_HISTORY_POINTS_MAX)
    history->points[history->point_count++] =
        (hr_history_point){.step = step, .loss = loss_sum, .train_ns = train_ns, .stats = *stats};
}

void hr_history_add_scores(hr_history *history, uint64_t step, const hr_score *valid, const hr_score *test)
{
  if (history->score_count < HR_HISTORY_SCORES_MAX)
    history->scores[history->score_count++] = (hr_history_score){.step = step, .valid = *valid, .test = *test};
}
