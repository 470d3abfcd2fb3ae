/* The end of a step: one update per key -> own rows -> pushes to the shards, and what else is due then. */
#include <string.h>

#include "core_cache.h"
#include "core_device.h"

/* The step's rows of a table: distinct keys with their summed gradients. */
typedef struct step_rows {
  const uint64_t *keys, *hashes;
  const float *grads;
  const uint32_t *ticks;
  size_t count;
} step_rows;

/* One gradient per key from all pushes of the step. */
static hotrow_status merge_parts(hr_core *core, hotrow_table *table, step_rows *rows_p)
{
  *rows_p = (step_rows){table->step_keys, table->step_hashes, table->step_grads, table->step_ticks, table->step_count};
  if (table->step_parts <= 1)
    return HOTROW_OK;
  const hotrow_dedup *dedup = &table->push.dedup;
  uint32_t dim = table->layout.dim;
  HOTROW_TRY(hr_core_dedup(core, table, &table->push, table->step_keys, table->step_count));
  core->options.kernels->segment_sum(table->step_grads, dim, dim, NULL, NULL, dedup->positions, dedup->offsets,
                                     table->push.unique_count, NULL, table->merged_grads);
  for (uint32_t u = 0; u < table->push.unique_count; u++) {
    table->merged_ticks[u] = 0;
    for (uint32_t i = dedup->offsets[u]; i < dedup->offsets[u + 1]; i++)
      table->merged_ticks[u] += table->step_ticks[dedup->positions[i]];
  }
  *rows_p = (step_rows){dedup->keys, dedup->hashes, table->merged_grads, table->merged_ticks, table->push.unique_count};
  return HOTROW_OK;
}

/* A step nearly always has the keys of the lookup before it: then the cache need not look for them again. */
static const uint32_t *known_slots(const hotrow_table *table, const step_rows *rows)
{
  const hotrow_dedup *dedup = &table->lookup.dedup;
  bool are_known = table->has_slots && rows->count == table->lookup.unique_count &&
                   memcmp(rows->keys, dedup->keys, rows->count * sizeof *rows->keys) == 0;
  return are_known ? table->slots : NULL;
}

/* Rows that are due and rows not held are drafted. */
static hotrow_status end_table_step(hr_core *core, hotrow_table *table)
{
  step_rows rows;
  if (table->direct.oldest) {
    HOTROW_TRY(hr_core_draft_direct(core, table));
    table->step_count = 0;
    table->step_parts = 0;
    return HOTROW_OK;
  }
  HOTROW_TRY(merge_parts(core, table, &rows));
  if (!(table->flags & HOTROW_TABLE_COUNT_OCCURRENCES))
    rows.ticks = NULL;
  if (!table->has_cache &&
      !(rows.ticks && table->layout.square_dim > 0)) /* nothing to update: straight to the shards */
    HOTROW_TRY(hr_core_draft_list(
        core, table,
        &(hotrow_cache_push_list){
            .keys = rows.keys, .hashes = rows.hashes, .steps = rows.ticks, .grads = rows.grads, .count = rows.count}));
  else if (rows.count)
    HOTROW_TRY(hotrow_cache_update(table->cache, rows.keys, rows.hashes, known_slots(table, &rows), rows.grads,
                                   rows.ticks, rows.count, NULL));
  table->step_count = 0;
  table->step_parts = 0;
  return hr_core_draft_pushes(core, table);
}

/* Does a table after this one put rows on the same push list? */
static bool is_list_shared_later(const hr_core *core, uint32_t i)
{
  for (uint32_t j = i + 1; j < core->table_count; j++)
    if (core->tables[j]->cache_owner == core->tables[i]->cache_owner)
      return true;
  return false;
}

/* The same on a device. The lists of all tables are on their way before the first is waited for; but one that another
 * table's update is to add to has to be here before it does. */
static hotrow_status end_device_step(hr_core *core)
{
  HOTROW_TRY(hr_device_check_step(core));
  for (uint32_t i = 0; i < core->table_count; i++) {
    HOTROW_TRY(hr_device_update(core, core->tables[i]));
    HOTROW_TRY(is_list_shared_later(core, i) ? hr_core_draft_pushes(core, core->tables[i])
                                             : hr_core_cache_start_pushes(core->tables[i]));
  }
  for (uint32_t i = 0; i < core->table_count; i++)
    HOTROW_TRY(hr_core_draft_pushes(core, core->tables[i]));
  hotrow_status status = hr_device_read_check(core);
  for (uint32_t i = 0; i < core->table_count; i++) {
    core->tables[i]->step_count = 0;
    core->tables[i]->step_parts = 0;
    core->tables[i]->device->is_unchecked = false;
  }
  return status;
}

static hotrow_status end_steps(hr_core *core)
{
  if (core->options.device_kernels)
    return end_device_step(core);
  for (uint32_t i = 0; i < core->table_count; i++)
    HOTROW_TRY(end_table_step(core, core->tables[i]));
  return HOTROW_OK;
}

/* Sends what the step has to say, and with it asks for rows of coming batches. */
static hotrow_status submit_step(hr_core *core)
{
  if (core->is_sync) /* a shard holds one pull for its step: coming rows are asked for after the next lookup's */
    return hr_core_submit_drafts(core, HR_FLAG_SYNC, 0, false);
  hotrow_status status = hr_core_draft_ahead(core);
  if (status == HOTROW_OK)
    status = hr_core_submit_drafts(core, 0, 0, false);
  if (status == HOTROW_OK)
    return HOTROW_OK;
  hr_core_drop_pulls(core); /* the lookups will ask */
  return hr_core_submit_drafts(core, 0, 0, false);
}

static void use_lr_scale(hotrow_table *table)
{
  if (table->lr_scale == table->lr_scale_next)
    return;
  table->lr_scale = table->lr_scale_next;
  hotrow_cache_set_lr_scale(table->cache, table->lr_scale);
}

hotrow_status hr_core_step(hr_core *core, bool is_fused, uint64_t now_ns)
{
  core->now_ns = now_ns;
  hr_core_begin_call(core); /* the rows that a lookup was given up for lack this step */
  for (uint32_t i = 0; i < core->table_count; i++)
    use_lr_scale(core->tables[i]);
  HOTROW_TRY(hr_core_draft_evicted(core)); /* before this step's update of the same keys */
  HOTROW_TRY(end_steps(core));
  hr_request *empty;
  for (uint32_t shard = 0; core->is_sync && shard < core->options.shard_count; shard++)
    HOTROW_TRY(hr_core_draft(core, shard, &empty)); /* an exact step is told to every shard, with or without rows */
  memset(core->is_told, 0, core->options.shard_count * sizeof *core->is_told);
  core->is_fused = is_fused;
  if (!is_fused || core->is_sync)
    HOTROW_TRY(submit_step(core));
  if (!is_fused)
    HOTROW_TRY(hr_core_tell_ticks(core));
  core->step++;
  return HOTROW_OK;
}

hotrow_status hr_core_flush_begin(hr_core *core, uint64_t now_ns)
{
  core->now_ns = now_ns;
  hr_core_begin_call(core);
  for (uint32_t i = 0; i < core->table_count; i++)
    if (core->tables[i]->step_count)
      return hr_fail(HOTROW_ERR_INVALID, "flush in the middle of a step: call hotrow_step first");
  for (uint32_t i = 0; i < core->table_count; i++) {
    hotrow_cache_flush(core->tables[i]->cache);
    HOTROW_TRY(hr_core_draft_pushes(core, core->tables[i]));
    HOTROW_TRY(hr_core_submit_drafts(core, 0, 0, false)); /* a message for each table, as each may fill one */
  }
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++)
    core->links[shard].awaits_cut = true;
  return HOTROW_OK;
}
