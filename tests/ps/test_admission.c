/* Which keys get a row: counted, drawn, the same for every number of shards, and over the death of a shard. */
#include <math.h>
#include <stdlib.h>

#include <hr/hash.h>
#include <hr/random.h>
#include <hr/route.h>

#include "storage_test.h"
#include "table_admission.h"

static const uint8_t keys_of_nothing[64];

/* ---- the counting alone ---- */

static hr_admission whole(void)
{
  hr_admission admission = {0};
  CHECK_OK(hr_admission_init(&admission));
  return admission;
}

/* A hash in bucket 5; `low` tells keys apart. */
static uint64_t in_bucket_5(uint64_t low)
{
  return (uint64_t)5 << (64 - HR_ADMISSION_BITS) | low;
}

static void a_key_gets_in_with_its_nth_push(void)
{
  for (uint32_t n = 1; n <= 5; n++) {
    hr_admission admission = whole();
    hr_table_desc desc = {.admit_count = n};
    for (uint32_t push = 1; push <= 2 * n; push++) /* it is forgotten once it is in */
      CHECK_EQ(hr_admission_ask(&admission, &desc, in_bucket_5(1), 1), push % n == 0);
    hr_admission_fini(&admission);
  }
}

static void a_crowded_bucket_forgets_and_is_never_early(void)
{
  hr_admission admission = whole();
  hr_table_desc desc = {.admit_count = 3};
  for (uint64_t key = 1; key <= HR_ADMISSION_WAYS; key++)
    for (int i = 0; i < 1 + (key == 1); i++)
      CHECK(!hr_admission_ask(&admission, &desc, in_bucket_5(key), key));
  CHECK(!hr_admission_ask(&admission, &desc, in_bucket_5(100), 100)); /* finds no way: all lose one, most their last */
  CHECK(!hr_admission_ask(&admission, &desc, in_bucket_5(1), 1));     /* has two again */
  CHECK(hr_admission_ask(&admission, &desc, in_bucket_5(1), 1));
  CHECK(!hr_admission_ask(&admission, &desc, in_bucket_5(2), 2)); /* begins anew */
  CHECK(!hr_admission_ask(&admission, &desc, in_bucket_5(2), 2));
  CHECK(hr_admission_ask(&admission, &desc, in_bucket_5(2), 2));
  hr_admission_fini(&admission);
}

/* However many keys come once, one that comes again and again gets in, and memory stays what it is. */
static void memory_is_bounded_and_the_frequent_get_in(void)
{
  hr_admission admission = whole();
  hr_table_desc desc = {.admit_count = 20};
  size_t size_bytes = hr_admission_bytes(&admission);
  hr_rng rng = {hr_test_seed(1)};
  uint32_t pushes = 0;
  for (; pushes < 2000; pushes++) {
    if (hr_admission_ask(&admission, &desc, in_bucket_5(7), 7))
      break;
    uint64_t key = hr_rng_next(&rng) | 8;
    CHECK(!hr_admission_ask(&admission, &desc, in_bucket_5(key >> HR_ADMISSION_BITS), key));
  }
  CHECK_MSG(pushes >= 19 && pushes < 40, "it took %u pushes", pushes + 1);
  CHECK_EQ(hr_admission_bytes(&admission), size_bytes);
  CHECK_EQ(size_bytes, (size_t)16 << 20);
  hr_admission_fini(&admission);
}

static void a_draw_is_as_probable_as_it_says(void)
{
  static const float probabilities[] = {0.001f, 0.25f, 0.9f, 1.0f};
  for (size_t p = 0; p < sizeof probabilities / sizeof *probabilities; p++) {
    hr_admission admission = whole();
    hr_table_desc desc = {.seed = 3, .admit_probability = probabilities[p]};
    uint64_t seed = hr_table_seed("t", 1);
    double admitted = 0, pushes = 200000;
    for (uint64_t push = 0; push < 200000; push++)
      admitted += hr_admission_ask(&admission, &desc, hr_key_hash(push % 1000, seed), push % 1000);
    double mean = probabilities[p], deviation = 5 * sqrt(mean * (1 - mean) / pushes);
    CHECK_MSG(fabs(admitted / pushes - mean) <= deviation, "%g of pushes instead of %g", admitted / pushes, mean);
    hr_admission_fini(&admission);
  }
}

/* A key's luck depends on the pushes to its bucket, and that is of one shard whatever their number. */
static void shards_change_nothing(void)
{
  enum { PUSHES = 60000, KEYS = 9000 };
  static uint8_t expected[PUSHES];
  uint64_t seed = hr_table_seed("t", 1);
  for (int kind = 0; kind < 2; kind++)
    for (uint32_t shards = 1; shards <= 7; shards += 2) {
      hr_table_desc desc = {.seed = 3, .admit_count = kind ? 0 : 4, .admit_probability = kind ? 0.25f : 0};
      hr_admission parts[7];
      for (uint32_t s = 0; s < shards; s++) {
        parts[s] = whole();
        hr_admission_set_owner(&parts[s], s, shards);
      }
      hr_rng rng = {9};
      for (uint32_t push = 0; push < PUSHES; push++) {
        uint64_t key = hr_rng_below(&rng, KEYS), hash = hr_key_hash(key, seed);
        bool is_in = hr_admission_ask(&parts[hr_shard_of(hash, shards)], &desc, hash, key);
        CHECK(shards == 1 || expected[push] == is_in);
        expected[push] = is_in;
      }
      for (uint32_t s = 0; s < shards; s++)
        hr_admission_fini(&parts[s]);
    }
}

/* ---- a table behind a shard ---- */

static hr_table_desc counted(uint32_t count)
{
  hr_table_desc desc = test_desc("t");
  desc.admit_count = count;
  desc.announce_step = 1;
  return desc;
}

static void refusals(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  hr_table_desc desc = counted(3);
  test_create(t, &c, &desc);
  desc.admit_count = 4;
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "table t exists with another admit_count");
  desc.admit_count = 0;
  desc.admit_probability = 0.5f;
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  CHECK_FAILS(test_ask(t, &c), HOTROW_ERR_EXISTS, "table t exists with another admit_count");
  hr_table *table;
  desc.admit_probability = 2;
  CHECK_FAILS(hr_table_create(&desc, 0, &table), HOTROW_ERR_INVALID, "table t: admit_probability 2 is not in 0 .. 1");
  CHECK_FAILS(hr_table_restore_admission(hr_shard_table(t->shard, 0), 1u << HR_ADMISSION_BITS, keys_of_nothing, 64),
              HOTROW_ERR_CORRUPT, "bucket 262144 of 64 bytes");
  CHECK_FAILS(hr_table_restore_admission(hr_shard_table(t->shard, 0), 0, keys_of_nothing, 63), HOTROW_ERR_CORRUPT,
              "bucket 0 of 63 bytes");
  test_shard_close(t);
}

/* The first of the found bits of a pull of one key, that is not held. */
static bool pull_found(test_shard *t, test_client *c, uint64_t key, float *value_p)
{
  *value_p = test_pull_value(t, c, 0, key);
  const hr_section *got = &t->replies[0].message.sections[0];
  CHECK(got->flags & HR_SECTION_FOUND);
  return got->found[0] & 1;
}

static void pushes_make_rows_and_pulls_do_not(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  test_client c = test_worker(1, 7, 0, 1, 100);
  float value;
  test_greet(t, &c);
  hr_table_desc desc = counted(3);
  test_create(t, &c, &desc);
  for (int i = 0; i < 10; i++)
    CHECK(!pull_found(t, &c, 5, &value) && value == 0);
  CHECK_EQ(hr_table_get_desc(hr_shard_table(t->shard, 0))->row_count, 0);
  for (int push = 1; push <= 5; push++) {
    test_push_row(&c, 0, 5, 1);
    CHECK_OK(test_ask(t, &c)); /* that it was dropped is no error */
    CHECK_EQ(pull_found(t, &c, 5, &value), push >= 3);
    CHECK(value == (push >= 3 ? (float)(2 - push) : 0));
    CHECK_EQ(test_counter(t->shard, "\"rows_refused\""), push < 2 ? 1 : 2);
  }
  CHECK_EQ(t->replies[0].message.sections[0].clocks[0], 3); /* the clock counts what the row has had */
  CHECK_EQ(test_counter(t->shard, "\"rows\""), 1);
  test_shard_close(t);
}

/* Rows that get in and rows that do not in one push, in every form that a push can have. */
static void the_right_rows_of_a_push_are_dropped(void)
{
  enum { KEYS = 9 };
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  hr_table_desc desc = counted(2);
  test_create(t, &c, &desc);
  uint64_t keys[KEYS];
  float grads[KEYS][TEST_DIM];
  uint32_t steps[KEYS];
  for (uint32_t i = 0; i < KEYS; i++) {
    keys[i] = KEYS - 1 - i; /* those that get in come last */
    grads[i][0] = (float)(i + 1);
    grads[i][1] = -grads[i][0];
    steps[i] = i + 1;
  }
  test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys + 5, grads[0], 4); /* 0 .. 3 have asked once */
  CHECK_OK(test_ask(t, &c));
  hr_section *s = test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys, grads[0], KEYS);
  s->flags = HR_SECTION_STEPS;
  s->steps = steps;
  CHECK_OK(test_ask(t, &c));
  test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, KEYS);
  CHECK_OK(test_ask(t, &c));
  const hr_section *got = &t->replies[0].message.sections[0];
  for (uint32_t i = 0; i < KEYS; i++) {
    CHECK(got->values[i * TEST_DIM] == (i >= 5 ? -(float)(i + 1) : 0));
    CHECK_EQ(got->clocks[i], i >= 5 ? i + 1 : 0);
    CHECK_EQ(got->found[i / 8] >> i % 8 & 1, i >= 5);
  }
  uint16_t halves[2 * TEST_DIM] = {0x4000, 0xc000, 0x4200, 0xc200}; /* 2, -2, 3, -3 */
  s = test_add_push(test_begin(&c, HR_OP_PUSH), 0, (uint64_t[]){100, 4}, NULL, 2);
  s->dtype = HOTROW_F16;
  s->packed = halves;
  CHECK_OK(test_ask(t, &c)); /* 4 had asked once, 100 had not */
  CHECK(test_pull_value(t, &c, 0, 4) == -3 && test_pull_value(t, &c, 0, 100) == 0);
  CHECK_EQ(test_counter(t->shard, "\"rows_refused\""), 4 + 5 + 1);
  test_shard_close(t);
}

static void announcements_are_of_rows_only(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  c.announce_seq = 1;
  hr_table_desc desc = counted(2);
  test_create(t, &c, &desc);
  test_push_row(&c, 0, 5, 1);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(t->replies[0].message.section_count, 0);
  test_push_row(&c, 0, 5, 1);
  CHECK_OK(test_ask(t, &c));
  CHECK_EQ(t->replies[0].message.section_count, 1);
  CHECK_EQ(t->replies[0].message.sections[0].clocks[0], 1);
  test_shard_close(t);
}

/* Counts are in cuts with the pushes that made them: what comes again after the shard's death finds them as they were.
 */
static void counts_survive_with_the_pushes(void)
{
  for (int kind = 0; kind < 2; kind++) {
    test_storage *storage = test_storage_open();
    hr_shard_options options = {.shard_count = 1, .storage = &storage->calls, .epoch = 9, .cut_turn_bytes = 1};
    test_shard *t = test_shard_open(&options);
    test_client c = test_worker(1, 7, 0, 1, 100);
    uint64_t number;
    test_greet(t, &c);
    hr_table_desc desc = counted(kind ? 0 : 4);
    desc.admit_probability = kind ? 0.1f : 0;
    test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
    test_send(t, &c);
    test_storage_commit(storage, t->shard);
    for (uint64_t key = 0; key < 60; key++)
      for (uint64_t i = 0; i < key % 4; i++) {
        test_push_row(&c, 0, key, 1);
        CHECK_OK(test_ask(t, &c));
      }
    CHECK_OK(hr_shard_cut(t->shard, &number));
    CHECK(hr_shard_is_copying(t->shard)); /* what follows comes while it is copied */
    uint64_t cut_seq = c.push_seq;
    float values[2][60];
    for (int life = 0; life < 2; life++) {
      c.push_seq = cut_seq;
      for (int round = 0; round < 2; round++)
        for (uint64_t key = 0; key < 60; key++) {
          test_push_row(&c, 0, key, 1);
          CHECK_OK(test_ask(t, &c));
        }
      for (uint64_t key = 0; key < 60; key++) {
        values[life][key] = test_pull_value(t, &c, 0, key);
        CHECK(kind || values[life][key] == (key % 4 < 2 ? 0 : 1 - (float)(key % 4)));
      }
      if (life == 1)
        break;
      test_storage_commit(storage, t->shard);
      test_shard_close(t);
      options.epoch++;
      t = test_shard_open(&options);
      test_storage_restore(storage, t->shard, 1);
      test_greet(t, &c);
    }
    CHECK(memcmp(values[0], values[1], sizeof values[0]) == 0);
    test_shard_close(t);
    free(storage);
  }
}

int main(void)
{
  RUN(refusals);
  RUN(a_key_gets_in_with_its_nth_push);
  RUN(a_crowded_bucket_forgets_and_is_never_early);
  RUN(memory_is_bounded_and_the_frequent_get_in);
  RUN(a_draw_is_as_probable_as_it_says);
  RUN(shards_change_nothing);
  RUN(pushes_make_rows_and_pulls_do_not);
  RUN(the_right_rows_of_a_push_are_dropped);
  RUN(announcements_are_of_rows_only);
  RUN(counts_survive_with_the_pushes);
  return 0;
}
