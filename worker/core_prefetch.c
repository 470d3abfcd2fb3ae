/* Rows of a coming batch, asked for early. One prefetch at a time; a lookup begins when it has been answered. */
#include <string.h>

#include <hr/options.h>

#include "core.h"

/* Asks a table's missing keys of every shard. */
static hotrow_status draft_missing(hr_core *core, hotrow_table *table, const hotrow_lookup_request *r)
{
  HOTROW_TRY(hr_core_dedup(core, table, &table->prefetch, r->keys, r->key_count));
  hotrow_dedup *dedup = &table->prefetch.dedup;
  /* Keep the keys that are not held: `positions` serves as scratch, a prefetch does not need it. */
  uint8_t *is_held = (uint8_t *)dedup->positions;
  hotrow_cache_expect(table->cache, dedup->keys, dedup->hashes, dedup->unique_count,
                      hotrow_cache_batch(table->cache) + 1, is_held);
  uint32_t kept = 0;
  for (uint32_t u = 0; u < dedup->unique_count; u++) {
    if (is_held[u])
      continue;
    dedup->keys[kept] = dedup->keys[u];
    dedup->hashes[kept++] = dedup->hashes[u];
  }
  dedup->unique_count = kept;
  uint32_t first = 0;
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    uint32_t last = hr_core_slice_end(core, dedup, first, shard);
    if (last > first) {
      HOTROW_TRY(hr_core_draft_pull(core, table, shard, &table->prefetch, first, last, NULL, NULL));
      hr_request *request = core->drafts[shard];
      hr_pull_note *note = &request->pulls[request->pull_count - 1];
      HOTROW_TRY(hr_request_take(request, last - first, (void **)&note->spoiled));
      memset(note->spoiled, 0, last - first);
    }
    first = last;
  }
  return HOTROW_OK;
}

static hotrow_status check_request(const hr_core *core, const hotrow_lookup_request *r, size_t i)
{
  if (!r->table || r->table->core != core)
    return hr_fail(HOTROW_ERR_INVALID, "prefetch %zu: its table is not one of this client", i);
  if (r->key_count > HOTROW_LOOKUP_KEYS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "prefetch in %s: %zu keys, at most %u", r->table->desc.name, r->key_count,
                   HOTROW_LOOKUP_KEYS_MAX);
  if (r->key_count && !r->keys)
    return hr_fail(HOTROW_ERR_INVALID, "prefetch in %s: keys is NULL", r->table->desc.name);
  return HOTROW_OK;
}

static hotrow_status submit_prefetch(hr_core *core, uint64_t now_ns)
{
  uint32_t count = 0;
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    if (!core->drafts[shard])
      continue;
    core->drafts[shard]->kind = HR_REQUEST_PREFETCH;
    count++;
  }
  /* Among exact steps a row may come only once it has the steps before: own ones too are applied when all are there. */
  uint32_t flags = core->is_sync ? HR_FLAG_SYNC : 0;
  HOTROW_TRY(hr_core_submit_drafts(core, HR_OP_PULL, flags, core->step, false, now_ns));
  core->prefetch_open += count;
  return HOTROW_OK;
}

hotrow_status hr_core_prefetch(hr_core *core, const hotrow_lookup_request *requests, size_t request_count,
                               uint64_t now_ns)
{
  if (request_count > HOTROW_REQUESTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu lookups in one prefetch, at most %u", request_count, HOTROW_REQUESTS_MAX);
  hotrow_lookup_request copies[HOTROW_REQUESTS_MAX];
  for (size_t i = 0; i < request_count; i++) {
    const void *given = (const char *)requests + i * requests[0].struct_size;
    HOTROW_TRY(hr_options_copy(&copies[i], sizeof copies[i], given, requests[0].struct_size, "hotrow_lookup_request"));
    HOTROW_TRY(check_request(core, &copies[i], i));
  }
  if (core->prefetch_open > 0)
    return HOTROW_OK;
  /* Evicted rows first, as pushes of their own: a row asked for must contain them. */
  for (uint32_t i = 0; i < core->table_count; i++)
    HOTROW_TRY(hr_core_draft_pushes(core, core->tables[i]));
  HOTROW_TRY(hr_core_submit_drafts(core, HR_OP_PUSH, 0, core->step, false, now_ns));
  hotrow_status status = HOTROW_OK;
  for (size_t i = 0; status == HOTROW_OK && i < request_count; i++)
    if (copies[i].table->has_cache)
      status = draft_missing(core, copies[i].table, &copies[i]);
  if (status == HOTROW_OK)
    status = submit_prefetch(core, now_ns);
  if (status != HOTROW_OK)
    hr_core_drop_pulls(core);
  return status;
}

/* Position of a hash among a note's ascending hashes, or key_count. */
static uint32_t find_hash(const hr_pull_note *note, uint32_t key_count, uint64_t hash)
{
  uint32_t low = 0, high = key_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (note->hashes[middle] < hash)
      low = middle + 1;
    else
      high = middle;
  }
  return low < key_count && note->hashes[low] == hash ? low : key_count;
}

void hr_core_spoil_prefetch(hr_core *core, const hotrow_table *table, const uint64_t *hashes, size_t count)
{
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    for (hr_request *request = core->links[shard].oldest; request; request = request->next) {
      if (request->kind != HR_REQUEST_PREFETCH)
        continue;
      for (uint32_t p = 0; p < request->pull_count; p++) {
        hr_pull_note *note = &request->pulls[p];
        uint32_t key_count = request->message.sections[note->section_index].key_count;
        for (size_t i = 0; note->table_index == table->index && i < count; i++) {
          uint32_t at = find_hash(note, key_count, hashes[i]);
          if (at < key_count)
            note->spoiled[at] = 1;
        }
      }
    }
  }
}

void hr_core_on_prefetch_reply(hr_core *core, hr_request *request, const hr_message *reply)
{
  for (uint32_t p = 0; p < request->pull_count; p++) {
    const hr_pull_note *note = &request->pulls[p];
    const hr_section *asked = &request->message.sections[note->section_index], *got = &reply->sections[p];
    hotrow_table *table = core->tables[note->table_index];
    uint32_t slot;
    for (uint32_t i = 0; i < asked->key_count; i++) {
      if (note->spoiled[i])
        continue;
      const float *state = got->states ? got->states + (size_t)i * got->extra_dim : NULL;
      if (hotrow_cache_insert(table->cache, asked->keys + i, note->hashes + i, got->clocks + i,
                              got->values + (size_t)i * table->desc.dim, state, NULL, 1, &slot) != HOTROW_OK)
        return; /* no room for more: the lookup will ask for the rest */
      core->stats.prefetched++;
    }
    core->stats.bytes_pull +=
        (size_t)got->row_count * (sizeof(uint32_t) + (table->desc.dim + got->extra_dim) * sizeof(float));
  }
}
