/* The read path: distinct keys -> cache -> pulls to the shards -> rows in the cache -> out. */
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/options.h>

#include "core_cache.h"
#include "core_device.h"

#define ROUNDS_ALL 3u /* from this round of a lookup on, what was asked before is asked again */

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
  if (r->reserved)
    return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: reserved is %u, must be 0", name, r->reserved);
  HOTROW_TRY(hr_core_check_memory(core, r->table, r->memory, "lookup in"));
  if (r->out_stride && r->out_stride < r->table->layout.dim)
    return hr_fail(HOTROW_ERR_INVALID, "lookup in %s: out_stride %zu is less than dim %u", name, r->out_stride,
                   r->table->layout.dim);
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
  case HOTROW_POOL_SQRTN:
    if (!r->offsets || (r->memory == HOTROW_CPU && !offsets_are_sound(r)))
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

hotrow_status hr_core_grow_lookup(hotrow_table *table)
{
  size_t capacity = table->lookup.capacity;
  HOTROW_TRY(hr_core_renew((void **)&table->slots, capacity, sizeof(uint32_t)));
  HOTROW_TRY(hr_core_renew((void **)&table->seen, capacity, sizeof(uint32_t)));
  HOTROW_TRY(hr_core_renew((void **)&table->next_use, capacity, sizeof(uint32_t)));
  HOTROW_TRY(hr_core_renew((void **)&table->key_slots, capacity, sizeof(uint32_t)));
  HOTROW_TRY(hr_core_renew((void **)&table->found, capacity, 1));
  HOTROW_TRY(hr_core_renew((void **)&table->asks, capacity, 1));
  return hr_core_renew((void **)&table->states, capacity, 1);
}

hr_lookahead_batch *hr_core_take_batch(hr_core *core, hotrow_table *table, const uint64_t *keys, uint32_t count)
{
  if (table->window.count == 0)
    return NULL;
  hr_lookahead_batch *batch = hr_lookahead_take(&table->window, keys, count);
  if (!batch) {
    core->stats.lookahead_dropped += table->window.count;
    hr_lookahead_drop(&table->window);
  }
  return batch;
}

void hr_core_set_next_use(hotrow_table *table, const hr_lookahead_batch *batch, uint32_t count)
{
  for (uint32_t u = 0; u < count; u++)
    table->next_use[u] =
        batch->later[u] ? hr_core_cache_batch(table, table->window.first + batch->later[u]) : HOTROW_BATCH_NONE;
}

/* Is a cache's batch over before the call in hand, whose first request to it is `first`? A batch has one lookup of each
 * table at most, in one call or in several, and staging must suffice for the keys of those in one call. */
static bool is_batch_over(const hr_core *core, size_t first)
{
  const hotrow_table *owner = core->lookups[first].table->cache_owner;
  uint32_t batch = hotrow_cache_batch(owner->cache);
  size_t key_count = 0;
  bool is_looked_up = false;
  for (size_t i = first; i < core->lookup_count; i++) {
    if (core->lookups[i].table->cache_owner != owner)
      continue;
    is_looked_up |= core->lookups[i].table->batch == batch;
    key_count += core->lookups[i].key_count;
  }
  return is_looked_up || key_count > hotrow_cache_staging_left(owner->cache);
}

/* Lookups of a call in tables that share a cache are of one batch: what one brings stays for the others. Slots of the
 * batch before, of other tables too, may hold other rows from now on. */
static void begin_batches(hr_core *core)
{
  for (size_t i = 0; i < core->lookup_count; i++) {
    const hotrow_table *owner = core->lookups[i].table->cache_owner;
    bool is_decided = false;
    for (size_t j = 0; j < i; j++)
      is_decided |= core->lookups[j].table->cache_owner == owner;
    if (is_decided || !is_batch_over(core, i))
      continue;
    hotrow_cache_begin_batch(owner->cache);
    for (uint32_t t = 0; t < core->table_count; t++)
      core->tables[t]->has_slots &= core->tables[t]->cache_owner != owner;
  }
  for (size_t i = 0; i < core->lookup_count; i++)
    core->lookups[i].table->batch = hotrow_cache_batch(core->lookups[i].table->cache);
}

/* Distinct keys of one request and what the cache has of them. */
static hotrow_status probe_request(hr_core *core, const hotrow_lookup_request *r)
{
  hotrow_table *table = r->table;
  size_t capacity = table->lookup.capacity;
  table->has_slots = false;
  HOTROW_TRY(hr_core_dedup_in_order(core, table, &table->lookup, r->keys, r->key_count,
                                    hr_core_pull_rows(core, table, r->key_count)));
  if (table->lookup.capacity != capacity || !table->states)
    HOTROW_TRY(hr_core_grow_lookup(table));
  const hotrow_dedup *dedup = &table->lookup.dedup;
  uint32_t count = table->lookup.unique_count;
  table->asked_keys = dedup->keys;
  table->asked_hashes = dedup->hashes;
  table->asked_count = count;
  table->told_before = table->told;
  if (!table->has_cache) {
    memset(table->states, HOTROW_ROW_MISSING, count);
    memset(table->asks, HOTROW_ROW_MISSING, count);
    return HOTROW_OK;
  }
  const hr_lookahead_batch *batch = hr_core_take_batch(core, table, dedup->keys, count);
  if (batch)
    hr_core_set_next_use(table, batch, count);
  hotrow_cache_lookup(table->cache, dedup->keys, dedup->hashes, count, NULL, batch ? table->next_use : NULL,
                      table->slots, table->seen, table->states);
  table->has_slots = true;
  for (uint32_t u = 0; batch && u < count; u++)
    core->stats.lookahead_hits += batch->is_fetched[u] && table->states[u] != HOTROW_ROW_MISSING;
  memcpy(table->asks, table->states, count);
  return HOTROW_OK;
}

/* Sends what this round asks. */
static hotrow_status ask(hr_core *core)
{
  uint32_t flags = (core->is_sync ? HR_FLAG_SYNC : 0) | (core->options.role == HR_ROLE_READER ? HR_FLAG_READ_ONLY : 0);
  hotrow_status status = hr_core_draft_evicted(core);
  for (size_t i = 0; status == HOTROW_OK && i < core->lookup_count; i++) {
    hotrow_table *table = core->lookups[i].table;
    status = hr_core_draft_pulls(core, table, table->asked_keys, table->asked_hashes, table->asked_count, table->asks,
                                 table->seen, NULL);
  }
  if (status == HOTROW_OK)
    status = hr_core_submit_drafts(core, 0, flags, true);
  if (status != HOTROW_OK)
    hr_core_drop_pulls(core);
  return status;
}

/* Sends the first round, and what a fused step has left to say. */
static hotrow_status ask_first(hr_core *core)
{
  HOTROW_TRY(ask(core));
  if (!core->is_fused)
    return HOTROW_OK;
  core->is_fused = false;
  if (!core->is_sync)
    HOTROW_TRY(hr_core_fetch_ahead(core));
  return hr_core_tell_ticks(core);
}

hotrow_status hr_core_lookup_begin(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                                   uint64_t now_ns)
{
  core->now_ns = now_ns;
  hr_core_begin_call(core);
  HOTROW_TRY(hr_core_lookup_check(core, requests, request_count));
  hotrow_status status = HOTROW_OK;
  begin_batches(core);
  for (size_t i = 0; status == HOTROW_OK && i < core->lookup_count; i++) {
    const hotrow_lookup_request *r = &core->lookups[i];
    r->table->sent_count = 0;
    status = r->table->device ? hr_device_probe(core, r) : probe_request(core, r);
  }
  core->round = 1;
  core->is_unread = core->options.device_kernels != NULL;
  if (status != HOTROW_OK)
    hr_core_drop_pulls(core); /* those of keys that were found before */
  return status == HOTROW_OK && !core->is_unread ? ask_first(core) : status;
}

/* The device says what is to be asked for. */
static hotrow_status read_plans(hr_core *core)
{
  core->is_unread = false;
  for (size_t i = 0; i < core->lookup_count; i++)
    HOTROW_TRY(hr_device_read_plan(core, core->lookups[i].table));
  return ask_first(core);
}

/* Chooses what another round asks: copies that were fresh, or came in this lookup, and were told to be too old since.
 * From some round on, all that was asked before is asked with them: then the rounds come to an end, as an answer's rows
 * are as new as its news. */
static hotrow_status choose_stale(hr_core *core, hotrow_table *table, bool *has_some_p)
{
  if (!table->is_announced || table->told == table->told_before) {
    memset(table->asks, HOTROW_ROW_FRESH, table->asked_count);
    return HOTROW_OK;
  }
  table->told_before = table->told;
  HOTROW_TRY(table->device ? hr_device_expect_asked(core, table)
                           : hr_core_cache_expect(table, table->asked_keys, table->asked_hashes, table->asked_count,
                                                  hotrow_cache_batch(table->cache), table->asks));
  bool has_some = false;
  for (uint32_t u = 0; u < table->asked_count; u++) {
    bool is_gone = table->slots[u] == HOTROW_SLOT_NONE; /* from staging */
    bool is_stale = is_gone || (!table->asks[u] && table->slots[u] < table->cached_slots);
    has_some |= is_stale;
    if (is_stale && table->states[u] == HOTROW_ROW_FRESH)
      table->states[u] = HOTROW_ROW_STALE;
    table->asks[u] = is_gone ? HOTROW_ROW_MISSING : is_stale ? HOTROW_ROW_STALE : HOTROW_ROW_FRESH;
  }
  for (uint32_t u = 0; has_some && core->round >= ROUNDS_ALL && u < table->asked_count; u++)
    if (table->states[u] != HOTROW_ROW_FRESH && table->asks[u] == HOTROW_ROW_FRESH)
      table->asks[u] = HOTROW_ROW_STALE;
  *has_some_p |= has_some;
  return HOTROW_OK;
}

hotrow_status hr_core_lookup_settle(hr_core *core, uint64_t now_ns, bool *is_settled_p)
{
  HOTROW_ASSERT(core->waited_count == 0);
  core->now_ns = now_ns;
  if (core->is_unread) {
    HOTROW_TRY(read_plans(core));
    *is_settled_p = false;
    if (core->waited_count > 0)
      return HOTROW_OK;
  }
  bool has_some = false;
  for (size_t i = 0; i < core->lookup_count; i++)
    HOTROW_TRY(choose_stale(core, core->lookups[i].table, &has_some));
  *is_settled_p = !has_some;
  if (!has_some)
    return HOTROW_OK;
  core->round++;
  return ask(core);
}

static void fill_hit_mask(const hotrow_lookup_request *r)
{
  const hotrow_table *table = r->table;
  memset(r->hit_mask, 0, (r->key_count + 7) / 8);
  for (size_t i = 0; i < r->key_count; i++)
    r->hit_mask[i / 8] |= (uint8_t)(table->found[table->lookup.dedup.inverse[i]] << (i % 8));
}

static void fill_out(const hr_core *core, const hotrow_lookup_request *r)
{
  const hotrow_kernels *kernels = core->options.kernels;
  hotrow_table *table = r->table;
  uint32_t dim = table->layout.dim;
  size_t row_stride, stride = r->out_stride ? r->out_stride : dim;
  const float *rows = hotrow_cache_rows(table->cache, &row_stride);
  bool is_there = hr_core_direct_lookup(core, table) != NULL;
  for (size_t k = 0; k < r->key_count && !is_there; k++)
    table->key_slots[k] = table->slots[table->lookup.dedup.inverse[k]];
  if (is_there) {
    /* since the answers came */
  } else if (r->pooling == HOTROW_POOL_NONE)
    kernels->gather(rows, row_stride, dim, table->key_slots, r->key_count, NULL, r->out, stride);
  else
    kernels->pool(rows, row_stride, dim, table->key_slots, r->offsets, r->weights, r->bag_count, r->pooling, NULL,
                  r->out, stride);
  if (r->hit_mask)
    fill_hit_mask(r);
}

static void count_lookup(const hr_core *core, const hotrow_lookup_request *r)
{
  hotrow_table *table = r->table;
  hotrow_table_stats *stats = &table->stats;
  uint32_t count = table->lookup.unique_count;
  stats->keys += r->key_count;
  stats->unique_keys += count;
  if (!table->has_cache) {
    stats->misses += count;
    return;
  }
  stats->hits += count - table->asked_count; /* those of which nobody was asked */
  for (uint32_t u = 0; u < table->asked_count; u++) {
    bool is_hit = table->states[u] == HOTROW_ROW_FRESH || table->states[u] == HOTROW_ROW_DOUBTFUL;
    stats->hits += is_hit;
    stats->stale += table->states[u] == HOTROW_ROW_STALE;
    stats->misses += table->states[u] == HOTROW_ROW_MISSING;
    if (is_hit && core->options.observe)
      hr_core_observe(core, table, HOTROW_EVENT_HIT, &table->asked_keys[u], NULL, 1);
  }
}

void hr_core_lookup_abandon(hr_core *core)
{
  core->lookup_count = 0;
}

hotrow_status hr_core_lookup_finish(hr_core *core)
{
  hotrow_status status = HOTROW_OK;
  HOTROW_ASSERT(core->waited_count == 0);
  for (size_t i = 0; i < core->lookup_count; i++) {
    const hotrow_lookup_request *r = &core->lookups[i];
    count_lookup(core, r);
    if (!r->table->device)
      fill_out(core, r);
    else if (status == HOTROW_OK)
      status = hr_device_fill_out(core, r);
    if (r->table->window.is_in_hand)
      hr_lookahead_pop(&r->table->window);
  }
  core->lookup_count = 0;
  core->round = 0;
  if (core->is_sync && hr_core_fetch_ahead(core) != HOTROW_OK)
    hr_core_fail(core, HOTROW_ERR_NO_MEMORY, hotrow_last_error(), strlen(hotrow_last_error()));
  return status;
}
