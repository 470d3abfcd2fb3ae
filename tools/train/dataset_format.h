/* What a format of data sets is to dataset.c. A new format is one file and one line in dataset.c. */
#ifndef HR_DATASET_FORMAT_H
#define HR_DATASET_FORMAT_H

#include <hr/status.h>

#include "dataset.h"

#define HR_FORMAT_ID_MASK ((UINT64_C(1) << HR_FIELD_SHIFT) - 1)

typedef struct hr_dataset_format {
  const char *looks;                   /* one line, for the message about an unknown file */
  bool (*recognise)(char *first_line); /* may cut the line */
  /* dataset.c has checked the options. On success the format has set all of info. */
  hotrow_status (*open)(const hr_dataset_options *options, hr_dataset **dataset_p);
  void (*close)(hr_dataset *dataset);
  /* Fills batch->count <= capacity samples from `position` on; dataset.c keeps the count inside the split. */
  hotrow_status (*read)(hr_dataset *dataset, hr_batch *batch);
  hotrow_status (*skip)(hr_dataset *dataset, uint64_t sample_count);
  hotrow_status (*rewind)(hr_dataset *dataset, uint32_t epoch);
} hr_dataset_format;

/* The first member of every format's own struct. */
struct hr_dataset {
  const hr_dataset_format *format;
  hr_dataset_info info;
  uint64_t position; /* of the next sample in the split; kept by dataset.c */
};

extern const hr_dataset_format hr_format_criteo;
extern const hr_dataset_format hr_format_movielens;
extern const hr_dataset_format hr_format_shape;

/* The rows [*begin_p, *end_p) of a split, 8:1:1. */
void hr_split_range(uint64_t sample_count, hr_split split, uint64_t *begin_p, uint64_t *end_p);

static inline uint64_t hr_format_key(uint32_t field, uint64_t id)
{
  return (uint64_t)field << HR_FIELD_SHIFT | id;
}

#endif
