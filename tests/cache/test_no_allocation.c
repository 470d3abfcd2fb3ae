/* Create takes all the memory: the linker counts every allocation of a run. */
#include "hr_test.h"

#include <hotrow/cache.h>
#include <hr/hash.h>
#include <hr/random.h>

#include <sys/mman.h>

static size_t call_count;

#define WRAP(type, name, parameters, arguments)                                                                        \
  type __real_##name parameters;                                                                                       \
  type __wrap_##name parameters;                                                                                       \
  type __wrap_##name parameters                                                                                        \
  {                                                                                                                    \
    call_count++;                                                                                                      \
    return __real_##name arguments;                                                                                    \
  }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *memory, size_t size), (memory, size))
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
WRAP(int, posix_memalign, (void **memory_p, size_t alignment, size_t size), (memory_p, alignment, size))
WRAP(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
WRAP(int, munmap, (void *at, size_t size), (at, size))

void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
  call_count++;
  __real_free(memory);
}

#define DIM 8
#define KEYS 3000

static uint64_t keys[KEYS], hashes[KEYS];
static uint32_t slots[KEYS], seen[KEYS], clocks[KEYS], next_use[KEYS];
static uint8_t row_states[KEYS];
static float values[KEYS * DIM], states[KEYS * DIM];

static void step(hotrow_cache *cache, hr_rng *rng)
{
  uint64_t first = hr_rng_below(rng, 100000);
  for (size_t i = 0; i < KEYS; i++) {
    keys[i] = first + i;
    hashes[i] = hr_key_hash(keys[i], 1);
  }
  hotrow_cache_begin_batch(cache);
  for (size_t i = 0; i < KEYS; i++)
    next_use[i] = hotrow_cache_batch(cache) + (uint32_t)hr_rng_below(rng, 3);
  hotrow_cache_credit(cache, keys, hashes, NULL, KEYS);
  hotrow_cache_announce(cache, keys, hashes, clocks, KEYS);
  hotrow_cache_lookup(cache, keys, hashes, KEYS, NULL, next_use, slots, seen, row_states);
  for (size_t i = 0; i < KEYS; i++)
    if (slots[i] != HOTROW_SLOT_NONE)
      hotrow_cache_refresh(cache, slots + i, clocks, values, states, 1);
  CHECK_OK(hotrow_cache_insert(cache, keys, hashes, clocks, values, states, next_use, KEYS, slots));
  hotrow_cache_expect(cache, keys, hashes, KEYS, NULL, hotrow_cache_batch(cache) + 2, row_states);
  CHECK_OK(hotrow_cache_update(cache, keys, hashes, NULL, values, NULL, KEYS, NULL));
  hotrow_cache_push_list list;
  CHECK_OK(hotrow_cache_take_pushes(cache, &list));
  hotrow_cache_mark_stale(cache, first << 40, UINT64_MAX / 3);
  hotrow_cache_invalidate(cache, first << 40, UINT64_MAX / 2);
}

static void only_create_and_destroy_allocate(void)
{
  hr_rng rng = {hr_test_seed(1)};
  for (uint32_t push_bound = 0; push_bound < 4; push_bound++) {
    hotrow_cache_options options = HOTROW_CACHE_OPTIONS_INIT;
    CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
    hotrow_segment segment = {.dim = DIM, .optimizer = {.kind = HOTROW_ADAGRAD}};
    options.segments = &segment;
    options.segment_count = 1;
    options.row_count = push_bound == 3 ? 0 : 4096;
    options.staging_row_count = KEYS;
    options.push_bound = push_bound;
    options.policy = (hotrow_cache_policy)push_bound;
    options.mode = push_bound & 1 ? HOTROW_CACHE_ANNOUNCE : HOTROW_CACHE_PROBE;
    options.announce_step = 1;
    options.wire_dtype = push_bound & 2 ? HOTROW_F16 : HOTROW_I8;
    hotrow_cache *cache;
    size_t before = call_count;
    CHECK_OK(hotrow_cache_create(&options, &cache));
    CHECK(call_count > before); /* the counter counts */
    before = call_count;
    for (int i = 0; i < 50; i++)
      step(cache, &rng);
    hotrow_cache_flush(cache);
    CHECK_EQ(call_count, before);
    hotrow_cache_destroy(cache);
    CHECK(call_count > before);
  }
}

int main(void)
{
  RUN(only_create_and_destroy_allocate);
  return 0;
}
