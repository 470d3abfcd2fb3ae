/* Stands in for backend_cuda.cu in a build without CUDA. */
#include <hr/status.h>

#include "kernels_impl.h"

hotrow_status hr_kernels_get_cuda(const hotrow_kernels **kernels_p)
{
  (void)kernels_p;
  return hr_fail(HOTROW_ERR_UNSUPPORTED, "this build has no CUDA: configure with -DHOTROW_WITH_CUDA=ON");
}
