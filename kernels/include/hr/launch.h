/* What a .cu file says in place of CUDA's own syntax, which a host's compiler cannot read.
 *
 *   HR_LAUNCH(kernel, grid, block, shared_bytes, stream)(arguments);
 *   HR_DYNAMIC_SHARED(type, name);    in a kernel: type *name, the launch's shared_bytes */
#ifndef HR_LAUNCH_H
#define HR_LAUNCH_H

#include <cuda_runtime.h>

#ifdef __CUDACC__
#define HR_LAUNCH(kernel, grid, block, shared_bytes, stream) kernel<<<grid, block, shared_bytes, stream>>>
#define HR_DYNAMIC_SHARED(type, name)                                                                                  \
  extern __shared__ uint4 hr_dynamic_shared[];                                                                         \
  type *name = (type *)hr_dynamic_shared
#else
#define HR_LAUNCH(kernel, grid, block, shared_bytes, stream)                                                           \
  hr_emulated_kernel(kernel, #kernel, grid, block, shared_bytes, stream)
#define HR_DYNAMIC_SHARED(type, name) type *name = (type *)hr_emulated_shared()
#endif

#endif
