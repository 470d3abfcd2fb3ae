/* What .cu files share: turning CUDA's errors into ours, and the shape of a launch. */
#ifndef HR_CHECK_CUDA_H
#define HR_CHECK_CUDA_H

#include <hotrow/kernels.h>
#include <hr/launch.h>

#define HR_CUDA_BLOCK_THREADS 256u
#ifdef __CUDACC__
#define HR_CUDA_BLOCKS_MAX 65535u /* kernels stride over the rest */
#else
#define HR_CUDA_BLOCKS_MAX 2u /* emulated, they stride in small tests too */
#endif

/* HOTROW_OK, or the error with a sentence that names `what`. */
hotrow_status hr_cuda_check(cudaError_t error, const char *what);

/* Kernels return nothing: a launch that failed is logged here and reported to who waits next. */
void hr_cuda_check_launch(const char *kernel);

static inline unsigned hr_cuda_blocks(size_t thread_count)
{
  size_t blocks = (thread_count + HR_CUDA_BLOCK_THREADS - 1) / HR_CUDA_BLOCK_THREADS;
  return blocks < HR_CUDA_BLOCKS_MAX ? (unsigned)blocks : HR_CUDA_BLOCKS_MAX;
}

#endif
