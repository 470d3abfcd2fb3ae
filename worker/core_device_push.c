/* A step's gradients on the device: what core_push.c and core_step.c do in host memory. */
#include <string.h>

#include "core_device.h"

/* The distinct keys of a push: those of the lookup before it, as nearly always, or found out now. */
static hotrow_status find_keys(hr_core *core, const hotrow_push_request *r, hr_workspace **workspace_p)
{
  hotrow_table *table = r->table;
  hr_device_table *device = table->device;
  const void *keys;
  bool is_given_again = r->memory == HOTROW_CPU && r->keys && device->given_count == r->key_count &&
                        memcmp(device->given_keys, r->keys, r->key_count * sizeof *r->keys) == 0;
  *workspace_p = &table->lookup;
  if (!r->keys || is_given_again)
    return hr_device_read_count(core, table, &table->lookup); /* known, unless the lookup was given up */
  HOTROW_TRY(hr_device_take_array(core, r->memory, r->keys, r->key_count * sizeof *r->keys, &device->keys, &keys));
  HOTROW_TRY(hr_core_dedup(core, table, &table->push, keys, r->key_count));
  *workspace_p = &table->push;
  return hr_device_read_count(core, table, &table->push);
}

static hotrow_status grow_step(hr_core *core, hotrow_table *table, size_t kept, size_t count)
{
  hr_device_table *device = table->device;
  size_t row_size = table->layout.dim * sizeof(float);
  HOTROW_TRY(hr_device_grow_room(core, &device->step_keys, kept * sizeof(uint64_t), count * sizeof(uint64_t)));
  HOTROW_TRY(hr_device_grow_room(core, &device->step_hashes, kept * sizeof(uint64_t), count * sizeof(uint64_t)));
  HOTROW_TRY(hr_device_grow_room(core, &device->step_ticks, kept * sizeof(uint32_t), count * sizeof(uint32_t)));
  return hr_device_grow_room(core, &device->step_grads, kept * row_size, count * row_size);
}

/* What segment_sum needs of a pooled gradient; nothing of one per key. */
static hotrow_status unpool(hr_core *core, const hotrow_push_request *r)
{
  hr_device_table *device = r->table->device;
  const void *offsets, *weights;
  if (r->pooling == HOTROW_POOL_NONE)
    return HOTROW_OK;
  HOTROW_TRY(hr_device_take_array(core, r->memory, r->offsets, (r->bag_count + 1) * sizeof *r->offsets,
                                  &device->offsets, &offsets));
  HOTROW_TRY(
      hr_device_take_array(core, r->memory, r->weights, r->key_count * sizeof *r->weights, &device->weights, &weights));
  HOTROW_TRY(hr_device_grow_room(core, &device->bags, 0, r->key_count * sizeof(uint32_t)));
  HOTROW_TRY(hr_device_grow_room(core, &device->factors, 0, r->key_count * sizeof(float)));
  core->row_kernels->pool_backward(offsets, weights, r->bag_count, r->pooling, core->stream, device->bags.memory,
                                   device->factors.memory);
  return HOTROW_OK;
}

/* The key of the row that is not finite. */
static hotrow_status refuse(hr_core *core, const hotrow_table *table, const uint64_t *key)
{
  uint64_t *here = table->device->number_here;
  HOTROW_TRY(core->row_kernels->copy_out(here, key, sizeof *key, core->stream));
  HOTROW_TRY(hr_device_wait(core));
  return hr_fail(HOTROW_ERR_INVALID, "push to %s: the gradient of key %llu is not finite", table->desc.name,
                 (unsigned long long)*here);
}

/* Waits. */
static hotrow_status check_sums(hr_core *core, hotrow_table *table, const hr_workspace *workspace, const float *sums)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hr_device_table *device = table->device;
  uint32_t count = workspace->unique_count;
  kernels->find_nonfinite(sums, count, table->layout.dim, core->stream, device->number, NULL);
  HOTROW_TRY(kernels->copy_out(device->number_here, device->number, sizeof *device->number, core->stream));
  HOTROW_TRY(hr_device_wait(core));
  uint64_t bad = *device->number_here;
  return bad == count ? HOTROW_OK : refuse(core, table, workspace->dedup.keys + bad);
}

static hotrow_status sum_grads(hr_core *core, const hotrow_push_request *r, const hr_workspace *workspace, float *sums)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hotrow_table *table = r->table;
  hr_device_table *device = table->device;
  const hotrow_dedup *dedup = &workspace->dedup;
  uint32_t dim = table->layout.dim, count = workspace->unique_count;
  bool is_pooled = r->pooling != HOTROW_POOL_NONE;
  size_t stride = r->grad_stride ? r->grad_stride : dim, row_count = is_pooled ? r->bag_count : r->key_count;
  size_t size = row_count > 0 ? ((row_count - 1) * stride + dim) * sizeof(float) : 0;
  const void *grads;
  HOTROW_TRY(unpool(core, r));
  HOTROW_TRY(hr_device_take_array(core, r->memory, r->grads, size, &device->rows, &grads));
  kernels->segment_sum(grads, stride, dim, is_pooled ? device->bags.memory : NULL,
                       is_pooled ? device->factors.memory : NULL, dedup->positions, dedup->offsets, count, core->stream,
                       sums);
  return r->memory == HOTROW_CPU ? check_sums(core, table, workspace, sums) : HOTROW_OK;
}

hotrow_status hr_device_stage_push(hr_core *core, const hotrow_push_request *r, size_t step_count, uint32_t *added_p)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hotrow_table *table = r->table;
  hr_device_table *device = table->device;
  hr_workspace *workspace;
  HOTROW_TRY(hr_device_follow(core, r->memory, r->stream, core->stream));
  HOTROW_TRY(find_keys(core, r, &workspace));
  const hotrow_dedup *dedup = &workspace->dedup;
  uint32_t count = workspace->unique_count;
  if (step_count + count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "push to %s: more than %u rows in one step", table->desc.name,
                   HOTROW_LOOKUP_KEYS_MAX);
  HOTROW_TRY(grow_step(core, table, step_count, step_count + count));
  HOTROW_TRY(sum_grads(core, r, workspace, (float *)device->step_grads.memory + step_count * table->layout.dim));
  HOTROW_TRY(kernels->copy((uint64_t *)device->step_keys.memory + step_count, dedup->keys, count * sizeof *dedup->keys,
                           core->stream));
  HOTROW_TRY(kernels->copy((uint64_t *)device->step_hashes.memory + step_count, dedup->hashes,
                           count * sizeof *dedup->hashes, core->stream));
  kernels->segment_words(NULL, NULL, dedup->offsets, count, core->stream,
                         (uint32_t *)device->step_ticks.memory + step_count);
  device->is_step_of_lookup = step_count == 0 && workspace == &table->lookup;
  device->is_unchecked |= r->memory != HOTROW_CPU;
  HOTROW_TRY(hr_device_lead(core, r->memory, r->stream));
  *added_p = count;
  return HOTROW_OK;
}

static bool is_to_be_checked(const hotrow_table *table)
{
  return table->device->is_unchecked && table->step_count > 0;
}

hotrow_status hr_device_check_step(hr_core *core)
{
  const hotrow_kernels *kernels = core->row_kernels;
  HOTROW_TRY(kernels->fill(core->gate, 0xff, sizeof *core->gate, core->stream)); /* UINT32_MAX: no limit */
  for (uint32_t i = 0; i < core->table_count; i++) {
    const hotrow_table *table = core->tables[i];
    const hr_device_table *device = table->device;
    if (!is_to_be_checked(table))
      continue;
    kernels->find_nonfinite(device->step_grads.memory, table->step_count, table->layout.dim, core->stream,
                            device->number + 1, core->gate);
    HOTROW_TRY(kernels->copy_out(device->number_here + 1, device->number + 1, sizeof *device->number, core->stream));
  }
  return HOTROW_OK;
}

hotrow_status hr_device_read_check(hr_core *core)
{
  for (uint32_t i = 0; i < core->table_count; i++) {
    const hotrow_table *table = core->tables[i];
    const hr_device_table *device = table->device;
    if (is_to_be_checked(table) && device->number_here[1] < table->step_count)
      return refuse(core, table, (const uint64_t *)device->step_keys.memory + device->number_here[1]);
  }
  return HOTROW_OK;
}

/* One gradient per key from all pushes of the step. */
static hotrow_status merge_parts(hr_core *core, hotrow_table *table)
{
  const hotrow_kernels *kernels = core->row_kernels;
  hr_device_table *device = table->device;
  const hotrow_dedup *dedup = &table->push.dedup;
  uint32_t dim = table->layout.dim;
  HOTROW_TRY(hr_core_dedup(core, table, &table->push, device->step_keys.memory, table->step_count));
  HOTROW_TRY(hr_device_read_count(core, table, &table->push));
  uint32_t count = table->push.unique_count;
  HOTROW_TRY(hr_device_grow_room(core, &device->merged_grads, 0, count * dim * sizeof(float)));
  HOTROW_TRY(hr_device_grow_room(core, &device->merged_ticks, 0, count * sizeof(uint32_t)));
  kernels->segment_sum(device->step_grads.memory, dim, dim, NULL, NULL, dedup->positions, dedup->offsets, count,
                       core->stream, device->merged_grads.memory);
  kernels->segment_words(device->step_ticks.memory, dedup->positions, dedup->offsets, count, core->stream,
                         device->merged_ticks.memory);
  return HOTROW_OK;
}

hotrow_status hr_device_update(hr_core *core, hotrow_table *table)
{
  hr_device_table *device = table->device;
  bool is_merged = table->step_parts > 1;
  if (table->step_count == 0)
    return HOTROW_OK;
  if (is_merged)
    HOTROW_TRY(merge_parts(core, table));
  const uint64_t *keys = is_merged ? table->push.dedup.keys : device->step_keys.memory;
  const uint64_t *hashes = is_merged ? table->push.dedup.hashes : device->step_hashes.memory;
  const float *grads = is_merged ? device->merged_grads.memory : device->step_grads.memory;
  const uint32_t *ticks = is_merged ? device->merged_ticks.memory : device->step_ticks.memory;
  const uint32_t *slots = !is_merged && device->is_step_of_lookup && table->has_slots ? device->slots : NULL;
  bool counts_occurrences = table->flags & HOTROW_TABLE_COUNT_OCCURRENCES;
  size_t count = is_merged ? table->push.unique_count : table->step_count;
  return hotrow_cache_update(table->cache, keys, hashes, slots, grads, counts_occurrences ? ticks : NULL, count,
                             core->gate);
}
