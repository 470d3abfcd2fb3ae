/* A cache on the device under test, called with arrays of the host: they are copied in and out through the function
 * table, on the CPU as well. */
#ifndef DEVICE_CACHE_H
#define DEVICE_CACHE_H

#include <hotrow/cache.h>

#include "hr_test.h"

extern const hotrow_kernels *device;

/* The device that the test's argument names; no GPU is a skip. */
void device_open(int argc, char **argv);

/* hotrow_cache_create on that device, unless the options name kernels. Caches at work have rows of one shape. */
hotrow_status device_create(hotrow_cache_options *options, hotrow_cache **cache_p);

void device_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                   const uint32_t *next_use, uint32_t *slots, uint32_t *seen, uint8_t *states);
void device_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count, uint32_t batch,
                   uint8_t *is_held);
void device_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                    const float *states, size_t count);
hotrow_status device_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                            const float *values, const float *states, const uint32_t *next_use, size_t count,
                            uint32_t *slots);
hotrow_status device_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                           size_t count, uint32_t *slots);
hotrow_status device_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *slots,
                            const float *grads, const uint32_t *ticks, size_t count);
void device_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                     size_t count);
void device_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count);
void device_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                   size_t count);

/* So many rounds of random operations, or fewer: a kernel that is emulated takes its time. HOTROW_TEST_LONG: all. */
int device_rounds(int count);

/* The list's arrays are the host's until the next take. */
void device_take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p);

/* All rows as they are now, until the next call of this. */
const float *device_rows(const hotrow_cache *cache, size_t row_count, size_t *row_stride_p);

#endif
