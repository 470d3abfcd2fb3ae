/* What dense_cuda.cu needs of cuBLAS, as a table: the library's own, opened when it is first asked for (it is large,
 * and a shard needs none), or the emulator's. Errors are cuBLAS's numbers; 0 is success. */
#ifndef HR_DENSE_CUBLAS_H
#define HR_DENSE_CUBLAS_H

#include <hotrow/base.h>

/* Column-major, as cuBLAS has it: c[m][n] = a[m][k] * b[k][n] + beta * c. */
typedef struct hr_cublas_gemm {
  bool is_a_transposed, is_b_transposed;
  int m, n, k;
  const float *a;
  int a_stride;
  const float *b;
  int b_stride;
  float beta;
  float *c;
  int c_stride;
} hr_cublas_gemm;

typedef struct hr_cublas {
  size_t workspace_size; /* of the memory that a handle is given, on the device */
  /* A handle that computes on this stream in 32-bit floats alone: no TF32, no other order of sums from call to call. */
  int (*create)(void *stream, void *workspace, void **handle_p);
  void (*destroy)(void *handle);
  int (*sgemm)(void *handle, const hr_cublas_gemm *gemm);
  const char *(*error_text)(int error);
} hr_cublas;

/* HOTROW_ERR_UNSUPPORTED: this build or this machine has no cuBLAS. Any thread. */
hotrow_status hr_cublas_get(const hr_cublas **cublas_p);

#endif
