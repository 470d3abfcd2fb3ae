/* Distinct keys by one stable sort of (hash, position): equal hashes are equal keys, and stay in order of position.
 * Where a hash differs from the one before it a run begins; the number of a run is how many begin before it.
 * Grid: one thread per key to hash it; then, after the sort, one block per tile of HR_TILE sorted hashes, twice: to
 * count runs and to write them. Bytes per key: 20 hashed, 24 in each of 8 passes of the sort, 28 read and 8 written
 * behind it, and 20 per distinct key. */
#include "hash_cuda.h"
#include "kernels_impl.h"
#include "scan_cuda.h"
#include "sort_cuda.h"

#define ALIGNMENT 256u

/* Where in scratch each array begins. */
typedef struct layout {
  size_t hashes, sorted_hashes, positions, tile_runs, sort, sort_bytes, total_bytes;
} layout;

static size_t take(size_t *at, size_t size_bytes)
{
  size_t begin = *at;
  *at += (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return begin;
}

static layout lay_out(size_t key_count)
{
  layout l;
  size_t at = 0;
  l.hashes = take(&at, key_count * sizeof(uint64_t));
  l.sorted_hashes = take(&at, key_count * sizeof(uint64_t));
  l.positions = take(&at, key_count * sizeof(uint32_t));
  l.tile_runs = take(&at, hr_cuda_tile_count(key_count) * sizeof(uint32_t));
  l.sort_bytes = hr_cuda_sort_scratch_size(key_count);
  l.sort = take(&at, l.sort_bytes);
  l.total_bytes = at;
  return l;
}

extern "C" size_t hr_cuda_dedup_scratch_size(size_t key_count)
{
  return key_count > 0 ? lay_out(key_count).total_bytes : 0;
}

static __global__ void hash_keys(const uint64_t *__restrict__ keys, uint32_t key_count, uint64_t table_seed,
                                 uint64_t *__restrict__ hashes, uint32_t *__restrict__ positions)
{
  uint32_t step = gridDim.x * blockDim.x;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < key_count; i += step) {
    hashes[i] = hr_cuda_key_hash(keys[i], table_seed);
    positions[i] = i;
  }
}

static __device__ __forceinline__ bool begins_run(const uint64_t *hashes, uint32_t key_count, uint32_t i)
{
  return i < key_count && (i == 0 || hashes[i] != hashes[i - 1]);
}

static __global__ void count_runs(const uint64_t *__restrict__ hashes, uint32_t key_count,
                                  uint32_t *__restrict__ tile_runs)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  uint32_t runs = 0, total;
  for (uint32_t item = 0; item < HR_TILE_ITEMS; item++)
    runs += begins_run(hashes, key_count, blockIdx.x * HR_TILE + item * HR_TILE_THREADS + threadIdx.x);
  hr_block_scan(runs, warps, &total);
  if (threadIdx.x == 0)
    tile_runs[blockIdx.x] = total;
}

typedef struct runs {
  const uint64_t *keys, *sorted_hashes;
  uint32_t key_count;
  const uint32_t *tile_runs;
  hotrow_dedup out;
} runs;

static __global__ void write_runs(runs r)
{
  __shared__ uint32_t warps[HR_WARPS_OF_TILE];
  uint32_t start = r.tile_runs[blockIdx.x];
  for (uint32_t item = 0; item < HR_TILE_ITEMS; item++) {
    uint32_t i = blockIdx.x * HR_TILE + item * HR_TILE_THREADS + threadIdx.x, total;
    bool begins = begins_run(r.sorted_hashes, r.key_count, i);
    uint32_t run = start + hr_block_scan(begins, warps, &total) + begins - 1;
    if (i < r.key_count) {
      uint32_t position = r.out.positions[i];
      r.out.inverse[position] = run;
      if (begins) {
        r.out.keys[run] = r.keys[position];
        r.out.hashes[run] = r.sorted_hashes[i];
        r.out.offsets[run] = i;
      }
      if (i == r.key_count - 1)
        r.out.offsets[run + 1] = r.key_count;
    }
    start += total;
    __syncthreads(); /* warps is written again */
  }
}

extern "C" hotrow_status hr_cuda_dedup(const uint64_t *keys, size_t key_count, uint64_t table_seed, void *scratch,
                                       void *stream, const hotrow_dedup *result)
{
  cudaStream_t s = (cudaStream_t)stream;
  if (key_count == 0) {
    cudaMemsetAsync(result->offsets, 0, sizeof *result->offsets, s);
    return hr_cuda_check(cudaMemsetAsync(result->unique_count_p, 0, sizeof *result->unique_count_p, s), "dedup");
  }
  layout l = lay_out(key_count);
  char *memory = (char *)scratch;
  uint64_t *hashes = (uint64_t *)(memory + l.hashes), *sorted_hashes = (uint64_t *)(memory + l.sorted_hashes);
  uint32_t *positions = (uint32_t *)(memory + l.positions), *tile_runs = (uint32_t *)(memory + l.tile_runs);
  uint32_t count = (uint32_t)key_count;
  HR_LAUNCH(hash_keys, hr_cuda_blocks(key_count), HR_CUDA_BLOCK_THREADS, 0, s)
  (keys, count, table_seed, hashes, positions);
  hr_cuda_check_launch("dedup");
  hotrow_status status =
      hr_cuda_sort(hashes, positions, key_count, memory + l.sort, l.sort_bytes, s, sorted_hashes, result->positions);
  if (status != HOTROW_OK)
    return status;
  unsigned tiles = (unsigned)hr_cuda_tile_count(key_count);
  HR_LAUNCH(count_runs, tiles, HR_TILE_THREADS, 0, s)(sorted_hashes, count, tile_runs);
  hr_cuda_check_launch("dedup");
  hr_cuda_scan_tiles(tile_runs, tiles, result->unique_count_p, s);
  runs r = {keys, sorted_hashes, count, tile_runs, *result};
  HR_LAUNCH(write_runs, tiles, HR_TILE_THREADS, 0, s)(r);
  hr_cuda_check_launch("dedup");
  return HOTROW_OK;
}
