/* The first row with a NaN or an infinity.
 * Grid: one thread sets the answer to "none"; then a thread per access of up to 16 bytes, in order, striding. A
 * thread stops at the first that it finds, and the least of their rows is the answer in whatever order they come. Bytes
 * per row: 4*dim read. */
#include "row_cuda.h"

static __global__ void set_row(uint64_t *row_p, uint64_t row)
{
  *row_p = row;
}

template <unsigned width>
static __global__ void find_row(const float *__restrict__ values, size_t value_count, uint32_t dim,
                                unsigned long long *row_p, uint32_t *gate_p)
{
  size_t step = (size_t)gridDim.x * blockDim.x * width;
  for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * width; i < value_count; i += step) {
    hr_lane<float, width> lane = hr_load<width>(values + i);
    unsigned first = width;
#pragma unroll
    for (unsigned k = width; k-- > 0;)
      first = is_nonfinite(lane.x[k]) ? k : first;
    if (first < width) {
      atomicMin(row_p, (unsigned long long)((i + first) / dim));
      if (gate_p)
        *gate_p = 0;
      return;
    }
  }
}

void hr_cuda_set_row(uint64_t *row_p, uint64_t row, void *stream)
{
  HR_LAUNCH(set_row, 1, 1, 0, (cudaStream_t)stream)(row_p, row);
  hr_cuda_check_launch("set_row");
}

extern "C" void hr_cuda_find_nonfinite(const float *values, size_t row_count, uint32_t dim, void *stream,
                                       uint64_t *row_p, uint32_t *gate_p)
{
  hr_cuda_set_row(row_p, row_count, stream);
  size_t value_count = row_count * dim;
  if (value_count == 0)
    return;
  unsigned width = hr_row_width(hr_address(values) | value_count);
  HR_LAUNCH(HR_BY_WIDTH(find_row, width), hr_cuda_blocks(value_count / width), HR_CUDA_BLOCK_THREADS, 0,
            (cudaStream_t)stream)
  (values, value_count, dim, (unsigned long long *)row_p, gate_p);
  hr_cuda_check_launch("find_nonfinite");
}
