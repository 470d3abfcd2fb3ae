/* How good predictions are. All sums are double, so that a test set of any size is exact enough. */
#ifndef HR_METRICS_H
#define HR_METRICS_H

#include <hr/status.h>

/* The probability of a click, without overflow for any logit. */
float hr_sigmoid(float logit);

/* Logistic loss of one sample, from its logit: exact where the probability rounds to 0 or 1. */
double hr_logloss(float logit, float label);

/* Area under the ROC curve: the probability that a positive has the higher score, ties counting half. Exact, by ranks,
 * O(n log n). Scores must not be NaN. 0.5 if one class is missing. *auc_p is set on success.
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_auc(const float *scores, const float *labels, size_t count, double *auc_p);

#endif
