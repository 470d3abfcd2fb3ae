/* Dense math: what models and the dense part of a step are made of, as one table of functions per device.
 *
 * All arrays lie on the device. Matrices are row-major and `stride` floats from row to row; rows are samples, `count`
 * of them. Calls on the CPU are done when they return; on a GPU they are queued in order on one stream, and what failed
 * is reported by `wait`. Sums have an order that depends on the shapes alone, so one device gives
 * the same bits every time; two devices agree within rounding. Random numbers are the same on all. One thread at a
 * time. */
#ifndef HR_DENSE_H
#define HR_DENSE_H

#include <hotrow/kernels.h>

#include "model.h"

/* c[m][n] = a[m][k] * b[k][n] + beta * c. A transposed a is stored as [k][m], a transposed b as [n][k]. beta 0: c is
 * not read. */
typedef struct hr_gemm {
  size_t m, n, k;
  const float *a, *b;
  float *c;
  size_t a_stride, b_stride, c_stride;
  bool is_a_transposed, is_b_transposed;
  float beta;
} hr_gemm;

/* Vectors that all interact with each other: [count][vector_count][dim], a sample's without gaps. Pairs come in the
 * order (1,0) (2,0) (2,1) (3,0) ... */
typedef struct hr_interaction {
  const float *vectors;
  size_t count;
  uint32_t vector_count, dim;
  size_t pair_stride; /* from one sample's pairs to the next one's */
} hr_interaction;

/* One step of Adam; the scales undo the zeroes that the means began with. */
typedef struct hr_adam_step {
  float lr, first_scale, second_scale;
} hr_adam_step;

typedef struct hr_dense_functions {
  void (*close)(hr_dense *dense); /* hr_dense_close() */
  /* Waits for what is queued, and says what of it failed: HOTROW_ERR_DEVICE. */
  hotrow_status (*wait)(hr_dense *dense);
  void (*gemm)(hr_dense *dense, const hr_gemm *gemm);

  /* ---- arrays ---- */
  void (*zero)(hr_dense *dense, float *values, size_t count);
  void (*add_scaled)(hr_dense *dense, float scale, const float *values, size_t count,
                     float *sums); /* sums += scale * */
  /* Of every row the first n values: become those of `row`; become those of `from`; take up those of `from`; are summed
   * over all rows. */
  void (*set_rows)(hr_dense *dense, const float *row, size_t count, size_t n, float *to, size_t to_stride);
  void (*copy_rows)(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *to,
                    size_t to_stride);
  void (*add_rows)(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *to,
                   size_t to_stride);
  void (*sum_rows)(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *sums);

  /* ---- hidden layers ---- */
  /* What is below 0 becomes 0, and so does a share `rate` of the rest: place (sample * n + column) of the stream
   * `key` decides. What stays is scaled so that the expectation does. */
  void (*relu)(hr_dense *dense, uint64_t key, float rate, size_t count, size_t n, float *values, size_t stride);
  /* grads *= keep where values > 0, else 0: a zero was cut or dropped, and either way nothing flows through it. */
  void (*relu_backward)(hr_dense *dense, float keep, const float *values, size_t stride, size_t count, size_t n,
                        float *grads, size_t grad_stride);

  /* ---- of the rows of a pass ---- */
  /* Every sample's embedding vectors, one behind the other, with a share `rate` of them hidden (place sample *
   * field_count + field); and the way back, added to the row gradients. */
  void (*take_vectors)(const hr_pass *pass, uint64_t key, float rate, float *to, size_t to_stride);
  void (*give_vector_grads)(const hr_pass *pass, uint64_t key, float rate, const float *grads, size_t grad_stride);
  /* See layers.h. */
  void (*linear)(const hr_pass *pass, const float *params);
  void (*linear_backward)(const hr_pass *pass, float *param_grads);
  void (*fm)(const hr_pass *pass, float *sums);
  void (*fm_backward)(const hr_pass *pass, const float *sums);

  /* ---- crossing layers: next = first * inner + here, element by element ---- */
  void (*cross)(hr_dense *dense, const float *first, const float *inner, const float *here, size_t count, float *next);
  /* inner_grads = grads * first; first_grads += grads * inner. */
  void (*cross_backward)(hr_dense *dense, const float *grads, const float *first, const float *inner, size_t count,
                         float *inner_grads, float *first_grads);

  /* ---- dot products of all pairs of vectors, and the way back: sets vector_grads, shaped like the vectors ---- */
  void (*interact)(hr_dense *dense, const hr_interaction *interaction, float *pairs);
  void (*interact_backward)(hr_dense *dense, const hr_interaction *interaction, const float *pair_grads,
                            float *vector_grads);

  /* ---- the ends of a step ---- */
  /* grads = scale * (sigmoid(logits) - labels); *loss_p = sum of the logistic losses. */
  void (*logloss)(hr_dense *dense, const float *logits, const float *labels, size_t count, float scale, float *grads,
                  float *loss_p);
  void (*adam)(hr_dense *dense, const hr_adam_step *step, const float *grads, size_t count, float *first, float *second,
               float *params);
} hr_dense_functions;

struct hr_dense {
  const hr_dense_functions *call;
  const hotrow_kernels *kernels; /* memory and copies */
  void *stream;                  /* of the device; NULL on the CPU */
};

/* The device is the one that the calling thread uses (hotrow_kernels.device_use). Free with hr_dense_close().
 * HOTROW_ERR_NO_MEMORY, and those of hotrow_kernels_get(). */
hotrow_status hr_dense_open(hotrow_device device, hr_dense **dense_p);
void hr_dense_close(hr_dense *dense); /* accepts NULL */

/* Zeroed floats on the device; HOTROW_ERR_NO_MEMORY, naming `what`, also when a * b does not fit. hr_dense_free() */
hotrow_status hr_dense_alloc(hr_dense *dense, size_t a, size_t b, const char *what, float **floats_p);
void hr_dense_free(hr_dense *dense, float *floats); /* accepts NULL */

/* An array that host and device both use: one on the CPU, two on a GPU, the host's pinned, so that copies are queued.
 * What one side wrote is there for the other after a copy (and `wait`, for the host). */
typedef struct hr_mirror {
  float *host, *device; /* owned; the same on the CPU */
} hr_mirror;

hotrow_status hr_mirror_init(hr_mirror *mirror, hr_dense *dense, size_t a, size_t b, const char *what);
void hr_mirror_fini(hr_mirror *mirror, hr_dense *dense); /* accepts a zeroed one */
/* The first count floats. */
hotrow_status hr_mirror_copy_in(const hr_mirror *mirror, hr_dense *dense, size_t count);
hotrow_status hr_mirror_copy_out(const hr_mirror *mirror, hr_dense *dense, size_t count);

#endif
