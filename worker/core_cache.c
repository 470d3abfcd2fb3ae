#include "core_cache.h"

#include <hr/assert.h>

#include "core_device.h"

/* What goes over in one stage: arrays of the host, and where each will be. */
#define ARRAYS_MAX 7u
#define LIST_GUESS_MIN ((size_t)64) /* entries of a push list that are copied at least, if there may be so many */
#define LIST_GUESS_MEMORY 16u       /* lists until much is forgotten */

typedef struct crossing {
  const void *arrays[ARRAYS_MAX];
  size_t sizes[ARRAYS_MAX];
  const void *there[ARRAYS_MAX];
  uint32_t count;
} crossing;

static void add(crossing *c, const void *array, size_t size)
{
  HOTROW_ASSERT(c->count < ARRAYS_MAX);
  c->arrays[c->count] = array;
  c->sizes[c->count++] = size;
}

/* Queues the copies; there[i] is where array i will be, room_p (or NULL) room behind them for what comes back. */
static hotrow_status cross_by(hr_stage *stage, crossing *c, size_t room_size, void **room_p)
{
  size_t size = hr_stage_size(room_size);
  for (uint32_t i = 0; i < c->count; i++)
    size += c->arrays[i] ? hr_stage_size(c->sizes[i]) : 0;
  HOTROW_TRY(hr_stage_begin(stage, size));
  for (uint32_t i = 0; i < c->count; i++)
    HOTROW_TRY(hr_stage_put(stage, c->arrays[i], c->sizes[i], &c->there[i]));
  if (room_p)
    *room_p = stage->device + stage->used;
  return hr_stage_end(stage);
}

static hotrow_status cross(hotrow_table *table, crossing *c, size_t room_size, void **room_p)
{
  hr_device_table *device = table->device;
  return cross_by(&device->stages[device->stage_turn++ % 2], c, room_size, room_p);
}

static void add_rows(crossing *c, const hotrow_table *table, const float *values, const float *states, size_t row_count)
{
  add(c, values, row_count * table->layout.dim * sizeof *values);
  add(c, states, row_count * table->layout.state_dim * sizeof *states);
}

/* Brings slots back. */
static hotrow_status read_slots(hotrow_table *table, const uint32_t *there, size_t count, uint32_t *slots_p)
{
  hr_core *core = table->core;
  HOTROW_TRY(core->row_kernels->copy_out(slots_p, there, count * sizeof *slots_p, core->stream));
  return hr_device_wait(core);
}

hotrow_status hr_core_cache_refresh(hotrow_table *table, const uint32_t *slots, const uint32_t *clocks,
                                    const float *values, const float *states, size_t row_count)
{
  if (!table->device) {
    hotrow_cache_refresh(table->cache, slots, clocks, values, states, row_count);
    return HOTROW_OK;
  }
  if (row_count == 0)
    return HOTROW_OK;
  crossing c = {0};
  add(&c, slots, row_count * sizeof *slots);
  add(&c, clocks, row_count * sizeof *clocks);
  add_rows(&c, table, values, states, row_count);
  HOTROW_TRY(cross(table, &c, 0, NULL));
  hotrow_cache_refresh(table->cache, c.there[0], c.there[1], c.there[2], c.there[3], row_count);
  return HOTROW_OK;
}

static hotrow_status insert_run(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                const uint32_t *clocks, const float *values, const float *states,
                                const uint32_t *next_use, size_t row_count, uint32_t *slots_p)
{
  crossing c = {0};
  void *slots;
  add(&c, keys, row_count * sizeof *keys);
  add(&c, hashes, row_count * sizeof *hashes);
  add(&c, clocks, row_count * sizeof *clocks);
  add(&c, next_use, row_count * sizeof *next_use);
  add_rows(&c, table, values, states, row_count);
  HOTROW_TRY(cross(table, &c, row_count * sizeof *slots_p, &slots));
  HOTROW_TRY(hotrow_cache_insert(table->cache, c.there[0], c.there[1], c.there[2], c.there[4], c.there[5], c.there[3],
                                 row_count, slots));
  return read_slots(table, slots, row_count, slots_p);
}

/* A device decides about keys side by side where their hashes rise: a section's stale keys do, and so do the missing
 * ones behind them. */
hotrow_status hr_core_cache_insert(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                   const uint32_t *clocks, const float *values, const float *states,
                                   const uint32_t *next_use, size_t row_count, uint32_t *slots_p)
{
  if (!table->device)
    return hotrow_cache_insert(table->cache, keys, hashes, clocks, values, states, next_use, row_count, slots_p);
  for (size_t first = 0, end; first < row_count; first = end) {
    for (end = first + 1; end < row_count && (!hashes || hashes[end - 1] < hashes[end]);)
      end++;
    HOTROW_TRY(insert_run(table, keys + first, hashes ? hashes + first : NULL, clocks + first,
                          values + first * table->layout.dim, states ? states + first * table->layout.state_dim : NULL,
                          next_use ? next_use + first : NULL, end - first, slots_p + first));
  }
  return HOTROW_OK;
}

hotrow_status hr_core_cache_stage(hotrow_table *table, const uint64_t *hashes, const float *values, const float *states,
                                  size_t row_count, uint32_t *slots_p)
{
  if (!table->device)
    return hotrow_cache_stage(table->cache, hashes, values, states, row_count, slots_p);
  crossing c = {0};
  void *slots;
  add(&c, hashes, row_count * sizeof *hashes);
  add_rows(&c, table, values, states, row_count);
  HOTROW_TRY(cross(table, &c, row_count * sizeof *slots_p, &slots));
  HOTROW_TRY(hotrow_cache_stage(table->cache, c.there[0], c.there[1], c.there[2], row_count, slots));
  return read_slots(table, slots, row_count, slots_p);
}

hotrow_status hr_core_cache_expect(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                                   uint32_t batch, uint8_t *is_held_p)
{
  if (!table->device) {
    hotrow_cache_expect(table->cache, keys, hashes, key_count, NULL, batch, is_held_p);
    return HOTROW_OK;
  }
  if (key_count == 0)
    return HOTROW_OK;
  crossing c = {0};
  void *flags;
  hr_core *core = table->core;
  hr_device_table *device = table->device;
  add(&c, keys, key_count * sizeof *keys);
  add(&c, hashes, key_count * sizeof *hashes);
  HOTROW_TRY(cross_by(&device->ahead_stages[device->ahead_turn++ % 2], &c, key_count, &flags));
  hotrow_cache_expect(table->cache, c.there[0], c.there[1], key_count, NULL, batch, flags);
  if (!is_held_p)
    return HOTROW_OK;
  HOTROW_TRY(core->row_kernels->copy_out(is_held_p, flags, key_count, core->stream));
  return hr_device_wait(core);
}

/* Keys, hashes and one number each. */
static hotrow_status cross_news(hotrow_table *table, crossing *c, const uint64_t *keys, const uint64_t *hashes,
                                const uint32_t *numbers, size_t key_count)
{
  add(c, keys, key_count * sizeof *keys);
  add(c, hashes, key_count * sizeof *hashes);
  add(c, numbers, key_count * sizeof *numbers);
  return cross(table, c, 0, NULL);
}

hotrow_status hr_core_cache_announce(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                     const uint32_t *clocks, size_t key_count)
{
  crossing c = {.there = {keys, hashes, clocks}};
  if (table->device && key_count > 0)
    HOTROW_TRY(cross_news(table, &c, keys, hashes, clocks, key_count));
  hotrow_cache_announce(table->cache, c.there[0], c.there[1], c.there[2], key_count);
  return HOTROW_OK;
}

hotrow_status hr_core_cache_announce_gone(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                          size_t key_count)
{
  crossing c = {.there = {keys, hashes}};
  if (table->device && key_count > 0)
    HOTROW_TRY(cross_news(table, &c, keys, hashes, NULL, key_count));
  hotrow_cache_announce_gone(table->cache, c.there[0], c.there[1], key_count);
  return HOTROW_OK;
}

hotrow_status hr_core_cache_credit(hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                   const uint32_t *steps, size_t key_count)
{
  crossing c = {.there = {keys, hashes, steps}};
  if (table->device && key_count > 0)
    HOTROW_TRY(cross_news(table, &c, keys, hashes, steps, key_count));
  hotrow_cache_credit(table->cache, c.there[0], c.there[1], c.there[2], key_count);
  return HOTROW_OK;
}

/* Queues copies of the list's first `count` entries into pinned memory, where *here_p says. */
static hotrow_status copy_entries(hotrow_table *table, const hotrow_cache_push_list *list, size_t count,
                                  hotrow_cache_push_list *here_p)
{
  hr_core *core = table->core;
  hr_room *room = &table->device->list_here;
  const void *arrays[] = {list->keys,    list->hashes,   list->steps, list->grads,
                          list->squares, list->is_exact, list->tables};
  const size_t sizes[] = {sizeof *list->keys,
                          sizeof *list->hashes,
                          sizeof *list->steps,
                          table->layout.dim * sizeof *list->grads,
                          table->layout.square_dim * sizeof *list->squares,
                          sizeof *list->is_exact,
                          sizeof *list->tables};
  size_t size = 0, used = 0;
  for (uint32_t i = 0; i < ARRAYS_MAX; i++)
    size += hr_stage_size(count * sizes[i]);
  HOTROW_TRY(hr_device_grow_here(core, room, size));
  char *here[ARRAYS_MAX];
  for (uint32_t i = 0; i < ARRAYS_MAX; i++) {
    here[i] = arrays[i] ? (char *)room->memory + used : NULL;
    if (arrays[i])
      HOTROW_TRY(core->row_kernels->copy_out(here[i], arrays[i], count * sizes[i], core->stream));
    used += hr_stage_size(count * sizes[i]);
  }
  *here_p = (hotrow_cache_push_list){.keys = (const uint64_t *)(void *)here[0],
                                     .hashes = (const uint64_t *)(void *)here[1],
                                     .steps = (const uint32_t *)(void *)here[2],
                                     .grads = (const float *)(void *)here[3],
                                     .squares = (const float *)(void *)here[4],
                                     .is_exact = (const uint8_t *)here[5],
                                     .tables = (const uint8_t *)here[6],
                                     .count = count};
  return HOTROW_OK;
}

/* How long the list is, only the device knows: so many entries are copied as there may be where none is kept back, else
 * a few more than the last times. If there are more, they are waited for twice. */
hotrow_status hr_core_cache_start_pushes(hotrow_table *table)
{
  hr_device_table *device = table->device;
  if (!device || device->is_list_started)
    return HOTROW_OK;
  hotrow_cache_push_list *there = &device->list_there;
  HOTROW_TRY(hotrow_cache_take_pushes(table->cache, there));
  device->is_list_started = true;
  size_t guess = table->push_bound == 0 || there->count < device->list_guess ? there->count : device->list_guess;
  device->list = (hotrow_cache_push_list){0};
  if (there->count == 0)
    return HOTROW_OK;
  HOTROW_TRY(copy_entries(table, there, guess, &device->list));
  return table->core->row_kernels->event_record(device->list_event, table->core->stream);
}

hotrow_status hr_core_cache_take_pushes(hotrow_table *table, hotrow_cache_push_list *list_p)
{
  hr_device_table *device = table->device;
  if (!device)
    return hotrow_cache_take_pushes(table->cache, list_p);
  HOTROW_TRY(hr_core_cache_start_pushes(table));
  device->is_list_started = false;
  *list_p = device->list;
  if (device->list_there.count == 0)
    return HOTROW_OK;
  HOTROW_TRY(table->core->row_kernels->event_wait(device->list_event));
  size_t count = *device->list_there.count_p, before = device->list_guess;
  device->list_guess = count + count / 4 + LIST_GUESS_MIN;
  if (device->list_guess < before) /* some steps hand out more than others */
    device->list_guess = before - before / LIST_GUESS_MEMORY;
  list_p->count = count;
  if (count <= device->list.count)
    return HOTROW_OK;
  HOTROW_TRY(copy_entries(table, &device->list_there, count, list_p));
  return hr_device_wait(table->core);
}
