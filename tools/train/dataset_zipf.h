/* Ranks begin..end with a probability in proportion to rank^-exponent, in constant time and without a table of them:
 * rejection-inversion (Hoermann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
 * distributions", 1996). */
#ifndef HR_DATASET_ZIPF_H
#define HR_DATASET_ZIPF_H

#include <hr/random.h>

typedef struct hr_zipf {
  double begin, end;    /* ranks, both included */
  double exponent;      /* > 0, not 1 */
  double low, high;     /* the range of the integral from which a rank is inverted */
  double sure_distance; /* a rank this close above its inverted point needs no further test */
} hr_zipf;

void hr_zipf_init(hr_zipf *zipf, uint64_t begin, uint64_t end, double exponent);

/* `unit` in [0, 1) is the first random number; the few rejected ones are replaced from rng. */
uint64_t hr_zipf_draw(const hr_zipf *zipf, double unit, hr_rng *rng);

/* A double in [0, 1) of the low 53 bits. */
static inline double hr_unit_double(uint64_t bits)
{
  return (double)(bits & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

#endif
