/* What a running training job holds. Private to this folder: trainer.h is its face. */
#ifndef HR_TRAIN_STATE_H
#define HR_TRAIN_STATE_H

#include <hotrow/comm.h>
#include <hotrow/hotrow.h>
#include <hr/status.h>

#include "dataset.h"
#include "dense.h"
#include "dense_adam.h"
#include "history.h"
#include "model.h"
#include "reader.h"
#include "trainer.h"

/* What the time of a step goes to, on the host. */
typedef enum hr_train_phase {
  HR_PHASE_READ,   /* waiting for samples */
  HR_PHASE_LOOKUP, /* rows, and the keys of coming batches */
  HR_PHASE_DENSE,  /* forward and backward pass, Adam; on a GPU: queueing them */
  HR_PHASE_PUSH,   /* the gradients of rows, on a GPU after waiting for them, and the end of the step */
  HR_PHASE_SUM,    /* waiting for the sums of dense gradients, by a ring also adding them up */
  HR_PHASE_COUNT
} hr_train_phase;

/* One rank that this process is. */
typedef struct hr_train_rank {
  uint32_t rank;
  hotrow_client *client; /* owned */
  hotrow_table *table;   /* belongs to client */
  hr_dataset *data;      /* owned: the training split */
  hr_reader *reader;     /* owned: reads this rank's share of an epoch ahead; NULL between epochs */
  const hr_batch *batch; /* of this step: belongs to reader */
  uint32_t handed_count; /* of the batches behind it: those whose keys the client has */
  hr_mirror rows;        /* owned: [batch][field_count][row_dim] */
  uint64_t *keys_here; /* owned, [batch][field_count]: pinned, on their way to keys_there, on the device; NULL on the */
  uint64_t *keys_there; /* CPU, where they are read where they are */
  hr_mirror sums;       /* owned: [param_count + 1]: gradients of the dense parameters, then the loss; all-reduced */
  void *pass_begin, *pass_end; /* owned: events of the device around the forward and backward pass */
} hr_train_rank;

typedef struct hr_trainer {
  hr_train_options options; /* presets filled in */
  hr_dense *dense;          /* owned: where the dense parameters are and the models compute */
  const hr_model *model;
  hr_model_shape shape;
  size_t param_count;
  uint32_t pull_bound; /* of the table: options over the preset */
  uint32_t push_bound;
  hr_dataset *valid_data; /* owned */
  hr_dataset *test_data;  /* owned */

  hr_train_rank *ranks; /* owned: this process's ranks: one, or all of them in order */
  uint32_t rank_count;
  hotrow_comm *comm;     /* owned; NULL if this process is all ranks */
  hotrow_client *viewer; /* owned: read-only, without a cache, for evaluation and dump */
  hotrow_table *viewer_table;

  float *params; /* owned, on the device: the same on every rank after every step, so the ranks of one process share
                    them */
  hr_dense_adam adam;
  /* What a batch needs on its way through the model; the ranks of one process take turns with it. */
  hr_pass pass;        /* owned: work */
  hr_mirror numeric;   /* owned: [batch][numeric_count] */
  hr_mirror labels;    /* owned: [batch] */
  hr_mirror logits;    /* owned: [batch] */
  hr_mirror row_grads; /* owned: shaped like rows */
  float *logit_grads;  /* owned, on the device */

  size_t sum_first;         /* of rank 0's sums: from here to the end they are on their way to the other processes */
  hotrow_status sum_status; /* of what was begun in the midst of a backward pass */

  uint64_t step;       /* done so far, over all epochs */
  uint64_t first_step; /* done before this process: of the checkpoint it went on from */
  uint64_t epoch_step; /* done of this epoch */
  uint64_t step_total; /* when the job ends, unless it ends early */
  hr_history history;
  uint32_t epoch;
  double epoch_loss; /* sum over the samples of all ranks */
  double loss_sum;   /* the same over all epochs */
  uint64_t epoch_samples;
  uint64_t train_ns;                 /* time spent, without evaluation */
  uint64_t phase_ns[HR_PHASE_COUNT]; /* of it */
  uint64_t phase_begin_ns;
  double pass_ms; /* of the device, in forward and backward passes; 0 on the CPU */

  uint32_t evaluation_count;
  hr_score valid, test; /* at the point with the best validation AUC */
  double train_logloss; /* of the epoch until that point */
  uint64_t best_step;   /* that point */
  uint32_t worse_count; /* evaluations since that point */

  hotrow_status checkpoint_status; /* of the last checkpoint; its step and sentence */
  uint64_t checkpoint_step;
  char checkpoint_sentence[HR_ERROR_TEXT_BYTES];
} hr_trainer;

/* Opens all that a job needs (a zeroed trainer with options set); hr_trainer_close also after a failure. */
hotrow_status hr_trainer_open(hr_trainer *trainer);
void hr_trainer_close(hr_trainer *trainer);

/* Fills in what options leave to the preset of the data set. */
void hr_train_apply_preset(hr_train_options *options, const char *data_name);

/* values[count], in host memory, of this process becomes the sum over all processes. Not within a step. */
hotrow_status hr_trainer_allreduce(hr_trainer *trainer, float *values, size_t count);

/* Flushes all ranks of the job and returns when all have done so. */
hotrow_status hr_trainer_flush(hr_trainer *trainer);

/* The rows of the rank's batch, to where the model computes; and the way back for their gradients. The client keeps its
 * rows there, too. */
hotrow_status hr_trainer_lookup(hr_trainer *trainer, const hr_train_rank *rank);
hotrow_status hr_trainer_push(hr_trainer *trainer, const hr_train_rank *rank);
/* Begins to bring what else a model needs of a batch to the device. */
hotrow_status hr_trainer_copy_in(hr_trainer *trainer, const hr_batch *batch);

/* The rows of a batch's keys, to be written to rows; both in host memory. */
hotrow_lookup_request hr_trainer_request(const hr_trainer *trainer, hotrow_table *table, const hr_batch *batch,
                                         float *rows);

/* Scores held-out data with the parameters as they are. */
hotrow_status hr_evaluate(hr_trainer *trainer, hr_dataset *data, hr_score *score_p);

/* Can the file be written? Asked before hours of training; leaves an empty file where there was none. */
hotrow_status hr_dump_check(const char *path);
/* Writes the dense parameters and the rows of all keys of the training split. */
hotrow_status hr_dump(hr_trainer *trainer, const char *path);

#endif
