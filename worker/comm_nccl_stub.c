/* Stands in for comm_nccl.c in a build without NCCL. */
#include <hr/status.h>

#include "comm_nccl.h"

hotrow_status hr_nccl_get(const hr_nccl **nccl_p)
{
  (void)nccl_p;
  return hr_fail(HOTROW_ERR_UNSUPPORTED, "this build has no NCCL: configure with -DHOTROW_WITH_NCCL=ON");
}
