/* Batches of one rank of a data-parallel job, read ahead by a thread of their own. Batch b of the split is samples
 * [b*batch_size, (b+1)*batch_size) in the epoch's order; step s of rank r of W ranks is batch s*W + r. */
#ifndef HR_READER_H
#define HR_READER_H

#include "dataset.h"

#define HR_READER_DEPTH_MAX 1024u
#define HR_READER_BATCH_MAX (1u << 20)

typedef struct hr_reader hr_reader;

typedef struct hr_reader_options {
  hr_dataset *dataset; /* borrowed: the reader's alone until hr_reader_close() */
  size_t batch_size;   /* samples per rank and step */
  uint32_t rank;
  uint32_t world_size;
  uint32_t depth;      /* batches in memory, the one in use included: up to depth - 1 are read ahead; 2 or more */
  uint32_t epoch;      /* the data set is rewound to it */
  uint64_t first_step; /* to go on with an epoch: the steps that are done */
  /* false, for training: the last samples that do not fill a batch for every rank are left out, so that all ranks take
   * the same number of steps. true, for evaluation: every sample is seen by exactly one rank; a last batch may be short
   * and some ranks may take a step less. */
  bool keep_last;
} hr_reader_options;

/* Takes the memory of all batches and starts the thread. What goes wrong while reading, hr_reader_next() tells.
 *   HOTROW_ERR_INVALID, HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_reader_open(const hr_reader_options *options, hr_reader **reader_p);
/* At any time; waits for no more than the read in progress. The data set stays open. */
void hr_reader_close(hr_reader *reader);

/* Steps of this rank in the whole epoch, the first ones that were left out included. */
uint64_t hr_reader_step_count(const hr_reader *reader);

/* The next batch, or NULL at the end; valid until the next call. Blocks until it is read. Batches that were read before
 * an error are given first, then the error, as often as it is asked for. One thread at a time calls next, peek and
 * close. what hr_dataset_read() and hr_dataset_rewind() return */
hotrow_status hr_reader_next(hr_reader *reader, const hr_batch **batch_p);

/* Look-ahead: the batch that is `ahead` (from 1) calls of hr_reader_next() away, or NULL if it is not read yet, beyond
 * the end or beyond depth - 1. Never blocks. Valid until the batch after it is asked for with hr_reader_next(). */
const hr_batch *hr_reader_peek(hr_reader *reader, uint32_t ahead);

#endif
