/* The built-in Criteo-shaped stream and its Zipf draws. */
#include "hr_test.h"

#include <math.h>

#include "dataset.h"
#include "dataset_zipf.h"

enum { FIELDS = 26, NUMERIC = 13 };

static hr_dataset *open_stream(uint64_t seed, uint64_t sample_count, hr_split split)
{
  const hr_dataset_options options = {.seed = seed, .sample_count = sample_count, .split = split};
  hr_dataset *dataset;
  CHECK_OK(hr_dataset_open(&options, &dataset));
  return dataset;
}

static hr_batch new_batch(const hr_dataset *dataset, size_t capacity)
{
  hr_batch batch;
  CHECK_OK(hr_batch_init(&batch, hr_dataset_get_info(dataset), capacity));
  return batch;
}

static void read_full(hr_dataset *dataset, hr_batch *batch)
{
  CHECK_OK(hr_dataset_read(dataset, batch));
  CHECK_EQ(batch->count, batch->capacity);
}

static bool equal_samples(const hr_batch *a, size_t i, const hr_batch *b, size_t j)
{
  return memcmp(a->keys + i * FIELDS, b->keys + j * FIELDS, FIELDS * sizeof(uint64_t)) == 0 &&
         memcmp(a->numeric + i * NUMERIC, b->numeric + j * NUMERIC, NUMERIC * sizeof(float)) == 0 &&
         a->labels[i] == b->labels[j];
}

static void test_refusals(void)
{
  hr_dataset *dataset = NULL;
  hr_dataset_options options = {.seed = 1};
  CHECK_FAILS(hr_dataset_open(&options, &dataset), HOTROW_ERR_INVALID, "needs a sample count from 1 to");
  options.sample_count = HR_SAMPLES_MAX + 1;
  CHECK_FAILS(hr_dataset_open(&options, &dataset), HOTROW_ERR_INVALID, "not 1099511627777");
  CHECK(dataset == NULL);
}

/* Against the exact probabilities, by chi-square: 5 standard deviations of its own distribution. */
static void test_zipf_is_exact(void)
{
  static const struct {
    uint64_t begin, end;
    double exponent;
  } cases[] = {{1, 50, 0.5}, {1, 1, 2}, {3, 4, 5}, {65, 400, 1.036}, {65, 300, 0.01}, {1, 1000, 1.9}, {8, 24, 5}};
  enum { DRAWS = 400000 };
  hr_rng rng = {hr_test_seed(20240607)};
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    hr_zipf zipf;
    double total = 0, chi_square = 0, pooled_expected = 0, pooled_count = 0, cells = 0;
    uint32_t counts[1001] = {0};
    hr_zipf_init(&zipf, cases[c].begin, cases[c].end, cases[c].exponent);
    for (int i = 0; i < DRAWS; i++) {
      uint64_t rank = hr_zipf_draw(&zipf, hr_unit_double(hr_rng_next(&rng)), &rng);
      CHECK(rank >= cases[c].begin && rank <= cases[c].end);
      counts[rank]++;
    }
    for (uint64_t rank = cases[c].begin; rank <= cases[c].end; rank++)
      total += pow((double)rank, -cases[c].exponent);
    for (uint64_t rank = cases[c].begin; rank <= cases[c].end; rank++) { /* rare ranks share a cell */
      pooled_expected += DRAWS * pow((double)rank, -cases[c].exponent) / total;
      pooled_count += counts[rank];
      if (pooled_expected < 20 && rank < cases[c].end)
        continue;
      chi_square += pow(pooled_count - pooled_expected, 2) / pooled_expected;
      cells++;
      pooled_expected = pooled_count = 0;
    }
    printf("exponent %g over %llu..%llu: chi-square %.1f of %g cells\n", cases[c].exponent,
           (unsigned long long)cases[c].begin, (unsigned long long)cases[c].end, chi_square, cells);
    CHECK(chi_square <= cells - 1 + 5 * sqrt(2 * cells));
  }
}

/* A tail of ten million ranks: the share of its first hundredth is the quotient of two integrals. */
static void test_zipf_of_many_ranks(void)
{
  enum { DRAWS = 200000 };
  hr_rng rng = {hr_test_seed(7)};
  hr_zipf zipf;
  int below = 0;
  hr_zipf_init(&zipf, 65, 10131227, 1.036);
  for (int i = 0; i < DRAWS; i++)
    below += hr_zipf_draw(&zipf, hr_unit_double(hr_rng_next(&rng)), &rng) <= 100000;
  double expected = (pow(64.5, -0.036) - pow(100000.5, -0.036)) / (pow(64.5, -0.036) - pow(10131227.5, -0.036));
  printf("share of ranks 65..100000: %.4f, expected %.4f\n", (double)below / DRAWS, expected);
  CHECK(fabs((double)below / DRAWS - expected) < 0.005);
}

static int compare_keys(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Distinct keys per (field, sample), the mean of many batches of this size. */
static double distinct_share(hr_dataset *dataset, size_t batch_size)
{
  enum { SAMPLES = 65536 };
  hr_batch batch = new_batch(dataset, batch_size);
  size_t distinct = 0;
  CHECK_OK(hr_dataset_rewind(dataset, 0));
  for (size_t b = 0; b < SAMPLES / batch_size; b++) {
    read_full(dataset, &batch);
    qsort(batch.keys, batch_size * FIELDS, sizeof *batch.keys, compare_keys);
    for (size_t i = 0; i < batch_size * FIELDS; i++)
      distinct += i == 0 || batch.keys[i] != batch.keys[i - 1];
  }
  hr_batch_fini(&batch);
  return (double)distinct / (SAMPLES * FIELDS);
}

static void test_shape_is_criteos(void)
{
  static const struct {
    size_t batch_size;
    double share;
  } cases[] = {{128, 0.458}, {512, 0.354}, {2048, 0.260}, {8192, 0.187}};
  hr_dataset *dataset = open_stream(hr_test_seed(1), 100000, HR_TRAIN);
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    double share = distinct_share(dataset, cases[c].batch_size);
    printf("batch %zu: %.4f distinct keys per field and sample\n", cases[c].batch_size, share);
    CHECK_MSG(fabs(share - cases[c].share) < 0.01, "batch %zu: %.4f, expected %.3f", cases[c].batch_size, share,
              cases[c].share);
  }
  hr_dataset_close(dataset);
}

static void test_frequent_values(void)
{
  enum { SAMPLES = 65536 };
  hr_dataset *dataset = open_stream(hr_test_seed(1), 100000, HR_TRAIN);
  hr_batch batch = new_batch(dataset, SAMPLES);
  uint32_t c9_first = 0, c20[4] = {0};
  double sum[NUMERIC] = {0}, squares[NUMERIC] = {0};
  read_full(dataset, &batch);
  for (size_t i = 0; i < SAMPLES; i++) {
    for (uint32_t f = 0; f < FIELDS; f++)
      CHECK_EQ(batch.keys[i * FIELDS + f] >> HR_FIELD_SHIFT, f);
    uint64_t c9 = batch.keys[i * FIELDS + 8] & 0xffffffffffff, c20_id = batch.keys[i * FIELDS + 19] & 0xffffffffffff;
    CHECK(c9 < 3 && c20_id < 4);
    c9_first += c9 == 0;
    c20[c20_id]++;
    for (uint32_t j = 0; j < NUMERIC; j++) {
      sum[j] += batch.numeric[i * NUMERIC + j];
      squares[j] += batch.numeric[i * NUMERIC + j] * batch.numeric[i * NUMERIC + j];
    }
  }
  CHECK(fabs(c9_first / (double)SAMPLES - 7339 / 8192.0) < 0.01);
  CHECK(fabs(c20[0] / (double)SAMPLES - 3577 / 8192.0) < 0.01);
  CHECK(fabs(c20[3] / (double)SAMPLES - 1484 / 8192.0) < 0.01);
  for (uint32_t j = 0; j < NUMERIC; j++)
    CHECK(fabs(sum[j] / SAMPLES) < 0.03 && fabs(squares[j] / SAMPLES - 1) < 0.03);
  hr_batch_fini(&batch);
  hr_dataset_close(dataset);
}

/* Sample i is the same however it is reached: whole, by halves, after a skip or a rewind, through any split. */
static void test_samples_depend_on_their_index_alone(void)
{
  uint64_t seed = hr_test_seed(3);
  hr_dataset *train = open_stream(seed, 1000, HR_TRAIN), *longer = open_stream(seed, 10000, HR_TRAIN);
  hr_dataset *valid = open_stream(seed, 1000, HR_VALID), *other = open_stream(seed + 1, 1000, HR_TRAIN);
  hr_batch whole = new_batch(longer, 1000), part = new_batch(train, 37);
  CHECK_EQ(hr_dataset_get_info(train)->sample_count, 800);
  CHECK_EQ(hr_dataset_get_info(valid)->sample_count, 100);
  read_full(longer, &whole);
  for (size_t first = 0; first + 37 <= 800; first += 37) {
    read_full(train, &part);
    for (size_t i = 0; i < 37; i++)
      CHECK(equal_samples(&whole, first + i, &part, i));
  }
  CHECK_OK(hr_dataset_rewind(train, 1));
  CHECK_OK(hr_dataset_skip(train, 790));
  CHECK_OK(hr_dataset_read(train, &part));
  CHECK_EQ(part.count, 10);
  CHECK(equal_samples(&whole, 790, &part, 0) && equal_samples(&whole, 799, &part, 9));
  CHECK_OK(hr_dataset_read(train, &part));
  CHECK_EQ(part.count, 0);
  read_full(valid, &part);
  CHECK(equal_samples(&whole, 800, &part, 0) && equal_samples(&whole, 836, &part, 36));
  read_full(other, &part);
  CHECK(!equal_samples(&whole, 0, &part, 0));
  hr_batch_fini(&whole);
  hr_batch_fini(&part);
  hr_dataset_close(train);
  hr_dataset_close(longer);
  hr_dataset_close(valid);
  hr_dataset_close(other);
}

static void test_teacher(void)
{
  uint64_t seed = hr_test_seed(1);
  for (uint64_t i = 0; i < 5; i++) {
    hr_dataset *dataset = open_stream(seed + i, 200000, HR_TRAIN);
    const hr_dataset_info *info = hr_dataset_get_info(dataset);
    hr_batch batch = new_batch(dataset, 20000);
    double positives = 0;
    read_full(dataset, &batch);
    for (size_t j = 0; j < batch.count; j++)
      positives += batch.labels[j];
    printf("seed %llu: teacher's AUC %.4f, %.2f %% positive\n", (unsigned long long)(seed + i), info->teacher_auc,
           positives / 200);
    CHECK(strcmp(info->name, "criteo-shaped") == 0);
    CHECK(info->teacher_auc > 0.78 && info->teacher_auc < 0.82);
    CHECK(fabs(positives / 20000 - 0.25) < 0.02);
    hr_batch_fini(&batch);
    hr_dataset_close(dataset);
  }
}

/* Logistic regression by Adagrad over hashed keys and the numeric values. */
typedef struct linear_model {
  float weights[1 << 20], squares[1 << 20];
} linear_model;

static uint32_t slot_of(uint64_t key)
{
  return (uint32_t)(hr_mix64(key) >> 44);
}

static double predict(const linear_model *model, const hr_batch *batch, size_t i)
{
  double score = 0;
  for (uint32_t f = 0; f < FIELDS; f++)
    score += model->weights[slot_of(batch->keys[i * FIELDS + f])];
  for (uint32_t j = 0; j < NUMERIC; j++)
    score += batch->numeric[i * NUMERIC + j] * model->weights[slot_of(UINT64_MAX - j)];
  return score;
}

static void step(linear_model *model, uint64_t key, double gradient)
{
  uint32_t slot = slot_of(key);
  model->squares[slot] += (float)(gradient * gradient);
  model->weights[slot] -= (float)(0.05 * gradient / (sqrt(model->squares[slot]) + 1e-6));
}

static double auc_of(const linear_model *model, const hr_batch *batch)
{
  double ordered = 0, pairs = 0; /* over pairs of neighbours in time: enough of them, and no sort */
  for (size_t i = 0; i < batch->count; i++)
    for (size_t j = i + 1; j < batch->count && j < i + 50; j++)
      if (batch->labels[i] != batch->labels[j]) {
        bool first_higher = predict(model, batch, i) > predict(model, batch, j);
        ordered += first_higher == (batch->labels[i] > batch->labels[j]);
        pairs++;
      }
  return ordered / pairs;
}

static void test_a_model_learns(void)
{
  uint64_t seed = hr_test_seed(1);
  hr_dataset *train = open_stream(seed, 375000, HR_TRAIN), *test = open_stream(seed, 375000, HR_TEST);
  hr_batch batch = new_batch(train, 1000), held_out = new_batch(test, 4000);
  linear_model *model = calloc(1, sizeof *model);
  CHECK(model);
  read_full(test, &held_out);
  for (int b = 0; b < 300; b++) {
    read_full(train, &batch);
    for (size_t i = 0; i < batch.count; i++) {
      double gradient = 1 / (1 + exp(-predict(model, &batch, i))) - batch.labels[i];
      for (uint32_t f = 0; f < FIELDS; f++)
        step(model, batch.keys[i * FIELDS + f], gradient);
      for (uint32_t j = 0; j < NUMERIC; j++)
        step(model, UINT64_MAX - j, gradient * batch.numeric[i * NUMERIC + j]);
    }
  }
  double auc = auc_of(model, &held_out);
  printf("logistic regression on 300,000 samples: AUC %.4f; the teacher: %.4f\n", auc,
         hr_dataset_get_info(test)->teacher_auc);
  CHECK(auc > 0.72);
  free(model);
  hr_batch_fini(&batch);
  hr_batch_fini(&held_out);
  hr_dataset_close(train);
  hr_dataset_close(test);
}

int main(void)
{
  RUN(test_refusals);
  RUN(test_zipf_is_exact);
  RUN(test_zipf_of_many_ranks);
  RUN(test_shape_is_criteos);
  RUN(test_frequent_values);
  RUN(test_samples_depend_on_their_index_alone);
  RUN(test_teacher);
  RUN(test_a_model_learns);
  return 0;
}
