/* Stands in for the .cu files in a build without CUDA. */
#include "cache_state.h"

const hr_cache_operations *hr_cuda_cache_operations(void)
{
  return NULL;
}
