/* Files written here; with the argument `real`, the real data sets. */
#include "hr_test.h"

#include <math.h>
#include <unistd.h>

#include <hr/status.h>

#include "data_files.h"
#include "dataset.h"

#define MISSING (UINT64_C(1) << 32)

static const char user_lines[] = "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117-12\n";
static const char movie_lines[] =
    "1::Toy Story (1995)::Animation|Comedy\n2::L\xe9on (1994)::Crime\n7::No Year::Crime\n";

static uint64_t id_of(uint64_t key)
{
  return key & ((UINT64_C(1) << HR_FIELD_SHIFT) - 1);
}

static hotrow_status try_open(const char *path, hr_split split, uint64_t seed, hr_dataset **dataset_p)
{
  const hr_dataset_options options = {.path = path, .seed = seed, .split = split};
  return hr_dataset_open(&options, dataset_p);
}

static hr_dataset *open_file(const char *path, hr_split split, uint64_t seed)
{
  hr_dataset *dataset;
  CHECK_OK(try_open(path, split, seed, &dataset));
  return dataset;
}

static hr_batch new_batch(const hr_dataset *dataset, size_t capacity)
{
  hr_batch batch;
  CHECK_OK(hr_batch_init(&batch, hr_dataset_get_info(dataset), capacity));
  return batch;
}

/* Opens the training split and reads it to its end. */
static hotrow_status read_all(const char *path)
{
  hr_dataset *dataset;
  HOTROW_TRY(try_open(path, HR_TRAIN, 0, &dataset));
  hr_batch batch = new_batch(dataset, 7);
  hotrow_status status;
  do
    status = hr_dataset_read(dataset, &batch);
  while (status == HOTROW_OK && batch.count);
  CHECK_EQ(batch.count, 0);
  hr_batch_fini(&batch);
  hr_dataset_close(dataset);
  return status;
}

/* 20 good lines of criteo's with one column (from 1) of the third replaced. */
static const char *criteo_with(size_t column, const char *text)
{
  char *lines = data_criteo_lines(20), *cell = lines, *changed = malloc(32768);
  CHECK(changed);
  for (int line = 1; line < 3; line++)
    cell = strchr(cell, '\n') + 1;
  for (size_t c = 1; c < column; c++)
    cell = strchr(cell, '\t') + 1;
  sprintf(changed, "%.*s%s%s", (int)(cell - lines), lines, text, cell + strcspn(cell, "\t\n"));
  const char *path = data_file_text("changed.tsv", changed);
  free(lines);
  free(changed);
  return path;
}

static void test_criteo_refusals(void)
{
  static const struct {
    size_t column;
    const char *text, *words;
  } cases[] = {
      {1, "2", "changed.tsv line 3: column 1: label \"2\" is neither 0 nor 1"},
      {1, "", "line 3: column 1: label \"\""},
      {1, "10", "line 3: column 1: label \"10\""},
      {2, "1.5", "line 3: column 2: \"1.5\" is no integer"},
      {14, "--1", "line 3: column 14: \"--1\" is no integer"},
      {14, "-", "line 3: column 14: \"-\" is no integer"},
      {5, "1234567890123456789", "line 3: column 5: \"1234567890123456789\" is no integer of at most 18 digits"},
      {15, "68fd1e6z", "line 3: column 15: \"68fd1e6z\" is no hexadecimal token"},
      {40, "0x1234", "line 3: column 40: \"0x1234\" is no hexadecimal token"},
      {40, "1234567890abc", "line 3: column 40: \"1234567890abc\" is no hexadecimal token of at most 12 digits"},
      {20, " ", "line 3: column 20: \" \" is no hexadecimal token"},
      {20, "a\tb", "line 3: 41 columns, need 40"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK_FAILS(read_all(criteo_with(cases[i].column, cases[i].text)), HOTROW_ERR_CORRUPT, cases[i].words);
  CHECK_OK(read_all(criteo_with(40, "123456789abc")));

  char *lines = data_criteo_lines(20);
  char *third = strchr(strchr(lines, '\n') + 1, '\n') + 1;
  char *tab = strchr(third, '\t');
  memmove(tab, tab + 1, strlen(tab));
  CHECK_FAILS(read_all(data_file_text("short.tsv", lines)), HOTROW_ERR_CORRUPT,
              "short.tsv line 3: 39 columns, need 40");
  free(lines);
}

static void test_open_refusals(void)
{
  hr_dataset *dataset = NULL;
  hr_dataset_options options = {.path = "/nowhere/at/all.tsv"};
  CHECK_FAILS(hr_dataset_open(&options, &dataset), HOTROW_ERR_NOT_FOUND, "/nowhere/at/all.tsv");
  options.split = (hr_split)3;
  CHECK_FAILS(hr_dataset_open(&options, &dataset), HOTROW_ERR_INVALID, "split 3");
  options.split = HR_VALID;
  options.sample_count = 5;
  CHECK_FAILS(hr_dataset_open(&options, &dataset), HOTROW_ERR_INVALID, "sample count 5");
  CHECK_FAILS(try_open(data_file_text("empty.tsv", ""), HR_TRAIN, 0, &dataset), HOTROW_ERR_CORRUPT,
              "empty.tsv is empty");
  CHECK_FAILS(try_open(data_file_text("x.csv", "a,b,c\n"), HR_TRAIN, 0, &dataset), HOTROW_ERR_UNSUPPORTED,
              "x.csv line 1 is of no known format (criteo: 40 columns");
  CHECK_FAILS(try_open(data_file_write("x.zip", DATA_PLAIN, "PK\3\4\24\0\0\0", 8), HR_TRAIN, 0, &dataset),
              HOTROW_ERR_CORRUPT, "x.zip line 1: a zero byte");

  size_t size;
  char *lines = data_criteo_lines(200);
  for (data_kind kind = DATA_GZIP; kind < DATA_KIND_COUNT; kind++) {
    char *bytes = data_file_bytes(kind, lines, strlen(lines), &size);
    CHECK_FAILS(try_open(data_file_write("cut", DATA_PLAIN, bytes, size - 20), HR_TRAIN, 0, &dataset),
                HOTROW_ERR_CORRUPT, "data ends early after line");
    free(bytes);
  }
  free(lines);
  CHECK(dataset == NULL);
  hr_dataset_close(NULL);
}

static void test_criteo_shrinks(void)
{
  char *lines = data_criteo_lines(100);
  const char *path = data_file_text("shrinks.tsv", lines);
  hr_dataset *dataset = open_file(path, HR_TEST, 0);
  hr_batch batch = new_batch(dataset, 100);
  CHECK_OK(hr_dataset_read(dataset, &batch));
  CHECK_EQ(batch.count, 10);
  data_file_text("shrinks.tsv", "");
  CHECK_FAILS(hr_dataset_rewind(dataset, 1), HOTROW_ERR_CORRUPT,
              "shrinks.tsv ends after line 0 and had 100 lines when it was opened");
  hr_batch_fini(&batch);
  hr_dataset_close(dataset);
  free(lines);
}

static void test_criteo_values(void)
{
  static const char line[] = "1\t\t-3\t-1\t0\t1\t2\t3\t4\t100\t-99\t1000000\t\t5\t"
                             "68fd1e64\tabc\t\t0\tFFFFFFFF\tfff12\t00000001\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t1f\n";
  static const uint64_t integer_ids[] = {MISSING, 65536 + 3, 65536 + 1,  65536, 65535,   65534, 1,
                                         1,       21,        65536 + 16, 190,   MISSING, 2};
  static const double numeric[] = {0, -1.7320508, -1, 0, 1, 1.4142136, 1, 1, 4.5825757, -4, 13.7840488, 0, 1.4142136};
  static const uint64_t token_ids[] = {0x68fd1e64, 0xabc, MISSING, 0, 0xffffffff, 0xfff12, 1, MISSING};
  /* One sample: 8:1:1 puts it into the test split. */
  hr_dataset *dataset = open_file(data_file_text("values.tsv", line), HR_TEST, 0);
  const hr_dataset_info *info = hr_dataset_get_info(dataset);
  CHECK(strcmp(info->name, "criteo") == 0);
  CHECK_EQ(info->field_count, 39);
  CHECK_EQ(info->numeric_count, 13);
  CHECK_EQ(info->sample_count, 1);
  CHECK(info->teacher_auc == 0);
  hr_batch batch = new_batch(dataset, 4);
  CHECK_OK(hr_dataset_read(dataset, &batch));
  CHECK_EQ(batch.count, 1);
  CHECK(batch.labels[0] == 1);
  for (uint32_t f = 0; f < 39; f++)
    CHECK_EQ(batch.keys[f] >> HR_FIELD_SHIFT, f);
  for (uint32_t i = 0; i < 13; i++) {
    CHECK_MSG(id_of(batch.keys[i]) == integer_ids[i], "integer %u has id %llu", i,
              (unsigned long long)id_of(batch.keys[i]));
    CHECK_MSG(fabs(batch.numeric[i] - numeric[i] / 4) < 1e-6, "numeric %u is %g", i, (double)batch.numeric[i]);
  }
  for (uint32_t i = 0; i < 8; i++)
    CHECK_EQ(id_of(batch.keys[13 + i]), token_ids[i]);
  CHECK_EQ(id_of(batch.keys[38]), 0x1f);
  CHECK_OK(hr_dataset_read(dataset, &batch));
  CHECK_EQ(batch.count, 0);
  hr_batch_fini(&batch);
  hr_dataset_close(dataset);
}

/* data_criteo_lines() gives sample i the token i in its first field of tokens. */
static void check_criteo_from(hr_dataset *dataset, hr_batch *batch, uint64_t first)
{
  CHECK_OK(hr_dataset_read(dataset, batch));
  for (size_t i = 0; i < batch->count; i++) {
    CHECK_EQ(id_of(batch->keys[i * 39 + 13]), first + i);
    CHECK(batch->labels[i] == (float)((first + i) % 2));
  }
}

static void test_criteo_splits(void)
{
  char *lines = data_criteo_lines(205);
  static const uint64_t begins[] = {0, 164, 184, 205};
  for (data_kind kind = 0; kind < DATA_KIND_COUNT; kind++) {
    const char *path = data_file_write("splits", kind, lines, strlen(lines));
    for (hr_split split = HR_TRAIN; split <= HR_TEST; split++) {
      hr_dataset *dataset = open_file(path, split, 0);
      uint64_t count = begins[split + 1] - begins[split], seen = 0;
      CHECK_EQ(hr_dataset_get_info(dataset)->sample_count, count);
      hr_batch batch = new_batch(dataset, 9);
      do {
        check_criteo_from(dataset, &batch, begins[split] + seen);
        seen += batch.count;
      } while (batch.count);
      CHECK_EQ(seen, count);
      CHECK_OK(hr_dataset_rewind(dataset, 1));
      CHECK_OK(hr_dataset_skip(dataset, 11));
      check_criteo_from(dataset, &batch, begins[split] + 11);
      CHECK_EQ(batch.count, 9);
      CHECK_OK(hr_dataset_skip(dataset, 1000));
      CHECK_OK(hr_dataset_read(dataset, &batch));
      CHECK_EQ(batch.count, 0);
      hr_batch_fini(&batch);
      hr_dataset_close(dataset);
    }
  }
  free(lines);
}

static const char *movielens_with(const char *users, const char *movies, const char *ratings)
{
  data_file_text("users.dat", users);
  data_file_text("movies.dat", movies);
  return data_file_text("ratings.tsv", ratings);
}

static void test_movielens_refusals(void)
{
  static const char rating[] = "1\t1\t5\t978300760\n";
  static const struct {
    const char *users, *movies, *ratings, *words;
  } cases[] = {
      {user_lines, movie_lines, "1\t1\t5\t9\n1\t1\t5\n", "ratings.tsv line 2: 3 columns, need 4"},
      {user_lines, movie_lines, "1\t1\t5\t9\nx\t1\t5\t9\n", "ratings.tsv line 2: user \"x\" is no number"},
      {user_lines, movie_lines, "99999999\t1\t5\t9\n", "ratings.tsv line 1: user \"99999999\" is no number up to"},
      {user_lines, movie_lines, "1\t\t5\t9\n", "ratings.tsv line 1: movie \"\" is no number"},
      {user_lines, movie_lines, "1\t1\t6\t9\n", "ratings.tsv line 1: rating \"6\" is no number up to 5"},
      {user_lines, movie_lines, "4\t1\t5\t9\n", "ratings.tsv line 1: user 4 is not in users.dat"},
      {user_lines, movie_lines, "1\t1\t5\t9\n1\t5\t5\t9\n", "ratings.tsv line 2: movie 5 is not in movies.dat"},
      {"1::F::1::10::48067\n2::M::56\n", movie_lines, rating, "users.dat line 2: 3 columns, need 5"},
      {"1::F::old::10::48067\n", movie_lines, rating, "users.dat line 1: age \"old\" is no number"},
      {"1::F::1::x::48067\n", movie_lines, rating, "users.dat line 1: occupation \"x\" is no number"},
      {"1::F::1::10::4\n1::M::1::10::4\n", movie_lines, rating, "users.dat line 2: id 1 a second time"},
      {user_lines, "1::Toy Story (1995)\n", rating, "movies.dat line 1: 2 columns, need 3"},
      {user_lines, "one::Toy Story (1995)::Crime\n", rating, "movies.dat line 1: id \"one\" is no number"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK_FAILS(read_all(movielens_with(cases[i].users, cases[i].movies, cases[i].ratings)), HOTROW_ERR_CORRUPT,
                cases[i].words);
  static const char *const names[] = {"movies.dat", "users.dat"};
  for (size_t i = 0; i < 2; i++) {
    char path[512];
    const char *ratings = movielens_with(user_lines, movie_lines, rating);
    snprintf(path, sizeof path, "%s/%s", hr_test_tmpdir(), names[i]);
    CHECK(unlink(path) == 0);
    CHECK_FAILS(read_all(ratings), HOTROW_ERR_NOT_FOUND, path);
  }
}

static void test_movielens_values(void)
{
  movielens_with(user_lines, movie_lines, "");
  static const char *const ratings[] = {"3\t2\t4\t\n", "3::2::4::978300760\n"};
  for (size_t i = 0; i < 2; i++) {
    hr_dataset *dataset = open_file(data_file_text("ratings.tsv", ratings[i]), HR_TEST, 0);
    const hr_dataset_info *info = hr_dataset_get_info(dataset);
    CHECK(strcmp(info->name, "movielens") == 0);
    CHECK_EQ(info->field_count, 8);
    CHECK_EQ(info->numeric_count, 0);
    CHECK_EQ(info->sample_count, 1);
    hr_batch batch = new_batch(dataset, 2);
    CHECK_OK(hr_dataset_read(dataset, &batch));
    CHECK_EQ(batch.count, 1);
    for (uint32_t f = 0; f < 8; f++)
      CHECK_EQ(batch.keys[f] >> HR_FIELD_SHIFT, f);
    CHECK_EQ(id_of(batch.keys[0]), 3);
    CHECK_EQ(id_of(batch.keys[1]), 2);
    CHECK_EQ(id_of(batch.keys[3]), 25);
    CHECK_EQ(id_of(batch.keys[4]), 15);
    CHECK_EQ(id_of(batch.keys[6]), 1994);
    CHECK(batch.labels[0] == 1);
    hr_batch_fini(&batch);
    hr_dataset_close(dataset);
  }
}

/* The users of a whole split, in the order of an epoch. */
static size_t read_movielens(const char *path, hr_split split, uint64_t seed, uint32_t epoch, uint64_t *samples)
{
  hr_dataset *dataset = open_file(path, split, seed);
  hr_batch batch = new_batch(dataset, 13);
  size_t count = 0;
  CHECK_OK(hr_dataset_rewind(dataset, epoch));
  do {
    CHECK_OK(hr_dataset_read(dataset, &batch));
    for (size_t i = 0; i < batch.count; i++)
      samples[count++] = id_of(batch.keys[i * 8]);
  } while (batch.count);
  CHECK_EQ(count, hr_dataset_get_info(dataset)->sample_count);
  hr_batch_fini(&batch);
  hr_dataset_close(dataset);
  return count;
}

/* 1000 ratings by 1000 users, so that the user names the rating. */
static void test_movielens_splits(void)
{
  enum { COUNT = 1000 };
  static char users[COUNT * 32], ratings[COUNT * 32];
  size_t users_size = 0, ratings_size = 0;
  for (int i = 0; i < COUNT; i++) {
    users_size += (size_t)sprintf(users + users_size, "%d::M::1::1::%d\n", i, i % 10);
    ratings_size += (size_t)sprintf(ratings + ratings_size, "%d\t1\t%d\t0\n", i, i % 6);
  }
  const char *path = movielens_with(users, movie_lines, ratings);
  uint64_t samples[COUNT], again[COUNT];
  bool seen[COUNT] = {false};
  size_t count = 0, in_order = 0;
  CHECK_EQ(read_movielens(path, HR_TRAIN, 5, 0, samples), 800);
  CHECK_EQ(read_movielens(path, HR_VALID, 5, 0, samples + 800), 100);
  CHECK_EQ(read_movielens(path, HR_TEST, 5, 0, samples + 900), 100);
  for (size_t i = 0; i < COUNT; i++) {
    CHECK_MSG(!seen[samples[i]], "rating %llu is in two splits", (unsigned long long)samples[i]);
    seen[samples[i]] = true;
    in_order += i > 0 && samples[i] == samples[i - 1] + 1;
    count += i >= 900 && samples[i] >= 500;
  }
  CHECK(in_order < 10);
  CHECK(count > 25 && count < 75); /* the test split is from all of the file */

  read_movielens(path, HR_TRAIN, 5, 0, again);
  CHECK(memcmp(again, samples, 800 * sizeof samples[0]) == 0);
  read_movielens(path, HR_TRAIN, 5, 1, again);
  CHECK(memcmp(again, samples, 800 * sizeof samples[0]) != 0);
  read_movielens(path, HR_TRAIN, 6, 0, again);
  CHECK(memcmp(again, samples, 800 * sizeof samples[0]) != 0);
  size_t missing = 0;
  for (size_t i = 0; i < 800; i++)
    seen[again[i]] = false;
  for (size_t i = 0; i < 800; i++)
    missing += seen[samples[i]];
  CHECK_EQ(missing, 0); /* another order of the same split */
  read_movielens(path, HR_TEST, 6, 3, again);
  CHECK(memcmp(again, samples + 900, 100 * sizeof samples[0]) == 0);
}

typedef struct tally {
  uint64_t samples, positives, splits[3];
  uint64_t *keys; /* [samples][field_count], field by field in each sample */
  uint32_t field_count;
} tally;

/* Reads all three splits. */
static tally tally_file(const char *path)
{
  tally t = {0};
  for (hr_split split = HR_TRAIN; split <= HR_TEST; split++) {
    hr_dataset *dataset = open_file(path, split, 1);
    hr_batch batch = new_batch(dataset, 1000);
    t.field_count = hr_dataset_get_info(dataset)->field_count;
    t.splits[split] = hr_dataset_get_info(dataset)->sample_count;
    t.keys = realloc(t.keys, (t.samples + t.splits[split]) * t.field_count * sizeof *t.keys);
    CHECK(t.keys);
    do {
      CHECK_OK(hr_dataset_read(dataset, &batch));
      memcpy(t.keys + t.samples * t.field_count, batch.keys, batch.count * t.field_count * sizeof *t.keys);
      t.samples += batch.count;
      for (size_t i = 0; i < batch.count; i++)
        t.positives += batch.labels[i] > 0;
    } while (batch.count);
    hr_batch_fini(&batch);
    hr_dataset_close(dataset);
  }
  return t;
}

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* distinct[f] values of field f, "missing" not counted; sorts the tally's keys. */
static void count_distinct(tally *t, uint64_t *distinct)
{
  size_t count = t->samples * t->field_count;
  qsort(t->keys, count, sizeof *t->keys, compare_keys);
  memset(distinct, 0, t->field_count * sizeof *distinct);
  for (size_t i = 0; i < count; i++)
    distinct[t->keys[i] >> HR_FIELD_SHIFT] += id_of(t->keys[i]) != MISSING && (i == 0 || t->keys[i] != t->keys[i - 1]);
}

static void test_real_criteo(void)
{
  char path[512];
  uint64_t distinct[HR_FIELDS_MAX], categorical = 0;
  snprintf(path, sizeof path, "%s/criteo80k/criteo80k.tsv.xz", hr_test_data_dir());
  tally t = tally_file(path);
  CHECK_EQ(t.samples, 80000);
  CHECK_EQ(t.splits[HR_TRAIN], 64000);
  CHECK_EQ(t.splits[HR_VALID], 8000);
  CHECK_EQ(t.splits[HR_TEST], 8000);
  CHECK_EQ((t.positives + 4) / 8, 2245); /* of 10,000 */
  count_distinct(&t, distinct);
  for (uint32_t f = 13; f < 39; f++)
    categorical += distinct[f];
  printf("%llu distinct values in 26 fields\n", (unsigned long long)categorical);
  CHECK_EQ(categorical, 200309);
  free(t.keys);
}

static void test_real_movielens(void)
{
  static const uint64_t expected[] = {6040, 3706, 2, 7, 21, 3439, 81, 301};
  char path[512];
  uint64_t distinct[HR_FIELDS_MAX];
  snprintf(path, sizeof path, "%s/ml-1m/ratings.tsv.xz", hr_test_data_dir());
  tally t = tally_file(path);
  CHECK_EQ(t.samples, 1000209);
  CHECK_EQ((t.positives * 1000 + 500104) / 1000209, 575);
  count_distinct(&t, distinct);
  for (uint32_t f = 0; f < 8; f++)
    CHECK_MSG(distinct[f] == expected[f], "field %u has %llu values", f, (unsigned long long)distinct[f]);
  free(t.keys);
}

int main(int argc, char **argv)
{
  if (argc > 1 && strcmp(argv[1], "real") == 0) {
    if (!hr_test_data_dir())
      hr_test_skip("data", "HOTROW_TEST_DATA names no directory with criteo80k and ml-1m");
    RUN(test_real_criteo);
    RUN(test_real_movielens);
    return 0;
  }
  RUN(test_open_refusals);
  RUN(test_criteo_refusals);
  RUN(test_movielens_refusals);
  RUN(test_criteo_shrinks);
  RUN(test_criteo_values);
  RUN(test_criteo_splits);
  RUN(test_movielens_values);
  RUN(test_movielens_splits);
  return 0;
}
