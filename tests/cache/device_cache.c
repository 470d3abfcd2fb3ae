#include "device_cache.h"

#include <hr/optimizer.h>

#define DEVICE_BYTES ((size_t)4 << 20) /* for the arrays of one call */
#define TAKEN_MAX 16384                /* entries of a push list */
#define HOST_FLOATS ((size_t)1 << 20)

/* A lookup's arrays here and on the device. */
typedef struct lookup_arrays {
  const uint64_t *keys, *hashes;
  const uint32_t *slots, *seen;
  const uint8_t *states;
  const uint64_t *keys_p, *hashes_p;
  const uint32_t *slots_p, *seen_p;
  const uint8_t *states_p;
  size_t count_max;
  const uint32_t *count_p;
} lookup_arrays;

const hotrow_kernels *device;

static uint32_t dim, state_dim, square_dim;
static char *block; /* on the device */
static size_t used_bytes;
static bool is_counted; /* the next call's count lies on the device */

void device_open(int argc, char **argv)
{
  CHECK_MSG(argc == 2, "usage: %s cpu|cuda", argv[0]);
  bool is_cpu = strcmp(argv[1], "cpu") == 0;
  CHECK_MSG(is_cpu || strcmp(argv[1], "cuda") == 0, "no device is called %s", argv[1]);
  hotrow_status status = hotrow_kernels_get(is_cpu ? HOTROW_CPU : HOTROW_CUDA, &device);
  if (!is_cpu && (status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE))
    hr_test_skip("cuda", "%s", hotrow_last_error());
  CHECK_OK(status);
  void *memory;
  CHECK_OK(device->alloc(DEVICE_BYTES, &memory));
  block = memory;
}

hotrow_status device_create(hotrow_cache_options *options, hotrow_cache **cache_p)
{
  hotrow_row_layout layout;
  if (hr_row_layout_make(options->segments, options->segment_count, &layout) == HOTROW_OK) {
    dim = layout.dim;
    state_dim = layout.state_dim;
    square_dim = layout.square_dim;
  }
  if (!options->kernels)
    options->kernels = device;
  return hotrow_cache_create(options, cache_p);
}

int device_rounds(int count)
{
  return device->device == HOTROW_CPU || getenv("HOTROW_TEST_LONG") ? count : (count + 7) / 8;
}

/* Space on the device for the arrays of a call. */
static void *take(size_t size_bytes)
{
  void *at = block + used_bytes;
  used_bytes += (size_bytes + 255) / 256 * 256;
  CHECK_MSG(used_bytes <= DEVICE_BYTES, "the arrays of a call take more than %zu bytes", DEVICE_BYTES);
  return at;
}

static void *in(const void *host, size_t count, size_t element_size)
{
  if (!host)
    return NULL;
  void *array = take(count * element_size);
  CHECK_OK(device->copy_in(array, host, count * element_size, NULL));
  return array;
}

static void out(void *host, const void *array, size_t size_bytes)
{
  if (size_bytes == 0)
    return;
  CHECK_OK(device->copy_out(host, array, size_bytes, NULL));
  CHECK_OK(device->synchronize(NULL));
}

#define IN(array, count) in(array, count, sizeof *(array))

/* Every other call gets its count from the device, and is told that there might be more keys, whose arrays hold
 * rubbish. */
static const uint32_t *count_in(size_t count, size_t *count_max_p)
{
  is_counted = !is_counted;
  *count_max_p = count;
  if (!is_counted || count == 0)
    return NULL;
  uint32_t count32 = (uint32_t)count;
  *count_max_p = count + 3;
  return in(&count32, 1, sizeof count32);
}

/* Of a call that may be told of 3 keys more than there are. */
static void *in_more(const void *host, size_t count, size_t element_size)
{
  static char rubbish[65536];
  if (!host)
    return NULL;
  char *array = take((count + 3) * element_size);
  memset(rubbish, 0xa5, sizeof rubbish);
  CHECK_OK(device->copy_in(array, host, count * element_size, NULL));
  CHECK_OK(device->copy_in(array + count * element_size, rubbish, 3 * element_size, NULL));
  return array;
}

#define IN_MORE(array, count) in_more(array, count, sizeof *(array))

/* The plan of a lookup, whose arrays are on the device, against the answers that have come to the host. */
static void check_plan(hotrow_cache *cache, const lookup_arrays *arrays, size_t count)
{
  hotrow_cache_plan *plan;
  hotrow_cache_plan_rows rows;
  CHECK_OK(hotrow_cache_plan_create(cache, count + 3, &plan));
  CHECK_FAILS(hotrow_cache_plan_start(plan, NULL, NULL, NULL, NULL, NULL, count + 4, NULL), HOTROW_ERR_LIMIT,
              "made for");
  CHECK_OK(hotrow_cache_plan_start(plan, arrays->keys_p, arrays->hashes_p, arrays->slots_p, arrays->seen_p,
                                   arrays->states_p, arrays->count_max, arrays->count_p));
  for (bool is_ready = false; !is_ready;)
    CHECK_OK(hotrow_cache_plan_query(plan, &is_ready));
  CHECK_OK(hotrow_cache_plan_wait(plan, &rows));
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    if (arrays->states[i] == HOTROW_ROW_FRESH)
      continue;
    CHECK(found < rows.count && rows.indexes[found] == i);
    CHECK(rows.keys[found] == arrays->keys[i] && rows.hashes[found] == arrays->hashes[i]);
    CHECK(rows.slots[found] == arrays->slots[i] && rows.states[found] == arrays->states[i]);
    CHECK_EQ(rows.seen[found], arrays->slots[i] == HOTROW_SLOT_NONE ? 0 : arrays->seen[i]);
    found++;
  }
  CHECK_EQ(rows.count, found);
  hotrow_cache_plan_destroy(plan);
}

void device_lookup(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count,
                   const uint32_t *next_use, uint32_t *slots, uint32_t *seen, uint8_t *states)
{
  used_bytes = 0;
  size_t count_max;
  const uint32_t *count_p = count_in(count, &count_max);
  uint32_t *slots_p = take((count + 3) * sizeof *slots), *seen_p = take((count + 3) * sizeof *seen);
  uint8_t *states_p = take((count + 3) * sizeof *states);
  const uint64_t *keys_p = IN_MORE(keys, count), *hashes_p = IN_MORE(hashes, count);
  hotrow_cache_lookup(cache, keys_p, hashes_p, count_max, count_p, IN_MORE(next_use, count), slots_p, seen_p, states_p);
  out(slots, slots_p, count * sizeof *slots);
  out(seen, seen_p, count * sizeof *seen);
  out(states, states_p, count * sizeof *states);
  static unsigned lookup_count;
  if (lookup_count++ % 8 == 0)
    check_plan(cache,
               &(lookup_arrays){keys, hashes, slots, seen, states, keys_p, hashes_p, slots_p, seen_p, states_p,
                                count_max, count_p},
               count);
}

void device_expect(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count, uint32_t batch,
                   uint8_t *is_held)
{
  used_bytes = 0;
  size_t count_max;
  const uint32_t *count_p = count_in(count, &count_max);
  uint8_t *is_held_p = take(count + 3);
  hotrow_cache_expect(cache, IN_MORE(keys, count), IN_MORE(hashes, count), count_max, count_p, batch, is_held_p);
  out(is_held, is_held_p, count);
}

void device_refresh(hotrow_cache *cache, const uint32_t *slots, const uint32_t *clocks, const float *values,
                    const float *states, size_t count)
{
  used_bytes = 0;
  hotrow_cache_refresh(cache, IN(slots, count), IN(clocks, count), IN(values, count * dim),
                       IN(states, count * state_dim), count);
}

hotrow_status device_insert(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                            const float *values, const float *states, const uint32_t *next_use, size_t count,
                            uint32_t *slots)
{
  used_bytes = 0;
  uint32_t *slots_p = take(count * sizeof *slots);
  hotrow_status status =
      hotrow_cache_insert(cache, IN(keys, count), IN(hashes, count), IN(clocks, count), IN(values, count * dim),
                          IN(states, count * state_dim), IN(next_use, count), count, slots_p);
  if (status == HOTROW_OK)
    out(slots, slots_p, count * sizeof *slots);
  return status;
}

hotrow_status device_stage(hotrow_cache *cache, const uint64_t *hashes, const float *values, const float *states,
                           size_t count, uint32_t *slots)
{
  used_bytes = 0;
  uint32_t *slots_p = take(count * sizeof *slots);
  hotrow_status status = hotrow_cache_stage(cache, IN(hashes, count), IN(values, count * dim),
                                            IN(states, count * state_dim), count, slots_p);
  if (status == HOTROW_OK)
    out(slots, slots_p, count * sizeof *slots);
  return status;
}

hotrow_status device_update(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *slots,
                            const float *grads, const uint32_t *ticks, size_t count)
{
  used_bytes = 0;
  size_t count_max;
  const uint32_t *count_p = count_in(count, &count_max);
  const float *grads_p = in_more(grads, count, dim * sizeof *grads);
  return hotrow_cache_update(cache, IN_MORE(keys, count), IN_MORE(hashes, count), IN_MORE(slots, count), grads_p,
                             IN_MORE(ticks, count), count_max, count_p);
}

void device_announce(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                     size_t count)
{
  used_bytes = 0;
  hotrow_cache_announce(cache, IN(keys, count), IN(hashes, count), IN(clocks, count), count);
}

void device_announce_gone(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, size_t count)
{
  used_bytes = 0;
  hotrow_cache_announce_gone(cache, IN(keys, count), IN(hashes, count), count);
}

void device_credit(hotrow_cache *cache, const uint64_t *keys, const uint64_t *hashes, const uint32_t *steps,
                   size_t count)
{
  used_bytes = 0;
  hotrow_cache_credit(cache, IN(keys, count), IN(hashes, count), IN(steps, count), count);
}

void device_take_pushes(hotrow_cache *cache, hotrow_cache_push_list *list_p)
{
  static uint64_t keys[TAKEN_MAX], hashes[TAKEN_MAX];
  static uint32_t steps[TAKEN_MAX];
  static uint8_t is_exact[TAKEN_MAX], tables[TAKEN_MAX];
  static float grads[HOST_FLOATS], squares[HOST_FLOATS];
  hotrow_cache_push_list list;
  CHECK_OK(hotrow_cache_take_pushes(cache, &list));
  size_t n = list.count;
  if (list.count_p) {
    CHECK_OK(device->synchronize(NULL));
    n = *list.count_p;
  }
  CHECK_MSG(n <= list.count, "%zu entries, at most %zu", n, list.count);
  CHECK(n <= TAKEN_MAX && n * dim <= HOST_FLOATS && n * square_dim <= HOST_FLOATS);
  CHECK((list.squares != NULL) == (square_dim > 0));
  out(keys, list.keys, n * sizeof *keys);
  out(hashes, list.hashes, n * sizeof *hashes);
  out(steps, list.steps, n * sizeof *steps);
  out(is_exact, list.is_exact, n * sizeof *is_exact);
  out(tables, list.tables, n * sizeof *tables);
  out(grads, list.grads, n * dim * sizeof *grads);
  out(squares, list.squares, n * square_dim * sizeof *squares);
  *list_p =
      (hotrow_cache_push_list){keys, hashes, steps, grads, square_dim > 0 ? squares : NULL, is_exact, tables, n, NULL};
}

const float *device_rows(const hotrow_cache *cache, size_t row_count, size_t *row_stride_p)
{
  static float rows[HOST_FLOATS];
  const float *base = hotrow_cache_rows(cache, row_stride_p);
  CHECK(row_count * *row_stride_p <= HOST_FLOATS);
  out(rows, base, row_count * *row_stride_p * sizeof *rows);
  return rows;
}
