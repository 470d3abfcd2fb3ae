/* The registry: the only place that names all backends. */
#include <hr/assert.h>
#include <hr/status.h>

#include "kernels_impl.h"

hotrow_status hotrow_kernels_get(hotrow_device device, const hotrow_kernels **kernels_p)
{
  HOTROW_ASSERT(kernels_p);
  switch (device) {
  case HOTROW_CPU:
    return hr_kernels_get_cpu(kernels_p);
  case HOTROW_CUDA:
    return hr_kernels_get_cuda(kernels_p);
  default:
    return hr_fail(HOTROW_ERR_INVALID, "device %d is not known", (int)device);
  }
}
