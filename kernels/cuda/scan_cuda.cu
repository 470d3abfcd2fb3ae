/* Prefix sums, and what of flags is selected.
 * Grid: one block per tile of HR_TILE items, twice: first each counts its tile, then one block sums the counts, then
 * each writes its own. Bytes per item: scan 12 (read twice, written once), select 2 and 4 per one selected. */
#include "kernels_impl.h"
#include "scan_cuda.h"

/* One block: takes the tiles HR_TILE_THREADS at a time. */
static __global__ void scan_tile_sums(uint32_t *sums, size_t tile_count, uint32_t *total_p)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  uint32_t start = 0;
  for (size_t first = 0; first < tile_count; first += HR_TILE_THREADS) {
    size_t tile = first + threadIdx.x;
    uint32_t sum = tile < tile_count ? sums[tile] : 0, total;
    uint32_t before = hr_block_scan(sum, warps, &total);
    if (tile < tile_count)
      sums[tile] = start + before;
    start += total;
    __syncthreads(); /* warps is written again */
  }
  if (threadIdx.x == 0)
    *total_p = start;
}

void hr_cuda_scan_tiles(uint32_t *sums, size_t tile_count, uint32_t *total_p, cudaStream_t stream)
{
  HR_LAUNCH(scan_tile_sums, 1, HR_TILE_THREADS, 0, stream)(sums, tile_count, total_p);
  hr_cuda_check_launch("scan_tile_sums");
}

extern "C" size_t hr_cuda_scan_scratch_size(size_t count)
{
  return hr_cuda_tile_count(count) * sizeof(uint32_t);
}

/* --- scan --- */

static __global__ void sum_tiles(const uint32_t *__restrict__ values, size_t count, uint32_t *__restrict__ tile_sums)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  size_t first = (size_t)blockIdx.x * HR_TILE;
  uint32_t sum = 0, total;
  for (uint32_t item = 0; item < HR_TILE_ITEMS; item++) { /* neighbouring threads read neighbours */
    size_t i = first + item * HR_TILE_THREADS + threadIdx.x;
    sum += i < count ? values[i] : 0;
  }
  hr_block_scan(sum, warps, &total);
  if (threadIdx.x == 0)
    tile_sums[blockIdx.x] = total;
}

/* values may be sums: a thread writes what it alone has read. */
static __global__ void write_sums(const uint32_t *values, size_t count, const uint32_t *__restrict__ tile_sums,
                                  uint32_t *sums)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  uint32_t start = tile_sums[blockIdx.x];
  for (uint32_t item = 0; item < HR_TILE_ITEMS; item++) {
    size_t i = (size_t)blockIdx.x * HR_TILE + item * HR_TILE_THREADS + threadIdx.x;
    uint32_t value = i < count ? values[i] : 0, total;
    uint32_t before = hr_block_scan(value, warps, &total);
    if (i < count)
      sums[i] = start + before;
    start += total;
    __syncthreads(); /* warps is written again */
  }
}

extern "C" void hr_cuda_scan(const uint32_t *values, size_t count, void *scratch, void *stream, uint32_t *sum_p)
{
  cudaStream_t s = (cudaStream_t)stream;
  if (count == 0) {
    cudaMemsetAsync(sum_p, 0, sizeof *sum_p, s);
    return;
  }
  unsigned tiles = (unsigned)hr_cuda_tile_count(count);
  uint32_t *tile_sums = (uint32_t *)scratch;
  HR_LAUNCH(sum_tiles, tiles, HR_TILE_THREADS, 0, s)(values, count, tile_sums);
  hr_cuda_check_launch("scan");
  hr_cuda_scan_tiles(tile_sums, tiles, sum_p + count, s);
  HR_LAUNCH(write_sums, tiles, HR_TILE_THREADS, 0, s)(values, count, tile_sums, sum_p);
  hr_cuda_check_launch("scan");
}

/* --- select --- */

typedef struct flag_test {
  const uint8_t *flags;
  size_t count;
  uint8_t mask, value;
} flag_test;

static __device__ __forceinline__ bool is_selected(const flag_test *t, size_t i)
{
  return i < t->count && (t->flags[i] & t->mask) == t->value;
}

static __global__ void count_selected(flag_test t, uint32_t *__restrict__ tile_sums)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  uint32_t selected = 0, total;
  for (uint32_t item = 0; item < HR_TILE_ITEMS; item++)
    selected += is_selected(&t, (size_t)blockIdx.x * HR_TILE + item * HR_TILE_THREADS + threadIdx.x);
  hr_block_scan(selected, warps, &total);
  if (threadIdx.x == 0)
    tile_sums[blockIdx.x] = total;
}

static __global__ void write_selected(flag_test t, const uint32_t *__restrict__ tile_sums,
                                      uint32_t *__restrict__ index_p)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  uint32_t start = tile_sums[blockIdx.x];
  for (uint32_t item = 0; item < HR_TILE_ITEMS; item++) {
    size_t i = (size_t)blockIdx.x * HR_TILE + item * HR_TILE_THREADS + threadIdx.x;
    bool selected = is_selected(&t, i);
    uint32_t total, before = hr_block_scan(selected, warps, &total);
    if (selected)
      index_p[start + before] = (uint32_t)i;
    start += total;
    __syncthreads(); /* warps is written again */
  }
}

extern "C" void hr_cuda_select(const uint8_t *flags, size_t count, uint8_t mask, uint8_t value, void *scratch,
                               void *stream, uint32_t *index_p, uint32_t *count_p)
{
  cudaStream_t s = (cudaStream_t)stream;
  if (count == 0) {
    cudaMemsetAsync(count_p, 0, sizeof *count_p, s);
    return;
  }
  flag_test t = {flags, count, mask, value};
  unsigned tiles = (unsigned)hr_cuda_tile_count(count);
  uint32_t *tile_sums = (uint32_t *)scratch;
  HR_LAUNCH(count_selected, tiles, HR_TILE_THREADS, 0, s)(t, tile_sums);
  hr_cuda_check_launch("select");
  hr_cuda_scan_tiles(tile_sums, tiles, count_p, s);
  HR_LAUNCH(write_selected, tiles, HR_TILE_THREADS, 0, s)(t, tile_sums, index_p);
  hr_cuda_check_launch("select");
}
