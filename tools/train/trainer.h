/* The training job: data-parallel workers in lockstep over one data set.
 *
 * Shares. A global batch is world_size batches of the stream in a row; rank r takes the r-th of them. Every rank reads
 * the whole stream and keeps its share: reading is cheap beside training, and the split needs no coordination. The last
 * incomplete global batch of an epoch is left out, so that all ranks do the same number of steps.
 * Gradients are those of the mean loss over the global batch: each rank divides by world_size * batch.
 * Evaluation. At fixed points of each epoch all ranks flush and meet; then each scores its share of the validation and
 * the test split through a read-only client without a cache, so that the rows read are those of the shards and no
 * unknown key leaves a row behind. The result of a run is the test score at the point with the best validation AUC
 * (never the best test score). */
#ifndef HR_TRAINER_H
#define HR_TRAINER_H

#include <hotrow/hotrow.h>

#include "model.h"

#define HR_PLAYED_RANKS_MAX 64u

#define HR_PRESET (-1) /* in the fields marked so: take the value from the preset of the data set */

typedef struct hr_train_options {
  const char *data;       /* NULL: the built-in stream */
  const char *shards;     /* endpoints, comma-separated */
  const char *device;     /* see device_choice.h: where dense layers are */
  const char *hidden;     /* "256,128"; NULL: preset */
  const char *bottom;     /* likewise, of dlrm under its numeric values */
  const char *save;       /* name of a save of the tables at the end, or NULL */
  const char *checkpoint; /* series of checkpoints: CHECKPOINT-<step>; or NULL */
  const char *report;     /* HTML file about the run, or NULL */
  const char *dump;       /* file for dense parameters and rows at the end, or NULL */
  uint64_t job;
  uint64_t cache_rows;
  uint64_t steps; /* stop after so many; 0: no limit */
  uint64_t every; /* with checkpoint: steps from one to the next */
  uint64_t seed;
  uint64_t samples; /* of the built-in stream */
  uint32_t model;   /* index into hr_model_names */
  uint32_t rank;
  uint32_t workers;
  uint32_t dim;           /* 0: preset */
  uint32_t cross_layers;  /* of dcnv2 */
  uint32_t cross_rank;    /* of dcnv2's matrices; 0: full */
  uint32_t batch;         /* per rank; 0: preset */
  uint32_t epochs;        /* 0: preset */
  uint32_t optimizer;     /* index into hr_train_optimizer_names */
  uint32_t storage_dtype; /* 0 f32, 1 f16, 2 bf16 */
  uint32_t preset;        /* hotrow_preset; the next seven are what is not left to it */
  uint32_t mode;          /* 0, or hotrow_mode */
  uint32_t cache_policy;  /* 0, or hotrow_cache_policy + 1 */
  uint32_t wire_dtype;    /* 0, or hotrow_dtype + 1 */
  uint32_t ticks;         /* 0, or what clocks and bounds count: 1 steps, 2 occurrences */
  int32_t pull_bound;     /* -1, or the bound; likewise */
  int32_t push_bound;
  int32_t announce_step;
  int32_t local_rank;   /* -1: rank; which worker of its machine this is */
  uint32_t admit_count; /* which keys get rows, and which rows go: as in hotrow_table_options */
  uint32_t steps_to_live;
  float admit_probability;
  float l2_weight_threshold;
  uint64_t row_count_max;
  uint32_t eviction;
  uint32_t lookahead;   /* batches handed over ahead */
  uint32_t patience;    /* evaluations without a better score until the job stops; 0: never */
  uint32_t evaluations; /* per epoch; 0: only at the end */
  uint32_t comm;        /* how dense gradients are added up among processes: 0 as it goes, 1 ring, 2 NCCL */
  uint32_t timeout_ms;
  float lr;                /* preset */
  float dense_lr;          /* preset */
  float dropout;           /* preset */
  float embedding_dropout; /* preset */
  float l2;                /* preset */
  float weight_decay;
  float l1;
  float lr_decay;     /* learning rates end at this share of themselves */
  float init_scale;   /* preset */
  float accumulator;  /* preset */
  uint32_t keep;      /* checkpoints of the series that stay; 0: all */
  bool resume;        /* from the checkpoint that the shards were started from */
  bool cross_stacked; /* of dcnv2: hidden layers behind the crossing ones */
  bool play_ranks;    /* this process is all ranks in turn */
  bool json;
} hr_train_options;

extern const char *const hr_train_optimizer_names[];

/* Runs the job of this rank (or of all ranks, with play_ranks) and prints the result on stdout (rank 0).
 * Statuses: those of the data set and of the client calls. */
hotrow_status hr_train(const hr_train_options *options);

#endif
