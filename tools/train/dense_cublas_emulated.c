/* cuBLAS on the emulated GPU: BLAS of the host, run when the stream is. */
#include "dense_cublas.h"

#include <cblas.h>
#include <stdlib.h>

#include <emulated_launch.h>
#include <hr/memory.h>

#define ERROR_NO_MEMORY 3 /* CUBLAS_STATUS_ALLOC_FAILED */

static int emulated_create(void *stream, void *workspace, void **handle_p)
{
  (void)workspace;
  *handle_p = stream;
  return 0;
}

static void emulated_destroy(void *handle)
{
  (void)handle; /* a stream, the caller's */
}

static void run_gemm(void *context)
{
  const hr_cublas_gemm *g = context;
  cblas_sgemm(CblasColMajor, g->is_a_transposed ? CblasTrans : CblasNoTrans,
              g->is_b_transposed ? CblasTrans : CblasNoTrans, g->m, g->n, g->k, 1, g->a, g->a_stride, g->b, g->b_stride,
              g->beta, g->c, g->c_stride);
  free(context);
}

static int emulated_sgemm(void *handle, const hr_cublas_gemm *gemm)
{
  void *memory;
  if (hr_alloc(1, sizeof *gemm, "a queued product", &memory) != HOTROW_OK)
    return ERROR_NO_MEMORY;
  *(hr_cublas_gemm *)memory = *gemm;
  hr_emulated_check_pointer("cublasSgemm", gemm->a);
  hr_emulated_check_pointer("cublasSgemm", gemm->b);
  hr_emulated_check_pointer("cublasSgemm", gemm->c);
  hr_emulated_call(run_gemm, memory, handle);
  return 0;
}

static const char *emulated_error_text(int error)
{
  return error == ERROR_NO_MEMORY ? "out of memory" : "no error";
}

static const hr_cublas functions = {
    .create = emulated_create, .destroy = emulated_destroy, .sgemm = emulated_sgemm, .error_text = emulated_error_text};

hotrow_status hr_cublas_get(const hr_cublas **cublas_p)
{
  *cublas_p = &functions;
  return HOTROW_OK;
}
