#include "core_device.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define NUMBERS 3u /* that come back */

hotrow_status hr_device_open(hr_core *core)
{
  HOTROW_TRY(core->row_kernels->stream_create(false, &core->stream));
  HOTROW_TRY(core->row_kernels->stream_create(false, &core->ahead_stream));
  HOTROW_TRY(core->row_kernels->event_create(&core->event));
  return core->row_kernels->alloc(sizeof *core->gate, (void **)&core->gate);
}

void hr_device_close(hr_core *core)
{
  if (!core->options.device_kernels)
    return;
  core->row_kernels->free(core->gate);
  core->row_kernels->event_destroy(core->event);
  core->row_kernels->stream_destroy(core->ahead_stream);
  core->row_kernels->stream_destroy(core->stream);
}

hotrow_status hr_device_wait(hr_core *core)
{
  return core->row_kernels->synchronize(core->stream);
}

hotrow_status hr_device_grow_room(hr_core *core, hr_room *room, size_t kept, size_t size)
{
  const hotrow_kernels *kernels = core->row_kernels;
  void *memory;
  if (size <= room->size)
    return HOTROW_OK;
  HOTROW_TRY(kernels->alloc(size + size / 4, &memory));
  hotrow_status status = kept > 0 ? kernels->copy(memory, room->memory, kept, core->stream) : HOTROW_OK;
  if (status == HOTROW_OK)
    status = hr_device_wait(core); /* what is there may still be read */
  kernels->free(status == HOTROW_OK ? room->memory : memory);
  if (status == HOTROW_OK)
    *room = (hr_room){memory, size + size / 4};
  return status;
}

hotrow_status hr_device_grow_here(hr_core *core, hr_room *room, size_t size)
{
  const hotrow_kernels *kernels = core->row_kernels;
  if (size <= room->size)
    return HOTROW_OK;
  kernels->free_host(room->memory);
  *room = (hr_room){0};
  HOTROW_TRY(kernels->alloc_host(size + size / 4, &room->memory));
  room->size = size + size / 4;
  return HOTROW_OK;
}

static void free_arrays(const hotrow_kernels *kernels, hr_device_table *device)
{
  hotrow_cache_plan_destroy(device->plan);
  device->plan = NULL;
  void *there[] = {device->slots,  device->seen,      device->indices,
                   device->states, device->key_slots, device->select_scratch};
  void *here[] = {device->asked_keys, device->asked_hashes, device->asked_index, device->answers, device->flags};
  for (size_t i = 0; i < sizeof there / sizeof *there; i++)
    kernels->free(there[i]);
  for (size_t i = 0; i < sizeof here / sizeof *here; i++)
    kernels->free_host(here[i]);
  device->slots = device->seen = device->indices = device->key_slots = NULL;
  device->states = NULL;
  device->select_scratch = NULL;
  device->asked_keys = device->asked_hashes = NULL;
  device->asked_index = device->answers = NULL;
  device->flags = NULL;
  device->capacity = 0;
}

static hotrow_status grow_arrays(hr_core *core, hotrow_table *table, size_t capacity)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hr_device_table *device = table->device;
  HOTROW_TRY(hr_device_wait(core));
  free_arrays(kernels, device);
  HOTROW_TRY(kernels->alloc(capacity * sizeof *device->slots, (void **)&device->slots));
  HOTROW_TRY(kernels->alloc(capacity * sizeof *device->seen, (void **)&device->seen));
  HOTROW_TRY(kernels->alloc(capacity * sizeof *device->indices, (void **)&device->indices));
  HOTROW_TRY(kernels->alloc(capacity * sizeof *device->states, (void **)&device->states));
  HOTROW_TRY(kernels->alloc(capacity * sizeof *device->key_slots, (void **)&device->key_slots));
  HOTROW_TRY(kernels->alloc(kernels->scan_scratch_size(capacity), &device->select_scratch));
  HOTROW_TRY(kernels->alloc_host(capacity * sizeof *device->asked_keys, (void **)&device->asked_keys));
  HOTROW_TRY(kernels->alloc_host(capacity * sizeof *device->asked_hashes, (void **)&device->asked_hashes));
  HOTROW_TRY(kernels->alloc_host(capacity * sizeof *device->asked_index, (void **)&device->asked_index));
  HOTROW_TRY(kernels->alloc_host(capacity * sizeof *device->answers, (void **)&device->answers));
  HOTROW_TRY(kernels->alloc_host(capacity * sizeof *device->flags, (void **)&device->flags));
  HOTROW_TRY(hotrow_cache_plan_create(table->cache, capacity, &device->plan));
  device->capacity = capacity;
  return HOTROW_OK;
}

hotrow_status hr_device_open_table(hr_core *core, hotrow_table *table)
{
  const hotrow_kernels *kernels = core->row_kernels;
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof *table->device, "a table on the device", &memory));
  table->device = memory;
  for (uint32_t i = 0; i < 2; i++) {
    HOTROW_TRY(hr_stage_init(&table->device->stages[i], kernels, core->stream));
    HOTROW_TRY(hr_stage_init(&table->device->ahead_stages[i], kernels, core->stream));
  }
  HOTROW_TRY(kernels->event_create(&table->device->list_event));
  HOTROW_TRY(kernels->alloc(NUMBERS * sizeof *table->device->number, (void **)&table->device->number));
  return kernels->alloc_host(NUMBERS * sizeof *table->device->number, (void **)&table->device->number_here);
}

void hr_device_close_table(hotrow_table *table)
{
  hr_device_table *device = table->device;
  if (!device)
    return;
  const hotrow_kernels *kernels = table->core->row_kernels;
  kernels->synchronize(table->core->stream);
  for (uint32_t i = 0; i < 2; i++) {
    hr_stage_fini(&device->stages[i]);
    hr_stage_fini(&device->ahead_stages[i]);
  }
  free_arrays(kernels, device);
  const hr_room rooms[] = {device->keys,        device->ahead_keys, device->offsets,    device->weights,
                           device->rows,        device->bags,       device->factors,    device->step_keys,
                           device->step_hashes, device->step_ticks, device->step_grads, device->merged_ticks,
                           device->merged_grads};
  for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
    kernels->free(rooms[i].memory);
  kernels->free(device->number);
  kernels->free_host(device->number_here);
  kernels->free_host(device->here.memory);
  kernels->free_host(device->list_here.memory);
  kernels->event_destroy(device->list_event);
  free(device->given_keys);
  free(device);
  table->device = NULL;
}

hotrow_status hr_device_take_array(hr_core *core, hotrow_device memory, const void *array, size_t size, hr_room *room,
                                   const void **there_p)
{
  *there_p = memory == HOTROW_CPU ? NULL : array;
  if (memory != HOTROW_CPU || !array || size == 0)
    return HOTROW_OK;
  HOTROW_TRY(hr_device_grow_room(core, room, 0, size));
  *there_p = room->memory;
  return core->row_kernels->copy_in(room->memory, array, size, core->stream);
}

hotrow_status hr_device_follow(hr_core *core, hotrow_device memory, void *stream, void *own)
{
  if (memory == HOTROW_CPU)
    return HOTROW_OK;
  HOTROW_TRY(core->row_kernels->event_record(core->event, stream));
  return core->row_kernels->event_order(core->event, own);
}

hotrow_status hr_device_lead(hr_core *core, hotrow_device memory, void *stream)
{
  if (memory == HOTROW_CPU)
    return hr_device_wait(core);
  HOTROW_TRY(core->row_kernels->event_record(core->event, core->stream));
  return core->row_kernels->event_order(core->event, stream);
}

/* Remembers the keys of a lookup as they were given. */
static hotrow_status remember_keys(hr_device_table *device, const hotrow_lookup_request *r)
{
  device->given_count = 0;
  if (r->memory != HOTROW_CPU)
    return HOTROW_OK;
  if (r->key_count > device->given_capacity) {
    device->given_capacity = 0;
    HOTROW_TRY(hr_core_renew((void **)&device->given_keys, r->key_count + r->key_count / 4, sizeof *r->keys));
    device->given_capacity = r->key_count + r->key_count / 4;
  }
  if (r->key_count)
    memcpy(device->given_keys, r->keys, r->key_count * sizeof *r->keys);
  device->given_count = r->key_count;
  return HOTROW_OK;
}

hotrow_status hr_device_read_count(hr_core *core, hotrow_table *table, hr_workspace *workspace)
{
  uint32_t *here = (uint32_t *)(void *)table->device->number_here;
  if (workspace->is_counted)
    return HOTROW_OK;
  HOTROW_TRY(core->row_kernels->copy_out(here, workspace->dedup.unique_count_p, sizeof *here, core->stream));
  HOTROW_TRY(hr_device_wait(core));
  workspace->unique_count = *here;
  workspace->is_counted = true;
  return HOTROW_OK;
}

/* Keys of a batch to come, on the device. */
static hotrow_status take_ahead_keys(hr_core *core, const hotrow_lookup_request *r, const uint64_t **keys_p)
{
  hr_room *room = &r->table->device->ahead_keys;
  *keys_p = r->memory == HOTROW_CPU ? NULL : r->keys;
  if (r->memory != HOTROW_CPU || r->key_count == 0)
    return hr_device_follow(core, r->memory, r->stream, core->ahead_stream);
  HOTROW_TRY(hr_device_grow_room(core, room, 0, r->key_count * sizeof *r->keys));
  *keys_p = room->memory;
  return core->row_kernels->copy_in(room->memory, r->keys, r->key_count * sizeof *r->keys, core->ahead_stream);
}

hotrow_status hr_device_distinct(hr_core *core, const hotrow_lookup_request *r, const uint64_t **keys_p,
                                 const uint64_t **hashes_p)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hotrow_table *table = r->table;
  hr_workspace *ahead = &table->ahead;
  const uint64_t *keys;
  uint32_t *count = (uint32_t *)(void *)(table->device->number_here + 2);
  HOTROW_TRY(take_ahead_keys(core, r, &keys));
  HOTROW_TRY(hr_core_dedup(core, table, ahead, keys, r->key_count));
  HOTROW_TRY(kernels->copy_out(count, ahead->dedup.unique_count_p, sizeof *count, core->ahead_stream));
  HOTROW_TRY(kernels->synchronize(core->ahead_stream));
  ahead->unique_count = *count;
  ahead->is_counted = true;
  size_t size = ahead->unique_count * sizeof(uint64_t);
  HOTROW_TRY(hr_device_grow_here(core, &table->device->here, 2 * size));
  uint64_t *here = table->device->here.memory;
  *keys_p = here;
  *hashes_p = here + ahead->unique_count;
  HOTROW_TRY(kernels->copy_out(here, ahead->dedup.keys, size, core->ahead_stream));
  HOTROW_TRY(kernels->copy_out(here + ahead->unique_count, ahead->dedup.hashes, size, core->ahead_stream));
  return kernels->synchronize(core->ahead_stream);
}

/* How many keys the batch that is looked up next has; the one behind it may be meant where it was in hand before. */
static uint32_t expected_count(hr_lookahead *window, size_t key_count)
{
  uint32_t most = 0;
  for (uint64_t number = window->first; number <= window->first + window->is_in_hand; number++) {
    const hr_lookahead_batch *batch = hr_lookahead_find(window, number);
    most = batch && batch->count > most ? batch->count : most;
  }
  return most < key_count ? most : (uint32_t)key_count;
}

/* The batch in hand if it was handed over, and when its keys are needed next. The window is the host's: it waits for as
 * many keys as the batch has that is expected. */
static hotrow_status take_window(hr_core *core, hotrow_table *table, const uint32_t **next_use_p)
{
  hr_device_table *device = table->device;
  hr_workspace *lookup = &table->lookup;
  *next_use_p = NULL;
  device->batch = NULL;
  if (table->window.count == 0)
    return HOTROW_OK;
  uint32_t expected = expected_count(&table->window, lookup->key_count);
  HOTROW_TRY(core->row_kernels->copy_out(device->asked_keys, lookup->dedup.keys, expected * sizeof *device->asked_keys,
                                         core->stream));
  HOTROW_TRY(hr_device_read_count(core, table, lookup));
  device->batch = hr_core_take_batch(core, table, device->asked_keys, lookup->unique_count);
  if (!device->batch)
    return HOTROW_OK;
  hr_stage *stage = &device->stages[device->stage_turn++ % 2];
  size_t size = lookup->unique_count * sizeof *table->next_use;
  const void *there;
  hr_core_set_next_use(table, device->batch, lookup->unique_count);
  HOTROW_TRY(hr_stage_begin(stage, hr_stage_size(size)));
  HOTROW_TRY(hr_stage_put(stage, table->next_use, size, &there));
  *next_use_p = there;
  return hr_stage_end(stage);
}

/* Rows of count distinct keys come to the host: their keys, hashes, slots and clocks. index NULL: the first ones. */
static hotrow_status read_keys(hr_core *core, hotrow_table *table, const uint32_t *index, uint32_t count,
                               uint64_t *keys, uint64_t *hashes, uint32_t *slots, uint32_t *seen)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hr_device_table *device = table->device;
  const uint64_t *there_keys = table->lookup.dedup.keys, *there_hashes = table->lookup.dedup.hashes;
  const uint32_t *there_slots = device->slots, *there_seen = device->seen;
  if (index) {
    size_t size = count * 2 * (sizeof *keys + sizeof *slots);
    HOTROW_TRY(hr_device_grow_room(core, &device->rows, 0, size));
    uint64_t *some_keys = device->rows.memory, *some_hashes = some_keys + count;
    uint32_t *some_slots = (uint32_t *)(void *)(some_hashes + count), *some_seen = some_slots + count;
    /* A key is a row of two words. */
    kernels->gather((const float *)(const void *)there_keys, 2, 2, index, count, core->stream, (float *)some_keys, 2);
    kernels->gather((const float *)(const void *)there_hashes, 2, 2, index, count, core->stream, (float *)some_hashes,
                    2);
    kernels->gather_words(there_slots, index, count, core->stream, some_slots);
    kernels->gather_words(there_seen, index, count, core->stream, some_seen);
    there_keys = some_keys;
    there_hashes = some_hashes;
    there_slots = some_slots;
    there_seen = some_seen;
  }
  HOTROW_TRY(kernels->copy_out(keys, there_keys, count * sizeof *keys, core->stream));
  HOTROW_TRY(kernels->copy_out(hashes, there_hashes, count * sizeof *hashes, core->stream));
  HOTROW_TRY(kernels->copy_out(slots, there_slots, count * sizeof *slots, core->stream));
  HOTROW_TRY(kernels->copy_out(seen, there_seen, count * sizeof *seen, core->stream));
  return hr_device_wait(core);
}

/* All distinct keys are asked keys, for somebody who watches: those that are found, too. */
static hotrow_status ask_all(hr_core *core, hotrow_table *table)
{
  hr_device_table *device = table->device;
  uint32_t count = table->lookup.unique_count;
  table->asked_count = count;
  if (count == 0)
    return HOTROW_OK;
  HOTROW_TRY(core->row_kernels->copy_out(device->flags, device->states, count, core->stream));
  HOTROW_TRY(read_keys(core, table, NULL, count, device->asked_keys, device->asked_hashes, table->slots, table->seen));
  memcpy(table->states, device->flags, count);
  for (uint32_t u = 0; u < count; u++)
    device->asked_index[u] = u;
  return HOTROW_OK;
}

/* What the lookup has found is written for the host, and its number of distinct keys. */
static hotrow_status start_plan(hr_core *core, hotrow_table *table, size_t key_count)
{
  hr_device_table *device = table->device;
  const hotrow_dedup *dedup = &table->lookup.dedup;
  uint32_t *here = (uint32_t *)(void *)device->number_here;
  HOTROW_TRY(core->row_kernels->copy_out(here, dedup->unique_count_p, sizeof *here, core->stream));
  return hotrow_cache_plan_start(device->plan, dedup->keys, dedup->hashes, device->slots, device->seen, device->states,
                                 key_count, dedup->unique_count_p);
}

/* The asked keys of a lookup: those of which nothing, something too old or something doubtful is held. */
static hotrow_status take_plan(hr_core *core, hotrow_table *table)
{
  hr_device_table *device = table->device;
  hotrow_cache_plan_rows rows;
  HOTROW_TRY(hotrow_cache_plan_wait(device->plan, &rows));
  table->lookup.unique_count = *(uint32_t *)(void *)device->number_here;
  table->lookup.is_counted = true;
  device->is_filled &= rows.count == 0;
  if (core->options.observe)
    return ask_all(core, table);
  table->asked_count = (uint32_t)rows.count;
  memcpy(device->asked_keys, rows.keys, rows.count * sizeof *rows.keys);
  memcpy(device->asked_hashes, rows.hashes, rows.count * sizeof *rows.hashes);
  memcpy(device->asked_index, rows.indexes, rows.count * sizeof *rows.indexes);
  memcpy(table->slots, rows.slots, rows.count * sizeof *rows.slots);
  memcpy(table->seen, rows.seen, rows.count * sizeof *rows.seen);
  memcpy(table->states, rows.states, rows.count);
  return HOTROW_OK;
}

hotrow_status hr_device_read_plan(hr_core *core, hotrow_table *table)
{
  const hr_device_table *device = table->device;
  const hr_lookahead_batch *batch = device->batch;
  HOTROW_TRY(take_plan(core, table));
  uint32_t found = 0;
  for (uint32_t u = 0; batch && u < batch->count; u++)
    found += batch->is_fetched[u];
  for (uint32_t a = 0; a < table->asked_count; a++) {
    uint32_t u = device->asked_index[a];
    found -= batch && batch->is_fetched[u] && table->states[a] == HOTROW_ROW_MISSING;
    if (batch) /* ascending, so what is still to be read is not overwritten */
      table->next_use[a] = table->next_use[u];
  }
  core->stats.lookahead_hits += found;
  memcpy(table->asks, table->states, table->asked_count);
  return HOTROW_OK;
}

static hotrow_status fill(hr_core *core, const hotrow_lookup_request *r);

hotrow_status hr_device_probe(hr_core *core, const hotrow_lookup_request *r)
{
  hotrow_table *table = r->table;
  hr_device_table *device = table->device;
  const hotrow_dedup *dedup = &table->lookup.dedup;
  const void *keys;
  const uint32_t *next_use;
  table->has_slots = false;
  table->asked_count = 0;            /* until the plan is read */
  device->is_step_of_lookup = false; /* slots of the step's keys make room for others */
  device->is_filled = false;
  HOTROW_TRY(hr_device_follow(core, r->memory, r->stream, core->stream));
  HOTROW_TRY(hr_device_take_array(core, r->memory, r->keys, r->key_count * sizeof *r->keys, &device->keys, &keys));
  HOTROW_TRY(remember_keys(device, r));
  HOTROW_TRY(hr_core_dedup(core, table, &table->lookup, keys, r->key_count));
  if (device->capacity != table->lookup.capacity || !table->states) {
    HOTROW_TRY(grow_arrays(core, table, table->lookup.capacity));
    HOTROW_TRY(hr_core_grow_lookup(table));
  }
  table->asked_keys = device->asked_keys;
  table->asked_hashes = device->asked_hashes;
  table->told_before = table->told;
  HOTROW_TRY(take_window(core, table, &next_use));
  hotrow_cache_lookup(table->cache, dedup->keys, dedup->hashes, r->key_count, dedup->unique_count_p, next_use,
                      device->slots, device->seen, device->states);
  HOTROW_TRY(start_plan(core, table, r->key_count));
  table->has_slots = true;
  /* Where no question is asked of rows that are held, these are likely to be all: the device need not wait to be told.
   */
  device->is_filled = r->memory != HOTROW_CPU && table->is_announced;
  if (device->is_filled)
    HOTROW_TRY(fill(core, r));
  return r->memory != HOTROW_CPU ? hr_device_lead(core, r->memory, r->stream) : HOTROW_OK;
}

/* Puts a copy that was fresh, and so is not asked about, among the asked keys: from the back, in place. */
static void merge_asked(hotrow_table *table, const uint32_t *index, uint32_t added, const uint64_t *keys,
                        const uint64_t *hashes, const uint32_t *slots, const uint32_t *seen)
{
  hr_device_table *device = table->device;
  uint32_t from = table->asked_count, to = from + added;
  table->asked_count = to;
  while (added > 0) {
    bool is_new = from == 0 || device->asked_index[from - 1] < index[added - 1];
    uint32_t source = is_new ? --added : --from;
    to--;
    device->asked_index[to] = is_new ? index[source] : device->asked_index[source];
    device->asked_keys[to] = is_new ? keys[source] : device->asked_keys[source];
    device->asked_hashes[to] = is_new ? hashes[source] : device->asked_hashes[source];
    table->slots[to] = is_new ? slots[source] : table->slots[source];
    table->seen[to] = is_new ? seen[source] : table->seen[source];
    table->states[to] = is_new ? HOTROW_ROW_FRESH : table->states[source];
    table->asks[to] = is_new ? 0 : table->asks[source];
    table->found[to] = is_new ? 1 : table->found[source];
    table->next_use[to] = is_new ? HOTROW_BATCH_NONE : table->next_use[source];
  }
}

/* Of the stale ones in answers[0 .. count) keeps those that are not among the asked keys; asks[] of the others is 0. */
static uint32_t sort_out(hotrow_table *table, uint32_t count)
{
  hr_device_table *device = table->device;
  uint32_t a = 0, added = 0;
  memset(table->asks, 1, table->asked_count);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t u = device->answers[i];
    while (a < table->asked_count && device->asked_index[a] < u)
      a++;
    if (a < table->asked_count && device->asked_index[a] == u)
      table->asks[a] = 0;
    else
      device->answers[added++] = u;
  }
  return added;
}

/* Keys that join the asked ones come with what is known of them. */
static hotrow_status add_asked(hr_core *core, hotrow_table *table, uint32_t added)
{
  hr_device_table *device = table->device;
  const hotrow_kernels *kernels = core->row_kernels;
  void *memory;
  size_t size = added * 2 * (sizeof(uint64_t) + sizeof(uint32_t));
  HOTROW_TRY(hr_alloc(1, size, "stale rows", &memory));
  uint64_t *keys = memory, *hashes = keys + added;
  uint32_t *slots = (uint32_t *)(void *)(hashes + added), *seen = slots + added;
  hotrow_status status =
      kernels->copy_in(device->indices, device->answers, added * sizeof *device->answers, core->stream);
  if (status == HOTROW_OK)
    status = read_keys(core, table, device->indices, added, keys, hashes, slots, seen);
  if (status == HOTROW_OK)
    merge_asked(table, device->answers, added, keys, hashes, slots, seen);
  free(memory);
  return status;
}

hotrow_status hr_device_expect_asked(hr_core *core, hotrow_table *table)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hr_device_table *device = table->device;
  const hotrow_dedup *dedup = &table->lookup.dedup;
  uint32_t unique_count = table->lookup.unique_count, *here = (uint32_t *)(void *)device->number_here;
  device->is_filled = false; /* a copy that was read may be one that is now too old, or was until it was replaced */
  if (unique_count == 0)
    return HOTROW_OK;
  hotrow_cache_expect(table->cache, dedup->keys, dedup->hashes, unique_count, NULL, hotrow_cache_batch(table->cache),
                      device->states);
  kernels->select(device->states, unique_count, 1, 0, device->select_scratch, core->stream, device->indices,
                  (uint32_t *)(void *)device->number);
  HOTROW_TRY(kernels->copy_out(here, device->number, sizeof *here, core->stream));
  HOTROW_TRY(hr_device_wait(core));
  uint32_t stale_count = *here;
  HOTROW_TRY(kernels->copy_out(device->answers, device->indices, stale_count * sizeof *here, core->stream));
  HOTROW_TRY(hr_device_wait(core));
  uint32_t added = sort_out(table, stale_count);
  return added > 0 ? add_asked(core, table, added) : HOTROW_OK;
}

/* Where the rows of the asked keys are by now. */
static hotrow_status place_asked(hr_core *core, hotrow_table *table)
{
  hr_device_table *device = table->device;
  size_t size = table->asked_count * sizeof(uint32_t);
  const void *index, *slots;
  if (table->asked_count == 0)
    return HOTROW_OK;
  hr_stage *stage = &device->stages[device->stage_turn++ % 2];
  HOTROW_TRY(hr_stage_begin(stage, 2 * hr_stage_size(size)));
  HOTROW_TRY(hr_stage_put(stage, device->asked_index, size, &index));
  HOTROW_TRY(hr_stage_put(stage, table->slots, size, &slots));
  HOTROW_TRY(hr_stage_end(stage));
  core->row_kernels->scatter_words(slots, index, table->asked_count, core->stream, device->slots);
  return HOTROW_OK;
}

/* A client that only reads asks about all keys, so their places are those of the distinct keys. */
static hotrow_status fill_hit_mask(hr_core *core, const hotrow_lookup_request *r)
{
  const hotrow_table *table = r->table;
  size_t mask_size = (r->key_count + 7) / 8;
  void *memory;
  HOTROW_TRY(hr_alloc(1, r->key_count * sizeof(uint32_t) + mask_size + 1, "a hit mask", &memory));
  uint32_t *inverse = memory;
  uint8_t *mask = (uint8_t *)(inverse + r->key_count);
  hotrow_status status =
      core->row_kernels->copy_out(inverse, table->lookup.dedup.inverse, r->key_count * sizeof *inverse, core->stream);
  if (status == HOTROW_OK)
    status = hr_device_wait(core);
  memset(mask, 0, mask_size);
  for (size_t i = 0; status == HOTROW_OK && i < r->key_count; i++)
    mask[i / 8] |= (uint8_t)(table->found[inverse[i]] << (i % 8));
  if (status == HOTROW_OK && r->memory == HOTROW_CPU)
    memcpy(r->hit_mask, mask, mask_size);
  else if (status == HOTROW_OK)
    status = core->row_kernels->copy_in(r->hit_mask, mask, mask_size, core->stream);
  free(memory); /* copy_in has read what is not pinned */
  return status;
}

/* Rows of dim floats to the caller's host memory, stride floats apart: those with gaps by way of pinned memory, for a
 * copy of each would be a wait for each. */
static hotrow_status copy_rows_out(hr_core *core, hr_device_table *device, const float *rows, size_t count, size_t dim,
                                   float *out, size_t stride)
{
  size_t size = count * dim * sizeof *rows;
  if (stride == dim)
    return core->row_kernels->copy_out(out, rows, size, core->stream);
  HOTROW_TRY(hr_device_grow_here(core, &device->here, size));
  HOTROW_TRY(core->row_kernels->copy_out(device->here.memory, rows, size, core->stream));
  HOTROW_TRY(hr_device_wait(core));
  const float *here = device->here.memory;
  for (size_t i = 0; i < count; i++)
    memcpy(out + i * stride, here + i * dim, dim * sizeof *out);
  return HOTROW_OK;
}

/* Rows by their slots into `out`, those that are not there as zeroes. */
static hotrow_status fill(hr_core *core, const hotrow_lookup_request *r)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hotrow_table *table = r->table;
  hr_device_table *device = table->device;
  uint32_t dim = table->layout.dim;
  bool is_pooled = r->pooling != HOTROW_POOL_NONE;
  size_t row_stride, stride = r->out_stride ? r->out_stride : dim, out_count = is_pooled ? r->bag_count : r->key_count;
  const float *rows = hotrow_cache_rows(table->cache, &row_stride);
  const void *offsets, *weights;
  HOTROW_TRY(hr_device_take_array(core, r->memory, r->offsets, (r->bag_count + 1) * sizeof *r->offsets,
                                  &device->offsets, &offsets));
  HOTROW_TRY(
      hr_device_take_array(core, r->memory, r->weights, r->key_count * sizeof *r->weights, &device->weights, &weights));
  float *out = r->out;
  if (r->memory == HOTROW_CPU) {
    HOTROW_TRY(hr_device_grow_room(core, &device->rows, 0, out_count * dim * sizeof *out));
    out = device->rows.memory;
  }
  size_t there_stride = r->memory == HOTROW_CPU ? dim : stride;
  kernels->gather_words(device->slots, table->lookup.dedup.inverse, r->key_count, core->stream, device->key_slots);
  if (is_pooled)
    kernels->pool(rows, row_stride, dim, device->key_slots, offsets, weights, r->bag_count, r->pooling, core->stream,
                  out, there_stride);
  else
    kernels->gather(rows, row_stride, dim, device->key_slots, r->key_count, core->stream, out, there_stride);
  if (r->memory == HOTROW_CPU)
    HOTROW_TRY(copy_rows_out(core, device, out, out_count, dim, r->out, stride));
  return HOTROW_OK;
}

hotrow_status hr_device_fill_out(hr_core *core, const hotrow_lookup_request *r)
{
  if (r->table->device->is_filled)
    return HOTROW_OK;
  HOTROW_TRY(place_asked(core, r->table));
  HOTROW_TRY(fill(core, r));
  if (r->hit_mask)
    HOTROW_TRY(fill_hit_mask(core, r));
  return hr_device_lead(core, r->memory, r->stream);
}
