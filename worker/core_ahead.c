/* Look-ahead: the windows of coming batches, and asking for their rows in time. */
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/options.h>

#include "core_cache.h"
#include "core_device.h"

uint32_t hr_core_cache_batch(const hotrow_table *table, uint64_t number)
{
  const hr_lookahead *window = &table->window;
  if (number < window->first)
    return HOTROW_BATCH_NONE;
  /* The batch that is looked up next, or being looked up, is the window's first. */
  uint32_t batch =
      hotrow_cache_batch(table->cache) + (uint32_t)(number - window->first) + (window->is_in_hand ? 0u : 1u);
  return batch == HOTROW_BATCH_NONE ? batch - 1 : batch;
}

/* Of a coming batch: asks for what is neither held nor brought by an earlier one. */
static hotrow_status draft_batch(hr_core *core, hotrow_table *table, uint64_t number, hr_lookahead_batch *batch)
{
  HOTROW_ASSERT(batch->count <= table->ahead_capacity);
  uint8_t *asks = table->ahead_asks;
  batch->is_asked_for = true;
  HOTROW_TRY(
      hr_core_cache_expect(table, batch->keys, batch->hashes, batch->count, hr_core_cache_batch(table, number), asks));
  for (uint32_t i = 0; i < batch->count; i++) {
    bool is_wanted = !asks[i] && !hr_lookahead_is_needed_before(&table->window, number, i);
    asks[i] = is_wanted ? HOTROW_ROW_MISSING : HOTROW_ROW_FRESH;
    batch->is_fetched[i] = is_wanted;
  }
  return hr_core_draft_pulls(core, table, batch->keys, batch->hashes, batch->count, asks, NULL, &number);
}

hotrow_status hr_core_draft_ahead(hr_core *core)
{
  for (uint32_t i = 0; i < core->table_count; i++) {
    hotrow_table *table = core->tables[i];
    uint64_t next = table->window.first + table->window.is_in_hand;
    for (uint64_t number = next; number < next + HOTROW_FETCH_AHEAD; number++) {
      hr_lookahead_batch *batch = hr_lookahead_find(&table->window, number);
      if (batch && !batch->is_asked_for)
        HOTROW_TRY(draft_batch(core, table, number, batch));
    }
  }
  return HOTROW_OK;
}

static bool is_due(const hr_core *core)
{
  for (uint32_t i = 0; i < core->table_count; i++) {
    hr_lookahead *window = &core->tables[i]->window;
    uint64_t next = window->first + window->is_in_hand;
    for (uint64_t number = next; number < next + HOTROW_FETCH_AHEAD; number++) {
      const hr_lookahead_batch *batch = hr_lookahead_find(window, number);
      if (batch && !batch->is_asked_for)
        return true;
    }
  }
  return false;
}

hotrow_status hr_core_fetch_ahead(hr_core *core)
{
  if (!is_due(core) || !hr_core_can_push(core)) /* evicted rows may have to go first */
    return HOTROW_OK;
  HOTROW_TRY(hr_core_draft_evicted(core));
  hotrow_status status = hr_core_draft_ahead(core);
  /* Among exact steps a row may come only once it has the steps before: own ones too are applied when all are there. */
  if (status == HOTROW_OK)
    status = hr_core_submit_drafts(core, 0, core->is_sync ? HR_FLAG_SYNC : 0, false);
  if (status != HOTROW_OK)
    hr_core_drop_pulls(core);
  return status == HOTROW_ERR_LIMIT ? HOTROW_OK : status; /* too much for a message: the lookups will ask */
}

void hr_core_count_ahead(hr_core *core, const hr_request *request, bool is_sent)
{
  core->ahead_open += is_sent ? 1u : UINT32_MAX; /* one more, or one less */
  for (uint32_t i = 0; i < request->pull_count; i++) {
    hr_lookahead *window = &core->tables[request->pulls[i].table_index]->window;
    hr_lookahead_batch *batch = hr_lookahead_find(window, request->pulls[i].batch);
    if (batch)
      batch->open += is_sent ? 1u : UINT32_MAX;
  }
}

bool hr_core_is_fetching(const hr_core *core)
{
  if (core->is_sync)
    return core->ahead_open > 0; /* a shard holds one pull for its step */
  for (uint32_t i = 0; i < core->table_count; i++) {
    hr_lookahead *window = &core->tables[i]->window;
    for (uint64_t number = window->first; number <= window->first + window->is_in_hand; number++) {
      const hr_lookahead_batch *batch = hr_lookahead_find(window, number);
      if (batch && batch->open > 0)
        return true;
    }
  }
  return false;
}

static hotrow_status check_request(const hr_core *core, const hotrow_lookup_request *r, size_t i)
{
  if (!r->table || r->table->core != core)
    return hr_fail(HOTROW_ERR_INVALID, "look-ahead %zu: its table is not one of this client", i);
  const char *name = r->table->desc.name;
  if (r->key_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "look-ahead in %s: %zu keys, at most %u", name, r->key_count,
                   HOTROW_LOOKUP_KEYS_MAX);
  if (r->key_count && !r->keys)
    return hr_fail(HOTROW_ERR_INVALID, "look-ahead in %s: keys is NULL", name);
  HOTROW_TRY(hr_core_check_memory(core, r->table, r->memory, "look-ahead in"));
  if (r->table->window.count == HOTROW_LOOKAHEAD_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "look-ahead in %s: %u batches are handed over ahead of their lookup, the most",
                   name, HOTROW_LOOKAHEAD_MAX);
  return HOTROW_OK;
}

/* Appends the batch; held rows of it are pinned until then. */
static hotrow_status add_batch(hr_core *core, const hotrow_lookup_request *r)
{
  hotrow_table *table = r->table;
  const uint64_t *keys, *hashes;
  if (table->device) {
    HOTROW_TRY(hr_device_distinct(core, r, &keys, &hashes));
  } else {
    HOTROW_TRY(hr_core_dedup(core, table, &table->ahead, r->keys, r->key_count));
    keys = table->ahead.dedup.keys;
    hashes = table->ahead.dedup.hashes;
  }
  if (table->ahead_capacity < table->ahead.capacity) {
    table->ahead_capacity = 0;
    HOTROW_TRY(hr_core_renew((void **)&table->ahead_asks, table->ahead.capacity, 1));
    table->ahead_capacity = table->ahead.capacity;
  }
  uint64_t number = table->window.first + table->window.count;
  uint32_t count = table->ahead.unique_count;
  HOTROW_TRY(hr_lookahead_add(&table->window, keys, hashes, count));
  return hr_core_cache_expect(table, keys, hashes, count, hr_core_cache_batch(table, number),
                              table->device ? NULL : table->ahead_asks);
}

hotrow_status hr_core_lookahead(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                                uint64_t now_ns)
{
  core->now_ns = now_ns;
  if (request_count > HOTROW_REQUESTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu lookups in one look-ahead, at most %u", request_count, HOTROW_REQUESTS_MAX);
  hotrow_lookup_request copies[HOTROW_REQUESTS_MAX];
  for (size_t i = 0; i < request_count; i++) {
    const void *given = (const char *)requests + i * requests[0].struct_size;
    HOTROW_TRY(hr_options_copy(&copies[i], sizeof copies[i], given, requests[0].struct_size, "hotrow_lookup_request"));
    HOTROW_TRY(check_request(core, &copies[i], i));
    for (size_t j = 0; j < i; j++)
      if (copies[j].table == copies[i].table)
        return hr_fail(HOTROW_ERR_INVALID, "table %s stands twice in one look-ahead", copies[i].table->desc.name);
  }
  for (size_t i = 0; i < request_count; i++)
    if (copies[i].table->has_cache)
      HOTROW_TRY(add_batch(core, &copies[i]));
  return hr_core_fetch_ahead(core);
}
