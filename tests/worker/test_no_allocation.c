/* Warm steps take no memory: the linker counts every allocation of this program (ZeroMQ's own are in its library). */
#include "worker_test.h"

static size_t call_count; /* of the threads of this process: the shards' steps take none either */

#define WRAP(type, name, parameters, arguments)                                                                        \
  type __real_##name parameters;                                                                                       \
  type __wrap_##name parameters;                                                                                       \
  type __wrap_##name parameters                                                                                        \
  {                                                                                                                    \
    __atomic_add_fetch(&call_count, 1, __ATOMIC_RELAXED);                                                              \
    return __real_##name arguments;                                                                                    \
  }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *memory, size_t size), (memory, size))
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
WRAP(int, posix_memalign, (void **memory_p, size_t alignment, size_t size), (memory_p, alignment, size))

#define DIM 8
#define BATCH 600
#define BAGS 200
#define TABLES 2

#define AHEAD 4u /* batches that are handed over, in the first table */

static uint64_t keys[TABLES][BATCH], next_keys[BATCH];
static float rows[BATCH * DIM], grads[BATCH * DIM];
static uint32_t offsets[BAGS + 1];

static void choose_keys(uint64_t step, uint64_t *chosen)
{
  for (size_t i = 0; i < BATCH; i++)
    chosen[i] = (step % 20 * 31 + i * 7) % 1000;
}

static void look_ahead(hotrow_client *client, hotrow_table *table, uint64_t step)
{
  choose_keys(step, next_keys);
  hotrow_lookup_request coming = test_lookup_of(table, next_keys, BATCH, NULL);
  CHECK_OK(hotrow_lookahead(client, &coming, 1));
}

static void step(hotrow_client *client, hotrow_table **tables, uint64_t number, bool is_fused)
{
  hotrow_lookup_request lookups[TABLES];
  hotrow_push_request pushes[TABLES];
  for (size_t t = 0; t < TABLES; t++) {
    choose_keys(number, keys[t]);
    lookups[t] = test_lookup_of(tables[t], keys[t], BATCH, rows);
    pushes[t] = test_push_of(tables[t], keys[t], BATCH, grads);
  }
  lookups[1].pooling = pushes[1].pooling = HOTROW_POOL_MEAN;
  lookups[1].offsets = pushes[1].offsets = offsets;
  lookups[1].bag_count = pushes[1].bag_count = BAGS;
  CHECK_OK(is_fused ? hotrow_step_lookup(client, lookups, TABLES) : hotrow_lookup(client, lookups, TABLES));
  CHECK_OK(hotrow_push(client, pushes, TABLES));
  CHECK_OK(hotrow_push(client, pushes + 1, 1));
  if (number % 97 == 50) /* other keys than those that will be looked up: the window is dropped */
    look_ahead(client, tables[0], number + 1);
  look_ahead(client, tables[0], number + AHEAD);
}

static hotrow_table *create(hotrow_client *client, const char *name, uint64_t cache_row_count, uint32_t bound,
                            hotrow_dtype wire_dtype)
{
  hotrow_table_options options = test_table_options(name, DIM);
  hotrow_table *table;
  options.cache_row_count = cache_row_count;
  options.pull_bound = options.push_bound = bound;
  options.wire_dtype = wire_dtype;
  CHECK_OK(hotrow_table_create(client, &options, &table));
  return table;
}

static void warm_steps_take_no_memory(uint64_t cache_row_count, uint32_t bound)
{
  test_servers servers;
  test_start(&servers, 2, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  hotrow_table *tables[TABLES] = {create(client, "a", cache_row_count, bound, HOTROW_I8),
                                  create(client, "b", cache_row_count, bound, HOTROW_F32)};
  for (uint32_t b = 0; b <= BAGS; b++)
    offsets[b] = b * (BATCH / BAGS);
  for (uint64_t i = 0; i < AHEAD; i++)
    look_ahead(client, tables[0], i);
  /* How many messages are on their way at most is a matter of time: there is a stretch in which it does not grow. */
  size_t before = 0, now = __atomic_load_n(&call_count, __ATOMIC_RELAXED);
  for (uint64_t i = 0; i % 200 != 0 || now != before; i++) {
    if (i % 200 == 0) {
      CHECK_MSG(i < 4000, "the last 200 steps made %zu allocations", now - before);
      before = now;
    }
    step(client, tables, i, i % 2);
    if (i % 2 == 0)
      CHECK_OK(hotrow_step(client, 0));
    CHECK_OK(i % 2 == 0 && i % 5 == 0 ? hotrow_flush(client, 0) : HOTROW_OK);
    now = __atomic_load_n(&call_count, __ATOMIC_RELAXED);
  }
  CHECK(before > 0); /* the counter counts */
  CHECK(cache_row_count == 0 || (test_stats(client).prefetched > 0 && test_stats(client).lookahead_dropped > 0));
  hotrow_client_close(client);
  test_stop(&servers);
}

static void nothing_is_allocated(void)
{
  warm_steps_take_no_memory(0, 0);
  warm_steps_take_no_memory(4096, 3);
  warm_steps_take_no_memory(64, 3); /* evictions all the time */
}

int main(void)
{
  RUN(nothing_is_allocated);
  return 0;
}
