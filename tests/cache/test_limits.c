/* What the cache refuses, and that a refusal changes nothing; what it does when it is told to forget. */
#include "device_cache.h"

#include <hotrow/cache.h>

#include <unistd.h>

static hotrow_cache *cache;
static hotrow_segment segment;

static hotrow_cache_options good_options(void)
{
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  o.kernels = device;
  segment = (hotrow_segment){.dim = 1, .optimizer = {.kind = HOTROW_SGD}};
  o.segments = &segment;
  o.segment_count = 1;
  o.row_count = 16;
  o.staging_row_count = 4;
  return o;
}

#define REFUSES(field, value, status, words)                                                                           \
  do {                                                                                                                 \
    hotrow_cache_options bad = good_options();                                                                         \
    bad.field = (value);                                                                                               \
    CHECK_FAILS(hotrow_cache_create(&bad, &cache), status, words);                                                     \
    CHECK(cache == NULL);                                                                                              \
  } while (0)

static void options_are_refused_one_by_one(void)
{
  cache = NULL;
  hotrow_cache_options good = good_options();
  hotrow_kernels elsewhere = *good.kernels;
  elsewhere.device = HOTROW_CUDA;
  elsewhere.name = "cuda";
  elsewhere.scan = NULL;
  CHECK_FAILS(hotrow_cache_create(NULL, &cache), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_cache_create(&good, NULL), HOTROW_ERR_INVALID, "NULL");
  REFUSES(struct_size, 0, HOTROW_ERR_INVALID, "struct_size 0");
  REFUSES(kernels, NULL, HOTROW_ERR_INVALID, "kernels");
  REFUSES(kernels, &elsewhere, HOTROW_ERR_UNSUPPORTED, "cuda");
  REFUSES(policy, (hotrow_cache_policy)7, HOTROW_ERR_INVALID, "policy 7");
  REFUSES(policy, (hotrow_cache_policy)(HOTROW_POLICY_W_TINY_LFU + 1), HOTROW_ERR_INVALID, "policy 4");
  REFUSES(mode, (hotrow_cache_mode)2, HOTROW_ERR_INVALID, "mode 2");
  REFUSES(wire_dtype, (hotrow_dtype)3, HOTROW_ERR_INVALID, "wire_dtype 3");
  REFUSES(counts_occurrences, 2, HOTROW_ERR_INVALID, "counts_occurrences is 2");
  REFUSES(is_rounded, 2, HOTROW_ERR_INVALID, "is_rounded is 2");
  REFUSES(reserved, 1, HOTROW_ERR_INVALID, "reserved is 1");
  REFUSES(segments, NULL, HOTROW_ERR_INVALID, "segments is NULL");
  REFUSES(segment_count, 0, HOTROW_ERR_INVALID, "segment");
  REFUSES(segment_count, HOTROW_SEGMENTS_MAX + 1, HOTROW_ERR_INVALID, "segment");
  REFUSES(staging_row_count, 0, HOTROW_ERR_INVALID, "staging_row_count");
  REFUSES(staging_row_count, HOTROW_CACHE_ROWS_MAX + 1, HOTROW_ERR_LIMIT, "staging_row_count 1073741825");
  REFUSES(row_count, HOTROW_CACHE_ROWS_MAX + 1, HOTROW_ERR_LIMIT, "row_count 1073741825");
  REFUSES(pull_bound, HOTROW_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "pull_bound 1000000001");
  REFUSES(push_bound, HOTROW_PUSH_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "push_bound 16000001");
  CHECK_OK(device_create(&good, &cache));
  hotrow_cache_destroy(cache);
  hotrow_cache_destroy(NULL);
}

static void segments_are_refused_one_by_one(void)
{
  cache = NULL;
  hotrow_cache_options o = good_options();
  segment.dim = 0;
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_INVALID, NULL);
  segment.dim = HOTROW_DIM_MAX + 1;
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_INVALID, NULL);
  segment = (hotrow_segment){.dim = 1, .optimizer = {.kind = (hotrow_optimizer_kind)99}};
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_INVALID, "99");
  segment = (hotrow_segment){.dim = 1, .optimizer = {.lr = -1.0f}};
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_INVALID, "learning rate");
  CHECK(!cache);
}

#define REFUSES_TO_SHARE(field, value, words)                                                                          \
  do {                                                                                                                 \
    hotrow_cache_options bad = sharing_options(first);                                                                 \
    bad.field = (value);                                                                                               \
    CHECK_FAILS(hotrow_cache_create(&bad, &cache), HOTROW_ERR_INVALID, words);                                         \
    CHECK(cache == NULL);                                                                                              \
  } while (0)

static hotrow_cache_options sharing_options(hotrow_cache *first)
{
  hotrow_cache_options o = good_options();
  o.row_count = o.staging_row_count = 0;
  o.shares = first;
  return o;
}

static void what_shares_is_refused_one_by_one(void)
{
  hotrow_cache *first, *others[HOTROW_CACHE_TABLES_MAX];
  hotrow_cache_options o = good_options();
  hotrow_kernels copy = *device;
  hotrow_segment wide = {.dim = 2, .optimizer = {.kind = HOTROW_SGD}},
                 stateful = {.dim = 1, .optimizer = {.kind = HOTROW_ADAGRAD}};
  CHECK_OK(device_create(&o, &first));
  cache = NULL;
  REFUSES_TO_SHARE(row_count, 16, "row_count 16");
  REFUSES_TO_SHARE(staging_row_count, 4, "staging_row_count 4");
  REFUSES_TO_SHARE(pending_row_count, 3, "pending_row_count 3");
  REFUSES_TO_SHARE(kernels, &copy, "kernels and stream");
  REFUSES_TO_SHARE(policy, HOTROW_POLICY_LFU, "cache policy 2");
  REFUSES_TO_SHARE(segments, &wide, "rows of dim 2, state 0 and squares 0 in one of rows of dim 1");
  REFUSES_TO_SHARE(segments, &stateful, "state 1 and squares 1 in one");
  REFUSES_TO_SHARE(push_bound, 1, "push_bound 1 in one that was made for push_bound 0");
  others[0] = first;
  for (uint32_t t = 1; t < HOTROW_CACHE_TABLES_MAX; t++) {
    o = sharing_options(others[t - 1]); /* with any of them it is shared with all */
    CHECK_OK(hotrow_cache_create(&o, &others[t]));
    CHECK_EQ(hotrow_cache_table(others[t]), t);
  }
  o = sharing_options(first);
  CHECK_FAILS(hotrow_cache_create(&o, &cache), HOTROW_ERR_LIMIT, "64 tables");
  hotrow_cache_begin_batch(others[5]);
  CHECK_EQ(hotrow_cache_batch(first), 1);
  for (uint32_t t = 0; t < HOTROW_CACHE_TABLES_MAX; t++)
    hotrow_cache_destroy(others[t]);
}

static void announce_steps_are_refused_one_by_one(void)
{
  cache = NULL;
  hotrow_cache_options o = good_options();
  o.mode = HOTROW_CACHE_ANNOUNCE;
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_INVALID, "announce_step is 0");
  o.announce_step = 2;
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_LIMIT, "announce_step 2 is over 1");
  o.pull_bound = HOTROW_BOUND_MAX;
  o.announce_step = HOTROW_BOUND_MAX + 2;
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_LIMIT, "1000000002 is over 1000000001");
  CHECK(!cache);
  o.announce_step = HOTROW_BOUND_MAX + 1;
  CHECK_OK(device_create(&o, &cache));
  hotrow_cache_destroy(cache);
  o.pull_bound = 0;
  o.mode = HOTROW_CACHE_PROBE; /* does not look at it */
  CHECK_OK(device_create(&o, &cache));
  hotrow_cache_destroy(cache);
}

static void occurrences_are_for_rows_that_do_not_depend_on_k(void)
{
  static const bool depends[HOTROW_LAMB + 1] = {[HOTROW_MOMENTUM] = true,
                                                [HOTROW_ADAM] = true,
                                                [HOTROW_ADAMW] = true,
                                                [HOTROW_ROWWISE_ADAM] = true,
                                                [HOTROW_LAMB] = true};
  hotrow_cache_options o = good_options();
  hotrow_segment segments[2] = {segment, segment};
  o.segments = segments;
  o.segment_count = 2;
  o.counts_occurrences = 1;
  for (int kind = HOTROW_OPTIMIZER_DEFAULT; kind <= HOTROW_LAMB; kind++) {
    segments[1].optimizer.kind = (hotrow_optimizer_kind)kind;
    cache = NULL;
    if (depends[kind])
      CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_INVALID, "of segment 1, which counts steps");
    else
      CHECK_OK(device_create(&o, &cache));
    hotrow_cache_destroy(cache);
  }
}

static void more_than_the_address_space_is_refused(void)
{
  cache = NULL;
  hotrow_cache_options o = good_options();
  segment = (hotrow_segment){.dim = HOTROW_DIM_MAX, .optimizer = {.kind = HOTROW_ADAM}};
  o.row_count = o.staging_row_count = HOTROW_CACHE_ROWS_MAX;
  CHECK_FAILS(device_create(&o, &cache), HOTROW_ERR_NO_MEMORY, "cache");
  CHECK(cache == NULL);
}

static void an_older_callers_options_are_taken(void)
{
  hotrow_cache_options o = good_options();
  o.struct_size = offsetof(hotrow_cache_options, counts_occurrences);
  o.counts_occurrences = UINT32_MAX; /* not part of the older struct */
  CHECK_OK(device_create(&o, &cache));
  hotrow_cache_destroy(cache);
}

static hotrow_status insert_range(uint64_t first, size_t count, uint32_t *slots)
{
  uint64_t keys[64];
  uint32_t clocks[64] = {0};
  float values[64];
  for (size_t i = 0; i < count; i++) {
    keys[i] = first + i;
    values[i] = (float)keys[i];
  }
  return device_insert(cache, keys, keys, clocks, values, NULL, NULL, count, slots);
}

static hotrow_status update_range(uint64_t first, size_t count)
{
  uint64_t keys[64];
  float grads[64];
  for (size_t i = 0; i < count; i++) {
    keys[i] = first + i;
    grads[i] = 1.0f;
  }
  return device_update(cache, keys, keys, NULL, grads, NULL, count);
}

static uint64_t push_count(void)
{
  hotrow_cache_stats stats;
  CHECK_OK(hotrow_cache_get_stats(cache, &stats));
  return stats.push_count;
}

static size_t resident_bytes(void)
{
  unsigned long long total_pages, resident_pages;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file && fscanf(file, "%llu %llu", &total_pages, &resident_pages) == 2);
  fclose(file);
  return resident_pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void memory_is_taken_when_it_is_touched(void)
{
  hotrow_cache_options o = good_options();
  if (device->device != HOTROW_CPU)
    return; /* there it is taken by create */
  o.row_count = 100000000;
  o.staging_row_count = 1000000;
  segment.dim = 64;
  o.push_bound = 9;
  uint32_t slots[64];
  size_t before = resident_bytes();
  CHECK_OK(device_create(&o, &cache)); /* 51 GB of rows and sums, 28 GB of push list */
  CHECK(resident_bytes() - before < (size_t)8 << 20);
  static uint64_t keys[1];
  static uint32_t clocks[1];
  static float values[64];
  CHECK_OK(device_insert(cache, keys, keys, clocks, values, NULL, NULL, 1, slots));
  CHECK_OK(device_update(cache, keys, keys, NULL, values, NULL, 1));
  hotrow_cache_flush(cache);
  CHECK(resident_bytes() - before < (size_t)64 << 20); /* pages of 2 MiB, one or two per array */
  hotrow_cache_destroy(cache);
}

static void staging_overflow_inserts_nothing(void)
{
  hotrow_cache_options o = good_options();
  hotrow_cache_stats before, after;
  uint32_t slots[64];
  CHECK_OK(device_create(&o, &cache));
  hotrow_cache_begin_batch(cache);
  CHECK_FAILS(insert_range(0, 21, slots), HOTROW_ERR_LIMIT, "5 rows find no way");
  CHECK_OK(hotrow_cache_get_stats(cache, &before));
  CHECK_EQ(before.row_count, 0);
  CHECK_OK(insert_range(0, 17, slots));
  for (uint32_t i = 0; i < 17; i++)
    CHECK_EQ(slots[i], i);
  CHECK_FAILS(insert_range(100, 4, slots), HOTROW_ERR_LIMIT, "4 rows find no way in the cache and 3 of 4");
  CHECK_OK(insert_range(100, 3, slots));
  CHECK_FAILS(insert_range(200, 1, slots), HOTROW_ERR_LIMIT, "0 of 4");
  CHECK_OK(insert_range(4, 8, slots)); /* all held */
  CHECK_OK(hotrow_cache_get_stats(cache, &before));
  hotrow_cache_begin_batch(cache);
  CHECK_FAILS(insert_range(200, 21, slots), HOTROW_ERR_LIMIT, "5 rows");
  CHECK_OK(hotrow_cache_get_stats(cache, &after));
  CHECK(memcmp(&before, &after, sizeof before) == 0);
  CHECK_OK(insert_range(200, 20, slots));
  hotrow_cache_destroy(cache);

  o.row_count = 0;
  CHECK_OK(device_create(&o, &cache));
  CHECK_FAILS(insert_range(0, 5, slots), HOTROW_ERR_LIMIT, "5 rows find no way in the cache and 4 of 4");
  CHECK_OK(insert_range(0, 4, slots));
  CHECK_FAILS(insert_range(9, 1, slots), HOTROW_ERR_LIMIT, "0 of 4");
  hotrow_cache_destroy(cache);
}

static void a_full_push_list_updates_nothing(void)
{
  hotrow_cache_options o = good_options();
  o.push_bound = 100;
  uint32_t slots[64];
  hotrow_cache_push_list list;
  CHECK_OK(device_create(&o, &cache));
  CHECK_OK(insert_range(0, 16, slots));
  CHECK_OK(update_range(0, 16));
  CHECK_OK(update_range(50, 8)); /* 16 pending and 8 listed: all of 16 + 2 * 4 */
  CHECK_OK(update_range(0, 16)); /* rows that are pending already need no room */
  CHECK_FAILS(update_range(0, 17), HOTROW_ERR_LIMIT, "room for 0 in the push list of 24");
  hotrow_cache_flush(cache);
  device_take_pushes(cache, &list);
  CHECK_EQ(list.count, 24);
  for (size_t i = 8; i < 24; i++)
    CHECK(list.steps[i] == 2 && list.grads[i] == 2.0f);
  CHECK_OK(update_range(0, 17));
  hotrow_cache_destroy(cache);
}

static void forgotten_rows_hand_out_their_steps(void)
{
  hotrow_cache_options o = good_options();
  o.push_bound = 5;
  uint32_t slots[64], seen;
  uint64_t key = 7;
  uint8_t state;
  CHECK_OK(device_create(&o, &cache));
  CHECK_OK(insert_range(0, 16, slots));
  CHECK_OK(update_range(4, 4));
  hotrow_cache_invalidate(cache, 9, 3); /* an empty range */
  hotrow_cache_invalidate(cache, 6, 9);
  hotrow_cache_push_list list;
  device_take_pushes(cache, &list);
  CHECK_EQ(list.count, 2);
  CHECK(list.keys[0] == 6 && list.keys[1] == 7);
  device_lookup(cache, &key, &key, 1, NULL, slots, &seen, &state);
  CHECK_EQ(state, HOTROW_ROW_MISSING);
  CHECK_EQ(slots[0], HOTROW_SLOT_NONE);
  hotrow_cache_stats s;
  CHECK_OK(hotrow_cache_get_stats(cache, &s));
  CHECK_EQ(s.row_count, 12);
  CHECK_OK(insert_range(6, 4, slots));
  hotrow_cache_flush(cache);
  CHECK_EQ(push_count(), 2);
  hotrow_cache_invalidate(cache, 0, UINT64_MAX);
  CHECK_OK(hotrow_cache_get_stats(cache, &s));
  CHECK_EQ(s.row_count, 0);
  hotrow_cache_destroy(cache);
}

static void ticks_are_refused_one_by_one(void)
{
  hotrow_cache_options o = good_options();
  if (device->device != HOTROW_CPU)
    return; /* there they are the caller's promise */
  uint64_t keys[] = {1, 2, 3};
  float grads[] = {1.0f, 1.0f, 1.0f};
  uint32_t ticks[] = {1, 1, 1}, slots[64];
  hotrow_cache_push_list list;
  o.push_bound = HOTROW_PUSH_BOUND_MAX;
  CHECK_OK(device_create(&o, &cache));
  CHECK_FAILS(device_update(cache, keys, keys, NULL, grads, ticks, 3), HOTROW_ERR_INVALID, "not counted");
  hotrow_cache_destroy(cache);
  o.counts_occurrences = 1;
  CHECK_OK(device_create(&o, &cache));
  CHECK_OK(insert_range(1, 3, slots));
  ticks[2] = 0;
  CHECK_FAILS(device_update(cache, keys, keys, NULL, grads, ticks, 3), HOTROW_ERR_INVALID, "key 3 with 0 ticks");
  ticks[2] = HOTROW_PUSH_BOUND_MAX + 1;
  CHECK_FAILS(device_update(cache, keys, keys, NULL, grads, ticks, 3), HOTROW_ERR_LIMIT, "16000001 ticks");
  hotrow_cache_flush(cache);
  CHECK_EQ(push_count(), 0);
  ticks[2] = HOTROW_PUSH_BOUND_MAX;
  CHECK_OK(device_update(cache, keys, keys, NULL, grads, ticks, 3)); /* as many as a row may keep */
  CHECK_EQ(push_count(), 0);
  CHECK_OK(device_update(cache, keys, keys, NULL, grads, ticks, 3)); /* and twice as many go at once */
  device_take_pushes(cache, &list);
  CHECK_EQ(list.count, 1);
  CHECK(list.keys[0] == 3 && list.steps[0] == 2 * HOTROW_PUSH_BOUND_MAX && list.is_exact[0]);
  hotrow_cache_flush(cache);
  device_take_pushes(cache, &list);
  CHECK(list.count == 2 && list.steps[0] == 2 && list.steps[1] == 2);
  hotrow_cache_destroy(cache);
}

int main(int argc, char **argv)
{
  device_open(argc, argv);
  RUN(options_are_refused_one_by_one);
  RUN(segments_are_refused_one_by_one);
  RUN(announce_steps_are_refused_one_by_one);
  RUN(occurrences_are_for_rows_that_do_not_depend_on_k);
  RUN(ticks_are_refused_one_by_one);
  RUN(more_than_the_address_space_is_refused);
  RUN(what_shares_is_refused_one_by_one);
  RUN(an_older_callers_options_are_taken);
  RUN(memory_is_taken_when_it_is_touched);
  RUN(staging_overflow_inserts_nothing);
  RUN(a_full_push_list_updates_nothing);
  RUN(forgotten_rows_hand_out_their_steps);
  return 0;
}
