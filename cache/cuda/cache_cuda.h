/* What the GPU's passes over a batch share. Keys, rows, sums, the push list and every count are in the device's memory;
 * the host knows upper bounds of two of the counts (hr_device_side) and looks at the counts themselves only where these
 * do not suffice.
 *
 * A pass is a launch with one thread for each key, slot or float, and passes follow each other on the stream. What the
 * CPU does in the order of the keys falls into two: decisions within a set, made by the one thread that has all keys of
 * the set, in order; and places in a list (staging, sums, push list, sums given back), which are prefix sums of flags.
 */
#ifndef CACHE_CUDA_H
#define CACHE_CUDA_H

#include <hr/check_cuda.h>

extern "C" {
#include "cache_state.h"
}

/* The counts, beside those of each table. */
struct hr_device_books {
  uint64_t bypass_left;   /* where staging is short */
  uint64_t missing_count; /* of an insert, where somebody asks */
  uint64_t uncached_count;
  uint64_t new_count;      /* of an update, where somebody asks */
  uint64_t doubtful_count; /* of a refresh */
  uint32_t age;
  uint32_t staging_used;
  uint32_t push_count;
  uint32_t touched_count; /* of the pool */
  uint32_t free_count;
  uint32_t budget;    /* sums that the update at work may still take */
  uint32_t is_serial; /* the insert at work is decided by one thread: its sets do not rise, or it is short of staging */
};

/* A cache as kernels get it. The counts in sets, pool and list are not used here. */
typedef struct cache_view {
  hr_cache_rules rules;
  hr_cache_sets sets;
  hr_sketch sketch;
  hr_pending_pool pending;
  hr_push_list pushes;
  hr_device_scratch scratch;
  hr_device_books *books;
  hr_table_books *tables; /* [table_count] */
  hr_table_books *own;    /* the table's whose call it is */
  float *rows;
  size_t row_stride;
  uint32_t dim;
  uint32_t state_dim;
  uint32_t square_dim;
  uint32_t staging_first;
  uint32_t table_count;
  uint8_t table;
} cache_view;

/* The keys of a call, or of a slice of it that begins at its key `first`. */
typedef struct key_slice {
  const uint64_t *keys;
  const uint64_t *hashes;
  size_t count;            /* at most */
  const uint32_t *count_p; /* of the whole call; NULL: `count` it is */
  size_t first;
} key_slice;

static __device__ inline size_t first_item(void)
{
  return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ inline size_t item_step(void)
{
  return (size_t)gridDim.x * blockDim.x;
}

static __device__ inline size_t key_count(const key_slice *slice)
{
  if (!slice->count_p)
    return slice->count;
  size_t total = *slice->count_p;
  size_t left = total > slice->first ? total - slice->first : 0;
  return left < slice->count ? left : slice->count;
}

static __device__ inline void add_count(uint64_t *count, uint64_t more)
{
  if (more > 0)
    atomicAdd((unsigned long long *)count, (unsigned long long)more);
}

/* hr_rules_pin for a thread that does not have the whole set. */
static __device__ inline void pin_row(const cache_view *v, uint32_t slot, uint32_t until)
{
  v->sets.meta[slot].live_until = until;
  if (until == v->rules.batch)
    return;
  unsigned long long *present = (unsigned long long *)(v->sets.present + slot / HOTROW_CACHE_WAYS);
  unsigned long long way = 1ull << (32 + slot % HOTROW_CACHE_WAYS), old = *present, found;
  for (;; old = found) {
    bool is_of_batch = (uint32_t)old == v->rules.batch; /* little-endian: the batch is the low half */
    unsigned long long wanted = is_of_batch ? old | way : v->rules.batch | way;
    found = atomicCAS(present, old, wanted);
    if (found == old)
      return;
  }
}

static inline cudaStream_t stream_of(const hotrow_cache *cache)
{
  return (cudaStream_t)cache->stream;
}

/* Few items take a small block. */
static inline unsigned block_threads(size_t count)
{
  return count < HR_CUDA_BLOCK_THREADS ? (unsigned)(count + 31) / 32 * 32 : HR_CUDA_BLOCK_THREADS;
}

#define LAUNCH_EACH(cache, kernel, count)                                                                              \
  HR_LAUNCH(kernel, hr_cuda_blocks(count), block_threads(count), 0, stream_of(cache))

/* One thread. */
#define LAUNCH_ONE(cache, kernel) HR_LAUNCH(kernel, 1, 1, 0, stream_of(cache))

/* The largest slice that scratch has room for. */
static inline size_t slice_rows(const hotrow_cache *cache, size_t left)
{
  size_t most = cache->shared->device.scratch.row_count;
  return left < most ? left : most;
}

cache_view hr_cuda_cache_view(const hotrow_cache *cache);

/* Slots of keys, by the kernel table; NONE for all if there are no sets. */
void hr_cuda_cache_probe(const hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                         uint32_t *slots);

/* values[0 .. count-1] become the sums of those before; values[count] that of all. */
void hr_cuda_cache_scan(const hotrow_cache *cache, uint32_t *values, size_t count);

/* So many rows may have joined the push list; of rows with pending steps that were there, not more than there can be.
 */
void hr_cuda_cache_count_listed(hotrow_cache *cache, uint64_t more);

/* Waits for the stream. own_p: those of its table, or NULL. */
hotrow_status hr_cuda_cache_read_books(const hotrow_cache *cache, hr_device_books *books_p, hr_table_books *own_p);

/* The first `*count` entries after push_count get their gradients and squares: of the sums scratch.out_sums, or, where
 * that is NONE, of row scratch.out_rows of grads and scratch.one_sums. */
void hr_cuda_cache_fill_entries(hotrow_cache *cache, const float *grads, const uint32_t *count, size_t count_max);

/* Rows of the slots (NONE: none) become values and states; then, if keeps_steps, own pending steps are applied again
 * and the rows have these clocks. */
void hr_cuda_cache_copy_rows(hotrow_cache *cache, const uint32_t *slots, const float *values, const float *states,
                             size_t count);
void hr_cuda_cache_refresh_slice(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks,
                                 const float *values, const float *states, size_t count);

/* Of the slots in scratch.slots (NONE: none), those with pending steps, flagged in scratch.ranks_a, hand them out. */
void hr_cuda_cache_hand_out(hotrow_cache *cache, size_t count);

void hr_cuda_cache_write_plan(hotrow_cache_plan *plan, const hr_looked_up *looked_up);
void hr_cuda_cache_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                           const float *states, size_t row_count);
hotrow_status hr_cuda_cache_insert(hotrow_cache *cache, const hr_fresh_rows *fresh, size_t row_count, uint32_t *slots);
hotrow_status hr_cuda_cache_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                                  size_t row_count, uint32_t *slots);
hotrow_status hr_cuda_cache_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes,
                                   const uint32_t *slots, const float *grads, const uint32_t *ticks, size_t count_max,
                                   const uint32_t *key_count_p);
void hr_cuda_cache_flush(hotrow_cache *cache);
void hr_cuda_cache_invalidate(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);
void hr_cuda_cache_forget(hotrow_cache *cache, const uint64_t *hashes, size_t count);
void hr_cuda_cache_mark_stale(hotrow_cache *cache, uint64_t hash_first, uint64_t hash_last);
void hr_cuda_cache_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                            size_t key_count);
void hr_cuda_cache_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t key_count);
void hr_cuda_cache_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                          size_t key_count);

#endif
