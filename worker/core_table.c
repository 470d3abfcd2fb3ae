/* Tables of a client: what is decided when one is added, and the scratch of its calls. */
#include <stdlib.h>
#include <string.h>

#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/optimizer.h>

#include "core_device.h"
#include "distinct.h"

/* Staging is address space until it is touched; this bounds it for wide rows. */
#define STAGING_BYTES_MAX ((size_t)8 << 30)
#define STAGING_ROWS_MIN 65536u
#define PENDING_BYTES_MAX ((size_t)1 << 30) /* a flush hands out all of a table's pending rows in one message */

static void free_workspace(hr_workspace *workspace)
{
  const hotrow_kernels *kernels = workspace->kernels;
  const hotrow_dedup *dedup = &workspace->dedup;
  void *arrays[] = {dedup->keys, dedup->hashes, dedup->inverse, dedup->offsets, dedup->positions, workspace->scratch};
  if (!kernels)
    return;
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
    kernels->free(arrays[i]);
  if (dedup->unique_count_p != &workspace->unique_count)
    kernels->free(dedup->unique_count_p);
  *workspace = (hr_workspace){0};
}

static void free_arrival(hr_arrival *arrival)
{
  free(arrival->keys);
  free(arrival->hashes);
  free(arrival->clocks);
  free(arrival->next_use);
  free(arrival->slots);
  free(arrival->values);
  free(arrival->states);
}

hotrow_status hr_core_check_memory(const hr_core *core, const hotrow_table *table, hotrow_device memory,
                                   const char *what)
{
  if (memory == HOTROW_CPU || memory == core->row_kernels->device)
    return HOTROW_OK;
  return hr_fail(HOTROW_ERR_INVALID, "%s %s: memory is %d, and the client was opened with device %d", what,
                 table->desc.name, (int)memory, (int)core->row_kernels->device);
}

void hr_core_destroy_table(hotrow_table *table)
{
  if (!table)
    return;
  hr_device_close_table(table); /* its plan goes before the cache */
  hotrow_cache_destroy(table->cache);
  hr_lookahead_fini(&table->window);
  free_arrival(&table->arrival);
  free_workspace(&table->lookup);
  free_workspace(&table->ahead);
  free_workspace(&table->push);
  void *arrays[] = {table->slots,       table->seen,       table->next_use,     table->key_slots,   table->found,
                    table->states,      table->asks,       table->ahead_asks,   table->told_hashes, table->step_keys,
                    table->step_hashes, table->step_ticks, table->merged_ticks, table->step_grads,  table->merged_grads,
                    table->bags,        table->factors,    table->ids};
  for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
    free(arrays[i]);
  free(table);
}

hotrow_status hr_core_renew(void **memory_p, size_t count, size_t element_size)
{
  free(*memory_p);
  *memory_p = NULL;
  return hr_alloc(count, element_size, "scratch", memory_p);
}

/* Where a workspace's work is queued: coming batches have a stream of their own. */
static void *stream_of(const hr_core *core, const hotrow_table *table, const hr_workspace *workspace)
{
  return workspace == &table->ahead ? core->ahead_stream : core->stream;
}

static hotrow_status grow_workspace(hr_core *core, hr_workspace *workspace, void *stream, size_t key_count)
{
  const hotrow_kernels *kernels = core->row_kernels;
  size_t capacity = key_count + key_count / 4 + 64;
  HOTROW_TRY(kernels->synchronize(stream)); /* what is there may still be read */
  free_workspace(workspace);
  hotrow_dedup *dedup = &workspace->dedup;
  workspace->kernels = kernels;
  dedup->unique_count_p = &workspace->unique_count;
  HOTROW_TRY(kernels->alloc(capacity * sizeof(uint64_t), (void **)&dedup->keys));
  HOTROW_TRY(kernels->alloc(capacity * sizeof(uint64_t), (void **)&dedup->hashes));
  HOTROW_TRY(kernels->alloc(capacity * sizeof(uint32_t), (void **)&dedup->inverse));
  HOTROW_TRY(kernels->alloc((capacity + 1) * sizeof(uint32_t), (void **)&dedup->offsets));
  HOTROW_TRY(kernels->alloc(capacity * sizeof(uint32_t), (void **)&dedup->positions));
  if (kernels->device != HOTROW_CPU)
    HOTROW_TRY(kernels->alloc(sizeof(uint32_t), (void **)&dedup->unique_count_p));
  size_t sort_size = kernels->dedup_scratch_size(capacity), size = hr_distinct_scratch_size(capacity);
  HOTROW_TRY(kernels->alloc(size > sort_size ? size : sort_size, &workspace->scratch));
  workspace->capacity = capacity;
  return HOTROW_OK;
}

hotrow_status hr_core_dedup(hr_core *core, hotrow_table *table, hr_workspace *workspace, const uint64_t *keys,
                            size_t key_count)
{
  void *stream = stream_of(core, table, workspace);
  if (key_count > workspace->capacity || !workspace->scratch)
    HOTROW_TRY(grow_workspace(core, workspace, stream, key_count));
  workspace->is_plain = false;
  workspace->is_counted = core->row_kernels->device == HOTROW_CPU;
  workspace->key_count = key_count;
  return core->row_kernels->dedup(keys, key_count, table->seed, workspace->scratch, stream, &workspace->dedup);
}

hotrow_status hr_core_dedup_in_order(hr_core *core, hotrow_table *table, hr_workspace *workspace, const uint64_t *keys,
                                     size_t key_count, uint32_t part_rows)
{
  if (key_count > workspace->capacity || !workspace->scratch)
    HOTROW_TRY(grow_workspace(core, workspace, stream_of(core, table, workspace), key_count));
  bool needs_hashes = table->has_cache || table->flags & HOTROW_TABLE_COUNT_OCCURRENCES;
  if (needs_hashes || core->options.shard_count > 1)
    return hr_core_dedup(core, table, workspace, keys, key_count);
  hr_distinct search;
  hr_distinct_begin(&search, keys, key_count, workspace->scratch, &workspace->dedup);
  for (uint32_t wanted = part_rows; hr_distinct_find(&search, wanted); wanted += part_rows) {
    if (search.next == key_count) {
      workspace->is_plain = workspace->unique_count == key_count;
      workspace->key_count = key_count;
      return HOTROW_OK;
    }
    HOTROW_TRY(hr_core_ask_found(core, table, part_rows));
  }
  if (part_rows < UINT32_MAX)
    hr_core_ask_anew(core);
  return hr_core_dedup(core, table, workspace, keys, key_count);
}

static hotrow_status create_cache(const hr_core *core, hotrow_table *table, const hotrow_table_options *options)
{
  hotrow_cache_options o = HOTROW_CACHE_OPTIONS_INIT;
  const hotrow_row_layout *layout = &table->layout;
  size_t row_bytes = (layout->dim + layout->state_dim + 16) * sizeof(float);
  size_t staging = STAGING_BYTES_MAX / row_bytes, staging_max = core->options.staging_rows_max;
  staging_max = staging_max ? staging_max : HOTROW_LOOKUP_KEYS_MAX;
  staging = staging < STAGING_ROWS_MIN ? STAGING_ROWS_MIN : staging;
  /* Without a cache no row is stepped: none needs room for state. Steps that count occurrences need their squares. */
  bool has_squares = table->flags & HOTROW_TABLE_COUNT_OCCURRENCES && layout->square_dim > 0;
  hotrow_segment plain = {.dim = layout->dim, .optimizer = {.kind = HOTROW_SGD}};
  o.kernels = core->row_kernels;
  o.stream = core->stream;
  o.segments = table->has_cache || has_squares ? table->desc.segments : &plain;
  o.segment_count = table->has_cache || has_squares ? table->desc.segment_count : 1;
  o.shares = options->cache_of ? options->cache_of->cache : NULL;
  o.row_count = options->cache_row_count;
  o.staging_row_count = o.shares ? 0 : staging < staging_max ? staging : staging_max;
  o.pull_bound = options->pull_bound;
  o.push_bound = options->push_bound;
  o.policy = table->policy;
  if (table->has_cache) {
    o.mode = table->is_announced ? HOTROW_CACHE_ANNOUNCE : HOTROW_CACHE_PROBE;
    o.announce_step = table->is_announced ? table->desc.announce_step : 0;
    o.wire_dtype = table->wire_dtype;
  }
  o.is_rounded = table->desc.storage_dtype != HOTROW_F32;
  o.counts_occurrences = (table->flags & HOTROW_TABLE_COUNT_OCCURRENCES) != 0;
  size_t push_bytes = sizeof(uint64_t) + sizeof(uint32_t) + (layout->dim + layout->square_dim) * sizeof(float);
  size_t pending = PENDING_BYTES_MAX / push_bytes;
  o.pending_row_count = o.shares ? 0 : pending < HR_WIRE_KEYS_MAX ? pending : HR_WIRE_KEYS_MAX;
  return hotrow_cache_create(&o, &table->cache);
}

/* Does the table live by announcements? */
static hotrow_status choose_mode(hotrow_table *table, hotrow_mode mode, bool is_exact)
{
  const hr_table_desc *desc = &table->desc;
  bool is_possible = desc->announce_step > 0 && desc->announce_step <= (uint64_t)table->pull_bound + 1;
  if (mode == HOTROW_MODE_ANNOUNCE && !is_possible)
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s is announced every %u steps (0: never), with pull_bound %u at most %llu", desc->name,
                   desc->announce_step, table->pull_bound, (unsigned long long)table->pull_bound + 1);
  table->is_announced = table->has_cache && mode != HOTROW_MODE_PROBE && !is_exact && is_possible;
  return HOTROW_OK;
}

static hotrow_status init_table(hr_core *core, hotrow_table *table, const hotrow_table_options *options)
{
  const hr_table_desc *desc = &table->desc;
  table->core = core;
  table->index = core->table_count;
  table->seed = hr_table_seed(desc->name, strlen(desc->name));
  table->pull_bound = options->pull_bound;
  table->push_bound = options->push_bound;
  table->wire_dtype = options->wire_dtype;
  table->flags = options->flags;
  table->cache_owner = options->cache_of ? options->cache_of->cache_owner : table;
  table->policy = options->cache_of ? options->cache_of->policy : options->policy;
  table->has_cache = options->cache_of || options->cache_row_count > 0;
  table->cached_slots =
      options->cache_of ? options->cache_of->cached_slots
                        : (options->cache_row_count + HOTROW_CACHE_WAYS - 1) / HOTROW_CACHE_WAYS * HOTROW_CACHE_WAYS;
  table->lr_scale = table->lr_scale_next = 1;
  HOTROW_TRY(hr_row_layout_make(desc->segments, desc->segment_count, &table->layout));
  HOTROW_TRY(choose_mode(table, options->mode, options->pull_bound == 0 && options->push_bound == 0));
  HOTROW_TRY(hr_alloc(core->options.shard_count, sizeof *table->ids, "table ids", (void **)&table->ids));
  if (core->options.device_kernels)
    HOTROW_TRY(hr_device_open_table(core, table));
  return create_cache(core, table, options);
}

hotrow_status hr_core_add_table(hr_core *core, const hr_table_desc *desc, const uint32_t *ids,
                                const hotrow_table_options *options, hotrow_table **table_p)
{
  if (core->table_count == HOTROW_REQUESTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: a client has at most %u tables", desc->name, HOTROW_REQUESTS_MAX);
  bool is_exact = core->options.role == HR_ROLE_WORKER && options->pull_bound == 0 && options->push_bound == 0;
  if (is_exact && !core->is_sync && core->step > 0)
    return hr_fail(HOTROW_ERR_INVALID, "table %s has both bounds 0: the first such table comes before the first step",
                   desc->name);
  hotrow_table *table = calloc(1, sizeof *table);
  if (!table)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for table %s", desc->name);
  table->desc = *desc;
  hotrow_status status = init_table(core, table, options);
  if (status != HOTROW_OK) {
    hr_core_destroy_table(table);
    return status;
  }
  memcpy(table->ids, ids, core->options.shard_count * sizeof *ids);
  core->tables[core->table_count++] = table;
  core->is_sync |= is_exact;
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    core->links[i].is_exact = core->is_sync && core->options.world_size > 1;
  core->is_announced |= table->is_announced;
  core->has_cache |= table->has_cache;
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    core->links[i].wants_announcements = core->is_announced;
  *table_p = table;
  return HOTROW_OK;
}

hotrow_status hotrow_table_set_lr_scale(hotrow_table *table, float lr_scale)
{
  if (!table)
    return hr_fail(HOTROW_ERR_INVALID, "table is NULL");
  if (!(lr_scale >= 0) || lr_scale * 0 != 0)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: lr_scale %g must be finite and not negative", table->desc.name,
                   (double)lr_scale);
  table->lr_scale_next = lr_scale;
  return HOTROW_OK;
}
