/* cuBLAS itself. */
#include "dense_cublas.h"

#include <cublas_v2.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include <hr/status.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define LIBRARY "libcublas.so." TEXT(CUBLAS_VER_MAJOR)
#define WORKSPACE_BYTES ((size_t)32 << 20) /* what cuBLAS advises for the largest GPUs */

static struct {
  cublasStatus_t (*create)(cublasHandle_t *);
  cublasStatus_t (*destroy)(cublasHandle_t);
  cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
  cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
  cublasStatus_t (*set_math_mode)(cublasHandle_t, cublasMath_t);
  cublasStatus_t (*sgemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const float *,
                          const float *, int, const float *, int, const float *, float *, int);
  const char *(*status_string)(cublasStatus_t);
} library;

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static char library_error[HR_ERROR_TEXT_BYTES];

static void library_close(void *handle)
{
  library.destroy(handle);
}

/* The order matters: setting a stream takes the workspace away. */
static int library_create(void *stream, void *workspace, void **handle_p)
{
  cublasHandle_t handle;
  cublasStatus_t status = library.create(&handle);
  if (status != CUBLAS_STATUS_SUCCESS)
    return (int)status;
  status = library.set_stream(handle, stream);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = library.set_workspace(handle, workspace, WORKSPACE_BYTES);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = library.set_math_mode(handle, CUBLAS_PEDANTIC_MATH);
  if (status == CUBLAS_STATUS_SUCCESS)
    *handle_p = handle;
  else
    library.destroy(handle);
  return (int)status;
}

static int library_sgemm(void *handle, const hr_cublas_gemm *g)
{
  const float one = 1;
  return (int)library.sgemm(handle, g->is_a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            g->is_b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, g->m, g->n, g->k, &one, g->a, g->a_stride,
                            g->b, g->b_stride, &g->beta, g->c, g->c_stride);
}

static const char *library_error_text(int error)
{
  return library.status_string((cublasStatus_t)error);
}

static const hr_cublas functions = {.workspace_size = WORKSPACE_BYTES,
                                    .create = library_create,
                                    .destroy = library_close,
                                    .sgemm = library_sgemm,
                                    .error_text = library_error_text};

/* The names that the header's macros stand for. */
static void open_library(void)
{
  const struct {
    const char *name;
    void **function_p;
  } symbols[] = {{"cublasCreate_v2", (void **)&library.create},
                 {"cublasDestroy_v2", (void **)&library.destroy},
                 {"cublasSetStream_v2", (void **)&library.set_stream},
                 {"cublasSetWorkspace_v2", (void **)&library.set_workspace},
                 {"cublasSetMathMode", (void **)&library.set_math_mode},
                 {"cublasSgemm_v2", (void **)&library.sgemm},
                 {"cublasGetStatusString", (void **)&library.status_string}};
  void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  bool is_whole = handle != NULL;
  for (size_t i = 0; is_whole && i < sizeof symbols / sizeof *symbols; i++)
    is_whole = (*symbols[i].function_p = dlsym(handle, symbols[i].name)) != NULL;
  if (is_whole)
    return;
  const char *error = dlerror();
  snprintf(library_error, sizeof library_error, "%s", error != NULL ? error : LIBRARY);
  library.create = NULL;
}

hotrow_status hr_cublas_get(const hr_cublas **cublas_p)
{
  pthread_once(&library_once, open_library);
  if (library.create == NULL)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "cuBLAS cannot be opened: %s", library_error);
  *cublas_p = &functions;
  return HOTROW_OK;
}
