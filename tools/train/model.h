/* A click model: from embedding rows and numeric values to one logit per sample, and back. A model is a table of
 * functions; a new one is one file and one line in model.c. Models hold no state, all memory is the caller's, and they
 * do not know on which device it lies. */
#ifndef HR_MODEL_H
#define HR_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HR_HIDDEN_MAX 8u
#define HR_CROSS_MAX 8u

typedef struct hr_model_shape {
  uint32_t field_count;
  uint32_t numeric_count;
  uint32_t dim;         /* of the embedding vectors */
  uint32_t first_order; /* 1: a row has one float more, before its vector; of the model: hr_model.first_order */
  uint32_t hidden_count;
  uint32_t hidden[HR_HIDDEN_MAX]; /* sizes of the hidden layers */
  uint32_t bottom_count;
  uint32_t bottom[HR_HIDDEN_MAX]; /* dlrm: sizes of the hidden layers under the numeric values */
  uint32_t cross_count;           /* dcnv2: crossing layers, at most HR_CROSS_MAX */
  uint32_t cross_rank;            /* dcnv2: of their matrices; 0: full */
  bool is_cross_stacked;          /* dcnv2: hidden layers behind the crossing ones, not beside them */
  size_t batch_capacity;
  float dropout;           /* share of hidden values that training sets to zero */
  float embedding_dropout; /* share of fields that training hides from the hidden layers */
} hr_model_shape;

/* A row is a first-order weight, in models that have one, followed by the embedding vector. Both are read for the same
 * keys, so one table means one lookup, one clock and one cached copy per key, where two tables would double all three.
 */
static inline uint32_t hr_row_dim(const hr_model_shape *shape)
{
  return shape->first_order + shape->dim;
}

typedef struct hr_dense hr_dense; /* dense.h */

/* One batch on its way through a model. Arrays lie on the device of `dense`. */
typedef struct hr_pass {
  hr_dense *dense;
  const hr_model_shape *shape;
  const float *params;  /* all dense parameters of the model */
  const float *rows;    /* [count][field_count][hr_row_dim] */
  const float *numeric; /* [count][numeric_count] */
  size_t count;         /* samples, at most batch_capacity */
  uint64_t dropout_key; /* decides what is dropped; 0: nothing is (evaluation) */
  float *work;          /* [work_count]; carries from forward to backward what it needs */
  float *logits;        /* [count]; forward sets them */

  /* Backward only: it sets param_grads and row_grads (shaped like params and rows) from logit_grads. */
  const float *logit_grads;
  float *param_grads;
  float *row_grads;
  /* Called once on the way, if it is there: the gradients of the parameters from late_first on (one of the model's
   * late_params) are computed, on a GPU queued, and the others are not. */
  void (*on_late_grads)(void *context);
  void *context;
  size_t late_first;
} hr_pass;

typedef struct hr_model {
  const char *name;
  const char *summary;
  uint32_t first_order; /* 1: rows have a first-order weight */
  size_t (*param_count)(const hr_model_shape *shape);
  size_t (*work_count)(const hr_model_shape *shape); /* floats */
  /* Where the parameters begin whose gradients are there when the backward pass has still much to do: those of the
   * later layers, to the end of the array. The number of parameters if there are none. */
  size_t (*late_params)(const hr_model_shape *shape);
  void (*init)(const hr_model_shape *shape, uint64_t seed, float *params); /* of zeroes in host memory */
  void (*forward)(const hr_pass *pass);
  void (*backward)(const hr_pass *pass); /* after forward of the same pass */
} hr_model;

extern const hr_model hr_model_wdl;
extern const hr_model hr_model_deepfm;
extern const hr_model hr_model_dcnv2;
extern const hr_model hr_model_dlrm;

/* The model of this name, or NULL. */
const hr_model *hr_model_find(const char *name);

/* Names in the order of the registry, closed by NULL. */
extern const char *const hr_model_names[];

#endif
