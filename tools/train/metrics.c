#include "metrics.h"

#include <stdlib.h>

#include <hr/memory.h>

typedef struct scored {
  float score;
  float label;
} scored;

static int scored_compare(const void *a_p, const void *b_p)
{
  const float a = ((const scored *)a_p)->score, b = ((const scored *)b_p)->score;
  return (a > b) - (a < b);
}

hotrow_status hr_auc(const float *scores, const float *labels, size_t count, double *auc_p)
{
  void *memory;
  HOTROW_TRY(hr_alloc(count, sizeof(scored), "scores to rank", &memory));
  scored *sorted = memory;
  for (size_t i = 0; i < count; i++)
    sorted[i] = (scored){scores[i], labels[i]};
  qsort(sorted, count, sizeof *sorted, scored_compare);

  /* Pairs (negative, positive) in the right order; twice, so that half a pair is a whole number. */
  double pairs_twice = 0, negatives = 0, positives = 0;
  for (size_t begin = 0, end; begin < count; begin = end) {
    double tied_positives = 0, tied_negatives = 0;
    for (end = begin; end < count && sorted[end].score == sorted[begin].score; end++) {
      tied_positives += sorted[end].label > 0.5f;
      tied_negatives += sorted[end].label <= 0.5f;
    }
    pairs_twice += tied_positives * (2 * negatives + tied_negatives);
    negatives += tied_negatives;
    positives += tied_positives;
  }
  free(sorted);
  *auc_p = negatives > 0 && positives > 0 ? pairs_twice / (2 * negatives * positives) : 0.5;
  return HOTROW_OK;
}
