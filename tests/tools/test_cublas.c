/* The real library: that it has what is asked of it, and what it says where there is no GPU. */
#include "hr_test.h"

#include <hotrow/kernels.h>

#include "dense_cublas.h"

static const hr_cublas *cublas;

static void a_handle_needs_a_gpu(void)
{
  const hotrow_kernels *kernels = NULL;
  const bool has_gpu = hotrow_kernels_get(HOTROW_CUDA, &kernels) == HOTROW_OK;
  void *workspace = NULL, *handle = NULL;
  if (has_gpu)
    CHECK_OK(kernels->alloc(cublas->workspace_size, &workspace));
  const int error = cublas->create(NULL, workspace, &handle);
  printf("  %d: %s\n", error, cublas->error_text(error));
  CHECK_EQ(error == 0, has_gpu);
  CHECK_EQ(handle != NULL, has_gpu);
  if (!has_gpu)
    return;
  cublas->destroy(handle);
  kernels->free(workspace);
}

static void errors_have_names(void)
{
  for (int error = 0; error < 16; error++) {
    const char *text = cublas->error_text(error);
    CHECK(text != NULL && *text != '\0');
  }
}

int main(void)
{
  const hotrow_status status = hr_cublas_get(&cublas);
  if (status == HOTROW_ERR_UNSUPPORTED)
    hr_test_skip("cublas", "%s", hotrow_last_error());
  CHECK_OK(status);
  RUN(a_handle_needs_a_gpu);
  RUN(errors_have_names);
  return 0;
}
