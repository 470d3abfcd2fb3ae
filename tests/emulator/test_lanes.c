/* What lanes of a warp and of a block give each other, against plain loops. */
#include "emulator_kernels.h"
#include "hr_test.h"
#include <hr/random.h>

#define LANES_MAX 1024u

static uint32_t values[LANES_MAX * 8], results[LANES_MAX * COLLECTIVE_RESULTS];

static void *on_device(const void *from, size_t size_bytes)
{
  void *memory = NULL;
  CHECK(cudaMalloc(&memory, size_bytes) == cudaSuccess);
  if (from)
    CHECK(cudaMemcpy(memory, from, size_bytes, cudaMemcpyHostToDevice) == cudaSuccess);
  else
    CHECK(cudaMemset(memory, 0, size_bytes) == cudaSuccess);
  return memory;
}

static void fetch(void *to, void *device, size_t size_bytes)
{
  CHECK(cudaMemcpy(to, device, size_bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(cudaFree(device) == cudaSuccess);
}

typedef struct group {
  uint32_t first, end; /* lanes of the block */
} group;

static uint32_t ballot(group g, uint32_t warp_first, bool (*is_so)(uint32_t value))
{
  uint32_t bits = 0;
  for (uint32_t i = g.first; i < g.end; i++)
    bits |= (uint32_t)is_so(values[i]) << (i - warp_first);
  return bits;
}

static bool is_odd(uint32_t value)
{
  return value & 1;
}

static bool has_second_bit(uint32_t value)
{
  return value & 2;
}

static void expect_of(uint32_t i, uint32_t lane_count, uint32_t *r)
{
  uint32_t first = i / 32 * 32, end = first + 32 < lane_count ? first + 32 : lane_count, lane = i % 32;
  uint32_t half_first = i / 16 * 16, half_end = half_first + 16 < end ? half_first + 16 : end;
  r[0] = ballot((group){first, end}, first, is_odd);
  r[1] = ballot((group){half_first, half_end}, first, has_second_bit);
  r[2] = values[first];
  r[3] = values[i / 8 * 8 + 5] << 3;
  r[4] = values[lane < 3 ? i : i - 3];
  r[5] = values[lane % 4 < 2 ? i + 2 : i];
  r[6] = values[i ^ 1];
  for (uint32_t k = first; k < end; k++) {
    r[7] |= (uint32_t)(values[k] % 3 == values[i] % 3) << (k - first);
    r[8] += values[k];
    r[10] = values[k] > r[10] ? values[k] : r[10];
    r[12] |= values[k] == 7;
  }
  int32_t smallest = INT32_MAX;
  r[13] = 1;
  for (uint32_t k = half_first; k < half_end; k++) {
    smallest = (int32_t)values[k] < smallest ? (int32_t)values[k] : smallest;
    r[11] ^= values[k];
    r[13] &= values[k] != 7;
  }
  r[9] = (uint32_t)smallest;
  for (uint32_t k = 0; k < lane_count; k++)
    r[14] += values[k] % 5 == 0;
  float last = (float)(values[end - 1] % 1000);
  memcpy(&r[15], &last, sizeof last);
}

static void collectives_give_what_they_say(void)
{
  hr_rng rng = {hr_test_seed(1)};
  const uint32_t lane_counts[] = {32, 64, 8, 24, 56, 1024};
  for (size_t n = 0; n < sizeof lane_counts / sizeof *lane_counts; n++)
    for (int round = 0; round < 4; round++) {
      uint32_t lane_count = lane_counts[n];
      for (uint32_t i = 0; i < lane_count; i++)
        values[i] = (uint32_t)(round == 0 ? hr_rng_next(&rng) : hr_rng_below(&rng, 40));
      void *device_values = on_device(values, lane_count * sizeof *values);
      void *device_results = on_device(NULL, lane_count * COLLECTIVE_RESULTS * sizeof *results);
      launch_collectives(device_values, device_results, lane_count, NULL);
      fetch(results, device_results, lane_count * COLLECTIVE_RESULTS * sizeof *results);
      cudaFree(device_values);
      for (uint32_t i = 0; i < lane_count; i++) {
        uint32_t expected[COLLECTIVE_RESULTS] = {0};
        expect_of(i, lane_count, expected);
        for (uint32_t k = 0; k < COLLECTIVE_RESULTS; k++)
          CHECK_MSG(results[i * COLLECTIVE_RESULTS + k] == expected[k],
                    "%u lanes, lane %u, result %u: %08x, expected %08x", lane_count, i, k,
                    results[i * COLLECTIVE_RESULTS + k], expected[k]);
      }
    }
}

static void blocks_share_memory_and_barriers(void)
{
  const uint32_t lane_counts[] = {1, 2, 32, 33, 256, 1024};
  for (size_t n = 0; n < sizeof lane_counts / sizeof *lane_counts; n++) {
    uint32_t lane_count = lane_counts[n], sums[8];
    for (uint32_t i = 0; i < 8 * lane_count; i++)
      values[i] = i * i + 1;
    void *device_values = on_device(values, 8 * lane_count * sizeof *values);
    void *device_sums = on_device(NULL, sizeof sums);
    launch_block_sums(device_values, device_sums, lane_count, 8, NULL);
    fetch(sums, device_sums, sizeof sums);
    cudaFree(device_values);
    for (uint32_t b = 0; b < 8; b++) {
      uint32_t expected = 0;
      for (uint32_t i = 0; i < lane_count; i++)
        expected += values[b * lane_count + i];
      CHECK_EQ(sums[b], expected);
    }
  }
}

static size_t ascents(const uint32_t *turns, size_t count)
{
  size_t found = 0;
  for (size_t i = 1; i < count; i++)
    found += turns[i] > turns[i - 1];
  return found;
}

/* Every block and lane comes once, and neither in its own order nor in the same order twice. */
static void blocks_and_lanes_come_in_any_order(void)
{
  enum { BLOCKS = 101, LANES = 96 };
  uint32_t block_turns[2][BLOCKS], lane_turns[2][LANES], counter;
  for (int round = 0; round < 2; round++) {
    void *device_counter = on_device(NULL, sizeof counter);
    void *device_blocks = on_device(NULL, sizeof block_turns[0]), *device_lanes = on_device(NULL, sizeof lane_turns[0]);
    launch_turns(device_counter, device_blocks, device_lanes, LANES, BLOCKS, NULL);
    fetch(block_turns[round], device_blocks, sizeof block_turns[0]);
    fetch(lane_turns[round], device_lanes, sizeof lane_turns[0]);
    fetch(&counter, device_counter, sizeof counter);
    CHECK_EQ(counter, BLOCKS * LANES);
    CHECK(ascents(block_turns[round], BLOCKS) < BLOCKS - 1 && ascents(lane_turns[round], LANES) < LANES - 1);
  }
  CHECK(memcmp(block_turns[0], block_turns[1], sizeof block_turns[0]) != 0);
}

static void shared_memory_comes_with_rubbish(void)
{
  for (int round = 0; round < 2; round++) {
    uint32_t peeked[2];
    uint32_t *device = on_device(NULL, sizeof peeked);
    launch_peek_shared(device, device + 1, NULL);
    fetch(peeked, device, sizeof peeked);
    CHECK_EQ(peeked[0], 0xa5a5a5a5u);
    CHECK_EQ(peeked[1], 0xa5a5a5a5u);
  }
}

int main(void)
{
  RUN(collectives_give_what_they_say);
  RUN(blocks_share_memory_and_barriers);
  RUN(blocks_and_lanes_come_in_any_order);
  RUN(shared_memory_comes_with_rubbish);
  return 0;
}
