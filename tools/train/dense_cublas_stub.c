/* Stands in for dense_cublas.c in a build for GPUs without cuBLAS. */
#include "dense_cublas.h"

#include <hr/status.h>

hotrow_status hr_cublas_get(const hr_cublas **cublas_p)
{
  (void)cublas_p;
  return hr_fail(HOTROW_ERR_UNSUPPORTED, "this build has no cuBLAS: its header was not found");
}
