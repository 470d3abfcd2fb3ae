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

hotrow_status hr_mirror_init(hr_mirror *mirror, hr_dense *dense, size_t a, size_t b, const char *what)
{
  void *host;
  HOTROW_TRY(hr_dense_alloc(dense, a, b, what, &mirror->device));
  mirror->host = mirror->device;
  if (dense->kernels->device == HOTROW_CPU)
    return HOTROW_OK;
  const hotrow_status status = dense->kernels->alloc_host(a * b * sizeof(float), &host);
  mirror->host = status == HOTROW_OK ? host : NULL;
  return status;
}

void hr_mirror_fini(hr_mirror *mirror, hr_dense *dense)
{
  if (mirror->host != NULL && mirror->host != mirror->device)
    dense->kernels->free_host(mirror->host);
  hr_dense_free(dense, mirror->device);
  *mirror = (hr_mirror){0};
}

hotrow_status hr_mirror_copy_in(const hr_mirror *mirror, hr_dense *dense, size_t count)
{
  if (mirror->host == mirror->device)
    return HOTROW_OK;
  return dense->kernels->copy_in(mirror->device, mirror->host, count * sizeof(float), dense->stream);
}

hotrow_status hr_mirror_copy_out(const hr_mirror *mirror, hr_dense *dense, size_t count)
{
  if (mirror->host == mirror->device)
    return HOTROW_OK;
  return dense->kernels->copy_out(mirror->host, mirror->device, count * sizeof(float), dense->stream);
}
