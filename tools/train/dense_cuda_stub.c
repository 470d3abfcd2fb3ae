/* Stands in for dense_cuda.cu in a build without CUDA. */
#include <hr/status.h>

#include "dense_impl.h"

hotrow_status hr_dense_open_cuda(const hotrow_kernels *kernels, hr_dense **dense_p)
{
  (void)kernels;
  (void)dense_p;
  return hr_fail(HOTROW_ERR_UNSUPPORTED, "this build has no CUDA: configure with -DHOTROW_WITH_CUDA=ON");
}
