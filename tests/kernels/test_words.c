#include "kernel_test.h"

#define WORDS_MAX 5000u

/* Freed by kernel_test_release: random_floats keeps the list. */
static uint32_t *random_words(hr_rng *rng, size_t count)
{
  uint32_t *words = (uint32_t *)(void *)random_floats(rng, count);
  for (size_t i = 0; i < count; i++)
    words[i] = (uint32_t)hr_rng_next(rng);
  return words;
}

static void check_gather(hr_rng *rng, uint32_t count)
{
  uint32_t *words = random_words(rng, WORDS_MAX), *index = random_words(rng, count);
  uint32_t *out = random_words(rng, count + 1), behind = out[count];
  for (uint32_t i = 0; i < count; i++)
    index[i] %= WORDS_MAX;
  uint32_t *device_out = TO_DEVICE(out, count + 1);
  kernels->gather_words(TO_DEVICE(words, WORDS_MAX), TO_DEVICE(index, count), count, NULL, device_out);
  from_device(out, device_out, (count + 1) * sizeof *out);
  for (uint32_t i = 0; i < count; i++)
    CHECK_MSG(out[i] == words[index[i]], "word %u of %u", i, count);
  CHECK_EQ(out[count], behind);
  kernel_test_release();
}

static void check_scatter(hr_rng *rng, uint32_t count)
{
  uint32_t *words = random_words(rng, WORDS_MAX), *values = random_words(rng, count);
  uint32_t *index = random_distinct(rng, count, WORDS_MAX), *expected = random_words(rng, WORDS_MAX);
  memcpy(expected, words, WORDS_MAX * sizeof *words);
  for (uint32_t i = 0; i < count; i++)
    expected[index[i]] = values[i];
  uint32_t *device_words = TO_DEVICE(words, WORDS_MAX);
  kernels->scatter_words(TO_DEVICE(values, count), TO_DEVICE(index, count), count, NULL, device_words);
  from_device(words, device_words, WORDS_MAX * sizeof *words);
  CHECK_EQ(memcmp(words, expected, WORDS_MAX * sizeof *words), 0);
  kernel_test_release();
}

static void check_segments(hr_rng *rng, uint32_t count, bool has_words)
{
  uint32_t total, *offsets = random_offsets(rng, count, &total);
  uint32_t *words = random_words(rng, total), *positions = random_distinct(rng, total, total);
  uint32_t *sums = random_words(rng, count + 1), behind = sums[count], *device_sums = TO_DEVICE(sums, count + 1);
  kernels->segment_words(has_words ? TO_DEVICE(words, total) : NULL, TO_DEVICE(positions, total),
                         TO_DEVICE(offsets, count + 1), count, NULL, device_sums);
  from_device(sums, device_sums, (count + 1) * sizeof *sums);
  for (uint32_t s = 0; s < count; s++) {
    uint32_t expected = 0;
    for (uint32_t j = offsets[s]; j < offsets[s + 1]; j++)
      expected += has_words ? words[positions[j]] : 1;
    CHECK_MSG(sums[s] == expected, "segment %u of %u: %u, expected %u", s, count, sums[s], expected);
  }
  CHECK_EQ(sums[count], behind);
  kernel_test_release();
}

static void words_go_where_their_index_says(void)
{
  static const uint32_t counts[] = {0, 1, 255, 256, 257, 3001};
  hr_rng rng = {hr_test_seed(37)};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    check_gather(&rng, counts[i]);
    check_scatter(&rng, counts[i]);
    check_segments(&rng, counts[i], true);
    check_segments(&rng, counts[i], false);
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(words_go_where_their_index_says);
  return 0;
}
