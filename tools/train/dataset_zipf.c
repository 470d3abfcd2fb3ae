#include "dataset_zipf.h"

#include <math.h>

#include <hr/assert.h>

static double weight(const hr_zipf *zipf, double rank)
{
  return pow(rank, -zipf->exponent);
}

/* An integral of the weight; increasing whether the exponent is below 1 or above. */
static double integral(const hr_zipf *zipf, double rank)
{
  return pow(rank, 1 - zipf->exponent) / (1 - zipf->exponent);
}

static double integral_inverse(const hr_zipf *zipf, double area)
{
  return pow(area * (1 - zipf->exponent), 1 / (1 - zipf->exponent));
}

void hr_zipf_init(hr_zipf *zipf, uint64_t begin, uint64_t end, double exponent)
{
  HOTROW_ASSERT(begin >= 1 && begin <= end && end < UINT64_C(1) << 48);
  HOTROW_ASSERT(exponent > 0 && fabs(exponent - 1) > 1e-6);
  *zipf = (hr_zipf){.begin = (double)begin, .end = (double)end, .exponent = exponent};
  double second = zipf->begin + 1;
  zipf->low = integral(zipf, zipf->begin + 0.5) - weight(zipf, zipf->begin);
  zipf->high = integral(zipf, zipf->end + 0.5);
  zipf->sure_distance = second - integral_inverse(zipf, integral(zipf, second + 0.5) - weight(zipf, second));
}

uint64_t hr_zipf_draw(const hr_zipf *zipf, double unit, hr_rng *rng)
{
  for (;;) {
    double area = zipf->high + unit * (zipf->low - zipf->high);
    double point = integral_inverse(zipf, area);
    double rank = floor(point + 0.5);
    rank = rank < zipf->begin ? zipf->begin : rank > zipf->end ? zipf->end : rank;
    if (rank - point <= zipf->sure_distance || area >= integral(zipf, rank + 0.5) - weight(zipf, rank))
      return (uint64_t)rank;
    unit = hr_unit_double(hr_rng_next(rng));
  }
}
