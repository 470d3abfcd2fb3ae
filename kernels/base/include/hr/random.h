/* Random numbers that depend only on their arguments (for rows) or on a seed (for tests and generators). */
#ifndef HR_RANDOM_H
#define HR_RANDOM_H

#include <hotrow/base.h>
#include <hr/shared_fn.h>

/* Fills row[dim] with the initial value of a key: a counter-based generator over (seed, table_seed, key, column). */
void hr_init_row(const hotrow_initializer *initializer, uint64_t seed, uint64_t table_seed, uint64_t key, uint32_t dim,
                 float *row);

/* Likewise the values of all segments of a row, one behind the other. Each segment has numbers of its own: two with the
 * same initializer differ. A row of one segment is hr_init_row(). */
void hr_init_segments(const hotrow_segment *segments, uint32_t segment_count, uint64_t seed, uint64_t table_seed,
                      uint64_t key, float *row);

/* The stream of random bits by which a row of this clock is rounded. */
uint64_t hr_rounding_stream(uint64_t seed, uint64_t table_seed, uint64_t key, uint32_t clock);

/* splitmix64 (Steele et al. 2014): a stream of 64-bit numbers from any seed. */
typedef struct hr_rng {
  uint64_t state;
} hr_rng;

HR_SHARED_FN uint64_t hr_mix64(uint64_t x)
{
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static inline uint64_t hr_rng_next(hr_rng *rng)
{
  return hr_mix64(rng->state += 0x9e3779b97f4a7c15u);
}

__extension__ typedef unsigned __int128 hr_u128;

/* A number in [0, limit); limit > 0. */
static inline uint64_t hr_rng_below(hr_rng *rng, uint64_t limit)
{
  return (uint64_t)(((hr_u128)hr_rng_next(rng) * limit) >> 64);
}

/* A float in [0, 1) with 24 random bits. */
static inline float hr_rng_unit(hr_rng *rng)
{
  return (float)(hr_rng_next(rng) >> 40) * 0x1p-24f;
}

#endif
