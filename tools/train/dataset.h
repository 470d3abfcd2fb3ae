/* Samples for the training job, in batches: every sample has one key per field, some numeric values and a label.
 * A data set is opened once per split and read front to back by one thread; hr_reader (reader.h) reads ahead. */
#ifndef HR_DATASET_H
#define HR_DATASET_H

#include <hotrow/base.h>

#define HR_FIELDS_MAX 64u
#define HR_NUMERIC_MAX 64u
#define HR_FIELD_SHIFT 48
#define HR_SAMPLES_MAX (UINT64_C(1) << 40)

typedef enum hr_split { HR_TRAIN = 0, HR_VALID = 1, HR_TEST = 2 } hr_split;

typedef struct hr_dataset hr_dataset;

typedef struct hr_dataset_options {
  const char *path;      /* NULL: the built-in Criteo-shaped stream */
  uint64_t seed;         /* of shuffles and of the built-in stream */
  uint64_t sample_count; /* built-in stream: samples of all splits together; files: 0 */
  hr_split split;
  double shape_scale; /* built-in stream: its fields have so many times the values; 0 means 1 */
} hr_dataset_options;

typedef struct hr_dataset_info {
  char name[64]; /* "criteo", "movielens", "criteo-shaped" */
  uint32_t field_count;
  uint32_t numeric_count;
  uint64_t sample_count; /* of this split */
  double teacher_auc;    /* built-in stream: the AUC of the planted probabilities on the test split; else 0 */
} hr_dataset_info;

/* One batch; the arrays are the caller's. A key is field << HR_FIELD_SHIFT | id in the field (ids below 2^48), so that
 * fields never share rows. Numeric values are already transformed (Criteo: see dataset_criteo.c). */
typedef struct hr_batch {
  uint64_t *keys; /* [capacity][field_count] */
  float *numeric; /* [capacity][numeric_count] */
  float *labels;  /* [capacity]: 0 or 1 */
  size_t capacity;
  size_t count; /* samples read; 0 at the end of the split */
} hr_batch;

/* Recognises the format from the file's first line (criteo TSV; MovieLens ratings, their users.dat and movies.dat
 * beside them; each plain or compressed with gzip or xz). Splits are 8:1:1: in file order (criteo, and the built-in
 * stream) or at random, always the same way (MovieLens).
 *
 *   HOTROW_ERR_INVALID      a split that is none; sample_count 0 for the built-in stream, or not 0 for a file
 *   HOTROW_ERR_NOT_FOUND    no such file, or none of the files that must be beside it
 *   HOTROW_ERR_CORRUPT      file, line and what is wrong
 *   HOTROW_ERR_UNSUPPORTED  the first line is of no known format
 *   HOTROW_ERR_LIMIT        a line, or the number of samples, is over its limit
 *   HOTROW_ERR_NO_MEMORY, HOTROW_ERR_STORAGE */
hotrow_status hr_dataset_open(const hr_dataset_options *options, hr_dataset **dataset_p);
void hr_dataset_close(hr_dataset *dataset);
const hr_dataset_info *hr_dataset_get_info(const hr_dataset *dataset);

/* Reads the next samples of the split in their order; epoch e of the training split may be shuffled by (seed, e). */
hotrow_status hr_dataset_read(hr_dataset *dataset, hr_batch *batch);
/* Passes over the next samples without making them; stops at the end of the split. */
hotrow_status hr_dataset_skip(hr_dataset *dataset, uint64_t sample_count);
/* Goes back to the first sample, for another epoch. */
hotrow_status hr_dataset_rewind(hr_dataset *dataset, uint32_t epoch);

/* Takes and gives back the arrays of a batch; count starts at 0. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_batch_init(hr_batch *batch, const hr_dataset_info *info, size_t capacity);
void hr_batch_fini(hr_batch *batch);

#endif
