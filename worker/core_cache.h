/* A table's cache as the host reaches it: arrays are the host's, wherever the rows are. The calls of <hotrow/cache.h>,
 * which say what each does; where the rows are on a GPU, arrays go over in stages, and what comes back is waited for.
 */
#ifndef HR_CORE_CACHE_H
#define HR_CORE_CACHE_H

#include "core.h"

hotrow_status hr_core_cache_refresh(hotrow_table *table, const uint32_t *slots, const uint32_t *clocks,
                                    const float *values, const float *states, size_t row_count);
hotrow_status hr_core_cache_insert(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                   const uint32_t *clocks, const float *values, const float *states,
                                   const uint32_t *next_use, size_t row_count, uint32_t *slots_p);
hotrow_status hr_core_cache_stage(hotrow_table *table, const uint64_t *hashes, const float *values, const float *states,
                                  size_t row_count, uint32_t *slots_p);
/* is_held_p NULL: nobody asks. */
hotrow_status hr_core_cache_expect(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                                   uint32_t batch, uint8_t *is_held_p);
hotrow_status hr_core_cache_announce(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                     const uint32_t *clocks, size_t key_count);
hotrow_status hr_core_cache_announce_gone(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                          size_t key_count);
hotrow_status hr_core_cache_credit(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                   const uint32_t *steps, size_t key_count);
/* Queues the taking of the push list; nothing may join it before it is taken. */
hotrow_status hr_core_cache_start_pushes(hotrow_table *table);
hotrow_status hr_core_cache_take_pushes(hotrow_table *table, hotrow_cache_push_list *list_p);

#endif
