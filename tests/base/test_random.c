#include <math.h>

#include <hr/hash.h>
#include <hr/random.h>

#include "hr_test.h"

#define DIM 4096

static float row[DIM], again[DIM];

static void fill(hotrow_initializer_kind kind, float scale, uint64_t seed, uint64_t table, uint64_t key, float *to)
{
  hotrow_initializer initializer = {kind, scale};
  hr_init_row(&initializer, seed, table, key, DIM, to);
}

static void moments(const float *x, double *mean_p, double *deviation_p)
{
  double sum = 0, squares = 0;
  for (int i = 0; i < DIM; i++) {
    sum += (double)x[i];
    squares += (double)x[i] * (double)x[i];
  }
  *mean_p = sum / DIM;
  *deviation_p = sqrt(squares / DIM - *mean_p * *mean_p);
}

static void a_row_depends_on_seed_table_and_key_alone(void)
{
  fill(HOTROW_INIT_UNIFORM, 1.0f, 1, 2, 3, row);
  fill(HOTROW_INIT_UNIFORM, 1.0f, 1, 2, 3, again);
  CHECK(memcmp(row, again, sizeof row) == 0);
  uint64_t others[3][3] = {{9, 2, 3}, {1, 9, 3}, {1, 2, 9}};
  for (int i = 0; i < 3; i++) {
    fill(HOTROW_INIT_UNIFORM, 1.0f, others[i][0], others[i][1], others[i][2], again);
    CHECK(memcmp(row, again, sizeof row) != 0);
  }
  hotrow_initializer initializer = {HOTROW_INIT_UNIFORM, 1.0f};
  hr_init_row(&initializer, 1, 2, 3, 8, again); /* a narrower row is a prefix */
  CHECK(memcmp(row, again, 8 * sizeof(float)) == 0);
}

static void segments_have_numbers_of_their_own(void)
{
  hotrow_segment segments[3] = {{.dim = 5, .initializer = {HOTROW_INIT_UNIFORM, 1.0f}},
                                {.dim = 1, .initializer = {HOTROW_INIT_CONSTANT, 3.0f}},
                                {.dim = 5, .initializer = {HOTROW_INIT_UNIFORM, 1.0f}}};
  hr_init_segments(segments, 3, 1, 2, 3, row);
  hr_init_row(&segments[0].initializer, 1, 2, 3, 5, again);
  CHECK(memcmp(row, again, 5 * sizeof(float)) == 0);
  CHECK(row[5] == 3.0f);
  for (int i = 0; i < 5; i++)
    CHECK(row[6 + i] != row[i] && row[6 + i] >= -1.0f && row[6 + i] < 1.0f);
}

static void distributions_have_their_moments(void)
{
  double mean, deviation;
  fill(HOTROW_INIT_UNIFORM, 0.5f, 1, 1, UINT64_MAX, row);
  moments(row, &mean, &deviation);
  CHECK_MSG(fabs(mean) < 0.02 && fabs(deviation - 0.5 / sqrt(3)) < 0.01, "mean %g deviation %g", mean, deviation);
  for (int i = 0; i < DIM; i++)
    CHECK(row[i] >= -0.5f && row[i] < 0.5f);
  fill(HOTROW_INIT_NORMAL, 2.0f, 1, 1, 0, row);
  moments(row, &mean, &deviation);
  CHECK_MSG(fabs(mean) < 0.15 && fabs(deviation - 2) < 0.1, "mean %g deviation %g", mean, deviation);
  fill(HOTROW_INIT_CONSTANT, 0.25f, 1, 1, 0, row);
  CHECK(row[0] == 0.25f && row[DIM - 1] == 0.25f);
  fill(HOTROW_INIT_ZERO, 7.0f, 1, 1, 0, row);
  CHECK(row[0] == 0.0f && row[DIM - 1] == 0.0f);
}

/* The truncated row is the normal one wherever that lies within two deviations, and elsewhere its own draw. The
 * deviation of a normal variable cut at 2 is 0.8796. */
static void truncated_numbers_are_normal_ones_within_two_deviations(void)
{
  double mean, deviation;
  int redrawn = 0, beyond_one = 0;
  fill(HOTROW_INIT_NORMAL, 0.5f, 1, 1, 7, row);
  fill(HOTROW_INIT_TRUNCATED_NORMAL, 0.5f, 1, 1, 7, again);
  for (int i = 0; i < DIM; i++) {
    CHECK(fabsf(again[i]) <= 1.0f);
    if (fabsf(row[i]) <= 1.0f)
      CHECK(again[i] == row[i]);
    else {
      redrawn++;
      CHECK(i + 1 == DIM || again[i] != row[i + 1]); /* a number of its own */
      beyond_one += fabsf(again[i]) > 0.5f;
    }
  }
  CHECK_MSG(redrawn > DIM * 0.03 && redrawn < DIM * 0.06, "%d of %d redrawn", redrawn, DIM);
  CHECK_MSG(beyond_one > redrawn * 0.15 && beyond_one < redrawn * 0.45, "%d of %d redrawn lie beyond 1 deviation",
            beyond_one, redrawn);
  moments(again, &mean, &deviation);
  CHECK_MSG(fabs(mean) < 0.03 && fabs(deviation - 0.5 * 0.8796) < 0.02, "mean %g deviation %g", mean, deviation);
}

/* What dedup and the cache rely on: for a fixed table the hash of a key is a bijection. A million random pairs would
 * not show a collision of 64-bit hashes; the inverse function does. XXH3 of 8 bytes: xor with two rotations, multiply,
 * xor-shift, multiply, xor-shift; each is undone here. */
static uint64_t undo_xorshift(uint64_t y, int shift)
{
  uint64_t x = y;
  for (int i = 0; i < 64 / shift + 1; i++)
    x = y ^ (x >> shift);
  return x;
}

static uint64_t inverse_of_odd(uint64_t a)
{
  uint64_t x = a;
  for (int i = 0; i < 6; i++)
    x *= 2 - a * x;
  return x;
}

static uint64_t rotate(uint64_t x, int by)
{
  return x << by | x >> (64 - by);
}

static uint64_t undo_hash(uint64_t hash, uint64_t flip)
{
  const uint64_t prime = 0x9FB21C651E98DF25u;
  uint64_t h = undo_xorshift(hash, 28) * inverse_of_odd(prime);
  h ^= (h >> 35) + 8; /* the top bits are untouched, so the same xor undoes itself */
  h *= inverse_of_odd(prime);
  /* 1 + x^24 + x^49 over rotations: squaring 6 times gives 1, so its inverse is its 63rd power. */
  uint64_t x = h;
  for (int i = 0; i < 6; i++) {
    int a = (24 << i) % 64, b = (49 << i) % 64;
    x = x ^ (a ? rotate(x, a) : x) ^ (b ? rotate(x, b) : x);
  }
  uint64_t keyed = x ^ flip;
  return keyed >> 32 | keyed << 32;
}

static void the_hash_of_a_key_can_be_undone(void)
{
  hr_rng rng = {hr_test_seed(5)};
  for (int round = 0; round < 100000; round++) {
    uint64_t key = hr_rng_next(&rng), seed = round % 7 == 0 ? 0 : hr_rng_next(&rng);
    /* The value that the seed mixes in, found from one hash; then every other key must come back through it. */
    uint64_t flip = undo_hash(hr_key_hash(0, seed), 0);
    flip = flip >> 32 | flip << 32;
    CHECK(undo_hash(hr_key_hash(key, seed), flip) == key);
  }
}

int main(void)
{
  RUN(a_row_depends_on_seed_table_and_key_alone);
  RUN(segments_have_numbers_of_their_own);
  RUN(distributions_have_their_moments);
  RUN(truncated_numbers_are_normal_ones_within_two_deviations);
  RUN(the_hash_of_a_key_can_be_undone);
  return 0;
}
