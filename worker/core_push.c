/* The gradients of a step, until it ends: one sum per key and push. */
#include <stdlib.h>
#include <string.h>

#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/options.h>

#include "core_device.h"

static hotrow_status check_push(const hr_core *core, const hotrow_push_request *r, size_t i)
{
  if (!r->table || r->table->core != core)
    return hr_fail(HOTROW_ERR_INVALID, "push %zu: its table is not one of this client", i);
  const char *name = r->table->desc.name;
  if (core->options.role == HR_ROLE_READER)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: the client is read-only", name);
  if (r->key_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "push to %s: %zu keys, at most %u", name, r->key_count, HOTROW_LOOKUP_KEYS_MAX);
  if (r->key_count && !r->grads)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: grads is NULL", name);
  if (r->key_count && !r->keys && r->key_count != r->table->lookup.key_count)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: keys is NULL, and the lookup before it was of %zu keys, not %zu",
                   name, r->table->lookup.key_count, r->key_count);
  HOTROW_TRY(hr_core_check_memory(core, r->table, r->memory, "push to"));
  if (r->grad_stride && r->grad_stride < r->table->layout.dim)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: grad_stride %zu is less than dim %u", name, r->grad_stride,
                   r->table->layout.dim);
  if (r->pooling == HOTROW_POOL_NONE)
    return r->offsets || r->weights ? hr_fail(HOTROW_ERR_INVALID, "push to %s: offsets and weights need pooling", name)
                                    : HOTROW_OK;
  if (r->pooling < HOTROW_POOL_SUM || r->pooling > HOTROW_POOL_SQRTN)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: pooling %d is not known", name, (int)r->pooling);
  bool is_read = r->memory == HOTROW_CPU; /* those on the device are the caller's promise */
  bool is_sound = r->offsets && (!is_read || (r->offsets[0] == 0 && r->offsets[r->bag_count] == r->key_count));
  for (size_t b = 0; is_read && is_sound && b < r->bag_count; b++)
    is_sound = r->offsets[b] <= r->offsets[b + 1];
  return is_sound
             ? HOTROW_OK
             : hr_fail(HOTROW_ERR_INVALID, "push to %s: offsets must rise from 0 to key_count %zu", name, r->key_count);
}

/* Replaces an array by one of `capacity` elements that begins with the `kept` first ones. */
static hotrow_status regrow(void **array_p, size_t kept, size_t capacity, size_t element_size)
{
  void *grown;
  HOTROW_TRY(hr_alloc(capacity, element_size, "the step", &grown));
  if (kept)
    memcpy(grown, *array_p, kept * element_size);
  free(*array_p);
  *array_p = grown;
  return HOTROW_OK;
}

/* Makes room for `count` rows; the first `kept` stay. */
static hotrow_status grow_step(hotrow_table *table, size_t kept, size_t count)
{
  if (count <= table->step_capacity)
    return HOTROW_OK;
  size_t capacity = count + count / 4 + 64, row_size = table->layout.dim * sizeof(float);
  table->step_capacity = kept; /* should memory run out half way */
  HOTROW_TRY(regrow((void **)&table->step_keys, kept, capacity, sizeof *table->step_keys));
  HOTROW_TRY(regrow((void **)&table->step_hashes, kept, capacity, sizeof *table->step_hashes));
  HOTROW_TRY(regrow((void **)&table->step_ticks, kept, capacity, sizeof *table->step_ticks));
  HOTROW_TRY(regrow((void **)&table->step_grads, kept, capacity, row_size));
  HOTROW_TRY(regrow((void **)&table->merged_ticks, 0, capacity, sizeof *table->merged_ticks));
  HOTROW_TRY(regrow((void **)&table->merged_grads, 0, capacity, row_size));
  table->step_capacity = capacity;
  return HOTROW_OK;
}

/* A push nearly always repeats the keys of the lookup before it: then its distinct keys are known already. */
static bool are_keys_of_lookup(const hotrow_table *table, const uint64_t *keys, size_t key_count)
{
  const hotrow_dedup *dedup = &table->lookup.dedup;
  if (!keys)
    return true; /* as the caller says */
  if (!table->lookup.scratch || key_count == 0 || key_count > table->lookup.capacity ||
      dedup->offsets[table->lookup.unique_count] != key_count)
    return false;
  if (table->lookup.is_plain)
    return memcmp(dedup->keys, keys, key_count * sizeof *keys) == 0;
  for (size_t i = 0; i < key_count; i++)
    if (dedup->keys[dedup->inverse[i]] != keys[i])
      return false;
  return true;
}

static hotrow_status grow_bags(hotrow_table *table, size_t key_count)
{
  if (key_count <= table->bag_capacity)
    return HOTROW_OK;
  size_t capacity = key_count + key_count / 4 + 64;
  free(table->bags);
  free(table->factors);
  table->bags = NULL;
  table->factors = NULL;
  table->bag_capacity = 0;
  HOTROW_TRY(hr_alloc(capacity, sizeof *table->bags, "bags", (void **)&table->bags));
  HOTROW_TRY(hr_alloc(capacity, sizeof *table->factors, "bags", (void **)&table->factors));
  table->bag_capacity = capacity;
  return HOTROW_OK;
}

hotrow_status hr_core_sum_grads(const hotrow_kernels *kernels, const hr_grads *grads, uint32_t first, uint32_t count,
                                float *sums)
{
  const hotrow_push_request *r = grads->request;
  const hotrow_dedup *dedup = &grads->workspace->dedup;
  const hotrow_table *table = grads->table;
  uint32_t dim = table->layout.dim;
  size_t stride = r->grad_stride ? r->grad_stride : dim;
  bool is_pooled = r->pooling != HOTROW_POOL_NONE;
  if (grads->workspace->is_plain && !is_pooled && stride == dim)
    memcpy(sums, r->grads + (size_t)first * dim, (size_t)count * dim * sizeof *sums);
  else
    kernels->segment_sum(r->grads, stride, dim, is_pooled ? table->bags : NULL, is_pooled ? table->factors : NULL,
                         dedup->positions, dedup->offsets + first, count, NULL, sums);
  uint64_t bad;
  kernels->find_nonfinite(sums, count, dim, NULL, &bad, NULL);
  if (bad < count)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: the gradient of key %llu is not finite", table->desc.name,
                   (unsigned long long)dedup->keys[first + bad]);
  return HOTROW_OK;
}

/* Moves the step's only push so far to where others can join it. */
static hotrow_status unstage(hr_core *core, hotrow_table *table, size_t count)
{
  HOTROW_TRY(grow_step(table, 0, count));
  hr_core_unstage_direct(core, table, table->step_keys, table->step_grads);
  for (size_t i = 0; i < table->step_count; i++) {
    table->step_hashes[i] = hr_key_hash(table->step_keys[i], table->seed);
    table->step_ticks[i] = 1; /* nobody counts more */
  }
  return HOTROW_OK;
}

/* Behind what the step has so far. */
static hotrow_status stage_rows(hr_core *core, const hr_grads *grads, size_t step_count)
{
  hotrow_table *table = grads->table;
  const hotrow_dedup *dedup = &grads->workspace->dedup;
  uint32_t count = grads->workspace->unique_count;
  if (table->direct.oldest)
    HOTROW_TRY(unstage(core, table, step_count + count));
  HOTROW_TRY(grow_step(table, step_count, step_count + count));
  HOTROW_TRY(
      hr_core_sum_grads(core->options.kernels, grads, 0, count, table->step_grads + step_count * table->layout.dim));
  memcpy(table->step_keys + step_count, dedup->keys, count * sizeof *dedup->keys);
  memcpy(table->step_hashes + step_count, dedup->hashes, count * sizeof *dedup->hashes);
  for (uint32_t u = 0; u < count; u++)
    table->step_ticks[step_count + u] = dedup->offsets[u + 1] - dedup->offsets[u];
  return HOTROW_OK;
}

/* Sums the gradients of one request per distinct key. Counts are not moved yet. */
static hotrow_status stage_push(hr_core *core, const hotrow_push_request *r, size_t step_count, bool is_alone,
                                uint32_t *added_p)
{
  hotrow_table *table = r->table;
  hr_grads grads = {table, r, &table->lookup};
  if (r->key_count == 0)
    return HOTROW_OK; /* *added_p stays 0 */
  if (table->device)
    return hr_device_stage_push(core, r, step_count, added_p);
  if (!are_keys_of_lookup(table, r->keys, r->key_count)) {
    HOTROW_TRY(hr_core_dedup_in_order(core, table, &table->push, r->keys, r->key_count, UINT32_MAX));
    grads.workspace = &table->push;
  }
  uint32_t count = grads.workspace->unique_count;
  if (step_count + count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "push to %s: more than %u rows in one step", table->desc.name,
                   HOTROW_LOOKUP_KEYS_MAX);
  if (r->pooling != HOTROW_POOL_NONE) {
    HOTROW_TRY(grow_bags(table, r->key_count));
    core->options.kernels->pool_backward(r->offsets, r->weights, r->bag_count, r->pooling, NULL, table->bags,
                                         table->factors);
  }
  HOTROW_TRY(is_alone && hr_core_may_push_directly(table) ? hr_core_stage_direct(core, &grads)
                                                          : stage_rows(core, &grads, step_count));
  *added_p = count;
  return HOTROW_OK;
}

/* What a refused call has put into messages so far: of tables that had nothing before it. */
static void drop_staged(hr_core *core, const hotrow_push_request *requests, size_t count)
{
  for (size_t i = 0; i < count; i++)
    if (requests[i].table->step_count == 0)
      hr_core_drop_direct(core, requests[i].table);
}

hotrow_status hr_core_push(hr_core *core, const hotrow_push_request *requests, size_t request_count)
{
  if (request_count > HOTROW_REQUESTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu pushes in one call, at most %u", request_count, HOTROW_REQUESTS_MAX);
  hotrow_push_request copies[HOTROW_REQUESTS_MAX];
  uint32_t added[HOTROW_REQUESTS_MAX] = {0};
  for (size_t i = 0; i < request_count; i++) {
    const void *given = (const char *)requests + i * requests[0].struct_size;
    HOTROW_TRY(hr_options_copy(&copies[i], sizeof copies[i], given, requests[0].struct_size, "hotrow_push_request"));
    HOTROW_TRY(check_push(core, &copies[i], i));
  }
  for (size_t i = 0; i < request_count; i++) {
    size_t step_count = copies[i].table->step_count;
    bool is_alone = true;
    for (size_t j = 0; j < request_count; j++) { /* a table may stand in several: its parts lie one behind the other */
      step_count += j < i && copies[j].table == copies[i].table ? added[j] : 0;
      is_alone &= j == i || copies[j].table != copies[i].table;
    }
    hotrow_status status = stage_push(core, &copies[i], step_count, is_alone, &added[i]);
    if (status != HOTROW_OK) {
      drop_staged(core, copies, i);
      return status;
    }
  }
  for (size_t i = 0; i < request_count; i++) {
    copies[i].table->step_count += added[i];
    copies[i].table->step_parts += added[i] > 0;
  }
  return HOTROW_OK;
}
