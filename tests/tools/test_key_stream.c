/* Streams of keys, and the oracle against trying every choice. */
#include "hr_test.h"

#include <hr/random.h>

#include "data_files.h"
#include "key_stream.h"

static void test_refusals(void)
{
  hr_key_stream stream;
  CHECK_FAILS(hr_key_stream_from_trace("/nonexistent/trace", 4, &stream), HOTROW_ERR_NOT_FOUND, "/nonexistent/trace");
  CHECK_FAILS(hr_key_stream_from_trace(data_file_write("odd", DATA_XZ, "123456789", 9), 4, &stream), HOTROW_ERR_CORRUPT,
              "9 bytes");
  CHECK_FAILS(hr_key_stream_from_trace(data_file_write("empty", DATA_PLAIN, "", 0), 4, &stream), HOTROW_ERR_CORRUPT,
              "0 bytes");
}

static void test_batches_and_next_uses(void)
{
  /* Big-endian: 7 7 5 | 5 9 7 | 7 (a short last batch) */
  static const unsigned char keys[] = {7, 7, 5, 5, 9, 7, 7};
  unsigned char bytes[sizeof keys * 8] = {0};
  for (size_t i = 0; i < sizeof keys; i++)
    bytes[i * 8 + 7] = keys[i];
  for (data_kind kind = 0; kind < DATA_KIND_COUNT; kind++) {
    hr_key_stream stream;
    CHECK_OK(hr_key_stream_from_trace(data_file_write("trace", kind, bytes, sizeof bytes), 3, &stream));
    static const uint32_t expected[] = {0, 1, 1, 2, 0, 0},
                          next[] = {1, 1, HR_STREAM_NEVER, HR_STREAM_NEVER, 2, HR_STREAM_NEVER};
    CHECK_EQ(stream.accesses, 7);
    CHECK_EQ(stream.key_count, 3);
    CHECK_EQ(stream.batch_count, 3);
    CHECK_EQ(stream.offsets[1], 2);
    CHECK_EQ(stream.offsets[2], 5);
    CHECK_EQ(stream.offsets[3], 6);
    CHECK(memcmp(stream.keys, expected, sizeof expected) == 0);
    CHECK(memcmp(stream.next_use, next, sizeof next) == 0);
    hr_key_stream_fini(&stream);
  }
}

static void test_shape(void)
{
  hr_key_stream stream, same;
  CHECK_OK(hr_key_stream_from_shape(20, 128, 1, &stream));
  CHECK_OK(hr_key_stream_from_shape(20, 128, 1, &same));
  CHECK_EQ(stream.batch_count, 20);
  CHECK_EQ(stream.accesses, 20 * 128 * 26);
  CHECK_EQ(stream.offsets[20], same.offsets[20]);
  const double distinct = (double)stream.offsets[20] / (double)stream.accesses;
  CHECK_MSG(distinct > 0.45 && distinct < 0.47, "%.4f distinct keys per access", distinct); /* 0.458 by design */
  hr_key_stream_fini(&stream);
  hr_key_stream_fini(&same);
}

/* Tries every way to keep at most row_count of what is held and what came: keys are bits of a set. */
static uint64_t best_hits(const hr_key_stream *stream, size_t batch, uint32_t held, uint32_t row_count)
{
  if (batch == stream->batch_count)
    return 0;
  uint32_t came = 0;
  for (size_t i = stream->offsets[batch]; i < stream->offsets[batch + 1]; i++)
    came |= 1u << stream->keys[i];
  const uint32_t all = held | came;
  uint64_t best = 0;
  for (uint32_t kept = all;; kept = (kept - 1) & all) {
    if (__builtin_popcount(kept) <= (int)row_count) {
      const uint64_t hits = best_hits(stream, batch + 1, kept, row_count);
      best = hits > best ? hits : best;
    }
    if (kept == 0)
      break;
  }
  return best + (uint64_t)__builtin_popcount(held & came);
}

static void test_belady_is_the_best(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (int run = 0; run < 300; run++) {
    uint64_t keys[12], hits;
    const size_t batch_keys = 1 + hr_rng_below(&rng, 3), count = batch_keys * (1 + hr_rng_below(&rng, 4));
    const uint32_t row_count = (uint32_t)hr_rng_below(&rng, 4);
    for (size_t i = 0; i < count; i++)
      keys[i] = hr_rng_below(&rng, 6);
    hr_key_stream stream;
    CHECK_OK(hr_key_stream_make(keys, count, batch_keys, &stream));
    CHECK_OK(hr_belady_hits(&stream, row_count, &hits));
    CHECK_EQ(hits, best_hits(&stream, 0, 0, row_count));
    hr_key_stream_fini(&stream);
  }
}

int main(void)
{
  RUN(test_refusals);
  RUN(test_batches_and_next_uses);
  RUN(test_shape);
  RUN(test_belady_is_the_best);
  return 0;
}
