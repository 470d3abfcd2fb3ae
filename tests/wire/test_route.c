#include <hr/route.h>

#include "hr_test.h"

/* Every partition has one shard, shards own one run of partitions each in their own order, and no shard has more than
 * one partition more than another. */
static void shards_share_the_partitions(void)
{
  for (uint32_t shard_count = 1; shard_count <= HR_SHARD_COUNT_MAX; shard_count++) {
    uint32_t shard = 0, first = 0, smallest = HR_PARTITION_COUNT, largest = 0;
    CHECK_EQ(hr_shard_of_partition(0, shard_count), 0);
    for (uint32_t partition = 0; partition <= HR_PARTITION_COUNT; partition++) {
      if (partition < HR_PARTITION_COUNT && hr_shard_of_partition(partition, shard_count) == shard)
        continue;
      CHECK_EQ(hr_partition_first(shard, shard_count), first);
      uint32_t owned = partition - first;
      smallest = owned < smallest ? owned : smallest;
      largest = owned > largest ? owned : largest;
      first = partition;
      if (partition < HR_PARTITION_COUNT)
        CHECK_EQ(hr_shard_of_partition(partition, shard_count), ++shard);
    }
    CHECK_EQ(shard, shard_count - 1);
    CHECK_EQ(hr_partition_first(shard_count, shard_count), HR_PARTITION_COUNT);
    CHECK_MSG(smallest >= 1 && largest - smallest <= 1, "%u shards own %u to %u partitions", shard_count, smallest,
              largest);
  }
}

static void partitions_are_ranges_of_hashes(void)
{
  for (uint32_t partition = 0; partition < HR_PARTITION_COUNT; partition++) {
    uint64_t first = hr_hash_first(partition), last = hr_hash_first(partition + 1) - 1;
    CHECK_EQ(hr_partition_of(first), partition);
    CHECK_EQ(hr_partition_of(last), partition);
  }
  CHECK(hr_hash_first(HR_PARTITION_COUNT) == 0);
}

/* A client in another language must come to these. They cannot change without a new protocol version. */
static void known_keys_have_known_shards(void)
{
  static const struct {
    const char *table;
    uint64_t key, hash;
    uint32_t partition, shard_of_3, shard_of_1000;
  } golden[] = {
      {"ctr", 0, 0x5ad6fe53418b9a74u, 5813, 1, 354},
      {"user.clicks", 1, 0xf082a29aa2dbeb27u, 15392, 2, 939},
      {"a-table_name.with-more-than-sixteen-letters", UINT64_MAX, 0xd84824e0de86588au, 13842, 2, 844},
  };
  for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
    uint64_t hash = hr_key_hash(golden[i].key, hr_table_seed(golden[i].table, strlen(golden[i].table)));
    CHECK_MSG(hash == golden[i].hash, "key %llu of %s has hash 0x%016llx", (unsigned long long)golden[i].key,
              golden[i].table, (unsigned long long)hash);
    CHECK_EQ(hr_partition_of(hash), golden[i].partition);
    CHECK_EQ(hr_shard_of(hash, 3), golden[i].shard_of_3);
    CHECK_EQ(hr_shard_of(hash, 1000), golden[i].shard_of_1000);
  }
}

int main(void)
{
  RUN(shards_share_the_partitions);
  RUN(partitions_are_ranges_of_hashes);
  RUN(known_keys_have_known_shards);
  return 0;
}
