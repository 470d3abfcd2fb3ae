/* Saves of tables with rules: how old rows are, and how often keys without one have asked. */
#include <stdlib.h>
#include <string.h>

#include <hr/hash.h>
#include <hr/route.h>

#include "save.h"
#include "save_format.h"
#include "shard_test.h"
#include "storage_test.h"

#define KEYS 300u
#define PARTS 3u
#define FLOATS (TEST_DIM + 1)   /* of a row under SGD: its value, and the step of its last push */
#define BUCKETS_STEP 1000u      /* one bucket of so many is used */
#define NEARLY_OVER 4294967290u /* the next steps begin at 0 again */

static hr_table_desc describe(uint32_t step)
{
  hr_table_desc desc = test_desc("t");
  desc.admit_count = 9;
  desc.steps_to_live = 1000;
  desc.step = step;
  return desc;
}

static uint32_t age_of(uint64_t key)
{
  return (uint32_t)(key % 50);
}

static hr_admission_bucket bucket_of(uint64_t number)
{
  hr_admission_bucket bucket = {.keys = {number, 7}, .counts = {3, 0, 0, 1}, .asked = (uint32_t)number + 1};
  return bucket;
}

/* The part of one shard, as it is at this step of its own. */
static hr_table *make_part(uint32_t index, uint32_t step)
{
  hr_table_desc desc = describe(step);
  hr_table *table;
  CHECK_OK(hr_table_create(&desc, 0, &table));
  hr_table_set_owner(table, index, PARTS);
  for (uint64_t key = 0; key < KEYS; key++) {
    float record[FLOATS] = {(float)key, -1};
    uint32_t pushed_at = step - age_of(key);
    memcpy(record + TEST_DIM, &pushed_at, sizeof pushed_at);
    if (hr_shard_of(hr_key_hash(key, hr_table_get_seed(table)), PARTS) == index)
      CHECK_OK(hr_table_restore_row(table, key, (uint32_t)key, record));
  }
  for (uint64_t number = 0; number < 1u << HR_ADMISSION_BITS; number += BUCKETS_STEP) {
    hr_admission_bucket bucket = bucket_of(number);
    if (hr_shard_of(number << (64u - HR_ADMISSION_BITS), PARTS) == index)
      CHECK_OK(hr_table_restore_admission(table, number, &bucket, sizeof bucket));
  }
  return table;
}

static void write_save(const char *name)
{
  static const uint32_t steps[PARTS] = {NEARLY_OVER, 5, 90000};
  hr_save_part part = {.save.token = 3, .save_dir = hr_test_tmpdir(), .shard_count = PARTS, .epoch = 4};
  snprintf(part.save.name, sizeof part.save.name, "%s", name);
  for (uint32_t i = 0; i < PARTS; i++) {
    hr_table *table = make_part(i, steps[i]);
    part.shard_index = i;
    CHECK_OK(hr_save_write(&part, &table, 1));
    hr_table_destroy(table);
  }
}

static hr_path path_of(const char *name)
{
  hr_path path;
  CHECK_OK(hr_path_format(&path, "%s/%s", hr_test_tmpdir(), name));
  return path;
}

typedef struct sum {
  const hr_table *table;
  uint64_t rows, buckets, next;
} sum;

static hotrow_status check_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  sum *s = context;
  uint32_t pushed_at;
  memcpy(&pushed_at, record + TEST_DIM, sizeof pushed_at);
  CHECK(clock == (uint32_t)key && record[0] == (float)key && record[1] == -1);
  CHECK_EQ(hr_table_get_desc(s->table)->step - pushed_at, age_of(key));
  s->rows++;
  return HOTROW_OK;
}

static hotrow_status check_bucket(uint64_t number, const void *bytes, size_t size, void *context)
{
  sum *s = context;
  hr_admission_bucket expected = bucket_of(number);
  CHECK(number % BUCKETS_STEP == 0 && number >= s->next && size == sizeof expected);
  CHECK(memcmp(bytes, &expected, size) == 0);
  s->next = number + 1;
  s->buckets++;
  return HOTROW_OK;
}

static void they_load_at_any_shard_count(void)
{
  write_save("rules");
  for (uint32_t count = 1; count <= 4; count++) {
    uint64_t rows = 0, buckets = 0;
    for (uint32_t i = 0; i < count; i++) {
      test_shard *t = test_shard_open(&(hr_shard_options){.shard_index = i, .shard_count = count});
      CHECK_OK(hr_shard_load(t->shard, path_of("rules").text, (hr_load_progress){0}, (hr_load_settle){0}));
      sum s = {.table = hr_shard_table(t->shard, 0)};
      CHECK_OK(hr_table_scan(s.table, check_row, &s));
      CHECK_OK(hr_table_visit_buckets(s.table, check_bucket, &s));
      rows += s.rows;
      buckets += s.buckets;
      test_shard_close(t);
    }
    CHECK_EQ(rows, KEYS);
    CHECK_EQ(buckets, ((1u << HR_ADMISSION_BITS) + BUCKETS_STEP - 1) / BUCKETS_STEP);
  }
}

/* What was loaded is in the first cut of a shard with a storage. */
static void the_first_cut_has_them(void)
{
  test_storage *storage = test_storage_open();
  hr_shard_options options = {.shard_index = 1, .shard_count = 2, .storage = &storage->calls, .epoch = 9};
  test_shard *t = test_shard_open(&options);
  uint64_t number;
  CHECK_OK(hr_shard_load(t->shard, path_of("rules").text, (hr_load_progress){0}, (hr_load_settle){0}));
  CHECK_OK(test_cut(t->shard, &number));
  test_storage_commit(storage, t->shard);
  test_shard_close(t);
  options.epoch++;
  t = test_shard_open(&options);
  test_storage_restore(storage, t->shard, 1);
  sum s = {.table = hr_shard_table(t->shard, 0)};
  CHECK_OK(hr_table_scan(s.table, check_row, &s));
  CHECK_OK(hr_table_visit_buckets(s.table, check_bucket, &s));
  CHECK(s.rows > KEYS / 3 && s.buckets > (1u << HR_ADMISSION_BITS) / BUCKETS_STEP / 3);
  test_shard_close(t);
  test_storage_close(storage);
}

static uint8_t bytes[1 << 20];

static size_t read_whole(const char *path)
{
  FILE *file = fopen(path, "rb");
  CHECK_MSG(file, "%s", path);
  size_t size = fread(bytes, 1, sizeof bytes, file);
  CHECK(size < sizeof bytes);
  fclose(file);
  return size;
}

static void write_whole(const char *path, size_t size)
{
  FILE *file = fopen(path, "wb");
  CHECK_MSG(file && fwrite(bytes, 1, size, file) == size, "%s", path);
  fclose(file);
}

/* Hashes that fit, for whatever the rows file of part 0 has become. */
static void vouch_for(const char *rows, const char *manifest, size_t size)
{
  hr_manifest_table table;
  write_whole(rows, size);
  uint64_t hash = hr_hash_bytes(bytes, size);
  size_t manifest_size = read_whole(manifest);
  memcpy(&table, bytes + sizeof(hr_manifest_header), sizeof table);
  table.file_size = size;
  table.file_hash = hash;
  memcpy(bytes + sizeof(hr_manifest_header), &table, sizeof table);
  hash = hr_hash_bytes(bytes, manifest_size - sizeof hash);
  memcpy(bytes + manifest_size - sizeof hash, &hash, sizeof hash);
  write_whole(manifest, manifest_size);
}

static void refuses(const char *words)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  CHECK_FAILS(hr_shard_load(t->shard, path_of("forged").text, (hr_load_progress){0}, (hr_load_settle){0}),
              HOTROW_ERR_CORRUPT, words);
  test_shard_close(t);
}

static void forged_buckets_are_refused(void)
{
  hr_path rows = path_of("forged/shard-0-of-3/t.rows"), manifest = path_of("forged/shard-0-of-3/MANIFEST");
  const uint64_t foreign = (1u << HR_ADMISSION_BITS) - 1, none = 1u << HR_ADMISSION_BITS;
  hr_saved_bucket last;
  write_save("forged");
  size_t size = read_whole(rows.text), at = size - sizeof last;
  memcpy(&last, bytes + at, sizeof last);

  vouch_for(rows.text, manifest.text, size - 1);
  refuses("do not make a file of");
  read_whole(rows.text);
  memset(bytes + at, 0, size - at);
  memcpy(bytes + at, &foreign, sizeof foreign);
  vouch_for(rows.text, manifest.text, size);
  refuses("t.rows: bucket 262143 of keys without a row is not of this part");
  read_whole(rows.text);
  memcpy(bytes + at, &none, sizeof none);
  vouch_for(rows.text, manifest.text, size);
  refuses("bucket 262144 of keys without a row is not of this part");
  read_whole(rows.text);
  memcpy(bytes + at, bytes + at - sizeof last, sizeof last);
  vouch_for(rows.text, manifest.text, size);
  refuses("after bucket");
  read_whole(rows.text);
  memcpy(bytes + at, &last, sizeof last);
  vouch_for(rows.text, manifest.text, size);
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_count = 1});
  CHECK_OK(hr_shard_load(t->shard, path_of("forged").text, (hr_load_progress){0}, (hr_load_settle){0}));
  test_shard_close(t);
}

int main(void)
{
  RUN(they_load_at_any_shard_count);
  RUN(the_first_cut_has_them);
  RUN(forged_buckets_are_refused);
  return 0;
}
