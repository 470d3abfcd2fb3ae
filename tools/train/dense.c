/* The registry of devices, and memory on them. */
#include "dense.h"

#include <stdlib.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "dense_impl.h"

hotrow_status hr_dense_open(hotrow_device device, hr_dense **dense_p)
{
  const hotrow_kernels *kernels;
  HOTROW_TRY(hotrow_kernels_get(device, &kernels));
  return device == HOTROW_CPU ? hr_dense_open_cpu(kernels, dense_p) : hr_dense_open_cuda(kernels, dense_p);
}

void hr_dense_close(hr_dense *dense)
{
  if (dense != NULL)
    dense->call->close(dense);
}

hotrow_status hr_dense_alloc(hr_dense *dense, size_t a, size_t b, const char *what, float **floats_p)
{
  void *memory;
  const size_t size = hr_mul(hr_mul(a, b), sizeof(float));
  if (size == SIZE_MAX || dense->kernels->alloc(size, &memory) != HOTROW_OK)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s: no memory for %zu times %zu floats", what, a, b);
  *floats_p = memory;
  return HOTROW_OK;
}

void hr_dense_free(hr_dense *dense, float *floats)
{
  if (floats != NULL)
    dense->kernels->free(floats);
}
