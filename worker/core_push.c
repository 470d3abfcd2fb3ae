/* The write path: gradients of a step -> one update per key -> own rows -> pushes to the shards. */
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/options.h>
#include <hr/route.h>

#include "core.h"

hotrow_status hr_core_draft(hr_core *core, uint32_t shard, hr_request **request_p)
{
  if (!core->drafts[shard]) {
    HOTROW_TRY(hr_request_acquire(&core->pool, HR_REQUEST_DATA, &core->drafts[shard]));
    core->drafts[shard]->message.header.op = HR_OP_PUSH; /* submit knows better once pulls have joined */
  }
  *request_p = core->drafts[shard];
  return HOTROW_OK;
}

void hr_core_drop_pulls(hr_core *core)
{
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    hr_request *request = core->drafts[shard];
    if (!request)
      continue;
    request->message.section_count = (uint16_t)(request->message.section_count - request->pull_count);
    request->pull_count = 0;
    request->kind = HR_REQUEST_DATA;
    if (request->message.section_count > 0)
      continue;
    hr_request_release(&core->pool, request);
    core->drafts[shard] = NULL;
  }
}

hotrow_status hr_core_submit_drafts(hr_core *core, hr_op op, uint32_t flags, uint32_t step, bool is_waited_for,
                                    uint64_t now_ns)
{
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++)
    if (core->drafts[shard])
      HOTROW_TRY(hr_wire_check_size(&core->drafts[shard]->message));
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    hr_request *request = core->drafts[shard];
    if (!request)
      continue;
    core->drafts[shard] = NULL;
    hr_header *header = &request->message.header;
    bool has_pushes = request->message.section_count > request->pull_count;
    header->op = (uint8_t)(op == HR_OP_PULL && has_pushes ? HR_OP_PUSH_PULL : op);
    header->flags = (uint16_t)flags;
    header->step = step;
    request->call = core->call;
    request->is_waited_for = is_waited_for;
    core->waited_count += is_waited_for;
    hr_link_submit(&core->links[shard], request, now_ns);
  }
  return HOTROW_OK;
}

bool hr_core_can_push(const hr_core *core)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (core->links[i].pushes_open + 2 > HR_LINK_WINDOW) /* a lookup may send evicted rows and the step's push */
      return false;
  return true;
}

bool hr_core_pushes_done(const hr_core *core)
{
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (core->links[i].pushes_open > 0)
      return false;
  return true;
}

typedef struct shard_share {
  uint32_t count;
  bool has_steps;
  float *grads, *squares;
  uint64_t *keys;
  uint32_t *steps;
} shard_share;

static hotrow_status take_share(hr_request *request, shard_share *share, uint32_t dim, uint32_t square_dim)
{
  HOTROW_TRY(hr_request_take(request, share->count * sizeof(uint64_t), (void **)&share->keys));
  HOTROW_TRY(hr_request_take(request, share->count * sizeof(float) * dim, (void **)&share->grads));
  if (share->has_steps)
    HOTROW_TRY(hr_request_take(request, share->count * sizeof(uint32_t), (void **)&share->steps));
  if (square_dim)
    HOTROW_TRY(hr_request_take(request, share->count * sizeof(float) * square_dim, (void **)&share->squares));
  return HOTROW_OK;
}

static hotrow_status begin_push_section(hr_core *core, hotrow_table *table, uint32_t shard, shard_share *share)
{
  hr_request *request;
  hr_section *section;
  uint32_t dim = table->desc.dim, square_dim = share->has_steps ? table->square_dim : 0;
  HOTROW_TRY(hr_core_draft(core, shard, &request));
  HOTROW_TRY(hr_request_add_section(request, HR_SECTION_PUSH, &section));
  hotrow_status status = take_share(request, share, dim, square_dim);
  if (status != HOTROW_OK) {
    request->message.section_count--;
    return status;
  }
  section->flags = share->has_steps ? HR_SECTION_STEPS : 0;
  section->table = table->ids[shard];
  section->key_count = share->count;
  section->dim = dim;
  section->lr_scale = 1.0f;
  section->extra_dim = square_dim;
  section->keys = share->keys;
  section->grads = share->grads;
  section->steps = share->steps;
  section->squares = share->squares;
  core->stats.rows_pushed += share->count;
  core->stats.bytes_push += share->count * (sizeof(uint64_t) + (dim + square_dim) * sizeof(float)) +
                            (share->has_steps ? share->count * sizeof(uint32_t) : 0);
  share->count = 0; /* from here on: rows written */
  return HOTROW_OK;
}

/* Copies entries [first, last) of the list, all of one shard. */
static void write_pushes(const hotrow_table *table, const hotrow_cache_push_list *list, size_t first, size_t last,
                         shard_share *share)
{
  size_t at = share->count, count = last - first, dim = table->desc.dim, square_dim = table->square_dim;
  share->count += (uint32_t)count;
  memcpy(share->keys + at, list->keys + first, count * sizeof *share->keys);
  memcpy(share->grads + at * dim, list->grads + first * dim, count * dim * sizeof(float));
  if (share->steps && list->steps)
    memcpy(share->steps + at, list->steps + first, count * sizeof *share->steps);
  if (share->squares)
    memcpy(share->squares + at * square_dim, list->squares + first * square_dim, count * square_dim * sizeof(float));
}

/* steps NULL: one step each. */
static hotrow_status draft_list(hr_core *core, hotrow_table *table, const hotrow_cache_push_list *list)
{
  uint32_t shard_count = core->options.shard_count;
  shard_share shares[HR_SHARD_COUNT_MAX];
  memset(shares, 0, shard_count * sizeof *shares);
  for (size_t i = 0; i < list->count; i++) {
    shard_share *share = &shares[hr_shard_of(list->hashes[i], shard_count)];
    share->count++;
    share->has_steps |= list->steps && list->steps[i] > 1;
  }
  for (uint32_t shard = 0; shard < shard_count; shard++)
    if (shares[shard].count)
      HOTROW_TRY(begin_push_section(core, table, shard, &shares[shard]));
  for (size_t first = 0, last; first < list->count; first = last) { /* neighbours often go to one shard */
    uint32_t shard = hr_shard_of(list->hashes[first], shard_count);
    for (last = first + 1; last < list->count && hr_shard_of(list->hashes[last], shard_count) == shard;)
      last++;
    write_pushes(table, list, first, last, &shares[shard]);
  }
  return HOTROW_OK;
}

hotrow_status hr_core_draft_pushes(hr_core *core, hotrow_table *table)
{
  if (hotrow_cache_push_count(table->cache) == 0)
    return HOTROW_OK;
  hotrow_cache_push_list list;
  hotrow_cache_take_pushes(table->cache, &list);
  return draft_list(core, table, &list);
}

hotrow_status hr_core_draft_evicted(hr_core *core, uint64_t now_ns)
{
  for (uint32_t i = 0; i < core->table_count; i++)
    HOTROW_TRY(hr_core_draft_pushes(core, core->tables[i]));
  /* In an exact step the flag SYNC would make the evicted rows the step's push: they travel alone. */
  return core->is_sync ? hr_core_submit_drafts(core, HR_OP_PUSH, 0, core->step, false, now_ns) : HOTROW_OK;
}

static hotrow_status check_push(const hr_core *core, const hotrow_push_request *r, size_t i)
{
  if (!r->table || r->table->core != core)
    return hr_fail(HOTROW_ERR_INVALID, "push %zu: its table is not one of this client", i);
  const char *name = r->table->desc.name;
  if (core->options.role == HR_ROLE_READER)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: the client is read-only", name);
  if (r->key_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "push to %s: %zu keys, at most %u", name, r->key_count, HOTROW_LOOKUP_KEYS_MAX);
  if (r->key_count && (!r->keys || !r->grads))
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: %s is NULL", name, r->keys ? "grads" : "keys");
  if (r->grad_stride && r->grad_stride < r->table->desc.dim)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: grad_stride %zu is less than dim %u", name, r->grad_stride,
                   r->table->desc.dim);
  if (r->pooling == HOTROW_POOL_NONE)
    return r->offsets || r->weights ? hr_fail(HOTROW_ERR_INVALID, "push to %s: offsets and weights need pooling", name)
                                    : HOTROW_OK;
  if (r->pooling != HOTROW_POOL_SUM && r->pooling != HOTROW_POOL_MEAN)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: pooling %d is not known", name, (int)r->pooling);
  bool is_sound = r->offsets && r->offsets[0] == 0 && r->offsets[r->bag_count] == r->key_count;
  for (size_t b = 0; is_sound && b < r->bag_count; b++)
    is_sound = r->offsets[b] <= r->offsets[b + 1];
  return is_sound
             ? HOTROW_OK
             : hr_fail(HOTROW_ERR_INVALID, "push to %s: offsets must rise from 0 to key_count %zu", name, r->key_count);
}

/* Makes room for `count` rows; the first `kept` stay. */
static hotrow_status grow_step(hotrow_table *table, size_t kept, size_t count)
{
  if (count <= table->step_capacity)
    return HOTROW_OK;
  size_t capacity = count + count / 2 + 64, dim = table->desc.dim;
  uint64_t *keys = NULL, *hashes = NULL;
  float *grads = NULL, *merged = NULL;
  hotrow_status status = hr_alloc(capacity, sizeof *keys, "step keys", (void **)&keys);
  if (status == HOTROW_OK)
    status = hr_alloc(capacity, sizeof *hashes, "step hashes", (void **)&hashes);
  if (status == HOTROW_OK)
    status = hr_alloc(capacity, dim * sizeof(float), "step gradients", (void **)&grads);
  if (status == HOTROW_OK)
    status = hr_alloc(capacity, dim * sizeof(float), "step gradients", (void **)&merged);
  if (status != HOTROW_OK) {
    free(keys);
    free(hashes);
    free(grads);
    return status;
  }
  if (kept) {
    memcpy(keys, table->step_keys, kept * sizeof *keys);
    memcpy(hashes, table->step_hashes, kept * sizeof *hashes);
    memcpy(grads, table->step_grads, kept * dim * sizeof(float));
  }
  free(table->step_keys);
  free(table->step_hashes);
  free(table->step_grads);
  free(table->merged_grads);
  table->step_keys = keys;
  table->step_hashes = hashes;
  table->step_grads = grads;
  table->merged_grads = merged;
  table->step_capacity = capacity;
  return HOTROW_OK;
}

/* A push nearly always repeats the keys of the lookup before it: then its distinct keys are known already. */
static bool are_keys_of_lookup(const hotrow_table *table, const uint64_t *keys, size_t key_count)
{
  const hotrow_dedup *dedup = &table->lookup.dedup;
  if (!table->lookup.scratch || key_count == 0 || key_count > table->lookup.capacity ||
      dedup->offsets[dedup->unique_count] != key_count)
    return false;
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

/* Sums the gradients of one request per distinct key, behind what the step has so far. Counts are not moved yet. */
static hotrow_status stage_push(hr_core *core, const hotrow_push_request *r, size_t step_count, uint32_t *added_p)
{
  hotrow_table *table = r->table;
  const hotrow_kernels *kernels = core->options.kernels;
  const hotrow_dedup *dedup = &table->lookup.dedup;
  if (r->key_count == 0)
    return HOTROW_OK; /* *added_p stays 0 */
  if (!are_keys_of_lookup(table, r->keys, r->key_count)) {
    HOTROW_TRY(hr_core_dedup(core, table, &table->push, r->keys, r->key_count));
    dedup = &table->push.dedup;
  }
  if (step_count + dedup->unique_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "push to %s: more than %u rows in one step", table->desc.name,
                   HOTROW_LOOKUP_KEYS_MAX);
  HOTROW_TRY(grow_step(table, step_count, step_count + dedup->unique_count));
  size_t dim = table->desc.dim, stride = r->grad_stride ? r->grad_stride : dim;
  float *sums = table->step_grads + step_count * dim;
  bool is_pooled = r->pooling != HOTROW_POOL_NONE;
  if (is_pooled) {
    HOTROW_TRY(grow_bags(table, r->key_count));
    kernels->pool_backward(r->offsets, r->weights, r->bag_count, r->pooling, NULL, table->bags, table->factors);
  }
  kernels->segment_sum(r->grads, stride, (uint32_t)dim, is_pooled ? table->bags : NULL,
                       is_pooled ? table->factors : NULL, dedup->positions, dedup->offsets, dedup->unique_count, NULL,
                       sums);
  size_t bad = kernels->find_nonfinite(sums, dedup->unique_count, (uint32_t)dim, NULL);
  if (bad < dedup->unique_count)
    return hr_fail(HOTROW_ERR_INVALID, "push to %s: the gradient of key %llu is not finite", table->desc.name,
                   (unsigned long long)dedup->keys[bad]);
  memcpy(table->step_keys + step_count, dedup->keys, dedup->unique_count * sizeof(uint64_t));
  memcpy(table->step_hashes + step_count, dedup->hashes, dedup->unique_count * sizeof(uint64_t));
  *added_p = dedup->unique_count;
  return HOTROW_OK;
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
    for (size_t j = 0; j < i; j++) /* a table may stand in several requests: its parts lie one behind the other */
      step_count += copies[j].table == copies[i].table ? added[j] : 0;
    HOTROW_TRY(stage_push(core, &copies[i], step_count, &added[i]));
  }
  for (size_t i = 0; i < request_count; i++) {
    copies[i].table->step_count += added[i];
    copies[i].table->step_parts += added[i] > 0;
  }
  return HOTROW_OK;
}

/* One update per key from all pushes of the step; rows that are due and rows not held end up in the push list. */
static hotrow_status end_table_step(hr_core *core, hotrow_table *table)
{
  const uint64_t *keys = table->step_keys, *hashes = table->step_hashes;
  const float *grads = table->step_grads;
  size_t count = table->step_count;
  if (table->step_parts > 1) {
    const hotrow_dedup *dedup = &table->push.dedup;
    HOTROW_TRY(hr_core_dedup(core, table, &table->push, table->step_keys, table->step_count));
    core->options.kernels->segment_sum(table->step_grads, table->desc.dim, table->desc.dim, NULL, NULL,
                                       dedup->positions, dedup->offsets, dedup->unique_count, NULL,
                                       table->merged_grads);
    keys = dedup->keys;
    hashes = dedup->hashes;
    grads = table->merged_grads;
    count = dedup->unique_count;
  }
  HOTROW_TRY(hr_core_draft_pushes(core, table)); /* evicted rows go before this step's update of the same keys */
  if (!table->has_cache)                         /* nothing to update: straight to the shards */
    HOTROW_TRY(draft_list(core, table, &(hotrow_cache_push_list){keys, hashes, NULL, grads, NULL, NULL, count}));
  else if (count)
    HOTROW_TRY(hotrow_cache_update(table->cache, keys, hashes, grads, NULL, count));
  if (core->prefetch_open > 0)
    hr_core_spoil_prefetch(core, table, hashes, count);
  table->step_count = 0;
  table->step_parts = 0;
  return hr_core_draft_pushes(core, table);
}

hotrow_status hr_core_step(hr_core *core, bool is_fused, uint64_t now_ns)
{
  hr_core_begin_call(core); /* the rows that a lookup was given up for lack this step */
  for (uint32_t i = 0; i < core->table_count; i++)
    HOTROW_TRY(end_table_step(core, core->tables[i]));
  hr_request *tick;
  for (uint32_t shard = 0; core->is_sync && shard < core->options.shard_count; shard++)
    HOTROW_TRY(hr_core_draft(core, shard, &tick)); /* an exact step is told to every shard, with or without rows */
  if (!is_fused || core->is_sync)
    HOTROW_TRY(hr_core_submit_drafts(core, HR_OP_PUSH, core->is_sync ? HR_FLAG_SYNC : 0, core->step, false, now_ns));
  core->step++;
  return HOTROW_OK;
}

hotrow_status hr_core_flush_begin(hr_core *core, uint64_t now_ns)
{
  hr_core_begin_call(core);
  for (uint32_t i = 0; i < core->table_count; i++)
    if (core->tables[i]->step_count)
      return hr_fail(HOTROW_ERR_INVALID, "flush in the middle of a step: call hotrow_step first");
  for (uint32_t i = 0; i < core->table_count; i++) {
    hotrow_cache_flush(core->tables[i]->cache);
    HOTROW_TRY(hr_core_draft_pushes(core, core->tables[i]));
    if (hr_core_can_push(core)) /* a message for each table, as each may fill one */
      HOTROW_TRY(hr_core_submit_drafts(core, HR_OP_PUSH, 0, core->step, false, now_ns));
  }
  return hr_core_submit_drafts(core, HR_OP_PUSH, 0, core->step, false, now_ns);
}
