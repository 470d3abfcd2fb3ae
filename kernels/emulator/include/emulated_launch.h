/* What passes between the code of kernels and the emulator. */
#ifndef EMULATED_LAUNCH_H
#define EMULATED_LAUNCH_H

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hr_emulated_size {
  uint32_t x, y, z;
} hr_emulated_size;

/* A kernel with its arguments: run() plays one lane. */
typedef struct hr_emulated_launch {
  const char *kernel;
  hr_emulated_size grid, block;
  size_t shared_bytes;
  void (*run)(const void *arguments);
  void (*release)(void *arguments);
  void *arguments;
  const void *function; /* for cudaFuncSetAttribute */
} hr_emulated_launch;

/* Queues a launch; it owns the arguments from here on. */
void hr_emulated_enqueue(const hr_emulated_launch *launch, cudaStream_t stream);
/* Queues a call that may touch device memory: how a library of CUDA's (BLAS) is emulated. The context must live until
 * the call has run. */
void hr_emulated_call(cudaHostFn_t call, void *context, cudaStream_t stream);
/* Stops unless a kernel may follow this argument: into memory of the device, pinned memory, or nowhere (NULL). */
void hr_emulated_check_pointer(const char *kernel, const void *pointer);
/* Stops if one of its words is an address of the host's. */
void hr_emulated_check_structure(const char *kernel, const void *structure, size_t size_bytes);

/* Of the lane that runs. */
extern hr_emulated_size threadIdx, blockIdx, blockDim, gridDim;
void *hr_emulated_shared(void); /* the block's dynamic shared memory */

typedef enum hr_collective {
  HR_SYNCWARP,
  HR_BALLOT,
  HR_SHUFFLE,
  HR_SHUFFLE_UP,
  HR_SHUFFLE_DOWN,
  HR_SHUFFLE_XOR,
  HR_MATCH_ANY,
  HR_REDUCE_ADD,
  HR_REDUCE_MIN,
  HR_REDUCE_MAX,
  HR_REDUCE_MIN_SIGNED,
  HR_REDUCE_MAX_SIGNED,
  HR_REDUCE_AND,
  HR_REDUCE_OR,
  HR_REDUCE_XOR,
  HR_SYNCTHREADS
} hr_collective;

/* Waits for the lanes of the mask, and returns what the collective gives this lane. `argument` is a shuffle's source,
 * distance or xor mask; `width` its width. */
uint64_t hr_emulated_meet(hr_collective kind, uint32_t mask, uint64_t value, int argument, int width);
/* Waits for the whole block; the number of lanes that said so. */
int hr_emulated_meet_block(int predicate);

#ifdef __cplusplus
}
#endif
#endif
