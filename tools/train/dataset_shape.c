/* The built-in stream: endless samples with the skew of Criteo's 26 categorical fields (criteo_shape_constants.h), 13
 * numeric values and a label. Sample i is a function of (seed, i), so any split, rank or resumed job goes straight to
 * its place. A key's id is its rank in the field, from 0.
 *
 * The label is drawn with the probability of a planted teacher: weights of the keys, products of their factors, and a
 * curve over each numeric value. A field's most frequent values weigh most, so that a model sees them often enough to
 * learn them. The teacher is scaled on its first samples to about 25 % positives and an AUC of about 0.80, whatever the
 * seed; the AUC that it reaches itself on the test split is the best that a model can reach there. */
#include "dataset_format.h"

#include <math.h>
#include <stdlib.h>

#include <hr/assert.h>
#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/random.h>

#include "criteo_shape_constants.h"
#include "dataset_zipf.h"

#define FIELD_COUNT HR_SHAPE_FIELD_COUNT
#define NUMERIC_COUNT 13u
#define TAIL 255u /* in head_of_draw: a value that is not frequent */
#define FACTOR_COUNT 4u
#define TAIL_WEIGHT 0.3
#define POSITIVE_SHARE 0.25
#define SCORE_DEVIATION 1.38 /* gives the AUC of 0.80 at this share of positives */
#define CALIBRATION_SAMPLES 8192u
#define TEACHER_AUC_SAMPLES_MAX                                                                                        \
  65536u /* the AUC is then known to +-0.002, and opening takes a fraction of a second                                 \
          */

enum { PART_WEIGHTS, PART_PRODUCTS, PART_NUMERIC, PART_COUNT };
static const double part_shares[PART_COUNT] = {0.6, 0.2, 0.2}; /* of the variance of the score */

typedef struct shape_field {
  uint32_t head_count;
  uint8_t head_of_draw[HR_SHAPE_ROW_COUNT]; /* rank from 0, or TAIL */
  hr_zipf tail;
} shape_field;

typedef struct shape_dataset {
  hr_dataset base;
  uint64_t seed;
  uint64_t begin; /* first sample of the split */
  uint64_t weight_seed, factor_seed, numeric_seed;
  double part_scale[PART_COUNT];
  double bias;
  shape_field fields[FIELD_COUNT];
} shape_dataset;

typedef struct scored {
  double score;
  float label;
} scored;

/* Mean 0 and deviation 1 from 64 random bits: the sum of four uniform numbers, normal enough here. */
static double normal_from_bits(uint64_t bits)
{
  uint64_t sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
  return ((double)sum - 2 * 65535.0) * (1.7320508075688772 / 65536);
}

static void init_field(shape_field *field, const hr_shape_field *shape, double scale)
{
  uint32_t draw = 0;
  for (; field->head_count < HR_SHAPE_HEAD_MAX && shape->head[field->head_count]; field->head_count++)
    for (uint32_t i = 0; i < shape->head[field->head_count]; i++) {
      HOTROW_ASSERT(draw < HR_SHAPE_ROW_COUNT);
      field->head_of_draw[draw++] = (uint8_t)field->head_count;
    }
  if (draw == HR_SHAPE_ROW_COUNT)
    return;
  hr_zipf_init(&field->tail, field->head_count + 1, hr_shape_cardinality(shape, scale), shape->tail_exponent);
  for (; draw < HR_SHAPE_ROW_COUNT; draw++)
    field->head_of_draw[draw] = TAIL;
}

static void make_inputs(const shape_dataset *dataset, uint64_t index, uint64_t *keys, float *numeric, hr_rng *rng)
{
  rng->state = hr_mix64(dataset->seed + index * UINT64_C(0x9e3779b97f4a7c15));
  for (uint32_t f = 0; f < FIELD_COUNT; f++) {
    uint64_t bits = hr_rng_next(rng); /* 13 bits choose a frequent value or the tail; the others a rank of the tail */
    uint64_t id = dataset->fields[f].head_of_draw[bits % HR_SHAPE_ROW_COUNT];
    if (id == TAIL)
      id = hr_zipf_draw(&dataset->fields[f].tail, (double)(bits >> 13) * 0x1p-51, rng) - 1;
    keys[f] = hr_format_key(f, id);
  }
  for (uint32_t j = 0; j < NUMERIC_COUNT; j++)
    numeric[j] = (float)normal_from_bits(hr_rng_next(rng));
}

static void score_parts(const shape_dataset *dataset, const uint64_t *keys, const float *numeric, double *parts)
{
  double sum[FACTOR_COUNT] = {0}, squares = 0;
  for (uint32_t k = 0; k < PART_COUNT; k++)
    parts[k] = 0;
  for (uint32_t f = 0; f < FIELD_COUNT; f++) {
    double emphasis = (keys[f] & HR_FORMAT_ID_MASK) < dataset->fields[f].head_count ? 1 : TAIL_WEIGHT;
    uint64_t bits = hr_key_hash(keys[f], dataset->factor_seed);
    parts[PART_WEIGHTS] += emphasis * normal_from_bits(hr_key_hash(keys[f], dataset->weight_seed));
    for (uint32_t k = 0; k < FACTOR_COUNT; k++) {
      double factor = emphasis * (double)(int16_t)(bits >> 16 * k);
      sum[k] += factor;
      squares += factor * factor;
    }
  }
  for (uint32_t k = 0; k < FACTOR_COUNT; k++) /* sum of the products of all pairs */
    parts[PART_PRODUCTS] += sum[k] * sum[k];
  parts[PART_PRODUCTS] -= squares;
  for (uint32_t j = 0; j < NUMERIC_COUNT; j++) {
    double slope = normal_from_bits(hr_key_hash(2 * j, dataset->numeric_seed));
    double bend = normal_from_bits(hr_key_hash(2 * j + 1, dataset->numeric_seed));
    parts[PART_NUMERIC] += numeric[j] * (slope + 0.5 * bend * numeric[j]);
  }
}

static double probability(double score)
{
  return 1 / (1 + exp(-score));
}

static double score_sample(const shape_dataset *dataset, const uint64_t *keys, const float *numeric)
{
  double parts[PART_COUNT], score = dataset->bias;
  score_parts(dataset, keys, numeric, parts);
  for (uint32_t k = 0; k < PART_COUNT; k++)
    score += dataset->part_scale[k] * parts[k];
  return score;
}

/* The whole sample; returns the teacher's score. */
static double make_sample(const shape_dataset *dataset, uint64_t index, uint64_t *keys, float *numeric, float *label_p)
{
  hr_rng rng;
  make_inputs(dataset, index, keys, numeric, &rng);
  double score = score_sample(dataset, keys, numeric);
  *label_p = hr_unit_double(hr_rng_next(&rng)) < probability(score) ? 1.0f : 0.0f;
  return score;
}

static void calibrate_scales(shape_dataset *dataset)
{
  uint64_t keys[FIELD_COUNT];
  float numeric[NUMERIC_COUNT];
  double parts[PART_COUNT], sum[PART_COUNT] = {0}, squares[PART_COUNT] = {0};
  hr_rng rng;
  for (uint64_t i = 0; i < CALIBRATION_SAMPLES; i++) {
    make_inputs(dataset, i, keys, numeric, &rng);
    score_parts(dataset, keys, numeric, parts);
    for (uint32_t k = 0; k < PART_COUNT; k++) {
      sum[k] += parts[k];
      squares[k] += parts[k] * parts[k];
    }
  }
  for (uint32_t k = 0; k < PART_COUNT; k++) {
    double mean = sum[k] / CALIBRATION_SAMPLES;
    double deviation = sqrt(squares[k] / CALIBRATION_SAMPLES - mean * mean);
    dataset->part_scale[k] = SCORE_DEVIATION * sqrt(part_shares[k]) / deviation;
  }
}

static hotrow_status calibrate_bias(shape_dataset *dataset)
{
  uint64_t keys[FIELD_COUNT];
  float numeric[NUMERIC_COUNT];
  double *scores, low = 0, high = 0;
  hr_rng rng;
  HOTROW_TRY(hr_alloc(CALIBRATION_SAMPLES, sizeof *scores, "scores of the teacher", (void **)&scores));
  for (uint64_t i = 0; i < CALIBRATION_SAMPLES; i++) {
    make_inputs(dataset, i, keys, numeric, &rng);
    scores[i] = score_sample(dataset, keys, numeric);
    low = fmin(low, -scores[i] - 20);
    high = fmax(high, -scores[i] + 20);
  }
  for (int step = 0; step < 40; step++) {
    double middle = (low + high) / 2, positives = 0;
    for (uint32_t i = 0; i < CALIBRATION_SAMPLES; i++)
      positives += probability(scores[i] + middle);
    if (positives < POSITIVE_SHARE * CALIBRATION_SAMPLES)
      low = middle;
    else
      high = middle;
  }
  dataset->bias = (low + high) / 2;
  free(scores);
  return HOTROW_OK;
}

static int compare_scores(const void *a, const void *b)
{
  double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
  return (x > y) - (x < y);
}

static hotrow_status teacher_auc(const shape_dataset *dataset, uint64_t sample_count, double *auc_p)
{
  uint64_t keys[FIELD_COUNT], begin, end;
  float numeric[NUMERIC_COUNT];
  scored *samples;
  hr_split_range(sample_count, HR_TEST, &begin, &end);
  size_t count = end - begin < TEACHER_AUC_SAMPLES_MAX ? (size_t)(end - begin) : TEACHER_AUC_SAMPLES_MAX;
  HOTROW_TRY(hr_alloc(count, sizeof *samples, "samples of the teacher", (void **)&samples));
  for (size_t i = 0; i < count; i++)
    samples[i].score = make_sample(dataset, begin + i, keys, numeric, &samples[i].label);
  qsort(samples, count, sizeof *samples, compare_scores);
  double negatives = 0, ordered_pairs = 0;
  for (size_t i = 0; i < count; i++) {
    if (samples[i].label > 0)
      ordered_pairs += negatives;
    else
      negatives++;
  }
  free(samples);
  double pairs = negatives * ((double)count - negatives);
  *auc_p = pairs > 0 ? ordered_pairs / pairs : 0.5;
  return HOTROW_OK;
}

static hotrow_status shape_read(hr_dataset *base, hr_batch *batch)
{
  const shape_dataset *dataset = (const shape_dataset *)base;
  for (size_t i = 0; i < batch->count; i++)
    make_sample(dataset, dataset->begin + base->position + i, batch->keys + i * FIELD_COUNT,
                batch->numeric + i * NUMERIC_COUNT, &batch->labels[i]);
  return HOTROW_OK;
}

static hotrow_status shape_skip(hr_dataset *base, uint64_t sample_count)
{
  (void)base, (void)sample_count; /* position says it all */
  return HOTROW_OK;
}

static hotrow_status shape_rewind(hr_dataset *base, uint32_t epoch)
{
  (void)base, (void)epoch; /* samples are independent of each other: another order would teach nothing else */
  return HOTROW_OK;
}

static void shape_close(hr_dataset *base)
{
  free(base);
}

static hotrow_status shape_open(const hr_dataset_options *options, hr_dataset **dataset_p)
{
  shape_dataset *dataset;
  uint64_t end;
  if (options->sample_count == 0 || options->sample_count > HR_SAMPLES_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "the built-in stream needs a sample count from 1 to %llu, not %llu",
                   (unsigned long long)HR_SAMPLES_MAX, (unsigned long long)options->sample_count);
  HOTROW_TRY(hr_alloc(1, sizeof *dataset, "built-in data set", (void **)&dataset));
  dataset->base.info = (hr_dataset_info){"criteo-shaped", FIELD_COUNT, NUMERIC_COUNT, 0, 0};
  hr_rng rng = {options->seed};
  dataset->seed = hr_rng_next(&rng);
  dataset->weight_seed = hr_rng_next(&rng);
  dataset->factor_seed = hr_rng_next(&rng);
  dataset->numeric_seed = hr_rng_next(&rng);
  for (uint32_t f = 0; f < FIELD_COUNT; f++)
    init_field(&dataset->fields[f], &hr_shape_fields[f], options->shape_scale > 0 ? options->shape_scale : 1);
  hr_split_range(options->sample_count, options->split, &dataset->begin, &end);
  dataset->base.info.sample_count = end - dataset->begin;
  calibrate_scales(dataset);
  hotrow_status status = calibrate_bias(dataset);
  if (status == HOTROW_OK)
    status = teacher_auc(dataset, options->sample_count, &dataset->base.info.teacher_auc);
  if (status != HOTROW_OK) {
    shape_close(&dataset->base);
    return status;
  }
  *dataset_p = &dataset->base;
  return HOTROW_OK;
}

const hr_dataset_format hr_format_shape = {
    .looks = "the built-in stream: no file",
    .open = shape_open,
    .close = shape_close,
    .read = shape_read,
    .skip = shape_skip,
    .rewind = shape_rewind,
};
