/* How good predictions are. All sums are double, so that a test set of any size is exact enough. */
#ifndef HR_METRICS_H
#define HR_METRICS_H

#include <math.h>

#include <hr/shared_fn.h>
#include <hr/status.h>

/* The probability of a click, without overflow for any logit. */
HR_SHARED_FN float hr_sigmoid(float logit)
{
  return 1 / (1 + expf(-logit));
}

/* Logistic loss of one sample, from its logit: exact where the probability rounds to 0 or 1. */
HR_SHARED_FN double hr_logloss(float logit, float label)
{
  const double toward_label = label > 0.5f ? (double)logit : -(double)logit;
  /* log(1 + exp(-x)), arranged so that exp never overflows. */
  return toward_label > 0 ? log1p(exp(-toward_label)) : log1p(exp(toward_label)) - toward_label;
}

/* Area under the ROC curve: the probability that a positive has the higher score, ties counting half. Exact, by ranks,
 * O(n log n). Scores must not be NaN. 0.5 if one class is missing. *auc_p is set on success.
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_auc(const float *scores, const float *labels, size_t count, double *auc_p);

#endif
