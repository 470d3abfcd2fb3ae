/* The read path: distinct keys -> cache -> pulls to the shards -> rows in the cache -> out. */
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/options.h>
#include <hr/route.h>

#include "core.h"

static bool offsets_are_sound(const hotrow_lookup_request *r)
{
  if (r->offsets[0] != 0 || r->offsets[r->bag_count] != r->key_count)
    return false;
  for (size_t b = 0; b < r->bag_count; b++)
    if (r->offsets[b] > r->offsets[b + 1])
      return false;
  return true;
}

static hotrow_status check_request(const hr_core *core, const hotrow_lookup_request *r, size_t i)
{
  if (!r->table || r->table->core != core)
    return hr_fail(HOTROW_ERR_INVALID, "lookup %zu: its table is not one of this client", i);
  const char *name = r->table->desc.name;
  if (r->key_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "lookup in %s: %zu keys, at most %u", name, r->key_count, HOTROW_LOOKUP_KEYS_MAX);
  if (r->key_count && !r->keys)
    return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: keys is NULL", name);
  if (r->out_stride && r->out_stride < r->table->desc.dim)
    return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: out_stride %zu is less than dim %u", name, r->out_stride,
                   r->table->desc.dim);
  if (r->hit_mask && core->options.role != HR_ROLE_READER)
    return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: hit_mask is for read-only clients", name);
  switch (r->pooling) {
  case HOTROW_POOL_NONE:
    if (r->offsets || r->weights)
      return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: offsets and weights need pooling", name);
    if (r->key_count && !r->out)
      return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: out is NULL", name);
    return HOTROW_OK;
  case HOTROW_POOL_SUM:
  case HOTROW_POOL_MEAN:
    if (!r->offsets || !offsets_are_sound(r))
      return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: offsets must rise from 0 to key_count %zu", name, r->key_count);
    if (r->bag_count && !r->out)
      return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: out is NULL", name);
    return HOTROW_OK;
  }
  return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: pooling %d is not known", name, (int)r->pooling);
}

hotrow_status hr_core_lookup_check(hr_core *core, const hotrow_lookup_request *requests, size_t request_count)
{
  core->lookup_count = 0;
  if (request_count > HOTROW_REQUESTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu lookups in one call, at most %u", request_count, HOTROW_REQUESTS_MAX);
  for (size_t i = 0; i < request_count; i++) {
    /* The caller's struct may be of another version, so the step through the array is its own size. */
    const hotrow_lookup_request *given =
        (const hotrow_lookup_request *)(const void *)((const char *)requests + i * requests[0].struct_size);
    hotrow_lookup_request *r = &core->lookups[i];
    HOTROW_TRY(hr_options_copy(r, sizeof *r, given, requests[0].struct_size, "hotrow_lookup_request"));
    HOTROW_TRY(check_request(core, r, i));
    for (size_t j = 0; j < i; j++)
      if (core->lookups[j].table == r->table)
        return hr_fail(HOTROW_ERR_INVALID, "table %s stands twice in one lookup", r->table->desc.name);
  }
  core->lookup_count = request_count;
  return HOTROW_OK;
}

static hotrow_status grow_lookup(hotrow_table *table)
{
  size_t capacity = table->lookup.capacity;
  free(table->slots);
  free(table->seen);
  free(table->key_slots);
  free(table->found);
  free(table->states);
  table->slots = table->seen = table->key_slots = NULL;
  table->found = table->states = NULL;
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint32_t), "slots", (void **)&table->slots));
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint32_t), "clocks", (void **)&table->seen));
  HOTROW_TRY(hr_alloc(capacity, sizeof(uint32_t), "key slots", (void **)&table->key_slots));
  HOTROW_TRY(hr_alloc(capacity, 1, "row states", (void **)&table->states));
  return hr_alloc(capacity, 1, "found", (void **)&table->found);
}

/* Distinct keys of one request and what the cache has of them. */
static hotrow_status probe_request(hr_core *core, const hotrow_lookup_request *r)
{
  hotrow_table *table = r->table;
  size_t capacity = table->lookup.capacity;
  HOTROW_TRY(hr_core_dedup(core, table, &table->lookup, r->keys, r->key_count));
  if (table->lookup.capacity != capacity || !table->found)
    HOTROW_TRY(grow_lookup(table));
  const hotrow_dedup *dedup = &table->lookup.dedup;
  hotrow_cache_begin_batch(table->cache);
  hotrow_cache_lookup(table->cache, dedup->keys, dedup->hashes, dedup->unique_count, NULL, table->slots, table->seen,
                      table->states);
  core->stats.keys += r->key_count;
  core->stats.unique_keys += dedup->unique_count;
  return HOTROW_OK;
}

uint32_t hr_core_slice_end(const hr_core *core, const hotrow_dedup *dedup, uint32_t from, uint32_t shard)
{
  uint32_t shard_count = core->options.shard_count;
  if (shard + 1 == shard_count)
    return dedup->unique_count;
  uint64_t hash_end = hr_hash_first(hr_partition_first(shard + 1, shard_count));
  uint32_t low = from, high = dedup->unique_count;
  while (low < high) { /* the first hash that is not below hash_end */
    uint32_t middle = low + (high - low) / 2;
    if (dedup->hashes[middle] < hash_end)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Copies one key of the slice to its place in the section. */
static void place_key(hr_pull_note *note, uint64_t *keys, uint32_t at, const hotrow_dedup *dedup, uint32_t unique)
{
  keys[at] = dedup->keys[unique];
  note->hashes[at] = dedup->hashes[unique];
  note->unique_index[at] = unique;
}

hotrow_status hr_core_draft_pull(hr_core *core, hotrow_table *table, uint32_t shard, const hr_workspace *workspace,
                                 uint32_t first, uint32_t last, const uint32_t *slots, const uint32_t *seen)
{
  const hotrow_dedup *dedup = &workspace->dedup;
  uint32_t key_count = last - first, held_count = 0;
  for (uint32_t u = first; slots && u < last; u++)
    held_count += slots[u] != HOTROW_SLOT_NONE;
  hr_request *request;
  hr_section *section;
  HOTROW_TRY(hr_core_draft(core, shard, &request));
  HOTROW_TRY(hr_request_add_section(request, HR_SECTION_PULL, &section));
  hr_pull_note *note = &request->pulls[request->pull_count++];
  note->table_index = table->index;
  note->section_index = request->message.section_count - 1u;
  note->spoiled = NULL;
  uint64_t *keys;
  uint32_t *held_clocks;
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *keys, (void **)&keys));
  HOTROW_TRY(hr_request_take(request, held_count * sizeof *held_clocks, (void **)&held_clocks));
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *note->hashes, (void **)&note->hashes));
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *note->unique_index, (void **)&note->unique_index));
  uint32_t held = 0, missing = held_count;
  for (uint32_t u = first; u < last; u++) {
    if (slots && slots[u] != HOTROW_SLOT_NONE) {
      held_clocks[held] = seen[u];
      place_key(note, keys, held++, dedup, u);
    } else {
      place_key(note, keys, missing++, dedup, u);
    }
  }
  section->flags = table->has_cache && table->state_dim ? HR_SECTION_WANT_STATE : 0;
  section->table = table->ids[shard];
  section->key_count = key_count;
  section->held_count = held_count;
  section->dim = table->desc.dim;
  section->bound = table->pull_bound;
  section->keys = keys;
  section->seen = held_clocks;
  core->stats.bytes_pull += key_count * sizeof *keys + held_count * sizeof *held_clocks;
  return HOTROW_OK;
}

static hotrow_status draft_pulls(hr_core *core)
{
  for (size_t i = 0; i < core->lookup_count; i++) {
    hotrow_table *table = core->lookups[i].table;
    uint32_t first = 0;
    for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
      uint32_t last = hr_core_slice_end(core, &table->lookup.dedup, first, shard);
      if (last > first)
        HOTROW_TRY(hr_core_draft_pull(core, table, shard, &table->lookup, first, last, table->slots, table->seen));
      first = last;
    }
  }
  return HOTROW_OK;
}

hotrow_status hr_core_lookup_begin(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                                   uint64_t now_ns)
{
  hr_core_begin_call(core);
  HOTROW_TRY(hr_core_lookup_check(core, requests, request_count));
  for (size_t i = 0; i < core->lookup_count; i++)
    HOTROW_TRY(probe_request(core, &core->lookups[i]));
  uint32_t flags = (core->is_sync ? HR_FLAG_SYNC : 0) | (core->options.role == HR_ROLE_READER ? HR_FLAG_READ_ONLY : 0);
  hotrow_status status = hr_core_draft_evicted(core, now_ns);
  if (status == HOTROW_OK)
    status = draft_pulls(core);
  if (status == HOTROW_OK)
    status = hr_core_submit_drafts(core, HR_OP_PULL, flags, core->step, true, now_ns);
  if (status != HOTROW_OK)
    hr_core_drop_pulls(core);
  return status;
}

bool hr_core_check_pull_reply(hr_core *core, uint32_t shard, const hr_request *request, const hr_message *reply)
{
  bool is_sound = reply->section_count == request->pull_count;
  for (uint32_t i = 0; is_sound && i < request->pull_count; i++) {
    const hr_section *asked = &request->message.sections[request->pulls[i].section_index];
    const hr_section *got = &reply->sections[i];
    const hotrow_table *table = core->tables[request->pulls[i].table_index];
    uint32_t state_dim = asked->flags & HR_SECTION_WANT_STATE ? table->state_dim : 0;
    bool wants_found = request->message.header.flags & HR_FLAG_READ_ONLY;
    is_sound = got->kind == HR_SECTION_PULL_REPLY && got->table == asked->table && got->key_count == asked->key_count &&
               got->bound == asked->held_count && got->dim == asked->dim && got->extra_dim == state_dim &&
               (!wants_found || got->flags & HR_SECTION_FOUND);
  }
  if (!is_sound)
    hr_link_break(&core->links[shard], HOTROW_ERR_PROTOCOL, "shard %u at %s answered something else than it was asked",
                  shard, core->links[shard].endpoint);
  return is_sound;
}

static hotrow_status take_rows(hr_core *core, hotrow_table *table, const hr_pull_note *note, const hr_section *asked,
                               const hr_section *got)
{
  uint32_t dim = table->desc.dim, held = asked->held_count, stale = got->held_count;
  uint32_t missing = asked->key_count - held;
  uint32_t *slots = table->key_slots; /* free until the lookup is finished */
  for (uint32_t i = 0; i < stale; i++)
    slots[i] = table->slots[note->unique_index[got->index[i]]];
  hotrow_cache_refresh(table->cache, slots, got->clocks, got->values, got->states, stale);
  HOTROW_TRY(hotrow_cache_insert(
      table->cache, asked->keys + held, note->hashes + held, got->clocks + stale, got->values + (size_t)stale * dim,
      got->states ? got->states + (size_t)stale * got->extra_dim : NULL, NULL, missing, slots));
  for (uint32_t i = 0; i < missing; i++) {
    uint32_t unique = note->unique_index[held + i];
    table->slots[unique] = slots[i];
    table->found[unique] = !got->found || (uint32_t)got->found[i / 8] >> (i % 8) & 1u;
  }
  hotrow_client_stats *stats = &core->stats;
  stats->hits += held - stale;
  stats->stale += stale;
  stats->misses += missing;
  stats->unseen_sum += got->unseen_sum;
  if (got->unseen_max > stats->unseen_max)
    stats->unseen_max = got->unseen_max;
  stats->bytes_pull += stale * sizeof(uint32_t) + (got->found ? (missing + 7) / 8 : 0) +
                       (size_t)got->row_count * (sizeof(uint32_t) + (dim + got->extra_dim) * sizeof(float));
  return HOTROW_OK;
}

void hr_core_on_pull_reply(hr_core *core, hr_request *request, const hr_message *reply)
{
  for (uint32_t i = 0; i < request->pull_count; i++) {
    const hr_pull_note *note = &request->pulls[i];
    hotrow_status status = take_rows(core, core->tables[note->table_index], note,
                                     &request->message.sections[note->section_index], &reply->sections[i]);
    if (status != HOTROW_OK)
      hr_core_fail(core, status, hotrow_last_error(), strlen(hotrow_last_error()));
  }
}

static void fill_hit_mask(const hotrow_lookup_request *r)
{
  const hotrow_table *table = r->table;
  memset(r->hit_mask, 0, (r->key_count + 7) / 8);
  for (size_t i = 0; i < r->key_count; i++)
    r->hit_mask[i / 8] |= (uint8_t)(table->found[table->lookup.dedup.inverse[i]] << (i % 8));
}

void hr_core_lookup_finish(hr_core *core)
{
  HOTROW_ASSERT(core->waited_count == 0);
  const hotrow_kernels *kernels = core->options.kernels;
  for (size_t i = 0; i < core->lookup_count; i++) {
    const hotrow_lookup_request *r = &core->lookups[i];
    hotrow_table *table = r->table;
    size_t stride = r->out_stride ? r->out_stride : table->desc.dim;
    size_t row_stride;
    const float *rows = hotrow_cache_rows(table->cache, &row_stride);
    for (size_t k = 0; k < r->key_count; k++)
      table->key_slots[k] = table->slots[table->lookup.dedup.inverse[k]];
    if (r->pooling == HOTROW_POOL_NONE)
      kernels->gather(rows, row_stride, table->desc.dim, table->key_slots, r->key_count, NULL, r->out, stride);
    else
      kernels->pool(rows, row_stride, table->desc.dim, table->key_slots, r->offsets, r->weights, r->bag_count,
                    r->pooling, NULL, r->out, stride);
    if (r->hit_mask)
      fill_hit_mask(r);
  }
  core->lookup_count = 0;
}
