#include <hr/random.h>

#include <math.h>

#include <hr/assert.h>

#define TRIES_MAX 22u

/* 24 random bits of (stream, counter) as a float in [0, 1): exact, so every machine agrees. */
static float unit(uint64_t stream, uint32_t counter)
{
  return (float)(hr_mix64(stream + (uint64_t)(counter + 1) * 0x9e3779b97f4a7c15u) >> 40) * 0x1p-24f;
}

/* Box and Muller (1958), in double so that the last bit of libm's float functions does not matter. */
static float normal(uint64_t stream, uint32_t column)
{
  double radius = sqrt(-2.0 * log(1.0 - (double)unit(stream, 2 * column)));
  return (float)(radius * cos(6.283185307179586 * (double)unit(stream, 2 * column + 1)));
}

/* The first of at most TRIES_MAX normal numbers that lies within 2. Each try counts on behind the widest row, so that
 * the first is normal()'s. Of 22 tries all fail once in 10^29 numbers: then it is the limit. */
static float truncated_normal(uint64_t stream, uint32_t column)
{
  float value = 0.0f;
  for (uint32_t try = 0; try < TRIES_MAX; try++) {
    value = normal(stream, column + try * HOTROW_DIM_MAX);
    if (fabsf(value) <= 2.0f)
      return value;
  }
  return copysignf(2.0f, value);
}

static uint64_t stream_of(uint64_t seed, uint64_t table_seed, uint64_t key)
{
  return hr_mix64(hr_mix64(seed ^ 0x6a09e667f3bcc909u) ^ hr_mix64(table_seed + 0xbb67ae8584caa73bu) ^
                  hr_mix64(key + 0x3c6ef372fe94f82bu));
}

static void fill(const hotrow_initializer *initializer, uint64_t stream, uint32_t dim, float *row)
{
  HOTROW_ASSERT(initializer->kind != HOTROW_INIT_DEFAULT);
  float scale = initializer->scale;
  for (uint32_t column = 0; column < dim; column++) {
    switch (initializer->kind) {
    case HOTROW_INIT_CONSTANT:
      row[column] = scale;
      break;
    case HOTROW_INIT_UNIFORM:
      row[column] = (2.0f * unit(stream, column) - 1.0f) * scale;
      break;
    case HOTROW_INIT_NORMAL:
      row[column] = normal(stream, column) * scale;
      break;
    case HOTROW_INIT_TRUNCATED_NORMAL:
      row[column] = truncated_normal(stream, column) * scale;
      break;
    default:
      row[column] = 0.0f;
    }
  }
}

void hr_init_row(const hotrow_initializer *initializer, uint64_t seed, uint64_t table_seed, uint64_t key, uint32_t dim,
                 float *row)
{
  fill(initializer, stream_of(seed, table_seed, key), dim, row);
}

void hr_init_segments(const hotrow_segment *segments, uint32_t segment_count, uint64_t seed, uint64_t table_seed,
                      uint64_t key, float *row)
{
  uint64_t stream = stream_of(seed, table_seed, key);
  for (uint32_t i = 0; i < segment_count; row += segments[i++].dim, stream = hr_mix64(stream + 0xa54ff53a5f1d36f1u))
    fill(&segments[i].initializer, stream, segments[i].dim, row);
}

uint64_t hr_rounding_stream(uint64_t seed, uint64_t table_seed, uint64_t key, uint32_t clock)
{
  return hr_mix64(hr_mix64(stream_of(seed, table_seed, key) ^ 0x510e527fade682d1u) + clock);
}
