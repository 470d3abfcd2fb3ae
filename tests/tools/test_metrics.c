#include <math.h>

#include <hr/random.h>

#include "hr_test.h"
#include "metrics.h"

static double auc_of(const float *scores, const float *labels, size_t count)
{
  double auc = -1;
  CHECK_OK(hr_auc(scores, labels, count, &auc));
  return auc;
}

static double naive_auc(const float *scores, const float *labels, size_t count)
{
  double won = 0, pairs = 0;
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < count; j++) {
      if (labels[i] < 0.5f || labels[j] > 0.5f)
        continue;
      pairs++;
      won += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
    }
  }
  return pairs > 0 ? won / pairs : 0.5;
}

static void auc_known(void)
{
  const float scores[4] = {0.1f, 0.4f, 0.35f, 0.8f}, labels[4] = {0, 0, 1, 1};
  const float same[4] = {3, 3, 3, 3}, ones[4] = {1, 1, 1, 1}, reversed[4] = {1, 1, 0, 0};
  CHECK(auc_of(scores, labels, 4) == 0.75);
  CHECK(auc_of(labels, labels, 4) == 1);
  CHECK(auc_of(labels, reversed, 4) == 0);
  CHECK(auc_of(same, labels, 4) == 0.5);
  CHECK(auc_of(scores, ones, 4) == 0.5); /* one class alone */
  CHECK(auc_of(scores, labels, 0) == 0.5);
}

/* Few distinct scores make many ties; infinities are scores like others. */
static void auc_against_all_pairs(void)
{
  enum { COUNT_MAX = 300 };
  static float scores[COUNT_MAX], labels[COUNT_MAX];
  hr_rng rng = {hr_test_seed(1)};
  for (int round = 0; round < 200; round++) {
    const size_t count = (size_t)hr_rng_below(&rng, COUNT_MAX);
    const uint64_t distinct = 1 + hr_rng_below(&rng, round % 2 == 0 ? 5 : 100000);
    for (size_t i = 0; i < count; i++) {
      scores[i] = (float)hr_rng_below(&rng, distinct) - 2;
      if (hr_rng_below(&rng, 50) == 0)
        scores[i] = hr_rng_below(&rng, 2) ? INFINITY : -INFINITY;
      labels[i] = (float)(hr_rng_below(&rng, 3) == 0);
    }
    const double fast = auc_of(scores, labels, count), naive = naive_auc(scores, labels, count);
    CHECK_MSG(fabs(fast - naive) < 1e-12, "round %d, %zu samples: auc %.15g, all pairs %.15g", round, count, fast,
              naive);
  }
}

static void logloss_and_sigmoid(void)
{
  CHECK(hr_sigmoid(0) == 0.5f);
  CHECK(hr_sigmoid(1000) == 1 && hr_sigmoid(-1000) == 0);
  CHECK(fabs(hr_logloss(0, 1) - log(2)) < 1e-15 && fabs(hr_logloss(0, 0) - log(2)) < 1e-15);
  for (float logit = -12; logit <= 12; logit += 0.25f) {
    const double p = 1 / (1 + exp(-(double)logit));
    CHECK(fabs((double)hr_sigmoid(logit) - p) < 1e-7);
    CHECK(fabs(hr_logloss(logit, 1) + log(p)) < 1e-9);
    CHECK(fabs(hr_logloss(logit, 0) + log(1 - p)) < 1e-9);
  }
  CHECK(hr_logloss(-500, 1) == 500 && hr_logloss(500, 0) == 500); /* where the probability is 0 in any float */
  CHECK(hr_logloss(500, 1) < 1e-200 && isfinite(hr_logloss(5000, 0)));
}

int main(void)
{
  RUN(auc_known);
  RUN(auc_against_all_pairs);
  RUN(logloss_and_sigmoid);
  return 0;
}
