/* Dense math on a GPU: cuBLAS for matrices, and kernels of our own.
 * Grids: unless said otherwise one thread per element of the output, in order, blocks striding over what exceeds the
 * grid; every element is read and written once, 4 bytes each. Sums over samples are taken by one block per sum, or per
 * 32 of them: every thread adds up its samples in order, then the threads' sums are added in a tree. No atomics: the
 * order depends on counts alone. */
#include <math.h>
#include <stdlib.h>

#include <hr/check_cuda.h>

extern "C" {
#include <hr/memory.h>
#include <hr/status.h>

#include "dense_cublas.h"
#include "dense_impl.h"
#include "metrics.h"
}

#define BLOCK_THREADS HR_CUDA_BLOCK_THREADS
#define WARP 32u
#define SUM_GROUPS 16u /* threads that share the samples of a column in sum_rows */

typedef struct cuda_dense {
  hr_dense dense; /* first: it is what callers hold */
  const hr_cublas *cublas;
  void *handle;    /* owned: of cublas */
  void *workspace; /* owned, on the device: cublas's */
  int error;       /* of cublas's first call that failed, until it is told; 0: none */
} cuda_dense;

static cuda_dense *get(hr_dense *dense)
{
  return (cuda_dense *)dense;
}

#define FOR_EACH(i, element_count)                                                                                     \
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (element_count);                                  \
       i += (size_t)gridDim.x * blockDim.x)

/* Queues a kernel with a thread per element; a count of 0 is nothing to do. */
#define LAUNCH_EACH(dense, kernel, element_count, ...)                                                                 \
  do {                                                                                                                 \
    const size_t each_count = (element_count);                                                                         \
    if (each_count > 0) {                                                                                              \
      HR_LAUNCH(kernel, hr_cuda_blocks(each_count), BLOCK_THREADS, 0, (cudaStream_t)(dense)->stream)(__VA_ARGS__);     \
      hr_cuda_check_launch(#kernel);                                                                                   \
    }                                                                                                                  \
  } while (0)

/* ---- matrices ---- */

/* Row-major c = a b is column-major c' = b' a', so the two change places. */
static void cuda_gemm(hr_dense *dense, const hr_gemm *g)
{
  cuda_dense *d = get(dense);
  if (g->m == 0 || g->n == 0)
    return;
  const hr_cublas_gemm gemm = {g->is_b_transposed,
                               g->is_a_transposed,
                               (int)g->n,
                               (int)g->m,
                               (int)g->k,
                               g->b,
                               (int)g->b_stride,
                               g->a,
                               (int)g->a_stride,
                               g->beta,
                               g->c,
                               (int)g->c_stride};
  const int error = d->cublas->sgemm(d->handle, &gemm);
  if (d->error == 0)
    d->error = error;
}

/* ---- arrays ---- */

static __global__ void add_scaled(float scale, const float *__restrict__ values, size_t count, float *__restrict__ sums)
{
  FOR_EACH(i, count)
  sums[i] += scale * values[i];
}

static __global__ void set_rows(const float *__restrict__ row, size_t count, size_t n, float *__restrict__ to,
                                size_t to_stride)
{
  FOR_EACH(i, count * n)
  to[i / n * to_stride + i % n] = row[i % n];
}

static __global__ void copy_rows(const float *__restrict__ from, size_t from_stride, size_t count, size_t n,
                                 float *__restrict__ to, size_t to_stride)
{
  FOR_EACH(i, count * n)
  to[i / n * to_stride + i % n] = from[i / n * from_stride + i % n];
}

static __global__ void add_rows(const float *__restrict__ from, size_t from_stride, size_t count, size_t n,
                                float *__restrict__ to, size_t to_stride)
{
  FOR_EACH(i, count * n)
  to[i / n * to_stride + i % n] += from[i / n * from_stride + i % n];
}

/* Grid: a block per 32 columns. Lane x of a warp has a column, warp y every SUM_GROUPS-th sample, from sample y on;
 * then the sums of the warps are added in order. */
static __global__ void sum_rows(const float *__restrict__ from, size_t from_stride, size_t count, size_t n,
                                float *__restrict__ sums)
{
  __shared__ float parts[SUM_GROUPS][WARP];
  const size_t column = (size_t)blockIdx.x * WARP + threadIdx.x;
  float sum = 0;
  for (size_t i = threadIdx.y; i < count && column < n; i += SUM_GROUPS)
    sum += from[i * from_stride + column];
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= n)
    return;
  for (unsigned y = 1; y < SUM_GROUPS; y++)
    sum += parts[y][threadIdx.x];
  sums[column] = sum;
}

static void cuda_zero(hr_dense *dense, float *values, size_t count)
{
  cudaMemsetAsync(values, 0, count * sizeof *values, (cudaStream_t)dense->stream);
  hr_cuda_check_launch("zero");
}

static void cuda_add_scaled(hr_dense *dense, float scale, const float *values, size_t count, float *sums)
{
  LAUNCH_EACH(dense, add_scaled, count, scale, values, count, sums);
}

static void cuda_set_rows(hr_dense *dense, const float *row, size_t count, size_t n, float *to, size_t to_stride)
{
  LAUNCH_EACH(dense, set_rows, count * n, row, count, n, to, to_stride);
}

static void cuda_copy_rows(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *to,
                           size_t to_stride)
{
  LAUNCH_EACH(dense, copy_rows, count * n, from, from_stride, count, n, to, to_stride);
}

static void cuda_add_rows(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *to,
                          size_t to_stride)
{
  LAUNCH_EACH(dense, add_rows, count * n, from, from_stride, count, n, to, to_stride);
}

static void cuda_sum_rows(hr_dense *dense, const float *from, size_t from_stride, size_t count, size_t n, float *sums)
{
  if (n == 0)
    return;
  const dim3 block(WARP, SUM_GROUPS);
  HR_LAUNCH(sum_rows, (unsigned)((n + WARP - 1) / WARP), block, 0, (cudaStream_t)dense->stream)
  (from, from_stride, count, n, sums);
  hr_cuda_check_launch("sum_rows");
}

/* ---- hidden layers ---- */

static __global__ void relu(uint64_t key, float rate, size_t count, size_t n, float *__restrict__ values, size_t stride)
{
  FOR_EACH(i, count * n)
  {
    float *value = values + i / n * stride + i % n;
    const float kept = *value > 0 ? *value : 0;
    *value = rate > 0 ? kept * hr_dropout_scale(key, i, rate) : kept;
  }
}

static __global__ void relu_backward(float keep, const float *__restrict__ values, size_t stride, size_t count,
                                     size_t n, float *__restrict__ grads, size_t grad_stride)
{
  FOR_EACH(i, count * n)
  {
    float *grad = grads + i / n * grad_stride + i % n;
    *grad = values[i / n * stride + i % n] > 0 ? keep * *grad : 0;
  }
}

static void cuda_relu(hr_dense *dense, uint64_t key, float rate, size_t count, size_t n, float *values, size_t stride)
{
  LAUNCH_EACH(dense, relu, count * n, key, rate, count, n, values, stride);
}

static void cuda_relu_backward(hr_dense *dense, float keep, const float *values, size_t stride, size_t count, size_t n,
                               float *grads, size_t grad_stride)
{
  LAUNCH_EACH(dense, relu_backward, count * n, keep, values, stride, count, n, grads, grad_stride);
}

/* ---- of the rows of a pass ---- */

/* Of a pass and its shape, what kernels need. */
typedef struct rows_view {
  const float *rows, *numeric, *logit_grads;
  float *logits, *row_grads;
  size_t count, field_count, numeric_count, dim, row_dim, first_order;
} rows_view;

static rows_view view(const hr_pass *pass)
{
  const hr_model_shape *shape = pass->shape;
  rows_view v;
  v.rows = pass->rows;
  v.numeric = pass->numeric;
  v.logit_grads = pass->logit_grads;
  v.logits = pass->logits;
  v.row_grads = pass->row_grads;
  v.count = pass->count;
  v.field_count = shape->field_count;
  v.numeric_count = shape->numeric_count;
  v.dim = shape->dim;
  v.row_dim = hr_row_dim(shape);
  v.first_order = shape->first_order;
  return v;
}

static __global__ void take_vectors(rows_view v, uint64_t key, float rate, float *__restrict__ to, size_t to_stride)
{
  FOR_EACH(i, v.count * v.field_count * v.dim)
  {
    const size_t place = i / v.dim, sample = place / v.field_count, field = place % v.field_count, d = i % v.dim;
    const float scale = rate > 0 ? hr_dropout_scale(key, place, rate) : 1;
    to[sample * to_stride + field * v.dim + d] = scale * v.rows[place * v.row_dim + v.first_order + d];
  }
}

static __global__ void give_vector_grads(rows_view v, uint64_t key, float rate, const float *__restrict__ grads,
                                         size_t grad_stride)
{
  FOR_EACH(i, v.count * v.field_count * v.dim)
  {
    const size_t place = i / v.dim, sample = place / v.field_count, field = place % v.field_count, d = i % v.dim;
    const float scale = rate > 0 ? hr_dropout_scale(key, place, rate) : 1;
    v.row_grads[place * v.row_dim + v.first_order + d] += scale * grads[sample * grad_stride + field * v.dim + d];
  }
}

/* Grid: one thread per sample. */
static __global__ void linear(rows_view v, const float *__restrict__ params)
{
  FOR_EACH(i, v.count)
  {
    float logit = params[0];
    for (size_t m = 0; m < v.numeric_count; m++)
      logit += params[1 + m] * v.numeric[i * v.numeric_count + m];
    for (size_t f = 0; f < v.field_count; f++)
      logit += v.rows[(i * v.field_count + f) * v.row_dim];
    v.logits[i] = logit;
  }
}

static __global__ void linear_row_grads(rows_view v)
{
  FOR_EACH(i, v.count * v.field_count * v.row_dim)
  v.row_grads[i] = i % v.row_dim == 0 ? v.logit_grads[i / v.row_dim / v.field_count] : 0;
}

/* The sum over all threads of a block of BLOCK_THREADS, in thread 0. */
template <typename T> static __device__ T sum_of_block(T value)
{
  __shared__ T parts[BLOCK_THREADS];
  parts[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = BLOCK_THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half)
      parts[threadIdx.x] += parts[threadIdx.x + half];
    __syncthreads();
  }
  return parts[0];
}

/* Grid: a block per parameter, the bias first. */
static __global__ void linear_param_grads(rows_view v, float *__restrict__ param_grads)
{
  const size_t m = blockIdx.x;
  float sum = 0;
  for (size_t i = threadIdx.x; i < v.count; i += BLOCK_THREADS)
    sum += m == 0 ? v.logit_grads[i] : v.logit_grads[i] * v.numeric[i * v.numeric_count + m - 1];
  sum = sum_of_block(sum);
  if (threadIdx.x == 0)
    param_grads[m] = sum;
}

/* Grid: a warp per sample, a lane per column of the vectors; the lanes' shares of the logit are added in a tree. */
static __global__ void fm(rows_view v, float *__restrict__ sums)
{
  const size_t lane = threadIdx.x % WARP, warp_count = (size_t)gridDim.x * BLOCK_THREADS / WARP;
  for (size_t i = ((size_t)blockIdx.x * BLOCK_THREADS + threadIdx.x) / WARP; i < v.count; i += warp_count) {
    float share = 0;
    for (size_t d = lane; d < v.dim; d += WARP) {
      float sum = 0, squares = 0;
      for (size_t f = 0; f < v.field_count; f++) {
        const float value = v.rows[(i * v.field_count + f) * v.row_dim + v.first_order + d];
        sum += value;
        squares += value * value;
      }
      sums[i * v.dim + d] = sum;
      share += 0.5f * (sum * sum - squares);
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2)
      share += __shfl_down_sync(0xffffffffu, share, (unsigned)distance);
    if (lane == 0)
      v.logits[i] += share;
  }
}

static __global__ void fm_backward(rows_view v, const float *__restrict__ sums)
{
  FOR_EACH(i, v.count * v.field_count * v.dim)
  {
    const size_t place = i / v.dim, sample = place / v.field_count, d = i % v.dim;
    const size_t at = place * v.row_dim + v.first_order + d;
    v.row_grads[at] += v.logit_grads[sample] * (sums[sample * v.dim + d] - v.rows[at]);
  }
}

static void cuda_take_vectors(const hr_pass *pass, uint64_t key, float rate, float *to, size_t to_stride)
{
  const rows_view v = view(pass);
  LAUNCH_EACH(pass->dense, take_vectors, v.count * v.field_count * v.dim, v, key, rate, to, to_stride);
}

static void cuda_give_vector_grads(const hr_pass *pass, uint64_t key, float rate, const float *grads,
                                   size_t grad_stride)
{
  const rows_view v = view(pass);
  LAUNCH_EACH(pass->dense, give_vector_grads, v.count * v.field_count * v.dim, v, key, rate, grads, grad_stride);
}

static void cuda_linear(const hr_pass *pass, const float *params)
{
  const rows_view v = view(pass);
  LAUNCH_EACH(pass->dense, linear, v.count, v, params);
}

static void cuda_linear_backward(const hr_pass *pass, float *param_grads)
{
  const rows_view v = view(pass);
  LAUNCH_EACH(pass->dense, linear_row_grads, v.count * v.field_count * v.row_dim, v);
  HR_LAUNCH(linear_param_grads, 1 + (unsigned)v.numeric_count, BLOCK_THREADS, 0, (cudaStream_t)pass->dense->stream)
  (v, param_grads);
  hr_cuda_check_launch("linear_param_grads");
}

static void cuda_fm(const hr_pass *pass, float *sums)
{
  const rows_view v = view(pass);
  LAUNCH_EACH(pass->dense, fm, v.count * WARP, v, sums);
}

static void cuda_fm_backward(const hr_pass *pass, const float *sums)
{
  const rows_view v = view(pass);
  LAUNCH_EACH(pass->dense, fm_backward, v.count * v.field_count * v.dim, v, sums);
}

/* ---- crossing layers ---- */

static __global__ void cross(const float *__restrict__ first, const float *__restrict__ inner,
                             const float *__restrict__ here, size_t count, float *__restrict__ next)
{
  FOR_EACH(i, count)
  next[i] = first[i] * inner[i] + here[i];
}

static __global__ void cross_backward(const float *__restrict__ grads, const float *__restrict__ first,
                                      const float *__restrict__ inner, size_t count, float *__restrict__ inner_grads,
                                      float *__restrict__ first_grads)
{
  FOR_EACH(i, count)
  {
    inner_grads[i] = grads[i] * first[i];
    first_grads[i] += grads[i] * inner[i];
  }
}

static void cuda_cross(hr_dense *dense, const float *first, const float *inner, const float *here, size_t count,
                       float *next)
{
  LAUNCH_EACH(dense, cross, count, first, inner, here, count, next);
}

static void cuda_cross_backward(hr_dense *dense, const float *grads, const float *first, const float *inner,
                                size_t count, float *inner_grads, float *first_grads)
{
  LAUNCH_EACH(dense, cross_backward, count, grads, first, inner, count, inner_grads, first_grads);
}

/* ---- products of all pairs ---- */

/* Grid: a thread per sample and pair of vectors, half of which are no pair of their own; the vectors of a sample are
 * read once per pair, from the cache. */
static __global__ void interact(hr_interaction in, float *__restrict__ pairs)
{
  const size_t n = in.vector_count;
  FOR_EACH(i, in.count * n * n)
  {
    const size_t sample = i / (n * n), a = i / n % n, b = i % n;
    if (b >= a)
      continue;
    const float *left = in.vectors + (sample * n + a) * in.dim, *right = in.vectors + (sample * n + b) * in.dim;
    float sum = 0;
    for (uint32_t d = 0; d < in.dim; d++)
      sum += left[d] * right[d];
    pairs[sample * in.pair_stride + a * (a - 1) / 2 + b] = sum;
  }
}

static __global__ void interact_backward(hr_interaction in, const float *__restrict__ pair_grads,
                                         float *__restrict__ vector_grads)
{
  const size_t n = in.vector_count;
  FOR_EACH(i, in.count * n * in.dim)
  {
    const size_t sample = i / in.dim / n, a = i / in.dim % n, d = i % in.dim;
    const float *grads = pair_grads + sample * in.pair_stride;
    float sum = 0;
    for (size_t b = 0; b < n; b++) {
      if (b == a)
        continue;
      const float grad = b < a ? grads[a * (a - 1) / 2 + b] : grads[b * (b - 1) / 2 + a];
      sum += grad * in.vectors[(sample * n + b) * in.dim + d];
    }
    vector_grads[i] = sum;
  }
}

static void cuda_interact(hr_dense *dense, const hr_interaction *in, float *pairs)
{
  LAUNCH_EACH(dense, interact, in->count * in->vector_count * in->vector_count, *in, pairs);
}

static void cuda_interact_backward(hr_dense *dense, const hr_interaction *in, const float *pair_grads,
                                   float *vector_grads)
{
  LAUNCH_EACH(dense, interact_backward, in->count * in->vector_count * in->dim, *in, pair_grads, vector_grads);
}

/* ---- the ends of a step ---- */

/* Grid: one block. */
static __global__ void logloss(const float *__restrict__ logits, const float *__restrict__ labels, size_t count,
                               float scale, float *__restrict__ grads, float *__restrict__ loss_p)
{
  double loss = 0;
  for (size_t i = threadIdx.x; i < count; i += BLOCK_THREADS) {
    loss += hr_logloss(logits[i], labels[i]);
    grads[i] = (hr_sigmoid(logits[i]) - labels[i]) * scale;
  }
  loss = sum_of_block(loss);
  if (threadIdx.x == 0)
    *loss_p = (float)loss;
}

static __global__ void adam(hr_adam_step step, const float *__restrict__ grads, size_t count, float *__restrict__ first,
                            float *__restrict__ second, float *__restrict__ params)
{
  FOR_EACH(i, count)
  hr_adam_update(&step, grads[i], &first[i], &second[i], &params[i]);
}

static void cuda_logloss(hr_dense *dense, const float *logits, const float *labels, size_t count, float scale,
                         float *grads, float *loss_p)
{
  HR_LAUNCH(logloss, 1, BLOCK_THREADS, 0, (cudaStream_t)dense->stream)(logits, labels, count, scale, grads, loss_p);
  hr_cuda_check_launch("logloss");
}

static void cuda_adam(hr_dense *dense, const hr_adam_step *step, const float *grads, size_t count, float *first,
                      float *second, float *params)
{
  LAUNCH_EACH(dense, adam, count, *step, grads, count, first, second, params);
}

/* ---- opening and closing ---- */

static hotrow_status cuda_wait(hr_dense *dense)
{
  cuda_dense *d = get(dense);
  const hotrow_status status = dense->kernels->synchronize(dense->stream);
  const int error = d->error;
  d->error = 0;
  return error == 0 ? status : hr_fail(HOTROW_ERR_DEVICE, "cublasSgemm: %s", d->cublas->error_text(error));
}

static void cuda_close(hr_dense *dense)
{
  cuda_dense *d = get(dense);
  dense->kernels->synchronize(dense->stream); /* what is queued uses the workspace */
  if (d->handle != NULL)
    d->cublas->destroy(d->handle);
  dense->kernels->free(d->workspace);
  dense->kernels->stream_destroy(dense->stream);
  free(d);
}

static hr_dense_functions cuda_functions(void)
{
  hr_dense_functions f;
  f.close = cuda_close;
  f.wait = cuda_wait;
  f.gemm = cuda_gemm;
  f.zero = cuda_zero;
  f.add_scaled = cuda_add_scaled;
  f.set_rows = cuda_set_rows;
  f.copy_rows = cuda_copy_rows;
  f.add_rows = cuda_add_rows;
  f.sum_rows = cuda_sum_rows;
  f.relu = cuda_relu;
  f.relu_backward = cuda_relu_backward;
  f.take_vectors = cuda_take_vectors;
  f.give_vector_grads = cuda_give_vector_grads;
  f.linear = cuda_linear;
  f.linear_backward = cuda_linear_backward;
  f.fm = cuda_fm;
  f.fm_backward = cuda_fm_backward;
  f.cross = cuda_cross;
  f.cross_backward = cuda_cross_backward;
  f.interact = cuda_interact;
  f.interact_backward = cuda_interact_backward;
  f.logloss = cuda_logloss;
  f.adam = cuda_adam;
  return f;
}

static const hr_dense_functions functions = cuda_functions();

/* Gives cublas what makes its sums repeatable: one stream, memory of its own to work in, and plain 32-bit arithmetic.
 */
static hotrow_status open_cublas(cuda_dense *d)
{
  HOTROW_TRY(hr_cublas_get(&d->cublas));
  HOTROW_TRY(d->dense.kernels->alloc(d->cublas->workspace_size, &d->workspace));
  const int error = d->cublas->create(d->dense.stream, d->workspace, &d->handle);
  return error == 0 ? HOTROW_OK : hr_fail(HOTROW_ERR_DEVICE, "cublasCreate: %s", d->cublas->error_text(error));
}

extern "C" hotrow_status hr_dense_open_cuda(const hotrow_kernels *kernels, hr_dense **dense_p)
{
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(cuda_dense), "dense math", &memory));
  cuda_dense *d = (cuda_dense *)memory;
  d->dense.call = &functions;
  d->dense.kernels = kernels;
  hotrow_status status = kernels->stream_create(false, &d->dense.stream);
  if (status == HOTROW_OK)
    status = open_cublas(d);
  if (status == HOTROW_OK)
    *dense_p = &d->dense;
  else
    cuda_close(&d->dense);
  return status;
}
