#include "hr_test.h"

#include <time.h>

#include "data_files.h"
#include "reader.h"

/* data_criteo_lines() gives sample i the token i in this field. */
#define INDEX_FIELD 13

enum { LINES = 1000, TRAIN_SAMPLES = 800, TEST_SAMPLES = 100 };

static hr_dataset *open_lines(hr_split split)
{
  char *lines = data_criteo_lines(LINES);
  const hr_dataset_options options = {.path = data_file_write("reader.tsv", DATA_GZIP, lines, strlen(lines)),
                                      .split = split};
  hr_dataset *dataset;
  CHECK_OK(hr_dataset_open(&options, &dataset));
  free(lines);
  return dataset;
}

static hr_reader *open_reader(const hr_reader_options *options)
{
  hr_reader *reader;
  CHECK_OK(hr_reader_open(options, &reader));
  return reader;
}

static uint64_t sample_index(const hr_batch *batch, size_t i)
{
  return batch->keys[i * 39 + INDEX_FIELD] & 0xffffffff;
}

static void check_batch(const hr_batch *batch, uint64_t first, size_t count)
{
  CHECK_EQ(batch->count, count);
  for (size_t i = 0; i < count; i++) {
    CHECK_EQ(sample_index(batch, i), first + i);
    CHECK(batch->labels[i] == (float)((first + i) % 2));
  }
}

static void test_refusals(void)
{
  hr_dataset *dataset = open_lines(HR_TRAIN);
  hr_reader *reader = NULL;
  const hr_reader_options good = {.dataset = dataset, .batch_size = 32, .world_size = 3, .depth = 4};
  hr_reader_options bad = good;
  bad.batch_size = 0;
  CHECK_FAILS(hr_reader_open(&bad, &reader), HOTROW_ERR_INVALID, "batch size 0");
  bad.batch_size = HR_READER_BATCH_MAX + 1;
  CHECK_FAILS(hr_reader_open(&bad, &reader), HOTROW_ERR_INVALID, "batch size 1048577");
  bad = good;
  bad.rank = 3;
  CHECK_FAILS(hr_reader_open(&bad, &reader), HOTROW_ERR_INVALID, "rank 3 is not below the world size 3");
  bad = good;
  bad.depth = 1;
  CHECK_FAILS(hr_reader_open(&bad, &reader), HOTROW_ERR_INVALID, "depth 1");
  bad.depth = HR_READER_DEPTH_MAX + 1;
  CHECK_FAILS(hr_reader_open(&bad, &reader), HOTROW_ERR_INVALID, "depth 1025");
  bad = good;
  bad.first_step = 9;
  CHECK_FAILS(hr_reader_open(&bad, &reader), HOTROW_ERR_INVALID, "first step 9 is beyond the 8 steps");
  CHECK(reader == NULL);
  hr_reader_close(NULL);
  hr_dataset_close(dataset);
}

/* Every rank of a training job: the same number of steps, batches s*W + r, nothing twice. */
static void check_training(uint32_t world_size, uint32_t depth, uint64_t first_step)
{
  enum { BATCH = 32 };
  const uint64_t step_count = TRAIN_SAMPLES / BATCH / world_size;
  for (uint32_t rank = 0; rank < world_size; rank++) {
    hr_dataset *dataset = open_lines(HR_TRAIN);
    hr_reader *reader = open_reader(&(hr_reader_options){.dataset = dataset,
                                                         .batch_size = BATCH,
                                                         .rank = rank,
                                                         .world_size = world_size,
                                                         .depth = depth,
                                                         .first_step = first_step});
    const hr_batch *batch;
    CHECK_EQ(hr_reader_step_count(reader), step_count);
    for (uint64_t step = first_step; step < step_count; step++) {
      CHECK_OK(hr_reader_next(reader, &batch));
      CHECK_MSG(batch != NULL, "rank %u of %u ended at step %llu", rank, world_size, (unsigned long long)step);
      check_batch(batch, (step * world_size + rank) * BATCH, BATCH);
    }
    for (int again = 0; again < 2; again++) {
      CHECK_OK(hr_reader_next(reader, &batch));
      CHECK(batch == NULL);
    }
    hr_reader_close(reader);
    hr_dataset_close(dataset);
  }
}

static void test_training_order(void)
{
  check_training(1, 2, 0);
  check_training(1, 64, 0);
  check_training(3, 2, 0);
  check_training(3, 5, 3);
  check_training(3, 5, 8);
  check_training(26, 2, 0); /* more ranks than batches: no step at all */
}

/* Evaluation: the ranks together see every sample once. */
static void test_evaluation_sees_all(void)
{
  static const struct {
    uint32_t world_size;
    size_t batch_size;
  } cases[] = {{1, 7}, {3, 7}, {3, 25}, {3, 200}, {4, 10}};
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    int seen[LINES] = {0};
    for (uint32_t rank = 0; rank < cases[c].world_size; rank++) {
      hr_dataset *dataset = open_lines(HR_TEST);
      hr_reader *reader = open_reader(&(hr_reader_options){.dataset = dataset,
                                                           .batch_size = cases[c].batch_size,
                                                           .rank = rank,
                                                           .world_size = cases[c].world_size,
                                                           .depth = 3,
                                                           .keep_last = true});
      const hr_batch *batch;
      uint64_t steps = 0;
      for (;; steps++) {
        CHECK_OK(hr_reader_next(reader, &batch));
        if (!batch)
          break;
        for (size_t i = 0; i < batch->count; i++)
          seen[sample_index(batch, i)]++;
      }
      CHECK_EQ(hr_reader_step_count(reader), steps);
      hr_reader_close(reader);
      hr_dataset_close(dataset);
    }
    for (int i = 0; i < LINES; i++)
      CHECK_EQ(seen[i], i >= LINES - TEST_SAMPLES);
  }
}

static void wait_until_read(hr_reader *reader, uint32_t ahead)
{
  for (int i = 0; i < 10000 && !hr_reader_peek(reader, ahead); i++)
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  CHECK_MSG(hr_reader_peek(reader, ahead) != NULL, "batch %u ahead was not read in 10 s", ahead);
}

static void test_peek(void)
{
  enum { BATCH = 100, DEPTH = 4 };
  hr_dataset *dataset = open_lines(HR_TRAIN);
  hr_reader *reader =
      open_reader(&(hr_reader_options){.dataset = dataset, .batch_size = BATCH, .world_size = 1, .depth = DEPTH});
  const hr_batch *batch;
  wait_until_read(reader, DEPTH); /* nothing is in use yet */
  CHECK(hr_reader_peek(reader, DEPTH + 1) == NULL);
  for (uint64_t step = 0; step < 8; step++) {
    const hr_batch *expected = hr_reader_peek(reader, 1);
    CHECK_OK(hr_reader_next(reader, &batch));
    CHECK(batch == expected);
    check_batch(batch, step * BATCH, BATCH);
    uint32_t ahead_count = step + DEPTH <= 8 ? DEPTH - 1 : (uint32_t)(7 - step);
    for (uint32_t ahead = 1; ahead <= ahead_count; ahead++) {
      wait_until_read(reader, ahead);
      check_batch(hr_reader_peek(reader, ahead), (step + ahead) * BATCH, BATCH);
    }
    check_batch(batch, step * BATCH, BATCH); /* still whole with the ring full around it */
    CHECK(hr_reader_peek(reader, ahead_count + 1) == NULL);
  }
  hr_reader_close(reader);
  hr_dataset_close(dataset);
}

/* Closing at once, with a full ring and with some batches taken; the data set can be read again. */
static void test_early_close(void)
{
  hr_dataset *dataset = open_lines(HR_TRAIN);
  const hr_batch *batch;
  for (uint32_t round = 0; round < 60; round++) {
    hr_reader *reader = open_reader(&(hr_reader_options){.dataset = dataset,
                                                         .batch_size = 10,
                                                         .rank = round % 3,
                                                         .world_size = 3,
                                                         .depth = 2 + round % 5,
                                                         .epoch = round});
    if (round % 4 == 3)
      wait_until_read(reader, 2);
    for (uint32_t i = 0; i < round % 7; i++) {
      CHECK_OK(hr_reader_next(reader, &batch));
      check_batch(batch, (i * 3 + round % 3) * 10, 10);
    }
    hr_reader_close(reader);
  }
  hr_dataset_close(dataset);
}

static void test_errors_arrive(void)
{
  char *lines = data_criteo_lines(100), *bad = lines;
  for (int line = 1; line < 46; line++)
    bad = strchr(bad, '\n') + 1;
  *bad = 'x'; /* the label of line 46, in the fifth batch of 10 */
  const hr_dataset_options options = {.path = data_file_text("bad.tsv", lines)};
  hr_dataset *dataset;
  CHECK_OK(hr_dataset_open(&options, &dataset));
  hr_reader *reader =
      open_reader(&(hr_reader_options){.dataset = dataset, .batch_size = 10, .world_size = 1, .depth = 8});
  const hr_batch *batch = NULL;
  for (uint64_t step = 0; step < 4; step++) {
    CHECK_OK(hr_reader_next(reader, &batch));
    check_batch(batch, step * 10, 10);
  }
  for (int again = 0; again < 2; again++)
    CHECK_FAILS(hr_reader_next(reader, &batch), HOTROW_ERR_CORRUPT, "bad.tsv line 46: column 1: label \"x\"");
  CHECK(hr_reader_peek(reader, 1) == NULL);
  hr_reader_close(reader);
  hr_dataset_close(dataset);

  /* The rewind itself fails: the file is gone. */
  CHECK_OK(hr_dataset_open(&options, &dataset));
  CHECK(remove(options.path) == 0);
  reader = open_reader(&(hr_reader_options){.dataset = dataset, .batch_size = 10, .world_size = 1, .depth = 2});
  CHECK_FAILS(hr_reader_next(reader, &batch), HOTROW_ERR_NOT_FOUND, "bad.tsv");
  hr_reader_close(reader);
  hr_dataset_close(dataset);
  free(lines);
}

int main(void)
{
  RUN(test_refusals);
  RUN(test_training_order);
  RUN(test_evaluation_sees_all);
  RUN(test_peek);
  RUN(test_early_close);
  RUN(test_errors_arrive);
  return 0;
}
